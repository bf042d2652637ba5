//! Allow list: which files a gateway may have, by path and digest, and whose
//! signatures vouch for files that are not listed. What IMA measured is held
//! against it. In: the owner's document. Out: [`AllowList`], or what is wrong
//! with it.
//!
//! The document is what `sha256sum` prints, in one canonical order, after a
//! first line of its own and the keys, which are comments to coreutils: the
//! owner can run `sha256sum --check` on it, and its SHA-256 is its id. It is
//! also the form in memory: 200,000 files are the document and 800 kB of
//! offsets.

mod builder;
mod error;
mod ima_key;
mod line;
#[cfg(test)]
mod tests;

use std::fmt;

use holdfast_proto::tpm::HashAlg;

pub(super) use self::line::{algorithm, unescaped};
pub use self::{
    builder::AllowListBuilder,
    error::{AllowListError, LineFault, PathFault},
    ima_key::{ImaKey, ImaKeyError},
};
use crate::digest::sha256;

/// Longest document, in bytes. A Debian desktop with its kernel has about
/// 250,000 files, which take some 30 MiB.
pub const MAX_LIST_BYTES: usize = 64 * 1024 * 1024;
/// Most entries: with the shortest paths, fewer than [`MAX_LIST_BYTES`] holds.
pub const MAX_ENTRIES: usize = 1_000_000;
/// Most keys. Distributions have one or two at a time.
pub const MAX_KEYS: usize = 64;
/// Longest path, in bytes, before it is escaped: `PATH_MAX` of Linux.
pub const MAX_PATH_BYTES: usize = 4096;

/// First line, with the version of the form.
const HEADER: &[u8] = b"# holdfast allow list 1\n";
/// A line with a key: `# ima-key <key id in hex> <SubjectPublicKeyInfo in base64>`.
const KEY: &[u8] = b"# ima-key ";

/// What a list says of one measured file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Judgement {
    /// This digest is listed for this path.
    Known,
    /// The path is listed, with other digests only: the file was changed, or
    /// measured with an algorithm that the list has no digest of.
    Mismatched,
    /// The path is not listed.
    Unknown,
}

/// The allow list of a class. Only [`AllowList::parse`] makes one.
#[derive(Clone, PartialEq, Eq)]
pub struct AllowList {
    document: Box<[u8]>,
    /// Where each entry's line starts, in order of [`line::Line::order`].
    lines: Box<[u32]>,
    keys: Vec<ImaKey>,
    digest: [u8; 32],
}

impl AllowList {
    /// Reads the canonical document (docs/reference-values.md). Nothing is
    /// skipped: a line out of order, twice, or in any other form than the
    /// canonical one refuses the whole.
    ///
    /// # Errors
    /// [`AllowListError`] names the line and the rule.
    pub fn parse(document: Vec<u8>) -> Result<Self, AllowListError> {
        if document.len() > MAX_LIST_BYTES {
            return Err(AllowListError::TooLong(document.len()));
        }
        let mut rest = document
            .strip_prefix(HEADER)
            .ok_or(AllowListError::Header)?;
        let (mut keys, mut number) = (Vec::<ImaKey>::new(), 1);
        while rest.starts_with(KEY) {
            number += 1;
            let (text, after) = line::split(rest).ok_or(AllowListError::NoNewline(number))?;
            let key = text
                .strip_prefix(KEY)
                .and_then(ImaKey::from_line)
                .ok_or(AllowListError::Key(number))?;
            if keys.last().is_some_and(|last| *last >= key) {
                return Err(AllowListError::Order(number));
            }
            keys.push(key);
            if keys.len() > MAX_KEYS {
                return Err(AllowListError::TooManyKeys(keys.len()));
            }
            rest = after;
        }
        let mut lines = Vec::new();
        let mut last: Option<line::Line<'_>> = None;
        while !rest.is_empty() {
            number += 1;
            let start = document.len() - rest.len();
            let (text, after) = line::split(rest).ok_or(AllowListError::NoNewline(number))?;
            let entry =
                line::Line::parse(text).map_err(|fault| AllowListError::Line(number, fault))?;
            if last.is_some_and(|last| last.order(&entry).is_ge()) {
                return Err(AllowListError::Order(number));
            }
            if lines.len() == MAX_ENTRIES {
                return Err(AllowListError::TooManyEntries);
            }
            // At most MAX_LIST_BYTES, which a u32 holds.
            lines.push(u32::try_from(start).map_err(|_| AllowListError::TooLong(start))?);
            last = Some(entry);
            rest = after;
        }
        if lines.is_empty() && keys.is_empty() {
            return Err(AllowListError::Empty);
        }
        Ok(Self {
            digest: sha256(&[&document]),
            document: document.into_boxed_slice(),
            lines: lines.into_boxed_slice(),
            keys,
        })
    }

    /// Whether `document` begins as a list does.
    #[must_use]
    pub fn looks_like_one(document: &[u8]) -> bool {
        document.starts_with(HEADER)
    }

    /// Id of this list: SHA-256 of [`AllowList::document`].
    #[must_use]
    pub fn digest(&self) -> &[u8; 32] {
        &self.digest
    }

    /// The canonical document, as it was read.
    #[must_use]
    pub fn document(&self) -> &[u8] {
        &self.document
    }

    /// Number of entries: pairs of a path and a digest.
    #[must_use]
    pub fn len(&self) -> usize {
        self.lines.len()
    }

    /// Whether it lists no file, only keys.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.lines.is_empty()
    }

    /// What the list says of a file that IMA measured at `path` with `digest`.
    /// Spaces are underscores in what the kernel logs as a name, and are the
    /// same here. Logarithmic in the list's length.
    #[must_use]
    pub fn judge(&self, path: &[u8], alg: HashAlg, digest: &[u8]) -> Judgement {
        let path = line::escaped(path);
        let name = |start: &u32| line::compare_names(self.line(*start).name, &path);
        let from = self.lines.partition_point(|start| name(start).is_lt());
        let (_, rest) = self.lines.split_at(from);
        let to = rest.partition_point(|start| name(start).is_eq());
        let (named, _) = rest.split_at(to);
        if named.is_empty() {
            return Judgement::Unknown;
        }
        let wanted = hex::encode(digest);
        let hex = |start: &u32| self.line(*start).hex.cmp(wanted.as_bytes());
        let at = named.partition_point(|start| hex(start).is_lt());
        let listed = named.get(at).is_some_and(|start| hex(start).is_eq());
        // A digest that claims another algorithm than its length tells is no
        // digest of that file.
        if listed && digest.len() == alg.digest_len() {
            Judgement::Known
        } else {
            Judgement::Mismatched
        }
    }

    /// Keys whose signatures (`ima-sig`) vouch for a file, by ascending id.
    #[must_use]
    pub fn keys(&self) -> &[ImaKey] {
        &self.keys
    }

    /// The keys that a signature's key id may mean: four bytes can name two.
    pub fn keys_of(&self, key_id: [u8; 4]) -> impl Iterator<Item = &ImaKey> {
        self.keys.iter().filter(move |key| key.key_id() == key_id)
    }

    /// Its entries: path, algorithm, digest in lower-case hex.
    pub fn entries(&self) -> impl Iterator<Item = Entry<'_>> {
        self.lines.iter().map(|start| {
            let line = self.line(*start);
            Entry {
                path: unescaped(line.name).unwrap_or_default(),
                alg: line.alg,
                hex: line.hex,
            }
        })
    }

    fn line(&self, start: u32) -> line::Line<'_> {
        usize::try_from(start)
            .ok()
            .and_then(|start| self.document.get(start..))
            .and_then(line::split)
            .and_then(|(text, _)| line::Line::cut(text).ok())
            .expect("the line was read when the list was parsed")
    }
}

/// One entry of a list.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry<'a> {
    /// Absolute path.
    pub path: std::borrow::Cow<'a, [u8]>,
    /// Algorithm of the digest.
    pub alg: HashAlg,
    /// The digest, in lower-case hex.
    pub hex: &'a [u8],
}

impl fmt::Debug for AllowList {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AllowList")
            .field("digest", &hex::encode(self.digest))
            .field("entries", &self.lines.len())
            .field("keys", &self.keys.len())
            .finish_non_exhaustive()
    }
}
