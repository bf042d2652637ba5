//! One POST over one connection: TLS 1.3 or 1.2, no redirects, no proxy, and
//! nothing of the answer is looked at but its status.

use std::{io, sync::Arc, time::Duration};

use http_body_util::Full;
use hyper::{
    Request, StatusCode,
    body::Bytes,
    client::conn::http1,
    header::{CONTENT_TYPE, HOST, USER_AGENT},
};
use hyper_util::rt::TokioIo;
use rustls::{ClientConfig, RootCertStore, crypto::ring::default_provider};
use rustls_pki_types::{CertificateDer, pem::PemObject as _};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::TcpStream,
    time::timeout,
};
use tokio_rustls::TlsConnector;

use super::url::WebhookUrl;

/// For name, connection, TLS, request and status together.
const DELIVERY_TIMEOUT: Duration = Duration::from_secs(10);
/// A status line and its headers; the body is never read.
const HEAD_MAX: usize = 16 * 1024;

/// Why an event was not taken.
#[derive(Debug, thiserror::Error)]
pub(super) enum NotTaken {
    #[error("no connection: {0}")]
    Connect(io::Error),
    #[error("TLS: {0}")]
    Tls(io::Error),
    #[error("HTTP: {0}")]
    Http(#[from] hyper::Error),
    #[error("the request cannot be written: {0}")]
    Request(#[from] http::Error),
    #[error("it answered {0}")]
    Status(StatusCode),
    #[error("no answer in {DELIVERY_TIMEOUT:?}")]
    Timeout,
}

/// The CAs cannot be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum WebhookTlsError {
    /// Not PEM.
    #[error("not readable as PEM: {0}")]
    Pem(#[from] rustls_pki_types::pem::Error),
    /// No CA certificate in it that can be used.
    #[error("no usable CA certificate")]
    NoCa,
    /// rustls refused its settings.
    #[error("TLS: {0}")]
    Tls(#[from] rustls::Error),
}

/// TLS towards receivers whose certificates chain to the CAs in `pem`. As
/// every TLS client does, those of a system's bundle that cannot be used are
/// left out.
///
/// # Errors
/// [`WebhookTlsError`] where none is left.
pub fn webhook_tls(pem: &[u8]) -> Result<Arc<ClientConfig>, WebhookTlsError> {
    let mut roots = RootCertStore::empty();
    for certificate in CertificateDer::pem_slice_iter(pem) {
        let _ = roots.add(certificate?);
    }
    if roots.is_empty() {
        return Err(WebhookTlsError::NoCa);
    }
    let mut config = ClientConfig::builder_with_provider(Arc::new(default_provider()))
        .with_safe_default_protocol_versions()?
        .with_root_certificates(roots)
        .with_no_client_auth();
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(Arc::new(config))
}

/// An event on its way.
pub(super) struct Delivery<'a> {
    pub(super) url: &'a WebhookUrl,
    pub(super) tls: &'a Arc<ClientConfig>,
    pub(super) id: &'a str,
    pub(super) timestamp: i64,
    pub(super) signature: &'a str,
    pub(super) body: String,
}

impl Delivery<'_> {
    /// Sends it once.
    pub(super) async fn send(self) -> Result<(), NotTaken> {
        timeout(DELIVERY_TIMEOUT, self.exchange())
            .await
            .map_err(|_| NotTaken::Timeout)?
    }

    async fn exchange(self) -> Result<(), NotTaken> {
        let tcp = TcpStream::connect(self.url.host())
            .await
            .map_err(NotTaken::Connect)?;
        match self.url.tls() {
            None => self.post(tcp).await,
            Some(name) => {
                let connector = TlsConnector::from(Arc::clone(self.tls));
                let tls = connector.connect(name.clone(), tcp).await;
                self.post(tls.map_err(NotTaken::Tls)?).await
            }
        }
    }

    async fn post(
        self,
        stream: impl AsyncRead + AsyncWrite + Send + Unpin + 'static,
    ) -> Result<(), NotTaken> {
        let (mut sender, connection) = http1::Builder::new()
            .max_buf_size(HEAD_MAX)
            .handshake(TokioIo::new(stream))
            .await?;
        let request = Request::post(self.url.path())
            .header(HOST, self.url.authority())
            .header(CONTENT_TYPE, "application/json")
            .header(
                USER_AGENT,
                concat!("holdfast-verifier/", env!("CARGO_PKG_VERSION")),
            )
            .header("webhook-id", self.id)
            .header("webhook-timestamp", self.timestamp)
            .header("webhook-signature", self.signature)
            .body(Full::new(Bytes::from(self.body)))?;
        // The connection is driven here and ends here: what comes after the
        // status is not read.
        let answer = sender.send_request(request);
        tokio::pin!(answer);
        tokio::pin!(connection);
        let answer = tokio::select! {
            answer = &mut answer => answer?,
            ended = &mut connection => {
                ended?;
                answer.await?
            }
        };
        if answer.status().is_success() {
            Ok(())
        } else {
            Err(NotTaken::Status(answer.status()))
        }
    }
}
