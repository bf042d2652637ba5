//! The kernel's integrity measurement log (IMA): parsing and replay.
//!
//! Reads both formats that Linux hands out in
//! `/sys/kernel/security/ima/{binary,ascii}_runtime_measurements`, of any bank,
//! with all of the kernel's templates and the owner's own formats. Entries are
//! read one by one: a log of any length costs the memory of its longest entry.
//!
//! A log is the gateway's own story. [`Replay`] makes it evidence: it goes
//! through the entries until PCR 10 is as quoted, keeps its place for the next
//! report, and extends with the hash of what each entry *holds*, so that a
//! changed entry is missed whatever digest is logged beside it.
//!
//! The binary format is in the byte order of the machine; Holdfast reads
//! little-endian ones (all that it is built for, and `ima_canonical_fmt`).

mod ascii;
mod binary;
mod boot_aggregate;
mod entry;
mod error;
mod file_digest;
mod replay;
mod signature;
mod template;

pub use self::boot_aggregate::BootAggregate;
pub use self::entry::Entry;
pub use self::error::ImaLogError;
pub use self::file_digest::{DigestKind, FileDigest};
pub use self::replay::{Extend, Gap, Match, Replay};
pub use self::signature::ImaSignature;
pub use self::template::{Field, Template};

use crate::tpm::HashAlg;

/// The most template data of one entry, in bytes. The largest that kernels
/// measure whole are extended attributes, at most 64 KiB each, and keys,
/// policies and device-mapper tables of a few; this leaves room for some.
pub const MAX_DATA: usize = 256 * 1024;

/// The longest name of an event, in bytes: `PATH_MAX`.
pub const MAX_NAME: usize = 4096;

/// The longest name in the template `ima` (`IMA_EVENT_NAME_LEN_MAX`).
pub const MAX_IMA_NAME: usize = 255;

/// The longest line of an ASCII log, in bytes: all template data in
/// hexadecimal, and room for what is before it.
pub const MAX_LINE: usize = 2 * MAX_DATA + 1024;

/// The longest name of a template, in bytes: a format of the fifteen fields
/// that the kernel allows, each of the longest.
const MAX_TEMPLATE_NAME: usize = 15 * 13;

/// The highest PCR of a PC Client TPM.
const MAX_PCR: u32 = 23;

/// The format of an IMA log.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Format {
    /// Binary, with template digests of this algorithm: SHA-1, but in the
    /// per-bank files of newer kernels.
    Binary(HashAlg),
    /// One line per entry.
    Ascii,
}

impl Format {
    /// By how the log starts; one that starts like neither reads as ASCII, and
    /// fails as such.
    #[must_use]
    pub fn of(log: &[u8]) -> Self {
        HashAlg::ALL
            .into_iter()
            .find(|alg| binary::looks_like(log, *alg))
            .map_or_else(
                // No ASCII log has a NUL among its first bytes.
                || match log.get(..4) {
                    Some(head) if head.contains(&0) => Self::Binary(HashAlg::Sha1),
                    _ => Self::Ascii,
                },
                Self::Binary,
            )
    }
}

/// An IMA log, or a part of one, not yet read.
#[derive(Clone, Copy, Debug)]
pub struct ImaLog<'a> {
    format: Format,
    bytes: &'a [u8],
    offset: u64,
    entries: u64,
}

impl<'a> ImaLog<'a> {
    /// A log from boot, in the format that it looks like.
    #[must_use]
    pub fn new(bytes: &'a [u8]) -> Self {
        Self {
            format: Format::of(bytes),
            bytes,
            offset: 0,
            entries: 0,
        }
    }

    /// The part of a log that comes after `entries` entries in `offset` bytes:
    /// for what entries and errors say about their place.
    #[must_use]
    pub const fn starting_at(mut self, offset: u64, entries: u64) -> Self {
        self.offset = offset;
        self.entries = entries;
        self
    }

    /// Its format.
    #[must_use]
    pub const fn format(&self) -> Format {
        self.format
    }

    /// Its entries, in order, read as they are asked for. After an error there
    /// are no more.
    #[must_use]
    pub const fn entries(self) -> Entries<'a> {
        Entries {
            format: self.format,
            rest: self.bytes,
            offset: self.offset,
            index: self.entries,
        }
    }
}

/// The entries of a log. See [`ImaLog::entries`].
#[derive(Clone, Debug)]
pub struct Entries<'a> {
    format: Format,
    rest: &'a [u8],
    offset: u64,
    index: u64,
}

impl<'a> Entries<'a> {
    /// What was not read yet.
    #[must_use]
    pub const fn rest(&self) -> &'a [u8] {
        self.rest
    }
}

impl<'a> Iterator for Entries<'a> {
    type Item = Result<Entry<'a>, ImaLogError>;

    #[inline]
    fn next(&mut self) -> Option<Self::Item> {
        if self.rest.is_empty() {
            return None;
        }
        let read = match self.format {
            Format::Binary(alg) => binary::read(self.rest, alg),
            Format::Ascii => ascii::read(self.rest),
        };
        Some(match read {
            Ok(mut entry) => {
                entry.index = self.index;
                entry.offset = self.offset;
                self.rest = self.rest.get(entry.len..).unwrap_or_default();
                self.index += 1;
                self.offset = self.offset.saturating_add(error::as_u64(entry.len));
                Ok(entry)
            }
            Err(flaw) => {
                self.rest = &[];
                Err(ImaLogError::at(self.index, self.offset, flaw))
            }
        })
    }
}

#[cfg(test)]
mod tests;
