//! What to do next, and when. No clock, no network, no TPM in here: time and
//! outcomes come in, the next act and its time go out, and the same input gives
//! the same answer. So a week of a gateway is a test of a millisecond.
//!
//! Intervals are counted on `CLOCK_BOOTTIME`, which goes on in suspend and does
//! not step. The wall clock counts for one thing: what the Verifier has dated.
//! Of a grant that came while this process ran, the dates are counted on the
//! boot clock too; then a wall clock that was set forward can bring a renewal
//! early, at most once in a third of the validity, and one that was set back
//! can delay nothing.

use std::time::Duration;

use super::pace::{Pace, Random};

/// Share of an interval by which it is shortened at random, so that gateways
/// that were switched on together do not stay in step.
const SPREAD: f64 = 0.1;
/// However short the validity, renewals are not closer together.
const RENEWALS_APART: Duration = Duration::from_secs(1);
/// How far, in seconds, two right clocks may be apart.
const CLOCKS_APART: i64 = 300;

/// Both clocks at one moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Now {
    /// `CLOCK_BOOTTIME`: since the system booted, suspend included.
    pub boot: Duration,
    /// Seconds since the Unix epoch; may step either way.
    pub wall: i64,
}

/// What the daemon does at one time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Act {
    /// A first enrolment by the bundle.
    Enrol,
    /// Coming back after expiry or silence.
    Recover,
    /// Full attestation without a new LDevID.
    Attest,
    /// Full attestation with a new LDevID.
    Renew,
}

impl Act {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::Enrol, Self::Recover, Self::Attest, Self::Renew];

    /// Stable name, for status, metrics and events.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Enrol => "enrol",
            Self::Recover => "recover",
            Self::Attest => "attest",
            Self::Renew => "renew",
        }
    }
}

/// Why an act is due.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Why {
    /// There is no enrolment.
    NotEnrolled,
    /// This process, and so perhaps the machine, has just started.
    Started,
    /// The regular interval.
    Schedule,
    /// Two thirds of the validity are over.
    RenewalDue,
    /// The validity is over.
    Expired,
    /// The Verifier no longer takes the LDevID.
    IdentityRefused,
    /// The operator, or the Verifier, asked for it.
    Asked,
}

impl Why {
    /// Stable name, for status and events.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::NotEnrolled => "not-enrolled",
            Self::Started => "started",
            Self::Schedule => "schedule",
            Self::RenewalDue => "renewal-due",
            Self::Expired => "expired",
            Self::IdentityRefused => "identity-refused",
            Self::Asked => "asked",
        }
    }
}

/// The dates of an LDevID, in seconds since the Unix epoch, by the Verifier.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Validity {
    /// When to renew: two thirds of the way.
    pub renew_after: i64,
    /// The end.
    pub not_after: i64,
}

impl Validity {
    /// From the issue to the renewal. The Verifier asks for it at two thirds, so
    /// this is twice what is left then: no clock of ours is needed to know it.
    fn until_renewal(self) -> Duration {
        self.last_third() * 2
    }

    fn last_third(self) -> Duration {
        let seconds = self.not_after.saturating_sub(self.renew_after);
        Duration::from_secs(u64::try_from(seconds).unwrap_or(0))
    }
}

/// How an act failed, as far as it matters for what comes next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Trouble {
    /// The network or the Verifier: it may do better soon.
    Passing {
        /// When the Verifier wants to be asked again, where it said so.
        retry_after: Option<Duration>,
    },
    /// The TPM is taken, or not there for the moment.
    TpmBusy,
    /// The owner must approve this gateway first.
    AwaitingApproval,
    /// The Verifier no longer takes the LDevID.
    IdentityRefused,
    /// The Verifier holds the LDevID for good: there is nothing to recover.
    NothingToRecover,
    /// There is no enrolment, or it went away.
    NotEnrolled,
    /// Somebody has to do something about it.
    Lasting,
}

/// How an act ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ended {
    /// Affirmed; with the dates of the new LDevID where one was granted.
    Affirmed(Option<Validity>),
    /// Verified, appraised, and refused.
    Refused,
    /// No verdict was reached.
    Failed(Trouble),
}

/// What the operator sets about the rhythm.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rhythm {
    /// From one full attestation to the next.
    pub attest_every: Duration,
    /// Longest pause after a failure that may pass by itself.
    pub retry_max: Duration,
}

/// What comes next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Next {
    /// The act.
    pub act: Act,
    /// Why.
    pub why: Why,
    /// On the boot clock; it is due where this is not after now.
    pub at: Duration,
}

impl Next {
    /// How long until it is due: zero where it is.
    #[must_use]
    pub fn in_how_long(&self, now: Now) -> Duration {
        self.at.saturating_sub(now.boot)
    }
}

/// The planner.
#[derive(Clone, Debug)]
pub struct Planner {
    rhythm: Rhythm,
    random: Random,
    validity: Option<Validity>,
    /// When the LDevID was granted, where this process saw it.
    granted: Option<Duration>,
    /// When the next regular attestation is due.
    scheduled: Duration,
    /// Whether a full attestation is wanted now, and why.
    wanted: Option<Why>,
    /// The LDevID is refused.
    refused: bool,
    /// Recovering led nowhere: renew by the LDevID, whatever the clock says.
    keep: bool,
    pace: Pace,
    /// Not before this.
    paused: Duration,
}

impl Planner {
    /// A process that has just started, with the enrolment that it found. `seed`
    /// is for the jitter.
    #[must_use]
    pub fn new(rhythm: Rhythm, validity: Option<Validity>, seed: u64, now: Now) -> Self {
        Self {
            rhythm,
            random: Random::new(seed),
            validity,
            granted: None,
            scheduled: now.boot,
            wanted: Some(Why::Started),
            refused: false,
            keep: false,
            pace: Pace::default(),
            paused: Duration::ZERO,
        }
    }

    /// What to do next.
    ///
    /// An act `Heartbeat` has its place here: it would be what is due where the
    /// earliest full attestation is further away than the next beat.
    #[must_use]
    pub fn next(&self, now: Now) -> Next {
        let (act, why, at) = self.wish(now);
        Next {
            act,
            why,
            at: at.max(self.paused),
        }
    }

    fn wish(&self, now: Now) -> (Act, Why, Duration) {
        let Some(validity) = self.validity else {
            return (Act::Enrol, Why::NotEnrolled, now.boot);
        };
        if self.refused {
            return (Act::Recover, Why::IdentityRefused, now.boot);
        }
        let (renewal, end) = self.due(validity, now);
        if end <= now.boot && !self.keep {
            return (Act::Recover, Why::Expired, now.boot);
        }
        if renewal <= now.boot || self.keep {
            return (Act::Renew, Why::RenewalDue, now.boot);
        }
        if let Some(why) = self.wanted {
            return (Act::Attest, why, now.boot);
        }
        if renewal <= self.scheduled {
            (Act::Renew, Why::RenewalDue, renewal)
        } else {
            (Act::Attest, Why::Schedule, self.scheduled)
        }
    }

    /// When renewal is due and when the LDevID ends, on the boot clock.
    fn due(&self, validity: Validity, now: Now) -> (Duration, Duration) {
        let by_wall = |date: i64| {
            let left = u64::try_from(date.saturating_sub(now.wall)).unwrap_or(0);
            now.boot.saturating_add(Duration::from_secs(left))
        };
        let until = validity.until_renewal().max(RENEWALS_APART);
        let Some(granted) = self.granted else {
            // A clock from before the issue is certainly wrong (a machine without
            // a battery): nothing is known of the time, so renew.
            let issued = validity.renew_after - i64::try_from(until.as_secs()).unwrap_or(0);
            let renewal = if now.wall < issued - CLOCKS_APART {
                now.boot
            } else {
                by_wall(validity.renew_after)
            };
            return (renewal, by_wall(validity.not_after));
        };
        let renewal = granted + until;
        let end = renewal + validity.last_third();
        // A clock that steps forward may be the one that is right (a virtual
        // machine that was stopped): believed, but not again and again.
        let believed = granted + until / 2;
        (
            renewal.min(by_wall(validity.renew_after).max(believed)),
            end,
        )
    }

    /// An act has ended.
    pub fn ended(&mut self, act: Act, how: Ended, now: Now) {
        match how {
            Ended::Affirmed(granted) => self.affirmed(act, granted, now),
            Ended::Refused => {
                self.wanted = Some(Why::Schedule);
                self.pause(Trouble::Lasting, now);
            }
            Ended::Failed(trouble) => self.failed(act, trouble, now),
        }
    }

    fn affirmed(&mut self, act: Act, granted: Option<Validity>, now: Now) {
        if let Some(validity) = granted {
            self.validity = Some(validity);
            self.granted = Some(now.boot);
        }
        // A recovery or renewal is a full attestation too.
        debug_assert!(granted.is_some() || act == Act::Attest);
        self.wanted = None;
        self.refused = false;
        self.keep = false;
        self.pace = Pace::default();
        self.paused = Duration::ZERO;
        let shortened = self
            .rhythm
            .attest_every
            .mul_f64(1.0 - SPREAD * self.random.share());
        self.scheduled = now.boot + shortened;
    }

    fn failed(&mut self, act: Act, trouble: Trouble, now: Now) {
        match (act, trouble) {
            (Act::Attest | Act::Renew, Trouble::IdentityRefused) => {
                self.refused = true;
                // What the clock said led here: let recovery say otherwise.
                self.keep = false;
            }
            (Act::Recover, Trouble::NothingToRecover) => {
                self.refused = false;
                self.keep = true;
            }
            (_, Trouble::NotEnrolled) => self.validity = None,
            _ => {}
        }
        self.pause(trouble, now);
    }

    fn pause(&mut self, trouble: Trouble, now: Now) {
        let pause = self
            .pace
            .pause(trouble, self.rhythm.retry_max, &mut self.random);
        self.paused = now.boot + pause;
    }

    /// A full attestation is wanted now: by the operator, by the Verifier, by a
    /// heartbeat that was doubted. A pause that the Verifier asked for, or that
    /// failures have earned, still holds.
    pub fn ask(&mut self) {
        self.wanted = Some(Why::Asked);
    }

    /// The wall clock was set, or the machine woke up: what failed for a wrong
    /// date, or for a network that was not there, is tried again soon.
    pub fn clock_stepped(&mut self, now: Now) {
        if self.pace.is_passing() {
            let pause = Pace::first(&mut self.random);
            self.paused = self.paused.min(now.boot + pause);
        }
    }

    /// New settings. A failure's pause ends with them: they may be the cure.
    pub fn reconfigure(&mut self, rhythm: Rhythm, now: Now) {
        self.rhythm = rhythm;
        self.scheduled = self.scheduled.min(now.boot + rhythm.attest_every);
        self.pace = Pace::default();
        self.paused = Duration::ZERO;
    }

    /// Another program has changed the enrolment.
    pub fn found(&mut self, validity: Option<Validity>) {
        if validity != self.validity {
            self.validity = validity;
            self.granted = None;
            self.refused = false;
            self.keep = false;
        }
    }

    /// Failures in a row.
    #[must_use]
    pub fn failures(&self) -> u32 {
        self.pace.failures()
    }

    /// The dates of the LDevID.
    #[must_use]
    pub fn validity(&self) -> Option<Validity> {
        self.validity
    }
}

#[cfg(test)]
mod tests;
