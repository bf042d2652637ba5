//! Each test changes one thing in a good endorsement and asserts the variant.

mod bundle;
mod corpus;
mod leniency;
pub(crate) mod path;
pub(crate) mod pki;
mod policies;
mod rules;

use holdfast_proto::tpm::{Parameters, Public, Unique, templates::EkTemplate};
use pki::{
    EKU, GOOD_TPM, KEY_USAGE, NOW, SAN, Spec, Vendor, basic_constraints, ca_spec, chain, der,
    ec_spki, ecc_ek, ek, ek_eku, extension, integer, key_usage, oid, rsa_ek, rsa_spki, seq,
    tpm_san,
};
use proptest::prelude::*;

use super::*;
use crate::inspect;

/// Endorses the ECC EK with a certificate that `change` spoiled.
fn endorse_with(change: impl FnOnce(Spec) -> Spec) -> Result<EndorsedEk, EndorsementError> {
    let vendor = Vendor::new();
    let leaf = change(vendor.spec(&ecc_ek())).sign(&vendor.issuing_key);
    vendor
        .anchors()
        .endorse(&chain(&vendor.chain(leaf)), ek(&ecc_ek()), NOW)
}

/// `assert_matches!` with the error shown.
macro_rules! refused {
    ($result:expr, $pattern:pat $(if $guard:expr)?) => {
        match $result {
            Err($pattern) $(if $guard)? => {}
            other => panic!("{other:?} is not {}", stringify!($pattern)),
        }
    };
}
pub(crate) use refused;

#[test]
fn a_good_chain_is_endorsed_with_its_facts() {
    let vendor = Vendor::new();
    for (public, template) in [(ecc_ek(), "L-2"), (rsa_ek(), "L-1")] {
        let chain = chain(&vendor.certify(&public));
        let endorsed = vendor.anchors().endorse(&chain, ek(&public), NOW).unwrap();
        let facts = endorsed.facts();
        assert_eq!(facts.manufacturer, "id:49465800");
        assert_eq!(facts.manufacturer_text().as_deref(), Some("IFX"));
        assert_eq!(facts.model, "SLB9670");
        assert_eq!(facts.version, "id:00070055");
        assert_eq!(facts.issuer, "CN=Vendor EK CA");
        assert_eq!(facts.ek_certificate_serial, "2a");
        assert_eq!(facts.ek_certificate_aki, "ab".repeat(20));
        assert_eq!(facts.ek_template, template);
        assert_eq!(endorsed.ek().public(), &public);
    }
}

#[test]
fn adv_a05_certificate_of_another_ek() {
    let vendor = Vendor::new();
    let chain = chain(&vendor.certify(&ecc_ek()));
    let other = Public {
        unique: rsa_ek().unique,
        ..EkTemplate::L1.public()
    };
    refused!(
        vendor.anchors().endorse(&chain, ek(&other), NOW),
        EndorsementError::OtherKey
    );

    // Same curve, one coordinate bit apart.
    let Unique::Ecc { mut x, y } = ecc_ek().unique else {
        unreachable!()
    };
    x[31] ^= 1;
    let near = Public {
        unique: Unique::Ecc { x, y },
        ..ecc_ek()
    };
    refused!(
        vendor.anchors().endorse(&chain, ek(&near), NOW),
        EndorsementError::OtherKey
    );

    // Same modulus, another exponent.
    let Unique::Rsa(n) = rsa_ek().unique else {
        unreachable!()
    };
    let leaf = Spec {
        spki: rsa_spki(pki::RSA, &n, &[3]),
        ..vendor.spec(&rsa_ek())
    };
    let certificates = vendor.chain(leaf.sign(&vendor.issuing_key));
    refused!(
        vendor
            .anchors()
            .endorse(&pki::chain(&certificates), ek(&rsa_ek()), NOW),
        EndorsementError::OtherKey
    );
}

#[test]
fn stripped_coordinates_are_the_same_key() {
    // A TPM may strip leading zeros of a coordinate: find a key that has some.
    let vendor = Vendor::new();
    let (x, y) = loop {
        let point = pki::CaKey::new().spki();
        let point = point[point.len() - 64..].to_vec();
        if point[0] == 0 {
            break (point[..32].to_vec(), point[32..].to_vec());
        }
    };
    let padded = Public {
        unique: Unique::Ecc {
            x: x.clone(),
            y: y.clone(),
        },
        ..ecc_ek()
    };
    let stripped = Public {
        unique: Unique::Ecc {
            x: x[1..].to_vec(),
            y,
        },
        ..ecc_ek()
    };
    let chain = chain(&vendor.certify(&padded));
    let one = vendor.anchors().endorse(&chain, ek(&padded), NOW).unwrap();
    let two = vendor
        .anchors()
        .endorse(&chain, ek(&stripped), NOW)
        .unwrap();
    assert_eq!(one.ek().gateway_id(), two.ek().gateway_id());
}

#[test]
fn adv_a06_self_signed() {
    let subject = pki::cn(Vendor::ISSUING);
    refused!(
        endorse_with(|s| Spec { subject, ..s }),
        EndorsementError::SelfSigned
    );
    // By a key of the attacker's own, which is the EK's.
    let own = pki::CaKey::new();
    let point = own.spki()[26..].to_vec();
    let (x, y) = point[1..].split_at(32);
    let unique = Unique::Ecc {
        x: x.to_vec(),
        y: y.to_vec(),
    };
    let public = Public { unique, ..ecc_ek() };
    let vendor = Vendor::new();
    for name in ["Nobody", Vendor::ROOT] {
        let leaf = Spec {
            issuer: pki::cn(name),
            subject: pki::cn(name),
            ..vendor.spec(&public)
        };
        refused!(
            vendor
                .anchors()
                .endorse(&chain(&[leaf.sign(&own)]), ek(&public), NOW),
            EndorsementError::SelfSigned
        );
    }
    // A root of that very key does not help.
    let root = ca_spec("Own", "Own", &own).sign(&own);
    let anchors = Anchors::new(vec![root], Vec::new()).unwrap();
    let leaf = Spec {
        issuer: pki::cn("Own"),
        ..vendor.spec(&public)
    };
    refused!(
        anchors.endorse(&chain(&[leaf.sign(&own)]), ek(&public), NOW),
        EndorsementError::SelfSigned
    );
}

#[test]
fn adv_a06_end_entity_that_says_ca() {
    refused!(
        endorse_with(|s| s.replace(pki::BASIC_CONSTRAINTS, Some(basic_constraints(true, None)))),
        EndorsementError::LeafIsCa
    );
    // Without the extension it is none.
    let _ = endorse_with(|s| s.replace(pki::BASIC_CONSTRAINTS, None)).unwrap();
}

#[test]
fn adv_a06_key_usage() {
    for bad in [None, Some(key_usage(0x80)), Some(key_usage(0x20))] {
        refused!(
            endorse_with(|s| s.replace(KEY_USAGE, bad)),
            EndorsementError::KeyUsage("keyAgreement")
        );
    }
    let vendor = Vendor::new();
    let leaf = vendor
        .spec(&rsa_ek())
        .replace(KEY_USAGE, Some(key_usage(0x08)));
    let certificates = vendor.chain(leaf.sign(&vendor.issuing_key));
    refused!(
        vendor
            .anchors()
            .endorse(&chain(&certificates), ek(&rsa_ek()), NOW),
        EndorsementError::KeyUsage("keyEncipherment")
    );
}

#[test]
fn adv_a06_extended_key_usage() {
    let client_auth = seq(&[&oid(&[0x2B, 0x06, 0x01, 0x05, 0x05, 0x07, 0x03, 0x02])]);
    for bad in [
        None,
        Some(extension(EKU, false, &client_auth)),
        Some(extension(EKU, false, &seq(&[]))),
    ] {
        refused!(
            endorse_with(|s| s.replace(EKU, bad)),
            EndorsementError::ExtendedKeyUsage
        );
    }
}

#[test]
fn adv_a06_unknown_critical_extension_is_named() {
    let id = [0x2B, 0x06, 0x01, 0x04, 0x01, 0x83, 0x5B];
    refused!(
        endorse_with(|mut s| {
            s.extensions.push(extension(&id, true, &[5, 0]));
            s
        }),
        EndorsementError::CriticalExtension { at: 0, oid } if oid == "1.3.6.1.4.1.475"
    );
    // Not critical: nobody's business.
    let _ = endorse_with(|mut s| {
        s.extensions.push(extension(&id, false, &[5, 0]));
        s
    })
    .unwrap();
}

#[test]
fn adv_a06_tpm_attributes() {
    let cases: [(&[(u8, &str)], &str); 6] = [
        (&[(2, "m"), (3, "v")], "tpmManufacturer"),
        (&[(1, "id:1"), (3, "v")], "tpmModel"),
        (&[(1, "id:1"), (2, "m")], "tpmVersion"),
        (
            &[(1, "id:1"), (1, "id:2"), (2, "m"), (3, "v")],
            "tpmManufacturer",
        ),
        (&[(1, "id:1"), (2, "\u{1b}[2J"), (3, "v")], "tpmModel"),
        (&[(1, "id:1"), (2, ""), (3, "v")], "tpmModel"),
    ];
    for (attributes, name) in cases {
        refused!(
            endorse_with(|s| s.replace(SAN, Some(tpm_san(attributes)))),
            EndorsementError::TpmAttribute(label) if label == name
        );
    }
    refused!(
        endorse_with(|s| s.replace(SAN, None)),
        EndorsementError::TpmAttribute(_)
    );
    let long = "x".repeat(65);
    refused!(
        endorse_with(|s| s.replace(SAN, Some(tpm_san(&[(1, "a"), (2, &long), (3, "v")])))),
        EndorsementError::TpmAttribute("tpmModel")
    );
}

#[test]
fn adv_a06_weak_signatures() {
    let pkcs1 = |last| [&pki::RSA[..8], &[last]].concat();
    let ecdsa_sha1 = vec![0x2A, 0x86, 0x48, 0xCE, 0x3D, 0x04, 0x01];
    for (signature_oid, weak) in [
        (pkcs1(2), WeakAlg::Md2),
        (pkcs1(4), WeakAlg::Md5),
        (pkcs1(5), WeakAlg::Sha1),
        (ecdsa_sha1, WeakAlg::Sha1),
    ] {
        refused!(
            endorse_with(|s| Spec { signature_oid, ..s }),
            EndorsementError::WeakSignature { at: 0, alg } if alg == weak
        );
    }
}

#[test]
fn adv_a06_weak_keys_in_the_chain() {
    let Unique::Rsa(n) = rsa_ek().unique else {
        unreachable!()
    };
    let even = [&n[..255], &[n[255] & 0xFE]].concat();
    let p192 = [0x2A, 0x86, 0x48, 0xCE, 0x3D, 0x03, 0x01, 0x01];
    let f4 = [1, 0, 1];
    let cases = [
        (
            rsa_spki(pki::RSA, &n[..128], &f4),
            WeakKey::RsaModulus(1024),
        ),
        (rsa_spki(pki::RSA, &even, &f4), WeakKey::RsaModulus(2048)),
        (
            rsa_spki(pki::RSA, &n, &[1]),
            WeakKey::RsaExponent("01".into()),
        ),
        (
            rsa_spki(pki::RSA, &n, &[1, 0, 0]),
            WeakKey::RsaExponent("010000".into()),
        ),
        (
            rsa_spki(pki::RSA, &n, &[1, 0, 0, 0, 1]),
            WeakKey::RsaExponent("0100000001".into()),
        ),
        (
            ec_spki(&p192, &[4; 49]),
            WeakKey::Curve("1.2.840.10045.3.1.1".into()),
        ),
        (
            seq(&[&seq(&[&oid(&[0x2B, 0x65, 0x70])]), &der(0x03, &[&[0; 33]])]),
            WeakKey::Algorithm("1.3.101.112".into()),
        ),
    ];
    let vendor = Vendor::new();
    for (spki, expected) in cases {
        let weak = Spec {
            spki,
            ..ca_spec(Vendor::ROOT, Vendor::ISSUING, &vendor.root_key)
        };
        let weak = weak.sign(&vendor.root_key);
        let leaf = vendor.spec(&ecc_ek()).sign(&vendor.issuing_key);
        refused!(
            vendor.anchors().endorse(&chain(&[leaf, weak.clone()]), ek(&ecc_ek()), NOW),
            EndorsementError::WeakKey { at: 1, weakness } if weakness == expected
        );
        refused!(
            CertificateFacts::parse(&weak, &Leniencies::default()),
            EndorsementError::WeakKey { .. }
        );
    }
}

#[test]
fn known_quirks_of_vendors_are_read() {
    // ST and Infineon: the EK's key is said to be for OAEP.
    let vendor = Vendor::new();
    let oaep = [&pki::RSA[..8], &[7]].concat();
    let Unique::Rsa(n) = rsa_ek().unique else {
        unreachable!()
    };
    let leaf = Spec {
        spki: rsa_spki(&oaep, &n, &[1, 0, 1]),
        ..vendor.spec(&rsa_ek())
    };
    let certificates = vendor.chain(leaf.sign(&vendor.issuing_key));
    let _ = vendor
        .anchors()
        .endorse(&chain(&certificates), ek(&rsa_ek()), NOW)
        .unwrap();

    // Intel: `critical` FALSE written out.
    let purposes = seq(&[&oid(&[0x67, 0x81, 0x05, 0x08, 0x01])]);
    let explicit = seq(&[&oid(EKU), &der(0x01, &[&[0]]), &der(0x04, &[&purposes])]);
    let read = Vendor::new();
    let leaf = read
        .spec(&ecc_ek())
        .replace(EKU, Some(explicit))
        .sign(&read.issuing_key);
    // Ours reads it; whether the path is accepted is webpki's to say.
    EkChain::parse(&[leaf]).unwrap();
}

#[test]
fn chain_form() {
    let vendor = Vendor::new();
    let good = vendor.certify(&ecc_ek());
    refused!(
        Vendor::new()
            .anchors()
            .endorse(&EkChain::parse(&[]).unwrap(), ek(&ecc_ek()), NOW),
        EndorsementError::NoCertificate { spki_sha256 }
            if spki_sha256 == hex::encode(ek(&ecc_ek()).spki_sha256())
    );
    refused!(
        EkChain::parse(&vec![good[0].clone(); EkChain::MAX_CERTIFICATES + 1]),
        EndorsementError::TooMany(9)
    );
    let trailing = [&good[0][..], &[0, 1]].concat();
    refused!(
        EkChain::parse(std::slice::from_ref(&trailing)),
        EndorsementError::TrailingBytes { at: 0, len: 2 }
    );
    refused!(
        EkChain::parse(&[good[0].clone(), trailing]),
        EndorsementError::TrailingBytes { at: 1, .. }
    );
    refused!(
        EkChain::parse(&[vec![0; EkChain::MAX_CERTIFICATE_LEN + 1]]),
        EndorsementError::TooLong { at: 0, .. }
    );
    refused!(
        EkChain::parse(&[vec![0x30, 0]]),
        EndorsementError::Malformed { at: 0, .. }
    );
    // Order and borders count.
    let swapped = [good[1].clone(), good[0].clone()];
    assert_ne!(chain(&good).sha256(), chain(&swapped).sha256());
}

#[test]
fn certificate_form() {
    let vendor = Vendor::new();
    let good = vendor.spec(&ecc_ek());
    // An extension twice.
    let twice = Spec {
        extensions: [good.extensions.clone(), vec![ek_eku()]].concat(),
        ..good.clone()
    };
    refused!(
        EkChain::parse(&[twice.sign(&vendor.issuing_key)]),
        EndorsementError::Malformed {
            part: "extensions",
            ..
        }
    );
    // Inner and outer algorithm differ: the outer OID is the second of its kind.
    let mut der = good.sign(&vendor.issuing_key);
    let algorithm = oid(pki::ECDSA_SHA256);
    let outer = der
        .windows(algorithm.len())
        .rposition(|w| w == algorithm)
        .unwrap();
    der[outer + algorithm.len() - 1] ^= 1;
    refused!(
        EkChain::parse(&[der]),
        EndorsementError::Malformed {
            part: "signature algorithm (differs)",
            ..
        }
    );
    // v1: drop `[0] version`, five bytes right after the two headers.
    let der = good.sign(&vendor.issuing_key);
    let at = der
        .windows(5)
        .position(|w| w == [0xA0, 3, 2, 1, 2])
        .unwrap();
    let mut v2 = der.clone();
    v2[at + 4] = 1;
    refused!(
        EkChain::parse(&[v2]),
        EndorsementError::Malformed {
            part: "version (not v3)",
            ..
        }
    );
    let bad_time = Spec {
        not_after: "340230000000Z",
        ..good
    };
    refused!(
        EkChain::parse(&[bad_time.sign(&vendor.issuing_key)]),
        EndorsementError::Malformed {
            part: "validity",
            ..
        }
    );
}

#[test]
fn adv_a18_only_the_template_itself() {
    let altered = |change: &dyn Fn(&mut Public)| {
        let mut public = ecc_ek();
        change(&mut public);
        EkPublic::parse(&public.encode())
    };
    altered(&|_| ()).unwrap();
    refused!(
        altered(&|p| p.auth_policy[0] ^= 1),
        EndorsementError::NotATemplate
    );
    refused!(
        altered(&|p| p.auth_policy.clear()),
        EndorsementError::NotATemplate
    );
    refused!(
        altered(&|p| p.attributes = holdfast_proto::tpm::ObjectAttributes::from_bits(0x0003_00F2)),
        EndorsementError::NotATemplate
    );
    refused!(
        altered(&|p| {
            let Parameters::Ecc { symmetric, .. } = &mut p.parameters else {
                unreachable!()
            };
            *symmetric = holdfast_proto::tpm::Symmetric::Aes { key_bits: 256 };
        }),
        EndorsementError::NotATemplate
    );
    refused!(EkPublic::parse(&[]), EndorsementError::EkPublic(_));
    // The key is malformed: coordinate missing, modulus short, even.
    refused!(
        altered(&|p| p.unique = Unique::Ecc {
            x: vec![],
            y: vec![1]
        }),
        EndorsementError::EkKey
    );
    let Unique::Rsa(n) = rsa_ek().unique else {
        unreachable!()
    };
    let even = [&n[..255], &[n[255] & 0xFE]].concat();
    let small = [&[0x7F], &n[1..]].concat();
    for n in [n[..255].to_vec(), even, small] {
        let public = Public {
            unique: Unique::Rsa(n),
            ..EkTemplate::L1.public()
        };
        refused!(EkPublic::parse(&public.encode()), EndorsementError::EkKey);
    }
}

#[test]
fn names_are_shown_inert() {
    let vendor = Vendor::new();
    let issuer = pki::cn("evil\u{1b}[31m\n=\u{202e}x");
    let leaf = Spec {
        issuer,
        ..vendor.spec(&ecc_ek())
    }
    .sign(&vendor.issuing_key);
    let error = vendor
        .anchors()
        .endorse(&chain(&[leaf]), ek(&ecc_ek()), NOW)
        .unwrap_err();
    let text = error.to_string();
    assert!(text.bytes().all(|b| (0x20..0x7F).contains(&b)), "{text:?}");
}

#[test]
fn facts_survive_the_store() {
    let endorsed = endorse_with(|s| s).unwrap();
    let json = serde_json::to_string(endorsed.facts()).unwrap();
    assert_eq!(
        &serde_json::from_str::<TpmFacts>(&json).unwrap(),
        endorsed.facts()
    );
    let odd = TpmFacts {
        manufacturer: "id:ZZ".into(),
        ..endorsed.facts().clone()
    };
    assert_eq!(odd.manufacturer_text(), None);
    assert_eq!(GOOD_TPM.len(), 3);
}

/// step-ca's flaw: an extended key usage that lists nothing, in any certificate
/// that is read.
#[test]
fn cve_c29_empty_eku_does_not_panic() {
    let empty = || Some(extension(EKU, false, &seq(&[])));
    refused!(
        endorse_with(|leaf| leaf.replace(EKU, empty())),
        EndorsementError::ExtendedKeyUsage
    );
    let vendor = Vendor::new();
    let root = ca_spec(Vendor::ROOT, Vendor::ROOT, &vendor.root_key);
    let root = root.replace(EKU, empty()).sign(&vendor.root_key);
    let issuing = ca_spec(Vendor::ROOT, Vendor::ISSUING, &vendor.issuing_key);
    let issuing = issuing.replace(EKU, empty()).sign(&vendor.root_key);
    let leaf = vendor.spec(&ecc_ek()).sign(&vendor.issuing_key);
    for (root, issuing) in [
        (root.clone(), vendor.issuing.clone()),
        (vendor.root.clone(), issuing.clone()),
        (root, issuing),
    ] {
        // As `endorsement import` reads them.
        for der in [&root, &issuing] {
            let _ = CertificateFacts::parse(der, &Leniencies::default());
        }
        let Ok(anchors) = Anchors::new(vec![root.clone()], vec![issuing.clone()]) else {
            continue;
        };
        let chain = chain(&[leaf.clone(), issuing.clone()]);
        let _ = anchors.endorse(&chain, ek(&ecc_ek()), NOW);
        let trust = inspect::ek_certificate::Trust::new(vec![root], vec![issuing]).unwrap();
        let _ = inspect::ek_certificate::inspect(&leaf, &trust, NOW);
    }
    let leaf = vendor.spec(&ecc_ek()).replace(EKU, empty());
    let leaf = leaf.sign(&vendor.issuing_key);
    let trust = inspect::ek_certificate::Trust::new(vec![vendor.root], vec![vendor.issuing]);
    let report = inspect::ek_certificate::inspect(&leaf, &trust.unwrap(), NOW).unwrap();
    assert_eq!(report.verdict, inspect::Verdict::Refused);
    let report = inspect::ldevid::inspect(&leaf, None, NOW).unwrap();
    assert_eq!(report.verdict, inspect::Verdict::Refused);
}

proptest! {
    /// A18: one EK is one gateway, whatever else the client says of it.
    #[test]
    fn adv_a18_any_other_byte_is_refused(at in 0_usize..56, bit in 0_u8..8) {
        let mut area = ecc_ek().encode();
        // `unique` is the last 68 bytes of an L-2 area.
        let at = at % (area.len() - 68);
        area[at] ^= 1 << bit;
        prop_assert!(EkPublic::parse(&area).is_err());
    }

    #[test]
    fn a_damaged_certificate_never_endorses_nor_panics(at in 0_usize..2000, bit in 0_u8..8) {
        let vendor = Vendor::new();
        let mut good = vendor.certify(&ecc_ek());
        let at = at % good[0].len();
        good[0][at] ^= 1 << bit;
        if let Ok(chain) = EkChain::parse(&good) {
            prop_assert!(vendor.anchors().endorse(&chain, ek(&ecc_ek()), NOW).is_err());
        }
    }

    #[test]
    fn arbitrary_bytes_never_panic(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
        let _ = EkChain::parse(std::slice::from_ref(&bytes));
        let _ = CertificateFacts::parse(&bytes, &Leniencies::default());
        let _ = EkPublic::parse(&bytes);
        let sequence = seq(&[&bytes]);
        let _ = EkChain::parse(&[sequence]);
        let _ = integer(&bytes);
    }
}
