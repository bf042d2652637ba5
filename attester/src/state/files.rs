//! Files in a directory that only we may touch: checked when opened, replaced
//! whole or not at all. Root may work in the directory of the daemon's account;
//! what it writes there is that account's.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{ErrorKind, Read, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt, fchown};
use std::path::{Path, PathBuf};

use nix::fcntl::OFlag;

use super::StateError;

/// A boot log of up to 1 MiB and an IMA log of up to 4 MiB in hex, and the keys:
/// what `pending.json` can hold.
pub(super) const MAX_STATE_FILE: u64 = 12 * 1024 * 1024;

const DIR_MODE: u32 = 0o700;
const FILE_MODE: u32 = 0o600;
const ROOT: u32 = 0;
/// Group and others: any of these bits is too many.
const FOREIGN: u32 = 0o077;

#[derive(Debug)]
pub(super) struct Dir {
    path: PathBuf,
    /// Whose it and its files are: this process's user, unless that is root.
    uid: u32,
    gid: u32,
}

impl Dir {
    pub(super) fn open_or_create(path: &Path) -> Result<Self, StateError> {
        // Without `/` and `/.` at the end, which make the system follow a link.
        let path: &Path = &path.components().collect::<PathBuf>();
        match fs::symlink_metadata(path) {
            Err(e) if e.kind() == ErrorKind::NotFound => {
                DirBuilder::new()
                    .recursive(true)
                    .mode(DIR_MODE)
                    .create(path)
                    .map_err(|e| io(path, "create the directory", e))?;
            }
            Err(e) => return Err(io(path, "look at the directory", e)),
            Ok(_) => {}
        }
        let found = fs::symlink_metadata(path).map_err(|e| io(path, "look at the directory", e))?;
        if found.is_symlink() {
            return Err(StateError::Symlink(path.to_owned()));
        }
        if !found.is_dir() {
            return Err(StateError::Kind {
                path: path.to_owned(),
                expected: "directory",
            });
        }
        let own = own();
        // Root is let in: it could do all that the owner can.
        if own != ROOT {
            owned(path, &found, own)?;
        }
        private(path, &found, DIR_MODE)?;
        Ok(Self {
            path: path.to_owned(),
            uid: found.uid(),
            gid: found.gid(),
        })
    }

    /// The same for a directory that must be there already.
    pub(super) fn open_existing(path: &Path) -> Result<Self, StateError> {
        match fs::symlink_metadata(path) {
            Err(e) if e.kind() == ErrorKind::NotFound => {
                Err(StateError::NotEnrolled(path.to_owned()))
            }
            _ => Self::open_or_create(path),
        }
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    pub(super) fn lock(&self, name: &str) -> Result<File, StateError> {
        let path = self.path.join(name);
        let file = OpenOptions::new()
            .write(true)
            .create(true)
            .truncate(false)
            .mode(FILE_MODE)
            .custom_flags(OFlag::O_NOFOLLOW.bits())
            .open(&path)
            .map_err(|e| io(&path, "open the lock", e))?;
        self.give(&path, &file)?;
        match file.try_lock() {
            Ok(()) => Ok(file),
            Err(fs::TryLockError::WouldBlock) => Err(StateError::Busy(self.path.clone())),
            Err(fs::TryLockError::Error(e)) => Err(io(&path, "lock", e)),
        }
    }

    /// The file's bytes; `None` where it does not exist.
    pub(super) fn read(&self, name: &str, max: u64) -> Result<Option<Vec<u8>>, StateError> {
        let path = self.path.join(name);
        let opened = OpenOptions::new()
            .read(true)
            .custom_flags(OFlag::O_NOFOLLOW.bits())
            .open(&path);
        let file = match opened {
            Ok(file) => file,
            Err(e) if e.kind() == ErrorKind::NotFound => return Ok(None),
            // O_NOFOLLOW on a link: ELOOP.
            Err(e) if e.raw_os_error() == Some(nix::errno::Errno::ELOOP as i32) => {
                return Err(StateError::Symlink(path));
            }
            Err(e) => return Err(io(&path, "open", e)),
        };
        let found = file.metadata().map_err(|e| io(&path, "look at", e))?;
        if !found.is_file() {
            return Err(StateError::Kind {
                path,
                expected: "regular file",
            });
        }
        // Before it was the account's: what root wrote is still root's.
        if found.uid() != own() {
            owned(&path, &found, self.uid)?;
        }
        private(&path, &found, FILE_MODE)?;
        let mut bytes = Vec::new();
        file.take(max + 1)
            .read_to_end(&mut bytes)
            .map_err(|e| io(&path, "read", e))?;
        if bytes.len() as u64 > max {
            return Err(StateError::TooLarge { path, max });
        }
        Ok(Some(bytes))
    }

    /// Replaces the file, durably: a reader, or a machine that loses power,
    /// sees the old content or the new one.
    pub(super) fn write(&self, name: &str, content: &[u8]) -> Result<(), StateError> {
        self.replace(name, content, true)?;
        self.sync()
    }

    /// Replaces a file that can be written again from another one: without
    /// waiting for the disk, which takes longer than a TPM command.
    pub(super) fn write_copy(&self, name: &str, content: &[u8]) -> Result<(), StateError> {
        self.replace(name, content, false)
    }

    fn replace(&self, name: &str, content: &[u8], durable: bool) -> Result<(), StateError> {
        let (path, temporary) = (self.path.join(name), self.path.join(format!(".{name}.new")));
        // Left over from a killed run; the directory is ours alone.
        match fs::remove_file(&temporary) {
            Err(e) if e.kind() != ErrorKind::NotFound => {
                return Err(io(&temporary, "remove the left-over", e));
            }
            _ => {}
        }
        let mut file = OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(FILE_MODE)
            .open(&temporary)
            .map_err(|e| io(&temporary, "create", e))?;
        self.give(&temporary, &file)?;
        file.write_all(content)
            .map_err(|e| io(&temporary, "write", e))?;
        if durable {
            file.sync_all().map_err(|e| io(&temporary, "sync", e))?;
        }
        fs::rename(&temporary, &path).map_err(|e| io(&path, "replace", e))
    }

    /// Not waited for: whoever still finds the file knows how to tell that it
    /// is done with.
    pub(super) fn remove(&self, name: &str) -> Result<(), StateError> {
        let path = self.path.join(name);
        match fs::remove_file(&path) {
            Ok(()) => Ok(()),
            Err(e) if e.kind() == ErrorKind::NotFound => Ok(()),
            Err(e) => Err(io(&path, "remove", e)),
        }
    }

    /// A new file of root's becomes the directory's owner's.
    fn give(&self, path: &Path, file: &File) -> Result<(), StateError> {
        if own() == self.uid {
            return Ok(());
        }
        fchown(file, Some(self.uid), Some(self.gid)).map_err(|e| io(path, "give away", e))
    }

    fn sync(&self) -> Result<(), StateError> {
        File::open(&self.path)
            .and_then(|dir| dir.sync_all())
            .map_err(|e| io(&self.path, "sync", e))
    }
}

fn own() -> u32 {
    nix::unistd::geteuid().as_raw()
}

fn owned(path: &Path, found: &fs::Metadata, by: u32) -> Result<(), StateError> {
    if found.uid() == by {
        return Ok(());
    }
    Err(StateError::Owner {
        path: path.to_owned(),
        owner: found.uid(),
        own: by,
    })
}

fn private(path: &Path, found: &fs::Metadata, wanted: u32) -> Result<(), StateError> {
    let mode = found.mode() & 0o7777;
    if mode & FOREIGN == 0 {
        return Ok(());
    }
    Err(StateError::Mode {
        path: path.to_owned(),
        mode,
        wanted,
    })
}

fn io(path: &Path, action: &'static str, source: std::io::Error) -> StateError {
    StateError::Io {
        path: path.to_owned(),
        action,
        source,
    }
}
