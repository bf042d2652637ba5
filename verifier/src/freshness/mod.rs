//! Freshness: a challenge that we made, for this purpose, not long ago.
//! In: a sealed token, a time. Out: [`FreshChallenge`], spent by move, or why
//! not.
//!
//! Tokens are stateless: the whole challenge travels in them, under the
//! Verifier's AEAD key, so any replica can finish an exchange and a gateway
//! that never returns costs no memory. That a token grants at most once is the
//! store's part: it spends [`TokenId`] in the transaction that records the
//! grant.

mod codec;
mod error;
mod sealer;
mod state;
#[cfg(test)]
mod tests;

pub use error::FreshnessError;
pub use sealer::{ChallengeSealer, FreshChallenge, TokenId};
pub use state::{
    Admission, AdmissionBasis, AnsweredChallenge, AttestationState, Challenge, ChallengedEk, Class,
    EnrolmentPurpose, EnrolmentState, Presented,
};

use ring::rand::SecureRandom;

/// 32 random bytes: a nonce, a salt or a secret.
///
/// # Errors
/// [`FreshnessError::Entropy`] where the system has none.
pub(crate) fn random_32(rng: &dyn SecureRandom) -> Result<[u8; 32], FreshnessError> {
    let mut bytes = [0; 32];
    rng.fill(&mut bytes).map_err(|_| FreshnessError::Entropy)?;
    Ok(bytes)
}
