//! The plaintext side: loopback, or a Unix socket for its owner alone.

use std::fmt;
use std::io::ErrorKind;
use std::net::SocketAddr;
use std::os::unix::fs::{DirBuilderExt, FileTypeExt, MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::str::FromStr;

use ring::rand::{SecureRandom, SystemRandom};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream, UnixListener, UnixStream};

use super::ProxyError;
use crate::output::{self, OutputError, PRIVATE};

const UNIX: &str = "unix:";
/// Any of these bits lets somebody else make files.
const GROUP_OR_OTHERS_WRITE: u32 = 0o022;

/// Both kinds of stream.
pub(crate) trait Duplex: AsyncRead + AsyncWrite + Send + Unpin {}
impl<T: AsyncRead + AsyncWrite + Send + Unpin> Duplex for T {}

/// Where local programs are: never off this machine.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LocalAddress {
    /// Loopback: for every local user.
    Tcp(SocketAddr),
    /// A Unix socket, mode 0600.
    Unix(PathBuf),
}

impl FromStr for LocalAddress {
    type Err = ProxyError;

    fn from_str(text: &str) -> Result<Self, ProxyError> {
        if let Some(path) = text.strip_prefix(UNIX)
            && path.starts_with('/')
        {
            return Ok(Self::Unix(path.into()));
        }
        match text.parse::<SocketAddr>() {
            Ok(address) if address.ip().is_loopback() => Ok(Self::Tcp(address)),
            Ok(address) => Err(ProxyError::NotLoopback(address)),
            Err(_) => Err(ProxyError::Address(text.to_owned())),
        }
    }
}

impl fmt::Display for LocalAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp(address) => address.fmt(f),
            Self::Unix(path) => write!(f, "{UNIX}{}", path.display()),
        }
    }
}

impl LocalAddress {
    pub(super) async fn connect(&self) -> std::io::Result<Box<dyn Duplex>> {
        Ok(match self {
            Self::Tcp(address) => {
                let stream = TcpStream::connect(address).await?;
                stream.set_nodelay(true)?;
                Box::new(stream)
            }
            Self::Unix(path) => Box::new(UnixStream::connect(path).await?),
        })
    }
}

/// Takes connections of local programs. A socket's file goes with it.
#[derive(Debug)]
pub(crate) enum LocalListener {
    Tcp(TcpListener),
    Unix {
        listener: UnixListener,
        file: SocketFile,
    },
}

impl LocalListener {
    pub(crate) async fn bind(address: &LocalAddress) -> Result<Self, ProxyError> {
        match address {
            LocalAddress::Tcp(at) => TcpListener::bind(at)
                .await
                .map(Self::Tcp)
                .map_err(|source| listen(address, source)),
            LocalAddress::Unix(path) => bind_unix(address, path),
        }
    }

    pub(super) fn address(&self) -> std::io::Result<LocalAddress> {
        Ok(match self {
            Self::Tcp(listener) => LocalAddress::Tcp(listener.local_addr()?),
            Self::Unix { file, .. } => LocalAddress::Unix(file.path.clone()),
        })
    }

    pub(crate) async fn accept(&self) -> std::io::Result<Box<dyn Duplex>> {
        Ok(match self {
            Self::Tcp(listener) => {
                let (stream, _) = listener.accept().await?;
                stream.set_nodelay(true)?;
                Box::new(stream)
            }
            Self::Unix { listener, .. } => Box::new(listener.accept().await?.0),
        })
    }
}

/// The socket in the file system; removed where it is still this one.
#[derive(Debug)]
pub(crate) struct SocketFile {
    path: PathBuf,
    inode: u64,
}

impl Drop for SocketFile {
    fn drop(&mut self) {
        if std::fs::symlink_metadata(&self.path).is_ok_and(|found| found.ino() == self.inode) {
            let _ = std::fs::remove_file(&self.path);
        }
    }
}

/// Made in a directory of its own, where nobody can connect before its mode is
/// set, and then moved into place.
fn bind_unix(address: &LocalAddress, path: &Path) -> Result<LocalListener, ProxyError> {
    let refused = |source| listen(address, source);
    let parent = output::directory_of(path)?;
    let mode = std::fs::metadata(&parent).map_err(refused)?.mode() & 0o7777;
    if mode & GROUP_OR_OTHERS_WRITE != 0 {
        return Err(ProxyError::SharedDirectory { path: parent, mode });
    }
    nothing_in_the_way(path)?;
    let mut random = [0; 8];
    SystemRandom::new()
        .fill(&mut random)
        .map_err(|_| OutputError::Randomness)?;
    // Short: a socket's whole path has room for 107 bytes.
    let workshop = parent.join(format!(".{}", hex::encode(random)));
    std::fs::DirBuilder::new()
        .mode(0o700)
        .create(&workshop)
        .map_err(refused)?;
    let made = make_in(&workshop, path);
    let _ = std::fs::remove_dir_all(&workshop);
    let (listener, inode) = made.map_err(refused)?;
    Ok(LocalListener::Unix {
        listener,
        file: SocketFile {
            path: path.to_owned(),
            inode,
        },
    })
}

fn make_in(workshop: &Path, path: &Path) -> std::io::Result<(UnixListener, u64)> {
    let socket = workshop.join("s");
    let listener = UnixListener::bind(&socket)?;
    std::fs::set_permissions(&socket, PermissionsExt::from_mode(PRIVATE))?;
    let inode = std::fs::symlink_metadata(&socket)?.ino();
    std::fs::rename(&socket, path)?;
    Ok((listener, inode))
}

/// A socket at which nobody listens was left by a run that was killed.
fn nothing_in_the_way(path: &Path) -> Result<(), ProxyError> {
    let in_the_way = |found| {
        Err(ProxyError::InTheWay {
            path: path.to_owned(),
            found,
        })
    };
    match std::fs::symlink_metadata(path) {
        Err(_) => Ok(()),
        Ok(found) if !found.file_type().is_socket() => in_the_way("no socket"),
        Ok(_) => match std::os::unix::net::UnixStream::connect(path) {
            Err(e) if e.kind() == ErrorKind::ConnectionRefused => Ok(()),
            _ => in_the_way("in use by another process"),
        },
    }
}

fn listen(address: &LocalAddress, source: std::io::Error) -> ProxyError {
    ProxyError::Listen {
        address: address.to_string(),
        source,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn plaintext_stays_on_this_machine() {
        for text in ["127.0.0.1:80", "[::1]:80", "unix:/run/x/s"] {
            assert_eq!(text.parse::<LocalAddress>().unwrap().to_string(), text);
        }
        for text in ["0.0.0.0:80", "192.0.2.1:80", "[::]:80"] {
            let error = text.parse::<LocalAddress>().unwrap_err();
            assert!(matches!(error, ProxyError::NotLoopback(_)), "{error}");
        }
        for text in ["localhost:80", "unix:relative", "80", "/run/s"] {
            let error = text.parse::<LocalAddress>().unwrap_err();
            assert!(matches!(error, ProxyError::Address(_)), "{error}");
        }
    }

    fn dir(mode: u32) -> (tempfile::TempDir, LocalAddress, PathBuf) {
        let dir = tempfile::tempdir().unwrap();
        std::fs::set_permissions(dir.path(), PermissionsExt::from_mode(mode)).unwrap();
        let path = dir.path().join("s");
        (dir, LocalAddress::Unix(path.clone()), path)
    }

    #[tokio::test]
    async fn cve_c14_no_socket_where_others_can_make_one() {
        for mode in [0o777, 0o1777, 0o770] {
            let (_dir, address, path) = dir(mode);
            let error = LocalListener::bind(&address).await.unwrap_err();
            assert!(
                matches!(
                    error,
                    ProxyError::SharedDirectory { .. }
                        | ProxyError::Directory(OutputError::OthersMayReplace { .. })
                ),
                "{error}"
            );
            assert!(!path.exists());
        }
    }

    #[tokio::test]
    async fn a_socket_is_for_its_owner_and_goes_with_the_listener() {
        let (dir, address, path) = dir(0o755);
        let listener = LocalListener::bind(&address).await.unwrap();
        let found = std::fs::metadata(&path).unwrap();
        assert_eq!(found.mode() & 0o7777, 0o600);
        assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 1);
        let error = LocalListener::bind(&address).await.unwrap_err();
        assert!(
            matches!(
                error,
                ProxyError::InTheWay {
                    found: "in use by another process",
                    ..
                }
            ),
            "{error}"
        );
        drop(listener);
        assert!(!path.exists());
    }

    #[tokio::test]
    async fn what_a_killed_run_left_is_replaced_and_nothing_else() {
        let (_dir, address, path) = dir(0o755);
        drop(std::os::unix::net::UnixListener::bind(&path).unwrap());
        drop(LocalListener::bind(&address).await.unwrap());
        std::fs::write(&path, "a file").unwrap();
        let error = LocalListener::bind(&address).await.unwrap_err();
        assert!(
            matches!(
                error,
                ProxyError::InTheWay {
                    found: "no socket",
                    ..
                }
            ),
            "{error}"
        );
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "a file");
    }
}
