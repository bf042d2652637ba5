//! One test for each way in which signed claims are refused (ADVERSARY A14,
//! A15), every one of them built from good claims with one thing changed. The
//! good ones are those that another implementation wrote (`known_answer.hex`).

use ciborium::Value;
use coset::TaggedCborSerializable as _;

use super::*;
use crate::cbor::CborError;
use crate::cose::Sign1Error as Refused;

fn claims() -> Claims {
    Claims {
        nonce: [0x11; 32],
        ueid: Ueid::from_digest(&[0x22; 32]),
        issued_at: 1_795_000_000,
        purpose: Purpose::Enrol,
        exporter: [0x33; 32],
        certify_sha256: Some([0x44; 32]),
        boot_log_sha256: Some([0x55; 32]),
        software_name: "holdfast-attester".to_owned(),
        software_version: "0.1.0".to_owned(),
        uptime_seconds: Some(3600),
    }
}

fn signed(claims: &Claims) -> Vec<u8> {
    sign(claims, CoseAlg::Esp256, &kid(), |_| {
        Ok::<_, ()>(vec![0x66; 64])
    })
    .unwrap()
}

fn kid() -> Vec<u8> {
    [&[0x00, 0x0B][..], &[0x77; 32]].concat()
}

/// A COSE_Sign1 taken apart, for one thing in it to be changed.
struct Parts {
    tag: Option<u64>,
    protected: Vec<(Value, Value)>,
    unprotected: Vec<(Value, Value)>,
    payload: Value,
    signature: Value,
}

fn cbor(value: &Value) -> Vec<u8> {
    let mut bytes = Vec::new();
    ciborium::into_writer(value, &mut bytes).unwrap();
    bytes
}

fn good() -> Parts {
    Parts {
        tag: Some(18),
        protected: vec![(1.into(), (-9).into()), (4.into(), Value::Bytes(kid()))],
        unprotected: vec![],
        payload: Value::Bytes(claims().encode()),
        signature: Value::Bytes(vec![0x66; 64]),
    }
}

impl Parts {
    fn bytes(self) -> Vec<u8> {
        let array = Value::Array(vec![
            Value::Bytes(cbor(&Value::Map(self.protected))),
            Value::Map(self.unprotected),
            self.payload,
            self.signature,
        ]);
        cbor(&match self.tag {
            Some(tag) => Value::Tag(tag, Box::new(array)),
            None => array,
        })
    }

    fn refusal(self) -> Refused {
        refusal(&self.bytes())
    }
}

fn refusal(bytes: &[u8]) -> Refused {
    match SignedClaims::parse(bytes) {
        Err(ClaimsError::Envelope(refused)) => refused,
        other => panic!("{other:?} is no refusal of the COSE_Sign1"),
    }
}

fn not_deterministic() -> ClaimsError {
    let item = "claims set";
    CborError::NotDeterministic { item }.into()
}

fn accept(_: CoseAlg, _: &[u8], _: &[u8]) -> Result<(), ()> {
    Ok(())
}

/// The claims set as key-value pairs, changed, signed, and opened.
fn opened(change: impl FnOnce(&mut Vec<(Value, Value)>)) -> Result<Claims, OpenError<()>> {
    let payload: Value = ciborium::from_reader(claims().encode().as_slice()).unwrap();
    let Value::Map(mut entries) = payload else {
        unreachable!("claims are a map")
    };
    change(&mut entries);
    opened_payload(cbor(&Value::Map(entries)))
}

fn opened_payload(payload: Vec<u8>) -> Result<Claims, OpenError<()>> {
    let parts = Parts {
        payload: Value::Bytes(payload),
        ..good()
    };
    SignedClaims::parse(&parts.bytes()).unwrap().open(accept)
}

fn set(key: i64, value: impl Into<Value>) -> impl FnOnce(&mut Vec<(Value, Value)>) {
    let value = value.into();
    move |entries| {
        let entry = entries
            .iter_mut()
            .find(|(found, _)| *found == Value::from(key))
            .unwrap();
        entry.1 = value;
    }
}

#[test]
fn good_claims_come_back() {
    let bytes = signed(&claims());
    assert_eq!(bytes, good().bytes());
    let parsed = SignedClaims::parse(&bytes).unwrap();
    assert_eq!(
        (parsed.alg(), parsed.kid(), parsed.bytes()),
        (CoseAlg::Esp256, &*kid(), &*bytes)
    );
    assert_eq!(parsed.open(accept), Ok(claims()));

    let least = Claims {
        certify_sha256: None,
        boot_log_sha256: None,
        uptime_seconds: None,
        ..claims()
    };
    assert_eq!(
        SignedClaims::parse(&signed(&least)).unwrap().open(accept),
        Ok(least)
    );
}

#[test]
fn the_deprecated_algorithms_mean_the_same() {
    for (id, alg) in [(-7, CoseAlg::Esp256), (-9, CoseAlg::Esp256)] {
        let parts = good();
        let protected = vec![(1.into(), id.into()), (4.into(), Value::Bytes(kid()))];
        let signed = SignedClaims::parse(&Parts { protected, ..parts }.bytes()).unwrap();
        assert_eq!(signed.alg(), alg);
    }
    for id in [-35, -51] {
        let protected = vec![(1.into(), id.into()), (4.into(), Value::Bytes(kid()))];
        let signature = Value::Bytes(vec![0x66; 96]);
        let signed = SignedClaims::parse(
            &Parts {
                protected,
                signature,
                ..good()
            }
            .bytes(),
        );
        assert_eq!(signed.unwrap().alg(), CoseAlg::Esp384);
    }
}

/// What Holdfast's first codec wrote, which shared no code with this one: the
/// wire has not moved.
#[test]
fn known_answer() {
    let known = hex::decode(include_str!("known_answer.hex").trim()).unwrap();
    let mut to_be_signed = Vec::new();
    let bytes = sign(&claims(), CoseAlg::Esp256, &kid(), |tbs| {
        to_be_signed = tbs.to_vec();
        Ok::<_, ()>(vec![0x66; 64])
    })
    .unwrap();
    assert_eq!(bytes, known);
    // RFC 9052 §4.4, from parts of the known bytes: D2 84, then the protected
    // header (58 28 …), A0, the payload, and 58 40 with the signature.
    let (protected, payload) = (&known[2..44], &known[45..known.len() - 66]);
    let structure = [&b"\x84\x6ASignature1"[..], protected, &[0x40], payload].concat();
    assert_eq!(to_be_signed, structure);
    let opened = SignedClaims::parse(&known)
        .unwrap()
        .open(|_, tbs, signature| {
            (tbs == structure && signature == [0x66; 64])
                .then_some(())
                .ok_or(())
        });
    assert_eq!(opened, Ok(claims()));
}

#[test]
fn a_refused_signature_gives_no_claims() {
    let signed = SignedClaims::parse(&signed(&claims())).unwrap();
    assert_eq!(
        signed.open(|_, _, _| Err("forged")),
        Err(OpenError::Signature("forged"))
    );
}

#[test]
fn adv_a14_untagged() {
    assert_eq!(
        Parts {
            tag: None,
            ..good()
        }
        .refusal(),
        Refused::NotSign1
    );
    assert_eq!(refusal(&[]), Refused::NotSign1);
}

#[test]
fn adv_a14_tag_confusion() {
    for tag in [0, 16, 17, 61, 96, 97, 98, 998] {
        assert_eq!(
            Parts {
                tag: Some(tag),
                ..good()
            }
            .refusal(),
            Refused::NotSign1
        );
    }
    // Tag 18 in a longer form, and tag 61 (CWT) around tag 18.
    let [_tag, rest @ ..] = &good().bytes()[..] else {
        unreachable!("not empty")
    };
    let longer = [&[0xD8, 18][..], rest].concat();
    assert_eq!(refusal(&longer), Refused::NotSign1);
    let cwt = [&[0xD8, 61][..], &good().bytes()].concat();
    assert_eq!(refusal(&cwt), Refused::NotSign1);
}

#[test]
fn adv_a14_detached_payload() {
    let refused = Parts {
        payload: Value::Null,
        ..good()
    }
    .refusal();
    assert_eq!(refused, Refused::DetachedPayload);
}

#[test]
fn adv_a14_empty_payload() {
    let item = "claims set";
    assert_eq!(
        opened_payload(vec![]),
        Err(ClaimsError::from(CborError::Truncated { item }).into())
    );
    for payload in [Value::Text(String::new()), 0.into(), Value::Array(vec![])] {
        let refused = Parts { payload, ..good() }.refusal();
        assert!(matches!(
            refused,
            Refused::Item {
                expected: "bstr or nil",
                ..
            }
        ));
    }
}

#[test]
fn adv_a14_duplicate_label_in_one_bucket() {
    let mut parts = good();
    parts.protected.insert(0, (1.into(), (-9).into()));
    assert_eq!(parts.refusal(), Refused::DuplicateHeader);
}

#[test]
fn adv_a14_duplicate_label_across_buckets() {
    let unprotected = vec![(1.into(), (-9).into())];
    assert_eq!(
        Parts {
            unprotected,
            ..good()
        }
        .refusal(),
        Refused::Unprotected(1)
    );
}

#[test]
fn adv_a14_alg_in_the_unprotected_header() {
    let protected = vec![(4.into(), Value::Bytes(kid()))];
    let unprotected = vec![(1.into(), (-9).into())];
    let refused = Parts {
        protected,
        unprotected,
        ..good()
    }
    .refusal();
    assert_eq!(refused, Refused::Unprotected(1));
}

#[test]
fn adv_a14_alg_missing() {
    let bytes = good().bytes();
    let parts = Parts {
        protected: vec![(4.into(), Value::Bytes(kid()))],
        ..good()
    };
    assert_eq!(parts.refusal(), Refused::NoAlg);
    // A header of zero length (RFC 9052 §3) has none either.
    let empty = Value::Tag(
        18,
        Box::new(Value::Array(vec![
            Value::Bytes(vec![]),
            Value::Map(vec![]),
            good().payload,
            good().signature,
        ])),
    );
    assert_eq!(refusal(&cbor(&empty)), Refused::NoAlg);
    assert!(SignedClaims::parse(&bytes).is_ok());
}

#[test]
fn adv_a11_alg_unsupported() {
    // EdDSA, HMAC, RS256, PS256, ESP512, A128GCM.
    for alg in [-8, 5, -257, -37, -52, 1, 0] {
        let protected = vec![(1.into(), alg.into()), (4.into(), Value::Bytes(kid()))];
        let refused = Parts {
            protected,
            ..good()
        }
        .refusal();
        assert_eq!(refused, Refused::UnsupportedAlg(alg));
    }
    let none = vec![(1.into(), "none".into()), (4.into(), Value::Bytes(kid()))];
    let refused = Parts {
        protected: none,
        ..good()
    }
    .refusal();
    let (found, expected) = ("tstr", "int");
    assert_eq!(refused, Refused::Item { found, expected });
    // A number that nobody registered, and one of 65 bits.
    for alg in [Value::from(-99), Value::from(u64::MAX)] {
        let protected = vec![(1.into(), alg), (4.into(), Value::Bytes(kid()))];
        let refused = Parts {
            protected,
            ..good()
        }
        .refusal();
        assert_eq!(refused, Refused::UnregisteredAlg);
    }
    let protected = vec![(1.into(), (-70_000).into()), (4.into(), kid().into())];
    let refused = Parts {
        protected,
        ..good()
    }
    .refusal();
    assert_eq!(refused, Refused::UnsupportedAlg(-70_000));
}

#[test]
fn adv_a14_crit() {
    let mut parts = good();
    parts
        .protected
        .insert(1, (2.into(), Value::Array(vec![1.into()])));
    assert_eq!(parts.refusal(), Refused::Critical);
}

#[test]
fn adv_a14_x5chain_offered_as_a_key() {
    let mut parts = good();
    parts
        .protected
        .push((33.into(), Value::Bytes(vec![0x30, 0x00])));
    assert_eq!(parts.refusal(), Refused::UnknownHeader(33));
    let unprotected = vec![(33.into(), Value::Bytes(vec![0x30, 0x00]))];
    assert_eq!(
        Parts {
            unprotected,
            ..good()
        }
        .refusal(),
        Refused::Unprotected(1)
    );
}

#[test]
fn adv_a14_unknown_header_labels() {
    for label in [3, 5, 15, 16, 258, -1, -70_000] {
        let mut parts = good();
        parts.protected.push((label.into(), Value::Bytes(vec![])));
        parts.protected.sort_by_key(|(label, _)| cbor(label));
        assert_eq!(parts.refusal(), Refused::UnknownHeader(label));
    }
    let mut parts = good();
    parts.protected.push(("kid".into(), Value::Bytes(kid())));
    let (found, expected) = ("header label of another type", "int of 64 bits");
    assert_eq!(parts.refusal(), Refused::Item { found, expected });
}

#[test]
fn adv_a14_kid_missing_or_no_name() {
    let protected = vec![(1.into(), (-9).into())];
    assert_eq!(
        Parts {
            protected,
            ..good()
        }
        .refusal(),
        Refused::NoKid
    );
    let protected = vec![(1.into(), (-9).into()), (4.into(), Value::Bytes(vec![]))];
    let (found, expected) = ("empty bstr", "non-empty bstr");
    assert_eq!(
        Parts {
            protected,
            ..good()
        }
        .refusal(),
        Refused::Item { found, expected }
    );
    for len in [1, 21, 67, 4096] {
        let protected = vec![
            (1.into(), (-9).into()),
            (4.into(), Value::Bytes(vec![0; len])),
        ];
        assert_eq!(
            Parts {
                protected,
                ..good()
            }
            .refusal(),
            Refused::Kid(len)
        );
    }
}

#[test]
fn adv_a14_signature_of_another_length() {
    for len in [0, 63, 65, 70, 96] {
        let signature = Value::Bytes(vec![0x66; len]);
        let refused = Parts {
            signature,
            ..good()
        }
        .refusal();
        assert_eq!(refused, Refused::SignatureLength { len, expected: 64 });
    }
}

#[test]
fn adv_a14_ten_thousand_deep() {
    // Arrays of one, maps of one and tags, in every place that takes an item.
    for opener in [&[0x81][..], &[0xA1, 0x01], &[0xC6]] {
        let deep = [opener.repeat(10_000 / opener.len()), vec![0x00]].concat();
        let too_deep = |item| Refused::from(CborError::TooDeep { item });
        let whole = [&[0xD2][..], &deep].concat();
        assert_eq!(refusal(&whole), too_deep("COSE_Sign1"));
        let first = [&[0xD2, 0x84][..], &deep].concat();
        assert_eq!(refusal(&first), too_deep("COSE_Sign1"));
        let header = Value::Array(vec![
            Value::Bytes(deep.clone()),
            Value::Map(vec![]),
            good().payload,
            good().signature,
        ]);
        let header = cbor(&Value::Tag(18, Box::new(header)));
        assert_eq!(refusal(&header), too_deep("protected header"));

        let item = "claims set";
        let refused = ClaimsError::from(CborError::TooDeep { item });
        let claim = [&[0xA1, 0x0A][..], &deep].concat();
        assert_eq!(opened_payload(deep), Err(refused.clone().into()));
        assert_eq!(opened_payload(claim), Err(refused.into()));
    }
}

/// A counter signature in the header of a counter signature, and so on, as
/// deep as fits: no nesting of CBOR, every header being a byte string, so that
/// ciborium's limit does not see it. coset alone goes down all the way and ends
/// a thread of 2 MiB with its process.
#[test]
fn adv_a14_counter_signatures_in_counter_signatures() {
    let mut header = cbor(&Value::Map(vec![]));
    while header.len() < MAX_LEN - 100 {
        let counter_signature = vec![
            Value::Bytes(header),
            Value::Map(vec![]),
            Value::Bytes(vec![]),
        ];
        header = cbor(&Value::Map(vec![(7.into(), counter_signature.into())]));
    }
    let envelope = |protected, unprotected| {
        let payload = Value::Bytes(vec![]);
        let parts = vec![protected, unprotected, payload.clone(), payload];
        cbor(&Value::Tag(18, Box::new(Value::Array(parts))))
    };
    let protected = envelope(Value::Bytes(header.clone()), Value::Map(vec![]));
    assert!(protected.len() <= MAX_LEN);
    assert_eq!(refusal(&protected), Refused::UnknownHeader(7));
    let unprotected: Value = ciborium::from_reader(header.as_slice()).unwrap();
    let unprotected = envelope(Value::Bytes(vec![]), unprotected);
    assert_eq!(refusal(&unprotected), Refused::Unprotected(1));
}

#[test]
fn adv_a14_indefinite_lengths() {
    let good = good().bytes();
    let item = "COSE_Sign1";
    let refused = Refused::from(CborError::NotDeterministic { item });
    // 9F … FF for the array, 5F … FF for the protected header, BF FF for the
    // unprotected one (A0 at 44).
    let array = [&[0xD2, 0x9F][..], &good[2..], &[0xFF]].concat();
    assert_eq!(refusal(&array), refused);
    let string = [&good[..2], &[0x5F], &good[2..44], &[0xFF], &good[44..]].concat();
    assert_eq!(refusal(&string), refused);
    let map = [&good[..44], &[0xBF, 0xFF], &good[45..]].concat();
    assert_eq!(refusal(&map), refused);
    // The map inside the protected header, from its 58 28 A2 on.
    let header = [&[0x58, 0x29, 0xBF][..], &good[5..44], &[0xFF]].concat();
    let header = [&good[..2], &header, &good[44..]].concat();
    assert_eq!(refusal(&header), refused);

    let payload = claims().encode();
    let map = [&[0xBF], &payload[1..], &[0xFF]].concat();
    assert_eq!(opened_payload(map), Err(not_deterministic().into()));
}

#[test]
fn adv_a14_huge_map() {
    // 2^64 - 1 entries, of which none is there.
    let huge = [&[0xBB][..], &[0xFF; 8]].concat();
    let item = "claims set";
    let refused = ClaimsError::from(CborError::Truncated { item });
    assert_eq!(opened_payload(huge), Err(refused.into()));
    // Lengths of 2^64 - 1 for every part of the COSE_Sign1.
    for (from, initial) in [(1, 0x9B), (2, 0x5B), (44, 0xBB), (45, 0x5B), (46, 0x5B)] {
        let huge = [&good().bytes()[..from], &[initial], &[0xFF; 8]].concat();
        let item = "COSE_Sign1";
        assert_eq!(refusal(&huge), CborError::Truncated { item }.into());
    }
    // As many entries as fit.
    let refused = opened(|entries| {
        for key in 1_000..3_000 {
            entries.push((key.into(), 0.into()));
        }
        entries.sort_by_key(|(key, _)| cbor(key));
    });
    assert_eq!(refused, Err(ClaimsError::UnknownClaim(1_000).into()));
}

#[test]
fn adv_a14_over_the_size_cap() {
    let payload = Value::Bytes(vec![0; MAX_LEN]);
    let refused = Parts { payload, ..good() }.refusal();
    assert!(matches!(refused, Refused::TooLong { max: MAX_LEN, .. }));
}

#[test]
fn adv_a14_non_canonical_integers() {
    let payload = claims().encode();
    // iat's key 6 as 18 06.
    let [map, 6, rest @ ..] = &payload[..] else {
        unreachable!("iat comes first")
    };
    let longer = [&[*map, 0x18, 6][..], rest].concat();
    assert_eq!(opened_payload(longer), Err(not_deterministic().into()));
    // iat's key and value as bignums (RFC 8949 §3.4.3), which ciborium reads.
    let bignum = [&[*map, 0xC2, 0x41, 6][..], rest].concat();
    assert_eq!(opened_payload(bignum), Err(not_deterministic().into()));
    // alg -9 as 38 08 in the header, and kid's length as 59 0022.
    let good = good().bytes();
    let item = "COSE_Sign1";
    let refused = Refused::from(CborError::NotDeterministic { item });
    let alg = [&good[..3], &[0x29, 0xA2, 0x01, 0x38, 0x08], &good[7..]].concat();
    assert_eq!(refusal(&alg), refused);
    let kid = [&good[..3], &[0x29], &good[4..8], &[0x59, 0], &good[9..]].concat();
    assert_eq!(refusal(&kid), refused);
}

#[test]
fn adv_a14_header_labels_out_of_order() {
    let mut parts = good();
    parts.protected.reverse();
    let item = "COSE_Sign1";
    let refused = Refused::from(CborError::NotDeterministic { item });
    assert_eq!(parts.refusal(), refused);
}

#[test]
fn adv_a14_trailing_bytes() {
    let bytes = [good().bytes(), vec![0]].concat();
    let refused = refusal(&bytes);
    let (item, count) = ("COSE_Sign1", 1);
    assert_eq!(refused, CborError::TrailingBytes { item, count }.into());
    let item = "claims set";
    let payload = [claims().encode(), vec![0]].concat();
    let refused = ClaimsError::from(CborError::TrailingBytes { item, count });
    assert_eq!(opened_payload(payload), Err(refused.into()));
    let mut header = cbor(&Value::Map(good().protected));
    header.push(0);
    let array = vec![
        Value::Bytes(header),
        Value::Map(vec![]),
        good().payload,
        good().signature,
    ];
    let bytes = cbor(&Value::Tag(18, Box::new(Value::Array(array))));
    let refused = refusal(&bytes);
    let item = "protected header";
    assert_eq!(refused, CborError::TrailingBytes { item, count }.into());
}

#[test]
fn adv_a14_every_truncation() {
    let bytes = good().bytes();
    for len in 0..bytes.len() {
        assert!(SignedClaims::parse(&bytes[..len]).is_err(), "{len}");
    }
    let payload = claims().encode();
    for len in 0..payload.len() {
        assert!(opened_payload(payload[..len].to_vec()).is_err(), "{len}");
    }
}

#[test]
fn adv_a14_array_of_another_length() {
    let array = vec![
        Value::Bytes(cbor(&Value::Map(good().protected))),
        Value::Map(vec![]),
    ];
    let bytes = cbor(&Value::Tag(18, Box::new(Value::Array(array))));
    let (found, expected) = ("array", "array with 4 items");
    assert_eq!(refusal(&bytes), Refused::Item { found, expected });
}

#[test]
fn adv_a15_each_needed_claim_missing() {
    for (key, name) in [
        (6, "iat"),
        (10, "eat_nonce"),
        (256, "ueid"),
        (265, "eat_profile"),
        (270, "swname"),
        (271, "swversion"),
        (-75_001, "purpose"),
        (-75_002, "exporter"),
    ] {
        let refused = opened(|entries| entries.retain(|(found, _)| *found != Value::from(key)));
        assert_eq!(refused, Err(ClaimsError::MissingClaim(name).into()));
    }
}

#[test]
fn adv_a15_nonce_twice() {
    let (item, key) = ("claims set", 10);
    let refused = opened(|entries| {
        let nonce = (key.into(), Value::Bytes(vec![0x99; 32]));
        entries.insert(1, nonce);
    });
    assert_eq!(
        refused,
        Err(ClaimsError::from(CborError::DuplicateKey { item, key }).into())
    );
    // Two nonces in one claim, which RFC 9711 §4.1 would allow.
    let two = Value::Array(vec![
        Value::Bytes(vec![0x11; 32]),
        Value::Bytes(vec![0x99; 32]),
    ]);
    let (item, found, expected) = ("eat_nonce", "array", "byte string");
    let refused = ClaimsError::from(CborError::WrongType {
        item,
        found,
        expected,
    });
    assert_eq!(opened(set(10, two)), Err(refused.into()));
}

#[test]
fn adv_a15_claims_out_of_order() {
    let refused = opened(|entries| entries.swap(0, 1));
    assert_eq!(refused, Err(not_deterministic().into()));
}

#[test]
fn adv_a15_nonce_of_another_length() {
    for len in [0, 8, 31, 33, 64] {
        let refused = ClaimsError::from(CborError::OutOfRange { item: "eat_nonce" });
        assert_eq!(opened(set(10, vec![0; len])), Err(refused.into()));
    }
}

#[test]
fn adv_a15_profile_unknown() {
    for profile in [
        "",
        "tag:holdfast.dev,2026:evidence/2",
        "http://arm.com/psa/2.0.0",
    ] {
        assert_eq!(opened(set(265, profile)), Err(ClaimsError::Profile.into()));
    }
}

#[test]
fn adv_a15_ueid_of_another_form() {
    for ueid in [vec![], vec![1; 32], vec![2; 33], vec![1; 34]] {
        assert_eq!(
            opened(set(256, ueid)),
            Err(ClaimsError::OutOfRange("ueid").into())
        );
    }
}

#[test]
fn adv_a15_numbers_out_of_range() {
    for iat in [-1, i64::MIN, 253_402_300_800, i64::MAX] {
        assert_eq!(
            opened(set(6, iat)),
            Err(ClaimsError::OutOfRange("iat").into())
        );
    }
    let refused = ClaimsError::from(CborError::OutOfRange { item: "iat" });
    assert_eq!(opened(set(6, u64::MAX)), Err(refused.into()));
    let refused = ClaimsError::OutOfRange("uptime");
    assert_eq!(opened(set(261, u64::MAX)), Err(refused.into()));
    for purpose in [0, 5, 255, 256, u64::MAX] {
        let refused = ClaimsError::OutOfRange("purpose");
        assert_eq!(opened(set(-75_001, purpose)), Err(refused.into()));
    }
    // A float is no number here.
    let (item, found, expected) = ("iat", "float or simple value", "integer");
    let refused = ClaimsError::from(CborError::WrongType {
        item,
        found,
        expected,
    });
    assert_eq!(opened(set(6, 1.5)), Err(refused.into()));
}

#[test]
fn adv_a15_text_that_would_lie() {
    for text in [
        "",
        "line\nfeed",
        "\u{1b}[2J",
        "nul\0",
        "h\u{43e}ldfast",
        &"x".repeat(65),
    ] {
        assert_eq!(
            opened(set(270, text)),
            Err(ClaimsError::OutOfRange("swname").into())
        );
        let version = Value::Array(vec![text.into()]);
        assert_eq!(
            opened(set(271, version)),
            Err(ClaimsError::OutOfRange("swversion").into())
        );
    }
}

#[test]
fn adv_a15_submodule_smuggled() {
    let refused = opened(|entries| {
        let submods = Value::Map(vec![("other".into(), Value::Map(vec![]))]);
        let at = entries
            .iter()
            .position(|(key, _)| *key == Value::from(270))
            .unwrap();
        entries.insert(at, (266.into(), submods));
    });
    assert_eq!(refused, Err(ClaimsError::UnknownClaim(266).into()));
}

#[test]
fn adv_a15_unknown_claims() {
    for key in [0, 1, 2, 3, 4, 5] {
        let refused = opened(|entries| entries.insert(0, (key.into(), 0.into())));
        assert_eq!(refused, Err(ClaimsError::UnknownClaim(key).into()));
    }
    let refused = opened(|entries| entries.push(((-75_005).into(), 0.into())));
    assert_eq!(refused, Err(ClaimsError::UnknownClaim(-75_005).into()));
}

/// Public COSE vectors. None is of our profile (kid is unprotected in them, and
/// most are other structures), so all must be refused, valid or not; and where
/// one is a COSE_Sign1 without external data, what its authors signed is what
/// we would.
#[test]
fn corpus_cose() {
    let root = std::env::var_os("HOLDFAST_CORPUS").map_or_else(
        || std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../../shared/corpus"),
        std::path::PathBuf::from,
    );
    let Ok(manifest) = std::fs::read_to_string(root.join("MANIFEST.tsv")) else {
        println!("skipped: no corpus at {}", root.display());
        return;
    };
    let (mut refused, mut same) = (0, 0);
    for path in manifest.lines().filter_map(|line| line.split('\t').next()) {
        if !(path.starts_with("cose/") && path.ends_with(".json")) {
            continue;
        }
        let text = std::fs::read(root.join(path)).unwrap();
        let Ok(json) = serde_json::from_slice::<serde_json::Value>(&text) else {
            continue;
        };
        let hex_at = |pointer| {
            json.pointer(pointer)?
                .as_str()
                .and_then(|text| hex::decode(text).ok())
        };
        let Some(bytes) = hex_at("/output/cbor")
            .or_else(|| hex_at("/sign1::verify/taggedCOSESign1/cborHex"))
            .or_else(|| hex_at("/sign1::sign/expectedOutput/cborHex"))
        else {
            continue;
        };
        assert!(SignedClaims::parse(&bytes).is_err(), "{path}");
        refused += 1;

        let to_be_signed =
            hex_at("/intermediates/ToBeSign_hex").or_else(|| hex_at("/sign1::sign/tbsHex/cborHex"));
        let external = json.pointer("/input/sign0/external").is_some();
        let altered = json.pointer("/fail").is_some();
        let sign1 = coset::CoseSign1::from_tagged_slice(&bytes);
        if let (Some(expected), false, false, Ok(sign1)) = (to_be_signed, external, altered, sign1)
        {
            let protected = sign1.protected.original_data.clone().unwrap_or_default();
            // RFC 9052 §4.4 has an empty header signed as a string of length
            // zero however it is written. Ours has alg, and is never empty.
            if protected == [0xA0] {
                continue;
            }
            if hex_at("/sign1::sign/external").is_none_or(|external| external.is_empty()) {
                assert_eq!(sign1.tbs_data(&[]), expected, "{path}");
                same += 1;
            }
        }
    }
    println!("{refused} COSE vectors refused, {same} Sig_structures equal");
    assert!(refused > 50 && same >= 2, "{refused} {same}");
}
