//! EAR in the older form, for relying parties that know no other: the names
//! of draft-fv-rats-ear with dots (`ear.status`, …), as Veraison's libraries
//! read them. One policy id instead of a list; ES256 in COSE, since what reads
//! this form knows no fully specified algorithms. Written only: nothing of ours
//! reads it.

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD as BASE64};
use ciborium::Value;
use serde_json::{Map, json};

use super::{Ear, SUBMODULE, cwt, jwt};
use crate::{cbor, cose};

/// `eat_profile` of this form.
pub const DOTTED_PROFILE: &str = "tag:github.com,2023:veraison/ear";

pub(super) fn sign_jwt<E>(
    ear: &Ear,
    key_id: &[u8],
    sign: impl FnOnce(&[u8]) -> Result<Vec<u8>, E>,
) -> Result<String, E> {
    let appraisal = &ear.appraisal;
    let vector: Map<_, _> = appraisal
        .vector
        .made()
        .map(|(claim, value)| (claim.name().to_owned(), value.into()))
        .collect();
    let mut gateway = Map::new();
    let mut say = |name: &str, value: serde_json::Value| {
        gateway.insert(name.to_owned(), value);
    };
    say("ear.status", appraisal.status().name().into());
    say("ear.trustworthiness-vector", vector.into());
    say("ueid", BASE64.encode(appraisal.ueid).into());
    say(
        "holdfast.reason-codes",
        appraisal.reason_codes.clone().into(),
    );
    if let Some(policy) = appraisal.policy_ids.first() {
        say("ear.appraisal-policy-id", policy.as_str().into());
    }
    if let Some(id) = appraisal.reference_id {
        say("holdfast.reference-id", hex::encode(id).into());
    }
    let payload = json!({
        "eat_profile": DOTTED_PROFILE,
        "iat": ear.issued_at,
        "exp": ear.expires,
        "ear.verifier-id": {
            "developer": ear.verifier.developer,
            "build": ear.verifier.build,
        },
        "eat_nonce": BASE64.encode(ear.nonce),
        "submods": {SUBMODULE: gateway},
    });
    jwt::sign_payload(&payload, key_id, sign)
}

pub(super) fn sign_cwt<E>(
    ear: &Ear,
    key_id: &[u8],
    sign: impl FnOnce(&[u8]) -> Result<Vec<u8>, E>,
) -> Result<Vec<u8>, E> {
    let policy = ear.appraisal.policy_ids.first();
    let policy = policy.map_or(Value::Null, |id| id.as_str().into());
    let payload = cbor::encode(&cwt::payload(ear, DOTTED_PROFILE, policy));
    cose::sign_es256(key_id, payload, sign)
}

#[cfg(test)]
mod tests {
    use super::super::{Appraisal, Form, SignedEar, Tier, TrustVector, VerifierId};
    use super::*;

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
        assert!(
            SignedEar::parse_jwt(&text).is_err(),
            "nothing of ours reads it"
        );
    }

    #[test]
    fn the_cwt_is_signed_with_es256_and_names_one_policy() {
        let bytes = ear().sign_cwt_as(Form::Dotted, &[1; 32], any_sign).unwrap();
        // D2 84 43 A2 01 26 04 …: tag 18, protected header {alg: -7, kid}.
        let header = [&[0xD2, 0x84, 0x58, 0x26, 0xA2, 0x01, 0x26, 0x04][..]].concat();
        assert!(bytes.starts_with(&header), "{}", hex::encode(&bytes));
        let policy = [&[0x19, 0x03, 0xEB, 0x6A][..], b"sha-256:00"].concat();
        assert!(bytes.windows(policy.len()).any(|window| window == policy));
        assert!(
            SignedEar::parse_cwt(&bytes).is_err(),
            "nothing of ours reads it"
        );
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
