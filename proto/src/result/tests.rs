use std::{convert::Infallible, io::Write as _, path::Path, process::Command};

use ciborium::Value;
use proptest::prelude::*;
use ring::{
    rand::SystemRandom,
    signature::{
        ECDSA_P256_SHA256_FIXED, ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair as _,
        UnparsedPublicKey,
    },
};

use super::*;
use crate::cbor::CborError;
use crate::cose::Sign1Error;

struct Key {
    pair: EcdsaKeyPair,
    rng: SystemRandom,
}

impl Key {
    fn new() -> Self {
        let rng = SystemRandom::new();
        let pkcs8 = EcdsaKeyPair::generate_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, &rng).unwrap();
        let pair = EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, pkcs8.as_ref(), &rng)
            .unwrap();
        Self { pair, rng }
    }

    fn sign(&self, message: &[u8]) -> Result<Vec<u8>, ring::error::Unspecified> {
        Ok(self.pair.sign(&self.rng, message)?.as_ref().to_vec())
    }

    fn verify(&self, message: &[u8], signature: &[u8]) -> Result<(), ring::error::Unspecified> {
        UnparsedPublicKey::new(&ECDSA_P256_SHA256_FIXED, self.pair.public_key().as_ref())
            .verify(message, signature)
    }
}

fn ear() -> Ear {
    let vector = TrustVector {
        instance_identity: 2,
        hardware: 2,
        executables: 3,
        configuration: -33,
        ..TrustVector::NONE
    };
    let mut appraisal = Appraisal::new(vector, Tier::Affirming, [1; 33]);
    appraisal.policy_ids = vec!["sha-256:00".into()];
    appraisal.reference_id = Some([7; 32]);
    appraisal.reason_codes = vec!["pcr-mismatch".into()];
    Ear {
        issued_at: 1_700_000_000,
        expires: 1_700_003_600,
        verifier: VerifierId {
            developer: "https://holdfast.dev".into(),
            build: "holdfast-verifier 0.1.0".into(),
        },
        nonce: [9; 32],
        appraisal,
    }
}

#[test]
fn tiers_cover_every_value_as_ar4si_says() {
    let tiers: Vec<Tier> = (i8::MIN..=i8::MAX).map(Tier::of).collect();
    let count = |tier| tiers.iter().filter(|t| **t == tier).count();
    assert_eq!(count(Tier::None), 3);
    assert_eq!(count(Tier::Affirming), 30 + 31);
    assert_eq!(count(Tier::Warning), 64 + 64);
    assert_eq!(count(Tier::Contraindicated), 32 + 32);
    for (value, tier) in [
        (2, Tier::Affirming),
        (31, Tier::Affirming),
        (32, Tier::Warning),
        (95, Tier::Warning),
        (96, Tier::Contraindicated),
        (-2, Tier::Affirming),
        (-32, Tier::Affirming),
        (-33, Tier::Warning),
        (-96, Tier::Warning),
        (-97, Tier::Contraindicated),
    ] {
        assert_eq!(Tier::of(value), tier, "{value}");
    }
}

#[test]
fn status_is_the_worst_claim_and_never_above_its_ceiling() {
    let status = |vector, ceiling| Appraisal::new(vector, ceiling, [0; 33]).status();
    let good = TrustVector {
        hardware: 2,
        ..TrustVector::NONE
    };
    assert_eq!(status(TrustVector::NONE, Tier::Affirming), Tier::None);
    assert_eq!(status(good, Tier::Affirming), Tier::Affirming);
    assert_eq!(status(good, Tier::None), Tier::None);
    assert_eq!(
        status(
            TrustVector {
                executables: -1,
                ..good
            },
            Tier::Affirming
        ),
        Tier::None
    );
    assert_eq!(
        status(
            TrustVector {
                executables: 33,
                ..good
            },
            Tier::None
        ),
        Tier::Warning
    );
    assert_eq!(
        status(
            TrustVector {
                executables: 96,
                configuration: 33,
                ..good
            },
            Tier::None
        ),
        Tier::Contraindicated
    );
}

#[test]
fn jwt_and_cwt_open_under_the_right_key_only() {
    let (key, other, ear) = (Key::new(), Key::new(), ear());
    let jwt = ear.sign_jwt(b"kid", |m| key.sign(m)).unwrap();
    let cwt = ear.sign_cwt(b"kid", |m| key.sign(m)).unwrap();
    for parse in [
        |j: &str, _: &[u8]| SignedEar::parse_jwt(j),
        |_: &str, c: &[u8]| SignedEar::parse_cwt(c),
    ] {
        let signed = parse(&jwt, &cwt).unwrap();
        assert_eq!(signed.key_id(), b"kid");
        assert_eq!(format!("{signed:?}"), "SignedEar(unverified)");
        assert_eq!(signed.open(|m, s| key.verify(m, s)).unwrap(), ear);
        assert!(
            parse(&jwt, &cwt)
                .unwrap()
                .open(|m, s| other.verify(m, s))
                .is_err()
        );
    }
}

#[test]
fn every_changed_byte_is_refused() {
    let (key, ear) = (Key::new(), ear());
    let cwt = ear.sign_cwt(b"kid", |m| key.sign(m)).unwrap();
    let jwt = ear.sign_jwt(b"kid", |m| key.sign(m)).unwrap();
    for at in 0..cwt.len() {
        let mut bad = cwt.clone();
        bad[at] ^= 1;
        let opened = SignedEar::parse_cwt(&bad)
            .ok()
            .and_then(|s| s.open(|m, s| key.verify(m, s)).ok());
        assert!(opened.is_none(), "byte {at}");
    }
    for at in 0..jwt.len() {
        let mut bad = jwt.clone().into_bytes();
        bad[at] = if bad[at] == b'A' { b'B' } else { b'A' };
        let bad = String::from_utf8(bad).unwrap();
        let opened = SignedEar::parse_jwt(&bad)
            .ok()
            .and_then(|s| s.open(|m, s| key.verify(m, s)).ok());
        assert!(opened.is_none(), "byte {at}");
    }
}

/// Signs whatever payload with whatever header: what a hostile or broken
/// Verifier could send under a key that is trusted.
fn jwt_of(header: &str, payload: &str) -> String {
    use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
    let e = |b: &[u8]| URL_SAFE_NO_PAD.encode(b);
    format!(
        "{}.{}.{}",
        e(header.as_bytes()),
        e(payload.as_bytes()),
        e(&[1; 64])
    )
}

fn good_parts() -> (String, String) {
    use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
    let jwt = ear()
        .sign_jwt(b"kid", |_| Ok::<_, Infallible>(vec![1; 64]))
        .unwrap();
    let mut parts = jwt.split('.').map(|p| {
        String::from_utf8(URL_SAFE_NO_PAD.decode(p).unwrap_or_default()).unwrap_or_default()
    });
    (parts.next().unwrap(), parts.next().unwrap())
}

#[test]
fn jwt_headers_that_are_not_ours_are_refused() {
    let (header, payload) = good_parts();
    assert!(SignedEar::parse_jwt(&jwt_of(&header, &payload)).is_ok());
    for (from, to) in [("ES256", "none"), ("ES256", "HS256"), ("eat+jwt", "JWT")] {
        let bad = jwt_of(&header.replace(from, to), &payload);
        assert_eq!(SignedEar::parse_jwt(&bad).unwrap_err(), EarError::Header);
    }
    for more in [r#""crit":["x"]"#, r#""jwk":{}"#, r#""alg":"ES256""#] {
        let bad = jwt_of(&header.replace('{', &format!("{{{more},")), &payload);
        assert!(matches!(
            SignedEar::parse_jwt(&bad),
            Err(EarError::Malformed {
                field: "header",
                ..
            })
        ));
    }
}

#[test]
fn jwt_payloads_that_are_not_an_ear_are_refused() {
    let (header, payload) = good_parts();
    let refuse = |from: &str, to: &str| {
        assert!(payload.contains(from), "{from} in {payload}");
        SignedEar::parse_jwt(&jwt_of(&header, &payload.replace(from, to))).unwrap_err()
    };
    assert_eq!(refuse("ear#04", "ear#03"), EarError::Profile);
    assert_eq!(
        refuse(r#""ear_status":"warning""#, r#""ear_status":"affirming""#),
        EarError::Status
    );
    assert_eq!(
        refuse(r#""ear_status":"warning""#, r#""ear_status":"none""#),
        EarError::Status
    );
    assert_eq!(refuse("1700003600", "1700000000"), EarError::Expiry);
    assert!(matches!(
        refuse(r#""iat""#, r#""iat":1,"iat""#),
        EarError::Malformed {
            field: "payload",
            ..
        }
    ));
    assert!(matches!(
        refuse(r#""gateway":"#, r#""other":{},"gateway":"#),
        EarError::Malformed { .. }
    ));
    assert!(matches!(
        refuse(r#""executables":3"#, r#""executables":300"#),
        EarError::Malformed { .. }
    ));
    assert!(matches!(
        refuse(r#""executables":3"#, r#""executable":3"#),
        EarError::Malformed { .. }
    ));
    let long = "x".repeat(257);
    assert_eq!(refuse("pcr-mismatch", &long), EarError::TooMuch);
    // A stricter status than the vector's is lawful.
    let stricter = payload.replace(
        r#""ear_status":"warning""#,
        r#""ear_status":"contraindicated""#,
    );
    assert!(SignedEar::parse_jwt(&jwt_of(&header, &stricter)).is_ok());
}

#[test]
fn sizes_are_capped_before_decoding() {
    let long = MAX_EAR_BYTES + 1;
    assert_eq!(
        SignedEar::parse_jwt(&"a".repeat(long)).unwrap_err(),
        EarError::TooLong(long)
    );
    assert_eq!(
        SignedEar::parse_cwt(&vec![0x81; long]).unwrap_err(),
        EarError::TooLong(long)
    );
    let deep = [vec![0xD2], vec![0x81; 10_000]].concat();
    let item = "COSE_Sign1";
    assert_eq!(
        SignedEar::parse_cwt(&deep).unwrap_err(),
        Sign1Error::from(CborError::TooDeep { item }).into()
    );
    let (header, payload) = good_parts();
    let jwt = jwt_of(&header, &payload);
    assert!(matches!(
        SignedEar::parse_jwt(&jwt[..jwt.len() - 4]),
        Err(EarError::Signature(61))
    ));
}

/// The parts of the CWT of [`ear`], for one of them to be changed: header,
/// payload and signature, and the header of `alg` and `kid` that is there.
fn cwt_of(change: impl FnOnce(&mut Vec<Value>)) -> EarError {
    let cwt = ear()
        .sign_cwt(b"kid", |_| Ok::<_, Infallible>(vec![1; 64]))
        .unwrap();
    assert!(SignedEar::parse_cwt(&cwt).is_ok());
    let signed: Value = ciborium::from_reader(&cwt[..]).unwrap();
    let mut parts = signed.into_tag().unwrap().1.into_array().unwrap();
    change(&mut parts);
    let bad = crate::cbor::encode(&Value::Tag(18, Box::new(parts.into())));
    SignedEar::parse_cwt(&bad).unwrap_err()
}

fn header(alg: i64) -> Value {
    let entries = [(1, alg.into()), (4, b"kid".as_slice().into())];
    crate::cbor::encode(&crate::cbor::map(entries)).into()
}

#[test]
fn cwt_in_any_other_envelope_is_refused() {
    let envelope = EarError::Envelope;
    let cwt = ear()
        .sign_cwt(b"kid", |_| Ok::<_, Infallible>(vec![1; 64]))
        .unwrap();
    let refused = |bytes: &[u8]| SignedEar::parse_cwt(bytes).unwrap_err();
    assert_eq!(refused(&cwt[1..]), envelope(Sign1Error::NotSign1));
    let (item, count) = ("COSE_Sign1", 1);
    let trailing = CborError::TrailingBytes { item, count };
    assert_eq!(
        refused(&[&cwt[..], &[0]].concat()),
        envelope(trailing.into())
    );
    // alg -9 as a two-byte integer inside the protected header of 8 bytes.
    let at = cwt
        .windows(4)
        .position(|w| w == [0x48, 0xA2, 0x01, 0x28])
        .unwrap();
    let padded = [&cwt[..at], &[0x49, 0xA2, 0x01, 0x38, 0x08], &cwt[at + 4..]];
    let padded = padded.concat();
    let encoding = CborError::NotDeterministic { item };
    assert_eq!(refused(&padded), envelope(encoding.into()));
    assert_eq!(
        cwt_of(|parts| parts[2] = Value::Null),
        envelope(Sign1Error::DetachedPayload)
    );
    let unprotected = Value::Map(vec![(4.into(), b"kid".as_slice().into())]);
    assert_eq!(
        cwt_of(|parts| parts[1] = unprotected),
        envelope(Sign1Error::Unprotected(1))
    );
    // ESP384 with a signature of its length is a COSE_Sign1, not an EAR of ours.
    let other = cwt_of(|parts| {
        parts[0] = header(-51);
        parts[3] = vec![1; 96].into();
    });
    assert_eq!(other, EarError::Header);
    let long = ear()
        .sign_cwt(&[1; 65], |_| Ok::<_, Infallible>(vec![1; 64]))
        .unwrap();
    assert_eq!(refused(&long), envelope(Sign1Error::Kid(65)));
    let (len, expected) = (96, 64);
    assert_eq!(
        cwt_of(|parts| parts[3] = vec![1; len].into()),
        envelope(Sign1Error::SignatureLength { len, expected })
    );
}

type Entries = Vec<(Value, Value)>;

/// What a Verifier with a trusted key could send.
#[test]
fn cwt_payloads_that_are_not_an_ear_are_refused() {
    let changed = |change: &dyn Fn(&mut Entries)| {
        cwt_of(|parts| {
            let payload: Value =
                ciborium::from_reader(parts[2].as_bytes().unwrap().as_slice()).unwrap();
            let mut entries = payload.into_map().unwrap();
            change(&mut entries);
            parts[2] = crate::cbor::encode(&Value::Map(entries)).into();
        })
    };
    let encoding = CborError::NotDeterministic { item: "EAR" };
    let unknown = changed(&|entries| entries.push(((-75_999).into(), 0.into())));
    assert_eq!(unknown, EarError::Cbor(encoding.clone()));
    let order = changed(&|entries| entries.reverse());
    assert_eq!(order, EarError::Cbor(encoding));
    let twice = changed(&|entries| entries.push(entries[0].clone()));
    let (item, key) = ("EAR", 4);
    assert_eq!(twice, EarError::Cbor(CborError::DuplicateKey { item, key }));
    let missing = changed(&|entries| entries.truncate(2));
    assert!(matches!(missing, EarError::Malformed { .. }));
    let expired = changed(&|entries| entries[0].1 = 0.into());
    assert_eq!(expired, EarError::Expiry);
    let item = "exp";
    let (found, expected) = ("text string", "integer");
    let text = changed(&|entries| entries[0].1 = "soon".into());
    let wrong = CborError::WrongType {
        item,
        found,
        expected,
    };
    assert_eq!(text, EarError::Cbor(wrong));
}

/// `openssl dgst -verify` over the signing input, with the signature turned
/// into DER: another implementation accepts what we sign.
#[test]
fn openssl_verifies_both_forms() {
    let dir = tempfile::tempdir().unwrap();
    let (key, ear) = (Key::new(), ear());
    let mut spki = hex::decode("3059301306072a8648ce3d020106082a8648ce3d030107034200").unwrap();
    spki.extend_from_slice(key.pair.public_key().as_ref());
    write(dir.path(), "pub.der", &spki);
    let jwt = ear.sign_jwt(b"kid", |m| key.sign(m)).unwrap();
    let cwt = ear.sign_cwt(b"kid", |m| key.sign(m)).unwrap();
    for signed in [
        SignedEar::parse_jwt(&jwt).unwrap(),
        SignedEar::parse_cwt(&cwt).unwrap(),
    ] {
        write(dir.path(), "message", &signed.to_be_signed);
        write(dir.path(), "signature", &der_signature(&signed.signature));
        assert!(openssl_accepts(dir.path()));
        write(dir.path(), "message", b"something else");
        assert!(!openssl_accepts(dir.path()));
    }
}

fn write(dir: &Path, name: &str, bytes: &[u8]) {
    std::fs::File::create(dir.join(name))
        .unwrap()
        .write_all(bytes)
        .unwrap();
}

fn openssl_accepts(dir: &Path) -> bool {
    Command::new("openssl")
        .current_dir(dir)
        .args([
            "dgst",
            "-sha256",
            "-keyform",
            "DER",
            "-verify",
            "pub.der",
            "-signature",
            "signature",
            "message",
        ])
        .output()
        .unwrap()
        .status
        .success()
}

fn der_signature(fixed: &[u8; 64]) -> Vec<u8> {
    let integer = |half: &[u8]| {
        let stripped: Vec<u8> = half.iter().copied().skip_while(|b| *b == 0).collect();
        let padded = if stripped.first().is_none_or(|b| *b >= 0x80) {
            [&[0][..], &stripped].concat()
        } else {
            stripped
        };
        [&[2, u8::try_from(padded.len()).unwrap()][..], &padded].concat()
    };
    let body = [integer(&fixed[..32]), integer(&fixed[32..])].concat();
    [&[0x30, u8::try_from(body.len()).unwrap()][..], &body].concat()
}

/// PyJWT-free: the payload is plain JSON with the names of the draft.
#[test]
fn the_json_is_the_drafts() {
    let (header, payload) = good_parts();
    assert_eq!(header, r#"{"alg":"ES256","typ":"eat+jwt","kid":"6b6964"}"#);
    let json: serde_json::Value = serde_json::from_str(&payload).unwrap();
    assert_eq!(json["eat_profile"], PROFILE);
    let gateway = &json["submods"][SUBMODULE];
    assert_eq!(gateway["ear_status"], "warning");
    assert_eq!(
        gateway["ear_trustworthiness_vector"],
        serde_json::json!({"instance-identity": 2, "configuration": -33, "executables": 3, "hardware": 2})
    );
    assert_eq!(gateway["ear_appraisal_policy_ids"][0], "sha-256:00");
}

fn any_ear() -> impl Strategy<Value = Ear> {
    (
        any::<[i8; 8]>(),
        any::<[u8; 32]>(),
        any::<Option<[u8; 32]>>(),
        0i64..1 << 40,
        1i64..1 << 30,
        proptest::collection::vec("[a-z-]{1,20}", 0..5),
        ".{0,40}",
        0usize..4,
    )
        .prop_map(
            |(values, nonce, reference_id, issued_at, life, codes, build, ceiling)| {
                let mut vector = TrustVector::NONE;
                for (claim, value) in Claim::ALL.into_iter().zip(values) {
                    vector.set(claim, value);
                }
                let ceiling = [
                    Tier::Affirming,
                    Tier::None,
                    Tier::Warning,
                    Tier::Contraindicated,
                ][ceiling];
                let mut appraisal = Appraisal::new(vector, ceiling, [3; 33]);
                appraisal.reference_id = reference_id;
                appraisal.reason_codes = codes.clone();
                appraisal.policy_ids = codes;
                Ear {
                    issued_at,
                    expires: issued_at + life,
                    verifier: VerifierId {
                        developer: "d".into(),
                        build,
                    },
                    nonce,
                    appraisal,
                }
            },
        )
}

proptest! {
    #[test]
    fn what_is_written_reads_back(ear in any_ear()) {
        let sign = |_: &[u8]| Ok::<_, Infallible>(vec![1; 64]);
        let yes = |_: &[u8], _: &[u8]| Ok::<_, Infallible>(());
        let jwt = ear.sign_jwt(b"k", sign).unwrap();
        prop_assert_eq!(&SignedEar::parse_jwt(&jwt).unwrap().open(yes).unwrap(), &ear);
        let cwt = ear.sign_cwt(b"k", sign).unwrap();
        prop_assert_eq!(&SignedEar::parse_cwt(&cwt).unwrap().open(yes).unwrap(), &ear);
    }

    /// The older form has room for one policy.
    #[test]
    fn what_is_written_with_dots_reads_back(ear in any_ear()) {
        let mut ear = ear;
        ear.appraisal.policy_ids.truncate(1);
        let sign = |_: &[u8]| Ok::<_, Infallible>(vec![1; 64]);
        let yes = |_: &[u8], _: &[u8]| Ok::<_, Infallible>(());
        let jwt = ear.sign_jwt_as(Form::Dotted, b"k", sign).unwrap();
        prop_assert_eq!(&SignedEar::parse_jwt(&jwt).unwrap().open(yes).unwrap(), &ear);
        let cwt = ear.sign_cwt_as(Form::Dotted, b"k", sign).unwrap();
        prop_assert_eq!(&SignedEar::parse_cwt(&cwt).unwrap().open(yes).unwrap(), &ear);
    }

    #[test]
    fn hostile_bytes_do_not_panic(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
        let _ = SignedEar::parse_cwt(&bytes);
        let _ = SignedEar::parse_jwt(&String::from_utf8_lossy(&bytes));
    }
}
