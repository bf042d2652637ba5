//! The door for operators: the admin service over mutual TLS, apart from the
//! gateways' port, with a trust store of its own.
//!
//! A connection without a certificate of the operators' CA ends in the
//! handshake. What a certificate may do is on record, and is looked up at every
//! call (`gate`), so that a revocation counts from the next call on; a stream of
//! events (`admin::watch`) asks again twice a second. The connection itself
//! stays: nothing is served on it.

use std::{future::Future, io, net::SocketAddr, sync::Arc, time::Duration};

use holdfast_proto::grpc::v1::admin_server::AdminServer;
use rustls::ServerConfig;
use tokio::{
    net::TcpListener,
    sync::{Semaphore, mpsc},
};
use tokio_stream::wrappers::ReceiverStream;
use tonic::transport;

use super::{
    acceptor::{self, Connection, Patience, Places},
    addresses::{Addresses, Share},
    admin::AdminService,
    gate::Gate,
    revocation::RevocationView,
};
use crate::swap::Swap;

/// Operators are few: tens of people, and a program or two.
const CONNECTIONS: usize = 256;
/// Of one address (a bastion host may stand for all).
const CONNECTIONS_OF_ADDRESS: u32 = 64;
/// Handshakes under way, in all and of one address.
const HANDSHAKES: usize = 32;
const HANDSHAKES_OF_ADDRESS: usize = 8;
/// Requests under way, in all and of one address. A request may have 16 MiB.
pub(super) const REQUESTS: usize = 32;
const REQUESTS_OF_ADDRESS: usize = 16;
/// Calls of one connection at once: a program asks one thing after another.
const STREAMS_MAX: u32 = 8;
const WINDOW: u32 = 256 * 1024;
const HEADERS_MAX: u32 = 16 * 1024;
const KEEPALIVE: Duration = Duration::from_secs(30);
const KEEPALIVE_TIMEOUT: Duration = Duration::from_secs(10);
const READY_QUEUE: usize = 16;

/// Where operators call, and with which TLS.
#[derive(Debug, Clone)]
pub struct OperatorsDoor {
    /// Where to listen; port 0 lets the system choose.
    pub listen: SocketAddr,
    /// From [`super::operators_tls`].
    pub tls: Arc<Swap<ServerConfig>>,
}

/// The door, bound.
pub(super) struct BoundDoor {
    listener: TcpListener,
    tls: Arc<Swap<ServerConfig>>,
    pub(super) address: SocketAddr,
}

impl OperatorsDoor {
    pub(super) async fn bind(&self) -> io::Result<BoundDoor> {
        let listener = TcpListener::bind(self.listen).await?;
        Ok(BoundDoor {
            address: listener.local_addr()?,
            listener,
            tls: Arc::clone(&self.tls),
        })
    }
}

impl BoundDoor {
    /// Serves until `stop`.
    pub(super) async fn serve(
        self,
        admin: AdminServer<AdminService>,
        gate: Gate,
        revocations: Arc<RevocationView>,
        patience: Patience,
        request_timeout: Duration,
        stop: impl Future<Output = ()>,
    ) -> Result<(), transport::Error> {
        let (ready, incoming) = mpsc::channel::<io::Result<Connection>>(READY_QUEUE);
        let places = Places {
            connections: Arc::new(Semaphore::new(CONNECTIONS)),
            handshakes: Arc::new(Semaphore::new(HANDSHAKES)),
            addresses: Addresses::new(Share {
                connections: CONNECTIONS_OF_ADDRESS,
                handshakes: HANDSHAKES_OF_ADDRESS,
                requests: REQUESTS_OF_ADDRESS,
            }),
        };
        tokio::spawn(acceptor::accept(
            self.listener,
            self.tls,
            places,
            patience,
            revocations,
            ready,
        ));
        transport::Server::builder()
            .timeout(request_timeout)
            .max_concurrent_streams(STREAMS_MAX)
            .initial_stream_window_size(WINDOW)
            .initial_connection_window_size(2 * WINDOW)
            .http2_keepalive_interval(Some(KEEPALIVE))
            .http2_keepalive_timeout(Some(KEEPALIVE_TIMEOUT))
            .http2_max_header_list_size(HEADERS_MAX)
            .layer(gate)
            .add_service(admin)
            .serve_with_incoming_shutdown(ReceiverStream::new(incoming), stop)
            .await
    }
}
