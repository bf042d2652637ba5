use holdfast_proto::tpm::{HashAlg, PcrSet};
use ring::{
    rand::SystemRandom,
    signature::{ECDSA_P256_SHA256_FIXED, UnparsedPublicKey},
};

use super::*;
use crate::identity::SecretKey;

fn key() -> PolicyKey {
    let rng = SystemRandom::new();
    let key = SecretKey::generate(&rng).unwrap();
    PolicyKey::from_pkcs8_pem(&key.expose_pem(), &rng).unwrap()
}

fn selection() -> PcrSelection {
    PcrSelection {
        hash: HashAlg::Sha256,
        pcrs: PcrSet::from_indices([0, 15]).unwrap(),
    }
}

fn is_signed(key: &Public, message: &[u8], signature: &[u8; 64]) -> bool {
    UnparsedPublicKey::new(&ECDSA_P256_SHA256_FIXED, key.to_ec_point().unwrap())
        .verify(message, signature)
        .is_ok()
}

fn delegate(root: &PolicyKey, online: &PolicyKey, before: Option<Approvals>) -> Approvals {
    let rng = SystemRandom::new();
    let authority = root.delegate(online.public(), "edge", &rng).unwrap();
    delegated(before, root.public(), "edge", authority).unwrap()
}

fn approve(online: &PolicyKey, approvals: Approvals, n: u8) -> Result<Approvals, SealingError> {
    let approval = online.approve("edge", selection(), [n; 32], &SystemRandom::new());
    approved(approvals, online.public(), approval.unwrap())
}

#[test]
fn every_signature_holds_and_is_for_its_class() {
    let (root, online) = (key(), key());
    let mut approvals = approve(&online, delegate(&root, &online, None), 1).unwrap();
    approvals.verify(is_signed).unwrap();
    approvals.class = "core".to_owned();
    approvals.verify(is_signed).unwrap_err();
}

#[test]
fn a_key_that_the_root_did_not_delegate_to_approves_nothing() {
    let (root, online) = (key(), key());
    let approvals = delegate(&root, &online, None);
    let class = "edge".to_owned();
    let refused = approve(&key(), approvals.clone(), 1);
    assert_eq!(
        refused,
        Err(SealingError::NotDelegated {
            class: class.clone()
        })
    );
    let stranger = key();
    let authority = stranger.delegate(online.public(), "edge", &SystemRandom::new());
    let refused = delegated(
        Some(approvals),
        stranger.public(),
        "edge",
        authority.unwrap(),
    );
    assert_eq!(refused, Err(SealingError::OtherRoot { class }));
}

#[test]
fn new_keys_and_states_come_first_and_old_ones_stay_up_to_the_limit() {
    let (root, first, second) = (key(), key(), key());
    let mut approvals = delegate(&root, &first, None);
    for n in 0..20 {
        approvals = approve(&first, approvals, n).unwrap();
    }
    // Once more the same state, and once more the same key.
    approvals = approve(&first, approvals, 19).unwrap();
    approvals = delegate(&root, &first, Some(approvals));
    assert_eq!(approvals.authorities.len(), 1);
    let states = &approvals.authorities[0].approvals;
    assert_eq!(states.len(), MAX_APPROVALS);
    assert_eq!(
        (states[0].pcr_digest, states[15].pcr_digest),
        ([19; 32], [4; 32])
    );

    approvals = delegate(&root, &second, Some(approvals));
    approvals = approve(&second, approvals, 7).unwrap();
    assert_eq!(&approvals.authorities[0].key, second.public());
    assert_eq!(approvals.authorities[1].approvals.len(), MAX_APPROVALS);
    for _ in 0..3 {
        approvals = delegate(&root, &key(), Some(approvals));
    }
    assert_eq!(approvals.authorities.len(), MAX_AUTHORITIES);
    approvals.verify(is_signed).unwrap();
    let text = approvals.to_text();
    assert_eq!(Approvals::from_text(&text), Ok(approvals));
}

#[test]
fn other_keys_are_refused() {
    for text in [
        "",
        "-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n",
    ] {
        let refused = PolicyKey::from_pkcs8_pem(text, &SystemRandom::new());
        assert_eq!(refused.unwrap_err(), SealingError::BadKey);
    }
}
