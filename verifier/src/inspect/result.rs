//! An attestation result: EAR as a JWT or a CWT.

use std::{collections::BTreeMap, convert::Infallible};

use holdfast_proto::result::{DOTTED_PROFILE, Ear, EarError, Form, PROFILE, SignedEar};
use serde::Serialize;

use super::{InspectError, MAX_EVIDENCE_BYTES, Verdict, at_most};
use crate::{time::UnixTime, verification::KeyOnFile};

/// What a result says, and whether the Verifier said it.
#[derive(Clone, Debug, Serialize)]
pub struct ResultReport {
    /// Of the *signature*, and of `exp`; `unverified` without a key. What the
    /// Verifier concluded is `ear_status`.
    pub verdict: Verdict,
    /// Why it is refused.
    pub reason: Option<String>,
    /// `jwt` or `cwt`.
    pub format: &'static str,
    /// Which key it says that it was signed with, hex.
    pub kid: Option<String>,
    /// The EAR, where it parses. Nobody's unless affirming.
    pub result: Option<EarReport>,
    /// The time that it was judged at.
    pub at: String,
    /// What the verdict does not say.
    pub warnings: Vec<String>,
}

/// EAR by the draft's names, whichever form it is written in.
#[derive(Clone, Debug, Serialize)]
pub struct EarReport {
    /// The profile.
    pub eat_profile: &'static str,
    /// Seconds since 1970.
    pub iat: i64,
    /// Seconds since 1970.
    pub exp: i64,
    /// Who made the Verifier, and which build it is.
    pub ear_verifier_id: BTreeMap<&'static str, String>,
    /// The challenge's nonce, hex.
    pub eat_nonce: String,
    /// The gateway's id.
    pub ueid: String,
    /// `affirming`, `warning`, `contraindicated` or `none`.
    pub ear_status: &'static str,
    /// AR4SI values, of the claims that are made.
    pub ear_trustworthiness_vector: BTreeMap<&'static str, i8>,
    /// `sha-256:<hex>` of the policy.
    pub ear_appraisal_policy_ids: Vec<String>,
    /// SHA-256 of the reference values.
    pub holdfast_reference_id: Option<String>,
    /// Codes of the reasons.
    pub holdfast_reason_codes: Vec<String>,
}

/// Reads a result and, with the Verifier's key, judges its signature.
///
/// # Errors
/// [`InspectError::TooLong`]. A result that does not parse is refused.
pub fn inspect(
    bytes: &[u8],
    key: Option<&KeyOnFile>,
    at: UnixTime,
) -> Result<ResultReport, InspectError> {
    at_most(bytes, MAX_EVIDENCE_BYTES)?;
    // A CWT begins with tag 18 (0xD2), which no text does.
    let jwt = std::str::from_utf8(bytes).ok().map(str::trim_ascii);
    let parse = || match jwt {
        Some(text) => SignedEar::parse_jwt(text),
        None => SignedEar::parse_cwt(bytes),
    };
    let mut report = ResultReport {
        verdict: Verdict::Refused,
        reason: None,
        format: if jwt.is_some() { "jwt" } else { "cwt" },
        kid: None,
        result: None,
        at: at.to_string(),
        warnings: Vec::new(),
    };
    if let Err(error) = report.judge(parse, key, at) {
        report.reason = Some(error.to_string());
    }
    Ok(report)
}

impl ResultReport {
    fn judge(
        &mut self,
        parse: impl Fn() -> Result<SignedEar, EarError>,
        key: Option<&KeyOnFile>,
        at: UnixTime,
    ) -> Result<(), String> {
        let signed = parse().map_err(|e| e.to_string())?;
        let (kid, form) = (signed.key_id().to_vec(), signed.form());
        self.kid = Some(hex::encode(&kid));
        // To be shown, not believed.
        let ear = signed
            .open(|_, _| Ok::<_, Infallible>(()))
            .map_err(|e| e.to_string())?;
        let expired = at.seconds() >= ear.expires;
        self.result = Some(EarReport::of(&ear, form));
        let over = format!("it expired at {}", UnixTime::from_seconds(ear.expires));
        let Some(key) = key else {
            self.verdict = Verdict::Unverified;
            self.warnings
                .push("no key was given: the signature is unverified".to_owned());
            self.warnings.extend(expired.then_some(over));
            return Ok(());
        };
        let id = key
            .material()
            .to_spki_der()
            .map(|der| crate::digest::sha256(&[&der]));
        if id.is_none_or(|id| id.as_slice() != kid) {
            self.warnings
                .push("the kid is not the SHA-256 of the key given".to_owned());
        }
        parse()
            .map_err(|e| e.to_string())?
            .open(|message, signature| key.verify_es256(message, signature))
            .map_err(|e| format!("{e}: {}", e.0))?;
        if expired {
            return Err(over);
        }
        self.verdict = Verdict::Affirming;
        Ok(())
    }
}

impl EarReport {
    fn of(ear: &Ear, form: Form) -> Self {
        let appraisal = &ear.appraisal;
        Self {
            eat_profile: match form {
                Form::Draft04 => PROFILE,
                Form::Dotted => DOTTED_PROFILE,
            },
            iat: ear.issued_at,
            exp: ear.expires,
            ear_verifier_id: [
                ("developer", ear.verifier.developer.clone()),
                ("build", ear.verifier.build.clone()),
            ]
            .into(),
            eat_nonce: hex::encode(ear.nonce),
            ueid: hex::encode(appraisal.ueid),
            ear_status: appraisal.status().name(),
            ear_trustworthiness_vector: appraisal
                .vector
                .made()
                .map(|(claim, value)| (claim.name(), value))
                .collect(),
            ear_appraisal_policy_ids: appraisal.policy_ids.clone(),
            holdfast_reference_id: appraisal.reference_id.map(hex::encode),
            holdfast_reason_codes: appraisal.reason_codes.clone(),
        }
    }
}
