//! Everything that can end an exchange, and the kind that the peer learns.

use thiserror::Error;

use crate::{
    endorsement::{DevidError, EndorsementError},
    freshness::FreshnessError,
    verification::VerificationError,
};

/// Why an exchange stopped. The cause is for the log; the peer gets
/// [`ExchangeError::kind`] only.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum ExchangeError {
    /// A field of the request that must be there is not.
    #[error("the request lacks `{0}`")]
    Missing(&'static str),
    /// The gateway on record does not parse any more: a fault of the store.
    #[error("the record of the gateway is damaged: {0}")]
    Record(#[source] VerificationError),
    /// The policy changed between challenge and answer (ARCHITECTURE §4).
    #[error("the appraisal policy changed since the challenge was made")]
    PolicyChanged,
    /// The endorsement room refused the EK.
    #[error("endorsement: {0}")]
    Endorsement(#[from] EndorsementError),
    /// The endorsement room refused the IAK or the IDevID.
    #[error("IAK road: {0}")]
    Devid(#[from] DevidError),
    /// The freshness room refused the token.
    #[error("freshness: {0}")]
    Freshness(#[from] FreshnessError),
    /// The verification room refused keys or Evidence.
    #[error("verification: {0}")]
    Verification(#[from] VerificationError),
}

/// What kind of refusal it is: all that a peer is told (STYLE rule 6). The
/// edge maps each to one gRPC code.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Kind {
    /// Not well formed, or a key that breaks a rule on its face:
    /// INVALID_ARGUMENT. Repeating it is useless.
    InvalidRequest,
    /// The TPM is not endorsed by a vendor that the owner trusts:
    /// PERMISSION_DENIED.
    NotEndorsed,
    /// The owner wants to be shown EKs of more templates: FAILED_PRECONDITION. The
    /// same with these helps.
    EksMissing,
    /// Expired, already used, of another purpose or another key, or evidence
    /// that was made for another challenge:
    /// FAILED_PRECONDITION. A new challenge helps.
    Stale,
    /// Well formed, but not what it claims to be: UNAUTHENTICATED.
    NotAuthentic,
    /// The IMA log does not go on from where we are: FAILED_PRECONDITION. The
    /// same with the whole log helps.
    ImaResync,
    /// The boot log was named by a hash that we do not know: FAILED_PRECONDITION.
    /// The same with the whole log helps.
    BootLogUnknown,
    /// The boot log cannot be read: INVALID_ARGUMENT.
    BootLogMalformed,
    /// Our fault: INTERNAL.
    Internal,
}

impl ExchangeError {
    /// The kind of this refusal.
    #[must_use]
    pub fn kind(&self) -> Kind {
        match self {
            Self::Missing(_) => Kind::InvalidRequest,
            Self::PolicyChanged => Kind::Stale,
            Self::Endorsement(EndorsementError::EksMissing { .. }) => Kind::EksMissing,
            Self::Endorsement(e) if e.is_malformed() => Kind::InvalidRequest,
            Self::Endorsement(_) => Kind::NotEndorsed,
            Self::Devid(e) if e.is_malformed() => Kind::InvalidRequest,
            Self::Devid(_) => Kind::NotEndorsed,
            Self::Freshness(e) if e.is_internal() => Kind::Internal,
            // The TPM of that EK and AK did not answer (A04).
            Self::Freshness(FreshnessError::WrongSecret) => Kind::NotAuthentic,
            Self::Freshness(_) => Kind::Stale,
            Self::Verification(e) if e.is_internal() => Kind::Internal,
            // Evidence for another challenge (A01): a new one helps.
            Self::Verification(VerificationError::Nonce) => Kind::Stale,
            Self::Verification(VerificationError::ImaResync { .. }) => Kind::ImaResync,
            Self::Verification(VerificationError::BootLogUnknown) => Kind::BootLogUnknown,
            Self::Verification(VerificationError::BootLog(_)) => Kind::BootLogMalformed,
            Self::Verification(e) if e.is_malformed() => Kind::InvalidRequest,
            Self::Verification(_) => Kind::NotAuthentic,
            Self::Record(_) => Kind::Internal,
        }
    }
}
