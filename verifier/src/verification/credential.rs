//! TPM2_MakeCredential in software (TPM 2.0 Part 1 §24; Part 3 §12.6): a
//! secret that only the TPM holding both the EK and the named object can read.

use aes::cipher::{AsyncStreamCipher, KeyIvInit};
use cfb_mode::Encryptor;
use holdfast_proto::tpm::{EccCurve, HashAlg, Name, Parameters, Symmetric, Unique};
use ring::{agreement, hmac, rand::SecureRandom};
use rsa::{BigUint, Oaep, RsaPublicKey};
use zeroize::Zeroizing;

use super::{
    error::VerificationError,
    kdf::{digest_bits, hmac_alg, kdf_a, kdf_e},
};
use crate::endorsement::EkPublic;

/// The two outputs, without the outer size fields that TPM2B adds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Credential {
    /// Contents of TPM2B_ID_OBJECT: TPM2B integrity HMAC ‖ encrypted secret.
    pub id_object: Vec<u8>,
    /// Contents of TPM2B_ENCRYPTED_SECRET: OAEP ciphertext, or TPMS_ECC_POINT.
    pub encrypted_secret: Vec<u8>,
}

/// Wraps `secret` so that TPM2_ActivateCredential gives it back only where
/// `ek` and the object called `name` are both loaded.
///
/// # Errors
/// [`VerificationError::EkUnfit`] where the EK's point is not on its curve;
/// [`VerificationError::Entropy`].
pub fn make_credential(
    ek: &EkPublic,
    name: &Name,
    secret: &[u8; 32],
    rng: &dyn SecureRandom,
) -> Result<Credential, VerificationError> {
    let public = ek.public();
    let hash = public.name_alg;
    let (symmetric, seed, encrypted_secret) = match (&public.parameters, &public.unique) {
        (
            Parameters::Rsa {
                symmetric,
                exponent,
                ..
            },
            Unique::Rsa(modulus),
        ) => {
            let (seed, sent) = rsa_seed(hash, modulus, *exponent, rng)?;
            (symmetric, seed, sent)
        }
        (
            Parameters::Ecc {
                symmetric, curve, ..
            },
            Unique::Ecc { x, y },
        ) => {
            let (seed, sent) = ecc_seed(hash, *curve, x, y, rng)?;
            (symmetric, seed, sent)
        }
        _ => return Err(VerificationError::EkUnfit),
    };
    let id_object = id_object(hash, symmetric, &seed, name, secret)?;
    Ok(Credential {
        id_object,
        encrypted_secret,
    })
}

/// Part 1 §B.10.3: a random seed under OAEP with the label `IDENTITY` and its
/// terminating zero; the hash of OAEP and of MGF1 is the EK's nameAlg.
fn rsa_seed(
    hash: HashAlg,
    modulus: &[u8],
    exponent: u32,
    rng: &dyn SecureRandom,
) -> Result<(Zeroizing<Vec<u8>>, Vec<u8>), VerificationError> {
    const LABEL: &str = "IDENTITY\0";
    // Zero stands for 2^16 + 1 (Part 2 §12.2.3.5).
    let exponent = if exponent == 0 { 65537 } else { exponent };
    let key = RsaPublicKey::new(BigUint::from_bytes_be(modulus), BigUint::from(exponent))
        .map_err(|_| VerificationError::EkUnfit)?;
    let padding = match hash {
        HashAlg::Sha256 => Oaep::new_with_label::<sha2::Sha256, _>(LABEL),
        HashAlg::Sha384 => Oaep::new_with_label::<sha2::Sha384, _>(LABEL),
        HashAlg::Sha512 => Oaep::new_with_label::<sha2::Sha512, _>(LABEL),
        HashAlg::Sha1 => return Err(VerificationError::EkUnfit),
    };
    let mut seed = Zeroizing::new(vec![0; hash.digest_len()]);
    rng.fill(&mut seed)
        .map_err(|_| VerificationError::Entropy)?;
    let mut oaep_seed = OaepSeed::draw(rng)?;
    let sent = key
        .encrypt(&mut oaep_seed, padding, &seed)
        .map_err(|_| VerificationError::EkUnfit)?;
    Ok((seed, sent))
}

/// The randomness that OAEP draws, one digest at most, drawn beforehand so
/// that a failing source is an error here and not a panic inside `rsa`.
struct OaepSeed {
    bytes: Zeroizing<[u8; Self::LEN]>,
    used: usize,
}

impl OaepSeed {
    /// SHA-512's length: OAEP's seed is one digest (RFC 8017 §7.1.1).
    const LEN: usize = 64;

    fn draw(rng: &dyn SecureRandom) -> Result<Self, VerificationError> {
        let mut bytes = Zeroizing::new([0; Self::LEN]);
        rng.fill(bytes.as_mut_slice())
            .map_err(|_| VerificationError::Entropy)?;
        Ok(Self { bytes, used: 0 })
    }
}

impl rsa::rand_core::RngCore for OaepSeed {
    fn next_u32(&mut self) -> u32 {
        let mut bytes = [0; 4];
        self.fill_bytes(&mut bytes);
        u32::from_be_bytes(bytes)
    }

    fn next_u64(&mut self) -> u64 {
        let mut bytes = [0; 8];
        self.fill_bytes(&mut bytes);
        u64::from_be_bytes(bytes)
    }

    fn fill_bytes(&mut self, dest: &mut [u8]) {
        self.try_fill_bytes(dest)
            .expect("OAEP draws one digest, at most 64 bytes");
    }

    fn try_fill_bytes(&mut self, dest: &mut [u8]) -> Result<(), rsa::rand_core::Error> {
        let end = self.used.saturating_add(dest.len());
        let exhausted = || rsa::rand_core::Error::new("OAEP seed exhausted");
        dest.copy_from_slice(self.bytes.get(self.used..end).ok_or_else(exhausted)?);
        self.used = end;
        Ok(())
    }
}

impl rsa::rand_core::CryptoRng for OaepSeed {}

/// Part 1 §C.6.4: one-pass ECDH with an ephemeral key, then KDFe.
fn ecc_seed(
    hash: HashAlg,
    curve: EccCurve,
    x: &[u8],
    y: &[u8],
    rng: &dyn SecureRandom,
) -> Result<(Zeroizing<Vec<u8>>, Vec<u8>), VerificationError> {
    let alg = match curve {
        EccCurve::P256 => &agreement::ECDH_P256,
        EccCurve::P384 => &agreement::ECDH_P384,
        EccCurve::P521 => return Err(VerificationError::EkUnfit),
    };
    let len = curve.coordinate_len();
    let ek_x = left_pad(x, len).ok_or(VerificationError::EkUnfit)?;
    let ek_y = left_pad(y, len).ok_or(VerificationError::EkUnfit)?;
    let ephemeral = agreement::EphemeralPrivateKey::generate(alg, rng)
        .map_err(|_| VerificationError::Entropy)?;
    let point = ephemeral
        .compute_public_key()
        .map_err(|_| VerificationError::Entropy)?;
    // SEC 1 §2.3.3 uncompressed point: 04 ‖ x ‖ y.
    let (eph_x, eph_y) = point.as_ref().get(1..).unwrap_or_default().split_at(len);
    let peer = agreement::UnparsedPublicKey::new(alg, [&[4], &ek_x[..], &ek_y[..]].concat());
    // ring refuses a point that is not on the curve.
    let seed = agreement::agree_ephemeral(ephemeral, &peer, |z| ecdh_seed(hash, z, eph_x, &ek_x))
        .map_err(|_| VerificationError::EkUnfit)?;
    Ok((seed, ecc_point(eph_x, eph_y)))
}

/// The seed from the shared x-coordinate. All three padded to the curve.
pub(super) fn ecdh_seed(hash: HashAlg, z: &[u8], eph_x: &[u8], ek_x: &[u8]) -> Zeroizing<Vec<u8>> {
    kdf_e(hash, z, b"IDENTITY", eph_x, ek_x, digest_bits(hash))
}

/// TPMS_ECC_POINT: TPM2B x ‖ TPM2B y.
pub(super) fn ecc_point(x: &[u8], y: &[u8]) -> Vec<u8> {
    [tpm2b(x), tpm2b(y)].concat()
}

/// Part 1 §24.4: inner encryption and outer integrity, for any seed.
pub(super) fn id_object(
    hash: HashAlg,
    symmetric: &Symmetric,
    seed: &[u8],
    name: &Name,
    secret: &[u8],
) -> Result<Vec<u8>, VerificationError> {
    let Symmetric::Aes { key_bits } = symmetric else {
        return Err(VerificationError::EkUnfit);
    };
    let key = kdf_a(hash, seed, b"STORAGE", name.as_bytes(), &[], *key_bits);
    let mut identity = tpm2b(secret);
    aes_cfb(&key, &mut identity)?;

    let key = kdf_a(hash, seed, b"INTEGRITY", &[], &[], digest_bits(hash));
    let mut mac = hmac::Context::with_key(&hmac::Key::new(hmac_alg(hash), &key));
    mac.update(&identity);
    mac.update(name.as_bytes());
    Ok([tpm2b(mac.sign().as_ref()), identity].concat())
}

/// CFB with 128-bit segments and an IV of zeros: the key is used once.
fn aes_cfb(key: &[u8], data: &mut [u8]) -> Result<(), VerificationError> {
    const IV: [u8; 16] = [0; 16];
    let unfit = |_| VerificationError::EkUnfit;
    match key.len() {
        16 => Encryptor::<aes::Aes128>::new_from_slices(key, &IV)
            .map_err(unfit)?
            .encrypt(data),
        24 => Encryptor::<aes::Aes192>::new_from_slices(key, &IV)
            .map_err(unfit)?
            .encrypt(data),
        32 => Encryptor::<aes::Aes256>::new_from_slices(key, &IV)
            .map_err(unfit)?
            .encrypt(data),
        _ => return Err(VerificationError::EkUnfit),
    }
    Ok(())
}

fn tpm2b(bytes: &[u8]) -> Vec<u8> {
    let len = u16::try_from(bytes.len()).expect("digests, coordinates and secrets are short");
    [&len.to_be_bytes(), bytes].concat()
}

fn left_pad(bytes: &[u8], len: usize) -> Option<Vec<u8>> {
    let zeros = len.checked_sub(bytes.len())?;
    Some([&vec![0; zeros], bytes].concat())
}
