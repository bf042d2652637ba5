//! What is wrong with an allow list.

use super::{MAX_ENTRIES, MAX_KEYS, MAX_LIST_BYTES, MAX_PATH_BYTES};

/// What is wrong with a document. Lines are counted from 1.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum AllowListError {
    /// More than [`MAX_LIST_BYTES`].
    #[error("{0} bytes: an allow list has at most {MAX_LIST_BYTES}")]
    TooLong(usize),
    /// More than [`MAX_ENTRIES`].
    #[error("more than {MAX_ENTRIES} entries")]
    TooManyEntries,
    /// More than [`MAX_KEYS`].
    #[error("{0} keys: an allow list has at most {MAX_KEYS}")]
    TooManyKeys(usize),
    /// Another first line than a list of ours has.
    #[error("not an allow list: the first line must be \"# holdfast allow list 1\"")]
    Header,
    /// The last line does not end in a newline.
    #[error("line {0} does not end: the list was cut short")]
    NoNewline(usize),
    /// Not a key in its canonical form.
    #[error("line {0}: not \"# ima-key <key id> <SubjectPublicKeyInfo in base64>\"")]
    Key(usize),
    /// Before its predecessor in order, or the same.
    #[error("line {0} is out of order, or occurs twice")]
    Order(usize),
    /// Not an entry in its canonical form.
    #[error("line {0}: {1}")]
    Line(usize, LineFault),
    /// Neither an entry nor a key.
    #[error("no entry and no key: an empty list would know no file")]
    Empty,
}

/// What is wrong with one entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum LineFault {
    /// Not 64, 96 or 128 hex digits.
    #[error("no digest of SHA-256, SHA-384 or SHA-512 in hex")]
    Digest,
    /// 32 or 40 hex digits. Both collide; IMA can be told to use another
    /// (`ima_hash=sha256`).
    #[error("a digest of MD5 or SHA-1 proves nothing: use sha256sum")]
    WeakDigest,
    /// Not the separator of coreutils between digest and name.
    #[error("no two characters between digest and path, as sha256sum writes them")]
    Separator,
    /// No path and no digest are so long.
    #[error("too long for a digest and a path")]
    TooLong,
    /// Another escape than `\\`, `\n` and `\r`, or a line that is marked as
    /// escaped and is not.
    #[error("an escape that sha256sum does not write")]
    Escape,
    /// The path.
    #[error("path: {0}")]
    Path(#[from] PathFault),
}

/// What is wrong with a path.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum PathFault {
    /// The kernel logs absolute paths only.
    #[error("not absolute")]
    NotAbsolute,
    /// More than [`MAX_PATH_BYTES`].
    #[error("longer than {MAX_PATH_BYTES} bytes")]
    TooLong,
    /// A zero byte.
    #[error("holds a zero byte")]
    Nul,
    /// An empty component, `.` or `..`: no path that the kernel logs has one.
    #[error("has an empty component, . or ..")]
    NotNormal,
}
