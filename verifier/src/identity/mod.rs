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
mod ca_certificate;
mod ca_public;
mod certificate;
mod client;
mod crl;
mod der;
mod devid;
mod issuer;
mod issuing;
mod lint;
mod names;
pub mod ocsp;
mod oid;
mod on_file;
pub mod pem;
mod profile;
mod published;
mod reason;
mod request;
mod signed;
mod signer;
#[cfg(test)]
mod tests;

pub use ca::{Authority, CaSettings, Initial, KeyedCertificate, SecretKey, ServerName, ca_init};
pub use ca_certificate::CaCertificate;
pub use ca_public::{CaCurve, CaPublic};
pub use crl::{CrlContents, CrlEntry};
pub use devid::{DevidCa, DevidSubject, DevidSubjectError, NewDevidCa};
pub use issuer::{Issuer, Ldevid, LintedCertificate};
pub use issuing::{IssuingCa, IssuingCas, MAX_ISSUING_CAS};
pub use lint::LintError;
pub use on_file::LdevidOnFile;
pub use profile::{
    BACKDATE_SECONDS, DEFAULT_VALIDITY_SECONDS, MAX_VALIDITY_SECONDS, MIN_VALIDITY_SECONDS,
    Profile, ProfileSettings, Profiles, subject_serial_number,
};
pub use published::{
    CrlPart, CrlParts, MAX_CRL_PARTS, OCSP_PATH, PublicUrl, RevocationUrls, crl_path, issuer_path,
};
pub use reason::RevocationReason;
pub use request::{RequestedKey, certification_request};
pub use signer::{CaSigner, FileSigner, ResultKey, SIGN_TIMEOUT, SignError};

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
    /// A name template in a profile.
    #[error("{template:?} is not usable as a name in LDevIDs: {why}")]
    BadNameTemplate {
        /// As it was written, inert.
        template: String,
        /// Which rule it breaks.
        why: &'static str,
    },
    /// A purpose in a profile.
    #[error(
        "{0:?} is no purpose for LDevIDs: use server-auth or ipsec-ike (client-auth is in each)"
    )]
    BadPurpose(String),
    /// RFC 8520 §11.
    #[error("{0:?} is not usable as MUD URL: https, ASCII, at most 253 bytes")]
    BadMudUrl(String),
    /// SPIFFE-ID §2.1.
    #[error("{0:?} is not a SPIFFE trust domain: use lower-case letters, digits, '.', '-', '_'")]
    BadTrustDomain(String),
    /// Organisation name empty, too long, or with control characters.
    #[error(
        "{0:?} is not usable as an organisation name: 1 to 64 characters, none of them a control character"
    )]
    BadOrganization(String),
    /// Not usable as the base of URLs in certificates.
    #[error(
        "{0:?} is not usable as a public URL: write http://HOST[:PORT][/PATH], at most 160 \
         characters, without a slash at its end"
    )]
    BadPublicUrl(String),
    /// The CRL as written is read by no other decoder: a fault of ours.
    #[error("the CRL does not decode: {0}")]
    BadCrl(String),
    /// Neither an IP address nor a DNS name (RFC 1123 §2.1).
    #[error("{0:?} is neither a DNS name nor an IP address")]
    BadServerName(String),
    /// A server certificate needs one.
    #[error("a server certificate needs at least one name")]
    NoServerName,
    /// Not a P-256 (or, for a CA, P-384) key in PKCS#8.
    #[error("not a P-256 private key in PKCS#8: {0}")]
    BadKey(String),
    /// Not an uncompressed point of P-256 or P-384, or not the
    /// SubjectPublicKeyInfo of one.
    #[error("not a public key on P-256 or P-384")]
    BadPublicKey,
    /// Too many issuing CAs, or one of them twice.
    #[error("{0} issuing CAs, of which two are the same or that are more than {MAX_ISSUING_CAS}")]
    IssuingCas(usize),
    /// The CA certificate cannot be used to issue.
    #[error("unusable CA certificate: {0}")]
    BadCaCertificate(&'static str),
    /// Not a request for an issuing CA's certificate.
    #[error("unusable certification request: {0}")]
    BadRequest(&'static str),
    /// The certificate of an issuing CA is not of this root.
    #[error("the CA certificate is not signed by this root")]
    NotBelow,
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
