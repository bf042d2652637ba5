//! Keys that sign for the Verifier: the CA's behind [`CaSigner`], and the key
//! that signs attestation results.

use std::fmt;

use ring::{
    rand::{SecureRandom, SystemRandom},
    signature::{
        ECDSA_P256_SHA256_ASN1_SIGNING, ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair,
        EcdsaSigningAlgorithm, KeyPair as _,
    },
};
use rustls_pki_types::{PrivatePkcs8KeyDer, pem::PemObject as _};
use zeroize::{Zeroize as _, Zeroizing};

use super::{IdentityError, certificate, pem};

/// A CA key, wherever it lives. ECDSA P-256 with SHA-256 only.
pub trait CaSigner: fmt::Debug + Send + Sync {
    /// The public key as an uncompressed point (SEC 1 §2.3.3), 65 bytes.
    fn public_point(&self) -> &[u8];

    /// Signs `message` (hashing it with SHA-256); answers a DER
    /// `Ecdsa-Sig-Value`. What signs brings its own randomness.
    ///
    /// # Errors
    /// [`SignError`] where the key cannot be used.
    fn sign(&self, message: &[u8]) -> Result<Vec<u8>, SignError>;
}

/// The key is there but did not sign.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the signing key did not sign")]
pub struct SignError;

/// A CA key from a PKCS#8 file, in this process's memory. ring does not wipe
/// the scalar when the value is dropped; a deployment that minds keeps its
/// key in a PKCS#11 token.
pub struct FileSigner {
    key: EcdsaKeyPair,
    rng: SystemRandom,
}

impl FileSigner {
    /// From PKCS#8 DER (RFC 5958), P-256.
    ///
    /// # Errors
    /// [`IdentityError::BadKey`] for anything but a consistent P-256 key.
    pub fn from_pkcs8(der: &[u8]) -> Result<Self, IdentityError> {
        let rng = SystemRandom::new();
        Ok(Self {
            key: key_pair(&ECDSA_P256_SHA256_ASN1_SIGNING, der, &rng)?,
            rng,
        })
    }

    /// From the text of a PEM file whose first `PRIVATE KEY` block it is.
    ///
    /// # Errors
    /// [`IdentityError::BadKey`] as [`FileSigner::from_pkcs8`].
    pub fn from_pkcs8_pem(text: &str) -> Result<Self, IdentityError> {
        Self::from_pkcs8(&pkcs8_of_pem(text)?)
    }
}

impl CaSigner for FileSigner {
    fn public_point(&self) -> &[u8] {
        self.key.public_key().as_ref()
    }

    fn sign(&self, message: &[u8]) -> Result<Vec<u8>, SignError> {
        let signature = self.key.sign(&self.rng, message).map_err(|_| SignError)?;
        Ok(signature.as_ref().to_vec())
    }
}

impl fmt::Debug for FileSigner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("FileSigner { key: [redacted] }")
    }
}

/// The key that signs attestation results (ES256: `r ‖ s`, 64 bytes).
pub struct ResultKey {
    key: EcdsaKeyPair,
    rng: SystemRandom,
    id: [u8; 32],
}

impl ResultKey {
    /// From PKCS#8 DER (RFC 5958), P-256.
    ///
    /// # Errors
    /// [`IdentityError::BadKey`] for anything but a consistent P-256 key.
    pub fn from_pkcs8(der: &[u8]) -> Result<Self, IdentityError> {
        let rng = SystemRandom::new();
        let key = key_pair(&ECDSA_P256_SHA256_FIXED_SIGNING, der, &rng)?;
        let spki = certificate::p256_spki(key.public_key().as_ref());
        let id = crate::digest::sha256(&[&spki]);
        Ok(Self { key, rng, id })
    }

    /// From the text of a PEM file whose first `PRIVATE KEY` block it is.
    ///
    /// # Errors
    /// [`IdentityError::BadKey`] as [`ResultKey::from_pkcs8`].
    pub fn from_pkcs8_pem(text: &str) -> Result<Self, IdentityError> {
        Self::from_pkcs8(&pkcs8_of_pem(text)?)
    }

    /// Key identifier for `kid`: SHA-256 of the SubjectPublicKeyInfo.
    #[must_use]
    pub fn id(&self) -> &[u8; 32] {
        &self.id
    }

    /// SubjectPublicKeyInfo in PEM, for relying parties.
    #[must_use]
    pub fn public_pem(&self) -> String {
        pem::encode(
            "PUBLIC KEY",
            &certificate::p256_spki(self.key.public_key().as_ref()),
        )
    }

    /// Signs `message` with ES256: `r ‖ s`, 64 bytes.
    ///
    /// # Errors
    /// [`SignError`] where the system has no randomness to give.
    pub fn sign(&self, message: &[u8]) -> Result<Vec<u8>, SignError> {
        let signature = self.key.sign(&self.rng, message).map_err(|_| SignError)?;
        Ok(signature.as_ref().to_vec())
    }
}

impl fmt::Debug for ResultKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ResultKey")
            .field("id", &hex::encode(self.id))
            .finish_non_exhaustive()
    }
}

/// A new P-256 key in PKCS#8 DER, wiped when dropped.
pub(super) fn generate_pkcs8(rng: &dyn SecureRandom) -> Result<Zeroizing<Vec<u8>>, IdentityError> {
    let document = EcdsaKeyPair::generate_pkcs8(&ECDSA_P256_SHA256_ASN1_SIGNING, rng)
        .map_err(|_| IdentityError::NoRandomness)?;
    Ok(Zeroizing::new(document.as_ref().to_vec()))
}

fn key_pair(
    alg: &'static EcdsaSigningAlgorithm,
    der: &[u8],
    rng: &SystemRandom,
) -> Result<EcdsaKeyPair, IdentityError> {
    EcdsaKeyPair::from_pkcs8(alg, der, rng)
        .map_err(|rejected| IdentityError::BadKey(rejected.to_string()))
}

fn pkcs8_of_pem(text: &str) -> Result<Zeroizing<Vec<u8>>, IdentityError> {
    let mut key = PrivatePkcs8KeyDer::from_pem_slice(text.as_bytes())
        .map_err(|error| IdentityError::BadKey(error.to_string()))?;
    let der = Zeroizing::new(key.secret_pkcs8_der().to_vec());
    key.zeroize();
    Ok(der)
}
