//! Operators' certificates on record.

use async_trait::async_trait;

use super::{Seconds, Sha256, StoreError};
use crate::operators::{OperatorCertificate, Role};

/// One certificate, and what became of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OperatorRecord {
    /// 1, 2, ... in order of adding.
    pub id: u64,
    /// SHA-256 of the DER.
    pub sha256: Sha256,
    /// Serial number, lower-case hex.
    pub serial: String,
    /// Whose it is.
    pub name: String,
    /// What that one may do.
    pub role: Role,
    /// Start of validity.
    pub not_before: Seconds,
    /// End of validity.
    pub not_after: Seconds,
    /// When it was added, and by whom.
    pub added_at: Seconds,
    /// See `added_at`.
    pub added_by: String,
    /// When it was revoked, and why.
    pub revoked: Option<(Seconds, String)>,
}

/// What is asked of the record of operators.
#[async_trait]
pub trait Operators: Send + Sync {
    /// Records a certificate, which from then on has its role.
    ///
    /// # Errors
    /// [`StoreError::OperatorExists`] where it, or its serial number, is on
    /// record.
    async fn add_operator(
        &self,
        certificate: &OperatorCertificate,
        by: &str,
        now: Seconds,
    ) -> Result<OperatorRecord, StoreError>;

    /// The certificate with this SHA-256.
    async fn operator(&self, sha256: &Sha256) -> Result<Option<OperatorRecord>, StoreError>;

    /// Up to `limit` records in order of adding, those with an id above `after`.
    async fn operators(&self, after: u64, limit: u32) -> Result<Vec<OperatorRecord>, StoreError>;

    /// Revokes the certificate with this serial number, for ever.
    ///
    /// # Errors
    /// [`StoreError::UnknownOperator`] where none is on record, or it is
    /// revoked already.
    async fn revoke_operator(
        &self,
        serial: &str,
        reason: &str,
        by: &str,
        now: Seconds,
    ) -> Result<OperatorRecord, StoreError>;
}
