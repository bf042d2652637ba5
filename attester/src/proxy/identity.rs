//! The LDevID that a side-car shows: read again when `state.json` has changed,
//! with the TPM opened again when its connection is gone.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use std::os::unix::fs::MetadataExt;

use crate::AttesterError;
use crate::keys::Ldevid;
use crate::state::{Enrolled, STATE_FILE, StateView};
use crate::tpm::{Tpm, TpmError};

/// How a lost TPM is opened again.
type OpenTpm = Box<dyn Fn() -> Result<Tpm, TpmError> + Send + Sync>;

/// The LDevID of a state directory, kept up to date.
pub struct ProxyIdentity {
    state: PathBuf,
    ldevid: Ldevid,
    open_tpm: OpenTpm,
    current: Mutex<Current>,
}

struct Current {
    tpm: Tpm,
    enrolled: Enrolled,
    stamp: Option<Stamp>,
}

/// Every write of `state.json` is a new file.
#[derive(Clone, Copy, PartialEq, Eq)]
struct Stamp {
    inode: u64,
    modified: (i64, i64),
}

impl ProxyIdentity {
    /// `open_tpm` opens the TPM that enrolled, by the settings of the enrolment.
    ///
    /// # Errors
    /// [`AttesterError`] where there is no enrolment, or no TPM, or another one.
    pub fn open(
        state: &Path,
        open_tpm: impl Fn() -> Result<Tpm, TpmError> + Send + Sync + 'static,
    ) -> Result<Arc<Self>, AttesterError> {
        let stamp = stamp(state);
        let enrolled = StateView::open(state)?.require_enrolled()?;
        let tpm = open_tpm()?;
        tpm.storage_root(Some(&enrolled.keys.srk_name))?;
        Ok(Arc::new(Self {
            state: state.to_owned(),
            ldevid: Ldevid::of(&tpm, &enrolled),
            open_tpm: Box::new(open_tpm),
            current: Mutex::new(Current {
                tpm,
                enrolled,
                stamp,
            }),
        }))
    }

    /// For rustls.
    pub(super) fn ldevid(&self) -> Arc<Ldevid> {
        Arc::new(self.ldevid.clone())
    }

    /// Before a handshake: takes a renewal in. What cannot be read leaves the
    /// LDevID as it was; the peer sees whether it is still good.
    pub(super) fn refresh(&self) {
        let Ok(mut current) = self.current.lock() else {
            return;
        };
        let stamp = stamp(&self.state);
        if stamp == current.stamp {
            return;
        }
        match StateView::open(&self.state).and_then(|view| view.require_enrolled()) {
            Ok(enrolled) => {
                self.ldevid.replace(&current.tpm, &enrolled);
                tracing::info!(not_after = enrolled.not_after, "LDevID read again");
                current.enrolled = enrolled;
                current.stamp = stamp;
            }
            Err(error) => tracing::warn!(%error, "state directory: going on with the old LDevID"),
        }
    }

    /// After a handshake that failed on our side: opens the TPM again where the
    /// connection to it is gone (a resource manager that was restarted).
    pub(super) fn heal(&self) {
        let Ok(mut current) = self.current.lock() else {
            return;
        };
        let pinned = current.enrolled.keys.srk_name.clone();
        let Err(error) = current.tpm.storage_root(Some(&pinned)) else {
            return;
        };
        if !error.ends_connection() {
            tracing::warn!(%error, "TPM");
            return;
        }
        let opened = (self.open_tpm)().and_then(|tpm| {
            tpm.storage_root(Some(&pinned))?;
            Ok(tpm)
        });
        match opened {
            Ok(tpm) => {
                self.ldevid.replace(&tpm, &current.enrolled);
                current.tpm = tpm;
                tracing::info!("TPM opened again");
            }
            Err(error) => tracing::warn!(%error, "TPM not opened again"),
        }
    }
}

impl std::fmt::Debug for ProxyIdentity {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "ProxyIdentity({})", self.state.display())
    }
}

fn stamp(state: &Path) -> Option<Stamp> {
    let found = std::fs::symlink_metadata(state.join(STATE_FILE)).ok()?;
    Some(Stamp {
        inode: found.ino(),
        modified: (found.mtime(), found.mtime_nsec()),
    })
}
