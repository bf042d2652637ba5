//! Being told to end, and being started twice.

use std::time::Duration;

use anyhow::{Result, ensure};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::stand::{Daemon, Stand};

/// What the issue asks for: within a second.
const SOON: Duration = Duration::from_secs(1);

fn ends_soon(daemon: &mut Daemon) -> Result<()> {
    let (took, status) = daemon.terminate()?;
    ensure!(status.success(), "{status}:\n{}", daemon.log());
    ensure!(took < SOON, "{took:?}:\n{}", daemon.log());
    Ok(())
}

#[test]
fn systemd_hears_how_it_fares_and_sigterm_ends_it() -> Result<()> {
    let stand = Stand::new()?;
    let mut daemon = stand.enrolled()?;
    std::thread::sleep(Duration::from_secs(1));
    let told = daemon.told();
    ensure!(
        told.iter().any(|said| said.starts_with("READY=1\nSTATUS=")),
        "{told:?}"
    );
    let alive = told.iter().filter(|said| *said == "WATCHDOG=1").count();
    ensure!(alive >= 3, "{told:?}");
    ensure!(
        told.iter()
            .any(|said| said.starts_with("STATUS=trusted; attest at ")),
        "{told:?}"
    );
    ends_soon(&mut daemon)?;
    let told = daemon.told();
    ensure!(told.iter().any(|said| said == "STOPPING=1"), "{told:?}");
    Ok(())
}

#[test]
fn sigterm_ends_it_while_it_waits_for_the_tpm() -> Result<()> {
    let stand = Stand::new()?;
    let mut daemon = stand.enrolled()?;
    let swtpm = Pid::from_raw(i32::try_from(stand.sim.swtpm_pid())?);
    kill(swtpm, Signal::SIGSTOP)?;
    daemon.signal(Signal::SIGUSR1)?;
    daemon.hears("act=\"attest\" why=\"asked\"")?;
    std::thread::sleep(Duration::from_millis(500));
    // The watchdog's loop turns although the TPM says nothing.
    let told = daemon.told();
    let ended = ends_soon(&mut daemon);
    kill(swtpm, Signal::SIGCONT)?;
    ended?;
    ensure!(told.iter().any(|said| said == "WATCHDOG=1"), "{told:?}");
    Ok(())
}

#[test]
fn sigterm_ends_it_while_it_waits_for_the_network() -> Result<()> {
    let mut stand = Stand::new()?;
    let mut daemon = stand.enrolled()?;
    // Connections are taken by the kernel, and nobody answers.
    stand.deployment.stop()?;
    let silent = std::net::TcpListener::bind(stand.deployment.address())?;
    daemon.signal(Signal::SIGUSR1)?;
    daemon.hears("act=\"attest\" why=\"asked\"")?;
    let _connection = silent.accept()?;
    ends_soon(&mut daemon)
}

#[test]
fn sigterm_ends_it_while_it_pauses() -> Result<()> {
    let mut stand = Stand::new()?;
    let bundle = stand.bundle()?;
    stand.deployment.stop()?;
    let bundle = bundle.to_str().expect("path");
    let mut daemon = stand.run(&["--bundle", bundle])?;
    daemon.hears("event=\"act-failed\"")?;
    ends_soon(&mut daemon)
}

#[test]
fn one_for_each_state_directory_and_commands_work_beside_it() -> Result<()> {
    let stand = Stand::new()?;
    let daemon = stand.enrolled()?;
    let mut second = stand.run(&[])?;
    let status = second.ended()?;
    ensure!(status.code() == Some(1), "{status}");
    second.hears("in use by another holdfast-attester")?;
    let mut attest = std::process::Command::new(holdfast_integration::programs::program(
        "holdfast-attester",
    )?);
    attest
        .args(["--tcti", &stand.sim.tcti(), "--state-dir"])
        .arg(stand.state())
        .args(["attest", "--boot-log"])
        .arg(stand.sim.boot_log());
    let output = attest.output()?;
    ensure!(output.status.success(), "{output:?}");
    ensure!(
        daemon.count("event=\"act-failed\"") == 0,
        "{}",
        daemon.log()
    );
    Ok(())
}

#[test]
fn sighup_reads_the_settings_again() -> Result<()> {
    let stand = Stand::new()?;
    let settings = stand.deployment.scratch().join("attester.toml");
    std::fs::write(&settings, "[run]\nattest_every_seconds = 3600\n")?;
    let settings_text = settings.to_str().expect("path").to_owned();
    drop(stand.enrolled()?);
    let daemon = stand.run(&["--config", &settings_text])?;
    daemon.hears("event=\"affirmed\" act=\"attest\"")?;
    std::fs::write(&settings, "[run]\nattest_every_seconds = 1\n")?;
    daemon.signal(Signal::SIGHUP)?;
    daemon.hears("event=\"reloaded\"")?;
    daemon.hears("why=\"schedule\"")?;
    std::fs::write(&settings, "[run]\nattest_every = 1\n")?;
    daemon.signal(Signal::SIGHUP)?;
    daemon.hears("event=\"reload-failed\"")?;
    daemon.hears("attest_every")?;
    let before = daemon.count("event=\"affirmed\"");
    daemon.hears_again("event=\"affirmed\"", before)
}
