//! Store: what the Verifier remembers, and the only place where a grant
//! becomes a fact.
//!
//! [`Store`] is the trait, [`sqlite::SqliteStore`] its first implementation.
//! Every method that records is one transaction that checks again everything
//! that another request may have changed since it was last looked up, and that
//! is durable (on disk, not merely in a cache) before it returns. So what was
//! answered survives `kill -9` and power loss, and what was not recorded was
//! never answered.

mod admissions;
mod allow_lists;
mod audit;
mod basis;
mod eks;
mod endorsements;
mod error;
mod events;
#[cfg(test)]
pub(crate) mod fixtures;
mod heartbeats;
mod keys;
mod model;
mod oems;
mod operators;
mod policies;
mod references;
mod revocations;
mod secrets;
mod silence;
mod snapshots;
pub mod sqlite;

use async_trait::async_trait;
use holdfast_proto::binding::Ueid;

use crate::identity::RevocationReason;

pub use admissions::{
    Admissions, AdmittedDevice, Denied, DeviceName, NewPending, PendingBounds, PendingGateway,
    Replacement,
};
pub use allow_lists::{AllowListRecord, AllowListVersion, NewAllowList};
pub use audit::{AUDIT_START, Audit, AuditBroken, AuditChain, AuditRow, audit_hash};
pub use basis::{Basis, InForce};
pub use eks::{EkRecord, Eks};
pub use endorsements::{BundleRecord, CrlRecord, Endorsements, NewBundle};
pub use error::{Blocked, OwnedKey, StoreError};
pub use events::{Event, EventKind, Events, KeptEvents};
pub use heartbeats::{BeatMark, HeartbeatRecord, Heartbeats};
pub use keys::{KeyChange, KeyState, Keys, NamedKey};
pub use model::{
    Admittance, Affirmed, Anchor, Answer, AuditEntry, BootLogRef, CertificateRecord,
    Contraindicated, Enrolled, GatewayKeys, GatewayPage, GatewayRecord, Imported, JoinToken, KeyId,
    LDEVIDS_IN_FORCE, Lifecycle, NewCertificate, Reason, Recorded, Refused, SWEEP_PACE, Seconds,
    Sha256, SuspensionKind, Swept, TpmRecord,
};
pub use oems::{AllowedSerial, OemAnchor, OemWithdrawn, Oems, OfWithdrawn, WithdrawnCa};
pub use operators::{OperatorRecord, Operators};
pub use policies::{NewPolicy, PolicyRecord, PolicyVersion};
pub use references::{
    APPROVABLE, Approval, Captured, Golden, LastQuote, NewReferenceValues, QuotedPcrs,
    ReferenceRecord, ReferenceVersion,
};
pub use revocations::{CrlDraft, CrlScope, CrlTimes, Issued, Revocations, Revoked, RevokedSince};
pub use secrets::{
    NewSecret, REDELIVERIES, REDELIVERY_EVERY, SecretInForce, SecretRecord, SecretState, Secrets,
    SecretsInForce,
};
pub use silence::{Awaited, AwaitedBeats, Deadline, Silence, Watched};
pub use snapshots::{Confirmed, Restoration, Restorations, Restored, SnapshotFacts};

/// What the shell asks of a database. Object-safe; shared as `Arc<dyn Store>`.
///
/// `now` is always an argument: the store reads no clock.
#[async_trait]
pub trait Store:
    Admissions
    + Audit
    + Eks
    + Endorsements
    + Events
    + Heartbeats
    + Keys
    + Oems
    + Operators
    + Restorations
    + Revocations
    + Secrets
    + Silence
    + Send
    + Sync
    + 'static
{
    /// All vendor certificates, roots and intermediates.
    async fn anchors(&self) -> Result<Vec<Anchor>, StoreError>;

    /// Adds the anchors that are not yet known. All or none.
    async fn import_anchors(
        &self,
        anchors: Vec<Anchor>,
        by: &str,
        now: Seconds,
    ) -> Result<Imported, StoreError>;

    /// Records a join token.
    async fn create_join_token(
        &self,
        token: JoinToken,
        by: &str,
        now: Seconds,
    ) -> Result<(), StoreError>;

    /// The join token whose secret hashes to `secret`, whether or not it can
    /// still be used.
    async fn join_token(&self, secret: &Sha256) -> Result<Option<JoinToken>, StoreError>;

    /// One gateway.
    async fn gateway(&self, id: &Ueid) -> Result<Option<GatewayRecord>, StoreError>;

    /// Up to `limit` gateways in order of id, those after `after`. A row that
    /// cannot be read is told in the log and left out: one bad row does not
    /// hide the others (CVE-2025-1057).
    async fn gateways(&self, after: Option<&Ueid>, limit: u32) -> Result<GatewayPage, StoreError>;

    /// The certificate with this SHA-256 and the gateway that it was issued to.
    async fn certificate(
        &self,
        sha256: &Sha256,
    ) -> Result<Option<(CertificateRecord, GatewayRecord)>, StoreError>;

    /// Whether the gateway may have another LDevID at `now`.
    ///
    /// # Errors
    /// [`StoreError::TooManyLdevids`] where [`LDEVIDS_IN_FORCE`] are in force.
    async fn room_for_ldevid(&self, id: &Ueid, now: Seconds) -> Result<(), StoreError>;

    /// What was answered to this very request, until its challenge expires.
    ///
    /// # Errors
    /// Where a grant was recorded: [`StoreError::Blocked`] where the gateway has
    /// been suspended or revoked since, [`StoreError::PendingDenied`] where it
    /// was denied, [`StoreError::CertificateRevoked`] where the LDevID that it
    /// rests on was revoked.
    async fn answer(&self, request: &Sha256, now: Seconds) -> Result<Option<Vec<u8>>, StoreError>;

    /// A boot log that some gateway sent before.
    async fn boot_log(&self, sha256: &Sha256) -> Result<Option<Vec<u8>>, StoreError>;

    /// What was recorded of a gateway's IMA log with its last affirming verdict.
    async fn ima_state(&self, id: &Ueid) -> Result<Option<String>, StoreError>;

    /// Records a grant from an enrolment or a recovery: spends the challenge
    /// and one use of the join token, writes the gateway and its certificate.
    async fn record_enrolment(
        &self,
        enrolled: Enrolled,
        now: Seconds,
    ) -> Result<Recorded, StoreError>;

    /// Records an enrolment or recovery whose appraisal was not affirming:
    /// spends the challenge, grants nothing. A gateway on record that is
    /// trusted is suspended for evidence.
    async fn record_refusal(&self, refused: Refused, now: Seconds) -> Result<Recorded, StoreError>;

    /// Records an affirming re-attestation, with the renewed certificate if
    /// one was asked for.
    async fn record_affirmation(
        &self,
        affirmed: Affirmed,
        now: Seconds,
    ) -> Result<Recorded, StoreError>;

    /// Records a re-attestation that was not affirming: the gateway is
    /// suspended for evidence and its certificates are revoked.
    async fn record_contraindication(
        &self,
        contraindicated: Contraindicated,
        now: Seconds,
    ) -> Result<Recorded, StoreError>;

    /// The newest versions of what the owner says of a class: to be asked before
    /// the documents themselves are, see [`InForce`].
    async fn in_force(&self, class: &str) -> Result<InForce, StoreError>;

    /// The newest reference values of a class.
    async fn reference_values(&self, class: &str) -> Result<Option<ReferenceRecord>, StoreError>;

    /// The newest `limit` versions of the reference values of a class, or of
    /// every class, by class and newest first.
    async fn reference_versions(
        &self,
        class: Option<&str>,
        limit: u32,
    ) -> Result<Vec<ReferenceVersion>, StoreError>;

    /// Makes `new` the newest reference values of its class, if its version is
    /// the next one. The newest version again, to the byte, is no change.
    ///
    /// # Errors
    /// [`StoreError::ReferenceVersion`] for any other version;
    /// [`StoreError::QuoteChanged`] where the quote that they were captured
    /// from is not the gateway's last any more.
    async fn import_reference_values(
        &self,
        new: NewReferenceValues,
        by: &str,
        now: Seconds,
    ) -> Result<ReferenceRecord, StoreError>;

    /// The newest allow list of a class.
    async fn allow_list(&self, class: &str) -> Result<Option<AllowListRecord>, StoreError>;

    /// The newest `limit` versions of a class's allow list, or of all classes',
    /// newest first within a class.
    async fn allow_lists(
        &self,
        class: Option<&str>,
        limit: u32,
    ) -> Result<Vec<AllowListVersion>, StoreError>;

    /// Makes `new` the newest allow list of its class.
    ///
    /// # Errors
    /// [`StoreError::AllowListVersion`] for any version but the next one.
    async fn import_allow_list(
        &self,
        new: NewAllowList,
        by: &str,
        now: Seconds,
    ) -> Result<AllowListVersion, StoreError>;

    /// What a gateway on record quoted last, affirmed or not.
    async fn last_quote(&self, id: &Ueid) -> Result<Option<LastQuote>, StoreError>;

    /// Records the reference values that accept a drift, and lifts the
    /// suspension that it brought about. All or nothing.
    ///
    /// # Errors
    /// [`StoreError::NotForEvidence`], [`StoreError::QuoteChanged`],
    /// [`StoreError::NotApprovable`], [`StoreError::ReferenceVersion`].
    async fn approve(
        &self,
        approval: Approval,
        by: &str,
        now: Seconds,
    ) -> Result<(ReferenceRecord, GatewayRecord), StoreError>;

    /// One version of the appraisal policy, or the newest.
    async fn policy(&self, version: Option<u64>) -> Result<Option<PolicyRecord>, StoreError>;

    /// The newest `limit` versions of the appraisal policy, newest first.
    async fn policies(&self, limit: u32) -> Result<Vec<PolicyVersion>, StoreError>;

    /// Makes `new` the newest appraisal policy.
    ///
    /// # Errors
    /// [`StoreError::PolicyVersion`] for any version but the next one.
    async fn apply_policy(
        &self,
        new: NewPolicy,
        by: &str,
        now: Seconds,
    ) -> Result<PolicyRecord, StoreError>;

    /// Suspends a gateway and revokes its certificates. Suspending for a
    /// graver cause than before changes the cause; a lesser one does not.
    async fn suspend(
        &self,
        id: &Ueid,
        kind: SuspensionKind,
        reason: &str,
        by: &str,
        now: Seconds,
    ) -> Result<GatewayRecord, StoreError>;

    /// Lifts a suspension. The certificates stay revoked: the gateway comes
    /// back through Recover.
    async fn resume(
        &self,
        id: &Ueid,
        reason: &str,
        by: &str,
        now: Seconds,
    ) -> Result<GatewayRecord, StoreError>;

    /// Forgets how far a gateway's TPM clock was seen, and revokes its
    /// certificates: whatever clock it enrols or recovers with next begins a
    /// new count. A suspension stays.
    async fn reset_clock(
        &self,
        id: &Ueid,
        reason: &str,
        by: &str,
        now: Seconds,
    ) -> Result<GatewayRecord, StoreError>;

    /// Revokes a gateway for ever, and its certificates.
    async fn revoke(
        &self,
        id: &Ueid,
        code: RevocationReason,
        reason: &str,
        by: &str,
        now: Seconds,
    ) -> Result<GatewayRecord, StoreError>;

    /// The last `limit` audit entries, newest first.
    async fn audit(&self, limit: u32) -> Result<Vec<AuditEntry>, StoreError>;

    /// Removes answers whose challenge has expired, join tokens that have been
    /// of no use for a while, and certificates that no CRL has to list any more:
    /// some of them, if there are many. Goes by [`Swept::ended`], not by `now`
    /// alone.
    async fn sweep(&self, now: Seconds) -> Result<Swept, StoreError>;

    /// Records that this store was brought back from the backup with the id
    /// `backup` (hex). `since`: things may have happened after that backup was
    /// made, so what they would have ended is made void, whatever the clock
    /// says, and nobody enrols or recovers before
    /// [`Restorations::confirm_restore`].
    async fn restored(
        &self,
        backup: &str,
        since: bool,
        now: Seconds,
    ) -> Result<Restored, StoreError>;

    /// Writes something, to see whether a write reaches the disk now.
    async fn probe(&self, now: Seconds) -> Result<(), StoreError>;

    /// Flushes and closes; nothing may be asked afterwards.
    async fn close(&self);
}
