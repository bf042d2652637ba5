//! The attester's state directory, and the boot logs that it reads.

use std::os::unix::fs::symlink;

use anyhow::{Result, ensure};
use holdfast_integration::{Gateway, Scene, TokenOptions};

use crate::judge::{REFUSED, chmod, judge, printed, text};

/// A25: a state directory that others can get at, that is a link, or that is
/// damaged. The enrolment in it is left as it is.
#[tokio::test]
async fn adv_a25_attester_state_directory() -> Result<()> {
    let mut scene = Scene::new()?;
    scene.enrol().await?;
    let state = scene.gateway.state_path().to_path_buf();
    let commands: [&[&str]; 4] = [
        &["attest"],
        &["recover"],
        &["status"],
        &["status", "--remote"],
    ];
    let each = |gateway: &mut Gateway, words: &[&str]| -> Result<()> {
        for arguments in commands {
            let output = gateway.try_run(arguments)?;
            judge(&arguments.join(" "), &output, REFUSED, words)?;
            ensure!(
                printed(&output).contains("next step: "),
                "{}",
                printed(&output)
            );
        }
        Ok(())
    };
    for mode in [0o755, 0o770, 0o1777] {
        chmod(&state, mode)?;
        each(&mut scene.gateway, &[text(&state)?, &format!("{mode:04o}")])?;
    }
    chmod(&state, 0o700)?;
    let record = state.join("state.json");
    chmod(&record, 0o644)?;
    each(&mut scene.gateway, &[text(&record)?, "0644"])?;
    chmod(&record, 0o600)?;

    let good = std::fs::read(&record)?;
    for bad in [&b"{{{"[..], b"", b"{}", b"\xFF\xFE", b"[[[[[[[["] {
        std::fs::write(&record, bad)?;
        each(&mut scene.gateway, &["state.json"])?;
    }
    std::fs::write(&record, &good)?;

    let moved = state.with_extension("moved");
    std::fs::rename(&state, &moved)?;
    symlink(&moved, &state)?;
    each(&mut scene.gateway, &[text(&state)?, "symbolic link"])?;
    std::fs::remove_file(&state)?;
    std::fs::write(&state, "a file")?;
    each(&mut scene.gateway, &[text(&state)?])?;
    std::fs::remove_file(&state)?;
    std::fs::rename(&moved, &state)?;

    // The file is a link.
    let elsewhere = state.with_extension("json");
    std::fs::rename(&record, &elsewhere)?;
    symlink(&elsewhere, &record)?;
    each(&mut scene.gateway, &[text(&record)?, "symbolic link"])?;
    std::fs::remove_file(&record)?;
    std::fs::rename(&elsewhere, &record)?;

    let log = scene.gateway.sim().boot_log();
    scene
        .gateway
        .run(&["attest", "--boot-log", text(&log)?])
        .map(drop)
}

/// Boot logs that are none: what cannot be read is said, before a token is
/// shown.
#[test]
fn attester_bad_boot_logs() -> Result<()> {
    let mut scene = Scene::new()?;
    let bundle = scene.deployment.create_token(&TokenOptions::default())?;
    let huge = scene.deployment.scratch().join("huge.log");
    std::fs::write(&huge, vec![0; 2 << 20])?;
    for log in [text(&huge)?, "/dev/zero", "/"] {
        let output =
            scene
                .gateway
                .try_run(&["enroll", "--bundle", text(&bundle)?, "--boot-log", log])?;
        judge(log, &output, REFUSED, &[log, "next step: "])?;
    }
    ensure!(scene.deployment.gateways()?.is_empty());
    scene
        .gateway
        .run(&["enroll", "--bundle", text(&bundle)?])
        .map(drop)
}
