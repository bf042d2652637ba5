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
    names::{is_dns_name, is_uri},
    oid,
    profile::{Additions, PURPOSES, Profile, parse_mud_url},
    published::CrlPart,
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
    /// DNS names that its class's profile adds.
    pub dns_names: Vec<String>,
    /// URIs that it adds.
    pub uris: Vec<String>,
    /// Purposes beside client-auth, as in the configuration.
    pub extended_key_usages: Vec<&'static str>,
    /// MUD URL (RFC 8520), where it has one.
    pub mud_url: Option<String>,
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
            dns_names: expected.additions.dns_names,
            uris: expected.additions.uris,
            extended_key_usages: PURPOSES
                .iter()
                .filter(|(_, arcs)| expected.additions.purposes.contains(arcs))
                .map(|(name, _)| *name)
                .collect(),
            mud_url: expected.additions.mud_url,
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
    let names = names
        .map(|names| names.ok_or(LintError::SubjectAltName))
        .transpose()?
        .unwrap_or_default();
    let spiffe_id = names
        .spiffe_id
        .as_deref()
        .map(|uri| spiffe_id(uri, &gateway))
        .transpose()?;
    // Which names the owner's profile adds is not known here; only what names
    // of one can look like.
    if !names.dns_names.iter().all(|name| is_dns_name(name))
        || !names.uris.iter().all(|uri| is_uri(uri))
    {
        return Err(LintError::SubjectAltName);
    }
    let additions = Additions {
        dns_names: names.dns_names,
        uris: names.uris,
        purposes: purposes(certificate)?,
        mud_url: mud_url(certificate)?,
    };
    let der = CertificateDer::from(leaf);
    let end_entity = EndEntityCert::try_from(&der).map_err(unreadable)?;
    let revocation = lint::revocation_urls(certificate)?;
    Ok(Expectation {
        // Of a certificate on file nobody asks.
        crl_part: CrlPart::FULL,
        revocation,
        gateway,
        hardware_serial: names.hardware_serial,
        spiffe_id,
        additions,
        subject_spki: end_entity.subject_public_key_info().to_vec(),
        now: shown.not_before,
        not_before: shown.not_before,
        not_after: shown.not_after,
    })
}

/// Purposes beside clientAuth, of those that a profile may add.
fn purposes(certificate: &Certificate) -> Result<Vec<&'static [u32]>, LintError> {
    let mut found = Vec::new();
    for extension in certificate.extensions() {
        let ExtensionView::ExtendedKeyUsage(usage) = extension.extn_value() else {
            continue;
        };
        for purpose in usage.iter().skip(1) {
            let id: String = (&purpose.0).into();
            let (_, known) = PURPOSES
                .iter()
                .find(|(_, arcs)| oid::dotted(arcs) == id)
                .ok_or(LintError::ExtendedKeyUsage)?;
            found.push(*known);
        }
    }
    Ok(found)
}

/// The MUD URL, where there is one: an IA5String (RFC 8520 §11).
fn mud_url(certificate: &Certificate) -> Result<Option<String>, LintError> {
    for extension in certificate.extensions() {
        let id: String = (&extension.extn_id().0).into();
        if id != oid::dotted(oid::MUD_URL) {
            continue;
        }
        let ExtensionView::Generic(value) = extension.extn_value() else {
            return Err(LintError::MudUrl);
        };
        let text = match value.0.as_slice() {
            [0x16, len, text @ ..] if usize::from(*len) == text.len() && *len < 0x80 => text,
            [0x16, 0x81, len, text @ ..] if usize::from(*len) == text.len() => text,
            _ => return Err(LintError::MudUrl),
        };
        let url = std::str::from_utf8(text).map_err(|_| LintError::MudUrl)?;
        return parse_mud_url(url).map(Some).map_err(|_| LintError::MudUrl);
    }
    Ok(None)
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
        public: None,
        key_identifier: key_identifier.unwrap_or_default(),
        not_before: expected.not_before,
        not_after: expected.not_after,
    })
}
