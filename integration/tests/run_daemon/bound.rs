//! `run --bundle B --bind-to-boot FILE`: nobody is there to enrol by hand, and
//! the LDevID key is bound to approved boot states all the same.

use std::process::Command;

use anyhow::{Context, Result, ensure};
use holdfast_attester::state::StateView;
use holdfast_integration::programs::program;
use holdfast_integration::story::printed;

use crate::stand::Stand;

/// Approvals of the golden boot, as the owner exports them.
fn approvals(stand: &Stand) -> Result<String> {
    let golden = stand.sim.describe().reference_values;
    let golden = golden.to_str().context("path")?;
    let file = stand.deployment.scratch().join("golden.approvals");
    let file = file.to_str().context("path")?.to_owned();
    stand.deployment.run(&["seal", "delegate"])?;
    stand
        .deployment
        .run(&["seal", "approve", "--from-reference", golden])?;
    stand
        .deployment
        .run(&["seal", "export", "--output", &file])?;
    Ok(file)
}

#[test]
fn an_enrolment_with_nobody_there_is_bound_to_the_boot() -> Result<()> {
    let stand = Stand::new()?;
    let file = approvals(&stand)?;
    let bundle = stand.bundle()?;
    let bundle = bundle.to_str().context("path")?;
    let mut daemon = stand.run(&["--bundle", bundle, "--bind-to-boot", &file])?;
    daemon.hears("act=\"enrol\"")?;
    daemon.hears("event=\"affirmed\"")?;
    daemon.terminate()?;
    let enrolled = StateView::open(&stand.state())?.require_enrolled()?;
    ensure!(enrolled.keys.ldevid.is_bound(), "the key is not bound");

    // It goes on with that key, and after another boot has none.
    let mut daemon = stand.run(&[])?;
    daemon.hears("event=\"affirmed\"")?;
    daemon.terminate()?;
    stand.sim.extend_pcr(4, b"another boot manager")?;
    let attest = Command::new(program("holdfast-attester")?)
        .args(["--tcti", &stand.sim.tcti(), "--state-dir"])
        .arg(stand.state())
        .args(["attest", "--boot-log"])
        .arg(stand.sim.boot_log())
        .output()?;
    let said = printed(&attest);
    ensure!(attest.status.code() == Some(1), "{said}");
    ensure!(said.contains("bound to approved boot states"), "{said}");
    Ok(())
}

/// It waits for the approvals: an unbound key is not what was asked for.
#[test]
fn without_the_approvals_nothing_is_enrolled() -> Result<()> {
    let stand = Stand::new()?;
    let file = approvals(&stand)?;
    let bundle = stand.bundle()?;
    let bundle = bundle.to_str().context("path")?;
    let absent = format!("{file}.later");
    let mut daemon = stand.run(&["--bundle", bundle, "--bind-to-boot", &absent])?;
    daemon.hears("holdfast-verifier seal export")?;
    ensure!(stand.not_after().is_none(), "enrolled");
    ensure!(stand.deployment.gateways()?.is_empty());
    std::fs::rename(&file, &absent)?;
    daemon.hears("event=\"affirmed\"")?;
    daemon.terminate()?;
    let enrolled = StateView::open(&stand.state())?.require_enrolled()?;
    ensure!(enrolled.keys.ldevid.is_bound(), "the key is not bound");
    Ok(())
}
