//! TPM signatures, by the key's own scheme and no other (TPM 2.0 Part 2
//! §11.3; ADVERSARY A11).

use holdfast_proto::tpm::{EccCurve, HashAlg, Parameters, Public, Signature, Unique};
use ring::signature::{
    ECDSA_P256_SHA256_FIXED, ECDSA_P384_SHA384_FIXED, RSA_PKCS1_2048_8192_SHA256,
    RSA_PKCS1_2048_8192_SHA384, RSA_PKCS1_2048_8192_SHA512, RsaParameters, RsaPublicKeyComponents,
    UnparsedPublicKey,
};

use super::{
    error::SignatureFault,
    keys::{AkPublic, AkScheme},
    pss,
};

/// Order of the group of P-256 (SP 800-186 §3.2.1.3).
const P256_ORDER: [u8; 32] = [
    0xFF, 0xFF, 0xFF, 0xFF, 0x00, 0x00, 0x00, 0x00, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF,
    0xBC, 0xE6, 0xFA, 0xAD, 0xA7, 0x17, 0x9E, 0x84, 0xF3, 0xB9, 0xCA, 0xC2, 0xFC, 0x63, 0x25, 0x51,
];

/// Order of the group of P-384 (SP 800-186 §3.2.1.4).
const P384_ORDER: [u8; 48] = [
    0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF,
    0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xC7, 0x63, 0x4D, 0x81, 0xF4, 0x37, 0x2D, 0xDF,
    0x58, 0x1A, 0x0D, 0xB2, 0x48, 0xB0, 0xA7, 0x7A, 0xEC, 0xEC, 0x19, 0x6A, 0xCC, 0xC5, 0x29, 0x73,
];

/// Checks `signature` by `ak` over `message`, which must be the bytes as they
/// were received.
///
/// # Errors
/// [`SignatureFault`] says what is wrong with it.
pub fn verify_signature(
    ak: &AkPublic,
    message: &[u8],
    signature: &Signature,
) -> Result<(), SignatureFault> {
    verify_by(ak.public(), ak.scheme(), message, signature)
}

/// The same by any key, whose checklist says that `scheme` is its own.
pub(super) fn verify_by(
    public: &Public,
    scheme: AkScheme,
    message: &[u8],
    signature: &Signature,
) -> Result<(), SignatureFault> {
    let other = SignatureFault::Scheme(scheme);
    match (scheme, signature) {
        (
            AkScheme::EcdsaP256,
            Signature::Ecdsa {
                hash: HashAlg::Sha256,
                r,
                s,
            },
        ) => ecdsa(public, EccCurve::P256, message, r, s),
        (
            AkScheme::EcdsaP384,
            Signature::Ecdsa {
                hash: HashAlg::Sha384,
                r,
                s,
            },
        ) => ecdsa(public, EccCurve::P384, message, r, s),
        (AkScheme::RsaSsa(scheme), Signature::RsaSsa { hash, sig }) if scheme == *hash => {
            let (modulus, exponent) = rsa_key(public)?;
            let parameters = rsassa(scheme).ok_or(other)?;
            rsa_length(modulus, sig)?;
            RsaPublicKeyComponents {
                n: modulus,
                e: exponent,
            }
            .verify(parameters, message, sig)
            .map_err(|_| SignatureFault::Invalid)
        }
        (AkScheme::RsaPss(scheme), Signature::RsaPss { hash, sig }) if scheme == *hash => {
            let (modulus, exponent) = rsa_key(public)?;
            rsa_length(modulus, sig)?;
            pss::verify(scheme, modulus, exponent, message, sig)
        }
        _ => Err(other),
    }
}

/// Checks a raw ECDSA signature r ‖ s (RFC 9053 §2.1), with the curve's own
/// hash, by the key in `public`.
pub(super) fn verify_fixed(
    public: &Public,
    curve: EccCurve,
    message: &[u8],
    fixed: &[u8],
) -> Result<(), SignatureFault> {
    if fixed.len() != 2 * curve.coordinate_len() {
        return Err(SignatureFault::Length);
    }
    let (r, s) = fixed.split_at(curve.coordinate_len());
    ecdsa(public, curve, message, r, s)
}

/// High s is accepted: FIPS 186-5 allows it and TPMs make it. Nothing here
/// uses a signature as an identifier.
fn ecdsa(
    public: &Public,
    curve: EccCurve,
    message: &[u8],
    r: &[u8],
    s: &[u8],
) -> Result<(), SignatureFault> {
    let (alg, order): (_, &[u8]) = match curve {
        EccCurve::P256 => (&ECDSA_P256_SHA256_FIXED, &P256_ORDER),
        EccCurve::P384 => (&ECDSA_P384_SHA384_FIXED, &P384_ORDER),
        // Neither checklist lets P-521 through.
        EccCurve::P521 => return Err(SignatureFault::Invalid),
    };
    let len = curve.coordinate_len();
    let fixed = [scalar(r, order)?, scalar(s, order)?].concat();
    let Unique::Ecc { x, y } = &public.unique else {
        return Err(SignatureFault::Invalid);
    };
    // Longer coordinates were refused by the checklists.
    let pad = |c: &[u8]| [vec![0; len.saturating_sub(c.len())], c.to_vec()].concat();
    let point = [vec![4], pad(x), pad(y)].concat();
    UnparsedPublicKey::new(alg, point)
        .verify(message, &fixed)
        .map_err(|_| SignatureFault::Invalid)
}

/// A scalar in 1..order, padded to the order's length. A TPM may strip leading
/// zeros; it never adds any.
fn scalar(bytes: &[u8], order: &[u8]) -> Result<Vec<u8>, SignatureFault> {
    let zeros = order
        .len()
        .checked_sub(bytes.len())
        .ok_or(SignatureFault::Length)?;
    if bytes.is_empty() {
        return Err(SignatureFault::Length);
    }
    if bytes.iter().all(|b| *b == 0) {
        return Err(SignatureFault::Zero);
    }
    let padded = [&vec![0; zeros], bytes].concat();
    // Equal lengths: bytes compare as numbers.
    if padded.as_slice() >= order {
        Err(SignatureFault::Range)
    } else {
        Ok(padded)
    }
}

fn rsa_key(public: &Public) -> Result<(&[u8], &'static [u8]), SignatureFault> {
    /// 65537: the checklist takes no other.
    const EXPONENT: &[u8] = &[1, 0, 1];
    match (&public.parameters, &public.unique) {
        (Parameters::Rsa { .. }, Unique::Rsa(modulus)) => Ok((modulus, EXPONENT)),
        _ => Err(SignatureFault::Invalid),
    }
}

/// RFC 8017 §8.1.2, §8.2.2: exactly as long as the modulus, and below it.
fn rsa_length(modulus: &[u8], sig: &[u8]) -> Result<(), SignatureFault> {
    if sig.len() != modulus.len() {
        Err(SignatureFault::Length)
    } else if sig >= modulus {
        Err(SignatureFault::Range)
    } else {
        Ok(())
    }
}

fn rsassa(hash: HashAlg) -> Option<&'static RsaParameters> {
    match hash {
        HashAlg::Sha1 => None,
        HashAlg::Sha256 => Some(&RSA_PKCS1_2048_8192_SHA256),
        HashAlg::Sha384 => Some(&RSA_PKCS1_2048_8192_SHA384),
        HashAlg::Sha512 => Some(&RSA_PKCS1_2048_8192_SHA512),
    }
}
