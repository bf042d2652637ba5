//! Removes what has ended, and says when a clock keeps it from doing so.

use tracing::{error, info, warn};

use super::Shared;
use crate::store::{SWEEP_PACE, Seconds};

/// How far the clock may be ahead of what up-time explains before that is worth
/// a line: a verifier that was off over night is not. Nothing that is in force
/// hangs on it: records stay for a month after their end.
const LAG_TOLD: Seconds = 86_400;

/// Sweeps, and what was said of it.
pub(super) struct Sweeping {
    event_seconds: i64,
    told: bool,
}

impl Sweeping {
    /// `event_seconds`: how long events are kept.
    pub(super) fn new(event_seconds: i64) -> Self {
        Self {
            event_seconds,
            told: false,
        }
    }

    pub(super) async fn sweep(&mut self, shared: &Shared) {
        shared.limits.sweep();
        let now = shared.clock.now().seconds();
        let swept = match shared.store.sweep(now).await {
            Ok(swept) => swept,
            Err(error) => return error!(%error, "cannot sweep the store"),
        };
        if swept.rows > 0 {
            info!(rows = swept.rows, "swept");
        }
        self.tell(now, swept.ended);
        let before = swept.ended.saturating_sub(self.event_seconds);
        match shared.store.sweep_events(before).await {
            Ok(0) => {}
            Ok(events) => info!(events, "swept"),
            Err(error) => error!(%error, "cannot sweep events"),
        }
    }

    /// Once, and once more when it is over.
    fn tell(&mut self, now: Seconds, ended: Seconds) {
        let lag = now.saturating_sub(ended);
        match (self.told, lag > LAG_TOLD) {
            (false, true) => warn!("{}", ahead(now, ended)),
            (true, false) => info!("sweeping has caught up with the clock"),
            (false, false) | (true, true) => return,
        }
        self.told = !self.told;
    }
}

/// The clock is ahead; what to do.
fn ahead(now: Seconds, ended: Seconds) -> String {
    let lag = now.saturating_sub(ended);
    let hours = lag / (SWEEP_PACE - 1) / 3600 + 1;
    format!(
        "the clock is {} days ahead of what this verifier's running explains: it was off that \
         long, or the clock is wrong. What ended in these days is not removed yet. Compare the \
         clock with the true time: where it is wrong, set it; where it is right, there is nothing \
         to do, and sweeping catches up within {hours} h",
        lag / 86_400
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_clock_that_is_ahead_is_told_once_with_the_next_step() {
        let now = 1_800_000_000;
        let mut sweeping = Sweeping::new(0);
        for (lag, told) in [
            (0, false),
            (LAG_TOLD, false),
            (LAG_TOLD + 1, true),
            (1, false),
        ] {
            sweeping.tell(now, now - lag);
            assert_eq!(sweeping.told, told, "{lag}");
        }
        let text = ahead(now, now - 70 * 86_400);
        assert!(text.contains("70 days") && text.contains("241 h"), "{text}");
        assert!(text.contains("set it"), "{text}");
    }
}
