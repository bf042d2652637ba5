//! The HTTP/1.1 door: places counted before anything is read, little time for
//! everything, and no method but those that read.

use std::{convert::Infallible, sync::Arc, time::Duration};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use governor::{Quota, RateLimiter};
use http_body_util::{BodyExt as _, Full, LengthLimitError, Limited};
use hyper::{
    HeaderMap, Method, Request, Response, StatusCode,
    body::{Bytes, Incoming},
    header::{
        ALLOW, CACHE_CONTROL, CONTENT_TYPE, ETAG, EXPIRES, HeaderName, HeaderValue, LAST_MODIFIED,
        RETRY_AFTER, X_CONTENT_TYPE_OPTIONS,
    },
    server::conn::http1,
    service::service_fn,
};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::{net::TcpListener, sync::Semaphore, time::timeout};
use tracing::{debug, warn};

use super::{
    PublicationSettings,
    conditional::{http_date, is_known},
    ocsp::{Answer, Ocsp},
    shelf::{Item, Shelf},
};
use crate::{
    identity::{
        OCSP_PATH,
        ocsp::{MAX_OCSP_REQUEST, OcspError},
    },
    service::{
        Shared,
        addresses::{AddressKey, Addresses, Share},
        limits::{Keyed, ONE, count},
    },
    store::Seconds,
};

/// A request's head: its line and headers. A GET of the longest OCSP request
/// that is of any use has under 1 KiB.
const HEAD_MAX: usize = 8 * 1024;
const HEADERS_MAX: usize = 32;
/// For the head of a request, the first and those after it.
const HEAD_TIMEOUT: Duration = Duration::from_secs(10);
/// For the body of a request, and for its answer.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(10);
/// For a connection in all: a large CRL over a slow line, and then places go
/// round.
const CONNECTION_TIMEOUT: Duration = Duration::from_secs(120);
/// One address gets this share of the connections.
const ADDRESS_SHARE: usize = 4;
/// After a failure to accept (out of file descriptors).
const ACCEPT_BACKOFF: Duration = Duration::from_millis(200);

const OCSP_REQUEST_TYPE: &str = "application/ocsp-request";
const OCSP_RESPONSE_TYPE: &str = "application/ocsp-response";
const READING: &str = "GET, HEAD";
const ASKING: &str = "GET, HEAD, POST";

type Reply = Response<Full<Bytes>>;

/// What all connections share.
pub(super) struct Door {
    shared: Arc<Shared>,
    shelf: Arc<Shelf>,
    ocsp: Ocsp,
    cache_seconds: Seconds,
    rates: Keyed<AddressKey>,
}

/// Accepts for ever.
pub(super) async fn serve(listener: TcpListener, door: Arc<Door>, connections: usize) {
    let places = Arc::new(Semaphore::new(connections.min(Semaphore::MAX_PERMITS)));
    let of_address = (connections / ADDRESS_SHARE).max(1);
    let addresses = Addresses::new(Share {
        connections: u32::try_from(of_address).unwrap_or(u32::MAX),
        handshakes: 1,
        requests: of_address,
    });
    loop {
        let (tcp, remote) = match listener.accept().await {
            Ok(accepted) => accepted,
            Err(error) => {
                warn!(%error, "cannot accept connections");
                tokio::time::sleep(ACCEPT_BACKOFF).await;
                continue;
            }
        };
        let key = AddressKey::from(remote.ip());
        let Ok(place) = Arc::clone(&places).try_acquire_owned() else {
            debug!(%remote, "refused: no place for another connection");
            continue;
        };
        let Some(address) = addresses.enter(key) else {
            debug!(%remote, "refused: the address has its fill of connections");
            continue;
        };
        let door = Arc::clone(&door);
        tokio::spawn(async move {
            let _places = (place, address);
            let service = service_fn(move |request| {
                let door = Arc::clone(&door);
                async move { Ok::<_, Infallible>(door.reply(request, key).await) }
            });
            let connection = http1::Builder::new()
                .timer(TokioTimer::new())
                .header_read_timeout(HEAD_TIMEOUT)
                .max_buf_size(HEAD_MAX)
                .max_headers(HEADERS_MAX)
                .serve_connection(TokioIo::new(tcp), service);
            match timeout(CONNECTION_TIMEOUT, connection).await {
                Ok(Ok(())) => {}
                Ok(Err(error)) => debug!(%remote, %error, "HTTP"),
                Err(_) => debug!(%remote, "the connection had its time"),
            }
        });
    }
}

impl Door {
    pub(super) fn new(
        shared: Arc<Shared>,
        shelf: Arc<Shelf>,
        ocsp: Ocsp,
        settings: PublicationSettings,
    ) -> Self {
        let per_minute = settings.requests_per_minute_per_address;
        Self {
            shared,
            shelf,
            ocsp,
            cache_seconds: settings.cache_seconds,
            rates: RateLimiter::keyed(Quota::per_minute(per_minute)),
        }
    }

    async fn reply(&self, request: Request<Incoming>, from: AddressKey) -> Reply {
        if count(&self.rates, &from, ONE, "requests of the address").is_err() {
            return with(
                plain(StatusCode::TOO_MANY_REQUESTS, "too many requests\n"),
                RETRY_AFTER,
                "60",
            );
        }
        let head = *request.method() == Method::HEAD;
        let mut reply = match timeout(ANSWER_TIMEOUT, self.answer(request)).await {
            Ok(reply) => reply,
            Err(_) => plain(StatusCode::REQUEST_TIMEOUT, "too slow\n"),
        };
        if head {
            // hyper keeps the length of a body that it does not send.
            let length = HeaderValue::from(body_length(&reply));
            *reply.body_mut() = Full::default();
            reply
                .headers_mut()
                .insert(hyper::header::CONTENT_LENGTH, length);
        }
        reply
    }

    async fn answer(&self, request: Request<Incoming>) -> Reply {
        // As a proxy hands it on, with the path of a public URL or without; the
        // longest that fits, as one may begin with another.
        let path = request.uri().path().to_owned();
        let urls = self.shared.issuer.public_urls();
        let path = urls
            .filter_map(|url| path.strip_prefix(url.path()))
            .filter(|rest| rest.starts_with('/'))
            .min_by_key(|rest| rest.len())
            .unwrap_or(&path);
        let reads = matches!(*request.method(), Method::GET | Method::HEAD);
        if let Some(rest) = path.strip_prefix(OCSP_PATH) {
            return match (rest.strip_prefix('/'), request.method()) {
                (Some(encoded), _) if reads && !encoded.is_empty() => {
                    self.ocsp_get(encoded, request.headers()).await
                }
                (None, &Method::POST) if rest.is_empty() => self.ocsp_post(request).await,
                (Some(""), &Method::POST) => self.ocsp_post(request).await,
                (Some(_), _) => not_allowed(ASKING),
                (None, _) if rest.is_empty() => not_allowed(ASKING),
                (None, _) => not_found(),
            };
        }
        let Some(item) = self.shelf.get(path) else {
            return not_found();
        };
        if !reads {
            return not_allowed(READING);
        }
        let now = self.shared.clock.now().seconds();
        if item.expires <= now {
            // Whoever needs it learns more from its absence.
            return with(
                plain(StatusCode::SERVICE_UNAVAILABLE, "not up to date\n"),
                RETRY_AFTER,
                "10",
            );
        }
        self.hand_out(&item, request.headers(), now)
    }

    fn hand_out(&self, item: &Item, headers: &HeaderMap, now: Seconds) -> Reply {
        let mut reply = if is_known(headers, item) {
            let mut reply = Response::new(Full::default());
            *reply.status_mut() = StatusCode::NOT_MODIFIED;
            reply
        } else {
            let mut reply = Response::new(Full::new(item.body.clone()));
            insert(&mut reply, CONTENT_TYPE, item.content_type);
            reply
        };
        let age = item
            .expires
            .saturating_sub(now)
            .clamp(0, self.cache_seconds);
        let control = format!("public, max-age={age}, must-revalidate, no-transform");
        insert(&mut reply, CACHE_CONTROL, &control);
        insert(&mut reply, ETAG, &item.etag);
        if let Some(date) = http_date(item.last_modified) {
            insert(&mut reply, LAST_MODIFIED, &date);
        }
        if let Some(date) = http_date(now.saturating_add(age)) {
            insert(&mut reply, EXPIRES, &date);
        }
        insert(&mut reply, X_CONTENT_TYPE_OPTIONS, "nosniff");
        reply
    }

    /// RFC 6960 appendix A.1: the request in base64, percent-encoded.
    async fn ocsp_get(&self, encoded: &str, headers: &HeaderMap) -> Reply {
        let request = percent_decoded(encoded).and_then(|text| STANDARD.decode(text).ok());
        let answer = match request {
            Some(request) => self.ocsp.answer(&request).await,
            None => OcspError::MalformedRequest.into(),
        };
        let Some((from, to)) = answer.counts else {
            return ocsp_reply(answer);
        };
        let item = Item::new(answer.der.to_vec(), OCSP_RESPONSE_TYPE, from, to);
        self.hand_out(&item, headers, self.shared.clock.now().seconds())
    }

    async fn ocsp_post(&self, request: Request<Incoming>) -> Reply {
        let is_ocsp = request
            .headers()
            .get(CONTENT_TYPE)
            .and_then(|value| value.to_str().ok())
            .and_then(|value| value.split(';').next())
            .is_some_and(|value| value.trim().eq_ignore_ascii_case(OCSP_REQUEST_TYPE));
        if !is_ocsp {
            return plain(
                StatusCode::UNSUPPORTED_MEDIA_TYPE,
                "send application/ocsp-request\n",
            );
        }
        let body = Limited::new(request.into_body(), MAX_OCSP_REQUEST);
        match body.collect().await {
            Ok(body) => ocsp_reply(self.ocsp.answer(&body.to_bytes()).await),
            Err(error) if error.is::<LengthLimitError>() => {
                plain(StatusCode::PAYLOAD_TOO_LARGE, "too long\n")
            }
            Err(_) => plain(StatusCode::BAD_REQUEST, "broken off\n"),
        }
    }
}

/// An OCSP answer that is of one request alone.
fn ocsp_reply(answer: Answer) -> Reply {
    let mut reply = Response::new(Full::new(answer.der));
    insert(&mut reply, CONTENT_TYPE, OCSP_RESPONSE_TYPE);
    insert(&mut reply, CACHE_CONTROL, "no-store");
    reply
}

fn plain(status: StatusCode, text: &'static str) -> Reply {
    let mut reply = Response::new(Full::new(Bytes::from_static(text.as_bytes())));
    *reply.status_mut() = status;
    insert(&mut reply, CONTENT_TYPE, "text/plain");
    insert(&mut reply, CACHE_CONTROL, "no-store");
    reply
}

fn not_found() -> Reply {
    plain(StatusCode::NOT_FOUND, "no such document\n")
}

fn not_allowed(allowed: &'static str) -> Reply {
    let reply = plain(StatusCode::METHOD_NOT_ALLOWED, "not allowed\n");
    with(reply, ALLOW, allowed)
}

fn with(mut reply: Reply, name: HeaderName, value: &'static str) -> Reply {
    insert(&mut reply, name, value);
    reply
}

fn insert(reply: &mut Reply, name: HeaderName, value: &str) {
    // Ours are ASCII; what is not would be left out, never sent broken.
    if let Ok(value) = HeaderValue::from_str(value) {
        reply.headers_mut().insert(name, value);
    }
}

fn body_length(reply: &Reply) -> u64 {
    hyper::body::Body::size_hint(reply.body())
        .exact()
        .unwrap_or(0)
}

/// RFC 3986 §2.1; none for a percent sign without two hex digits.
fn percent_decoded(text: &str) -> Option<Vec<u8>> {
    let mut out = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((first, tail)) = rest.split_first() {
        if *first == b'%' {
            let (digits, tail) = tail.split_at_checked(2)?;
            let mut byte = [0];
            hex::decode_to_slice(digits, &mut byte).ok()?;
            out.extend(byte);
            rest = tail;
        } else {
            out.push(*first);
            rest = tail;
        }
    }
    Some(out)
}
