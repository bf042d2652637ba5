//! A secret at rest: AES-256-GCM (NIST SP 800-38D) under a key of its own, which
//! is under the owner's.

use ring::{
    aead::{AES_256_GCM, Aad, LessSafeKey, NONCE_LEN, Nonce, UnboundKey},
    rand::SecureRandom,
};
use zeroize::Zeroizing;

use super::{Kek, Secret, SecretId, SecretsError};

const SECRET_TAG: &[u8] = b"holdfast-secret-at-rest-v1";
const KEY_TAG: &[u8] = b"holdfast-secret-key-v1";

/// A secret as the store has it. Says nothing without the owner's key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoredSecret {
    /// Id of the owner's key.
    pub key_id: String,
    /// Nonce (12 bytes) and ciphertext with tag: the key of this secret.
    pub wrapped_key: Vec<u8>,
    /// Nonce (12 bytes) and ciphertext with tag: the secret.
    pub ciphertext: Vec<u8>,
}

impl StoredSecret {
    pub(super) fn seal(
        kek: &Kek,
        id: &SecretId,
        secret: &Secret,
        rng: &dyn SecureRandom,
    ) -> Result<Self, SecretsError> {
        let mut key = Zeroizing::new([0; 32]);
        rng.fill(key.as_mut_slice())
            .map_err(|_| SecretsError::NoRandomness)?;
        Ok(Self {
            key_id: kek.id().to_owned(),
            wrapped_key: encrypt(kek.expose(), &aad(KEY_TAG, id), key.as_slice(), rng)?,
            ciphertext: encrypt(&key, &aad(SECRET_TAG, id), secret.expose(), rng)?,
        })
    }

    pub(super) fn open(&self, kek: &Kek, id: &SecretId) -> Result<Secret, SecretsError> {
        let key = self.own_key(kek, id)?;
        Secret::new(decrypt(&key, &aad(SECRET_TAG, id), &self.ciphertext, id)?)
    }

    pub(super) fn rewrap(
        &self,
        before: &Kek,
        after: &Kek,
        id: &SecretId,
        rng: &dyn SecureRandom,
    ) -> Result<Self, SecretsError> {
        let key = self.own_key(before, id)?;
        Ok(Self {
            key_id: after.id().to_owned(),
            wrapped_key: encrypt(after.expose(), &aad(KEY_TAG, id), key.as_slice(), rng)?,
            ciphertext: self.ciphertext.clone(),
        })
    }

    fn own_key(&self, kek: &Kek, id: &SecretId) -> Result<Zeroizing<[u8; 32]>, SecretsError> {
        let bytes = decrypt(kek.expose(), &aad(KEY_TAG, id), &self.wrapped_key, id)?;
        let mut key = Zeroizing::new([0; 32]);
        if bytes.len() != key.len() {
            return Err(altered(id));
        }
        key.copy_from_slice(&bytes);
        Ok(key)
    }
}

/// Tag, version, and class and name behind a byte that is in neither: a row that
/// was moved to another place does not decrypt.
fn aad(tag: &[u8], id: &SecretId) -> Vec<u8> {
    [
        tag,
        &id.version.to_be_bytes(),
        id.class.as_str().as_bytes(),
        b"\0",
        id.name.as_str().as_bytes(),
    ]
    .concat()
}

fn encrypt(
    key: &[u8; 32],
    aad: &[u8],
    plain: &[u8],
    rng: &dyn SecureRandom,
) -> Result<Vec<u8>, SecretsError> {
    let mut nonce = [0; NONCE_LEN];
    rng.fill(&mut nonce)
        .map_err(|_| SecretsError::NoRandomness)?;
    // Room for the tag as well: what is moved is not wiped.
    let mut text = Zeroizing::new(Vec::with_capacity(plain.len() + AES_256_GCM.tag_len()));
    text.extend_from_slice(plain);
    cipher(key)
        .seal_in_place_append_tag(
            Nonce::assume_unique_for_key(nonce),
            Aad::from(aad),
            &mut *text,
        )
        .expect("4 KiB are within the bounds of GCM");
    Ok([&nonce, text.as_slice()].concat())
}

fn decrypt(
    key: &[u8; 32],
    aad: &[u8],
    sealed: &[u8],
    id: &SecretId,
) -> Result<Zeroizing<Vec<u8>>, SecretsError> {
    let (nonce, text) = sealed
        .split_first_chunk::<NONCE_LEN>()
        .ok_or_else(|| altered(id))?;
    let mut text = Zeroizing::new(text.to_vec());
    let len = cipher(key)
        .open_in_place(
            Nonce::assume_unique_for_key(*nonce),
            Aad::from(aad),
            &mut text,
        )
        .map_err(|_| altered(id))?
        .len();
    text.truncate(len);
    Ok(text)
}

fn cipher(key: &[u8; 32]) -> LessSafeKey {
    let key = UnboundKey::new(&AES_256_GCM, key).expect("a key of AES-256 has 32 bytes");
    LessSafeKey::new(key)
}

fn altered(id: &SecretId) -> SecretsError {
    SecretsError::Altered(format!(
        "{} of class {}, version {}",
        id.name, id.class, id.version
    ))
}
