//! Where the demonstration happens: its directory, cleaned of what an earlier
//! one left, and the programs that act in it.

use std::fs::{self, File, TryLockError};
use std::io;
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};

use crate::Failure;

/// Says that a directory is ours to clean; locked while we are in it.
const MARKER: &str = ".holdfast-demo";
/// All that the demonstration ever puts into its directory, beside the marker.
const FILES: [&str; 3] = ["ldevid.pem", "ca.pem", "ear.jwt"];
const DIRECTORIES: [&str; 2] = ["evidence", "work"];

/// The demonstration's directory, held until the end.
pub(crate) struct Stage {
    out: PathBuf,
    _lock: File,
}

impl Stage {
    /// Makes the directory, or clears it of an earlier demonstration and of
    /// nothing else.
    pub(crate) fn set(out: &Path) -> Result<Self, Failure> {
        let failed = |path: &Path, error: io::Error| {
            Failure::Failed(format!("cannot prepare {}: {error}", path.display()))
        };
        fs::create_dir_all(out).map_err(|error| failed(out, error))?;
        // Absolute: programs with other working directories get these paths.
        let out = fs::canonicalize(out).map_err(|error| failed(out, error))?;
        let marker = out.join(MARKER);
        let mut entries = fs::read_dir(&out).map_err(|error| failed(&out, error))?;
        if !marker.exists() && entries.next().is_some() {
            return Err(Failure::BadInput(format!(
                "{} is not empty, and no demonstration made it: name another directory with --out",
                out.display()
            )));
        }
        let lock = File::create(&marker).map_err(|error| failed(&marker, error))?;
        match lock.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                return Err(Failure::BadInput(format!(
                    "another demonstration is running in {}",
                    out.display()
                )));
            }
            Err(TryLockError::Error(error)) => return Err(failed(&marker, error)),
        }
        let stage = Self { out, _lock: lock };
        for name in FILES {
            absent_is_fine(fs::remove_file(stage.out.join(name)))
                .map_err(|error| failed(&stage.out.join(name), error))?;
        }
        for name in DIRECTORIES {
            // Of a symbolic link only the link goes.
            absent_is_fine(fs::remove_dir_all(stage.out.join(name)))
                .map_err(|error| failed(&stage.out.join(name), error))?;
        }
        for dir in [stage.work(), stage.logs()] {
            let mut builder = fs::DirBuilder::new();
            builder
                .mode(0o700)
                .create(&dir)
                .map_err(|error| failed(&dir, error))?;
        }
        Ok(stage)
    }

    pub(crate) fn out(&self) -> &Path {
        &self.out
    }

    /// The LDevID: leaf, then issuing CA.
    pub(crate) fn ldevid(&self) -> PathBuf {
        self.out.join("ldevid.pem")
    }

    /// The root that LDevIDs chain to.
    pub(crate) fn ca(&self) -> PathBuf {
        self.out.join("ca.pem")
    }

    /// The affirming attestation result.
    pub(crate) fn ear(&self) -> PathBuf {
        self.out.join("ear.jwt")
    }

    /// The evidence of the enrolment.
    pub(crate) fn evidence(&self) -> PathBuf {
        self.out.join("evidence")
    }

    /// Everything behind the scenes.
    pub(crate) fn work(&self) -> PathBuf {
        self.out.join("work")
    }

    /// What every program printed.
    pub(crate) fn logs(&self) -> PathBuf {
        self.work().join("logs")
    }

    /// The owner's side.
    pub(crate) fn verifier(&self) -> PathBuf {
        self.work().join("verifier")
    }

    /// The simulated machine.
    pub(crate) fn gateway(&self) -> PathBuf {
        self.work().join("gateway")
    }

    /// The attester's state on it.
    pub(crate) fn gateway_state(&self) -> PathBuf {
        self.work().join("gateway-state")
    }

    /// The simulated TPM vendor.
    pub(crate) fn vendor(&self) -> PathBuf {
        self.work().join("tpm-vendor")
    }

    /// Reads one of the files above.
    pub(crate) fn read(path: &Path) -> Result<Vec<u8>, Failure> {
        fs::read(path)
            .map_err(|error| Failure::Failed(format!("cannot read {}: {error}", path.display())))
    }

    /// Copies a file to where it is left for the reader.
    pub(crate) fn leave(from: &Path, to: &Path) -> Result<(), Failure> {
        let copied = fs::copy(from, to);
        copied.map(drop).map_err(|error| {
            Failure::Failed(format!(
                "cannot copy {} to {}: {error}",
                from.display(),
                to.display()
            ))
        })
    }
}

fn absent_is_fine(done: io::Result<()>) -> io::Result<()> {
    match done {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        done => done,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn clears_what_it_made_and_nothing_else() {
        let dir = tempfile::tempdir().unwrap();
        let out = dir.path().join("demo");
        let stage = Stage::set(&out).unwrap();
        fs::write(stage.ldevid(), "old").unwrap();
        fs::write(out.join("notes.txt"), "mine").unwrap();
        fs::write(stage.work().join("old"), "old").unwrap();
        drop(stage);
        let stage = Stage::set(&out).unwrap();
        assert!(!stage.ldevid().exists() && !stage.work().join("old").exists());
        assert_eq!(fs::read(out.join("notes.txt")).unwrap(), b"mine");
    }

    #[test]
    fn refuses_a_directory_that_it_did_not_make() {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join("thesis.tex"), "years").unwrap();
        assert!(matches!(Stage::set(dir.path()), Err(Failure::BadInput(_))));
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1);
    }

    #[test]
    fn does_not_follow_a_link_out_of_the_directory() {
        let dir = tempfile::tempdir().unwrap();
        let (out, outside) = (dir.path().join("demo"), dir.path().join("outside"));
        drop(Stage::set(&out).unwrap());
        fs::create_dir(&outside).unwrap();
        fs::write(outside.join("file"), "mine").unwrap();
        fs::remove_dir_all(out.join("work")).unwrap();
        std::os::unix::fs::symlink(&outside, out.join("work")).unwrap();
        let _stage = Stage::set(&out).unwrap();
        assert_eq!(fs::read(outside.join("file")).unwrap(), b"mine");
    }

    #[test]
    fn two_at_once_do_not_share_a_directory() {
        let dir = tempfile::tempdir().unwrap();
        let out = dir.path().join("demo");
        let _first = Stage::set(&out).unwrap();
        assert!(matches!(Stage::set(&out), Err(Failure::BadInput(_))));
    }
}
