//! Why an IAK was not endorsed.

use holdfast_proto::tpm::{ParseError, devid::DevidKey};
use thiserror::Error;

use super::OemName;
use crate::endorsement::EndorsementError;

/// Why an IAK and its IDevID were not endorsed. Rules are of the TCG's "TPM 2.0
/// Keys for Device Identity and Attestation" v1.10 and IEEE 802.1AR-2018 §8.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum DevidError {
    // ---- form
    /// TPMT_PUBLIC does not parse, or holds no sound key.
    #[error("public area of the {label}: {source}", label = of.label())]
    Public {
        /// Whose.
        of: DevidKey,
        /// What is wrong.
        source: ParseError,
    },
    /// The area equals no template of the standard in everything but `unique`
    /// (§7.3): only the key is certified, so the rest must be what we know.
    /// Attributes are among it: an IAK that is not restricted ends here.
    #[error("the {label}'s public area equals no known {label} template", label = of.label())]
    NotATemplate {
        /// Whose.
        of: DevidKey,
    },
    /// A modulus that is even or not of its template's size, coordinates that do
    /// not fit the curve.
    #[error("the {label} holds no key of its template's size", label = of.label())]
    UnsoundKey {
        /// Whose.
        of: DevidKey,
    },
    /// An RSA key of the form of CVE-2017-15361: its factors can be found. An
    /// update of the firmware does not mend it.
    #[error(
        "the {label} has the form of CVE-2017-15361 (ROCA), so that its private key can be \
         found: the OEM has to make it anew on a TPM without that flaw",
        label = of.label()
    )]
    Roca {
        /// Whose.
        of: DevidKey,
    },
    /// A rule of certificates and paths is broken.
    #[error("{label} certificate: {source}", label = of.label())]
    Certificate {
        /// Whose.
        of: DevidKey,
        /// Which rule.
        source: EndorsementError,
    },
    /// A vendor's EK certificate has no place on the IAK road: the OEM vouches
    /// for the IAK, and the EK is linked to it by activation alone.
    #[error("{0} EK certificates came with an IAK certificate")]
    EkCertificates(usize),
    /// An OEM's name that the owner may not use.
    #[error("an OEM's name is 1 to 64 of a-z 0-9 . _ -, first a letter or a digit")]
    NotAnOemName,

    // ---- the leaf certificates
    /// The certified key is not the one that was sent.
    #[error("the {label} certificate is for another key", label = of.label())]
    OtherKey {
        /// Whose.
        of: DevidKey,
    },
    /// keyUsage lacks digitalSignature (802.1AR §8.10.3).
    #[error("the {label} certificate's key usage lacks digitalSignature", label = of.label())]
    KeyUsage {
        /// Whose.
        of: DevidKey,
    },
    /// extendedKeyUsage is there, and lacks tcg-kp-AIKCertificate (IAK) or
    /// clientAuth (IDevID).
    #[error("the {label} certificate's extended key usage lacks {lacks}", label = of.label())]
    ExtendedKeyUsage {
        /// Whose.
        of: DevidKey,
        /// The purpose, with its OID.
        lacks: &'static str,
    },
    /// Nothing in the IAK's certificate says that its key attests. An IDevID's
    /// certificate ends here: its key is not restricted and signs forged quotes.
    #[error(
        "the IAK certificate has neither the purpose tcg-kp-AIKCertificate (2.23.133.8.3) nor \
         the policy tcg-cap-verifiedTPMRestricted (2.23.133.11.1.3): it may be an IDevID's, \
         whose key attests to nothing; an IAK's the OEM has to issue anew with one of the two"
    )]
    NotForAttestation,
    /// The IDevID's certificate says what only an IAK's may.
    #[error(
        "the IDevID certificate has {says}, which is for IAKs: it may be an IAK's; an IDevID's \
         the OEM has to issue anew without"
    )]
    ForAttestation {
        /// The purpose or policy, with its OID.
        says: &'static str,
    },
    /// The subject has no serialNumber, several, or one that is not 1 to 64
    /// visible characters (802.1AR §8.6).
    #[error("the {label} certificate's subject: serialNumber missing, repeated or malformed", label = of.label())]
    SerialNumber {
        /// Whose.
        of: DevidKey,
    },
    /// A HardwareModuleName is there and malformed (RFC 4108 §5), or repeated.
    #[error("the {label} certificate's HardwareModuleName is malformed or repeated", label = of.label())]
    HardwareModuleName {
        /// Whose.
        of: DevidKey,
    },

    // ---- the two together
    /// IAK and IDevID are certified for different products: one was swapped.
    #[error("the IAK is of product {iak}, the IDevID of product {idevid}")]
    OtherDevice {
        /// Serial number in the IAK certificate.
        iak: String,
        /// Serial number in the IDevID certificate.
        idevid: String,
    },
    /// One key, or one certificate, in both places.
    #[error(
        "IAK and IDevID are one key: each must be a key of its own, as the OEM's templates \
         make them"
    )]
    SameKey,
    /// IAK and IDevID are certified by different OEMs.
    #[error("the IAK is of OEM {iak}, the IDevID is not: {source}")]
    OtherOem {
        /// Who certified the IAK.
        iak: OemName,
        /// Why that OEM did not certify the IDevID.
        source: EndorsementError,
    },
    /// The owner imported no OEM's CA at all.
    #[error("no OEM is trusted yet")]
    NoOem,
}

impl DevidError {
    /// Whether the input was wrong on its face: no trust anchor was needed to
    /// tell.
    #[must_use]
    pub fn is_malformed(&self) -> bool {
        match self {
            Self::Public { .. }
            | Self::NotATemplate { .. }
            | Self::UnsoundKey { .. }
            | Self::EkCertificates(_)
            | Self::NotAnOemName => true,
            Self::Certificate { source, .. } => source.is_malformed(),
            _ => false,
        }
    }
}
