//! The system's clocks and the daemon's one timer.

use std::os::fd::{AsFd, AsRawFd, RawFd};
use std::time::Duration;

use nix::sys::time::TimeSpec;
use nix::sys::timerfd::{ClockId, Expiration, TimerFd, TimerFlags, TimerSetTimeFlags};
use nix::time::{ClockId as Clocks, clock_gettime};
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

use super::planner::Now;

/// A date that does not come: what waits for it is woken by clock steps alone.
const NEVER: i64 = 1 << 40;

/// Why a sleep ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Woke {
    /// The time has come.
    Due,
    /// The wall clock was set, or the machine woke up from a suspend.
    Stepped,
}

/// Clocks, and waiting by them.
pub trait Clock {
    /// Both clocks.
    fn now(&self) -> Now;

    /// Waits until `boot` on the boot clock, or until the wall clock steps. To
    /// be dropped at any time.
    fn sleep_until(&self, boot: Duration) -> impl Future<Output = Woke>;
}

/// The system's. It wakes up for nothing but what was asked for.
#[derive(Debug)]
pub struct SystemClock {
    timer: AsyncFd<Timer>,
    steps: AsyncFd<Timer>,
}

#[derive(Debug)]
struct Timer(TimerFd);

impl AsRawFd for Timer {
    fn as_raw_fd(&self) -> RawFd {
        self.0.as_fd().as_raw_fd()
    }
}

impl SystemClock {
    /// Needs a tokio runtime.
    ///
    /// # Errors
    /// Where the system has no timers to give.
    pub fn new() -> std::io::Result<Self> {
        let clock = Self {
            timer: timer(ClockId::CLOCK_BOOTTIME)?,
            steps: timer(ClockId::CLOCK_REALTIME)?,
        };
        clock.watch_steps()?;
        Ok(clock)
    }

    fn watch_steps(&self) -> std::io::Result<()> {
        let flags =
            TimerSetTimeFlags::TFD_TIMER_ABSTIME | TimerSetTimeFlags::TFD_TIMER_CANCEL_ON_SET;
        let never = Expiration::OneShot(TimeSpec::new(NEVER, 0));
        Ok(self.steps.get_ref().0.set(never, flags)?)
    }

    async fn due(&self, boot: Duration) -> std::io::Result<()> {
        // A timer that is set to zero is off.
        let at = TimeSpec::from(boot.max(Duration::from_nanos(1)));
        let at_that_time = TimerSetTimeFlags::TFD_TIMER_ABSTIME;
        self.timer
            .get_ref()
            .0
            .set(Expiration::OneShot(at), at_that_time)?;
        read(&self.timer).await
    }

    async fn stepped(&self) -> std::io::Result<()> {
        read(&self.steps).await?;
        self.watch_steps()
    }
}

#[expect(
    deprecated,
    reason = "its successor is unsafe; the descriptor is the timer's own and lives as long"
)]
fn timer(clock: ClockId) -> std::io::Result<AsyncFd<Timer>> {
    let flags = TimerFlags::TFD_NONBLOCK | TimerFlags::TFD_CLOEXEC;
    let timer = Timer(TimerFd::new(clock, flags)?);
    AsyncFd::with_interest(timer, Interest::READABLE)
}

/// Waits until the timer has run out, or was cancelled by a step.
async fn read(timer: &AsyncFd<Timer>) -> std::io::Result<()> {
    timer
        .async_io(Interest::READABLE, |timer| Ok(timer.0.wait()?))
        .await
}

impl Clock for SystemClock {
    fn now(&self) -> Now {
        // Both clocks are always there on Linux.
        let read = |clock| clock_gettime(clock).map_or(Duration::ZERO, Duration::from);
        Now {
            boot: read(Clocks::CLOCK_BOOTTIME),
            wall: i64::try_from(read(Clocks::CLOCK_REALTIME).as_secs()).unwrap_or(i64::MAX),
        }
    }

    async fn sleep_until(&self, boot: Duration) -> Woke {
        let (woke, outcome) = tokio::select! {
            outcome = self.due(boot) => (Woke::Due, outcome),
            outcome = self.stepped() => (Woke::Stepped, outcome),
        };
        if let Err(error) = outcome {
            tracing::warn!(event = "timer", %error, "the system's timer failed");
            // Not a reason to turn without end.
            tokio::time::sleep(Duration::from_secs(1)).await;
        }
        woke
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn it_wakes_up_when_due_and_not_before() {
        let clock = SystemClock::new().unwrap();
        let start = clock.now().boot;
        let at = start + Duration::from_millis(60);
        assert_eq!(clock.sleep_until(at).await, Woke::Due);
        assert!(clock.now().boot >= at);
        // What is past is due at once; and a timer that ran out is set again.
        assert_eq!(clock.sleep_until(Duration::ZERO).await, Woke::Due);
        let far = clock.sleep_until(start + Duration::from_secs(3600));
        let waited = tokio::time::timeout(Duration::from_millis(60), far).await;
        assert!(waited.is_err());
    }

    #[tokio::test]
    async fn the_wall_clock_is_the_systems() {
        let clock = SystemClock::new().unwrap();
        let wall = std::time::SystemTime::now()
            .duration_since(std::time::UNIX_EPOCH)
            .unwrap();
        let apart = clock
            .now()
            .wall
            .abs_diff(i64::try_from(wall.as_secs()).unwrap());
        assert!(apart <= 1, "{apart}");
    }
}
