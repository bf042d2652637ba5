//! Making a backup, also while a server runs.

use std::{
    fs::{self, File},
    io::{self, Read, Seek as _, SeekFrom, Write},
    os::unix::fs::OpenOptionsExt as _,
    path::{Path, PathBuf},
};

use ring::{digest, rand::SecureRandom};
use zeroize::Zeroizing;

use super::{
    BackupError,
    contents::{self, Content},
    manifest::{FILES, FilePart, MANIFEST, Manifest, SECRETS, STORE, StorePart},
    secrets::{Encryption, PASSPHRASE_MIN},
};
use crate::{
    config::{Home, files::NewFile, home::file},
    digest::sha256,
    store::{Seconds, Sha256, sqlite::SqliteStore},
};

/// A backup holds the owner's whole fleet: for nobody else.
const MODE: u32 = 0o600;
/// How often files and store are read until they are of one moment.
const TRIES: usize = 5;

/// A backup that was made.
#[derive(Debug)]
pub struct Made {
    /// What is in it.
    pub manifest: Manifest,
    /// SHA-256 of the manifest as it stands in the archive: names the backup,
    /// and with it every byte of the store and of the plain files.
    pub id: Sha256,
}

/// Makes a backup of `home` in the new file `output`. The keys are in it,
/// encrypted, if there is a passphrase; else they are left out.
///
/// # Errors
/// [`BackupError`]; there is no file `output` then, or the one that was there.
pub async fn make(
    home: &Home,
    output: &Path,
    passphrase: Option<&str>,
    now: Seconds,
    rng: &dyn SecureRandom,
) -> Result<Made, BackupError> {
    if let Some(short) = passphrase.filter(|p| p.len() < PASSPHRASE_MIN) {
        return Err(BackupError::WeakPassphrase(short.len()));
    }
    let mut new = NewFile::create(output, MODE)?;
    let (contents, mut copy) = of_one_moment(home, output).await?;
    let holds = SqliteStore::facts(&copy.path).await?;
    let (bytes, digest) = copy.digest()?;
    let store = StorePart {
        bytes,
        sha256: digest,
        holds,
    };
    let (secrets, plain): (Vec<_>, Vec<_>) = contents.into_iter().partition(Content::is_secret);
    let encryption = passphrase.map(|_| Encryption::fresh(rng)).transpose()?;
    let manifest = Manifest::new(
        now,
        store,
        plain.iter().map(part).collect(),
        encryption,
        secrets.iter().map(|content| content.name.clone()).collect(),
    );
    let (text, id) = manifest.encode();

    let failed = || BackupError::io(output);
    let mut archive = Archive::new(new.file(), now);
    archive.add(MANIFEST, &text).map_err(failed())?;
    archive
        .add_from(STORE, bytes, &mut copy.file)
        .map_err(failed())?;
    for content in &plain {
        archive
            .add(&format!("{FILES}{}", content.name), &content.bytes)
            .map_err(failed())?;
    }
    if let (Some(encryption), Some(passphrase)) = (&manifest.secrets, passphrase) {
        let sealed = encryption.seal(passphrase, &id, pack(&secrets)?)?;
        archive.add(SECRETS, &sealed).map_err(failed())?;
    }
    archive.finish().map_err(failed())?;
    new.finish()?;
    Ok(Made { manifest, id })
}

/// Files and store, read again where files changed in between.
async fn of_one_moment(home: &Home, output: &Path) -> Result<(Vec<Content>, Copy), BackupError> {
    for _ in 0..TRIES {
        let before = contents::read(home)?;
        let copy = Copy::of(&home.path(file::STORE), output).await?;
        if contents::read(home)? == before {
            return Ok((before, copy));
        }
    }
    Err(BackupError::Unstable)
}

fn part(content: &Content) -> FilePart {
    FilePart {
        name: content.name.clone(),
        bytes: content.bytes.len() as u64,
        sha256: sha256(&[&content.bytes]),
        mode: content.mode,
    }
}

/// The secrets as one archive.
fn pack(secrets: &[Content]) -> Result<Zeroizing<Vec<u8>>, BackupError> {
    let too_many = |e: io::Error| BackupError::Malformed(format!("the keys: {e}"));
    // Room for all, so that no part of it is left behind by growing.
    let room = secrets.iter().map(|s| s.bytes.len() + 1024).sum::<usize>() + 1024;
    let mut packed = Zeroizing::new(Vec::with_capacity(room));
    let mut archive = Archive::new(&mut *packed, 0);
    for secret in secrets {
        archive
            .add(secret.name.as_str(), &secret.bytes)
            .map_err(too_many)?;
    }
    archive.finish().map_err(too_many)?;
    Ok(packed)
}

/// The tar archive (POSIX ustar) in the making.
struct Archive<W: Write> {
    tar: tar::Builder<W>,
    made_at: Seconds,
}

impl<W: Write> Archive<W> {
    fn new(to: W, made_at: Seconds) -> Self {
        Self {
            tar: tar::Builder::new(to),
            made_at,
        }
    }

    fn add(&mut self, name: &str, bytes: &[u8]) -> io::Result<()> {
        self.add_from(name, bytes.len() as u64, bytes)
    }

    fn add_from(&mut self, name: &str, bytes: u64, from: impl Read) -> io::Result<()> {
        let mut header = tar::Header::new_ustar();
        header.set_size(bytes);
        header.set_mode(MODE);
        header.set_mtime(u64::try_from(self.made_at).unwrap_or(0));
        self.tar.append_data(&mut header, name, from)
    }

    fn finish(mut self) -> io::Result<()> {
        self.tar.finish()
    }
}

/// A copy of the store beside the output, while the backup is made.
struct Copy {
    path: PathBuf,
    file: File,
}

impl Copy {
    async fn of(store: &Path, output: &Path) -> Result<Self, BackupError> {
        let mut name = std::ffi::OsString::from(".");
        name.push(output.file_name().unwrap_or_default());
        name.push(format!(".{}.store", std::process::id()));
        let path = output.with_file_name(name);
        // Made here, and empty, so that it is for nobody else from the start:
        // SQLite writes into an empty file.
        let file = fs::OpenOptions::new()
            .read(true)
            .write(true)
            .create_new(true)
            .mode(MODE)
            .open(&path)
            .map_err(BackupError::io(&path))?;
        let copy = Self { path, file };
        SqliteStore::snapshot(store, &copy.path).await?;
        Ok(copy)
    }

    /// Length and digest; the file is at its beginning then.
    fn digest(&mut self) -> Result<(u64, Sha256), BackupError> {
        let digested = digest_of(&mut self.file, io::sink())
            .and_then(|digested| self.file.seek(SeekFrom::Start(0)).map(|_| digested));
        digested.map_err(BackupError::io(&self.path))
    }
}

impl Drop for Copy {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.path);
    }
}

/// Copies all of `from` and says how much it was, and its digest.
pub(super) fn digest_of(mut from: impl Read, mut to: impl Write) -> io::Result<(u64, Sha256)> {
    let mut context = digest::Context::new(&digest::SHA256);
    let mut buffer = vec![0; 64 * 1024];
    let mut bytes = 0;
    loop {
        let read = match from.read(&mut buffer) {
            Ok(0) => break,
            Ok(read) => read,
            Err(e) if e.kind() == io::ErrorKind::Interrupted => continue,
            Err(e) => return Err(e),
        };
        let chunk = buffer.get(..read).unwrap_or_default();
        context.update(chunk);
        to.write_all(chunk)?;
        bytes += read as u64;
    }
    let mut sha256 = [0; 32];
    sha256.copy_from_slice(context.finish().as_ref());
    Ok((bytes, sha256))
}
