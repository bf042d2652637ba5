//! What the issuing CA's own certificate says of it.

use picky_asn1_x509::{Certificate, ExtensionView};
use rustls_pki_types::CertificateDer;

use super::unix_time;
use crate::{
    endorsement::ShownCertificate,
    identity::{IdentityError, ca_public::CaPublic, der},
    time::UnixTime,
};

/// The issuing CA as its certificate states it.
#[derive(Debug)]
pub(in crate::identity) struct CaFacts {
    pub(in crate::identity) der: Vec<u8>,
    /// DER `Name`.
    pub(in crate::identity) subject: Vec<u8>,
    /// None where it is of a kind that no CA of ours has, or where the CA is
    /// known by name alone ([`crate::identity::LdevidOnFile`]).
    pub(in crate::identity) public: Option<CaPublic>,
    pub(in crate::identity) key_identifier: Vec<u8>,
    pub(in crate::identity) not_before: UnixTime,
    pub(in crate::identity) not_after: UnixTime,
}

impl CaFacts {
    /// Only a certificate that may sign certificates, and names its key.
    pub(in crate::identity) fn parse(der: &[u8]) -> Result<Self, IdentityError> {
        let bad = IdentityError::BadCaCertificate;
        if !ShownCertificate::is_safe_to_decode(der) {
            return Err(bad("it does not decode"));
        }
        let certificate: Certificate =
            picky_asn1_der::from_bytes(der).map_err(|_| bad("it does not decode"))?;
        // webpki refuses trailing bytes, which picky does not see, and hands
        // out the subject as it is written.
        let whole = CertificateDer::from(der);
        let anchor =
            webpki::anchor_from_trusted_cert(&whole).map_err(|_| bad("it does not decode"))?;
        let constraints = certificate
            .basic_constraints()
            .ok_or(bad("no basicConstraints"))?;
        if constraints.ca() != Some(true) {
            return Err(bad("basicConstraints does not say CA"));
        }
        let may_sign = certificate.extensions().iter().any(|extension| {
            matches!(extension.extn_value(), ExtensionView::KeyUsage(usage) if usage.key_cert_sign())
        });
        if !may_sign {
            return Err(bad("keyUsage does not allow keyCertSign"));
        }
        let key_identifier = certificate
            .subject_key_identifier()
            .ok_or(bad("no subjectKeyIdentifier"))?
            .to_vec();
        let validity = &certificate.tbs_certificate.validity;
        let time = |time| unix_time(time).ok_or(bad("validity does not decode"));
        Ok(Self {
            subject: der::sequence(&[anchor.subject.as_ref()]),
            public: CaPublic::from_spki(&der::sequence(&[anchor.subject_public_key_info.as_ref()]))
                .ok(),
            key_identifier,
            not_before: time(&validity.not_before)?,
            not_after: time(&validity.not_after)?,
            der: der.to_vec(),
        })
    }
}
