//! `run`.

use std::num::NonZeroU32;
use std::time::Duration;

use holdfast_proto::sd_notify::ServiceManager;
use ring::rand::{SecureRandom, SystemRandom};
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::mpsc;

use super::config::Config;
use super::report::{DONE, Failure, Report};
use super::{Global, Run};
use crate::daemon::planner::Rhythm;
use crate::daemon::{Daemon, Endpoint, Equipment, Job, Order, SystemClock};
use crate::state::InstanceLock;

pub(super) async fn run(
    global: Global,
    config: Config,
    args: Run,
    report: &Report,
) -> Result<u8, Failure> {
    let failed = |e| Failure::refused(format!("cannot start: {e}"), "see the system's limits");
    // Before anything else: a signal that comes early ends it in order.
    let (order, orders) = orders().map_err(failed)?;
    let lock = InstanceLock::take(&config.state_dir)?;
    let manager = ServiceManager::from_env().map_err(|e| {
        Failure::refused(
            e,
            "start it by systemd, or without NOTIFY_SOCKET in the environment",
        )
    })?;
    let mut seed = [0; 8];
    SystemRandom::new()
        .fill(&mut seed)
        .map_err(|_| Failure::refused("no randomness", "see whether /dev/urandom works"))?;
    let clock = SystemClock::new().map_err(failed)?;
    let (first, socket) = (job(&config, &args), config.status_socket());
    let reload = Box::new(move || {
        let config = Config::resolve(&global).map_err(|failure| failure.to_string())?;
        Ok(job(&config, &args))
    });
    report.say(format_args!(
        "Running on {}: SIGTERM ends it, SIGHUP reads the settings again, SIGUSR1 attests now.",
        config.tcti
    ));
    let seed = u64::from_le_bytes(seed);
    let endpoint = Endpoint::bind(&socket).await?;
    let daemon =
        Daemon::new(clock, first, lock, reload, manager, seed).with_heartbeats(order, !seed);
    let telling = endpoint.serve(daemon.board());
    tokio::select! {
        () = daemon.run(orders) => {}
        () = telling => {}
    }
    Ok(DONE)
}

fn job(config: &Config, args: &Run) -> Job {
    let seconds = |n: NonZeroU32| Duration::from_secs(n.get().into());
    Job {
        equipment: Equipment {
            tcti: config.tcti.clone(),
            settings: config.settings.clone(),
            state_dir: config.state_dir.clone(),
            boot_log: args.logs.path(config),
            ima_log: args.logs.ima_path(config),
            bundle: args.bundle.clone().or_else(|| config.run.bundle.clone()),
            bind_to_boot: (args.bind_to_boot.clone()).or_else(|| config.run.bind_to_boot.clone()),
            choice: config.keys(&args.keys),
            road: config.road(&args.keys),
        },
        rhythm: Rhythm {
            attest_every: seconds(args.attest_every.unwrap_or(config.run.attest_every_seconds)),
            retry_max: seconds(args.retry_max.unwrap_or(config.run.retry_max_seconds)),
        },
        heartbeats: args.heartbeats || config.run.heartbeats,
    }
}

/// Signals, as orders.
fn orders() -> std::io::Result<(mpsc::Sender<Order>, mpsc::Receiver<Order>)> {
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut hang_up = signal(SignalKind::hangup())?;
    let mut user = signal(SignalKind::user_defined1())?;
    let (sender, receiver) = mpsc::channel(4);
    let signals = sender.clone();
    tokio::spawn(async move {
        loop {
            let order = tokio::select! {
                _ = terminate.recv() => Order::Stop,
                _ = interrupt.recv() => Order::Stop,
                _ = hang_up.recv() => Order::Reload,
                _ = user.recv() => Order::Attest,
            };
            if signals.send(order).await.is_err() {
                return;
            }
        }
    });
    Ok((sender, receiver))
}
