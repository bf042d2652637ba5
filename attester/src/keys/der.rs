//! The few DER encodings (X.690) that this room writes.

const BOOLEAN: u8 = 0x01;
const INTEGER: u8 = 0x02;
const OCTET_STRING: u8 = 0x04;
const OBJECT_IDENTIFIER: u8 = 0x06;
const SEQUENCE: u8 = 0x30;
const CONTEXT_CONSTRUCTED: u8 = 0xA0;

/// Tag, length, content: lengths up to 65535 bytes, which a TPM2B cannot pass.
fn tlv(tag: u8, content: &[u8]) -> Vec<u8> {
    let length = u16::try_from(content.len()).expect("made of TPM2Bs, whose size is a u16");
    let mut der = match length.to_be_bytes() {
        [0, short @ ..=0x7F] => vec![tag, short],
        [0, low] => vec![tag, 0x81, low],
        [high, low] => vec![tag, 0x82, high, low],
    };
    der.extend(content);
    der
}

pub(super) fn sequence(parts: &[Vec<u8>]) -> Vec<u8> {
    tlv(SEQUENCE, &parts.concat())
}

pub(super) fn explicit(number: u8, content: &[u8]) -> Vec<u8> {
    tlv(CONTEXT_CONSTRUCTED | number, content)
}

pub(super) fn boolean(value: bool) -> Vec<u8> {
    tlv(BOOLEAN, &[if value { 0xFF } else { 0 }])
}

pub(super) fn octet_string(bytes: &[u8]) -> Vec<u8> {
    tlv(OCTET_STRING, bytes)
}

/// `encoded`: the OID's content octets (X.690 §8.19).
pub(super) fn object_identifier(encoded: &[u8]) -> Vec<u8> {
    tlv(OBJECT_IDENTIFIER, encoded)
}

/// A positive INTEGER: no leading zeros, but one where the sign bit would be
/// set. `None` where it is zero.
pub(super) fn positive(big_endian: &[u8]) -> Option<Vec<u8>> {
    let first = big_endian.iter().position(|b| *b != 0)?;
    let (_, digits) = big_endian.split_at_checked(first)?;
    let pad = digits.first().is_some_and(|b| b & 0x80 != 0);
    let mut content = Vec::with_capacity(digits.len() + 1);
    if pad {
        content.push(0);
    }
    content.extend(digits);
    Some(tlv(INTEGER, &content))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lengths_are_minimal() {
        for (length, header) in [
            (0x7F, &[0x04, 0x7F][..]),
            (0x80, &[0x04, 0x81, 0x80]),
            (0xFF, &[0x04, 0x81, 0xFF]),
            (0x100, &[0x04, 0x82, 1, 0]),
        ] {
            let der = octet_string(&vec![7; length]);
            assert!(der.starts_with(header), "{length}");
            assert_eq!(der.len(), header.len() + length);
        }
    }

    #[test]
    fn integers_are_minimal_and_positive() {
        assert_eq!(positive(&[0, 0x7F]).unwrap(), [2, 1, 0x7F]);
        assert_eq!(positive(&[0x80]).unwrap(), [2, 2, 0, 0x80]);
        assert_eq!(positive(&[0, 0]), None);
    }
}
