//! Why the simulator could not do what was asked.

use std::io;
use std::path::{Path, PathBuf};

use holdfast_proto::tpm::ParseError;
use thiserror::Error;

/// Why the simulator could not do what was asked. Each message ends with what
/// to do where there is something to do.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum SimError {
    /// A program that the simulator runs is not installed.
    #[error("{program} is not installed: run `apt-get install {package}`")]
    MissingProgram {
        /// The program.
        program: &'static str,
        /// The Debian package that has it.
        package: &'static str,
    },
    /// A file or socket could not be used.
    #[error("cannot {action} {}: {source}", path.display())]
    Io {
        /// What was tried.
        action: &'static str,
        /// On what.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// A path cannot be handed to swtpm.
    #[error("{}: {reason}", path.display())]
    Path {
        /// The path.
        path: PathBuf,
        /// Why not.
        reason: &'static str,
    },
    /// swtpm ended, or never answered.
    #[error("swtpm did not start ({log}): is another gateway using this directory or port?")]
    Swtpm {
        /// The end of its log, or what was waited for.
        log: String,
    },
    /// The simulated TPM could not be talked to.
    #[error(
        "the simulated TPM does not answer ({0}); is another program connected to it? swtpm serves one at a time"
    )]
    Silent(#[source] io::Error),
    /// The TPM refused a command.
    #[error("{command} answered {code:#05x}")]
    Refused {
        /// The command, in the words of TPM 2.0 Library Part 3.
        command: &'static str,
        /// `TPM_RC`
        code: u32,
    },
    /// The TPM's answer is not as the specification has it.
    #[error("{command}: malformed answer")]
    Malformed {
        /// The command.
        command: &'static str,
    },
    /// A TPM structure did not parse.
    #[error(transparent)]
    Structure(#[from] ParseError),
    /// A key or certificate could not be made or read.
    #[error("vendor CA: {0}")]
    Key(String),
}

impl SimError {
    /// For `map_err` on file operations.
    pub(crate) fn io(action: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Self + use<> {
        let path = path.to_owned();
        move |source| Self::Io {
            action,
            path,
            source,
        }
    }
}

impl From<rcgen::Error> for SimError {
    fn from(error: rcgen::Error) -> Self {
        Self::Key(error.to_string())
    }
}
