//! A verifier, a gateway, and the daemon as a program.

use std::fs::{File, OpenOptions};
use std::os::unix::net::UnixDatagram;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use holdfast_integration::programs::program;
use holdfast_integration::{Deployment, TokenOptions};
use holdfast_tpm_sim::{SimGateway, SimOptions};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

/// For what takes a busy machine a while.
pub(crate) const PATIENCE: Duration = Duration::from_secs(30);

pub(crate) struct Stand {
    pub(crate) deployment: Deployment,
    pub(crate) sim: SimGateway,
}

impl Stand {
    pub(crate) fn new() -> Result<Self> {
        Self::with(|text| text)
    }

    /// With another `config.toml`; many challenges in a minute are allowed.
    pub(crate) fn with(configuration: impl FnOnce(String) -> String) -> Result<Self> {
        let deployment = Deployment::start_with(|text| {
            let (few, many) = (
                "challenges_per_minute_per_ek = 12\n",
                "challenges_per_minute_per_ek = 1000\n",
            );
            assert!(text.contains(few), "config.toml has changed:\n{text}");
            configuration(text.replace(few, many))
        })?;
        let sim = SimGateway::start(SimOptions::new(deployment.scratch().join("gateway")))?;
        let described = sim.describe();
        deployment.import_endorsements(&[&described.vendor_root])?;
        deployment.import_references("default", &described.reference_values)?;
        Ok(Self { deployment, sim })
    }

    pub(crate) fn state(&self) -> PathBuf {
        self.deployment.scratch().join("state")
    }

    pub(crate) fn bundle(&self) -> Result<PathBuf> {
        self.deployment.create_token(&TokenOptions::default())
    }

    /// The state directory's idea of the end of the LDevID.
    pub(crate) fn not_after(&self) -> Option<i64> {
        let text = std::fs::read(self.state().join("state.json")).ok()?;
        let json: serde_json::Value = serde_json::from_slice(&text).ok()?;
        json["not_after"].as_i64()
    }

    /// `run` with a bundle, once it is affirmed.
    pub(crate) fn enrolled(&self) -> Result<Daemon> {
        let bundle = self.bundle()?;
        let daemon = self.run(&["--bundle", bundle.to_str().context("path")?])?;
        daemon.hears("act=\"enrol\"")?;
        daemon.hears("event=\"affirmed\"")?;
        Ok(daemon)
    }

    pub(crate) fn run(&self, arguments: &[&str]) -> Result<Daemon> {
        self.run_on(&self.sim.tcti(), &self.state(), arguments)
    }

    pub(crate) fn run_on(&self, tcti: &str, state: &Path, arguments: &[&str]) -> Result<Daemon> {
        let command = Command::new(program("holdfast-attester")?);
        self.run_as(command, tcti, state, arguments)
    }

    /// `command` may be another program that starts it.
    pub(crate) fn run_as(
        &self,
        mut command: Command,
        tcti: &str,
        state: &Path,
        arguments: &[&str],
    ) -> Result<Daemon> {
        let folder = tempfile::Builder::new()
            .prefix("run-")
            .tempdir_in(self.deployment.scratch())?
            .keep();
        let log = folder.join("log");
        let notify = UnixDatagram::bind(folder.join("notify"))?;
        notify.set_nonblocking(true)?;
        let out = OpenOptions::new().create(true).append(true).open(&log)?;
        command
            .args(["--tcti", tcti, "--state-dir"])
            .arg(state)
            .arg("run")
            .args(["--retry-max", "2", "--boot-log"])
            .arg(self.sim.boot_log())
            .args(arguments)
            .env_remove("RUST_LOG")
            .env("NO_COLOR", "1")
            .env("HOLDFAST_LOG", "info,tss_esapi=off")
            .env("TSS2_LOG", "all+NONE")
            .env("NOTIFY_SOCKET", folder.join("notify"))
            .env("WATCHDOG_USEC", "400000")
            .stdin(Stdio::null())
            .stdout(File::try_clone(&out)?)
            .stderr(out);
        Ok(Daemon {
            child: command.spawn()?,
            log,
            notify,
        })
    }
}

/// A running daemon; killed where the test ends before it.
pub(crate) struct Daemon {
    child: Child,
    log: PathBuf,
    notify: UnixDatagram,
}

impl Daemon {
    pub(crate) fn log(&self) -> String {
        std::fs::read_to_string(&self.log).unwrap_or_default()
    }

    /// How often `words` stand in the log.
    pub(crate) fn count(&self, words: &str) -> usize {
        self.log().matches(words).count()
    }

    /// Waits until `words` stand in the log.
    pub(crate) fn hears(&self, words: &str) -> Result<()> {
        self.hears_again(words, 0)
    }

    /// Waits until they stand there more often than `before`.
    pub(crate) fn hears_again(&self, words: &str, before: usize) -> Result<()> {
        let deadline = Instant::now() + PATIENCE;
        while self.count(words) <= before {
            ensure!(
                Instant::now() < deadline,
                "no {words:?} in:\n{}",
                self.log()
            );
            std::thread::sleep(Duration::from_millis(20));
        }
        Ok(())
    }

    pub(crate) fn pid(&self) -> Pid {
        Pid::from_raw(i32::try_from(self.child.id()).expect("pids are small"))
    }

    pub(crate) fn signal(&self, signal: Signal) -> Result<()> {
        Ok(kill(self.pid(), signal)?)
    }

    /// SIGTERM; how long it took to end, and how it did.
    pub(crate) fn terminate(&mut self) -> Result<(Duration, ExitStatus)> {
        let told = Instant::now();
        self.signal(Signal::SIGTERM)?;
        let status = self.wait(told)?;
        Ok((told.elapsed(), status))
    }

    fn wait(&mut self, since: Instant) -> Result<ExitStatus> {
        while since.elapsed() < PATIENCE {
            if let Some(status) = self.child.try_wait()? {
                return Ok(status);
            }
            std::thread::sleep(Duration::from_millis(5));
        }
        bail!("it did not end:\n{}", self.log())
    }

    /// Waits for the end by itself.
    pub(crate) fn ended(&mut self) -> Result<ExitStatus> {
        self.wait(Instant::now())
    }

    /// What it told systemd since the last time.
    pub(crate) fn told(&self) -> Vec<String> {
        let mut buffer = [0; 4096];
        let mut told = Vec::new();
        while let Ok(length) = self.notify.recv(&mut buffer) {
            told.push(String::from_utf8_lossy(&buffer[..length]).into_owned());
        }
        told
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        if std::thread::panicking() {
            eprintln!("--- the daemon's log ---\n{}---", self.log());
        }
    }
}
