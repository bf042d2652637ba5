//! Admission without a token, in the recording transaction.

use super::*;
use crate::store::{
    Admissions as _, Audit as _, DeviceName, EventKind, Events as _, NewPending, Oems as _,
    PendingBounds,
};

const BOUNDS: PendingBounds = PendingBounds {
    all: 3,
    per_address: 2,
};

fn asks(n: u8, address: &str) -> NewPending {
    NewPending {
        id: id(n),
        class: "default".to_owned(),
        tpm: "id:53414645 sim".to_owned(),
        address: address.to_owned(),
        expires: NOW + 60,
    }
}

fn listed(n: u8) -> Enrolled {
    Enrolled {
        admittance: Admittance::Listed(DeviceName::of_gateway(&id(n))),
        ..enrolled(n)
    }
}

async fn allow(f: &Fixture, n: u8, class: &str) {
    f.store
        .admit_device(&DeviceName::of_gateway(&id(n)), class, "", "test", NOW)
        .await
        .unwrap();
}

#[tokio::test]
async fn cve_c31_a_grant_needs_its_ground_at_the_moment_that_it_is_recorded() {
    let f = Fixture::new(1).await;
    let refused = f.store.record_enrolment(listed(1), NOW).await.unwrap_err();
    assert!(matches!(refused, StoreError::UnknownDevice { .. }));
    // Of another class than the challenge was made for.
    allow(&f, 1, "other").await;
    let refused = f.store.record_enrolment(listed(1), NOW).await.unwrap_err();
    assert!(matches!(refused, StoreError::UnknownDevice { .. }));
    // Taken back.
    let name = DeviceName::of_gateway(&id(1));
    f.store.remove_device(&name, "test", NOW).await.unwrap();
    allow(&f, 1, "default").await;
    f.store.remove_device(&name, "test", NOW).await.unwrap();
    let refused = f.store.record_enrolment(listed(1), NOW).await.unwrap_err();
    assert!(matches!(refused, StoreError::UnknownDevice { .. }));
    assert!(f.store.gateway(&id(1)).await.unwrap().is_none());

    allow(&f, 1, "default").await;
    let recorded = f.store.record_enrolment(listed(1), NOW).await.unwrap();
    assert_eq!(recorded, Recorded::Now);
    assert_eq!(f.uses_left().await, 1, "no token was needed");
}

#[tokio::test]
async fn a_named_device_that_is_revoked_stays_out() {
    let f = Fixture::new(1).await;
    allow(&f, 1, "default").await;
    let _ = f.store.record_enrolment(listed(1), NOW).await.unwrap();
    f.store
        .revoke(&id(1), RevocationReason::Unspecified, "", "test", NOW)
        .await
        .unwrap();
    let mut again = listed(1);
    again.answer = answer(2);
    again.certificate = certificate(2);
    let refused = f.store.record_enrolment(again, NOW).await.unwrap_err();
    assert!(matches!(
        refused,
        StoreError::Blocked {
            blocked: Blocked::Revoked,
            ..
        }
    ));
}

#[tokio::test]
async fn the_queue_is_bounded_and_nobody_is_pushed_out() {
    let f = Fixture::new(1).await;
    let note = |n, address, now| f.store.note_pending(asks(n, address), BOUNDS, now);
    note(1, "192.0.2.1", NOW).await.unwrap();
    note(2, "192.0.2.1", NOW).await.unwrap();
    let full = note(3, "192.0.2.1", NOW).await.unwrap_err();
    assert!(matches!(full, StoreError::PendingFull), "of one address");
    note(3, "192.0.2.2", NOW).await.unwrap();
    let full = note(4, "192.0.2.3", NOW).await.unwrap_err();
    assert!(matches!(full, StoreError::PendingFull), "in all");
    // Who waits already may ask again.
    note(1, "192.0.2.1", NOW + 1).await.unwrap();
    let waiting = f.store.pending_gateways(0, 10, NOW).await.unwrap();
    assert_eq!(waiting.len(), 3);
    assert_eq!(
        (waiting[0].first_seen, waiting[0].last_seen),
        (NOW, NOW + 1)
    );
    // And who does not ask again is forgotten.
    let later = NewPending {
        expires: NOW + 120,
        ..asks(4, "192.0.2.1")
    };
    f.store.note_pending(later, BOUNDS, NOW + 60).await.unwrap();
    let waiting = f.store.pending_gateways(0, 10, NOW + 60).await.unwrap();
    assert_eq!(waiting.len(), 1);
}

/// A clock that is years ahead for one call: who waits goes on waiting.
#[tokio::test]
async fn adv_a22_a_wrong_clock_empties_no_queue() {
    let f = Fixture::new(1).await;
    f.store.sweep(NOW).await.unwrap();
    let first = asks(1, "192.0.2.1");
    f.store.note_pending(first, BOUNDS, NOW).await.unwrap();
    let second = asks(2, "192.0.2.2");
    f.store
        .note_pending(second, BOUNDS, NOW + 315_360_000)
        .await
        .unwrap();
    let waiting = f.store.pending_gateways(0, 10, NOW).await.unwrap();
    assert!(waiting.iter().any(|pending| pending.id == id(1)));
}

/// Rows that call from elsewhere do not make room for more than an address may
/// have there.
#[tokio::test]
async fn adv_a21_no_address_has_more_waiting_than_its_share_however_they_came() {
    let f = Fixture::new(1).await;
    let bounds = PendingBounds {
        all: 100,
        per_address: 2,
    };
    let note = |n, address| f.store.note_pending(asks(n, address), bounds, NOW);
    let (one, other) = ("192.0.2.1", "192.0.2.2");
    for n in 0..10 {
        let full = note(n, one).await;
        assert_eq!(full.is_ok(), n < 4, "{n}");
        let _ = note(n, other).await;
    }
    let waiting = f.store.pending_gateways(0, 100, NOW).await.unwrap();
    for address in [one, other] {
        let of = waiting.iter().filter(|row| row.address == address);
        assert_eq!(of.count(), 2, "{address}");
    }
}

#[tokio::test]
async fn approval_admits_and_denial_refuses_until_forgotten() {
    let f = Fixture::new(1).await;
    let store = &f.store;
    store
        .note_pending(asks(1, "192.0.2.1"), BOUNDS, NOW)
        .await
        .unwrap();
    let denied = store
        .deny_pending(&id(1), "unknown", "test", NOW)
        .await
        .unwrap();
    assert!(denied.pending.denied && !denied.suspended);
    // A denial does not end by itself.
    let again = store.note_pending(asks(1, "192.0.2.1"), BOUNDS, NOW + 1_000_000);
    assert!(matches!(
        again.await.unwrap_err(),
        StoreError::PendingDenied { .. }
    ));
    store.forget_pending(&id(1), "test", NOW).await.unwrap();
    store
        .note_pending(asks(1, "192.0.2.1"), BOUNDS, NOW)
        .await
        .unwrap();
    let device = store
        .approve_pending(&id(1), "edge", "test", NOW)
        .await
        .unwrap();
    assert_eq!(device.class, "edge");
    let again = store.approve_pending(&id(1), "edge", "test", NOW).await;
    assert!(matches!(
        again.unwrap_err(),
        StoreError::UnknownPending { .. }
    ));
    assert!(store.gateway(&id(1)).await.unwrap().is_none(), "no grant");
}

#[tokio::test]
async fn a_replacement_revokes_the_old_and_admits_the_new_or_does_neither() {
    let f = Fixture::enrolled().await;
    let store = &f.store;
    let replace = |old, new| store.replace_gateway(old, new, "broken", "test", NOW);
    let (one, two, three) = (id(1), id(2), id(3));
    for (old, new) in [(&one, &one), (&two, &one)] {
        replace(old, new).await.unwrap_err();
    }
    assert_eq!(f.gateway(1).await.lifecycle, Lifecycle::Active);

    let done = replace(&one, &two).await.unwrap();
    assert_eq!((done.old, done.new), (one, two));
    let old = f.gateway(1).await;
    assert_eq!(old.lifecycle, Lifecycle::Revoked);
    assert!(old.state_reason.contains(&two.to_string()));
    let name = DeviceName::of_gateway(&two);
    let device = store.admitted_device(&name).await.unwrap().unwrap();
    assert_eq!(device.class, old.class);
    for id in [&one, &two] {
        let found = store.replacements(id).await.unwrap();
        assert_eq!(found, std::slice::from_ref(&done));
    }
    // Once.
    assert!(matches!(
        replace(&one, &three).await.unwrap_err(),
        StoreError::NotAReplacement { .. }
    ));
    let log = store.audit_page(None, 1).await.unwrap();
    assert_eq!(log[0].entry.action, "replaced");
}

/// Whatever else would admit it: token, name, serial number, its own record.
#[tokio::test]
async fn adv_a18_a_denial_wins_over_every_other_ground() {
    let f = Fixture::new(9).await;
    let store = &f.store;
    let deny = async |n| {
        store
            .note_pending(asks(n, "192.0.2.1"), BOUNDS, NOW)
            .await
            .unwrap();
        store.deny_pending(&id(n), "", "test", NOW).await.unwrap();
    };
    let serial = |n| Enrolled {
        admittance: Admittance::OemSerial {
            oem: "acme".to_owned(),
            serial: "SN-1".to_owned(),
        },
        ..enrolled(n)
    };
    store
        .allow_oem_serials("acme", vec!["SN-1".to_owned()], "default", "test", NOW)
        .await
        .unwrap();
    allow(&f, 1, "default").await;
    deny(1).await;
    let token = || enrolled(1);
    for denied in [token(), listed(1), serial(1)] {
        let refused = store.record_enrolment(denied, NOW).await.unwrap_err();
        assert!(
            matches!(refused, StoreError::PendingDenied { .. }),
            "{refused}"
        );
    }
    assert_eq!(f.uses_left().await, 9);
    assert!(store.gateway(&id(1)).await.unwrap().is_none());

    // Its own record: denied where it asked to come in anew.
    let _ = store.record_enrolment(enrolled(2), NOW).await.unwrap();
    deny(2).await;
    let later = NOW + 86_401;
    let mut recovery = enrolled(2);
    recovery.admittance = Admittance::Recovery;
    recovery.answer = answer(10);
    recovery.certificate = certificate(10);
    let refused = store.record_enrolment(recovery.clone(), later).await;
    assert!(matches!(refused, Err(StoreError::PendingDenied { .. })));
    store.forget_pending(&id(2), "test", NOW).await.unwrap();
    store.resume(&id(2), "", "test", NOW).await.unwrap();
    let _ = store.record_enrolment(recovery, later).await.unwrap();

    // Nor is it admitted by accident: the denial is lifted by name.
    deny(3).await;
    let name = DeviceName::of_gateway(&id(3));
    let refused = store.admit_device(&name, "default", "", "test", NOW).await;
    assert!(matches!(refused, Err(StoreError::PendingDenied { .. })));
    let refused = store
        .replace_gateway(&id(2), &id(3), "broken", "test", NOW)
        .await;
    assert!(matches!(refused, Err(StoreError::NotAReplacement { .. })));
    store
        .approve_pending(&id(3), "default", "test", NOW)
        .await
        .unwrap();
    let _ = store.record_enrolment(listed(3), NOW).await.unwrap();
}

/// Denied where it waits too, and where it never did: out at once, and told.
#[tokio::test]
async fn adv_a18_a_denial_puts_out_who_is_in() {
    let f = Fixture::new(9).await;
    let store = &f.store;
    for n in [1, 2] {
        let _ = store.record_enrolment(enrolled(n), NOW).await.unwrap();
    }
    store
        .note_pending(asks(1, "192.0.2.1"), BOUNDS, NOW)
        .await
        .unwrap();
    let mut told = store.changed();
    told.mark_unchanged();
    for n in [1, 2] {
        let denied = store.deny_pending(&id(n), "not ours", "test", NOW).await;
        let denied = denied.unwrap();
        assert!(denied.suspended && denied.pending.denied, "{n}");
        let gateway = f.gateway(n).await;
        let out = Lifecycle::Suspended(SuspensionKind::Operator);
        assert_eq!(gateway.lifecycle, out, "{n}");
        assert_eq!(gateway.state_reason, "denied: not ours");
        assert!(!gateway.has_valid_certificate(NOW));
        assert!(told.has_changed().unwrap(), "nobody was told of {n}");
        told.mark_unchanged();
        let events = store.events_after(0, Some(&id(n)), 10).await.unwrap();
        assert_eq!(events.last().unwrap().kind, EventKind::Suspended);
        let late = store.record_affirmation(affirmed(n, 10 + n), NOW).await;
        assert!(matches!(late, Err(StoreError::Blocked { .. })));
        // Not by accident either.
        let back = store.resume(&id(n), "", "test", NOW).await;
        assert!(matches!(back, Err(StoreError::PendingDenied { .. })));
    }
    let nobody = store.deny_pending(&id(3), "", "test", NOW).await;
    assert!(matches!(nobody, Err(StoreError::UnknownPending { .. })));
    // One that is revoked stays so.
    let revoke = |n| store.revoke(n, RevocationReason::Unspecified, "", "test", NOW);
    let two = id(2);
    revoke(&two).await.unwrap();
    let denied = store.deny_pending(&two, "", "test", NOW).await.unwrap();
    assert!(!denied.suspended);
    assert_eq!(f.gateway(2).await.lifecycle, Lifecycle::Revoked);
}

/// Denials of before they suspended: the gateway is in, and stays denied.
#[tokio::test]
async fn adv_a18_nothing_is_affirmed_of_one_that_is_denied() {
    let f = Fixture::enrolled().await;
    let lines = "INSERT INTO pending_gateways \
        (id, state, class, tpm, address, first_seen, last_seen, expires) \
        VALUES (?, 'denied', 'default', '', '', 0, 0, 0)";
    sqlx::query(lines)
        .bind(id(1).as_bytes().as_slice())
        .execute(&f.store.writer)
        .await
        .unwrap();
    assert_eq!(f.gateway(1).await.lifecycle, Lifecycle::Active);
    let late = f.store.record_affirmation(affirmed(1, 2), NOW).await;
    assert!(matches!(late, Err(StoreError::PendingDenied { .. })));
    // Nor is what was granted given again.
    let again = f.store.answer(&[1; 32], NOW).await;
    assert!(matches!(again, Err(StoreError::PendingDenied { .. })));
}

#[tokio::test]
async fn whoever_came_in_waits_no_more() {
    let f = Fixture::new(9).await;
    for n in [1, 2] {
        f.store
            .note_pending(asks(n, "192.0.2.1"), BOUNDS, NOW)
            .await
            .unwrap();
    }
    let _ = f.store.record_enrolment(enrolled(1), NOW).await.unwrap();
    let waiting = f.store.pending_gateways(0, 10, NOW).await.unwrap();
    assert_eq!(
        waiting.iter().map(|row| row.id).collect::<Vec<_>>(),
        [id(2)]
    );
}

/// In the transaction that records the grant, and at once for those on record;
/// by the keys of their paths, and where these are not on record.
#[tokio::test]
async fn a_withdrawn_oem_takes_its_gateways_along_and_no_others() {
    use crate::{
        endorsement::{DevidFacts, PathCertificate},
        store::{OfWithdrawn, WithdrawnCa},
    };
    let f = Fixture::new(9).await;
    let certified = |n: u8, oem: &str, keys: &[u8]| {
        let path: Vec<PathCertificate> = keys
            .iter()
            .map(|key| PathCertificate {
                sha256: hex::encode([*key ^ 0xFF; 32]),
                key_sha256: hex::encode([*key; 32]),
                issuer_sha256: String::new(),
                serial: "01".to_owned(),
                subject: "CN=CA".to_owned(),
            })
            .collect();
        let mut enrolled = enrolled(n);
        enrolled.tpm.facts.devid = Some(DevidFacts {
            oem: oem.to_owned(),
            serial: format!("SN-{n}"),
            hardware_type: String::new(),
            hardware_serial: String::new(),
            iak_template: "H-2".to_owned(),
            iak_certificate_sha256: hex::encode([n; 32]),
            idevid_certificate_sha256: hex::encode([n; 32]),
            idevid_spki_sha256: hex::encode([n; 32]),
            iak_path: path.clone(),
            idevid_path: path,
        });
        enrolled
    };
    // The first by the CA, the second not, the third nobody knows, the fourth
    // by another OEM.
    let gateways = [
        certified(1, "acme", &[10, 20]),
        certified(2, "acme", &[11, 20]),
        certified(3, "acme", &[]),
        certified(4, "other", &[10, 20]),
    ];
    for gateway in gateways {
        let _ = f.store.record_enrolment(gateway, NOW).await.unwrap();
    }
    let ca = |key: u8| WithdrawnCa {
        oem: "acme".to_owned(),
        sha256: [key ^ 0xFF; 32],
        key_sha256: [key; 32],
        subject: "CN=CA".to_owned(),
    };
    let root = Anchor {
        sha256: [20 ^ 0xFF; 32],
        der: vec![0x30],
        subject: "CN=Root".to_owned(),
        root: true,
        not_after: NOW,
    };
    // The root, or another certificate for its key.
    let import = async |oem: &str, sha256: u8, of_withdrawn| {
        let mut certificate = root.clone();
        certificate.sha256 = [sha256; 32];
        f.store
            .import_oem_anchors(
                oem,
                vec![(certificate, [20; 32])],
                of_withdrawn,
                "test",
                NOW,
            )
            .await
    };
    const ROOT: u8 = 20 ^ 0xFF;
    import("acme", ROOT, OfWithdrawn::Refuse).await.unwrap();
    let done = f
        .store
        .withdraw_oem_cas("acme", vec![ca(10)], "stolen", "test", NOW)
        .await
        .unwrap();
    assert_eq!(done.gateways, [id(1), id(3)]);
    for (n, out) in [(1, true), (2, false), (3, true), (4, false)] {
        let gateway = f.store.gateway(&id(n)).await.unwrap().unwrap();
        let suspended = Lifecycle::Suspended(SuspensionKind::Operator);
        assert_eq!(gateway.lifecycle == suspended, out, "{n}");
        assert_eq!(gateway.has_valid_certificate(NOW), !out, "{n}");
    }
    // One whose certificates were looked at before.
    let late = f
        .store
        .record_enrolment(certified(5, "acme", &[10, 20]), NOW)
        .await;
    assert!(matches!(late, Err(StoreError::OemWithdrawn { .. })));
    let _ = f
        .store
        .record_enrolment(certified(5, "acme", &[11, 20]), NOW)
        .await
        .unwrap();
    // The root: everybody of that OEM; and it is trusted again when told so, not
    // by an import as any other.
    let done = f
        .store
        .withdraw_oem_cas("acme", vec![ca(20)], "closed", "test", NOW)
        .await
        .unwrap();
    assert_eq!(done.gateways.len(), 4);
    assert_eq!(f.store.withdrawn_oem_cas().await.unwrap().len(), 2);
    // Nor by another certificate for its key, nor as another OEM's.
    for (oem, sha256) in [("acme", ROOT), ("acme", 1), ("other", ROOT), ("other", 1)] {
        let refused = import(oem, sha256, OfWithdrawn::Refuse).await;
        assert!(
            matches!(&refused, Err(StoreError::OemCaWithdrawn { oem, .. }) if oem == "acme"),
            "{refused:?}"
        );
    }
    assert_eq!(f.store.withdrawn_oem_cas().await.unwrap().len(), 2);
    assert_eq!(f.store.oem_anchors().await.unwrap(), []);
    // What is said of one OEM is not said of the other.
    import("other", ROOT, OfWithdrawn::TrustAgain)
        .await
        .unwrap();
    assert_eq!(f.store.withdrawn_oem_cas().await.unwrap().len(), 2);
    import("acme", 1, OfWithdrawn::TrustAgain).await.unwrap();
    assert_eq!(f.store.withdrawn_oem_cas().await.unwrap(), [ca(10)]);
    let other = f.store.gateway(&id(4)).await.unwrap().unwrap();
    assert_eq!(other.lifecycle, Lifecycle::Active);
}
