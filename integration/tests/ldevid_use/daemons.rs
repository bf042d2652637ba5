//! Other people's daemons, each in a folder of its own, on a port of its own,
//! and ended with the test.

use std::fs::{self, File};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

const PATIENCE: Duration = Duration::from_secs(20);

/// A child that is asked to end, and then made to.
pub(crate) struct Daemon {
    child: Child,
    log: PathBuf,
}

impl Daemon {
    pub(crate) fn start(mut command: Command, log: PathBuf) -> Result<Self> {
        let output = File::create(&log)?;
        let child = command
            .stdin(Stdio::null())
            .stdout(output.try_clone()?)
            .stderr(output)
            .spawn()
            .with_context(|| format!("{command:?}"))?;
        Ok(Self { child, log })
    }

    pub(crate) fn log(&self) -> String {
        fs::read_to_string(&self.log).unwrap_or_default()
    }

    /// Waits for its end, and answers its exit code.
    pub(crate) fn ended(&mut self) -> Result<Option<i32>> {
        let deadline = Instant::now() + PATIENCE;
        loop {
            if let Some(status) = self.child.try_wait()? {
                return Ok(status.code());
            }
            ensure!(Instant::now() < deadline, "does not end: {}", self.log());
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    /// Waits until `ready`, or says what the daemon said.
    pub(crate) fn until(&mut self, mut ready: impl FnMut() -> bool) -> Result<()> {
        let deadline = Instant::now() + PATIENCE;
        while !ready() {
            if let Some(status) = self.child.try_wait()? {
                bail!("ended with {status}: {}", self.log());
            }
            ensure!(Instant::now() < deadline, "not ready: {}", self.log());
            std::thread::sleep(Duration::from_millis(10));
        }
        Ok(())
    }

    pub(crate) fn signal(&self, signal: Signal) -> Result<()> {
        kill(Pid::from_raw(i32::try_from(self.child.id())?), signal)?;
        Ok(())
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        // nginx's master ends its workers on SIGTERM, and would leave them on
        // SIGKILL.
        let _ = self.signal(Signal::SIGTERM);
        let deadline = Instant::now() + Duration::from_secs(5);
        while Instant::now() < deadline {
            if !matches!(self.child.try_wait(), Ok(None)) {
                return;
            }
            std::thread::sleep(Duration::from_millis(10));
        }
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Debian's nginx with one server.
pub(crate) struct Nginx {
    pub(crate) daemon: Daemon,
    pub(crate) port: u16,
}

impl Nginx {
    /// `server`: what is in its `server` block, beside `listen`.
    pub(crate) fn start(
        folder: &Path,
        server: &str,
        environment: &[(String, String)],
    ) -> Result<Self> {
        fs::create_dir_all(folder)?;
        let port = free_port()?;
        let at = folder.display();
        let temporary: String = ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"]
            .map(|kind| format!("{kind}_temp_path {at}/{kind};\n"))
            .concat();
        let configuration = folder.join("nginx.conf");
        fs::write(
            &configuration,
            format!(
                "daemon off;\nworker_processes 1;\npid {at}/nginx.pid;\nerror_log {at}/error.log info;\n\
                 {}events {{ worker_connections 64; }}\n\
                 http {{\naccess_log off;\n{temporary}server {{\nlisten 127.0.0.1:{port} ssl;\n\
                 ssl_protocols TLSv1.3;\n{server}\n}}\n}}\n",
                if nix::unistd::geteuid().is_root() {
                    "user root;\n"
                } else {
                    ""
                },
            ),
        )?;
        let mut command = Command::new(binary("nginx")?);
        command
            .args(["-e", "stderr", "-c"])
            .arg(&configuration)
            .envs(environment.iter().cloned());
        let mut daemon = Daemon::start(command, folder.join("nginx.log"))?;
        daemon.until(|| TcpStream::connect((Ipv4Addr::LOCALHOST, port)).is_ok())?;
        Ok(Self { daemon, port })
    }
}

/// tpm2-abrmd before a TPM, on a bus of its own.
pub(crate) struct Abrmd {
    // The resource manager ends before its bus.
    _manager: Daemon,
    _bus: Daemon,
    address: String,
}

impl Abrmd {
    pub(crate) fn start(folder: &Path, tcti: &str) -> Result<Self> {
        fs::create_dir_all(folder)?;
        let socket = folder.join("bus");
        let configuration = folder.join("bus.conf");
        fs::write(
            &configuration,
            format!(
                "<!DOCTYPE busconfig PUBLIC \"-//freedesktop//DTD D-Bus Bus Configuration 1.0//EN\" \
                 \"http://www.freedesktop.org/standards/dbus/1.0/busconfig.dtd\">\n\
                 <busconfig><type>session</type><listen>unix:path={}</listen><auth>EXTERNAL</auth>\
                 <policy context=\"default\"><allow send_destination=\"*\" eavesdrop=\"true\"/>\
                 <allow eavesdrop=\"true\"/><allow own=\"*\"/>\
                 </policy></busconfig>\n",
                socket.display()
            ),
        )?;
        let mut command = Command::new(binary("dbus-daemon")?);
        command
            .arg("--nofork")
            .arg(format!("--config-file={}", configuration.display()));
        let mut bus = Daemon::start(command, folder.join("bus.log"))?;
        bus.until(|| socket.exists())?;
        let address = format!("unix:path={}", socket.display());

        let mut command = Command::new(binary("tpm2-abrmd")?);
        command
            .args(["--session", "--allow-root", "--flush-all"])
            .arg(format!("--tcti={tcti}"))
            .env("DBUS_SESSION_BUS_ADDRESS", &address);
        let manager = Daemon::start(command, folder.join("abrmd.log"))?;
        let mut started = Self {
            _manager: manager,
            _bus: bus,
            address,
        };
        let environment = started.environment();
        let ready = || {
            Command::new("tpm2_getcap")
                .arg("properties-fixed")
                .env("TPM2TOOLS_TCTI", "tabrmd:bus_type=session")
                .envs(environment.iter().cloned())
                .output()
                .is_ok_and(|output| output.status.success())
        };
        started._manager.until(ready)?;
        Ok(started)
    }

    /// For a program that is to use it.
    pub(crate) fn environment(&self) -> Vec<(String, String)> {
        [
            ("DBUS_SESSION_BUS_ADDRESS", self.address.as_str()),
            ("TPM2OPENSSL_TCTI", "tabrmd:bus_type=session"),
            ("TSS2_LOG", "all+NONE"),
        ]
        .map(|(name, value)| (name.to_owned(), value.to_owned()))
        .to_vec()
    }
}

/// What this machine lacks of `programs`, for a skipped test's reason.
pub(crate) fn missing(programs: &[&str]) -> Option<String> {
    let mut missing: Vec<_> = programs.iter().filter(|p| binary(p).is_err()).collect();
    let provider = "/usr/lib/x86_64-linux-gnu/ossl-modules/tpm2.so";
    let elsewhere = "/usr/lib/aarch64-linux-gnu/ossl-modules/tpm2.so";
    if !Path::new(provider).exists() && !Path::new(elsewhere).exists() {
        missing.push(&"tpm2-openssl");
    }
    (!missing.is_empty()).then(|| format!("{missing:?}: run scripts/setup.sh --interop"))
}

/// Daemons are in sbin, which is not in everybody's PATH.
fn binary(name: &str) -> Result<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path)
        .chain(["/usr/sbin".into(), "/usr/local/sbin".into()])
        .map(|folder| folder.join(name))
        .find(|path| path.is_file())
        .with_context(|| format!("{name} is not installed"))
}

pub(crate) fn free_port() -> Result<u16> {
    Ok(TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?
        .local_addr()?
        .port())
}
