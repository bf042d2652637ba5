//! What the owner says of TPMs, as the store keeps it: signed bundles, and CRLs
//! of EK CAs. (Certificates that were imported one by one are
//! [`super::Anchor`]s.)

use async_trait::async_trait;

use super::{Seconds, Sha256, StoreError};

/// Endorsement bundles and CRLs.
#[async_trait]
pub trait Endorsements: Send + Sync {
    /// The newest bundle.
    async fn endorsement_bundle(&self) -> Result<Option<BundleRecord>, StoreError>;

    /// Makes `new` the newest bundle.
    ///
    /// # Errors
    /// [`StoreError::EndorsementVersion`] for any version but the next one.
    async fn apply_endorsement_bundle(
        &self,
        new: NewBundle,
        by: &str,
        now: Seconds,
    ) -> Result<BundleRecord, StoreError>;

    /// The CRL of every CA that has one.
    async fn endorsement_crls(&self) -> Result<Vec<CrlRecord>, StoreError>;

    /// Puts CRLs in the place of those that their CAs had.
    async fn import_endorsement_crls(
        &self,
        crls: Vec<CrlRecord>,
        by: &str,
        now: Seconds,
    ) -> Result<(), StoreError>;
}

/// A bundle to be recorded.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewBundle {
    /// The version that its statement gives it.
    pub version: u64,
    /// SHA-256 of `document`, as stated.
    pub sha256: Sha256,
    /// JSON, docs/endorsement.md.
    pub document: String,
    /// The owner's statement, to be verified again on load.
    pub statement: Vec<u8>,
}

/// A bundle on record.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BundleRecord {
    /// 1, 2, …
    pub version: u64,
    /// SHA-256 of the document; the row says so, nothing more.
    pub sha256: Sha256,
    /// JSON.
    pub document: String,
    /// The owner's statement.
    pub statement: Vec<u8>,
    /// When it was applied.
    pub applied_at: Seconds,
    /// By whom.
    pub applied_by: String,
}

/// A CRL on record.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CrlRecord {
    /// SHA-256 of the issuer's Name.
    pub issuer_sha256: Sha256,
    /// SHA-256 of the SubjectPublicKeyInfo that verified it.
    pub key_sha256: Sha256,
    /// SHA-256 of `der`.
    pub sha256: Sha256,
    /// The CRL.
    pub der: Vec<u8>,
    /// The issuer, for people; inert.
    pub issuer: String,
    /// When it was made.
    pub this_update: Seconds,
    /// When the next one is due.
    pub next_update: Seconds,
}
