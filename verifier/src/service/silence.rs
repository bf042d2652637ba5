//! Looks for silence every few seconds: marks up-time, and suspends who is due.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use tokio::time::MissedTickBehavior;
use tracing::{error, info, warn};

use super::Shared;
use crate::{silence::SilenceRules, store::StoreError};

/// Gateways suspended in one transaction: some ten milliseconds in which nobody
/// else writes.
const BATCH: u32 = 100;

/// Watches until dropped.
pub(super) async fn keep_watch(shared: Arc<Shared>, rules: Arc<SilenceRules>) {
    let every = Duration::from_secs(rules.every().unsigned_abs());
    let mut ticks = tokio::time::interval(every);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut watch = Watch::new(every, Instant::now());
    let mut begun = false;
    loop {
        ticks.tick().await;
        let looked = async {
            if !begun {
                let now = shared.clock.now().seconds();
                shared.store.begin_run(&rules, now).await?;
                begun = true;
                watch = Watch::new(every, Instant::now());
            }
            look(&shared, &rules, &mut watch).await
        };
        if let Err(error) = looked.await {
            // Who cannot be recorded cannot be missed: this time does not count.
            error!(%error, "cannot look for silence");
        }
    }
}

async fn look(shared: &Shared, rules: &SilenceRules, watch: &mut Watch) -> Result<(), StoreError> {
    // First, or who has beaten since would be suspended.
    shared.heartbeats.write_marks(shared.store.as_ref()).await?;
    let mut passed = watch.passed(Instant::now());
    loop {
        let now = shared.clock.now().seconds();
        let watched = shared
            .store
            .watch_silence(rules, passed, BATCH, now)
            .await?;
        watch.marked(passed);
        passed = 0;
        for gateway in &watched.suspended {
            info!(%gateway, "suspended: silent");
        }
        if !watched.suspended.is_empty() {
            warn!(gateways = watched.suspended.len(), "silence");
        }
        if !watched.more {
            return Ok(());
        }
    }
}

/// How much up-time is not marked yet, by the monotonic clock, which does not
/// run while the machine is suspended.
struct Watch {
    marked: Instant,
    every: Duration,
}

impl Watch {
    fn new(every: Duration, now: Instant) -> Self {
        Self { marked: now, every }
    }

    /// Whole seconds since the last mark. Where that is much longer than it
    /// should be, the process or the store hung: nobody could attest then
    /// either, and only one interval counts.
    fn passed(&mut self, now: Instant) -> i64 {
        let mut elapsed = now.duration_since(self.marked);
        if elapsed > 2 * self.every {
            self.marked = now.checked_sub(self.every).unwrap_or(now);
            elapsed = self.every;
        }
        i64::try_from(elapsed.as_secs()).unwrap_or(i64::MAX)
    }

    fn marked(&mut self, passed: i64) {
        self.marked += Duration::from_secs(passed.unsigned_abs());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whole_seconds_are_marked_once_and_a_hang_counts_as_one_interval() {
        let start = Instant::now();
        let after = |milliseconds| start + Duration::from_millis(milliseconds);
        let mut watch = Watch::new(Duration::from_secs(5), start);
        assert_eq!(watch.passed(after(5500)), 5);
        watch.marked(5);
        assert_eq!(watch.passed(after(5500)), 0);
        assert_eq!(watch.passed(after(10_000)), 5);
        // Not recorded: still to be marked at the next look.
        assert_eq!(watch.passed(after(15_000)), 10);
        watch.marked(10);
        assert_eq!(watch.passed(after(3_600_000)), 5);
    }
}
