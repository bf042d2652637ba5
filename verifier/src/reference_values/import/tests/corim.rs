//! CoRIMs made here. Those of others are in `tests/inspect/corim.rs`.

use ciborium::Value;
use holdfast_proto::tpm::HashAlg;
use p256::ecdsa::{Signature, SigningKey, signature::Signer as _};
use p256::pkcs8::EncodePublicKey as _;
use proptest::prelude::*;

use crate::{
    reference_values::import::corim::{
        self, Corim, CorimError, MAX_CORIM_BYTES, Origin, SignerKey, looks_like_one,
    },
    time::UnixTime,
};

const NOW: UnixTime = UnixTime::from_seconds(1_700_000_000);

fn map<K: Into<Value>>(entries: Vec<(K, Value)>) -> Value {
    let entries = entries.into_iter();
    Value::Map(entries.map(|(key, value)| (key.into(), value)).collect())
}

fn array(items: Vec<Value>) -> Value {
    Value::Array(items)
}

fn tag(number: u64, value: Value) -> Value {
    Value::Tag(number, Box::new(value))
}

fn bytes(value: &Value) -> Vec<u8> {
    let mut out = Vec::new();
    ciborium::into_writer(value, &mut out).unwrap();
    out
}

fn digest(alg: i64, byte: u8, len: usize) -> Value {
    array(vec![alg.into(), Value::Bytes(vec![byte; len])])
}

fn environment(model: &str) -> Value {
    map(vec![(0, map(vec![(1, "ACME".into()), (2, model.into())]))])
}

/// A reference triple of one measurement.
fn reference(model: &str, measurement: Value) -> Value {
    array(vec![environment(model), array(vec![measurement])])
}

/// PCRs as integrity registers.
fn registers(entries: Vec<(Value, Value)>) -> Value {
    map(vec![(1, map(vec![(14, Value::Map(entries))]))])
}

fn pcr(index: u32, byte: u8) -> Value {
    registers(vec![(index.into(), array(vec![digest(1, byte, 32)]))])
}

fn with(triples: Vec<(i64, Value)>, more: Vec<(i64, Value)>) -> Vec<u8> {
    let comid = map(vec![(1, map(vec![(0, "comid".into())])), (4, map(triples))]);
    let mut corim = vec![
        (0, Value::from("corim")),
        (1, array(vec![tag(506, Value::Bytes(bytes(&comid)))])),
    ];
    corim.extend(more);
    bytes(&tag(501, map(corim)))
}

fn references(all: Vec<Value>) -> Vec<u8> {
    with(vec![(0, array(all))], Vec::new())
}

fn read(bytes: &[u8]) -> Result<Corim, CorimError> {
    corim::read(bytes, &Origin::DangerUnsigned, NOW)
}

fn values(corim: &Corim) -> Vec<(String, HashAlg, u32, Vec<u8>)> {
    let mut all = Vec::new();
    for environment in corim.environments().unwrap() {
        for (bank, index, accepted) in environment.pcrs() {
            for value in accepted {
                all.push((environment.name.clone(), bank, index, value.clone()));
            }
        }
    }
    all
}

#[test]
fn registers_and_numbered_digests_are_pcrs() {
    let mval = map(vec![(
        14,
        map(vec![
            (0, array(vec![digest(1, 1, 32), digest(7, 2, 48)])),
            (7, array(vec![digest(8, 3, 64)])),
        ]),
    )]);
    let numbered = map(vec![
        (0, 4.into()),
        (
            1,
            map(vec![
                (2, array(vec![digest(1, 4, 32)])),
                (11, "boot".into()),
            ]),
        ),
    ]);
    let corim = references(vec![array(vec![
        environment("A"),
        array(vec![map(vec![(1, mval)]), numbered]),
    ])]);
    let read = read(&corim).unwrap();
    let name = "vendor \"ACME\", model \"A\"".to_owned();
    assert_eq!(
        values(&read),
        [
            (name.clone(), HashAlg::Sha256, 0, vec![1; 32]),
            (name.clone(), HashAlg::Sha256, 4, vec![4; 32]),
            (name.clone(), HashAlg::Sha384, 0, vec![2; 48]),
            (name, HashAlg::Sha512, 7, vec![3; 64]),
        ]
    );
    assert!(read.not_used().is_empty());
    let set = read.environments().unwrap()[0].reference_values().unwrap();
    assert!(
        set.accepted(HashAlg::Sha256, 4)
            .unwrap()
            .contains(&vec![4; 32])
    );
}

#[test]
fn triples_of_one_environment_unite_and_others_stay_apart() {
    let corim = references(vec![
        reference("A", pcr(0, 1)),
        reference("B", pcr(0, 2)),
        reference("A", pcr(0, 3)),
    ]);
    let read = read(&corim).unwrap();
    let environments = read.environments().unwrap();
    assert_eq!(environments.len(), 2);
    assert_eq!(environments[0].pcrs().next().unwrap().2.len(), 2);
    assert_eq!(environments[1].pcrs().next().unwrap().2.len(), 1);
}

#[test]
fn what_a_pcr_cannot_tell_is_not_used() {
    let one = |measurement: Value| {
        let read = read(&references(vec![reference("A", measurement)])).unwrap();
        assert!(values(&read).is_empty());
        assert_eq!(read.not_used().len(), 1, "{:?}", read.not_used());
        read.not_used()[0].why.clone()
    };
    let digests = || array(vec![digest(1, 1, 32)]);
    // Conditions beside the digest: a version, an extension, a signer.
    let both = |key: i64| {
        map(vec![
            (0, 4.into()),
            (
                1,
                map(vec![(2, digests()), (key, map(vec![(0, "1".into())]))]),
            ),
        ])
    };
    assert!(one(both(0)).contains("version"));
    assert!(one(both(-77)).contains("extension -77"));
    let authorized = map(vec![
        (0, 4.into()),
        (1, map(vec![(2, digests())])),
        (2, array(vec![tag(554, "key".into())])),
    ]);
    assert!(one(authorized).contains("authorized-by"));
    // No PCR: a text, a number that none has, no key; no bank.
    assert!(one(registers(vec![("pcr0".into(), digests())])).contains("no PCR"));
    assert!(one(registers(vec![(24.into(), digests())])).contains("no PCR"));
    assert!(one(map(vec![(1, map(vec![(2, digests())]))])).contains("no PCR"));
    let short = array(vec![digest(6, 1, 4)]);
    assert!(one(registers(vec![(0.into(), short)])).contains("no bank"));
    let svn = map(vec![(1, map(vec![(1, tag(552, 1.into()))]))]);
    assert!(one(svn).contains("svn"));
}

#[test]
fn other_triples_and_extensions_are_told() {
    let endorsed = array(vec![reference("A", pcr(0, 1))]);
    let keys = array(vec![array(vec![
        environment("A"),
        array(vec![tag(554, "k".into())]),
    ])]);
    let corim = with(
        vec![(1, endorsed), (3, keys), (-9, 0.into())],
        vec![
            (-1, 0.into()),
            (2, array(vec![map(vec![(0, tag(32, "https://x".into()))])])),
        ],
    );
    let read = read(&corim).unwrap();
    assert!(values(&read).is_empty());
    let told: Vec<&str> = read.not_used().iter().map(|n| n.what.as_str()).collect();
    assert_eq!(
        told,
        [
            "extension -1 of the CoRIM",
            "dependent CoRIM https://x",
            "1 endorsed-triples of CoMID comid",
            "1 attest-key-triples of CoMID comid",
            "triples of type -9 of CoMID comid",
        ]
    );
}

#[test]
fn a_profile_refuses_the_whole() {
    let triples = vec![(0, array(vec![reference("A", pcr(0, 1))]))];
    let corim = with(triples, vec![(3, tag(32, "tag:example,2025:p".into()))]);
    assert_eq!(
        read(&corim).unwrap().environments().unwrap_err(),
        CorimError::Profile("tag:example,2025:p".to_owned())
    );
}

#[test]
fn dates_are_respected_to_the_second() {
    let dated = |from: i64, to: i64| {
        let validity = map(vec![(0, tag(1, from.into())), (1, tag(1, to.into()))]);
        let triples = vec![(0, array(vec![reference("A", pcr(0, 1))]))];
        read(&with(triples, vec![(4, validity)]))
    };
    let now = NOW.seconds();
    assert!(dated(now, now).is_ok());
    assert!(matches!(
        dated(now - 9, now - 1),
        Err(CorimError::Validity {
            bound: "has expired",
            ..
        })
    ));
    assert!(matches!(
        dated(now + 1, now + 9),
        Err(CorimError::Validity {
            bound: "is not valid before",
            ..
        })
    ));
    assert!(matches!(
        dated(now + 1, now - 1),
        Err(CorimError::Value { .. })
    ));
}

#[test]
fn refuses_what_the_draft_has_not() {
    let refused = |bytes: &[u8]| read(bytes).unwrap_err();
    let of = |measurement: Value| refused(&references(vec![reference("A", measurement)]));
    let twice = array(vec![digest(1, 1, 32), digest(1, 2, 32)]);
    assert!(matches!(
        of(registers(vec![(0.into(), twice)])),
        CorimError::Value { .. }
    ));
    let short = array(vec![digest(1, 1, 31)]);
    assert!(matches!(
        of(registers(vec![(0.into(), short)])),
        CorimError::Value { .. }
    ));
    assert!(matches!(of(registers(vec![])), CorimError::Value { .. }));
    assert!(matches!(
        of(map(vec![(0, 1.into())])),
        CorimError::Missing {
            missing: "mval",
            ..
        }
    ));
    assert!(matches!(
        of(map(vec![(1, map(vec![(11, 1.into())]))])),
        CorimError::Type { .. }
    ));
    assert!(matches!(
        of(map(vec![(1, pcr(0, 1)), (9, 0.into())])),
        CorimError::UnknownKey { .. }
    ));
    let twice = registers(vec![
        (0.into(), array(vec![digest(1, 1, 32)])),
        (0.into(), array(vec![digest(1, 2, 32)])),
    ]);
    assert!(matches!(of(twice), CorimError::Twice { .. }));
    assert!(matches!(
        refused(&references(vec![])),
        CorimError::Type { .. }
    ));
    assert!(matches!(
        refused(&with(vec![], vec![])),
        CorimError::Value { .. }
    ));
    let mut trailing = references(vec![reference("A", pcr(0, 1))]);
    trailing.push(0);
    assert!(matches!(refused(&trailing), CorimError::Cbor { .. }));
    let deep = [vec![0xD9, 0x01, 0xF5], vec![0x81; 200], vec![0]].concat();
    assert!(matches!(refused(&deep), CorimError::Cbor { .. }));
    let long = vec![0; MAX_CORIM_BYTES + 1];
    assert_eq!(refused(&long), CorimError::TooLong(long.len()));
    let many: Vec<Value> = (0..65).map(|byte| reference("A", pcr(0, byte))).collect();
    assert!(matches!(
        refused(&references(many)),
        CorimError::Value { .. }
    ));
}

#[test]
fn names_are_inert() {
    let corim = references(vec![reference("\u{1b}[31m", pcr(0, 1))]);
    let read = read(&corim).unwrap();
    let name = &read.environments().unwrap()[0].name;
    assert!(!name.chars().any(char::is_control), "{name}");
}

fn header(alg: i64, more: Vec<(i64, Value)>) -> Value {
    let meta = bytes(&map(vec![(0, map(vec![(0, "ACME".into())]))]));
    let mut entries = vec![
        (1, alg.into()),
        (3, "application/rim+cbor".into()),
        (8, Value::Bytes(meta)),
    ];
    entries.retain(|(key, _)| !more.iter().any(|(other, _)| other == key));
    entries.extend(more);
    map(entries)
}

fn sign(key: &SigningKey, header: &Value, payload: Value) -> Vec<u8> {
    let protected = Value::Bytes(bytes(header));
    let structure = array(vec![
        "Signature1".into(),
        protected.clone(),
        Value::Bytes(vec![]),
        payload.clone(),
    ]);
    let signature: Signature = key.sign(&bytes(&structure));
    let signature = Value::Bytes(signature.to_bytes().to_vec());
    let empty = Value::Map(Vec::new());
    bytes(&tag(18, array(vec![protected, empty, payload, signature])))
}

fn keys() -> (SigningKey, SignerKey) {
    let key = SigningKey::from_slice(&[7; 32]).unwrap();
    let public = key.verifying_key().to_public_key_der().unwrap();
    (key, SignerKey::read(public.as_bytes()).unwrap())
}

#[test]
fn a_signature_counts_and_is_never_passed_over() {
    let (key, public) = keys();
    let corim = references(vec![reference("A", pcr(0, 1))]);
    let payload = || Value::Bytes(corim.clone());
    let open = |bytes: &[u8]| corim::read(bytes, &Origin::Signed(&public), NOW);
    let good = sign(&key, &header(-7, vec![]), payload());
    assert!(looks_like_one(&good) && looks_like_one(&corim));
    assert_eq!(values(&open(&good).unwrap()).len(), 1);
    // An x5chain or a counter signature in it says nothing.
    assert!(
        open(&sign(
            &key,
            &header(-9, vec![(33, Value::Bytes(vec![1]))]),
            payload()
        ))
        .is_ok()
    );

    assert_eq!(read(&good).unwrap_err(), CorimError::NoKey);
    assert_eq!(open(&corim).unwrap_err(), CorimError::Unsigned);
    let other = SigningKey::from_slice(&[8; 32]).unwrap();
    let forged = sign(&other, &header(-7, vec![]), payload());
    assert_eq!(open(&forged).unwrap_err(), CorimError::Signature);
    let alg = sign(&key, &header(-35, vec![]), payload());
    assert_eq!(open(&alg).unwrap_err(), CorimError::Algorithm(-35));
    let text = sign(&key, &header(-7, vec![(3, "text/plain".into())]), payload());
    assert!(matches!(open(&text).unwrap_err(), CorimError::Value { .. }));
    let critical = sign(
        &key,
        &header(-7, vec![(2, array(vec![99.into()]))]),
        payload(),
    );
    assert!(matches!(
        open(&critical).unwrap_err(),
        CorimError::Value { .. }
    ));
    let envelope = sign(&key, &header(-7, vec![(258, (-16).into())]), payload());
    assert!(matches!(
        open(&envelope).unwrap_err(),
        CorimError::Value { .. }
    ));
    let detached = sign(&key, &header(-7, vec![]), Value::Null);
    assert!(matches!(
        open(&detached).unwrap_err(),
        CorimError::Value { .. }
    ));
    let past = map(vec![(1, "iss".into()), (4, (NOW.seconds() - 1).into())]);
    let expired = sign(&key, &header(-7, vec![(15, past)]), payload());
    assert!(matches!(
        open(&expired).unwrap_err(),
        CorimError::Validity { .. }
    ));
}

#[test]
fn refuses_keys_of_other_kinds() {
    assert_eq!(SignerKey::read(b"no key").unwrap_err(), CorimError::Key);
}

proptest! {
    #[test]
    fn no_bytes_panic(mut input in prop::collection::vec(any::<u8>(), 0..200)) {
        let _ = read(&input);
        input.splice(0..0, [0xD9, 0x01, 0xF5]);
        let _ = read(&input);
    }

    /// Changed anywhere, it is refused or still well-formed: never a panic.
    #[test]
    fn no_change_panics(at in any::<prop::sample::Index>(), byte: u8) {
        let mut corim = references(vec![reference("A", pcr(0, 1))]);
        let at = at.index(corim.len());
        corim[at] = byte;
        let _ = read(&corim);
    }
}
