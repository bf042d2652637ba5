use std::sync::Arc;

use holdfast_proto::result::{Tier, TrustVector};

use super::{
    super::memo::{GENERATION, MAX_AGE_SECONDS, Memo},
    *,
};

fn verdict() -> (Verdict, Option<UnixTime>) {
    let verdict = Verdict {
        vector: TrustVector::NONE,
        status: Tier::Affirming,
        reasons: vec![],
    };
    (verdict, None)
}

fn key(n: u64) -> [u8; 32] {
    let mut key = [0; 32];
    key[..8].copy_from_slice(&n.to_be_bytes());
    key
}

#[test]
fn the_same_state_is_judged_once() {
    let policy = Policy::standard().unwrap();
    let (facts, set) = (facts(), good_references());
    let first = policy.verdict(&facts, Some(&set), NOW);
    let again = policy.verdict(&facts, Some(&set), NOW.plus(10));
    assert!(Arc::ptr_eq(&first, &again));
}

/// A policy that looks at all of its input, and affirms.
fn inquisitive() -> Policy {
    Policy::compile(
        "package holdfast.appraisal\nimport rego.v1\n\
         result := {\"reasons\": [r | some r in []], \"vector\": vector} if input.format\n\
         vector := {\"instance-identity\": 2, \"hardware\": 2, \"executables\": 2, \"configuration\": 2} if \
         object.keys(input)",
    )
    .unwrap()
}

#[test]
fn what_the_policy_does_not_read_is_no_part_of_the_key() {
    let policy = Policy::standard().unwrap();
    let set = good_references();
    let good = policy.verdict(&facts(), Some(&set), NOW);
    let changes: [fn(&mut Facts); 4] = [
        |f| f.gateway = Ueid::parse(&[1; 33]).unwrap(),
        |f| f.ak = "x".into(),
        |f| f.ldevid = "x".into(),
        |f| f.software_version = "0.2.0".into(),
    ];
    for (at, change) in changes.into_iter().enumerate() {
        let mut facts = facts();
        change(&mut facts);
        assert!(
            Arc::ptr_eq(&good, &policy.verdict(&facts, Some(&set), NOW)),
            "change {at}"
        );
    }
}

#[test]
fn what_the_floor_goes_by_is_part_of_the_key_whatever_the_policy_reads() {
    let policy = Policy::compile(
        "package holdfast.appraisal\nimport rego.v1\nresult := {\"reasons\": [], \"vector\": \
         {\"instance-identity\": 2, \"hardware\": 2, \"executables\": 2, \"configuration\": 2}}",
    )
    .unwrap();
    let set = good_references();
    let good = policy.verdict(&facts(), Some(&set), NOW);
    assert_eq!(good.status, Tier::Affirming);
    let changes: [fn(&mut Facts); 4] = [
        |f| f.class = "other".into(),
        |f| drop(f.pcrs.insert(4, vec![1; 32])),
        |f| drop(f.pcrs.remove(&4)),
        |f| f.bank = HashAlg::Sha384,
    ];
    for (at, change) in changes.into_iter().enumerate() {
        let mut facts = facts();
        change(&mut facts);
        assert!(
            !Arc::ptr_eq(&good, &policy.verdict(&facts, Some(&set), NOW)),
            "change {at}"
        );
    }
}

#[test]
fn whatever_the_policy_can_read_is_part_of_the_key() {
    let policy = inquisitive();
    let set = good_references();
    let good = policy.verdict(&facts(), Some(&set), NOW);
    assert!(
        Arc::ptr_eq(&good, &policy.verdict(&facts(), Some(&set), NOW)),
        "it is remembered"
    );
    let changes: [fn(&mut Facts); 14] = [
        |f| f.gateway = Ueid::parse(&[1; 33]).unwrap(),
        |f| f.class = "other".into(),
        |f| f.tpm.version = "id:0".into(),
        |f| f.tpm.issuer = "CN=x".into(),
        |f| f.ak = "x".into(),
        |f| f.ldevid = "x".into(),
        |f| drop(f.pcrs.insert(4, vec![1; 32])),
        |f| drop(f.pcrs.remove(&4)),
        |f| f.reset_count = 5,
        |f| f.restart_count = 1,
        |f| f.clock_safe = false,
        |f| f.firmware_version = 1,
        |f| f.software_version = "0.2.0".into(),
        |f| f.boot_log_sha256 = None,
    ];
    for (at, change) in changes.into_iter().enumerate() {
        let mut facts = facts();
        change(&mut facts);
        assert!(
            !Arc::ptr_eq(&good, &policy.verdict(&facts, Some(&set), NOW)),
            "change {at}"
        );
    }
    let mut more = SELECTION.map(|index| (index, vec![value(index)])).to_vec();
    more.push((23, vec![value(23)]));
    let other_set = references(&more.into_iter().collect());
    assert!(
        !Arc::ptr_eq(&good, &policy.verdict(&facts(), Some(&other_set), NOW)),
        "another set"
    );
    assert!(
        !Arc::ptr_eq(&good, &policy.verdict(&facts(), None, NOW)),
        "no set"
    );
}

#[test]
fn entries_age() {
    let memo = Memo::new();
    let make = |now| memo.get_or_insert(key(1), now, verdict);
    let first = make(NOW);
    assert!(Arc::ptr_eq(&first, &make(NOW.plus(MAX_AGE_SECONDS - 1))));
    let second = make(NOW.plus(MAX_AGE_SECONDS));
    assert!(!Arc::ptr_eq(&first, &second));
    assert!(
        !Arc::ptr_eq(&second, &make(NOW)),
        "a clock set back makes nothing young again"
    );
}

#[test]
fn entries_end_with_what_they_rest_on() {
    let memo = Memo::new();
    let ends = NOW.plus(10);
    let make = |now| memo.get_or_insert(key(1), now, || (verdict().0, Some(ends)));
    let first = make(NOW);
    assert!(Arc::ptr_eq(&first, &make(NOW.plus(9))));
    assert!(!Arc::ptr_eq(&first, &make(ends)));
    // An end far away makes no entry live longer.
    let far = || (verdict().0, Some(NOW.plus(10 * MAX_AGE_SECONDS)));
    let first = memo.get_or_insert(key(2), NOW, far);
    let later = NOW.plus(MAX_AGE_SECONDS);
    assert!(!Arc::ptr_eq(
        &first,
        &memo.get_or_insert(key(2), later, far)
    ));
}

#[test]
fn what_has_an_end_is_affirmed_before_it_and_not_at_it() {
    let policy = Policy::standard().unwrap();
    let facts = facts();
    let end = NOW.plus(100);
    // Good values in the window alone; without an end, PCR 4 has another.
    let good = good_references().canonical_json();
    let stale = good.replace(&hex::encode(value(4)), &hex::encode([0xee; 32]));
    let pcrs = good.strip_prefix('{').unwrap();
    let document = format!(
        r#"{},"until":[{{"end":"{end}",{pcrs}]}}"#,
        stale.strip_suffix('}').unwrap()
    );
    let set = ReferenceValues::parse(&document).unwrap();
    let affirms = |now| policy.verdict(&facts, Some(&set), now).status == Tier::Affirming;
    assert!(affirms(NOW));
    assert_eq!(policy.memo_len(), 1);
    assert!(affirms(NOW.plus(99)), "from the memo");
    assert!(!affirms(end), "the memo ends with the window");
    assert!(!affirms(end.plus(1)));
}

#[test]
fn memory_is_bounded_and_the_recent_survive() {
    let memo = Memo::new();
    let kept = memo.get_or_insert(key(0), NOW, verdict);
    for n in 1..GENERATION as u64 * 5 {
        memo.get_or_insert(key(n), NOW, verdict);
        if n % 1000 == 0 {
            assert!(
                Arc::ptr_eq(&kept, &memo.get_or_insert(key(0), NOW, verdict)),
                "in use, so kept"
            );
        }
        assert!(memo.len() <= 2 * GENERATION);
    }
}

#[test]
fn only_what_is_affirmed_is_remembered() {
    let policy = Policy::standard().unwrap();
    let judge = || policy.verdict(&facts(), None, NOW);
    assert!(!Arc::ptr_eq(&judge(), &judge()));
    assert_eq!(policy.memo_len(), 0);
}
