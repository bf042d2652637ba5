//! The files of a verifier's directory, but for the store.
//!
//! Which are secret is told by their mode: what others may not read goes into
//! a backup only encrypted.

use std::{
    fmt, fs,
    path::{Path, PathBuf},
};

use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

use super::BackupError;
use crate::config::{
    Home,
    files::{open_plain, owned, read_bytes},
    home::file,
};

/// Files of a verifier: some twenty, and a few for each rotation.
pub(super) const FILES_MAX: usize = 1000;
/// Bytes of all of them.
pub(super) const BYTES_MAX: u64 = 64 * 1024 * 1024;
/// A directory in the directory is as deep as any.
const DEPTH_MAX: usize = 2;
/// Bytes of a relative name: with its folder it fits a tar header.
const NAME_MAX: usize = 90;

/// Relative name of a file: up to two parts of letters, digits, `.`, `_` and
/// `-`, none of which begins with a dot. So it stays below any directory that
/// it is joined to.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Name(String);

impl Name {
    pub(super) fn path_in(&self, dir: &Path) -> PathBuf {
        dir.join(&self.0)
    }

    pub(super) fn as_str(&self) -> &str {
        &self.0
    }

    /// Of the directory that it is in, below the verifier's.
    pub(super) fn folder(&self) -> Option<&str> {
        self.0.split_once('/').map(|(folder, _)| folder)
    }
}

impl TryFrom<String> for Name {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        let part = |part: &str| {
            !part.is_empty()
                && !part.starts_with('.')
                && part
                    .bytes()
                    .all(|b| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'_' | b'-'))
        };
        let (prefix, last) = text.rsplit_once('/').unwrap_or(("", &text));
        if text.len() <= NAME_MAX
            && text.split('/').count() <= DEPTH_MAX
            && text.split('/').all(part)
            && is_kept(prefix, last)
        {
            return Ok(Self(text));
        }
        Err(format!("{text:?} is no name of a verifier's file"))
    }
}

impl From<Name> for String {
    fn from(name: Name) -> Self {
        name.0
    }
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// A file, read.
#[derive(Clone, PartialEq, Eq)]
pub(super) struct Content {
    pub(super) name: Name,
    /// Permission bits.
    pub(super) mode: u32,
    pub(super) bytes: Zeroizing<Vec<u8>>,
}

impl Content {
    /// Others may not read it.
    pub(super) fn is_secret(&self) -> bool {
        self.mode & 0o077 == 0
    }
}

/// Reads all files, in order of name. The store, and what is there only while
/// serving, are not among them.
///
/// # Errors
/// [`BackupError::Home`] names a file that is no plain file of ours;
/// [`BackupError::TooMuch`].
pub(super) fn read(home: &Home) -> Result<Vec<Content>, BackupError> {
    let mut contents = Vec::new();
    let mut total = 0;
    let mut folders = vec![(home.dir().to_owned(), String::new())];
    while let Some((dir, prefix)) = folders.pop() {
        for entry in fs::read_dir(&dir).map_err(BackupError::io(&dir))? {
            let entry = entry.map_err(BackupError::io(&dir))?;
            let path = entry.path();
            let name = entry.file_name();
            let Some(name) = name.to_str().filter(|name| is_kept(&prefix, name)) else {
                continue;
            };
            let name = Name::try_from(format!("{prefix}{name}")).map_err(BackupError::Malformed)?;
            let kind = entry.file_type().map_err(BackupError::io(&path))?;
            if kind.is_dir() {
                folders.push((path, format!("{name}/")));
                continue;
            }
            let content = content(path, name)?;
            total += content.bytes.len() as u64;
            contents.push(content);
            if contents.len() > FILES_MAX {
                return Err(BackupError::TooMuch {
                    what: "the number of files".to_owned(),
                    max: FILES_MAX as u64,
                });
            }
            if total > BYTES_MAX {
                return Err(BackupError::TooMuch {
                    what: "the bytes of all files".to_owned(),
                    max: BYTES_MAX,
                });
            }
        }
    }
    contents.sort_by(|a, b| a.name.cmp(&b.name));
    Ok(contents)
}

fn content(path: PathBuf, name: Name) -> Result<Content, BackupError> {
    use std::os::unix::fs::MetadataExt as _;

    let (file, meta) = open_plain(&path)?;
    owned(&path, &meta)?;
    Ok(Content {
        name,
        mode: meta.mode() & 0o777,
        bytes: Zeroizing::new(read_bytes(&path, file, &meta)?),
    })
}

/// Not the store and its journal (they are read as a database), not the locks
/// and the socket of a running server, not files in the making.
fn is_kept(prefix: &str, name: &str) -> bool {
    !(name.starts_with('.')
        || name == file::LOCK
        || name == file::ADMIN_SOCKET
        || name == file::KEYRING_LOCK
        || (prefix.is_empty() && name.starts_with(file::STORE)))
}
