//! Wrapping, undone by a TPM in memory. Live TPMs: tests/swtpm/import.rs.

use holdfast_proto::{
    binding::Ueid,
    tpm::{ObjectAttributes, Unique, templates::AkAlg},
};
use ring::rand::SystemRandom;

use super::*;
use crate::{
    endorsement::{EkKnownBy, EkLink},
    heartbeat::{Epoch, HeartbeatKey, MasterKey},
    verification::tests::soft_tpm::SoftTpm,
};

fn id(tpm: &SoftTpm) -> Ueid {
    holdfast_proto::binding::gateway_id(&tpm.ek_public).unwrap()
}

fn recipient(tpm: &SoftTpm) -> WrapRecipient {
    let (known_by, link) = (EkKnownBy::EkCertificate, EkLink::Activation);
    WrapRecipient::on_record(&tpm.ek_public.encode(), known_by, link, &id(tpm)).unwrap()
}

fn key(tpm: &SoftTpm, epoch: u8) -> HeartbeatKey {
    let epoch = Epoch::from_bytes([epoch; 16]);
    MasterKey::new(&[7; 32]).derive(&id(tpm), &tpm.ak_public.name(), &epoch)
}

fn open(tpm: &SoftTpm, object: &WrappedObject) -> Option<Vec<u8>> {
    tpm.unwrap(
        b"DUPLICATE",
        &object.name(),
        object.duplicate(),
        object.encrypted_seed(),
    )
}

/// TPMT_SENSITIVE: obfuscation and data; type and authValue are as they must be.
fn read(sensitive: &[u8]) -> (&[u8], &[u8]) {
    assert_eq!(sensitive[..6], [0, 8, 0, 0, 0, 32], "{sensitive:?}");
    let data = &sensitive[6 + 32..];
    assert_eq!(
        usize::from(u16::from_be_bytes([data[0], data[1]])),
        data.len() - 2
    );
    (&sensitive[6..6 + 32], &data[2..])
}

#[test]
fn the_tpm_of_that_ek_finds_the_secret_and_no_other() {
    let (tpm, other) = (
        SoftTpm::new(AkAlg::EcdsaP256),
        SoftTpm::new(AkAlg::EcdsaP256),
    );
    for secret in [&[0x5A; 1][..], &[0x5A; MAX_SECRET_LEN]] {
        let object = wrap_secret(&recipient(&tpm), secret, &SystemRandom::new()).unwrap();
        let sensitive = open(&tpm, &object).unwrap();
        let (obfuscation, data) = read(&sensitive);
        assert_eq!(data, secret);
        let digest = object.public().name_alg.digest(&[obfuscation, data]);
        assert_eq!(
            object.public().unique,
            Unique::KeyedHash(digest.as_bytes().to_vec())
        );
        assert_eq!(open(&other, &object), None);
        // An activation credential it is not.
        assert_eq!(
            tpm.unwrap(
                b"IDENTITY",
                &object.name(),
                object.duplicate(),
                object.encrypted_seed()
            ),
            None
        );
    }
}

#[test]
fn cve_c24_two_wraps_of_one_secret_share_nothing() {
    let tpm = SoftTpm::new(AkAlg::EcdsaP256);
    let wrap = || wrap_secret(&recipient(&tpm), b"the same", &SystemRandom::new()).unwrap();
    let (one, two) = (wrap(), wrap());
    assert_ne!(one.encrypted_seed(), two.encrypted_seed());
    assert_ne!(one.duplicate()[34..], two.duplicate()[34..]);
    assert_ne!(one.name(), two.name());
    assert_ne!(open(&tpm, &one), open(&tpm, &two), "obfuscation is random");
    // Not even a key that is derived again.
    let wrap = || wrap_heartbeat_key(&recipient(&tpm), &key(&tpm, 1), &SystemRandom::new());
    let (one, two) = (wrap().unwrap(), wrap().unwrap());
    assert_ne!(one.encrypted_seed(), two.encrypted_seed());
    assert_ne!(one.duplicate()[34..], two.duplicate()[34..]);
    assert_eq!(one.name(), two.name());
}

#[test]
fn a_secret_has_1_to_128_bytes() {
    let tpm = SoftTpm::new(AkAlg::EcdsaP256);
    for len in [0, MAX_SECRET_LEN + 1] {
        assert!(matches!(
            wrap_secret(&recipient(&tpm), &vec![1; len], &SystemRandom::new()),
            Err(WrapError::SecretLength { len: found }) if found == len
        ));
    }
}

#[test]
fn only_an_endorsed_ek_that_makes_the_gateways_id_is_wrapped_for() {
    let (tpm, other) = (
        SoftTpm::new(AkAlg::EcdsaP256),
        SoftTpm::new(AkAlg::EcdsaP256),
    );
    let (ek, id) = (tpm.ek_public.encode(), id(&tpm));
    for known_by in [EkKnownBy::EkCertificate, EkKnownBy::Fingerprint] {
        for link in [EkLink::Activation, EkLink::Certification] {
            let on_record = |ek: &[u8]| WrapRecipient::on_record(ek, known_by, link, &id);
            assert_eq!(on_record(&ek).unwrap().gateway_id(), &id);
            assert!(matches!(
                on_record(&other.ek_public.encode()),
                Err(WrapError::OtherEk { .. })
            ));
            assert!(matches!(on_record(&ek[1..]), Err(WrapError::Record(_))));
        }
    }
}

/// There the id is the IAK's, and its word on the EK is what counts.
#[test]
fn on_the_iak_road_an_ek_that_the_iak_certified_is_wrapped_for_and_no_other() {
    let tpm = SoftTpm::new(AkAlg::EcdsaP256);
    let (ek, iak) = (
        tpm.ek_public.encode(),
        holdfast_proto::binding::gateway_id(&tpm.ak_public).unwrap(),
    );
    let on_record =
        |ek: &[u8], link| WrapRecipient::on_record(ek, EkKnownBy::IakCertificate, link, &iak);
    let recipient = on_record(&ek, EkLink::Certification).unwrap();
    assert_eq!(recipient.gateway_id(), &iak);
    let object = wrap_secret(&recipient, b"for its EK", &SystemRandom::new()).unwrap();
    assert!(open(&tpm, &object).is_some());
    assert!(matches!(
        on_record(&ek, EkLink::Activation),
        Err(WrapError::EkNotCertified)
    ));
    assert!(matches!(
        on_record(&ek[1..], EkLink::Certification),
        Err(WrapError::Record(_))
    ));
}

#[test]
fn the_heartbeat_key_is_restricted_and_has_no_policy_to_leave_by() {
    let tpm = SoftTpm::new(AkAlg::EcdsaP256);
    let key = key(&tpm, 1);
    let object = wrap_heartbeat_key(&recipient(&tpm), &key, &SystemRandom::new()).unwrap();
    assert_eq!(*object.public(), key.public());
    assert_eq!(
        object.public().attributes,
        ObjectAttributes::SIGN
            | ObjectAttributes::RESTRICTED
            | ObjectAttributes::USER_WITH_AUTH
            | ObjectAttributes::NO_DA
    );
    assert!(object.public().auth_policy.is_empty());
    let sensitive = open(&tpm, &object).unwrap();
    let (obfuscation, data) = read(&sensitive);
    assert_eq!((obfuscation, data), {
        let (obfuscation, key) = key.sensitive();
        (obfuscation.as_slice(), key.as_slice())
    });
}

#[test]
fn keys_differ_by_master_gateway_ak_and_epoch() {
    let (tpm, other) = (
        SoftTpm::new(AkAlg::EcdsaP256),
        SoftTpm::new(AkAlg::EcdsaP256),
    );
    let derive = |master: u8, id: &Ueid, ak: &SoftTpm, epoch: u8| {
        MasterKey::new(&[master; 32])
            .derive(id, &ak.ak_public.name(), &Epoch::from_bytes([epoch; 16]))
            .sensitive()
            .1
            .to_owned()
    };
    let (id, other_id) = (id(&tpm), id(&other));
    let keys = [
        derive(7, &id, &tpm, 1),
        derive(8, &id, &tpm, 1),
        derive(7, &other_id, &tpm, 1),
        derive(7, &id, &other, 1),
        derive(7, &id, &tpm, 2),
    ];
    let distinct: std::collections::BTreeSet<_> = keys.iter().collect();
    assert_eq!(distinct.len(), keys.len());
    assert_eq!(derive(7, &id, &tpm, 1), keys[0], "derived again");
}

#[test]
fn nothing_secret_is_shown() {
    let tpm = SoftTpm::new(AkAlg::EcdsaP256);
    let shown = format!("{:?} {:?}", MasterKey::new(&[7; 32]), key(&tpm, 1));
    assert_eq!(shown, "MasterKey(_) HeartbeatKey(_)");
}
