//! Silence as it is on record: the verifier's up-time, and who is due.

use std::time::Duration;

use async_trait::async_trait;
use holdfast_proto::binding::Ueid;

use super::{Seconds, StoreError};
use crate::silence::SilenceRules;

/// What one look at silence brought.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Watched {
    /// Who was suspended by it.
    pub suspended: Vec<Ueid>,
    /// There may be more who are due: look again.
    pub more: bool,
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

    /// Suspends up to `limit` of those who are due by now, with events, audit rows
    /// and revoked certificates as in any suspension. One transaction.
    async fn watch_silence(
        &self,
        rules: &SilenceRules,
        limit: u32,
        now: Seconds,
    ) -> Result<Watched, StoreError>;
}
