//! Service: gRPC over our own TLS 1.3 acceptor.
//!
//! Handlers decode, ask `exchange`, record in the `store`, and answer; what
//! goes wrong is told once, in `error`. Before a handler is reached, a
//! request has passed the acceptor (`acceptor`: connections, handshakes) and
//! the gate (`gate`: requests per address, requests in all). Before any
//! public-key work a gateway has been admitted and counted (`limits`).
//!
//! ```text
//! TCP ─acceptor─► TLS 1.3 ─h2─► gate ─► handler ─limits─► exchange (crypto pool) ─► store ─► answer
//! ```

mod acceptor;
mod addresses;
mod admin;
mod admin_socket;
mod allow_lists;
mod attestation;
mod convert;
mod drift;
mod enrollment;
mod error;
mod gate;
mod limits;
mod policies;
mod references;
mod server;
#[cfg(test)]
mod tests;
mod tls;
mod verdict;

use std::sync::Arc;

use holdfast_proto::{result::Form, tpm::Name};
use ring::rand::SystemRandom;

use crate::{
    exchange::Verifier,
    identity::{Issuer, ResultKey},
    store::Store,
    time::UnixTime,
};

pub use admin::build_anchors;
pub use admin_socket::SocketError;
pub use allow_lists::AllowLists;
pub use error::Refusal;
pub use limits::{LimitSettings, Limits};
pub use policies::{Policies, PolicyLoadError};
pub use references::References;
pub use server::{HANDSHAKE_TIMEOUT, IDLE_TIMEOUT, Listening, ServeError, Server, ServerSettings};
pub use tls::{TlsError, TlsFiles, server_config};

/// What bundles say about this server.
#[derive(Debug, Clone)]
pub struct BundleFacts {
    /// DER of the CA that the server's certificate chains to.
    pub server_ca: Vec<u8>,
    /// Names in the server's certificate, at least one.
    pub server_names: Vec<String>,
    /// Name of the policy root.
    pub policy_root: Name,
}

/// Where the time comes from: the one clock of the service.
#[derive(Clone)]
pub struct Clock(Arc<dyn Fn() -> UnixTime + Send + Sync>);

impl Clock {
    /// The system's clock.
    #[must_use]
    pub fn system() -> Self {
        Self::from_fn(|| {
            let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
            // A clock before 1970 is no clock: nothing is valid then.
            let seconds = since.map_or(0, |d| i64::try_from(d.as_secs()).unwrap_or(i64::MAX));
            UnixTime::from_seconds(seconds)
        })
    }

    /// A clock that asks `now`.
    #[must_use]
    pub fn from_fn(now: impl Fn() -> UnixTime + Send + Sync + 'static) -> Self {
        Self(Arc::new(now))
    }

    /// The time.
    #[must_use]
    pub fn now(&self) -> UnixTime {
        (self.0)()
    }
}

impl std::fmt::Debug for Clock {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Clock")
    }
}

/// What all handlers share.
pub struct Shared {
    /// The pure core.
    pub verifier: Verifier,
    /// Issues LDevIDs.
    pub issuer: Issuer,
    /// Signs attestation results.
    pub result_key: ResultKey,
    /// How they are written.
    pub ear_form: Form,
    /// What is remembered.
    pub store: Arc<dyn Store>,
    /// The appraisal policy on record; the one in use is the verifier's.
    pub policies: Policies,
    /// Reference values by class.
    pub references: References,
    /// Allow lists by class.
    pub allow_lists: AllowLists,
    /// What peers may cost.
    pub limits: Limits,
    /// The clock.
    pub clock: Clock,
    /// Randomness.
    pub rng: SystemRandom,
    /// For bundles.
    pub bundle: BundleFacts,
}
