//! The attester's program on a simulated gateway, as its operator runs it.

use std::path::Path;
use std::process::Output;

use anyhow::{Context, Result, ensure};

use crate::{Deployment, Gateway, TokenOptions};

/// Enrols `gateway` in `class` with a fresh bundle. Answers its id.
///
/// # Errors
/// Where the program fails, or the class already has a gateway.
pub fn enrol(gateway: &mut Gateway, deployment: &Deployment, class: &str) -> Result<String> {
    let options = TokenOptions {
        class: class.to_owned(),
        ..TokenOptions::default()
    };
    let bundle = deployment.create_token(&options)?;
    let log = gateway.sim().boot_log();
    gateway.run(&[
        "enroll",
        "--bundle",
        text(&bundle)?,
        "--boot-log",
        text(&log)?,
    ])?;
    let gateways = deployment.gateways()?;
    let of_class: Vec<_> = gateways.iter().filter(|g| g["class"] == class).collect();
    ensure!(of_class.len() == 1, "{gateways:?}");
    Ok(of_class[0]["gateway_id"].as_str().context("id")?.to_owned())
}

/// `attest`, which must be affirmed.
///
/// # Errors
/// What the program printed, where it is not.
pub fn attest(gateway: &mut Gateway) -> Result<()> {
    let log = gateway.sim().boot_log();
    gateway
        .run(&["attest", "--boot-log", text(&log)?])
        .map(drop)
}

/// `recover`, which must be granted.
///
/// # Errors
/// What the program printed, where it is not.
pub fn recover(gateway: &mut Gateway) -> Result<()> {
    let log = gateway.sim().boot_log();
    gateway
        .run(&["recover", "--boot-log", text(&log)?])
        .map(drop)
}

/// `attest`, which must be refused. Answers what the program printed.
///
/// # Errors
/// What it printed, where it ended otherwise.
pub fn refused(gateway: &mut Gateway) -> Result<String> {
    let log = gateway.sim().boot_log();
    let output = gateway.try_run(&["attest", "--boot-log", text(&log)?])?;
    let printed = printed(&output);
    ensure!(output.status.code() == Some(1), "not refused: {printed}");
    Ok(printed)
}

/// Both streams of a program, one after the other.
#[must_use]
pub fn printed(output: &Output) -> String {
    format!(
        "{}{}",
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    )
}

fn text(path: &Path) -> Result<&str> {
    path.to_str().context("path")
}
