use std::sync::Arc;

use holdfast_proto::result::{Tier, TrustVector};

use super::{
    super::memo::{GENERATION, MAX_AGE_SECONDS, Memo},
    *,
};

fn verdict() -> Verdict {
    Verdict {
        vector: TrustVector::NONE,
        status: Tier::Affirming,
        reasons: vec![],
    }
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

#[test]
fn whatever_the_policy_can_read_is_part_of_the_key() {
    let policy = Policy::standard().unwrap();
    let set = good_references();
    let good = policy.verdict(&facts(), Some(&set), NOW);
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
