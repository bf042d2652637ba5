//! From TCP to connections that tonic serves: TLS handshakes with a time
//! limit, places counted before anything is spent, and idle peers dropped.

use std::{
    io,
    net::SocketAddr,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use holdfast_proto::binding::EXPORTER_LABEL;
use rustls::ServerConfig;
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    net::{TcpListener, TcpStream},
    sync::{OwnedSemaphorePermit, Semaphore, mpsc},
    time::{Instant, Sleep, timeout},
};
use tokio_rustls::{TlsAcceptor, server::TlsStream};
use tokio_util::sync::WaitForCancellationFutureOwned;
use tonic::transport::server::Connected;
use tracing::{debug, warn};

use super::{
    addresses::{AddressKey, AddressPermit, Addresses},
    revocation::{Live, RevocationView},
    tls::ALPN_H2,
};
use crate::{endorsement::ShownCertificate, store::Sha256, swap::Swap, time::UnixTime};

/// After a failure to accept (out of file descriptors) the loop rests, or it
/// would spin.
const ACCEPT_BACKOFF: Duration = Duration::from_millis(200);
/// From the revocation of its LDevID to the end of a connection: half of the
/// second that docs/revocation.md promises.
const CUT_GRACE: Duration = Duration::from_millis(500);

/// What is known of a connection; in the extensions of each of its requests.
/// Not `Debug`: the exporter is for the claims alone.
#[derive(Clone)]
pub(super) struct ConnectionInfo {
    pub(super) remote: SocketAddr,
    /// TLS exporter (RFC 8446 §7.5) under [`EXPORTER_LABEL`], no context.
    pub(super) exporter: [u8; 32],
    /// SHA-256 of the certificate that the peer proved to hold the key of and
    /// that chains to the root, if it offered one.
    pub(super) client_certificate: Option<Sha256>,
    /// That certificate's standing since, and its end.
    pub(super) ldevid: Option<Arc<OfferedLdevid>>,
    pub(super) address: Arc<AddressPermit>,
}

/// A client certificate that was good at the handshake.
pub(super) struct OfferedLdevid {
    pub(super) live: Live,
    pub(super) not_after: UnixTime,
}

/// A connection after its handshake. Its places are given back when dropped.
pub(super) struct Connection {
    stream: TlsStream<TcpStream>,
    info: ConnectionInfo,
    patience: Duration,
    idle: Pin<Box<Sleep>>,
    cut: Option<Cut>,
    _place: OwnedSemaphorePermit,
}

/// Ends a connection whose client certificate is revoked. The gate lets nothing
/// in any more by then; what is under way gets [`CUT_GRACE`] to be answered: it
/// may be the very answer that says why.
enum Cut {
    Waiting(Pin<Box<WaitForCancellationFutureOwned>>),
    Ending(Pin<Box<Sleep>>),
}

impl Cut {
    fn is_due(&mut self, cx: &mut Context<'_>) -> bool {
        if let Self::Waiting(revoked) = self {
            if revoked.as_mut().poll(cx).is_pending() {
                return false;
            }
            *self = Self::Ending(Box::pin(tokio::time::sleep(CUT_GRACE)));
        }
        match self {
            Self::Ending(grace) => grace.as_mut().poll(cx).is_ready(),
            Self::Waiting(_) => false,
        }
    }
}

/// Places that the acceptor gives out.
pub(super) struct Places {
    pub(super) connections: Arc<Semaphore>,
    pub(super) handshakes: Arc<Semaphore>,
    pub(super) addresses: Arc<Addresses>,
}

/// How long the acceptor waits for a peer.
#[derive(Debug, Clone, Copy)]
pub(super) struct Patience {
    pub(super) handshake: Duration,
    pub(super) idle: Duration,
}

/// Accepts until the receiver of `ready` is gone.
pub(super) async fn accept(
    listener: TcpListener,
    config: Arc<Swap<ServerConfig>>,
    places: Places,
    patience: Patience,
    revocations: Arc<RevocationView>,
    ready: mpsc::Sender<io::Result<Connection>>,
) {
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            () = ready.closed() => return,
        };
        let (tcp, remote) = match accepted {
            Ok(accepted) => accepted,
            Err(error) => {
                warn!(%error, "cannot accept connections");
                tokio::time::sleep(ACCEPT_BACKOFF).await;
                continue;
            }
        };
        // Dropping the socket is the cheapest refusal there is.
        let Ok(place) = Arc::clone(&places.connections).try_acquire_owned() else {
            debug!(%remote, "refused: no place for another connection");
            continue;
        };
        let Some(address) = places.addresses.enter(AddressKey::from(remote.ip())) else {
            debug!(%remote, "refused: the address has its fill of connections");
            continue;
        };
        // Of the address first: one address alone can never take them all.
        let Some(of_address) = address.handshake() else {
            debug!(%remote, "refused: the address has its fill of handshakes");
            continue;
        };
        let Ok(of_all) = Arc::clone(&places.handshakes).try_acquire_owned() else {
            debug!(%remote, "refused: no place for another handshake");
            continue;
        };
        let acceptor = TlsAcceptor::from(config.get());
        let ready = ready.clone();
        let revocations = Arc::clone(&revocations);
        tokio::spawn(async move {
            let shake = shake(
                acceptor,
                tcp,
                remote,
                address,
                place,
                patience.idle,
                &revocations,
            );
            let result = timeout(patience.handshake, shake).await;
            drop((of_address, of_all));
            match result {
                Ok(Ok(connection)) => {
                    // Fails only while the server ends.
                    let _ = ready.send(Ok(connection)).await;
                }
                Ok(Err(error)) => debug!(%remote, %error, "TLS handshake failed"),
                Err(_) => debug!(%remote, "TLS handshake took too long"),
            }
        });
    }
}

async fn shake(
    acceptor: TlsAcceptor,
    tcp: TcpStream,
    remote: SocketAddr,
    address: AddressPermit,
    place: OwnedSemaphorePermit,
    patience: Duration,
    revocations: &Arc<RevocationView>,
) -> io::Result<Connection> {
    tcp.set_nodelay(true)?;
    let stream = acceptor.accept(tcp).await?;
    let (_, tls) = stream.get_ref();
    if tls.alpn_protocol() != Some(ALPN_H2) {
        return Err(io::Error::other("the peer does not speak HTTP/2 (ALPN h2)"));
    }
    let exporter = tls
        .export_keying_material([0; 32], EXPORTER_LABEL, None)
        .map_err(io::Error::other)?;
    let leaf = tls.peer_certificates().and_then(<[_]>::first);
    let client_certificate = leaf.map(|leaf| sha256(leaf.as_ref()));
    let ldevid = leaf
        .map(|leaf| offered(leaf.as_ref(), revocations))
        .transpose()?;
    let cut = ldevid.as_ref().map(|ldevid| {
        let revoked = ldevid.live.cut().clone().cancelled_owned();
        Cut::Waiting(Box::pin(revoked))
    });
    let address = Arc::new(address);
    Ok(Connection {
        stream,
        info: ConnectionInfo {
            remote,
            exporter,
            client_certificate,
            ldevid,
            address,
        },
        patience,
        idle: Box::pin(tokio::time::sleep(patience)),
        cut,
        _place: place,
    })
}

/// The handshake has judged it; between then and now it may have been revoked.
fn offered(leaf: &[u8], revocations: &Arc<RevocationView>) -> io::Result<Arc<OfferedLdevid>> {
    let live = revocations
        .enter(sha256(leaf))
        .ok_or_else(|| io::Error::other("the client certificate was revoked meanwhile"))?;
    let not_after = ShownCertificate::parse(leaf)
        .map_err(io::Error::other)?
        .not_after;
    Ok(Arc::new(OfferedLdevid { live, not_after }))
}

fn sha256(bytes: &[u8]) -> Sha256 {
    use sha2::Digest as _;
    sha2::Sha256::digest(bytes).into()
}

impl Connected for Connection {
    type ConnectInfo = ConnectionInfo;

    fn connect_info(&self) -> ConnectionInfo {
        self.info.clone()
    }
}

impl AsyncRead for Connection {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if self.cut.as_mut().is_some_and(|cut| cut.is_due(cx)) {
            return Poll::Ready(Err(io::Error::new(
                io::ErrorKind::ConnectionAborted,
                "the LDevID of the connection is revoked",
            )));
        }
        match Pin::new(&mut self.stream).poll_read(cx, buf) {
            Poll::Ready(result) => {
                let deadline = Instant::now() + self.patience;
                self.idle.as_mut().reset(deadline);
                Poll::Ready(result)
            }
            Poll::Pending => match self.idle.as_mut().poll(cx) {
                Poll::Ready(()) => Poll::Ready(Err(io::Error::new(
                    io::ErrorKind::TimedOut,
                    "the peer is idle",
                ))),
                Poll::Pending => Poll::Pending,
            },
        }
    }
}

impl AsyncWrite for Connection {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(cx, buf)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write_vectored(cx, bufs)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }
}
