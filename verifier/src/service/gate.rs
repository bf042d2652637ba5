//! The gate: what every request passes before its body is read. Gives it an
//! id, counts it, and bounds how many are under way.

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
    time::Instant,
};

use http::{HeaderValue, Request, Response};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tonic::{Status, body::Body};
use tower::{Layer, Service};
use tracing::{Instrument as _, info, info_span};

use super::{Shared, acceptor::ConnectionInfo, error::Refusal};

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
    /// The owner on the admin socket: not counted.
    Local,
}

/// Places that a request holds while it is under way.
type Places = Option<(OwnedSemaphorePermit, OwnedSemaphorePermit)>;

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

    /// For the admin socket.
    pub(super) fn local(ids: Arc<RequestIds>) -> Self {
        Self {
            ids,
            door: Door::Local,
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
        Box::pin(pass(self.gate.clone(), inner, request, id).instrument(span))
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
    request: Request<Body>,
    id: RequestId,
) -> Result<Response<Body>, Infallible>
where
    S: Service<Request<Body>, Response = Response<Body>, Error = Infallible>,
{
    let began = Instant::now();
    let places = admit(&gate, &request);
    let mut response = match places {
        // The places are held until the answer is there: the body has been
        // read by then, and unary answers are small.
        Ok(_places) => inner.call(request).await?,
        Err(refusal) => refusal.into_status().into_http(),
    };
    let code = Status::from_header_map(response.headers()).map_or(tonic::Code::Ok, |s| s.code());
    info!(?code, milliseconds = began.elapsed().as_millis(), "done");
    if let Ok(value) = HeaderValue::from_str(&id.to_string()) {
        response.headers_mut().insert(REQUEST_ID, value);
    }
    Ok(response)
}

fn admit(gate: &Gate, request: &Request<Body>) -> Result<Places, Refusal> {
    let Door::Network { shared, requests } = &gate.door else {
        return Ok(None);
    };
    let connection = request
        .extensions()
        .get::<ConnectionInfo>()
        .ok_or_else(|| Refusal::Internal("a request without a connection".to_owned()))?;
    shared.limits.address(connection.address.key())?;
    let of_address = connection.address.request().ok_or(Refusal::Overloaded(
        "the address has its fill of requests under way",
    ))?;
    let of_all = Arc::clone(requests)
        .try_acquire_owned()
        .map_err(|_| Refusal::Overloaded("too many requests under way"))?;
    Ok(Some((of_address, of_all)))
}
