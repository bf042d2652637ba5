//! Which signatures count, and verifying one outside a path.

use ring::signature::{RSA_PKCS1_2048_8192_SHA1_FOR_LEGACY_USE_ONLY, UnparsedPublicKey};
use rustls_pki_types::{
    AlgorithmIdentifier, InvalidSignature, SignatureVerificationAlgorithm, alg_id,
};
use webpki::ring as algs;

use super::{
    der::{self, NotDer, Reader},
    leniency::{Leniencies, Leniency},
};

/// Signature algorithms taken in a path: the last one only where the owner lets
/// SHA-1 pass. No MD5, no RSA under 2048 ever.
static ALGORITHMS: &[&dyn SignatureVerificationAlgorithm] = &[
    algs::ECDSA_P256_SHA256,
    algs::ECDSA_P256_SHA384,
    algs::ECDSA_P384_SHA256,
    algs::ECDSA_P384_SHA384,
    algs::RSA_PKCS1_2048_8192_SHA256,
    algs::RSA_PKCS1_2048_8192_SHA384,
    algs::RSA_PKCS1_2048_8192_SHA512,
    algs::RSA_PKCS1_2048_8192_SHA256_ABSENT_PARAMS,
    algs::RSA_PKCS1_2048_8192_SHA384_ABSENT_PARAMS,
    algs::RSA_PKCS1_2048_8192_SHA512_ABSENT_PARAMS,
    algs::RSA_PSS_2048_8192_SHA256_LEGACY_KEY,
    algs::RSA_PSS_2048_8192_SHA384_LEGACY_KEY,
    algs::RSA_PSS_2048_8192_SHA512_LEGACY_KEY,
    &RsaSha1,
];

/// The algorithms that `leniencies` leave.
pub(super) fn algorithms(
    leniencies: &Leniencies,
) -> &'static [&'static dyn SignatureVerificationAlgorithm] {
    let strong = ALGORITHMS.split_last().map_or(ALGORITHMS, |(_, rest)| rest);
    if leniencies.allow(Leniency::Sha1Signature) {
        ALGORITHMS
    } else {
        strong
    }
}

/// Whether `signature` over `message` is by the key in `spki` (whole DER),
/// with the algorithm of that identifier (content of its SEQUENCE).
pub(super) fn verifies(
    spki: &[u8],
    algorithm: &[u8],
    message: &[u8],
    signature: &[u8],
    leniencies: &Leniencies,
) -> bool {
    let key = || -> Result<(&[u8], &[u8]), NotDer> {
        let mut info = Reader::new(spki).enter(der::SEQUENCE)?;
        let kind = info.tagged(der::SEQUENCE)?.content;
        let bits = der::whole_octets(info.tagged(der::BIT_STRING)?.content)?;
        Ok((kind, bits))
    };
    let Ok((kind, bits)) = key() else {
        return false;
    };
    algorithms(leniencies)
        .iter()
        .filter(|alg| *alg.public_key_alg_id() == *kind && *alg.signature_alg_id() == *algorithm)
        .any(|alg| alg.verify_signature(bits, message, signature).is_ok())
}

/// RSASSA-PKCS1-v1_5 with SHA-1: webpki has none.
#[derive(Debug)]
struct RsaSha1;

impl SignatureVerificationAlgorithm for RsaSha1 {
    fn public_key_alg_id(&self) -> AlgorithmIdentifier {
        alg_id::RSA_ENCRYPTION
    }

    fn signature_alg_id(&self) -> AlgorithmIdentifier {
        // sha1WithRSAEncryption 1.2.840.113549.1.1.5, NULL (RFC 3279 §2.2.1).
        AlgorithmIdentifier::from_slice(&[
            0x06, 0x09, 0x2A, 0x86, 0x48, 0x86, 0xF7, 0x0D, 0x01, 0x01, 0x05, 0x05, 0x00,
        ])
    }

    fn verify_signature(
        &self,
        public_key: &[u8],
        message: &[u8],
        signature: &[u8],
    ) -> Result<(), InvalidSignature> {
        UnparsedPublicKey::new(&RSA_PKCS1_2048_8192_SHA1_FOR_LEGACY_USE_ONLY, public_key)
            .verify(message, signature)
            .map_err(|_| InvalidSignature)
    }
}
