//! The admin socket: a Unix socket of mode 0600 in the Verifier's directory, or
//! where configured, and 0660 for a configured group.
//! The kernel says who connects (SO_PEERCRED), and the gate which role that is.

use std::{
    fs, io,
    os::unix::fs::{FileTypeExt as _, MetadataExt as _, PermissionsExt as _},
    path::{Path, PathBuf},
};

use nix::unistd::Uid;
use tokio::net::UnixListener;

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
/// is left alone. Between bind and chmod whoever can enter the directory may
/// connect, if the umask lets them: the gate asks every request for a role.
pub(super) fn bind(path: &Path, group: Option<u32>) -> Result<AdminSocket, SocketError> {
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
    let mode = match group {
        Some(group) => {
            std::os::unix::fs::lchown(path, None, Some(group)).map_err(io)?;
            0o660
        }
        None => 0o600,
    };
    fs::set_permissions(path, fs::Permissions::from_mode(mode)).map_err(io)?;
    Ok(AdminSocket { listener, file })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn socket_is_0600_and_goes_with_the_server() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("admin.sock");
        let socket = bind(&path, None).unwrap();
        assert_eq!(fs::metadata(&path).unwrap().mode() & 0o777, 0o600);
        drop(socket);
        assert!(!path.exists());
    }

    #[tokio::test]
    async fn a_group_makes_it_0660() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("admin.sock");
        let own = nix::unistd::Gid::effective().as_raw();
        let _socket = bind(&path, Some(own)).unwrap();
        let meta = fs::metadata(&path).unwrap();
        assert_eq!((meta.mode() & 0o777, meta.gid()), (0o660, own));
    }

    #[tokio::test]
    async fn stale_socket_is_replaced() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("admin.sock");
        drop(std::os::unix::net::UnixListener::bind(&path).unwrap());
        bind(&path, None).unwrap();
    }

    #[tokio::test]
    async fn adv_a25_a_link_or_file_in_the_way_is_refused_and_kept() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("admin.sock");
        let target = dir.path().join("target");
        drop(std::os::unix::net::UnixListener::bind(&target).unwrap());
        std::os::unix::fs::symlink(&target, &path).unwrap();
        assert!(matches!(
            bind(&path, None).unwrap_err(),
            SocketError::InTheWay { .. }
        ));
        fs::remove_file(&path).unwrap();
        fs::write(&path, b"x").unwrap();
        assert!(matches!(
            bind(&path, None).unwrap_err(),
            SocketError::InTheWay { .. }
        ));
        assert!(path.exists());
    }
}
