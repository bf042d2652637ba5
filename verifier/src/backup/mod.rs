//! Backup and restore: a verifier's directory in one file, and back.
//!
//! A backup is a tar archive (docs/backup.md) that begins with its manifest.
//! The manifest holds length and SHA-256 of every part, and is itself the
//! associated data under which the secrets are encrypted: whoever has the
//! passphrase, or the backup's id, sees any change to any part of it.
//!
//! A restored verifier is one that has forgotten what happened since. What it
//! must not forget cannot be brought back, so it is made void instead: see
//! [`crate::store::Restored`].

mod archive;
mod contents;
mod error;
mod manifest;
mod restore;
mod secrets;
#[cfg(test)]
mod tests;

pub use archive::{Made, make};
pub use error::BackupError;
pub use manifest::Manifest;
pub use restore::{Opened, open};
