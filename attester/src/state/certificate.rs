//! What a person wants to know of an LDevID: its serial number and issuer, read
//! from the DER (RFC 5280 §4.1). For words alone: nothing is decided by it.

use crate::client::inert;

const INTEGER: u8 = 0x02;
const OBJECT_IDENTIFIER: u8 = 0x06;
const SEQUENCE: u8 = 0x30;
const SET: u8 = 0x31;
const VERSION: u8 = 0xA0;
/// Attribute types of names (RFC 5280 §4.1.2.4), by their encoded OIDs.
const ATTRIBUTES: [(&[u8], &str); 4] = [
    (&[0x55, 4, 3], "CN"),
    (&[0x55, 4, 10], "O"),
    (&[0x55, 4, 11], "OU"),
    (&[0x55, 4, 6], "C"),
];

/// A certificate's serial number and issuer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CertificateWords {
    /// Lower-case hex, without leading zeros.
    pub serial: String,
    /// `CN=…, O=…`, in the certificate's order, free of what a terminal obeys.
    /// Attributes of other types are left out.
    pub issuer: String,
}

impl CertificateWords {
    /// Reads them; `None` where `der` is no certificate.
    #[must_use]
    pub fn of(der: &[u8]) -> Option<Self> {
        let (certificate, _) = take(der, SEQUENCE)?;
        let (tbs, _) = take(certificate, SEQUENCE)?;
        let rest = take(tbs, VERSION).map_or(tbs, |(_, rest)| rest);
        let (serial, rest) = take(rest, INTEGER)?;
        let (_algorithm, rest) = take(rest, SEQUENCE)?;
        let (issuer, _) = take(rest, SEQUENCE)?;
        let first = serial.iter().position(|byte| *byte != 0)?;
        Some(Self {
            serial: hex::encode(serial.get(first..)?),
            issuer: name(issuer)?,
        })
    }
}

fn name(mut rdns: &[u8]) -> Option<String> {
    let mut words = Vec::new();
    while !rdns.is_empty() {
        let (mut set, rest) = take(rdns, SET)?;
        rdns = rest;
        while !set.is_empty() {
            let (attribute, rest) = take(set, SEQUENCE)?;
            set = rest;
            let (oid, value) = take(attribute, OBJECT_IDENTIFIER)?;
            let (_, value, _) = any(value)?;
            if let Some((_, label)) = ATTRIBUTES.iter().find(|(known, _)| *known == oid) {
                let value = String::from_utf8_lossy(value);
                words.push(format!("{label}={}", inert(&value)));
            }
        }
    }
    Some(words.join(", "))
}

/// The content of the element of this tag at the beginning, and what follows.
fn take(der: &[u8], tag: u8) -> Option<(&[u8], &[u8])> {
    any(der).and_then(|(found, content, rest)| (found == tag).then_some((content, rest)))
}

/// Tag, content, and what follows. Lengths of up to two bytes: a certificate is
/// shorter than 64 KiB.
fn any(der: &[u8]) -> Option<(u8, &[u8], &[u8])> {
    let (length, head) = match *der {
        [_, short @ 0..=0x7F, ..] => (usize::from(short), 2),
        [_, 0x81, length, ..] => (usize::from(length), 3),
        [_, 0x82, high, low, ..] => (usize::from(u16::from_be_bytes([high, low])), 4),
        _ => return None,
    };
    let (content, rest) = der.get(head..)?.split_at_checked(length)?;
    Some((*der.first()?, content, rest))
}

#[cfg(test)]
mod tests {
    use rcgen::{CertificateParams, DnType, IsCa, KeyPair, SerialNumber};

    use super::*;

    fn certificate(issuer: &str, serial: &[u8]) -> Vec<u8> {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::new(vec![]).unwrap();
        params.is_ca = IsCa::NoCa;
        params.serial_number = Some(SerialNumber::from_slice(serial));
        params.distinguished_name.push(DnType::CommonName, issuer);
        params
            .distinguished_name
            .push(DnType::OrganizationName, "Works");
        params.self_signed(&key).unwrap().der().to_vec()
    }

    #[test]
    fn serial_and_issuer_are_read() {
        let words = CertificateWords::of(&certificate("Edge CA", &[0x8F, 1, 2])).unwrap();
        assert_eq!(words.serial, "8f0102");
        assert!(words.issuer.contains("CN=Edge CA"), "{}", words.issuer);
        assert!(words.issuer.contains("O=Works"), "{}", words.issuer);
    }

    #[test]
    fn adv_a27_a_name_cannot_drive_a_terminal() {
        let words = CertificateWords::of(&certificate("a\u{1B}[2Jb", &[1])).unwrap();
        assert!(!words.issuer.contains('\u{1B}'), "{}", words.issuer);
    }

    #[test]
    fn what_is_cut_short_or_changed_never_panics() {
        let good = certificate("Edge CA", &[1]);
        for length in 0..good.len() {
            let _ = CertificateWords::of(&good[..length]);
            let mut bent = good.clone();
            bent[length] ^= 0xFF;
            let _ = CertificateWords::of(&bent);
        }
        assert_eq!(CertificateWords::of(b"no certificate"), None);
    }
}
