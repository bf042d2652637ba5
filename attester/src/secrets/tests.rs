//! What is on file, and which deliveries are refused before the TPM is asked.
//! With a TPM: integration/tests/secrets.rs.

use holdfast_proto::tpm::templates::delivered_secret_template;

use super::*;
use crate::tpm::ImportedObject;

fn name(text: &str) -> SecretName {
    text.parse().unwrap()
}

fn kept(version: u64) -> Kept {
    let public = delivered_secret_template().encode_tpm2b();
    Kept {
        version,
        object: ImportedObject::parse(&public, &[0, 1, 9]).unwrap(),
        ciphertext: vec![0x5A; 20],
    }
}

fn held() -> Held {
    let mut held = Held::none("edge");
    held.count = 7;
    held.secrets.insert(name("key"), kept(5));
    held
}

#[test]
fn what_is_written_reads_back_and_nothing_shorter_does() {
    let bytes = held().to_bytes();
    assert_eq!(Held::parse(&bytes).unwrap(), held());
    for len in [0, 1, bytes.len() / 2, bytes.len() - 3] {
        let refusal = Held::parse(&bytes[..len]).unwrap_err();
        assert!(matches!(refusal, DeliveryError::Damaged(_)), "{refusal:?}");
    }
    let text = String::from_utf8(bytes).unwrap();
    for (good, bad) in [
        ("\"version\": 1", "\"version\": 2"),
        ("\"key\"", "\"../key\""),
        ("\"count\"", "\"counts\""),
    ] {
        let refusal = Held::parse(text.replacen(good, bad, 1).as_bytes()).unwrap_err();
        assert!(matches!(refusal, DeliveryError::Damaged(_)), "{refusal:?}");
    }
}

fn version(text: &str, version: u64) -> v1::SecretVersion {
    v1::SecretVersion {
        name: text.to_owned(),
        version,
    }
}

fn delivery() -> v1::SecretDelivery {
    v1::SecretDelivery {
        class: "edge".to_owned(),
        count: 8,
        current: vec![version("key", 5), version("other", 8)],
        secrets: vec![v1::DeliveredSecret {
            secret: Some(version("other", 8)),
            key: None,
            ciphertext: vec![0; 17],
        }],
    }
}

#[test]
fn cve_c11_an_old_delivery_or_another_classs_is_refused() {
    type Change = fn(&mut v1::SecretDelivery);
    type Expected = fn(&DeliveryError) -> bool;
    assert!(Delivery::parse(delivery(), "edge", &held()).is_ok());
    let cases: [(Change, Expected); 9] = [
        (
            |d| d.count = 6,
            |e| matches!(e, DeliveryError::Old { sent: 6, seen: 7 }),
        ),
        (
            |d| d.current[0].version = 4,
            |e| matches!(e, DeliveryError::Old { sent: 4, seen: 5 }),
        ),
        (
            |d| d.class = "staging".to_owned(),
            |e| matches!(e, DeliveryError::OtherClass { .. }),
        ),
        (|d| d.current[1].version = 9, malformed),
        (|d| d.current[1].name = "../x".to_owned(), malformed),
        (|d| d.current[1] = version("key", 6), malformed),
        (|d| d.secrets[0].secret = Some(version("key", 8)), malformed),
        (|d| d.secrets.push(d.secrets[0].clone()), malformed),
        (
            |d| d.secrets[0].ciphertext = vec![0; MAX_DELIVERED + 17],
            malformed,
        ),
    ];
    for (number, (change, expected)) in cases.into_iter().enumerate() {
        let mut bad = delivery();
        change(&mut bad);
        let refusal = Delivery::parse(bad, "edge", &held()).unwrap_err();
        assert!(expected(&refusal), "{number}: {refusal:?}");
        assert!(!refusal.next_step().is_empty());
    }
    let mut many = delivery();
    many.current = vec![version("key", 5); MAX_NAMES + 1];
    assert!(malformed(
        &Delivery::parse(many, "edge", &held()).unwrap_err()
    ));
}

fn malformed(error: &DeliveryError) -> bool {
    matches!(error, DeliveryError::Malformed(_))
}

#[test]
fn cve_c11_a_secret_that_does_not_open_brings_nothing_old_back() {
    let mut ours = held();
    ours.secrets.insert(name("gone"), kept(3));
    let mut sent = delivery();
    sent.current[0].version = 8;
    sent.current[1].version = 7;
    sent.secrets[0].secret = Some(version("key", 8));
    sent.secrets.push(v1::DeliveredSecret {
        secret: Some(version("other", 7)),
        key: None,
        ciphertext: vec![0; 17],
    });
    let sent = Delivery::parse(sent, "edge", &ours).unwrap();
    let after = sent.settle(Some(&ours), &ours, |of, version, _| {
        match *of == name("other") {
            true => Ok(kept(version)),
            false => Err(DeliveryError::Altered(of.clone())),
        }
    });
    assert!(matches!(after.failed, Some(DeliveryError::Altered(_))));
    // What was taken back is gone, and the delivery before cannot return it.
    assert_eq!(after.taken.deleted, [name("gone")]);
    let old = v1::SecretDelivery {
        count: 7,
        ..delivery()
    };
    let refusal = Delivery::parse(old, "edge", &after.now).unwrap_err();
    assert!(matches!(refusal, DeliveryError::Old { .. }), "{refusal:?}");
    // What it was to replace goes on, and is told, so that it is sent again.
    let versions: Vec<u64> = after
        .now
        .secrets
        .values()
        .map(|kept| kept.version)
        .collect();
    assert_eq!(versions, [5, 7]);
}

/// Moved to another class and back, an old delivery is as old as before.
#[test]
fn cve_c11_a_class_that_a_gateway_comes_back_to_is_not_new() {
    let away = held().of("staging");
    assert_eq!((away.count, away.secrets.len()), (0, 0));
    // On disk in between; and what comes meanwhile takes nothing of it away.
    let away = Held::parse(&away.to_bytes()).unwrap();
    let of_staging = v1::SecretDelivery {
        class: "staging".to_owned(),
        count: 2,
        ..Default::default()
    };
    let sent = Delivery::parse(of_staging, "staging", &away).unwrap();
    let away = sent.settle(None, &away, |of, _, _| {
        Err(DeliveryError::Altered(of.clone()))
    });
    let back = away.now.of("edge");
    let old = v1::SecretDelivery {
        count: 6,
        ..delivery()
    };
    let refusal = Delivery::parse(old, "edge", &back).unwrap_err();
    assert!(
        matches!(refusal, DeliveryError::Old { sent: 6, seen: 7 }),
        "{refusal:?}"
    );
    assert!(Delivery::parse(delivery(), "edge", &back).is_ok());
    assert_eq!(back.of("staging").count, 2);
}

#[test]
fn what_is_remembered_of_other_classes_has_an_end() {
    let mut moved = held();
    for n in 0..1000 {
        moved = moved.of(&format!("c{n}"));
        moved.count = n;
    }
    assert!(moved.to_bytes().len() < 4096);
    let back = moved.clone().of("c990");
    assert_eq!(back.count, 990);
    assert_eq!(moved.of("edge").count, 0);
}

#[test]
fn what_does_not_come_is_awaited() {
    let mut sent = delivery();
    sent.secrets.clear();
    let sent = Delivery::parse(sent, "edge", &held()).unwrap();
    let after = sent.settle(Some(&held()), &held(), |_, version, _| Ok(kept(version)));
    assert_eq!(after.taken.awaited, [name("other")]);
    assert_eq!(after.taken.taken, []);
}
