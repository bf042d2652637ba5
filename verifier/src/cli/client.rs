//! The admin client: one connection, over the Unix socket or over mutual TLS
//! to the door for operators.

use std::{
    io,
    path::{Path, PathBuf},
    sync::Arc,
};

use anyhow::{Context as _, anyhow};
use holdfast_proto::grpc::v1::admin_client::AdminClient;
use hyper_util::rt::TokioIo;
use rustls::{ClientConfig, RootCertStore, crypto::ring::default_provider, version::TLS13};
use rustls_pki_types::{CertificateDer, PrivateKeyDer, ServerName, pem::PemObject as _};
use tokio::net::{TcpStream, UnixStream};
use tokio_rustls::TlsConnector;
use tonic::{
    Code, Status,
    transport::{Channel, Endpoint, Uri},
};

use super::{DirArg, Failure, input, output};
use crate::config::{Config, Home, files, home::file};

/// As the server's: vendors' certificates come by the hundred.
const MESSAGE_MAX: usize = 16 * 1024 * 1024;
/// ALPN protocol id of HTTP/2 (RFC 9113 §3.2).
const ALPN_H2: &[u8] = b"h2";

/// Connects, or says that no server is running.
pub(super) async fn connect(at: &DirArg) -> Result<AdminClient<Channel>, Failure> {
    let channel = match (&at.server, &at.socket, &at.dir) {
        (Some(server), _, _) => over_tls(server, at).await?,
        (None, Some(socket), _) => over_socket(socket.clone(), None).await?,
        (None, None, Some(dir)) => over_socket(socket_of(dir)?, Some(dir)).await?,
        (None, None, None) => {
            return Err(input(anyhow!(
                "where is the verifier? Name its directory with --dir <DIR>, its socket with \
                 --admin-socket, or its address with --admin-server, --identity and --server-ca"
            )));
        }
    };
    Ok(AdminClient::new(channel)
        .max_decoding_message_size(MESSAGE_MAX)
        .max_encoding_message_size(MESSAGE_MAX))
}

/// As `serve` has it: in the directory, unless configured elsewhere.
fn socket_of(dir: &Path) -> Result<PathBuf, Failure> {
    let home = Home::visit(dir)?;
    let path = home.path(file::CONFIG);
    let configured = match path.exists() {
        true => Config::load(&path).map_err(input)?.admin.socket()?,
        false => None,
    };
    Ok(configured.unwrap_or_else(|| home.path(file::ADMIN_SOCKET)))
}

async fn over_socket(path: PathBuf, dir: Option<&Path>) -> Result<Channel, Failure> {
    // Tried first by itself, for an error that says what is wrong.
    UnixStream::connect(&path)
        .await
        .map_err(|e| not_running(dir, &path, &e))?;
    // The URI is not used for anything but the :authority header.
    Ok(Endpoint::from_static("http://admin.holdfast.invalid")
        .connect_with_connector(tower::service_fn(move |_: Uri| {
            let path: PathBuf = path.clone();
            async move { Ok::<_, io::Error>(TokioIo::new(UnixStream::connect(path).await?)) }
        }))
        .await?)
}

fn not_running(dir: Option<&Path>, path: &Path, error: &io::Error) -> anyhow::Error {
    match (error.kind(), dir) {
        (io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused, Some(dir)) => anyhow!(
            "no server is running in {}: nobody answers at {}; start it with: \
             holdfast-verifier serve --dir {}",
            dir.display(),
            path.display(),
            output::shell(dir)
        ),
        _ => anyhow!("cannot reach the server at {}: {error}", path.display()),
    }
}

async fn over_tls(server: &str, at: &DirArg) -> Result<Channel, Failure> {
    let target = server.strip_prefix("https://").unwrap_or(server);
    let host = target
        .rsplit_once(':')
        .map(|(host, _)| host.trim_start_matches('[').trim_end_matches(']'))
        .ok_or_else(|| input(anyhow!("--admin-server {server}: write HOST:PORT")))?;
    let host = at.server_name.as_deref().unwrap_or(host);
    let name = ServerName::try_from(host.to_owned()).map_err(|_| {
        input(anyhow!(
            "--admin-server {server}: {host:?} is no name of a server"
        ))
    })?;
    let connector = TlsConnector::from(Arc::new(tls(at)?));
    let stream = TcpStream::connect(target)
        .await
        .with_context(|| format!("cannot reach {target}"))?;
    stream.set_nodelay(true)?;
    let stream = connector
        .connect(name, stream)
        .await
        .with_context(|| format!("TLS with {target}"))?;
    let mut stream = Some(TokioIo::new(stream));
    let uri = format!("https://{target}");
    Ok(Endpoint::try_from(uri)
        .map_err(input)?
        .connect_with_connector(tower::service_fn(move |_: Uri| {
            let stream = stream.take();
            async move { stream.ok_or_else(|| io::Error::other("the connection ended")) }
        }))
        .await?)
}

/// TLS 1.3 to a server of that CA and no other, with the operator's key.
fn tls(at: &DirArg) -> Result<ClientConfig, Failure> {
    let (Some(identity), Some(server_ca)) = (&at.identity, &at.server_ca) else {
        return Err(input(anyhow!(
            "--admin-server needs --identity FILE (as `operator issue` wrote it) and --server-ca \
             FILE (the verifier's server-ca.pem)"
        )));
    };
    let pem = std::fs::read(server_ca).with_context(|| server_ca.display().to_string())?;
    let mut roots = RootCertStore::empty();
    for ca in CertificateDer::pem_slice_iter(&pem) {
        roots
            .add(ca.with_context(|| server_ca.display().to_string())?)
            .with_context(|| server_ca.display().to_string())?;
    }
    let pem = files::read_secret(identity)?;
    let named = || identity.display().to_string();
    let chain = CertificateDer::pem_slice_iter(pem.as_bytes())
        .collect::<Result<Vec<_>, _>>()
        .with_context(named)?;
    let key = PrivateKeyDer::from_pem_slice(pem.as_bytes()).with_context(named)?;
    let mut config = ClientConfig::builder_with_provider(Arc::new(default_provider()))
        .with_protocol_versions(&[&TLS13])?
        .with_root_certificates(roots)
        .with_client_auth_cert(chain, key)
        .with_context(named)?;
    config.alpn_protocols = vec![ALPN_H2.to_vec()];
    Ok(config)
}

/// What the server said, as this process's failure.
pub(super) fn refused(status: &Status) -> Failure {
    let mut text = status.message().to_owned();
    // Of a connection that ended: the alert that the server sent is a cause.
    let mut source = std::error::Error::source(status);
    while let Some(cause) = source {
        let cause_text = cause.to_string();
        if !text.contains(&cause_text) {
            text.push_str(": ");
            text.push_str(&cause_text);
        }
        source = cause.source();
    }
    let error = anyhow!("{text}");
    match status.code() {
        Code::InvalidArgument => Failure::Input(error),
        _ => Failure::Refused(error),
    }
}
