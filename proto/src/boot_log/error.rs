//! Why bytes are not a boot log.

use thiserror::Error;

use super::cursor::{Cause, Flaw};

/// Bytes that are not a TCG event log. Names the event, the byte, the field
/// (in the words of the PC Client Platform Firmware Profile) and the flaw.
#[derive(Clone, Copy, Debug, Error, PartialEq, Eq)]
#[error("event {event}, {field} at byte {offset}: {cause}")]
#[non_exhaustive]
pub struct BootLogError {
    /// Index of the event in the log, the Spec ID event being 0.
    pub event: usize,
    /// Offset of the field in the log, in bytes.
    pub offset: usize,
    /// The field.
    pub field: &'static str,
    /// What is wrong with it.
    pub cause: Cause,
}

impl BootLogError {
    /// `flaw` of event number `event`, in data that starts at `base`.
    pub(super) fn at(event: usize, base: usize, flaw: Flaw) -> Self {
        Self {
            event,
            offset: base.saturating_add(flaw.offset),
            field: flaw.field,
            cause: flaw.cause,
        }
    }
}
