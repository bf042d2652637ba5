//! The rules of the profile, as what breaks them.

use crate::time::UnixTime;

/// The rule that a prepared certificate breaks.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum LintError {
    /// A decoder does not read it.
    #[error("it does not decode: {0}")]
    Unreadable(String),
    /// Positive, 64 to 128 bits (802.1AR §8.2; RFC 5280 §4.1.2.2).
    #[error("serial number of {0} octets, or not positive")]
    SerialNumber(usize),
    /// RFC 5280 §4.1.2.3: ECDSA with the hash of the CA's curve.
    #[error("the signature algorithm is not that of the CA's key")]
    SignatureAlgorithm,
    /// RFC 5280 §4.1.2.4.
    #[error("the issuer is not the CA's subject")]
    Issuer,
    /// Other times than asked for, too long, or not within the CA's.
    #[error("validity {not_before} to {not_after}")]
    Validity {
        /// As read back.
        not_before: UnixTime,
        /// As read back.
        not_after: UnixTime,
    },
    /// 802.1AR §8.6: serialNumber of the gateway, then the common name.
    #[error("the subject is not the gateway's")]
    Subject,
    /// The key is not, byte for byte, the one in the grant.
    #[error("the subject key is not the granted one")]
    SubjectKey,
    /// Not P-256, P-384, or RSA of at least 2048 bits.
    #[error("the subject key is of a kind that is not issued to")]
    WeakKey,
    /// An extension that the profile does not have.
    #[error("extension {0} is not in the profile")]
    UnexpectedExtension(String),
    /// RFC 5280 §4.2.
    #[error("extension {0} occurs twice")]
    DuplicateExtension(String),
    /// An extension that the profile has.
    #[error("extension {0} is missing")]
    MissingExtension(String),
    /// Critical where it must not be, or the reverse.
    #[error("extension {0} has the wrong criticality")]
    Criticality(String),
    /// digitalSignature and nothing else.
    #[error("keyUsage is not exactly digitalSignature")]
    KeyUsage,
    /// clientAuth, then the profile's purposes, and nothing else.
    #[error("extKeyUsage is not exactly clientAuth and what the profile adds")]
    ExtendedKeyUsage,
    /// The profile's MUD URL (RFC 8520 §11).
    #[error("the MUD URL is not the profile's")]
    MudUrl,
    /// The two TCG residency policies, without qualifiers.
    #[error("certificatePolicies are not the TCG residency policies")]
    Policies,
    /// HardwareModuleName of the TPM, then the SPIFFE ID where there is one, then
    /// the names that the profile adds.
    #[error("subjectAltName is not the gateway's")]
    SubjectAltName,
    /// One point with one URI: the CRL that answers for it.
    #[error("cRLDistributionPoints is not the CRL's URL")]
    CrlDistributionPoints,
    /// OCSP, then the CA's certificate.
    #[error("authorityInfoAccess is not the URLs of OCSP and of the CA's certificate")]
    AuthorityInfoAccess,
    /// keyIdentifier of the CA, and nothing else.
    #[error("authorityKeyIdentifier is not the CA's")]
    AuthorityKeyIdentifier,
    /// rustls-webpki builds no path for TLS client authentication.
    #[error("no path to the CA: {0}")]
    Path(String),
    /// It verifies after its end.
    #[error("the certificate outlives its notAfter")]
    Outlives,
}
