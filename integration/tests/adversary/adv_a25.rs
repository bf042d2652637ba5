//! A25: loose modes, links, and files that are somebody else's. The verifier
//! refuses to start, or to use the file, and names it.

use std::fs;
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use holdfast_integration::programs::program;
use holdfast_integration::{oracle, skip};
use tempfile::TempDir;

const PATIENCE: Duration = Duration::from_secs(30);

/// A directory that `init` made; nothing serves.
struct Made {
    folder: TempDir,
}

impl Made {
    fn new(more: &[&str]) -> Result<Self> {
        let made = Self {
            folder: tempfile::tempdir()?,
        };
        let mut command = made.command("init")?;
        command.args(more);
        let output = command.output()?;
        oracle::succeed(&command, &output)?;
        Ok(made)
    }

    fn dir(&self) -> PathBuf {
        self.folder.path().join("verifier")
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir().join(name)
    }

    fn command(&self, name: &str) -> Result<Command> {
        let mut command = Command::new(program("holdfast-verifier")?);
        command.args([name, "--dir"]).arg(self.dir());
        command.stdin(Stdio::null());
        Ok(command)
    }

    /// `serve` must end by itself with 1 and name `file`.
    fn refuses_to_start(&self, file: &Path) -> Result<String> {
        let mut command = self.command("serve")?;
        command.args(["--listen", "127.0.0.1:0"]);
        command.stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn()?;
        let deadline = Instant::now() + PATIENCE;
        while child.try_wait()?.is_none() {
            if Instant::now() > deadline {
                child.kill()?;
                let _ = child.wait();
                bail!("it serves, whatever {} is", file.display());
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        named(&child.wait_with_output()?, file)
    }

    /// Each secret of the directory.
    fn secrets(&self) -> Result<Vec<PathBuf>> {
        let mut found = Vec::new();
        for entry in fs::read_dir(self.dir())? {
            let path = entry?.path();
            let name = path.to_string_lossy().into_owned();
            if name.ends_with(".key.pem") || name.ends_with(".key") {
                found.push(path);
            }
        }
        ensure!(found.len() >= 6, "{found:?}");
        Ok(found)
    }
}

/// Exit code 1, the file's name, and what to do about it.
fn named(output: &Output, file: &Path) -> Result<String> {
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    ensure!(
        output.status.code() == Some(1),
        "{:?}: {said}",
        output.status
    );
    let name = file.to_str().context("text")?;
    ensure!(said.contains(name), "{name} is not named: {said}");
    Ok(said)
}

fn mode(path: &Path, mode: u32) -> Result<()> {
    Ok(fs::set_permissions(path, fs::Permissions::from_mode(mode))?)
}

#[test]
fn adv_a25_c16_a_world_readable_key_or_state() -> Result<()> {
    let made = Made::new(&[])?;
    for path in made.secrets()? {
        for loose in [0o644, 0o640, 0o602] {
            mode(&path, loose)?;
            let said = made.refuses_to_start(&path)?;
            ensure!(said.contains("chmod 0600"), "{said}");
        }
        mode(&path, 0o600)?;
    }
    // The store, its log, and the directory itself.
    for name in ["holdfast.db", "holdfast.db-wal"] {
        fs::write(made.path(name), b"")?;
        mode(&made.path(name), 0o644)?;
        made.refuses_to_start(&made.path(name))?;
        fs::remove_file(made.path(name))?;
    }
    for loose in [0o755, 0o701, 0o770] {
        mode(&made.dir(), loose)?;
        let said = made.refuses_to_start(&made.dir())?;
        ensure!(said.contains("chmod 0700"), "{said}");
    }
    Ok(())
}

#[test]
fn adv_a25_what_is_trusted_and_others_can_write() -> Result<()> {
    let made = Made::new(&[])?;
    for name in [
        "config.toml",
        "keyring.json",
        "root-ca.pem",
        "issuing-ca.pem",
        "server.pem",
        "server-ca.pem",
        "policy-root.pub.pem",
        "policy.rego",
    ] {
        let path = made.path(name);
        for loose in [0o666, 0o664, 0o646] {
            mode(&path, loose)?;
            made.refuses_to_start(&path)?;
        }
        mode(&path, 0o644)?;
    }
    Ok(())
}

#[test]
fn adv_a25_a_link_in_place_of_a_directory_or_file() -> Result<()> {
    let made = Made::new(&[])?;
    let elsewhere = made.folder.path().join("elsewhere");
    for name in [
        "result.key.pem",
        "token.key",
        "config.toml",
        "keyring.json",
        "server.pem",
    ] {
        let path = made.path(name);
        fs::rename(&path, &elsewhere)?;
        symlink(&elsewhere, &path)?;
        made.refuses_to_start(&path)?;
        fs::remove_file(&path)?;
        fs::rename(&elsewhere, &path)?;
    }
    fs::rename(made.dir(), &elsewhere)?;
    symlink(&elsewhere, made.dir())?;
    let said = made.refuses_to_start(&made.dir())?;
    ensure!(said.contains("links are not followed"), "{said}");
    Ok(())
}

/// Files are made under names that can be guessed; what lies there already is
/// neither followed nor written into.
#[test]
fn adv_a25_a_predictable_temporary_path() -> Result<()> {
    let made = Made::new(&[])?;
    let victim = made.folder.path().join("victim");
    fs::write(&victim, b"untouched")?;
    // Whatever the process id will be.
    let pid_max: u32 = fs::read_to_string("/proc/sys/kernel/pid_max")?
        .trim()
        .parse()?;
    let now = std::process::id();
    for pid in (now..now + 400).map(|pid| pid % pid_max) {
        let _ = symlink(&victim, made.path(&format!(".keyring.json.{pid}.tmp")));
    }
    let mut command = Command::new(program("holdfast-verifier")?);
    command
        .args(["key", "rotate", "token", "--dir"])
        .arg(made.dir());
    let output = command.output()?;
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    // Refused where the name was hit; in any case the victim is as it was.
    ensure!(
        output.status.success() || said.contains("keyring.json"),
        "{said}"
    );
    ensure!(fs::read(&victim)? == b"untouched");
    Ok(())
}

#[test]
fn adv_a25_something_else_where_the_admin_socket_goes() -> Result<()> {
    let made = Made::new(&[])?;
    let path = made.path("admin.sock");
    let target = made.folder.path().join("target.sock");
    let _listener = std::os::unix::net::UnixListener::bind(&target)?;
    symlink(&target, &path)?;
    made.refuses_to_start(&path)?;
    ensure!(fs::symlink_metadata(&path)?.is_symlink(), "it was removed");
    fs::remove_file(&path)?;
    fs::write(&path, b"kept")?;
    made.refuses_to_start(&path)?;
    ensure!(fs::read(&path)? == b"kept");
    Ok(())
}

#[test]
fn adv_a25_files_of_another_owner() -> Result<()> {
    if !nix::unistd::Uid::effective().is_root() {
        skip!("only root can give a file away");
    }
    const NOBODY: u32 = 65_534;
    let made = Made::new(&[])?;
    let socket = made.path("admin.sock");
    drop(std::os::unix::net::UnixListener::bind(&socket)?);
    let names = ["admin.sock", "token.key", "config.toml", "keyring.json"];
    for path in names.map(|name| made.path(name)) {
        std::os::unix::fs::chown(&path, Some(NOBODY), None)?;
        made.refuses_to_start(&path)?;
        std::os::unix::fs::chown(&path, Some(0), None)?;
    }
    std::os::unix::fs::chown(made.dir(), Some(NOBODY), None)?;
    let said = made.refuses_to_start(&made.dir())?;
    ensure!(said.contains("chown"), "{said}");
    Ok(())
}

#[test]
fn adv_a25_a_passphrase_file_that_others_can_read() -> Result<()> {
    let safe = tempfile::tempdir()?;
    let file = safe.path().join("passphrase");
    fs::write(&file, b"correct horse\n")?;
    mode(&file, 0o600)?;
    let source = format!("file:{}", file.display());
    let made = Made::new(&["--ca-passphrase", &source])?;
    mode(&file, 0o644)?;
    made.refuses_to_start(&file)?;
    let link = safe.path().join("moved");
    fs::rename(&file, &link)?;
    symlink(&link, &file)?;
    made.refuses_to_start(&file)?;
    Ok(())
}

#[test]
fn adv_a25_an_offline_directory_that_others_can_read() -> Result<()> {
    let safe = tempfile::tempdir()?;
    let root = safe.path().join("root");
    let made = Made::new(&["--root-ca-dir", root.to_str().context("text")?])?;
    let rotate = || -> Result<Output> {
        let mut command = Command::new(program("holdfast-verifier")?);
        command
            .args(["key", "rotate", "issuing", "--dir"])
            .arg(made.dir());
        command.arg("--root-ca-dir").arg(&root);
        Ok(command.output()?)
    };
    let key = root.join("root-ca.key.pem");
    mode(&key, 0o644)?;
    named(&rotate()?, &key)?;
    mode(&key, 0o600)?;
    mode(&root, 0o755)?;
    named(&rotate()?, &root)?;
    mode(&root, 0o700)?;
    let elsewhere = safe.path().join("elsewhere");
    fs::rename(&root, &elsewhere)?;
    symlink(&elsewhere, &root)?;
    named(&rotate()?, &root)?;
    fs::remove_file(&root)?;
    fs::rename(&elsewhere, &root)?;
    ensure!(rotate()?.status.success());
    Ok(())
}
