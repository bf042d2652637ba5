//! Secrets at rest and on their way. Live TPMs: integration/tests/secrets.rs.

use ring::rand::SystemRandom;

use super::*;
use crate::identity::SecretKey;

const SECRET: &[u8] = b"what nobody may read";

fn kek(id: &str) -> Kek {
    let rng = SystemRandom::new();
    let key = SecretKey::generate(&rng).unwrap();
    Kek::from_pkcs8(id.to_owned(), key.expose_der(), &rng).unwrap()
}

fn id(class: &str, name: &str, version: u64) -> SecretId {
    SecretId {
        class: Class::parse(class).unwrap(),
        name: name.parse().unwrap(),
        version,
    }
}

fn secret(bytes: &[u8]) -> Secret {
    Secret::new(Zeroizing::new(bytes.to_vec())).unwrap()
}

fn holds(haystack: &[u8]) -> bool {
    haystack.windows(SECRET.len()).any(|w| w == SECRET)
}

#[test]
fn a_stored_secret_opens_in_its_place_under_its_key_alone() {
    let rng = SystemRandom::new();
    let keks = Keks::new(vec![kek("one")]);
    let here = id("edge", "key", 3);
    let stored = keks.seal(&here, &secret(SECRET), &rng).unwrap();
    assert!(!holds(&stored.ciphertext) && !holds(&stored.wrapped_key));
    assert_eq!(keks.open(&here, &stored).unwrap().expose(), SECRET);
    for other in [
        id("edge2", "key", 3),
        id("edge", "key2", 3),
        id("edge", "key", 4),
    ] {
        let refusal = keks.open(&other, &stored).unwrap_err();
        assert!(matches!(refusal, SecretsError::Altered(_)), "{refusal:?}");
    }
    // A key of the same name that is another.
    let stranger = Keks::new(vec![kek("one")]);
    let refusal = stranger.open(&here, &stored).unwrap_err();
    assert!(matches!(refusal, SecretsError::Altered(_)), "{refusal:?}");
    let refusal = Keks::new(vec![kek("two")]).open(&here, &stored);
    assert!(
        matches!(&refusal, Err(SecretsError::UnknownKey { key_id }) if key_id == "one"),
        "{refusal:?}"
    );
    for at in [0, 20, stored.ciphertext.len() - 1] {
        let mut bad = stored.clone();
        bad.ciphertext[at] ^= 1;
        assert!(matches!(
            keks.open(&here, &bad),
            Err(SecretsError::Altered(_))
        ));
        let mut bad = stored.clone();
        bad.wrapped_key[at] ^= 1;
        assert!(matches!(
            keks.open(&here, &bad),
            Err(SecretsError::Altered(_))
        ));
        let mut bad = stored.clone();
        bad.ciphertext.truncate(at);
        assert!(matches!(
            keks.open(&here, &bad),
            Err(SecretsError::Altered(_))
        ));
    }
}

#[test]
fn a_rotated_key_wraps_anew_and_leaves_the_secret_alone() {
    let rng = SystemRandom::new();
    let here = id("edge", "key", 3);
    let before = Keks::new(vec![kek("one")]);
    let stored = before.seal(&here, &secret(SECRET), &rng).unwrap();
    assert_eq!(before.rewrap(&here, &stored, &rng).unwrap(), None);
    let Keks(mut keys) = before;
    keys.insert(0, kek("two"));
    let both = Keks::new(keys);
    let again = both.rewrap(&here, &stored, &rng).unwrap().unwrap();
    assert_eq!(again.key_id, "two");
    assert_eq!(again.ciphertext, stored.ciphertext);
    let Keks(mut keys) = both;
    keys.truncate(1);
    let after = Keks::new(keys);
    assert_eq!(after.open(&here, &again).unwrap().expose(), SECRET);
    assert!(matches!(
        after.open(&here, &stored),
        Err(SecretsError::UnknownKey { .. })
    ));
}

#[test]
fn a_key_comes_from_its_private_key_alone() {
    let rng = SystemRandom::new();
    let key = SecretKey::generate(&rng).unwrap();
    let derive = |key: &SecretKey| {
        let kek = Kek::from_pkcs8("k".to_owned(), key.expose_der(), &rng).unwrap();
        kek.expose().to_vec()
    };
    assert_eq!(derive(&key), derive(&key));
    assert_ne!(derive(&key), derive(&SecretKey::generate(&rng).unwrap()));
    assert!(
        !key.expose_der()
            .windows(32)
            .any(|window| window == derive(&key).as_slice())
    );
    assert!(matches!(
        Kek::from_pkcs8("k".to_owned(), &key.expose_der()[1..], &rng),
        Err(SecretsError::NotAKey)
    ));
}

#[test]
fn a_secret_has_1_to_4096_bytes() {
    for len in [0, MAX_DELIVERED + 1] {
        assert!(matches!(
            Secret::new(Zeroizing::new(vec![1; len])),
            Err(SecretsError::Length { len: found }) if found == len
        ));
    }
    let rng = SystemRandom::new();
    let keks = Keks::new(vec![kek("one")]);
    let here = id("edge", "key", 1);
    for len in [1, MAX_DELIVERED] {
        let whole = vec![0x5A; len];
        let stored = keks.seal(&here, &secret(&whole), &rng).unwrap();
        assert_eq!(keks.open(&here, &stored).unwrap().expose(), whole);
    }
    assert!(matches!(
        Keks::default().seal(&here, &secret(SECRET), &rng),
        Err(SecretsError::NoKey)
    ));
}

#[test]
fn cve_c41_nothing_secret_is_shown() {
    let shown = format!("{:?} {:?}", secret(SECRET), Keks::new(vec![kek("one")]));
    assert_eq!(shown, "Secret(_) Keks([Kek(one)])");
}
