//! EAR as a JWT: JWS compact serialisation (RFC 7515), ES256 (RFC 7518 §3.4).

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD as BASE64};
use serde::{Deserialize, Serialize, de::DeserializeOwned};

use super::{
    Claim, DOTTED_PROFILE, Ear, EarError, Form, PROFILE, SignedEar, Tier, TrustVector, VerifierId,
    claims::appraisal_read, dotted, signed::signature_of,
};

const ALG: &str = "ES256";
/// Media type `application/eat+jwt` without its prefix (RFC 7515 §4.1.9,
/// RFC 9782).
const TYP: &str = "eat+jwt";

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Header {
    alg: String,
    typ: String,
    kid: String,
}

/// What tells the forms apart.
#[derive(Deserialize)]
struct Profile {
    eat_profile: String,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Payload {
    pub(super) eat_profile: String,
    pub(super) iat: i64,
    pub(super) exp: i64,
    pub(super) ear_verifier_id: Verifier,
    pub(super) eat_nonce: String,
    pub(super) submods: Submods,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Verifier {
    developer: String,
    build: String,
}

/// Exactly one submodule: [`super::SUBMODULE`].
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Submods {
    pub(super) gateway: Gateway,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Gateway {
    pub(super) ear_status: String,
    pub(super) ear_trustworthiness_vector: Vector,
    pub(super) ear_appraisal_policy_ids: Vec<String>,
    pub(super) ueid: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) holdfast_reference_id: Option<String>,
    pub(super) holdfast_reason_codes: Vec<String>,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub(super) struct Vector {
    #[serde(default, skip_serializing_if = "is_zero")]
    instance_identity: i8,
    #[serde(default, skip_serializing_if = "is_zero")]
    configuration: i8,
    #[serde(default, skip_serializing_if = "is_zero")]
    executables: i8,
    #[serde(default, skip_serializing_if = "is_zero")]
    file_system: i8,
    #[serde(default, skip_serializing_if = "is_zero")]
    hardware: i8,
    #[serde(default, skip_serializing_if = "is_zero")]
    runtime_opaque: i8,
    #[serde(default, skip_serializing_if = "is_zero")]
    storage_opaque: i8,
    #[serde(default, skip_serializing_if = "is_zero")]
    sourced_data: i8,
}

// serde hands a reference to it.
#[allow(clippy::trivially_copy_pass_by_ref)]
fn is_zero(value: &i8) -> bool {
    *value == 0
}

pub(super) fn sign<E>(
    ear: &Ear,
    key_id: &[u8],
    sign: impl FnOnce(&[u8]) -> Result<Vec<u8>, E>,
) -> Result<String, E> {
    sign_payload(&payload(ear), key_id, sign)
}

/// Any claims set, under our header.
pub(super) fn sign_payload<E>(
    payload: &impl Serialize,
    key_id: &[u8],
    sign: impl FnOnce(&[u8]) -> Result<Vec<u8>, E>,
) -> Result<String, E> {
    let header = Header {
        alg: ALG.to_owned(),
        typ: TYP.to_owned(),
        kid: hex::encode(key_id),
    };
    let input = format!("{}.{}", encode(&header), encode(payload));
    let signature = sign(input.as_bytes())?;
    Ok(format!("{input}.{}", BASE64.encode(signature)))
}

pub(super) fn parse(text: &str) -> Result<SignedEar, EarError> {
    let mut parts = text.split('.');
    let (Some(header), Some(body), Some(signature), None) =
        (parts.next(), parts.next(), parts.next(), parts.next())
    else {
        return Err(EarError::malformed("JWT", "not three parts"));
    };
    let to_be_signed = format!("{header}.{body}").into_bytes();
    let header: Header = decode("header", header)?;
    if header.alg != ALG || header.typ != TYP {
        return Err(EarError::Header);
    }
    let key_id = hex::decode(&header.kid).map_err(|error| EarError::malformed("kid", error))?;
    let signature = BASE64
        .decode(signature)
        .map_err(|error| EarError::malformed("signature", error))?;
    let signature = signature_of(&signature)?;
    let Profile { eat_profile } = decode("payload", body)?;
    let (form, payload) = match eat_profile.as_str() {
        PROFILE => (Form::Draft04, decode("payload", body)?),
        DOTTED_PROFILE => {
            let payload: dotted::Payload = decode("payload", body)?;
            (Form::Dotted, payload.into())
        }
        _ => return Err(EarError::Profile),
    };
    let ear = read(payload)?.check()?;
    Ok(SignedEar {
        form,
        key_id,
        to_be_signed,
        signature,
        ear,
    })
}

fn encode(value: &impl Serialize) -> String {
    // A struct of strings and integers with string keys always serialises.
    BASE64.encode(serde_json::to_vec(value).expect("plain struct serialises"))
}

fn decode<T: DeserializeOwned>(field: &'static str, text: &str) -> Result<T, EarError> {
    let json = BASE64
        .decode(text)
        .map_err(|error| EarError::malformed(field, error))?;
    serde_json::from_slice(&json).map_err(|error| EarError::malformed(field, error))
}

pub(super) fn payload(ear: &Ear) -> Payload {
    let appraisal = &ear.appraisal;
    let v = appraisal.vector;
    Payload {
        eat_profile: PROFILE.to_owned(),
        iat: ear.issued_at,
        exp: ear.expires,
        ear_verifier_id: Verifier {
            developer: ear.verifier.developer.clone(),
            build: ear.verifier.build.clone(),
        },
        eat_nonce: BASE64.encode(ear.nonce),
        submods: Submods {
            gateway: Gateway {
                ear_status: appraisal.status().name().to_owned(),
                ear_trustworthiness_vector: Vector {
                    instance_identity: v.instance_identity,
                    configuration: v.configuration,
                    executables: v.executables,
                    file_system: v.file_system,
                    hardware: v.hardware,
                    runtime_opaque: v.runtime_opaque,
                    storage_opaque: v.storage_opaque,
                    sourced_data: v.sourced_data,
                },
                ear_appraisal_policy_ids: appraisal.policy_ids.clone(),
                ueid: BASE64.encode(appraisal.ueid),
                holdfast_reference_id: appraisal.reference_id.map(hex::encode),
                holdfast_reason_codes: appraisal.reason_codes.clone(),
            },
        },
    }
}

fn read(payload: Payload) -> Result<Ear, EarError> {
    let gateway = payload.submods.gateway;
    let status = Tier::from_name(&gateway.ear_status)
        .ok_or_else(|| EarError::malformed("ear_status", "not a tier"))?;
    let read = gateway.ear_trustworthiness_vector;
    let mut vector = TrustVector::NONE;
    for (claim, value) in [
        (Claim::InstanceIdentity, read.instance_identity),
        (Claim::Configuration, read.configuration),
        (Claim::Executables, read.executables),
        (Claim::FileSystem, read.file_system),
        (Claim::Hardware, read.hardware),
        (Claim::RuntimeOpaque, read.runtime_opaque),
        (Claim::StorageOpaque, read.storage_opaque),
        (Claim::SourcedData, read.sourced_data),
    ] {
        vector.set(claim, value);
    }
    let mut appraisal = appraisal_read(status, vector, base64_array("ueid", &gateway.ueid)?)?;
    appraisal.policy_ids = gateway.ear_appraisal_policy_ids;
    appraisal.reason_codes = gateway.holdfast_reason_codes;
    appraisal.reference_id = gateway
        .holdfast_reference_id
        .as_deref()
        .map(hex_digest)
        .transpose()?;
    Ok(Ear {
        issued_at: payload.iat,
        expires: payload.exp,
        verifier: VerifierId {
            developer: payload.ear_verifier_id.developer,
            build: payload.ear_verifier_id.build,
        },
        nonce: base64_array("eat_nonce", &payload.eat_nonce)?,
        appraisal,
    })
}

fn base64_array<const N: usize>(field: &'static str, text: &str) -> Result<[u8; N], EarError> {
    let bytes = BASE64
        .decode(text)
        .map_err(|error| EarError::malformed(field, error))?;
    bytes
        .try_into()
        .map_err(|_| EarError::malformed(field, "wrong length"))
}

fn hex_digest(text: &str) -> Result<[u8; 32], EarError> {
    let mut digest = [0; 32];
    hex::decode_to_slice(text, &mut digest)
        .map_err(|error| EarError::malformed("holdfast_reference_id", error))?;
    Ok(digest)
}
