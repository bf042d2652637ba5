//! The TPM: one dedicated thread owns the TSS context (it is `&mut` and
//! blocking); everybody else holds a [`Tpm`], a cheap handle that sends typed
//! commands and gets typed answers. Nothing of tss-esapi leaves this room.

mod activation;
mod ak;
mod attestation;
mod connect;
mod convert;
mod devid;
mod devid_csr;
mod endorsement;
mod engine;
mod error;
mod facts;
mod imported;
mod issuer;
mod meter;
mod nv;
mod sealing;
mod secret;
mod storage;
mod tcti;

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::mpsc::{self, RecvTimeoutError, Sender};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::Duration;

pub use ak::Ak;
pub use attestation::{Attestation, AttestationKey, PcrValues};
pub use devid::{DeviceIdentity, DeviceIdentityFindings, DeviceKey, DeviceKeySource};
pub use devid_csr::DevidMaking;
pub use endorsement::{EkCertificates, EkChoice, EndorsementKey};
pub use error::TpmError;
pub use facts::{PcrBank, SrkOccupant, TpmFacts, TpmMake};
pub use imported::{ImportedObject, ImportedUse};
pub use issuer::Issuer;
pub use sealing::{ApprovedState, PinnedEk, Unlock};
pub use secret::{AuthFileError, AuthValue};
pub use storage::{KeyBlob, KeyBlobError, StorageRoot};
pub use tcti::{DEFAULT_DEVICE, TctiName, TctiNameError};

use engine::{Engine, Manners};
use meter::Meter;

/// The storage root key's customary persistent handle (TCG Provisioning
/// Guidance §7.8).
pub const DEFAULT_SRK_HANDLE: u32 = 0x8100_0001;

/// Longest wait for an answer. Creating an RSA primary takes a slow discrete
/// TPM up to a minute.
const ANSWER_LIMIT: Duration = Duration::from_secs(180);
/// Openings that were given up and still hang in libtss2.
static HANGING: AtomicUsize = AtomicUsize::new(0);
/// So many are let hang: a daemon that tries again for days must not gather
/// threads. As soon as one of them comes back, there is a next try.
const MAX_HANGING: usize = 3;
/// Longest wait for a connection and its first commands, none of which is
/// slow: longer means that another program has the TPM, or nobody reads there.
const OPEN_LIMIT: Duration = Duration::from_secs(10);
/// How long the salted session is kept for a next command before it gives its
/// slot back.
const SESSION_REST: Duration = Duration::from_millis(500);

/// What the operator sets about the TPM.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Persistent handle of the storage root key.
    pub srk_handle: u32,
    /// Auth value of the endorsement hierarchy, where it is not empty.
    pub endorsement_auth: Option<AuthValue>,
    /// Auth value of the owner hierarchy, where it is not empty.
    pub owner_auth: Option<AuthValue>,
}

impl Settings {
    /// The same for an enrolment whose storage root is at `srk_handle`: that
    /// wins over the default, so that nobody has to remember it.
    #[must_use]
    pub fn made_with(&self, srk_handle: u32) -> Self {
        let mut settings = self.clone();
        if settings.srk_handle == DEFAULT_SRK_HANDLE {
            settings.srk_handle = srk_handle;
        }
        settings
    }
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            srk_handle: DEFAULT_SRK_HANDLE,
            endorsement_auth: None,
            owner_auth: None,
        }
    }
}

/// A handle to the TPM thread. The last clone to go ends the thread, which
/// flushes what it had in the TPM.
#[derive(Clone)]
pub struct Tpm {
    thread: Arc<Thread>,
}

type Job = Box<dyn FnOnce(&mut Engine) + Send>;

struct Thread {
    jobs: Mutex<Option<Sender<Job>>>,
    handle: Mutex<Option<JoinHandle<()>>>,
    meter: Arc<Meter>,
    tcti: TctiName,
    stuck: AtomicBool,
}

impl Tpm {
    /// Connects with the usual settings.
    ///
    /// # Errors
    /// [`TpmError`] says why the TPM cannot be reached.
    pub fn open(tcti: &TctiName) -> Result<Self, TpmError> {
        Self::open_with(tcti, Settings::default())
    }

    /// Connects.
    ///
    /// # Errors
    /// [`TpmError`] says why the TPM cannot be reached.
    pub fn open_with(tcti: &TctiName, settings: Settings) -> Result<Self, TpmError> {
        Self::open_as(tcti, settings, Manners::Alone)
    }

    /// Connects beside other programs: without a resource manager (swtpm), what
    /// is loaded already is theirs and stays.
    ///
    /// # Errors
    /// [`TpmError`] says why the TPM cannot be reached.
    pub fn open_beside(tcti: &TctiName, settings: Settings) -> Result<Self, TpmError> {
        Self::open_as(tcti, settings, Manners::Beside)
    }

    fn open_as(tcti: &TctiName, settings: Settings, manners: Manners) -> Result<Self, TpmError> {
        let meter = Arc::new(Meter::default());
        let (jobs, inbox) = mpsc::channel::<Job>();
        if HANGING.load(Ordering::Relaxed) >= MAX_HANGING {
            return Err(TpmError::NoAnswer {
                seconds: OPEN_LIMIT.as_secs(),
            });
        }
        // Without room: a thread that nobody waits for any more finds it out.
        let (ready, opened) = mpsc::sync_channel(0);
        let (name, thread_meter) = (tcti.clone(), Arc::clone(&meter));
        let handle = std::thread::Builder::new()
            .name("tpm".to_owned())
            .spawn(
                move || match Engine::open(&name, settings, thread_meter, manners) {
                    Ok(engine) => match ready.send(Ok(())) {
                        Ok(()) => serve(engine, &inbox),
                        Err(_) => forget_hanging(),
                    },
                    Err(error) => {
                        if ready.send(Err(error)).is_err() {
                            forget_hanging();
                        }
                    }
                },
            )
            .map_err(|e| TpmError::Unreachable {
                tcti: tcti.to_string(),
                reason: e.to_string(),
            })?;
        match opened.recv_timeout(OPEN_LIMIT) {
            Ok(opened) => opened?,
            // The thread hangs in libtss2; it ends when the TPM answers, or with
            // the process.
            Err(RecvTimeoutError::Timeout) => {
                HANGING.fetch_add(1, Ordering::Relaxed);
                return Err(TpmError::NoAnswer {
                    seconds: OPEN_LIMIT.as_secs(),
                });
            }
            Err(RecvTimeoutError::Disconnected) => return Err(TpmError::ThreadGone),
        }
        Ok(Self {
            thread: Arc::new(Thread {
                jobs: Mutex::new(Some(jobs)),
                handle: Mutex::new(Some(handle)),
                meter,
                tcti: tcti.clone(),
                stuck: AtomicBool::new(false),
            }),
        })
    }

    /// Gives the TPM back, though there may be copies of this handle in what has
    /// no more use for it, as a connection has once its handshake is over: from
    /// now on they get [`TpmError::ThreadGone`].
    pub fn give_back(self) {
        self.thread.end();
    }

    /// Where this TPM is.
    #[must_use]
    pub fn tcti(&self) -> &TctiName {
        &self.thread.tcti
    }

    /// Summed wall time of all TPM commands so far.
    #[must_use]
    pub fn command_time(&self) -> Duration {
        self.thread.meter.time()
    }

    /// How many commands the TPM answered by "try again" so far.
    #[must_use]
    pub fn retry_count(&self) -> u64 {
        self.thread.meter.retries()
    }

    /// Number of TPM commands so far.
    #[must_use]
    pub fn command_count(&self) -> u64 {
        self.thread.meter.commands()
    }

    /// Runs blocking TPM work from async code, off the runtime's own threads.
    ///
    /// # Errors
    /// What `work` returns; [`TpmError::ThreadGone`] (as `E`) where it panicked.
    pub async fn offload<T, E>(
        &self,
        work: impl FnOnce(&Tpm) -> Result<T, E> + Send + 'static,
    ) -> Result<T, E>
    where
        T: Send + 'static,
        E: From<TpmError> + Send + 'static,
    {
        let tpm = self.clone();
        match tokio::task::spawn_blocking(move || work(&tpm)).await {
            Ok(outcome) => outcome,
            Err(_) => Err(E::from(TpmError::ThreadGone)),
        }
    }

    /// Sends a job to the TPM thread and waits for its answer. A job that
    /// fails also ends the salted session: whatever state it was in.
    fn call<T: Send + 'static>(
        &self,
        job: impl FnOnce(&mut Engine) -> Result<T, TpmError> + Send + 'static,
    ) -> Result<T, TpmError> {
        let (reply, answer) = mpsc::sync_channel(1);
        let job: Job = Box::new(move |engine| {
            let outcome = job(engine);
            if outcome.is_err() {
                engine.end_session();
            }
            // The caller may have given up waiting.
            let _ = reply.send(outcome);
        });
        self.thread.send(job)?;
        match answer.recv_timeout(ANSWER_LIMIT) {
            Ok(outcome) => outcome,
            Err(RecvTimeoutError::Timeout) => {
                self.thread.stuck.store(true, Ordering::Relaxed);
                Err(TpmError::NoAnswer {
                    seconds: ANSWER_LIMIT.as_secs(),
                })
            }
            Err(RecvTimeoutError::Disconnected) => Err(TpmError::ThreadGone),
        }
    }
}

impl std::fmt::Debug for Tpm {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Tpm({})", self.thread.tcti)
    }
}

impl Thread {
    fn send(&self, job: Job) -> Result<(), TpmError> {
        let jobs = self.jobs.lock().map_err(|_| TpmError::ThreadGone)?;
        let sender = jobs.as_ref().ok_or(TpmError::ThreadGone)?;
        sender.send(job).map_err(|_| TpmError::ThreadGone)
    }
}

impl Drop for Thread {
    fn drop(&mut self) {
        self.end();
    }
}

impl Thread {
    fn end(&self) {
        // Closing the inbox ends the thread's loop; waiting for it lets it
        // flush before the process exits.
        if let Ok(mut jobs) = self.jobs.lock() {
            jobs.take();
        }
        let handle = self.handle.lock().ok().and_then(|mut handle| handle.take());
        if let Some(handle) = handle
            && !self.stuck.load(Ordering::Relaxed)
        {
            let _ = handle.join();
        }
    }
}

/// An opening that was given up came back.
fn forget_hanging() {
    HANGING.fetch_sub(1, Ordering::Relaxed);
}

fn serve(mut engine: Engine, inbox: &mpsc::Receiver<Job>) {
    loop {
        let next = if engine.has_session() {
            inbox.recv_timeout(SESSION_REST)
        } else {
            inbox.recv().map_err(|_| RecvTimeoutError::Disconnected)
        };
        match next {
            Ok(job) => job(&mut engine),
            Err(RecvTimeoutError::Timeout) => engine.end_session(),
            Err(RecvTimeoutError::Disconnected) => return,
        }
    }
}
