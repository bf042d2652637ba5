//! Credential activation: this AK lives in the TPM that holds this EK, and all
//! the others that the gateway shows.
//!
//! On the IAK road the AK is the endorsed IAK itself, and the EK is what the
//! gateway claims. Activation then shows that whoever holds that EK has the
//! IAK's TPM at hand: another gateway's EK cannot be claimed (A18). It does not
//! show that the EK is a TPM's; that, the IAK certifies, whose own place rests on
//! its OEM's word.

use ring::rand::SecureRandom;

use super::{
    credential::{Credential, make_credential},
    error::{KeyFault, VerificationError},
    keys::AkPublic,
};
use crate::{
    digest::sha256,
    endorsement::{EkPublic, Endorsed, EndorsedEk, EndorsedIak, FurtherEk},
    freshness::{AnsweredChallenge, ChallengedEk, random_32},
};

/// An endorsed EK and a checked AK, or an endorsed IAK and a claimed EK, not
/// yet shown to share a TPM; nor are the further EKs.
#[derive(Debug)]
#[must_use]
pub struct PendingActivation {
    endorsed: Endorsed,
    further: Vec<FurtherEk>,
    ak: AkPublic,
}

impl PendingActivation {
    /// Puts the two together. What activation says of the AK rests on its TPM
    /// asking for the AK's authorisation (ADMIN role): an auth value, nobody has
    /// of an object that is loaded by its public area alone. A policy could be
    /// shown by anybody, and that a TPM takes none there either is one more thing
    /// to hope for. So the AK has none (Part 3 §12.5, Part 1 §19).
    ///
    /// # Errors
    /// [`VerificationError::Ak`] with [`KeyFault::Policy`].
    pub fn new(endorsed: EndorsedEk, ak: AkPublic) -> Result<Self, VerificationError> {
        if !ak.public().auth_policy.is_empty() {
            return Err(VerificationError::Ak(KeyFault::Policy));
        }
        Ok(Self {
            endorsed: Endorsed::Ek(Box::new(endorsed)),
            further: Vec::new(),
            ak,
        })
    }

    /// The IAK road: the AK is the IAK that the OEM certified, and no other can
    /// be put in its place (C09).
    ///
    /// # Errors
    /// [`VerificationError::Ak`] where it breaks a rule of the AK's checklist
    /// that the standard's templates leave open: the curve.
    pub fn of_iak(endorsed: EndorsedIak) -> Result<Self, VerificationError> {
        let ak = AkPublic::new(endorsed.iak().public().clone())?;
        Ok(Self {
            endorsed: Endorsed::Iak(Box::new(endorsed)),
            further: Vec::new(),
            ak,
        })
    }

    /// With further EKs, each of which is to be activated against the same AK.
    pub fn with_further(mut self, further: Vec<FurtherEk>) -> Self {
        self.further = further;
        self
    }

    /// By whom the TPM is endorsed.
    pub fn endorsed(&self) -> &Endorsed {
        &self.endorsed
    }

    /// The EK.
    #[must_use]
    pub fn ek(&self) -> &EkPublic {
        self.endorsed.ek()
    }

    /// The AK.
    #[must_use]
    pub fn ak(&self) -> &AkPublic {
        &self.ak
    }

    /// A credential over a fresh secret, and the SHA-256 of that secret, which
    /// is all of it that is kept.
    ///
    /// # Errors
    /// [`VerificationError::EkUnfit`], [`VerificationError::Entropy`].
    pub fn make_credential(
        &self,
        rng: &dyn SecureRandom,
    ) -> Result<(Credential, [u8; 32]), VerificationError> {
        self.credential_for(self.ek(), rng)
    }

    /// A credential for each further EK, in their order, over a secret of its own
    /// and for the same AK; and what the challenge keeps of it.
    ///
    /// # Errors
    /// As [`PendingActivation::make_credential`].
    pub fn make_further_credentials(
        &self,
        rng: &dyn SecureRandom,
    ) -> Result<Vec<(Credential, ChallengedEk)>, VerificationError> {
        let make = |further: &FurtherEk| {
            let (credential, secret_sha256) = self.credential_for(further.ek(), rng)?;
            let challenged = ChallengedEk {
                ek: further.ek().name().clone(),
                chain_sha256: further.chain_sha256(),
                secret_sha256,
            };
            Ok((credential, challenged))
        };
        self.further.iter().map(make).collect()
    }

    fn credential_for(
        &self,
        ek: &EkPublic,
        rng: &dyn SecureRandom,
    ) -> Result<(Credential, [u8; 32]), VerificationError> {
        let secret =
            zeroize::Zeroizing::new(random_32(rng).map_err(|_| VerificationError::Entropy)?);
        let credential = make_credential(ek, self.ak.name(), &secret, rng)?;
        Ok((credential, sha256(&[secret.as_slice()])))
    }

    /// The TPM found every secret: all EKs and the AK are in one TPM, and the AK
    /// has the attributes that its public area states (Part 1 §24.2).
    ///
    /// # Errors
    /// Where the answered challenge was made for other keys.
    pub fn complete(self, answered: AnsweredChallenge) -> Result<ActivatedAk, VerificationError> {
        let state = answered.state();
        let gateway = self.endorsed.gateway_id();
        if state.ek != *self.ek().name() || state.challenge.gateway != *gateway {
            return Err(VerificationError::OtherEk);
        }
        let challenged = state.further.iter().map(|further| &further.ek);
        if !challenged.eq(self.further.iter().map(|further| further.ek().name())) {
            return Err(VerificationError::OtherEk);
        }
        if state.challenge.ak != *self.ak.name() {
            return Err(VerificationError::OtherAk {
                got: self.ak.name().clone(),
            });
        }
        Ok(ActivatedAk {
            endorsed: self.endorsed,
            further: self.further,
            ak: self.ak,
            answered,
        })
    }
}

/// An AK shown to live in an endorsed TPM that holds all of the EKs, and the
/// challenge that showed it. Made only by [`PendingActivation::complete`].
#[derive(Debug)]
#[must_use]
pub struct ActivatedAk {
    endorsed: Endorsed,
    further: Vec<FurtherEk>,
    ak: AkPublic,
    answered: AnsweredChallenge,
}

impl ActivatedAk {
    /// The AK.
    #[must_use]
    pub fn ak(&self) -> &AkPublic {
        &self.ak
    }

    pub(super) fn into_parts(self) -> (Endorsed, Vec<FurtherEk>, AkPublic, AnsweredChallenge) {
        (self.endorsed, self.further, self.ak, self.answered)
    }
}
