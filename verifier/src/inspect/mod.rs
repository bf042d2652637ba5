//! Inspect: what a piece of evidence says, offline, by the code of the service.
//! In: bytes from files, a time. Out: a report, which serialises to the JSON of
//! `docs/inspect.md`.
//!
//! Reports are about untrusted input. Texts in them are as they came; whoever
//! shows one makes it inert (the command line does, in tables and in JSON).

pub mod boot_log;
pub mod claims;
pub mod ek_certificate;
mod fact;
pub mod ima_log;
pub mod key;
pub mod ldevid;
mod pem;
pub mod quote;
pub mod result;

pub use pem::certificates;

use holdfast_proto::{
    boot_log::BootLogError,
    ima_log::ImaLogError,
    tpm::{HashAlg, ParseError},
};
use serde::Serialize;
use thiserror::Error;

use crate::endorsement::EndorsementError;

/// Longest boot log read: sixteen times what the service takes.
pub const MAX_BOOT_LOG_BYTES: usize = 16 << 20;
/// Longest IMA log read: over a million entries of a usual length.
pub const MAX_IMA_LOG_BYTES: usize = 256 << 20;
/// Longest key, quote, signature, certificate, claims or result read: four
/// times the longest that the service takes of any.
pub const MAX_EVIDENCE_BYTES: usize = 64 << 10;
/// Longest file of CA certificates read; all vendors' have some 400 KiB.
pub const MAX_BUNDLE_BYTES: usize = 4 << 20;

/// What was concluded.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Verdict {
    /// All that could be held against something holds.
    Affirming,
    /// Something does not hold: see the reason.
    Refused,
    /// Well formed, and there was nothing to hold it against.
    Unverified,
}

impl Verdict {
    /// As in JSON.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Affirming => "affirming",
            Self::Refused => "refused",
            Self::Unverified => "unverified",
        }
    }
}

/// Input that cannot be read at all, or that nothing can be judged by. What is
/// *judged* and does not parse is refused instead.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum InspectError {
    /// Over the limit for its kind.
    #[error("{len} bytes, at most {max} are read")]
    TooLong {
        /// Its length.
        len: usize,
        /// The limit.
        max: usize,
    },
    /// Not a TCG event log.
    #[error("not a boot log: {0}")]
    BootLog(#[from] BootLogError),
    /// Not an IMA measurement list.
    #[error("not an IMA log: {0}")]
    ImaLog(#[from] ImaLogError),
    /// No kind of public key that is known here.
    #[error("not a public key (PEM, TPM2B_PUBLIC, TPMT_PUBLIC): {0}")]
    Key(String),
    /// No certificate where one is needed.
    #[error("no certificate: {0}")]
    Certificate(String),
    /// None of the certificates given can serve as a root.
    #[error("no usable root certificate: {0}")]
    Roots(String),
    /// A CA certificate that cannot be used to judge.
    #[error("certificates: {0}")]
    Anchors(#[from] EndorsementError),
}

/// At most `max` bytes.
///
/// # Errors
/// [`InspectError::TooLong`].
pub(crate) fn at_most(bytes: &[u8], max: usize) -> Result<(), InspectError> {
    if bytes.len() > max {
        return Err(InspectError::TooLong {
            len: bytes.len(),
            max,
        });
    }
    Ok(())
}

/// Name of a hash algorithm, `0x0012` and the like where it is not known.
fn algorithm(id: u16) -> String {
    HashAlg::from_id(id).map_or_else(
        |_: ParseError| format!("{id:#06x}"),
        |alg| alg.name().to_owned(),
    )
}
