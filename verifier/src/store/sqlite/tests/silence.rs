//! Silence (A20): who is suspended when, by simulated up-time.

use std::{collections::BTreeMap, time::Duration};

use sqlx::Row as _;

use super::*;
use crate::{
    silence::SilenceRules,
    store::{EventKind, Events as _, Issued, Revocations as _, Silence as _, fixtures::ISSUER},
};

const WITHIN: i64 = 100;
const GRACE: i64 = 20;

fn rules() -> SilenceRules {
    SilenceRules::new(100, [("slow".to_owned(), 1000)].into(), 40, 20)
}

/// A store with gateways 1 to `n`, past the grace of its first run.
async fn with_gateways(n: u8) -> Fixture {
    let f = Fixture::new(200).await;
    f.store.begin_run(&rules(), NOW).await.unwrap();
    assert_eq!(pass(&f, GRACE).await, []);
    for n in 1..=n {
        let _ = f.store.record_enrolment(enrolled(n), NOW).await.unwrap();
    }
    f
}

/// Time passes, and all who are silent are suspended.
async fn pass(f: &Fixture, seconds: i64) -> Vec<Ueid> {
    f.store.pass(Duration::from_secs(seconds.unsigned_abs()));
    let watched = f.store.watch_silence(&rules(), 100, NOW).await.unwrap();
    assert!(!watched.more);
    watched.suspended
}

async fn state(f: &Fixture, n: u8) -> Lifecycle {
    f.store.gateway(&id(n)).await.unwrap().unwrap().lifecycle
}

const SILENT: Lifecycle = Lifecycle::Suspended(SuspensionKind::Silence);

#[tokio::test]
async fn adv_a20_who_is_silent_is_suspended_and_who_attests_is_not() {
    let f = with_gateways(2).await;
    assert_eq!(pass(&f, WITHIN).await, []);
    let _ = f
        .store
        .record_affirmation(affirmed(2, 90), NOW)
        .await
        .unwrap();
    assert_eq!(pass(&f, GRACE).await, [id(1)]);
    assert_eq!(state(&f, 1).await, SILENT);
    assert_eq!(state(&f, 2).await, Lifecycle::Active);

    // As any suspension: certificate, event, audit row; and once only.
    let issued = f.store.issued(&ISSUER, "01").await.unwrap();
    assert!(matches!(issued, Some(Issued::Revoked { .. })));
    let events = f.store.events_after(2, None, 10).await.unwrap();
    assert_eq!(events.len(), 1);
    assert_eq!(
        (events[0].gateway, events[0].kind),
        (id(1), EventKind::Suspended)
    );
    assert!(events[0].detail.contains(r#""cause":"silence""#));
    let audit = f.store.audit(1).await.unwrap().remove(0);
    assert_eq!(
        (audit.actor.as_str(), audit.action.as_str(), audit.detail),
        (
            "verifier",
            "suspended",
            "silence: no affirming attestation within 100 s".to_owned()
        )
    );
    assert_eq!(pass(&f, 5).await, []);

    // An affirmation that was under way comes too late.
    let late = f.store.record_affirmation(affirmed(1, 91), NOW).await;
    assert!(matches!(late, Err(StoreError::Blocked { .. })));
}

#[tokio::test]
async fn adv_a20_recovery_and_resumption_begin_a_new_interval() {
    let f = with_gateways(2).await;
    assert_eq!(pass(&f, WITHIN + GRACE).await, [id(1), id(2)]);
    let mut back = enrolled(1);
    back.admittance = Admittance::Recovery;
    back.answer = answer(92);
    back.certificate.sha256 = [93; 32];
    back.certificate.serial = "5d".to_owned();
    let _ = f.store.record_enrolment(back, NOW).await.unwrap();
    f.store.resume(&id(2), "", "test", NOW).await.unwrap();
    assert_eq!(pass(&f, WITHIN).await, []);
    assert_eq!(pass(&f, GRACE).await, [id(1), id(2)]);
}

/// What the owner or the evidence said stands: it is graver.
#[tokio::test]
async fn adv_a20_silence_is_not_said_of_who_is_suspended_or_revoked() {
    let f = with_gateways(3).await;
    let kinds = [(1, SuspensionKind::Operator), (2, SuspensionKind::Evidence)];
    for (n, kind) in kinds {
        f.store
            .suspend(&id(n), kind, "", "test", NOW)
            .await
            .unwrap();
    }
    let why = RevocationReason::Unspecified;
    f.store.revoke(&id(3), why, "", "test", NOW).await.unwrap();
    assert_eq!(pass(&f, 10 * WITHIN).await, []);
    for (n, kind) in kinds {
        assert_eq!(state(&f, n).await, Lifecycle::Suspended(kind));
    }
    assert_eq!(state(&f, 3).await, Lifecycle::Revoked);
}

#[tokio::test]
async fn adv_a20_each_class_has_its_own_interval() {
    let f = with_gateways(1).await;
    let mut slow = enrolled(2);
    slow.class = "slow".to_owned();
    let _ = f.store.record_enrolment(slow, NOW).await.unwrap();
    assert_eq!(pass(&f, 999).await, [id(1)]);
    assert_eq!(pass(&f, 1 + GRACE).await, [id(2)]);
}

/// While no verifier was up nobody could attest, however long that was.
#[tokio::test]
async fn adv_a20_an_outage_suspends_nobody_and_forgets_nobody() {
    let f = with_gateways(1).await;
    assert_eq!(pass(&f, WITHIN).await, []);
    // A year by the clock on the wall.
    f.store.begin_run(&rules(), NOW + 31_536_000).await.unwrap();
    assert_eq!(pass(&f, GRACE - 1).await, []);
    assert_eq!(pass(&f, 1).await, [id(1)]);
}

/// A verifier that crashes within its grace again and again.
#[tokio::test]
async fn adv_a20_restarts_cannot_hide_silence() {
    let f = with_gateways(1).await;
    let mut up = 0;
    let suspended = loop {
        f.store.begin_run(&rules(), NOW).await.unwrap();
        let suspended = pass(&f, GRACE / 2).await;
        up += GRACE / 2;
        if !suspended.is_empty() {
            break suspended;
        }
        assert!(up < 10 * WITHIN);
    };
    assert_eq!(suspended, [id(1)]);
    assert!(up <= WITHIN + 2 * GRACE, "{up}");
}

/// One that lives for less than a second each time: every write has marked the
/// time until then, and what was not marked is lost.
#[tokio::test]
async fn adv_a20_lives_of_less_than_a_second_add_up() {
    let f = with_gateways(1).await;
    let path = f.dir.path().join("holdfast.db");
    let mut lives = 0;
    loop {
        let store = SqliteStore::open(&path).await.unwrap();
        store.begin_run(&rules(), NOW).await.unwrap();
        store.pass(Duration::from_millis(700));
        let watched = store.watch_silence(&rules(), 100, NOW).await.unwrap();
        lives += 1;
        if watched.suspended == [id(1)] {
            break;
        }
        // Killed: this is on record nowhere.
        store.pass(Duration::from_millis(200));
        assert!(lives < 1000);
    }
    let sum = i64::from(lives) * 700 / 1000;
    assert!(sum > WITHIN && sum <= WITHIN + 2 * GRACE, "{sum}");
    // One that ends in order loses nothing.
    let store = SqliteStore::open(&path).await.unwrap();
    let before = up_time(&store).await;
    store.pass(Duration::from_millis(1900));
    store.close().await;
    let after = up_time(&SqliteStore::open(&path).await.unwrap()).await;
    assert_eq!(after - before, 1900);
}

/// In milliseconds.
async fn up_time(store: &SqliteStore) -> i64 {
    sqlx::query_scalar("SELECT seconds * 1000 + milliseconds FROM uptime")
        .fetch_one(&store.readers)
        .await
        .unwrap()
}

/// A look that took long does not make an attestation older than it is.
#[tokio::test]
async fn adv_a20_an_attestation_is_of_its_own_time() {
    let f = with_gateways(2).await;
    f.store.pass(Duration::from_secs(WITHIN.unsigned_abs()));
    let _ = f
        .store
        .record_affirmation(affirmed(2, 90), NOW)
        .await
        .unwrap();
    assert_eq!(pass(&f, GRACE).await, [id(1)]);
    assert_eq!(pass(&f, WITHIN - GRACE).await, []);
}

#[tokio::test]
async fn adv_a20_time_that_is_not_recorded_is_not_counted_and_counted_once() {
    let f = with_gateways(1).await;
    let before = up_time(&f.store).await;
    // A write that is refused marks nothing, and takes nothing away.
    f.store.pass(Duration::from_millis(1500));
    let (nobody, kind) = (id(9), SuspensionKind::Operator);
    let refused = f.store.suspend(&nobody, kind, "", "test", NOW).await;
    assert!(refused.is_err());
    assert_eq!(up_time(&f.store).await, before);
    assert_eq!(pass(&f, 0).await, []);
    assert_eq!(up_time(&f.store).await, before + 1500);
    assert_eq!(pass(&f, 0).await, []);
    assert_eq!(up_time(&f.store).await, before + 1500);
    // The store could not be written.
    f.store.pass(Duration::from_secs(1000));
    f.store.lose();
    assert_eq!(pass(&f, 0).await, []);
    assert_eq!(up_time(&f.store).await, before + 1500);
}

#[tokio::test]
async fn a_fleet_is_suspended_in_bounded_steps() {
    let f = with_gateways(9).await;
    let passed = WITHIN + GRACE;
    f.store.pass(Duration::from_secs(passed.unsigned_abs()));
    let mut steps = Vec::new();
    loop {
        let watched = f.store.watch_silence(&rules(), 4, NOW).await.unwrap();
        steps.push(watched.suspended.len());
        if !watched.more {
            break;
        }
    }
    assert_eq!(steps, [4, 4, 1]);
}

#[tokio::test]
async fn only_who_is_due_is_read() {
    let f = Fixture::new(1).await;
    let plan = sqlx::query(sqlx::AssertSqlSafe(format!(
        "EXPLAIN QUERY PLAN {}",
        super::super::silence::DUE
    )))
    .bind("default")
    .bind(1)
    .bind(1)
    .fetch_all(&f.store.readers)
    .await
    .unwrap();
    let plan: Vec<String> = plan.iter().map(|row| row.get("detail")).collect();
    assert_eq!(
        plan,
        ["SEARCH gateways USING INDEX gateways_by_silence (class=? AND attested_up<?)"]
    );
    let none = SilenceRules::new(4, BTreeMap::new(), 4, 4);
    f.store.pass(Duration::from_secs(1000));
    let watched = f.store.watch_silence(&none, 1, NOW).await.unwrap();
    assert!(watched.suspended.is_empty());
}
