//! Big-endian reading and writing (TPM 2.0 Library Part 1 §"Byte order"); the
//! only place that touches offsets.

use super::ParseError;

/// The unread rest of an input.
pub(super) struct Reader<'a> {
    rest: &'a [u8],
}

impl<'a> Reader<'a> {
    pub(super) fn new(input: &'a [u8]) -> Self {
        Self { rest: input }
    }

    pub(super) fn take(&mut self, field: &'static str, len: usize) -> Result<&'a [u8], ParseError> {
        let Some((head, rest)) = self.rest.split_at_checked(len) else {
            let missing = len.saturating_sub(self.rest.len());
            return Err(ParseError::Truncated { field, missing });
        };
        self.rest = rest;
        Ok(head)
    }

    fn array<const N: usize>(&mut self, field: &'static str) -> Result<[u8; N], ParseError> {
        let Some((head, rest)) = self.rest.split_first_chunk::<N>() else {
            let missing = N.saturating_sub(self.rest.len());
            return Err(ParseError::Truncated { field, missing });
        };
        self.rest = rest;
        Ok(*head)
    }

    pub(super) fn u8(&mut self, field: &'static str) -> Result<u8, ParseError> {
        self.array(field).map(u8::from_be_bytes)
    }

    pub(super) fn u16(&mut self, field: &'static str) -> Result<u16, ParseError> {
        self.array(field).map(u16::from_be_bytes)
    }

    pub(super) fn u32(&mut self, field: &'static str) -> Result<u32, ParseError> {
        self.array(field).map(u32::from_be_bytes)
    }

    pub(super) fn u64(&mut self, field: &'static str) -> Result<u64, ParseError> {
        self.array(field).map(u64::from_be_bytes)
    }

    /// A TPM2B: u16 length, then at most `max` bytes. The cap comes before the
    /// bytes, so that a lying length is named as such.
    pub(super) fn buffer(
        &mut self,
        field: &'static str,
        max: usize,
    ) -> Result<&'a [u8], ParseError> {
        let len = usize::from(self.u16(field)?);
        if len > max {
            return Err(ParseError::TooLong { field, len, max });
        }
        self.take(field, len)
    }

    /// The structure ends here or it is not the structure.
    pub(super) fn finish(self, structure: &'static str) -> Result<(), ParseError> {
        match self.rest.len() {
            0 => Ok(()),
            count => Err(ParseError::TrailingBytes { structure, count }),
        }
    }
}

/// The structure so far.
#[derive(Default)]
pub(super) struct Writer {
    bytes: Vec<u8>,
}

impl Writer {
    pub(super) fn u8(&mut self, value: u8) {
        self.bytes.push(value);
    }

    pub(super) fn u16(&mut self, value: u16) {
        self.raw(&value.to_be_bytes());
    }

    pub(super) fn u32(&mut self, value: u32) {
        self.raw(&value.to_be_bytes());
    }

    pub(super) fn u64(&mut self, value: u64) {
        self.raw(&value.to_be_bytes());
    }

    pub(super) fn raw(&mut self, bytes: &[u8]) {
        self.bytes.extend_from_slice(bytes);
    }

    /// A TPM2B.
    ///
    /// # Panics
    /// Where `bytes` is longer than a TPM2B can be, which no parsed structure
    /// is: only a structure built by hand can break this.
    pub(super) fn buffer(&mut self, bytes: &[u8]) {
        let len = u16::try_from(bytes.len()).expect("a TPM2B holds at most 65,535 bytes");
        self.u16(len);
        self.raw(bytes);
    }

    pub(super) fn into_bytes(self) -> Vec<u8> {
        self.bytes
    }
}
