//! Why a challenge token was refused (ADVERSARY A02, A04).

use holdfast_proto::tpm::Name;
use thiserror::Error;

use crate::time::UnixTime;

/// Why a token, an answer, or a part of them was refused.
#[derive(Debug, Error, PartialEq, Eq)]
#[non_exhaustive]
pub enum FreshnessError {
    /// Shorter or longer than any token that we make.
    #[error("the token has {0} bytes")]
    Length(usize),
    /// A version of the token's format that we do not know.
    #[error("unknown token version {0}")]
    Version(u8),
    /// Made for another call; its purpose is authenticated besides.
    #[error("the token was made for another purpose")]
    Purpose,
    /// Sealed under another key: another verifier, or a key since replaced.
    #[error("the token is of another verifier, or its key was replaced")]
    UnknownKey,
    /// The AEAD refused: forged, truncated or altered.
    #[error("the token is not authentic")]
    Forged,
    /// Authentic, but its content does not decode: an older format of ours.
    #[error("the token's content does not decode")]
    Content,
    /// Its time is over.
    #[error("the token expired at {0}")]
    Expired(UnixTime),
    /// It was issued after now: a clock went back, here or on a replica.
    #[error("the token was issued at {0}, which is in the future")]
    FromTheFuture(UnixTime),
    /// The EK is not the one that the token was made for.
    #[error("EK {0} is not the one that was challenged")]
    OtherEk(Name),
    /// The EK's certificates are not those that the token was made for.
    #[error("the EK certificate chain is not the one that was challenged")]
    OtherEkChain,
    /// The further EKs, or their certificates, are not those that the token was
    /// made for.
    #[error("the further EKs and their certificates are not those that were challenged")]
    OtherFurtherEks,
    /// The challenge was made for the other road: EK or IAK.
    #[error("the challenge was made for the other road of EK and IAK")]
    OtherRoad,
    /// The IAK's certificates are not those that the token was made for.
    #[error("the IAK certificate chain is not the one that was challenged")]
    OtherIakChain,
    /// The IDevID's certificates are not those that the token was made for.
    #[error("the IDevID certificate chain is not the one that was challenged")]
    OtherIdevidChain,
    /// The IDevID key is not the one that the token was made for.
    #[error("IDevID key {0} is not the one that was challenged")]
    OtherIdevid(Name),
    /// The AK is not the one that the token was made for (A03).
    #[error("AK {0} is not the one that was challenged")]
    OtherAk(Name),
    /// The LDevID key is not the one that the token was made for.
    #[error("LDevID key {0} is not the one that was challenged")]
    OtherLdevid(Name),
    /// A secret is not what TPM2_ActivateCredential would have returned for its
    /// EK and the AK.
    #[error("the activated secret is wrong")]
    WrongSecret,
    /// A class, which may hold 1 to 64 of `a-z 0-9 . _ -`, first a letter or
    /// a digit.
    #[error("not a class: 1 to 64 of a-z, 0-9, '.', '_', '-', first a letter or digit")]
    NotAClass,
    /// A join token's id that does not fit in a challenge.
    #[error("join token id has {0} bytes, 1 to 64 are taken")]
    AdmissionId(usize),
    /// The system's randomness failed.
    #[error("no randomness")]
    Entropy,
}

impl FreshnessError {
    /// Whether the fault is ours.
    #[must_use]
    pub fn is_internal(&self) -> bool {
        matches!(self, Self::Entropy)
    }
}
