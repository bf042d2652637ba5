//! EAR in the older form, for relying parties that know no other: the names
//! of draft-fv-rats-ear with dots (`ear.status`, …), as Veraison's libraries
//! read them. One policy id instead of a list; ES256 in COSE, since what reads
//! this form knows no fully specified algorithms.

use serde::{Deserialize, Serialize};

use super::{Ear, cwt, jwt};
use crate::{cbor, cose};

/// `eat_profile` of this form.
pub const DOTTED_PROFILE: &str = "tag:github.com,2023:veraison/ear";

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Payload {
    eat_profile: String,
    iat: i64,
    exp: i64,
    #[serde(rename = "ear.verifier-id")]
    verifier: jwt::Verifier,
    eat_nonce: String,
    submods: Submods,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Submods {
    gateway: Gateway,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Gateway {
    #[serde(rename = "ear.status")]
    status: String,
    #[serde(rename = "ear.trustworthiness-vector")]
    vector: jwt::Vector,
    #[serde(
        rename = "ear.appraisal-policy-id",
        default,
        skip_serializing_if = "Option::is_none"
    )]
    policy_id: Option<String>,
    ueid: String,
    #[serde(
        rename = "holdfast.reference-id",
        default,
        skip_serializing_if = "Option::is_none"
    )]
    reference_id: Option<String>,
    #[serde(rename = "holdfast.reason-codes")]
    reason_codes: Vec<String>,
}

impl From<jwt::Payload> for Payload {
    fn from(payload: jwt::Payload) -> Self {
        let gateway = payload.submods.gateway;
        Self {
            eat_profile: DOTTED_PROFILE.to_owned(),
            iat: payload.iat,
            exp: payload.exp,
            verifier: payload.ear_verifier_id,
            eat_nonce: payload.eat_nonce,
            submods: Submods {
                gateway: Gateway {
                    status: gateway.ear_status,
                    vector: gateway.ear_trustworthiness_vector,
                    policy_id: gateway.ear_appraisal_policy_ids.into_iter().next(),
                    ueid: gateway.ueid,
                    reference_id: gateway.holdfast_reference_id,
                    reason_codes: gateway.holdfast_reason_codes,
                },
            },
        }
    }
}

impl From<Payload> for jwt::Payload {
    fn from(payload: Payload) -> Self {
        let gateway = payload.submods.gateway;
        Self {
            eat_profile: payload.eat_profile,
            iat: payload.iat,
            exp: payload.exp,
            ear_verifier_id: payload.verifier,
            eat_nonce: payload.eat_nonce,
            submods: jwt::Submods {
                gateway: jwt::Gateway {
                    ear_status: gateway.status,
                    ear_trustworthiness_vector: gateway.vector,
                    ear_appraisal_policy_ids: gateway.policy_id.into_iter().collect(),
                    ueid: gateway.ueid,
                    holdfast_reference_id: gateway.reference_id,
                    holdfast_reason_codes: gateway.reason_codes,
                },
            },
        }
    }
}

pub(super) fn sign_jwt<E>(
    ear: &Ear,
    key_id: &[u8],
    sign: impl FnOnce(&[u8]) -> Result<Vec<u8>, E>,
) -> Result<String, E> {
    jwt::sign_payload(&Payload::from(jwt::payload(ear)), key_id, sign)
}

pub(super) fn sign_cwt<E>(
    ear: &Ear,
    key_id: &[u8],
    sign: impl FnOnce(&[u8]) -> Result<Vec<u8>, E>,
) -> Result<Vec<u8>, E> {
    let payload = cbor::encode(&cwt::payload(ear, super::Form::Dotted));
    cose::sign_es256(key_id, payload, sign)
}

#[cfg(test)]
mod tests {
    use super::super::{Appraisal, Form, SignedEar, Tier, TrustVector, VerifierId};
    use super::*;
    use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD as BASE64};
    use serde_json::json;

    fn ear() -> Ear {
        let vector = TrustVector {
            instance_identity: 2,
            configuration: -33,
            ..TrustVector::NONE
        };
        let mut appraisal = Appraisal::new(vector, Tier::Affirming, [1; 33]);
        appraisal.policy_ids = vec!["sha-256:00".into()];
        appraisal.reference_id = Some([7; 32]);
        appraisal.reason_codes = vec!["pcr-mismatch".into()];
        Ear {
            issued_at: 1_700_000_000,
            expires: 1_700_003_600,
            verifier: VerifierId {
                developer: "https://holdfast.dev".into(),
                build: "test".into(),
            },
            nonce: [9; 32],
            appraisal,
        }
    }

    fn any_sign(_: &[u8]) -> Result<Vec<u8>, ()> {
        Ok(vec![7; 64])
    }

    #[test]
    fn the_jwt_has_the_older_names() {
        let text = ear().sign_jwt_as(Form::Dotted, &[1; 32], any_sign).unwrap();
        let body = text.split('.').nth(1).unwrap();
        let body: serde_json::Value =
            serde_json::from_slice(&BASE64.decode(body).unwrap()).unwrap();
        assert_eq!(
            body,
            json!({
                "eat_profile": "tag:github.com,2023:veraison/ear",
                "iat": 1_700_000_000,
                "exp": 1_700_003_600,
                "ear.verifier-id": {"developer": "https://holdfast.dev", "build": "test"},
                "eat_nonce": BASE64.encode([9; 32]),
                "submods": {"gateway": {
                    "ear.status": "warning",
                    "ear.trustworthiness-vector": {"instance-identity": 2, "configuration": -33},
                    "ear.appraisal-policy-id": "sha-256:00",
                    "ueid": BASE64.encode([1; 33]),
                    "holdfast.reference-id": "07".repeat(32),
                    "holdfast.reason-codes": ["pcr-mismatch"],
                }},
            })
        );
        let signed = SignedEar::parse_jwt(&text).unwrap();
        assert_eq!(signed.form(), Form::Dotted);
        assert_eq!(signed.open(|_, _| Ok::<_, ()>(())).unwrap(), ear());
    }

    #[test]
    fn the_cwt_is_signed_with_es256_and_names_one_policy() {
        let bytes = ear().sign_cwt_as(Form::Dotted, &[1; 32], any_sign).unwrap();
        // D2 84 43 A2 01 26 04 …: tag 18, protected header {alg: -7, kid}.
        let header = [&[0xD2, 0x84, 0x58, 0x26, 0xA2, 0x01, 0x26, 0x04][..]].concat();
        assert!(bytes.starts_with(&header), "{}", hex::encode(&bytes));
        let policy = [&[0x19, 0x03, 0xEB, 0x6A][..], b"sha-256:00"].concat();
        assert!(bytes.windows(policy.len()).any(|window| window == policy));
        let signed = SignedEar::parse_cwt(&bytes).unwrap();
        assert_eq!(signed.form(), Form::Dotted);
        assert_eq!(signed.open(|_, _| Ok::<_, ()>(())).unwrap(), ear());
    }

    #[test]
    fn names_of_the_other_form_are_refused() {
        let text = ear().sign_jwt_as(Form::Dotted, &[1; 32], any_sign).unwrap();
        let parts: Vec<&str> = text.split('.').collect();
        let body = String::from_utf8(BASE64.decode(parts[1]).unwrap()).unwrap();
        let read = |body: &str| {
            SignedEar::parse_jwt(&format!(
                "{}.{}.{}",
                parts[0],
                BASE64.encode(body),
                parts[2]
            ))
        };
        assert!(read(&body).is_ok());
        for (from, to) in [
            ("ear.status", "ear_status"),
            (DOTTED_PROFILE, super::super::PROFILE),
            (DOTTED_PROFILE, "tag:github.com,2023:veraison/ear2"),
            (
                "\"iat\"",
                "\"eat_profile\":\"tag:ietf.org,2026:rats/ear#04\",\"iat\"",
            ),
        ] {
            let changed = body.replacen(from, to, 1);
            assert_ne!(changed, body);
            assert!(read(&changed).is_err(), "{changed}");
        }
    }

    /// The seeds of the fuzz target `ear`. With `WRITE_SEEDS` set they are written
    /// anew; else they must be what is written now.
    #[test]
    fn the_fuzz_seeds_are_results_in_each_form() {
        let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../fuzz/seeds/ear");
        for (name, form) in [("draft04", Form::Draft04), ("dotted", Form::Dotted)] {
            let jwt = ear().sign_jwt_as(form, &[1; 32], any_sign).unwrap();
            let cwt = ear().sign_cwt_as(form, &[1; 32], any_sign).unwrap();
            for (kind, bytes) in [("jwt", jwt.into_bytes()), ("cwt", cwt)] {
                let path = folder.join(format!("{name}.{kind}"));
                if std::env::var_os("WRITE_SEEDS").is_some() {
                    std::fs::create_dir_all(&folder).unwrap();
                    std::fs::write(&path, &bytes).unwrap();
                }
                assert_eq!(std::fs::read(&path).unwrap(), bytes, "{}", path.display());
            }
        }
    }

    #[test]
    fn the_usual_form_is_the_drafts() {
        let usual = ear().sign_jwt(&[1; 32], any_sign).unwrap();
        assert_eq!(
            ear()
                .sign_jwt_as(Form::Draft04, &[1; 32], any_sign)
                .unwrap(),
            usual
        );
        let usual = ear().sign_cwt(&[1; 32], any_sign).unwrap();
        assert_eq!(
            ear()
                .sign_cwt_as(Form::Draft04, &[1; 32], any_sign)
                .unwrap(),
            usual
        );
    }
}
