//! The owner's rules: listed keys, denials, firmware floors, CRLs; before a
//! challenge, and later on.

use super::{
    path::{CrlSpec, crl, issuing_anchors},
    pki::{NOW, Spec, Vendor, chain, ecc_ek, ek, rsa_ek},
    *,
};
use crate::{digest::sha256, endorsement::roca, time::UnixTime};

const SPKI: [u8; 32] = [7; 32];

fn endorse(vendor: &Vendor, rules: Rules) -> Result<EndorsedEk, EndorsementError> {
    let sent = chain(&vendor.certify(&ecc_ek()));
    vendor
        .anchors()
        .with_rules(rules)
        .endorse(&sent, ek(&ecc_ek()), NOW)
}

fn floor(manufacturer: &str) -> FirmwareFloor {
    FirmwareFloor {
        manufacturer: manufacturer.to_owned(),
        model: None,
        line: None,
        quoted: None,
        certified: None,
        reason: "CVE-2025-2884".to_owned(),
    }
}

fn floors(floors: Vec<FirmwareFloor>) -> Rules {
    Rules {
        floors,
        ..Rules::default()
    }
}

fn codes(standing: &EndorsementStanding) -> Vec<FindingCode> {
    standing.findings().iter().map(|f| f.code).collect()
}

#[test]
fn a_listed_key_needs_no_certificate() {
    let key = ek(&ecc_ek());
    let listed = ListedEk {
        manufacturer: "id:49465800".to_owned(),
        model: "SLB9670".to_owned(),
        version: String::new(),
    };
    let rules = |spki| Rules {
        fingerprints: [(spki, listed.clone())].into(),
        ..Rules::default()
    };
    let none = || Anchors::new(Vec::new(), Vec::new()).unwrap();
    let empty = EkChain::parse(&[]).unwrap();
    let anchors = none().with_rules(rules(key.spki_sha256()));
    let endorsed = anchors.endorse(&empty, key.clone(), NOW).unwrap();
    let facts = endorsed.facts().clone();
    assert_eq!(facts.known_by, EkKnownBy::Fingerprint);
    assert_eq!(
        (facts.model.as_str(), facts.issuer.as_str()),
        ("SLB9670", "")
    );
    // Another key's entry; and an entry does not excuse a bad certificate.
    let (other, bad) = (none().with_rules(rules([1; 32])), Vendor::new());
    refused!(
        other.endorse(&empty, key.clone(), NOW),
        EndorsementError::NoCertificate { .. }
    );
    refused!(
        anchors.endorse(&chain(&bad.certify(&ecc_ek())), key.clone(), NOW),
        EndorsementError::UnknownIssuer(_)
    );
    // Taken from the list, it stands no longer.
    let spki = key.spki_sha256();
    assert!(
        anchors
            .standing(&facts, &spki, 0, NOW)
            .findings()
            .is_empty()
    );
    assert_eq!(
        codes(&other.standing(&facts, &spki, 0, NOW)),
        [FindingCode::FingerprintWithdrawn]
    );
}

#[test]
fn denied_by_certificate_key_or_name() {
    let vendor = Vendor::new();
    let good = endorse(&vendor, Rules::default()).unwrap();
    let spki = vendor.issuing_key.spki();
    for which in [
        Denied::Certificate(sha256(&[&vendor.issuing])),
        Denied::Certificate(sha256(&[&vendor.root])),
        Denied::Key(sha256(&[&spki])),
        Denied::Subject("CN=Vendor EK CA".to_owned()),
    ] {
        let rules = Rules {
            denied: vec![DeniedIssuer {
                which,
                reason: "stolen".to_owned(),
            }],
            ..Rules::default()
        };
        refused!(
            endorse(&vendor, rules.clone()),
            EndorsementError::Denied { reason, .. } if reason == "stolen"
        );
        let later = vendor.anchors().with_rules(rules);
        assert_eq!(
            codes(&later.standing(good.facts(), &SPKI, 0, NOW)),
            [FindingCode::Denied]
        );
    }
    let rules = Rules {
        denied: vec![DeniedIssuer {
            which: Denied::Subject("CN=Another".to_owned()),
            reason: "stolen".to_owned(),
        }],
        ..Rules::default()
    };
    let _ = endorse(&vendor, rules).unwrap();
}

fn denying(which: Denied) -> Rules {
    Rules {
        denied: vec![DeniedIssuer {
            which,
            reason: "stolen".to_owned(),
        }],
        ..Rules::default()
    }
}

/// Records of before paths were recorded: what cannot be told counts against
/// them once something is denied or revoked.
#[test]
fn a_record_without_a_path_does_not_pass_by_denials_and_crls() {
    let vendor = Vendor::new();
    let mut old = endorse(&vendor, Rules::default()).unwrap().facts().clone();
    old.path = Vec::new();
    let codes = |anchors: Anchors, facts: &TpmFacts| codes(&anchors.standing(facts, &SPKI, 0, NOW));
    assert_eq!(codes(vendor.anchors(), &old), []);
    for which in [
        Denied::Key([1; 32]),
        Denied::Certificate([1; 32]),
        Denied::Subject("CN=Another".to_owned()),
    ] {
        let anchors = vendor.anchors().with_rules(denying(which));
        assert_eq!(codes(anchors, &old), [FindingCode::PathUnknown]);
    }
    let own = denying(Denied::Subject(old.issuer.clone()));
    assert_eq!(
        codes(vendor.anchors().with_rules(own), &old),
        [FindingCode::Denied]
    );
    // Without the issuer's key identifier no CRL can be found.
    let with_crl = || {
        let crl = crl(Vendor::ISSUING, &vendor.issuing_key, 0x77);
        issuing_anchors(&vendor).with_crls(&[crl]).unwrap()
    };
    assert_eq!(codes(with_crl(), &old), []);
    old.ek_certificate_aki.clear();
    assert_eq!(codes(with_crl(), &old), [FindingCode::PathUnknown]);
    assert!(FindingCode::PathUnknown.is_against());
}

/// What the owner does not say of a listed EK's TPM may be what a floor is for.
#[test]
fn cve_c28_floors_for_eks_without_a_certificate() {
    let key = ek(&ecc_ek());
    let none = EkChain::parse(&[]).unwrap();
    let anchors = |listed: [&str; 3], floor: FirmwareFloor| {
        let [manufacturer, model, version] = listed.map(str::to_owned);
        let listed = ListedEk {
            manufacturer,
            model,
            version,
        };
        Anchors::new(Vec::new(), Vec::new())
            .unwrap()
            .with_rules(Rules {
                fingerprints: [(key.spki_sha256(), listed)].into(),
                ..floors(vec![floor])
            })
    };
    const IFX: &str = "id:49465800";
    let quoted = FirmwareFloor {
        quoted: Some(0x0007_0062_0000_0000),
        line: Some(7),
        model: Some("SLB9670".to_owned()),
        ..floor("IFX")
    };
    let below = [FindingCode::FirmwareFloor].as_slice();
    for (listed, firmware, found) in [
        ([IFX, "SLB9670", ""], 0x0007_0061_u64, below),
        ([IFX, "", ""], 0x0007_0061, below),
        (["", "", ""], 0x0007_0061, below),
        (["", "", ""], 0x0007_0062, &[]),
        (["", "", ""], 0x0006_0000, &[]),
        (["id:53544D20", "", ""], 0x0007_0061, &[]),
        ([IFX, "SLB9672", ""], 0x0007_0061, &[]),
    ] {
        let anchors = anchors(listed, quoted.clone());
        let endorsed = anchors.endorse(&none, key.clone(), NOW).unwrap();
        let standing = anchors.standing(endorsed.facts(), &key.spki_sha256(), firmware << 32, NOW);
        assert_eq!(codes(&standing), found, "{listed:?} {firmware:x}");
    }
    let certified = FirmwareFloor {
        certified: Some(0x0007_0056),
        ..floor("IFX")
    };
    for (listed, passes) in [
        ([IFX, "", "id:00070056"], true),
        ([IFX, "", "id:00070055"], false),
        ([IFX, "", ""], false),
        (["", "", ""], false),
        (["id:53544D20", "", ""], true),
    ] {
        let outcome = anchors(listed, certified.clone()).endorse(&none, key.clone(), NOW);
        match outcome {
            Ok(_) if passes => {}
            Err(EndorsementError::FirmwareFloor { .. }) if !passes => {}
            other => panic!("{listed:?}: {other:?}"),
        }
    }
}

#[test]
fn cve_c28_certified_firmware_below_the_floor() {
    let vendor = Vendor::new();
    // The good certificate says IFX, SLB9670, 0007.0055.
    let certified = |n| Some(n);
    let cases = [
        (
            FirmwareFloor {
                certified: certified(0x0007_0056),
                ..floor("IFX")
            },
            true,
        ),
        (
            FirmwareFloor {
                certified: certified(0x0007_0055),
                ..floor("IFX")
            },
            false,
        ),
        (
            FirmwareFloor {
                certified: certified(0x0007_0056),
                ..floor("id:49465800")
            },
            true,
        ),
        (
            FirmwareFloor {
                certified: certified(0x0007_0056),
                ..floor("STM ")
            },
            false,
        ),
        (
            FirmwareFloor {
                certified: certified(0x0007_0056),
                model: Some("SLB9670".into()),
                ..floor("IFX")
            },
            true,
        ),
        (
            FirmwareFloor {
                certified: certified(0x0007_0056),
                model: Some("SLB9665".into()),
                ..floor("IFX")
            },
            false,
        ),
        (
            FirmwareFloor {
                certified: certified(0x0085_0000),
                line: Some(0x85),
                ..floor("IFX")
            },
            false,
        ),
        (
            FirmwareFloor {
                certified: certified(0x0007_0056),
                line: Some(7),
                ..floor("IFX")
            },
            true,
        ),
    ];
    for (floor, below) in cases {
        let outcome = endorse(&vendor, floors(vec![floor.clone()]));
        match outcome {
            Err(EndorsementError::FirmwareFloor { version, .. }) if below => {
                assert_eq!(version, "id:00070055");
            }
            Ok(_) if !below => {}
            other => panic!("{floor:?}: {other:?}"),
        }
    }
    // A version that nobody can read is below every floor.
    let odd = [(1, "id:49465800"), (2, "SLB9670"), (3, "seven")];
    let leaf = vendor.spec(&ecc_ek()).replace(SAN, Some(tpm_san(&odd)));
    let sent = chain(&vendor.chain(leaf.sign(&vendor.issuing_key)));
    let floor = FirmwareFloor {
        certified: Some(1),
        ..floor("IFX")
    };
    refused!(
        vendor
            .anchors()
            .with_rules(floors(vec![floor]))
            .endorse(&sent, ek(&ecc_ek()), NOW),
        EndorsementError::FirmwareFloor { .. }
    );
}

#[test]
fn cve_c28_quoted_firmware_below_the_floor() {
    let vendor = Vendor::new();
    let good = endorse(&vendor, Rules::default()).unwrap();
    let lines = vec![
        FirmwareFloor {
            line: Some(7),
            quoted: Some(0x0007_0062_0000_0000),
            ..floor("IFX")
        },
        FirmwareFloor {
            line: Some(133),
            quoted: Some(0x0085_0021_0000_0000),
            ..floor("IFX")
        },
    ];
    let anchors = vendor.anchors().with_rules(floors(lines));
    let standing = |firmware| anchors.standing(good.facts(), &SPKI, firmware, NOW);
    for (firmware, below) in [
        (0x0007_0061_FFFF_FFFF, true),
        (0x0007_0062_0000_0000, false),
        (0x0085_0020_0000_0000, true),
        (0x0085_0021_0000_0000, false),
        // A line without a floor.
        (0x0006_0000_0000_0000, false),
    ] {
        let found = standing(firmware);
        let expected = if below {
            vec![FindingCode::FirmwareFloor]
        } else {
            vec![]
        };
        assert_eq!(codes(&found), expected, "{firmware:016x}");
    }
    let told = standing(0x0007_0061_0000_0000);
    let detail = &told.findings()[0].detail;
    assert!(
        detail.contains("0007006100000000") && detail.contains("CVE-2025-2884"),
        "{detail}"
    );
}

#[test]
fn cve_c28_roca_key_is_refused_at_once() {
    let Unique::Rsa(n) = rsa_ek().unique else {
        unreachable!()
    };
    let flawed = Public {
        unique: Unique::Rsa(roca::tests::flawed(&n)),
        ..rsa_ek()
    };
    let vendor = Vendor::new();
    refused!(
        vendor
            .anchors()
            .endorse(&chain(&vendor.certify(&flawed)), ek(&flawed), NOW),
        EndorsementError::Roca
    );
    // Listed by the owner, it is no better.
    let rules = Rules {
        fingerprints: [(ek(&flawed).spki_sha256(), ListedEk::default())].into(),
        ..Rules::default()
    };
    refused!(
        vendor
            .anchors()
            .with_rules(rules)
            .endorse(&EkChain::parse(&[]).unwrap(), ek(&flawed), NOW),
        EndorsementError::Roca
    );
    let _ = vendor
        .anchors()
        .endorse(&chain(&vendor.certify(&rsa_ek())), ek(&rsa_ek()), NOW)
        .unwrap();
}

#[test]
fn adv_a06_revoked_after_enrolment() {
    let vendor = Vendor::new();
    let good = endorse(&vendor, Rules::default()).unwrap();
    let facts = good.facts();
    let with = |serial| {
        let crl = crl(Vendor::ISSUING, &vendor.issuing_key, serial);
        issuing_anchors(&vendor).with_crls(&[crl]).unwrap()
    };
    assert_eq!(
        codes(&with(0x2A).standing(facts, &SPKI, 0, NOW)),
        [FindingCode::Revoked]
    );
    assert!(
        with(0x2B)
            .standing(facts, &SPKI, 0, NOW)
            .findings()
            .is_empty()
    );
    // The issuing CA itself.
    let crl = crl(Vendor::ROOT, &vendor.root_key, 1);
    let anchors = vendor.anchors().with_crls(&[crl]).unwrap();
    assert_eq!(
        codes(&anchors.standing(facts, &SPKI, 0, NOW)),
        [FindingCode::Revoked]
    );
    // A gateway that enrolled before paths were recorded is known by the key
    // identifier that its certificate names.
    let mut old = facts.clone();
    old.path = Vec::new();
    let mut issuing = ca_spec(Vendor::ROOT, Vendor::ISSUING, &vendor.issuing_key);
    issuing.extensions.push(extension(
        &[0x55, 0x1D, 0x0E],
        false,
        &der(0x04, &[&[0xAB; 20]]),
    ));
    let issuing = issuing.sign(&vendor.root_key);
    let crl = path::crl(Vendor::ISSUING, &vendor.issuing_key, 0x2A);
    let anchors = Anchors::new(vec![vendor.root.clone()], vec![issuing])
        .unwrap()
        .with_crls(&[crl])
        .unwrap();
    assert_eq!(
        codes(&anchors.standing(&old, &SPKI, 0, NOW)),
        [FindingCode::Revoked]
    );
}

#[test]
fn a_root_that_is_gone_endorses_no_longer() {
    let vendor = Vendor::new();
    let good = endorse(&vendor, Rules::default()).unwrap();
    let none = Anchors::new(Vec::new(), Vec::new()).unwrap();
    assert_eq!(
        codes(&none.standing(good.facts(), &SPKI, 0, NOW)),
        [FindingCode::AnchorWithdrawn]
    );
}

#[test]
fn a_stale_crl_stops_enrolment_and_warns_of_the_others() {
    let vendor = Vendor::new();
    let good = endorse(&vendor, Rules::default()).unwrap();
    let crl = crl(Vendor::ISSUING, &vendor.issuing_key, 0x2B);
    let anchors = |stale_crl| {
        issuing_anchors(&vendor)
            .with_crls(std::slice::from_ref(&crl))
            .unwrap()
            .with_rules(Rules {
                stale_crl,
                ..Rules::default()
            })
    };
    // Due again on 2026-07-01.
    let due = UnixTime::from_seconds(1_782_864_000);
    let sent = chain(&vendor.certify(&ecc_ek()));
    let endorse = |anchors: Anchors, at| anchors.endorse(&sent, ek(&ecc_ek()), at);
    let _ = endorse(anchors(StaleCrl::Refuse), due).unwrap();
    refused!(
        endorse(anchors(StaleCrl::Refuse), due.plus(1)),
        EndorsementError::StaleCrl { issuer, .. } if issuer == "CN=Vendor EK CA"
    );
    let _ = endorse(anchors(StaleCrl::Warn), due.plus(1)).unwrap();
    for stale in [StaleCrl::Refuse, StaleCrl::Warn] {
        let standing = anchors(stale).standing(good.facts(), &SPKI, 0, due.plus(1));
        assert_eq!(codes(&standing), [FindingCode::CrlStale]);
        assert!(!FindingCode::CrlStale.is_against());
    }
}

#[test]
fn crls_are_read_for_import_and_only_newer_ones() {
    let vendor = Vendor::new();
    let newer = crl(Vendor::ISSUING, &vendor.issuing_key, 0x2A);
    let anchors = issuing_anchors(&vendor);
    let read = anchors.read_crl(&newer, NOW).unwrap();
    assert!(!read.is_in_use());
    assert_eq!(read.facts().issuer, "CN=Vendor EK CA");
    assert_eq!(read.facts().entries, 1);
    let early = UnixTime::from_seconds(1_735_689_599);
    assert!(matches!(
        anchors.read_crl(&newer, early),
        Err(CrlError::Future(_))
    ));
    let anchors = anchors.with_crls(std::slice::from_ref(&newer)).unwrap();
    assert!(anchors.read_crl(&newer, NOW).unwrap().is_in_use());
}

#[test]
fn crls_that_do_not_count_say_why() {
    let vendor = Vendor::new();
    let good = || CrlSpec::new(Vendor::ISSUING, 1);
    let read = |spec: CrlSpec| {
        issuing_anchors(&vendor)
            .read_crl(&spec.sign(&vendor.issuing_key), NOW)
            .map(drop)
    };
    assert_eq!(read(good()), Ok(()));
    let ecdsa_sha1 = vec![0x2A, 0x86, 0x48, 0xCE, 0x3D, 0x04, 0x01];
    assert_eq!(
        read(CrlSpec {
            signature_oid: ecdsa_sha1,
            ..good()
        }),
        Err(CrlError::WeakSignature(WeakAlg::Sha1))
    );
    assert_eq!(
        read(CrlSpec {
            next_update: None,
            ..good()
        }),
        Err(CrlError::NoNextUpdate)
    );
    // deltaCRLIndicator, issuingDistributionPoint; certificateIssuer in an
    // entry.
    for (last, text) in [(0x1B, "2.5.29.27"), (0x1C, "2.5.29.28")] {
        let mut spec = good();
        let value = der(0x02, &[&[1]]);
        spec.extensions
            .push(extension(&[0x55, 0x1D, last], true, &value));
        assert_eq!(
            read(spec),
            Err(CrlError::CriticalExtension(text.to_owned()))
        );
    }
    let indirect = extension(&[0x55, 0x1D, 0x1D], true, &seq(&[]));
    assert_eq!(
        read(CrlSpec {
            of_entry: vec![indirect],
            ..good()
        }),
        Err(CrlError::CriticalExtension("2.5.29.29".to_owned()))
    );
    let bytes = good().sign(&vendor.issuing_key);
    for cut in 0..bytes.len() {
        assert!(ParsedCrl::parse(&bytes[..cut]).is_err(), "{cut}");
    }
    assert_eq!(
        ParsedCrl::parse(&vec![0; MAX_CRL_LEN + 1]).unwrap_err(),
        CrlError::TooLong(MAX_CRL_LEN + 1)
    );
    // A CA that may not sign CRLs.
    let mute = ca_spec(Vendor::ROOT, Vendor::ISSUING, &vendor.issuing_key)
        .replace(KEY_USAGE, Some(key_usage(0x04)))
        .sign(&vendor.root_key);
    let anchors = Anchors::new(vec![vendor.root.clone()], vec![mute]).unwrap();
    assert_eq!(
        anchors.read_crl(&bytes, NOW).map(drop),
        Err(CrlError::Signature("CN=Vendor EK CA".to_owned()))
    );
    // An older one than that in use.
    let anchors = issuing_anchors(&vendor).with_crls(&[bytes]).unwrap();
    let older = CrlSpec {
        this_update: "240101000000Z",
        ..good()
    };
    assert!(matches!(
        anchors.read_crl(&older.sign(&vendor.issuing_key), NOW),
        Err(CrlError::Older { .. })
    ));
    // And of two, whichever comes first, the newer counts.
    let newer = CrlSpec {
        this_update: "250601000000Z",
        ..CrlSpec::new(Vendor::ISSUING, 0x2A)
    };
    let both = [older, newer].map(|spec| spec.sign(&vendor.issuing_key));
    for lists in [[0, 1], [1, 0]] {
        let anchors = issuing_anchors(&vendor)
            .with_crls(&lists.map(|at| both[at].clone()))
            .unwrap();
        refused!(
            anchors.endorse(&chain(&vendor.certify(&ecc_ek())), ek(&ecc_ek()), NOW),
            EndorsementError::Revoked { .. }
        );
    }
}

#[test]
fn missing_issuers_are_named_with_where_to_get_them() {
    let vendor = Vendor::new();
    let url = b"http://pki.example/ek-ca.crt";
    let aia = seq(&[&seq(&[
        &oid(&[0x2B, 0x06, 0x01, 0x05, 0x05, 0x07, 0x30, 0x02]),
        &der(0x86, &[url]),
    ])]);
    let with = |value: &[u8]| {
        let mut spec: Spec = vendor.spec(&ecc_ek());
        spec.extensions.push(extension(
            &[0x2B, 0x06, 0x01, 0x05, 0x05, 0x07, 0x01, 0x01],
            false,
            value,
        ));
        let sent = chain(&[spec.sign(&vendor.issuing_key)]);
        match vendor.anchors().endorse(&sent, ek(&ecc_ek()), NOW) {
            Err(EndorsementError::UnknownIssuer(missing)) => *missing,
            other => panic!("{other:?}"),
        }
    };
    let missing = with(&aia);
    assert_eq!(missing.issuer, "CN=Vendor EK CA");
    assert_eq!(missing.key_id, "ab".repeat(20));
    assert_eq!(missing.url.as_deref(), Some("http://pki.example/ek-ca.crt"));
    let text = missing.to_string();
    for part in [
        "CN=Vendor EK CA",
        "abab",
        "http://pki.example/",
        "endorsement import",
    ] {
        assert!(text.contains(part), "{text}");
    }
    // What is not plain text is not shown.
    let mut bad = aia.clone();
    let last = bad.len() - 1;
    bad[last] = 0x1B;
    assert_eq!(with(&bad).url, None);
    assert_eq!(with(&[0x30, 0x05]).url, None);
}
