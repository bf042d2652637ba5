//! Signs files as `evmctl ima_sign` does: `security.ima` with a signature of
//! version 2, by an ECDSA P-256 key.

use std::fmt;

use holdfast_proto::tpm::HashAlg;
use ring::error::Unspecified;
use ring::rand::SystemRandom;
use ring::signature::{ECDSA_P256_SHA256_ASN1_SIGNING, EcdsaKeyPair, KeyPair as _};

/// DER SubjectPublicKeyInfo of a P-256 key, up to its point (RFC 5480 §2).
const P256_SPKI: [u8; 26] = [
    0x30, 0x59, 0x30, 0x13, 0x06, 0x07, 0x2A, 0x86, 0x48, 0xCE, 0x3D, 0x02, 0x01, 0x06, 0x08, 0x2A,
    0x86, 0x48, 0xCE, 0x3D, 0x03, 0x01, 0x07, 0x03, 0x42, 0x00,
];
/// `EVM_IMA_XATTR_DIGSIG`, version 2, `HASH_ALGO_SHA256`
const HEADER: [u8; 3] = [3, 2, 4];

/// A key that signs files.
pub struct ImaSigner(EcdsaKeyPair);

impl ImaSigner {
    /// A new key.
    ///
    /// # Errors
    /// Where the system gives no randomness.
    pub fn generate() -> Result<Self, Unspecified> {
        let rng = SystemRandom::new();
        let pkcs8 = EcdsaKeyPair::generate_pkcs8(&ECDSA_P256_SHA256_ASN1_SIGNING, &rng)?;
        EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_ASN1_SIGNING, pkcs8.as_ref(), &rng)
            .map(Self)
            .map_err(|_| Unspecified)
    }

    /// DER SubjectPublicKeyInfo.
    #[must_use]
    pub fn spki_der(&self) -> Vec<u8> {
        [P256_SPKI.as_slice(), self.0.public_key().as_ref()].concat()
    }

    /// What names the key in a signature: the end of the SHA-1 of its point
    /// (RFC 5280 §4.2.1.2, method 1).
    #[must_use]
    pub fn key_id(&self) -> [u8; 4] {
        let id = HashAlg::Sha1.digest(&[self.0.public_key().as_ref()]);
        *id.as_bytes()
            .last_chunk()
            .expect("a SHA-1 digest has 20 bytes")
    }

    /// The content of `security.ima` for a file with this content.
    ///
    /// # Panics
    /// Where the system gives no randomness.
    #[must_use]
    pub fn sign(&self, content: &[u8]) -> Vec<u8> {
        // Hashing the content is what ring does first: the signature is over
        // its SHA-256, as IMA's is.
        let signature = self
            .0
            .sign(&SystemRandom::new(), content)
            .expect("the system gives randomness");
        let len = u16::try_from(signature.as_ref().len()).expect("at most 72 bytes");
        [
            HEADER.as_slice(),
            &self.key_id(),
            &len.to_be_bytes(),
            signature.as_ref(),
        ]
        .concat()
    }
}

impl fmt::Debug for ImaSigner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ImaSigner(..)")
    }
}
