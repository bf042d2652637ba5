//! Mutual TLS from outside, plaintext to one local backend.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use rustls::server::{NoServerSessionStorage, WebPkiClientVerifier};
use rustls::{RootCertStore, ServerConfig};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;
use tokio_util::task::TaskTracker;

use super::gate::{Gate, Pass};
use super::relay::relay;
use super::{
    HANDSHAKE_LIMIT, Limits, LocalAddress, ProxyError, ProxyIdentity, Stop, drain, provider,
    signing, stopped,
};

/// After an accept that failed for want of descriptors or memory.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// A side-car that serves.
#[derive(Debug)]
pub struct Inbound {
    listener: TcpListener,
    service: Arc<Service>,
    limits: Limits,
}

#[derive(Debug)]
struct Service {
    config: Arc<ServerConfig>,
    identity: Arc<ProxyIdentity>,
    backend: LocalAddress,
    places: Semaphore,
    idle: Duration,
}

impl Inbound {
    /// Listens on `listen`. Who connects must have a client certificate that
    /// leads to one of `client_roots`; what they say goes to `backend`.
    ///
    /// # Errors
    /// [`ProxyError`] says what is wrong with the settings.
    pub async fn bind(
        listen: SocketAddr,
        backend: LocalAddress,
        client_roots: RootCertStore,
        identity: Arc<ProxyIdentity>,
        limits: Limits,
    ) -> Result<Self, ProxyError> {
        let tls = |e: &dyn std::fmt::Display| ProxyError::Tls(e.to_string());
        let verifier =
            WebPkiClientVerifier::builder_with_provider(Arc::new(client_roots), provider())
                .build()
                .map_err(|e| tls(&e))?;
        let mut config = ServerConfig::builder_with_provider(provider())
            .with_protocol_versions(&[&rustls::version::TLS13])
            .map_err(|e| tls(&e))?
            .with_client_cert_verifier(verifier)
            .with_cert_resolver(identity.ldevid());
        // Each connection shows the LDevID of now, and its client proves itself.
        config.session_storage = Arc::new(NoServerSessionStorage {});
        config.send_tls13_tickets = 0;
        let listener = TcpListener::bind(listen)
            .await
            .map_err(|source| ProxyError::Listen {
                address: listen.to_string(),
                source,
            })?;
        Ok(Self {
            listener,
            service: Arc::new(Service {
                config: Arc::new(config),
                identity,
                backend,
                places: Semaphore::new(limits.connections),
                idle: limits.idle,
            }),
            limits,
        })
    }

    /// Where it listens.
    ///
    /// # Errors
    /// What the system says.
    pub fn address(&self) -> io::Result<SocketAddr> {
        self.listener.local_addr()
    }

    /// Serves until the order to stop, and lets connections end then.
    pub async fn serve(self, mut stop: Stop) {
        let (connections, gate) = (TaskTracker::new(), Gate::default());
        loop {
            let accepted = tokio::select! {
                accepted = self.listener.accept() => accepted,
                () = stopped(&mut stop) => break,
            };
            match accepted {
                Ok((stream, peer)) => {
                    let service = Arc::clone(&self.service);
                    let pass = gate.enter(peer.ip());
                    connections.spawn(async move {
                        if let Err(error) = service.carry(stream, pass).await {
                            tracing::info!(%peer, %error, "inbound");
                        }
                    });
                }
                Err(error) => pause_after(&error).await,
            }
        }
        drop(self.listener);
        drain(connections, self.limits.drain).await;
    }
}

impl Service {
    async fn carry(&self, stream: TcpStream, pass: Pass) -> io::Result<()> {
        let stream = self.admit(stream, pass).await?;
        let Ok(_place) = self.places.try_acquire() else {
            return Err(io::Error::other("no place for another connection"));
        };
        let backend = self.backend.connect().await?;
        relay(stream, backend, self.idle).await
    }

    /// The handshake, in its time and while it has its place at the gate.
    async fn admit(&self, stream: TcpStream, mut pass: Pass) -> io::Result<TlsStream<TcpStream>> {
        stream.set_nodelay(true)?;
        tokio::task::block_in_place(|| self.identity.refresh());
        let acceptor = TlsAcceptor::from(Arc::clone(&self.config));
        let accepted = tokio::select! {
            accepted = signing(acceptor.accept(stream)) => accepted,
            () = tokio::time::sleep(HANDSHAKE_LIMIT) => Err(io::ErrorKind::TimedOut.into()),
            () = pass.evicted() => Err(io::Error::other("gave way to a newer handshake")),
        };
        if let Err(error) = &accepted
            && is_ours(error)
        {
            tokio::task::block_in_place(|| self.identity.heal());
        }
        accepted
    }
}

/// Whether the handshake failed for our signature, and not for the peer.
fn is_ours(error: &io::Error) -> bool {
    error
        .get_ref()
        .and_then(|inner| inner.downcast_ref::<rustls::Error>())
        .is_some_and(|error| matches!(error, rustls::Error::General(_)))
}

/// Out of descriptors or memory: some connections have to end first.
pub(super) async fn pause_after(error: &io::Error) {
    tracing::warn!(%error, "accept");
    tokio::time::sleep(ACCEPT_PAUSE).await;
}
