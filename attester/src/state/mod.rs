//! The state directory: what the gateway keeps between runs.
//!
//! `state.json` is the one truth and is replaced in one rename; the other
//! files are copies for people and tools, written again whenever they are not
//! what `state.json` says. `pending.json` holds an enrolment under way: it is
//! written before `Enroll` is sent, so a run killed at any point can be
//! repeated. Nothing in here works without the TPM that made it: the LDevID
//! key is wrapped by its storage root, and the AK is only a recipe.

mod certificate;
mod files;
mod instance;
mod pem;
mod record;
mod view;

use std::fs::File;
use std::path::{Path, PathBuf};

use holdfast_proto::tpm::Name;
use thiserror::Error;

pub use certificate::CertificateWords;
pub use instance::InstanceLock;
pub(crate) use instance::STATUS_FILE;
pub use record::{Enrolled, Keys, Pending, Server};
pub use view::StateView;

use crate::sealing::equip;
use files::{Dir, MAX_STATE_FILE};

/// The one truth; each write of it is a new file in its place.
pub(crate) const STATE_FILE: &str = "state.json";
const STATE: &str = STATE_FILE;
const PENDING: &str = "pending.json";
const LOCK: &str = "lock";
const EAR: &str = "ear.jwt";

/// Where the attester keeps its state unless told otherwise.
pub const DEFAULT_DIR: &str = "/var/lib/holdfast";

/// The state directory, locked for this process.
#[derive(Debug)]
pub struct StateDir {
    dir: Dir,
    /// Held, not read: the lock goes with it.
    _lock: File,
}

/// Why the state directory cannot be used.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum StateError {
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
    /// A symbolic link where a file or directory must be.
    #[error("{} is a symbolic link", .0.display())]
    Symlink(PathBuf),
    /// Neither the directory nor the regular file that it must be.
    #[error("{} is not a {expected}", path.display())]
    Kind {
        /// The path.
        path: PathBuf,
        /// What it should be.
        expected: &'static str,
    },
    /// It belongs to somebody else.
    #[error("{} belongs to user {owner}, not to user {own}", path.display())]
    Owner {
        /// The path.
        path: PathBuf,
        /// Its owner's id.
        owner: u32,
        /// Whose it must be: this process's effective user, or for root the
        /// directory's owner.
        own: u32,
    },
    /// Others may read or write it.
    #[error("{} has mode {mode:04o}: others have access; chmod {wanted:04o} it", path.display())]
    Mode {
        /// The path.
        path: PathBuf,
        /// Its permission bits.
        mode: u32,
        /// What they should be.
        wanted: u32,
    },
    /// Larger than anything this program writes.
    #[error("{} is larger than {max} bytes", path.display())]
    TooLarge {
        /// The file.
        path: PathBuf,
        /// The limit.
        max: u64,
    },
    /// Another process has it.
    #[error("{} is in use by another holdfast-attester", .0.display())]
    Busy(PathBuf),
    /// The content is not what this version writes.
    #[error("{} is damaged: {problem}", path.display())]
    Damaged {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        problem: String,
    },
    /// There is no state.
    #[error("{} holds no enrolment", .0.display())]
    NotEnrolled(PathBuf),
    /// An enrolment by an IAK, of a version that did not keep which EK it showed.
    #[error("the enrolment does not say which endorsement key this TPM showed")]
    EkUnknown,
}

impl StateError {
    /// What the operator can do.
    #[must_use]
    pub fn next_step(&self) -> &'static str {
        match self {
            Self::NotEnrolled(_) => {
                "enrol first: holdfast-attester enroll --bundle FILE (or give the right --state-dir)"
            }
            Self::EkUnknown => {
                "enrol anew, which shows it: holdfast-attester enroll --replace --bundle FILE, with a new bundle; what is sealed stays"
            }
            Self::Busy(_) => "wait for the other process to end",
            Self::Damaged { .. } => {
                "restore the file from a backup of this machine, or enrol anew with an empty --state-dir"
            }
            Self::Io { .. } => "check the path given by --state-dir, and the user that runs this",
            _ => {
                "repair owner and mode (directory 0700, files 0600), after finding out who changed them"
            }
        }
    }
}

impl StateDir {
    /// Opens the directory, making it where it does not exist, and checks
    /// owner and modes. Finishes what a killed run left half done.
    ///
    /// # Errors
    /// [`StateError`] names the path and what is wrong with it.
    pub fn open(path: &Path) -> Result<Self, StateError> {
        let dir = Dir::open_or_create(path)?;
        let lock = dir.lock(LOCK)?;
        let state = Self { dir, _lock: lock };
        if let Some(enrolled) = state.enrolled()? {
            if state
                .pending()?
                .is_some_and(|pending| pending.keys == enrolled.keys)
            {
                state.clear_pending()?;
            }
            state.write_copies(&enrolled)?;
        }
        Ok(state)
    }

    /// Where it is.
    #[must_use]
    pub fn path(&self) -> &Path {
        self.dir.path()
    }

    /// The enrolment, where there is one.
    ///
    /// # Errors
    /// [`StateError::Damaged`] where the file is not what this program writes.
    pub fn enrolled(&self) -> Result<Option<Enrolled>, StateError> {
        match self.read_json(STATE, Enrolled::from_json)? {
            Some(enrolled) => equip(enrolled, |name, max| self.dir.read(name, max)).map(Some),
            None => Ok(None),
        }
    }

    /// The enrolment.
    ///
    /// # Errors
    /// [`StateError::NotEnrolled`] where there is none.
    pub fn require_enrolled(&self) -> Result<Enrolled, StateError> {
        self.enrolled()?
            .ok_or_else(|| StateError::NotEnrolled(self.path().to_owned()))
    }

    /// An enrolment that was sent and whose answer never arrived.
    ///
    /// # Errors
    /// [`StateError::Damaged`] where the file is not what this program writes.
    pub fn pending(&self) -> Result<Option<Pending>, StateError> {
        self.read_json(PENDING, Pending::from_json)
    }

    /// The Name of the storage root that this state was made with.
    ///
    /// # Errors
    /// As [`StateDir::enrolled`].
    pub fn pinned_root(&self) -> Result<Option<Name>, StateError> {
        if let Some(enrolled) = self.enrolled()? {
            return Ok(Some(enrolled.keys.srk_name));
        }
        Ok(self.pending()?.map(|pending| pending.keys.srk_name))
    }

    /// Records an enrolment that is about to be sent.
    ///
    /// # Errors
    /// [`StateError::Io`]; then nothing may be sent.
    pub fn set_pending(&self, pending: &Pending) -> Result<(), StateError> {
        self.dir.write(PENDING, &pending.to_json())
    }

    /// Forgets a pending enrolment.
    ///
    /// # Errors
    /// [`StateError::Io`].
    pub fn clear_pending(&self) -> Result<(), StateError> {
        self.dir.remove(PENDING)
    }

    /// Makes a granted enrolment, or renewal, the one in force. After the
    /// rename inside, a killed run counts as enrolled.
    ///
    /// # Errors
    /// [`StateError::Io`]; the previous state is then still in force.
    pub fn promote(&self, enrolled: &Enrolled) -> Result<(), StateError> {
        self.dir.write(STATE, &enrolled.to_json())?;
        self.clear_pending()?;
        self.write_copies(enrolled)
    }

    /// Keeps the last attestation result, whatever it says.
    ///
    /// # Errors
    /// [`StateError::Io`].
    pub fn write_ear(&self, jwt: &str) -> Result<(), StateError> {
        self.dir.write_copy(EAR, jwt.as_bytes())
    }

    /// A file of another room's; `None` where it does not exist.
    pub(crate) fn read_file(&self, name: &str, max: u64) -> Result<Option<Vec<u8>>, StateError> {
        self.dir.read(name, max)
    }

    /// Replaces a file of another room's, durably.
    pub(crate) fn write_file(&self, name: &str, content: &[u8]) -> Result<(), StateError> {
        self.dir.write(name, content)
    }

    fn write_copies(&self, enrolled: &Enrolled) -> Result<(), StateError> {
        let ldevid = &enrolled.keys.ldevid;
        let copies = [
            (
                "ldevid.pem",
                pem::certificates(&enrolled.ldevid_chain).into_bytes(),
            ),
            ("ldevid.pub", ldevid.encode_public()),
            ("ldevid.priv", ldevid.encode_private()),
            (
                "server-ca.pem",
                pem::certificates([&enrolled.server.ca_der]).into_bytes(),
            ),
        ];
        for (name, content) in copies {
            if self.dir.read(name, MAX_STATE_FILE)?.as_deref() != Some(&content) {
                self.dir.write_copy(name, &content)?;
            }
        }
        Ok(())
    }

    fn read_json<T>(
        &self,
        name: &str,
        parse: impl FnOnce(&[u8]) -> Result<T, String>,
    ) -> Result<Option<T>, StateError> {
        let Some(bytes) = self.dir.read(name, MAX_STATE_FILE)? else {
            return Ok(None);
        };
        parse(&bytes)
            .map(Some)
            .map_err(|problem| StateError::Damaged {
                path: self.dir.path().join(name),
                problem,
            })
    }
}

/// Certificates as a PEM file.
#[must_use]
pub fn certificates_to_pem<C: AsRef<[u8]>>(chain: impl IntoIterator<Item = C>) -> String {
    pem::certificates(chain)
}

/// One PEM block.
pub(crate) fn pem_block(label: &str, der: &[u8]) -> String {
    pem::block(label, der)
}

#[cfg(test)]
mod tests;
