//! Little-endian reading: the only place in the log parsers that touches
//! offsets.

use thiserror::Error;

/// What is wrong with one field.
#[derive(Clone, Copy, Debug, Error, PartialEq, Eq)]
#[non_exhaustive]
pub enum Cause {
    /// The input ends inside the field.
    #[error("input ends {missing} byte(s) early")]
    Truncated {
        /// How many more bytes the field needed.
        missing: usize,
    },
    /// A length or a count is over the limit that this parser sets.
    #[error("{value} is over the limit of {max}")]
    OverLimit {
        /// The stated length or count.
        value: usize,
        /// The named limit.
        max: usize,
    },
    /// A length does not fit the structure.
    #[error("length {len} where {expected} is needed")]
    WrongLength {
        /// The stated length.
        len: usize,
        /// The length that fits (the least, where several do).
        expected: usize,
    },
    /// A value that the structure does not allow.
    #[error("unsupported value {0:#x}")]
    Unsupported(u64),
    /// A value that may be there once is there twice.
    #[error("{0:#x} is given twice")]
    Repeated(u64),
    /// Bytes are left after the end of the structure.
    #[error("{0} byte(s) after its end")]
    TrailingBytes(usize),
    /// Bytes that are not text of the field's encoding.
    #[error("not text in its encoding")]
    NotText,
    /// Text that is not what the field may say.
    #[error("not a value that this field can have")]
    NotAllowed,
}

/// A field, where it starts, and what is wrong with it.
#[derive(Clone, Copy, Debug, Error, PartialEq, Eq)]
#[error("{field} at byte {offset}: {cause}")]
pub struct Flaw {
    /// The field, in the words of the specification.
    pub field: &'static str,
    /// Offset of the field in the input of the parser, in bytes.
    pub offset: usize,
    /// What is wrong.
    pub cause: Cause,
}

/// The unread rest of an input.
#[derive(Clone, Debug)]
pub(crate) struct Cursor<'a> {
    rest: &'a [u8],
    offset: usize,
}

impl<'a> Cursor<'a> {
    pub(crate) fn new(input: &'a [u8]) -> Self {
        Self {
            rest: input,
            offset: 0,
        }
    }

    /// Bytes read so far.
    pub(crate) fn offset(&self) -> usize {
        self.offset
    }

    pub(crate) fn rest(&self) -> &'a [u8] {
        self.rest
    }

    /// A flaw of the field that starts here.
    pub(crate) fn flaw(&self, field: &'static str, cause: Cause) -> Flaw {
        Flaw {
            field,
            offset: self.offset,
            cause,
        }
    }

    pub(crate) fn take(&mut self, field: &'static str, len: usize) -> Result<&'a [u8], Flaw> {
        let Some((head, rest)) = self.rest.split_at_checked(len) else {
            let missing = len.saturating_sub(self.rest.len());
            return Err(self.flaw(field, Cause::Truncated { missing }));
        };
        self.rest = rest;
        self.offset += len;
        Ok(head)
    }

    pub(crate) fn array<const N: usize>(&mut self, field: &'static str) -> Result<[u8; N], Flaw> {
        let Some((head, rest)) = self.rest.split_first_chunk::<N>() else {
            let missing = N.saturating_sub(self.rest.len());
            return Err(self.flaw(field, Cause::Truncated { missing }));
        };
        self.rest = rest;
        self.offset += N;
        Ok(*head)
    }

    pub(crate) fn u8(&mut self, field: &'static str) -> Result<u8, Flaw> {
        self.array(field).map(u8::from_le_bytes)
    }

    pub(crate) fn u16(&mut self, field: &'static str) -> Result<u16, Flaw> {
        self.array(field).map(u16::from_le_bytes)
    }

    pub(crate) fn u32(&mut self, field: &'static str) -> Result<u32, Flaw> {
        self.array(field).map(u32::from_le_bytes)
    }

    pub(crate) fn u64(&mut self, field: &'static str) -> Result<u64, Flaw> {
        self.array(field).map(u64::from_le_bytes)
    }

    /// A UINT32 length or count of at most `max`. The limit comes before what
    /// it counts, so that a lie is named and costs nothing.
    pub(crate) fn size32(&mut self, field: &'static str, max: usize) -> Result<usize, Flaw> {
        let flaw = |cause| self.flaw(field, cause);
        let mut ahead = self.clone();
        let value = usize::try_from(ahead.u32(field)?).unwrap_or(usize::MAX);
        if value > max {
            return Err(flaw(Cause::OverLimit { value, max }));
        }
        *self = ahead;
        Ok(value)
    }

    /// A UINT64 length or count of at most `max`.
    pub(crate) fn size64(&mut self, field: &'static str, max: usize) -> Result<usize, Flaw> {
        let flaw = |cause| self.flaw(field, cause);
        let mut ahead = self.clone();
        let value = usize::try_from(ahead.u64(field)?).unwrap_or(usize::MAX);
        if value > max {
            return Err(flaw(Cause::OverLimit { value, max }));
        }
        *self = ahead;
        Ok(value)
    }

    /// The structure ends here or it is not the structure.
    pub(crate) fn finish(self, structure: &'static str) -> Result<(), Flaw> {
        match self.rest.len() {
            0 => Ok(()),
            count => Err(self.flaw(structure, Cause::TrailingBytes(count))),
        }
    }
}
