//! A PKCS#11 token for tests: SoftHSM2, in a folder of its own.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result};
use tempfile::TempDir;

use crate::{Deployment, oracle};

/// SoftHSM2's module, as Debian has it.
pub const MODULE: &str = "/usr/lib/softhsm/libsofthsm2.so";
/// OpenSC's module that writes down what is called, and calls [`MODULE`].
pub const SPY: &str = "/usr/lib/x86_64-linux-gnu/pkcs11-spy.so";
/// Label of the token.
pub const TOKEN: &str = "holdfast test";
/// The user's PIN.
pub const PIN: &str = "246810";

fn text(path: &Path) -> Result<&str> {
    path.to_str().context("a path that is text")
}

/// A SoftHSM2 of the test's own, with one token.
#[derive(Debug)]
pub struct Hsm {
    folder: TempDir,
    /// For SOFTHSM2_CONF.
    pub configuration: String,
}

impl Hsm {
    /// With one token.
    ///
    /// # Errors
    /// Where a program or the file system says no.
    pub fn new() -> Result<Self> {
        let folder = tempfile::tempdir()?;
        let tokens = folder.path().join("tokens");
        fs::create_dir(&tokens)?;
        let path = folder.path().join("softhsm2.conf");
        let content = format!(
            "directories.tokendir = {}\nlog.level = ERROR\n",
            text(&tokens)?
        );
        fs::write(&path, content)?;
        let configuration = text(&path)?.to_owned();
        let hsm = Self {
            folder,
            configuration,
        };
        let mut command = Command::new("softhsm2-util");
        command
            .args([
                "--init-token",
                "--free",
                "--label",
                TOKEN,
                "--so-pin",
                "1357",
            ])
            .args(["--pin", PIN])
            .env("SOFTHSM2_CONF", &hsm.configuration);
        let output = command.output()?;
        oracle::succeed(&command, &output)?;
        Ok(hsm)
    }

    /// A verifier whose `[ca]` backend is the token.
    ///
    /// # Errors
    /// Where a program or the file system says no.
    pub fn deployment(&self) -> Result<Deployment> {
        self.deployment_with(MODULE, |text| text)
    }

    /// The same, by way of another module, and with `config.toml` edited.
    ///
    /// # Errors
    /// Where a program or the file system says no.
    pub fn deployment_with(
        &self,
        module: &str,
        edit: impl FnOnce(String) -> String,
    ) -> Result<Deployment> {
        let init = [
            "--ca-backend",
            "pkcs11",
            "--pkcs11-module",
            module,
            "--pkcs11-token",
            TOKEN,
            "--pkcs11-pin",
            "env:HSM_PIN",
        ];
        let log = self.spy_log();
        let environment = [
            ("SOFTHSM2_CONF", self.configuration.as_str()),
            ("HSM_PIN", PIN),
            ("PKCS11SPY", MODULE),
            ("PKCS11SPY_OUTPUT", text(&log)?),
        ];
        Deployment::start_as(&init, &environment, edit)
    }

    /// What [`SPY`] wrote: where.
    #[must_use]
    pub fn spy_log(&self) -> PathBuf {
        self.folder.path().join("spy.log")
    }

    /// Where the tokens are.
    #[must_use]
    pub fn tokens(&self) -> PathBuf {
        self.folder.path().join("tokens")
    }

    /// The token is pulled.
    ///
    /// # Errors
    /// Where a program or the file system says no.
    pub fn take_out(&self) -> Result<()> {
        Ok(fs::rename(self.tokens(), self.folder.path().join("away"))?)
    }

    /// And put back.
    ///
    /// # Errors
    /// Where a program or the file system says no.
    pub fn put_back(&self) -> Result<()> {
        Ok(fs::rename(self.folder.path().join("away"), self.tokens())?)
    }

    /// Objects in the token, as OpenSC sees them.
    ///
    /// # Errors
    /// Where a program or the file system says no.
    pub fn objects(&self) -> Result<String> {
        let mut command = Command::new("pkcs11-tool");
        command
            .args([
                "--module",
                MODULE,
                "--token-label",
                TOKEN,
                "--login",
                "--pin",
                PIN,
            ])
            .arg("--list-objects")
            .env("SOFTHSM2_CONF", &self.configuration);
        let output = command.output()?;
        oracle::succeed(&command, &output)
    }
}
