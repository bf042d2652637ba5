//! Each check of the recording transactions fails one test here, and only
//! that check.

mod admissions;
mod eks;
mod heartbeats;
mod ima;
mod references;
mod revocations;
mod secrets;
mod silence;

use tempfile::TempDir;

use super::*;
use crate::store::{
    Admittance, Blocked, BootLogRef, Contraindicated, Lifecycle, OwnedKey, fixtures::*,
};

struct Fixture {
    store: SqliteStore,
    dir: TempDir,
}

impl Fixture {
    /// A store with a join token of `uses` uses.
    async fn new(uses: u32) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let store = SqliteStore::open(&dir.path().join("holdfast.db"))
            .await
            .unwrap();
        store
            .create_join_token(join_token(uses), "uid:0", NOW)
            .await
            .unwrap();
        Self { store, dir }
    }

    /// With gateway 1 enrolled.
    async fn enrolled() -> Self {
        let fixture = Self::new(10).await;
        assert_eq!(
            fixture
                .store
                .record_enrolment(enrolled(1), NOW)
                .await
                .unwrap(),
            Recorded::Now
        );
        fixture
    }

    async fn uses_left(&self) -> u32 {
        self.store
            .join_token(&TOKEN)
            .await
            .unwrap()
            .unwrap()
            .uses_left
    }

    /// The verifier runs on for so many seconds.
    async fn runs(&self, seconds: i64) {
        sqlx::query("UPDATE uptime SET seconds = seconds + ?")
            .bind(seconds)
            .execute(&self.store.writer)
            .await
            .unwrap();
    }

    /// Rows that a sweep removes.
    async fn sweep(&self, now: Seconds) -> u64 {
        self.store.sweep(now).await.unwrap().rows
    }

    async fn gateway(&self, n: u8) -> GatewayRecord {
        self.store.gateway(&id(n)).await.unwrap().unwrap()
    }
}

#[tokio::test]
async fn an_enrolment_is_recorded_whole() {
    let f = Fixture::enrolled().await;
    let g = f.gateway(1).await;
    let e = enrolled(1);
    assert_eq!(
        (g.id, g.class, g.lifecycle),
        (e.id, e.class, Lifecycle::Active)
    );
    assert_eq!((g.keys, g.tpm), (e.keys, e.tpm));
    assert_eq!(g.boot_log_sha256, Some([1; 32]));
    assert_eq!(f.store.boot_log(&[1; 32]).await.unwrap(), Some(vec![1; 10]));
    let (certificate, owner) = f.store.certificate(&[1; 32]).await.unwrap().unwrap();
    assert_eq!((certificate.revoked_at, owner.id), (None, id(1)));
    assert_eq!(g.certificate, Some(certificate));
    assert_eq!(f.uses_left().await, 9);
    assert_eq!(
        f.store.answer(&[1; 32], NOW).await.unwrap(),
        Some(vec![1; 100])
    );
    let audit = f.store.audit(10).await.unwrap();
    assert_eq!(audit[0].action, "enrolled");
    assert_eq!(audit[1].action, "token-created");
}

#[tokio::test]
async fn what_was_recorded_is_there_after_a_reopen_without_close() {
    let f = Fixture::enrolled().await;
    // As after `kill -9`: the first store is not closed, its WAL not folded in.
    let copy = tempfile::tempdir().unwrap();
    for entry in std::fs::read_dir(f.dir.path()).unwrap() {
        let entry = entry.unwrap();
        std::fs::copy(entry.path(), copy.path().join(entry.file_name())).unwrap();
    }
    let store = SqliteStore::open(&copy.path().join("holdfast.db"))
        .await
        .unwrap();
    assert_eq!(
        store.answer(&[1; 32], NOW).await.unwrap(),
        Some(vec![1; 100])
    );
    assert_eq!(
        store.gateway(&id(1)).await.unwrap().unwrap(),
        f.gateway(1).await
    );
}

#[tokio::test]
async fn a_torn_wal_loses_no_commit_before_it() {
    let f = Fixture::enrolled().await;
    let copy = tempfile::tempdir().unwrap();
    for name in ["holdfast.db", "holdfast.db-wal"] {
        std::fs::copy(f.dir.path().join(name), copy.path().join(name)).unwrap();
    }
    // A commit that power loss cut short: half a frame at the end.
    let wal = copy.path().join("holdfast.db-wal");
    let mut bytes = std::fs::read(&wal).unwrap();
    bytes.extend_from_slice(&[0x5A; 2000]);
    std::fs::write(&wal, bytes).unwrap();
    let store = SqliteStore::open(&copy.path().join("holdfast.db"))
        .await
        .unwrap();
    assert_eq!(
        store.answer(&[1; 32], NOW).await.unwrap(),
        Some(vec![1; 100])
    );
}

#[tokio::test]
async fn every_commit_is_synced() {
    let f = Fixture::new(1).await;
    let mut conn = f.store.writer.acquire().await.unwrap();
    let mode: String = sqlx::query_scalar("PRAGMA journal_mode")
        .fetch_one(&mut *conn)
        .await
        .unwrap();
    let sync: i64 = sqlx::query_scalar("PRAGMA synchronous")
        .fetch_one(&mut *conn)
        .await
        .unwrap();
    assert_eq!((mode.as_str(), sync), ("wal", 2), "2 is FULL");
}

#[tokio::test]
async fn adv_a01_the_same_request_again_gets_the_same_bytes_and_costs_nothing() {
    let f = Fixture::enrolled().await;
    let again = f
        .store
        .record_enrolment(enrolled(1), NOW + 1)
        .await
        .unwrap();
    assert_eq!(again, Recorded::Before(vec![1; 100]));
    assert_eq!(f.uses_left().await, 9);
}

#[tokio::test]
async fn adv_a01_another_request_on_a_spent_challenge_is_refused() {
    let f = Fixture::enrolled().await;
    let mut other = enrolled(2);
    other.answer.token_id = enrolled(1).answer.token_id;
    let error = f.store.record_enrolment(other, NOW).await.unwrap_err();
    assert!(matches!(error, StoreError::ChallengeSpent));
    assert!(f.store.gateway(&id(2)).await.unwrap().is_none());
    assert_eq!(f.uses_left().await, 9);
}

#[tokio::test]
async fn adv_a01_a_race_on_one_challenge_grants_once() {
    let f = Fixture::new(10).await;
    let mut racers = tokio::task::JoinSet::new();
    for n in 1..=8 {
        let store = f.store.clone();
        racers.spawn(async move {
            let mut one = enrolled(n);
            one.answer.token_id = [0xEE; 32];
            store.record_enrolment(one, NOW).await
        });
    }
    let outcomes = racers.join_all().await;
    assert_eq!(outcomes.iter().filter(|o| o.is_ok()).count(), 1);
    assert_eq!(f.uses_left().await, 9);
    assert_eq!(f.store.gateways(None, 100).await.unwrap().gateways.len(), 1);
}

#[tokio::test]
async fn a_join_token_admits_as_many_as_it_says() {
    let f = Fixture::new(1).await;
    let _ = f.store.record_enrolment(enrolled(1), NOW).await.unwrap();
    let error = f
        .store
        .record_enrolment(enrolled(2), NOW)
        .await
        .unwrap_err();
    assert!(matches!(error, StoreError::JoinTokenSpent));
    assert!(f.store.gateway(&id(2)).await.unwrap().is_none());
}

#[tokio::test]
async fn an_expired_or_unknown_join_token_admits_nobody() {
    let f = Fixture::new(1).await;
    let error = f
        .store
        .record_enrolment(enrolled(1), NOW + 3600)
        .await
        .unwrap_err();
    assert!(matches!(error, StoreError::JoinTokenExpired { expires } if expires == NOW + 3600));
    let mut stranger = enrolled(1);
    stranger.admittance = Admittance::JoinToken([0xBB; 32]);
    let error = f.store.record_enrolment(stranger, NOW).await.unwrap_err();
    assert!(matches!(error, StoreError::JoinTokenUnknown));
    assert_eq!(f.uses_left().await, 1);
}

#[tokio::test]
async fn adv_a18_a_key_of_another_gateway_is_refused_and_its_record_unchanged() {
    let f = Fixture::enrolled().await;
    let before = f.gateway(1).await;
    for (key, change) in [
        (
            OwnedKey::Ak,
            (|e| e.keys.ak_name = name(1)) as fn(&mut Enrolled),
        ),
        (OwnedKey::Ldevid, |e| e.keys.ldevid_name = name(101)),
        (OwnedKey::Ek, |e| e.tpm.ek_spki_sha256 = [1; 32]),
    ] {
        let mut thief = enrolled(2);
        change(&mut thief);
        let error = f.store.record_enrolment(thief, NOW).await.unwrap_err();
        assert!(
            matches!(error, StoreError::KeyOfAnother { key: k, owner } if k == key && owner == id(1)),
            "{key}"
        );
    }
    assert_eq!(f.gateway(1).await, before);
    assert_eq!(f.uses_left().await, 9);
    let _ = f.store.record_enrolment(enrolled(2), NOW).await.unwrap();
}

#[tokio::test]
async fn a_suspended_or_revoked_gateway_does_not_enrol_again() {
    for kind in [
        SuspensionKind::Silence,
        SuspensionKind::Operator,
        SuspensionKind::Evidence,
    ] {
        let f = Fixture::enrolled().await;
        f.store
            .suspend(&id(1), kind, "why", "uid:0", NOW)
            .await
            .unwrap();
        let mut again = enrolled(1);
        again.answer = answer(7);
        let error = f.store.record_enrolment(again, NOW).await.unwrap_err();
        assert!(
            matches!(error, StoreError::Blocked { blocked: Blocked::Suspended(k), .. } if k == kind)
        );
    }
    let f = Fixture::enrolled().await;
    f.store
        .revoke(&id(1), RevocationReason::Unspecified, "why", "uid:0", NOW)
        .await
        .unwrap();
    let mut again = enrolled(1);
    again.answer = answer(7);
    let error = f.store.record_enrolment(again, NOW).await.unwrap_err();
    assert!(matches!(
        error,
        StoreError::Blocked {
            blocked: Blocked::Revoked,
            ..
        }
    ));
}

#[tokio::test]
async fn enrolling_again_ends_the_identity_before() {
    let f = Fixture::enrolled().await;
    let mut again = enrolled(1);
    again.answer = answer(7);
    again.certificate = certificate(7);
    again.keys.ak_name = name(50);
    let _ = f.store.record_enrolment(again, NOW + 5).await.unwrap();
    let (old, _) = f.store.certificate(&[1; 32]).await.unwrap().unwrap();
    assert_eq!(old.revoked_at, Some(NOW + 5));
    let g = f.gateway(1).await;
    assert_eq!((g.keys.ak_name, g.enrolled_at), (name(50), NOW));
    assert_eq!(g.certificate.unwrap().sha256, [7; 32]);
}

fn recovery(n: u8, request: u8) -> Enrolled {
    let mut e = enrolled(n);
    e.admittance = Admittance::Recovery;
    e.answer = answer(request);
    e.certificate = certificate(request);
    e
}

#[tokio::test]
async fn adv_a20_recovery_is_for_silence_and_expiry_only() {
    let f = Fixture::enrolled().await;
    let recover = |request: u8, now| f.store.record_enrolment(recovery(1, request), now);

    let error = recover(10, NOW).await.unwrap_err();
    assert!(matches!(error, StoreError::NothingToRecover { .. }));
    // Its LDevID has ended.
    let error = recover(11, NOW + 86_400).await.unwrap_err();
    assert!(matches!(error, StoreError::NothingToRecover { .. }));
    let _ = recover(11, NOW + 86_401).await.unwrap();
    assert_eq!(f.gateway(1).await.lifecycle, Lifecycle::Active);

    f.store
        .suspend(&id(1), SuspensionKind::Silence, "", "verifier", NOW)
        .await
        .unwrap();
    let _ = recover(12, NOW).await.unwrap();

    for kind in [SuspensionKind::Evidence, SuspensionKind::Operator] {
        f.store
            .suspend(&id(1), kind, "", "uid:0", NOW)
            .await
            .unwrap();
        let error = recover(13, NOW).await.unwrap_err();
        assert!(
            matches!(error, StoreError::Blocked { blocked: Blocked::Suspended(k), .. } if k == kind)
        );
    }
    f.store
        .resume(&id(1), "looked at it", "uid:0", NOW)
        .await
        .unwrap();
    let _ = recover(14, NOW).await.unwrap();

    f.store
        .revoke(&id(1), RevocationReason::Unspecified, "", "uid:0", NOW)
        .await
        .unwrap();
    let error = recover(15, NOW).await.unwrap_err();
    assert!(matches!(
        error,
        StoreError::Blocked {
            blocked: Blocked::Revoked,
            ..
        }
    ));
    let error = f
        .store
        .record_enrolment(recovery(9, 16), NOW)
        .await
        .unwrap_err();
    assert!(matches!(error, StoreError::UnknownGateway { .. }));
    assert_eq!(f.uses_left().await, 9, "recovery takes no join token");
}

#[tokio::test]
async fn a_recorded_grant_is_not_handed_out_after_it_was_taken_back() {
    let f = Fixture::enrolled().await;
    f.store
        .revoke(&id(1), RevocationReason::Unspecified, "", "uid:0", NOW)
        .await
        .unwrap();
    let error = f.store.answer(&[1; 32], NOW).await.unwrap_err();
    assert!(matches!(
        error,
        StoreError::Blocked {
            blocked: Blocked::Revoked,
            ..
        }
    ));
    let error = f
        .store
        .record_enrolment(enrolled(1), NOW)
        .await
        .unwrap_err();
    assert!(matches!(error, StoreError::Blocked { .. }));
}

/// In good standing again, but with another LDevID to come: what was taken back
/// is not given again (A01).
#[tokio::test]
async fn adv_a01_no_answer_brings_an_ldevid_that_was_revoked_since() {
    let f = Fixture::enrolled().await;
    let mut renewal = affirmed(1, 2);
    renewal.certificate = Some(certificate(20));
    let _ = f.store.record_affirmation(renewal, NOW).await.unwrap();
    let mut plain = affirmed(1, 3);
    plain.clock = clock(1, 3000);
    let _ = f.store.record_affirmation(plain, NOW).await.unwrap();
    let mut again = enrolled(1);
    again.answer = answer(4);
    again.certificate = certificate(30);
    again.tpm.clock = clock(1, 4000);
    for n in [1, 2, 3] {
        assert!(f.store.answer(&[n; 32], NOW).await.unwrap().is_some());
    }
    // It enrolled anew: the LDevIDs of before are superseded.
    let _ = f.store.record_enrolment(again, NOW).await.unwrap();
    let taken_back = async |requests: &[u8]| {
        for n in requests {
            let answer = f.store.answer(&[*n; 32], NOW).await;
            let refused = matches!(answer, Err(StoreError::CertificateRevoked { .. }));
            assert!(refused, "{n}: {answer:?}");
        }
    };
    taken_back(&[1, 2, 3]).await;
    let retry = f.store.record_enrolment(enrolled(1), NOW).await;
    assert!(matches!(retry, Err(StoreError::CertificateRevoked { .. })));
    assert!(f.store.answer(&[4; 32], NOW).await.unwrap().is_some());
    // Suspended, and in good standing again.
    f.store
        .suspend(&id(1), SuspensionKind::Operator, "", "uid:0", NOW)
        .await
        .unwrap();
    f.store.resume(&id(1), "", "uid:0", NOW).await.unwrap();
    taken_back(&[1, 2, 3, 4]).await;
}

#[tokio::test]
async fn answers_end_with_their_challenge_but_the_challenge_stays_spent() {
    let f = Fixture::enrolled().await;
    assert_eq!(f.store.answer(&[1; 32], NOW + 300).await.unwrap(), None);
    let error = f
        .store
        .record_enrolment(enrolled(1), NOW + 300)
        .await
        .unwrap_err();
    assert!(matches!(error, StoreError::ChallengeSpent));
    f.runs(301).await;
    assert_eq!(f.sweep(NOW + 301).await, 0, "kept for a while");
    // Nor is one clock that is wrong enough: it may be right again in time.
    assert_eq!(f.sweep(NOW + 86_400).await, 0);
    f.runs(699).await;
    assert_eq!(f.sweep(NOW + 1000).await, 1);
}

/// A gateway that sends another boot log with every attestation keeps one of
/// them in the store, not all (A21).
#[tokio::test]
async fn sweeping_leaves_each_gateway_its_last_boot_log() {
    let f = Fixture::enrolled().await;
    for n in 2..8 {
        let mut affirmed = affirmed(1, n);
        affirmed.boot_log = Some(BootLogRef::Content {
            sha256: [n; 32],
            bytes: vec![n; 10],
        });
        let _ = f.store.record_affirmation(affirmed, NOW).await.unwrap();
    }
    assert_eq!(f.sweep(NOW).await, 6);
    for n in 1..7 {
        assert!(f.store.boot_log(&[n; 32]).await.unwrap().is_none());
    }
    assert_eq!(f.store.boot_log(&[7; 32]).await.unwrap(), Some(vec![7; 10]));
    assert_eq!(f.gateway(1).await.boot_log_sha256, Some([7; 32]));
}

/// What admitted a recovery is the record, and with it its class: a challenge
/// from before the owner moved the gateway does not move it back.
#[tokio::test]
async fn a_recovery_does_not_change_the_class() {
    let f = Fixture::enrolled().await;
    let mut recovery = enrolled(1);
    recovery.admittance = Admittance::Recovery;
    recovery.answer = answer(9);
    recovery.certificate = certificate(9);
    recovery.class = "lenient".to_owned();
    f.store
        .suspend(&id(1), SuspensionKind::Silence, "", "uid:0", NOW)
        .await
        .unwrap();
    let error = f.store.record_enrolment(recovery, NOW).await.unwrap_err();
    assert!(matches!(error, StoreError::KeysChanged { .. }));
    assert_eq!(f.gateway(1).await.class, "default");
}

#[tokio::test]
async fn a_refusal_spends_the_challenge_grants_nothing_and_keeps_the_token() {
    let f = Fixture::new(1).await;
    assert_eq!(
        f.store.record_refusal(refused(1, 1), NOW).await.unwrap(),
        Recorded::Now
    );
    assert!(f.store.gateway(&id(1)).await.unwrap().is_none());
    assert_eq!(f.uses_left().await, 1);
    assert_eq!(
        f.store.answer(&[1; 32], NOW).await.unwrap(),
        Some(vec![1; 100])
    );
    let mut better = enrolled(1);
    better.answer.request_sha256 = [9; 32];
    let error = f.store.record_enrolment(better, NOW).await.unwrap_err();
    assert!(matches!(error, StoreError::ChallengeSpent));
}

#[tokio::test]
async fn a_refusal_speaks_against_the_gateway_on_record() {
    let f = Fixture::enrolled().await;
    let _ = f.store.record_refusal(refused(1, 2), NOW).await.unwrap();
    let g = f.gateway(1).await;
    assert_eq!(g.lifecycle, Lifecycle::Suspended(SuspensionKind::Evidence));
    assert_eq!(g.state_reason, "pcr-mismatch");
    assert!(!g.has_valid_certificate(NOW));
}

#[tokio::test]
async fn a_refusal_as_another_class_or_by_a_broken_policy_takes_nothing_away() {
    let f = Fixture::enrolled().await;
    let mut other = refused(1, 2);
    other.class = "other".to_owned();
    let _ = f.store.record_refusal(other, NOW).await.unwrap();
    let mut broken = refused(1, 3);
    broken.against_gateway = false;
    let _ = f.store.record_refusal(broken, NOW).await.unwrap();
    let mut broken = contraindicated(1, 4);
    broken.against_gateway = false;
    let _ = f.store.record_contraindication(broken, NOW).await.unwrap();
    let g = f.gateway(1).await;
    assert_eq!(g.lifecycle, Lifecycle::Active);
    assert!(g.has_valid_certificate(NOW));
}

#[tokio::test]
async fn an_affirmation_moves_the_record_on() {
    let f = Fixture::enrolled().await;
    let mut a = affirmed(1, 2);
    a.certificate = Some(certificate(2));
    assert_eq!(
        f.store
            .record_affirmation(a.clone(), NOW + 60)
            .await
            .unwrap(),
        Recorded::Now
    );
    let g = f.gateway(1).await;
    assert_eq!(
        (g.last_affirmed, g.tpm.clock.clock, g.tpm.firmware_version),
        (NOW + 60, 2000, 7)
    );
    // The one before stays good to its end: the gateway is still connected by it.
    let (old, _) = f.store.certificate(&[1; 32]).await.unwrap().unwrap();
    assert_eq!(old.revoked_at, None);
    assert!(f.store.certificate(&[2; 32]).await.unwrap().is_some());
    let again = f.store.record_affirmation(a, NOW + 61).await.unwrap();
    assert_eq!(again, Recorded::Before(vec![2; 100]));
}

#[tokio::test]
async fn a_re_attestation_challenge_is_single_use() {
    let f = Fixture::enrolled().await;
    let _ = f
        .store
        .record_affirmation(affirmed(1, 2), NOW)
        .await
        .unwrap();
    let mut again = affirmed(1, 3);
    again.answer.token_id = answer(2).token_id;
    let error = f.store.record_affirmation(again, NOW).await.unwrap_err();
    assert!(matches!(error, StoreError::ChallengeSpent));
}

#[tokio::test]
async fn an_affirmation_is_refused_where_the_record_changed_meanwhile() {
    let f = Fixture::enrolled().await;
    let mut keys = affirmed(1, 2);
    keys.ak_name = name(9);
    let error = f.store.record_affirmation(keys, NOW).await.unwrap_err();
    assert!(matches!(error, StoreError::KeysChanged { .. }));

    let mut keys = affirmed(1, 2);
    keys.ldevid_name = name(9);
    let error = f.store.record_affirmation(keys, NOW).await.unwrap_err();
    assert!(matches!(error, StoreError::KeysChanged { .. }));

    let mut log = affirmed(1, 2);
    log.boot_log = Some(BootLogRef::Known([9; 32]));
    let error = f.store.record_affirmation(log, NOW).await.unwrap_err();
    assert!(matches!(error, StoreError::BootLogUnknown));

    f.store
        .suspend(&id(1), SuspensionKind::Operator, "", "uid:0", NOW)
        .await
        .unwrap();
    let error = f
        .store
        .record_affirmation(affirmed(1, 2), NOW)
        .await
        .unwrap_err();
    assert!(matches!(error, StoreError::Blocked { .. }));
    f.store.resume(&id(1), "", "uid:0", NOW).await.unwrap();
    let error = f
        .store
        .record_affirmation(affirmed(1, 2), NOW)
        .await
        .unwrap_err();
    assert!(matches!(error, StoreError::CertificateRevoked { .. }));
}

#[tokio::test]
async fn adv_a19_an_affirmation_over_the_certificate_of_another_is_refused() {
    let f = Fixture::enrolled().await;
    let _ = f.store.record_enrolment(enrolled(2), NOW).await.unwrap();
    let mut a = affirmed(1, 3);
    a.channel_certificate = [2; 32];
    let error = f.store.record_affirmation(a, NOW).await.unwrap_err();
    assert!(matches!(error, StoreError::CertificateRevoked { .. }));
}

#[tokio::test]
async fn adv_a17_the_tpm_clock_does_not_fall_but_after_a_reset() {
    let f = Fixture::enrolled().await;
    for (reset, clock_ms) in [(1, 999), (0, 5000)] {
        let mut a = affirmed(1, 2);
        a.clock = clock(reset, clock_ms);
        let error = f.store.record_affirmation(a, NOW).await.unwrap_err();
        assert!(matches!(error, StoreError::ClockFell { .. }));
    }
    // A hard power cut: resetCount up, clock lower.
    let mut a = affirmed(1, 2);
    a.clock = clock(2, 10);
    let _ = f.store.record_affirmation(a, NOW).await.unwrap();
}

/// The challenge was made after the later time was recorded: no other exchange
/// was merely quicker.
#[tokio::test]
async fn adv_a17_a_tpm_that_was_put_back_is_suspended() {
    let spoils: [fn(&mut Affirmed); 5] = [
        |a| a.clock = clock(1, 999),
        |a| a.clock = clock(0, 5000),
        // The same moment in two states: copies of one TPM.
        |a| a.quote = quote(9),
        |a| a.clock.restart_count = 1,
        |a| a.firmware_version = 8,
    ];
    for spoil in spoils {
        let f = Fixture::enrolled().await;
        let mut a = affirmed(1, 2);
        a.clock = clock(1, 1000);
        a.firmware_version = enrolled(1).tpm.firmware_version;
        a.answer.issued = NOW + 1;
        spoil(&mut a);
        let error = f.store.record_affirmation(a, NOW + 2).await.unwrap_err();
        assert!(matches!(error, StoreError::RolledBack { .. }), "{error}");
        let gateway = f.gateway(1).await;
        let evidence = Lifecycle::Suspended(SuspensionKind::Evidence);
        assert_eq!(gateway.lifecycle, evidence);
        assert!(gateway.state_reason.starts_with("tpm-rollback"));
        assert_eq!(gateway.certificate, None);
        assert_eq!(f.store.audit(1).await.unwrap()[0].action, "suspended");
    }
    // The same moment in one state.
    let f = Fixture::enrolled().await;
    let mut a = affirmed(1, 2);
    a.clock = clock(1, 1000);
    a.firmware_version = enrolled(1).tpm.firmware_version;
    a.answer.issued = NOW + 1;
    let _ = f.store.record_affirmation(a, NOW + 2).await.unwrap();
}

#[tokio::test]
async fn adv_a17_a_tpm_that_was_put_back_does_not_recover() {
    let f = Fixture::enrolled().await;
    let silence = SuspensionKind::Silence;
    f.store
        .suspend(&id(1), silence, "", "test", NOW)
        .await
        .unwrap();
    let mut e = enrolled(1);
    e.admittance = Admittance::Recovery;
    e.answer = answer(40);
    e.answer.issued = NOW + 1;
    e.certificate = certificate(40);
    e.tpm.clock = clock(1, 999);
    let error = f.store.record_enrolment(e, NOW + 2).await.unwrap_err();
    assert!(matches!(error, StoreError::RolledBack { .. }), "{error}");
    let evidence = Lifecycle::Suspended(SuspensionKind::Evidence);
    assert_eq!(f.gateway(1).await.lifecycle, evidence);
}

#[tokio::test]
async fn adv_a17_only_a_new_ak_begins_a_new_count() {
    let f = Fixture::enrolled().await;
    let again = |ak: u8| {
        let mut e = enrolled(1);
        e.answer = answer(ak);
        e.certificate = certificate(ak);
        e.keys.ak_name = name(ak);
        e.tpm.clock = clock(0, 1);
        e
    };
    let mut same = again(1);
    same.answer = answer(40);
    same.certificate = certificate(40);
    let error = f.store.record_enrolment(same, NOW).await.unwrap_err();
    assert!(matches!(error, StoreError::ClockFell { .. }));
    let _ = f.store.record_enrolment(again(41), NOW).await.unwrap();
}

/// On the IAK road the AK stays the same through TPM2_Clear.
#[tokio::test]
async fn adv_a17_the_operator_lets_a_cleared_tpm_begin_anew() {
    let f = Fixture::enrolled().await;
    let again = |n: u8| {
        let mut e = enrolled(1);
        e.answer = answer(n);
        e.certificate = certificate(n);
        e.tpm.clock = clock(0, 1);
        e
    };
    let fell = f.store.record_enrolment(again(40), NOW).await.unwrap_err();
    assert!(matches!(fell, StoreError::ClockFell { .. }));
    let reset = f.store.reset_clock(&id(1), "cleared", "uid:0", NOW).await;
    assert_eq!(reset.unwrap().lifecycle, Lifecycle::Active);
    // Nothing goes on by the LDevID of before.
    let error = f.store.record_affirmation(affirmed(1, 2), NOW).await;
    assert!(matches!(
        error.unwrap_err(),
        StoreError::CertificateRevoked { .. }
    ));
    let entry = f.store.audit(1).await.unwrap().remove(0);
    assert_eq!(
        (entry.action.as_str(), entry.actor.as_str()),
        ("clock-reset", "uid:0")
    );
    assert!(entry.detail.ends_with(": cleared"), "{}", entry.detail);
    let _ = f.store.record_enrolment(again(41), NOW).await.unwrap();
    // Once: the new count holds as the old one did.
    let mut behind = again(42);
    behind.tpm.clock = clock(0, 0);
    let error = f.store.record_enrolment(behind, NOW).await.unwrap_err();
    assert!(matches!(error, StoreError::ClockFell { .. }));

    // A suspension stays, and a revocation is final.
    let suspended = SuspensionKind::Operator;
    f.store
        .suspend(&id(1), suspended, "", "uid:0", NOW)
        .await
        .unwrap();
    let reset = f.store.reset_clock(&id(1), "cleared", "uid:0", NOW).await;
    assert_eq!(reset.unwrap().lifecycle, Lifecycle::Suspended(suspended));
    let unspecified = RevocationReason::Unspecified;
    f.store
        .revoke(&id(1), unspecified, "", "uid:0", NOW)
        .await
        .unwrap();
    let error = f.store.reset_clock(&id(1), "cleared", "uid:0", NOW).await;
    assert!(matches!(error.unwrap_err(), StoreError::Blocked { .. }));
}

#[tokio::test]
async fn a_contraindication_suspends_and_revokes_at_once() {
    let f = Fixture::enrolled().await;
    let _ = f
        .store
        .record_contraindication(contraindicated(1, 2), NOW + 9)
        .await
        .unwrap();
    let g = f.gateway(1).await;
    assert_eq!(g.lifecycle, Lifecycle::Suspended(SuspensionKind::Evidence));
    assert_eq!(g.last_reasons, vec![reason("pcr-mismatch")]);
    let (certificate, _) = f.store.certificate(&[1; 32]).await.unwrap().unwrap();
    assert_eq!(certificate.revoked_at, Some(NOW + 9));
    // The refusal is no grant: the same request gets it again.
    assert_eq!(
        f.store.answer(&[2; 32], NOW + 9).await.unwrap(),
        Some(vec![2; 100])
    );
}

/// It was appraised as of another class: that class's values say nothing of it
/// now, and the owner must not come to approve them for this one.
#[tokio::test]
async fn a_contraindication_of_another_class_counts_against_nothing() {
    let f = Fixture::enrolled().await;
    let against = Contraindicated {
        class: "other".to_owned(),
        ..contraindicated(1, 2)
    };
    let _ = f.store.record_contraindication(against, NOW).await.unwrap();
    let g = f.gateway(1).await;
    assert_eq!(g.lifecycle, Lifecycle::Active);
    assert_eq!(g.last_reasons, []);
    let last = f.store.last_quote(&id(1)).await.unwrap().unwrap();
    assert!(last.affirming && last.class == "default");
    // The challenge is spent all the same.
    let answer = f.store.answer(&[2; 32], NOW).await.unwrap();
    assert_eq!(answer, Some(vec![2; 100]));
    assert_eq!(f.store.audit(1).await.unwrap()[0].action, "not-appraised");
}

#[tokio::test]
async fn a_lesser_cause_does_not_replace_a_graver_one() {
    let f = Fixture::enrolled().await;
    let gateway = id(1);
    let suspend = |kind| f.store.suspend(&gateway, kind, "", "uid:0", NOW);
    suspend(SuspensionKind::Evidence).await.unwrap();
    let g = suspend(SuspensionKind::Silence).await.unwrap();
    assert_eq!(g.lifecycle, Lifecycle::Suspended(SuspensionKind::Evidence));
    // The owner's word stays, or an approval of the drift would take it back.
    let g = suspend(SuspensionKind::Operator).await.unwrap();
    assert_eq!(g.lifecycle, Lifecycle::Suspended(SuspensionKind::Operator));
    let g = suspend(SuspensionKind::Evidence).await.unwrap();
    assert_eq!(g.lifecycle, Lifecycle::Suspended(SuspensionKind::Operator));
}

#[tokio::test]
async fn revocation_is_for_ever() {
    let f = Fixture::enrolled().await;
    f.store
        .revoke(
            &id(1),
            RevocationReason::Unspecified,
            "stolen",
            "uid:0",
            NOW,
        )
        .await
        .unwrap();
    let blocked = |e| {
        matches!(
            e,
            StoreError::Blocked {
                blocked: Blocked::Revoked,
                ..
            }
        )
    };
    assert!(blocked(
        f.store.resume(&id(1), "", "uid:0", NOW).await.unwrap_err()
    ));
    let gateway = id(1);
    let suspend = f
        .store
        .suspend(&gateway, SuspensionKind::Silence, "", "uid:0", NOW);
    assert!(blocked(suspend.await.unwrap_err()));
    assert!(blocked(
        f.store
            .revoke(&id(1), RevocationReason::Unspecified, "", "uid:0", NOW)
            .await
            .unwrap_err()
    ));
    let against = f.store.record_contraindication(contraindicated(1, 2), NOW);
    assert!(blocked(against.await.unwrap_err()));
    let g = f.gateway(1).await;
    assert_eq!(
        (g.lifecycle, g.state_reason.as_str()),
        (Lifecycle::Revoked, "stolen")
    );
}

#[tokio::test]
async fn an_unknown_gateway_is_named() {
    let f = Fixture::new(1).await;
    let error = f
        .store
        .revoke(&id(9), RevocationReason::Unspecified, "", "uid:0", NOW)
        .await
        .unwrap_err();
    assert!(matches!(error, StoreError::UnknownGateway { id: unknown } if unknown == id(9)));
    let error = f
        .store
        .record_affirmation(affirmed(9, 1), NOW)
        .await
        .unwrap_err();
    assert!(matches!(error, StoreError::UnknownGateway { .. }));
}

#[tokio::test]
async fn gateways_come_in_pages() {
    let f = Fixture::new(10).await;
    for n in 1..=5 {
        let _ = f.store.record_enrolment(enrolled(n), NOW).await.unwrap();
    }
    let ids = |page: &GatewayPage| page.gateways.iter().map(|g| g.id).collect::<Vec<_>>();
    let first = f.store.gateways(None, 3).await.unwrap();
    assert_eq!(
        (ids(&first), first.next),
        (vec![id(1), id(2), id(3)], Some(id(3)))
    );
    let rest = f.store.gateways(first.next.as_ref(), 3).await.unwrap();
    assert_eq!((ids(&rest), rest.next), (vec![id(4), id(5)], None));
}

#[tokio::test]
async fn anchors_are_imported_once() {
    let f = Fixture::new(1).await;
    let anchor = |n: u8, root| Anchor {
        sha256: [n; 32],
        der: vec![n],
        subject: format!("CN={n}"),
        root,
        not_after: NOW,
    };
    let import = |anchors| f.store.import_anchors(anchors, "uid:0", NOW);
    let done = import(vec![anchor(1, true), anchor(2, false)])
        .await
        .unwrap();
    assert_eq!(
        done,
        Imported {
            roots: 1,
            intermediates: 1,
            already_known: 0
        }
    );
    let done = import(vec![anchor(1, true), anchor(3, true)])
        .await
        .unwrap();
    assert_eq!(
        done,
        Imported {
            roots: 1,
            intermediates: 0,
            already_known: 1
        }
    );
    let subjects: Vec<_> = f
        .store
        .anchors()
        .await
        .unwrap()
        .into_iter()
        .map(|a| a.subject)
        .collect();
    assert_eq!(subjects, ["CN=1", "CN=2", "CN=3"]);
}

#[tokio::test]
async fn a_join_token_is_not_replaced() {
    let f = Fixture::new(1).await;
    let error = f
        .store
        .create_join_token(join_token(5), "uid:0", NOW)
        .await
        .unwrap_err();
    assert!(matches!(error, StoreError::JoinTokenExists));
    assert_eq!(f.uses_left().await, 1);
}

#[tokio::test]
async fn adv_c04_an_unreadable_row_is_named_and_spoils_no_other() {
    let f = Fixture::enrolled().await;
    let _ = f.store.record_enrolment(enrolled(2), NOW).await.unwrap();
    sqlx::query("UPDATE gateways SET tpm_facts = 'x' WHERE id = ?")
        .bind(id(1).as_bytes().as_slice())
        .execute(&f.store.writer)
        .await
        .unwrap();
    let error = f.store.gateway(&id(1)).await.unwrap_err();
    assert!(matches!(
        error,
        StoreError::Corrupt {
            table: "gateways",
            column: "tpm_facts"
        }
    ));
    let page = f.store.gateways(None, 10).await.unwrap();
    assert_eq!(page.gateways, [f.gateway(2).await]);
}

#[tokio::test]
async fn a_file_that_is_no_database_is_not_opened() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("holdfast.db");
    std::fs::write(&path, [0x42; 8192]).unwrap();
    assert!(matches!(
        SqliteStore::open(&path).await.unwrap_err(),
        StoreError::Open(_)
    ));
    assert_eq!(
        std::fs::read(&path).unwrap(),
        [0x42; 8192],
        "left as it was"
    );
}

#[tokio::test]
async fn a_read_only_store_says_so_and_records_nothing() {
    let f = Fixture::new(1).await;
    sqlx::query("PRAGMA query_only = ON")
        .execute(&f.store.writer)
        .await
        .unwrap();
    let error = f
        .store
        .record_enrolment(enrolled(1), NOW)
        .await
        .unwrap_err();
    assert!(matches!(error, StoreError::Database(_)));
    sqlx::query("PRAGMA query_only = OFF")
        .execute(&f.store.writer)
        .await
        .unwrap();
    assert!(f.store.gateway(&id(1)).await.unwrap().is_none());
    let _ = f.store.record_enrolment(enrolled(1), NOW).await.unwrap();
}

#[tokio::test]
async fn the_wal_is_as_private_as_the_store() {
    use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("holdfast.db");
    std::fs::write(&path, b"").unwrap();
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600)).unwrap();
    let store = SqliteStore::open(&path).await.unwrap();
    store
        .create_join_token(join_token(1), "uid:0", NOW)
        .await
        .unwrap();
    for entry in std::fs::read_dir(dir.path()).unwrap() {
        assert_eq!(entry.unwrap().metadata().unwrap().mode() & 0o077, 0);
    }
}

#[tokio::test]
async fn the_probe_needs_a_store_that_can_write() {
    let f = Fixture::new(1).await;
    f.store.probe(NOW).await.unwrap();
    sqlx::query("PRAGMA query_only = ON")
        .execute(&f.store.writer)
        .await
        .unwrap();
    assert!(f.store.probe(NOW).await.is_err());
}
