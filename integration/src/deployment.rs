//! The owner's side: the real `holdfast-verifier` program on a directory of
//! its own.

use std::fs::{File, OpenOptions};
use std::hash::{BuildHasher as _, RandomState};
use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Output, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use holdfast_proto::bundle::Bundle;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::Value;
use tempfile::TempDir;

use crate::oracle;
use crate::programs::program;

/// How long `serve` may take to be ready, and to end after SIGTERM. Generous:
/// several deployments and TPMs share two cores.
const PATIENCE: Duration = Duration::from_secs(30);

/// The name in the server's certificate.
pub const SERVER_NAME: &str = "verifier.test";

/// A verifier that is initialised and serving. Its directory and its process
/// go when it is dropped; a test that fails gets its log printed.
#[derive(Debug)]
pub struct Deployment {
    folder: TempDir,
    address: SocketAddr,
    server: Option<Child>,
    environment: Vec<(String, String)>,
}

/// What `token create` is asked for.
#[derive(Clone, Debug)]
pub struct TokenOptions {
    /// The reference-value class.
    pub class: String,
    /// How many gateways the token admits.
    pub uses: u32,
    /// As the command line takes it: `1h`, `90s`.
    pub valid_for: String,
}

impl Default for TokenOptions {
    fn default() -> Self {
        Self {
            class: "default".into(),
            uses: 1,
            valid_for: "1h".into(),
        }
    }
}

impl Deployment {
    /// `init`, then `serve` on a loopback address of its own.
    ///
    /// # Errors
    /// Where either fails, with what it printed.
    pub fn start() -> Result<Self> {
        Self::start_with(|configuration| configuration)
    }

    /// As [`start`](Self::start), with `config.toml` passed through `edit`
    /// between `init` and `serve`.
    ///
    /// # Errors
    /// Where either fails, with what it printed.
    pub fn start_with(edit: impl FnOnce(String) -> String) -> Result<Self> {
        Self::start_as(&[], &[], edit)
    }

    /// As [`start_with`](Self::start_with), with more arguments for `init`, and
    /// variables in the environment of every command.
    ///
    /// # Errors
    /// Where either fails, with what it printed.
    pub fn start_as(
        init: &[&str],
        environment: &[(&str, &str)],
        edit: impl FnOnce(String) -> String,
    ) -> Result<Self> {
        let folder = tempfile::Builder::new().prefix("holdfast-").tempdir()?;
        let own = |(name, value): &(&str, &str)| ((*name).to_owned(), (*value).to_owned());
        let mut deployment = Self {
            folder,
            address: SocketAddr::from((own_loopback(), 0)),
            server: None,
            environment: environment.iter().map(own).collect(),
        };
        deployment.run(&[&["init", "--server-name", SERVER_NAME], init].concat())?;
        let path = deployment.dir().join("config.toml");
        std::fs::write(&path, edit(std::fs::read_to_string(&path)?))?;
        deployment.serve()?;
        Ok(deployment)
    }

    /// The directory that `init` made.
    #[must_use]
    pub fn dir(&self) -> PathBuf {
        self.folder.path().join("verifier")
    }

    /// A folder for the test's own files, beside [`dir`](Self::dir).
    #[must_use]
    pub fn scratch(&self) -> &Path {
        self.folder.path()
    }

    /// A variable in the environment of every command from now on.
    pub fn set_environment(&mut self, name: &str, value: &str) {
        self.environment.retain(|(known, _)| known != name);
        self.environment.push((name.to_owned(), value.to_owned()));
    }

    /// Where it serves; the same after a restart.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Everything that `serve` has logged, over all its runs.
    #[must_use]
    pub fn log(&self) -> String {
        std::fs::read_to_string(self.log_path()).unwrap_or_default()
    }

    // ---- the process

    /// Starts `serve`, and waits until it is ready.
    ///
    /// # Errors
    /// Where it ends, or is not ready in time; with its log.
    pub fn serve(&mut self) -> Result<()> {
        ensure!(self.server.is_none(), "the verifier is already serving");
        let address_file = self.folder.path().join("address");
        let _ = std::fs::remove_file(&address_file);
        let log = OpenOptions::new()
            .create(true)
            .append(true)
            .open(self.log_path())?;
        let child = self
            .command(&["serve"])?
            .arg("--listen")
            .arg(self.address.to_string())
            .arg("--address-file")
            .arg(&address_file)
            .stdin(Stdio::null())
            .stdout(File::try_clone(&log)?)
            .stderr(log)
            .spawn()?;
        let server = self.server.insert(child);
        let deadline = Instant::now() + PATIENCE;
        loop {
            if let Ok(text) = std::fs::read_to_string(&address_file) {
                self.address = text
                    .trim()
                    .parse()
                    .with_context(|| format!("address file: {text:?}"))?;
                return Ok(());
            }
            if let Some(status) = server.try_wait()? {
                self.server = None;
                bail!("serve ended at once ({status}):\n{}", self.log());
            }
            ensure!(
                Instant::now() < deadline,
                "serve was not ready in {PATIENCE:?}:\n{}",
                self.log()
            );
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    /// `kill -9`, as a power cut or the OOM killer would.
    ///
    /// # Errors
    /// Where it was not running.
    pub fn kill_9(&mut self) -> Result<()> {
        let mut server = self.server.take().context("the verifier is not serving")?;
        server.kill()?;
        server.wait()?;
        Ok(())
    }

    /// SIGTERM, and waits for the end.
    ///
    /// # Errors
    /// Where it was not running, or does not end in time.
    pub fn stop(&mut self) -> Result<ExitStatus> {
        let mut server = self.server.take().context("the verifier is not serving")?;
        kill(Pid::from_raw(i32::try_from(server.id())?), Signal::SIGTERM)?;
        let deadline = Instant::now() + PATIENCE;
        while Instant::now() < deadline {
            if let Some(status) = server.try_wait()? {
                return Ok(status);
            }
            std::thread::sleep(Duration::from_millis(10));
        }
        server.kill()?;
        server.wait()?;
        bail!(
            "serve did not end in {PATIENCE:?} after SIGTERM:\n{}",
            self.log()
        )
    }

    /// [`kill_9`](Self::kill_9) and [`serve`](Self::serve): what a supervisor
    /// does after a crash. Open connections are gone.
    ///
    /// # Errors
    /// As those two.
    pub fn crash_and_restart(&mut self) -> Result<()> {
        self.kill_9()?;
        self.serve()
    }

    /// SIGHUP to the server.
    ///
    /// # Errors
    /// Where none runs.
    pub fn hang_up(&self) -> Result<()> {
        let server = self.server.as_ref().context("no server runs")?;
        let pid = Pid::from_raw(i32::try_from(server.id())?);
        Ok(kill(pid, Signal::SIGHUP)?)
    }

    // ---- the owner's command line

    /// `holdfast-verifier ARGUMENTS --dir DIR`, whatever it exits with.
    ///
    /// # Errors
    /// Where it cannot be run.
    pub fn try_run(&self, arguments: &[&str]) -> Result<Output> {
        Ok(self.command(arguments)?.stdin(Stdio::null()).output()?)
    }

    /// `holdfast-verifier ARGUMENTS --dir DIR`; its stdout.
    ///
    /// # Errors
    /// Where it does not exit with 0, with what it printed.
    pub fn run(&self, arguments: &[&str]) -> Result<String> {
        let mut command = self.command(arguments)?;
        let output = command.stdin(Stdio::null()).output()?;
        oracle::succeed(&command, &output)
    }

    /// [`run`](Self::run) with `--json`, parsed.
    ///
    /// # Errors
    /// Where it does not exit with 0, or prints something else than JSON.
    pub fn run_json(&self, arguments: &[&str]) -> Result<Value> {
        let mut all = arguments.to_vec();
        all.push("--json");
        let printed = self.run(&all)?;
        serde_json::from_str(&printed).with_context(|| format!("{arguments:?} printed {printed:?}"))
    }

    /// `endorsement import`: these vendors' TPMs are trusted from now on.
    ///
    /// # Errors
    /// As [`run`](Self::run).
    pub fn import_endorsements(&self, certificates: &[&Path]) -> Result<()> {
        let mut arguments = vec!["endorsement", "import"];
        for path in certificates {
            arguments.push(path.to_str().context("path")?);
        }
        self.run(&arguments).map(drop)
    }

    /// `reference import`: what a good boot of this class measures.
    ///
    /// # Errors
    /// As [`run`](Self::run).
    pub fn import_references(&self, class: &str, document: &Path) -> Result<()> {
        let document = document.to_str().context("path")?;
        self.run(&["reference", "import", "--class", class, document])
            .map(drop)
    }

    /// `reference import --format sha256sum`: makes a list of files the allow
    /// list of a class.
    ///
    /// # Errors
    /// As [`run`](Self::run).
    pub fn import_allow_list(&self, class: &str, list: &Path) -> Result<()> {
        let list = list.to_str().context("path")?;
        let format = ["--format", "sha256sum"];
        let import = ["reference", "import", "--class", class];
        self.run(&[import.as_slice(), &format, &[list]].concat())
            .map(drop)
    }

    /// `policy apply`: makes `source` the appraisal policy.
    ///
    /// # Errors
    /// As [`run`](Self::run).
    pub fn apply_policy(&self, source: &str) -> Result<()> {
        let file = self.folder.path().join("policy.rego");
        std::fs::write(&file, source)?;
        self.run(&["policy", "apply", file.to_str().context("path")?])
            .map(drop)
    }

    /// `token create`: the path of the bundle file.
    ///
    /// # Errors
    /// As [`run`](Self::run).
    pub fn create_token(&self, options: &TokenOptions) -> Result<PathBuf> {
        let path = tempfile::Builder::new()
            .prefix("bundle-")
            .tempdir_in(self.folder.path())?
            .keep()
            .join("bundle");
        self.run(&[
            "token",
            "create",
            "--class",
            &options.class,
            "--uses",
            &options.uses.to_string(),
            "--valid-for",
            &options.valid_for,
            "--server",
            &self.address.to_string(),
            "--output",
            path.to_str().context("path")?,
        ])?;
        Ok(path)
    }

    /// A fresh bundle for one gateway of the class `default`, parsed.
    ///
    /// # Errors
    /// As [`run`](Self::run).
    pub fn bundle(&self) -> Result<Bundle> {
        self.bundle_with(&TokenOptions::default())
    }

    /// A fresh bundle as asked, parsed.
    ///
    /// # Errors
    /// As [`run`](Self::run).
    pub fn bundle_with(&self, options: &TokenOptions) -> Result<Bundle> {
        let text = std::fs::read_to_string(self.create_token(options)?)?;
        Ok(Bundle::parse(text.trim())?)
    }

    /// `gateway list --json`: every record, as the store has it.
    ///
    /// # Errors
    /// As [`run_json`](Self::run_json).
    pub fn gateways(&self) -> Result<Vec<Value>> {
        let listed = self.run_json(&["gateway", "list"])?;
        let gateways = listed.get("gateways").unwrap_or(&listed);
        gateways
            .as_array()
            .cloned()
            .with_context(|| format!("gateway list printed {listed}"))
    }

    /// `gateway show ID --json`.
    ///
    /// # Errors
    /// As [`run_json`](Self::run_json).
    pub fn gateway(&self, id: &str) -> Result<Value> {
        let shown = self.run_json(&["gateway", "show", id])?;
        Ok(shown.get("gateway").cloned().unwrap_or(shown))
    }

    fn command(&self, arguments: &[&str]) -> Result<Command> {
        let mut command = Command::new(program("holdfast-verifier")?);
        command
            .args(arguments)
            .arg("--dir")
            .arg(self.dir())
            .env_remove("RUST_LOG")
            .envs(self.environment.iter().map(|(name, value)| (name, value)));
        Ok(command)
    }

    fn log_path(&self) -> PathBuf {
        self.folder.path().join("verifier.log")
    }
}

impl Drop for Deployment {
    fn drop(&mut self) {
        if self.server.is_some() {
            // Ended hard: what a test needs of a graceful end, it asks `stop`.
            let _ = self.kill_9();
        }
        if std::thread::panicking() {
            eprintln!(
                "--- the verifier's log ---\n{}--- end of the verifier's log ---",
                self.log()
            );
        }
    }
}

/// An address of this machine for one deployment alone: while it is down for a
/// restart, nobody else's connection takes its port.
fn own_loopback() -> Ipv4Addr {
    // Each RandomState has keys of its own.
    let [a, b, c, ..] = RandomState::new().hash_one(()).to_be_bytes();
    Ipv4Addr::new(127, a.max(1), b, c.clamp(1, 254))
}
