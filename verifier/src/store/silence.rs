//! Silence as it is on record: the verifier's up-time, and who is due.

use std::time::Duration;

use async_trait::async_trait;
use holdfast_proto::binding::Ueid;

use super::{Seconds, StoreError};
use crate::silence::{SilenceRules, UpSeconds};

/// What one look at silence brought.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Watched {
    /// Who was suspended by it.
    pub suspended: Vec<Ueid>,
    /// There may be more who are due: look again.
    pub more: bool,
}

/// What is awaited of a gateway in good standing. Times are seconds of up-time
/// from now, and below zero where that is over: it is suspended within the grace.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Awaited {
    /// Within how many an affirming full attestation.
    pub attest_within: UpSeconds,
    /// What it was told to do first, if anything.
    pub deadline: Option<Deadline>,
    /// Its heartbeats, where it has begun to beat.
    pub beats: Option<AwaitedBeats>,
}

/// What a gateway must do, or is suspended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Deadline {
    /// Within how many seconds.
    pub within: UpSeconds,
    /// Attest, for what a beat has shown; else begin to beat.
    pub doubt: Option<String>,
}

/// Heartbeats of a gateway.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AwaitedBeats {
    /// A key is in use: it beats, or is about to. Else it has to begin anew.
    pub has_key: bool,
    /// How many seconds ago the last one was recorded; a full attestation counts
    /// as one.
    pub last: UpSeconds,
    /// Within how many the next.
    pub within: UpSeconds,
}

/// What the service asks about silence.
#[async_trait]
pub trait Silence: Send + Sync {
    /// Says that so much more time went by in which the verifier was up. It is
    /// on record with the next write, whatever that writes.
    fn pass(&self, time: Duration);

    /// Time that went by and is not on record yet does not count.
    fn lose(&self);

    /// Begins a run of the verifier: what is left of up-time goes on, and nobody
    /// is suspended for the grace of these rules. One run that ended before its
    /// grace did gives no new grace to the next: a verifier that starts again
    /// and again cannot keep silence from being seen.
    async fn begin_run(&self, rules: &SilenceRules, now: Seconds) -> Result<(), StoreError>;

    /// What is awaited of a gateway; none where it is not active.
    async fn awaited(&self, id: &Ueid, rules: &SilenceRules)
    -> Result<Option<Awaited>, StoreError>;

    /// Suspends up to `limit` of those who are due by now, with events, audit rows
    /// and revoked certificates as in any suspension. One transaction.
    async fn watch_silence(
        &self,
        rules: &SilenceRules,
        limit: u32,
        now: Seconds,
    ) -> Result<Watched, StoreError>;
}
