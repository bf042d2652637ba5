//! The conversation with the Verifier: one TLS 1.3 connection, known server,
//! exporter at hand. Nothing here reconnects in silence, because the evidence
//! is bound to the connection that carries it.

mod error;
mod identity;
mod retry;
mod watched;

use std::sync::{Arc, Mutex};
use std::time::Duration;

use holdfast_proto::binding::{EXPORTER_LABEL, EXPORTER_LEN};
use holdfast_proto::grpc::v1::attestation_client::AttestationClient;
use holdfast_proto::grpc::v1::enrollment_client::EnrollmentClient;
use holdfast_proto::grpc::v1::heartbeat_client::HeartbeatClient;
use hyper_util::rt::TokioIo;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use tonic::Status;
use tonic::transport::{Channel, Endpoint, Uri};
use tower::service_fn;

pub use error::{ClientError, Verdict};
pub(crate) use error::{inert, is_ima_resync};
pub use identity::Identity;
pub use retry::Backoff;

use crate::state::Server;
use watched::{Alert, Watched};

/// Limit for TCP and TLS together; a TPM signature in the handshake may take
/// most of a second.
const CONNECT_LIMIT: Duration = Duration::from_secs(15);
/// Limit for one call. The Verifier answers in milliseconds; it may queue.
const CALL_LIMIT: Duration = Duration::from_secs(30);
/// Largest answer: certificate chains and an EAR.
const MAX_ANSWER: usize = 256 * 1024;

/// Who counts as the Verifier: a name, and the only CA that may vouch for it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Trust {
    /// The name that the server's certificate must have.
    pub server_name: String,
    /// DER of the CA certificate.
    pub ca_der: Vec<u8>,
}

/// One connection.
#[derive(Clone, Debug)]
pub struct Connection {
    /// For the generated gRPC clients.
    pub channel: Channel,
    /// TLS exporter of this connection (RFC 8446 §7.5), for the claims.
    pub exporter: [u8; EXPORTER_LEN],
    alert: Alert,
}

impl Connection {
    /// The enrolment service, on this connection.
    #[must_use]
    pub fn enrollment(&self) -> EnrollmentClient<Channel> {
        EnrollmentClient::new(self.channel.clone()).max_decoding_message_size(MAX_ANSWER)
    }

    /// The attestation service, on this connection.
    #[must_use]
    pub fn attestation(&self) -> AttestationClient<Channel> {
        AttestationClient::new(self.channel.clone()).max_decoding_message_size(MAX_ANSWER)
    }

    /// The heartbeat service, on this connection.
    #[must_use]
    pub fn heartbeat(&self) -> HeartbeatClient<Channel> {
        HeartbeatClient::new(self.channel.clone()).max_decoding_message_size(MAX_ANSWER)
    }

    /// Names a failed call's cause: what the server said, or why the
    /// connection broke under it.
    #[must_use]
    pub fn failed(&self, call: &'static str, status: Status) -> ClientError {
        match self.alert.get() {
            Some(alert) => ClientError::IdentityRefused {
                alert: alert.clone(),
            },
            None => ClientError::Refused {
                call,
                status: Box::new(status),
            },
        }
    }
}

/// Connects to `address` (`host:port`) once. With `identity` the connection is
/// mutual TLS. When it ends, calls on it fail; they never get another one.
///
/// # Errors
/// [`ClientError`] tells unreachable, untrusted and refused apart.
pub async fn connect(
    address: &str,
    trust: &Trust,
    identity: Option<&Identity>,
) -> Result<Connection, ClientError> {
    let config = tls_config(trust, identity)?;
    let stream = tokio::time::timeout(CONNECT_LIMIT, handshake(address, trust, config))
        .await
        .map_err(|_| ClientError::Timeout {
            server: address.to_owned(),
            limit: CONNECT_LIMIT,
        })??;
    let exporter = stream
        .get_ref()
        .1
        .export_keying_material([0; EXPORTER_LEN], EXPORTER_LABEL, None)
        .map_err(ClientError::Exporter)?;
    let (stream, alert) = Watched::new(stream);
    let channel = channel_over(stream, trust).await?;
    Ok(Connection {
        channel,
        exporter,
        alert,
    })
}

/// Connects to the Verifier of an enrolment.
///
/// # Errors
/// As [`connect`].
pub async fn connect_to(
    server: &Server,
    identity: Option<&Identity>,
) -> Result<Connection, ClientError> {
    let trust = Trust {
        server_name: server.name.clone(),
        ca_der: server.ca_der.clone(),
    };
    connect(&server.address, &trust, identity).await
}

/// TLS 1.3 only, the pinned CA as the only root, no resumption: each
/// connection has a full handshake and so its own exporter.
fn tls_config(trust: &Trust, identity: Option<&Identity>) -> Result<ClientConfig, ClientError> {
    let mut roots = RootCertStore::empty();
    roots
        .add(CertificateDer::from(trust.ca_der.clone()))
        .map_err(ClientError::PinnedCa)?;
    let builder =
        ClientConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
            .with_protocol_versions(&[&rustls::version::TLS13])
            .map_err(ClientError::Tls)?
            .with_root_certificates(roots);
    let mut config = match identity {
        Some(identity) => builder.with_client_cert_resolver(identity.resolver()),
        None => builder.with_no_client_auth(),
    };
    config.alpn_protocols = vec![b"h2".to_vec()];
    config.resumption = rustls::client::Resumption::disabled();
    Ok(config)
}

async fn handshake(
    address: &str,
    trust: &Trust,
    config: ClientConfig,
) -> Result<TlsStream<TcpStream>, ClientError> {
    let name = ServerName::try_from(trust.server_name.clone())
        .map_err(|_| ClientError::ServerName(trust.server_name.clone()))?;
    let unreachable = |source| ClientError::Unreachable {
        server: address.to_owned(),
        source,
    };
    let tcp = TcpStream::connect(address).await.map_err(unreachable)?;
    tcp.set_nodelay(true).map_err(unreachable)?;
    TlsConnector::from(Arc::new(config))
        .connect(name, tcp)
        .await
        .map_err(|error| ClientError::from_handshake(address, &trust.server_name, error))
}

/// A channel whose connector has exactly one stream to give.
async fn channel_over(
    stream: Watched<TlsStream<TcpStream>>,
    trust: &Trust,
) -> Result<Channel, ClientError> {
    // The scheme is what tonic's own TLS goes by, and the stream has TLS
    // already; the origin is what the server sees.
    let authority = &trust.server_name;
    let host = if authority.contains(':') {
        format!("[{authority}]")
    } else {
        authority.clone()
    };
    let uri = |scheme: &str| {
        Uri::try_from(format!("{scheme}://{host}"))
            .map_err(|_| ClientError::ServerName(trust.server_name.clone()))
    };
    let endpoint = Endpoint::from(uri("http")?)
        .origin(uri("https")?)
        .timeout(CALL_LIMIT);
    let once = Arc::new(Mutex::new(Some(stream)));
    let connector = service_fn(move |_: Uri| {
        let stream = once.lock().ok().and_then(|mut stream| stream.take());
        async move {
            stream.map(TokioIo::new).ok_or_else(|| {
                std::io::Error::new(
                    std::io::ErrorKind::NotConnected,
                    "the connection ended; evidence is bound to it, so there is no reconnecting",
                )
            })
        }
    });
    endpoint
        .connect_with_connector(connector)
        .await
        .map_err(ClientError::Transport)
}
