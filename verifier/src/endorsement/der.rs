//! A strict DER reader (X.690 §8, §10), as small as certificates need it:
//! definite, shortest-form lengths; tag numbers below 31; nothing copied.

/// The bytes are not DER, or not of the expected shape.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct NotDer;

pub(crate) const BOOLEAN: u8 = 0x01;
pub(crate) const INTEGER: u8 = 0x02;
pub(crate) const BIT_STRING: u8 = 0x03;
pub(crate) const OCTET_STRING: u8 = 0x04;
pub(crate) const OID: u8 = 0x06;
pub(crate) const UTF8_STRING: u8 = 0x0C;
pub(crate) const PRINTABLE_STRING: u8 = 0x13;
pub(crate) const TELETEX_STRING: u8 = 0x14;
pub(crate) const IA5_STRING: u8 = 0x16;
pub(crate) const UTC_TIME: u8 = 0x17;
pub(crate) const GENERALIZED_TIME: u8 = 0x18;
pub(crate) const SEQUENCE: u8 = 0x30;
pub(crate) const SET: u8 = 0x31;

/// `[number]`, primitive.
pub(crate) const fn context(number: u8) -> u8 {
    0x80 | number
}

/// `[number]`, constructed.
pub(crate) const fn constructed(number: u8) -> u8 {
    0xA0 | number
}

/// One element: its tag, its content, and both with the length between.
#[derive(Clone, Copy)]
pub(crate) struct Element<'a> {
    pub(crate) tag: u8,
    pub(crate) content: &'a [u8],
    pub(crate) whole: &'a [u8],
}

/// Reads elements one after another.
#[derive(Clone)]
pub(crate) struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    pub(crate) fn new(bytes: &'a [u8]) -> Self {
        Self(bytes)
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(crate) fn rest(&self) -> &'a [u8] {
        self.0
    }

    /// The next element's tag.
    pub(crate) fn peek(&self) -> Option<u8> {
        self.0.first().copied()
    }

    pub(crate) fn finish(self) -> Result<(), NotDer> {
        if self.0.is_empty() {
            Ok(())
        } else {
            Err(NotDer)
        }
    }

    pub(crate) fn next(&mut self) -> Result<Element<'a>, NotDer> {
        let (tag, after_tag) = self.0.split_first().ok_or(NotDer)?;
        if tag & 0x1F == 0x1F {
            return Err(NotDer);
        }
        let (len, after_len) = length(after_tag)?;
        let (content, rest) = after_len.split_at_checked(len).ok_or(NotDer)?;
        let (whole, _) = self
            .0
            .split_at_checked(self.0.len() - rest.len())
            .ok_or(NotDer)?;
        self.0 = rest;
        Ok(Element {
            tag: *tag,
            content,
            whole,
        })
    }

    /// The next element, which must have this tag.
    pub(crate) fn tagged(&mut self, tag: u8) -> Result<Element<'a>, NotDer> {
        self.next()
            .and_then(|e| if e.tag == tag { Ok(e) } else { Err(NotDer) })
    }

    /// A reader over the content of the next element, which must have this
    /// tag.
    pub(crate) fn enter(&mut self, tag: u8) -> Result<Self, NotDer> {
        self.tagged(tag).map(|e| Self(e.content))
    }

    /// The next element if it has this tag.
    pub(crate) fn optional(&mut self, tag: u8) -> Result<Option<Element<'a>>, NotDer> {
        if self.0.first() == Some(&tag) {
            self.next().map(Some)
        } else {
            Ok(None)
        }
    }
}

/// X.690 §8.1.3, §10.1. Certificates are capped far below 64 KiB, CRLs and
/// collections of certificates below 16 MiB.
fn length(bytes: &[u8]) -> Result<(usize, &[u8]), NotDer> {
    match bytes {
        [short @ 0..=0x7F, rest @ ..] => Ok((usize::from(*short), rest)),
        [0x81, len @ 0x80..=0xFF, rest @ ..] => Ok((usize::from(*len), rest)),
        [0x82, high @ 1..=0xFF, low, rest @ ..] => {
            Ok((usize::from(u16::from_be_bytes([*high, *low])), rest))
        }
        [0x83, high @ 1..=0xFF, middle, low, rest @ ..] => {
            let len = u32::from_be_bytes([0, *high, *middle, *low]);
            Ok((usize::try_from(len).map_err(|_| NotDer)?, rest))
        }
        _ => Err(NotDer),
    }
}

/// A single element and nothing after it.
pub(crate) fn only(bytes: &[u8], tag: u8) -> Result<&[u8], NotDer> {
    let mut reader = Reader::new(bytes);
    let element = reader.tagged(tag)?;
    reader.finish()?;
    Ok(element.content)
}

/// Octets of a BIT STRING that has no unused bits.
pub(crate) fn whole_octets(content: &[u8]) -> Result<&[u8], NotDer> {
    match content {
        [0, octets @ ..] => Ok(octets),
        _ => Err(NotDer),
    }
}

/// Whether every BIT STRING in `bytes`, at any depth and inside the OCTET
/// STRINGs of extensions too, has no more unused bits than bits (X.690 §8.6.2).
/// For decoders that take it for granted: picky-asn1 0.10 panics. An OCTET
/// STRING inside an extension's is data (a key identifier), which no decoder
/// takes for DER and which may look like anything.
pub(crate) fn bit_strings_fit(bytes: &[u8]) -> bool {
    /// Constructed encodings have this bit in their tag.
    const CONSTRUCTED: u8 = 0x20;
    // A list of what is left to look at, not recursion: depth costs nothing.
    let mut pending = vec![(bytes, false)];
    while let Some((next, in_extension)) = pending.pop() {
        let mut reader = Reader::new(next);
        while let Ok(element) = reader.next() {
            match (element.tag, element.content) {
                (BIT_STRING, [0, ..] | [1..=7, _, ..]) => {}
                (BIT_STRING, _) => return false,
                // Any implicit tag may be one too; picky knows none.
                (OCTET_STRING, _) if in_extension => {}
                (OCTET_STRING, content) => pending.push((content, true)),
                (tag, content) if tag & CONSTRUCTED != 0 => pending.push((content, in_extension)),
                _ => {}
            }
        }
    }
    true
}

/// Magnitude of a non-negative INTEGER in shortest form.
pub(crate) fn unsigned(content: &[u8]) -> Result<&[u8], NotDer> {
    match content {
        [0] => Ok(&[]),
        [0, rest @ ..] if rest.first().is_some_and(|b| b & 0x80 != 0) => Ok(rest),
        [0x01..=0x7F, ..] => Ok(content),
        _ => Err(NotDer),
    }
}

/// Dotted decimal of an OBJECT IDENTIFIER's content.
pub(crate) fn dotted(content: &[u8]) -> String {
    let mut arcs: Vec<u64> = Vec::new();
    let mut arc = 0_u64;
    for byte in content {
        arc = arc
            .saturating_mul(128)
            .saturating_add(u64::from(byte & 0x7F));
        if byte & 0x80 == 0 {
            if arcs.is_empty() {
                let first = (arc / 40).min(2);
                arcs.push(first);
                arc -= first * 40;
            }
            arcs.push(arc);
            arc = 0;
        }
    }
    arcs.iter()
        .map(u64::to_string)
        .collect::<Vec<_>>()
        .join(".")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_shortest_definite_lengths() {
        for bad in [
            &[0x04, 0x80][..],
            &[0x04, 0x81, 0x7F],
            &[0x04, 0x82, 0x00, 0x80],
            &[0x04, 0x83, 0, 0, 0],
            &[0x04, 0x02, 0x00],
            &[0x1F, 0x01, 0x00],
            &[],
        ] {
            assert!(Reader::new(bad).next().is_err(), "{bad:02x?}");
        }
        let long = [&[0x04, 0x82, 0x01, 0x00][..], &[7; 256]].concat();
        assert_eq!(only(&long, OCTET_STRING).unwrap(), &[7; 256]);
    }

    #[test]
    fn bit_strings_with_more_unused_bits_than_bits_are_found_at_any_depth() {
        for good in [
            &[0x03, 0x01, 0x00][..],
            &[0x30, 0x04, 0x03, 0x02, 0x07, 0x80],
            &[0x04, 0x03, 0x0C, 0x01, 0x03],
            // A subject key identifier that begins like a bad BIT STRING.
            &[0x04, 0x06, 0x04, 0x04, 0x03, 0x02, 0x09, 0x80],
            &[],
        ] {
            assert!(bit_strings_fit(good), "{good:02x?}");
        }
        for bad in [
            &[0x03, 0x00][..],
            &[0x03, 0x01, 0x01],
            &[0x30, 0x04, 0x03, 0x02, 0x08, 0x80],
            &[0x30, 0x06, 0x04, 0x04, 0x03, 0x02, 0x09, 0x80],
        ] {
            assert!(!bit_strings_fit(bad), "{bad:02x?}");
        }
        let deep = (0..20_000).fold(vec![0x03, 0x00], |inner, _| {
            let len = u16::try_from(inner.len()).map(u16::to_be_bytes);
            match len {
                Ok([high @ 1..=0xFF, low]) => [&[0x30, 0x82, high, low][..], &inner].concat(),
                Ok([_, low @ 0x80..=0xFF]) => [&[0x30, 0x81, low][..], &inner].concat(),
                Ok([_, low]) => [&[0x30, low][..], &inner].concat(),
                Err(_) => inner,
            }
        });
        assert!(!bit_strings_fit(&deep));
    }

    #[test]
    fn identifiers_read_as_people_write_them() {
        assert_eq!(dotted(&[0x67, 0x81, 0x05, 0x08, 0x01]), "2.23.133.8.1");
        assert_eq!(
            dotted(&[0x2A, 0x86, 0x48, 0x86, 0xF7, 0x0D, 0x01, 0x01, 0x05]),
            "1.2.840.113549.1.1.5"
        );
    }

    #[test]
    fn integers_are_shortest_and_not_negative() {
        assert_eq!(unsigned(&[0]).unwrap(), &[] as &[u8]);
        assert_eq!(unsigned(&[0, 0x80]).unwrap(), &[0x80]);
        for bad in [&[][..], &[0, 0x7F], &[0x80], &[0, 0]] {
            assert!(unsigned(bad).is_err(), "{bad:02x?}");
        }
    }
}
