//! The manifest: what is in a backup, and the digest of each part.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

use super::{BackupError, contents::Name, secrets::Encryption};
use crate::{
    digest::sha256,
    store::{Seconds, Sha256, SnapshotFacts},
};

/// Format of backups that this program makes and reads.
pub(super) const FORMAT: u64 = 1;
/// Name in the archive, where it comes first.
pub(super) const MANIFEST: &str = "manifest.json";
/// The database's name in the archive.
pub(super) const STORE: &str = "holdfast.db";
/// Folder of the plain files in the archive.
pub(super) const FILES: &str = "files/";
/// The encrypted secrets' name in the archive.
pub(super) const SECRETS: &str = "secrets.bin";
/// A manifest names up to [`super::contents::FILES_MAX`] files, some 200 bytes
/// each.
pub(super) const MANIFEST_MAX: u64 = 1024 * 1024;

/// What is in a backup.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Manifest {
    /// 1.
    holdfast_backup: u64,
    /// When the store was read, in seconds since the Unix epoch.
    pub made_at: Seconds,
    /// Version of the program that made it.
    pub made_by: String,
    /// The store.
    pub store: StorePart,
    /// Plain files, in order of name.
    pub files: Vec<FilePart>,
    /// How the secrets are encrypted; none: they are not in it.
    pub secrets: Option<Encryption>,
    /// Names of the secret files that the directory has, in the backup or not.
    pub secret_files: Vec<Name>,
}

/// The store in a backup.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct StorePart {
    /// Length of the database file.
    pub bytes: u64,
    /// Its digest.
    #[serde(with = "as_hex")]
    pub sha256: Sha256,
    /// What it holds.
    pub holds: SnapshotFacts,
}

/// A plain file in a backup.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FilePart {
    /// Relative to the directory.
    pub name: Name,
    /// Length.
    pub bytes: u64,
    /// Digest.
    #[serde(with = "as_hex")]
    pub sha256: Sha256,
    /// Permission bits.
    pub mode: u32,
}

impl Manifest {
    pub(super) fn new(
        made_at: Seconds,
        store: StorePart,
        files: Vec<FilePart>,
        secrets: Option<Encryption>,
        secret_files: Vec<Name>,
    ) -> Self {
        Self {
            holdfast_backup: FORMAT,
            made_at,
            made_by: env!("CARGO_PKG_VERSION").to_owned(),
            store,
            files,
            secrets,
            secret_files,
        }
    }

    /// As it stands in the archive, and the backup's id: its SHA-256.
    pub(super) fn encode(&self) -> (Vec<u8>, Sha256) {
        let text = serde_json::to_vec_pretty(self)
            .expect("numbers, texts and lists of them have a JSON form");
        let id = sha256(&[&text]);
        (text, id)
    }

    /// # Errors
    /// [`BackupError::Format`], or [`BackupError::Malformed`] with what is wrong.
    pub(super) fn parse(text: &[u8]) -> Result<(Self, Sha256), BackupError> {
        #[derive(Deserialize)]
        struct Head {
            holdfast_backup: u64,
        }
        let malformed = |e: serde_json::Error| BackupError::Malformed(format!("{MANIFEST}: {e}"));
        let head: Head = serde_json::from_slice(text).map_err(malformed)?;
        if head.holdfast_backup != FORMAT {
            return Err(BackupError::Format {
                format: head.holdfast_backup,
                known: FORMAT,
            });
        }
        let manifest: Self = serde_json::from_slice(text).map_err(malformed)?;
        let mut names = BTreeSet::new();
        let all = manifest.files.iter().map(|file| &file.name);
        for name in all.chain(&manifest.secret_files) {
            if !names.insert(name) {
                return Err(BackupError::Malformed(format!("{name} is in it twice")));
            }
        }
        Ok((manifest, sha256(&[text])))
    }
}

/// Arrays of bytes as lower-case hex.
pub(super) mod as_hex {
    use serde::{Deserialize as _, Deserializer, Serializer, de::Error as _};

    pub(in crate::backup) fn serialize<S: Serializer, const N: usize>(
        bytes: &[u8; N],
        to: S,
    ) -> Result<S::Ok, S::Error> {
        to.serialize_str(&hex::encode(bytes))
    }

    pub(in crate::backup) fn deserialize<'de, D: Deserializer<'de>, const N: usize>(
        from: D,
    ) -> Result<[u8; N], D::Error> {
        let text = String::deserialize(from)?;
        let mut bytes = [0; N];
        hex::decode_to_slice(&text, &mut bytes).map_err(D::Error::custom)?;
        Ok(bytes)
    }
}
