//! CA certificates that may be imported.

use super::{
    certificate::{Certificate, display_name},
    chain::EkChain,
    error::EndorsementError,
    leniency::Leniencies,
};
use crate::{digest::sha256, time::UnixTime};

pub(super) fn ca(der: &[u8]) -> Result<Certificate<'_>, EndorsementError> {
    if der.len() > EkChain::MAX_CERTIFICATE_LEN {
        return Err(EndorsementError::TooLong {
            at: 0,
            len: der.len(),
        });
    }
    let certificate = Certificate::parse(der, 0)?;
    if certificate.may_issue() {
        Ok(certificate)
    } else {
        Err(EndorsementError::IssuerNotCa)
    }
}

/// A CA certificate that may be imported: strong key, CA, known extensions.
/// For the shell: to tell roots from intermediates and to list them.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct CertificateFacts {
    /// SHA-256 of the DER.
    pub sha256: [u8; 32],
    /// SHA-256 of its SubjectPublicKeyInfo.
    pub key_sha256: [u8; 32],
    /// Subject, for people; inert.
    pub subject: String,
    /// To be trusted by itself; else an intermediate.
    pub root: bool,
    /// When it ends.
    pub not_after: UnixTime,
}

impl CertificateFacts {
    /// From DER. Self-signed it is a root, else an intermediate.
    ///
    /// # Errors
    /// Where it is malformed, no CA's, weak, or has unknown critical
    /// extensions. A root's own signature proves nothing and may be weak; an
    /// intermediate's may not, unless `leniencies` excuse it.
    pub fn parse(der: &[u8], leniencies: &Leniencies) -> Result<Self, EndorsementError> {
        let certificate = ca(der)?;
        if certificate.is_self_issued() {
            return Self::as_root(der);
        }
        certificate.expect_strong(0, leniencies)?;
        Ok(Self::of(&certificate, der, false))
    }

    /// Whether a CA certificate is self-signed, by its names.
    ///
    /// # Errors
    /// As [`CertificateFacts::as_root`].
    pub fn self_signed(der: &[u8]) -> Result<bool, EndorsementError> {
        Ok(ca(der)?.is_self_issued())
    }

    /// From DER, to be trusted by itself although another CA issued it: for an
    /// intermediate whose own signature or extensions will not do, or whose
    /// root is not to be trusted for everything.
    ///
    /// # Errors
    /// Where it is malformed, no CA's, or its key is weak.
    pub fn as_root(der: &[u8]) -> Result<Self, EndorsementError> {
        let certificate = ca(der)?;
        certificate.expect_anchor(0)?;
        Ok(Self::of(&certificate, der, true))
    }

    fn of(certificate: &Certificate<'_>, der: &[u8], root: bool) -> Self {
        Self {
            sha256: sha256(&[der]),
            key_sha256: sha256(&[certificate.spki]),
            subject: display_name(certificate.subject),
            root,
            not_after: certificate.not_after,
        }
    }
}
