//! Each leniency: refused for that very thing where it is off, named in the
//! result where it is on.

use super::{
    pki::{
        BASIC_CONSTRAINTS, EKU, KEY_USAGE, NOW, Spec, Vendor, chain, der, ec_spki, ecc_ek, ek,
        key_usage, oid, rsa_ek, rsa_spki, seq,
    },
    *,
};
use crate::time::UnixTime;

/// Endorses with the default leniencies but for what `change` does.
fn endorse(
    public: &Public,
    rules: Leniencies,
    at: UnixTime,
    change: impl FnOnce(Spec) -> Spec,
) -> Result<EndorsedEk, EndorsementError> {
    let vendor = Vendor::new();
    let leaf = change(vendor.spec(public)).sign(&vendor.issuing_key);
    let rules = Rules {
        leniencies: rules,
        ..Rules::default()
    };
    let anchors = vendor.anchors().with_rules(rules);
    anchors.endorse(&chain(&vendor.chain(leaf)), ek(public), at)
}

/// On, it endorses and is told; off, `NotLenient`.
fn needs(leniency: Leniency, public: &Public, change: impl Fn(Spec) -> Spec) {
    let on = Leniencies::default().and(leniency);
    let endorsed = endorse(public, on.clone(), NOW, &change).unwrap();
    assert_eq!(endorsed.facts().leniencies, [leniency]);
    refused!(
        endorse(public, on.without(leniency), NOW, &change),
        EndorsementError::NotLenient { at: 0, leniency: told } if told == leniency
    );
}

#[test]
fn a_good_certificate_needs_none() {
    let none = Leniencies::from_iter([]);
    let endorsed = endorse(&ecc_ek(), none, NOW, |s| s).unwrap();
    assert!(endorsed.facts().leniencies.is_empty());
}

#[test]
fn adv_a06_rsaes_oaep_key() {
    let Unique::Rsa(n) = rsa_ek().unique else {
        unreachable!()
    };
    let oaep = [0x2A, 0x86, 0x48, 0x86, 0xF7, 0x0D, 0x01, 0x01, 0x07];
    needs(Leniency::RsaesOaepKey, &rsa_ek(), |s| Spec {
        spki: rsa_spki(&oaep, &n, &[1, 0, 1]),
        ..s
    });
}

#[test]
fn adv_a06_set_order() {
    let pair = |last, text: &str| seq(&[&oid(&[0x55, 0x04, last]), &der(0x0C, &[text.as_bytes()])]);
    // CN before O is in order, O before CN is not.
    let (cn, o) = (pair(3, "x"), pair(10, "x"));
    let sorted = seq(&[&der(0x31, &[&cn, &o])]);
    let none = Leniencies::from_iter([]);
    let _ = endorse(&ecc_ek(), none, NOW, |s| Spec {
        subject: sorted,
        ..s
    })
    .unwrap();
    needs(Leniency::SetOrder, &ecc_ek(), |s| Spec {
        subject: seq(&[&der(0x31, &[&o, &cn])]),
        ..s
    });
}

#[test]
fn adv_a06_encoded_default() {
    // critical FALSE written out.
    needs(Leniency::EncodedDefault, &ecc_ek(), |s| {
        let value = seq(&[&oid(&[0x67, 0x81, 0x05, 0x08, 0x01])]);
        let written = seq(&[&oid(EKU), &der(0x01, &[&[0]]), &der(0x04, &[&value])]);
        s.replace(EKU, Some(written))
    });
    // cA FALSE written out.
    needs(Leniency::EncodedDefault, &ecc_ek(), |s| {
        let value = seq(&[&der(0x01, &[&[0]])]);
        s.replace(
            BASIC_CONSTRAINTS,
            Some(extension(BASIC_CONSTRAINTS, true, &value)),
        )
    });
}

#[test]
fn adv_a06_serial_padding() {
    needs(Leniency::SerialPadding, &ecc_ek(), |s| Spec {
        serial_padding: 1,
        ..s
    });
}

#[test]
fn adv_a06_ecc_key_encipherment() {
    let change = |s: Spec| s.replace(KEY_USAGE, Some(key_usage(0x20)));
    let on = Leniencies::default().and(Leniency::EccKeyEncipherment);
    let endorsed = endorse(&ecc_ek(), on.clone(), NOW, change).unwrap();
    assert_eq!(endorsed.facts().leniencies, [Leniency::EccKeyEncipherment]);
    refused!(
        endorse(&ecc_ek(), Leniencies::default(), NOW, change),
        EndorsementError::KeyUsage("keyAgreement")
    );
    // It excuses nothing else.
    refused!(
        endorse(&ecc_ek(), on, NOW, |s| s
            .replace(KEY_USAGE, Some(key_usage(0x80)))),
        EndorsementError::KeyUsage("keyAgreement")
    );
}

#[test]
fn adv_a06_nv_images() {
    let vendor = Vendor::new();
    let leaf = vendor.spec(&ecc_ek()).sign(&vendor.issuing_key);
    let len = u16::try_from(leaf.len() + 2).unwrap().to_be_bytes();
    let header = [&[0x10, 0x01, 0x00][..], &len, &[0x10, 0x02]].concat();
    let cases = [
        ([leaf.clone(), vec![0xFF; 30]].concat(), Leniency::NvPadding),
        ([leaf.clone(), vec![0]].concat(), Leniency::NvPadding),
        ([header, leaf.clone()].concat(), Leniency::NvHeader),
    ];
    for (image, leniency) in cases {
        let sent = chain(&vendor.chain(image));
        assert_eq!(sent.sha256(), chain(&vendor.chain(leaf.clone())).sha256());
        let endorsed = vendor.anchors().endorse(&sent, ek(&ecc_ek()), NOW).unwrap();
        assert_eq!(endorsed.facts().leniencies, [leniency]);
        let strict = vendor.anchors().with_rules(Rules {
            leniencies: Leniencies::default().without(leniency),
            ..Rules::default()
        });
        refused!(
            strict.endorse(&sent, ek(&ecc_ek()), NOW),
            EndorsementError::NotLenient { at: 0, leniency: told } if told == leniency
        );
    }
    // Other bytes, or filling after another certificate than the EK's.
    for bad in [
        vec![[leaf.clone(), vec![1]].concat(), vendor.issuing.clone()],
        vec![
            [leaf.clone(), vec![0xFF, 0]].concat(),
            vendor.issuing.clone(),
        ],
        vec![leaf, [vendor.issuing.clone(), vec![0]].concat()],
    ] {
        refused!(EkChain::parse(&bad), EndorsementError::TrailingBytes { .. });
    }
}

#[test]
fn adv_a06_expired() {
    let on = Leniencies::default().and(Leniency::Expired);
    // The good certificate ends on 2034-01-01, its issuer on 2035-01-01.
    let late = UnixTime::from_seconds(2_100_000_000);
    let endorsed = endorse(&ecc_ek(), on.clone(), late, |s| s).unwrap();
    assert_eq!(endorsed.facts().leniencies, [Leniency::Expired]);
    refused!(
        endorse(&ecc_ek(), Leniencies::default(), late, |s| s),
        EndorsementError::Expired { not_after } if not_after.seconds() == 2_019_686_400
    );
    // In time, it is not needed and not told.
    let endorsed = endorse(&ecc_ek(), on.clone(), NOW, |s| s).unwrap();
    assert!(endorsed.facts().leniencies.is_empty());
    // Never valid together with its issuer, which begins on 2020-01-01.
    refused!(
        endorse(&ecc_ek(), on.clone(), NOW, |s| Spec {
            not_before: "180101000000Z",
            not_after: "190101000000Z",
            ..s
        }),
        EndorsementError::Expired { not_after } if not_after.seconds() == 1_546_300_800
    );
    // What is not yet valid stays so.
    refused!(
        endorse(&ecc_ek(), on, NOW, |s| Spec {
            not_before: "330101000000Z",
            ..s
        }),
        EndorsementError::NotYetValid { .. }
    );
}

#[test]
fn sha_1_is_excused_and_no_other_broken_hash() {
    let lenient = Leniencies::default().and(Leniency::Sha1Signature);
    let pkcs1 = |last| [&pki::RSA[..8], &[last]].concat();
    // The signature is not by RSA, so that it does not verify; but it is
    // looked at.
    let with = |signature_oid| {
        endorse(&ecc_ek(), lenient.clone(), NOW, |s| Spec {
            signature_oid,
            ..s
        })
    };
    assert!(!matches!(
        with(pkcs1(5)),
        Err(EndorsementError::WeakSignature { .. }) | Ok(_)
    ));
    refused!(
        with(pkcs1(4)),
        EndorsementError::WeakSignature {
            at: 0,
            alg: WeakAlg::Md5
        }
    );
}

#[test]
fn a_compressed_point_is_another_key() {
    let Unique::Ecc { x, .. } = ecc_ek().unique else {
        unreachable!()
    };
    let point = [vec![2], x].concat();
    refused!(
        endorse(&ecc_ek(), Leniencies::default(), NOW, |s| Spec {
            spki: ec_spki(pki::P256, &point),
            ..s
        }),
        EndorsementError::OtherKey
    );
}
