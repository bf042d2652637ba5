//! Revocation as it is on record: in the order of revocations for the
//! acceptor, by scope for CRLs, by serial number for OCSP.

use async_trait::async_trait;
use tokio::sync::watch;

use super::{KeyId, Seconds, Sha256, StoreError};
use crate::identity::{CrlEntry, CrlPart, RevocationReason};

/// A certificate that is revoked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Revoked {
    /// SHA-256 of its DER.
    pub sha256: Sha256,
    /// End of its validity.
    pub not_after: Seconds,
}

/// What was revoked since some place in the order.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct RevokedSince {
    /// Those that have not ended.
    pub certificates: Vec<Revoked>,
    /// Where to go on from.
    pub place: u64,
}

/// Which certificates a CRL is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct CrlScope {
    /// Of which CA.
    pub issuer: KeyId,
    /// Which of its CRLs.
    pub part: CrlPart,
}

/// When a CRL is made, and how long it counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CrlTimes {
    /// Now.
    pub this_update: Seconds,
    /// A CRL that is made this long after the last regular one is regular
    /// itself, whatever brought it about (RFC 5280 §3.3).
    pub regular_every: Seconds,
}

/// A CRL whose number is taken, to be signed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CrlDraft {
    /// cRLNumber.
    pub number: u64,
    /// Who is on it.
    pub entries: Vec<CrlEntry>,
    /// Everything revoked up to this place in the order is on it.
    pub place: u64,
}

/// What is on record of a certificate.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Issued {
    /// It is not revoked.
    Good,
    /// It is.
    Revoked {
        /// When.
        at: Seconds,
        /// Why.
        reason: RevocationReason,
    },
}

/// What the service asks about revocation.
#[async_trait]
pub trait Revocations: Send + Sync {
    /// Certificates revoked after `place` (0: all) that end at `now` or later.
    async fn revoked_since(&self, place: u64, now: Seconds) -> Result<RevokedSince, StoreError>;

    /// Told after each commit of this process that changed the state of a
    /// gateway. What another process writes is seen by asking again.
    fn changed(&self) -> watch::Receiver<()>;

    /// Says of certificates from before there was a record of it that this CA
    /// issued them. Returns how many there were.
    async fn adopt_certificates(&self, issuer: &KeyId) -> Result<u64, StoreError>;

    /// How many certificates of a CA have not ended: the most entries that its
    /// CRLs could have.
    async fn certificates_in_force(&self, issuer: &KeyId, now: Seconds) -> Result<u64, StoreError>;

    /// The parts that certificates name which have not ended at `now`.
    async fn crl_scopes(&self, now: Seconds) -> Result<Vec<CrlScope>, StoreError>;

    /// The last place in the order, and the scopes in which something was
    /// revoked after `place`. Full CRLs are not among them.
    async fn scopes_changed_since(&self, place: u64) -> Result<(u64, Vec<CrlScope>), StoreError>;

    /// Takes the next number of a scope, and reads who is to be on the CRL:
    /// what is revoked and has not ended, or ended since the last regular CRL
    /// (RFC 5280 §3.3: an entry is there once more after its certificate's end).
    async fn draft_crl(&self, scope: &CrlScope, times: CrlTimes) -> Result<CrlDraft, StoreError>;

    /// Records which public URL is configured now (none: no URL), and answers
    /// those of before that a certificate in force may name, in the order of
    /// their text.
    async fn configure_public_url(
        &self,
        url: Option<&str>,
        now: Seconds,
    ) -> Result<Vec<String>, StoreError>;

    /// What is on record of a certificate, by issuer and serial number (hex).
    async fn issued(&self, issuer: &KeyId, serial: &str) -> Result<Option<Issued>, StoreError>;
}
