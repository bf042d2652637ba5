//! Which certificate is missing from a path, and where its issuer says that it
//! can be had.

use std::fmt;

use super::{
    certificate::{Certificate, display_name},
    der::{self, Reader},
    oid,
};

/// Longest address and name that are shown.
const MAX_URL: usize = 200;
const MAX_NAME: usize = 300;

/// The issuer that nobody here knows: whom to import.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct MissingIssuer {
    /// Its name, for people; inert.
    pub issuer: String,
    /// Its key's identifier (authorityKeyIdentifier of what it issued, RFC 5280
    /// §4.2.1.1), lower-case hex; empty where that has none.
    pub key_id: String,
    /// Where the certificate that it issued says that it can be had (caIssuers,
    /// §4.2.2.1). Text to look at and to fetch by hand: nothing here follows
    /// it. Visible ASCII.
    pub url: Option<String>,
}

impl fmt::Display for MissingIssuer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "\"{}\"", self.issuer)?;
        if !self.key_id.is_empty() {
            write!(f, ", key id {}", self.key_id)?;
        }
        match &self.url {
            Some(url) => write!(
                f,
                ": what it issued says that it is at {url} ; fetch it, compare its fingerprint \
                 with the vendor's word, then holdfast-verifier endorsement import FILE"
            ),
            None => f.write_str(
                ": get it from the TPM's vendor, then holdfast-verifier endorsement import FILE",
            ),
        }
    }
}

impl MissingIssuer {
    /// The issuer of this certificate.
    pub(super) fn of(certificate: &Certificate<'_>) -> Self {
        Self {
            issuer: display_name(certificate.issuer)
                .chars()
                .take(MAX_NAME)
                .collect(),
            key_id: certificate
                .authority_key_id()
                .map(hex::encode)
                .unwrap_or_default(),
            url: ca_issuers(certificate),
        }
    }

    /// Follows issuers by name from the leaf and says which one is missing: the
    /// owner's next step is to import it.
    pub(super) fn above<'a>(
        leaf: &Certificate<'_>,
        candidates: impl Iterator<Item = &'a [u8]>,
    ) -> Self {
        let known: Vec<Certificate<'_>> = candidates
            .filter_map(|der| Certificate::parse(der, 0).ok())
            .collect();
        let mut topmost = leaf;
        // Each step uses up a certificate, so that a loop of issuers ends.
        for _ in 0..known.len() {
            let above = |c: &&Certificate<'_>| c.subject == topmost.issuer && !c.is_self_issued();
            match known.iter().find(above) {
                Some(next) => topmost = next,
                None => break,
            }
        }
        Self::of(topmost)
    }
}

/// The first URI among authorityInfoAccess' caIssuers.
fn ca_issuers(certificate: &Certificate<'_>) -> Option<String> {
    let value = certificate.extension(oid::AUTHORITY_INFO_ACCESS)?;
    let mut descriptions = Reader::new(der::only(value, der::SEQUENCE).ok()?);
    while !descriptions.is_empty() {
        let mut description = descriptions.enter(der::SEQUENCE).ok()?;
        let method = description.tagged(der::OID).ok()?.content;
        let location = description.next().ok()?;
        // uniformResourceIdentifier is [6] IA5String.
        if method == oid::CA_ISSUERS && location.tag == der::context(6) {
            return inert(location.content);
        }
    }
    None
}

fn inert(url: &[u8]) -> Option<String> {
    let text = std::str::from_utf8(url).ok()?;
    let plain = !text.is_empty()
        && text.len() <= MAX_URL
        && text.bytes().all(|b| b.is_ascii_graphic() && b != b'"');
    plain.then(|| text.to_owned())
}
