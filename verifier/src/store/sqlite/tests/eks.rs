//! Every EK is on one record, whatever became of its gateway (A18).

use super::*;
use crate::endorsement::EkFacts;
use crate::store::{Admissions as _, DeviceName, EkRecord, Eks as _};

/// Gateway `n` with a second EK.
fn with_second(n: u8) -> Enrolled {
    Enrolled {
        further_eks: vec![further_ek(n)],
        ..enrolled(n)
    }
}

/// The same again, by another request.
fn again(mut enrolled: Enrolled, request: u8) -> Enrolled {
    enrolled.answer = answer(request);
    enrolled.certificate = certificate(request);
    enrolled.tpm.clock = clock(2, 1);
    enrolled
}

async fn refused(f: &Fixture, enrolled: Enrolled, owner: u8) {
    let before = f.uses_left().await;
    let error = f.store.record_enrolment(enrolled, NOW).await.unwrap_err();
    assert!(
        matches!(error, StoreError::KeyOfAnother { key: OwnedKey::Ek, owner: o } if o == id(owner)),
        "{error}"
    );
    assert_eq!(f.uses_left().await, before);
}

/// Gateway `n` by the second EK of gateway 1, as its first one and beside it.
fn by_second_ek_of_1(n: u8) -> [Enrolled; 2] {
    let mut as_first = enrolled(n);
    as_first.tpm.ek_spki_sha256 = further_ek(1).spki_sha256;
    let beside = Enrolled {
        further_eks: vec![further_ek(1)],
        ..enrolled(n)
    };
    [as_first, beside]
}

#[tokio::test]
async fn every_ek_of_an_enrolment_is_on_its_record() {
    let f = Fixture::new(10).await;
    let _ = f.store.record_enrolment(with_second(1), NOW).await.unwrap();
    let g = f.gateway(1).await;
    let shown: Vec<_> = g.eks.iter().map(|r| r.ek.spki_sha256).collect();
    assert_eq!(shown, [[1; 32], further_ek(1).spki_sha256]);
    assert_eq!(
        g.eks[1],
        EkRecord {
            ek: further_ek(1),
            first_shown: NOW,
            last_shown: NOW
        }
    );
    for ek in shown {
        assert_eq!(f.store.owner_of_ek(&ek).await.unwrap(), Some(id(1)));
    }
    assert_eq!(f.store.owner_of_ek(&[77; 32]).await.unwrap(), None);
    // The first is in the gateway's id; the other is told of.
    let audit = f.store.audit(10).await.unwrap();
    assert_eq!(audit[0].action, "enrolled");
    assert_eq!(audit[1].action, "ek-added");
    assert!(
        audit[1].detail.contains("EK L-1 c9c9"),
        "{}",
        audit[1].detail
    );
    assert_eq!(audit[2].action, "token-created");
}

#[tokio::test]
async fn adv_a18_no_ek_is_on_two_records_whatever_became_of_the_first() {
    let f = Fixture::new(10).await;
    let _ = f.store.record_enrolment(with_second(1), NOW).await.unwrap();
    let suspend = async || {
        let kind = SuspensionKind::Operator;
        f.store.suspend(&id(1), kind, "", "uid:0", NOW).await
    };
    let revoke = async || {
        let code = RevocationReason::KeyCompromise;
        f.store.revoke(&id(1), code, "", "uid:0", NOW).await
    };
    for state in 0..3 {
        match state {
            1 => drop(suspend().await.unwrap()),
            2 => drop(revoke().await.unwrap()),
            _ => {}
        }
        for thief in by_second_ek_of_1(2) {
            refused(&f, thief, 1).await;
        }
        // And the first one, beside another.
        let beside = Enrolled {
            further_eks: vec![EkFacts {
                spki_sha256: [1; 32],
                ..further_ek(2)
            }],
            ..enrolled(2)
        };
        refused(&f, beside, 1).await;
    }
    assert!(f.store.gateway(&id(2)).await.unwrap().is_none());
    let _ = f.store.record_enrolment(with_second(2), NOW).await.unwrap();
}

/// What the table itself holds, where every look-up was forgotten.
#[tokio::test]
async fn adv_a18_the_table_takes_an_ek_once() {
    let f = Fixture::new(10).await;
    for n in [1, 2] {
        let _ = f.store.record_enrolment(enrolled(n), NOW).await.unwrap();
    }
    let mut tx = f.store.begin().await.unwrap();
    let twice = sqlx::query(
        "INSERT INTO gateway_eks \
           (spki_sha256, gateway, public, chain_sha256, facts, first_shown, last_shown) \
         SELECT spki_sha256, ?, public, chain_sha256, facts, 0, 0 FROM gateway_eks \
         WHERE gateway = ?",
    )
    .bind(id(2).as_bytes().as_slice())
    .bind(id(1).as_bytes().as_slice())
    .execute(&mut *tx)
    .await;
    let error = twice.unwrap_err();
    assert!(error.to_string().contains("UNIQUE"), "{error}");
    // Nor does the write take it over.
    let [_, thief] = by_second_ek_of_1(2);
    let mut of_1 = with_second(1);
    of_1.id = id(1);
    super::super::eks::write(&mut tx, &of_1, NOW).await.unwrap();
    let taken = super::super::eks::write(&mut tx, &thief, NOW).await;
    assert!(matches!(
        taken,
        Err(StoreError::KeyOfAnother { owner, .. }) if owner == id(1)
    ));
}

#[tokio::test]
async fn a_gateway_on_record_adds_an_ek_and_keeps_those_of_before() {
    let f = Fixture::enrolled().await;
    let recovery = |mut enrolled: Enrolled, request| {
        enrolled.admittance = Admittance::Recovery;
        again(enrolled, request)
    };
    let silent = async || {
        let kind = SuspensionKind::Silence;
        f.store
            .suspend(&id(1), kind, "", "verifier", NOW)
            .await
            .unwrap();
    };
    silent().await;
    let with = recovery(with_second(1), 7);
    let _ = f.store.record_enrolment(with, NOW + 5).await.unwrap();
    let g = f.gateway(1).await;
    let times: Vec<_> = g
        .eks
        .iter()
        .map(|r| (r.first_shown, r.last_shown))
        .collect();
    assert_eq!(times, [(NOW, NOW + 5), (NOW + 5, NOW + 5)]);
    let in_use: Vec<_> = g.further_eks_in_use().map(|r| r.ek.clone()).collect();
    assert_eq!(in_use, [further_ek(1)]);
    let added = |audit: Vec<AuditEntry>| audit.iter().filter(|a| a.action == "ek-added").count();
    assert_eq!(added(f.store.audit(20).await.unwrap()), 1);

    // Not shown again: it stays its own, and the gateway does not stand on it.
    silent().await;
    let mut without = recovery(enrolled(1), 8);
    without.tpm.clock = clock(3, 1);
    let _ = f.store.record_enrolment(without, NOW + 9).await.unwrap();
    let g = f.gateway(1).await;
    assert_eq!(g.eks.len(), 2);
    assert_eq!(g.further_eks_in_use().count(), 0);
    assert_eq!(added(f.store.audit(20).await.unwrap()), 1);
    for thief in by_second_ek_of_1(2) {
        refused(&f, thief, 1).await;
    }
}

#[tokio::test]
async fn adv_a18_a_denied_gateway_does_not_come_in_by_another_of_its_eks() {
    let f = Fixture::new(10).await;
    let denied = Ueid::from_digest(&further_ek(1).spki_sha256);
    let pending = crate::store::NewPending {
        id: denied,
        class: "default".to_owned(),
        tpm: String::new(),
        address: "192.0.2.1".to_owned(),
        expires: NOW + 60,
    };
    let bounds = crate::store::PendingBounds {
        all: 10,
        per_address: 10,
    };
    f.store.note_pending(pending, bounds, NOW).await.unwrap();
    f.store
        .deny_pending(&denied, "not ours", "uid:0", NOW)
        .await
        .unwrap();
    let error = f.store.record_enrolment(with_second(1), NOW).await;
    assert!(matches!(error, Err(StoreError::PendingDenied { id }) if id == denied));
    assert_eq!(f.uses_left().await, 10);
}

/// It waited by one EK and came in by another: it waits no more, and a denial of
/// either puts it out.
#[tokio::test]
async fn adv_a18_a_denial_by_any_ek_puts_the_gateway_out() {
    let f = Fixture::new(10).await;
    let second = Ueid::from_digest(&further_ek(1).spki_sha256);
    let pending = crate::store::NewPending {
        id: second,
        class: "default".to_owned(),
        tpm: String::new(),
        address: "192.0.2.1".to_owned(),
        expires: NOW + 60,
    };
    let bounds = crate::store::PendingBounds {
        all: 10,
        per_address: 10,
    };
    f.store.note_pending(pending, bounds, NOW).await.unwrap();
    let _ = f.store.record_enrolment(with_second(1), NOW).await.unwrap();
    assert_eq!(f.store.pending_gateways(0, 10, NOW).await.unwrap(), []);
    let denied = f.store.deny_pending(&second, "not ours", "uid:0", NOW);
    assert!(denied.await.unwrap().suspended);
    assert_eq!(
        f.gateway(1).await.lifecycle,
        Lifecycle::Suspended(SuspensionKind::Operator)
    );
}

/// Where nobody vouches for EKs, a device shows new ones as often as it likes.
#[tokio::test]
async fn adv_a21_a_record_has_so_many_eks_and_no_more() {
    let f = Fixture::new(100).await;
    let _ = f.store.record_enrolment(enrolled(1), NOW).await.unwrap();
    let with = |n: u8| {
        let mut shown = again(enrolled(1), n);
        shown.further_eks = vec![further_ek(n)];
        shown
    };
    for n in 2..=16 {
        let _ = f.store.record_enrolment(with(n), NOW).await.unwrap();
    }
    let full = f.store.record_enrolment(with(17), NOW).await;
    assert!(matches!(full, Err(StoreError::TooManyEks { id: full }) if full == id(1)));
    assert_eq!(f.gateway(1).await.eks.len(), 16);
    // With those that it has it comes and goes.
    let _ = f
        .store
        .record_enrolment(again(with(2), 18), NOW)
        .await
        .unwrap();
}

#[tokio::test]
async fn adv_a18_a_second_ek_of_a_gateway_on_record_replaces_nobody() {
    let f = Fixture::new(10).await;
    let _ = f.store.record_enrolment(with_second(1), NOW).await.unwrap();
    let _ = f.store.record_enrolment(enrolled(2), NOW).await.unwrap();
    let second = Ueid::from_digest(&further_ek(1).spki_sha256);
    for old in [1, 2] {
        let replaced = f
            .store
            .replace_gateway(&id(old), &second, "broken", "uid:0", NOW)
            .await;
        assert!(
            matches!(&replaced, Err(StoreError::NotAReplacement { .. })),
            "{replaced:?}"
        );
    }
    // A machine of its own does; and of the one that it replaces no EK comes back.
    f.store
        .replace_gateway(&id(1), &id(3), "broken", "uid:0", NOW)
        .await
        .unwrap();
    for thief in by_second_ek_of_1(4) {
        refused(&f, thief, 1).await;
    }
    let mut new = with_second(3);
    new.admittance = Admittance::Listed(DeviceName::of_gateway(&id(3)));
    let _ = f.store.record_enrolment(new, NOW).await.unwrap();
}
