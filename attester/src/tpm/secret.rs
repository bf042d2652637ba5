//! Hierarchy auth values: read from a file, never from argv.

use std::fmt;
use std::fs::File;
use std::io::Read;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use thiserror::Error;
use zeroize::Zeroizing;

/// Longest auth value: the largest digest a TPM has (Part 2 §10.4.5).
const MAX_AUTH: usize = 64;

/// A hierarchy's auth value. Debug shows nothing of it; wiped when dropped.
#[derive(Clone)]
pub struct AuthValue(Zeroizing<Vec<u8>>);

/// Why an auth file is refused.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum AuthFileError {
    /// It cannot be read.
    #[error("{}: {source}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// Others can read it.
    #[error("{} has mode {mode:04o}: others can read it; chmod 600 it", path.display())]
    Mode {
        /// The file.
        path: PathBuf,
        /// Its permission bits.
        mode: u32,
    },
    /// Not a value a TPM can have.
    #[error("{} holds {len} bytes; an auth value has 1 to 64", path.display())]
    Length {
        /// The file.
        path: PathBuf,
        /// How many bytes it held, without a final newline.
        len: usize,
    },
}

impl AuthValue {
    /// Reads an auth value: the file's bytes without one final newline.
    ///
    /// # Errors
    /// [`AuthFileError`] where the file is unreadable, open to others, or of a
    /// wrong length.
    pub fn from_file(path: &Path) -> Result<Self, AuthFileError> {
        let read = |source| AuthFileError::Read {
            path: path.to_owned(),
            source,
        };
        let mut file = File::open(path).map_err(read)?;
        let mode = file.metadata().map_err(read)?.mode() & 0o7777;
        if mode & 0o077 != 0 {
            return Err(AuthFileError::Mode {
                path: path.to_owned(),
                mode,
            });
        }
        let mut bytes = Zeroizing::new(Vec::with_capacity(MAX_AUTH + 2));
        file.by_ref()
            .take(MAX_AUTH as u64 + 2)
            .read_to_end(&mut bytes)
            .map_err(read)?;
        if bytes.last() == Some(&b'\n') {
            bytes.pop();
        }
        match bytes.len() {
            1..=MAX_AUTH => Ok(Self(bytes)),
            len => Err(AuthFileError::Length {
                path: path.to_owned(),
                len,
            }),
        }
    }

    pub(super) fn expose(&self) -> &[u8] {
        &self.0
    }
}

impl fmt::Debug for AuthValue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("AuthValue(…)")
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    fn file(content: &[u8], mode: u32) -> (tempfile::TempDir, PathBuf) {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("auth");
        std::fs::write(&path, content).unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(mode)).unwrap();
        (dir, path)
    }

    #[test]
    fn a_final_newline_is_not_part_of_it() {
        let (_dir, path) = file(b"secret\n", 0o600);
        let auth = AuthValue::from_file(&path).unwrap();
        assert_eq!(auth.expose(), b"secret");
        assert_eq!(format!("{auth:?}"), "AuthValue(…)");
    }

    #[test]
    fn readable_by_others_is_refused() {
        let (_dir, path) = file(b"secret", 0o640);
        assert!(matches!(
            AuthValue::from_file(&path),
            Err(AuthFileError::Mode { mode: 0o640, .. })
        ));
    }

    #[test]
    fn empty_and_long_are_refused() {
        for content in [&b"\n"[..], &[b'x'; 65]] {
            let (_dir, path) = file(content, 0o600);
            assert!(matches!(
                AuthValue::from_file(&path),
                Err(AuthFileError::Length { .. })
            ));
        }
    }
}
