//! The keys in a backup: encrypted under a passphrase, together with the
//! digest of the manifest.
//!
//! PBKDF2-HMAC-SHA256 (RFC 8018) makes the key, AES-256-GCM encrypts. Salt and
//! nonce are random and used once.

use std::num::NonZeroU32;

use ring::{
    aead::{AES_256_GCM, Aad, LessSafeKey, MAX_TAG_LEN, NONCE_LEN, Nonce, UnboundKey},
    pbkdf2,
    rand::SecureRandom,
};
use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

use super::BackupError;
use crate::store::Sha256;

/// Bytes of a passphrase at least. Many iterations help only what is not on a
/// list of common passwords.
pub(super) const PASSPHRASE_MIN: usize = 12;
/// OWASP's number for PBKDF2-HMAC-SHA256 of 2023; some 0.2 s.
const ITERATIONS: u32 = 600_000;
/// What a manifest may ask for, so that a made-up one cannot keep us busy, and
/// cannot have been made weak.
const ITERATIONS_TAKEN: std::ops::RangeInclusive<u32> = 100_000..=10_000_000;

/// How the secrets are encrypted; in the manifest.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Encryption {
    /// Rounds of PBKDF2-HMAC-SHA256.
    iterations: u32,
    /// 16 bytes.
    #[serde(with = "super::manifest::as_hex")]
    salt: [u8; 16],
    /// 12 bytes.
    #[serde(with = "super::manifest::as_hex")]
    nonce: [u8; NONCE_LEN],
}

impl Encryption {
    /// With fresh salt and nonce.
    ///
    /// # Errors
    /// [`BackupError::NoRandomness`].
    pub(super) fn fresh(rng: &dyn SecureRandom) -> Result<Self, BackupError> {
        let mut fresh = Self {
            iterations: ITERATIONS,
            salt: [0; 16],
            nonce: [0; NONCE_LEN],
        };
        rng.fill(&mut fresh.salt)
            .and_then(|()| rng.fill(&mut fresh.nonce))
            .map_err(|_| BackupError::NoRandomness)?;
        Ok(fresh)
    }

    /// Bytes of the ciphertext of `plain` bytes.
    pub(super) fn sealed_len(plain: usize) -> usize {
        plain.saturating_add(MAX_TAG_LEN)
    }

    /// Encrypts `plain`, bound to the backup's id.
    ///
    /// # Errors
    /// [`BackupError::WeakPassphrase`].
    pub(super) fn seal(
        &self,
        passphrase: &str,
        id: &Sha256,
        mut plain: Zeroizing<Vec<u8>>,
    ) -> Result<Vec<u8>, BackupError> {
        if passphrase.len() < PASSPHRASE_MIN {
            return Err(BackupError::WeakPassphrase(passphrase.len()));
        }
        let (key, nonce) = self.key(passphrase)?;
        let mut sealed = Zeroizing::new(Vec::with_capacity(Self::sealed_len(plain.len())));
        sealed.append(&mut plain);
        key.seal_in_place_append_tag(nonce, Aad::from(id), &mut *sealed)
            .map_err(|_| BackupError::Malformed("too many secrets".to_owned()))?;
        Ok(std::mem::take(&mut *sealed))
    }

    /// The plain secrets.
    ///
    /// # Errors
    /// [`BackupError::WrongPassphrase`]; [`BackupError::Malformed`] where the
    /// number of iterations is not one that this program makes or takes.
    pub(super) fn open(
        &self,
        passphrase: &str,
        id: &Sha256,
        mut sealed: Vec<u8>,
    ) -> Result<Zeroizing<Vec<u8>>, BackupError> {
        let (key, nonce) = self.key(passphrase)?;
        let plain = key
            .open_in_place(nonce, Aad::from(id), &mut sealed)
            .map_err(|_| BackupError::WrongPassphrase)?;
        let len = plain.len();
        sealed.truncate(len);
        Ok(Zeroizing::new(sealed))
    }

    fn key(&self, passphrase: &str) -> Result<(LessSafeKey, Nonce), BackupError> {
        let iterations = NonZeroU32::new(self.iterations)
            .filter(|n| ITERATIONS_TAKEN.contains(&n.get()))
            .ok_or_else(|| {
                BackupError::Malformed(format!("{} rounds of PBKDF2", self.iterations))
            })?;
        let mut key = Zeroizing::new([0; 32]);
        pbkdf2::derive(
            pbkdf2::PBKDF2_HMAC_SHA256,
            iterations,
            &self.salt,
            passphrase.as_bytes(),
            key.as_mut_slice(),
        );
        let key = UnboundKey::new(&AES_256_GCM, key.as_slice())
            .expect("a key of AES-256 has 32 bytes, as this one");
        Ok((
            LessSafeKey::new(key),
            Nonce::assume_unique_for_key(self.nonce),
        ))
    }
}
