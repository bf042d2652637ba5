//! What relying parties are told over plain HTTP: which LDevIDs are revoked
//! (CRLs, OCSP), and the issuing CA's certificate. All of it is signed, none of
//! it is secret, and nothing that comes in changes anything.
//!
//! ```text
//! store ──crls──► shelf ──┐
//! store ◄──ocsp──────────┤◄── http ◄── GET /crl/… /ca/… /ocsp/…, POST /ocsp
//! ```

mod conditional;
mod crls;
mod http;
mod ocsp;
mod shelf;

use std::{net::SocketAddr, num::NonZeroU32, sync::Arc};

use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;
use tracing::info;

use self::{crls::CrlMaker, http::Door, ocsp::Ocsp, shelf::Shelf};
use super::{Shared, server::ServeError};

/// How the publication is set up.
#[derive(Debug, Clone, Copy)]
pub struct PublicationSettings {
    /// Where to listen.
    pub listen: SocketAddr,
    /// How long a CRL counts, in seconds.
    pub crl_seconds: i64,
    /// How long an OCSP answer counts, in seconds.
    pub ocsp_seconds: i64,
    /// How long caches may keep either, in seconds.
    pub cache_seconds: i64,
    /// LDevIDs that one CRL answers for at most.
    pub crl_certificates: u64,
    /// Connections in all.
    pub connections: usize,
    /// Requests per minute from one address.
    pub requests_per_minute_per_address: NonZeroU32,
}

/// Bound, and not answering yet.
pub(super) struct Publication {
    shared: Arc<Shared>,
    settings: PublicationSettings,
    listener: TcpListener,
    address: SocketAddr,
}

impl Publication {
    /// Binds the listener.
    pub(super) async fn bind(
        shared: Arc<Shared>,
        settings: PublicationSettings,
    ) -> Result<Self, ServeError> {
        let listen = |source| ServeError::Listen {
            address: settings.listen,
            source,
        };
        let listener = TcpListener::bind(settings.listen).await.map_err(listen)?;
        let address = listener.local_addr().map_err(listen)?;
        Ok(Self {
            shared,
            settings,
            listener,
            address,
        })
    }

    /// The address that it listens on.
    pub(super) fn address(&self) -> SocketAddr {
        self.address
    }

    /// Makes CRLs and answers, until told to stop.
    pub(super) async fn run(self, stop: CancellationToken) {
        let Self {
            shared,
            settings,
            listener,
            address,
        } = self;
        let shelf = Arc::new(Shelf::default());
        let mut maker = CrlMaker::new(Arc::clone(&shared), Arc::clone(&shelf), settings);
        // Before the first request: what fails is tried again below.
        maker.round().await;
        let door = Arc::new(Door::new(
            Arc::clone(&shared),
            shelf,
            Ocsp::new(shared, settings.ocsp_seconds),
            settings,
        ));
        info!(%address, "publishing revocations");
        let serving = http::serve(listener, door, settings.connections);
        tokio::select! {
            () = stop.cancelled() => {}
            () = maker.keep() => {}
            () = serving => {}
        }
    }
}
