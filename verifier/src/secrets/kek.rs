//! The owner's key for secrets at rest.

use std::fmt;

use ring::{
    hkdf,
    rand::SecureRandom,
    signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair as _},
};
use zeroize::Zeroizing;

use super::{Secret, SecretId, SecretsError, StoredSecret};

/// Keeps the derived key apart from whatever else the private key might be used
/// for. It is used for nothing else.
const SALT: &[u8] = b"holdfast-secrets-kek-v1";
/// Octets of a P-256 private key (SEC 1 §C.4).
const SCALAR_LEN: usize = 32;
/// What stands before them in the ECPrivateKey: SEQUENCE … INTEGER 1, OCTET
/// STRING of 32.
const BEFORE_SCALAR: [u8; 5] = [0x02, 0x01, 0x01, 0x04, 0x20];

/// A key encryption key: HKDF-SHA256 of a P-256 private key, so that custody
/// keeps it as it keeps the others, encrypted under the owner's passphrase where
/// there is one. Debug shows its public id alone.
pub struct Kek {
    id: String,
    key: Zeroizing<[u8; 32]>,
}

impl Kek {
    /// From the private key in PKCS#8 DER; `id` is the keyring's.
    ///
    /// # Errors
    /// [`SecretsError::NotAKey`], [`SecretsError::NoRandomness`].
    pub fn from_pkcs8(
        id: String,
        pkcs8: &[u8],
        rng: &dyn SecureRandom,
    ) -> Result<Self, SecretsError> {
        // Checks that it is such a key, and that its halves belong together.
        let pair = EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, pkcs8, rng)
            .map_err(|_| SecretsError::NotAKey)?;
        let scalar = scalar(pkcs8).ok_or(SecretsError::NotAKey)?;
        let mut key = Zeroizing::new([0; 32]);
        hkdf::Salt::new(hkdf::HKDF_SHA256, SALT)
            .extract(scalar)
            .expand(&[pair.public_key().as_ref()], hkdf::HKDF_SHA256)
            .and_then(|okm| okm.fill(key.as_mut_slice()))
            .expect("HKDF-SHA256 gives 32 octets");
        Ok(Self { id, key })
    }

    /// Its id in the keyring.
    #[must_use]
    pub fn id(&self) -> &str {
        &self.id
    }

    pub(super) fn expose(&self) -> &[u8; 32] {
        &self.key
    }
}

impl fmt::Debug for Kek {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Kek({})", self.id)
    }
}

/// The private key's octets: where an ECPrivateKey has them.
fn scalar(pkcs8: &[u8]) -> Option<&[u8]> {
    let at = pkcs8
        .windows(BEFORE_SCALAR.len())
        .position(|window| window == BEFORE_SCALAR)?
        + BEFORE_SCALAR.len();
    pkcs8.get(at..at + SCALAR_LEN)
}

/// The keys of the keyring, the current one first. None before the first secret
/// is put.
#[derive(Debug, Default)]
pub struct Keks(pub(super) Vec<Kek>);

impl Keks {
    /// The current one first.
    #[must_use]
    pub const fn new(keys: Vec<Kek>) -> Self {
        Self(keys)
    }

    /// The one to encrypt under.
    #[must_use]
    pub fn current(&self) -> Option<&Kek> {
        self.0.first()
    }

    fn named(&self, id: &str) -> Result<&Kek, SecretsError> {
        let found = self.0.iter().find(|kek| kek.id == id);
        found.ok_or_else(|| SecretsError::UnknownKey {
            key_id: id.to_owned(),
        })
    }

    /// Encrypts a secret for the store.
    ///
    /// # Errors
    /// [`SecretsError::NoKey`] before there is a first key.
    pub fn seal(
        &self,
        id: &SecretId,
        secret: &Secret,
        rng: &dyn SecureRandom,
    ) -> Result<StoredSecret, SecretsError> {
        StoredSecret::seal(self.current().ok_or(SecretsError::NoKey)?, id, secret, rng)
    }

    /// The secret.
    ///
    /// # Errors
    /// [`SecretsError::UnknownKey`], [`SecretsError::Altered`].
    pub fn open(&self, id: &SecretId, stored: &StoredSecret) -> Result<Secret, SecretsError> {
        stored.open(self.named(&stored.key_id)?, id)
    }

    /// The same secret under the current key; `None` where it is so already.
    ///
    /// # Errors
    /// As [`Keks::open`].
    pub fn rewrap(
        &self,
        id: &SecretId,
        stored: &StoredSecret,
        rng: &dyn SecureRandom,
    ) -> Result<Option<StoredSecret>, SecretsError> {
        let current = self.current().ok_or(SecretsError::NoKey)?;
        if stored.key_id == current.id {
            return Ok(None);
        }
        let before = self.named(&stored.key_id)?;
        stored.rewrap(before, current, id, rng).map(Some)
    }
}
