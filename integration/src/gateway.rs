//! A gateway for tests: a live software TPM, and the real attester on it, as a
//! library (to alter messages) and as the program (to be as deployed).

use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use anyhow::{Context, Result};
use holdfast_attester::enrolment::{Enrolment, KeyChoice};
use holdfast_attester::evidence::Platform;
use holdfast_attester::state::StateDir;
use holdfast_attester::tpm::{TctiName, Tpm};
use holdfast_tpm_sim::{SimGateway, SimOptions};

use crate::oracle;
use crate::programs::program;

/// A booted gateway. swtpm takes one connection at a time, and [`tpm`](Self::tpm)
/// holds it: whatever else speaks to the TPM (the simulator, the program) does
/// so in [`with_sim`](Self::with_sim) or [`run`](Self::run), which give it up
/// meanwhile. They wait for ever where a message under construction still
/// holds a clone of the handle, so drop those first.
#[derive(Debug)]
pub struct Gateway {
    // Before `sim`: it flushes what it has in the TPM when it is dropped.
    tpm: Option<Tpm>,
    sim: SimGateway,
    state: PathBuf,
}

impl Gateway {
    /// Boots one in `dir`. `edit` may change what is simulated.
    ///
    /// # Errors
    /// Where swtpm is not installed or does not start.
    pub fn boot(dir: &Path, edit: impl FnOnce(&mut SimOptions)) -> Result<Self> {
        let mut options = SimOptions::new(dir);
        edit(&mut options);
        let sim = SimGateway::start(options)?;
        let tpm = Some(open(&sim)?);
        Ok(Self {
            tpm,
            sim,
            state: dir.join("state"),
        })
    }

    /// The TPM.
    #[must_use]
    pub fn tpm(&self) -> &Tpm {
        self.tpm
            .as_ref()
            .expect("only with_sim takes it, and puts one back")
    }

    /// The simulator, for what needs no TPM command: paths and vendor.
    #[must_use]
    pub fn sim(&self) -> &SimGateway {
        &self.sim
    }

    /// The simulator with the TPM to itself: extend a PCR, reboot.
    ///
    /// # Errors
    /// Those of `act`; and where the TPM cannot be opened again.
    pub fn with_sim<T, E>(&mut self, act: impl FnOnce(&mut SimGateway) -> Result<T, E>) -> Result<T>
    where
        anyhow::Error: From<E>,
    {
        self.tpm = None;
        let outcome = act(&mut self.sim);
        self.tpm = Some(open(&self.sim)?);
        Ok(outcome?)
    }

    /// What the platform says of itself now.
    ///
    /// # Errors
    /// Where the boot log cannot be read.
    pub fn platform(&self) -> Result<Platform> {
        Ok(Platform::observe(&self.sim.boot_log())?.with_ima_log(&self.sim.ima_log()))
    }

    /// Keys for an enrolment: fresh AK, fresh LDevID key.
    ///
    /// # Errors
    /// Those of the TPM.
    pub fn enrolment(&self, choice: KeyChoice) -> Result<Enrolment> {
        let pinned = self.state_dir()?.pinned_root()?;
        Ok(Enrolment::new(self.tpm(), choice, pinned.as_ref())?)
    }

    /// What the attester keeps on this gateway's disk.
    ///
    /// # Errors
    /// Where it is not as it should be.
    pub fn state_dir(&self) -> Result<StateDir> {
        Ok(StateDir::open(&self.state)?)
    }

    /// The path of [`state_dir`](Self::state_dir).
    #[must_use]
    pub fn state_path(&self) -> &Path {
        &self.state
    }

    /// `holdfast-attester ARGUMENTS` on this gateway, whatever it exits with.
    ///
    /// # Errors
    /// Where it cannot be run.
    pub fn try_run(&mut self, arguments: &[&str]) -> Result<Output> {
        let mut command = self.command(arguments)?;
        self.with_sim(|_| command.output())
    }

    /// `holdfast-attester ARGUMENTS` on this gateway; its stdout.
    ///
    /// # Errors
    /// Where it does not exit with 0, with what it printed.
    pub fn run(&mut self, arguments: &[&str]) -> Result<String> {
        let mut command = self.command(arguments)?;
        let output = self.with_sim(|_| command.output())?;
        oracle::succeed(&command, &output)
    }

    fn command(&self, arguments: &[&str]) -> Result<Command> {
        let mut command = Command::new(program("holdfast-attester")?);
        command
            .args(["--tcti", &self.sim.tcti(), "--state-dir"])
            .arg(&self.state)
            .args(arguments)
            .env_remove("RUST_LOG")
            .env("TSS2_LOG", "all+NONE")
            .stdin(Stdio::null());
        Ok(command)
    }
}

fn open(sim: &SimGateway) -> Result<Tpm> {
    let name: TctiName = sim.tcti().parse()?;
    Tpm::open(&name).context("opening the simulated TPM")
}
