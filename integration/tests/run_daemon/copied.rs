//! A state directory on a machine that is not its own.

use std::path::Path;

use anyhow::{Result, ensure};
use holdfast_tpm_sim::{SimGateway, SimOptions};

use crate::stand::Stand;

fn copy(from: &Path, to: &Path) -> Result<()> {
    let status = std::process::Command::new("cp")
        .arg("-a")
        .arg(from)
        .arg(to)
        .status()?;
    ensure!(status.success());
    Ok(())
}

#[test]
fn adv_a23_a_copied_state_directory_gets_nothing_by_a_daemon_either() -> Result<()> {
    let stand = Stand::new()?;
    drop(stand.enrolled()?);
    let thief = SimGateway::start(SimOptions::new(stand.deployment.scratch().join("thief")))?;
    let stolen = stand.deployment.scratch().join("stolen");
    copy(&stand.state(), &stolen)?;
    let before = stand.deployment.gateways()?;
    let daemon = stand.run_on(&thief.tcti(), &stolen, &[])?;
    daemon.hears("event=\"act-failed\"")?;
    daemon.hears("this state belongs to another TPM")?;
    ensure!(daemon.count("event=\"affirmed\"") == 0, "{}", daemon.log());
    ensure!(stand.deployment.gateways()? == before);
    // Its own machine is as good as before.
    let own = stand.run(&[])?;
    own.hears("event=\"affirmed\" act=\"attest\"")
}
