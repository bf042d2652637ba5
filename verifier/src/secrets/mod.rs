//! Secrets that the owner gives to the gateways of a class.
//!
//! In: a secret, the owner's keys, randomness. Out: [`StoredSecret`] for the
//! store, and [`deliver`] for one gateway's TPM. What is stored is encrypted
//! with a key of its own, and that key with the owner's ([`Kek`]): so the
//! owner's key is rotated without touching a secret.
//!
//! ```text
//! Secret ─Keks::seal─► StoredSecret ─Keks::open─► Secret ─deliver─► DeliveredSecret
//!                                                            ▲
//!            AttestationResult, affirming ─release─► SecretRelease, spent
//! ```

mod delivery;
mod kek;
mod stored;
#[cfg(test)]
mod tests;

use std::fmt;

use holdfast_proto::secrets::{MAX_DELIVERED, SecretName};
use thiserror::Error;
use zeroize::Zeroizing;

pub use delivery::{Delivery, deliver};
pub use kek::{Kek, Keks};
pub use stored::StoredSecret;

use crate::{freshness::Class, wrapping::WrapError};

/// Which secret: what its ciphertext is bound to.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct SecretId {
    /// Whose gateways it is for.
    pub class: Class,
    /// Its name.
    pub name: SecretName,
    /// Its version.
    pub version: u64,
}

/// A secret in clear, 1 to [`MAX_DELIVERED`] bytes. Wiped when dropped; Debug
/// shows nothing of it.
pub struct Secret(Zeroizing<Vec<u8>>);

impl Secret {
    /// # Errors
    /// [`SecretsError::Length`].
    pub fn new(bytes: Zeroizing<Vec<u8>>) -> Result<Self, SecretsError> {
        match bytes.len() {
            1..=MAX_DELIVERED => Ok(Self(bytes)),
            len => Err(SecretsError::Length { len }),
        }
    }

    /// Its bytes.
    #[must_use]
    pub fn expose(&self) -> &[u8] {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(_)")
    }
}

/// Why a secret is not kept, or not delivered.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum SecretsError {
    /// None, or too long.
    #[error("a secret has 1 to {MAX_DELIVERED} bytes, not {len}")]
    Length {
        /// What it has.
        len: usize,
    },
    /// There is no key to encrypt with.
    #[error("there is no key for secrets yet")]
    NoKey,
    /// The key that it is encrypted under is not in the keyring.
    #[error("the secret is kept under key {key_id}, which is not in the keyring")]
    UnknownKey {
        /// Id of the key of kind "secrets".
        key_id: String,
    },
    /// It is not what was stored in this place, under this key.
    #[error("the stored secret {0} does not decrypt: it, or its row, was changed")]
    Altered(String),
    /// The release is for another gateway or class.
    #[error("the secret is for class {secret}, the gateway was affirmed as {affirmed}")]
    OtherClass {
        /// The secret's.
        secret: String,
        /// The verdict's.
        affirmed: String,
    },
    /// The release is for another gateway than the TPM's.
    #[error("affirmed was another gateway than the one that the TPM makes")]
    OtherGateway,
    /// Not wrapped for the TPM.
    #[error(transparent)]
    Wrap(#[from] WrapError),
    /// A private key from which none can be derived.
    #[error("not a P-256 key in PKCS#8")]
    NotAKey,
    /// The system gave no randomness.
    #[error("no randomness")]
    NoRandomness,
}
