//! `OCSPRequest` (RFC 6960 §4.1.1).

use crate::{
    endorsement::der::{self, NotDer, Reader},
    identity::issuing::IssuingCa,
};

/// Longest request. One with a CertID and a nonce has some 120 octets.
pub const MAX_OCSP_REQUEST: usize = 4096;
/// Most certificates in one request: each is a look-up.
pub const MAX_OCSP_CERT_IDS: usize = 16;
/// RFC 9654 §2.1: a nonce has 1 to 128 octets.
const NONCE_LEN: std::ops::RangeInclusive<usize> = 1..=128;

/// id-sha1, 1.3.14.3.2.26 (content octets).
const SHA_1: &[u8] = &[0x2B, 0x0E, 0x03, 0x02, 0x1A];
/// id-sha256, 2.16.840.1.101.3.4.2.1.
const SHA_256: &[u8] = &[0x60, 0x86, 0x48, 0x01, 0x65, 0x03, 0x04, 0x02, 0x01];
/// id-pkix-ocsp-nonce, 1.3.6.1.5.5.7.48.1.2.
const NONCE: &[u8] = &[0x2B, 0x06, 0x01, 0x05, 0x05, 0x07, 0x30, 0x01, 0x02];

/// A request, not answered yet. Its signature, where it has one, is not looked
/// at: what is answered is for everybody.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OcspRequest<'a> {
    cert_ids: Vec<CertId<'a>>,
    nonce: Option<&'a [u8]>,
}

/// Which certificate is asked about: hashes of its issuer's name and key, and
/// its serial number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CertId<'a> {
    /// As it came: the answer repeats it.
    whole: &'a [u8],
    /// Object identifier of the hash, content octets.
    hash: &'a [u8],
    issuer_name_hash: &'a [u8],
    issuer_key_hash: &'a [u8],
    serial: &'a [u8],
}

/// Why it is no request that can be answered. The answer is `malformedRequest`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum OcspRequestError {
    /// Over [`MAX_OCSP_REQUEST`].
    #[error("an OCSP request has at most {MAX_OCSP_REQUEST} octets")]
    TooLong,
    /// Not DER, or not of this shape.
    #[error("not an OCSPRequest (RFC 6960 §4.1.1)")]
    NotDer,
    /// Version 1 is the only one.
    #[error("not version 1 of OCSP")]
    Version,
    /// None, or over [`MAX_OCSP_CERT_IDS`].
    #[error("{0} certificates: one request asks about 1 to {MAX_OCSP_CERT_IDS}")]
    CertIds(usize),
    /// RFC 9654 §2.1.
    #[error("the nonce is no OCTET STRING of 1 to 128 octets")]
    Nonce,
    /// RFC 6960 §4.4: unknown and critical.
    #[error("a critical extension that is not known")]
    CriticalExtension,
}

impl From<NotDer> for OcspRequestError {
    fn from(_: NotDer) -> Self {
        Self::NotDer
    }
}

impl<'a> OcspRequest<'a> {
    /// Reads DER; nothing may follow it.
    ///
    /// # Errors
    /// [`OcspRequestError`] with the rule that it breaks.
    pub fn parse(bytes: &'a [u8]) -> Result<Self, OcspRequestError> {
        if bytes.len() > MAX_OCSP_REQUEST {
            return Err(OcspRequestError::TooLong);
        }
        let mut outer = Reader::new(bytes);
        let mut request = outer.enter(der::SEQUENCE)?;
        outer.finish()?;
        let mut tbs = request.enter(der::SEQUENCE)?;
        // optionalSignature
        request.optional(der::constructed(0))?;
        request.finish()?;

        if let Some(version) = tbs.optional(der::constructed(0))?
            && der::only(version.content, der::INTEGER)? != [0]
        {
            return Err(OcspRequestError::Version);
        }
        // requestorName: told to nobody.
        tbs.optional(der::constructed(1))?;
        let mut list = tbs.enter(der::SEQUENCE)?;
        let mut cert_ids = Vec::new();
        while !list.is_empty() {
            if cert_ids.len() == MAX_OCSP_CERT_IDS {
                return Err(OcspRequestError::CertIds(MAX_OCSP_CERT_IDS + 1));
            }
            cert_ids.push(single_request(&mut list)?);
        }
        if cert_ids.is_empty() {
            return Err(OcspRequestError::CertIds(0));
        }
        let nonce = match tbs.optional(der::constructed(2))? {
            Some(extensions) => request_extensions(extensions.content)?,
            None => None,
        };
        tbs.finish()?;
        Ok(Self { cert_ids, nonce })
    }

    /// What is asked about, in order.
    #[must_use]
    pub fn cert_ids(&self) -> &[CertId<'a>] {
        &self.cert_ids
    }

    /// To be repeated in the answer.
    #[must_use]
    pub fn nonce(&self) -> Option<&'a [u8]> {
        self.nonce
    }
}

impl<'a> CertId<'a> {
    /// The DER, as it came.
    #[must_use]
    pub fn as_der(&self) -> &'a [u8] {
        self.whole
    }

    /// Serial number as on record: lower-case hex of the magnitude.
    #[must_use]
    pub fn serial_hex(&self) -> String {
        match self.serial {
            [0, magnitude @ ..] => hex::encode(magnitude),
            serial => hex::encode(serial),
        }
    }

    /// Whether this CA is the issuer that is meant. With a hash that is
    /// neither SHA-1 nor SHA-256, none is.
    #[must_use]
    pub fn is_of(&self, ca: &IssuingCa) -> bool {
        let algorithm = match self.hash {
            // Identifies, and protects nothing: a collision gets an answer
            // about another certificate of the same serial number.
            SHA_1 => &ring::digest::SHA1_FOR_LEGACY_USE_ONLY,
            SHA_256 => &ring::digest::SHA256,
            _ => return false,
        };
        let is = |hash: &[u8], of: &[u8]| ring::digest::digest(algorithm, of).as_ref() == hash;
        is(self.issuer_name_hash, ca.subject()) && is(self.issuer_key_hash, ca.public().point())
    }
}

/// `Request ::= SEQUENCE { reqCert CertID, singleRequestExtensions [0] }`.
fn single_request<'a>(list: &mut Reader<'a>) -> Result<CertId<'a>, OcspRequestError> {
    let mut request = list.enter(der::SEQUENCE)?;
    let cert_id = request.tagged(der::SEQUENCE)?;
    if let Some(extensions) = request.optional(der::constructed(0))? {
        // serviceLocator and the like; a nonce has no place here.
        each_extension(extensions.content, |_, critical, _| {
            if critical {
                Err(OcspRequestError::CriticalExtension)
            } else {
                Ok(())
            }
        })?;
    }
    request.finish()?;

    let mut fields = Reader::new(cert_id.content);
    let mut algorithm = fields.enter(der::SEQUENCE)?;
    let hash = algorithm.tagged(der::OID)?.content;
    // Parameters: NULL or absent.
    if let Some(null) = algorithm.optional(NULL)?
        && !null.content.is_empty()
    {
        return Err(OcspRequestError::NotDer);
    }
    algorithm.finish()?;
    let issuer_name_hash = fields.tagged(der::OCTET_STRING)?.content;
    let issuer_key_hash = fields.tagged(der::OCTET_STRING)?.content;
    let serial = fields.tagged(der::INTEGER)?.content;
    fields.finish()?;
    let shortest = match serial {
        [] => false,
        [0, next, ..] => *next >= 0x80,
        [0xFF, next, ..] => *next < 0x80,
        _ => true,
    };
    // Longer than any (RFC 5280 §4.1.2.2: 20 octets) is of no certificate.
    if !shortest || serial.len() > 21 {
        return Err(OcspRequestError::NotDer);
    }
    Ok(CertId {
        whole: cert_id.whole,
        hash,
        issuer_name_hash,
        issuer_key_hash,
        serial,
    })
}

const NULL: u8 = 0x05;

/// requestExtensions: the nonce is known, nothing else is.
fn request_extensions(content: &[u8]) -> Result<Option<&[u8]>, OcspRequestError> {
    let mut nonce = None;
    each_extension(content, |id, critical, value| {
        if id == NONCE {
            let octets =
                der::only(value, der::OCTET_STRING).map_err(|NotDer| OcspRequestError::Nonce)?;
            if nonce.is_some() || !NONCE_LEN.contains(&octets.len()) {
                return Err(OcspRequestError::Nonce);
            }
            nonce = Some(octets);
        } else if critical {
            return Err(OcspRequestError::CriticalExtension);
        }
        Ok(())
    })?;
    Ok(nonce)
}

/// Hands out identifier, criticality and value of each `Extension`.
fn each_extension<'a>(
    content: &'a [u8],
    mut take: impl FnMut(&'a [u8], bool, &'a [u8]) -> Result<(), OcspRequestError>,
) -> Result<(), OcspRequestError> {
    let mut outer = Reader::new(content);
    let mut list = outer.enter(der::SEQUENCE)?;
    outer.finish()?;
    while !list.is_empty() {
        let mut extension = list.enter(der::SEQUENCE)?;
        let id = extension.tagged(der::OID)?.content;
        let critical = match extension.optional(der::BOOLEAN)?.map(|b| b.content) {
            None => false,
            Some([0xFF]) => true,
            Some(_) => return Err(OcspRequestError::NotDer),
        };
        let value = extension.tagged(der::OCTET_STRING)?.content;
        extension.finish()?;
        take(id, critical, value)?;
    }
    Ok(())
}
