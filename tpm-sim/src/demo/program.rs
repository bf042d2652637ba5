//! Holdfast's other programs, run as anybody would run them: by command line,
//! as processes of their own.

use std::ffi::{OsStr, OsString};
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::thread;
use std::time::{Duration, Instant};

use holdfast_tpm_sim::process::Process;

use crate::{Failure, interrupt};

/// No single command of the story takes longer; most take under a second.
const PATIENCE: Duration = Duration::from_secs(30);

/// One of Holdfast's programs, and what is said to it each time.
#[derive(Clone)]
pub(crate) struct Program {
    name: String,
    path: PathBuf,
    logs: PathBuf,
    before: Vec<OsString>,
}

/// How a command ended, and what it printed.
pub(crate) struct Output {
    pub(crate) code: Option<i32>,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
    line: String,
}

impl Program {
    /// The program `name` in `bin_dir`.
    pub(crate) fn find(bin_dir: &Path, name: &str, logs: PathBuf) -> Result<Self, Failure> {
        let path = bin_dir.join(name);
        if !path.is_file() {
            return Err(Failure::BadInput(format!(
                "{} is not there: build it with `cargo build --bins`, or say where it is with --bin-dir",
                path.display()
            )));
        }
        Ok(Self {
            name: name.to_owned(),
            path,
            logs,
            before: Vec::new(),
        })
    }

    /// Another program, installed on this machine.
    pub(crate) fn installed(name: &str, logs: PathBuf) -> Option<Self> {
        let path = holdfast_tpm_sim::process::find(name)?;
        Some(Self {
            name: name.to_owned(),
            path,
            logs,
            before: Vec::new(),
        })
    }

    /// The same with arguments that come first at every run.
    pub(crate) fn with(mut self, arguments: &[&OsStr]) -> Self {
        self.before
            .extend(arguments.iter().map(|argument| (*argument).to_owned()));
        self
    }

    /// Runs it to its end.
    pub(crate) fn run(&self, arguments: &[&OsStr]) -> Result<Output, Failure> {
        let log = format!("{}-{}", self.name, self.next_log_number());
        let (mut process, stdout, stderr) = self.launch(arguments, &log)?;
        let deadline = Instant::now() + PATIENCE;
        let line = self.line(arguments);
        loop {
            interrupt::check()?;
            match process.ended() {
                Err(error) => return Err(Failure::Failed(format!("{line}: {error}"))),
                Ok(Some(status)) => {
                    let read = |path: &Path| {
                        fs::read(path).map_or_else(
                            |error| format!("(its output was lost: {error})"),
                            |bytes| String::from_utf8_lossy(&bytes).into_owned(),
                        )
                    };
                    let (stdout, stderr) = (read(&stdout), read(&stderr));
                    return Ok(Output {
                        code: status.code(),
                        stdout,
                        stderr,
                        line,
                    });
                }
                Ok(None) if Instant::now() > deadline => {
                    let seconds = PATIENCE.as_secs();
                    return Err(Failure::Failed(format!(
                        "{line}: not done after {seconds} s"
                    )));
                }
                Ok(None) => thread::sleep(interrupt::POLL),
            }
        }
    }

    /// Starts it and lets it run. Its output is in the file that comes back.
    pub(crate) fn start(&self, arguments: &[&OsStr]) -> Result<(Process, PathBuf), Failure> {
        let (process, _, stderr) = self.launch(arguments, &self.name)?;
        Ok((process, stderr))
    }

    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    /// The command line as a person would type it.
    pub(crate) fn line(&self, arguments: &[&OsStr]) -> String {
        let words = self
            .before
            .iter()
            .map(OsString::as_os_str)
            .chain(arguments.iter().copied());
        let mut line = self.name.clone();
        for word in words {
            line.push(' ');
            line.push_str(&word.to_string_lossy());
        }
        line
    }

    fn launch(
        &self,
        arguments: &[&OsStr],
        log: &str,
    ) -> Result<(Process, PathBuf, PathBuf), Failure> {
        let failed = |error: std::io::Error| {
            Failure::Failed(format!("cannot run {}: {error}", self.path.display()))
        };
        let paths = ["out", "err"].map(|kind| self.logs.join(format!("{log}.{kind}")));
        let [stdout, stderr] = paths;
        let mut command = Process::command(&self.path)?;
        // The story is told by flags; what the teller's environment says to
        // these programs is meant for others.
        for (name, _) in std::env::vars_os() {
            if name.to_string_lossy().starts_with("HOLDFAST_") {
                command.env_remove(name);
            }
        }
        command
            .args(&self.before)
            .args(arguments)
            .stdin(Stdio::null())
            .stdout(File::create(&stdout).map_err(failed)?)
            .stderr(File::create(&stderr).map_err(failed)?);
        Ok((Process::start(command).map_err(failed)?, stdout, stderr))
    }

    fn next_log_number(&self) -> usize {
        fs::read_dir(&self.logs).map_or(0, |entries| entries.count() / 2 + 1)
    }
}

impl Output {
    /// What it printed, where it ended well.
    pub(crate) fn done(self) -> Result<String, Failure> {
        if self.code == Some(0) {
            return Ok(self.stdout);
        }
        Err(self.unexpected("it should have succeeded"))
    }

    /// What it printed, where it refused: exit code 1.
    pub(crate) fn refused(self) -> Result<String, Failure> {
        if self.code == Some(1) {
            return Ok(format!("{}{}", self.stdout, self.stderr));
        }
        Err(self.unexpected("it should have refused, with exit code 1"))
    }

    fn unexpected(&self, what: &str) -> Failure {
        let code = self
            .code
            .map_or("a signal".to_owned(), |code| format!("exit code {code}"));
        let Self {
            line,
            stdout,
            stderr,
            ..
        } = self;
        Failure::Failed(format!(
            "{line}\nended with {code}; {what}. It printed:\n{stdout}{stderr}"
        ))
    }
}
