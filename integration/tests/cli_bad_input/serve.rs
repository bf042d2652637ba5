//! `holdfast-verifier serve`: damaged files, bad settings, a second server.

use std::path::Path;

use anyhow::{Context, Result, ensure};
use holdfast_integration::Deployment;

use crate::judge::{
    BAD_INPUT, REFUSED, chmod, folder, initialised, judge, refused, refused_serve, serves, text,
    verifier,
};

/// Every file of the directory, replaced by garbage, emptied, or gone: `serve`
/// names it, and touches nothing.
#[test]
fn verifier_serve_with_damaged_files() -> Result<()> {
    let folder = folder()?;
    let dir = initialised(folder.path())?;
    for name in [
        "config.toml",
        "policy.rego",
        "token.key",
        "server.pem",
        "server.key.pem",
        "issuing-ca.pem",
        "issuing-ca.key.pem",
        "root-ca.pem",
        "result.key.pem",
        "policy-root.pub.pem",
        "server-ca.pem",
    ] {
        let path = dir.join(name);
        let good = std::fs::read(&path)?;
        let code = if name == "config.toml" {
            BAD_INPUT
        } else {
            REFUSED
        };
        for bad in [&b"garbage {{{ \x1b[2J"[..], b"\xFF\xFE\x00"] {
            std::fs::write(&path, bad)?;
            let output = refused_serve(&dir, code, &[name])
                .with_context(|| format!("{name} with {bad:?}"))?;
            ensure!(
                !output.contains('\u{1b}'),
                "{name}: a live escape: {output:?}"
            );
            no_wal(&dir).with_context(|| name.to_owned())?;
        }
        std::fs::remove_file(&path)?;
        refused_serve(&dir, REFUSED, &[name]).with_context(|| format!("{name} is gone"))?;
        std::fs::write(&path, good)?;
        chmod(&path, if name.contains("key") { 0o600 } else { 0o644 })?;
    }
    let store = dir.join("holdfast.db");
    std::fs::write(
        &store,
        "garbage, and more of it than a header has. ".repeat(100),
    )?;
    chmod(&store, 0o600)?;
    refused_serve(&dir, REFUSED, &["holdfast.db"])?;
    std::fs::remove_file(&store)?;
    serves(&dir)
}

/// A log that a refused `serve` left behind would have the whole of the store:
/// SQLite would mend a damaged one from there, unseen.
fn no_wal(dir: &Path) -> Result<()> {
    for log in ["holdfast.db-wal", "holdfast.db-shm"] {
        ensure!(!dir.join(log).exists(), "{log} was left behind");
    }
    Ok(())
}

/// Keys and values in `config.toml` that are none.
#[test]
fn verifier_serve_with_a_bad_configuration() -> Result<()> {
    let folder = folder()?;
    let dir = initialised(folder.path())?;
    let path = dir.join("config.toml");
    let good = std::fs::read_to_string(&path)?;
    for (line, words) in [
        ("lisTen = \"127.0.0.1:0\"", "lisTen"),
        ("insecure = true", "insecure"),
        ("challenge_seconds = -4", "challenge_seconds"),
        ("challenge_seconds = 0", "challenge_seconds"),
        ("challenge_seconds = \"long\"", "challenge_seconds"),
        ("pcr_selection = [16]", "pcr_selection"),
        ("pcr_selection = \"all\"", "pcr_selection"),
        ("listen = \"nowhere\"", "listen"),
        ("server_names = 7", "server_names"),
        ("[limits2]", "limits2"),
    ] {
        let key = line.split(' ').next().context("a key")?;
        let rest: String = good
            .lines()
            .filter(|old| !old.starts_with(&format!("{key} ")))
            .map(|old| format!("{old}\n"))
            .collect();
        // Tables come last, and a new one before them would take their keys.
        let edited = if line.starts_with('[') {
            format!("{rest}\n{line}\n")
        } else {
            format!("{line}\n{rest}")
        };
        std::fs::write(&path, edited)?;
        refused_serve(&dir, BAD_INPUT, &[words]).with_context(|| line.to_owned())?;
    }
    std::fs::write(&path, &good)?;
    // By the environment.
    let listen = [
        ("HOLDFAST_LISTEN", "nowhere"),
        ("HOLDFAST_CHALLENGE_SECONDS", "x"),
    ];
    for (variable, value) in listen {
        let mut command = verifier(&["serve", "--dir", text(&dir)?])?;
        refused(command.env(variable, value), BAD_INPUT, &[])?;
    }
    serves(&dir)
}

/// Commands that need the server, and it is not there; and a second server.
#[test]
fn verifier_without_a_server_or_with_two() -> Result<()> {
    let folder = folder()?;
    let dir = initialised(folder.path())?;
    let dir_text = text(&dir)?;
    let certificate = dir.join("root-ca.pem");
    let document = folder.path().join("golden.json");
    std::fs::write(
        &document,
        format!(
            "{{\"pcrs\":{{\"sha256\":{{\"0\":[\"{}\"]}}}}}}",
            "00".repeat(32)
        ),
    )?;
    for arguments in [
        &["gateway", "list"][..],
        &["gateway", "show", "00"],
        &["gateway", "suspend", "00"],
        &["gateway", "resume", "00"],
        &["gateway", "revoke", "00"],
        &["endorsement", "list"],
        &["endorsement", "import", text(&certificate)?],
        &["reference", "import", text(&document)?],
        &["token", "create"],
    ] {
        let mut command = verifier(arguments)?;
        command.args(["--dir", dir_text]);
        refused(
            &mut command,
            REFUSED,
            &["no server is running", "holdfast-verifier serve --dir"],
        )?;
    }
    let absent = folder.path().join("absent");
    for arguments in [&["serve"][..], &["gateway", "list"]] {
        refused(
            verifier(arguments)?.arg("--dir").arg(&absent),
            REFUSED,
            &[text(&absent)?, "does not exist", "holdfast-verifier init"],
        )?;
    }

    let deployment = Deployment::start()?;
    let second = deployment.try_run(&["serve", "--listen", "127.0.0.1:0"])?;
    judge(
        "a second serve",
        &second,
        REFUSED,
        &["is in use by another"],
    )?;
    // Another's port.
    let taken = deployment.address().to_string();
    refused(
        &mut verifier(&["serve", "--dir", dir_text, "--listen", &taken])?,
        REFUSED,
        &[&taken],
    )?;
    no_wal(&dir)?;
    deployment.gateways().map(drop)
}
