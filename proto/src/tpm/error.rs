//! Why bytes are not a TPM structure.

use thiserror::Error;

/// Bytes that are not the TPM structure they were said to be. Each variant
/// names the field, in the words of TPM 2.0 Library Part 2, and the value.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
#[non_exhaustive]
pub enum ParseError {
    /// The input ends inside a field.
    #[error("{field}: input ends {missing} byte(s) early")]
    Truncated {
        /// The field that was being read.
        field: &'static str,
        /// How many more bytes it needed.
        missing: usize,
    },
    /// Bytes are left after the end of the structure.
    #[error("{structure}: {count} byte(s) after its end")]
    TrailingBytes {
        /// The structure that was complete.
        structure: &'static str,
        /// How many bytes were left.
        count: usize,
    },
    /// A buffer or list is longer than the structure allows.
    #[error("{field}: length {len} is over the limit of {max}")]
    TooLong {
        /// The buffer or list.
        field: &'static str,
        /// Its stated length.
        len: usize,
        /// The longest allowed.
        max: usize,
    },
    /// A buffer has a length that the structure does not allow.
    #[error("{field}: length {len} where {expected} is needed")]
    WrongLength {
        /// The buffer.
        field: &'static str,
        /// Its length.
        len: usize,
        /// The only length allowed.
        expected: usize,
    },
    /// A value is unknown, or known and not supported.
    #[error("{field}: unsupported value {value:#x}")]
    Unsupported {
        /// The field.
        field: &'static str,
        /// What it held.
        value: u64,
    },
    /// `TPMS_ATTEST.magic` is not `TPM_GENERATED_VALUE` (Part 2 §10.12.12): a
    /// TPM did not make this structure.
    #[error("TPMS_ATTEST.magic is {0:#010x}, not TPM_GENERATED_VALUE")]
    NotTpmGenerated(u32),
    /// PCR indices must be ascending and without duplicates.
    #[error("PCR index {index} follows {previous}: indices must ascend")]
    PcrOrder {
        /// The index out of place.
        index: u32,
        /// The index before it.
        previous: u32,
    },
    /// The structure is well-formed and holds no public key (a template, or a
    /// symmetric object).
    #[error("{field}: holds no usable public key")]
    NoPublicKey {
        /// The field in which the key was missing.
        field: &'static str,
    },
}

impl ParseError {
    pub(super) fn unsupported(field: &'static str, value: impl Into<u64>) -> Self {
        Self::Unsupported {
            field,
            value: value.into(),
        }
    }
}
