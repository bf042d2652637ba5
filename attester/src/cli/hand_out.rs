//! Where a secret goes: stdout, a file, or a systemd credential. Never through
//! arguments, reports or logs.

use std::io::Write;
use std::path::{Path, PathBuf};

use clap::Args;
use holdfast_proto::secrets::SecretName;
use nix::sys::statfs::{TMPFS_MAGIC, statfs};

use super::report::Failure;
use crate::output;
use crate::sealing::SealError;

/// A credential is for its reader alone, and nobody writes to it.
const CREDENTIAL: u32 = 0o400;
/// Where systemd says that a unit's RuntimeDirectory= is.
const RUNTIME_DIRECTORY: &str = "RUNTIME_DIRECTORY";

/// Where the secret is to go.
#[derive(Debug, Args)]
pub(super) struct HandOut {
    /// Write to this file instead of stdout: mode 0600, whole or not at all
    #[arg(long, value_name = "FILE", conflicts_with = "credential")]
    output: Option<PathBuf>,
    /// Write to $RUNTIME_DIRECTORY/NAME, mode 0400, which must be in memory (systemd: RuntimeDirectory=)
    #[arg(long)]
    credential: bool,
}

/// A place that was looked at, and found fit.
#[derive(Debug)]
pub(super) enum Destination {
    Stdout,
    File(PathBuf, u32),
}

impl HandOut {
    /// What is wrong with it is told before the TPM is asked, and before
    /// anything is latched.
    pub(super) fn destination(&self, name: &SecretName) -> Result<Destination, Failure> {
        if let Some(path) = &self.output {
            output::directory_of(path).map_err(SealError::from)?;
            return Ok(Destination::File(path.clone(), output::PRIVATE));
        }
        if !self.credential {
            return Ok(Destination::Stdout);
        }
        let directory = std::env::var(RUNTIME_DIRECTORY).map_err(|_| {
            Failure::bad_input(
                format!("--credential: {RUNTIME_DIRECTORY} is not set"),
                "run it from a systemd unit with RuntimeDirectory=, or give --output FILE",
            )
        })?;
        let directory = directory.split(':').next().unwrap_or_default();
        let path = Path::new(directory).join(name.as_str());
        output::directory_of(&path).map_err(SealError::from)?;
        in_memory(Path::new(directory))?;
        Ok(Destination::File(path, CREDENTIAL))
    }
}

impl Destination {
    /// Hands the secret out. The file that it went to, if to one.
    pub(super) fn write(self, secret: &[u8]) -> Result<Option<PathBuf>, Failure> {
        match self {
            Self::Stdout => {
                let mut stdout = std::io::stdout();
                stdout
                    .write_all(secret)
                    .and_then(|()| stdout.flush())
                    .map_err(|e| {
                        Failure::refused(format!("stdout: {e}"), "see who reads the secret")
                    })?;
                Ok(None)
            }
            Self::File(path, mode) => {
                output::write(&path, mode, secret).map_err(SealError::from)?;
                Ok(Some(path))
            }
        }
    }
}

/// Asked of the directory itself, not of a table of mounts, which can be fooled
/// (CVE-2022-23948).
fn in_memory(directory: &Path) -> Result<(), SealError> {
    match statfs(directory) {
        Ok(found) if found.filesystem_type() == TMPFS_MAGIC => Ok(()),
        _ => Err(SealError::NotInMemory(directory.display().to_string())),
    }
}
