//! What an operator is told, while it runs and after.

use std::process::Command;

use anyhow::{Context, Result, ensure};
use holdfast_integration::oracle;
use holdfast_integration::programs::program;
use nix::sys::signal::Signal;
use serde_json::Value;

use crate::stand::Stand;

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

fn json(stand: &Stand) -> Result<Value> {
    Ok(serde_json::from_str(&status(stand, &["--json"])?)?)
}

#[test]
fn status_tells_all_of_it_beside_the_daemon_and_after_it() -> Result<()> {
    let stand = Stand::new()?;
    let mut daemon = stand.enrolled()?;
    let told = json(&stand)?;
    let (running, said) = (&told["daemon"]["running"], &told["daemon"]["status"]);
    ensure!(running == true, "{told:#}");
    ensure!(said["standing"] == "trusted", "{told:#}");
    ensure!(said["verdict"]["affirming"] == true, "{told:#}");
    ensure!(said["next"]["act"] == "attest", "{told:#}");
    ensure!(said["next"]["why"] == "schedule", "{told:#}");
    ensure!(said["tpm"]["manufacturer"] == "IBM", "{told:#}");
    ensure!(
        said["counters"]["acts"]["enrol"]["affirmed"] == 1,
        "{told:#}"
    );
    // Identity, by OpenSSL's reading of the certificate.
    let pem = stand.state().join("ldevid.pem");
    let pem = pem.to_str().context("path")?;
    let shown = oracle::run(
        "openssl",
        [
            "x509",
            "-in",
            pem,
            "-noout",
            "-serial",
            "-issuer",
            "-nameopt",
            "multiline,utf8",
        ],
    )?;
    let serial = said["identity"]["serial"].as_str().context("serial")?;
    let by_openssl = shown
        .lines()
        .find_map(|line| line.strip_prefix("serial="))
        .context("no serial")?;
    ensure!(
        by_openssl
            .trim_start_matches('0')
            .eq_ignore_ascii_case(serial.trim_start_matches('0')),
        "{shown} {serial}"
    );
    let common = shown
        .lines()
        .find_map(|line| line.trim().strip_prefix("commonName"))
        .and_then(|rest| rest.split_once("= "))
        .context("no issuer")?
        .1;
    let issuer = said["identity"]["issuer"].as_str().context("issuer")?;
    ensure!(issuer.contains(&format!("CN={common}")), "{issuer} {shown}");

    let words = status(&stand, &[])?;
    for part in [
        "Daemon: trusted",
        "last verdict: affirmed",
        "next: attest at",
    ] {
        ensure!(words.contains(part), "{words}");
    }
    // The same by a program that is not ours.
    let socket = stand.state().join("status.sock");
    let socket = socket.to_str().context("path")?;
    let curl = |target: &str| {
        let url = format!("http://localhost{target}");
        oracle::run("curl", ["-q", "-sSf", "--unix-socket", socket, &url])
    };
    let metrics = curl("/metrics")?;
    let sample = "holdfast_attester_acts_total{act=\"enrol\",outcome=\"affirmed\"} 1\n";
    ensure!(metrics.contains(sample), "{metrics}");
    ensure!(metrics.contains("holdfast_attester_up 1\n"), "{metrics}");
    ensure!(status(&stand, &["--prometheus"])? == metrics);
    let direct: Value = serde_json::from_str(&curl("/status")?)?;
    ensure!(direct["identity"] == said["identity"], "{direct:#}");

    daemon.terminate()?;
    ensure!(!stand.state().join("status.sock").exists());
    let told = json(&stand)?;
    ensure!(told["daemon"]["running"] == false, "{told:#}");
    ensure!(
        told["daemon"]["status"]["standing"] == "trusted",
        "{told:#}"
    );
    ensure!(told["serial"] == serial, "{told:#}");
    let metrics = status(&stand, &["--prometheus"])?;
    ensure!(metrics.contains("holdfast_attester_up 0\n"), "{metrics}");
    ensure!(
        metrics.contains("holdfast_attester_ldevid_not_after_seconds "),
        "{metrics}"
    );
    Ok(())
}

#[test]
fn a_refusal_is_told_with_its_reasons_and_lived_through() -> Result<()> {
    let mut stand = Stand::new()?;
    let daemon = stand.enrolled()?;
    stand.sim.extend_pcr(4, b"a loader that nobody released")?;
    daemon.signal(Signal::SIGUSR1)?;
    daemon.hears("event=\"refused\"")?;
    daemon.hears("event=\"reason\"")?;
    let told = json(&stand)?;
    let said = &told["daemon"]["status"];
    ensure!(said["standing"] == "refused", "{told:#}");
    ensure!(
        said["verdict"]["reasons"][0]["code"].is_string(),
        "{told:#}"
    );
    ensure!(
        said["verdict"]["reasons"][0]["next_step"]
            .as_str()
            .is_some_and(|s| !s.is_empty()),
        "{told:#}"
    );
    ensure!(said["next"]["act"].is_string(), "{told:#}");
    // Put right, and forgiven: it comes back by itself.
    stand.sim.reboot()?;
    let gateways = stand.deployment.gateways()?;
    let id = gateways[0]["gateway_id"].as_str().context("id")?;
    stand.deployment.run(&["gateway", "resume", id])?;
    daemon.hears("event=\"affirmed\" act=\"recover\"")?;
    let told = json(&stand)?;
    ensure!(
        told["daemon"]["status"]["standing"] == "trusted",
        "{told:#}"
    );
    ensure!(told["daemon"]["status"]["trouble"].is_null(), "{told:#}");
    Ok(())
}

#[test]
fn cve_c41_no_secret_is_in_the_log_or_the_status() -> Result<()> {
    let stand = Stand::new()?;
    let bundle = stand.bundle()?;
    let text = std::fs::read_to_string(&bundle)?;
    let daemon = stand.run(&["--bundle", bundle.to_str().context("path")?])?;
    daemon.hears("event=\"affirmed\"")?;
    let token = holdfast_proto::bundle::Bundle::parse(text.trim())?;
    let secret = hex::encode(token.join_token.expose());
    let told = format!(
        "{}{}{}",
        daemon.log(),
        json(&stand)?,
        status(&stand, &["--prometheus"])?
    );
    ensure!(!told.contains(text.trim()) && !told.contains(&secret));
    Ok(())
}
