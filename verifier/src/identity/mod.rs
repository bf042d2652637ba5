//! Identity: from a grant to an LDevID certificate (IEEE 802.1AR), and the
//! owner's CAs that stand behind it.
//!
//! In: an [`IssuanceGrant`], a time, randomness, a [`CaSigner`]. Out: a
//! certificate that was linted before it was signed. Evidence is never seen
//! here; the subject's key comes from the grant and from nowhere else.
//!
//! ```text
//! IssuanceGrant ─Issuer::prepare─► LintedCertificate ─sign─► Ldevid
//! ```

mod ca;
mod certificate;
mod der;
mod issuer;
mod lint;
mod oid;
mod on_file;
pub mod pem;
mod profile;
mod signer;
#[cfg(test)]
mod tests;

pub use ca::{Authority, CaSettings, Initial, KeyedCertificate, SecretKey, ServerName, ca_init};
pub use issuer::{Issuer, Ldevid, LintedCertificate};
pub use lint::LintError;
pub use on_file::LdevidOnFile;
pub use profile::{
    BACKDATE_SECONDS, DEFAULT_VALIDITY_SECONDS, MAX_VALIDITY_SECONDS, MIN_VALIDITY_SECONDS,
    Profile, subject_serial_number,
};
pub use signer::{CaSigner, FileSigner, ResultKey, SignError};

#[cfg(doc)]
use crate::appraisal::IssuanceGrant;
use crate::time::UnixTime;

/// Why no certificate was made.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum IdentityError {
    /// The system gave no random bytes.
    #[error("no randomness")]
    NoRandomness,
    /// X.509 cannot write this time (RFC 5280 §4.1.2.5).
    #[error("{0} cannot be written in a certificate")]
    TimeOutOfRange(UnixTime),
    /// Lifetime outside the profile's bounds.
    #[error("an LDevID of {0} s: allowed are {MIN_VALIDITY_SECONDS} to {MAX_VALIDITY_SECONDS} s")]
    BadValidity(i64),
    /// SPIFFE-ID §2.1.
    #[error("{0:?} is not a SPIFFE trust domain: use lower-case letters, digits, '.', '-', '_'")]
    BadTrustDomain(String),
    /// Organisation name empty, too long, or with control characters.
    #[error(
        "{0:?} is not usable as an organisation name: 1 to 64 characters, none of them a control character"
    )]
    BadOrganization(String),
    /// Neither an IP address nor a DNS name (RFC 1123 §2.1).
    #[error("{0:?} is neither a DNS name nor an IP address")]
    BadServerName(String),
    /// A server certificate needs one.
    #[error("a server certificate needs at least one name")]
    NoServerName,
    /// Not a P-256 key in PKCS#8.
    #[error("not a P-256 private key in PKCS#8: {0}")]
    BadKey(String),
    /// The CA certificate cannot be used to issue.
    #[error("unusable CA certificate: {0}")]
    BadCaCertificate(&'static str),
    /// The signer's key is not the one in the CA certificate.
    #[error("the CA's private key does not belong to its certificate")]
    KeyMismatch,
    /// The CA is not valid at the time of issue, or ends before the
    /// certificate would begin.
    #[error("the CA is valid from {not_before} to {not_after}, now is {now}")]
    CaNotValid {
        /// Start of the CA's validity.
        not_before: UnixTime,
        /// End of the CA's validity.
        not_after: UnixTime,
        /// When issuance was asked for.
        now: UnixTime,
    },
    /// The certificate as prepared breaks our profile: a fault of ours, so
    /// nothing was signed.
    #[error("the prepared certificate was not issued: {0}")]
    Lint(#[from] LintError),
    /// The signer failed.
    #[error(transparent)]
    Sign(#[from] SignError),
    /// The signer answered with a signature that its own key does not verify.
    #[error("the CA's signature does not verify under its own key")]
    BadSignature,
}
