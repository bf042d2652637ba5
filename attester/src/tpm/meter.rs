//! How much of the time the TPM itself takes.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// Wall time and number of TPM commands of one connection.
#[derive(Debug, Default)]
pub(super) struct Meter {
    nanoseconds: AtomicU64,
    commands: AtomicU64,
    retries: AtomicU64,
}

impl Meter {
    pub(super) fn add(&self, elapsed: Duration) {
        // 2^64 ns are 584 years of TPM time.
        let elapsed = u64::try_from(elapsed.as_nanos()).unwrap_or(u64::MAX);
        self.nanoseconds.fetch_add(elapsed, Ordering::Relaxed);
        self.commands.fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn add_retry(&self) {
        self.retries.fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn retries(&self) -> u64 {
        self.retries.load(Ordering::Relaxed)
    }

    pub(super) fn time(&self) -> Duration {
        Duration::from_nanos(self.nanoseconds.load(Ordering::Relaxed))
    }

    pub(super) fn commands(&self) -> u64 {
        self.commands.load(Ordering::Relaxed)
    }
}
