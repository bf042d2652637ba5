//! Claims and results: made here, as a gateway and a Verifier make them; and
//! other people's tokens, which are none of ours.

use holdfast_proto::{
    claims::{self, Claims, CoseAlg, Purpose, Ueid},
    result::{Appraisal, DOTTED_PROFILE, Ear, Form, PROFILE, Tier, TrustVector, VerifierId},
    tpm::{Public, Unique, templates::ldevid_template},
};
use holdfast_verifier::{
    identity::ResultKey,
    inspect::{Verdict, claims as inspect_claims, key, result as inspect_result},
    time::UnixTime,
};
use ring::{
    rand::SystemRandom,
    signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair as _},
};

use super::corpus::corpus;

fn ueid() -> Ueid {
    let mut bytes = [7; 33];
    bytes[0] = 1;
    Ueid::parse(&bytes).unwrap()
}

struct Ldevid {
    key: EcdsaKeyPair,
    area: Public,
}

impl Ldevid {
    fn new() -> Self {
        let rng = SystemRandom::new();
        let pkcs8 = EcdsaKeyPair::generate_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, &rng).unwrap();
        let key = EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, pkcs8.as_ref(), &rng)
            .unwrap();
        let (x, y) = key.public_key().as_ref()[1..].split_at(32);
        let unique = Unique::Ecc {
            x: x.to_vec(),
            y: y.to_vec(),
        };
        let area = Public {
            unique,
            ..ldevid_template()
        };
        Self { key, area }
    }

    fn claims(&self) -> Vec<u8> {
        let claims = Claims {
            nonce: [1; 32],
            ueid: ueid(),
            issued_at: 1_795_507_200,
            purpose: Purpose::Attest,
            exporter: [2; 32],
            certify_sha256: None,
            boot_log_sha256: Some([3; 32]),
            software_name: "holdfast-attester".to_owned(),
            software_version: "0.1.0".to_owned(),
            uptime_seconds: Some(60),
        };
        let sign = |message: &[u8]| {
            let signature = self.key.sign(&SystemRandom::new(), message)?;
            Ok::<_, ring::error::Unspecified>(signature.as_ref().to_vec())
        };
        claims::sign(&claims, CoseAlg::Esp256, self.area.name().as_bytes(), sign).unwrap()
    }
}

#[test]
fn claims_are_unverified_without_a_key_and_judged_with_one() {
    let ldevid = Ldevid::new();
    let bytes = ldevid.claims();
    let report = inspect_claims::inspect(&bytes, None).unwrap();
    assert_eq!(report.verdict, Verdict::Unverified);
    let json = serde_json::to_value(&report).unwrap();
    assert_eq!(json["header"]["alg"], "ESP256");
    assert_eq!(json["claims"]["ueid"], ueid().to_string());
    assert_eq!(json["claims"]["purpose"], "attest");
    assert_eq!(json["claims"]["boot-log-sha256"], "03".repeat(32));
    assert_eq!(json["claims"]["certify-sha256"], serde_json::Value::Null);
    assert_eq!(json["claims"]["swname"], "holdfast-attester");

    let area = key::read(&ldevid.area.encode_tpm2b()).unwrap();
    let bare = key::read(&ldevid.area.to_spki_der().unwrap()).unwrap();
    let judge = |bytes: &[u8], key| inspect_claims::inspect(bytes, Some(key)).unwrap();
    let report = judge(&bytes, &area);
    assert_eq!(
        (report.verdict, report.warnings.len()),
        (Verdict::Affirming, 0)
    );
    let report = judge(&bytes, &bare);
    assert_eq!(
        (report.verdict, report.warnings.len()),
        (Verdict::Affirming, 1)
    );

    let other = key::read(&Ldevid::new().area.to_spki_der().unwrap()).unwrap();
    let report = judge(&bytes, &other);
    assert_eq!(report.verdict, Verdict::Refused);
    assert!(report.reason.unwrap().contains("signature"));
    let other = key::read(&Ldevid::new().area.encode()).unwrap();
    let reason = judge(&bytes, &other).reason.unwrap();
    assert!(reason.contains("kid"), "{reason}");

    for bit in 0..bytes.len() * 8 {
        let mut changed = bytes.clone();
        changed[bit / 8] ^= 1 << (bit % 8);
        assert_eq!(
            judge(&changed, &area).verdict,
            Verdict::Refused,
            "bit {bit}"
        );
    }
    for len in 0..bytes.len() {
        let report = inspect_claims::inspect(&bytes[..len], None).unwrap();
        assert_eq!(report.verdict, Verdict::Refused);
        assert!(report.reason.is_some());
    }
}

const ISSUED: i64 = 1_795_507_200;

fn ear(build: &str) -> Ear {
    let mut vector = TrustVector::NONE;
    vector.executables = 33;
    let mut appraisal = Appraisal::new(vector, Tier::Affirming, *ueid().as_bytes());
    appraisal.policy_ids = vec!["sha-256:00".to_owned()];
    appraisal.reason_codes = vec!["pcr-mismatch".to_owned()];
    Ear {
        issued_at: ISSUED,
        expires: ISSUED + 3600,
        verifier: VerifierId {
            developer: "https://holdfast.dev".to_owned(),
            build: build.to_owned(),
        },
        nonce: [9; 32],
        appraisal,
    }
}

fn result_key() -> ResultKey {
    let rng = SystemRandom::new();
    let pkcs8 = EcdsaKeyPair::generate_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, &rng).unwrap();
    ResultKey::from_pkcs8(pkcs8.as_ref()).unwrap()
}

#[test]
fn results_of_both_forms_are_judged_by_signature_and_end() {
    let signer = result_key();
    let key = key::read(signer.public_pem().as_bytes()).unwrap();
    let other = key::read(result_key().public_pem().as_bytes()).unwrap();
    let ear = ear("1");
    let sign = |message: &[u8]| signer.sign(message);
    let jwt = ear.sign_jwt(signer.id(), sign).unwrap() + "\n";
    let cwt = ear.sign_cwt(signer.id(), sign).unwrap();
    let (during, after) = (
        UnixTime::from_seconds(ISSUED + 1),
        UnixTime::from_seconds(ISSUED + 3600),
    );
    let old_jwt = ear.sign_jwt_as(Form::Dotted, signer.id(), sign).unwrap();
    let old_cwt = ear.sign_cwt_as(Form::Dotted, signer.id(), sign).unwrap();
    for (format, profile, bytes) in [
        ("jwt", PROFILE, jwt.as_bytes()),
        ("cwt", PROFILE, &cwt),
        ("jwt", DOTTED_PROFILE, old_jwt.as_bytes()),
        ("cwt", DOTTED_PROFILE, &old_cwt),
    ] {
        let report = inspect_result::inspect(bytes, Some(&key), during).unwrap();
        assert_eq!(report.verdict, Verdict::Affirming, "{:?}", report.reason);
        assert!(report.warnings.is_empty());
        let json = serde_json::to_value(&report).unwrap();
        assert_eq!(json["format"], format);
        assert_eq!(json["result"]["eat_profile"], profile);
        assert_eq!(json["result"]["ear_status"], "warning");
        assert_eq!(
            json["result"]["ear_trustworthiness_vector"]["executables"],
            33
        );
        assert_eq!(json["result"]["holdfast_reason_codes"][0], "pcr-mismatch");

        let report = inspect_result::inspect(bytes, Some(&key), after).unwrap();
        assert_eq!(report.verdict, Verdict::Refused);
        assert!(report.reason.unwrap().contains("expired"));
        let report = inspect_result::inspect(bytes, Some(&other), during).unwrap();
        assert_eq!(report.verdict, Verdict::Refused);
        assert!(report.reason.unwrap().contains("does not verify"));
        assert!(report.warnings[0].contains("kid"));
        let report = inspect_result::inspect(bytes, None, after).unwrap();
        assert_eq!(report.verdict, Verdict::Unverified);
        assert_eq!(report.warnings.len(), 2);
        for bit in 0..bytes.len() * 8 {
            let mut changed = bytes.to_vec();
            changed[bit / 8] ^= 1 << (bit % 8);
            let report = inspect_result::inspect(&changed, Some(&key), during).unwrap();
            let newline = bytes.ends_with(b"\n") && bit / 8 == bytes.len() - 1;
            if !newline {
                assert_eq!(report.verdict, Verdict::Refused, "{format} bit {bit}");
            }
        }
    }
}

/// Why a token that its authors call good is refused here. Of an EAT profile
/// that it does not know, a receiver can conclude nothing (RFC 9711 §6).
const OTHER_PROFILES: &[(&str, &str)] = &[
    (
        "not a tagged COSE_Sign1",
        "another structure (encryption, MAC, several signers, a bare claims set, diagnostic text, a key) or no tag: \
         the profile is a tagged COSE_Sign1 with its claims inside",
    ),
    (
        "unprotected header",
        "a parameter that nobody signed: the profile has none",
    ),
    (
        "the protected header",
        "a header that the profile does not have (crit, content type, x5chain), or no kid or alg in it",
    ),
];

/// The token that a vector describes; a file that is no vector is one itself.
fn token(file: Vec<u8>) -> Vec<u8> {
    const PLACES: [&str; 3] = [
        "/output/cbor",
        "/sign1::verify/taggedCOSESign1/cborHex",
        "/sign1::sign/expectedOutput/cborHex",
    ];
    let json: serde_json::Value = serde_json::from_slice(&file).unwrap_or_default();
    let hex = PLACES
        .iter()
        .find_map(|place| json.pointer(place)?.as_str());
    hex.map_or(file, |hex| hex::decode(hex).unwrap())
}

/// Every token of `cose` and `eat`: what is called bad is refused, as stated;
/// what is called good is of another profile, and is refused for a reason that
/// says so. The manifest's words are the answer that is stated.
#[test]
fn other_peoples_tokens_are_refused_with_a_reason() {
    let Some(corpus) = corpus() else { return };
    let at = UnixTime::from_seconds(ISSUED);
    for kind in ["cose", "eat"] {
        let (mut as_stated, mut unexplained) = (0, Vec::new());
        let files = corpus.files(kind);
        for path in &files {
            let bytes = token(corpus.read(path));
            let claims = inspect_claims::inspect(&bytes, None).unwrap();
            assert_eq!(claims.verdict, Verdict::Refused, "{path}");
            let result = inspect_result::inspect(&bytes, None, at).unwrap();
            assert_eq!(result.verdict, Verdict::Refused, "{path}");
            assert!(result.reason.is_some_and(|reason| !reason.is_empty()));

            let reason = claims.reason.unwrap_or_default();
            let stated = corpus.stated(path);
            if stated.contains("INVALID") || stated.contains("negative") {
                as_stated += 1;
            } else if !OTHER_PROFILES
                .iter()
                .any(|(words, _)| reason.contains(words))
            {
                unexplained.push(format!("{path}: {reason}"));
            }
        }
        println!(
            "corpus {kind}: {} files, {as_stated} as stated, {} unexplained",
            files.len(),
            unexplained.len()
        );
        assert!(unexplained.is_empty(), "{unexplained:#?}");
    }
    for (words, why) in OTHER_PROFILES {
        println!("explained: {words}: {why}");
    }
}
