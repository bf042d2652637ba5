//! Deliveries on record: one line each, and the same only so often.

use std::{collections::BTreeMap, time::Duration};

use super::*;
use crate::{
    freshness::Class,
    secrets::{SecretId, StoredSecret},
    silence::SilenceRules,
    store::{NewSecret, REDELIVERIES, REDELIVERY_EVERY, Secrets as _, Silence as _},
};

fn secret(version: u64) -> SecretId {
    SecretId {
        class: Class::parse("default").unwrap(),
        name: format!("n{version}").parse().unwrap(),
        version,
    }
}

/// Gateways 1 and 2, and as many secrets of their class.
async fn fixture(secrets: u64) -> Fixture {
    let f = Fixture::new(10).await;
    for n in [1, 2] {
        let _ = f.store.record_enrolment(enrolled(n), NOW).await.unwrap();
    }
    for version in 1..=secrets {
        put(&f, version).await;
    }
    f
}

async fn put(f: &Fixture, version: u64) {
    let new = NewSecret {
        id: secret(version),
        size: 1,
        stored: StoredSecret {
            key_id: "k".to_owned(),
            wrapped_key: vec![1],
            ciphertext: vec![2],
        },
    };
    f.store.put_secret(new, "uid:0", NOW).await.unwrap();
}

async fn deliver(f: &Fixture, n: u8, count: u64, sent: &[SecretId]) -> Result<(), StoreError> {
    let to = id(n);
    f.store
        .record_delivery(&to, "default", count, sent, NOW)
        .await
}

/// `seconds` of up-time go by.
async fn pass(f: &Fixture, seconds: i64) {
    let rules = SilenceRules::new(u32::MAX, BTreeMap::new(), u32::MAX, 4);
    f.store.pass(Duration::from_secs(seconds.unsigned_abs()));
    let watched = f.store.watch_silence(&rules, 100, NOW).await;
    assert_eq!(watched.unwrap().suspended, []);
}

async fn deliveries(f: &Fixture) -> Vec<AuditEntry> {
    let entries = f.store.audit(1000).await.unwrap();
    let delivered = |entry: &AuditEntry| entry.action == "secret-delivered";
    entries.into_iter().filter(delivered).collect()
}

#[tokio::test]
async fn a_delivery_is_one_line_that_names_what_was_sent() {
    let f = fixture(3).await;
    let all = [secret(1), secret(2), secret(3)];
    deliver(&f, 1, 3, &all[..2]).await.unwrap();
    deliver(&f, 1, 3, &all).await.unwrap();
    // That nothing came is nothing to tell.
    deliver(&f, 1, 3, &[]).await.unwrap();
    let lines = deliveries(&f).await;
    assert_eq!(lines.len(), 2, "{lines:?}");
    assert_eq!(lines[1].detail, "class default, change 3: n1 1, n2 2");
    assert_eq!(
        lines[0].detail,
        "class default, change 3: n1 1 again, n2 2 again, n3 3"
    );
    assert_eq!(lines[0].subject, id(1).to_string());
}

#[tokio::test]
async fn adv_a21_a_gateway_that_says_that_it_holds_nothing_is_sent_the_same_seldom() {
    let mut sent = 0;
    let f = fixture(2).await;
    let both = vec![secret(1), secret(2)];
    deliver(&f, 1, 2, &both).await.unwrap();
    while f.store.deliverable(&id(1), both.clone()).await.unwrap() == both {
        deliver(&f, 1, 2, &both).await.unwrap();
        sent += 1;
        assert!(sent <= REDELIVERIES, "no end of it");
    }
    assert_eq!(sent, REDELIVERIES);
    // Asked again where it is recorded: two of its attestations may race.
    let refused = deliver(&f, 1, 2, &both[..1]).await;
    assert!(
        matches!(refused, Err(StoreError::RedeliverySpent { id: of }) if of == id(1)),
        "{refused:?}"
    );
    assert_eq!(deliveries(&f).await.len(), 4);

    // What is new comes at once, alone; and another gateway is another.
    put(&f, 3).await;
    let all = vec![secret(1), secret(2), secret(3)];
    let new = f.store.deliverable(&id(1), all.clone()).await.unwrap();
    assert_eq!(new, [secret(3)]);
    deliver(&f, 1, 3, &new).await.unwrap();
    assert_eq!(f.store.deliverable(&id(2), all.clone()).await.unwrap(), all);

    // One that lost its state waits no longer than this; by up-time.
    pass(&f, REDELIVERY_EVERY - 1).await;
    let early = f.store.deliverable(&id(1), all.clone()).await.unwrap();
    assert_eq!(early, []);
    pass(&f, 1).await;
    deliver(&f, 1, 3, &all).await.unwrap();
    assert_eq!(f.store.deliverable(&id(1), all.clone()).await.unwrap(), []);
    // On disk: a restart is no way around it.
    let again = SqliteStore::open(&f.dir.path().join("holdfast.db"))
        .await
        .unwrap();
    assert_eq!(again.deliverable(&id(1), all.clone()).await.unwrap(), []);
}

#[tokio::test]
async fn recovery_gives_all_redeliveries_back() {
    let f = fixture(1).await;
    let one = vec![secret(1)];
    for _ in 0..=REDELIVERIES {
        deliver(&f, 1, 1, &one).await.unwrap();
    }
    assert_eq!(f.store.deliverable(&id(1), one.clone()).await.unwrap(), []);
    let silence = SuspensionKind::Silence;
    f.store
        .suspend(&id(1), silence, "", "verifier", NOW)
        .await
        .unwrap();
    let mut back = enrolled(1);
    back.admittance = Admittance::Recovery;
    back.answer = answer(92);
    back.certificate = certificate(93);
    let _ = f.store.record_enrolment(back, NOW).await.unwrap();
    assert_eq!(f.store.deliverable(&id(1), one.clone()).await.unwrap(), one);
}
