//! An LDevID certificate, held against the profile (`docs/ldevid-profile.md`).

use serde::Serialize;

use super::{InspectError, MAX_EVIDENCE_BYTES, Verdict, at_most, certificates};
use crate::{
    endorsement::ShownCertificate,
    identity::{IdentityError, LdevidOnFile},
    time::UnixTime,
};

/// What an LDevID says, and whether it is one.
#[derive(Clone, Debug, Serialize)]
pub struct LdevidReport {
    /// `unverified` without its issuing CA.
    pub verdict: Verdict,
    /// Why it is refused.
    pub reason: Option<String>,
    /// What a certificate of the profile says.
    pub ldevid: Option<Particulars>,
    /// Serial number, 32 hex digits as on record; longer ones as they are.
    pub serial: Option<String>,
    /// For people.
    pub issuer: Option<String>,
    /// RFC 3339.
    pub not_before: Option<String>,
    /// RFC 3339.
    pub not_after: Option<String>,
    /// SHA-256 of the DER.
    pub sha256: String,
    /// The time that it was judged at.
    pub at: String,
    /// What the verdict does not say.
    pub warnings: Vec<String>,
}

/// What the profile puts into it.
#[derive(Clone, Debug, Serialize)]
pub struct Particulars {
    /// Whose it is.
    pub gateway_id: String,
    /// The TPM.
    pub hardware_serial: String,
    /// SPIFFE ID, where it has one.
    pub spiffe_id: Option<String>,
    /// DNS names that the profile of its class adds.
    pub dns_names: Vec<String>,
    /// URIs that it adds.
    pub uris: Vec<String>,
    /// Purposes beside client-auth.
    pub extended_key_usages: Vec<&'static str>,
    /// MUD URL (RFC 8520), where it has one.
    pub mud_url: Option<String>,
    /// SHA-256 of the key's DER SubjectPublicKeyInfo.
    pub key_sha256: String,
}

/// Judges an LDevID: PEM (it first, then its issuing CA, as the attester keeps
/// it) or DER. `issuer` is the issuing CA where the file does not hold it.
///
/// # Errors
/// [`InspectError::TooLong`], [`InspectError::Certificate`]; a CA certificate
/// that cannot be used to judge. An LDevID that does not parse is refused.
pub fn inspect(
    file: &[u8],
    issuer: Option<&[u8]>,
    at: UnixTime,
) -> Result<LdevidReport, InspectError> {
    at_most(file, MAX_EVIDENCE_BYTES)?;
    let chain = certificates(file)?;
    let leaf = chain.first().map(Vec::as_slice).unwrap_or_default();
    let given = issuer.map(certificates).transpose()?;
    let ca = given
        .as_ref()
        .and_then(|given| given.first())
        .or_else(|| chain.get(1))
        .map(Vec::as_slice);
    let shown = ShownCertificate::parse(leaf).ok();
    let mut report = LdevidReport {
        verdict: Verdict::Refused,
        reason: None,
        ldevid: None,
        serial: shown.as_ref().map(|c| as_on_record(&c.serial)),
        issuer: shown.as_ref().map(|c| c.issuer.clone()),
        not_before: shown.as_ref().map(|c| c.not_before.to_string()),
        not_after: shown.as_ref().map(|c| c.not_after.to_string()),
        sha256: hex::encode(crate::digest::sha256(&[leaf])),
        at: at.to_string(),
        warnings: Vec::new(),
    };
    let found = match LdevidOnFile::read(leaf, ca) {
        Ok(found) => found,
        Err(IdentityError::Lint(rule)) => {
            report.reason = Some(rule.to_string());
            return Ok(report);
        }
        Err(other) if given.is_some() => {
            return Err(InspectError::Certificate(other.to_string()));
        }
        Err(other) => {
            report.reason = Some(format!("the second certificate: {other}"));
            return Ok(report);
        }
    };
    if at < found.not_before {
        report.reason = Some(format!("it is not valid before {}", found.not_before));
    } else if at > found.not_after {
        report.reason = Some(format!("it expired at {}", found.not_after));
    } else if found.issued_by_ca {
        report.verdict = Verdict::Affirming;
    } else {
        report.verdict = Verdict::Unverified;
    }
    if found.issued_by_ca {
        report.warnings.push(
            "whether the issuing CA is the owner's, and whether the gateway was revoked since, is not said here"
                .to_owned(),
        );
    } else {
        report
            .warnings
            .push("no issuing CA: nobody's signature was checked".to_owned());
    }
    report.ldevid = Some(Particulars {
        gateway_id: found.gateway_id.to_string(),
        hardware_serial: found.hardware_serial,
        spiffe_id: found.spiffe_id,
        dns_names: found.dns_names,
        uris: found.uris,
        extended_key_usages: found.extended_key_usages,
        mud_url: found.mud_url,
        key_sha256: hex::encode(crate::digest::sha256(&[&found.spki_der])),
    });
    Ok(report)
}

/// DER drops leading zeros, and puts one before a set bit.
fn as_on_record(serial: &str) -> String {
    format!("{:0>32}", serial.trim_start_matches("00"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn serial_numbers_are_as_on_record() {
        let of = |der: &str| as_on_record(der);
        assert_eq!(of(&format!("00{}", "ab".repeat(16))), "ab".repeat(16));
        assert_eq!(of(&"0a".repeat(15)), format!("00{}", "0a".repeat(15)));
        assert_eq!(of(&"7f".repeat(20)), "7f".repeat(20));
    }
}
