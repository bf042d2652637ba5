//! Who is on the admin socket, and how much of it each local user may have:
//! connections, and requests under way.

use std::{
    io,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
};

use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    net::{UnixListener, UnixStream, unix::UCred},
};
use tokio_stream::{Stream, StreamExt as _, wrappers::UnixListenerStream};
use tonic::transport::server::{Connected, UdsConnectInfo};
use tracing::warn;

use super::{
    error::Refusal,
    shares::{Full, Place, Shares},
};
use crate::operators::{Role, UnixRoles};

/// Connections: each command is one, and scripts run many.
const CONNECTIONS: usize = 256;
/// Of one user.
const CONNECTIONS_OF_USER: usize = 64;
/// Requests under way. A request may have 16 MiB.
const REQUESTS: usize = 32;
/// Of one user.
const REQUESTS_OF_USER: usize = 16;

/// Places of one kind of user.
struct Class {
    connections: Arc<Shares<u32>>,
    requests: Arc<Shares<u32>>,
}

impl Class {
    fn new() -> Self {
        Self {
            connections: Shares::new(CONNECTIONS, CONNECTIONS_OF_USER),
            requests: Shares::new(REQUESTS, REQUESTS_OF_USER),
        }
    }
}

/// Local users: their roles and their places. Admins have places of their own:
/// nobody of a lower role, or of none, keeps them out.
pub(super) struct LocalUsers {
    roles: UnixRoles,
    admins: Class,
    others: Class,
}

impl LocalUsers {
    pub(super) fn new(roles: UnixRoles) -> Arc<Self> {
        Arc::new(Self {
            roles,
            admins: Class::new(),
            others: Class::new(),
        })
    }

    pub(super) fn roles(&self) -> &UnixRoles {
        &self.roles
    }

    /// A place for one request of this peer.
    ///
    /// # Errors
    /// [`Refusal::Overloaded`] where there is none.
    pub(super) fn request(&self, peer: Option<UCred>) -> Result<Place<u32>, Refusal> {
        // The gate has refused whoever the kernel says nothing of.
        let peer = peer.ok_or_else(|| Refusal::NoRole("a peer without credentials".to_owned()))?;
        let class = self.class(peer.uid(), peer.gid());
        class.requests.take(&peer.uid()).map_err(|full| {
            Refusal::Overloaded(match full {
                Full::Share => "the user has its fill of requests under way",
                Full::All => "too many requests under way",
            })
        })
    }

    /// Connections, as far as there are places. Those beyond end at once: that
    /// is the cheapest refusal there is.
    pub(super) fn accept(
        self: Arc<Self>,
        listener: UnixListener,
    ) -> impl Stream<Item = io::Result<LocalConnection>> {
        UnixListenerStream::new(listener).filter_map(move |accepted| {
            let admitted = accepted.and_then(|stream| self.admit(stream));
            admitted.transpose()
        })
    }

    fn admit(&self, stream: UnixStream) -> io::Result<Option<LocalConnection>> {
        // Gone already: the system says nothing of it.
        let Ok(peer) = stream.peer_cred() else {
            return Ok(None);
        };
        let class = self.class(peer.uid(), peer.gid());
        match class.connections.take(&peer.uid()) {
            Ok(place) => Ok(Some(LocalConnection {
                stream,
                _place: place,
            })),
            Err(full) => {
                warn!(uid = peer.uid(), ?full, "no place on the admin socket");
                Ok(None)
            }
        }
    }

    fn class(&self, uid: u32, gid: u32) -> &Class {
        match self.roles.of(uid, gid) {
            Some(Role::Admin) => &self.admins,
            Some(Role::Operator | Role::Viewer) | None => &self.others,
        }
    }
}

/// A connection of a local user; its place is given back when dropped.
pub(super) struct LocalConnection {
    stream: UnixStream,
    _place: Place<u32>,
}

impl Connected for LocalConnection {
    type ConnectInfo = UdsConnectInfo;

    fn connect_info(&self) -> UdsConnectInfo {
        self.stream.connect_info()
    }
}

impl AsyncRead for LocalConnection {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(cx, buf)
    }
}

impl AsyncWrite for LocalConnection {
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
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    #[test]
    fn adv_a21_admins_have_places_that_nobody_else_can_take() {
        let entries = BTreeMap::from([("gid:50".to_owned(), "viewer".to_owned())]);
        let users = LocalUsers::new(UnixRoles::parse(990, &entries).unwrap());
        let mut held = Vec::new();
        for uid in 1000..2000 {
            while let Ok(place) = users.class(uid, 50).requests.take(&uid) {
                held.push(place);
            }
        }
        assert_eq!(held.len(), REQUESTS);
        for admin in [0, 990] {
            assert!(users.class(admin, 50).requests.take(&admin).is_ok());
        }
    }
}
