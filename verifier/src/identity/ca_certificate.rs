//! A CA certificate on its own: what it says, and by whom it is signed.

use picky_asn1_x509::{
    AttributeTypeAndValueParameters as Attribute, Certificate, DirectoryString, ExtensionView,
};

use super::{IdentityError, ca_public::CaPublic, lint::CaFacts, signed::Signed};
use crate::time::UnixTime;

/// A certificate that may sign certificates, and names its key.
#[derive(Debug)]
pub struct CaCertificate {
    facts: CaFacts,
    organization: Option<String>,
    path_len: Option<u8>,
    signs_crls: bool,
    issuer: Vec<u8>,
    serial: Vec<u8>,
}

impl CaCertificate {
    /// From DER.
    ///
    /// # Errors
    /// [`IdentityError::BadCaCertificate`].
    pub fn parse(der: &[u8]) -> Result<Self, IdentityError> {
        let facts = CaFacts::parse(der)?;
        let bad = IdentityError::BadCaCertificate("it does not decode");
        let certificate: Certificate = picky_asn1_der::from_bytes(der).map_err(|_| bad.clone())?;
        let organization = certificate
            .tbs_certificate
            .subject
            .0
            .0
            .iter()
            .flat_map(|rdn| &rdn.0)
            .find_map(|attribute| match &attribute.value {
                Attribute::OrganizationName(DirectoryString::Utf8String(text)) => {
                    Some(text.clone())
                }
                Attribute::OrganizationName(DirectoryString::PrintableString(text)) => {
                    String::from_utf8(text.as_bytes().to_vec()).ok()
                }
                _ => None,
            });
        let signs_crls = certificate
            .extensions()
            .iter()
            .any(|e| matches!(e.extn_value(), ExtensionView::KeyUsage(usage) if usage.crl_sign()));
        let path_len = certificate
            .basic_constraints()
            .and_then(|constraints| constraints.pathlen());
        let issuer =
            picky_asn1_der::to_vec(&certificate.tbs_certificate.issuer).map_err(|_| bad)?;
        Ok(Self {
            facts,
            organization,
            path_len,
            signs_crls,
            issuer,
            serial: certificate
                .tbs_certificate
                .serial_number
                .as_unsigned_bytes_be()
                .to_vec(),
        })
    }

    /// DER.
    #[must_use]
    pub fn der(&self) -> &[u8] {
        &self.facts.der
    }

    /// Serial number, big-endian, without leading zeros.
    #[must_use]
    pub fn serial(&self) -> &[u8] {
        &self.serial
    }

    /// subjectKeyIdentifier.
    #[must_use]
    pub fn key_identifier(&self) -> &[u8] {
        &self.facts.key_identifier
    }

    /// Its key, where it is of a kind that a CA of ours may have.
    #[must_use]
    pub fn public(&self) -> Option<&CaPublic> {
        self.facts.public.as_ref()
    }

    /// O of its subject.
    #[must_use]
    pub fn organization(&self) -> Option<&str> {
        self.organization.as_deref()
    }

    /// Start of its validity.
    #[must_use]
    pub fn not_before(&self) -> UnixTime {
        self.facts.not_before
    }

    /// End of its validity, inclusive.
    #[must_use]
    pub fn not_after(&self) -> UnixTime {
        self.facts.not_after
    }

    /// Whether this can be an issuing CA below `root` at `now`: signed by the
    /// root's key, in the root's name, for LDevIDs and CRLs and nothing below
    /// them, within its validity.
    ///
    /// # Errors
    /// [`IdentityError::BadCaCertificate`], [`IdentityError::NotBelow`],
    /// [`IdentityError::CaNotValid`].
    pub fn below(&self, root: &Self, now: UnixTime) -> Result<(), IdentityError> {
        let bad = IdentityError::BadCaCertificate;
        if self.public().is_none() {
            return Err(bad("its key is not on P-256 or P-384"));
        }
        if self.path_len != Some(0) {
            return Err(bad("its pathLenConstraint is not 0"));
        }
        if !self.signs_crls {
            return Err(bad("keyUsage does not allow cRLSign"));
        }
        let signed = Signed::parse(self.der()).ok_or(bad("it does not decode"))?;
        let root_key = root
            .public()
            .ok_or(bad("the root's key is not on P-256 or P-384"))?;
        if self.issuer != root.facts.subject
            || signed.algorithm != root_key.signature_algorithm()
            || root_key
                .verify(signed.to_be_signed, signed.signature)
                .is_err()
        {
            return Err(IdentityError::NotBelow);
        }
        let (not_before, not_after) = (self.not_before(), self.not_after());
        if now < not_before || now >= not_after {
            return Err(IdentityError::CaNotValid {
                not_before,
                not_after,
                now,
            });
        }
        Ok(())
    }
}
