//! Why a backup is not made, or not restored.

use std::{io, path::PathBuf};

use crate::{config::HomeError, store::StoreError};

/// Why a backup is not made, or not restored.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum BackupError {
    /// A file could not be read or written, or is not as it must be.
    #[error(transparent)]
    Home(#[from] HomeError),
    /// The store could not be read, or is of a later version.
    #[error("the store: {0}")]
    Store(#[from] StoreError),
    /// Reading or writing failed.
    #[error("{}: {source}", path.display())]
    Io {
        /// Which file.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// More or larger files than a verifier has.
    #[error("{what} is more than the {max} that a verifier's directory may hold")]
    TooMuch {
        /// What there is too much of.
        what: String,
        /// How much may be.
        max: u64,
    },
    /// Files changed again and again while they were read.
    #[error("the files in the directory change all the time; try again")]
    Unstable,
    /// Not a backup, or not one of this kind.
    #[error("this is no backup of a verifier: {0}")]
    Malformed(String),
    /// Made by a later program.
    #[error("the backup is of format {format}, this program reads format {known}: use a newer one")]
    Format {
        /// Which format it says it has.
        format: u64,
        /// What this program reads.
        known: u64,
    },
    /// Its manifest is not the one that was asked for.
    #[error("this is backup {found}, not {expected}")]
    OtherBackup {
        /// Hex of the id asked for.
        expected: String,
        /// Hex of the id found.
        found: String,
    },
    /// A part is not what the manifest says.
    #[error("{part} is damaged or was altered: {problem}")]
    Damaged {
        /// Which part.
        part: String,
        /// How it differs.
        problem: &'static str,
    },
    /// There are secrets, and no passphrase was given.
    #[error("the backup holds encrypted keys: say where the passphrase is (--passphrase)")]
    PassphraseNeeded,
    /// A passphrase was given, and there are no secrets.
    #[error("the backup holds no keys, and a passphrase authenticates nothing of it: leave it out")]
    PassphraseUnused,
    /// Another passphrase, or the backup was altered.
    #[error("the passphrase is another one, or the backup was altered")]
    WrongPassphrase,
    /// Too short to resist guessing.
    #[error("the passphrase has {0} bytes: use at least {min}", min = super::secrets::PASSPHRASE_MIN)]
    WeakPassphrase(usize),
    /// The system has no randomness.
    #[error("the system has no randomness")]
    NoRandomness,
    /// Made by a program whose store is newer.
    #[error("the store is of schema {found}, this program knows up to {known}: use a newer one")]
    NewerSchema {
        /// Of the backup.
        found: i64,
        /// Of this program.
        known: i64,
    },
    /// SQLite finds the database broken.
    #[error("the store's database is broken: {0}")]
    BrokenStore(String),
}

impl BackupError {
    pub(super) fn io(path: &std::path::Path) -> impl FnOnce(io::Error) -> Self + '_ {
        move |source| Self::Io {
            path: path.to_owned(),
            source,
        }
    }
}
