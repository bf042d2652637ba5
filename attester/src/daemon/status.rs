//! What the daemon tells of itself: for operators, for programs, and for the
//! next run of `status` after it has ended. No secret is in it.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::heartbeats::Heartbeats;
use super::performance::{Failure, Performance};
use super::planner::{Act, Ended, Next, Now};
use crate::client::Verdict;
use crate::state::{CertificateWords, Enrolled};
use crate::tpm::TctiName;

/// Of the JSON object; it grows by new fields without changing.
const VERSION: u32 = 1;

/// How the gateway stands with its Verifier, as far as it knows.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Standing {
    /// No enrolment.
    #[default]
    NotEnrolled,
    /// Enrolled; no verdict since the daemon started.
    Unknown,
    /// The last verdict was affirming.
    Trusted,
    /// The last verdict was a refusal.
    Refused,
    /// The LDevID is over.
    Expired,
}

impl Standing {
    /// Stable name.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::NotEnrolled => "not-enrolled",
            Self::Unknown => "unknown",
            Self::Trusted => "trusted",
            Self::Refused => "refused",
            Self::Expired => "expired",
        }
    }
}

/// Everything. Times are seconds since the Unix epoch by this machine's clock.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Status {
    /// Of this object.
    pub version: u32,
    /// The program's version.
    pub program: String,
    /// Whose state it is.
    pub state_dir: PathBuf,
    /// When the daemon started.
    pub started: i64,
    /// How the gateway stands.
    pub standing: Standing,
    /// The LDevID.
    pub identity: Option<Identity>,
    /// The last verdict.
    pub verdict: Option<LastVerdict>,
    /// What failed since then.
    pub trouble: Option<LastTrouble>,
    /// What is under way.
    pub running: Option<UnderWay>,
    /// What comes next.
    pub next: Option<NextAct>,
    /// Heartbeats.
    #[serde(default)]
    pub heartbeats: Heartbeats,
    /// The TPM.
    pub tpm: TpmHealth,
    /// Since the daemon started.
    pub counters: Counters,
}

/// The LDevID.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Identity {
    /// The gateway's id at the Verifier.
    pub gateway_id: String,
    /// Its class.
    pub class: String,
    /// The Verifier, `host:port`.
    pub server: String,
    /// Serial number in hex.
    pub serial: String,
    /// The issuing CA's name.
    pub issuer: String,
    /// When to renew.
    pub renew_after: i64,
    /// The end.
    pub not_after: i64,
}

/// The last verdict.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LastVerdict {
    /// When.
    pub at: i64,
    /// Of which act.
    pub act: String,
    /// Whether the gateway is trusted by it.
    pub affirming: bool,
    /// Why, and what to do.
    pub reasons: Vec<Reason>,
}

/// One reason of a verdict.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Reason {
    /// Stable code.
    pub code: String,
    /// In words.
    pub detail: String,
    /// What to do.
    pub next_step: String,
}

/// What failed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LastTrouble {
    /// When.
    pub at: i64,
    /// Which act.
    pub act: String,
    /// What went wrong.
    pub problem: String,
    /// What to do.
    pub next_step: String,
    /// Failures and refusals in a row.
    pub failures: u32,
}

/// An act under way.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct UnderWay {
    /// Which.
    pub act: String,
    /// Since when.
    pub since: i64,
}

/// The next act.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct NextAct {
    /// Which.
    pub act: String,
    /// Why.
    pub why: String,
    /// When.
    pub at: i64,
}

/// The TPM, as it was met.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct TpmHealth {
    /// Where it is.
    pub tcti: String,
    /// Four letters of the TCG's registry; empty until it was reached.
    pub manufacturer: String,
    /// The vendor's own words.
    pub vendor: String,
    /// Firmware version.
    pub firmware: String,
    /// Commands sent.
    pub commands: u64,
    /// Their time in milliseconds.
    pub milliseconds: u64,
    /// How often it said "try again", was taken by others or not there.
    pub busy: u64,
    /// The last error of its own.
    pub last_error: Option<TpmTrouble>,
}

/// An error of the TPM.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TpmTrouble {
    /// When.
    pub at: i64,
    /// What.
    pub problem: String,
}

/// Counters.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Counters {
    /// By act.
    pub acts: BTreeMap<String, Outcomes>,
    /// Times that the wall clock was set, or the machine woke up.
    pub clock_steps: u64,
    /// Times that the settings were read again.
    pub reloads: u64,
}

/// How acts of one kind ended.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Outcomes {
    /// Affirmed.
    pub affirmed: u64,
    /// Verified, appraised, refused.
    pub refused: u64,
    /// Without a verdict.
    pub failed: u64,
}

impl Status {
    /// Of a daemon that has just started, or of none.
    #[must_use]
    pub fn new(state_dir: &Path, tcti: &TctiName, now: Now) -> Self {
        Self {
            version: VERSION,
            program: env!("CARGO_PKG_VERSION").to_owned(),
            state_dir: state_dir.to_owned(),
            started: now.wall,
            standing: Standing::NotEnrolled,
            identity: None,
            verdict: None,
            trouble: None,
            running: None,
            next: None,
            heartbeats: Heartbeats::default(),
            tpm: TpmHealth {
                tcti: tcti.to_string(),
                ..TpmHealth::default()
            },
            counters: Counters {
                acts: Act::ALL
                    .map(|act| (act.name().to_owned(), Outcomes::default()))
                    .into(),
                ..Counters::default()
            },
        }
    }

    /// The enrolment now in force, or none.
    pub fn know(&mut self, enrolled: Option<&Enrolled>, now: Now) {
        self.identity = enrolled.map(Identity::of);
        self.stand(now);
    }

    /// An act ended.
    pub(super) fn ended(&mut self, act: Act, done: &Performance, failures: u32, now: Now) {
        if matches!(act, Act::Enrol | Act::Recover) && matches!(done.ended, Ended::Affirmed(_)) {
            self.heartbeats.begin_anew();
        }
        if let Some(within) = done.begin_beats {
            self.heartbeats.required(now.wall, within);
        }
        let (at, act) = (now.wall, act.name().to_owned());
        let outcomes = self.counters.acts.entry(act.clone()).or_default();
        match done.ended {
            Ended::Affirmed(_) => outcomes.affirmed += 1,
            Ended::Refused => outcomes.refused += 1,
            Ended::Failed(_) => outcomes.failed += 1,
        }
        if let Some(used) = &done.tpm {
            let make = used.make.clone();
            self.tpm.manufacturer = make.manufacturer;
            self.tpm.vendor = make.vendor;
            self.tpm.firmware = make.firmware;
            self.tpm.commands += used.commands;
            self.tpm.milliseconds += u64::try_from(used.time.as_millis()).unwrap_or(0);
            self.tpm.busy += used.retries;
        }
        if let Ended::Failed(super::planner::Trouble::TpmBusy) = done.ended {
            self.tpm.busy += 1;
        }
        if let Some(verdict) = &done.verdict {
            self.verdict = Some(LastVerdict::of(verdict, at, &act));
            self.trouble = None;
        }
        if let Some(failure) = &done.failure {
            if failure.of_tpm {
                self.tpm.last_error = Some(TpmTrouble {
                    at,
                    problem: failure.problem.clone(),
                });
            }
            self.trouble = Some(LastTrouble::of(failure, at, act, failures));
        }
    }

    pub(super) fn plan(&mut self, next: Next, now: Now) {
        let seconds = next.in_how_long(now).as_secs();
        self.next = Some(NextAct {
            act: next.act.name().to_owned(),
            why: next.why.name().to_owned(),
            at: now.wall + i64::try_from(seconds).unwrap_or(0),
        });
        self.stand(now);
    }

    fn stand(&mut self, now: Now) {
        self.standing = match (&self.identity, &self.verdict) {
            (None, None) => Standing::NotEnrolled,
            (_, Some(verdict)) if !verdict.affirming => Standing::Refused,
            (None, Some(_)) => Standing::NotEnrolled,
            (Some(identity), _) if identity.not_after <= now.wall => Standing::Expired,
            (Some(_), None) => Standing::Unknown,
            (Some(_), Some(_)) => Standing::Trusted,
        };
    }

    /// What a daemon that has ended left behind.
    #[must_use]
    pub fn parse(json: &[u8]) -> Option<Self> {
        serde_json::from_slice(json).ok()
    }

    /// As JSON.
    #[must_use]
    pub fn to_json(&self) -> Vec<u8> {
        let mut json =
            serde_json::to_vec_pretty(self).expect("a struct of strings and numbers serialises");
        json.push(b'\n');
        json
    }
}

impl Identity {
    /// Of an enrolment.
    #[must_use]
    pub fn of(enrolled: &Enrolled) -> Self {
        let leaf = enrolled.ldevid_chain.first();
        let words = leaf.and_then(|leaf| CertificateWords::of(leaf));
        let (serial, issuer) = words.map_or_else(
            || ("unreadable".to_owned(), "unreadable".to_owned()),
            |words| (words.serial, words.issuer),
        );
        Self {
            gateway_id: enrolled.gateway_id.to_string(),
            class: enrolled.class.clone(),
            server: enrolled.server.address.clone(),
            serial,
            issuer,
            renew_after: enrolled.renew_after,
            not_after: enrolled.not_after,
        }
    }
}

impl LastVerdict {
    fn of(verdict: &Verdict, at: i64, act: &str) -> Self {
        Self {
            at,
            act: act.to_owned(),
            affirming: verdict.affirming,
            reasons: verdict
                .reasons
                .iter()
                .map(|reason| Reason {
                    code: reason.code.clone(),
                    detail: reason.detail.clone(),
                    next_step: reason.next_step.clone(),
                })
                .collect(),
        }
    }
}

impl LastTrouble {
    fn of(failure: &Failure, at: i64, act: String, failures: u32) -> Self {
        Self {
            at,
            act,
            problem: failure.problem.clone(),
            next_step: failure.next_step.clone(),
            failures,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::daemon::planner::Trouble;

    const NOW: Now = Now {
        boot: Duration::ZERO,
        wall: 1000,
    };

    fn ended(how: Ended, affirming: Option<bool>) -> Performance {
        let failure = Failure {
            problem: "no".to_owned(),
            next_step: "wait".to_owned(),
            of_tpm: true,
        };
        Performance {
            ended: how,
            verdict: affirming.map(|affirming| Verdict {
                affirming,
                reasons: Vec::new(),
                ear_jwt: String::new(),
            }),
            failure: affirming.is_none().then_some(failure),
            tpm: None,
            begin_beats: None,
        }
    }

    fn enrolled(not_after: i64) -> Status {
        let tcti = "swtpm:".parse().unwrap();
        let mut status = Status::new(Path::new("/s"), &tcti, NOW);
        status.identity = Some(Identity {
            gateway_id: "id".to_owned(),
            class: "default".to_owned(),
            server: "v:1".to_owned(),
            serial: "01".to_owned(),
            issuer: "CN=CA".to_owned(),
            renew_after: 1500,
            not_after,
        });
        status.stand(NOW);
        status
    }

    #[test]
    fn the_last_verdict_and_the_date_say_how_it_stands() {
        let mut status = enrolled(2000);
        assert_eq!(status.standing, Standing::Unknown);
        let affirmed = ended(Ended::Affirmed(None), Some(true));
        status.ended(Act::Attest, &affirmed, 0, NOW);
        status.stand(NOW);
        assert_eq!(status.standing, Standing::Trusted);
        status.ended(Act::Attest, &ended(Ended::Refused, Some(false)), 1, NOW);
        status.stand(NOW);
        assert_eq!(status.standing, Standing::Refused);
        let mut late = enrolled(1000);
        assert_eq!(late.standing, Standing::Expired);
        late.know(None, NOW);
        assert_eq!(late.standing, Standing::NotEnrolled);
    }

    #[test]
    fn a_failure_leaves_the_verdict_and_a_verdict_ends_the_trouble() {
        let mut status = enrolled(2000);
        let affirmed = ended(Ended::Affirmed(None), Some(true));
        status.ended(Act::Attest, &affirmed, 0, NOW);
        let busy = ended(Ended::Failed(Trouble::TpmBusy), None);
        status.ended(Act::Attest, &busy, 1, NOW);
        assert!(status.verdict.as_ref().is_some_and(|v| v.affirming));
        assert_eq!(status.trouble.as_ref().map(|t| t.failures), Some(1));
        assert_eq!(status.tpm.busy, 1);
        assert!(status.tpm.last_error.is_some());
        status.ended(Act::Attest, &affirmed, 0, NOW);
        assert_eq!(status.trouble, None);
        let counted = status.counters.acts["attest"];
        assert_eq!((counted.affirmed, counted.failed), (2, 1));
        assert_eq!(Status::parse(&status.to_json()), Some(status));
    }
}
