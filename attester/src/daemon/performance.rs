//! Doing an act: the same conversations that `enroll`, `recover` and `attest`
//! hold, on a thread of their own. A TPM may take a minute for an answer and a
//! signature is made inside a TLS handshake: neither may keep the daemon from
//! its signals, its watchdog and its status.
//!
//! TPM, state directory and connection are opened for the act and given back
//! after it: so others get at the TPM in between, and a resource manager or
//! verifier that was restarted is met anew.

use std::path::PathBuf;
use std::time::Duration;

use tokio::sync::oneshot;

use super::planner::{Act, Ended, Trouble, Validity};
use crate::AttesterError;
use crate::attestation::exchange as attestation;
use crate::client::Verdict;
use crate::enrolment::bundle_file;
use crate::enrolment::exchange as enrolment;
use crate::enrolment::{KeyChoice, Road};
use crate::sealing::{OwnApprovals, read_approvals};
use crate::secrets::{DeliveryError, Listed, Taken};
use crate::state::{Enrolled, StateDir, StateError, StateView};
use crate::tpm::{Settings, TctiName, Tpm, TpmMake};

/// What acts are done with.
#[derive(Clone, Debug)]
pub struct Equipment {
    /// The TPM.
    pub tcti: TctiName,
    /// About the TPM.
    pub settings: Settings,
    /// The state directory.
    pub state_dir: PathBuf,
    /// The boot log.
    pub boot_log: PathBuf,
    /// The IMA log.
    pub ima_log: PathBuf,
    /// The bundle for a first enrolment.
    pub bundle: Option<PathBuf>,
    /// Approvals of boot states that the LDevID key of a first enrolment is to be
    /// bound to.
    pub bind_to_boot: Option<PathBuf>,
    /// Keys for a first enrolment.
    pub choice: KeyChoice,
    /// By whom the TPM is endorsed, in a first enrolment.
    pub road: Road,
}

/// An act that has ended, for the planner and for people.
#[derive(Debug)]
pub struct Performance {
    /// For the planner.
    pub ended: Ended,
    /// The Verifier's verdict, where there is one.
    pub verdict: Option<Verdict>,
    /// Why there is none.
    pub failure: Option<Failure>,
    /// What the TPM did for it; nothing where it was not reached.
    pub tpm: Option<TpmUse>,
    /// Within how long the Verifier wants heartbeats to begin, where it requires
    /// them.
    pub begin_beats: Option<Duration>,
}

/// A failure in words.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure {
    /// What went wrong.
    pub problem: String,
    /// What the operator can do.
    pub next_step: String,
    /// Whether it is the TPM's.
    pub of_tpm: bool,
}

/// What the TPM did in one act.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TpmUse {
    /// Whose it is.
    pub make: TpmMake,
    /// Commands sent.
    pub commands: u64,
    /// Their time.
    pub time: Duration,
    /// Commands that it answered by "try again".
    pub retries: u64,
}

impl Equipment {
    /// The enrolment in the state directory.
    ///
    /// # Errors
    /// Where the directory cannot be read.
    pub fn enrolled(&self) -> Result<Option<Enrolled>, StateError> {
        match StateView::open(&self.state_dir).and_then(|view| view.require_enrolled()) {
            Ok(enrolled) => Ok(Some(enrolled)),
            Err(StateError::NotEnrolled(_)) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// The TPM, as the enrolment uses it.
    pub(super) fn open_tpm(&self, enrolled: &Enrolled) -> Result<Tpm, AttesterError> {
        let settings = self.settings.made_with(enrolled.keys.srk_handle);
        Ok(Tpm::open_beside(&self.tcti, settings)?)
    }

    /// Does `act` on a thread of its own.
    #[must_use]
    pub fn start(&self, act: Act) -> oneshot::Receiver<Performance> {
        let (sender, receiver) = oneshot::channel();
        let equipment = self.clone();
        let thread = std::thread::Builder::new()
            .name(act.name().to_owned())
            .spawn(move || {
                // Nobody listens any more where the daemon ends.
                let _ = sender.send(equipment.perform(act));
            });
        if let Err(error) = thread {
            // The receiver hears that the sender is gone.
            tracing::error!(event = "act-not-started", act = act.name(), %error, "no thread");
        }
        receiver
    }

    fn perform(&self, act: Act) -> Performance {
        let (mut used, mut begin_beats) = (None, None);
        let outcome = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .map_err(|source| StateError::Io {
                path: self.state_dir.clone(),
                action: "start a runtime for",
                source,
            })
            .map_err(AttesterError::from)
            .and_then(|runtime| runtime.block_on(self.converse(act, &mut used, &mut begin_beats)));
        match outcome {
            Ok((affirmed, verdict)) => Performance {
                ended: match affirmed {
                    Some(granted) => Ended::Affirmed(granted),
                    None => Ended::Refused,
                },
                verdict: Some(verdict),
                failure: None,
                tpm: used,
                begin_beats,
            },
            Err(error) => Performance {
                ended: Ended::Failed(Trouble::of(&error)),
                verdict: None,
                failure: Some(Failure::of(&error)),
                tpm: used,
                begin_beats,
            },
        }
    }

    /// `None` in the place of the grant: refused.
    async fn converse(
        &self,
        act: Act,
        used: &mut Option<TpmUse>,
        begin_beats: &mut Option<Duration>,
    ) -> Result<(Option<Option<Validity>>, Verdict), AttesterError> {
        // Before the TPM: what is missing here needs none.
        let plan = match act {
            Act::Enrol => Some(self.enrolment()?),
            _ if self.enrolled()?.is_none() => {
                return Err(StateError::NotEnrolled(self.state_dir.clone()).into());
            }
            Act::Recover => None,
            Act::Attest | Act::Renew => None,
        };
        let state = StateDir::open(&self.state_dir)?;
        let enrolled = state.enrolled()?;
        let settings = match &enrolled {
            Some(enrolled) => self.settings.made_with(enrolled.keys.srk_handle),
            None => self.settings.clone(),
        };
        let tpm = Tpm::open_beside(&self.tcti, settings)?;
        let make = tpm.make()?;
        let outcome = self.hold(act, plan, (&tpm, &state), begin_beats).await;
        *used = Some(TpmUse {
            make,
            commands: tpm.command_count(),
            time: tpm.command_time(),
            retries: tpm.retry_count(),
        });
        outcome
    }

    async fn hold(
        &self,
        act: Act,
        plan: Option<enrolment::Plan>,
        (tpm, state): (&Tpm, &StateDir),
        begin_beats: &mut Option<Duration>,
    ) -> Result<(Option<Option<Validity>>, Verdict), AttesterError> {
        if let Act::Attest | Act::Renew = act {
            let plan = attestation::Plan {
                renew: act == Act::Renew,
                boot_log: self.boot_log.clone(),
                ima_log: self.ima_log.clone(),
                evidence_dir: None,
                ear_jwt: true,
            };
            let mut watch = |step: attestation::Step<'_>| match step {
                attestation::Step::SecretsTaken(taken) => secrets_taken(taken),
                attestation::Step::SecretsRefused(error) => secrets_refused(error),
                attestation::Step::HeartbeatsRequired(within) => *begin_beats = Some(within),
                step => tracing::debug!(?step, "attestation"),
            };
            return Ok(
                match attestation::attest(tpm, state, &plan, &mut watch).await? {
                    attestation::Outcome::Affirmed(verdict, granted) => {
                        let granted = granted.as_deref().map(Validity::of);
                        (Some(granted), verdict)
                    }
                    attestation::Outcome::Refused(verdict) => (None, verdict),
                },
            );
        }
        let plan = match plan {
            Some(plan) => plan,
            None => {
                let enrolled = state.require_enrolled()?;
                let mut plan = enrolment::Plan::recovery(&enrolled, self.boot_log.clone());
                plan.ima_log.clone_from(&self.ima_log);
                plan
            }
        };
        let mut watch = |step: enrolment::Step<'_>| match step {
            enrolment::Step::Retrying(error) | enrolment::Step::PendingRefused(error) => {
                tracing::debug!(%error, "enrolment");
            }
            enrolment::Step::EksLeftOut(error) => {
                tracing::warn!(%error, "going on without further EKs");
            }
            enrolment::Step::SecretsTaken(taken) => secrets_taken(taken),
            enrolment::Step::SecretsRefused(error) => secrets_refused(error),
            enrolment::Step::HeartbeatsRequired(within) => *begin_beats = Some(within),
            _ => {}
        };
        Ok(
            match enrolment::enrol(tpm, state, &plan, &mut watch).await? {
                enrolment::Outcome::Granted(enrolled, verdict) => {
                    (Some(Some(Validity::of(&enrolled))), verdict)
                }
                enrolment::Outcome::Refused(verdict) => (None, verdict),
            },
        )
    }

    fn enrolment(&self) -> Result<enrolment::Plan, AttesterError> {
        let bundle = match &self.bundle {
            Some(path) => bundle_file::read(path)?,
            None => return Err(StateError::NotEnrolled(self.state_dir.clone()).into()),
        };
        let mut plan = enrolment::Plan::from_bundle(&bundle, self.choice, self.boot_log.clone());
        plan.road = self.road;
        plan.ima_log.clone_from(&self.ima_log);
        if let Some(path) = &self.bind_to_boot {
            plan.binding = enrolment::Binding::To(OwnApprovals::check_for(
                read_approvals(path)?,
                &plan.policy_root_name,
                &plan.class,
            )?);
        }
        Ok(plan)
    }
}

impl Validity {
    /// The dates of an enrolment.
    #[must_use]
    pub fn of(enrolled: &Enrolled) -> Self {
        Self {
            renew_after: enrolled.renew_after,
            not_after: enrolled.not_after,
        }
    }
}

impl Failure {
    fn of(error: &AttesterError) -> Self {
        Self {
            problem: error.to_string(),
            next_step: error.next_step().to_owned(),
            of_tpm: matches!(error, AttesterError::Tpm(_)),
        }
    }

    /// The thread ended without a word: it panicked, or could not be started.
    pub(super) fn of_lost_thread() -> Self {
        Self {
            problem: "the thread that did it ended without a result".to_owned(),
            next_step: "report this with the log; it is tried again".to_owned(),
            of_tpm: false,
        }
    }
}

impl Trouble {
    /// What an error means for the plan.
    #[must_use]
    pub fn of(error: &AttesterError) -> Self {
        match error {
            AttesterError::Tpm(error) if error.is_passing() => Self::TpmBusy,
            AttesterError::State(StateError::Busy(_)) => Self::Passing { retry_after: None },
            AttesterError::State(StateError::NotEnrolled(_)) => Self::NotEnrolled,
            AttesterError::Client(error) => match error.kind() {
                Some("awaiting-approval") => Self::AwaitingApproval,
                Some("nothing-to-recover") => Self::NothingToRecover,
                Some("ldevid-not-good" | "no-ldevid") => Self::IdentityRefused,
                _ if error.is_identity_refused() => Self::IdentityRefused,
                _ if error.is_passing() || error.is_about_a_date() => Self::Passing {
                    retry_after: error.retry_after(),
                },
                _ => Self::Lasting,
            },
            _ => Self::Lasting,
        }
    }
}

fn secrets_taken(taken: &Taken) {
    for Listed { name, version } in &taken.taken {
        tracing::info!(event = "secret-taken", %name, version, "a secret came along");
    }
    for name in &taken.deleted {
        tracing::info!(event = "secret-deleted", %name, "a secret was taken back");
    }
    for name in &taken.awaited {
        tracing::warn!(event = "secret-awaited", %name, "a secret in force did not come");
    }
}

fn secrets_refused(error: &DeliveryError) {
    tracing::warn!(
        event = "secrets-refused",
        %error,
        next = error.next_step(),
        "secrets that came along were not taken"
    );
}
