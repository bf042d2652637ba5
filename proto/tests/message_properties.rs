//! Claims and bundles: what is written reads back, nothing shorter or longer
//! does, and no input panics.
#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a panic in a test's helper is a failed test"
)]

mod common;

use holdfast_proto::bundle::{Bundle, BundleError, JoinToken, PREFIX};
use holdfast_proto::cbor::CborError;
use holdfast_proto::claims::{Claims, CoseAlg, Purpose, SignedClaims, Ueid, sign};
use proptest::collection::vec;
use proptest::option;
use proptest::prelude::*;

fn claims() -> impl Strategy<Value = Claims> {
    let purpose = prop_oneof![
        Just(Purpose::Enrol),
        Just(Purpose::Recover),
        Just(Purpose::Attest),
        Just(Purpose::Renew)
    ];
    let digests = (
        any::<[u8; 32]>(),
        any::<[u8; 32]>(),
        option::of(any::<[u8; 32]>()),
        option::of(any::<[u8; 32]>()),
        any::<[u8; 32]>(),
    );
    let rest = (
        0i64..253_402_300_800,
        option::of(0u64..3_162_240_001),
        "[ -~]{1,64}",
        "[ -~]{1,64}",
    );
    (digests, purpose, rest).prop_map(
        |((nonce, exporter, certify_sha256, boot_log_sha256, id), purpose, rest)| Claims {
            nonce,
            ueid: Ueid::parse(&[&[1][..], &id].concat()).unwrap(),
            issued_at: rest.0,
            purpose,
            exporter,
            certify_sha256,
            boot_log_sha256,
            software_name: rest.2,
            software_version: rest.3,
            uptime_seconds: rest.1,
        },
    )
}

fn signed(claims: &Claims) -> Vec<u8> {
    let kid = [&[0, 0x0B][..], &[7; 32]].concat();
    sign(claims, CoseAlg::Esp384, &kid, |_| Ok::<_, ()>(vec![9; 96])).unwrap()
}

fn open(signed: SignedClaims) -> Option<Claims> {
    signed.open(|_, _, _| Ok::<_, ()>(())).ok()
}

fn bundle() -> impl Strategy<Value = Bundle> {
    let texts = (
        "[a-z0-9.-]{1,253}",
        1u16..,
        "[a-z0-9.-]{1,253}",
        "[a-z0-9-]{1,64}",
    );
    let bytes = (vec(any::<u8>(), 1..2000), vec(any::<u8>(), 16..=64));
    (texts, bytes, common::name(), 0..=i64::MAX).prop_map(|(texts, bytes, root, expires)| Bundle {
        server: format!("{}:{}", texts.0, texts.1),
        server_name: texts.2,
        server_ca_der: bytes.0,
        join_token: JoinToken::new(&bytes.1).unwrap(),
        policy_root_name: root,
        class: texts.3,
        expires,
    })
}

proptest! {
    #[test]
    fn claims_come_back(claims in claims()) {
        let bytes = signed(&claims);
        let parsed = SignedClaims::parse(&bytes).unwrap();
        prop_assert_eq!(parsed.bytes(), bytes.as_slice());
        prop_assert_eq!(open(parsed), Some(claims));
        for len in 0..bytes.len() {
            prop_assert!(SignedClaims::parse(&bytes[..len]).is_err());
        }
        prop_assert!(SignedClaims::parse(&[&bytes[..], &[0]].concat()).is_err());
    }

    /// Deterministic encoding: claims that open have only the one encoding.
    #[test]
    fn changed_claims_open_to_themselves_or_not_at_all(
        claims in claims(),
        at in any::<prop::sample::Index>(),
        byte: u8,
    ) {
        let mut bytes = signed(&claims);
        let at = at.index(bytes.len());
        bytes[at] = byte;
        if let Ok(parsed) = SignedClaims::parse(&bytes) {
            let (alg, kid) = (parsed.alg(), parsed.kid().to_vec());
            let signature = bytes[bytes.len() - alg.signature_len()..].to_vec();
            // ES384 reads as ESP384, which is written.
            let deprecated = bytes[6] == 0x38 && bytes[7] == 34;
            if let Some(claims) = open(parsed).filter(|_| !deprecated) {
                let again = sign(&claims, alg, &kid, |_| Ok::<_, ()>(signature)).unwrap();
                prop_assert_eq!(again, bytes);
            }
        }
    }

    #[test]
    fn no_input_panics(bytes in vec(any::<u8>(), 0..300), text in ".{0,200}") {
        let _ = SignedClaims::parse(&bytes);
        let _ = SignedClaims::parse(&[&[0xD2, 0x84][..], &bytes].concat());
        let _ = Bundle::parse(&text);
        let _ = Bundle::parse(&format!("{PREFIX}{text}"));
    }

    #[test]
    fn bundles_come_back(bundle in bundle()) {
        let text = bundle.encode().unwrap();
        prop_assert_eq!(Bundle::parse(&text), Ok(bundle.clone()));
        prop_assert_eq!(Bundle::parse(&format!("  {}\r\n", *text)), Ok(bundle));
        for len in 0..text.len() {
            prop_assert!(Bundle::parse(&text[..len]).is_err());
        }
        for extra in ["A", "AA", "AAAA", "=", "\n."] {
            let longer = [text.as_str(), extra].concat();
            prop_assert!(Bundle::parse(&longer).is_err());
        }
    }
}

fn good() -> Bundle {
    Bundle {
        server: "verifier.example:8443".to_owned(),
        server_name: "verifier.example".to_owned(),
        server_ca_der: vec![0x30; 400],
        join_token: JoinToken::new(&[0x5E; 32]).unwrap(),
        policy_root_name: holdfast_proto::tpm::templates::srk_template().name(),
        class: "default".to_owned(),
        expires: 1_795_000_000,
    }
}

#[test]
fn a_bundle_never_shows_its_secret() {
    let shown = format!("{:?}", good());
    assert!(shown.contains("JoinToken(redacted)"));
    assert!(!shown.contains("94, 94") && !shown.contains("5e5e"));
}

#[test]
fn bundle_refusals() {
    let text = good().encode().unwrap();
    let other = text.replacen("bundle-1", "bundle-2", 1);
    assert_eq!(Bundle::parse(&other), Err(BundleError::Prefix));
    assert_eq!(Bundle::parse(""), Err(BundleError::Prefix));
    assert_eq!(
        Bundle::parse(&format!("{PREFIX}*")),
        Err(BundleError::Base64)
    );
    assert_eq!(
        Bundle::parse(&format!("{}=", *text)),
        Err(BundleError::Base64)
    );
    let long = "x".repeat(20_000);
    assert_eq!(Bundle::parse(&long), Err(BundleError::TooLong(20_000)));
}

#[test]
fn bundle_fields_out_of_range_are_the_owners_to_hear_of() {
    let refused = |change: fn(&mut Bundle)| {
        let mut bundle = good();
        change(&mut bundle);
        bundle.encode().unwrap_err()
    };
    let range = BundleError::OutOfRange;
    for server in [
        "",
        "verifier.example",
        ":8443",
        "a:0",
        "a:65536",
        "a b:1",
        "a\n:1",
    ] {
        let bundle = Bundle {
            server: server.to_owned(),
            ..good()
        };
        assert_eq!(bundle.encode().unwrap_err(), range("server"), "{server:?}");
    }
    assert!(
        Bundle {
            server: "[::1]:8443".to_owned(),
            ..good()
        }
        .encode()
        .is_ok()
    );
    assert_eq!(
        refused(|bundle| bundle.server_name.clear()),
        range("server name")
    );
    assert_eq!(
        refused(|bundle| bundle.server_ca_der.clear()),
        range("server CA")
    );
    assert_eq!(
        refused(|bundle| bundle.server_ca_der = vec![0; 8193]),
        range("server CA")
    );
    assert_eq!(
        refused(|bundle| bundle.class = "\u{1b}[2J".to_owned()),
        range("class")
    );
    assert_eq!(
        refused(|bundle| bundle.class = "c".repeat(65)),
        range("class")
    );
    assert_eq!(refused(|bundle| bundle.expires = -1), range("expiry"));
    // None at all: a bundle that admits nobody by itself.
    for len in [1, 15, 65] {
        assert_eq!(JoinToken::new(&vec![0; len]), Err(range("join token")));
    }
}

#[test]
fn unknown_and_missing_bundle_keys() {
    use base64::Engine as _;
    use base64::engine::general_purpose::URL_SAFE_NO_PAD;
    use ciborium::Value;

    let text = good().encode().unwrap();
    let cbor = URL_SAFE_NO_PAD
        .decode(text.strip_prefix(PREFIX).unwrap())
        .unwrap();
    let Value::Map(entries) = ciborium::from_reader(cbor.as_slice()).unwrap() else {
        unreachable!("a bundle is a map")
    };
    let parse = |entries: Vec<(Value, Value)>| {
        let mut cbor = Vec::new();
        ciborium::into_writer(&Value::Map(entries), &mut cbor).unwrap();
        Bundle::parse(&format!("{PREFIX}{}", URL_SAFE_NO_PAD.encode(cbor)))
    };
    assert_eq!(parse(entries.clone()), Ok(good()));
    let with_unknown = [entries.clone(), vec![(8.into(), 0.into())]].concat();
    assert_eq!(parse(with_unknown), Err(BundleError::UnknownKey(8)));
    let names = [
        "server",
        "server name",
        "server CA",
        "join token",
        "policy root Name",
        "class",
        "expiry",
    ];
    for (at, name) in names.into_iter().enumerate() {
        let mut without = entries.clone();
        without.remove(at);
        assert_eq!(parse(without), Err(BundleError::Missing(name)));
    }
    let mut twice = entries.clone();
    twice.insert(1, twice[0].clone());
    let (item, key) = ("bundle", 1);
    assert_eq!(
        parse(twice),
        Err(CborError::DuplicateKey { item, key }.into())
    );
    let mut swapped = entries.clone();
    swapped.swap(0, 1);
    let refused = CborError::NotDeterministic { item };
    assert_eq!(parse(swapped), Err(refused.into()));
    // The ranges hold for what is read, too.
    for (at, value, name) in [
        (0, "verifier.example".into(), "server"),
        (1, "".into(), "server name"),
        (2, vec![0; 8193].into(), "server CA"),
        (3, vec![0; 15].into(), "join token"),
        (5, "a b".into(), "class"),
        (6, (-1).into(), "expiry"),
    ] {
        let mut unusable = entries.clone();
        unusable[at].1 = value;
        assert_eq!(parse(unusable), Err(BundleError::OutOfRange(name)));
    }
    let mut unusable = entries.clone();
    unusable[4].1 = vec![0; 34].into();
    assert!(matches!(
        parse(unusable),
        Err(BundleError::PolicyRootName(_))
    ));
    let mut number = entries;
    number[0].1 = 1.into();
    let (item, found, expected) = ("server", "integer", "text string");
    let refused = CborError::WrongType {
        item,
        found,
        expected,
    };
    assert_eq!(parse(number), Err(refused.into()));
}

/// Deep nesting, a huge map and trailing bytes, as deep and huge as fit.
#[test]
fn bundles_that_cost() {
    use base64::Engine as _;
    use base64::engine::general_purpose::URL_SAFE_NO_PAD;

    let parse = |cbor: &[u8]| Bundle::parse(&format!("{PREFIX}{}", URL_SAFE_NO_PAD.encode(cbor)));
    let item = "bundle";
    let deep = [&[0xA1, 0x01][..], &[0x81; 10_000]].concat();
    assert_eq!(parse(&deep), Err(CborError::TooDeep { item }.into()));
    let huge = [&[0xBB][..], &[0xFF; 8]].concat();
    assert_eq!(parse(&huge), Err(CborError::Truncated { item }.into()));
    let text = good().encode().unwrap();
    let cbor = URL_SAFE_NO_PAD
        .decode(text.strip_prefix(PREFIX).unwrap())
        .unwrap();
    let count = 1;
    let trailing = [&cbor[..], &[0]].concat();
    let refused = CborError::TrailingBytes { item, count };
    assert_eq!(parse(&trailing), Err(refused.into()));
    let indefinite = [&[0xBF], &cbor[1..], &[0xFF]].concat();
    let refused = CborError::NotDeterministic { item };
    assert_eq!(parse(&indefinite), Err(refused.into()));
}

/// What Holdfast's first codec wrote, which shared no code with this one.
#[test]
fn bundle_known_answer() {
    let known = include_str!("known_bundle.txt").trim();
    assert_eq!(*good().encode().unwrap(), known);
    assert_eq!(Bundle::parse(known), Ok(good()));
}
