//! The admin socket: a Unix socket of mode 0600 in the Verifier's directory.
//! Whoever connects must be root or the user that the server runs as; the
//! kernel says who it is (SO_PEERCRED).

use std::{
    fs, io,
    os::unix::fs::{FileTypeExt as _, MetadataExt as _, PermissionsExt as _},
    path::{Path, PathBuf},
};

use nix::unistd::Uid;
use tokio::net::UnixListener;
use tonic::{Request, transport::server::UdsConnectInfo};

use super::error::Refusal;

/// Why there is no admin socket.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SocketError {
    /// Something else is in its place, and it is not removed.
    #[error("{} is there and is no socket of ours; look at it and remove it", path.display())]
    InTheWay {
        /// Where.
        path: PathBuf,
    },
    /// The system refused. A Unix socket's path has at most 107 bytes.
    #[error("{}: {source}", path.display())]
    Io {
        /// Where.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
}

/// The bound socket; its file goes when dropped.
#[derive(Debug)]
pub(super) struct AdminSocket {
    pub(super) listener: UnixListener,
    pub(super) file: SocketFile,
}

/// Removes the socket's file when dropped.
#[derive(Debug)]
pub(super) struct SocketFile(PathBuf);

impl Drop for SocketFile {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.0);
    }
}

/// Binds `path`. The caller holds the directory's lock, so a socket that is
/// there was left by a server that is no more, and is removed; anything else
/// is left alone. The directory is 0700 and ours: between bind and chmod nobody
/// else can reach the socket.
pub(super) fn bind(path: &Path) -> Result<AdminSocket, SocketError> {
    let io = |source| SocketError::Io {
        path: path.to_owned(),
        source,
    };
    match fs::symlink_metadata(path) {
        Ok(meta) if meta.file_type().is_socket() && meta.uid() == Uid::effective().as_raw() => {
            fs::remove_file(path).map_err(io)?;
        }
        Ok(_) => {
            return Err(SocketError::InTheWay {
                path: path.to_owned(),
            });
        }
        Err(e) if e.kind() == io::ErrorKind::NotFound => {}
        Err(e) => return Err(io(e)),
    }
    let listener = UnixListener::bind(path).map_err(io)?;
    let file = SocketFile(path.to_owned());
    fs::set_permissions(path, fs::Permissions::from_mode(0o600)).map_err(io)?;
    Ok(AdminSocket { listener, file })
}

/// Who calls, for the audit log: "uid:0".
///
/// # Errors
/// Whoever is neither root nor the server's own user.
pub(super) fn actor<T>(request: &Request<T>) -> Result<String, Refusal> {
    let peer = request
        .extensions()
        .get::<UdsConnectInfo>()
        .and_then(|info| info.peer_cred);
    let uid = peer.ok_or(Refusal::NotOwner(None))?.uid();
    if uid == 0 || uid == Uid::effective().as_raw() {
        Ok(format!("uid:{uid}"))
    } else {
        Err(Refusal::NotOwner(Some(uid)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn socket_is_0600_and_goes_with_the_server() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("admin.sock");
        let socket = bind(&path).unwrap();
        assert_eq!(fs::metadata(&path).unwrap().mode() & 0o777, 0o600);
        drop(socket);
        assert!(!path.exists());
    }

    #[tokio::test]
    async fn stale_socket_is_replaced() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("admin.sock");
        drop(std::os::unix::net::UnixListener::bind(&path).unwrap());
        bind(&path).unwrap();
    }

    #[tokio::test]
    async fn adv_a25_a_link_or_file_in_the_way_is_refused_and_kept() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("admin.sock");
        let target = dir.path().join("target");
        drop(std::os::unix::net::UnixListener::bind(&target).unwrap());
        std::os::unix::fs::symlink(&target, &path).unwrap();
        assert!(matches!(
            bind(&path).unwrap_err(),
            SocketError::InTheWay { .. }
        ));
        fs::remove_file(&path).unwrap();
        fs::write(&path, b"x").unwrap();
        assert!(matches!(
            bind(&path).unwrap_err(),
            SocketError::InTheWay { .. }
        ));
        assert!(path.exists());
    }

    #[test]
    fn a_caller_without_credentials_is_refused() {
        assert!(matches!(
            actor(&Request::new(())),
            Err(Refusal::NotOwner(None))
        ));
    }
}
