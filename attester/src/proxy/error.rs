//! Why a side-car does not start.

use std::net::SocketAddr;
use std::path::PathBuf;

use thiserror::Error;

use crate::output::OutputError;

/// What is wrong with a side-car's settings or surroundings.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum ProxyError {
    /// Plaintext would leave the machine.
    #[error("{0} is not a loopback address: plaintext stays on this machine")]
    NotLoopback(SocketAddr),
    /// Neither `IP:PORT` nor `unix:/PATH`.
    #[error("{0:?} is neither IP:PORT nor unix:/PATH")]
    Address(String),
    /// The CA file.
    #[error("{}: {problem}", path.display())]
    Roots {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        problem: String,
    },
    /// Not a DNS name or IP address.
    #[error("{0:?} is not a server name")]
    ServerName(String),
    /// The socket's directory.
    #[error("the socket's directory: {0}")]
    Directory(#[from] OutputError),
    /// A directory in which others can make files, where one of them could take
    /// the socket's name first (CVE-2022-23950).
    #[error(
        "{} has mode {mode:04o}: others could put a socket of theirs there",
        path.display()
    )]
    SharedDirectory {
        /// The directory.
        path: PathBuf,
        /// Its permission bits.
        mode: u32,
    },
    /// Something else than an abandoned socket is in the way.
    #[error("{} exists and is {found}", path.display())]
    InTheWay {
        /// The path.
        path: PathBuf,
        /// What is there.
        found: &'static str,
    },
    /// The system refused to listen.
    #[error("cannot listen on {address}: {source}")]
    Listen {
        /// Where.
        address: String,
        /// What the system said.
        source: std::io::Error,
    },
    /// rustls refused its settings.
    #[error("TLS: {0}")]
    Tls(String),
}

impl ProxyError {
    /// What the operator can do.
    #[must_use]
    pub fn next_step(&self) -> &'static str {
        match self {
            Self::NotLoopback(_) => "use 127.0.0.1, [::1] or unix:/PATH",
            Self::Address(_) => "write 127.0.0.1:8080, [::1]:8080 or unix:/run/holdfast/app.sock",
            Self::Roots { .. } => "give a PEM file with the CA certificates that are trusted",
            Self::ServerName(_) => "give the name that the server's certificate has",
            Self::Directory(error) => error.next_step(),
            Self::SharedDirectory { .. } => {
                "choose a directory that only this user (or root) can write to, as systemd's RuntimeDirectory="
            }
            Self::InTheWay { .. } => "see what it is; choose another path, or remove it",
            Self::Listen { .. } => "choose a free address that this user may listen on",
            Self::Tls(_) => "report this with the settings",
        }
    }
}
