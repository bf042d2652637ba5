//! What each floor holds to, whatever the policy says (A26).

use holdfast_proto::result::{Claim, Tier};

use super::{
    super::{Floor, PolicyError},
    boot_log::{Draft, GOLDEN, encode, facts_of, golden},
    *,
};

fn source(floor: &str, body: &str) -> String {
    format!("package holdfast.appraisal\nimport rego.v1\n{floor}\n{body}\n")
}

const AFFIRM_ALL: &str = r#"result := {"reasons": [], "vector":
    {"instance-identity": 2, "hardware": 2, "executables": 2, "configuration": 2}}"#;

fn lax(floor: Floor) -> Policy {
    let name = floor.name();
    Policy::compile(&source(&format!("floor := {name:?}"), AFFIRM_ALL)).unwrap()
}

/// A log with one change, sent by a gateway that booted well.
fn forged(change: impl FnOnce(&mut Vec<Draft>)) -> Facts {
    let mut events = golden();
    change(&mut events);
    facts_of(GOLDEN, &encode(&events), &SELECTION)
}

fn good() -> Facts {
    facts_of(GOLDEN, GOLDEN, &SELECTION)
}

/// Accepts what was quoted of `indices`.
fn accepting(facts: &Facts, indices: &[u32]) -> ReferenceValues {
    let of = |index: &u32| (*index, vec![facts.pcrs[index].clone()]);
    references(&indices.iter().map(of).collect())
}

#[test]
fn a_floor_is_named_by_a_constant() {
    let floor =
        |text: &str| Policy::compile(&source(text, AFFIRM_ALL)).map(|policy| policy.floor());
    for (text, named) in [
        ("", Floor::ReferenceValues),
        (r#"floor := "reference-values""#, Floor::ReferenceValues),
        (r#"floor := "boot-log""#, Floor::BootLog),
        ("floor := `hardware`", Floor::Hardware),
        // Rego's own function of that name is another thing.
        ("x := floor(1.5)", Floor::ReferenceValues),
    ] {
        assert_eq!(floor(text), Ok(named), "{text}");
    }
}

#[test]
fn adv_a26_a_floor_that_depends_on_anything_is_refused_at_load() {
    for text in [
        r#"floor := "none""#,
        r#"floor := "Hardware""#,
        r#"floor := """#,
        "floor := 1",
        "floor := true",
        "floor := input.floor",
        r#"floor := "hardware" if input.quote"#,
        r#"floor := "hardware" if true"#,
        r#"floor := "hardware" if not input.x"#,
        r#"floor := concat("", ["hard", "ware"])"#,
        r#"default floor := "hardware""#,
        "floor := x\nx := \"hardware\"",
        "floor := \"hardware\"\nfloor := \"boot-log\"",
        "floor := \"hardware\"\nfloor := \"hardware\"",
        "default floor := \"boot-log\"\nfloor := \"hardware\" if input.x",
        r#"floor contains "hardware""#,
        r#"floor[x] if x := "hardware""#,
        r#"floor.name := "hardware""#,
        r#"floor(x) := "hardware""#,
        "floor if input.x",
        r#"floor := ["hardware"]"#,
        r#"floor := "hardware" if input.a else := "boot-log""#,
    ] {
        let refused = Policy::compile(&source(text, AFFIRM_ALL)).map(|_| ());
        assert!(
            matches!(refused, Err(PolicyError::Floor | PolicyError::Source(_))),
            "{text}: {refused:?}"
        );
    }
    let told = PolicyError::Floor.to_string();
    assert!(told.contains(r#"floor := "boot-log""#), "{told}");
}

#[test]
fn reference_values_decide_and_a_log_that_differs_is_told() {
    let policy = lax(Floor::ReferenceValues);
    let set = accepting(&good(), &SELECTION);
    let verdict = judge(&policy, &good(), Some(&set));
    assert_eq!((verdict.status, codes(&verdict)), (Tier::Affirming, vec![]));

    let changed = forged(|events| drop(events.remove(0)));
    let verdict = judge(&policy, &changed, Some(&set));
    assert_eq!(
        verdict.status,
        Tier::Affirming,
        "PCRs are as they should be"
    );
    assert_eq!(codes(&verdict), ["boot-log-mismatch"]);
    let reason = &verdict.reasons[0];
    assert_eq!(reason.claims, [Claim::Executables]);
    assert!(reason.detail.starts_with("PCR 0: "), "{}", reason.detail);
    assert!(reason.next_step.contains("inspect boot-log"));

    // Events of PCR 4 left out altogether.
    let changed = forged(|events| events.retain(|event| event.pcr != 4));
    assert_eq!(
        codes(&judge(&policy, &changed, Some(&set))),
        ["boot-log-mismatch"]
    );
    // No log is as good as one here.
    let mut none = good();
    none.boot_log = None;
    assert_eq!(
        codes(&judge(&policy, &none, Some(&set))),
        Vec::<&str>::new()
    );
}

#[test]
fn under_the_floor_boot_log_each_pcr_is_explained_or_has_a_reference_value() {
    let policy = lax(Floor::BootLog);
    assert_eq!(judge(&policy, &good(), None).status, Tier::Affirming);

    let changed = forged(|events| events[0].sha256[0] ^= 1);
    let verdict = judge(&policy, &changed, None);
    assert_eq!(
        (verdict.status, codes(&verdict)),
        (Tier::Warning, vec!["boot-log-mismatch"])
    );
    assert_eq!(verdict.vector.executables, 33);
    assert_eq!(verdict.vector.configuration, 2);
    let detail = &verdict.reasons[0].detail;
    assert!(
        detail.starts_with("PCR 0 (platform firmware): the boot log gives "),
        "{detail}"
    );
    assert!(detail.contains(&hex::encode(&changed.pcrs[&0])), "{detail}");
    // A reference value does as well.
    let set = accepting(&changed, &[0]);
    assert_eq!(
        codes(&judge(&policy, &changed, Some(&set))),
        ["boot-log-mismatch"],
        "and it is told"
    );
    assert_eq!(judge(&policy, &changed, Some(&set)).status, Tier::Affirming);
    let other = references(&[(0, vec![vec![9; 32]])].into());
    assert_eq!(
        codes(&judge(&policy, &changed, Some(&other))),
        ["boot-log-mismatch"]
    );

    let changed = forged(|events| events.retain(|event| event.pcr != 7));
    let verdict = judge(&policy, &changed, None);
    assert_eq!(
        (verdict.status, codes(&verdict)),
        (Tier::Warning, vec!["boot-log-mismatch"])
    );
    assert!(
        verdict.reasons[0].detail.contains("has no event of it"),
        "{:?}",
        verdict.reasons
    );
}

#[test]
fn under_the_floor_boot_log_a_log_must_be_there() {
    let policy = lax(Floor::BootLog);
    let mut none = good();
    none.boot_log = None;
    let verdict = judge(&policy, &none, None);
    assert_eq!(
        (verdict.status, codes(&verdict)),
        (Tier::Warning, vec!["boot-log-missing"])
    );
    assert_eq!(
        verdict.reasons[0].claims,
        [Claim::Configuration, Claim::Executables]
    );
    assert!(verdict.reasons[0].next_step.contains("--boot-log"));
    // Reference values for all of one claim leave the other.
    let code = [0, 2, 4, 9];
    let verdict = judge(&policy, &none, Some(&accepting(&none, &code)));
    assert_eq!(verdict.reasons[0].claims, [Claim::Configuration]);
    assert_eq!(verdict.vector.executables, 2);
    let all = accepting(&none, &SELECTION);
    assert_eq!(judge(&policy, &none, Some(&all)).status, Tier::Affirming);
}

#[test]
fn empty_and_foreign_pcrs_under_the_floor_boot_log() {
    let policy = lax(Floor::BootLog);
    let quoted = |more: u32, value: Vec<u8>| {
        let mut facts = good();
        facts.pcrs.insert(more, value);
        let boot = facts.boot_log.as_mut().unwrap();
        boot.relations = boot.log.relations(
            facts
                .pcrs
                .iter()
                .map(|(index, value)| (*index, value.as_slice())),
        );
        facts
    };
    // Nothing was measured, and the log says so: above the firmware's own.
    assert_eq!(
        judge(&policy, &quoted(12, vec![0; 32]), None).status,
        Tier::Affirming
    );
    for (pcr, value, code) in [
        (3, vec![0; 32], "boot-log-mismatch"),
        (12, vec![7; 32], "boot-log-mismatch"),
        (10, vec![7; 32], "pcr-not-covered"),
        // Anybody can reset these.
        (16, vec![0; 32], "pcr-not-covered"),
        (23, vec![7; 32], "pcr-not-covered"),
    ] {
        let verdict = judge(&policy, &quoted(pcr, value), None);
        assert_eq!(
            (verdict.status, codes(&verdict)),
            (Tier::Warning, vec![code]),
            "PCR {pcr}"
        );
        assert!(
            verdict.reasons[0]
                .detail
                .starts_with(&format!("PCR {pcr} ("))
        );
    }
    // A gateway whose firmware measures nothing at all.
    let mut nothing = quoted(12, vec![0; 32]);
    nothing.pcrs.values_mut().for_each(|value| value.fill(0));
    let boot = nothing.boot_log.as_mut().unwrap();
    boot.relations = (0..15)
        .map(|index| (index, crate::verification::PcrRelation::Empty))
        .collect();
    assert_eq!(
        codes(&judge(&policy, &nothing, None)),
        ["boot-log-mismatch"; 8]
    );
}

#[test]
fn the_floor_hardware_vouches_for_no_software() {
    let policy = lax(Floor::Hardware);
    let mut none = good();
    none.boot_log = None;
    let verdict = judge(&policy, &none, None);
    assert_eq!((verdict.status, codes(&verdict)), (Tier::Affirming, vec![]));
    assert_eq!(
        (verdict.vector.executables, verdict.vector.configuration),
        (0, 0)
    );
    assert_eq!(
        (verdict.vector.hardware, verdict.vector.instance_identity),
        (2, 2)
    );
    // Where PCRs account for it, the policy may affirm more.
    let verdict = judge(&policy, &good(), None);
    assert_eq!(
        (verdict.vector.executables, verdict.vector.configuration),
        (2, 2)
    );
    // What differs from reference values is told.
    let set = references(&[(4, vec![value(4)])].into());
    let verdict = judge(&policy, &none, Some(&set));
    assert_eq!(
        (verdict.status, codes(&verdict)),
        (Tier::Affirming, vec!["pcr-mismatch"])
    );
    assert_eq!(verdict.vector.executables, 0);
    // A policy that says nothing of hardware, or fails, affirms nothing.
    let body = r#"result := {"vector": {"instance-identity": 2}, "reasons": []}"#;
    let silent = Policy::compile(&source(r#"floor := "hardware""#, body)).unwrap();
    let verdict = judge(&silent, &none, None);
    assert_eq!(
        (verdict.status, codes(&verdict)),
        (Tier::None, vec!["claim-not-made"])
    );
    let broken = Policy::compile(&source(r#"floor := "hardware""#, "result := 1 / 0")).unwrap();
    let verdict = judge(&broken, &none, None);
    assert_eq!(
        (verdict.status, codes(&verdict)),
        (Tier::None, vec!["policy-error"])
    );
    assert!(verdict.is_malfunction());
}

/// Also one that does not look at the endorsement, and affirmed the same state
/// before: it is in the memo's key all the same.
#[test]
fn cve_c28_no_policy_waves_through_an_endorsement_that_does_not_stand() {
    for floor in [Floor::ReferenceValues, Floor::BootLog, Floor::Hardware] {
        let (policy, mut facts) = (lax(floor), good());
        let references = accepting(&facts, &SELECTION);
        let verdict = |facts: &Facts| policy.verdict(facts, Some(&references), NOW);
        assert_eq!(verdict(&facts).status, Tier::Affirming);
        facts.tpm.path = vec![crate::endorsement::PathCertificate {
            sha256: "00".repeat(32),
            key_sha256: "00".repeat(32),
            issuer_sha256: "00".repeat(32),
            serial: "01".to_owned(),
            subject: "CN=Gone".to_owned(),
        }];
        let none = crate::endorsement::Anchors::new(Vec::new(), Vec::new()).unwrap();
        facts.standing = none.standing(&facts.tpm, &[0; 32], 0, NOW);
        let verdict = verdict(&facts);
        assert_eq!(verdict.status, Tier::Contraindicated, "{floor:?}");
        assert_eq!(verdict.vector.get(Claim::Hardware), 96);
        assert!(
            verdict
                .reasons
                .iter()
                .any(|r| r.code == "ek-anchor-withdrawn")
        );
    }
}
