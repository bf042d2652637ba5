//! `run`: the gateway that stays trusted by itself.
//!
//! [`planner`] decides, without I/O; `performance` does what it decided, on a
//! thread of its own; this loop is in between, and is all that the main thread
//! does. It wakes up for what is due, for what has ended, for orders, and for
//! the watchdog: nothing polls. [`status`] is what it tells of itself.

mod beats;
mod clock;
mod endpoint;
pub mod heartbeats;
pub mod metrics;
mod pace;
mod performance;
pub mod planner;
pub mod status;

use std::time::{Duration, Instant};

use holdfast_proto::sd_notify::ServiceManager;
use tokio::sync::{mpsc, oneshot};

use crate::dates::date;
use crate::state::InstanceLock;
use beats::{Beats, Means};
pub use clock::{Clock, SystemClock, Woke};
pub use endpoint::{Board, Endpoint, ask};
pub use performance::{Equipment, Failure, Performance, TpmUse};
use planner::{Act, Ended, Next, Planner, Rhythm, Trouble, Validity};
use status::{Status, UnderWay};

/// Longest that an act can take: every wait in it has a limit (three minutes
/// for the TPM, half a minute for a call, and few repetitions). After it the
/// watchdog is no longer told that all is well.
const LONGEST_ACT: Duration = Duration::from_secs(20 * 60);
/// How long an act under way may go on after the order to stop, so that it can
/// give the TPM back itself. What is cut off can be repeated.
const LAST_WAIT: Duration = Duration::from_millis(500);

/// What the daemon is told from outside.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Order {
    /// End.
    Stop,
    /// Read the settings again.
    Reload,
    /// Attest in full now.
    Attest,
}

/// What the operator sets.
#[derive(Clone, Debug)]
pub struct Job {
    /// What acts are done with.
    pub equipment: Equipment,
    /// When.
    pub rhythm: Rhythm,
    /// Whether heartbeats are kept in between.
    pub heartbeats: bool,
}

/// Reads the settings again; what is wrong with them, in words.
pub type Reload = Box<dyn FnMut() -> Result<Job, String> + Send>;

/// The daemon.
pub struct Daemon<C> {
    clock: C,
    job: Job,
    reload: Reload,
    manager: ServiceManager,
    lock: InstanceLock,
    board: Board,
    planner: Planner,
    beats: Option<Beats>,
    running: Option<Running>,
    /// The line that systemd has.
    shown: String,
}

struct Running {
    act: Act,
    since: Instant,
    result: oneshot::Receiver<Performance>,
}

/// What woke the loop.
enum Event {
    Woke(Woke),
    Ended(Act, Box<Performance>),
    Told(Order),
    Watchdog,
}

impl<C: Clock> Daemon<C> {
    /// A daemon that has not begun, the one of its state directory. `seed` is
    /// for the jitter: of the system's randomness, so that gateways differ.
    #[must_use]
    pub fn new(
        clock: C,
        job: Job,
        lock: InstanceLock,
        reload: Reload,
        manager: ServiceManager,
        seed: u64,
    ) -> Self {
        let now = clock.now();
        let Equipment {
            state_dir, tcti, ..
        } = &job.equipment;
        let mut status = Status::new(state_dir, tcti, now);
        // What is wrong with the directory is told by the first act.
        let enrolled = job.equipment.enrolled().ok().flatten();
        status.know(enrolled.as_ref(), now);
        let validity = enrolled.as_ref().map(Validity::of);
        let planner = Planner::new(job.rhythm, validity, seed, now);
        Self {
            clock,
            job,
            reload,
            manager,
            lock,
            board: Board::new(status),
            planner,
            beats: None,
            running: None,
            shown: String::new(),
        }
    }

    /// The same with heartbeats where the job has them. What they ask for goes to
    /// `orders`, whose other end [`run`](Self::run) has. `seed` is as in
    /// [`new`](Self::new).
    #[must_use]
    pub fn with_heartbeats(mut self, orders: mpsc::Sender<Order>, seed: u64) -> Self {
        self.beats = Some(Beats::new(seed, self.board.clone(), orders));
        self
    }

    /// What it tells of itself, for an [`Endpoint`].
    #[must_use]
    pub fn board(&self) -> Board {
        self.board.clone()
    }

    /// Runs until it is told to stop, or nobody is left to tell it.
    pub async fn run(mut self, mut orders: mpsc::Receiver<Order>) {
        let mut watchdog = self.manager.watchdog_interval().map(|every| {
            let mut watchdog = tokio::time::interval(every);
            watchdog.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
            watchdog
        });
        let next = self.planner.next(self.clock.now());
        self.show(next);
        self.manager.ready(&self.shown);
        self.switch_beats();
        tracing::info!(
            event = "started",
            state_dir = %self.job.equipment.state_dir.display(),
            tcti = %self.job.equipment.tcti,
        );
        loop {
            let next = self.begin_what_is_due();
            self.show(next);
            let event = tokio::select! {
                order = orders.recv() => Event::Told(order.unwrap_or(Order::Stop)),
                (act, done) = result(&mut self.running) => Event::Ended(act, Box::new(done)),
                woke = self.clock.sleep_until(next.at), if self.running.is_none() => {
                    Event::Woke(woke)
                }
                () = tick(&mut watchdog) => Event::Watchdog,
            };
            match event {
                Event::Woke(Woke::Due) => {}
                Event::Woke(Woke::Stepped) => self.stepped(),
                Event::Ended(act, done) => self.ended(act, &done),
                Event::Told(Order::Reload) => self.reload(),
                Event::Told(Order::Attest) => self.planner.ask(),
                Event::Watchdog => self.alive(),
                Event::Told(Order::Stop) => break,
            }
        }
        self.stop().await;
    }

    /// Starts the next act where it is due and none is under way.
    fn begin_what_is_due(&mut self) -> Next {
        let now = self.clock.now();
        let next = self.planner.next(now);
        if self.running.is_some() || next.at > now.boot {
            return next;
        }
        // Somebody may have enrolled, renewed or recovered by hand.
        if let Ok(enrolled) = self.job.equipment.enrolled() {
            self.planner.found(enrolled.as_ref().map(Validity::of));
            self.board
                .update(|status| status.know(enrolled.as_ref(), now));
        }
        let next = self.planner.next(now);
        if next.at > now.boot {
            return next;
        }
        tracing::info!(
            event = "act-started",
            act = next.act.name(),
            why = next.why.name()
        );
        self.board.update(|status| {
            status.running = Some(UnderWay {
                act: next.act.name().to_owned(),
                since: now.wall,
            });
        });
        self.running = Some(Running {
            act: next.act,
            since: Instant::now(),
            result: self.job.equipment.start(next.act),
        });
        next
    }

    fn ended(&mut self, act: Act, done: &Performance) {
        let now = self.clock.now();
        if let Some(within) = done.begin_beats.filter(|_| !self.job.heartbeats) {
            tracing::warn!(
                event = "heartbeats-required",
                within = within.as_secs(),
                next_step = "set heartbeats = true in [run] of attester.toml, then SIGHUP",
                "the verifier suspends this gateway unless heartbeats begin"
            );
        }
        self.planner.ended(act, done.ended, now);
        let next = self.planner.next(now);
        self.keep(act, done);
        let (act, next_in) = (act.name(), next.in_how_long(now).as_secs());
        match (&done.failure, &done.verdict) {
            (Some(failure), _) => tracing::warn!(
                event = "act-failed",
                act,
                problem = failure.problem,
                next_step = failure.next_step,
                failures = self.planner.failures(),
                next_in,
            ),
            (None, Some(verdict)) if !verdict.affirming => {
                tracing::warn!(event = "refused", act, next_in);
                for reason in &verdict.reasons {
                    tracing::warn!(
                        event = "reason",
                        code = reason.code,
                        detail = reason.detail,
                        next_step = reason.next_step
                    );
                }
            }
            _ => tracing::info!(
                event = "affirmed",
                act,
                not_after = self.planner.validity().map(|v| v.not_after),
                next_act = next.act.name(),
                next_in,
            ),
        }
    }

    /// For `status`, while it runs and after it has ended.
    fn keep(&self, act: Act, done: &Performance) {
        let (now, failures) = (self.clock.now(), self.planner.failures());
        let enrolled = self.job.equipment.enrolled();
        let json = self.board.update(|status| {
            status.running = None;
            status.ended(act, done, failures, now);
            if let Ok(enrolled) = enrolled {
                status.know(enrolled.as_ref(), now);
            }
            status.plan(self.planner.next(now), now);
            status.to_json()
        });
        if let Err(error) = self.lock.write_status(&json) {
            tracing::warn!(event = "status-not-kept", %error);
        }
    }

    fn show(&mut self, next: Next) {
        let now = self.clock.now();
        self.board.update(|status| status.plan(next, now));
        let line = self.line();
        if line != self.shown {
            self.manager.status(&line);
            self.shown = line;
        }
    }

    fn stepped(&mut self) {
        self.board.update(|status| status.counters.clock_steps += 1);
        tracing::info!(
            event = "clock-stepped",
            "the clock was set, or the machine woke up"
        );
        self.planner.clock_stepped(self.clock.now());
    }

    fn reload(&mut self) {
        match (self.reload)() {
            Ok(job) => {
                self.planner.reconfigure(job.rhythm, self.clock.now());
                self.job = job;
                self.switch_beats();
                self.board.update(|status| status.counters.reloads += 1);
                tracing::info!(event = "reloaded", "settings read again");
            }
            Err(problem) => tracing::error!(
                event = "reload-failed",
                problem,
                "going on with the settings as they were"
            ),
        }
    }

    /// On or off, as the job has it.
    fn switch_beats(&mut self) {
        let Some(beats) = &mut self.beats else {
            return;
        };
        let Job {
            equipment,
            rhythm,
            heartbeats,
        } = &self.job;
        let means = heartbeats.then(|| Means {
            equipment: equipment.clone(),
            longest: rhythm.retry_max,
        });
        if let Err(error) = beats.switch(means) {
            tracing::error!(event = "no-beats", %error, "there is no thread for heartbeats");
        }
    }

    /// Tells the watchdog, unless an act goes on for longer than any can.
    fn alive(&self) {
        match &self.running {
            Some(running) if running.since.elapsed() > LONGEST_ACT => tracing::error!(
                event = "stuck",
                act = running.act.name(),
                "longer than any can take: the watchdog is not told"
            ),
            _ => self.manager.alive(),
        }
    }

    async fn stop(mut self) {
        self.manager.stopping();
        tracing::info!(event = "stopping");
        if self.running.is_some() {
            let last = tokio::time::timeout(LAST_WAIT, result(&mut self.running)).await;
            if let Ok((act, done)) = last {
                self.ended(act, &done);
            }
        }
    }

    /// For `systemctl status`.
    fn line(&self) -> String {
        self.board.update(|status| {
            let standing = status.standing.name();
            match (&status.running, &status.next) {
                (Some(running), _) => format!("{standing}; {} under way", running.act),
                (None, Some(next)) => format!(
                    "{standing}; {} at {} ({})",
                    next.act,
                    date(next.at),
                    next.why
                ),
                (None, None) => standing.to_owned(),
            }
        })
    }
}

/// The act under way, once it has ended.
async fn result(running: &mut Option<Running>) -> (Act, Performance) {
    let Some(under_way) = running else {
        return std::future::pending().await;
    };
    let done = (&mut under_way.result)
        .await
        .unwrap_or_else(|_| Performance {
            ended: Ended::Failed(Trouble::Lasting),
            verdict: None,
            failure: Some(Failure::of_lost_thread()),
            tpm: None,
            begin_beats: None,
        });
    let act = under_way.act;
    *running = None;
    (act, done)
}

async fn tick(watchdog: &mut Option<tokio::time::Interval>) {
    match watchdog {
        Some(interval) => {
            interval.tick().await;
        }
        None => std::future::pending().await,
    }
}

impl<C> std::fmt::Debug for Daemon<C> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Daemon({})", self.job.equipment.state_dir.display())
    }
}
