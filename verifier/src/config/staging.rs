//! A verifier's directory in the making: whole or not there.

use std::{
    fs, io,
    os::unix::fs::lchown,
    path::{Path, PathBuf},
};

use super::{
    Home, HomeError,
    files::{at, sync_parent},
};

/// A directory in the making, beside where it shall be; removed when dropped
/// before it is done.
#[derive(Debug)]
pub(crate) struct Staging {
    home: Home,
    done: bool,
}

impl Staging {
    /// Begins what shall become `dir`. Directories above are made as needed.
    ///
    /// # Errors
    /// [`HomeError::Io`]; [`HomeError::NotPlain`] where `dir` names nothing
    /// that could be made, as `/` or `..`.
    pub(crate) fn beside(dir: &Path) -> Result<Self, HomeError> {
        let parent = match dir.parent() {
            Some(parent) if !parent.as_os_str().is_empty() => parent,
            _ => Path::new("."),
        };
        fs::create_dir_all(parent).map_err(at(parent))?;
        let name = dir.file_name().ok_or_else(|| HomeError::NotPlain {
            path: dir.to_owned(),
            expected: "name of a directory",
        })?;
        let mut hidden = std::ffi::OsString::from(".");
        hidden.push(name);
        hidden.push(format!(".new-{}", std::process::id()));
        Ok(Self {
            home: Home::create(&parent.join(hidden))?,
            done: false,
        })
    }

    /// The directory, to fill it.
    pub(crate) fn home(&self) -> &Home {
        &self.home
    }

    /// Makes it another account's, with all that is in it. For root.
    ///
    /// # Errors
    /// [`HomeError::Io`].
    pub(crate) fn give_to(&self, uid: u32, gid: u32) -> Result<(), HomeError> {
        let dir = self.home.dir();
        for entry in fs::read_dir(dir).map_err(at(dir))? {
            let path = entry.map_err(at(dir))?.path();
            lchown(&path, Some(uid), Some(gid)).map_err(at(&path))?;
        }
        lchown(dir, Some(uid), Some(gid)).map_err(at(dir))
    }

    /// Renames to `dir`, which fails where something came there meanwhile (an
    /// empty directory is replaced).
    ///
    /// # Errors
    /// [`HomeError::Io`].
    pub(crate) fn become_dir(mut self, dir: &Path) -> Result<(), HomeError> {
        fs::rename(self.home.dir(), dir).map_err(at(dir))?;
        self.done = true;
        sync_parent(dir)
    }
}

impl Drop for Staging {
    fn drop(&mut self) {
        if !self.done {
            let _ = fs::remove_dir_all(self.home.dir());
        }
    }
}

/// So that nothing is made for nothing; [`Staging::become_dir`] looks again.
///
/// # Errors
/// [`HomeError::Exists`] where there is something in `dir`,
/// [`HomeError::NotPlain`] where it is no directory.
pub(crate) fn expect_absent_or_empty(dir: &Path) -> Result<(), HomeError> {
    let path = || PathBuf::from(dir);
    match fs::symlink_metadata(dir) {
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(e) => return Err(at(dir)(e)),
        Ok(meta) if !meta.is_dir() => {
            return Err(HomeError::NotPlain {
                path: path(),
                expected: "directory",
            });
        }
        Ok(_) => {}
    }
    match fs::read_dir(dir).map_err(at(dir))?.next() {
        None => Ok(()),
        Some(_) => Err(HomeError::Exists { path: path() }),
    }
}
