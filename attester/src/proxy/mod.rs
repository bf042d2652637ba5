//! The side-car: TLS 1.3 with the LDevID for programs that know nothing of
//! TPMs. [`Outbound`] takes plaintext from local programs and dials out with
//! mutual TLS; [`Inbound`] takes mutual TLS from outside and hands plaintext to
//! a local backend. Neither looks at what passes.

mod error;
mod gate;
mod identity;
mod inbound;
mod local;
mod outbound;
mod relay;

use std::path::Path;
use std::pin::pin;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use rustls::RootCertStore;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use tokio::sync::watch;
use tokio_util::task::TaskTracker;

pub use error::ProxyError;
pub use identity::ProxyIdentity;
pub use inbound::Inbound;
pub use local::LocalAddress;
pub(crate) use local::LocalListener;
pub use outbound::Outbound;

/// What one side-car may cost, and how long it waits.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Connections at a time. What comes beyond waits (outbound) or is closed
    /// (inbound).
    pub connections: usize,
    /// A connection on which neither side says anything for so long is closed.
    pub idle: Duration,
    /// How long connections may go on after the order to stop.
    pub drain: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            connections: 256,
            idle: Duration::from_secs(15 * 60),
            drain: Duration::from_secs(30),
        }
    }
}

/// Limit for TCP and TLS together. One signature takes a slow TPM most of a
/// second, and others may be before it in the queue.
const HANDSHAKE_LIMIT: Duration = Duration::from_secs(15);

/// The order to stop, for everybody who holds a clone.
pub type Stop = watch::Receiver<bool>;

/// Certificates of a PEM file, as the only roots.
///
/// # Errors
/// [`ProxyError::Roots`] where there is none, or one that is no certificate.
pub fn roots(path: &Path) -> Result<RootCertStore, ProxyError> {
    let bad = |problem: String| ProxyError::Roots {
        path: path.to_owned(),
        problem,
    };
    let mut roots = RootCertStore::empty();
    for certificate in CertificateDer::pem_file_iter(path).map_err(|e| bad(e.to_string()))? {
        let certificate = certificate.map_err(|e| bad(e.to_string()))?;
        roots.add(certificate).map_err(|e| bad(e.to_string()))?;
    }
    if roots.is_empty() {
        return Err(bad("holds no certificate".to_owned()));
    }
    Ok(roots)
}

fn provider() -> Arc<rustls::crypto::CryptoProvider> {
    Arc::new(rustls::crypto::ring::default_provider())
}

/// Polls a handshake where its thread may block: rustls signs by the TPM inside
/// the poll. The other tasks go on elsewhere meanwhile; while the handshake
/// waits for the peer, no thread waits with it.
async fn signing<F: Future>(handshake: F) -> F::Output {
    let mut handshake = pin!(handshake);
    std::future::poll_fn(|context| -> Poll<F::Output> {
        tokio::task::block_in_place(|| handshake.as_mut().poll(context))
    })
    .await
}

/// Resolves when the order to stop comes, or nobody can give it any more.
async fn stopped(stop: &mut Stop) {
    let _ = stop.wait_for(|stop| *stop).await;
}

/// Lets connections end by themselves for a while; what is left then ends with
/// the runtime.
async fn drain(connections: TaskTracker, limit: Duration) {
    connections.close();
    if tokio::time::timeout(limit, connections.wait())
        .await
        .is_err()
    {
        tracing::warn!(
            left = connections.len(),
            "connections cut after the drain time"
        );
    }
}
