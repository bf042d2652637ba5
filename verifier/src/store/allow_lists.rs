//! Allow lists on record.

use super::{Seconds, Sha256};

/// An allow list to be recorded: verified to be the owner's.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewAllowList {
    /// Whose files it lists.
    pub class: String,
    /// One more than the newest.
    pub version: u64,
    /// SHA-256 of `document`.
    pub sha256: Sha256,
    /// Canonical, up to 64 MiB.
    pub document: Vec<u8>,
    /// COSE_Sign1 by the owner's key.
    pub statement: Vec<u8>,
    /// Pairs of a path and a digest.
    pub entries: u32,
    /// `ima-sig` keys.
    pub keys: u32,
}

/// The newest allow list of a class, as it was imported.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AllowListRecord {
    /// 1, 2, …
    pub version: u64,
    /// The document.
    pub document: Vec<u8>,
    /// COSE_Sign1 by the owner's key.
    pub statement: Vec<u8>,
}

/// One version, without its document.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AllowListVersion {
    /// Whose files it lists.
    pub class: String,
    /// 1, 2, …
    pub version: u64,
    /// SHA-256 of the document.
    pub sha256: Sha256,
    /// Length of the document, in bytes.
    pub bytes: u64,
    /// Pairs of a path and a digest.
    pub entries: u32,
    /// `ima-sig` keys.
    pub keys: u32,
    /// When it was imported.
    pub imported_at: Seconds,
    /// By whom.
    pub imported_by: String,
}
