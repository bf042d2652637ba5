//! Signed claims: what a gateway says about itself.

use std::convert::Infallible;

use holdfast_proto::claims::{Claims, CoseAlg, PROFILE, SignedClaims};
use serde::Serialize;

use super::{InspectError, MAX_EVIDENCE_BYTES, Verdict, at_most};
use crate::{time::UnixTime, verification::KeyOnFile};

/// What claims say, and whether their signature holds.
#[derive(Clone, Debug, Serialize)]
pub struct ClaimsReport {
    /// `unverified` without a key.
    pub verdict: Verdict,
    /// Why it is refused.
    pub reason: Option<String>,
    /// Protected header, where the envelope parses.
    pub header: Option<HeaderReport>,
    /// By name, where they parse. Nobody's unless affirming.
    pub claims: Option<ClaimSet>,
    /// What the verdict does not say.
    pub warnings: Vec<String>,
}

/// Protected header of a COSE_Sign1.
#[derive(Clone, Debug, Serialize)]
pub struct HeaderReport {
    /// `ESP256` or `ESP384`.
    pub alg: &'static str,
    /// Name of the key that the signer says it signed with.
    pub kid: String,
}

/// The claims, by the names of `docs/claims.cddl`.
#[derive(Clone, Debug, Serialize)]
pub struct ClaimSet {
    /// The profile.
    pub eat_profile: &'static str,
    /// The challenge's nonce.
    pub eat_nonce: String,
    /// The gateway's id.
    pub ueid: String,
    /// Seconds since 1970, by the gateway's clock.
    pub iat: i64,
    /// `enrol`, `recover`, `attest` or `renew`.
    pub purpose: &'static str,
    /// TLS exporter of the connection.
    pub exporter: String,
    /// SHA-256 of the certification.
    #[serde(rename = "certify-sha256")]
    pub certify_sha256: Option<String>,
    /// SHA-256 of the boot log.
    #[serde(rename = "boot-log-sha256")]
    pub boot_log_sha256: Option<String>,
    /// Name of the program.
    pub swname: String,
    /// Version of the program.
    pub swversion: String,
    /// Seconds since boot.
    pub uptime: Option<u64>,
}

/// Reads claims and, with a key, judges their signature.
///
/// # Errors
/// [`InspectError::TooLong`]. Claims that do not parse are refused.
pub fn inspect(bytes: &[u8], key: Option<&KeyOnFile>) -> Result<ClaimsReport, InspectError> {
    at_most(bytes, MAX_EVIDENCE_BYTES)?;
    let mut report = ClaimsReport {
        verdict: Verdict::Refused,
        reason: None,
        header: None,
        claims: None,
        warnings: Vec::new(),
    };
    let signed = match SignedClaims::parse(bytes) {
        Ok(signed) => signed,
        Err(error) => {
            report.reason = Some(error.to_string());
            return Ok(report);
        }
    };
    report.header = Some(HeaderReport {
        alg: match signed.alg() {
            CoseAlg::Esp256 => "ESP256",
            CoseAlg::Esp384 => "ESP384",
        },
        kid: hex::encode(signed.kid()),
    });
    // To be shown, not believed.
    let shown = signed.clone().open(|_, _, _| Ok::<_, Infallible>(()));
    match shown {
        Ok(claims) => report.claims = Some(ClaimSet::of(&claims)),
        Err(error) => {
            report.reason = Some(error.to_string());
            return Ok(report);
        }
    }
    let Some(key) = key else {
        report.verdict = Verdict::Unverified;
        report
            .warnings
            .push("no key was given: the signature is unverified".to_owned());
        return Ok(report);
    };
    match (key.name(), key.ldevid_fault()) {
        (None, _) => report
            .warnings
            .push("the key is bare: whether the kid is its Name was not checked".to_owned()),
        (Some(_), Some(fault)) => report
            .warnings
            .push(format!("enrolment would not take this key: {fault}")),
        (Some(_), None) => {}
    }
    match key.open_claims(signed) {
        Ok(_) => report.verdict = Verdict::Affirming,
        Err(error) => report.reason = Some(error.to_string()),
    }
    Ok(report)
}

impl ClaimSet {
    fn of(claims: &Claims) -> Self {
        Self {
            eat_profile: PROFILE,
            eat_nonce: hex::encode(claims.nonce),
            ueid: claims.ueid.to_string(),
            iat: claims.issued_at,
            purpose: claims.purpose.name(),
            exporter: hex::encode(claims.exporter),
            certify_sha256: claims.certify_sha256.map(hex::encode),
            boot_log_sha256: claims.boot_log_sha256.map(hex::encode),
            swname: claims.software_name.clone(),
            swversion: claims.software_version.clone(),
            uptime: claims.uptime_seconds,
        }
    }

    /// `iat` for people.
    #[must_use]
    pub fn issued_at(&self) -> String {
        UnixTime::from_seconds(self.iat).to_string()
    }
}
