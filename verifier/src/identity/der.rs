//! A DER *writer* (X.690 §10), as small as certificates need it. Reading is
//! done by other code (picky-asn1-x509, webpki), so that the lint checks what
//! was written with a decoder that shares nothing with this encoder.

use time::OffsetDateTime;

use crate::time::UnixTime;

const BOOLEAN: u8 = 0x01;
const INTEGER: u8 = 0x02;
const BIT_STRING: u8 = 0x03;
const OCTET_STRING: u8 = 0x04;
const NULL: u8 = 0x05;
const OBJECT_IDENTIFIER: u8 = 0x06;
const ENUMERATED: u8 = 0x0A;
const UTF8_STRING: u8 = 0x0C;
const PRINTABLE_STRING: u8 = 0x13;
const UTC_TIME: u8 = 0x17;
const GENERALIZED_TIME: u8 = 0x18;
const SEQUENCE: u8 = 0x30;
const SET: u8 = 0x31;
const CONTEXT: u8 = 0x80;
const CONSTRUCTED: u8 = 0x20;

/// One element with a definite, shortest-form length.
pub(super) fn element(tag: u8, content: &[u8]) -> Vec<u8> {
    let mut out = vec![tag];
    let length = content.len().to_be_bytes();
    let first = length
        .iter()
        .position(|&byte| byte != 0)
        .unwrap_or(length.len());
    let significant = length.get(first..).unwrap_or_default();
    match significant {
        [] => out.push(0),
        [short @ 0..0x80] => out.push(*short),
        long => {
            // At most eight octets: the width of usize.
            out.push(0x80 | u8::try_from(long.len()).unwrap_or(8));
            out.extend_from_slice(long);
        }
    }
    out.extend_from_slice(content);
    out
}

/// `SEQUENCE` (or `SEQUENCE OF`) of encoded elements.
pub(super) fn sequence(parts: &[&[u8]]) -> Vec<u8> {
    element(SEQUENCE, &parts.concat())
}

/// `SET OF` exactly one encoded element, so that there is no order to keep.
pub(super) fn set_of_one(part: &[u8]) -> Vec<u8> {
    element(SET, part)
}

/// `[number] EXPLICIT`, number below 31.
pub(super) fn explicit(number: u8, inner: &[u8]) -> Vec<u8> {
    element(CONTEXT | CONSTRUCTED | number, inner)
}

/// `[number] IMPLICIT` over a primitive type, number below 31.
pub(super) fn implicit(number: u8, content: &[u8]) -> Vec<u8> {
    element(CONTEXT | number, content)
}

/// `[number] IMPLICIT SEQUENCE` of encoded elements, number below 31.
pub(super) fn implicit_sequence(number: u8, parts: &[&[u8]]) -> Vec<u8> {
    element(CONTEXT | CONSTRUCTED | number, &parts.concat())
}

/// `OBJECT IDENTIFIER` with at least two arcs; the first is 0, 1 or 2.
pub(super) fn oid(arcs: &[u32]) -> Vec<u8> {
    element(OBJECT_IDENTIFIER, &oid_content(arcs))
}

fn oid_content(arcs: &[u32]) -> Vec<u8> {
    let (head, tail) = match arcs {
        [first, second, tail @ ..] => (first.saturating_mul(40).saturating_add(*second), tail),
        _ => (0, arcs),
    };
    let mut content = Vec::new();
    for &arc in std::iter::once(&head).chain(tail) {
        for shift in [28, 21, 14, 7] {
            if arc >> shift != 0 {
                content.push(0x80 | low_seven(arc >> shift));
            }
        }
        content.push(low_seven(arc));
    }
    content
}

fn low_seven(value: u32) -> u8 {
    u8::try_from(value & 0x7F).unwrap_or_default()
}

/// Non-negative `INTEGER` from its big-endian magnitude.
pub(super) fn unsigned(magnitude: &[u8]) -> Vec<u8> {
    let first = magnitude
        .iter()
        .position(|&byte| byte != 0)
        .unwrap_or(magnitude.len());
    let stripped = magnitude.get(first..).unwrap_or_default();
    let mut content = Vec::with_capacity(stripped.len().saturating_add(1));
    if stripped.first().is_none_or(|&byte| byte >= 0x80) {
        content.push(0);
    }
    content.extend_from_slice(stripped);
    element(INTEGER, &content)
}

/// `BOOLEAN TRUE`; FALSE is a default everywhere here and thus left out.
pub(super) fn boolean_true() -> Vec<u8> {
    element(BOOLEAN, &[0xFF])
}

/// `NULL`.
pub(super) fn null() -> Vec<u8> {
    element(NULL, &[])
}

/// `ENUMERATED` below 128.
pub(super) fn enumerated(value: u8) -> Vec<u8> {
    element(ENUMERATED, &[value & 0x7F])
}

/// `BIT STRING` of whole octets.
pub(super) fn bit_string(bytes: &[u8]) -> Vec<u8> {
    element(BIT_STRING, &[&[0], bytes].concat())
}

/// Named-bit-list `BIT STRING` (X.690 §11.2.2: no trailing zero bits) whose
/// set bits all lie in the first octet, bit 0 being the most significant.
pub(super) fn named_bits(first_octet: u8) -> Vec<u8> {
    match first_octet.trailing_zeros() {
        8 => element(BIT_STRING, &[0]),
        unused => element(
            BIT_STRING,
            &[u8::try_from(unused).unwrap_or_default(), first_octet],
        ),
    }
}

/// `OCTET STRING`.
pub(super) fn octet_string(bytes: &[u8]) -> Vec<u8> {
    element(OCTET_STRING, bytes)
}

/// `UTF8String`.
pub(super) fn utf8_string(text: &str) -> Vec<u8> {
    element(UTF8_STRING, text.as_bytes())
}

/// `PrintableString`; the caller holds the alphabet (X.680 §41.4).
pub(super) fn ia5_string(text: &str) -> Vec<u8> {
    element(0x16, text.as_bytes())
}

/// `PrintableString`, whose alphabet the caller holds.
pub(super) fn printable_string(text: &str) -> Vec<u8> {
    element(PRINTABLE_STRING, text.as_bytes())
}

/// `Time` (RFC 5280 §4.1.2.5): UTCTime through 2049, then GeneralizedTime.
/// `None` outside 1950..=9999.
pub(super) fn time(at: UnixTime) -> Option<Vec<u8>> {
    let (year, rest) = year_and_rest(at)?;
    match year {
        1950..=2049 => Some(element(
            UTC_TIME,
            format!("{:02}{rest}", year.rem_euclid(100)).as_bytes(),
        )),
        2050..=9999 => generalized_time(at),
        _ => None,
    }
}

/// `GeneralizedTime` whatever the year, as OCSP has it. `None` outside
/// 0..=9999.
pub(super) fn generalized_time(at: UnixTime) -> Option<Vec<u8>> {
    let (year, rest) = year_and_rest(at)?;
    (0..=9999)
        .contains(&year)
        .then(|| element(GENERALIZED_TIME, format!("{year:04}{rest}").as_bytes()))
}

fn year_and_rest(at: UnixTime) -> Option<(i32, String)> {
    let at = OffsetDateTime::from_unix_timestamp(at.seconds()).ok()?;
    let rest = format!(
        "{:02}{:02}{:02}{:02}{:02}Z",
        u8::from(at.month()),
        at.day(),
        at.hour(),
        at.minute(),
        at.second()
    );
    Some((at.year(), rest))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn lengths_take_the_shortest_form() {
        assert_eq!(element(0x04, &[]), [0x04, 0]);
        assert_eq!(element(0x04, &[7; 127])[..2], [0x04, 127]);
        assert_eq!(element(0x04, &[7; 128])[..3], [0x04, 0x81, 128]);
        assert_eq!(element(0x04, &[7; 256])[..4], [0x04, 0x82, 1, 0]);
        assert_eq!(element(0x04, &[7; 65_536])[..5], [0x04, 0x83, 1, 0, 0]);
    }

    #[test]
    fn identifiers_of_two_and_more_octets_for_an_arc() {
        assert_eq!(oid(&[2, 5, 4, 5]), [6, 3, 0x55, 4, 5]);
        assert_eq!(oid(&[2, 23, 133, 1, 2]), [6, 5, 0x67, 0x81, 0x05, 1, 2]);
        assert_eq!(
            oid(&[1, 2, 840, 10045, 4, 3, 2]),
            [6, 8, 0x2A, 0x86, 0x48, 0xCE, 0x3D, 4, 3, 2]
        );
    }

    #[test]
    fn integers_are_positive_and_shortest() {
        assert_eq!(unsigned(&[]), [2, 1, 0]);
        assert_eq!(unsigned(&[0, 0, 1]), [2, 1, 1]);
        assert_eq!(unsigned(&[0x80]), [2, 2, 0, 0x80]);
        assert_eq!(unsigned(&[0x7F]), [2, 1, 0x7F]);
    }

    #[test]
    fn named_bits_drop_trailing_zeros() {
        assert_eq!(named_bits(0x80), [3, 2, 7, 0x80]);
        assert_eq!(named_bits(0x06), [3, 2, 1, 0x06]);
        assert_eq!(named_bits(0), [3, 1, 0]);
    }

    #[test]
    fn time_changes_form_in_2050() {
        let utc = time(UnixTime::from_seconds(2_524_607_999)).unwrap();
        assert_eq!(utc, [&[0x17, 13], b"491231235959Z".as_slice()].concat());
        let general = time(UnixTime::from_seconds(2_524_608_000)).unwrap();
        assert_eq!(
            general,
            [&[0x18, 15], b"20500101000000Z".as_slice()].concat()
        );
        assert_eq!(time(UnixTime::from_seconds(253_402_300_800)), None);
        assert_eq!(time(UnixTime::from_seconds(-631_152_001)), None);
    }

    proptest! {
        #[test]
        fn another_decoder_reads_back_what_is_written(
            arcs in proptest::collection::vec(0u32..=u32::MAX >> 4, 0..8),
            bytes in proptest::collection::vec(any::<u8>(), 0..400),
        ) {
            let arcs: Vec<u32> = [2, 23].into_iter().chain(arcs).collect();
            let dotted = arcs.iter().map(u32::to_string).collect::<Vec<_>>().join(".");
            let read: picky_asn1::wrapper::ObjectIdentifierAsn1 = picky_asn1_der::from_bytes(&oid(&arcs)).unwrap();
            let read: String = (&read.0).into();
            prop_assert_eq!(read, dotted);
            let read: picky_asn1::wrapper::OctetStringAsn1 = picky_asn1_der::from_bytes(&octet_string(&bytes)).unwrap();
            prop_assert_eq!(&read.0, &bytes);
            let read: picky_asn1::wrapper::IntegerAsn1 = picky_asn1_der::from_bytes(&unsigned(&bytes)).unwrap();
            let start = bytes.iter().position(|b| *b != 0).unwrap_or(bytes.len());
            prop_assert_eq!(read.as_unsigned_bytes_be().iter().skip_while(|b| **b == 0).copied().collect::<Vec<_>>(), bytes[start..].to_vec());
        }
    }
}
