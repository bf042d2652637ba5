//! One daemon for one state directory. A lock of its own: the daemon takes the
//! directory's lock only while it acts, so that commands get their turn.

use std::fs::File;
use std::path::Path;

use super::StateError;
use super::files::Dir;

/// What the daemon last said of itself.
pub(crate) const STATUS_FILE: &str = "status.json";
const LOCK: &str = "run.lock";

/// Held by the one daemon of a state directory.
#[derive(Debug)]
pub struct InstanceLock {
    dir: Dir,
    /// Held, not read: the lock goes with it.
    _lock: File,
}

impl InstanceLock {
    /// Takes it, making the directory where it does not exist.
    ///
    /// # Errors
    /// [`StateError::Busy`] where another daemon runs.
    pub fn take(path: &Path) -> Result<Self, StateError> {
        let dir = Dir::open_or_create(path)?;
        let lock = dir.lock(LOCK)?;
        Ok(Self { dir, _lock: lock })
    }

    /// Keeps the daemon's status, for `status` after it has ended.
    pub(crate) fn write_status(&self, json: &[u8]) -> Result<(), StateError> {
        self.dir.write_copy(STATUS_FILE, json)
    }
}
