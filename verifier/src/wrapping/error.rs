//! Why nothing was wrapped.

use holdfast_proto::binding::Ueid;
use thiserror::Error;

use crate::{endorsement::EndorsementError, verification::VerificationError};

/// Why an object was not wrapped for a TPM.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum WrapError {
    /// On the IAK road, in a record of before EKs were certified: whoever has
    /// that EK could be a program.
    #[error(
        "the record is of before a gateway's IAK certified its EK: nothing can be wrapped for that \
         until the gateway enrols anew"
    )]
    EkNotCertified,
    /// The EK on record is not the one that makes the gateway's id.
    #[error("the EK on record makes gateway {found}, the record is of {id}")]
    OtherEk {
        /// By the EK.
        found: Ueid,
        /// Of the record.
        id: Ueid,
    },
    /// The EK on record is damaged.
    #[error("EK on record: {0}")]
    Record(#[source] EndorsementError),
    /// A sealed object holds 1 to 128 bytes (Part 2 §11.1.13, MAX_SYM_DATA).
    #[error("a secret for a TPM has 1 to 128 bytes, not {len}")]
    SecretLength {
        /// What it has.
        len: usize,
    },
    /// The EK's point is not on its curve, or there is no randomness.
    #[error(transparent)]
    Encapsulation(#[from] VerificationError),
}
