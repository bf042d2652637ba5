//! As much DER as X.509 certificates need (ITU-T X.690), to write, and to find
//! a name in one that is there. By hand, because a library that writes only good certificates cannot
//! write the bad ones.

/// Universal and context tags in use.
pub(super) mod tag {
    pub(crate) const BOOLEAN: u8 = 0x01;
    pub(crate) const INTEGER: u8 = 0x02;
    pub(crate) const BIT_STRING: u8 = 0x03;
    pub(crate) const OCTET_STRING: u8 = 0x04;
    pub(crate) const OID: u8 = 0x06;
    pub(crate) const UTF8_STRING: u8 = 0x0c;
    pub(crate) const PRINTABLE_STRING: u8 = 0x13;
    pub(crate) const UTC_TIME: u8 = 0x17;
    pub(crate) const GENERALIZED_TIME: u8 = 0x18;
    pub(crate) const SEQUENCE: u8 = 0x30;
    pub(crate) const SET: u8 = 0x31;
    /// `[n]`, constructed.
    pub(crate) const fn context(n: u8) -> u8 {
        0xa0 | n
    }
    /// `[n] IMPLICIT`, primitive.
    pub(crate) const fn implicit(n: u8) -> u8 {
        0x80 | n
    }
}

/// Tag, shortest length, content.
pub(super) fn tlv(tag: u8, content: &[u8]) -> Vec<u8> {
    let mut bytes = vec![tag];
    let len = content.len().to_be_bytes();
    let significant: Vec<u8> = len.into_iter().skip_while(|octet| *octet == 0).collect();
    match significant.as_slice() {
        [] => bytes.push(0),
        [short @ 0..=0x7f] => bytes.push(*short),
        long => {
            bytes.push(0x80 | u8::try_from(long.len()).expect("usize has at most 8 octets"));
            bytes.extend(long);
        }
    }
    bytes.extend(content);
    bytes
}

pub(super) fn sequence(parts: &[Vec<u8>]) -> Vec<u8> {
    tlv(tag::SEQUENCE, &parts.concat())
}

/// SET OF: its elements in ascending order of their encodings (X.690 §11.6).
pub(super) fn set_of(mut elements: Vec<Vec<u8>>) -> Vec<u8> {
    elements.sort();
    tlv(tag::SET, &elements.concat())
}

/// An object identifier from its arcs.
pub(super) fn oid(arcs: &[u32]) -> Vec<u8> {
    let [first, second, rest @ ..] = arcs else {
        unreachable!("an OID has two arcs or more")
    };
    let mut content = base128(first * 40 + second);
    for arc in rest {
        content.extend(base128(*arc));
    }
    tlv(tag::OID, &content)
}

fn base128(arc: u32) -> Vec<u8> {
    let groups = (0..5)
        .rev()
        .map(|group| arc >> (7 * group))
        .skip_while(|rest| *rest == 0);
    let mut octets: Vec<u8> = groups.map(|group| (group & 0x7f) as u8 | 0x80).collect();
    match octets.last_mut() {
        Some(last) => *last &= 0x7f,
        None => octets.push(0),
    }
    octets
}

/// A non-negative INTEGER from big-endian octets.
pub(super) fn unsigned(octets: &[u8]) -> Vec<u8> {
    let significant: Vec<u8> = octets
        .iter()
        .copied()
        .skip_while(|octet| *octet == 0)
        .collect();
    let sign = match significant.first() {
        Some(0..=0x7f) => &[][..],
        _ => &[0],
    };
    tlv(tag::INTEGER, &[sign, &significant].concat())
}

pub(super) fn utf8(text: &str) -> Vec<u8> {
    tlv(tag::UTF8_STRING, text.as_bytes())
}

pub(super) fn octets(content: &[u8]) -> Vec<u8> {
    tlv(tag::OCTET_STRING, content)
}

/// A BIT STRING of whole octets.
pub(super) fn bits(content: &[u8]) -> Vec<u8> {
    tlv(tag::BIT_STRING, &[&[0], content].concat())
}

/// A named-bit BIT STRING with the one bit `n` < 8 set (X.690 §11.2.2).
pub(super) fn one_bit(n: u8) -> Vec<u8> {
    tlv(tag::BIT_STRING, &[7 - n, 0x80 >> n])
}

/// `Time` from `YYYYMMDDHHMMSSZ`: UTCTime before 2050 (RFC 5280 §4.1.2.5).
pub(super) fn time(generalized: &str) -> Vec<u8> {
    match generalized.strip_prefix("20") {
        Some(short) if short < "50" => tlv(tag::UTC_TIME, short.as_bytes()),
        _ => tlv(tag::GENERALIZED_TIME, generalized.as_bytes()),
    }
}

/// The first element of some DER: all of it, its content, and what follows.
pub(super) fn first(bytes: &[u8]) -> Option<(&[u8], &[u8], &[u8])> {
    let (&short, rest) = bytes.get(1..)?.split_first()?;
    let (len, content) = match short {
        0..=0x7f => (usize::from(short), rest),
        0x81 | 0x82 => {
            let (long, rest) = rest.split_at_checked(usize::from(short & 0x7f))?;
            let len = long
                .iter()
                .fold(0, |len, octet| len << 8 | usize::from(*octet));
            (len, rest)
        }
        _ => return None,
    };
    let (content, after) = content.split_at_checked(len)?;
    let whole = bytes.get(..bytes.len().checked_sub(after.len())?)?;
    Some((whole, content, after))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_written_is_found_again() {
        for len in [0, 1, 127, 128, 255, 256, 5000] {
            let content = vec![7; len];
            let whole = tlv(tag::OCTET_STRING, &content);
            let bytes = [&whole[..], b"after"].concat();
            assert_eq!(
                first(&bytes),
                Some((&whole[..], &content[..], &b"after"[..]))
            );
            assert_eq!(first(&whole[..whole.len() - 1]), None);
        }
        assert_eq!(first(&[]), None);
    }

    #[test]
    fn known_encodings() {
        assert_eq!(oid(&[2, 23, 133, 8, 1]), [6, 5, 0x67, 0x81, 0x05, 8, 1]);
        assert_eq!(oid(&[2, 5, 29, 15]), [6, 3, 0x55, 0x1d, 0x0f]);
        assert_eq!(unsigned(&[0, 0x80]), [2, 2, 0, 0x80]);
        assert_eq!(unsigned(&[0]), [2, 1, 0]);
        assert_eq!(one_bit(0), [3, 2, 7, 0x80]);
        assert_eq!(tlv(4, &[7; 200])[..3], [4, 0x81, 200]);
        assert_eq!(tlv(4, &[7; 300])[..4], [4, 0x82, 1, 44]);
        assert_eq!(time("20491231235959Z")[0], tag::UTC_TIME);
        assert_eq!(time("20500101000000Z")[0], tag::GENERALIZED_TIME);
    }
}
