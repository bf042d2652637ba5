//! `run --heartbeats`: beats between attestations, over a verifier that is
//! killed; what they show is answered by an attestation; and their end is seen.

use std::fs;
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use holdfast_integration::oracle;
use holdfast_integration::programs::program;
use nix::sys::signal::Signal;
use serde_json::Value;

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

fn quick(text: String) -> String {
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
}

/// `status` of the gateway's program.
fn status(stand: &Stand, arguments: &[&str]) -> Result<String> {
    let mut command = Command::new(program("holdfast-attester")?);
    command
        .args(["--tcti", &stand.sim.tcti(), "--state-dir"])
        .arg(stand.state())
        .arg("status")
        .args(arguments);
    let output = command.output()?;
    oracle::succeed(&command, &output)
}

fn heartbeats(stand: &Stand) -> Result<Value> {
    let told: Value = serde_json::from_str(&status(stand, &["--json"])?)?;
    Ok(told["daemon"]["status"]["heartbeats"].clone())
}

/// Waits until the daemon tells of its heartbeats what is wanted.
fn until(stand: &Stand, wanted: impl Fn(&Value) -> bool) -> Result<Value> {
    let began = Instant::now();
    loop {
        let told = heartbeats(stand)?;
        if wanted(&told) {
            return Ok(told);
        }
        ensure!(began.elapsed() < PATIENCE, "{told:#}");
        std::thread::sleep(Duration::from_millis(100));
    }
}

/// Off in the settings file, then on by SIGHUP, then off: each is told to
/// operators, by the gateway and by the verifier.
#[test]
fn sighup_switches_heartbeats_and_both_sides_tell_of_them() -> Result<()> {
    let stand = Stand::with(quick)?;
    let settings = stand.deployment.scratch().join("attester.toml");
    let path = settings.to_str().context("path")?;
    let set = |on: bool| fs::write(&settings, format!("[run]\nheartbeats = {on}\n"));
    set(false)?;
    let bundle = stand.bundle()?;
    let bundle = bundle.to_str().context("path")?;
    let mut daemon = stand.run(&["--config", path, "--bundle", bundle])?;
    daemon.hears("event=\"affirmed\"")?;
    let told = heartbeats(&stand)?;
    ensure!(told["state"] == "off" && told["accepted"] == 0, "{told:#}");
    ensure!(status(&stand, &[])?.contains("heartbeats: off"));

    set(true)?;
    daemon.signal(Signal::SIGHUP)?;
    daemon.hears("event=\"beats-began\"")?;
    let told = until(&stand, |told| told["accepted"].as_u64() >= Some(2))?;
    ensure!(
        told["state"] == "beating" && told["streams"] == 1,
        "{told:#}"
    );
    let (last, due) = (&told["last_accepted"], &told["due"]);
    let within = due.as_i64().context("due")? - last.as_i64().context("last")?;
    ensure!(within == i64::try_from(WITHIN)?, "{told:#}");
    let words = status(&stand, &[])?;
    ensure!(
        words.contains("; the verifier awaits the next by "),
        "{words}"
    );
    let metrics = status(&stand, &["--prometheus"])?;
    for sample in [
        "holdfast_attester_heartbeats{state=\"beating\"} 1\n",
        "holdfast_attester_heartbeat_streams_total 1\n",
        "holdfast_attester_last_heartbeat_seconds ",
        "holdfast_attester_heartbeat_due_seconds ",
    ] {
        ensure!(metrics.contains(sample), "{sample} is not in {metrics}");
    }

    // The same from the other side.
    let id = stand.deployment.gateways()?[0]["gateway_id"].clone();
    let id = id.as_str().context("id")?;
    let awaited = stand.deployment.gateway(id)?["awaited"].clone();
    ensure!(awaited["heartbeats"] == "on", "{awaited:#}");
    let next = awaited["beat_within_seconds"].as_u64();
    ensure!(next.is_some_and(|next| next <= WITHIN), "{awaited:#}");
    ensure!(
        awaited["attest_within_seconds"].as_i64() > Some(80_000),
        "{awaited:#}"
    );
    let shown = stand.deployment.run(&["gateway", "show", id])?;
    for line in ["heartbeats     on, last recorded ", "attest within  "] {
        ensure!(shown.contains(line), "{line} is not in {shown}");
    }

    // What it wants instead of a heartbeat.
    stand.sim.extend_pcr(4, b"another boot manager")?;
    let told = until(&stand, |told| told["told"].is_object())?;
    ensure!(told["told"]["code"] == "pcr-drift", "{told:#}");
    ensure!(
        told["told"]["by"].as_i64() > told["told"]["at"].as_i64(),
        "{told:#}"
    );

    set(false)?;
    daemon.signal(Signal::SIGHUP)?;
    until(&stand, |told| told["state"] == "off")?;
    daemon.terminate()?;
    Ok(())
}

#[test]
fn beats_go_on_and_their_end_is_seen() -> Result<()> {
    let mut stand = Stand::with(quick)?;
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
