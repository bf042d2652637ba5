//! A CA key in a device, attended by one thread of its own: whoever wants a
//! signature waits for a bounded time, and a device that hangs holds up nobody
//! but those who wait for it.

use std::{
    fmt,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
        mpsc::{RecvTimeoutError, SyncSender, TrySendError, sync_channel},
    },
    thread,
    time::Duration,
};

use crate::identity::{CaPublic, CaSigner, SIGN_TIMEOUT, SignError};

/// Signatures that wait for the device. It makes a few in a second: more would
/// time out before their turn.
const QUEUE: usize = 16;

/// Why a device did not sign, or has no such key.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum DeviceError {
    /// It is not there, or does not answer as it should.
    #[error("not to be reached: {0}")]
    Unreachable(String),
    /// It is there and refused.
    #[error("refused: {0}")]
    Refused(String),
    /// PIN or passphrase. Not tried again by itself: devices lock.
    #[error("it does not take the PIN; this process does not try it again, for any key in it")]
    WrongPin,
    /// It has no such key.
    #[error("it has no key {0}")]
    NoKey(String),
    /// Another key is in the place of ours (C27).
    #[error(
        "another key is in its place: {found} instead of {expected}. Nothing is signed with it"
    )]
    Substituted {
        /// Name or public key that was recorded.
        expected: String,
        /// What is there.
        found: String,
    },
    /// The PIN is not had.
    #[error("{0}")]
    Secret(String),
}

/// A key in a device.
pub trait Device: Send + 'static {
    /// Signs a digest: `r ‖ s`, each of the length of a coordinate. Finds its
    /// device again where that was lost.
    ///
    /// # Errors
    /// [`DeviceError`].
    fn sign(&mut self, digest: &[u8]) -> Result<Vec<u8>, DeviceError>;
}

struct Request {
    digest: Vec<u8>,
    answer: SyncSender<Result<Vec<u8>, DeviceError>>,
}

/// A device as a [`CaSigner`].
pub struct DeviceSigner {
    public: CaPublic,
    what: String,
    requests: SyncSender<Request>,
    hung: Arc<AtomicBool>,
    patience: Duration,
}

impl DeviceSigner {
    /// Starts the thread. `public` is what the certificate says; `what` names
    /// the key in errors.
    ///
    /// # Errors
    /// [`DeviceError::Unreachable`] where no thread is to be had.
    pub fn attend(
        public: CaPublic,
        what: String,
        device: impl Device,
    ) -> Result<Self, DeviceError> {
        Self::attend_for(public, what, device, SIGN_TIMEOUT)
    }

    pub(super) fn attend_for(
        public: CaPublic,
        what: String,
        mut device: impl Device,
        patience: Duration,
    ) -> Result<Self, DeviceError> {
        let (requests, queue) = sync_channel::<Request>(QUEUE);
        let hung = Arc::new(AtomicBool::new(false));
        let answered = Arc::clone(&hung);
        thread::Builder::new()
            .name("ca-key".to_owned())
            .spawn(move || {
                // Ends with the last sender.
                while let Ok(Request { digest, answer }) = queue.recv() {
                    let result = device.sign(&digest);
                    answered.store(false, Ordering::Release);
                    // Whoever asked may have gone.
                    let _ = answer.try_send(result);
                }
            })
            .map_err(|e| DeviceError::Unreachable(e.to_string()))?;
        Ok(Self {
            public,
            what,
            requests,
            hung,
            patience,
        })
    }

    /// Signs, with the device's own words for what went wrong.
    pub(super) fn ask(&self, message: &[u8]) -> Result<Vec<u8>, Asked> {
        if self.hung.load(Ordering::Acquire) {
            return Err(Asked::Sign(SignError::Busy));
        }
        let (answer, answered) = sync_channel(1);
        let digest = self.public.curve().digest(message);
        match self.requests.try_send(Request { digest, answer }) {
            Ok(()) => {}
            Err(TrySendError::Full(_)) => return Err(Asked::Sign(SignError::Busy)),
            Err(TrySendError::Disconnected(_)) => return Err(self.ended()),
        }
        let raw = match answered.recv_timeout(self.patience) {
            Ok(result) => result.map_err(Asked::Device)?,
            Err(RecvTimeoutError::Timeout) => {
                // Until it answers again, nobody else waits for it.
                self.hung.store(true, Ordering::Release);
                return Err(Asked::Sign(SignError::TimedOut));
            }
            Err(RecvTimeoutError::Disconnected) => return Err(self.ended()),
        };
        self.public.curve().signature_der(&raw).ok_or_else(|| {
            Asked::Device(DeviceError::Refused(format!(
                "a signature of {} octets",
                raw.len()
            )))
        })
    }

    fn ended(&self) -> Asked {
        Asked::Device(DeviceError::Unreachable("its thread ended".to_owned()))
    }
}

/// What came of asking.
#[derive(Debug)]
pub(super) enum Asked {
    Device(DeviceError),
    Sign(SignError),
}

impl CaSigner for DeviceSigner {
    fn public(&self) -> &CaPublic {
        &self.public
    }

    fn sign(&self, message: &[u8]) -> Result<Vec<u8>, SignError> {
        self.ask(message).map_err(|asked| match asked {
            Asked::Sign(error) => error,
            Asked::Device(error @ DeviceError::Substituted { .. }) => {
                SignError::Substituted(format!("{}: {error}", self.what))
            }
            Asked::Device(error) => SignError::Unavailable(format!("{}: {error}", self.what)),
        })
    }
}

impl fmt::Debug for DeviceSigner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("DeviceSigner")
            .field("key", &self.what)
            .finish_non_exhaustive()
    }
}
