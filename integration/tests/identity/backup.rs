//! A backup of a verifier that serves, and a new verifier made of it.

use std::{
    fs,
    os::unix::fs::{MetadataExt as _, PermissionsExt as _},
    path::Path,
};

use anyhow::{Context, Result, ensure};
use holdfast_integration::{Deployment, Scene, TokenOptions, oracle};

fn text(path: &Path) -> Result<&str> {
    path.to_str().context("a path that is no text")
}

/// The whole story: enrolled, backed up while serving, revoked and renewed
/// since; the machine is lost; restored. The identity that was in force at the
/// backup is not believed again: the gateway proves itself anew.
#[test]
fn a_restored_verifier_believes_nobody_until_they_attest() -> Result<()> {
    let mut scene = Scene::new()?;
    let log = scene.gateway.sim().boot_log();
    let log = text(&log)?.to_owned();
    let bundle = scene.deployment.create_token(&TokenOptions {
        uses: 2,
        ..TokenOptions::default()
    })?;
    scene
        .gateway
        .run(&["enroll", "--bundle", text(&bundle)?, "--boot-log", &log])?;

    let scratch = scene.deployment.scratch().to_owned();
    let backup = scratch.join("holdfast.tar");
    let passphrase = scratch.join("passphrase");
    fs::write(&passphrase, "a long one, in a file\n")?;
    fs::set_permissions(&passphrase, fs::Permissions::from_mode(0o600))?;
    let source = format!("file:{}", text(&passphrase)?);
    let made = scene.deployment.run_json(&[
        "backup",
        "--output",
        text(&backup)?,
        "--passphrase",
        &source,
    ])?;
    ensure!(made["gateways"] == 1 && made["keys"] == true, "{made}");
    let id = made["id"].as_str().context("an id")?.to_owned();

    // Since: the gateway renews, so that its LDevID is on no record here.
    scene
        .gateway
        .run(&["attest", "--renew", "--boot-log", &log])?;
    scene.deployment.kill_9()?;
    let dir = scene.deployment.dir();
    fs::rename(&dir, scratch.join("lost"))?;

    let restore = [
        "restore",
        "--from",
        text(&backup)?,
        "--passphrase",
        &source,
        "--id",
        &id,
    ];
    let restored = scene.deployment.run_json(&restore)?;
    ensure!(restored["ldevids_revoked"] == 1, "{restored}");
    ensure!(restored["join_tokens_void"] == 1, "{restored}");
    // C38: a directory that holds something is not written over.
    let again = scene.deployment.try_run(&restore)?;
    ensure!(again.status.code() == Some(1), "{again:?}");

    // Its keys may have been retired since: as long as one is in use, and
    // until the owner says that what was taken away is taken away again, nobody
    // comes back.
    ensure!(restored["operators_revoked"] == 0, "{restored}");
    ensure!(
        restored["keys_to_replace"]
            == serde_json::json!(["issuing", "token", "result", "heartbeat"]),
        "{restored}"
    );
    scene.deployment.serve()?;
    let confirm = ["confirm-restore", "--id", &id];
    let said = |output: std::process::Output| String::from_utf8_lossy(&output.stderr).into_owned();
    let refused = scene.gateway.try_run(&["recover", "--boot-log", &log])?;
    ensure!(refused.status.code() == Some(1), "{refused:?}");
    let refused = said(refused);
    ensure!(refused.contains("restore-unconfirmed"), "{refused}");
    for kind in ["issuing", "token", "result", "heartbeat"] {
        let refused = said(scene.deployment.try_run(&confirm)?);
        let command = format!("key rotate --dir {} {kind}", text(&dir)?);
        ensure!(refused.contains(&command), "{refused}");
        scene.deployment.run(&["key", "rotate", kind])?;
    }
    let other = "00".repeat(32);
    let refused = said(
        scene
            .deployment
            .try_run(&["confirm-restore", "--id", &other])?,
    );
    ensure!(refused.contains("no restore"), "{refused}");
    let refused = said(scene.gateway.try_run(&["recover", "--boot-log", &log])?);
    ensure!(refused.contains("restore-unconfirmed"), "{refused}");
    let confirmed = scene.deployment.run_json(&confirm)?;
    ensure!(confirmed["gateways"] == 1, "{confirmed}");
    let gateways = scene.deployment.gateways()?;
    ensure!(gateways.len() == 1 && gateways[0]["state"] == "active");
    let refused = scene.gateway.try_run(&["attest", "--boot-log", &log])?;
    ensure!(
        refused.status.code() == Some(1),
        "an LDevID that the restored verifier never granted: {refused:?}"
    );
    scene.gateway.run(&["recover", "--boot-log", &log])?;
    scene.gateway.run(&["attest", "--boot-log", &log])?;
    // The token that had a use left is void: it may have been used since.
    let second = scene.another_gateway("second")?;
    let mut second = second;
    let refused = second.try_run(&["enroll", "--bundle", text(&bundle)?])?;
    ensure!(refused.status.code() == Some(1), "{refused:?}");
    Ok(())
}

/// A server that looked at the modes of its files by opening them gave up
/// SQLite's locks with that, and a backup, leaving, deleted the log of what the
/// server had committed.
#[test]
fn after_a_new_key_a_backup_takes_nothing_from_the_server() -> Result<()> {
    let deployment = Deployment::start()?;
    deployment.run(&["key", "rotate", "result"])?;
    let log = deployment.dir().join("holdfast.db-wal");
    let inode = fs::metadata(&log)?.ino();
    let backup = deployment.scratch().join("holdfast.tar");
    deployment.run(&["backup", "--output", text(&backup)?])?;
    ensure!(fs::metadata(&log).context("the log is gone")?.ino() == inode);
    Ok(())
}

/// To move a verifier that was stopped: everything stays in force. Keys that
/// are not in the backup are named, and `serve` says which is missing.
#[test]
fn a_verifier_is_moved_without_its_keys_in_the_backup() -> Result<()> {
    let mut scene = Scene::new()?;
    let log = scene.gateway.sim().boot_log();
    let log = text(&log)?.to_owned();
    let bundle = scene.deployment.create_token(&TokenOptions::default())?;
    scene
        .gateway
        .run(&["enroll", "--bundle", text(&bundle)?, "--boot-log", &log])?;
    scene.deployment.stop()?;
    let scratch = scene.deployment.scratch().to_owned();
    let backup = scratch.join("holdfast.tar");
    scene
        .deployment
        .run_json(&["backup", "--output", text(&backup)?])?;
    // Any tar reads it.
    let mut tar = std::process::Command::new("tar");
    let listed = tar.args(["-tf", text(&backup)?]).output()?;
    let listed = oracle::succeed(&tar, &listed)?;
    ensure!(
        listed.starts_with("manifest.json\nholdfast.db\n"),
        "{listed}"
    );
    ensure!(!listed.contains("key.pem"), "{listed}");

    let old = scratch.join("old");
    fs::rename(scene.deployment.dir(), &old)?;
    let restored =
        scene
            .deployment
            .run_json(&["restore", "--from", text(&backup)?, "--nothing-since"])?;
    ensure!(restored["ldevids_revoked"] == 0, "{restored}");
    ensure!(restored["confirmed"] == true, "{restored}");
    let missing: Vec<String> = serde_json::from_value(restored["key_files_missing"].clone())?;
    ensure!(missing.len() > 3, "{missing:?}");
    let refused = scene.deployment.serve().err().context("without its keys")?;
    ensure!(
        missing.iter().any(|key| refused.to_string().contains(key)),
        "{refused}"
    );
    for key in &missing {
        fs::copy(old.join(key), scene.deployment.dir().join(key))?;
    }
    scene.deployment.serve()?;
    scene.gateway.run(&["attest", "--boot-log", &log])?;
    Ok(())
}
