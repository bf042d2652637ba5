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
mod acts;
mod addresses;
mod admin;
mod admin_socket;
mod allow_lists;
mod attestation;
mod caller;
mod convert;
mod drift;
mod endorsements;
mod enrollment;
mod error;
mod gate;
mod ground;
mod heartbeat;
mod keys;
mod limits;
mod local_users;
mod one_tpm;
mod operators_door;
mod policies;
mod publication;
mod references;
mod revocation;
mod roles;
mod seal_approvals;
mod secrets;
mod server;
mod shares;
mod silence;
mod sweeping;
#[cfg(test)]
mod tests;
mod tls;
mod verdict;
mod webhooks;

use std::sync::Arc;

use holdfast_proto::{result::Form, tpm::Name};
use ring::rand::SystemRandom;
use tokio_util::sync::CancellationToken;

use crate::{
    exchange::{Class, Verifier},
    identity::{Issuer, ResultKey},
    operators::OperatorsCa,
    secrets::Keks,
    silence::SilenceRules,
    store::{PendingBounds, Store},
    swap::Swap,
    time::UnixTime,
};

pub use admin::build_oems;
pub use admin_socket::SocketError;
pub use allow_lists::AllowLists;
pub use endorsements::{EndorsementLoadError, Endorsements};
pub use error::Refusal;
pub use heartbeat::Heartbeats;
pub use keys::{BY_START, Ending, KeyDesk, KeyError, Reloaded, endings, named};
pub use limits::{LimitSettings, Limits};
pub use operators_door::OperatorsDoor;
pub use policies::{Policies, PolicyLoadError};
pub use publication::PublicationSettings;
pub use references::References;
pub use revocation::RevocationView;
pub use seal_approvals::SealApprovals;
pub use secrets::rewrap as rewrap_secrets;
pub use server::{
    CLOSE_TIMEOUT, HANDSHAKE_TIMEOUT, IDLE_TIMEOUT, Listening, ServeError, Server, ServerSettings,
};
pub use tls::{TlsError, TlsFiles, operators_tls, server_config};
pub use webhooks::{
    BadSecret, BadWebhookUrl, Webhook, WebhookSecret, WebhookTlsError, WebhookUrl, webhook_tls,
};

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

/// Gateways that nobody admitted may wait for a person.
#[derive(Debug, Clone)]
pub struct ApprovalQueue {
    /// The class that they are proposed for.
    pub class: Class,
    /// How many may wait.
    pub bounds: PendingBounds,
    /// Seconds until one that does not ask again is forgotten.
    pub seconds: i64,
}

/// What all handlers share.
pub struct Shared {
    /// The pure core.
    pub verifier: Verifier,
    /// Issues LDevIDs.
    pub issuer: Issuer,
    /// Signs attestation results.
    pub result_key: Swap<ResultKey>,
    /// How they are written.
    pub ear_form: Form,
    /// What is remembered.
    pub store: Arc<dyn Store>,
    /// The appraisal policy on record; the one in use is the verifier's.
    pub policies: Policies,
    /// Endorsements on record; those in use are the verifier's.
    pub endorsements: Endorsements,
    /// Reference values by class.
    pub references: References,
    /// Allow lists by class.
    pub allow_lists: AllowLists,
    /// By when gateways attest and beat.
    pub silence: SilenceRules,
    /// Gateways that beat.
    pub heartbeats: Arc<Heartbeats>,
    /// Cancelled when the server ends: streams end then.
    pub ending: CancellationToken,
    /// Which LDevIDs are revoked, for the acceptor.
    pub revocations: Arc<RevocationView>,
    /// Approvals for sealing, by class.
    pub seal_approvals: SealApprovals,
    /// Encrypt secrets for gateways at rest.
    pub secrets: Swap<Keks>,
    /// What peers may cost.
    pub limits: Limits,
    /// Replaces keys.
    pub keys: KeyDesk,
    /// The clock.
    pub clock: Clock,
    /// Randomness.
    pub rng: SystemRandom,
    /// For bundles.
    pub bundle: BundleFacts,
    /// The approval queue, where there is one.
    pub approval: Option<ApprovalQueue>,
    /// Whose certificates operators may have; none where there is no such CA.
    pub operators_ca: Option<OperatorsCa>,
}
