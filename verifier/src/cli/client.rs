//! The admin client: one connection over DIR/admin.sock.

use std::{io, path::PathBuf};

use anyhow::anyhow;
use holdfast_proto::grpc::v1::admin_client::AdminClient;
use hyper_util::rt::TokioIo;
use tokio::net::UnixStream;
use tonic::{
    Code, Status,
    transport::{Channel, Endpoint, Uri},
};

use super::{DirArg, Failure};
use crate::config::{Home, home::file};

/// As the server's: vendors' certificates come by the hundred.
const MESSAGE_MAX: usize = 16 * 1024 * 1024;

/// Connects, or says that no server is running.
pub(super) async fn connect(dir: &DirArg) -> Result<AdminClient<Channel>, Failure> {
    let home = Home::open(&dir.dir)?;
    let path = home.path(file::ADMIN_SOCKET);
    // Tried first by itself, for an error that says what is wrong.
    UnixStream::connect(&path)
        .await
        .map_err(|e| not_running(&dir.dir, &path, &e))?;
    // The URI is not used for anything but the :authority header.
    let channel = Endpoint::from_static("http://admin.holdfast.invalid")
        .connect_with_connector(tower::service_fn(move |_: Uri| {
            let path: PathBuf = path.clone();
            async move { Ok::<_, io::Error>(TokioIo::new(UnixStream::connect(path).await?)) }
        }))
        .await?;
    Ok(AdminClient::new(channel).max_decoding_message_size(MESSAGE_MAX))
}

fn not_running(dir: &std::path::Path, path: &std::path::Path, error: &io::Error) -> anyhow::Error {
    match error.kind() {
        io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused => anyhow!(
            "no server is running in {}: nobody answers at {}; start it with: \
             holdfast-verifier serve --dir {}",
            dir.display(),
            path.display(),
            dir.display()
        ),
        _ => anyhow!("cannot reach the server at {}: {error}", path.display()),
    }
}

/// What the server said, as this process's failure.
pub(super) fn refused(status: &Status) -> Failure {
    let error = anyhow!("{}", status.message());
    match status.code() {
        Code::InvalidArgument => Failure::Input(error),
        _ => Failure::Refused(error),
    }
}
