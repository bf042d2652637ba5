//! The Verifier's directory: which files it holds, with which modes, and how
//! they are read and written.
//!
//! Nothing is read from a file that somebody else could have written, and no
//! secret from a file that somebody else could have read (A25, CVE-2022-23952):
//! modes and owners are checked on the open file, links are not followed.

use std::{
    fs::{self, DirBuilder, File, OpenOptions},
    io,
    os::unix::fs::{DirBuilderExt as _, MetadataExt as _, OpenOptionsExt as _},
    path::{Path, PathBuf},
};

use nix::{libc, unistd::Uid};
use zeroize::Zeroizing;

use super::files::{
    at, closed, open_plain, owned, owned_by, private, read_bytes, read_secret_of, read_text,
    replace, sync_parent, write_new,
};

/// Files in the directory. One name each, in one place.
pub mod file {
    /// Settings.
    pub const CONFIG: &str = "config.toml";
    /// Root of the LDevIDs.
    pub const ROOT_CA: &str = "root-ca.pem";
    /// Its key; better kept elsewhere (`init --root-ca-dir`).
    pub const ROOT_CA_KEY: &str = "root-ca.key.pem";
    /// CA that issues LDevIDs.
    pub const ISSUING_CA: &str = "issuing-ca.pem";
    /// Its key.
    pub const ISSUING_CA_KEY: &str = "issuing-ca.key.pem";
    /// CA of the server's certificate, pinned by bundles.
    pub const SERVER_CA: &str = "server-ca.pem";
    /// Its key.
    pub const SERVER_CA_KEY: &str = "server-ca.key.pem";
    /// The server's certificate.
    pub const SERVER: &str = "server.pem";
    /// Its key.
    pub const SERVER_KEY: &str = "server.key.pem";
    /// CA of operators' certificates.
    pub const OPERATOR_CA: &str = "operator-ca.pem";
    /// Its key; better kept elsewhere: serving does not need it.
    pub const OPERATOR_CA_KEY: &str = "operator-ca.key.pem";
    /// Key that signs attestation results.
    pub const RESULT_KEY: &str = "result.key.pem";
    /// Its public half, for those who check results.
    pub const RESULT_PUBLIC: &str = "result.pub.pem";
    /// AEAD key of challenge tokens: 32 bytes in lower hex.
    pub const TOKEN_KEY: &str = "token.key";
    /// Public halves of the result keys that count, as a JWK Set.
    pub const RESULT_JWKS: &str = "result-keys.jwks.json";
    /// The same as a COSE_KeySet.
    pub const RESULT_COSE: &str = "result-keys.cose";
    /// Which keys are in use and which of before still count.
    pub const KEYRING: &str = "keyring.json";
    /// Held while the keyring is changed.
    pub const KEYRING_LOCK: &str = "keyring.lock";
    /// Policy root: signs what decides appraisals, and for sealing. Better kept
    /// elsewhere; serving does not need it.
    pub const POLICY_ROOT_KEY: &str = "policy-root.key.pem";
    /// Its public half: the owner, as serving knows it; its Name is in bundles.
    pub const POLICY_ROOT_PUBLIC: &str = "policy-root.pub.pem";
    /// The appraisal policy that a new verifier begins with. Once it has begun,
    /// the store has the policy in force.
    pub const POLICY: &str = "policy.rego";
    /// The owner's statement for it.
    pub const POLICY_STATEMENT: &str = "policy.statement";
    /// Online policy key: approves boot states for sealed secrets.
    pub const SEAL_KEY: &str = "seal-policy.key.pem";
    /// The store.
    pub const STORE: &str = "holdfast.db";
    /// Admin socket, while serving.
    pub const ADMIN_SOCKET: &str = "admin.sock";
    /// Held while serving, so that two servers never share a store.
    pub const LOCK: &str = "lock";

    /// What sealed secrets of a class come out in. Classes are fit for file
    /// names (`Class::parse`).
    #[must_use]
    pub fn seal_approvals(class: &str) -> String {
        format!("seal-{class}.approvals")
    }
}

/// Why the directory or a file in it cannot be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum HomeError {
    /// Reading or writing failed.
    #[error("{}: {source}", path.display())]
    Io {
        /// Which file.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// The directory does not exist.
    #[error("{} does not exist; make it with: holdfast-verifier init --dir {}", path.display(), path.display())]
    Missing {
        /// Which directory.
        path: PathBuf,
    },
    /// Others can read or write what must be private.
    #[error("{} has mode {mode:04o}, which lets others at it; run: chmod {want:04o} {}", path.display(), path.display())]
    LooseMode {
        /// Which file.
        path: PathBuf,
        /// Its mode.
        mode: u32,
        /// The mode to set.
        want: u32,
    },
    /// Somebody else owns it.
    #[error("{} belongs to uid {owner}, not to the uid {expected} that this program runs as; run it as that user, or run: chown {expected} {}", path.display(), path.display())]
    WrongOwner {
        /// Which file.
        path: PathBuf,
        /// Whose it is.
        owner: u32,
        /// Whose it must be.
        expected: u32,
    },
    /// A link, socket, device or the like where a plain file or directory
    /// must be.
    #[error("{} is not a plain {expected}; links are not followed", path.display())]
    NotPlain {
        /// Which.
        path: PathBuf,
        /// "file" or "directory".
        expected: &'static str,
    },
    /// Something is there already.
    #[error("{} exists already and is not overwritten", path.display())]
    Exists {
        /// What.
        path: PathBuf,
    },
    /// Larger than any file that belongs here.
    #[error("{} is larger than 1 MiB", path.display())]
    TooLarge {
        /// Which file.
        path: PathBuf,
    },
    /// Another server holds the directory.
    #[error("{} is in use by another holdfast-verifier serve", path.display())]
    InUse {
        /// Which directory.
        path: PathBuf,
    },
}

/// A directory whose owner and mode were found right.
#[derive(Debug, Clone)]
pub struct Home {
    dir: PathBuf,
    /// Whose its files must be.
    owner: u32,
}

/// Proof that this process alone serves the directory, until dropped.
#[derive(Debug)]
pub struct HomeLock(#[expect(dead_code, reason = "held, not used")] File);

impl Home {
    /// # Errors
    /// [`HomeError`] names the directory and what to do.
    pub fn open(dir: &Path) -> Result<Self, HomeError> {
        let (home, meta) = Self::look(dir)?;
        owned(dir, &meta)?;
        Ok(home)
    }

    /// To read in it, for commands that speak to the running service: root may
    /// do so where the service has an account of its own. Whatever changes the
    /// directory, or loads what its settings name, takes [`Home::open`]: root
    /// does not act on the word of that account.
    ///
    /// # Errors
    /// [`HomeError`] names the directory and what to do.
    pub fn visit(dir: &Path) -> Result<Self, HomeError> {
        let (home, meta) = Self::look(dir)?;
        if !Uid::effective().is_root() {
            owned(dir, &meta)?;
        }
        Ok(home)
    }

    fn look(dir: &Path) -> Result<(Self, fs::Metadata), HomeError> {
        let meta = match fs::symlink_metadata(dir) {
            Ok(meta) => meta,
            Err(e) if e.kind() == io::ErrorKind::NotFound => {
                return Err(HomeError::Missing {
                    path: dir.to_owned(),
                });
            }
            Err(e) => return Err(at(dir)(e)),
        };
        if !meta.is_dir() {
            return Err(HomeError::NotPlain {
                path: dir.to_owned(),
                expected: "directory",
            });
        }
        closed(dir, &meta, 0o700)?;
        let home = Self {
            dir: dir.to_owned(),
            owner: meta.uid(),
        };
        Ok((home, meta))
    }

    /// Makes the directory, 0700; it must not exist.
    ///
    /// # Errors
    /// [`HomeError::Exists`], [`HomeError::Io`].
    pub fn create(dir: &Path) -> Result<Self, HomeError> {
        match DirBuilder::new().mode(0o700).create(dir) {
            Ok(()) => Self::open(dir),
            Err(e) if e.kind() == io::ErrorKind::AlreadyExists => Err(HomeError::Exists {
                path: dir.to_owned(),
            }),
            Err(e) => Err(at(dir)(e)),
        }
    }

    /// Path of a file in the directory.
    #[must_use]
    pub fn path(&self, name: &str) -> PathBuf {
        self.dir.join(name)
    }

    /// The directory.
    #[must_use]
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// Reads a secret: a plain file of our own, 0600 or stricter.
    ///
    /// # Errors
    /// [`HomeError`] names the file and what to do.
    pub fn read_secret(&self, name: &str) -> Result<Zeroizing<String>, HomeError> {
        read_secret_of(&self.path(name), self.owner)
    }

    /// Reads what is not secret but trusted: a plain file that only we, or
    /// root, can write.
    ///
    /// # Errors
    /// [`HomeError`] names the file and what to do.
    pub fn read_trusted(&self, name: &str) -> Result<String, HomeError> {
        let (path, file, meta) = self.open_trusted(name)?;
        read_text(&path, file, &meta)
    }

    /// As [`Home::read_trusted`], for what is no text.
    ///
    /// # Errors
    /// [`HomeError`] names the file and what to do.
    pub fn read_trusted_bytes(&self, name: &str) -> Result<Vec<u8>, HomeError> {
        let (path, file, meta) = self.open_trusted(name)?;
        read_bytes(&path, file, &meta)
    }

    fn open_trusted(&self, name: &str) -> Result<(PathBuf, File, fs::Metadata), HomeError> {
        let path = self.path(name);
        let (file, meta) = open_plain(&path)?;
        if meta.mode() & 0o022 != 0 {
            return Err(HomeError::LooseMode {
                path,
                mode: meta.mode() & 0o7777,
                want: 0o644,
            });
        }
        owned_by(&path, &meta, self.owner)?;
        Ok((path, file, meta))
    }

    /// Looks at modes and owners of every secret there is, so that a loose one
    /// is told before anything is served.
    ///
    /// # Errors
    /// [`HomeError`] names the first file that is not as it must be.
    pub fn inspect_secrets(&self) -> Result<(), HomeError> {
        let entries = fs::read_dir(&self.dir).map_err(at(&self.dir))?;
        for entry in entries {
            let path = entry.map_err(at(&self.dir))?.path();
            let name = path
                .file_name()
                .unwrap_or_default()
                .to_string_lossy()
                .into_owned();
            if name.starts_with(file::STORE) {
                private_store_file(&path)?;
            } else if name.ends_with(".key.pem") || name.ends_with(".key") {
                let (_, meta) = open_plain(&path)?;
                private(&path, &meta, 0o600)?;
            }
        }
        Ok(())
    }

    /// Writes a new file, whole or not at all.
    ///
    /// # Errors
    /// [`HomeError::Exists`] where there is one already.
    pub fn write_new(&self, name: &str, content: &[u8], mode: u32) -> Result<(), HomeError> {
        write_new(&self.path(name), content, mode)
    }

    /// Writes a file over what may be there, whole or not at all.
    ///
    /// # Errors
    /// [`HomeError::Io`].
    pub fn replace(&self, name: &str, content: &[u8], mode: u32) -> Result<(), HomeError> {
        replace(&self.path(name), content, mode)
    }

    /// Removes a file, for good.
    ///
    /// # Errors
    /// [`HomeError::Io`].
    pub fn remove(&self, name: &str) -> Result<(), HomeError> {
        let path = self.path(name);
        fs::remove_file(&path).map_err(at(&path))?;
        sync_parent(&path)
    }

    /// The same, where it may be gone already.
    ///
    /// # Errors
    /// [`HomeError::Io`].
    pub fn remove_if_there(&self, name: &str) -> Result<(), HomeError> {
        match self.remove(name) {
            Err(HomeError::Io { source, .. }) if source.kind() == io::ErrorKind::NotFound => Ok(()),
            other => other,
        }
    }

    /// Names in the directory that are text, sorted.
    ///
    /// # Errors
    /// [`HomeError::Io`].
    pub fn names(&self) -> Result<Vec<String>, HomeError> {
        let mut names = Vec::new();
        for entry in fs::read_dir(&self.dir).map_err(at(&self.dir))? {
            let name = entry.map_err(at(&self.dir))?.file_name();
            names.extend(name.into_string());
        }
        names.sort_unstable();
        Ok(names)
    }

    /// Makes sure that the store's file exists with mode 0600 before SQLite
    /// opens it: its WAL takes the mode over.
    ///
    /// # Errors
    /// [`HomeError`] where it exists with a looser mode.
    pub fn prepare_store(&self) -> Result<PathBuf, HomeError> {
        let path = self.path(file::STORE);
        match OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(&path)
        {
            // SQLite syncs the WAL's directory entry, but not that of a file
            // that it finds in place.
            Ok(_) => sync_parent(&path)?,
            Err(e) if e.kind() == io::ErrorKind::AlreadyExists => private_store_file(&path)?,
            Err(e) => return Err(at(&path)(e)),
        }
        Ok(path)
    }

    /// Takes the directory for one server.
    ///
    /// # Errors
    /// [`HomeError::InUse`].
    pub fn lock(&self) -> Result<HomeLock, HomeError> {
        let path = self.path(file::LOCK);
        let file = OpenOptions::new()
            .write(true)
            .create(true)
            .truncate(false)
            .mode(0o600)
            .custom_flags(libc::O_NOFOLLOW)
            .open(&path)
            .map_err(at(&path))?;
        match file.try_lock() {
            Ok(()) => Ok(HomeLock(file)),
            Err(fs::TryLockError::WouldBlock) => Err(HomeError::InUse {
                path: self.dir.clone(),
            }),
            Err(fs::TryLockError::Error(e)) => Err(at(&path)(e)),
        }
    }
}

/// A file of the store is looked at and never opened: a process that closes a
/// file gives up all of its POSIX locks on it, those of SQLite too. The next
/// program to leave the store would then take itself for the last one, and
/// delete the log from under the server.
fn private_store_file(path: &Path) -> Result<(), HomeError> {
    let meta = match fs::symlink_metadata(path) {
        // SQLite removes its log when the last program leaves.
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(()),
        meta => meta.map_err(at(path))?,
    };
    if !meta.is_file() {
        return Err(HomeError::NotPlain {
            path: path.to_owned(),
            expected: "file",
        });
    }
    private(path, &meta, 0o600)
}
