//! What is wrong with a package.

use std::io;

use super::MAX_FILES;
use crate::reference_values::allow_list::AllowListError;

/// What is wrong with a Debian package. Paths are shown inert.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum DebError {
    /// Another file, or a package of another format than 2.
    #[error("not a Debian package of format 2 (deb(5))")]
    NotDeb,
    /// The outer archive.
    #[error("broken: a header of its ar archive cannot be read")]
    Archive,
    /// A member that every package has, in its place.
    #[error("broken: no {0} where deb(5) has it")]
    Missing(&'static str),
    /// Compressed in a way that dpkg has given up, or that is unknown.
    #[error(
        "its members are compressed as {0:?}, and .gz, .xz, .zst and none are read; \
         repack it with dpkg-deb --raw-extract and dpkg-deb --build"
    )]
    Compression(String),
    /// It cannot be read, or unpacked.
    #[error("cannot be unpacked: {0}")]
    Io(#[from] io::Error),
    /// More than it may unpack to.
    #[error("unpacks to more than {0} bytes")]
    TooLarge(u64),
    /// More than [`MAX_FILES`].
    #[error("more than {MAX_FILES} files")]
    TooManyFiles,
    /// An entry of a kind that dpkg does not unpack, such as a PAX header or a
    /// sparse file.
    #[error("tar entry of type {0:?}, which dpkg does not unpack")]
    EntryType(char),
    /// A name longer than any path.
    #[error("a name of {0} bytes")]
    LongName(u64),
    /// One path twice: what would be installed is not said.
    #[error("{0} occurs twice")]
    Twice(String),
    /// A hard link to a file that has not been there.
    #[error("{0} is a hard link to a file that is not in the package before it")]
    Dangling(String),
    /// The control file.
    #[error("broken: {0} in its control file")]
    Control(&'static str),
    /// The list does not take a file of it.
    #[error("{path}: {source}")]
    List {
        /// Which file.
        path: String,
        /// Why.
        source: AllowListError,
    },
}
