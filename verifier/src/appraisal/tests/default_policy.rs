use holdfast_proto::result::{Claim, Tier, TrustVector};

use super::*;

fn standard() -> Policy {
    Policy::standard().unwrap()
}

#[test]
fn a_good_state_is_affirmed() {
    let verdict = judge(&standard(), &facts(), Some(&good_references()));
    assert_eq!(verdict.status, Tier::Affirming, "{verdict:?}");
    assert_eq!(verdict.reasons, []);
    let vector = TrustVector {
        instance_identity: 2,
        hardware: 2,
        executables: 3,
        configuration: 2,
        ..TrustVector::NONE
    };
    assert_eq!(verdict.vector, vector);
}

#[test]
fn any_of_several_accepted_values_will_do() {
    let all = SELECTION
        .into_iter()
        .map(|index| (index, vec![vec![0xEE; 32], value(index), vec![0xDD; 32]]))
        .collect();
    assert_eq!(
        judge(&standard(), &facts(), Some(&references(&all))).status,
        Tier::Affirming
    );
}

#[test]
fn a_changed_pcr_is_named_with_what_was_expected_and_what_came() {
    for (index, claim) in [(4, Claim::Executables), (7, Claim::Configuration)] {
        let mut facts = facts();
        facts.pcrs.insert(index, vec![0xBA; 32]);
        let verdict = judge(&standard(), &facts, Some(&good_references()));
        assert_eq!(verdict.status, Tier::Warning);
        assert_eq!(
            codes(&verdict),
            ["pcr-mismatch"],
            "once, by the policy; the floor agrees"
        );
        let reason = &verdict.reasons[0];
        assert_eq!(reason.claims, [claim]);
        assert!(
            reason.detail.starts_with(&format!("PCR {index} (")),
            "{}",
            reason.detail
        );
        assert!(
            reason
                .detail
                .contains(&format!("expected {}", hex::encode(value(index)))),
            "{}",
            reason.detail
        );
        assert!(
            reason.detail.contains(&format!("got {}", "ba".repeat(32))),
            "{}",
            reason.detail
        );
        assert!(reason.next_step.contains("gateway approve"));
        let other = if claim == Claim::Executables {
            Claim::Configuration
        } else {
            Claim::Executables
        };
        assert_eq!(
            Tier::of(verdict.vector.get(other)),
            Tier::Affirming,
            "the other claim stands"
        );
    }
}

#[test]
fn every_pcr_of_the_selection_counts() {
    for index in SELECTION {
        let mut facts = facts();
        facts.pcrs.insert(index, vec![0xBA; 32]);
        let verdict = judge(&standard(), &facts, Some(&good_references()));
        assert_eq!(
            (verdict.status, codes(&verdict)),
            (Tier::Warning, vec!["pcr-mismatch"]),
            "{index}"
        );
    }
}

#[test]
fn of_several_expected_values_the_first_is_shown() {
    let all = SELECTION
        .into_iter()
        .map(|index| (index, vec![vec![0xEE; 32], vec![0xDD; 32]]))
        .collect();
    let verdict = judge(&standard(), &facts(), Some(&references(&all)));
    assert_eq!(verdict.reasons.len(), SELECTION.len());
    for reason in &verdict.reasons {
        assert!(
            reason
                .detail
                .contains(&format!("expected {} or one of 1 others", "dd".repeat(32))),
            "{reason:?}"
        );
    }
}

#[test]
fn without_reference_values_nothing_is_affirmed() {
    let verdict = judge(&standard(), &facts(), None);
    assert_eq!(verdict.status, Tier::Warning);
    assert_eq!(codes(&verdict), ["no-reference-values"]);
    assert!(verdict.reasons[0].detail.contains("\"default\""));
    assert!(verdict.reasons[0].next_step.contains("reference import"));
}

#[test]
fn a_quoted_pcr_without_reference_values_is_not_affirmed() {
    let some = SELECTION
        .into_iter()
        .filter(|i| *i != 9)
        .map(|index| (index, vec![value(index)]))
        .collect();
    let verdict = judge(&standard(), &facts(), Some(&references(&some)));
    assert_eq!(
        (verdict.status, codes(&verdict)),
        (Tier::Warning, vec!["pcr-not-covered"])
    );
    assert!(verdict.reasons[0].detail.starts_with("PCR 9 ("));
}

#[test]
fn reference_values_of_another_bank_cover_nothing() {
    let other = ReferenceValues::parse(&format!(
        r#"{{"pcrs":{{"sha384":{{"0":["{}"]}}}}}}"#,
        "00".repeat(48)
    ))
    .unwrap();
    let verdict = judge(&standard(), &facts(), Some(&other));
    assert_eq!(verdict.status, Tier::Warning);
    assert_eq!(codes(&verdict), vec!["pcr-not-covered"; SELECTION.len()]);
}

#[test]
fn reference_values_of_a_pcr_that_was_not_quoted_do_not_matter() {
    let all = SELECTION
        .into_iter()
        .chain([10, 23])
        .map(|index| (index, vec![value(index)]))
        .collect();
    assert_eq!(
        judge(&standard(), &facts(), Some(&references(&all))).status,
        Tier::Affirming
    );
}

#[test]
fn a_selection_must_measure_both_claims() {
    for (kept, missing) in [([0, 4], Claim::Configuration), ([1, 7], Claim::Executables)] {
        let mut facts = facts();
        facts.pcrs.retain(|index, _| kept.contains(index));
        let verdict = judge(&standard(), &facts, Some(&good_references()));
        assert_eq!(
            (verdict.status, codes(&verdict)),
            (Tier::Warning, vec!["claim-not-measured"])
        );
        assert_eq!(verdict.reasons[0].claims, [missing]);
    }
}

#[test]
fn an_empty_quote_affirms_nothing() {
    let mut facts = facts();
    facts.pcrs.clear();
    let verdict = judge(&standard(), &facts, Some(&good_references()));
    assert_ne!(verdict.status, Tier::Affirming);
    assert_eq!(
        codes(&verdict),
        ["claim-not-measured", "claim-not-measured"]
    );
}

#[test]
fn the_id_is_what_openssl_computes() {
    let out = std::process::Command::new("openssl")
        .args([
            "dgst",
            "-sha256",
            "-r",
            concat!(env!("CARGO_MANIFEST_DIR"), "/policies/default.rego"),
        ])
        .output()
        .unwrap();
    assert!(
        String::from_utf8(out.stdout)
            .unwrap()
            .starts_with(&hex::encode(standard().id()))
    );
}

/// What either EK's certificates needed to be excused is before the policy.
#[test]
fn leniencies_are_those_of_all_eks() {
    use crate::endorsement::{Anchors, Leniency};
    let none = Anchors::new(Vec::new(), Vec::new()).unwrap();
    let mut facts = facts();
    facts.tpm.leniencies = vec![Leniency::SetOrder, Leniency::Expired];
    let mut second = facts.tpm.clone();
    second.leniencies = vec![Leniency::Expired, Leniency::Sha1Signature];
    let of_first = none.standing(&facts.tpm, &[0; 32], 0, NOW);
    let of_second = none.standing(&second, &[1; 32], 0, NOW);
    for (standing, expected) in [
        (of_first.clone(), vec!["set-order", "expired"]),
        (
            of_first.and_of_another_ek(of_second),
            vec!["set-order", "sha1-signature", "expired"],
        ),
    ] {
        facts.standing = standing;
        let text = super::super::input::text(&facts, None, Branches::ALL);
        let input: serde_json::Value = serde_json::from_str(&text).unwrap();
        assert_eq!(
            input["endorsement"]["leniencies"],
            serde_json::json!(expected)
        );
    }
}

/// The documented tree, whole: a change here is a change of the contract
/// (docs/policy.md) and of its format number.
#[test]
fn the_input_is_the_documented_tree() {
    let mut facts = facts();
    facts.pcrs.retain(|index, _| *index == 4);
    let input: serde_json::Value = serde_json::from_str(&super::super::input::text(
        &facts,
        Some(&good_references()),
        Branches::ALL,
    ))
    .unwrap();
    assert_eq!(
        input,
        serde_json::json!({
            "format": "holdfast-appraisal-input-1",
            "gateway": {"id": format!("01{}", "07".repeat(32)), "class": "default"},
            "endorsement": {
                "known_by": "ek-certificate", "manufacturer": "id:49465800", "model": "SLB 9670",
                "version": "id:00070055", "issuer": "CN=Simulated TPM vendor", "ek_template": "L-2",
                "ek_certificate_sha256": "03", "leniencies": [], "findings": [],
            },
            "ak": {"known_by": "credential-activation", "name": "000b11"},
            "ima": null,
            "ldevid": {"known_by": "tpm2-certify", "name": "000b22"},
            "quote": {
                "known_by": "ak-signature", "bank": "sha256",
                "pcrs": {"4": {"value": "04".repeat(32), "measures": "boot manager code", "concerns": "executables"}},
                "clock": {"reset_count": 4, "restart_count": 0, "safe": true},
                "firmware_version": "0007005500000000",
            },
            "claims": {
                "known_by": "ldevid-signature", "software_name": "holdfast-attester", "software_version": "0.1.0",
                "boot_log_sha256": "05".repeat(32),
            },
            "boot_log": null,
            "reference": {
                "known_by": "owner", "id": hex::encode(good_references().digest()),
                "pcrs": {"4": ["04".repeat(32)]},
            },
        })
    );
}
