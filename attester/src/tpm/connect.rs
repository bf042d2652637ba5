//! Opening the TSS context, and finding out why it would not open.

use std::fs::OpenOptions;
use std::io::ErrorKind;
use std::net::{TcpStream, ToSocketAddrs};
use std::path::Path;
use std::time::Duration;

use tss_esapi::Context;

use super::{TctiName, TpmError};

/// How long a diagnosing connection may take.
const PROBE_TIMEOUT: Duration = Duration::from_secs(3);

pub(super) fn connect(tcti: &TctiName) -> Result<Context, TpmError> {
    let name = tcti.to_tss().map_err(|e| TpmError::Unreachable {
        tcti: tcti.to_string(),
        reason: e.to_string(),
    })?;
    Context::new(name).map_err(|error| diagnose(tcti, error))
}

/// libtss2 answers "IO error" for nearly everything: ask the system instead.
fn diagnose(tcti: &TctiName, error: tss_esapi::Error) -> TpmError {
    let unreachable = |reason: String| TpmError::Unreachable {
        tcti: tcti.to_string(),
        reason,
    };
    match tcti {
        TctiName::Device(path) => match probe_device(path) {
            Ok(()) => driver_or(tcti, error, unreachable),
            Err(e) if e.kind() == ErrorKind::PermissionDenied => TpmError::Permission {
                device: path.display().to_string(),
            },
            Err(e) => unreachable(e.to_string()),
        },
        TctiName::Swtpm { host, port } => match probe_tcp(host, *port) {
            Ok(()) => driver_or(tcti, error, unreachable),
            Err(e) => unreachable(e.to_string()),
        },
        TctiName::Tabrmd(_) => driver_or(tcti, error, |reason| {
            unreachable(format!("{reason}; is tpm2-abrmd running?"))
        }),
    }
}

fn driver_or(
    tcti: &TctiName,
    error: tss_esapi::Error,
    otherwise: impl FnOnce(String) -> TpmError,
) -> TpmError {
    match TpmError::from_tss("connect", error) {
        TpmError::Command { code, .. } => TpmError::DriverMissing {
            tcti: tcti.to_string(),
            code,
        },
        TpmError::ConnectionLost { code, .. } => {
            otherwise(format!("libtss2 could not open it (code {code:#x})"))
        }
        other => other,
    }
}

fn probe_device(path: &Path) -> std::io::Result<()> {
    OpenOptions::new()
        .read(true)
        .write(true)
        .open(path)
        .map(drop)
}

fn probe_tcp(host: &str, port: u16) -> std::io::Result<()> {
    let mut last = std::io::Error::new(ErrorKind::NotFound, "the host name has no address");
    for address in (host, port).to_socket_addrs()? {
        match TcpStream::connect_timeout(&address, PROBE_TIMEOUT) {
            Ok(_) => return Ok(()),
            Err(e) => last = e,
        }
    }
    Err(last)
}
