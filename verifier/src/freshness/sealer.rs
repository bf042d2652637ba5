//! Sealing and opening of challenge tokens.
//!
//! Token: version (1) ‖ purpose (1) ‖ key id (8) ‖ salt (32) ‖ AES-256-GCM
//! ciphertext and tag. The AEAD key is HKDF-SHA256(token key, salt, info =
//! tag ‖ purpose), used for this one message, so its nonce is fixed and there
//! is no bound on how many tokens one token key may seal. Everything before
//! the ciphertext is associated data.

use std::fmt;

use ring::{
    aead::{AES_256_GCM, Aad, LessSafeKey, Nonce, UnboundKey},
    hkdf::{HKDF_SHA256, Salt},
    rand::SecureRandom,
};
use zeroize::Zeroize;

use super::{
    codec::{Reader, Writer},
    error::FreshnessError,
    random_32,
    state::{AttestationState, Challenge, EnrolmentPurpose, EnrolmentState, Sealable},
};
use crate::{digest::sha256, time::UnixTime};

const VERSION: u8 = 3;
/// Octets of a token key's id.
const KEY_ID_LEN: usize = 8;
const SALT_LEN: usize = 32;
const HEADER_LEN: usize = 2 + KEY_ID_LEN + SALT_LEN;
const TAG_LEN: usize = 16;
/// The longest content (SHA-512 Names, both DevID chains, five further EKs, full
/// admission and class) stays under 1,600 bytes.
const TOKEN_MAX: usize = 2048;
const INFO: &[u8] = b"holdfast-token-v1";
const KEY_ID_INFO: &[u8] = b"holdfast-token-key-id-v1";

/// Long enough for a discrete TPM that is slow and asked twice (STANDARDS
/// §11: 600 ms a signature), short enough that a spent token's row is soon
/// dropped.
const LIFETIME_SECONDS: i64 = 300;

/// Replicas' clocks may differ by this much; a token from further ahead is
/// refused.
const SKEW_SECONDS: i64 = 5;

/// Seals and opens challenge tokens under the Verifier's token key.
pub struct ChallengeSealer {
    key: Salted,
    key_id: [u8; KEY_ID_LEN],
    /// Keys of before, and until when their tokens are opened.
    previous: Vec<(Salted, [u8; KEY_ID_LEN], UnixTime)>,
    lifetime: i64,
}

/// The 32-byte token key; wiped when dropped.
struct Salted([u8; 32]);

impl Drop for Salted {
    fn drop(&mut self) {
        self.0.zeroize();
    }
}

impl fmt::Debug for ChallengeSealer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ChallengeSealer")
            .field("key_id", &self.key_id)
            .finish_non_exhaustive()
    }
}

impl ChallengeSealer {
    /// From the token key: 32 random bytes, shared by all replicas. Tokens
    /// live for five minutes.
    #[must_use]
    pub fn new(token_key: [u8; 32]) -> Self {
        Self {
            key_id: Self::key_id(&token_key),
            key: Salted(token_key),
            previous: Vec::new(),
            lifetime: LIFETIME_SECONDS,
        }
    }

    /// Opens tokens of a key that was replaced as well, until `until`. Nothing
    /// is sealed under it.
    #[must_use]
    pub fn with_previous(mut self, token_key: [u8; 32], until: UnixTime) -> Self {
        let id = Self::key_id(&token_key);
        self.previous.push((Salted(token_key), id, until));
        self
    }

    /// What tokens name the key by.
    #[must_use]
    pub fn key_id(token_key: &[u8; 32]) -> [u8; KEY_ID_LEN] {
        let id = sha256(&[KEY_ID_INFO, token_key]);
        let mut key_id = [0; KEY_ID_LEN];
        key_id.iter_mut().zip(id).for_each(|(to, from)| *to = from);
        key_id
    }

    /// With tokens that live for `seconds`, at least 1, instead.
    #[must_use]
    pub fn with_lifetime(mut self, seconds: u32) -> Self {
        self.lifetime = i64::from(seconds.max(1));
        self
    }

    /// When a challenge made at `now` expires.
    #[must_use]
    pub fn expiry(&self, now: UnixTime) -> UnixTime {
        now.plus(self.lifetime)
    }

    #[expect(private_bounds, reason = "only this room's states can be sealed")]
    pub(crate) fn seal<S: Sealable>(
        &self,
        state: &S,
        rng: &dyn SecureRandom,
    ) -> Result<Vec<u8>, FreshnessError> {
        let salt = random_32(rng)?;
        let mut content = Writer::default();
        state.write(&mut content)?;
        let mut content = content.into_bytes();

        let mut token = Vec::with_capacity(HEADER_LEN + content.len() + TAG_LEN);
        token.extend_from_slice(&[VERSION, state.purpose()]);
        token.extend_from_slice(&self.key_id);
        token.extend_from_slice(&salt);
        self.key
            .aead(&salt, state.purpose())
            .seal_in_place_append_tag(only_nonce(), Aad::from(token.as_slice()), &mut content)
            .expect("AES-GCM takes 64 GiB, a token has under 2 KiB");
        token.append(&mut content);
        Ok(token)
    }

    /// Opens a token of `RequestChallenge` or `RequestRecoveryChallenge`.
    ///
    /// # Errors
    /// [`FreshnessError`] says what is wrong with it.
    pub fn open_enrolment(
        &self,
        token: &[u8],
        purpose: EnrolmentPurpose,
        now: UnixTime,
    ) -> Result<FreshChallenge<EnrolmentState>, FreshnessError> {
        self.open(token, purpose.octet(), now)
    }

    /// Opens a token of `RequestAttestationChallenge`.
    ///
    /// # Errors
    /// [`FreshnessError`] says what is wrong with it.
    pub fn open_attestation(
        &self,
        token: &[u8],
        now: UnixTime,
    ) -> Result<FreshChallenge<AttestationState>, FreshnessError> {
        self.open(token, AttestationState::PURPOSE, now)
    }

    fn open<S: Sealable>(
        &self,
        token: &[u8],
        purpose: u8,
        now: UnixTime,
    ) -> Result<FreshChallenge<S>, FreshnessError> {
        let length = || FreshnessError::Length(token.len());
        if token.len() > TOKEN_MAX {
            return Err(length());
        }
        let (header, sealed) = token
            .split_first_chunk::<HEADER_LEN>()
            .filter(|(_, s)| s.len() >= TAG_LEN)
            .ok_or_else(length)?;
        let [version, sealed_purpose, rest @ ..] = header;
        if *version != VERSION {
            return Err(FreshnessError::Version(*version));
        }
        if *sealed_purpose != purpose {
            return Err(FreshnessError::Purpose);
        }
        let (key_id, salt) = rest.split_at(KEY_ID_LEN);
        let key = self.key_of(key_id, now).ok_or(FreshnessError::UnknownKey)?;
        let mut sealed = sealed.to_vec();
        let content = key
            .aead(salt, purpose)
            .open_in_place(only_nonce(), Aad::from(header), &mut sealed)
            .map_err(|_| FreshnessError::Forged)?;
        let mut reader = Reader::new(content);
        let state = S::read(purpose, &mut reader)?;
        reader.finish()?;

        let challenge = state.challenge();
        if now >= challenge.expires {
            return Err(FreshnessError::Expired(challenge.expires));
        }
        if challenge.issued > now.plus(SKEW_SECONDS) {
            return Err(FreshnessError::FromTheFuture(challenge.issued));
        }
        Ok(FreshChallenge {
            token_id: TokenId(sha256(&[token])),
            state,
        })
    }

    fn key_of(&self, id: &[u8], now: UnixTime) -> Option<&Salted> {
        if id == self.key_id {
            return Some(&self.key);
        }
        self.previous
            .iter()
            .find(|(_, of, until)| id == of && now < *until)
            .map(|(key, ..)| key)
    }
}

impl Salted {
    fn aead(&self, salt: &[u8], purpose: u8) -> LessSafeKey {
        let key = Salt::new(HKDF_SHA256, salt)
            .extract(&self.0)
            .expand(&[INFO, &[purpose]], &AES_256_GCM)
            .map(UnboundKey::from)
            .expect("HKDF-SHA256 gives up to 8160 bytes, AES-256 takes 32");
        LessSafeKey::new(key)
    }
}

/// Each AEAD key seals one message: see the module's head.
fn only_nonce() -> Nonce {
    Nonce::assume_unique_for_key([0; 12])
}

/// SHA-256 of a token: its key in the single-use table.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct TokenId([u8; 32]);

impl TokenId {
    /// The digest.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }
}

/// A challenge of ours, of the right purpose and in time. Made only by
/// [`ChallengeSealer::open_enrolment`] and
/// [`ChallengeSealer::open_attestation`]; not Clone; spent by move.
#[derive(Debug)]
#[must_use]
pub struct FreshChallenge<S> {
    state: S,
    token_id: TokenId,
}

#[expect(private_bounds, reason = "only this room's states are ever sealed")]
impl<S: Sealable> FreshChallenge<S> {
    /// What it holds.
    #[must_use]
    pub fn state(&self) -> &S {
        &self.state
    }

    /// What every challenge holds.
    #[must_use]
    pub fn challenge(&self) -> &Challenge {
        self.state.challenge()
    }

    /// For the single-use table.
    #[must_use]
    pub fn token_id(&self) -> TokenId {
        self.token_id
    }
}
