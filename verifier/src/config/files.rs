//! Reading and writing files so that nobody else has a part in it: no links
//! followed, owner and mode looked at on the open file, new files whole or not
//! at all.

use std::{
    fs::{self, File, OpenOptions},
    io::{self, Read as _, Write as _},
    os::unix::fs::{MetadataExt as _, OpenOptionsExt as _},
    path::{Path, PathBuf},
};

use nix::{libc, unistd::Uid};
use zeroize::Zeroizing;

use super::home::HomeError;

/// Largest file read: keys, certificates and policies are far below it.
const FILE_MAX: u64 = 1024 * 1024;

pub(super) fn at(path: &Path) -> impl FnOnce(io::Error) -> HomeError + '_ {
    move |source| HomeError::Io {
        path: path.to_owned(),
        source,
    }
}

/// Reads a secret: a plain file of our own, 0600 or stricter.
///
/// # Errors
/// [`HomeError`] names the file and what to do.
pub fn read_secret(path: &Path) -> Result<Zeroizing<String>, HomeError> {
    read_secret_of(path, Uid::effective().as_raw())
}

/// The same of another's, for root.
pub(super) fn read_secret_of(path: &Path, owner: u32) -> Result<Zeroizing<String>, HomeError> {
    let (file, meta) = open_plain(path)?;
    owned_by(path, &meta, owner)?;
    closed(path, &meta, 0o600)?;
    read_text(path, file, &meta).map(Zeroizing::new)
}

/// Writes a new file: under another name, flushed to disk, then linked to its
/// own name, which fails where that exists.
///
/// # Errors
/// [`HomeError::Exists`], [`HomeError::Io`].
pub fn write_new(path: &Path, content: &[u8], mode: u32) -> Result<(), HomeError> {
    let mut new = NewFile::create(path, mode)?;
    new.file().write_all(content).map_err(at(path))?;
    new.finish()
}

/// A new file in the making, under another name: whole or not there.
#[derive(Debug)]
pub(crate) struct NewFile {
    path: PathBuf,
    temporary: PathBuf,
    file: File,
}

impl NewFile {
    /// # Errors
    /// [`HomeError::Exists`], [`HomeError::Io`].
    pub(crate) fn create(path: &Path, mode: u32) -> Result<Self, HomeError> {
        if fs::symlink_metadata(path).is_ok() {
            return Err(HomeError::Exists {
                path: path.to_owned(),
            });
        }
        let temporary = temporary_beside(path);
        let file = create_new(&temporary, mode).map_err(at(path))?;
        Ok(Self {
            path: path.to_owned(),
            temporary,
            file,
        })
    }

    /// What has been written so far, to write more.
    pub(crate) fn file(&mut self) -> &mut File {
        &mut self.file
    }

    /// Gives it its name, once all of it is on disk.
    ///
    /// # Errors
    /// [`HomeError::Exists`] where something has that name by now;
    /// [`HomeError::Io`].
    pub(crate) fn finish(self) -> Result<(), HomeError> {
        self.file
            .sync_all()
            .and_then(|()| fs::hard_link(&self.temporary, &self.path))
            .map_err(|e| match e.kind() {
                io::ErrorKind::AlreadyExists => HomeError::Exists {
                    path: self.path.clone(),
                },
                _ => at(&self.path)(e),
            })?;
        sync_parent(&self.path)
    }
}

impl Drop for NewFile {
    /// Finished or not: the other name goes.
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.temporary);
    }
}

/// Writes a file over what may be there, whole or not at all.
///
/// # Errors
/// [`HomeError::Io`].
pub fn replace(path: &Path, content: &[u8], mode: u32) -> Result<(), HomeError> {
    let temporary = temporary_beside(path);
    let result = write_synced(&temporary, content, mode)
        .and_then(|()| fs::rename(&temporary, path))
        .map_err(at(path));
    if result.is_err() {
        let _ = fs::remove_file(&temporary);
    }
    result?;
    sync_parent(path)
}

/// Flushes the directory entry of `path` to disk.
///
/// # Errors
/// [`HomeError::Io`].
pub fn sync_parent(path: &Path) -> Result<(), HomeError> {
    let parent = match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    };
    File::open(parent)
        .and_then(|dir| dir.sync_all())
        .map_err(at(parent))
}

fn temporary_beside(path: &Path) -> PathBuf {
    let mut name = std::ffi::OsString::from(".");
    name.push(path.file_name().unwrap_or_default());
    name.push(format!(".{}.tmp", std::process::id()));
    path.with_file_name(name)
}

fn write_synced(path: &Path, content: &[u8], mode: u32) -> io::Result<()> {
    let mut file = create_new(path, mode)?;
    file.write_all(content)?;
    file.sync_all()
}

fn create_new(path: &Path, mode: u32) -> io::Result<File> {
    // create_new (O_EXCL) follows no link.
    OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(mode)
        .open(path)
}

pub(crate) fn open_plain(path: &Path) -> Result<(File, fs::Metadata), HomeError> {
    // O_NONBLOCK: opening a FIFO must not hang.
    let file = OpenOptions::new()
        .read(true)
        .custom_flags(libc::O_NOFOLLOW | libc::O_NONBLOCK)
        .open(path)
        .map_err(|e| match e.raw_os_error() {
            Some(libc::ELOOP) => HomeError::NotPlain {
                path: path.to_owned(),
                expected: "file",
            },
            _ => at(path)(e),
        })?;
    let meta = file.metadata().map_err(at(path))?;
    if meta.is_file() {
        Ok((file, meta))
    } else {
        Err(HomeError::NotPlain {
            path: path.to_owned(),
            expected: "file",
        })
    }
}

pub(crate) fn private(path: &Path, meta: &fs::Metadata, want: u32) -> Result<(), HomeError> {
    owned(path, meta)?;
    closed(path, meta, want)
}

/// Nothing for group and others.
pub(super) fn closed(path: &Path, meta: &fs::Metadata, want: u32) -> Result<(), HomeError> {
    if meta.mode() & 0o077 != 0 {
        return Err(HomeError::LooseMode {
            path: path.to_owned(),
            mode: meta.mode() & 0o7777,
            want,
        });
    }
    Ok(())
}

pub(crate) fn owned(path: &Path, meta: &fs::Metadata) -> Result<(), HomeError> {
    owned_by(path, meta, Uid::effective().as_raw())
}

pub(super) fn owned_by(path: &Path, meta: &fs::Metadata, expected: u32) -> Result<(), HomeError> {
    if meta.uid() == expected {
        Ok(())
    } else {
        Err(HomeError::WrongOwner {
            path: path.to_owned(),
            owner: meta.uid(),
            expected,
        })
    }
}

pub(crate) fn read_text(path: &Path, file: File, meta: &fs::Metadata) -> Result<String, HomeError> {
    let mut text = String::new();
    capped(path, file, meta)?
        .read_to_string(&mut text)
        .map_err(at(path))?;
    Ok(text)
}

pub(crate) fn read_bytes(
    path: &Path,
    file: File,
    meta: &fs::Metadata,
) -> Result<Vec<u8>, HomeError> {
    let mut bytes = Vec::new();
    capped(path, file, meta)?
        .read_to_end(&mut bytes)
        .map_err(at(path))?;
    Ok(bytes)
}

fn capped(path: &Path, file: File, meta: &fs::Metadata) -> Result<io::Take<File>, HomeError> {
    if meta.len() > FILE_MAX {
        return Err(HomeError::TooLarge {
            path: path.to_owned(),
        });
    }
    Ok(file.take(FILE_MAX))
}
