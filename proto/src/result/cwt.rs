//! EAR as a CWT: COSE_Sign1 (RFC 9052 §4.2) over a CBOR claims set, both
//! deterministically encoded (RFC 8949 §4.2.1) and read no other way.

use ciborium::Value;

use super::{
    Claim, DOTTED_PROFILE, Ear, EarError, Form, MAX_EAR_BYTES, PROFILE, SUBMODULE, SignedEar, Tier,
    TrustVector, VerifierId, claims::appraisal_read, signed::signature_of,
};
use crate::cbor::{self, Fields, FromValue};
use crate::cose::{self, CoseAlg, Limits};

const LIMITS: Limits = Limits {
    max_len: MAX_EAR_BYTES,
    // The Verifier's key ids are SHA-256; longer than SHA-512 is no digest.
    kid_len: 1..=64,
};

// Claim keys: CWT (RFC 8392), EAT (RFC 9711), EAR (draft -04, "suggested").
const EXP: i64 = 4;
const IAT: i64 = 6;
const NONCE: i64 = 10;
const UEID: i64 = 256;
const EAT_PROFILE: i64 = 265;
const SUBMODS: i64 = 266;
const STATUS: i64 = 1000;
const VECTOR: i64 = 1001;
const POLICY_IDS: i64 = 1003;
const VERIFIER_ID: i64 = 1004;
// Inside ear_verifier_id.
const DEVELOPER: i64 = 0;
const BUILD: i64 = 1;
// Private use: below -65536 (RFC 8392 §9.1.1).
const REFERENCE_ID: i64 = -75_000;
const REASON_CODES: i64 = -75_001;

pub(super) fn sign<E>(
    ear: &Ear,
    key_id: &[u8],
    sign: impl FnOnce(&[u8]) -> Result<Vec<u8>, E>,
) -> Result<Vec<u8>, E> {
    let payload = cbor::encode(&payload(ear, Form::Draft04));
    cose::sign(CoseAlg::Esp256, key_id, payload, sign)
}

pub(super) fn parse(bytes: &[u8]) -> Result<SignedEar, EarError> {
    let sign1 = cose::parse(bytes, &LIMITS)?;
    if sign1.alg != CoseAlg::Esp256 {
        return Err(EarError::Header);
    }
    let (ear, form) = read(cbor::decode("EAR", &sign1.payload)?)?;
    let ear = ear.check()?;
    // Whatever `read` left over is found out here.
    cbor::same("EAR", &cbor::encode(&payload(&ear, form)), &sign1.payload)?;
    Ok(SignedEar {
        form,
        key_id: sign1.kid,
        to_be_signed: sign1.to_be_signed,
        signature: signature_of(&sign1.signature)?,
        ear,
    })
}

fn list(texts: &[String]) -> Value {
    let texts = texts.iter().map(|text| text.as_str().into());
    texts.collect::<Vec<Value>>().into()
}

/// The claims set; profile and what is said of the policies differ between the
/// forms.
pub(super) fn payload(ear: &Ear, form: Form) -> Value {
    let appraisal = &ear.appraisal;
    let ids = &appraisal.policy_ids;
    let (profile, policies) = match form {
        Form::Draft04 => (PROFILE, list(ids)),
        Form::Dotted => {
            let only = ids.first().map_or(Value::Null, |id| id.as_str().into());
            (DOTTED_PROFILE, only)
        }
    };
    let made = appraisal.vector.made();
    let vector = made.map(|(claim, value)| (claim.key().into(), value.into()));
    let gateway = [
        (UEID, appraisal.ueid.as_slice().into()),
        (STATUS, appraisal.status().code().into()),
        (VECTOR, cbor::map(vector)),
        (POLICY_IDS, policies),
        (REASON_CODES, list(&appraisal.reason_codes)),
    ];
    let reference = appraisal.reference_id;
    let reference = reference.map(|id| (REFERENCE_ID, id.as_slice().into()));
    let gateway = cbor::map(gateway.into_iter().chain(reference));
    let verifier = [
        (DEVELOPER, ear.verifier.developer.as_str().into()),
        (BUILD, ear.verifier.build.as_str().into()),
    ];
    cbor::map([
        (EXP, ear.expires.into()),
        (IAT, ear.issued_at.into()),
        (NONCE, ear.nonce.as_slice().into()),
        (EAT_PROFILE, profile.into()),
        (SUBMODS, Value::Map(vec![(SUBMODULE.into(), gateway)])),
        (VERIFIER_ID, cbor::map(verifier)),
    ])
}

fn read(payload: Value) -> Result<(Ear, Form), EarError> {
    let mut top = Fields::from_value("EAR", payload)?;
    let form = match needed::<String>(&mut top, "eat_profile", EAT_PROFILE)?.as_str() {
        PROFILE => Form::Draft04,
        DOTTED_PROFILE => Form::Dotted,
        _ => return Err(EarError::Profile),
    };
    let submods = needed::<Value>(&mut top, "submods", SUBMODS)?
        .into_map()
        .map_err(|_| EarError::Submodules)?;
    let [(name, gateway)] = <[_; 1]>::try_from(submods).map_err(|_| EarError::Submodules)?;
    if name.as_text() != Some(SUBMODULE) {
        return Err(EarError::Submodules);
    }
    let mut gateway = Fields::from_value("gateway", gateway)?;
    let status = u8::try_from(needed::<u64>(&mut gateway, "ear_status", STATUS)?)
        .ok()
        .and_then(Tier::from_code)
        .ok_or_else(|| EarError::malformed("ear_status", "not a tier"))?;
    let vector = vector(needed(&mut gateway, "ear_trustworthiness_vector", VECTOR)?)?;
    let mut appraisal = appraisal_read(status, vector, needed(&mut gateway, "ueid", UEID)?)?;
    const POLICIES: &str = "ear_appraisal_policy_ids";
    appraisal.policy_ids = match form {
        Form::Draft04 => needed(&mut gateway, POLICIES, POLICY_IDS)?,
        Form::Dotted => match needed(&mut gateway, POLICIES, POLICY_IDS)? {
            Value::Text(id) => vec![id],
            Value::Null => Vec::new(),
            _ => return Err(EarError::malformed(POLICIES, "neither a text nor null")),
        },
    };
    appraisal.reason_codes = needed(&mut gateway, "reason codes", REASON_CODES)?;
    appraisal.reference_id = gateway.take("reference id", REFERENCE_ID)?;
    let mut verifier: Fields = needed(&mut top, "ear_verifier_id", VERIFIER_ID)?;
    let ear = Ear {
        issued_at: needed(&mut top, "iat", IAT)?,
        expires: needed(&mut top, "exp", EXP)?,
        verifier: VerifierId {
            developer: needed(&mut verifier, "developer", DEVELOPER)?,
            build: needed(&mut verifier, "build", BUILD)?,
        },
        nonce: needed(&mut top, "eat_nonce", NONCE)?,
        appraisal,
    };
    Ok((ear, form))
}

fn vector(value: Value) -> Result<TrustVector, EarError> {
    let field = "ear_trustworthiness_vector";
    let bad = || EarError::malformed(field, "not claims and values of AR4SI");
    let mut vector = TrustVector::NONE;
    for (key, value) in value.into_map().map_err(|_| bad())? {
        let key = key.as_integer().and_then(|key| u8::try_from(key).ok());
        let value = value
            .as_integer()
            .and_then(|value| i8::try_from(value).ok());
        let (Some(claim), Some(value)) = (key.and_then(Claim::from_key), value) else {
            return Err(bad());
        };
        vector.set(claim, value);
    }
    Ok(vector)
}

fn needed<T: FromValue>(fields: &mut Fields, field: &'static str, key: i64) -> Result<T, EarError> {
    fields
        .take(field, key)?
        .ok_or_else(|| EarError::malformed(field, "missing"))
}
