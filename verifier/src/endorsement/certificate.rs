//! X.509 certificates as this room looks at them: what webpki checks but does
//! not show. Parsing proves nothing; paths are webpki's.

use std::collections::BTreeSet;

use time::{Date, Month, PrimitiveDateTime, Time};

use super::{
    der::{self, Element, NotDer, Reader},
    error::{EndorsementError, Position, WeakAlg, WeakKey},
    leniency::{Leniencies, Leniency},
    oid,
    quirk::Quirks,
};
use crate::time::UnixTime;

/// A parsed certificate, borrowed from its DER (RFC 5280 §4.1).
pub(super) struct Certificate<'a> {
    /// What is signed: whole DER of tbsCertificate.
    pub(super) tbs: &'a [u8],
    /// Content of signatureAlgorithm's SEQUENCE.
    pub(super) algorithm: &'a [u8],
    /// Octets of the signature.
    pub(super) signature: &'a [u8],
    /// Content of the serial number's INTEGER.
    pub(super) serial: &'a [u8],
    signature_oid: &'a [u8],
    /// Whole DER of the issuer's Name.
    pub(super) issuer: &'a [u8],
    /// Whole DER of the subject's Name.
    pub(super) subject: &'a [u8],
    pub(super) not_before: UnixTime,
    pub(super) not_after: UnixTime,
    pub(super) key: SubjectKey<'a>,
    /// Whole DER of SubjectPublicKeyInfo.
    pub(super) spki: &'a [u8],
    /// Encodings in it that are not DER, or not of the profile.
    pub(super) quirks: BTreeSet<Leniency>,
    extensions: Vec<Extension<'a>>,
}

/// The certified key.
pub(super) enum SubjectKey<'a> {
    Rsa { n: &'a [u8], e: &'a [u8] },
    Ec { curve: &'a [u8], point: &'a [u8] },
    Other { algorithm: &'a [u8] },
}

struct Extension<'a> {
    oid: &'a [u8],
    critical: bool,
    value: &'a [u8],
}

impl<'a> Certificate<'a> {
    pub(super) fn parse(bytes: &'a [u8], at: Position) -> Result<Self, EndorsementError> {
        let malformed = |part| move |_: NotDer| EndorsementError::Malformed { at, part };
        let mut outer = Reader::new(bytes);
        let mut certificate = outer
            .enter(der::SEQUENCE)
            .map_err(malformed("certificate"))?;
        if !outer.is_empty() {
            return Err(EndorsementError::TrailingBytes {
                at,
                len: outer.rest().len(),
            });
        }
        let signed = certificate
            .tagged(der::SEQUENCE)
            .map_err(malformed("tbsCertificate"))?;
        let mut tbs = Reader::new(signed.content);
        let algorithm = certificate
            .tagged(der::SEQUENCE)
            .map_err(malformed("signatureAlgorithm"))?;
        let signature = certificate
            .tagged(der::BIT_STRING)
            .and_then(|bits| der::whole_octets(bits.content))
            .map_err(malformed("signature"))?;
        certificate.finish().map_err(malformed("certificate"))?;

        let version = tbs
            .optional(der::constructed(0))
            .map_err(malformed("version"))?;
        // v3 is encoded as 2; extensions need it (§4.1.2.1).
        if version.map(|v| v.content) != Some(&[der::INTEGER, 1, 2]) {
            return Err(EndorsementError::Malformed {
                at,
                part: "version (not v3)",
            });
        }
        let serial = tbs
            .tagged(der::INTEGER)
            .map_err(malformed("serialNumber"))?
            .content;
        let inner = tbs
            .tagged(der::SEQUENCE)
            .map_err(malformed("signature algorithm"))?;
        if inner.whole != algorithm.whole {
            return Err(EndorsementError::Malformed {
                at,
                part: "signature algorithm (differs)",
            });
        }
        let signature_oid = Reader::new(algorithm.content)
            .tagged(der::OID)
            .map_err(malformed("signatureAlgorithm"))?;
        let issuer = tbs
            .tagged(der::SEQUENCE)
            .map_err(malformed("issuer"))?
            .whole;
        let (not_before, not_after) = validity(&mut tbs).map_err(malformed("validity"))?;
        let subject = tbs
            .tagged(der::SEQUENCE)
            .map_err(malformed("subject"))?
            .whole;
        let spki = tbs
            .tagged(der::SEQUENCE)
            .map_err(malformed("subjectPublicKeyInfo"))?
            .whole;
        let key = subject_key(&mut Reader::new(spki)).map_err(malformed("subjectPublicKeyInfo"))?;
        for unique_id in [1, 2] {
            tbs.optional(der::context(unique_id))
                .map_err(malformed("unique identifier"))?;
        }
        let mut quirks = Quirks::default();
        quirks.of_serial(serial);
        quirks.of_name(issuer);
        quirks.of_name(subject);
        quirks.of_key(spki);
        let extensions = extensions(&mut tbs, &mut quirks).map_err(malformed("extensions"))?;
        tbs.finish().map_err(malformed("tbsCertificate"))?;
        Ok(Self {
            tbs: signed.whole,
            algorithm: algorithm.content,
            signature,
            serial,
            signature_oid: signature_oid.content,
            issuer,
            subject,
            not_before,
            not_after,
            key,
            spki,
            quirks: quirks.into_set(),
            extensions,
        })
    }

    /// Strong signature, strong key, no unknown critical extension, no encoding
    /// that is not excused: what every certificate of a path must keep.
    pub(super) fn expect_strong(
        &self,
        at: Position,
        leniencies: &Leniencies,
    ) -> Result<(), EndorsementError> {
        match self.weak_signature() {
            Some(WeakAlg::Sha1) if leniencies.allow(Leniency::Sha1Signature) => {}
            Some(alg) => return Err(EndorsementError::WeakSignature { at, alg }),
            None => {}
        }
        self.expect_anchor(at)?;
        leniencies.expect(&self.quirks, at)?;
        let unknown = |e: &&Extension<'_>| e.critical && !oid::PROCESSED.contains(&e.oid);
        match self.extensions.iter().find(unknown) {
            Some(e) => Err(EndorsementError::CriticalExtension {
                at,
                oid: der::dotted(e.oid),
            }),
            None => Ok(()),
        }
    }

    /// What a trust anchor must keep. Its signature and its extensions are not
    /// what trust rests on (RFC 5280 §6.1.1 d), but for the constraints that
    /// webpki takes over.
    pub(super) fn expect_anchor(&self, at: Position) -> Result<(), EndorsementError> {
        self.key
            .expect_strong()
            .map_err(|weakness| EndorsementError::WeakKey { at, weakness })
    }

    /// The broken hash that its signature rests on, if it does.
    pub(super) fn weak_signature(&self) -> Option<WeakAlg> {
        oid::weak_signature(self.signature_oid)
    }

    pub(super) fn is_self_issued(&self) -> bool {
        self.issuer == self.subject
    }

    /// Whether it has critical certificatePolicies (RFC 5280 §4.2.1.4), which
    /// webpki does not process. Here they are: whoever asks for no policy in
    /// particular, as we do, gets a valid path whatever they say, unless
    /// policyConstraints demand one (§6.1.5 g), and a critical one of those is
    /// refused as unknown.
    pub(super) fn has_critical_policies(&self) -> bool {
        self.extensions
            .iter()
            .any(|e| e.critical && e.oid == oid::CERTIFICATE_POLICIES)
    }

    /// Valid at that time, both ends included (RFC 5280 §4.1.2.5).
    pub(super) fn expect_valid(&self, at: UnixTime) -> Result<(), EndorsementError> {
        if at < self.not_before {
            return Err(EndorsementError::NotYetValid {
                not_before: self.not_before,
            });
        }
        if at > self.not_after {
            return Err(EndorsementError::Expired {
                not_after: self.not_after,
            });
        }
        Ok(())
    }

    /// pathLenConstraint (§4.2.1.9); one that does not fit is as good as 255.
    pub(super) fn path_len(&self) -> Option<u8> {
        let value = self.extension(oid::BASIC_CONSTRAINTS)?;
        let mut constraints = Reader::new(der::only(value, der::SEQUENCE).ok()?);
        constraints.optional(der::BOOLEAN).ok()?;
        let number = constraints.optional(der::INTEGER).ok()??;
        match der::unsigned(number.content) {
            Ok([]) => Some(0),
            Ok([one]) => Some(*one),
            _ => Some(u8::MAX),
        }
    }

    pub(super) fn has_name_constraints(&self) -> bool {
        self.extension(oid::NAME_CONSTRAINTS).is_some()
    }

    pub(super) fn has_key_usage(&self) -> bool {
        self.extension(oid::KEY_USAGE).is_some()
    }

    /// keyIdentifier of subjectKeyIdentifier (§4.2.1.2).
    pub(super) fn subject_key_id(&self) -> Option<&'a [u8]> {
        der::only(self.extension(oid::SUBJECT_KEY_ID)?, der::OCTET_STRING).ok()
    }

    /// Whether basicConstraints says CA; absent says no (§4.2.1.9).
    pub(super) fn is_ca(&self) -> bool {
        let Some(value) = self.extension(oid::BASIC_CONSTRAINTS) else {
            return false;
        };
        let ca = |value| {
            let mut constraints = Reader::new(value).enter(der::SEQUENCE)?;
            constraints.optional(der::BOOLEAN)
        };
        // What does not parse is not taken for an end entity's.
        ca(value).map_or(true, |b| b.is_some_and(|b| b.content != [0]))
    }

    /// A CA whose keyUsage, where it has one, allows signing certificates
    /// (RFC 5280 §6.1.4 k and n). webpki leaves the latter to us.
    pub(super) fn may_issue(&self) -> bool {
        const KEY_CERT_SIGN: u8 = 0x04;
        self.is_ca() && (!self.has_key_usage() || self.key_usage() & KEY_CERT_SIGN != 0)
    }

    /// First octet of keyUsage: digitalSignature is 0x80 … keyAgreement 0x08.
    pub(super) fn key_usage(&self) -> u8 {
        self.extension(oid::KEY_USAGE)
            .and_then(|value| der::only(value, der::BIT_STRING).ok())
            .and_then(|bits| bits.get(1).copied())
            .unwrap_or(0)
    }

    /// As `has_extended_key_usage`, or without the extension.
    pub(super) fn leaves_extended_key_usage(&self, purpose: &[u8]) -> bool {
        self.extension(oid::EXTENDED_KEY_USAGE).is_none() || self.has_extended_key_usage(purpose)
    }

    pub(super) fn has_extended_key_usage(&self, purpose: &[u8]) -> bool {
        let Some(value) = self.extension(oid::EXTENDED_KEY_USAGE) else {
            return false;
        };
        let Ok(content) = der::only(value, der::SEQUENCE) else {
            return false;
        };
        let mut purposes = Reader::new(content);
        std::iter::from_fn(|| purposes.tagged(der::OID).ok()).any(|p| p.content == purpose)
    }

    /// keyIdentifier of authorityKeyIdentifier (§4.2.1.1).
    pub(super) fn authority_key_id(&self) -> Option<&'a [u8]> {
        let content = der::only(self.extension(oid::AUTHORITY_KEY_ID)?, der::SEQUENCE).ok()?;
        Reader::new(content)
            .optional(der::context(0))
            .ok()
            .flatten()
            .map(|id| id.content)
    }

    /// Value of an extension; parsing refused repeated ones.
    pub(super) fn extension(&self, oid: &[u8]) -> Option<&'a [u8]> {
        self.extensions
            .iter()
            .find(|e| e.oid == oid)
            .map(|e| e.value)
    }
}

/// Weaker keys are refused (SP 800-131A, RFC 8017 §3.1).
const RSA_MIN_BITS: usize = 2048;

impl SubjectKey<'_> {
    fn expect_strong(&self) -> Result<(), WeakKey> {
        match self {
            Self::Rsa { n, e } => {
                let odd = |number: &[u8]| number.last().is_some_and(|b| b & 1 == 1);
                let leading = n.first().map_or(0, |b| b.leading_zeros() as usize);
                let bits = n.len().saturating_mul(8).saturating_sub(leading);
                if bits < RSA_MIN_BITS || !odd(n) {
                    return Err(WeakKey::RsaModulus(bits));
                }
                if !odd(e) || *e == [1] || e.len() > 4 {
                    return Err(WeakKey::RsaExponent(hex::encode(e)));
                }
                Ok(())
            }
            Self::Ec { curve, .. } if [oid::P256, oid::P384, oid::P521].contains(curve) => Ok(()),
            Self::Ec { curve, .. } => Err(WeakKey::Curve(der::dotted(curve))),
            Self::Other { algorithm } => Err(WeakKey::Algorithm(der::dotted(algorithm))),
        }
    }
}

pub(super) fn subject_key<'a>(tbs: &mut Reader<'a>) -> Result<SubjectKey<'a>, NotDer> {
    let mut info = tbs.enter(der::SEQUENCE)?;
    let mut algorithm = info.enter(der::SEQUENCE)?;
    let key = der::whole_octets(info.tagged(der::BIT_STRING)?.content)?;
    info.finish()?;
    let algorithm_oid = algorithm.tagged(der::OID)?.content;
    match algorithm_oid {
        // id-RSAES-OAEP is a known quirk (`Leniency::RsaesOaepKey`): the key is
        // the same kind, and only key material is compared.
        oid::RSA | oid::RSAES_OAEP => {
            let mut numbers = Reader::new(der::only(key, der::SEQUENCE)?);
            let n = der::unsigned(numbers.tagged(der::INTEGER)?.content)?;
            let e = der::unsigned(numbers.tagged(der::INTEGER)?.content)?;
            numbers.finish()?;
            Ok(SubjectKey::Rsa { n, e })
        }
        oid::EC_PUBLIC_KEY => {
            // Explicit parameters (RFC 5480 §2.1.1 forbids them) have no OID.
            let curve = algorithm.tagged(der::OID)?.content;
            algorithm.finish()?;
            Ok(SubjectKey::Ec { curve, point: key })
        }
        _ => Ok(SubjectKey::Other {
            algorithm: algorithm_oid,
        }),
    }
}

fn extensions<'a>(tbs: &mut Reader<'a>, quirks: &mut Quirks) -> Result<Vec<Extension<'a>>, NotDer> {
    let Some(wrapped) = tbs.optional(der::constructed(3))? else {
        return Ok(Vec::new());
    };
    let mut list = Reader::new(der::only(wrapped.content, der::SEQUENCE)?);
    let mut extensions: Vec<Extension<'a>> = Vec::new();
    while !list.is_empty() {
        let mut extension = list.enter(der::SEQUENCE)?;
        let oid = extension.tagged(der::OID)?.content;
        let written = extension.optional(der::BOOLEAN)?;
        let critical = match &written {
            None | Some(Element { content: [0], .. }) => false,
            Some(Element {
                content: [0xFF], ..
            }) => true,
            Some(_) => return Err(NotDer),
        };
        let value = extension.tagged(der::OCTET_STRING)?.content;
        quirks.of_extension(oid, written.as_ref(), value);
        extension.finish()?;
        // §4.2: at most one of each.
        if extensions.iter().any(|e| e.oid == oid) {
            return Err(NotDer);
        }
        extensions.push(Extension {
            oid,
            critical,
            value,
        });
    }
    Ok(extensions)
}

/// notBefore and notAfter. Both are webpki's to judge.
fn validity(tbs: &mut Reader<'_>) -> Result<(UnixTime, UnixTime), NotDer> {
    let mut validity = tbs.enter(der::SEQUENCE)?;
    let not_before = time(&validity.next()?)?;
    let not_after = time(&validity.next()?)?;
    validity.finish()?;
    Ok((not_before, not_after))
}

/// UTCTime or GeneralizedTime to the second, in Z (RFC 5280 §4.1.2.5).
pub(super) fn time(element: &Element<'_>) -> Result<UnixTime, NotDer> {
    let text = std::str::from_utf8(element.content).map_err(|_| NotDer)?;
    let text = match (element.tag, text.len()) {
        // Years 50 to 99 are of the last century.
        (der::UTC_TIME, 13) if text < "50" => format!("20{text}"),
        (der::UTC_TIME, 13) => format!("19{text}"),
        (der::GENERALIZED_TIME, 15) => text.to_owned(),
        _ => return Err(NotDer),
    };
    if !text.ends_with('Z') {
        return Err(NotDer);
    }
    let number = |from: usize, to: usize| {
        let digits = text
            .get(from..to)
            .filter(|d| d.bytes().all(|b| b.is_ascii_digit()));
        digits.and_then(|d| d.parse::<u16>().ok()).ok_or(NotDer)
    };
    let small = |from| number(from, from + 2).and_then(|n| u8::try_from(n).map_err(|_| NotDer));
    let month = Month::try_from(small(4)?).map_err(|_| NotDer)?;
    let date = Date::from_calendar_date(number(0, 4)?.into(), month, small(6)?);
    let clock = Time::from_hms(small(8)?, small(10)?, small(12)?);
    let at = PrimitiveDateTime::new(date.map_err(|_| NotDer)?, clock.map_err(|_| NotDer)?);
    Ok(UnixTime::from_seconds(at.assume_utc().unix_timestamp()))
}

/// A Name for people: `OU=…, CN=…`. Strings are escaped, so that what a
/// certificate says cannot act on a terminal or a log (A27).
pub(super) fn display_name(name: &[u8]) -> String {
    let parts = attributes(name).unwrap_or_default();
    let shown = parts.iter().map(|(oid, value)| {
        let key = match *oid {
            [0x55, 0x04, 0x03] => "CN".to_owned(),
            [0x55, 0x04, 0x05] => "serialNumber".to_owned(),
            [0x55, 0x04, 0x06] => "C".to_owned(),
            [0x55, 0x04, 0x07] => "L".to_owned(),
            [0x55, 0x04, 0x08] => "ST".to_owned(),
            [0x55, 0x04, 0x0A] => "O".to_owned(),
            [0x55, 0x04, 0x0B] => "OU".to_owned(),
            other => der::dotted(other),
        };
        format!(
            "{key}={}",
            String::from_utf8_lossy(value.content).escape_default()
        )
    });
    shown.collect::<Vec<_>>().join(", ")
}

/// Attribute types and values of a Name (RFC 5280 §4.1.2.4), flattened.
/// Nuvoton does not sort its SETs; nothing here depends on their order.
pub(super) fn attributes(name: &[u8]) -> Result<Vec<(&[u8], Element<'_>)>, NotDer> {
    let mut attributes = Vec::new();
    let mut rdns = Reader::new(der::only(name, der::SEQUENCE)?);
    while !rdns.is_empty() {
        let mut rdn = rdns.enter(der::SET)?;
        while !rdn.is_empty() {
            let mut pair = rdn.enter(der::SEQUENCE)?;
            let oid = pair.tagged(der::OID)?.content;
            let value = pair.next()?;
            pair.finish()?;
            attributes.push((oid, value));
        }
    }
    Ok(attributes)
}
