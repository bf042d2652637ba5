//! From a good statement, one thing changed: exactly why it is refused.

use holdfast_proto::result::{Appraisal, Ear, Tier, TrustVector, VerifierId};
use proptest::prelude::*;
use ring::rand::SystemRandom;

use super::*;
use crate::{
    config::policy_root_spki,
    identity::{CaSigner as _, FileSigner, ResultKey, SecretKey, pem},
};

const DOCUMENT: &[u8] = b"package holdfast.appraisal";

fn signer() -> OwnerSigner {
    keyed().1
}

/// A key, and the signer of it.
fn keyed() -> (SecretKey, OwnerSigner) {
    let rng = SystemRandom::new();
    let key = SecretKey::generate(&rng).unwrap();
    let signer = OwnerSigner::from_pkcs8_pem(&key.expose_pem(), &rng).unwrap();
    (key, signer)
}

/// r ‖ s of any message by a key, whatever it is for.
fn sign_with(key: &SecretKey, message: &[u8]) -> Result<Vec<u8>, std::convert::Infallible> {
    let key = ResultKey::from_pkcs8(key.expose_der()).unwrap();
    Ok(key.sign(message).unwrap())
}

fn signed(signer: &OwnerSigner, version: u64) -> Vec<u8> {
    let rng = SystemRandom::new();
    signer
        .state(Kind::Policy, EVERY_CLASS, version, DOCUMENT, &rng)
        .unwrap()
}

#[test]
fn the_owner_is_believed_and_nobody_else() {
    let owner = signer();
    let (other_key, other) = keyed();
    let statement = signed(&owner, 7);
    let key = owner.public();
    let stated = key
        .verify(&statement, Kind::Policy, EVERY_CLASS, DOCUMENT)
        .unwrap();
    assert_eq!(
        (stated.version(), stated.sha256()),
        (7, &sha256(&[DOCUMENT]))
    );
    let refused = other
        .public()
        .verify(&statement, Kind::Policy, EVERY_CLASS, DOCUMENT);
    assert_eq!(
        refused,
        Err(OwnerError::OtherKey {
            named: hex::encode(key.id()),
            ours: hex::encode(other.public().id()),
        })
    );
    // Another key under the owner's name.
    let forged = Statement {
        kind: Kind::Policy,
        subject: EVERY_CLASS.to_owned(),
        version: 7,
        sha256: sha256(&[DOCUMENT]),
    }
    .sign(key.id(), |message| sign_with(&other_key, message))
    .unwrap();
    assert_eq!(
        key.verify(&forged, Kind::Policy, EVERY_CLASS, DOCUMENT),
        Err(OwnerError::Signature)
    );
}

#[test]
fn a_statement_is_about_one_thing() {
    let owner = signer();
    let key = owner.public();
    let statement = signed(&owner, 1);
    assert_eq!(
        key.verify(&statement, Kind::AllowList, EVERY_CLASS, DOCUMENT),
        Err(OwnerError::OtherKind {
            stated: Kind::Policy,
            wanted: Kind::AllowList
        })
    );
    assert_eq!(
        key.verify(&statement, Kind::Policy, "default", DOCUMENT),
        Err(OwnerError::OtherSubject {
            stated: "*".to_owned(),
            wanted: "default".to_owned()
        })
    );
    let other = b"package holdfast.appraisal\n";
    assert_eq!(
        key.verify(&statement, Kind::Policy, EVERY_CLASS, other),
        Err(OwnerError::OtherDocument {
            stated: hex::encode(sha256(&[DOCUMENT])),
            found: hex::encode(sha256(&[other])),
        })
    );
    assert_eq!(
        key.verify(&[], Kind::Policy, EVERY_CLASS, DOCUMENT),
        Err(OwnerError::Unsigned)
    );
}

/// What the same key signed for another purpose, in the same envelope, is no
/// statement.
#[test]
fn another_signature_of_the_same_key_is_no_statement() {
    let (key, owner) = keyed();
    let ear = Ear {
        issued_at: 1,
        expires: 2,
        verifier: VerifierId {
            developer: "https://holdfast.dev".to_owned(),
            build: "test".to_owned(),
        },
        nonce: [1; 32],
        appraisal: Appraisal::new(TrustVector::NONE, Tier::None, [1; 33]),
    };
    let cwt = ear
        .sign_cwt(owner.public().id(), |message| sign_with(&key, message))
        .unwrap();
    assert_eq!(
        owner
            .public()
            .verify(&cwt, Kind::Policy, EVERY_CLASS, DOCUMENT),
        Err(OwnerError::Malformed(StatementError::Profile))
    );
}

#[test]
fn every_flipped_bit_is_refused() {
    let owner = signer();
    let statement = signed(&owner, 1);
    for bit in 0..statement.len() * 8 {
        let mut flipped = statement.clone();
        flipped[bit / 8] ^= 1 << (bit % 8);
        let found = owner
            .public()
            .verify(&flipped, Kind::Policy, EVERY_CLASS, DOCUMENT);
        assert!(found.is_err(), "bit {bit}");
    }
    for len in 0..statement.len() {
        let found = owner
            .public()
            .verify(&statement[..len], Kind::Policy, EVERY_CLASS, DOCUMENT);
        assert!(found.is_err(), "first {len} bytes");
    }
}

#[test]
fn versions_go_up_by_one() {
    let stated = |version, byte| Stated {
        version,
        sha256: [byte; 32],
    };
    let in_use = Some((5, &[5; 32]));
    assert_eq!(stated(1, 0).after(None), Ok(Succession::Next));
    assert_eq!(
        stated(2, 0).after(None),
        Err(OwnerError::Gap { stated: 2, next: 1 })
    );
    assert_eq!(stated(6, 0).after(in_use), Ok(Succession::Next));
    // The same document again, as the next version: a new version.
    assert_eq!(stated(6, 5).after(in_use), Ok(Succession::Next));
    assert_eq!(stated(5, 5).after(in_use), Ok(Succession::Same));
    for (version, byte) in [(5, 0), (4, 5), (4, 0), (1, 0)] {
        assert_eq!(
            stated(version, byte).after(in_use),
            Err(OwnerError::Rollback {
                stated: version,
                last: 5
            })
        );
    }
    assert_eq!(
        stated(7, 0).after(in_use),
        Err(OwnerError::Gap { stated: 7, next: 6 })
    );
}

#[test]
fn keys_are_of_p256_and_say_nothing_secret() {
    let rng = SystemRandom::new();
    let secret = SecretKey::generate(&rng).unwrap();
    let point = FileSigner::from_pkcs8(secret.expose_der()).unwrap();
    let spki = policy_root_spki(point.public().point());
    let public = OwnerKey::from_spki_pem(&pem::encode("PUBLIC KEY", &spki)).unwrap();
    let signer = OwnerSigner::from_pkcs8_pem(&secret.expose_pem(), &rng).unwrap();
    assert_eq!(signer.public(), &public);
    assert_eq!(public.id(), &sha256(&[&spki]));
    assert_eq!(
        format!("{signer:?}"),
        format!("OwnerSigner {{ public: {public:?}, .. }}")
    );

    for bad in [
        String::new(),
        pem::encode("PUBLIC KEY", &spki[..spki.len() - 1]),
        pem::encode("CERTIFICATE", &spki),
        secret.expose_pem().to_string(),
    ] {
        assert_eq!(
            OwnerKey::from_spki_pem(&bad).err(),
            Some(OwnerError::BadPublicKey)
        );
    }
    for bad in [
        "",
        "-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n",
    ] {
        assert_eq!(
            OwnerSigner::from_pkcs8_pem(bad, &rng).err(),
            Some(OwnerError::BadPrivateKey)
        );
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]
    #[test]
    fn what_is_signed_is_believed_of_that_document_alone(
        kind in 1_u64..=3,
        subject in "[a-z0-9._-]{1,64}",
        version in 1_u64..1 << 53,
        document: Vec<u8>,
        other: Vec<u8>,
    ) {
        let rng = SystemRandom::new();
        let owner = signer();
        let kind = Kind::from_id(kind).unwrap();
        let signed = owner.state(kind, &subject, version, &document, &rng).unwrap();
        let key = owner.public();
        let stated = key.verify(&signed, kind, &subject, &document).unwrap();
        prop_assert_eq!(stated.version(), version);
        prop_assert_eq!(key.verify(&signed, kind, &subject, &other).is_ok(), other == document);
    }

    #[test]
    fn no_input_panics(bytes: Vec<u8>) {
        let found = signer().public().verify(&bytes, Kind::Policy, EVERY_CLASS, DOCUMENT);
        prop_assert!(found.is_err());
    }
}
