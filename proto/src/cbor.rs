//! Deterministically encoded CBOR (RFC 8949 §4.2.1), as far as Holdfast's own
//! messages need it: a decoder that only ever reads the item that its caller
//! expects next, and the encoder to match.
//!
//! Nothing here recurses and nothing is skipped: an unknown item is an error,
//! so that nesting, huge counts and indefinite lengths cost a peer's sender
//! more than us.

use thiserror::Error;

/// Bytes that are not the deterministic CBOR that was expected.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
#[non_exhaustive]
pub enum CborError {
    /// The input ends inside an item.
    #[error("{item}: input ends early")]
    Truncated {
        /// The item that was being read.
        item: &'static str,
    },
    /// Another type of item than the one expected here.
    #[error("{item}: found {found}, expected {expected}")]
    WrongType {
        /// The item that was being read.
        item: &'static str,
        /// What was there.
        found: &'static str,
        /// What should have been.
        expected: &'static str,
    },
    /// An integer or length is not in its shortest form (RFC 8949 §4.2.1).
    #[error("{item}: not in its shortest form")]
    NotShortest {
        /// The item that was being read.
        item: &'static str,
    },
    /// An indefinite length (RFC 8949 §4.2.1) or a reserved one (§3).
    #[error("{item}: indefinite or reserved length")]
    Indefinite {
        /// The item that was being read.
        item: &'static str,
    },
    /// An integer outside the range of its claim.
    #[error("{item}: integer out of range")]
    OutOfRange {
        /// The item that was being read.
        item: &'static str,
    },
    /// A text string that is not UTF-8.
    #[error("{item}: not UTF-8")]
    NotUtf8 {
        /// The item that was being read.
        item: &'static str,
    },
    /// A map key for the second time (RFC 8949 §5.6).
    #[error("map key {key} twice")]
    DuplicateKey {
        /// The key.
        key: i64,
    },
    /// A map key out of bytewise order (RFC 8949 §4.2.1).
    #[error("map key {key} out of order")]
    KeyOrder {
        /// The key.
        key: i64,
    },
    /// An array of another length than expected.
    #[error("{item}: array of {found}, expected {expected}")]
    ArrayLength {
        /// The array.
        item: &'static str,
        /// Its length.
        found: u64,
        /// The length expected.
        expected: u64,
    },
    /// Bytes are left after the end of the outermost item.
    #[error("{count} byte(s) after the end")]
    TrailingBytes {
        /// How many.
        count: usize,
    },
}

const UNSIGNED: u8 = 0;
const NEGATIVE: u8 = 1;
const BYTES: u8 = 2;
const TEXT: u8 = 3;
const ARRAY: u8 = 4;
const MAP: u8 = 5;

/// `null`: major type 7, value 22.
const NULL: u8 = 0xF6;

const fn type_name(major: u8) -> &'static str {
    match major {
        UNSIGNED => "unsigned integer",
        NEGATIVE => "negative integer",
        BYTES => "byte string",
        TEXT => "text string",
        ARRAY => "array",
        MAP => "map",
        6 => "tag",
        _ => "float or simple value",
    }
}

/// The unread rest of an input.
pub(crate) struct Decoder<'a> {
    rest: &'a [u8],
}

impl<'a> Decoder<'a> {
    pub(crate) fn new(input: &'a [u8]) -> Self {
        Self { rest: input }
    }

    pub(crate) fn unsigned(&mut self, item: &'static str) -> Result<u64, CborError> {
        self.expect(item, UNSIGNED)
    }

    pub(crate) fn integer(&mut self, item: &'static str) -> Result<i64, CborError> {
        let (major, argument) = self.head(item)?;
        if !matches!(major, UNSIGNED | NEGATIVE) {
            return Err(wrong_type(item, major, "integer"));
        }
        let value = i64::try_from(argument).map_err(|_| CborError::OutOfRange { item })?;
        // A negative integer is -1 - n, which is !n in two's complement.
        Ok(if major == NEGATIVE { !value } else { value })
    }

    pub(crate) fn bytes(&mut self, item: &'static str) -> Result<&'a [u8], CborError> {
        let len = self.expect(item, BYTES)?;
        self.take(item, len)
    }

    /// Exactly `N` bytes.
    pub(crate) fn array_of_bytes<const N: usize>(
        &mut self,
        item: &'static str,
    ) -> Result<[u8; N], CborError> {
        <[u8; N]>::try_from(self.bytes(item)?).map_err(|_| CborError::OutOfRange { item })
    }

    pub(crate) fn text(&mut self, item: &'static str) -> Result<&'a str, CborError> {
        let len = self.expect(item, TEXT)?;
        std::str::from_utf8(self.take(item, len)?).map_err(|_| CborError::NotUtf8 { item })
    }

    pub(crate) fn array(&mut self, item: &'static str, expected: u64) -> Result<(), CborError> {
        match self.expect(item, ARRAY)? {
            found if found == expected => Ok(()),
            found => Err(CborError::ArrayLength {
                item,
                found,
                expected,
            }),
        }
    }

    /// A map with integer keys: how many, for [`Keys::next`] to read.
    pub(crate) fn map(&mut self, item: &'static str) -> Result<u64, CborError> {
        self.expect(item, MAP)
    }

    /// Consumes a `null` if that is what comes next.
    pub(crate) fn null(&mut self) -> bool {
        match self.rest.split_first() {
            Some((&NULL, rest)) => {
                self.rest = rest;
                true
            }
            _ => false,
        }
    }

    pub(crate) fn finish(self) -> Result<(), CborError> {
        match self.rest.len() {
            0 => Ok(()),
            count => Err(CborError::TrailingBytes { count }),
        }
    }

    fn expect(&mut self, item: &'static str, major: u8) -> Result<u64, CborError> {
        match self.head(item)? {
            (found, argument) if found == major => Ok(argument),
            (found, _) => Err(wrong_type(item, found, type_name(major))),
        }
    }

    /// Major type and argument (RFC 8949 §3).
    fn head(&mut self, item: &'static str) -> Result<(u8, u64), CborError> {
        let [initial] = self.chunk(item)?;
        let major = initial >> 5;
        let (argument, least) = match initial & 0x1F {
            value @ 0..=23 => (u64::from(value), 0),
            24 => (u64::from(u8::from_be_bytes(self.chunk(item)?)), 24),
            25 => (u64::from(u16::from_be_bytes(self.chunk(item)?)), 0x100),
            26 => (u64::from(u32::from_be_bytes(self.chunk(item)?)), 0x1_0000),
            27 => (u64::from_be_bytes(self.chunk(item)?), 0x1_0000_0000),
            _ => return Err(CborError::Indefinite { item }),
        };
        // Floats have no shortest form by this rule; none is expected anywhere.
        if argument < least {
            return Err(CborError::NotShortest { item });
        }
        Ok((major, argument))
    }

    fn chunk<const N: usize>(&mut self, item: &'static str) -> Result<[u8; N], CborError> {
        let (head, rest) = self
            .rest
            .split_first_chunk()
            .ok_or(CborError::Truncated { item })?;
        self.rest = rest;
        Ok(*head)
    }

    fn take(&mut self, item: &'static str, len: u64) -> Result<&'a [u8], CborError> {
        let (head, rest) = usize::try_from(len)
            .ok()
            .and_then(|len| self.rest.split_at_checked(len))
            .ok_or(CborError::Truncated { item })?;
        self.rest = rest;
        Ok(head)
    }
}

fn wrong_type(item: &'static str, found: u8, expected: &'static str) -> CborError {
    CborError::WrongType {
        item,
        found: type_name(found),
        expected,
    }
}

/// The integer keys of one map, which must ascend in bytewise order: unsigned
/// before negative, then by absolute value. So none can come twice.
#[derive(Default)]
pub(crate) struct Keys {
    previous: Option<(bool, u64)>,
}

impl Keys {
    pub(crate) fn next(
        &mut self,
        decoder: &mut Decoder<'_>,
        item: &'static str,
    ) -> Result<i64, CborError> {
        let key = decoder.integer(item)?;
        let rank = (key < 0, key.unsigned_abs());
        match self.previous {
            Some(previous) if previous == rank => return Err(CborError::DuplicateKey { key }),
            Some(previous) if previous > rank => return Err(CborError::KeyOrder { key }),
            _ => self.previous = Some(rank),
        }
        Ok(key)
    }
}

/// The encoding so far. Map keys are the caller's to write in order.
#[derive(Default)]
pub(crate) struct Encoder {
    bytes: Vec<u8>,
}

impl Encoder {
    pub(crate) fn integer(&mut self, value: i64) -> &mut Self {
        let major = if value < 0 { NEGATIVE } else { UNSIGNED };
        let argument = if value < 0 { !value } else { value };
        self.head(major, argument.unsigned_abs())
    }

    pub(crate) fn unsigned(&mut self, value: u64) -> &mut Self {
        self.head(UNSIGNED, value)
    }

    pub(crate) fn bytes(&mut self, value: &[u8]) -> &mut Self {
        self.head(BYTES, len(value)).raw(value)
    }

    pub(crate) fn text(&mut self, value: &str) -> &mut Self {
        self.head(TEXT, len(value.as_bytes())).raw(value.as_bytes())
    }

    pub(crate) fn array(&mut self, count: u64) -> &mut Self {
        self.head(ARRAY, count)
    }

    pub(crate) fn map(&mut self, count: u64) -> &mut Self {
        self.head(MAP, count)
    }

    /// Bytes that are encoded already.
    pub(crate) fn raw(&mut self, encoded: &[u8]) -> &mut Self {
        self.bytes.extend_from_slice(encoded);
        self
    }

    pub(crate) fn into_bytes(self) -> Vec<u8> {
        self.bytes
    }

    fn head(&mut self, major: u8, argument: u64) -> &mut Self {
        let [_, _, _, _, b4, b5, b6, b7] = argument.to_be_bytes();
        let major = major << 5;
        match argument {
            0..=23 => self.raw(&[major | b7]),
            24..=0xFF => self.raw(&[major | 24, b7]),
            0x100..=0xFFFF => self.raw(&[major | 25, b6, b7]),
            0x1_0000..=0xFFFF_FFFF => self.raw(&[major | 26, b4, b5, b6, b7]),
            _ => self.raw(&[major | 27]).raw(&argument.to_be_bytes()),
        }
    }
}

fn len(bytes: &[u8]) -> u64 {
    u64::try_from(bytes.len()).expect("no slice is longer than 2^64 - 1")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn integers_take_their_shortest_form_and_come_back() {
        for value in [
            0,
            1,
            23,
            24,
            255,
            256,
            65_535,
            65_536,
            4_294_967_296,
            i64::MAX,
        ] {
            for value in [value, !value] {
                let mut encoder = Encoder::default();
                encoder.integer(value);
                let bytes = encoder.into_bytes();
                let mut oracle = Vec::new();
                ciborium::into_writer(&value, &mut oracle).unwrap();
                assert_eq!(bytes, oracle);
                assert_eq!(Decoder::new(&bytes).integer("n"), Ok(value));
            }
        }
    }

    #[test]
    fn longer_forms_are_refused() {
        for bytes in [
            [0x18, 23].as_slice(),
            &[0x19, 0, 255],
            &[0x1A, 0, 0, 255, 255],
            &[0x1B, 0, 0, 0, 0, 255, 255, 255, 255],
        ] {
            let refused = Decoder::new(bytes).unsigned("n");
            assert_eq!(refused, Err(CborError::NotShortest { item: "n" }));
        }
    }

    #[test]
    fn indefinite_and_reserved_lengths_are_refused() {
        for initial in [0x1C, 0x1D, 0x1E, 0x1F, 0x5F, 0x7F, 0x9F, 0xBF, 0xFF] {
            let input = [initial];
            let refused = Decoder::new(&input).bytes("b");
            assert_eq!(refused, Err(CborError::Indefinite { item: "b" }));
        }
    }

    #[test]
    fn a_length_that_lies_allocates_nothing() {
        let input = [0x5B, 255, 255, 255, 255, 255, 255, 255, 255];
        let refused = Decoder::new(&input).bytes("b");
        assert_eq!(refused, Err(CborError::Truncated { item: "b" }));
    }

    #[test]
    fn integers_beyond_64_bits_signed_are_refused() {
        for initial in [0x1B, 0x3B] {
            let bytes = [initial, 255, 255, 255, 255, 255, 255, 255, 255];
            let refused = Decoder::new(&bytes).integer("n");
            assert_eq!(refused, Err(CborError::OutOfRange { item: "n" }));
        }
    }

    #[test]
    fn keys_ascend_unsigned_first() {
        let read = |bytes: &[u8]| {
            let mut decoder = Decoder::new(bytes);
            let mut keys = Keys::default();
            keys.next(&mut decoder, "key")?;
            keys.next(&mut decoder, "key")
        };
        assert_eq!(read(&[0x17, 0x20]), Ok(-1));
        assert_eq!(read(&[0x01, 0x01]), Err(CborError::DuplicateKey { key: 1 }));
        assert_eq!(read(&[0x02, 0x01]), Err(CborError::KeyOrder { key: 1 }));
        assert_eq!(read(&[0x20, 0x01]), Err(CborError::KeyOrder { key: 1 }));
    }
}
