//! One swtpm process: a free place to listen, started, watched until it
//! answers, and killed.

use std::fs::{self, File};
use std::hash::{BuildHasher as _, RandomState};
use std::io::{self, Read as _, Seek as _, SeekFrom};
use std::net::{Ipv4Addr, TcpListener};
use std::ops::Range;
use std::os::unix::fs::FileTypeExt as _;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::thread;
use std::time::{Duration, Instant};

use crate::SimError;
use crate::process::{self, Process};
use crate::tpm::{Endpoint, Wire};

/// From start to first answer takes some 10 ms on an idle machine.
const START_TIMEOUT: Duration = Duration::from_secs(10);
/// Other programs may take a port between our look and swtpm's bind.
const PORT_ATTEMPTS: u32 = 32;
/// Below those that Linux gives to clients (32768 and up): a TPM command can be
/// a connection of its own, whose port stays taken for a minute afterwards.
const PORTS: Range<u16> = 10_000..32_000;
/// How long [`Swtpm::restart`] tries to have its place back.
const RESTART_TIMEOUT: Duration = Duration::from_secs(5);
const POLL: Duration = Duration::from_millis(2);

/// Where a simulated TPM shall listen.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Transport {
    /// Two consecutive ports on 127.0.0.1, commands first; `None` finds free
    /// ones.
    Tcp(Option<u16>),
    /// A Unix socket, mode 0600, with its control socket at `PATH.ctrl`.
    Unix(PathBuf),
}

/// A running swtpm. Dropping it is a power cut.
#[derive(Debug)]
pub(crate) struct Swtpm {
    process: Process,
    endpoint: Endpoint,
    state: PathBuf,
}

impl Swtpm {
    /// Starts swtpm on the state in `dir`, which is made where it is missing.
    pub(crate) fn start(dir: &Path, transport: &Transport) -> Result<Self, SimError> {
        let state = dir.join("tpmstate");
        process::installed("swtpm", "swtpm")?;
        fs::create_dir_all(&state).map_err(SimError::io("make directory", &state))?;
        match transport {
            Transport::Unix(path) => {
                // Absolute: the TCTI name is used from other directories.
                let path = std::path::absolute(path).map_err(SimError::io("find", path))?;
                Self::launch(state, Endpoint::Unix(plain_path(&path)?))
            }
            Transport::Tcp(Some(port)) => Self::launch(state, Endpoint::Tcp(*port)),
            Transport::Tcp(None) => {
                let mut attempt = 1;
                loop {
                    let port = two_free_ports()?;
                    match Self::launch(state.clone(), Endpoint::Tcp(port)) {
                        Err(SimError::Swtpm { .. }) if attempt < PORT_ATTEMPTS => attempt += 1,
                        launched => return launched,
                    }
                }
            }
        }
    }

    /// Copies what the TPM keeps when its power is cut, as a thief of a virtual
    /// TPM would, into the new directory `to`.
    pub(crate) fn snapshot(&self, to: &Path) -> Result<(), SimError> {
        fs::create_dir_all(to).map_err(SimError::io("make directory", to))?;
        copy_files(&self.state, to)
    }

    /// Cuts the power, and starts again with what `from` holds.
    pub(crate) fn put_back(&mut self, from: &Path) -> Result<(), SimError> {
        self.process.kill();
        copy_files(from, &self.state)?;
        self.start_again()
    }

    /// Cuts the power and starts again in the same place.
    pub(crate) fn restart(&mut self) -> Result<(), SimError> {
        self.process.kill();
        self.start_again()
    }

    fn start_again(&mut self) -> Result<(), SimError> {
        let deadline = Instant::now() + RESTART_TIMEOUT;
        loop {
            match launch(&self.state, &self.endpoint) {
                Err(SimError::Swtpm { .. }) if Instant::now() < deadline => {
                    thread::sleep(POLL * 25)
                }
                launched => {
                    self.process = launched?;
                    return Ok(());
                }
            }
        }
    }

    pub(crate) fn connect(&self) -> Result<Wire, SimError> {
        Wire::connect(&self.endpoint).map_err(SimError::Silent)
    }

    pub(crate) fn endpoint(&self) -> &Endpoint {
        &self.endpoint
    }

    pub(crate) fn pid(&self) -> u32 {
        self.process.id()
    }

    /// Whether it still runs.
    pub(crate) fn is_running(&mut self) -> bool {
        matches!(self.process.ended(), Ok(None))
    }

    fn launch(state: PathBuf, endpoint: Endpoint) -> Result<Self, SimError> {
        let process = launch(&state, &endpoint)?;
        Ok(Self {
            process,
            endpoint,
            state,
        })
    }
}

/// The regular files of one directory, over those of another.
fn copy_files(from: &Path, to: &Path) -> Result<(), SimError> {
    let listed = fs::read_dir(from).map_err(SimError::io("list", from))?;
    for entry in listed {
        let path = entry.map_err(SimError::io("list", from))?.path();
        if let Some(name) = path.file_name().filter(|_| path.is_file()) {
            fs::copy(&path, to.join(name)).map_err(SimError::io("copy", &path))?;
        }
    }
    Ok(())
}

impl Drop for Swtpm {
    fn drop(&mut self) {
        self.process.kill();
        if let Endpoint::Unix(path) = &self.endpoint {
            // Nothing is lost where they are gone already.
            let _ = fs::remove_file(path);
            let _ = fs::remove_file(control_path(path));
        }
    }
}

/// Starts swtpm, and waits until it answers.
fn launch(state: &Path, endpoint: &Endpoint) -> Result<Process, SimError> {
    let log = state.with_file_name("swtpm.log");
    let output = File::create(&log).map_err(SimError::io("write", &log))?;
    let (server, control) = match endpoint {
        Endpoint::Tcp(port) => {
            let control = port.checked_add(1).ok_or_else(|| SimError::Swtpm {
                log: format!("port {port} has no next one for control"),
            })?;
            let listen = |port| format!("type=tcp,port={port},bindaddr=127.0.0.1");
            (listen(*port), listen(control))
        }
        Endpoint::Unix(path) => {
            let control = control_path(path);
            remove_socket(path)?;
            remove_socket(&control)?;
            let listen = |path: &Path| format!("type=unixio,path={},mode=0600", path.display());
            (listen(path), listen(&control))
        }
    };
    let mut command = Process::command("swtpm")?;
    command
        .args(["socket", "--tpm2", "--flags", "not-need-init,startup-clear"])
        .arg("--tpmstate")
        .arg(format!("dir={},mode=0600", state.display()))
        .args(["--server", &server, "--ctrl", &control])
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(output);
    let mut process = Process::start(command).map_err(SimError::io("run", Path::new("swtpm")))?;
    wait_until_it_answers(&mut process, endpoint, &log)?;
    Ok(process)
}

fn wait_until_it_answers(
    process: &mut Process,
    endpoint: &Endpoint,
    log: &Path,
) -> Result<(), SimError> {
    let deadline = Instant::now() + START_TIMEOUT;
    while Instant::now() < deadline {
        if !matches!(process.ended(), Ok(None)) {
            return Err(SimError::Swtpm { log: tail(log) });
        }
        let answer = || Wire::connect(endpoint).map_err(SimError::Silent)?.clock();
        if listens(process.id(), endpoint) && answer().is_ok() {
            return Ok(());
        }
        thread::sleep(POLL);
    }
    let log = format!(
        "no answer within {} s; {}",
        START_TIMEOUT.as_secs(),
        tail(log)
    );
    Err(SimError::Swtpm { log })
}

/// Whether it is process `pid` that listens there: with many gateways starting
/// at once, another may have taken the port.
fn listens(pid: u32, endpoint: &Endpoint) -> bool {
    match endpoint {
        Endpoint::Tcp(port) => owns_listener(pid, *port),
        Endpoint::Unix(path) => path.exists() && control_path(path).exists(),
    }
}

fn control_path(path: &Path) -> PathBuf {
    let mut control = path.as_os_str().to_owned();
    control.push(".ctrl");
    control.into()
}

/// A path that fits into swtpm's options: text, with commas between them.
pub(crate) fn plain_path(path: &Path) -> Result<PathBuf, SimError> {
    let refused = |reason| SimError::Path {
        path: path.to_owned(),
        reason,
    };
    match path.to_str() {
        None => Err(refused("swtpm cannot take a path that is not UTF-8")),
        Some(text) if text.contains(',') => Err(refused("swtpm cannot take a path with a comma")),
        Some(_) => Ok(path.to_owned()),
    }
}

/// Removes what an earlier swtpm left, and nothing but a socket.
fn remove_socket(path: &Path) -> Result<(), SimError> {
    match fs::symlink_metadata(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(error) => Err(SimError::io("look at", path)(error)),
        Ok(meta) if meta.file_type().is_socket() => {
            fs::remove_file(path).map_err(SimError::io("remove", path))
        }
        Ok(_) => Err(SimError::Path {
            path: path.to_owned(),
            reason: "exists and is not a socket",
        }),
    }
}

/// A port that is free now, and so is the next.
fn two_free_ports() -> Result<u16, SimError> {
    let is_free = |port| TcpListener::bind((Ipv4Addr::LOCALHOST, port)).is_ok();
    for attempt in 0..PORT_ATTEMPTS {
        // Each RandomState has keys of its own.
        let random = RandomState::new().hash_one(attempt) % u64::from(PORTS.end - PORTS.start);
        let port = PORTS.start + u16::try_from(random).unwrap_or_default();
        if is_free(port) && is_free(port + 1) {
            return Ok(port);
        }
    }
    Err(SimError::Swtpm {
        log: "no two consecutive ports are free on 127.0.0.1".to_owned(),
    })
}

/// Whether process `pid` holds the socket that listens on 127.0.0.1:`port`.
fn owns_listener(pid: u32, port: u16) -> bool {
    const LISTEN: &str = "0A";
    let local = format!("0100007F:{port:04X}");
    let sockets = fs::read_to_string("/proc/net/tcp").unwrap_or_default();
    // sl, local_address, rem_address, st, …, inode is the tenth.
    let inode = sockets.lines().find_map(|line| {
        let mut fields = line.split_whitespace().skip(1);
        let is_it = fields.next() == Some(&local) && fields.nth(1) == Some(LISTEN);
        is_it.then(|| fields.nth(5).map(str::to_owned)).flatten()
    });
    let Some(inode) = inode else { return false };
    let held = PathBuf::from(format!("socket:[{inode}]"));
    fs::read_dir(format!("/proc/{pid}/fd"))
        .into_iter()
        .flatten()
        .flatten()
        .any(|entry| fs::read_link(entry.path()).is_ok_and(|target| target == held))
}

/// The end of swtpm's log, on one line.
fn tail(log: &Path) -> String {
    const KEPT: u64 = 400;
    let read = || -> io::Result<String> {
        let mut file = File::open(log)?;
        let start = file.metadata()?.len().saturating_sub(KEPT);
        file.seek(SeekFrom::Start(start))?;
        let mut bytes = Vec::new();
        file.read_to_end(&mut bytes)?;
        Ok(String::from_utf8_lossy(&bytes)
            .split_whitespace()
            .collect::<Vec<_>>()
            .join(" "))
    };
    match read() {
        Ok(text) if !text.is_empty() => text,
        _ => "it left no log".to_owned(),
    }
}
