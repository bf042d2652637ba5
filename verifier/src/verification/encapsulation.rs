//! Outer wrapping (TPM 2.0 Part 1 §23.3, §24, §B.10, §C.6): a seed that only
//! the TPM of an EK finds, and data encrypted and authenticated by it. What
//! MakeCredential and Import have in common.

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

/// What a seed is for: a seed of one use opens nothing of the other.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum SeedUse {
    /// TPM2_MakeCredential.
    Identity,
    /// TPM2_Import of an object that was wrapped for a new parent.
    Duplicate,
}

impl SeedUse {
    /// With its terminating zero, as OAEP takes it.
    const fn label(self) -> &'static str {
        match self {
            Self::Identity => "IDENTITY\0",
            Self::Duplicate => "DUPLICATE\0",
        }
    }

    /// Without, as KDFe takes it.
    fn usage(self) -> &'static [u8] {
        self.label().trim_end_matches('\0').as_bytes()
    }
}

/// What came out of wrapping, without the outer size fields that TPM2B adds.
pub(crate) struct Encapsulated {
    /// TPM2B integrity HMAC ‖ encrypted TPM2B of the data.
    pub(crate) protected: Vec<u8>,
    /// Contents of TPM2B_ENCRYPTED_SECRET: OAEP ciphertext, or TPMS_ECC_POINT.
    pub(crate) encrypted_seed: Vec<u8>,
}

/// Wraps `data` for the TPM of `ek`, bound to the object called `name`.
///
/// # Errors
/// [`VerificationError::EkUnfit`] where the EK's point is not on its curve;
/// [`VerificationError::Entropy`].
pub(crate) fn encapsulate(
    ek: &EkPublic,
    name: &Name,
    usage: SeedUse,
    data: &[u8],
    rng: &dyn SecureRandom,
) -> Result<Encapsulated, VerificationError> {
    let public = ek.public();
    let hash = public.name_alg;
    let (symmetric, (seed, encrypted_seed)) = match (&public.parameters, &public.unique) {
        (
            Parameters::Rsa {
                symmetric,
                exponent,
                ..
            },
            Unique::Rsa(modulus),
        ) => (symmetric, rsa_seed(hash, modulus, *exponent, usage, rng)?),
        (
            Parameters::Ecc {
                symmetric, curve, ..
            },
            Unique::Ecc { x, y },
        ) => (symmetric, ecc_seed(hash, *curve, x, y, usage, rng)?),
        _ => return Err(VerificationError::EkUnfit),
    };
    Ok(Encapsulated {
        protected: protect(hash, symmetric, &seed, name, data)?,
        encrypted_seed,
    })
}

/// Part 1 §B.10.3, §B.10.4: a random seed under OAEP with the use as label; the
/// hash of OAEP and of MGF1 is the EK's nameAlg.
fn rsa_seed(
    hash: HashAlg,
    modulus: &[u8],
    exponent: u32,
    usage: SeedUse,
    rng: &dyn SecureRandom,
) -> Result<(Zeroizing<Vec<u8>>, Vec<u8>), VerificationError> {
    let label = usage.label();
    // Zero stands for 2^16 + 1 (Part 2 §12.2.3.5).
    let exponent = if exponent == 0 { 65537 } else { exponent };
    let key = RsaPublicKey::new(BigUint::from_bytes_be(modulus), BigUint::from(exponent))
        .map_err(|_| VerificationError::EkUnfit)?;
    let padding = match hash {
        HashAlg::Sha256 => Oaep::new_with_label::<sha2::Sha256, _>(label),
        HashAlg::Sha384 => Oaep::new_with_label::<sha2::Sha384, _>(label),
        HashAlg::Sha512 => Oaep::new_with_label::<sha2::Sha512, _>(label),
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
    usage: SeedUse,
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
    let seed = agreement::agree_ephemeral(ephemeral, &peer, |z| {
        ecdh_seed(hash, z, usage, eph_x, &ek_x)
    })
    .map_err(|_| VerificationError::EkUnfit)?;
    Ok((seed, ecc_point(eph_x, eph_y)))
}

/// The seed from the shared x-coordinate. All three padded to the curve.
pub(super) fn ecdh_seed(
    hash: HashAlg,
    z: &[u8],
    usage: SeedUse,
    eph_x: &[u8],
    ek_x: &[u8],
) -> Zeroizing<Vec<u8>> {
    kdf_e(hash, z, usage.usage(), eph_x, ek_x, digest_bits(hash))
}

/// TPMS_ECC_POINT: TPM2B x ‖ TPM2B y.
pub(super) fn ecc_point(x: &[u8], y: &[u8]) -> Vec<u8> {
    [tpm2b(x), tpm2b(y)].concat()
}

/// Part 1 §22.4, §24.4: encryption, and integrity around it, for any seed.
pub(super) fn protect(
    hash: HashAlg,
    symmetric: &Symmetric,
    seed: &[u8],
    name: &Name,
    data: &[u8],
) -> Result<Vec<u8>, VerificationError> {
    let Symmetric::Aes { key_bits } = symmetric else {
        return Err(VerificationError::EkUnfit);
    };
    let key = kdf_a(hash, seed, b"STORAGE", name.as_bytes(), &[], *key_bits);
    // Encrypted where it lies: the only copy of the plaintext.
    let mut sealed = tpm2b(data);
    aes_cfb(&key, &mut sealed)?;

    let key = kdf_a(hash, seed, b"INTEGRITY", &[], &[], digest_bits(hash));
    let mut mac = hmac::Context::with_key(&hmac::Key::new(hmac_alg(hash), &key));
    mac.update(&sealed);
    mac.update(name.as_bytes());
    Ok([tpm2b(mac.sign().as_ref()), sealed].concat())
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

/// TPM2B: size and bytes.
pub(crate) fn tpm2b(bytes: &[u8]) -> Vec<u8> {
    let len = u16::try_from(bytes.len()).expect("digests, coordinates and secrets are short");
    [&len.to_be_bytes(), bytes].concat()
}

fn left_pad(bytes: &[u8], len: usize) -> Option<Vec<u8>> {
    let zeros = len.checked_sub(bytes.len())?;
    Some([&vec![0; zeros], bytes].concat())
}
