//! The extensions: those of the profile, each once, with the right criticality
//! and content, and no others.

use picky_asn1::wrapper::{Asn1SequenceOf, ObjectIdentifierAsn1};
use picky_asn1_x509::{Certificate, Extension, ExtensionView, KeyUsage};

use super::{CaFacts, Expectation, LintError, device_names::subject_alt_name};
use crate::{
    endorsement::der::{self as read, NotDer, Reader},
    identity::{der, oid, published::RevocationUrls},
};

/// The extensions of the profile, and whether each is critical.
const PROFILE: [(&[u32], bool); 5] = [
    (oid::AUTHORITY_KEY_IDENTIFIER, false),
    (oid::KEY_USAGE, true),
    (oid::EXTENDED_KEY_USAGE, false),
    (oid::CERTIFICATE_POLICIES, false),
    (oid::SUBJECT_ALT_NAME, false),
];

/// Those that it has beside where there is a public URL.
const PUBLISHED: [(&[u32], bool); 2] = [
    (oid::CRL_DISTRIBUTION_POINTS, false),
    (oid::AUTHORITY_INFO_ACCESS, false),
];

pub(in crate::identity) fn extensions(
    certificate: &Certificate,
    ca: &CaFacts,
    expected: &Expectation,
) -> Result<(), LintError> {
    let found = certificate.extensions();
    let published = expected.revocation.iter().flat_map(|_| PUBLISHED);
    let mud_url = expected
        .additions
        .mud_url
        .iter()
        .map(|_| (oid::MUD_URL, false));
    let profile: Vec<(&[u32], bool)> = PROFILE
        .into_iter()
        .chain(published)
        .chain(mud_url)
        .collect();
    let id = |extension: &Extension| -> String { (&extension.extn_id().0).into() };
    for (position, extension) in found.iter().enumerate() {
        let name = id(extension);
        if found
            .iter()
            .take(position)
            .any(|earlier| id(earlier) == name)
        {
            return Err(LintError::DuplicateExtension(name));
        }
        let Some((_, critical)) = profile.iter().find(|(arcs, _)| oid::dotted(arcs) == name) else {
            return Err(LintError::UnexpectedExtension(name));
        };
        if extension.critical() != *critical {
            return Err(LintError::Criticality(name));
        }
        content(extension, ca, expected)?;
    }
    for (arcs, _) in profile {
        let name = oid::dotted(arcs);
        if !found.iter().any(|extension| id(extension) == name) {
            return Err(LintError::MissingExtension(name));
        }
    }
    Ok(())
}

fn content(extension: &Extension, ca: &CaFacts, expected: &Expectation) -> Result<(), LintError> {
    match extension.extn_value() {
        ExtensionView::KeyUsage(usage) => {
            let mut only = KeyUsage::new(1);
            only.set_digital_signature(true);
            if *usage != only {
                return Err(LintError::KeyUsage);
            }
        }
        ExtensionView::ExtendedKeyUsage(usage) => {
            let purposes: Vec<String> = usage.iter().map(|purpose| (&purpose.0).into()).collect();
            let wanted: Vec<String> = std::iter::once(&oid::CLIENT_AUTH)
                .chain(&expected.additions.purposes)
                .map(|arcs| oid::dotted(arcs))
                .collect();
            if purposes != wanted {
                return Err(LintError::ExtendedKeyUsage);
            }
        }
        ExtensionView::AuthorityKeyIdentifier(id) => {
            let bare =
                id.authority_cert_issuer().is_none() && id.authority_cert_serial_number().is_none();
            if !bare || id.key_identifier() != Some(ca.key_identifier.as_slice()) {
                return Err(LintError::AuthorityKeyIdentifier);
            }
        }
        ExtensionView::SubjectAltName(names) => subject_alt_name(&names.0, expected)?,
        ExtensionView::Generic(value) => generic(extension, &value.0, expected)?,
        _ => {
            return Err(LintError::UnexpectedExtension(
                (&extension.extn_id().0).into(),
            ));
        }
    }
    Ok(())
}

/// Extensions of the profile that picky hands out undecoded.
fn generic(extension: &Extension, value: &[u8], expected: &Expectation) -> Result<(), LintError> {
    let id: String = (&extension.extn_id().0).into();
    if id == oid::dotted(oid::CERTIFICATE_POLICIES) {
        return policies(value);
    }
    // `extensions` lets each of these in only where there is something to say.
    if id == oid::dotted(oid::MUD_URL) {
        let url = expected.additions.mud_url.as_deref().unwrap_or_default();
        return if value == der::ia5_string(url) {
            Ok(())
        } else {
            Err(LintError::MudUrl)
        };
    }
    let urls = expected.revocation.as_ref();
    if id == oid::dotted(oid::CRL_DISTRIBUTION_POINTS) {
        let wanted = urls.map(|urls| urls.crl.as_str());
        return match distribution_point(value) {
            Ok(url) if Some(url) == wanted => Ok(()),
            _ => Err(LintError::CrlDistributionPoints),
        };
    }
    let wanted = urls.map(|urls| (urls.ocsp.as_str(), urls.issuer.as_str()));
    match info_access(value) {
        Ok(urls) if Some(urls) == wanted => Ok(()),
        _ => Err(LintError::AuthorityInfoAccess),
    }
}

/// The URL of cRLDistributionPoints with one point of one URI.
fn distribution_point(value: &[u8]) -> Result<&str, NotDer> {
    let points = read::only(value, read::SEQUENCE)?;
    let point = read::only(points, read::SEQUENCE)?;
    let name = read::only(point, read::constructed(0))?;
    let full_name = read::only(name, read::constructed(0))?;
    text(read::only(full_name, read::context(6))?)
}

/// The URLs of authorityInfoAccess with OCSP and then caIssuers.
fn info_access(value: &[u8]) -> Result<(&str, &str), NotDer> {
    let mut list = Reader::new(read::only(value, read::SEQUENCE)?);
    let mut next = |method: &[u32]| {
        let mut description = list.enter(read::SEQUENCE)?;
        let found = description.tagged(read::OID)?.content;
        let url = description.tagged(read::context(6))?.content;
        description.finish()?;
        if read::dotted(found) != oid::dotted(method) {
            return Err(NotDer);
        }
        text(url)
    };
    let urls = (next(oid::AD_OCSP)?, next(oid::AD_CA_ISSUERS)?);
    list.finish()?;
    Ok(urls)
}

fn text(bytes: &[u8]) -> Result<&str, NotDer> {
    std::str::from_utf8(bytes).map_err(|_| NotDer)
}

/// Where a certificate says that its revocation is told; for
/// [`crate::identity::LdevidOnFile`], which holds a certificate against its own word.
pub(in crate::identity) fn revocation_urls(
    certificate: &Certificate,
) -> Result<Option<RevocationUrls>, LintError> {
    let value = |arcs: &[u32]| {
        let id = oid::dotted(arcs);
        certificate.extensions().iter().find_map(|extension| {
            let found: String = (&extension.extn_id().0).into();
            match extension.extn_value() {
                ExtensionView::Generic(value) if found == id => Some(value.0.as_slice()),
                _ => None,
            }
        })
    };
    let points = value(oid::CRL_DISTRIBUTION_POINTS);
    let access = value(oid::AUTHORITY_INFO_ACCESS);
    if points.is_none() && access.is_none() {
        return Ok(None);
    }
    // One without the other: the lint says which is missing.
    let crl = points.map_or(Ok(""), distribution_point);
    let crl = crl.map_err(|NotDer| LintError::CrlDistributionPoints)?;
    let urls = access.map_or(Ok(("", "")), info_access);
    let (ocsp, issuer) = urls.map_err(|NotDer| LintError::AuthorityInfoAccess)?;
    Ok(Some(RevocationUrls {
        crl: crl.to_owned(),
        ocsp: ocsp.to_owned(),
        issuer: issuer.to_owned(),
    }))
}

fn policies(value: &[u8]) -> Result<(), LintError> {
    residency_policies(
        value,
        [oid::VERIFIED_TPM_RESIDENCY, oid::VERIFIED_TPM_FIXED],
    )
}

/// certificatePolicies with just these two, in this order, without qualifiers.
pub(in crate::identity) fn residency_policies(
    value: &[u8],
    wanted: [&[u32]; 2],
) -> Result<(), LintError> {
    type Policies = Asn1SequenceOf<Asn1SequenceOf<ObjectIdentifierAsn1>>;
    let policies: Policies = picky_asn1_der::from_bytes(value).map_err(|_| LintError::Policies)?;
    let found: Vec<Vec<String>> = policies
        .0
        .iter()
        .map(|info| info.0.iter().map(|part| (&part.0).into()).collect())
        .collect();
    let wanted = wanted.map(|arcs| vec![oid::dotted(arcs)]);
    if found == wanted {
        Ok(())
    } else {
        Err(LintError::Policies)
    }
}
