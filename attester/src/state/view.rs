//! The state directory for whoever only reads: without the lock, so that a
//! program that runs for months does not stand in the way of a renewal.

use std::path::Path;

use super::files::Dir;
use super::{Enrolled, MAX_STATE_FILE, PENDING, STATE, StateError};
use crate::sealing::equip;

/// The state directory, as others write it. `state.json` is replaced in one
/// rename: a reader sees the old enrolment or the new one.
#[derive(Debug)]
pub struct StateView {
    dir: Dir,
}

impl StateView {
    /// Opens the directory, and checks owner and modes.
    ///
    /// # Errors
    /// [`StateError::NotEnrolled`] where there is none; else as
    /// [`super::StateDir::open`].
    pub fn open(path: &Path) -> Result<Self, StateError> {
        Ok(Self {
            dir: Dir::open_existing(path)?,
        })
    }

    /// Where it is.
    #[must_use]
    pub fn path(&self) -> &Path {
        self.dir.path()
    }

    /// A file of another room's; `None` where it does not exist.
    pub(crate) fn read_file(&self, name: &str, max: u64) -> Result<Option<Vec<u8>>, StateError> {
        self.dir.read(name, max)
    }

    /// Whether an enrolment was sent and not answered.
    ///
    /// # Errors
    /// As [`StateView::require_enrolled`], but for a missing one.
    pub fn has_pending(&self) -> Result<bool, StateError> {
        Ok(self.dir.read(PENDING, MAX_STATE_FILE)?.is_some())
    }

    /// The enrolment now in force.
    ///
    /// # Errors
    /// [`StateError::NotEnrolled`] where there is none,
    /// [`StateError::Damaged`] where it is not what this program writes.
    pub fn require_enrolled(&self) -> Result<Enrolled, StateError> {
        let path = self.dir.path();
        let bytes = self
            .dir
            .read(STATE, MAX_STATE_FILE)?
            .ok_or_else(|| StateError::NotEnrolled(path.to_owned()))?;
        let enrolled = Enrolled::from_json(&bytes).map_err(|problem| StateError::Damaged {
            path: path.join(STATE),
            problem,
        })?;
        equip(enrolled, |name, max| self.dir.read(name, max))
    }
}
