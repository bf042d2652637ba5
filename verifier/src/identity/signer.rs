//! Keys that sign for the Verifier: the CA's behind [`CaSigner`], and the key
//! that signs attestation results.

use std::{fmt, time::Duration};

use ring::{
    rand::{SecureRandom, SystemRandom},
    signature::{
        ECDSA_P256_SHA256_ASN1_SIGNING, ECDSA_P256_SHA256_FIXED_SIGNING,
        ECDSA_P384_SHA384_ASN1_SIGNING, EcdsaKeyPair, EcdsaSigningAlgorithm, KeyPair as _,
    },
};
use rustls_pki_types::{PrivatePkcs8KeyDer, pem::PemObject as _};
use zeroize::{Zeroize as _, Zeroizing};

use super::{
    IdentityError,
    ca_public::{CaCurve, CaPublic},
    pem,
};

/// A CA key, wherever it lives: a file, a PKCS#11 token, a TPM.
pub trait CaSigner: fmt::Debug + Send + Sync {
    /// The public key that signatures verify under.
    fn public(&self) -> &CaPublic;

    /// Signs `message` (hashing it as its curve has it, [`CaPublic`]); answers
    /// a DER `Ecdsa-Sig-Value`. What signs brings its own randomness.
    ///
    /// Blocks its thread, for seconds where the key lives in a device, and
    /// never longer than [`SIGN_TIMEOUT`]: to be called from a thread that may
    /// block, never from one of the runtime's workers.
    ///
    /// # Errors
    /// [`SignError`] where the key cannot be used.
    fn sign(&self, message: &[u8]) -> Result<Vec<u8>, SignError>;
}

/// Longest that a key in a device may take to sign: five times what the slowest
/// discrete TPMs need (STANDARDS §11), and less than a request's time.
pub const SIGN_TIMEOUT: Duration = Duration::from_secs(5);

/// The key did not sign.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SignError {
    /// The system gave no random bytes.
    #[error("the signing key did not sign: no randomness")]
    NoRandomness,
    /// Its device did not answer in time.
    #[error("the signing key's device did not answer within {} s", SIGN_TIMEOUT.as_secs())]
    TimedOut,
    /// Its device is still busy with what was asked before.
    #[error("the signing key's device is busy")]
    Busy,
    /// Another key is where the CA's was (C27).
    #[error("the signing key was exchanged: {0}")]
    Substituted(String),
    /// Its device refused, or is gone.
    #[error("the signing key is not to be had: {0}")]
    Unavailable(String),
}

/// A CA key from a PKCS#8 file, in this process's memory. ring does not wipe
/// the scalar when the value is dropped; a deployment that minds keeps its
/// key in a PKCS#11 token.
pub struct FileSigner {
    key: EcdsaKeyPair,
    public: CaPublic,
    rng: SystemRandom,
}

impl FileSigner {
    /// From PKCS#8 DER (RFC 5958), P-256 or P-384.
    ///
    /// # Errors
    /// [`IdentityError::BadKey`] for anything but a consistent key.
    pub fn from_pkcs8(der: &[u8]) -> Result<Self, IdentityError> {
        let rng = SystemRandom::new();
        let key = key_pair(&ECDSA_P256_SHA256_ASN1_SIGNING, der, &rng)
            .or_else(|e| key_pair(&ECDSA_P384_SHA384_ASN1_SIGNING, der, &rng).map_err(|_| e))?;
        let public = CaPublic::from_point(key.public_key().as_ref())?;
        Ok(Self { key, public, rng })
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
    fn public(&self) -> &CaPublic {
        &self.public
    }

    fn sign(&self, message: &[u8]) -> Result<Vec<u8>, SignError> {
        let signature = self
            .key
            .sign(&self.rng, message)
            .map_err(|_| SignError::NoRandomness)?;
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
    public: CaPublic,
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
        let public = CaPublic::from_point(key.public_key().as_ref())?;
        let id = crate::digest::sha256(&[&public.spki()]);
        Ok(Self {
            key,
            public,
            rng,
            id,
        })
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

    /// DER SubjectPublicKeyInfo.
    #[must_use]
    pub fn public_spki(&self) -> Vec<u8> {
        self.public.spki()
    }

    /// SubjectPublicKeyInfo in PEM, for relying parties.
    #[must_use]
    pub fn public_pem(&self) -> String {
        pem::encode("PUBLIC KEY", &self.public.spki())
    }

    /// Signs `message` with ES256: `r ‖ s`, 64 bytes.
    ///
    /// # Errors
    /// [`SignError`] where the system has no randomness to give.
    pub fn sign(&self, message: &[u8]) -> Result<Vec<u8>, SignError> {
        let signature = self
            .key
            .sign(&self.rng, message)
            .map_err(|_| SignError::NoRandomness)?;
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
    generate_pkcs8_on(CaCurve::P256, rng)
}

/// The same, on `curve`.
pub(super) fn generate_pkcs8_on(
    curve: CaCurve,
    rng: &dyn SecureRandom,
) -> Result<Zeroizing<Vec<u8>>, IdentityError> {
    let algorithm = match curve {
        CaCurve::P256 => &ECDSA_P256_SHA256_ASN1_SIGNING,
        CaCurve::P384 => &ECDSA_P384_SHA384_ASN1_SIGNING,
    };
    let document = EcdsaKeyPair::generate_pkcs8(algorithm, rng)
        .map_err(|ring::error::Unspecified| IdentityError::NoRandomness)?;
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
