//! Files that other programs read: written whole or not at all, with their
//! mode from the first byte on, and only where nobody else can put another
//! file in their place.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{ErrorKind, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use ring::rand::{SecureRandom, SystemRandom};
use thiserror::Error;

/// For the owner alone: keys and secrets.
pub const PRIVATE: u32 = 0o600;
/// For everybody to read: certificates, settings.
pub const PUBLIC: u32 = 0o644;

const DIR_MODE: u32 = 0o755;
const GROUP_OR_OTHERS_WRITE: u32 = 0o022;
const STICKY: u32 = 0o1000;

/// Why a file is not written.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum OutputError {
    /// The system refused an operation.
    #[error("{}: cannot {action}: {source}", path.display())]
    Io {
        /// The file or directory.
        path: PathBuf,
        /// What was being done.
        action: &'static str,
        /// What the system said.
        source: std::io::Error,
    },
    /// The path has no file name.
    #[error("{} names no file", .0.display())]
    NoName(PathBuf),
    /// Not a directory, or a link to one.
    #[error("{} is not a directory, or is a symbolic link", .0.display())]
    NotADirectory(PathBuf),
    /// A directory of somebody who is neither this user nor root.
    #[error("{} belongs to user {owner}, who could replace what is written there", path.display())]
    Owner {
        /// The directory.
        path: PathBuf,
        /// Its owner's id.
        owner: u32,
    },
    /// Others may write there, and no sticky bit keeps them from replacing
    /// files that are not theirs.
    #[error(
        "{} has mode {mode:04o}: others could replace what is written there; chmod go-w it",
        path.display()
    )]
    OthersMayReplace {
        /// The directory.
        path: PathBuf,
        /// Its permission bits.
        mode: u32,
    },
    /// The system gave no randomness.
    #[error("no randomness from the system")]
    Randomness,
}

impl OutputError {
    /// What the operator can do.
    #[must_use]
    pub fn next_step(&self) -> &'static str {
        match self {
            Self::Io { .. } => "check the path, and the user that runs this",
            Self::NoName(_) => "name a file, not a directory",
            Self::Randomness => "see whether /dev/urandom works",
            Self::NotADirectory(_) | Self::Owner { .. } | Self::OthersMayReplace { .. } => {
                "choose a directory that only this user (or root) can write to"
            }
        }
    }
}

/// Makes the directory where it is missing, 0755.
///
/// # Errors
/// [`OutputError::Io`].
pub fn make_dir(path: &Path) -> Result<(), OutputError> {
    DirBuilder::new()
        .recursive(true)
        .mode(DIR_MODE)
        .create(path)
        .map_err(io(path, "create the directory"))
}

/// Writes `content` to `path` with `mode`, in place of what is there.
///
/// # Errors
/// [`OutputError`]; the previous file is then untouched.
pub fn write(path: &Path, mode: u32, content: &[u8]) -> Result<(), OutputError> {
    let name = path
        .file_name()
        .ok_or_else(|| OutputError::NoName(path.to_owned()))?;
    let dir = directory_of(path)?;
    let temporary = dir.join(temporary_name(&name.to_string_lossy())?);
    let outcome = write_new(&temporary, mode, content)
        .and_then(|()| fs::rename(&temporary, path).map_err(io(path, "put the file in place")));
    if outcome.is_err() {
        // Ours, by its random name; nothing is left of a secret.
        let _ = fs::remove_file(&temporary);
    }
    outcome?;
    File::open(&dir)
        .and_then(|dir| dir.sync_all())
        .map_err(io(&dir, "sync"))
}

/// The directory of `path`, where nobody but this user and root can replace
/// files of ours.
///
/// # Errors
/// [`OutputError`] says what is wrong with it.
pub(crate) fn directory_of(path: &Path) -> Result<PathBuf, OutputError> {
    let dir = match path.parent() {
        Some(parent) if parent.as_os_str().is_empty() => Path::new("."),
        Some(parent) => parent,
        None => return Err(OutputError::NoName(path.to_owned())),
    };
    let found = fs::symlink_metadata(dir).map_err(io(dir, "look at the directory"))?;
    if !found.is_dir() {
        return Err(OutputError::NotADirectory(dir.to_owned()));
    }
    let (owner, mode) = (found.uid(), found.mode() & 0o7777);
    if owner != 0 && owner != nix::unistd::geteuid().as_raw() {
        return Err(OutputError::Owner {
            path: dir.to_owned(),
            owner,
        });
    }
    if mode & GROUP_OR_OTHERS_WRITE != 0 && mode & STICKY == 0 {
        return Err(OutputError::OthersMayReplace {
            path: dir.to_owned(),
            mode,
        });
    }
    Ok(dir.to_owned())
}

fn write_new(path: &Path, mode: u32, content: &[u8]) -> Result<(), OutputError> {
    let mut file = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(PRIVATE)
        .open(path)
        .map_err(io(path, "create"))?;
    file.write_all(content).map_err(io(path, "write"))?;
    if mode != PRIVATE {
        // Not by the mode at creation: the umask would have its say.
        let permissions = std::os::unix::fs::PermissionsExt::from_mode(mode);
        file.set_permissions(permissions)
            .map_err(io(path, "set the mode of"))?;
    }
    file.sync_all().map_err(io(path, "sync"))
}

/// Where others can make files, too, a name that they could know beforehand
/// would be in our way.
fn temporary_name(name: &str) -> Result<String, OutputError> {
    let mut random = [0; 8];
    SystemRandom::new()
        .fill(&mut random)
        .map_err(|_| OutputError::Randomness)?;
    Ok(format!(".{name}.{}", hex::encode(random)))
}

fn io<'a>(path: &'a Path, action: &'static str) -> impl FnOnce(std::io::Error) -> OutputError + 'a {
    move |source| match source.kind() {
        ErrorKind::NotADirectory => OutputError::NotADirectory(path.to_owned()),
        _ => OutputError::Io {
            path: path.to_owned(),
            action,
            source,
        },
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::{PermissionsExt, symlink};

    use super::*;

    fn dir(mode: u32) -> (tempfile::TempDir, PathBuf) {
        let parent = tempfile::tempdir().unwrap();
        let dir = parent.path().join("dir");
        make_dir(&dir).unwrap();
        fs::set_permissions(&dir, fs::Permissions::from_mode(mode)).unwrap();
        (parent, dir)
    }

    #[test]
    fn a_file_is_replaced_whole_with_its_mode() {
        let (_parent, dir) = dir(0o755);
        let path = dir.join("file");
        for (mode, content) in [(PUBLIC, "one"), (PRIVATE, "two")] {
            write(&path, mode, content.as_bytes()).unwrap();
            assert_eq!(fs::read_to_string(&path).unwrap(), content);
            assert_eq!(fs::metadata(&path).unwrap().mode() & 0o7777, mode);
        }
        assert_eq!(fs::read_dir(&dir).unwrap().count(), 1, "nothing left over");
    }

    #[test]
    fn a_link_is_replaced_and_not_followed() {
        let (parent, dir) = dir(0o755);
        let target = parent.path().join("target");
        fs::write(&target, "untouched").unwrap();
        symlink(&target, dir.join("file")).unwrap();
        write(&dir.join("file"), PRIVATE, b"secret").unwrap();
        assert_eq!(fs::read_to_string(&target).unwrap(), "untouched");
    }

    #[test]
    fn cve_c14_a_directory_that_others_write_to_is_refused() {
        for mode in [0o777, 0o775, 0o757] {
            let (_parent, dir) = dir(mode);
            let error = write(&dir.join("file"), PRIVATE, b"secret").unwrap_err();
            assert!(
                matches!(error, OutputError::OthersMayReplace { mode: found, .. } if found == mode),
                "{error}"
            );
            assert_eq!(fs::read_dir(&dir).unwrap().count(), 0);
        }
        let (_parent, sticky) = dir(0o1777);
        write(&sticky.join("file"), PRIVATE, b"secret").unwrap();
    }

    #[test]
    fn a_link_to_a_directory_is_refused() {
        let (parent, dir) = dir(0o755);
        let link = parent.path().join("link");
        symlink(&dir, &link).unwrap();
        let error = write(&link.join("file"), PRIVATE, b"secret").unwrap_err();
        assert!(matches!(error, OutputError::NotADirectory(_)), "{error}");
    }

    #[test]
    fn a_path_without_a_name_is_refused() {
        let error = write(Path::new("/"), PRIVATE, b"secret").unwrap_err();
        assert!(matches!(error, OutputError::NoName(_)), "{error}");
    }
}
