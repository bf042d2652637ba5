//! Child processes that never outlive this one.
//!
//! A [`Process`] is killed and reaped when it is dropped. Should this process
//! itself be killed, the kernel kills the child: it is started through
//! `setpriv --pdeathsig`. That signal is tied to the *thread* that started the
//! child, so that all children are started by one thread that never ends.

use std::ffi::OsStr;
use std::io;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus};
use std::sync::mpsc::{self, Sender};
use std::sync::{LazyLock, Mutex, PoisonError};
use std::thread;

use crate::SimError;

type Request = (Command, Sender<io::Result<Child>>);

/// The thread that is the parent of all children.
static PARENT: LazyLock<Mutex<Sender<Request>>> = LazyLock::new(|| {
    let (sender, requests) = mpsc::channel::<Request>();
    thread::Builder::new()
        .name("child-parent".to_owned())
        .spawn(move || {
            for (mut command, reply) in requests {
                // A caller that no longer waits gets no child.
                if let Err(mpsc::SendError(Ok(mut child))) = reply.send(command.spawn()) {
                    let _ = child.kill();
                    let _ = child.wait();
                }
            }
        })
        .expect("a thread can be started");
    Mutex::new(sender)
});

/// A running child. Dropping it kills it.
#[derive(Debug)]
pub struct Process {
    child: Child,
}

impl Process {
    /// A command line for [`Process::start`].
    ///
    /// # Errors
    /// Where `setpriv` is not installed.
    pub fn command(program: impl AsRef<OsStr>) -> Result<Command, SimError> {
        let mut command = Command::new(installed("setpriv", "util-linux")?);
        command.args(["--pdeathsig", "KILL", "--"]).arg(program);
        Ok(command)
    }

    /// Starts what [`Process::command`] began.
    ///
    /// # Errors
    /// Where the system does.
    pub fn start(command: Command) -> io::Result<Self> {
        let (reply, answer) = mpsc::channel();
        PARENT
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .send((command, reply))
            .map_err(|_| io::Error::other("the thread that starts children has ended"))?;
        let child = answer
            .recv()
            .map_err(|_| io::Error::other("the thread that starts children has ended"))??;
        Ok(Self { child })
    }

    /// Process id.
    #[must_use]
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// How it ended, if it has.
    ///
    /// # Errors
    /// Where the system does.
    pub fn ended(&mut self) -> io::Result<Option<ExitStatus>> {
        self.child.try_wait()
    }

    /// The child's pipes.
    pub fn pipes(&mut self) -> &mut Child {
        &mut self.child
    }

    /// Kills it at once and reaps it.
    pub fn kill(&mut self) {
        // Both fail only where it was reaped before.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.kill();
    }
}

/// Path of an installed program.
///
/// # Errors
/// [`SimError::MissingProgram`] names the Debian package to install.
pub fn installed(program: &'static str, package: &'static str) -> Result<PathBuf, SimError> {
    find(program).ok_or(SimError::MissingProgram { program, package })
}

/// Looks for `program` in `PATH`, and where Debian keeps system programs.
#[must_use]
pub fn find(program: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let system = ["/usr/bin", "/usr/sbin", "/bin", "/sbin"].map(PathBuf::from);
    std::env::split_paths(&path)
        .chain(system)
        .map(|dir| dir.join(program))
        .find(|candidate| is_executable(candidate))
}

fn is_executable(path: &Path) -> bool {
    path.metadata()
        .is_ok_and(|meta| meta.is_file() && meta.permissions().mode() & 0o111 != 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_missing_program_is_named_with_its_package() {
        let missing = installed("holdfast-no-such-program", "swtpm");
        let message = missing.unwrap_err().to_string();
        assert!(message.contains("apt-get install swtpm"), "{message}");
    }

    #[test]
    fn a_dropped_process_is_gone() {
        let mut command = Process::command("sleep").unwrap();
        command.arg("60");
        let process = Process::start(command).unwrap();
        let proc = PathBuf::from(format!("/proc/{}", process.id()));
        assert!(proc.exists());
        drop(process);
        assert!(!proc.exists());
    }
}
