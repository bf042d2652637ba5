//! The gate: what every request passes before its body is read. Gives it an
//! id, finds out who calls and whether that role may call this method
//! (`roles`), counts it, and bounds how many are under way.

use std::{
    convert::Infallible,
    fmt,
    future::Future,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    task::{Context, Poll},
    time::{Duration, Instant},
};

use http::{HeaderValue, Request, Response};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tonic::{Status, body::Body, transport::server::UdsConnectInfo};
use tower::{Layer, Service};
use tracing::{Instrument as _, error, info, info_span};

use super::{
    Shared, acceptor::ConnectionInfo, acts, caller::Caller, error::Refusal,
    local_users::LocalUsers, roles::Access, shares::Place,
};
use crate::operators::Role;

/// Response metadata with the request's id, as the log has it.
const REQUEST_ID: &str = "x-request-id";
/// Longest method path shown in the log; ours are far shorter.
const PATH_SHOWN: usize = 80;

/// Ids that are unique to a process and tell processes apart.
pub(super) struct RequestIds {
    process: u32,
    next: AtomicU64,
}

/// One request's id.
#[derive(Debug, Clone, Copy)]
pub(super) struct RequestId(u32, u64);

impl RequestIds {
    pub(super) fn new(rng: &dyn ring::rand::SecureRandom) -> Self {
        let mut process = [0; 4];
        // Without randomness ids of two processes may look alike; no more.
        let _ = rng.fill(&mut process);
        Self {
            process: u32::from_be_bytes(process),
            next: AtomicU64::new(1),
        }
    }

    pub(super) fn next(&self) -> RequestId {
        RequestId(self.process, self.next.fetch_add(1, Ordering::Relaxed))
    }
}

impl fmt::Display for RequestId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:08x}-{:x}", self.0, self.1)
    }
}

/// Makes [`Gated`] services.
#[derive(Clone)]
pub(super) struct Gate {
    ids: Arc<RequestIds>,
    door: Door,
}

/// Where requests come from.
#[derive(Clone)]
enum Door {
    /// Gateways, or whoever says so: counted.
    Network {
        shared: Arc<Shared>,
        requests: Arc<Semaphore>,
    },
    /// People on the admin socket: known by the kernel's word.
    Local {
        shared: Arc<Shared>,
        users: Arc<LocalUsers>,
        patience: Duration,
    },
    /// People with certificates: on record, and counted.
    Operators {
        shared: Arc<Shared>,
        requests: Arc<Semaphore>,
        patience: Duration,
    },
}

/// Places that a request holds while it is under way.
enum Places {
    Network {
        _of_address: OwnedSemaphorePermit,
        _of_all: OwnedSemaphorePermit,
    },
    Local {
        _of_user: Place<u32>,
    },
}

impl Gate {
    /// For the network: at most `requests` under way.
    pub(super) fn network(ids: Arc<RequestIds>, shared: Arc<Shared>, requests: usize) -> Self {
        Self {
            ids,
            door: Door::Network {
                shared,
                requests: Arc::new(Semaphore::new(requests)),
            },
        }
    }

    /// For the admin socket. An act is given up after `patience`.
    pub(super) fn local(
        ids: Arc<RequestIds>,
        shared: Arc<Shared>,
        users: Arc<LocalUsers>,
        patience: Duration,
    ) -> Self {
        Self {
            ids,
            door: Door::Local {
                shared,
                users,
                patience,
            },
        }
    }

    /// For operators: at most `requests` under way. An act is given up after
    /// `patience`.
    pub(super) fn operators(
        ids: Arc<RequestIds>,
        shared: Arc<Shared>,
        requests: usize,
        patience: Duration,
    ) -> Self {
        Self {
            ids,
            door: Door::Operators {
                shared,
                requests: Arc::new(Semaphore::new(requests)),
                patience,
            },
        }
    }
}

impl<S> Layer<S> for Gate {
    type Service = Gated<S>;

    fn layer(&self, inner: S) -> Gated<S> {
        Gated {
            inner,
            gate: self.clone(),
        }
    }
}

/// A service behind the gate.
#[derive(Clone)]
pub(super) struct Gated<S> {
    inner: S,
    gate: Gate,
}

impl<S> Service<Request<Body>> for Gated<S>
where
    S: Service<Request<Body>, Response = Response<Body>, Error = Infallible>
        + Clone
        + Send
        + 'static,
    S::Future: Send,
{
    type Response = Response<Body>;
    type Error = Infallible;
    type Future = Pin<Box<dyn Future<Output = Result<Response<Body>, Infallible>> + Send>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        // The clone that was polled ready does the call (tower's rule).
        let ready = self.inner.clone();
        let inner = std::mem::replace(&mut self.inner, ready);
        let id = self.gate.ids.next();
        let span = span(id, &request);
        let passing = pass(self.gate.clone(), inner, request, id).instrument(span);
        // What people ask for is answered, or refused and recorded, also where
        // nobody waits for it any more (a deadline of a nanosecond, a cut).
        match self.gate.door.patience() {
            None => Box::pin(passing),
            Some(_) => {
                let passed = tokio::spawn(passing);
                Box::pin(async {
                    passed.await.unwrap_or_else(|error| {
                        error!(%error, "an admin call ended early");
                        let told = "a fault of the verifier; its log has more";
                        Ok(Status::internal(told).into_http())
                    })
                })
            }
        }
    }
}

/// The path is the peer's: shown escaped and cut.
fn span(id: RequestId, request: &Request<Body>) -> tracing::Span {
    let path: String = request
        .uri()
        .path()
        .escape_debug()
        .take(PATH_SHOWN)
        .collect();
    let remote = request
        .extensions()
        .get::<ConnectionInfo>()
        .map(|c| c.remote.to_string());
    info_span!("request", %id, method = %path, remote = remote.as_deref().unwrap_or("local"))
}

async fn pass<S>(
    gate: Gate,
    mut inner: S,
    mut request: Request<Body>,
    id: RequestId,
) -> Result<Response<Body>, Infallible>
where
    S: Service<Request<Body>, Response = Response<Body>, Error = Infallible>,
{
    let began = Instant::now();
    let path = request.uri().path().to_owned();
    let mut caller = None;
    let mut response = match gate.door.admit(&mut request).await {
        // The places are held until the answer is there: the body has been
        // read by then, and unary answers are small.
        Ok(_places) => {
            caller = request.extensions().get::<Caller>().cloned();
            let answer = inner.call(request);
            match gate.door.patience() {
                None => answer.await?,
                Some(patience) => match tokio::time::timeout(patience, answer).await {
                    Ok(answer) => answer?,
                    Err(_) => Status::cancelled("the call took too long").into_http(),
                },
            }
        }
        Err(refusal) => {
            if let Some(shared) = gate.door.admin() {
                acts::refused_at_the_gate(shared, &path, &refusal).await;
            }
            gate.door.refused(refusal).into_http()
        }
    };
    let status = Status::from_header_map(response.headers());
    let code = status.as_ref().map_or(tonic::Code::Ok, Status::code);
    if let (Some(caller), Some(shared), Some(status)) = (caller, gate.door.admin(), status)
        && code != tonic::Code::Ok
        && matches!(Access::of(&path), Some(Access::Person(needed)) if needed > Role::Viewer)
    {
        acts::refused(shared, &path, caller.name(), status.message()).await;
    }
    info!(?code, milliseconds = began.elapsed().as_millis(), "done");
    if let Ok(value) = HeaderValue::from_str(&id.to_string()) {
        response.headers_mut().insert(REQUEST_ID, value);
    }
    Ok(response)
}

impl Door {
    /// Lets a request in, or not. A method without a row is let in nowhere, and
    /// each door has its own.
    async fn admit(&self, request: &mut Request<Body>) -> Result<Places, Refusal> {
        let access = Access::of(request.uri().path()).ok_or(Refusal::NotServed)?;
        match (self, access) {
            (Self::Network { shared, requests }, Access::Anyone | Access::Gateway) => {
                let connection = connection(request)?;
                shared.limits.address(connection.address.key())?;
                in_force(shared, access, &connection)?;
                places(requests, &connection)
            }
            (Self::Local { users, .. }, Access::Person(needed)) => {
                let peer = request
                    .extensions()
                    .get::<UdsConnectInfo>()
                    .and_then(|info| info.peer_cred);
                let caller = Caller::of_unix_peer(users.roles(), peer)?;
                caller.may(needed)?;
                request.extensions_mut().insert(caller);
                Ok(Places::Local {
                    _of_user: users.request(peer)?,
                })
            }
            (
                Self::Operators {
                    shared, requests, ..
                },
                Access::Person(needed),
            ) => {
                let connection = connection(request)?;
                shared.limits.address(connection.address.key())?;
                let places = places(requests, &connection)?;
                let caller = Caller::of_certificate(shared, connection.client_certificate).await?;
                caller.may(needed)?;
                request.extensions_mut().insert(caller);
                Ok(places)
            }
            (Self::Network { .. }, Access::Person(_))
            | (Self::Local { .. } | Self::Operators { .. }, Access::Anyone | Access::Gateway) => {
                Err(Refusal::NotServed)
            }
        }
    }

    /// How long an act may take, where this is a door for people.
    fn patience(&self) -> Option<Duration> {
        match self {
            Self::Network { .. } => None,
            Self::Local { patience, .. } | Self::Operators { patience, .. } => Some(*patience),
        }
    }

    /// What acts are recorded with, where this is a door for people.
    fn admin(&self) -> Option<&Arc<Shared>> {
        match self {
            Self::Network { .. } => None,
            Self::Local { shared, .. } | Self::Operators { shared, .. } => Some(shared),
        }
    }

    fn refused(&self, refusal: Refusal) -> Status {
        match self {
            Self::Network { .. } => refusal.into_status(),
            Self::Local { .. } | Self::Operators { .. } => refusal.into_admin_status(),
        }
    }
}

fn connection(request: &Request<Body>) -> Result<ConnectionInfo, Refusal> {
    request
        .extensions()
        .get::<ConnectionInfo>()
        .cloned()
        .ok_or_else(|| Refusal::Internal("a request without a connection".to_owned()))
}

/// With a revoked or ended LDevID nothing is done, also what anybody may.
/// (Attestation asks the store, and says more exactly why not.)
fn in_force(shared: &Shared, access: Access, connection: &ConnectionInfo) -> Result<(), Refusal> {
    match &connection.ldevid {
        Some(ldevid) if access == Access::Anyone && ldevid.live.cut().is_cancelled() => {
            Err(Refusal::RevokedLdevid)
        }
        Some(ldevid) if ldevid.not_after < shared.clock.now() => {
            Err(Refusal::ExpiredLdevid(ldevid.not_after.to_string()))
        }
        None if access == Access::Gateway => Err(Refusal::NoLdevid),
        Some(_) | None => Ok(()),
    }
}

fn places(requests: &Arc<Semaphore>, connection: &ConnectionInfo) -> Result<Places, Refusal> {
    let of_address = connection.address.request().ok_or(Refusal::Overloaded(
        "the address has its fill of requests under way",
    ))?;
    let of_all = Arc::clone(requests)
        .try_acquire_owned()
        .map_err(|_| Refusal::Overloaded("too many requests under way"))?;
    Ok(Places::Network {
        _of_address: of_address,
        _of_all: of_all,
    })
}
