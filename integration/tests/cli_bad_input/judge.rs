//! How each refusal is judged: its exit code, its words, no secret in them, and
//! nothing changed.

use std::collections::BTreeMap;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use anyhow::{Context, Result, bail, ensure};
use holdfast_integration::programs::program;
use holdfast_integration::{Deployment, oracle};
use tempfile::TempDir;

pub(crate) const REFUSED: i32 = 1;
pub(crate) const BAD_INPUT: i32 = 2;

/// Runs it; it must exit with `code` and say all of `words` on stderr.
pub(crate) fn refused(command: &mut Command, code: i32, words: &[&str]) -> Result<String> {
    let output = command.stdin(Stdio::null()).output()?;
    judge(
        &format!("{:?}", command.get_args().collect::<Vec<_>>()),
        &output,
        code,
        words,
    )?;
    Ok(printed(&output))
}

pub(crate) fn judge(name: &str, output: &Output, code: i32, words: &[&str]) -> Result<()> {
    let stderr = String::from_utf8_lossy(&output.stderr);
    if output.status.code() != Some(code) {
        bail!(
            "{name}: expected exit code {code}, got {}: {}",
            output.status,
            printed(output)
        );
    }
    ensure!(!stderr.contains("panicked"), "{name}: {stderr}");
    ensure!(!stderr.trim().is_empty(), "{name}: says nothing");
    for words in words {
        ensure!(
            stderr.contains(words),
            "{name}: expected {words:?} in: {stderr}"
        );
    }
    Ok(())
}

/// `serve` on `dir` must end by itself, show no secret of `dir`, and leave its
/// files as they are. What it logged before it failed is part of the answer.
pub(crate) fn refused_serve(dir: &Path, code: i32, words: &[&str]) -> Result<String> {
    let before = contents(dir)?;
    let secrets = secrets(dir)?;
    let mut command = Command::new("timeout");
    command
        .arg("20")
        .arg(program("holdfast-verifier")?)
        .args(["serve", "--listen", "127.0.0.1:0", "--dir"])
        .arg(dir)
        .env_remove("RUST_LOG")
        .stdin(Stdio::null());
    let output = command.output()?;
    judge("serve", &output, code, words)?;
    shows_none(&output, &secrets)?;
    ensure!(contents(dir)? == before, "serve changed a file in {dir:?}");
    Ok(printed(&output))
}

/// The good run: `serve` starts, and ends well.
pub(crate) fn serves(dir: &Path) -> Result<()> {
    let ready = dir.with_extension("address");
    let mut server = verifier(&["serve", "--listen", "127.0.0.1:0", "--dir", text(dir)?])?
        .arg("--address-file")
        .arg(&ready)
        .stdin(Stdio::null())
        .stderr(Stdio::null())
        .spawn()?;
    for _ in 0..1000 {
        if ready.exists() || server.try_wait()?.is_some() {
            break;
        }
        std::thread::sleep(std::time::Duration::from_millis(20));
    }
    let started = ready.exists();
    server.kill()?;
    server.wait()?;
    ensure!(started, "the good serve did not start");
    Ok(())
}

pub(crate) const SECRETS: [&str; 4] = [
    "token.key",
    "server.key.pem",
    "issuing-ca.key.pem",
    "result.key.pem",
];

/// Parts of the secrets in a verifier's directory: of the token key's hex, and
/// of the lines of a PKCS#8 P-256 key that hold the private scalar (bytes 36 to
/// 68); what is before and after is in certificates too.
pub(crate) fn secrets(dir: &Path) -> Result<Vec<String>> {
    let mut parts = Vec::new();
    for entry in std::fs::read_dir(dir)? {
        let path = entry?.path();
        if !path.to_string_lossy().contains("key") {
            continue;
        }
        let Ok(text) = std::fs::read_to_string(&path) else {
            continue;
        };
        match text.lines().collect::<Vec<_>>().as_slice() {
            ["-----BEGIN PRIVATE KEY-----", first, second, ..] => {
                parts.push(first[48..].to_owned());
                parts.push(second[..24].to_owned());
            }
            [hex] if hex.len() == 64 => parts.push(hex[..24].to_owned()),
            // Damaged by the test itself.
            _ => {}
        }
    }
    ensure!(parts.len() > 6, "the keys are not as this test knows them");
    Ok(parts)
}

pub(crate) fn shows_none(output: &Output, secrets: &[String]) -> Result<()> {
    let all = printed(output);
    for secret in secrets {
        ensure!(!all.contains(secret), "a secret was printed: {all}");
    }
    Ok(())
}

/// What of a deployment's store bad input could have changed.
#[derive(Debug, PartialEq)]
pub(crate) struct Stored {
    pub(crate) gateways: Vec<serde_json::Value>,
    pub(crate) endorsements: serde_json::Value,
    pub(crate) counts: Option<String>,
}

pub(crate) fn stored(deployment: &Deployment) -> Result<Stored> {
    let store = deployment.dir().join("holdfast.db");
    let counts = "SELECT (SELECT count(*) FROM join_tokens), (SELECT count(*) FROM reference_values),
         (SELECT count(*) FROM certificates), (SELECT count(*) FROM answers), (SELECT count(*) FROM anchors)";
    Ok(Stored {
        gateways: deployment.gateways()?,
        endorsements: deployment.run_json(&["endorsement", "list"])?,
        counts: if oracle::present("sqlite3") {
            Some(oracle::run(
                "sqlite3",
                ["-readonly", text(&store)?, counts],
            )?)
        } else {
            None
        },
    })
}

/// All files below a folder, but the ones that serving makes.
pub(crate) fn contents(folder: &Path) -> Result<BTreeMap<PathBuf, Vec<u8>>> {
    let mut found = BTreeMap::new();
    let mut folders = vec![folder.to_path_buf()];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(&folder)? {
            let path = entry?.path();
            let name = path
                .file_name()
                .unwrap_or_default()
                .to_string_lossy()
                .into_owned();
            if name == "lock" || name.starts_with("holdfast.db") {
                continue;
            }
            if path.is_dir() && !path.is_symlink() {
                folders.push(path);
            } else {
                let content = std::fs::read(&path).unwrap_or_default();
                found.insert(path, content);
            }
        }
    }
    Ok(found)
}

pub(crate) fn initialised(folder: &Path) -> Result<PathBuf> {
    let dir = folder.join("verifier");
    let mut init = verifier(&[
        "init",
        "--server-name",
        "verifier.test",
        "--dir",
        text(&dir)?,
    ])?;
    let output = init.output()?;
    oracle::succeed(&init, &output)?;
    Ok(dir)
}

pub(crate) fn verifier(arguments: &[&str]) -> Result<Command> {
    let mut command = Command::new(program("holdfast-verifier")?);
    command.args(arguments).env_remove("RUST_LOG");
    Ok(command)
}

pub(crate) fn attester(arguments: &[&str]) -> Result<Command> {
    let mut command = Command::new(program("holdfast-attester")?);
    command.args(arguments).env("TSS2_LOG", "all+NONE");
    Ok(command)
}

pub(crate) fn chmod(path: &Path, mode: u32) -> Result<()> {
    Ok(std::fs::set_permissions(
        path,
        std::fs::Permissions::from_mode(mode),
    )?)
}

pub(crate) fn folder() -> Result<TempDir> {
    Ok(tempfile::Builder::new().prefix("holdfast-cli-").tempdir()?)
}

pub(crate) fn text(path: &Path) -> Result<&str> {
    path.to_str().context("a path that is not UTF-8")
}

pub(crate) fn printed(output: &Output) -> String {
    format!(
        "{}{}",
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    )
}
