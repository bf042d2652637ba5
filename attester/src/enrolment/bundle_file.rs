//! The bundle as a file that the verifier's owner handed over.

use std::io::{ErrorKind, Read};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use holdfast_proto::bundle::Bundle;
use thiserror::Error;
use zeroize::Zeroizing;

use crate::dates::date;
use crate::evidence::now;

/// More than a bundle has; what is longer is not read.
const MAX_BUNDLE: u64 = 64 * 1024;
/// Group and others: it holds a secret.
const FOREIGN: u32 = 0o077;

/// Why a bundle cannot be used.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum BundleFileError {
    /// The file cannot be read.
    #[error("{}: {source}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// It is no bundle.
    #[error("{}: {problem}", path.display())]
    Malformed {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        problem: String,
    },
    /// Its join token is over.
    #[error("the bundle's join token expired at {} (it is {} by this machine's clock)", date(*expired), date(*now))]
    Expired {
        /// When, in seconds since the Unix epoch.
        expired: i64,
        /// By this machine's clock.
        now: i64,
    },
}

impl BundleFileError {
    /// What the operator can do.
    #[must_use]
    pub fn next_step(&self) -> &'static str {
        match self {
            Self::Read { .. } => {
                "see that the file is there, and that the user that runs this may read it"
            }
            Self::Malformed { .. } | Self::Expired { .. } => {
                "get a bundle from the verifier's owner: holdfast-verifier token create"
            }
        }
    }

    /// Whether it was a good bundle once.
    pub(crate) fn is_expired(&self) -> bool {
        matches!(self, Self::Expired { .. })
    }
}

/// Reads a bundle from `path`. A file that others can read is told of in the
/// log.
///
/// # Errors
/// [`BundleFileError`] says why it cannot be used.
pub fn read(path: &Path) -> Result<Bundle, BundleFileError> {
    let unreadable = |source| BundleFileError::Read {
        path: path.to_owned(),
        source,
    };
    let file = std::fs::File::open(path).map_err(unreadable)?;
    let mode = file.metadata().map_err(unreadable)?.mode() & 0o7777;
    if mode & FOREIGN != 0 {
        tracing::warn!(
            "{} has mode {mode:04o}; it holds a secret: chmod 600 it",
            path.display()
        );
    }
    read_from(path, file)
}

/// The same from a reader; `path` is for words alone.
///
/// # Errors
/// As [`read`].
pub fn read_from(path: &Path, reader: impl Read) -> Result<Bundle, BundleFileError> {
    let mut text = Zeroizing::new(String::new());
    reader
        .take(MAX_BUNDLE)
        .read_to_string(&mut text)
        .map_err(|source| match source.kind() {
            ErrorKind::InvalidData => BundleFileError::Malformed {
                path: path.to_owned(),
                problem: "is not text".to_owned(),
            },
            _ => BundleFileError::Read {
                path: path.to_owned(),
                source,
            },
        })?;
    let bundle = Bundle::parse(text.trim()).map_err(|e| BundleFileError::Malformed {
        path: path.to_owned(),
        problem: e.to_string(),
    })?;
    let now = now();
    if bundle.expires <= now {
        return Err(BundleFileError::Expired {
            expired: bundle.expires,
            now,
        });
    }
    Ok(bundle)
}
