//! An LDevID certificate that lies in a file, held against the profile by the
//! lint that stands before issuance; for `inspect`. What it must say is taken
//! from itself, so that what is shown is form and coherence, and, where the
//! issuing CA is at hand, whose signature it bears.

use holdfast_proto::binding::Ueid;
use picky_asn1_x509::{Certificate, ExtensionView};
use rustls_pki_types::CertificateDer;
use webpki::EndEntityCert;

use super::{
    IdentityError,
    lint::{self, CaFacts, Expectation, LintError},
    profile::Profile,
};
use crate::{endorsement::ShownCertificate, time::UnixTime};

/// What an LDevID certificate of the profile says.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct LdevidOnFile {
    /// Whose it is.
    pub gateway_id: Ueid,
    /// hwSerialNum of its HardwareModuleName: the TPM, for people. As it
    /// stands in the certificate: not inert.
    pub hardware_serial: String,
    /// SPIFFE ID, where it has one.
    pub spiffe_id: Option<String>,
    /// DER SubjectPublicKeyInfo of its key.
    pub spki_der: Vec<u8>,
    /// Start of validity.
    pub not_before: UnixTime,
    /// End of validity, inclusive.
    pub not_after: UnixTime,
    /// Whether the CA that was given issued it. Else nobody's signature was
    /// looked at.
    pub issued_by_ca: bool,
}

impl LdevidOnFile {
    /// Reads `leaf` (DER) and holds it against the profile, and against `ca`
    /// (DER) where it is given: issuer, key identifier, validity, signature.
    /// Whether it is valid *now* is the caller's to ask.
    ///
    /// # Errors
    /// [`IdentityError::Lint`] with the rule that it breaks;
    /// [`IdentityError::BadCaCertificate`].
    pub fn read(leaf: &[u8], ca: Option<&[u8]>) -> Result<Self, IdentityError> {
        // Strict DER and sizes first: the lint's decoder is lenient.
        let shown = ShownCertificate::parse(leaf).map_err(unreadable)?;
        if !ShownCertificate::is_safe_to_decode(leaf) {
            return Err(unreadable("malformed BIT STRING").into());
        }
        let certificate: Certificate = picky_asn1_der::from_bytes(leaf).map_err(unreadable)?;
        let expected = expectation(leaf, &certificate, &shown)?;
        let facts = match ca {
            Some(ca) => CaFacts::parse(ca)?,
            None => as_issuer_says(&certificate, &expected)?,
        };
        lint::fields(&certificate, &facts, &expected)?;
        lint::subject_key(&certificate, &expected)?;
        lint::extensions(&certificate, &facts, &expected)?;
        if ca.is_some() {
            lint::path_to_ca(leaf, &facts, &expected)?;
        }
        Ok(Self {
            gateway_id: expected.gateway,
            hardware_serial: expected.hardware_serial,
            spiffe_id: expected.spiffe_id,
            spki_der: expected.subject_spki,
            not_before: shown.not_before,
            not_after: shown.not_after,
            issued_by_ca: ca.is_some(),
        })
    }
}

fn unreadable(error: impl std::fmt::Display) -> LintError {
    LintError::Unreadable(error.to_string())
}

/// What the certificate would have to say, by its own word.
fn expectation(
    leaf: &[u8],
    certificate: &Certificate,
    shown: &ShownCertificate,
) -> Result<Expectation, LintError> {
    let (serial, _) =
        lint::subject_of(&certificate.tbs_certificate.subject).ok_or(LintError::Subject)?;
    let gateway: Ueid = format!("01{serial}")
        .parse()
        .map_err(|_| LintError::Subject)?;
    let names =
        certificate
            .extensions()
            .iter()
            .find_map(|extension| match extension.extn_value() {
                ExtensionView::SubjectAltName(names) => Some(lint::device_names(&names.0)),
                _ => None,
            });
    // Without the extension, the lint says that it is missing.
    let (hardware_serial, uri) = names
        .map(|names| names.ok_or(LintError::SubjectAltName))
        .transpose()?
        .unwrap_or_default();
    let spiffe_id = uri.map(|uri| spiffe_id(&uri, &gateway)).transpose()?;
    let der = CertificateDer::from(leaf);
    let end_entity = EndEntityCert::try_from(&der).map_err(unreadable)?;
    Ok(Expectation {
        gateway,
        hardware_serial,
        spiffe_id,
        subject_spki: end_entity.subject_public_key_info().to_vec(),
        now: shown.not_before,
        not_before: shown.not_before,
        not_after: shown.not_after,
    })
}

/// The SPIFFE ID of this gateway in the trust domain that `uri` names.
fn spiffe_id(uri: &str, gateway: &Ueid) -> Result<String, LintError> {
    uri.strip_prefix("spiffe://")
        .and_then(|rest| rest.split('/').next())
        .and_then(|domain| Profile::new(super::DEFAULT_VALIDITY_SECONDS, Some(domain)).ok())
        .and_then(|profile| profile.spiffe_id(gateway))
        .ok_or(LintError::SubjectAltName)
}

/// The CA as the leaf names it: for the lint where no CA is at hand.
fn as_issuer_says(certificate: &Certificate, expected: &Expectation) -> Result<CaFacts, LintError> {
    let key_identifier =
        certificate
            .extensions()
            .iter()
            .find_map(|extension| match extension.extn_value() {
                ExtensionView::AuthorityKeyIdentifier(id) => {
                    id.key_identifier().map(<[u8]>::to_vec)
                }
                _ => None,
            });
    Ok(CaFacts {
        der: Vec::new(),
        subject: picky_asn1_der::to_vec(&certificate.tbs_certificate.issuer).map_err(unreadable)?,
        spki: Vec::new(),
        key_identifier: key_identifier.unwrap_or_default(),
        not_before: expected.not_before,
        not_after: expected.not_after,
    })
}
