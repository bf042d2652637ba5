//! The order of revocations, CRL drafts, and the outbox.

use super::*;
use crate::{
    identity::{CrlPart, RevocationReason},
    store::{
        CrlScope, CrlTimes, EventKind, Events as _, Issued, NewCertificate, Revocations as _,
        fixtures::ISSUER,
    },
};

const SCOPE: CrlScope = CrlScope {
    issuer: ISSUER,
    part: CrlPart::FULL,
};

fn at(this_update: Seconds) -> CrlTimes {
    CrlTimes {
        this_update,
        regular_every: 1800,
    }
}

async fn enrol(f: &Fixture, n: u8) {
    let _ = f.store.record_enrolment(enrolled(n), NOW).await.unwrap();
}

#[tokio::test]
async fn numbers_of_crls_go_up_also_where_the_clock_goes_back() {
    let f = Fixture::new(10).await;
    let number = async |now| f.store.draft_crl(&SCOPE, at(now)).await.unwrap().number;
    assert_eq!(number(NOW).await, NOW.cast_unsigned());
    assert_eq!(number(NOW).await, NOW.cast_unsigned() + 1);
    assert_eq!(number(NOW - 5000).await, NOW.cast_unsigned() + 2);
    assert_eq!(number(NOW + 60).await, NOW.cast_unsigned() + 60);
}

/// RFC 5280 §3.3: an entry stays until a regular CRL was made after its
/// certificate's end.
#[tokio::test]
async fn an_entry_is_listed_once_more_after_its_end() {
    let f = Fixture::new(10).await;
    enrol(&f, 1).await;
    let id = id(1);
    let reason = RevocationReason::KeyCompromise;
    f.store.revoke(&id, reason, "", "test", NOW).await.unwrap();
    let ends = certificate(1).not_after;
    let listed = async |now| {
        let draft = f.store.draft_crl(&SCOPE, at(now)).await.unwrap();
        draft.entries.len()
    };
    assert_eq!(listed(ends - 10).await, 1);
    // Brought about by a change, not regular: counts as none.
    assert_eq!(listed(ends + 1).await, 1);
    // Regular, and made after the end: the last one that has it.
    assert_eq!(listed(ends + 1800).await, 1);
    assert_eq!(listed(ends + 1801).await, 0);
}

#[tokio::test]
async fn a_part_lists_its_own_and_the_full_crl_all() {
    let f = Fixture::new(10).await;
    let part = |number| CrlPart::from_number(number).unwrap();
    for (n, number) in [(1, 2), (2, 3)] {
        let mut enrolled = enrolled(n);
        enrolled.certificate.crl = part(number);
        let _ = f.store.record_enrolment(enrolled, NOW).await.unwrap();
        let reason = RevocationReason::Unspecified;
        f.store
            .revoke(&id(n), reason, "", "test", NOW)
            .await
            .unwrap();
    }
    let entries = async |part| {
        let scope = CrlScope { part, ..SCOPE };
        let draft = f.store.draft_crl(&scope, at(NOW)).await.unwrap();
        draft
            .entries
            .into_iter()
            .map(|e| e.serial)
            .collect::<Vec<_>>()
    };
    assert_eq!(entries(part(2)).await, [[1]]);
    assert_eq!(entries(part(3)).await, [[2]]);
    assert_eq!(entries(CrlPart::FULL).await, [[1], [2]]);
    assert_eq!(f.store.crl_scopes(NOW).await.unwrap().len(), 2);
    let (place, changed) = f.store.scopes_changed_since(1).await.unwrap();
    assert_eq!(
        (place, changed),
        (
            2,
            vec![CrlScope {
                part: part(3),
                ..SCOPE
            }]
        )
    );
    assert_eq!(
        f.store.certificates_in_force(&ISSUER, NOW).await.unwrap(),
        2
    );
    assert_eq!(
        f.store.certificates_in_force(&[0; 20], NOW).await.unwrap(),
        0
    );
}

#[tokio::test]
async fn what_is_on_record_of_a_serial_number_and_no_other() {
    let f = Fixture::new(10).await;
    enrol(&f, 1).await;
    enrol(&f, 2).await;
    let reason = RevocationReason::CessationOfOperation;
    f.store
        .revoke(&id(2), reason, "", "test", NOW + 1)
        .await
        .unwrap();
    let issued = async |issuer, serial| f.store.issued(issuer, serial).await.unwrap();
    assert_eq!(issued(&ISSUER, "01").await, Some(Issued::Good));
    let revoked = Issued::Revoked {
        at: NOW + 1,
        reason,
    };
    assert_eq!(issued(&ISSUER, "02").await, Some(revoked));
    assert_eq!(issued(&ISSUER, "03").await, None);
    assert_eq!(issued(&[0; 20], "01").await, None);
}

/// A suspension revokes for privilegeWithdrawn; if it then turns out that the
/// key was compromised, relying parties are told.
#[tokio::test]
async fn a_graver_reason_takes_the_place_of_a_suspensions() {
    let f = Fixture::new(10).await;
    enrol(&f, 1).await;
    let kind = SuspensionKind::Operator;
    f.store
        .suspend(&id(1), kind, "", "test", NOW)
        .await
        .unwrap();
    let place = f.store.revoked_since(0, NOW).await.unwrap().place;
    let reason = RevocationReason::KeyCompromise;
    f.store
        .revoke(&id(1), reason, "", "test", NOW + 9)
        .await
        .unwrap();
    let issued = f.store.issued(&ISSUER, "01").await.unwrap();
    assert_eq!(issued, Some(Issued::Revoked { at: NOW, reason }));
    let (_, changed) = f.store.scopes_changed_since(place).await.unwrap();
    assert_eq!(changed, [SCOPE], "the CRL is made anew");
}

#[tokio::test]
async fn certificates_from_before_are_of_the_first_ca() {
    let f = Fixture::new(10).await;
    enrol(&f, 1).await;
    sqlx::query("UPDATE certificates SET issuer = NULL")
        .execute(&f.store.writer)
        .await
        .unwrap();
    assert_eq!(f.store.issued(&ISSUER, "01").await.unwrap(), None);
    assert_eq!(f.store.adopt_certificates(&ISSUER).await.unwrap(), 1);
    assert_eq!(f.store.adopt_certificates(&[1; 20]).await.unwrap(), 0);
    assert!(f.store.issued(&ISSUER, "01").await.unwrap().is_some());
}

#[tokio::test]
async fn events_are_told_with_what_they_tell_of_and_numbered_by_gateway() {
    let f = Fixture::new(10).await;
    enrol(&f, 1).await;
    enrol(&f, 2).await;
    let mut renewing = affirmed(1, 60);
    renewing.certificate = Some(certificate(90));
    let _ = f.store.record_affirmation(renewing, NOW).await.unwrap();
    let _ = f
        .store
        .record_affirmation(affirmed(1, 61), NOW)
        .await
        .unwrap();
    let _ = f
        .store
        .record_contraindication(contraindicated(1, 62), NOW)
        .await
        .unwrap();
    // A lesser cause changes nothing, and nothing is told; nor of one that is
    // active already.
    let silence = SuspensionKind::Silence;
    f.store
        .suspend(&id(1), silence, "", "test", NOW)
        .await
        .unwrap();
    f.store.resume(&id(2), "", "test", NOW).await.unwrap();
    f.store.resume(&id(1), "seen", "test", NOW).await.unwrap();
    let reason = RevocationReason::Superseded;
    f.store
        .revoke(&id(1), reason, "why", "test", NOW)
        .await
        .unwrap();
    let refused = f.store.resume(&id(1), "", "test", NOW).await;
    assert!(refused.is_err());

    let events = f.store.events_after(0, None, 100).await.unwrap();
    let seen: Vec<_> = events
        .iter()
        .map(|e| (e.sequence, e.gateway, e.number, e.kind))
        .collect();
    use EventKind::{Enrolled, Renewed, Resumed, Revoked, Suspended};
    assert_eq!(
        seen,
        [
            (1, id(1), 1, Enrolled),
            (2, id(2), 1, Enrolled),
            (3, id(1), 2, Renewed),
            (4, id(1), 3, Suspended),
            (5, id(1), 4, Resumed),
            (6, id(1), 5, Revoked),
        ]
    );
    let detail: serde_json::Value = serde_json::from_str(&events[5].detail).unwrap();
    assert_eq!(
        detail,
        serde_json::json!({ "reason_code": "superseded", "reason": "why" })
    );
    let of_one = f.store.events_after(0, Some(&id(2)), 100).await.unwrap();
    assert_eq!(of_one.len(), 1);
    assert_eq!(
        f.store.events_after(4, None, 1).await.unwrap()[0].sequence,
        5
    );
}

#[tokio::test]
async fn sequences_are_not_used_again_after_a_sweep() {
    let f = Fixture::new(10).await;
    enrol(&f, 1).await;
    let kept = f.store.events_kept().await.unwrap();
    assert_eq!((kept.oldest, kept.newest), (1, 1));
    assert_eq!(f.store.sweep_events(NOW).await.unwrap(), 0);
    assert_eq!(f.store.sweep_events(NOW + 1).await.unwrap(), 1);
    let kept = f.store.events_kept().await.unwrap();
    assert_eq!((kept.oldest, kept.newest), (2, 1));
    let kind = SuspensionKind::Operator;
    f.store
        .suspend(&id(1), kind, "", "test", NOW)
        .await
        .unwrap();
    let events = f.store.events_after(0, None, 9).await.unwrap();
    assert_eq!((events[0].sequence, events[0].number), (2, 2));
}

#[tokio::test]
async fn a_new_webhook_begins_with_what_is_to_come_and_its_place_stays() {
    let f = Fixture::new(10).await;
    enrol(&f, 1).await;
    let position = async |url| f.store.webhook_position(url, NOW).await.unwrap();
    assert_eq!(position("https://a").await, 1);
    f.store.advance_webhook("https://a", 7, NOW).await.unwrap();
    assert_eq!(position("https://a").await, 7);
    assert_eq!(position("https://b").await, 1);
}

#[tokio::test]
async fn a_former_url_is_kept_while_a_certificate_may_name_it() {
    let f = Fixture::new(1).await;
    let configure = |url, now| f.store.configure_public_url(url, now);
    let none = Vec::<String>::new();
    assert_eq!(configure(Some("http://a"), NOW).await.unwrap(), none);
    let _ = f.store.record_enrolment(enrolled(1), NOW).await.unwrap();
    let end = enrolled(1).certificate.not_after;
    assert_eq!(
        configure(Some("http://b"), NOW + 10).await.unwrap(),
        ["http://a"]
    );
    // Nothing was issued under the second one alone, but it may have been.
    let both = ["http://a", "http://b"];
    assert_eq!(configure(None, NOW + 20).await.unwrap(), both);
    assert_eq!(
        configure(Some("http://a"), NOW + 30).await.unwrap(),
        ["http://b"]
    );
    assert_eq!(configure(Some("http://c"), end).await.unwrap(), both);
    assert_eq!(configure(Some("http://c"), end + 1).await.unwrap(), none);
}

/// Renews gateway 1 with certificate `n`, in force from `now` for `seconds`.
async fn renew(f: &Fixture, n: u8, seconds: Seconds, now: Seconds) -> Result<Recorded, StoreError> {
    let mut renewing = affirmed(1, n);
    renewing.answer.expires = now + 300;
    renewing.certificate = Some(NewCertificate {
        not_after: now + seconds,
        ..certificate(n)
    });
    f.store.record_affirmation(renewing, now).await
}

#[tokio::test]
async fn adv_a21_a_gateway_has_sixteen_ldevids_in_force_at_most() {
    let f = Fixture::new(10).await;
    enrol(&f, 1).await;
    for n in 40..55 {
        let _ = renew(&f, n, 100_000, NOW).await.unwrap();
    }
    let full = renew(&f, 60, 100_000, NOW).await.unwrap_err();
    let ends = certificate(1).not_after;
    assert!(matches!(full, StoreError::TooManyLdevids { until, .. } if until == ends));
    let looked = f.store.room_for_ldevid(&id(1), NOW).await;
    assert!(matches!(looked, Err(StoreError::TooManyLdevids { .. })));
    // Attesting goes on, and so does renewing when the first has ended.
    let _ = f
        .store
        .record_affirmation(affirmed(1, 61), NOW)
        .await
        .unwrap();
    let mut later = affirmed(1, 62);
    later.channel_certificate = [54; 32];
    later.certificate = Some(NewCertificate {
        not_after: ends + 100_000,
        ..certificate(62)
    });
    let _ = f.store.record_affirmation(later, ends + 1).await.unwrap();
    // Others are not concerned.
    f.store.room_for_ldevid(&id(2), NOW).await.unwrap();
}

#[tokio::test]
async fn ended_certificates_are_swept_and_no_crl_loses_what_it_has_to_list() {
    const DAY: Seconds = 86_400;
    let f = Fixture::new(10).await;
    enrol(&f, 1).await;
    let _ = renew(&f, 40, 2 * DAY, NOW).await.unwrap();
    let _ = renew(&f, 41, 400 * DAY, NOW).await.unwrap();
    enrol(&f, 2).await;
    let serials = async |now| {
        let draft = f.store.draft_crl(&SCOPE, at(now)).await.unwrap();
        let mut serials: Vec<_> = draft.entries.into_iter().map(|e| e.serial).collect();
        serials.sort();
        serials
    };
    let why = RevocationReason::KeyCompromise;
    f.store.revoke(&id(1), why, "", "test", NOW).await.unwrap();
    f.store.revoke(&id(2), why, "", "test", NOW).await.unwrap();
    let place = f.store.revoked_since(0, NOW).await.unwrap().place;
    assert_eq!(serials(NOW).await, [[1], [2], [40], [41]]);

    // No CRL was made since: whatever their age, 1 and 40 have to be listed
    // once more, and are.
    let later = NOW + 60 * DAY;
    f.runs(1000).await;
    assert_eq!(f.sweep(later).await, 5, "answers and the token");
    assert_eq!(serials(later).await, [[1], [2], [40], [41]]);
    assert_eq!(serials(later).await, [[41]]);
    // Now they may go; 41 has not ended, 2 is the last of its gateway and of
    // the last revocation.
    let audit = f.store.audit(1000).await.unwrap();
    assert_eq!(f.sweep(later).await, 2);
    assert_eq!(f.store.audit(1000).await.unwrap(), audit);
    assert_eq!(serials(later).await, [[41]]);
    let issued = async |serial| f.store.issued(&ISSUER, serial).await.unwrap();
    assert_eq!(issued("28").await, None);
    assert!(issued("29").await.is_some() && issued("02").await.is_some());
    // The order of revocations goes on from where it was.
    f.store
        .create_join_token(join_token(1), "test", NOW)
        .await
        .unwrap();
    enrol(&f, 3).await;
    f.store
        .revoke(&id(3), why, "", "test", later)
        .await
        .unwrap();
    assert_eq!(
        f.store.revoked_since(place, NOW).await.unwrap().place,
        place + 1
    );
}

/// A clock that is a year ahead, for hours: CRLs are made by it, and nothing
/// that is in force is lost. One that was off for long sweeps again, in days.
#[tokio::test]
async fn adv_a22_a_wrong_clock_does_not_take_revocations_away() {
    const DAY: Seconds = 86_400;
    let f = Fixture::new(10).await;
    let configure = |url, now| f.store.configure_public_url(Some(url), now);
    configure("http://a", NOW).await.unwrap();
    enrol(&f, 1).await;
    let _ = renew(&f, 40, 20 * DAY, NOW).await.unwrap();
    enrol(&f, 2).await;
    let why = RevocationReason::KeyCompromise;
    f.store.revoke(&id(1), why, "", "test", NOW).await.unwrap();
    f.store.revoke(&id(2), why, "", "test", NOW).await.unwrap();
    f.store
        .create_join_token(
            JoinToken {
                secret_sha256: [77; 32],
                ..join_token(3)
            },
            "test",
            NOW,
        )
        .await
        .unwrap();
    let serials = async |now| {
        let draft = f.store.draft_crl(&SCOPE, at(now)).await.unwrap();
        let mut serials: Vec<_> = draft.entries.into_iter().map(|e| e.serial).collect();
        serials.sort();
        serials
    };
    assert_eq!(f.sweep(NOW).await, 0);
    assert_eq!(serials(NOW).await, [[1], [2], [40]]);

    for hour in 1..5 {
        let wrong = NOW + 365 * DAY + hour * 3600;
        assert_eq!(configure("http://b", wrong).await.unwrap(), ["http://a"]);
        serials(wrong).await;
        let swept = f.store.sweep(wrong).await.unwrap();
        assert!(swept.ended < NOW + 2 * DAY, "{swept:?}");
        f.runs(3600).await;
    }
    let now = NOW + 4 * 3600;
    f.store.sweep(now).await.unwrap();
    assert_eq!(serials(now).await, [[1], [2], [40]]);
    let (one, other) = (f.store.join_token(&TOKEN), f.store.join_token(&[77; 32]));
    assert!(one.await.unwrap().is_some() && other.await.unwrap().is_some());

    // Off for 60 days, and the clock is right: nothing at once, all in time.
    let now = now + 60 * DAY;
    assert_eq!(f.sweep(now).await, 0);
    serials(now).await;
    serials(now + 3600).await;
    f.runs(9 * DAY).await;
    let now = now + 9 * DAY;
    let swept = f.store.sweep(now).await.unwrap();
    assert_eq!(swept.ended, now);
    assert!(swept.rows > 0);
    let issued = async |serial| f.store.issued(&ISSUER, serial).await.unwrap();
    assert_eq!(issued("01").await, None);
}
