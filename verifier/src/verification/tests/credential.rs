//! MakeCredential: known answers (STANDARDS §3.3), the corpus' KDF vectors,
//! and a TPM in memory that activates. Live TPMs: tests/swtpm/activation.rs.

use std::io::Read as _;

use holdfast_proto::tpm::{HashAlg, Name, Public, Symmetric, Unique, templates::AkAlg};
use ring::rand::SystemRandom;

use super::{corpus::corpus, soft_tpm::SoftTpm};
use crate::{
    endorsement::EkPublic,
    verification::{
        VerificationError,
        encapsulation::{SeedUse, ecc_point, ecdh_seed, protect},
        kdf::{kdf_a, kdf_e},
        make_credential,
    },
};

const NAME: &str = "000b82a3537ff0dbce7eec35d69edc3a189ee6f17d82f353a553f9aa96cb0be3ce89";
const EK_X: &str = "0dcc7648c78a3118f2612866fe83ef19f40304f623399e1211a10f2b3d1c05cf";
const AES_128: Symmetric = Symmetric::Aes { key_bits: 128 };

fn bytes(hex_text: &str) -> Vec<u8> {
    hex::decode(hex_text).unwrap()
}

fn name() -> Name {
    Name::parse(&bytes(NAME)).unwrap()
}

fn counted(from: u8) -> Vec<u8> {
    (from..from + 32).collect()
}

#[test]
fn known_answers_of_kdfa() {
    let (key, name) = (counted(0), bytes(NAME));
    let storage = kdf_a(HashAlg::Sha256, &key, b"STORAGE", &name, &[], 128);
    assert_eq!(hex::encode(&*storage), "caf1365cb7c94a66c6ab4a93ddbe1f64");
    let integrity = kdf_a(HashAlg::Sha256, &key, b"INTEGRITY", &[], &[], 256);
    assert_eq!(
        hex::encode(&*integrity),
        "bacf689f634ece301e1f1b15b072d9c87db6a69585db42b1a0cb8f73ebe2692e"
    );
}

#[test]
fn known_answer_of_the_inner_object() {
    let object = protect(
        HashAlg::Sha256,
        &AES_128,
        &counted(0),
        &name(),
        &counted(0xA0),
    )
    .unwrap();
    assert_eq!(
        hex::encode(object),
        "00205a967edbd40599747a0f08f6545970eb79193c4a7f2cc697e1fa63829a8fab656c14ab2ba99b7f518ea\
         fc431fa0cc78be8495c9aba418d961a80816f31ebe1d0fdd3"
    );
}

#[test]
fn known_answer_of_the_whole_for_p256() {
    let z = bytes("19cfbcaa5b6f16b6d0d45634acd7aaa05b764a17e520771158a8db8688ba1f87");
    let eph_x = bytes("a62f048f367359809c2d46c2049d7d7bf268c3c073c472753cb18a24a8ad20b1");
    let eph_y = bytes("caccf8104b666795c7f35dac9dc444b3c2c61978198c49859955b99956da5edb");
    let seed = ecdh_seed(HashAlg::Sha256, &z, SeedUse::Identity, &eph_x, &bytes(EK_X));
    assert_eq!(
        hex::encode(&*seed),
        "ac503ab332eb8c0e2469bf21a0a30cdeea47acbe234a64385545b64479b4edcb"
    );
    // TPM2B_ENCRYPTED_SECRET is 0044 and this.
    let point = ecc_point(&eph_x, &eph_y);
    assert_eq!(
        (point.len(), &point[..2], &point[34..36]),
        (0x44, &[0, 0x20][..], &[0, 0x20][..])
    );
    // TPM2B_ID_OBJECT is 0044 and this.
    let object = protect(HashAlg::Sha256, &AES_128, &seed, &name(), &counted(0xA0)).unwrap();
    assert_eq!(
        hex::encode(object),
        "00203a43eed7b6c9cb2cae165c22b22c6248befb6d5aa7de94d9af05b5ed8888d618e7b8fd36570079a63bd\
         7a5825961016b27ae37d6f50bb272b42bf130b2588d6b7d91"
    );
}

#[derive(serde::Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Vector {
    name: String,
    hash_alg: u16,
    #[serde(alias = "Z")]
    key: String,
    label: String,
    context_u: String,
    context_v: String,
    bits: u16,
    result: String,
}

fn vectors(file: &str) -> Option<Vec<Vector>> {
    let path = corpus("tpm-kdf/google__go-tpm")?.join(file);
    let gz = std::fs::File::open(path).unwrap();
    let mut json = String::new();
    flate2::read::GzDecoder::new(gz)
        .read_to_string(&mut json)
        .unwrap();
    Some(serde_json::from_str(&json).unwrap())
}

/// Runs `kdf` over every vector of a hash that we have (SM3 we have not).
fn run(file: &str, kdf: impl Fn(HashAlg, &Vector) -> Vec<u8>) {
    let Some(vectors) = vectors(file) else { return };
    let mut ran = 0;
    for vector in &vectors {
        let Ok(hash) = HashAlg::from_id(vector.hash_alg) else {
            continue;
        };
        assert_eq!(
            hex::encode(kdf(hash, vector)),
            vector.result,
            "{}",
            vector.name
        );
        ran += 1;
    }
    eprintln!("{file}: {ran} of {} vectors", vectors.len());
    assert!(ran >= 50, "{ran}");
}

#[test]
fn corpus_kdfa() {
    run("kdfa.json.gz", |hash, v| {
        let (u, w) = (bytes(&v.context_u), bytes(&v.context_v));
        kdf_a(hash, &bytes(&v.key), v.label.as_bytes(), &u, &w, v.bits).to_vec()
    });
}

#[test]
fn corpus_kdfe() {
    run("kdfe.json.gz", |hash, v| {
        let (u, w) = (bytes(&v.context_u), bytes(&v.context_v));
        kdf_e(hash, &bytes(&v.key), v.label.as_bytes(), &u, &w, v.bits).to_vec()
    });
}

#[test]
fn a_tpm_activates_it_and_only_for_that_ak() {
    let tpm = SoftTpm::new(AkAlg::EcdsaP256);
    let ek = EkPublic::parse(&tpm.ek_public.encode()).unwrap();
    let rng = SystemRandom::new();
    for _ in 0..20 {
        let made = make_credential(&ek, &tpm.ak_public.name(), &[0x5A; 32], &rng).unwrap();
        assert_eq!(
            tpm.activate(&made.id_object, &made.encrypted_secret),
            Some(vec![0x5A; 32])
        );
        let other = make_credential(&ek, &name(), &[0x5A; 32], &rng).unwrap();
        assert_eq!(
            tpm.activate(&other.id_object, &other.encrypted_secret),
            None
        );
    }
}

#[test]
fn two_credentials_share_nothing() {
    let tpm = SoftTpm::new(AkAlg::EcdsaP256);
    let ek = EkPublic::parse(&tpm.ek_public.encode()).unwrap();
    let make = || make_credential(&ek, &name(), &[0; 32], &SystemRandom::new()).unwrap();
    let (one, two) = (make(), make());
    assert_ne!(one.encrypted_secret, two.encrypted_secret);
    assert_ne!(one.id_object[34..], two.id_object[34..]);
}

#[test]
fn a_point_off_the_curve_gets_no_credential() {
    // A twist or small-subgroup point would leak nothing here (the key is
    // ephemeral), but no TPM has it.
    let tpm = SoftTpm::new(AkAlg::EcdsaP256);
    let Unique::Ecc { x, mut y } = tpm.ek_public.unique.clone() else {
        unreachable!()
    };
    y[31] ^= 1;
    let off = Public {
        unique: Unique::Ecc { x, y },
        ..tpm.ek_public
    };
    let ek = EkPublic::parse(&off.encode()).unwrap();
    assert!(matches!(
        make_credential(&ek, &name(), &[0; 32], &SystemRandom::new()),
        Err(VerificationError::EkUnfit)
    ));
}

#[test]
fn rsa_ciphertext_is_as_long_as_the_modulus() {
    let spki: &[u8] = include_bytes!("data/rsa2048.spki");
    let modulus = spki[spki.len() - 261..spki.len() - 5].to_vec();
    let template = holdfast_proto::tpm::templates::EkTemplate::L1.public();
    let public = Public {
        unique: Unique::Rsa(modulus),
        ..template
    };
    let ek = EkPublic::parse(&public.encode()).unwrap();
    let made = make_credential(&ek, &name(), &[0; 32], &SystemRandom::new()).unwrap();
    assert_eq!(made.encrypted_secret.len(), 256);
    assert_eq!(made.id_object.len(), 2 + 32 + 2 + 32);
}
