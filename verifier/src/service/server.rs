//! Putting it together: listener, acceptor, gate, handlers, admin socket,
//! health, and an orderly end.

use std::{future::Future, io, net::SocketAddr, path::PathBuf, sync::Arc, time::Duration};

use holdfast_proto::{
    grpc::{
        FILE_DESCRIPTOR_SET,
        v1::{
            admin_server::AdminServer, attestation_server::AttestationServer,
            enrollment_server::EnrollmentServer, heartbeat_server::HeartbeatServer,
        },
    },
    sd_notify::ServiceManager,
};
use rustls::ServerConfig;
use tokio::{
    net::TcpListener,
    sync::{Semaphore, mpsc},
    task::JoinHandle,
};
use tokio_stream::wrappers::ReceiverStream;
use tokio_util::sync::CancellationToken;
use tonic::transport;
use tonic_health::{ServingStatus, server::HealthReporter};
use tracing::{error, info, warn};

use super::{
    Shared,
    acceptor::{self, Patience, Places},
    addresses::{Addresses, Share},
    admin::AdminService,
    admin_socket::{self, AdminSocket, SocketError},
    attestation::AttestationService,
    enrollment::EnrollmentService,
    gate::{Gate, RequestIds},
    heartbeat::HeartbeatService,
    local_users::LocalUsers,
    operators_door::{self, BoundDoor, OperatorsDoor},
    publication::{Publication, PublicationSettings},
    revocation::RevocationView,
    silence,
    sweeping::Sweeping,
    webhooks::{self, Webhook},
};
use crate::heartbeat::FRAME_MAX;
use crate::operators::UnixRoles;
use crate::swap::Swap;
use crate::verification::{IMA_LOG_AT_ENROLMENT_MAX, IMA_LOG_MAX, IMA_PCR};

/// A boot log is at most 1 MiB, everything else together under 100 KiB. No
/// more than that: an empty message of two bytes becomes some thirty in memory.
const MESSAGE_MAX: usize = (1024 + 128) * 1024;

/// The longest messages of one service. An IMA log may come on top, but only
/// where PCR 10 is asked for.
fn message_max(shared: &Shared, ima_log_max: usize) -> usize {
    if shared.verifier.selection().pcrs.contains(IMA_PCR) {
        MESSAGE_MAX + ima_log_max
    } else {
        MESSAGE_MAX
    }
}
/// Vendors' certificates come by the hundred, from the owner.
const ADMIN_MESSAGE_MAX: usize = 16 * 1024 * 1024;
/// A gateway has one exchange under way at a time; a proxy may have a few.
const STREAMS_MAX: u32 = 16;
/// HTTP/2 flow-control window: bounds what a stream can make us hold unread.
const WINDOW: u32 = 256 * 1024;
/// Header lists of gRPC are some hundred bytes.
const HEADERS_MAX: u32 = 16 * 1024;
/// Pings on a quiet connection; one without answer ends it.
const KEEPALIVE: Duration = Duration::from_secs(30);
const KEEPALIVE_TIMEOUT: Duration = Duration::from_secs(10);
/// A handshake is two flights: seconds even over a satellite link.
pub const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(10);
/// A peer that reads our pings answers them. One from which nothing comes for
/// this long is gone, or holds a place for nothing (CVE-2023-38200).
pub const IDLE_TIMEOUT: Duration = Duration::from_secs(75);
/// A connection is asked to end after this time, so that places go round.
const CONNECTION_AGE: Duration = Duration::from_secs(3600);
const CONNECTION_AGE_GRACE: Duration = Duration::from_secs(60);
/// Connections whose handshake is done and that wait to be served.
const READY_QUEUE: usize = 64;
/// Expired rows and full rate buckets are removed this often.
const SWEEP_EVERY: Duration = Duration::from_secs(60);
/// Health is looked at this often.
const PROBE_EVERY: Duration = Duration::from_secs(10);
/// Ends of certificates are looked at this often.
const TEND_EVERY: Duration = Duration::from_secs(3600);
/// One address gets at most this share of the requests under way, ...
const REQUEST_SHARE: usize = 4;
/// ... and of the handshakes: they cost nothing to begin (A21).
const HANDSHAKE_SHARE: usize = 8;
/// The store's connections are given this long to come back at the end.
pub const CLOSE_TIMEOUT: Duration = Duration::from_secs(5);

const ENROLLMENT: &str = "holdfast.v1.Enrollment";
const ATTESTATION: &str = "holdfast.v1.Attestation";
const HEARTBEAT: &str = "holdfast.v1.Heartbeat";

/// What a server needs to know beside what its handlers share.
#[derive(Debug)]
pub struct ServerSettings {
    /// Where to listen; port 0 lets the system choose.
    pub listen: SocketAddr,
    /// TLS, from [`super::KeyDesk::tls`]: each handshake takes what it is then.
    pub tls: Arc<Swap<ServerConfig>>,
    /// Where the admin socket goes; the caller holds the directory's lock.
    pub admin_socket: PathBuf,
    /// The group that may open it, beside its owner.
    pub admin_socket_group: Option<u32>,
    /// Roles of those who connect to it.
    pub unix_roles: UnixRoles,
    /// The door for operators with certificates, if there is to be one.
    pub operators: Option<OperatorsDoor>,
    /// Who is told what happens to gateways.
    pub webhooks: Vec<Webhook>,
    /// How long events are kept, in seconds.
    pub event_seconds: i64,
    /// What is told to relying parties over HTTP, if anything.
    pub publication: Option<PublicationSettings>,
    /// Connections in all.
    pub connections: u32,
    /// Connections from one address.
    pub connections_per_address: u32,
    /// Handshakes under way.
    pub handshakes: u32,
    /// Requests under way.
    pub requests: u32,
    /// When a handshake is given up; [`HANDSHAKE_TIMEOUT`].
    pub handshake_timeout: Duration,
    /// When a silent connection is closed; [`IDLE_TIMEOUT`].
    pub idle_timeout: Duration,
    /// When a request is given up.
    pub request_timeout: Duration,
    /// How long the end waits for requests under way.
    pub drain: Duration,
    /// Whom to tell when it serves, that it still does, and that it ends.
    pub service_manager: ServiceManager,
}

/// Why the server did not start, or ended.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ServeError {
    /// The address cannot be listened on.
    #[error("cannot listen on {address}: {source}")]
    Listen {
        /// Which address.
        address: SocketAddr,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// The admin socket cannot be made.
    #[error("admin socket: {0}")]
    AdminSocket(#[from] SocketError),
    /// Reflection data is not what it should be: a fault of the build.
    #[error("reflection: {0}")]
    Reflection(#[from] tonic_reflection::server::Error),
    /// A server ended though nobody asked it to.
    #[error("the {which} server ended by itself")]
    Ended {
        /// "gRPC", "admin" or "operators".
        which: &'static str,
        /// Why, if it said so.
        #[source]
        source: Option<transport::Error>,
    },
}

/// Makes a [`Listening`].
#[derive(Debug)]
pub struct Server;

/// A server whose sockets are bound; nothing is accepted before
/// [`Listening::run`].
pub struct Listening {
    shared: Arc<Shared>,
    settings: ServerSettings,
    listener: TcpListener,
    address: SocketAddr,
    admin: AdminSocket,
    operators: Option<BoundDoor>,
    publication: Option<Publication>,
}

impl Server {
    /// Binds every socket.
    ///
    /// # Errors
    /// [`ServeError`] names the socket.
    pub async fn bind(
        shared: Arc<Shared>,
        settings: ServerSettings,
    ) -> Result<Listening, ServeError> {
        let listen = |source| ServeError::Listen {
            address: settings.listen,
            source,
        };
        let listener = TcpListener::bind(settings.listen).await.map_err(listen)?;
        let address = listener.local_addr().map_err(listen)?;
        let admin = admin_socket::bind(&settings.admin_socket, settings.admin_socket_group)?;
        let operators = match &settings.operators {
            None => None,
            Some(door) => Some(door.bind().await.map_err(|source| ServeError::Listen {
                address: door.listen,
                source,
            })?),
        };
        let publication = match settings.publication {
            Some(publication) => Some(Publication::bind(Arc::clone(&shared), publication).await?),
            None => None,
        };
        Ok(Listening {
            publication,
            shared,
            settings,
            listener,
            address,
            admin,
            operators,
        })
    }
}

impl Listening {
    /// The address that gateways dial.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// The address that operators with certificates dial, if there is one.
    #[must_use]
    pub fn operators_address(&self) -> Option<SocketAddr> {
        self.operators.as_ref().map(|door| door.address)
    }

    /// The address of CRLs and OCSP.
    #[must_use]
    pub fn publication_address(&self) -> Option<SocketAddr> {
        self.publication.as_ref().map(Publication::address)
    }

    /// Serves until `shutdown`, then drains.
    ///
    /// # Errors
    /// [`ServeError::Ended`] where a server ends before that.
    pub async fn run(self, shutdown: impl Future<Output = ()> + Send) -> Result<(), ServeError> {
        let Self {
            shared,
            settings,
            listener,
            address,
            admin,
            operators,
            publication,
        } = self;
        let AdminSocket {
            listener: admin_listener,
            file: _admin_file,
        } = admin;
        let stop = CancellationToken::new();
        let ids = Arc::new(RequestIds::new(&shared.rng));

        let (ready, incoming) = mpsc::channel(READY_QUEUE);
        let requests = count(settings.requests);
        let places = Places {
            connections: semaphore(settings.connections),
            handshakes: semaphore(settings.handshakes),
            addresses: Addresses::new(Share {
                connections: settings.connections_per_address,
                handshakes: (count(settings.handshakes) / HANDSHAKE_SHARE).max(1),
                requests: (requests / REQUEST_SHARE).max(1),
            }),
        };
        let patience = Patience {
            handshake: settings.handshake_timeout,
            idle: settings.idle_timeout,
        };
        let tls = Arc::clone(&settings.tls);
        let revocations = Arc::clone(&shared.revocations);
        tokio::spawn(acceptor::accept(
            listener,
            tls,
            places,
            patience,
            revocations,
            ready,
        ));
        let publishing = publication.map(|publication| {
            let stop = stop.clone();
            tokio::spawn(publication.run(stop))
        });
        let telling: Vec<_> = settings
            .webhooks
            .into_iter()
            .map(|webhook| tokio::spawn(webhooks::tell(Arc::clone(&shared), webhook)))
            .collect();
        let watching = tokio::spawn(silence::keep_watch(Arc::clone(&shared)));
        let following = tokio::spawn(Arc::clone(&shared.revocations).follow());

        let (reporter, health) = tonic_health::server::health_reporter();
        let reflection = tonic_reflection::server::Builder::configure()
            .register_encoded_file_descriptor_set(FILE_DESCRIPTOR_SET)
            .with_service_name(ENROLLMENT)
            .with_service_name(ATTESTATION)
            .with_service_name(HEARTBEAT)
            .build_v1()?;
        let enrollment = EnrollmentServer::new(EnrollmentService::new(Arc::clone(&shared)))
            .max_decoding_message_size(message_max(&shared, IMA_LOG_AT_ENROLMENT_MAX));
        let attestation = AttestationServer::new(AttestationService::new(Arc::clone(&shared)))
            .max_decoding_message_size(message_max(&shared, IMA_LOG_MAX));
        let heartbeat = HeartbeatServer::new(HeartbeatService::new(Arc::clone(&shared)))
            .max_decoding_message_size(FRAME_MAX);
        let public = transport::Server::builder()
            .timeout(settings.request_timeout)
            .max_concurrent_streams(STREAMS_MAX)
            .initial_stream_window_size(WINDOW)
            .initial_connection_window_size(2 * WINDOW)
            .http2_keepalive_interval(Some(KEEPALIVE))
            .http2_keepalive_timeout(Some(KEEPALIVE_TIMEOUT))
            .http2_max_header_list_size(HEADERS_MAX)
            .max_connection_age(CONNECTION_AGE)
            .max_connection_age_grace(CONNECTION_AGE_GRACE)
            .layer(Gate::network(
                Arc::clone(&ids),
                Arc::clone(&shared),
                requests,
            ))
            .add_service(health)
            .add_service(reflection)
            .add_service(enrollment)
            .add_service(attestation)
            .add_service(heartbeat)
            .serve_with_incoming_shutdown(
                ReceiverStream::new(incoming),
                stop.clone().cancelled_owned(),
            );
        // One set of handlers for both doors: imports go one after another.
        let handlers = Arc::new(AdminService::new(Arc::clone(&shared), address));
        let handlers = || {
            AdminServer::from_arc(Arc::clone(&handlers))
                .max_decoding_message_size(ADMIN_MESSAGE_MAX)
                .max_encoding_message_size(ADMIN_MESSAGE_MAX)
        };
        let operators = serve_operators(
            operators,
            handlers(),
            Gate::operators(
                Arc::clone(&ids),
                Arc::clone(&shared),
                operators_door::REQUESTS,
                settings.request_timeout,
            ),
            Arc::clone(&shared.revocations),
            patience,
            settings.request_timeout,
            stop.clone(),
        );
        let users = LocalUsers::new(settings.unix_roles);
        let admin = transport::Server::builder()
            .timeout(settings.request_timeout)
            .max_concurrent_streams(STREAMS_MAX)
            .initial_stream_window_size(WINDOW)
            .initial_connection_window_size(2 * WINDOW)
            .http2_max_header_list_size(HEADERS_MAX)
            .layer(Gate::local(
                ids,
                Arc::clone(&shared),
                Arc::clone(&users),
                settings.request_timeout,
            ))
            .add_service(handlers())
            .serve_with_incoming_shutdown(
                users.accept(admin_listener),
                stop.clone().cancelled_owned(),
            );
        let mut public = Box::pin(public);
        let mut admin = Box::pin(admin);
        let mut operators = Box::pin(operators);

        let manager = Arc::new(settings.service_manager);
        let keeper = keep_house(
            Arc::clone(&shared),
            reporter.clone(),
            settings.event_seconds,
            Arc::clone(&manager),
        );
        info!(%address, "serving");
        manager.ready(&format!("serving gateways at {address}"));
        tokio::select! {
            ended = &mut public => return Err(ended_early("gRPC", ended)),
            ended = &mut admin => return Err(ended_early("admin", ended)),
            ended = &mut operators => return Err(ended_early("operators", ended)),
            () = shutdown => {}
        }

        info!("shutting down");
        keeper.abort();
        following.abort();
        watching.abort();
        for webhook in telling {
            webhook.abort();
        }
        shared.ending.cancel();
        if let Some(publishing) = publishing {
            publishing.abort();
        }
        manager.stopping();
        set_health(&reporter, ServingStatus::NotServing).await;
        stop.cancel();
        let drained = async { tokio::join!(public, admin, operators) };
        if tokio::time::timeout(settings.drain, drained).await.is_err() {
            warn!("requests still under way are cut off");
        }
        if tokio::time::timeout(CLOSE_TIMEOUT, shared.store.close())
            .await
            .is_err()
        {
            warn!("the store was busy to the end");
        }
        info!("ended");
        Ok(())
    }
}

/// Serves the door for operators; without one, waits for the end.
async fn serve_operators(
    door: Option<BoundDoor>,
    handlers: AdminServer<AdminService>,
    gate: Gate,
    revocations: Arc<RevocationView>,
    patience: Patience,
    request_timeout: Duration,
    stop: CancellationToken,
) -> Result<(), transport::Error> {
    let stopped = stop.cancelled_owned();
    match door {
        None => {
            stopped.await;
            Ok(())
        }
        Some(door) => {
            info!(address = %door.address, "serving operators");
            door.serve(
                handlers,
                gate,
                revocations,
                patience,
                request_timeout,
                stopped,
            )
            .await
        }
    }
}

fn count(number: u32) -> usize {
    usize::try_from(number).unwrap_or(usize::MAX)
}

fn semaphore(places: u32) -> Arc<Semaphore> {
    Arc::new(Semaphore::new(count(places).min(Semaphore::MAX_PERMITS)))
}

fn ended_early(which: &'static str, ended: Result<(), transport::Error>) -> ServeError {
    ServeError::Ended {
        which,
        source: ended.err(),
    }
}

async fn set_health(reporter: &HealthReporter, status: ServingStatus) {
    for service in ["", ENROLLMENT, ATTESTATION, HEARTBEAT] {
        reporter.set_service_status(service, status).await;
    }
}

/// Sweeps, and tells health by whether the store can record.
fn keep_house(
    shared: Arc<Shared>,
    reporter: HealthReporter,
    event_seconds: i64,
    manager: Arc<ServiceManager>,
) -> JoinHandle<()> {
    tokio::spawn(async move {
        let mut sweep = tokio::time::interval(SWEEP_EVERY);
        let mut sweeping = Sweeping::new(event_seconds);
        let mut probe = tokio::time::interval(PROBE_EVERY);
        let mut tend = tokio::time::interval(TEND_EVERY);
        loop {
            tokio::select! {
                _ = sweep.tick() => sweeping.sweep(&shared).await,
                _ = tend.tick() => shared.keys.tend(&shared).await,
                _ = probe.tick() => {
                    let status = match shared.store.probe(shared.clock.now().seconds()).await {
                        Ok(()) => ServingStatus::Serving,
                        Err(error) => {
                            error!(%error, "the store cannot record");
                            ServingStatus::NotServing
                        }
                    };
                    set_health(&reporter, status).await;
                    // The store answered, be it with an error, which a restart
                    // would not mend: one that hangs is for the watchdog.
                    manager.alive();
                }
            }
        }
    })
}
