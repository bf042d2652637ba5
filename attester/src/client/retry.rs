//! When to try again, and how long to wait before.

use std::time::Duration;

use ring::rand::{SecureRandom, SystemRandom};

/// First pause; it doubles.
const FIRST: Duration = Duration::from_millis(200);
/// Longest pause.
const LONGEST: Duration = Duration::from_secs(10);

/// Pauses that double, with full jitter: gateways that lost the same verifier
/// do not come back in step.
#[derive(Debug)]
pub struct Backoff {
    left: u32,
    ceiling: Duration,
}

impl Backoff {
    /// Allows `attempts` further attempts.
    #[must_use]
    pub fn new(attempts: u32) -> Self {
        Self {
            left: attempts,
            ceiling: FIRST,
        }
    }

    /// Waits before the next attempt; `false` where there is none left.
    pub async fn wait(&mut self) -> bool {
        if self.left == 0 {
            return false;
        }
        self.left -= 1;
        tokio::time::sleep(jittered(self.ceiling)).await;
        self.ceiling = (self.ceiling * 2).min(LONGEST);
        true
    }
}

fn jittered(ceiling: Duration) -> Duration {
    let mut random = [0xFF];
    // Without randomness the pause is the longest one.
    let _ = SystemRandom::new().fill(&mut random);
    let [random] = random;
    ceiling.mul_f64(f64::from(random) / 255.0)
}
