//! Reading a backup: every byte of it is held against the manifest before
//! anything of it is used.

use std::{
    fs::{self, File},
    io::{self, Read, Write as _},
    os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _},
    path::{Path, PathBuf},
};

use zeroize::Zeroizing;

use super::{
    BackupError,
    archive::digest_of,
    contents::Name,
    manifest::{FILES, MANIFEST, MANIFEST_MAX, Manifest, SECRETS, STORE},
    secrets::Encryption,
};
use crate::{
    config::{Home, files::open_plain, home::file},
    store::{Sha256, sqlite::SqliteStore},
};

/// All secrets together: as large as all files may be.
const SECRETS_MAX: u64 = super::contents::BYTES_MAX;
const SECRET: u32 = 0o600;
/// What a mode in a manifest may give: nobody else may write.
const MODE_GIVEN: u32 = 0o755;

/// A backup whose manifest was read.
pub struct Opened {
    path: PathBuf,
    archive: tar::Archive<File>,
    manifest: Manifest,
    id: Sha256,
}

impl std::fmt::Debug for Opened {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Opened")
            .field("path", &self.path)
            .field("manifest", &self.manifest)
            .finish_non_exhaustive()
    }
}

/// Opens the backup at `path` and reads its manifest.
///
/// # Errors
/// [`BackupError::Home`], [`BackupError::Malformed`], [`BackupError::Format`],
/// [`BackupError::NewerSchema`]; [`BackupError::OtherBackup`] where its id is
/// not `expected`, in hex.
pub fn open(path: &Path, expected: Option<&str>) -> Result<Opened, BackupError> {
    let (file, _) = open_plain(path)?;
    let mut archive = tar::Archive::new(file);
    let (manifest, id) = {
        let mut entries = archive.entries().map_err(not_tar)?;
        let mut first = next(&mut entries, MANIFEST)?;
        if first.size() > MANIFEST_MAX {
            return Err(BackupError::Malformed(format!("{MANIFEST} is too large")));
        }
        let mut text = Vec::new();
        first.read_to_end(&mut text).map_err(not_tar)?;
        Manifest::parse(&text)?
    };
    let found = hex::encode(id);
    if let Some(expected) = expected.filter(|expected| *expected != found) {
        return Err(BackupError::OtherBackup {
            expected: expected.to_owned(),
            found,
        });
    }
    let (found, known) = (manifest.store.holds.schema, SqliteStore::schema());
    if found > known {
        return Err(BackupError::NewerSchema { found, known });
    }
    // Back to the beginning.
    let mut file = archive.into_inner();
    io::Seek::rewind(&mut file).map_err(BackupError::io(path))?;
    Ok(Opened {
        path: path.to_owned(),
        archive: tar::Archive::new(file),
        manifest,
        id,
    })
}

impl Opened {
    /// What is in it.
    #[must_use]
    pub fn manifest(&self) -> &Manifest {
        &self.manifest
    }

    /// Its id: SHA-256 of the manifest.
    #[must_use]
    pub fn id(&self) -> &Sha256 {
        &self.id
    }

    /// Writes all that is in it into the empty directory `home`, and returns
    /// the names of the secret files that it does not hold.
    ///
    /// # Errors
    /// [`BackupError::Damaged`] names the first part that is not as the
    /// manifest says; [`BackupError::PassphraseNeeded`],
    /// [`BackupError::PassphraseUnused`], [`BackupError::WrongPassphrase`];
    /// [`BackupError::BrokenStore`]. What is in `home` is not to be used then.
    pub async fn unpack(
        mut self,
        home: &Home,
        passphrase: Option<&str>,
    ) -> Result<Vec<Name>, BackupError> {
        let encryption = match (&self.manifest.secrets, passphrase) {
            (Some(encryption), Some(passphrase)) => Some((encryption, passphrase)),
            (None, None) => None,
            (Some(_), None) => return Err(BackupError::PassphraseNeeded),
            (None, Some(_)) => return Err(BackupError::PassphraseUnused),
        };
        let mut entries = self.archive.entries().map_err(not_tar)?;
        next(&mut entries, MANIFEST)?;
        let store = &self.manifest.store;
        let entry = next(&mut entries, STORE)?;
        let path = home.path(file::STORE);
        write(entry, &path, STORE, (store.bytes, &store.sha256), SECRET)?;
        for part in &self.manifest.files {
            let name = format!("{FILES}{}", part.name);
            let entry = next(&mut entries, &name)?;
            let path = place(home, &part.name)?;
            let mode = part.mode & MODE_GIVEN;
            write(entry, &path, &name, (part.bytes, &part.sha256), mode)?;
        }
        let absent = match encryption {
            None => self.manifest.secret_files.clone(),
            Some((encryption, passphrase)) => {
                let entry = next(&mut entries, SECRETS)?;
                let plain = secrets(entry, encryption, passphrase, &self.id)?;
                unpack_secrets(&plain, &self.manifest.secret_files, home)?;
                Vec::new()
            }
        };
        if entries.next().is_some() {
            return Err(BackupError::Malformed("it holds more than it says".into()));
        }
        if let Some(found) = SqliteStore::damage(&path).await? {
            return Err(BackupError::BrokenStore(found));
        }
        if SqliteStore::facts(&path).await? != store.holds {
            return Err(damaged(STORE, "it does not hold what the manifest says"));
        }
        Ok(absent)
    }
}

type Entry<'a, R> = tar::Entry<'a, R>;

/// The next entry, which must be the plain file `name`.
fn next<'a, R: Read>(
    entries: &mut tar::Entries<'a, R>,
    name: &str,
) -> Result<Entry<'a, R>, BackupError> {
    let entry = entries
        .next()
        .ok_or_else(|| BackupError::Malformed(format!("it ends before {name}")))?
        .map_err(not_tar)?;
    if entry.header().entry_type() != tar::EntryType::Regular
        || *entry.path_bytes() != *name.as_bytes()
    {
        return Err(BackupError::Malformed(format!(
            "there is something else where {name} must be"
        )));
    }
    Ok(entry)
}

/// Writes one part to a new file.
fn write<R: Read>(
    entry: Entry<'_, R>,
    path: &Path,
    part: &str,
    (bytes, sha256): (u64, &Sha256),
    mode: u32,
) -> Result<(), BackupError> {
    // Before anything is written: a part may not fill the disk.
    if entry.size() != bytes {
        return Err(damaged(part, "its length is another"));
    }
    let mut file = create(path, mode)?;
    let found = digest_of(entry, &mut file).map_err(BackupError::io(path))?;
    if found != (bytes, *sha256) {
        return Err(damaged(part, "its digest is another"));
    }
    file.sync_all().map_err(BackupError::io(path))
}

fn secrets<R: Read>(
    mut entry: Entry<'_, R>,
    encryption: &Encryption,
    passphrase: &str,
    id: &Sha256,
) -> Result<Zeroizing<Vec<u8>>, BackupError> {
    if entry.size() > SECRETS_MAX {
        return Err(damaged(SECRETS, "it is too large"));
    }
    let mut sealed = Vec::new();
    entry.read_to_end(&mut sealed).map_err(not_tar)?;
    encryption.open(passphrase, id, sealed)
}

fn unpack_secrets(plain: &[u8], names: &[Name], home: &Home) -> Result<(), BackupError> {
    let mut archive = tar::Archive::new(plain);
    let mut entries = archive.entries().map_err(not_tar)?;
    for name in names {
        let mut entry = next(&mut entries, name.as_str())?;
        let mut bytes = Zeroizing::new(Vec::with_capacity(
            usize::try_from(entry.size()).unwrap_or(0).min(plain.len()),
        ));
        entry.read_to_end(&mut bytes).map_err(not_tar)?;
        let path = place(home, name)?;
        let mut file = create(&path, SECRET)?;
        file.write_all(&bytes)
            .and_then(|()| file.sync_all())
            .map_err(BackupError::io(&path))?;
    }
    match entries.next() {
        None => Ok(()),
        Some(_) => Err(BackupError::Malformed(
            "it holds more keys than it says".into(),
        )),
    }
}

/// Where a file goes; its folder is made.
fn place(home: &Home, name: &Name) -> Result<PathBuf, BackupError> {
    if let Some(folder) = name.folder() {
        let path = home.path(folder);
        match fs::DirBuilder::new().mode(0o700).create(&path) {
            Err(e) if e.kind() != io::ErrorKind::AlreadyExists => {
                return Err(BackupError::io(&path)(e));
            }
            _ => {}
        }
    }
    Ok(name.path_in(home.dir()))
}

fn create(path: &Path, mode: u32) -> Result<File, BackupError> {
    fs::OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(mode)
        .open(path)
        .map_err(BackupError::io(path))
}

fn damaged(part: &str, problem: &'static str) -> BackupError {
    BackupError::Damaged {
        part: part.to_owned(),
        problem,
    }
}

fn not_tar(error: io::Error) -> BackupError {
    BackupError::Malformed(format!("it is no tar archive: {error}"))
}
