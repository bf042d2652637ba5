//! Certificate revocation lists of EK CAs (RFC 5280 §5), from files. Whole
//! ones only: no delta, no indirect ones, none for some reasons.

use std::{collections::BTreeSet, fmt};

use thiserror::Error;

use super::{
    certificate::{self, Certificate, display_name},
    der::{self, NotDer, Reader},
    error::WeakAlg,
    leniency::Leniencies,
    oid, signature,
};
use crate::{digest::sha256, time::UnixTime};

/// Longest CRL taken, in bytes. A vendor's has a few KiB; this is room for
/// some 200,000 entries.
pub const MAX_CRL_LEN: usize = 8 * 1024 * 1024;

/// keyUsage bit cRLSign (RFC 5280 §4.2.1.3).
const CRL_SIGN: u8 = 0x02;

/// Why a CRL does not count.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum CrlError {
    /// Longer than any vendor's.
    #[error("{0} bytes, at most {MAX_CRL_LEN} are taken")]
    TooLong(usize),
    /// Not a v2 CertificateList in DER (§5.1).
    #[error("malformed {0}")]
    Malformed(&'static str),
    /// Signed with a broken hash.
    #[error("signed with {0}")]
    WeakSignature(WeakAlg),
    /// Without nextUpdate (§5.1.2.5) nobody knows when it is stale.
    #[error("it says no nextUpdate")]
    NoNextUpdate,
    /// thisUpdate lies ahead.
    #[error("it is of the future: {0}")]
    Future(UnixTime),
    /// A critical extension that is not processed here (§5.2): a delta, an
    /// indirect or a partial CRL among them.
    #[error("critical extension {0}: only whole CRLs by the CA itself are taken")]
    CriticalExtension(String),
    /// No CA of that name is imported.
    #[error("no imported CA is its issuer \"{0}\"; import that CA's certificate first")]
    UnknownIssuer(String),
    /// No imported CA of that name has signed it, or none that may.
    #[error("the signature is not by an imported CA \"{0}\" that may sign CRLs")]
    Signature(String),
    /// An older one than that in use.
    #[error("it is of {this_update}, in use is one of {in_use}")]
    Older {
        /// Its thisUpdate.
        this_update: UnixTime,
        /// thisUpdate of the one in use.
        in_use: UnixTime,
    },
}

/// What a CRL says of itself. Nobody vouches for it.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct CrlFacts {
    /// SHA-256 of the DER.
    pub sha256: [u8; 32],
    /// Its issuer, for people; inert.
    pub issuer: String,
    /// SHA-256 of the issuer's Name.
    pub issuer_sha256: [u8; 32],
    /// When it was made.
    pub this_update: UnixTime,
    /// When the next one is due.
    pub next_update: UnixTime,
    /// How many certificates it revokes.
    pub entries: usize,
}

/// A well-formed CRL. Nobody vouches for it yet: see `ParsedCrl::verify`.
pub struct ParsedCrl<'a> {
    facts: CrlFacts,
    issuer: &'a [u8],
    tbs: &'a [u8],
    algorithm: &'a [u8],
    signature: &'a [u8],
    revoked: BTreeSet<Vec<u8>>,
}

impl fmt::Debug for ParsedCrl<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.facts.fmt(f)
    }
}

impl<'a> ParsedCrl<'a> {
    /// From DER.
    ///
    /// # Errors
    /// [`CrlError`]: sizes, form, extensions, the hash of its signature.
    pub fn parse(bytes: &'a [u8]) -> Result<Self, CrlError> {
        if bytes.len() > MAX_CRL_LEN {
            return Err(CrlError::TooLong(bytes.len()));
        }
        let malformed = |part| move |_: NotDer| CrlError::Malformed(part);
        let mut list = Reader::new(der::only(bytes, der::SEQUENCE).map_err(malformed("list"))?);
        let tbs = list
            .tagged(der::SEQUENCE)
            .map_err(malformed("tbsCertList"))?;
        let algorithm = list
            .tagged(der::SEQUENCE)
            .map_err(malformed("signatureAlgorithm"))?;
        let signature = list
            .tagged(der::BIT_STRING)
            .and_then(|bits| der::whole_octets(bits.content))
            .map_err(malformed("signature"))?;
        list.finish().map_err(malformed("list"))?;
        let signature_oid = Reader::new(algorithm.content)
            .tagged(der::OID)
            .map_err(malformed("signatureAlgorithm"))?;
        if let Some(weak) = oid::weak_signature(signature_oid.content) {
            return Err(CrlError::WeakSignature(weak));
        }

        let mut fields = Reader::new(tbs.content);
        let version = fields.tagged(der::INTEGER).map_err(malformed("version"))?;
        let inner = fields
            .tagged(der::SEQUENCE)
            .map_err(malformed("signature algorithm"))?;
        if version.content != [1] || inner.whole != algorithm.whole {
            return Err(CrlError::Malformed("version or signature algorithm"));
        }
        let issuer = fields
            .tagged(der::SEQUENCE)
            .map_err(malformed("issuer"))?
            .whole;
        let time = |fields: &mut Reader<'a>| certificate::time(&fields.next()?);
        let this_update = time(&mut fields).map_err(malformed("thisUpdate"))?;
        let has_next = matches!(fields.peek(), Some(der::UTC_TIME | der::GENERALIZED_TIME));
        if !has_next {
            return Err(CrlError::NoNextUpdate);
        }
        let next_update = time(&mut fields).map_err(malformed("nextUpdate"))?;
        let entries = fields
            .optional(der::SEQUENCE)
            .map_err(malformed("revokedCertificates"))?;
        let revoked = entries.map_or(Ok(BTreeSet::new()), |list| entries_of(list.content))?;
        let extensions = fields
            .optional(der::constructed(0))
            .map_err(malformed("crlExtensions"))?;
        if let Some(extensions) = extensions {
            let list =
                der::only(extensions.content, der::SEQUENCE).map_err(malformed("crlExtensions"))?;
            no_critical_extension(list)?;
        }
        fields.finish().map_err(malformed("tbsCertList"))?;
        Ok(Self {
            facts: CrlFacts {
                sha256: sha256(&[bytes]),
                issuer: display_name(issuer),
                issuer_sha256: sha256(&[issuer]),
                this_update,
                next_update,
                entries: revoked.len(),
            },
            issuer,
            tbs: tbs.whole,
            algorithm: algorithm.content,
            signature,
            revoked,
        })
    }

    /// What it says of itself.
    #[must_use]
    pub fn facts(&self) -> &CrlFacts {
        &self.facts
    }

    /// By which of these CAs it is. A CRL needs no leniency: vendors sign
    /// theirs anew every few weeks.
    ///
    /// # Errors
    /// [`CrlError::UnknownIssuer`], [`CrlError::Signature`].
    pub(super) fn verify<'c>(
        self,
        authorities: impl Iterator<Item = &'c [u8]>,
    ) -> Result<Crl, CrlError> {
        let none = Leniencies::from_iter([]);
        let mut known = false;
        for der in authorities {
            let Ok(authority) = Certificate::parse(der, 0) else {
                continue;
            };
            if authority.subject != self.issuer {
                continue;
            }
            known = true;
            let may_sign = authority.is_ca()
                && (!authority.has_key_usage() || authority.key_usage() & CRL_SIGN != 0);
            if may_sign
                && signature::verifies(
                    authority.spki,
                    self.algorithm,
                    self.tbs,
                    self.signature,
                    &none,
                )
            {
                return Ok(Crl {
                    key_sha256: sha256(&[authority.spki]),
                    key_id: authority.subject_key_id().map(<[u8]>::to_vec),
                    facts: self.facts,
                    revoked: self.revoked,
                });
            }
        }
        let issuer = self.facts.issuer;
        Err(if known {
            CrlError::Signature(issuer)
        } else {
            CrlError::UnknownIssuer(issuer)
        })
    }
}

/// A CRL that an imported CA signed. Only [`ParsedCrl::verify`] makes one.
#[derive(Clone)]
pub(super) struct Crl {
    facts: CrlFacts,
    key_sha256: [u8; 32],
    key_id: Option<Vec<u8>>,
    revoked: BTreeSet<Vec<u8>>,
}

impl Crl {
    pub(super) fn facts(&self) -> &CrlFacts {
        &self.facts
    }

    /// Whether it is of the CA with this name and key (SHA-256 each).
    pub(super) fn is_of(&self, name_sha256: &[u8; 32], key_sha256: &[u8; 32]) -> bool {
        self.facts.issuer_sha256 == *name_sha256 && self.key_sha256 == *key_sha256
    }

    pub(super) fn is_of_same_ca(&self, other: &Self) -> bool {
        self.is_of(&other.facts.issuer_sha256, &other.key_sha256)
    }

    /// Whether its CA's key has this subjectKeyIdentifier.
    pub(super) fn is_of_key_id(&self, key_id: &[u8]) -> bool {
        self.key_id.as_deref() == Some(key_id)
    }

    /// Whether it revokes the certificate with this serial number (content of
    /// the INTEGER).
    pub(super) fn revokes(&self, serial: &[u8]) -> bool {
        self.revoked.contains(significant(serial))
    }

    pub(super) fn is_stale(&self, at: UnixTime) -> bool {
        self.facts.next_update < at
    }
}

/// What is to be recorded of a CRL. Only [`super::Anchors::read_crl`] makes
/// one.
#[derive(Clone, Debug)]
pub struct ReadCrl {
    facts: CrlFacts,
    key_sha256: [u8; 32],
    in_use: bool,
}

impl ReadCrl {
    pub(super) fn new(crl: &Crl, in_use: bool) -> Self {
        Self {
            facts: crl.facts.clone(),
            key_sha256: crl.key_sha256,
            in_use,
        }
    }

    /// What it says of itself.
    #[must_use]
    pub fn facts(&self) -> &CrlFacts {
        &self.facts
    }

    /// SHA-256 of the SubjectPublicKeyInfo that verified it.
    #[must_use]
    pub fn key_sha256(&self) -> &[u8; 32] {
        &self.key_sha256
    }

    /// Whether this very CRL is in use already.
    #[must_use]
    pub fn is_in_use(&self) -> bool {
        self.in_use
    }
}

/// A serial number without leading zeros: some CAs pad them, in the
/// certificate or in the CRL.
fn significant(serial: &[u8]) -> &[u8] {
    let zeros = serial.iter().take_while(|byte| **byte == 0).count();
    serial.get(zeros..).unwrap_or_default()
}

fn entries_of(list: &[u8]) -> Result<BTreeSet<Vec<u8>>, CrlError> {
    let malformed = |_: NotDer| CrlError::Malformed("revokedCertificates");
    let mut list = Reader::new(list);
    let mut revoked = BTreeSet::new();
    while !list.is_empty() {
        let mut entry = list.enter(der::SEQUENCE).map_err(malformed)?;
        let serial = entry.tagged(der::INTEGER).map_err(malformed)?;
        let at = entry.next().map_err(malformed)?;
        certificate::time(&at).map_err(malformed)?;
        if let Some(extensions) = entry.optional(der::SEQUENCE).map_err(malformed)? {
            // certificateIssuer (§5.3.3) is one: an indirect CRL.
            no_critical_extension(extensions.content)?;
        }
        entry.finish().map_err(malformed)?;
        revoked.insert(significant(serial.content).to_vec());
    }
    Ok(revoked)
}

/// Extensions say when and why, none says of what: so critical ones, which
/// would (§5.2.4 delta, §5.2.5 parts), are refused.
fn no_critical_extension(list: &[u8]) -> Result<(), CrlError> {
    let malformed = |_: NotDer| CrlError::Malformed("extensions");
    let mut list = Reader::new(list);
    while !list.is_empty() {
        let mut extension = list.enter(der::SEQUENCE).map_err(malformed)?;
        let id = extension.tagged(der::OID).map_err(malformed)?;
        let critical = extension.optional(der::BOOLEAN).map_err(malformed)?;
        extension.tagged(der::OCTET_STRING).map_err(malformed)?;
        extension.finish().map_err(malformed)?;
        if critical.is_some_and(|b| b.content != [0]) {
            return Err(CrlError::CriticalExtension(der::dotted(id.content)));
        }
    }
    Ok(())
}
