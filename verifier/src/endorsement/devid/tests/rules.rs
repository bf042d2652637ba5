//! The owner's denials and firmware floors on the IAK road.

use super::*;

/// The owner's denials and floors hold on this road too.
fn with_rules(rules: Rules) -> Result<EndorsedIak, DevidError> {
    changed(|d| d.rules = rules)
}

/// How a record of this road stands under these rules.
fn standing(facts: &TpmFacts, rules: Rules, firmware: u64) -> Vec<FindingCode> {
    let anchors = Anchors::new(Vec::new(), Vec::new()).unwrap();
    let standing = anchors
        .with_rules(rules)
        .standing(facts, &[7; 32], firmware, NOW);
    standing.findings().iter().map(|f| f.code).collect()
}

#[test]
fn denied_issuers_are_denied_to_oems() {
    let denying = |which| Rules {
        denied: vec![DeniedIssuer {
            which,
            reason: "stolen".to_owned(),
        }],
        ..Rules::default()
    };
    let device = Device::new();
    // Signed once: each signature makes another certificate.
    let claimed = device.claim().unwrap();
    let under = |rules: &Rules| {
        let anchors = device.oem.anchors();
        anchors.endorse(claimed.clone(), ek(&ecc_ek()), rules, NOW)
    };
    let endorsed = under(&Rules::default()).unwrap();
    let devid = endorsed.facts().devid.clone().unwrap();
    assert_eq!((devid.iak_path.len(), devid.idevid_path.len()), (3, 3));
    let digest = |hex: &String| {
        let mut digest = [0; 32];
        hex::decode_to_slice(hex, &mut digest).unwrap();
        digest
    };
    let [iak, issuing, root] = devid.iak_path.as_slice() else {
        unreachable!()
    };
    for (which, of) in [
        (Denied::Certificate(digest(&iak.sha256)), DevidKey::Iak),
        (Denied::Key(digest(&issuing.key_sha256)), DevidKey::Iak),
        (Denied::Subject("CN=OEM CA".to_owned()), DevidKey::Iak),
        (Denied::Certificate(digest(&root.sha256)), DevidKey::Iak),
        (
            Denied::Certificate(digest(&devid.idevid_path[0].sha256)),
            DevidKey::Idevid,
        ),
    ] {
        let rules = denying(which.clone());
        refused!(
            under(&rules),
            DevidError::Certificate { of: got, source: EndorsementError::Denied { .. } }
                if got == of
        );
        // And of a gateway on record.
        assert_eq!(
            standing(endorsed.facts(), rules, 0),
            [FindingCode::Denied],
            "{which:?}"
        );
    }
    let other = || denying(Denied::Key([1; 32]));
    let _ = with_rules(other()).unwrap();
    assert_eq!(standing(endorsed.facts(), other(), 0), []);
    // A record of before paths were recorded.
    for spoil in [
        |d: &mut DevidFacts| d.iak_path.clear(),
        |d: &mut DevidFacts| d.idevid_path.clear(),
    ] {
        let mut old = endorsed.facts().clone();
        old.devid.iter_mut().for_each(spoil);
        assert_eq!(standing(&old, Rules::default(), 0), []);
        assert_eq!(standing(&old, other(), 0), [FindingCode::PathUnknown]);
    }
    let mut json = serde_json::to_value(endorsed.facts()).unwrap();
    let of = json["devid"].as_object_mut().unwrap();
    of.remove("iak_path");
    of.remove("idevid_path");
    let old: TpmFacts = serde_json::from_value(json).unwrap();
    assert_eq!(standing(&old, other(), 0), [FindingCode::PathUnknown]);
}

/// OEMs' certificates seldom name the TPM. Then every floor may be for it, until
/// the owner says what the OEM builds in.
#[test]
fn cve_c28_floors_hold_for_tpms_of_oems() {
    let stated = |manufacturer: &str, version: &str| ListedEk {
        manufacturer: manufacturer.to_owned(),
        model: String::new(),
        version: version.to_owned(),
    };
    let rules = |quoted, certified, tpm: Option<ListedEk>| Rules {
        floors: vec![FirmwareFloor {
            manufacturer: "IFX".to_owned(),
            model: None,
            line: Some(7),
            quoted,
            certified,
            reason: "CVE-2025-2884".to_owned(),
        }],
        oem_tpms: tpm
            .map(|tpm| (OemName::parse(OEM).unwrap(), tpm))
            .into_iter()
            .collect(),
        ..Rules::default()
    };
    let facts = Device::new().endorse().unwrap().facts().clone();
    assert_eq!(facts.manufacturer, "");
    const FLOOR: Option<u64> = Some(0x0007_0062_0000_0000);
    let below = [FindingCode::FirmwareFloor].as_slice();
    for (tpm, firmware, found) in [
        (None, 0x0007_0061_u64, below),
        (None, 0x0007_0062, &[]),
        (None, 0x0008_0000, &[]),
        (Some(stated("IFX", "")), 0x0007_0061, below),
        (Some(stated("id:49465800", "")), 0x0007_0061, below),
        (Some(stated("STM", "")), 0x0007_0061, &[]),
    ] {
        let rules = rules(FLOOR, None, tpm.clone());
        let found_now = standing(&facts, rules, firmware << 32);
        assert_eq!(found_now, found, "{tpm:?} {firmware:x}");
    }
    // What the OEM's own certificate says comes before.
    let named = TpmFacts {
        manufacturer: "id:49465800".to_owned(),
        ..facts.clone()
    };
    let said = rules(FLOOR, None, Some(stated("STM", "")));
    assert_eq!(standing(&named, said, 0x0007_0061 << 32), below);

    const CERTIFIED: Option<u32> = Some(0x0007_0056);
    for tpm in [
        None,
        Some(stated("IFX", "")),
        Some(stated("IFX", "id:00070055")),
    ] {
        refused!(
            with_rules(rules(None, CERTIFIED, tpm)),
            DevidError::Certificate {
                of: DevidKey::Iak,
                source: EndorsementError::FirmwareFloor { .. }
            }
        );
    }
    for tpm in [stated("IFX", "id:00070056"), stated("STM", "")] {
        let _ = with_rules(rules(None, CERTIFIED, Some(tpm))).unwrap();
    }
}
