//! `run --heartbeats`: beats between attestations, over a verifier that is
//! killed; what they show is answered by an attestation; and their end is seen.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};

use crate::stand::{PATIENCE, Stand};

/// Interval and grace of this test, in seconds.
const WITHIN: u64 = 12;
const GRACE: u64 = 8;

fn state(stand: &Stand) -> Result<(String, String)> {
    let gateways = stand.deployment.gateways()?;
    let id = gateways[0]["gateway_id"].as_str().context("id")?.to_owned();
    let gateway = stand.deployment.gateway(&id)?;
    let text = |field: &str| gateway[field].as_str().unwrap_or_default().to_owned();
    Ok((text("state"), text("state_reason")))
}

#[test]
fn beats_go_on_and_their_end_is_seen() -> Result<()> {
    let mut stand = Stand::with(|text| {
        let quick = text
            .replace(
                "\nbeat_within_seconds = 300\n",
                &format!("\nbeat_within_seconds = {WITHIN}\n"),
            )
            .replace(
                "\ngrace_seconds = 60\n",
                &format!("\ngrace_seconds = {GRACE}\n"),
            );
        assert_ne!(quick, text, "config.toml has changed");
        quick
    })?;
    let bundle = stand.bundle()?;
    let bundle = bundle.to_str().context("path")?;
    let mut daemon = stand.run(&["--bundle", bundle, "--heartbeats"])?;
    daemon.hears("event=\"beats-began\"")?;

    // Longer than who does not beat is trusted.
    std::thread::sleep(Duration::from_secs(WITHIN + GRACE + 2));
    ensure!(state(&stand)?.0 == "active", "{}", daemon.log());

    // The stream breaks with the verifier, and is begun anew.
    let before = daemon.count("event=\"beats-began\"");
    stand.deployment.crash_and_restart()?;
    daemon.hears_again("event=\"beats-began\"", before)?;

    // A power cut of the TPM: told to attest, attested, and on it goes.
    let (began, affirmed) = (
        daemon.count("event=\"beats-began\""),
        daemon.count("event=\"affirmed\""),
    );
    stand.sim.reboot()?;
    daemon.hears("code=\"tpm-reset\"")?;
    daemon.hears_again("event=\"affirmed\"", affirmed)?;
    daemon.hears_again("event=\"beats-began\"", began)?;
    ensure!(state(&stand)?.0 == "active", "{}", daemon.log());

    daemon.terminate()?;
    let ended = Instant::now();
    loop {
        let (state, reason) = state(&stand)?;
        if state == "suspended" {
            ensure!(reason.contains("no heartbeat"), "{reason}");
            break;
        }
        ensure!(ended.elapsed() < PATIENCE, "still {state}");
        std::thread::sleep(Duration::from_millis(200));
    }
    Ok(())
}
