//! The owner's private key, in the hands of the owner's own command line: the
//! service never has it.

use std::fmt;

use ring::{
    rand::SecureRandom,
    signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair as _},
};
use rustls_pki_types::{PrivatePkcs8KeyDer, pem::PemObject as _};
use zeroize::{Zeroize as _, Zeroizing};

use super::{Kind, OwnerError, OwnerKey, Statement};
use crate::digest::sha256;

/// Signs statements. ring does not wipe the scalar when the value is dropped;
/// the process that holds one ends right after.
pub struct OwnerSigner {
    key: EcdsaKeyPair,
    public: OwnerKey,
}

impl OwnerSigner {
    /// From the text of `policy-root.key.pem`: its first `PRIVATE KEY` block.
    ///
    /// # Errors
    /// [`OwnerError::BadPrivateKey`] for anything but a consistent P-256 key in
    /// PKCS#8.
    pub fn from_pkcs8_pem(text: &str, rng: &dyn SecureRandom) -> Result<Self, OwnerError> {
        let mut key = PrivatePkcs8KeyDer::from_pem_slice(text.as_bytes())
            .map_err(|_| OwnerError::BadPrivateKey)?;
        let der = Zeroizing::new(key.secret_pkcs8_der().to_vec());
        key.zeroize();
        Self::from_pkcs8(&der, rng)
    }

    /// From PKCS#8 DER (RFC 5958).
    ///
    /// # Errors
    /// As [`OwnerSigner::from_pkcs8_pem`].
    pub fn from_pkcs8(der: &[u8], rng: &dyn SecureRandom) -> Result<Self, OwnerError> {
        let key = EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, der, rng)
            .map_err(|_| OwnerError::BadPrivateKey)?;
        let public = OwnerKey::from_point(key.public_key().as_ref())?;
        Ok(Self { key, public })
    }

    /// The public half.
    #[must_use]
    pub const fn public(&self) -> &OwnerKey {
        &self.public
    }

    /// Signs a statement: COSE_Sign1, at most 256 bytes.
    ///
    /// # Errors
    /// [`OwnerError::NoRandomness`].
    pub fn sign(
        &self,
        statement: &Statement,
        rng: &dyn SecureRandom,
    ) -> Result<Vec<u8>, OwnerError> {
        statement.sign(self.public.id(), |message| {
            let signature = self.key.sign(rng, message);
            signature
                .map(|signature| signature.as_ref().to_vec())
                .map_err(|_| OwnerError::NoRandomness)
        })
    }

    /// Says of `document` that it is `version` of `subject`.
    ///
    /// # Errors
    /// As [`OwnerSigner::sign`].
    pub fn state(
        &self,
        kind: Kind,
        subject: &str,
        version: u64,
        document: &[u8],
        rng: &dyn SecureRandom,
    ) -> Result<Vec<u8>, OwnerError> {
        let statement = Statement {
            kind,
            subject: subject.to_owned(),
            version,
            sha256: sha256(&[document]),
        };
        self.sign(&statement, rng)
    }
}

impl fmt::Debug for OwnerSigner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("OwnerSigner")
            .field("public", &self.public)
            .finish_non_exhaustive()
    }
}
