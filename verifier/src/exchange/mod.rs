//! Exchange: the conversation with one gateway, put together from the rooms.
//! In: decoded gRPC messages, a time, randomness, the channel's exporter.
//! Out: a challenge, a verified and appraised gateway, or why not.
//!
//! Pure and synchronous: nothing is stored here, no clock is read. Cheap
//! checks come first; each step is a value that the next one consumes:
//!
//! ```text
//! RequestChallengeRequest ─parse─► ChallengeCandidate ─Verifier::challenge─► IssuedChallenge
//! EnrollRequest ─parse─► EnrolCandidate ─Verifier::open─► OpenedEnrolment ─verify─► VerifiedEnrolment ─appraise─► Enrolment
//! (EnrolledGateway, AttestRequest) ─Verifier::attest─► Attestation
//! ```
//!
//! The shell must, between these steps: rate-limit before `challenge`; look
//! up admission for `ChallengeCandidate`; and, in the transaction that records
//! the outcome, spend `token_id`, and check join token and revocation again.

mod attestation;
mod challenge;
mod enrolment;
mod error;
#[cfg(test)]
mod tests;

use std::sync::{Arc, RwLock};

use holdfast_proto::tpm::PcrSelection;

pub use attestation::{Attestation, AttestationChallenge, EnrolledGateway, GatewayRecord, Outcome};
pub use challenge::{ChallengeCandidate, IssuedChallenge};
pub use enrolment::{
    ActivatedGateway, EnrolCandidate, Enrolment, OpenedEnrolment, VerifiedEnrolment,
};
pub use error::{ExchangeError, Kind};

use crate::{
    appraisal::Policy,
    endorsement::{AcceptedEks, Anchors, EkChain, EkPublic, EndorsedEk, EndorsementError},
    freshness::ChallengeSealer,
    verification::BootLogs,
};
pub use crate::{
    freshness::{Admission, AdmissionBasis, Class, EnrolmentPurpose, TokenId},
    time::UnixTime,
    verification::{ChannelBinding, KnownBootLog},
};

/// What a [`Verifier`] is made of.
pub struct Settings {
    /// Vendor roots and intermediates.
    pub anchors: Anchors,
    /// EK templates that may enrol.
    pub accepted_eks: AcceptedEks,
    /// Holds the token key.
    pub sealer: ChallengeSealer,
    /// Compiled appraisal policy.
    pub policy: Policy,
    /// PCRs that every quote must cover, exactly.
    pub selection: PcrSelection,
}

/// The Verifier (RFC 9334 §4.1) without its shell. Shared by all requests.
pub struct Verifier {
    anchors: RwLock<Arc<Anchors>>,
    accepted_eks: AcceptedEks,
    sealer: ChallengeSealer,
    policy: RwLock<Arc<Policy>>,
    selection: PcrSelection,
    boot_logs: BootLogs,
}

impl Verifier {
    /// Puts the parts together.
    #[must_use]
    pub fn new(settings: Settings) -> Self {
        let Settings {
            anchors,
            accepted_eks,
            sealer,
            policy,
            selection,
        } = settings;
        Self {
            anchors: RwLock::new(Arc::new(anchors)),
            accepted_eks,
            sealer,
            policy: RwLock::new(Arc::new(policy)),
            selection,
            boot_logs: BootLogs::default(),
        }
    }

    /// Takes newly imported endorsements into use. Exchanges under way keep
    /// the anchors that they began with.
    pub fn replace_anchors(&self, anchors: Anchors) {
        let mut slot = self
            .anchors
            .write()
            .unwrap_or_else(std::sync::PoisonError::into_inner);
        *slot = Arc::new(anchors);
    }

    /// Takes a newly applied policy into use, from one request to the next.
    /// An exchange is appraised under the policy that was in force when its
    /// answer came in, and only if its challenge was made under the same one:
    /// challenges of before are refused as stale, and asked for again.
    pub fn replace_policy(&self, policy: Policy) {
        let mut slot = self
            .policy
            .write()
            .unwrap_or_else(std::sync::PoisonError::into_inner);
        *slot = Arc::new(policy);
    }

    /// The PCRs that every quote must cover.
    #[must_use]
    pub fn selection(&self) -> &PcrSelection {
        &self.selection
    }

    /// A boot log that was read lately: the store need not be asked for it.
    #[must_use]
    pub fn boot_log(&self, sha256: &[u8; 32]) -> Option<KnownBootLog> {
        let read = self.boot_logs.get(sha256, self.selection.hash)?;
        Some(KnownBootLog::Read(read))
    }

    /// The appraisal policy in force.
    #[must_use]
    pub fn policy(&self) -> Arc<Policy> {
        // As for `anchors`.
        Arc::clone(
            &self
                .policy
                .read()
                .unwrap_or_else(std::sync::PoisonError::into_inner),
        )
    }

    /// In both steps of enrolment: of an accepted kind, then by whom certified.
    fn endorse(
        &self,
        chain: &EkChain,
        ek: EkPublic,
        now: UnixTime,
    ) -> Result<EndorsedEk, EndorsementError> {
        self.accepted_eks.expect(&ek)?;
        self.anchors().endorse(chain, ek, now)
    }

    fn anchors(&self) -> Arc<Anchors> {
        // A poisoned lock only says that another thread panicked while it
        // held it; an `Arc` is replaced in one step, so the value is whole.
        Arc::clone(
            &self
                .anchors
                .read()
                .unwrap_or_else(std::sync::PoisonError::into_inner),
        )
    }
}
