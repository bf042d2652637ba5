//! Plaintext from local programs, mutual TLS to one upstream.

use std::io;
use std::sync::Arc;

use rustls::ClientConfig;
use rustls::RootCertStore;
use rustls::client::Resumption;
use rustls::pki_types::ServerName;
use tokio::net::TcpStream;
use tokio::sync::Semaphore;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use tokio_util::task::TaskTracker;

use super::local::{Duplex, LocalListener};
use super::relay::relay;
use super::{
    HANDSHAKE_LIMIT, Limits, LocalAddress, ProxyError, ProxyIdentity, Stop, drain, provider,
    signing, stopped,
};

/// A side-car that dials out.
#[derive(Debug)]
pub struct Outbound {
    listener: LocalListener,
    upstream: Arc<Upstream>,
    limits: Limits,
}

#[derive(Debug)]
struct Upstream {
    /// `host:port`.
    address: String,
    name: ServerName<'static>,
    config: Arc<ClientConfig>,
    identity: Arc<ProxyIdentity>,
}

impl Outbound {
    /// Listens on `listen`. Each connection there becomes one of mutual TLS to
    /// `upstream` (`host:port`), whose certificate must be for `server_name`
    /// and lead to one of `roots`.
    ///
    /// # Errors
    /// [`ProxyError`] says what is wrong with the settings.
    pub async fn bind(
        listen: &LocalAddress,
        upstream: &str,
        server_name: &str,
        roots: RootCertStore,
        identity: Arc<ProxyIdentity>,
        limits: Limits,
    ) -> Result<Self, ProxyError> {
        let name = ServerName::try_from(server_name.to_owned())
            .map_err(|_| ProxyError::ServerName(server_name.to_owned()))?;
        let mut config = ClientConfig::builder_with_provider(provider())
            .with_protocol_versions(&[&rustls::version::TLS13])
            .map_err(|e| ProxyError::Tls(e.to_string()))?
            .with_root_certificates(roots)
            .with_client_cert_resolver(identity.ldevid());
        // A resumed session would show the LDevID of back then.
        config.resumption = Resumption::disabled();
        Ok(Self {
            listener: LocalListener::bind(listen).await?,
            upstream: Arc::new(Upstream {
                address: upstream.to_owned(),
                name,
                config: Arc::new(config),
                identity,
            }),
            limits,
        })
    }

    /// Where it listens.
    ///
    /// # Errors
    /// What the system says.
    pub fn address(&self) -> io::Result<LocalAddress> {
        self.listener.address()
    }

    /// Serves until the order to stop, and lets connections end then.
    pub async fn serve(self, mut stop: Stop) {
        let (connections, places) = (
            TaskTracker::new(),
            Arc::new(Semaphore::new(self.limits.connections)),
        );
        loop {
            // Local programs are not strangers: they wait for a place.
            let next = async {
                let place = Arc::clone(&places).acquire_owned().await;
                (place, self.listener.accept().await)
            };
            let (place, accepted) = tokio::select! {
                next = next => next,
                () = stopped(&mut stop) => break,
            };
            match accepted {
                Ok(local) => {
                    let (upstream, idle) = (Arc::clone(&self.upstream), self.limits.idle);
                    connections.spawn(async move {
                        let _place = place;
                        let outcome = upstream.carry(local, idle).await;
                        if let Err(error) = outcome {
                            tracing::warn!(upstream = upstream.address, %error, "outbound");
                        }
                    });
                }
                Err(error) => super::inbound::pause_after(&error).await,
            }
        }
        // The socket's file goes first: nobody should find it any more.
        drop(self.listener);
        drain(connections, self.limits.drain).await;
    }
}

impl Upstream {
    async fn carry(&self, local: Box<dyn Duplex>, idle: std::time::Duration) -> io::Result<()> {
        let upstream = tokio::time::timeout(HANDSHAKE_LIMIT, self.dial())
            .await
            .unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()));
        match upstream {
            Ok(upstream) => relay(local, upstream, idle).await,
            Err(error) => {
                tokio::task::block_in_place(|| self.identity.heal());
                Err(error)
            }
        }
    }

    async fn dial(&self) -> io::Result<TlsStream<TcpStream>> {
        tokio::task::block_in_place(|| self.identity.refresh());
        let stream = TcpStream::connect(&self.address).await?;
        stream.set_nodelay(true)?;
        let connector = TlsConnector::from(Arc::clone(&self.config));
        signing(connector.connect(self.name.clone(), stream)).await
    }
}
