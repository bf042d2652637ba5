//! Why bytes are not signed claims of our profile.

use thiserror::Error;

use crate::cbor::CborError;

/// Bytes that are not a COSE_Sign1, or a claims set, of profile
/// [`PROFILE`](super::PROFILE).
#[derive(Clone, Debug, Error, PartialEq, Eq)]
#[non_exhaustive]
pub enum ClaimsError {
    /// Longer than [`MAX_LEN`](super::MAX_LEN).
    #[error("signed claims of {len} bytes are over the limit of {max}")]
    TooLong {
        /// Its length.
        len: usize,
        /// The longest allowed.
        max: usize,
    },
    /// Untagged, or of another tag than 18 (RFC 9052 §4.2).
    #[error("not a tagged COSE_Sign1 (tag 18)")]
    NotSign1,
    /// Not the deterministic CBOR that the profile needs.
    #[error("not the CBOR of the profile: {0}")]
    Cbor(#[from] CborError),
    /// The payload is nil: detached (RFC 9052 §4.1). The profile needs it inside.
    #[error("the payload is detached")]
    DetachedPayload,
    /// The unprotected header holds something. The profile needs it empty: what
    /// is not signed decides nothing.
    #[error("the unprotected header has {0} parameter(s), and must be empty")]
    Unprotected(u64),
    /// `crit` (RFC 9052 §3.1): the profile knows no critical parameter.
    #[error("the protected header has crit")]
    Critical,
    /// A parameter that the profile does not know, such as x5chain.
    #[error("the protected header has unknown parameter {0}")]
    UnknownHeader(i64),
    /// No `alg` in the protected header.
    #[error("the protected header has no alg")]
    NoAlg,
    /// An algorithm that the profile does not know.
    #[error("unsupported alg {0}")]
    UnsupportedAlg(i64),
    /// No `kid` in the protected header.
    #[error("the protected header has no kid")]
    NoKid,
    /// `kid` is no Name: 22 to 66 bytes.
    #[error("kid of {0} bytes is not the Name of a key")]
    Kid(usize),
    /// The signature is not r ‖ s of the algorithm's length (RFC 9053 §2.1).
    #[error("signature of {len} bytes where {expected} are needed")]
    SignatureLength {
        /// Its length.
        len: usize,
        /// The length of r ‖ s.
        expected: usize,
    },
    /// `eat_profile` is another.
    #[error("eat_profile is not tag:holdfast.dev,2026:evidence/1")]
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
