//! Counts the time in which the verifier is up, and looks for silence every few
//! seconds: suspends who is due by that time.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use tokio::time::{Instant, MissedTickBehavior};
use tracing::{error, info, warn};

use super::Shared;
use crate::store::StoreError;

/// Gateways suspended in one transaction: some ten milliseconds in which nobody
/// else writes.
const BATCH: u32 = 100;
/// How often time is counted.
const TICK: Duration = Duration::from_millis(250);
/// The most that counts between two ticks. Where they are further apart the
/// process did not run: it was stopped, its machine was paused, or far too busy.
/// Nobody could attest then.
const GAP_MAX: Duration = Duration::from_secs(2);

/// Watches until dropped.
pub(super) async fn keep_watch(shared: Arc<Shared>) {
    // Who cannot be recorded cannot be missed: while the store cannot be written
    // no time counts.
    let recording = AtomicBool::new(false);
    tokio::join!(
        count(|time| shared.store.pass(time), &recording),
        watch(&shared, &recording)
    );
}

/// Counts, also while a look takes its time.
async fn count(pass: impl Fn(Duration), recording: &AtomicBool) {
    let mut ticks = tokio::time::interval(TICK);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut lived = Lived::new(Instant::now());
    loop {
        ticks.tick().await;
        let time = lived.tick(Instant::now());
        if recording.load(Ordering::Relaxed) {
            pass(time);
        }
    }
}

async fn watch(shared: &Shared, recording: &AtomicBool) {
    let rules = &shared.silence;
    let every = Duration::from_secs(rules.every().unsigned_abs());
    // Early and then more and more seldom: a verifier that does not live long has
    // at least half of its life on record.
    let mut pause = TICK;
    let mut begun = false;
    loop {
        let next = Instant::now() + pause;
        let looked = async {
            if !begun {
                let now = shared.clock.now().seconds();
                shared.store.begin_run(rules, now).await?;
                begun = true;
            }
            look(shared).await
        };
        if let Err(error) = looked.await {
            recording.store(false, Ordering::Relaxed);
            shared.store.lose();
            error!(%error, "cannot look for silence: this time does not count");
        } else {
            recording.store(true, Ordering::Relaxed);
        }
        tokio::time::sleep_until(next).await;
        pause = (2 * pause).min(every);
    }
}

async fn look(shared: &Shared) -> Result<(), StoreError> {
    // First, or who has beaten since would be suspended.
    shared.heartbeats.write_marks(shared.store.as_ref()).await?;
    loop {
        let now = shared.clock.now().seconds();
        let watched = shared.store.watch_silence(&shared.silence, BATCH, now);
        let watched = watched.await?;
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

/// Time in which the process ran, by the monotonic clock, which does not run
/// while the machine is suspended.
struct Lived {
    last: Instant,
}

impl Lived {
    fn new(now: Instant) -> Self {
        Self { last: now }
    }

    /// What counts since the last tick.
    fn tick(&mut self, now: Instant) -> Duration {
        let elapsed = now.duration_since(self.last);
        self.last = now;
        elapsed.min(GAP_MAX)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn time_in_which_the_process_did_not_run_does_not_count() {
        let start = Instant::now();
        let after = |milliseconds| start + Duration::from_millis(milliseconds);
        let mut lived = Lived::new(start);
        assert_eq!(lived.tick(after(250)), Duration::from_millis(250));
        // Busy, and not for long.
        assert_eq!(lived.tick(after(2000)), Duration::from_millis(1750));
        // Stopped for an hour.
        assert_eq!(lived.tick(after(3_602_000)), GAP_MAX);
        assert_eq!(lived.tick(after(3_602_250)), Duration::from_millis(250));
    }

    /// Whatever looks do meanwhile: they may take long.
    #[tokio::test]
    async fn time_counts_while_the_store_can_be_written() {
        let passed = std::sync::Mutex::new(Duration::ZERO);
        let recording = AtomicBool::new(true);
        let counting = count(|time| *passed.lock().unwrap() += time, &recording);
        let looking = async {
            let slow = Duration::from_secs(2);
            tokio::time::sleep(slow).await;
            let counted = *passed.lock().unwrap();
            assert!(counted + 2 * TICK > slow, "{counted:?}");
            recording.store(false, Ordering::Relaxed);
            tokio::time::sleep(2 * TICK).await;
            assert_eq!(*passed.lock().unwrap(), counted);
        };
        tokio::select! { () = counting => {}, () = looking => {} }
    }
}
