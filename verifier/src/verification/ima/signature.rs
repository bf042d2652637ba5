//! Signatures of measured files (`ima-sig`, `ima-sigv2`), by keys that the
//! owner lets vouch for files.
//!
//! A signature is over a digest, not over a message that is here, so `ring`,
//! which hashes for itself, cannot verify it; `rsa` and `p256` can.

use holdfast_proto::{
    ima_log::{DigestKind, Entry, Field, ImaSignature},
    tpm::{EccCurve, HashAlg, Parameters, Unique},
};
use p256::ecdsa::signature::hazmat::PrehashVerifier as _;
use rsa::{BigUint, Pkcs1v15Sign, RsaPublicKey};

use super::vouched::{Answer, SignatureBudget, Vouched};
use crate::endorsement::KeyMaterial;

/// Longest RSA modulus taken, in bits. A public operation with more is slow.
const RSA_MAX_BITS: usize = 4096;
/// What an RSA key's exponent is where the structure says 0.
const DEFAULT_EXPONENT: u32 = 65_537;
/// `IMA_VERITY_DIGSIG`
const VERITY_DIGSIG: u8 = 6;

/// What is known of a file's signature.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SignatureVerdict {
    /// The entry has none.
    None,
    /// By one of the keys, over the file's digest.
    Valid,
    /// Names one of the keys, and is not by it or over something else.
    Invalid,
    /// By a key that is not among them.
    UnknownKey,
    /// Not looked at: this exchange has verified as many as it may
    /// ([`MAX_SIGNATURES`](super::MAX_SIGNATURES)).
    Unchecked,
    /// Of a format, hash or kind of key that is not looked at here: portable
    /// EVM signatures, SHA-1, curves other than P-256.
    Unsupported,
}

/// Verifies the signature in an entry, unless it is known to be valid. `keys`
/// gives the DER SubjectPublicKeyInfo of those keys that a key id may mean.
#[must_use]
pub fn verify_file_signature<'k, I: Iterator<Item = &'k [u8]>>(
    entry: &Entry<'_>,
    keys: impl FnOnce([u8; 4]) -> I,
    vouched: &Vouched,
    budget: &mut SignatureBudget,
) -> SignatureVerdict {
    let Some(field) = entry.field(Field::Signature).filter(|f| !f.is_empty()) else {
        return SignatureVerdict::None;
    };
    let Some(signature) = ImaSignature::parse(field) else {
        return SignatureVerdict::Unsupported;
    };
    let mut verdict = SignatureVerdict::UnknownKey;
    let mut signed = None;
    for spki in keys(signature.key_id) {
        let digest = match signed.get_or_insert_with(|| signed_digest(entry, field, &signature)) {
            Ok(digest) => &*digest,
            Err(other) => return *other,
        };
        let (alg, over) = digest;
        let parts = [spki, alg.name().as_bytes(), over, signature.bytes];
        match vouched.is_valid(parts, budget, || verify(spki, digest, signature.bytes)) {
            Answer::Known(true) => return SignatureVerdict::Valid,
            Answer::Unchecked => return SignatureVerdict::Unchecked,
            Answer::Known(false) => verdict = SignatureVerdict::Invalid,
            Answer::Unsupported if verdict == SignatureVerdict::UnknownKey => {
                verdict = SignatureVerdict::Unsupported;
            }
            Answer::Unsupported => {}
        }
    }
    verdict
}

/// A digest and its algorithm.
type Hashed = (HashAlg, Vec<u8>);

/// What the signature is over: version 2, the file's digest; version 3, the
/// digest of `ima_file_id`, which holds it (Linux, `calc_file_id_hash`).
fn signed_digest(
    entry: &Entry<'_>,
    field: &[u8],
    signature: &ImaSignature<'_>,
) -> Result<Hashed, SignatureVerdict> {
    let alg = match signature.hash() {
        None | Some(HashAlg::Sha1) => return Err(SignatureVerdict::Unsupported),
        Some(alg) => alg,
    };
    let digest = entry.file_digest().ok_or(SignatureVerdict::Invalid)?;
    // Kernels that hold a file against its signature measure it with the
    // signature's algorithm; of one that does not, nothing can be said.
    if digest.hash() != Some(alg) || digest.bytes.len() != alg.digest_len() {
        return Err(SignatureVerdict::Unsupported);
    }
    let kind = field.first().copied().unwrap_or_default();
    let expected = if kind == VERITY_DIGSIG {
        DigestKind::Verity
    } else {
        DigestKind::Contents
    };
    if digest.kind != expected {
        return Err(SignatureVerdict::Invalid);
    }
    let over = match signature.version {
        2 => digest.bytes.to_vec(),
        _ => alg
            .digest(&[&[kind, signature.hash_algo], digest.bytes])
            .as_bytes()
            .to_vec(),
    };
    Ok((alg, over))
}

/// None for a key that cannot be used.
fn verify(spki: &[u8], (alg, digest): &Hashed, signature: &[u8]) -> Option<bool> {
    let key = KeyMaterial::from_spki_der(spki).ok()?;
    match (&key.parameters, &key.unique) {
        (Parameters::Rsa { exponent, .. }, Unique::Rsa(modulus)) => {
            let exponent = match exponent {
                0 => DEFAULT_EXPONENT,
                other => *other,
            };
            rsa(modulus, exponent, *alg, digest, signature)
        }
        (
            Parameters::Ecc {
                curve: EccCurve::P256,
                ..
            },
            Unique::Ecc { x, y },
        ) => p256(x, y, digest, signature),
        _ => None,
    }
}

/// RSASSA-PKCS1-v1_5 (RFC 8017 §8.2) over a digest. None for a key that cannot
/// be used.
fn rsa(modulus: &[u8], exponent: u32, alg: HashAlg, digest: &[u8], sig: &[u8]) -> Option<bool> {
    let scheme = match alg {
        HashAlg::Sha256 => Pkcs1v15Sign::new::<sha2::Sha256>(),
        HashAlg::Sha384 => Pkcs1v15Sign::new::<sha2::Sha384>(),
        HashAlg::Sha512 => Pkcs1v15Sign::new::<sha2::Sha512>(),
        HashAlg::Sha1 => return None,
    };
    let n = BigUint::from_bytes_be(modulus);
    let key = RsaPublicKey::new_with_max_size(n, BigUint::from(exponent), RSA_MAX_BITS).ok()?;
    Some(key.verify(scheme, digest, sig).is_ok())
}

/// ECDSA on P-256 over a digest, the signature in DER.
fn p256(x: &[u8], y: &[u8], digest: &[u8], sig: &[u8]) -> Option<bool> {
    let point = [[4].as_slice(), &padded(x)?, &padded(y)?].concat();
    let key = p256::ecdsa::VerifyingKey::from_sec1_bytes(&point).ok()?;
    let valid = p256::ecdsa::Signature::from_der(sig)
        .is_ok_and(|sig| key.verify_prehash(digest, &sig).is_ok());
    Some(valid)
}

/// A coordinate at its full length.
fn padded(coordinate: &[u8]) -> Option<Vec<u8>> {
    let zeros = 32_usize.checked_sub(coordinate.len())?;
    Some([vec![0; zeros], coordinate.to_vec()].concat())
}
