//! Heartbeats, as the daemon tells of them.

use std::time::Duration;

use serde::{Deserialize, Serialize};

/// How they stand.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Beats {
    /// None are kept.
    #[default]
    Off,
    /// No stream is open: not enrolled, or about to begin one.
    Waiting,
    /// A stream is open.
    Beating,
    /// The Verifier wants a full attestation first.
    AttestNow,
    /// It failed, and is tried again.
    Failing,
}

impl Beats {
    /// All there are.
    pub const ALL: [Self; 5] = [
        Self::Off,
        Self::Waiting,
        Self::Beating,
        Self::AttestNow,
        Self::Failing,
    ];

    /// Stable name.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Off => "off",
            Self::Waiting => "waiting",
            Self::Beating => "beating",
            Self::AttestNow => "attest-now",
            Self::Failing => "failing",
        }
    }
}

/// Heartbeats since the daemon started. Times are seconds since the Unix epoch.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Heartbeats {
    /// How they stand.
    pub state: Beats,
    /// How many the Verifier accepted.
    pub accepted: u64,
    /// When it accepted the last.
    pub last_accepted: Option<i64>,
    /// How many streams it began.
    pub streams: u64,
    /// The Verifier awaits the next one by then, at the latest; else it suspends
    /// this gateway.
    pub due: Option<i64>,
    /// What it wants instead of a heartbeat, until it accepts one again.
    pub told: Option<Told>,
    /// What failed since the last one.
    pub trouble: Option<Trouble>,
}

/// A full attestation is wanted.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Told {
    /// When it was said.
    pub at: i64,
    /// Why: stable, kebab-case.
    pub code: String,
    /// By when; none where no deadline of its own was given.
    pub by: Option<i64>,
}

/// What failed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Trouble {
    /// When.
    pub at: i64,
    /// What went wrong.
    pub problem: String,
    /// What to do.
    pub next_step: String,
}

impl Heartbeats {
    pub(super) fn off(&mut self) {
        self.state = Beats::Off;
    }

    pub(super) fn wait(&mut self) {
        // What failed, or was told, is told on until it is over.
        if !matches!(self.state, Beats::AttestNow | Beats::Failing) {
            self.state = Beats::Waiting;
        }
    }

    pub(super) fn began(&mut self) {
        self.state = Beats::Beating;
        self.streams += 1;
    }

    pub(super) fn accepted(&mut self, at: i64, within: Duration) {
        self.state = Beats::Beating;
        self.accepted += 1;
        self.last_accepted = Some(at);
        self.due = Some(after(at, within));
        (self.told, self.trouble) = (None, None);
    }

    pub(super) fn told(&mut self, at: i64, code: &str, within: Duration) {
        self.state = Beats::AttestNow;
        self.told = Some(Told {
            at,
            code: code.to_owned(),
            by: Some(after(at, within)).filter(|by| *by > at),
        });
    }

    pub(super) fn failed(&mut self, at: i64, problem: String, next_step: &str) {
        self.state = Beats::Failing;
        self.trouble = Some(Trouble {
            at,
            problem,
            next_step: next_step.to_owned(),
        });
    }

    /// The Verifier wants them to begin, or to begin anew, within so long.
    pub(super) fn required(&mut self, at: i64, within: Duration) {
        self.due = Some(after(at, within));
    }

    /// Enrolled or recovered: the Verifier awaits none until they begin.
    pub(super) fn begin_anew(&mut self) {
        (self.due, self.told) = (None, None);
    }
}

fn after(at: i64, within: Duration) -> i64 {
    at.saturating_add(i64::try_from(within.as_secs()).unwrap_or(i64::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_told_and_what_failed_stays_until_one_is_accepted() {
        let mut beats = Heartbeats::default();
        assert_eq!(beats.state, Beats::Off);
        beats.wait();
        beats.began();
        beats.accepted(100, Duration::from_secs(30));
        assert_eq!((beats.state, beats.due), (Beats::Beating, Some(130)));
        beats.told(110, "pcr-drift", Duration::from_secs(9));
        beats.wait();
        assert_eq!(beats.state, Beats::AttestNow);
        assert_eq!(beats.told.as_ref().and_then(|told| told.by), Some(119));
        beats.failed(111, "gone".to_owned(), "wait");
        beats.wait();
        assert_eq!(beats.state, Beats::Failing);
        beats.began();
        assert!(beats.told.is_some() && beats.trouble.is_some());
        beats.accepted(120, Duration::from_secs(30));
        assert_eq!((&beats.told, &beats.trouble), (&None, &None));
        assert_eq!((beats.accepted, beats.streams), (2, 2));
        // Without a deadline of its own.
        beats.told(130, "not-attested", Duration::ZERO);
        assert_eq!(beats.told.as_ref().and_then(|told| told.by), None);
        beats.off();
        assert_eq!((beats.state, beats.due), (Beats::Off, Some(150)));
        beats.begin_anew();
        assert_eq!((&beats.due, &beats.told), (&None, &None));
        beats.required(200, Duration::from_secs(9));
        assert_eq!(beats.due, Some(209));
    }
}
