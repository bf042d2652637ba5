//! The outer archive: common `ar` without long names, as deb(5) has it. Own,
//! because it is one header of 60 bytes, and readers of all kinds of `ar`
//! allocate what a member claims to need.

use std::io::{self, Read};

use super::DebError;

const MAGIC: &[u8; 8] = b"!<arch>\n";
/// `ar_fmag`, the last two bytes of a header.
const END: &[u8] = b"`\n";

pub(super) struct Archive<R> {
    inner: R,
    /// Whether a byte of padding comes before the next header.
    padded: bool,
}

/// What stands before a member.
pub(super) struct Header {
    pub(super) name: String,
    size: u64,
}

/// The bytes of one member. To be read to the end before the next header is.
pub(super) struct Member<'a, R> {
    inner: &'a mut R,
    left: u64,
}

impl<R: Read> Archive<R> {
    pub(super) fn new(mut inner: R) -> Result<Self, DebError> {
        let mut magic = [0; 8];
        match inner.read_exact(&mut magic) {
            Ok(()) if magic == *MAGIC => Ok(Self {
                inner,
                padded: false,
            }),
            Ok(()) => Err(DebError::NotDeb),
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => Err(DebError::NotDeb),
            Err(error) => Err(error.into()),
        }
    }

    /// The next member's header; none at the end.
    pub(super) fn header(&mut self) -> Result<Option<Header>, DebError> {
        if std::mem::take(&mut self.padded) {
            self.inner.read_exact(&mut [0; 1])?;
        }
        let mut header = Vec::with_capacity(60);
        (&mut self.inner).take(60).read_to_end(&mut header)?;
        if header.is_empty() {
            return Ok(None);
        }
        let (name, rest) = header.split_at_checked(16).ok_or(DebError::Archive)?;
        // Times, owners and mode say nothing here: 32 bytes.
        let (size, end) = rest
            .get(32..)
            .and_then(|rest| rest.split_at_checked(10))
            .ok_or(DebError::Archive)?;
        if end != END {
            return Err(DebError::Archive);
        }
        let name = text(name).ok_or(DebError::Archive)?;
        let size: u64 = text(size)
            .and_then(|digits| digits.parse().ok())
            .ok_or(DebError::Archive)?;
        self.padded = !size.is_multiple_of(2);
        Ok(Some(Header {
            // GNU ar writes a slash after the name.
            name: name.strip_suffix('/').unwrap_or(name).to_owned(),
            size,
        }))
    }

    pub(super) fn member(&mut self, header: &Header) -> Member<'_, R> {
        Member {
            inner: &mut self.inner,
            left: header.size,
        }
    }
}

/// A field without the spaces that fill it.
fn text(field: &[u8]) -> Option<&str> {
    std::str::from_utf8(field)
        .ok()
        .map(|text| text.trim_end_matches(' '))
        .filter(|text| text.bytes().all(|byte| byte.is_ascii_graphic()))
}

impl<R: Read> Member<'_, R> {
    pub(super) fn skip(mut self) -> Result<(), DebError> {
        io::copy(&mut self, &mut io::sink())?;
        Ok(())
    }
}

impl<R: Read> Read for Member<'_, R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let room = usize::try_from(self.left)
            .unwrap_or(usize::MAX)
            .min(buffer.len());
        let (buffer, _) = buffer.split_at_mut(room);
        if buffer.is_empty() {
            return Ok(0);
        }
        let read = self.inner.read(buffer)?;
        if read == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        // `read` is at most `room`, which is at most what is left.
        self.left = self
            .left
            .saturating_sub(u64::try_from(read).unwrap_or(u64::MAX));
        Ok(read)
    }
}
