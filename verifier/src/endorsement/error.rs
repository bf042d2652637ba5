//! Why an EK was not endorsed (ADVERSARY A05, A06, A18).

use holdfast_proto::tpm::ParseError;
use thiserror::Error;

use super::{crl::CrlError, leniency::Leniency, missing::MissingIssuer};
use crate::time::UnixTime;

/// A hash that no signature may rest on (SP 800-131A).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum WeakAlg {
    /// MD2 with RSA.
    #[error("MD2")]
    Md2,
    /// MD5 with RSA.
    #[error("MD5")]
    Md5,
    /// SHA-1 with RSA or ECDSA.
    #[error("SHA-1")]
    Sha1,
}

/// Why a public key is too weak, or unknown.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum WeakKey {
    /// An RSA modulus under 2048 bits, or even.
    #[error("RSA modulus of {0} bits")]
    RsaModulus(usize),
    /// An RSA exponent that is even, 1, or longer than 32 bits.
    #[error("RSA exponent {0}")]
    RsaExponent(String),
    /// A curve other than P-256, P-384 and P-521, by its OID.
    #[error("curve {0}")]
    Curve(String),
    /// Neither RSA nor EC, by its OID.
    #[error("algorithm {0}")]
    Algorithm(String),
}

/// Which certificate: 0 is the EK's, then upwards as they were sent.
pub type Position = usize;

/// Why an EK was not endorsed. Rules are of the TCG EK Credential Profile 2.x
/// §3.2 and RFC 5280.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum EndorsementError {
    // ---- the EK's public area
    /// TPMT_PUBLIC does not parse.
    #[error("ek_public: {0}")]
    EkPublic(#[from] ParseError),
    /// The area equals no EK template in everything but `unique` (A18): only
    /// the key is certified, so the rest must be what we know.
    #[error("the EK's public area equals no known EK template")]
    NotATemplate,
    /// The key has the form of CVE-2017-15361: its primes can be found.
    #[error(
        "the EK is a ROCA key (CVE-2017-15361): whoever has its public half can find the private \
         one. An ECC EK of the same TPM is not concerned; else replace the TPM, or update its \
         firmware and make its EK anew with a new certificate"
    )]
    Roca,
    /// The owner does not take EKs of this template (ADVERSARY A18).
    #[error("the EK is of template {got}; accepted_eks in config.toml takes {accepted}")]
    KindNotAccepted {
        /// Label of its template.
        got: &'static str,
        /// Labels of those that are accepted.
        accepted: String,
    },
    /// The owner wants to be shown an EK of each accepted template (A18).
    #[error(
        "no EK of template {} was shown; [endorsement] eks = \"all\" in config.toml wants one of each \
         of accepted_eks",
        missing.join(", ")
    )]
    EksMissing {
        /// Labels of those that are missing.
        missing: Vec<&'static str>,
    },
    /// More EKs than there are templates.
    #[error("{0} EKs beside the first, at most {max} are taken", max = super::MAX_FURTHER_EKS)]
    TooManyEks(usize),
    /// Two EKs of one template.
    #[error("two EKs of template {0}: of each, one is taken")]
    EkTwice(&'static str),
    /// One key as two EKs.
    #[error("the EK of template {0} is the key of another one that was shown")]
    SameEk(&'static str),
    /// An EK beside the first.
    #[error("further EK {which}: {source}")]
    FurtherEk {
        /// Label of its template, or its number.
        which: String,
        /// What is wrong with it.
        source: Box<EndorsementError>,
    },
    /// A certified key that no TPM is known to make.
    #[error("the key is of a kind that no TPM makes: {0}")]
    NoTpmKey(String),
    /// RSA modulus of another size than the template's, or even; or an EC
    /// coordinate that is empty or over-long.
    #[error("the EK's key is malformed")]
    EkKey,

    // ---- the chain's form
    /// No certificate was sent, and the owner has not listed the key either.
    #[error(
        "no EK certificate, and the EK is not in the owner's list: \
         to admit it, list fingerprint {spki_sha256} in the endorsement bundle \
         (docs/endorsement.md)"
    )]
    NoCertificate {
        /// SHA-256 of the EK's DER SubjectPublicKeyInfo, in hex.
        spki_sha256: String,
    },
    /// More certificates than any vendor's chain has.
    #[error("{0} certificates, at most {max} are taken", max = super::EkChain::MAX_CERTIFICATES)]
    TooMany(usize),
    /// A certificate longer than any vendor's.
    #[error("certificate {at} has {len} bytes, at most {max} are taken",
            max = super::EkChain::MAX_CERTIFICATE_LEN)]
    TooLong {
        /// Which.
        at: Position,
        /// Its length.
        len: usize,
    },
    /// Not an X.509 v3 certificate in DER (RFC 5280 §4.1).
    #[error("certificate {at}: malformed {part}")]
    Malformed {
        /// Which.
        at: Position,
        /// What part of it.
        part: &'static str,
    },
    /// Bytes after the certificate.
    #[error("certificate {at}: {len} bytes follow it")]
    TrailingBytes {
        /// Which.
        at: Position,
        /// How many.
        len: usize,
    },

    /// What real vendors do, and the owner does not let pass.
    #[error("certificate {at}: {leniency} is not among the leniencies that are on")]
    NotLenient {
        /// Which.
        at: Position,
        /// What it would need.
        leniency: Leniency,
    },

    // ---- its strength
    /// Signed with a broken hash.
    #[error("certificate {at} is signed with {alg}")]
    WeakSignature {
        /// Which.
        at: Position,
        /// The hash.
        alg: WeakAlg,
    },
    /// Its key is weak.
    #[error("certificate {at}: {weakness}")]
    WeakKey {
        /// Which.
        at: Position,
        /// How.
        weakness: WeakKey,
    },
    /// A critical extension that nobody here processes (RFC 5280 §4.2).
    #[error("certificate {at}: unknown critical extension {oid}")]
    CriticalExtension {
        /// Which.
        at: Position,
        /// Dotted decimal.
        oid: String,
    },

    // ---- the EK certificate
    /// The certified key is not the EK that was sent (A05, C10).
    #[error("the EK certificate is for another key")]
    OtherKey,
    /// Subject and issuer are one, or their keys are: nobody vouches for it.
    #[error("the EK certificate is self-issued")]
    SelfSigned,
    /// basicConstraints says CA (§3.2.14).
    #[error("the EK certificate is a CA's")]
    LeafIsCa,
    /// keyUsage lacks what an EK is for: keyEncipherment for RSA, keyAgreement
    /// for ECC (§3.2.12).
    #[error("the EK certificate's key usage lacks {0}")]
    KeyUsage(&'static str),
    /// extendedKeyUsage lacks tcg-kp-EKCertificate 2.23.133.8.1 (§3.2.16).
    #[error("the EK certificate's extended key usage lacks 2.23.133.8.1")]
    ExtendedKeyUsage,
    /// subjectAltName lacks a TPM attribute, has it twice, or in a form that is
    /// not 1 to 64 visible characters (§3.2.9).
    #[error("the EK certificate's subjectAltName: {0} missing, repeated or malformed")]
    TpmAttribute(&'static str),

    // ---- the path
    /// A certificate of the path is over.
    #[error("a certificate expired at {not_after}")]
    Expired {
        /// Its notAfter.
        not_after: UnixTime,
    },
    /// A certificate of the path is not yet valid.
    #[error("a certificate is not valid before {not_before}")]
    NotYetValid {
        /// Its notBefore.
        not_before: UnixTime,
    },
    /// The path ends below every imported root.
    #[error("no imported endorsement for issuer {0}")]
    UnknownIssuer(Box<MissingIssuer>),
    /// The issuer has that name, and not that key.
    #[error("a certificate's signature does not verify")]
    BadSignature,
    /// The issuer is no CA, or may not sign certificates.
    #[error("an issuer in the path is not a CA")]
    IssuerNotCa,
    /// pathLenConstraint is exceeded (RFC 5280 §4.2.1.9).
    #[error("a path length constraint is exceeded")]
    PathLength,
    /// Longer or wider than webpki's budget: a loop, or an attack.
    #[error("the path is too long")]
    PathTooLong,
    /// A name constraint forbids the EK certificate's name.
    #[error("a name constraint is broken")]
    NameConstraint,
    /// On an imported CRL.
    #[error("a certificate of the path is revoked: serial {serial} of \"{issuer}\"")]
    Revoked {
        /// Who issued and revoked it; inert.
        issuer: String,
        /// Its serial number, lower-case hex.
        serial: String,
    },
    /// The CRL of a CA of the path is over, and the owner wants a fresh one.
    #[error(
        "the CRL of \"{issuer}\" was due for renewal at {next_update}: import the CA's newest \
         (holdfast-verifier endorsement import FILE.crl), or let stale ones pass with \
         stale_crl = \"warn\""
    )]
    StaleCrl {
        /// Whose; inert.
        issuer: String,
        /// When the next one was due.
        next_update: UnixTime,
    },
    /// A certificate of the path is one that the owner denies.
    #[error("the owner denies the issuer or certificate \"{subject}\": {reason}")]
    Denied {
        /// Whose; inert.
        subject: String,
        /// The owner's words.
        reason: String,
    },
    /// The vendor certified a firmware below the owner's floor.
    #[error(
        "the certified TPM firmware {version} is below the owner's floor {floor} for {which}: \
         {reason}"
    )]
    FirmwareFloor {
        /// tpmVersion of the certificate.
        version: String,
        /// The lowest that is taken, hex.
        floor: String,
        /// Manufacturer and model that the floor is for.
        which: String,
        /// The owner's words.
        reason: String,
    },
    /// Any other rule that webpki enforces.
    #[error("path: {0}")]
    Path(#[source] webpki::Error),

    // ---- anchors
    /// An imported certificate cannot serve as trust anchor or intermediate.
    #[error("imported certificate {at}: {source}")]
    Import {
        /// Its place in the list.
        at: usize,
        /// What is wrong.
        source: Box<EndorsementError>,
    },
    /// An imported CRL does not parse, or is not by an imported CA.
    #[error("imported CRL {at}: {source}")]
    Crl {
        /// Its place in the list.
        at: usize,
        /// What is wrong.
        source: CrlError,
    },
}

impl EndorsementError {
    /// Whether the input was wrong on its face: no trust anchor was needed to
    /// tell.
    #[must_use]
    pub fn is_malformed(&self) -> bool {
        match self {
            Self::EkPublic(_)
            | Self::NotATemplate
            | Self::EkKey
            | Self::TooManyEks(_)
            | Self::EkTwice(_)
            | Self::SameEk(_)
            | Self::TooMany(_)
            | Self::TooLong { .. }
            | Self::Malformed { .. }
            | Self::TrailingBytes { .. } => true,
            Self::FurtherEk { source, .. } => source.is_malformed(),
            _ => false,
        }
    }
}

impl From<webpki::Error> for EndorsementError {
    fn from(error: webpki::Error) -> Self {
        use webpki::Error as E;
        let time = |t: rustls_pki_types::UnixTime| {
            UnixTime::from_seconds(i64::try_from(t.as_secs()).unwrap_or(i64::MAX))
        };
        match error {
            E::CertExpired { not_after, .. } => Self::Expired {
                not_after: time(not_after),
            },
            E::CertNotValidYet { not_before, .. } => Self::NotYetValid {
                not_before: time(not_before),
            },
            E::InvalidSignatureForPublicKey => Self::BadSignature,
            E::EndEntityUsedAsCa => Self::IssuerNotCa,
            E::CaUsedAsEndEntity => Self::LeafIsCa,
            E::PathLenConstraintViolated => Self::PathLength,
            E::MaximumPathDepthExceeded
            | E::MaximumPathBuildCallsExceeded
            | E::MaximumSignatureChecksExceeded
            | E::MaximumNameConstraintComparisonsExceeded => Self::PathTooLong,
            E::NameConstraintViolation => Self::NameConstraint,
            other => Self::Path(other),
        }
    }
}
