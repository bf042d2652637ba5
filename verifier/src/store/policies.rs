//! Appraisal policies as the store keeps them: text that the owner signed.

use super::{Seconds, Sha256};

/// A policy to be recorded.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewPolicy {
    /// The version that its statement gives it.
    pub version: u64,
    /// SHA-256 of `source`, as stated.
    pub sha256: Sha256,
    /// Rego.
    pub source: String,
    /// The owner's statement, to be verified again on load.
    pub statement: Vec<u8>,
}

/// A policy on record.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PolicyRecord {
    /// 1, 2, …
    pub version: u64,
    /// SHA-256 of the source; the row says so, nothing more.
    pub sha256: Sha256,
    /// Rego.
    pub source: String,
    /// The owner's statement.
    pub statement: Vec<u8>,
    /// When it was applied.
    pub applied_at: Seconds,
    /// By whom.
    pub applied_by: String,
}

/// Which policies there were, without their sources.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PolicyVersion {
    /// 1, 2, …
    pub version: u64,
    /// SHA-256 of the source.
    pub sha256: Sha256,
    /// When it was applied.
    pub applied_at: Seconds,
    /// By whom.
    pub applied_by: String,
}
