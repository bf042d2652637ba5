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
pub(crate) use challenge::wire_selection;
pub use challenge::{ChallengeCandidate, EndorsedCandidate, IssuedChallenge};
pub use enrolment::{
    ActivatedGateway, EnrolCandidate, Enrolment, OpenedEnrolment, VerifiedEnrolment,
};
pub use error::{ExchangeError, Kind};

use crate::{
    appraisal::Policy,
    endorsement::{AcceptedEks, Anchors, EkFacts, EndorsementStanding, OemAnchors},
    freshness::ChallengeSealer,
    swap::Swap,
    verification::{BootLogs, KeyProof, VerifiedEvidence, Vouched},
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
    /// OEM roots and intermediates, for the IAK road.
    pub oems: OemAnchors,
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
    oems: RwLock<Arc<OemAnchors>>,
    accepted_eks: AcceptedEks,
    sealer: Swap<ChallengeSealer>,
    policy: RwLock<Arc<Policy>>,
    selection: PcrSelection,
    boot_logs: BootLogs,
    vouched: Arc<Vouched>,
}

impl Verifier {
    /// Puts the parts together.
    #[must_use]
    pub fn new(settings: Settings) -> Self {
        let Settings {
            anchors,
            oems,
            accepted_eks,
            sealer,
            policy,
            selection,
        } = settings;
        Self {
            anchors: RwLock::new(Arc::new(anchors)),
            oems: RwLock::new(Arc::new(oems)),
            accepted_eks,
            sealer: Swap::new(sealer),
            policy: RwLock::new(Arc::new(policy)),
            selection,
            boot_logs: BootLogs::default(),
            vouched: Arc::default(),
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

    /// Takes another token key into use. Challenges under the one of before
    /// stay good where the new sealer knows it.
    pub fn replace_sealer(&self, sealer: ChallengeSealer) {
        self.sealer.replace(sealer);
    }

    /// The same for OEMs' anchors.
    pub fn replace_oems(&self, oems: OemAnchors) {
        let mut slot = self
            .oems
            .write()
            .unwrap_or_else(std::sync::PoisonError::into_inner);
        *slot = Arc::new(oems);
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

    fn oems(&self) -> Arc<OemAnchors> {
        // As for `anchors`.
        Arc::clone(
            &self
                .oems
                .read()
                .unwrap_or_else(std::sync::PoisonError::into_inner),
        )
    }

    /// Whether the endorsement of the TPM that this evidence is of stands now, by
    /// each of its EKs.
    fn standing<K: KeyProof>(
        &self,
        evidence: &VerifiedEvidence<K>,
        further_eks: &[EkFacts],
        now: UnixTime,
    ) -> EndorsementStanding {
        // After its type octet a UEID is the SHA-256 of the EK's SPKI; on the IAK
        // road of the IAK's, for which no fingerprint is asked.
        let [_, spki_sha256 @ ..] = evidence.gateway_id().as_bytes();
        let (tpm, firmware) = (evidence.tpm(), evidence.firmware_version());
        let anchors = self.anchors();
        let of_first = anchors
            .standing(tpm, spki_sha256, firmware, now)
            .and(self.oems().findings(tpm));
        further_eks.iter().fold(of_first, |standing, ek| {
            let of_ek = anchors.standing(&ek.tpm, &ek.spki_sha256, firmware, now);
            standing.and_of_another_ek(of_ek)
        })
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
