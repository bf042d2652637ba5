//! Why bytes are not signed claims of our profile.

use thiserror::Error;

use crate::cbor::CborError;
use crate::cose::Sign1Error;

/// Bytes that are not a COSE_Sign1, or a claims set, of profile
/// [`PROFILE`](super::PROFILE).
#[derive(Clone, Debug, Error, PartialEq, Eq)]
#[non_exhaustive]
pub enum ClaimsError {
    /// Not a COSE_Sign1 of the profile.
    #[error("signed claims: {0}")]
    Envelope(#[from] Sign1Error),
    /// The payload is not the deterministic CBOR of a claims set.
    #[error("not the CBOR of the profile: {0}")]
    Cbor(#[from] CborError),
    /// `eat_profile` is another.
    #[error("eat_profile is not {}", super::PROFILE)]
    Profile,
    /// A claim that the profile does not know, such as a submodule.
    #[error("unknown claim {0}")]
    UnknownClaim(i64),
    /// A claim that the profile needs is missing.
    #[error("no claim {0}")]
    MissingClaim(&'static str),
    /// A claim outside the range that the profile allows.
    #[error("claim {0} is out of range")]
    OutOfRange(&'static str),
}

/// Why [`SignedClaims::open`](super::SignedClaims::open) gave no claims.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
#[non_exhaustive]
pub enum OpenError<E> {
    /// The caller's verification refused the signature.
    #[error("claims signature: {0}")]
    Signature(E),
    /// The signature is good, the payload is not a claims set of the profile.
    #[error(transparent)]
    Claims(#[from] ClaimsError),
}
