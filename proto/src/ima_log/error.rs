//! Why bytes are not an IMA log.

use thiserror::Error;

use crate::boot_log::{Cause, Flaw};

/// Bytes that are not an IMA measurement list. Names the entry, the byte, the
/// field (in the kernel's words) and the flaw.
#[derive(Clone, Copy, Debug, Error, PartialEq, Eq)]
#[error("entry {entry}, {field} at byte {offset}: {cause}")]
#[non_exhaustive]
pub struct ImaLogError {
    /// Number of the entry since boot, from 0.
    pub entry: u64,
    /// Offset of the field since boot, in bytes. Where the field had to be put
    /// together first (ASCII), that of its entry.
    pub offset: u64,
    /// The field.
    pub field: &'static str,
    /// What is wrong with it.
    pub cause: Cause,
}

impl ImaLogError {
    /// `flaw` in what starts at `base`.
    pub(super) fn at(entry: u64, base: u64, flaw: Flaw) -> Self {
        Self {
            entry,
            offset: base.saturating_add(as_u64(flaw.offset)),
            field: flaw.field,
            cause: flaw.cause,
        }
    }
}

/// A length of something in memory.
pub(super) fn as_u64(len: usize) -> u64 {
    u64::try_from(len).unwrap_or(u64::MAX)
}
