//! ADVERSARY A11, with OpenSSL's and Wycheproof's signatures as oracles.

use std::io::Read as _;

use holdfast_proto::tpm::{
    AsymScheme, EccCurve, HashAlg, Parameters, Public, Signature, Symmetric, Unique,
    templates::{AkAlg, ak_template},
};
use proptest::prelude::*;

use super::{
    corpus::corpus,
    soft_tpm::{SigningKey, SoftTpm},
};
use crate::verification::{AkPublic, AkScheme, SignatureFault, pss, verify_signature};

fn ak(alg: AkAlg) -> (SigningKey, AkPublic) {
    let tpm = SoftTpm::new(alg);
    (tpm.ak, AkPublic::new(tpm.ak_public).unwrap())
}

fn unhex(text: &str) -> Vec<u8> {
    hex::decode(text).unwrap()
}

const P256_ORDER: &str = "ffffffff00000000ffffffffffffffffbce6faada7179e84f3b9cac2fc632551";
const P384_ORDER: &str = "ffffffffffffffffffffffffffffffffffffffffffffffffc7634d81f4372ddf\
                          581a0db248b0a77aecec196accc52973";

#[test]
fn every_scheme_verifies_what_it_signed_and_nothing_else() {
    for alg in AkAlg::ALL {
        let (key, ak) = ak(alg);
        let signature = key.sign(b"attest");
        verify_signature(&ak, b"attest", &signature).unwrap();
        assert_eq!(
            verify_signature(&ak, b"Attest", &signature),
            Err(SignatureFault::Invalid)
        );
        // TPMT_SIGNATURE as a TPM sends it.
        let sent = Signature::parse(&signature.encode()).unwrap();
        verify_signature(&ak, b"attest", &sent).unwrap();
    }
}

#[test]
fn adv_a11_only_the_keys_own_scheme() {
    // Every key against a signature of every other scheme.
    let keys: Vec<_> = AkAlg::ALL.into_iter().map(ak).collect();
    for (i, (_, ak)) in keys.iter().enumerate() {
        for (j, (key, _)) in keys.iter().enumerate() {
            let outcome = verify_signature(ak, b"attest", &key.sign(b"attest"));
            if i != j {
                assert_eq!(outcome, Err(SignatureFault::Scheme(ak.scheme())), "{i} {j}");
            }
        }
    }
    // The right algorithm with another hash.
    let (key, ak) = ak(AkAlg::EcdsaP256);
    let Signature::Ecdsa { r, s, .. } = key.sign(b"attest") else {
        unreachable!()
    };
    let relabelled = Signature::Ecdsa {
        hash: HashAlg::Sha384,
        r,
        s,
    };
    let fault = SignatureFault::Scheme(AkScheme::EcdsaP256);
    assert_eq!(verify_signature(&ak, b"attest", &relabelled), Err(fault));
    let hmac = Signature::Hmac {
        digest: HashAlg::Sha256.digest(&[b"attest"]),
    };
    assert_eq!(verify_signature(&ak, b"attest", &hmac), Err(fault));
}

#[test]
fn adv_a11_rsa_relabelled_as_the_other_padding() {
    let (ssa, ssa_ak) = ak(AkAlg::Rsa2048);
    let (pss, pss_ak) = ak(AkAlg::RsaPss2048);
    let Signature::RsaSsa { hash, sig } = ssa.sign(b"m") else {
        unreachable!()
    };
    let as_pss = Signature::RsaPss { hash, sig };
    assert_eq!(
        verify_signature(&pss_ak, b"m", &as_pss),
        Err(SignatureFault::Invalid)
    );
    let Signature::RsaPss { hash, sig } = pss.sign(b"m") else {
        unreachable!()
    };
    let as_ssa = Signature::RsaSsa { hash, sig };
    assert_eq!(
        verify_signature(&ssa_ak, b"m", &as_ssa),
        Err(SignatureFault::Invalid)
    );
}

#[test]
fn adv_a11_ecdsa_range() {
    for (alg, order, len) in [
        (AkAlg::EcdsaP256, P256_ORDER, 32),
        (AkAlg::EcdsaP384, P384_ORDER, 48),
    ] {
        let (key, ak) = ak(alg);
        let Signature::Ecdsa { hash, r, s } = key.sign(b"m") else {
            unreachable!()
        };
        let order = unhex(order);
        let above: Vec<u8> = vec![0xFF; len];
        let with = |r: &[u8], s: &[u8]| {
            let signature = Signature::Ecdsa {
                hash,
                r: r.to_vec(),
                s: s.to_vec(),
            };
            verify_signature(&ak, b"m", &signature)
        };
        with(&r, &s).unwrap();
        for (bad, fault) in [
            (&vec![0; len], SignatureFault::Zero),
            (&vec![0], SignatureFault::Zero),
            (&Vec::new(), SignatureFault::Length),
            (&order, SignatureFault::Range),
            (&above, SignatureFault::Range),
            (&[&[0], &r[..]].concat(), SignatureFault::Length),
            (&[&order[..], &[1]].concat(), SignatureFault::Length),
        ] {
            assert_eq!(with(bad, &s), Err(fault));
            assert_eq!(with(&r, bad), Err(fault));
        }
        // s and n - s are both signatures: FIPS 186-5 lets either be made.
        let mut negated = order.clone();
        let mut borrow = 0_i16;
        for (byte, s) in negated.iter_mut().rev().zip(s.iter().rev()) {
            let difference = i16::from(*byte) - i16::from(*s) - borrow;
            borrow = i16::from(difference < 0);
            *byte = u8::try_from(difference.rem_euclid(256)).unwrap();
        }
        with(&r, &negated).unwrap();
    }
}

#[test]
fn stripped_zeros_are_read() {
    let (key, ak) = ak(AkAlg::EcdsaP256);
    let stripped = loop {
        if let Signature::Ecdsa { hash, r, s } = key.sign(b"m")
            && r[0] == 0
        {
            break Signature::Ecdsa {
                hash,
                r: r[1..].to_vec(),
                s,
            };
        }
    };
    verify_signature(&ak, b"m", &stripped).unwrap();
}

#[test]
fn adv_a11_rsa_length_and_range() {
    for alg in [AkAlg::Rsa2048, AkAlg::RsaPss2048] {
        let (key, ak) = ak(alg);
        let Unique::Rsa(modulus) = ak.public().unique.clone() else {
            unreachable!()
        };
        let with = |change: &dyn Fn(&mut Vec<u8>)| {
            let mut signature = key.sign(b"m");
            match &mut signature {
                Signature::RsaSsa { sig, .. } | Signature::RsaPss { sig, .. } => change(sig),
                _ => unreachable!(),
            }
            verify_signature(&ak, b"m", &signature)
        };
        with(&|_| ()).unwrap();
        assert_eq!(with(&|sig| sig.truncate(255)), Err(SignatureFault::Length));
        assert_eq!(with(&|sig| sig.insert(0, 0)), Err(SignatureFault::Length));
        assert_eq!(with(&Vec::clear), Err(SignatureFault::Length));
        assert_eq!(
            with(&|sig| sig.clone_from(&modulus)),
            Err(SignatureFault::Range)
        );
        assert_eq!(with(&|sig| sig.fill(0xFF)), Err(SignatureFault::Range));
        assert_eq!(with(&|sig| sig.fill(0)), Err(SignatureFault::Invalid));
        assert_eq!(with(&|sig| sig[100] ^= 1), Err(SignatureFault::Invalid));
    }
}

fn openssl_pss(signature: &[u8]) -> Result<(), SignatureFault> {
    let (_, ak) = ak(AkAlg::RsaPss2048);
    let signature = Signature::RsaPss {
        hash: HashAlg::Sha256,
        sig: signature.to_vec(),
    };
    verify_signature(&ak, include_bytes!("data/message"), &signature)
}

#[test]
fn pss_takes_any_salt_length() {
    openssl_pss(include_bytes!("data/pss-sha256-salt0.sig")).unwrap();
    openssl_pss(include_bytes!("data/pss-sha256-salt20.sig")).unwrap();
    openssl_pss(include_bytes!("data/pss-sha256-salt32.sig")).unwrap();
    openssl_pss(include_bytes!("data/pss-sha256-salt222.sig")).unwrap();
}

#[test]
fn pss_wants_mgf1_with_the_schemes_hash() {
    let signature = include_bytes!("data/pss-sha256-mgf1-sha1.sig");
    assert_eq!(openssl_pss(signature), Err(SignatureFault::Invalid));
}

/// Wycheproof files are read as they are; the parts that we need.
#[derive(serde::Deserialize)]
#[serde(rename_all = "camelCase")]
struct File {
    test_groups: Vec<Group>,
}

#[derive(serde::Deserialize)]
#[serde(rename_all = "camelCase")]
struct Group {
    #[serde(default)]
    public_key: serde_json::Value,
    #[serde(default)]
    mgf_sha: Option<String>,
    tests: Vec<Case>,
}

#[derive(serde::Deserialize)]
#[serde(rename_all = "camelCase")]
struct Case {
    tc_id: u32,
    msg: String,
    sig: String,
    result: String,
}

fn wycheproof(file: &str) -> Option<File> {
    let path = corpus("wycheproof/C2SP__wycheproof")?.join(file);
    let gz = std::fs::File::open(path).unwrap();
    let mut json = String::new();
    flate2::read::GzDecoder::new(gz)
        .read_to_string(&mut json)
        .unwrap();
    Some(serde_json::from_str(&json).unwrap())
}

#[test]
fn wycheproof_pss() {
    for (file, hash) in [
        ("rsa_pss_3072_sha256_mgf1_32_test.json.gz", HashAlg::Sha256),
        ("rsa_pss_2048_sha384_mgf1_48_test.json.gz", HashAlg::Sha384),
        ("rsa_pss_4096_sha256_mgf1_32_test.json.gz", HashAlg::Sha256),
    ] {
        let Some(vectors) = wycheproof(file) else {
            return;
        };
        let (mut valid, mut invalid, mut salts) = (0, 0, 0);
        for group in vectors.test_groups {
            let number = |name: &str| {
                let text = group.public_key[name].as_str().unwrap();
                let bytes = unhex(text);
                bytes
                    .into_iter()
                    .skip_while(|b| *b == 0)
                    .collect::<Vec<_>>()
            };
            let (n, e) = (number("modulus"), number("publicExponent"));
            assert_eq!(
                group
                    .mgf_sha
                    .map(|s| s.replace('-', "").to_lowercase())
                    .as_deref(),
                Some(hash.name())
            );
            for case in group.tests {
                let (message, sig) = (unhex(&case.msg), unhex(&case.sig));
                let in_range = sig.len() == n.len() && sig < n;
                let holds = in_range && pss::verify(hash, &n, &e, &message, &sig).is_ok();
                match case.result.as_str() {
                    "valid" => {
                        assert!(holds, "{file} {}", case.tc_id);
                        valid += 1;
                    }
                    // Refused there only because another salt length was
                    // expected: we take any.
                    _ if holds => salts += 1,
                    _ => invalid += 1,
                }
            }
        }
        eprintln!("{file}: {valid} valid, {invalid} refused, {salts} of other salt lengths");
        assert!(valid > 20 && invalid > 20);
        // Wycheproof has a handful of each; a broken check would let many by.
        assert!(salts <= 12, "{salts}");
    }
}

#[test]
fn wycheproof_ecdsa() {
    for (file, curve, alg) in [
        (
            "ecdsa_secp256r1_sha256_p1363_test.json.gz",
            EccCurve::P256,
            AkAlg::EcdsaP256,
        ),
        (
            "ecdsa_secp384r1_sha384_p1363_test.json.gz",
            EccCurve::P384,
            AkAlg::EcdsaP384,
        ),
    ] {
        let Some(vectors) = wycheproof(file) else {
            return;
        };
        let mut ran = 0;
        for group in vectors.test_groups {
            let point = unhex(group.public_key["uncompressed"].as_str().unwrap());
            let (x, y) = point[1..].split_at(curve.coordinate_len());
            let unique = Unique::Ecc {
                x: x.to_vec(),
                y: y.to_vec(),
            };
            let ak = AkPublic::new(Public {
                unique,
                ..ak_template(alg, &[0; 32])
            })
            .unwrap();
            for case in group.tests {
                let sig = unhex(&case.sig);
                let (r, s) = sig.split_at(sig.len() / 2);
                let hash = ak.scheme().hash();
                let signature = Signature::Ecdsa {
                    hash,
                    r: r.to_vec(),
                    s: s.to_vec(),
                };
                let holds = verify_signature(&ak, &unhex(&case.msg), &signature).is_ok();
                // Shorter scalars are what a TPM may send: padded, not refused.
                let short = sig.len() < 2 * curve.coordinate_len() && sig.len().is_multiple_of(2);
                if !short {
                    assert_eq!(holds, case.result == "valid", "{file} {}", case.tc_id);
                    ran += 1;
                }
            }
        }
        assert!(ran > 100, "{ran}");
    }
}

#[test]
fn an_rsa_ak_of_3072_bits_is_served() {
    let parameters = Parameters::Rsa {
        symmetric: Symmetric::Null,
        scheme: AsymScheme::RsaPss(HashAlg::Sha384),
        key_bits: 3072,
        exponent: 0,
    };
    let template = ak_template(AkAlg::RsaPss2048, &[0; 32]);
    let public = Public {
        parameters,
        unique: Unique::Rsa(vec![0xFF; 384]),
        ..template
    };
    let ak = AkPublic::new(public).unwrap();
    let signature = Signature::RsaPss {
        hash: HashAlg::Sha384,
        sig: vec![1; 384],
    };
    assert_eq!(
        verify_signature(&ak, b"m", &signature),
        Err(SignatureFault::Invalid)
    );
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn a_damaged_signature_never_verifies(at in 0_usize..64, bit in 0_u8..8) {
        let (key, ak) = ak(AkAlg::EcdsaP256);
        let Signature::Ecdsa { hash, mut r, mut s } = key.sign(b"m") else { unreachable!() };
        if at < 32 { r[at] ^= 1 << bit } else { s[at - 32] ^= 1 << bit }
        let damaged = Signature::Ecdsa { hash, r, s };
        prop_assert!(verify_signature(&ak, b"m", &damaged).is_err());
    }

    #[test]
    fn pss_never_panics(sig in proptest::collection::vec(any::<u8>(), 0..260), n in proptest::collection::vec(any::<u8>(), 1..260)) {
        let mut n = n;
        *n.last_mut().unwrap() |= 1;
        prop_assert!(pss::verify(HashAlg::Sha256, &n, &[1, 0, 1], b"m", &sig).is_err());
    }
}
