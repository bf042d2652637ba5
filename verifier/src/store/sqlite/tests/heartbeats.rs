//! Heartbeats on record, by simulated up-time.

use std::time::Duration;

use sqlx::Row as _;

use super::*;
use crate::{
    silence::SilenceRules,
    store::{
        Awaited, AwaitedBeats, BeatMark, Deadline, HeartbeatRecord, Heartbeats as _, Silence as _,
    },
};

const BEAT: i64 = 40;
const GRACE: i64 = 20;

fn rules() -> SilenceRules {
    SilenceRules::new(1000, std::collections::BTreeMap::new(), 40, 20)
}

/// Gateways 1 to `n`, each in an epoch of its own, past the grace of the start.
async fn beating(n: u8) -> Fixture {
    let f = Fixture::new(200).await;
    f.store.begin_run(&rules(), NOW).await.unwrap();
    pass(&f, GRACE).await;
    for n in 1..=n {
        let _ = f.store.record_enrolment(enrolled(n), NOW).await.unwrap();
        f.store
            .begin_epoch(&id(n), [n; 16], "m1", BEAT)
            .await
            .unwrap();
    }
    f
}

async fn pass(f: &Fixture, seconds: i64) -> Vec<Ueid> {
    f.store.pass(Duration::from_secs(seconds.unsigned_abs()));
    let watched = f.store.watch_silence(&rules(), 100, NOW).await;
    watched.unwrap().suspended
}

/// A beat of gateway `n` by the key of an epoch.
async fn beat(f: &Fixture, n: u8, epoch: u8, clock: u64) {
    let mark = BeatMark {
        gateway: id(n),
        epoch: [epoch; 16],
        clock,
    };
    f.store.record_beats(&[mark]).await.unwrap();
}

async fn begin(f: &Fixture, n: u8, epoch: u8, within: i64) {
    let begun = f.store.begin_epoch(&id(n), [epoch; 16], "m1", within).await;
    begun.unwrap();
}

/// A beat by the key of an epoch has shown something; within how long to attest.
async fn doubt(f: &Fixture, n: u8, epoch: u8, code: &str) -> Result<u32, StoreError> {
    f.store
        .doubt(&id(n), [epoch; 16], code, &rules(), NOW)
        .await
}

async fn record(f: &Fixture, n: u8) -> Option<HeartbeatRecord> {
    f.store.heartbeat(&id(n)).await.unwrap()
}

#[tokio::test]
async fn adv_a20_who_stops_beating_is_suspended_and_who_beats_is_not() {
    let f = beating(3).await;
    // One that does not beat at all is held to its attestations alone.
    let _ = f.store.record_enrolment(enrolled(4), NOW).await.unwrap();
    assert_eq!(pass(&f, BEAT).await, []);
    beat(&f, 2, 2, u64::MAX).await;
    // Beginning again is no beat.
    f.store
        .begin_epoch(&id(3), [9; 16], "m2", BEAT)
        .await
        .unwrap();
    assert_eq!(pass(&f, GRACE).await, [id(1), id(3)]);
    let gateway = f.gateway(1).await;
    assert_eq!(
        gateway.lifecycle,
        Lifecycle::Suspended(SuspensionKind::Silence)
    );
    assert_eq!(gateway.state_reason, "no heartbeat within 40 s");
    assert_eq!(gateway.certificate, None);
    // Its key is void.
    assert_eq!(record(&f, 1).await, None);
    let known = HeartbeatRecord {
        epoch: Some(([2; 16], "m1".to_owned())),
        clock: Some(u64::MAX),
        within: Some(BEAT),
    };
    assert_eq!(record(&f, 2).await, Some(known));
    assert_eq!(pass(&f, BEAT).await, [id(2)]);
    assert_eq!(f.gateway(4).await.lifecycle, Lifecycle::Active);
}

#[tokio::test]
async fn a_full_attestation_ends_the_epoch_and_begins_a_new_interval() {
    let f = beating(1).await;
    assert_eq!(pass(&f, BEAT).await, []);
    let _ = f
        .store
        .record_affirmation(affirmed(1, 90), NOW)
        .await
        .unwrap();
    let none = HeartbeatRecord {
        epoch: None,
        clock: None,
        within: Some(BEAT),
    };
    assert_eq!(record(&f, 1).await, Some(none));
    // A beat of the epoch before counts no more.
    pass(&f, BEAT).await;
    beat(&f, 1, 1, 5).await;
    assert_eq!(pass(&f, GRACE).await, [id(1)]);
}

/// A beat that was shown before a full attestation, and is written when the
/// gateway has begun to beat anew.
#[tokio::test]
async fn adv_a16_a_beat_of_an_epoch_before_is_none_of_this_one() {
    let f = beating(1).await;
    let _ = f
        .store
        .record_affirmation(affirmed(1, 90), NOW)
        .await
        .unwrap();
    f.store
        .begin_epoch(&id(1), [9; 16], "m1", BEAT)
        .await
        .unwrap();
    pass(&f, BEAT).await;
    beat(&f, 1, 1, u64::MAX).await;
    let begun = HeartbeatRecord {
        epoch: Some(([9; 16], "m1".to_owned())),
        clock: None,
        within: Some(BEAT),
    };
    assert_eq!(record(&f, 1).await, Some(begun));
    // Nor does what it has shown cast doubt on what was affirmed since.
    let late = doubt(&f, 1, 1, "pcr-drift").await;
    assert!(
        matches!(late, Err(StoreError::EpochEnded { id: of }) if of == id(1)),
        "{late:?}"
    );
    assert_eq!(pass(&f, GRACE).await, [id(1)]);
    assert_eq!(f.gateway(1).await.state_reason, "no heartbeat within 40 s");
}

#[tokio::test]
async fn adv_a20_whom_a_beat_has_cast_doubt_on_attests_within_the_grace() {
    let f = beating(2).await;
    for n in [1, 2] {
        f.store
            .doubt(&id(n), [n; 16], "pcr-drift", &rules(), NOW)
            .await
            .unwrap();
    }
    assert_eq!(f.store.audit(1).await.unwrap()[0].action, "told-to-attest");
    // To begin again does not help, nor does a beat.
    f.store
        .begin_epoch(&id(1), [9; 16], "m1", BEAT)
        .await
        .unwrap();
    beat(&f, 1, 9, 5).await;
    let _ = f
        .store
        .record_affirmation(affirmed(2, 90), NOW)
        .await
        .unwrap();
    assert_eq!(pass(&f, GRACE).await, [id(1)]);
    assert_eq!(f.gateway(2).await.lifecycle, Lifecycle::Active);
    assert_eq!(
        f.gateway(1).await.state_reason,
        "told to attest (pcr-drift), and did not"
    );
}

/// The verifier starts again with other settings: what a gateway was told holds.
#[tokio::test]
async fn adv_a20_a_deadline_holds_as_it_was_given() {
    let f = beating(4).await;
    assert_eq!(doubt(&f, 1, 1, "pcr-drift").await.unwrap(), 9);
    let slow = SilenceRules::new(1_000_000, std::collections::BTreeMap::new(), 86_400, 20);
    f.store.begin_run(&slow, NOW).await.unwrap();
    // Told of the new interval, 2 beats; 3 does not.
    begin(&f, 2, 2, 86_400).await;
    beat(&f, 2, 2, 7).await;
    begin(&f, 3, 3, 86_400).await;
    let pass = async |seconds: i64| {
        f.store.pass(Duration::from_secs(seconds.unsigned_abs()));
        let watched = f.store.watch_silence(&slow, 100, NOW).await;
        watched.unwrap().suspended
    };
    assert_eq!(pass(10).await, []);
    // The grace of the start, in which nobody is suspended, is what it waits for.
    assert_eq!(pass(GRACE - 10).await, [id(1)]);
    assert_eq!(pass(BEAT - GRACE).await, []);
    let mut silent = pass(GRACE).await;
    silent.sort();
    assert_eq!(silent, [id(3), id(4)]);
    for n in [3, 4] {
        assert_eq!(f.gateway(n).await.state_reason, "no heartbeat within 40 s");
    }
    // And the other way round: nobody is cut off sooner than told.
    let quick = SilenceRules::new(4, std::collections::BTreeMap::new(), 4, 4);
    f.store.begin_run(&quick, NOW).await.unwrap();
    assert_eq!(record(&f, 2).await.unwrap().within, Some(86_400));
}

/// Who comes back and shows the same has the deadline that it was given first.
#[tokio::test]
async fn adv_a20_to_show_the_same_again_moves_no_deadline() {
    let f = beating(1).await;
    assert_eq!(doubt(&f, 1, 1, "pcr-drift").await.unwrap(), 9);
    assert_eq!(pass(&f, 5).await, []);
    for (epoch, code) in [(8, "pcr-drift"), (9, "tpm-reset")] {
        begin(&f, 1, epoch, BEAT).await;
        assert_eq!(doubt(&f, 1, epoch, code).await.unwrap(), 4);
    }
    // Nor does it fill the audit log: a line for each thing that it shows.
    let entries = f.store.audit(100).await.unwrap();
    let told = entries.iter().filter(|e| e.action == "told-to-attest");
    assert_eq!(
        told.map(|entry| entry.detail.as_str()).collect::<Vec<_>>(),
        ["tpm-reset", "pcr-drift"]
    );
    assert_eq!(pass(&f, 5).await, []);
    assert_eq!(pass(&f, 1).await, [id(1)]);
}

/// A class that requires heartbeats: who does not begin is silent.
#[tokio::test]
async fn adv_a20_who_must_beat_and_does_not_begin_is_suspended() {
    let f = Fixture::new(200).await;
    f.store.begin_run(&rules(), NOW).await.unwrap();
    pass(&f, GRACE).await;
    let begin = Some(rules().notice(0));
    for n in [1, 2, 3] {
        let mut enrolled = enrolled(n);
        enrolled.begin_beats = begin.filter(|_| n != 3);
        let _ = f.store.record_enrolment(enrolled, NOW).await.unwrap();
    }
    f.store
        .begin_epoch(&id(2), [2; 16], "m1", BEAT)
        .await
        .unwrap();
    assert_eq!(pass(&f, GRACE / 2).await, []);
    // A deadline that was given: other settings do not move it.
    f.store.begin_run(&rules(), NOW).await.unwrap();
    let silent = pass(&f, GRACE).await;
    assert_eq!(silent, [id(1)]);
    assert_eq!(
        f.gateway(1).await.state_reason,
        "heartbeats are required of its class, and did not begin in time"
    );
    assert_eq!(f.gateway(3).await.lifecycle, Lifecycle::Active);

    // Each full attestation wants the stream begun anew.
    beat(&f, 2, 2, 5).await;
    let mut again = affirmed(2, 90);
    again.begin_beats = begin;
    let _ = f.store.record_affirmation(again, NOW).await.unwrap();
    let awaited = f.store.awaited(&id(2), &rules()).await.unwrap().unwrap();
    assert_eq!(
        awaited.deadline,
        Some(Deadline {
            within: 11,
            doubt: None
        })
    );
    assert_eq!(pass(&f, GRACE).await, [id(2)]);
    // And so does recovery.
    let mut back = enrolled(1);
    back.admittance = Admittance::Recovery;
    back.answer = answer(92);
    back.certificate = certificate(93);
    back.begin_beats = begin;
    let _ = f.store.record_enrolment(back, NOW).await.unwrap();
    assert_eq!(pass(&f, GRACE).await, [id(1)]);
}

/// Required once, and no more: who never began is held to nothing, over a
/// restart too.
#[tokio::test]
async fn a_gateway_that_never_beat_is_not_awaited_when_its_class_wants_no_beats() {
    let f = Fixture::new(200).await;
    f.store.begin_run(&rules(), NOW).await.unwrap();
    pass(&f, GRACE).await;
    let mut must = enrolled(1);
    must.begin_beats = Some(rules().notice(0));
    let _ = f.store.record_enrolment(must, NOW).await.unwrap();
    let _ = f
        .store
        .record_affirmation(affirmed(1, 90), NOW)
        .await
        .unwrap();
    f.store.begin_run(&rules(), NOW).await.unwrap();
    assert_eq!(pass(&f, GRACE).await, []);
    assert_eq!(pass(&f, BEAT + GRACE).await, []);
    assert_eq!(f.gateway(1).await.lifecycle, Lifecycle::Active);
}

/// What an operator is shown.
#[tokio::test]
async fn what_is_awaited_and_by_when() {
    let f = beating(2).await;
    let _ = f.store.record_enrolment(enrolled(3), NOW).await.unwrap();
    pass(&f, 10).await;
    beat(&f, 2, 2, 5).await;
    doubt(&f, 1, 1, "pcr-drift").await.unwrap();
    pass(&f, 5).await;
    let awaited = async |n| f.store.awaited(&id(n), &rules()).await.unwrap();
    let beats = |has_key, last| {
        Some(AwaitedBeats {
            has_key,
            last,
            within: BEAT - last,
        })
    };
    let plain = Awaited {
        attest_within: 985,
        deadline: None,
        beats: None,
    };
    assert_eq!(awaited(3).await, Some(plain.clone()));
    let on = Awaited {
        beats: beats(true, 5),
        ..plain.clone()
    };
    assert_eq!(awaited(2).await, Some(on));
    let told = Awaited {
        deadline: Some(Deadline {
            within: 6,
            doubt: Some("pcr-drift".to_owned()),
        }),
        beats: beats(false, 15),
        ..plain
    };
    assert_eq!(awaited(1).await, Some(told));
    assert_eq!(pass(&f, 6).await, [id(1)]);
    assert_eq!(awaited(1).await, None);
}

#[tokio::test]
async fn recovery_begins_without_beats() {
    let f = beating(1).await;
    assert_eq!(pass(&f, BEAT + GRACE).await, [id(1)]);
    let mut back = enrolled(1);
    back.admittance = Admittance::Recovery;
    back.answer = answer(92);
    back.certificate = certificate(93);
    let _ = f.store.record_enrolment(back, NOW).await.unwrap();
    assert_eq!(record(&f, 1).await, None);
    assert_eq!(pass(&f, 10 * BEAT).await, []);
}

#[tokio::test]
async fn a_suspended_gateway_begins_no_epoch() {
    let f = beating(1).await;
    let operator = SuspensionKind::Operator;
    f.store
        .suspend(&id(1), operator, "", "test", NOW)
        .await
        .unwrap();
    let begun = f.store.begin_epoch(&id(1), [9; 16], "m1", BEAT).await;
    assert!(matches!(begun, Err(StoreError::Blocked { .. })));
    let doubt = f.store.doubt(&id(1), [1; 16], "x", &rules(), NOW).await;
    assert!(matches!(doubt, Err(StoreError::Blocked { .. })));
    beat(&f, 1, 1, 5).await;
    assert_eq!(record(&f, 1).await, None);
}

#[tokio::test]
async fn only_beats_and_deadlines_that_are_due_are_read() {
    use super::super::silence::{BEATS_DUE, PAST_DEADLINE};
    let f = Fixture::new(1).await;
    for (query, plan) in [
        (BEATS_DUE, "heartbeats_by_silence (beat_due<?)"),
        (PAST_DEADLINE, "heartbeats_by_deadline (deadline<?)"),
    ] {
        let explain = format!("EXPLAIN QUERY PLAN {query}");
        let rows = sqlx::query(sqlx::AssertSqlSafe(explain))
            .bind(1)
            .bind(1)
            .fetch_all(&f.store.readers)
            .await
            .unwrap();
        let found: Vec<String> = rows.iter().map(|row| row.get("detail")).collect();
        assert_eq!(found, [format!("SEARCH heartbeats USING INDEX {plan}")]);
    }
}
