//! Half an hour in half a minute: the daemon itself, by a clock that runs sixty
//! times as fast, over the real verifier and TPM.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use holdfast_attester::daemon::planner::{Now, Rhythm};
use holdfast_attester::daemon::{Clock, Daemon, Equipment, Job, Order, Woke};
use holdfast_attester::enrolment::{KeyChoice, Road};
use holdfast_attester::state::InstanceLock;
use holdfast_attester::tpm::Settings;
use holdfast_proto::sd_notify::ServiceManager;
use tokio::sync::mpsc;

use crate::stand::Stand;

/// Simulated seconds in a second.
const FAST: u32 = 60;
/// Of the LDevID, in simulated seconds.
const VALIDITY: u32 = 1200;

/// Boot clock and wall clock, from now on `FAST` times as fast. The verifier's
/// is as ever: to it the gateway is in a hurry.
#[derive(Clone, Copy)]
struct FastClock {
    start: Instant,
    wall: i64,
}

impl Clock for FastClock {
    fn now(&self) -> Now {
        let boot = self.start.elapsed() * FAST;
        Now {
            boot,
            wall: self.wall + i64::try_from(boot.as_secs()).expect("short"),
        }
    }

    async fn sleep_until(&self, boot: Duration) -> Woke {
        let left = boot.saturating_sub(self.now().boot) / FAST;
        tokio::time::sleep(left).await;
        Woke::Due
    }
}

#[test]
fn thirty_minutes_with_a_verifier_that_is_killed_and_comes_back() -> Result<()> {
    let mut stand = Stand::with(|text| {
        let usual = "validity_seconds = 86400\n";
        assert!(text.contains(usual), "config.toml has changed:\n{text}");
        text.replace(usual, &format!("validity_seconds = {VALIDITY}\n"))
    })?;
    let job = Job {
        equipment: Equipment {
            tcti: stand.sim.tcti().parse()?,
            settings: Settings::default(),
            state_dir: stand.state(),
            boot_log: stand.sim.boot_log(),
            ima_log: stand.sim.ima_log(),
            bundle: Some(stand.bundle()?),
            bind_to_boot: None,
            choice: KeyChoice::default(),
            road: Road::default(),
        },
        rhythm: Rhythm {
            attest_every: Duration::from_secs(180),
            retry_max: Duration::from_secs(60),
        },
        heartbeats: false,
    };
    let wall = std::time::SystemTime::now()
        .duration_since(std::time::UNIX_EPOCH)?
        .as_secs();
    let clock = FastClock {
        start: Instant::now(),
        wall: i64::try_from(wall)?,
    };
    let reload = Box::new(|| Err("not asked for".to_owned()));
    let (orders, inbox) = mpsc::channel(1);
    let lock = InstanceLock::take(&stand.state())?;
    let daemon = std::thread::spawn(move || -> Result<()> {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()?;
        let daemon = Daemon::new(clock, job, lock, reload, ServiceManager::absent(), 1);
        runtime.block_on(daemon.run(inbox));
        Ok(())
    });
    let minute = |minute: u32| {
        let at = clock.start + Duration::from_secs(60) * minute / FAST;
        std::thread::sleep(at.saturating_duration_since(Instant::now()));
    };
    minute(6);
    let first = stand.not_after().context("not enrolled in six minutes")?;
    let id = only_gateway(&stand)?;
    let affirmed = last_affirmed(&stand, &id)?;
    stand.deployment.kill_9()?;
    minute(11);
    stand.deployment.serve()?;
    minute(20);
    let renewed = stand.not_after().context("not enrolled")?;
    ensure!(
        renewed > first,
        "not renewed at two thirds: {first}, {renewed}"
    );
    ensure!(last_affirmed(&stand, &id)? > affirmed);
    stand.deployment.crash_and_restart()?;
    minute(30);
    let gateway = stand.deployment.gateway(&id)?;
    ensure!(gateway["state"] == "active", "{gateway}");
    ensure!(
        last_affirmed(&stand, &id)? > affirmed + 10,
        "not attested after the second crash: {gateway}"
    );
    orders.blocking_send(Order::Stop)?;
    daemon.join().expect("it did not panic")?;
    Ok(())
}

fn only_gateway(stand: &Stand) -> Result<String> {
    let gateways = stand.deployment.gateways()?;
    ensure!(gateways.len() == 1, "{gateways:?}");
    Ok(gateways[0]["gateway_id"].as_str().context("id")?.to_owned())
}

fn last_affirmed(stand: &Stand, id: &str) -> Result<i64> {
    let gateway = stand.deployment.gateway(id)?;
    gateway["last_affirmed"]
        .as_i64()
        .with_context(|| format!("last_affirmed in {gateway}"))
}
