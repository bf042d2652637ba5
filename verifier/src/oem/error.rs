//! Why an OEM's desk gives no certificate.

use holdfast_proto::{
    devid_challenge::ChallengeFileError, idevid_csr::CsrError, tpm::ParseError,
    tpm::devid::DevidKey,
};

use super::LedgerError;
use crate::{
    config::HomeError,
    custody::CustodyError,
    endorsement::{DevidError, EndorsementError, FileError},
    identity::{DevidSubjectError, IdentityError},
    time::UnixTime,
    verification::{SignatureFault, VerificationError},
};

/// Why a TCG-CSR-IDEVID is refused: the rule that it breaks, in the order in
/// which they are looked at.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CsrRefusal {
    /// Its form, or its digest.
    #[error("not a TCG-CSR-IDEVID: {0}")]
    Form(#[from] CsrError),
    /// How it names the product.
    #[error(transparent)]
    Subject(#[from] DevidSubjectError),
    /// attestPub or signingPub.
    #[error("{} public area: {source}", of.label())]
    Area {
        /// Which key.
        of: DevidKey,
        /// Why.
        #[source]
        source: ParseError,
    },
    /// The IAK is of no template of the standard.
    #[error("the IAK's public area equals no template of the standard (H-1 to H-4)")]
    NotATemplate,
    /// IAK, IDevID key, or the one's certification of the other.
    #[error(transparent)]
    Key(#[from] VerificationError),
    /// The request's own signature cannot be read.
    #[error("signature of the request: {0}")]
    SignatureForm(#[source] ParseError),
    /// The request is not signed by the IDevID key that it names.
    #[error("the request is not signed by its IDevID key: {0}")]
    Signature(#[source] SignatureFault),
    /// The EK certificate, or its path to a TPM vendor.
    #[error("EK certificate: {0}")]
    Ek(#[from] EndorsementError),
    /// The answer is to another request's challenge.
    #[error("the answer is to another request: {answered}, this one is {this}")]
    OtherRequest {
        /// SHA-256 of the request that it answers.
        answered: String,
        /// SHA-256 of this one.
        this: String,
    },
    /// The challenge is over.
    #[error(
        "the challenge was made at {made} and is over: make another (holdfast-verifier oem challenge)"
    )]
    Late {
        /// When.
        made: UnixTime,
    },
    /// The answer is not the secret that was in the challenge.
    #[error("wrong answer: the TPM that answered does not hold both this request's EK and its IAK")]
    WrongSecret,
    /// The verifier itself would not take what was made: a fault of ours.
    #[error("the certificates as made are not accepted by the verifier: {0}")]
    Unusable(#[source] DevidError),
    /// The CA.
    #[error(transparent)]
    Identity(#[from] IdentityError),
}

/// Why the desk does not do what it is asked.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum DeskError {
    /// The request.
    #[error(transparent)]
    Refused(#[from] CsrRefusal),
    /// A file in the directory.
    #[error(transparent)]
    Home(#[from] HomeError),
    /// A key in the directory.
    #[error(transparent)]
    Custody(#[from] CustodyError),
    /// The directory holds no usable CA.
    #[error("{file}: {source}")]
    Ca {
        /// Which file.
        file: &'static str,
        /// Why.
        #[source]
        source: IdentityError,
    },
    /// The list of TPM vendors.
    #[error("tpm-vendors.pem: {0}")]
    Vendors(#[from] FileError),
    /// A certificate in it.
    #[error("tpm-vendors.pem: {0}")]
    Vendor(#[source] EndorsementError),
    /// The answer's file.
    #[error("answer: {0}")]
    Answer(#[from] ChallengeFileError),
    /// The record of what was issued.
    #[error(transparent)]
    Ledger(#[from] LedgerError),
    /// Nobody made a challenge for this request, or it was used.
    #[error(
        "no challenge waits for request {0}: make one (holdfast-verifier oem challenge), each serves once"
    )]
    NoChallenge(String),
    /// A pending challenge's file is not what was written.
    #[error("{file} is damaged: remove it and make the challenge again")]
    Damaged {
        /// Which.
        file: String,
    },
    /// No randomness.
    #[error("the system has no randomness")]
    NoRandomness,
}
