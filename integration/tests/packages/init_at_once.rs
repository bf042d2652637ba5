//! `init` that is given all at once: vendors' CAs, reference values, the first
//! bundle, the account that will serve.

use std::net::TcpListener;
use std::os::unix::fs::MetadataExt as _;
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use holdfast_integration::programs::program;
use holdfast_integration::story::printed;
use holdfast_integration::{Gateway, oracle, skip};
use tempfile::TempDir;

/// Nobody, on Debian.
const ACCOUNT: &str = "nobody";
const ACCOUNT_ID: u32 = 65_534;

fn text(path: &Path) -> Result<&str> {
    path.to_str().context("a path that is no text")
}

fn verifier(args: &[&str]) -> Result<Command> {
    let mut command = Command::new(program("holdfast-verifier")?);
    command
        .args(args)
        .env_remove("HOLDFAST_DIR")
        .stdin(Stdio::null());
    Ok(command)
}

fn run(args: &[&str]) -> Result<Output> {
    Ok(verifier(args)?.output()?)
}

/// A verifier in the making, and a gateway that it will trust.
struct Stand {
    folder: TempDir,
    gateway: Gateway,
    dir: PathBuf,
    bundle: PathBuf,
    port: u16,
}

impl Stand {
    fn new() -> Result<Self> {
        let folder = tempfile::Builder::new().prefix("holdfast-").tempdir()?;
        let gateway = Gateway::boot(&folder.path().join("gateway"), |_| {})?;
        let port = TcpListener::bind("127.0.0.1:0")?.local_addr()?.port();
        Ok(Self {
            dir: folder.path().join("verifier"),
            bundle: folder.path().join("gateway.bundle"),
            folder,
            gateway,
            port,
        })
    }

    fn init(&self, more: &[&str]) -> Result<Output> {
        let described = self.gateway.sim().describe();
        let listen = format!("127.0.0.1:{}", self.port);
        let args = [
            "init",
            "--dir",
            text(&self.dir)?,
            "--listen",
            &listen,
            "--server-name",
            "localhost",
            "--endorsement",
            text(&described.vendor_root)?,
            "--reference",
            text(&described.reference_values)?,
            "--bundle",
            text(&self.bundle)?,
        ];
        run(&[&args, more].concat())
    }

    fn serve(&self, as_user: Option<u32>) -> Result<Serving> {
        let address = self.dir.join("address");
        let mut command = verifier(&["serve", "--dir", text(&self.dir)?, "--address-file"])?;
        command.arg(&address).stderr(Stdio::null());
        if let Some(user) = as_user {
            command.uid(user).gid(user);
        }
        let child = Serving(command.spawn()?);
        let until = Instant::now() + Duration::from_secs(30);
        while !address.exists() {
            ensure!(Instant::now() < until, "serve is not ready");
            std::thread::sleep(Duration::from_millis(20));
        }
        Ok(child)
    }

    fn enrol(&mut self) -> Result<String> {
        let log = self.gateway.sim().boot_log();
        let bundle = text(&self.bundle)?.to_owned();
        self.gateway
            .run(&["enroll", "--bundle", &bundle, "--boot-log", text(&log)?])
    }

    /// Nothing beside what was there before.
    fn nothing_was_made(&self) -> Result<()> {
        let names = std::fs::read_dir(self.folder.path())?
            .map(|entry| Ok(entry?.file_name()))
            .collect::<Result<Vec<_>>>()?;
        ensure!(names == ["gateway"], "left: {names:?}");
        Ok(())
    }
}

/// Ends with the test.
struct Serving(Child);

impl Drop for Serving {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// `init`, `serve`, `enroll`: three commands from nothing to a gateway.
#[test]
fn a_verifier_that_is_given_all_at_once_enrols_its_first_gateway() -> Result<()> {
    let mut stand = Stand::new()?;
    let made = stand.init(&["--class", "edge"])?;
    ensure!(made.status.success(), "{}", printed(&made));
    let mode = stand.bundle.metadata()?.permissions().mode() & 0o777;
    ensure!(mode == 0o600, "{mode:o}");
    let _serving = stand.serve(None)?;
    let said = stand.enrol()?;
    ensure!(said.contains("Affirmed and granted"), "{said}");
    let dir = text(&stand.dir)?;
    // What was given is on record as if the commands had been run.
    let listed = run(&[
        "reference",
        "list",
        "--dir",
        dir,
        "--class",
        "edge",
        "--json",
    ])?;
    ensure!(listed.status.success(), "{}", printed(&listed));
    let log = run(&["audit", "verify", "--dir", dir])?;
    ensure!(log.status.success(), "{}", printed(&log));
    Ok(())
}

/// What one of the commands would refuse leaves nothing behind.
#[test]
fn what_cannot_be_used_makes_no_verifier() -> Result<()> {
    let stand = Stand::new()?;
    let scratch = tempfile::tempdir()?;
    let bad = scratch.path().join("bad.pem");
    std::fs::write(
        &bad,
        "-----BEGIN CERTIFICATE-----\nMAA=\n-----END CERTIFICATE-----\n",
    )?;
    let json = scratch.path().join("bad.json");
    std::fs::write(&json, "{\"pcrs\":{\"sha256\":{\"0\":[\"00\"]}}}")?;
    let absent = scratch.path().join("absent");
    let taken = scratch.path().join("taken");
    std::fs::write(&taken, "")?;
    for (more, why) in [
        (vec!["--endorsement", text(&bad)?], "--endorsement"),
        (vec!["--endorsement", text(&absent)?], "absent"),
        (vec!["--class", "No Class"], "class"),
        (vec!["--user", "no-such-account"], "no-such-account"),
    ] {
        let output = stand.init(&more)?;
        let said = printed(&output);
        ensure!(matches!(output.status.code(), Some(1 | 2)), "{why}: {said}");
        ensure!(said.contains(why), "{why}: {said}");
        stand.nothing_was_made()?;
    }
    // Options that are given once only.
    let dir = stand.folder.path().join("verifier");
    let dir = text(&dir)?;
    let nowhere = scratch.path().join("no-such-folder/gateway.bundle");
    let within = stand.dir.join("config.toml");
    for (args, why) in [
        (vec!["--reference", text(&json)?], "bad.json"),
        (vec!["--bundle", text(&taken)?], "exists already"),
        (
            vec!["--listen", "127.0.0.1:7443", "--bundle", text(&nowhere)?],
            "--bundle",
        ),
        (
            vec!["--listen", "127.0.0.1:7443", "--bundle", text(&within)?],
            "exists already",
        ),
        (
            vec!["--listen", "127.0.0.1:0", "--bundle", text(&absent)?],
            "--listen",
        ),
    ] {
        let output = run(&[&["init", "--dir", dir], args.as_slice()].concat())?;
        let said = printed(&output);
        ensure!(matches!(output.status.code(), Some(1 | 2)), "{why}: {said}");
        ensure!(said.contains(why), "{why}: {said}");
        stand.nothing_was_made()?;
        ensure!(!absent.exists());
    }
    Ok(())
}

/// As the package does it: root makes the directory, an account serves from it,
/// and root's commands reach it over the socket. Commands that work in the
/// directory itself are for the account: what that wrote, root does not act on.
#[test]
fn root_makes_a_verifier_for_an_account() -> Result<()> {
    if !nix::unistd::geteuid().is_root() {
        skip!("needs root, to give the directory away");
    }
    let mut stand = Stand::new()?;
    // The account must come as far as the directory.
    let open = std::fs::Permissions::from_mode(0o755);
    std::fs::set_permissions(stand.folder.path(), open)?;
    let made = stand.init(&["--user", ACCOUNT])?;
    ensure!(made.status.success(), "{}", printed(&made));
    for entry in std::fs::read_dir(&stand.dir)? {
        let entry = entry?;
        ensure!(entry.metadata()?.uid() == ACCOUNT_ID, "{entry:?}");
    }
    ensure!(stand.dir.metadata()?.uid() == ACCOUNT_ID);
    ensure!(stand.bundle.metadata()?.uid() == 0);

    let _serving = stand.serve(Some(ACCOUNT_ID))?;
    stand.enrol()?;
    let dir = text(&stand.dir)?.to_owned();
    let reference = stand.gateway.sim().reference_values();
    // With the owner's key, which is in the directory.
    for args in [
        vec!["token", "create", "--dir", &dir],
        vec!["gateway", "list", "--dir", &dir],
        vec![
            "reference",
            "import",
            "--dir",
            &dir,
            "--class",
            "b",
            text(&reference)?,
        ],
    ] {
        let mut command = verifier(&args)?;
        let output = command.output()?;
        oracle::succeed(&command, &output)?;
    }
    for args in [
        vec!["key", "rotate", "--dir", &dir, "token"],
        vec!["serve", "--dir", &dir],
        vec!["seal", "delegate", "--dir", &dir],
    ] {
        let said = printed(&run(&args)?);
        ensure!(said.contains("run it as that user"), "{args:?}: {said}");
    }
    Ok(())
}
