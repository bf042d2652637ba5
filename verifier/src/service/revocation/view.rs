//! Which LDevIDs are revoked, in memory: what the handshake asks, where
//! nothing can be awaited, and what cuts connections that are open.
//!
//! The store stays the authority: every call over mTLS asks it as well. The
//! view follows it by its order of revocations: after each commit of this
//! process, at once; after those of another, by asking four times a second.
//! Where the store does not answer for [`STALE_AFTER`], nobody who offers a
//! certificate is let in: what is not known is not good.

use std::{
    collections::HashMap,
    fmt,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use tokio_util::sync::CancellationToken;
use tracing::{error, info};

use crate::{
    service::Clock,
    store::{RevokedSince, Seconds, Sha256, Store, StoreError},
};

/// How often the store is asked for what another process wrote.
pub(in crate::service) const POLL_EVERY: Duration = Duration::from_millis(250);
/// How long the view counts without an answer by the store. Far longer than a
/// store takes that answers at all, short beside the life of an LDevID.
const STALE_AFTER: Duration = Duration::from_secs(5);
/// Entries are kept this much longer than their certificates live, for a clock
/// that is set back a little.
const CLOCK_GRACE: Seconds = 600;

/// What is known of revocation.
pub struct RevocationView {
    store: Arc<dyn Store>,
    clock: Clock,
    state: Mutex<State>,
    /// One reader of the store at a time, so that places come in order.
    reading: tokio::sync::Mutex<()>,
}

struct State {
    /// By SHA-256 of the DER: the end of its validity.
    revoked: HashMap<Sha256, Seconds>,
    /// Connections that are open, by their client certificate.
    live: HashMap<Sha256, Open>,
    place: u64,
    read_at: Instant,
    stale_after: Duration,
}

struct Open {
    connections: usize,
    cut: CancellationToken,
}

/// What the view says of a certificate.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::service) enum Standing {
    /// Not revoked.
    NotRevoked,
    /// Revoked.
    Revoked,
    /// The store has not been heard for too long.
    Unknown,
}

impl RevocationView {
    /// Reads everything that is revoked now.
    ///
    /// # Errors
    /// Where the store does not answer.
    pub async fn load(store: Arc<dyn Store>, clock: Clock) -> Result<Arc<Self>, StoreError> {
        let view = Arc::new(Self {
            store,
            clock,
            state: Mutex::new(State {
                revoked: HashMap::new(),
                live: HashMap::new(),
                place: 0,
                read_at: Instant::now(),
                stale_after: STALE_AFTER,
            }),
            reading: tokio::sync::Mutex::default(),
        });
        view.refresh().await?;
        Ok(view)
    }

    /// Takes in what was revoked since the last time, and cuts the connections
    /// concerned. What it returns after is known to every later handshake.
    ///
    /// # Errors
    /// Where the store does not answer: what is known then gets older.
    pub async fn refresh(&self) -> Result<(), StoreError> {
        let _one = self.reading.lock().await;
        let place = self.state().place;
        // The moment of asking counts, not that of the answer.
        let asked = Instant::now();
        let now = self.clock.now().seconds();
        let since = self
            .store
            .revoked_since(place, now.saturating_sub(CLOCK_GRACE))
            .await?;
        self.state().take_in(since, asked);
        Ok(())
    }

    /// Follows the store until dropped.
    pub(in crate::service) async fn follow(self: Arc<Self>) {
        let mut changed = self.store.changed();
        let mut poll = tokio::time::interval(POLL_EVERY);
        let mut failing = false;
        loop {
            tokio::select! {
                // An error says that the store is gone: the poll finds out.
                _ = changed.changed() => {}
                _ = poll.tick() => {}
            }
            match self.refresh().await {
                Ok(()) if failing => {
                    info!("revocations are read again");
                    failing = false;
                }
                Ok(()) => {}
                Err(error) => {
                    if !failing {
                        error!(%error, "cannot read revocations; LDevIDs are soon refused");
                    }
                    failing = true;
                    tokio::time::sleep(POLL_EVERY).await;
                }
            }
            let now = self.clock.now().seconds();
            self.state().forget_ended(now.saturating_sub(CLOCK_GRACE));
        }
    }

    /// What is known of the certificate with this SHA-256.
    pub(in crate::service) fn standing(&self, certificate: &Sha256) -> Standing {
        self.state().standing(certificate)
    }

    /// How far in the order of revocations the view is.
    pub(in crate::service) fn place(&self) -> u64 {
        self.state().place
    }

    /// Counts a connection that was opened with this certificate, unless that
    /// is revoked (or not known not to be) by now.
    pub(in crate::service) fn enter(self: &Arc<Self>, certificate: Sha256) -> Option<Live> {
        let mut state = self.state();
        if state.standing(&certificate) != Standing::NotRevoked {
            return None;
        }
        let open = state.live.entry(certificate).or_insert_with(|| Open {
            connections: 0,
            cut: CancellationToken::new(),
        });
        open.connections += 1;
        Some(Live {
            view: Arc::clone(self),
            certificate,
            cut: open.cut.clone(),
        })
    }

    // Each change is whole before the lock is let go.
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Makes what is known as old as it may not be.
    #[cfg(test)]
    pub(in crate::service) fn age(&self) {
        self.state().stale_after = Duration::ZERO;
    }
}

impl State {
    fn standing(&self, certificate: &Sha256) -> Standing {
        if self.revoked.contains_key(certificate) {
            Standing::Revoked
        } else if self.read_at.elapsed() > self.stale_after {
            Standing::Unknown
        } else {
            Standing::NotRevoked
        }
    }

    fn take_in(&mut self, since: RevokedSince, asked: Instant) {
        for certificate in since.certificates {
            self.revoked
                .insert(certificate.sha256, certificate.not_after);
            if let Some(open) = self.live.get(&certificate.sha256) {
                open.cut.cancel();
            }
        }
        self.place = since.place;
        self.read_at = asked;
    }

    fn forget_ended(&mut self, now: Seconds) {
        if self.revoked.values().any(|end| *end < now) {
            self.revoked.retain(|_, end| *end >= now);
        }
    }
}

impl fmt::Debug for RevocationView {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let state = self.state();
        f.debug_struct("RevocationView")
            .field("revoked", &state.revoked.len())
            .field("place", &state.place)
            .finish_non_exhaustive()
    }
}

/// A connection that was opened with a client certificate; counted out when
/// dropped.
pub(in crate::service) struct Live {
    view: Arc<RevocationView>,
    certificate: Sha256,
    cut: CancellationToken,
}

impl Live {
    /// Told when the certificate is revoked.
    pub(in crate::service) fn cut(&self) -> &CancellationToken {
        &self.cut
    }
}

impl Drop for Live {
    fn drop(&mut self) {
        let mut state = self.view.state();
        if let Some(open) = state.live.get_mut(&self.certificate) {
            open.connections -= 1;
            if open.connections == 0 {
                state.live.remove(&self.certificate);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        identity::RevocationReason,
        store::{SuspensionKind, fixtures, sqlite::SqliteStore},
        time::UnixTime,
    };

    /// A store with gateway 1, whose certificate is `[1; 32]`, and a view of it.
    async fn scene() -> (tempfile::TempDir, Arc<SqliteStore>, Arc<RevocationView>) {
        let dir = tempfile::tempdir().unwrap();
        let store = Arc::new(
            SqliteStore::open(&dir.path().join("holdfast.db"))
                .await
                .unwrap(),
        );
        let now = fixtures::NOW;
        store
            .create_join_token(fixtures::join_token(9), "test", now)
            .await
            .unwrap();
        for n in [1, 2] {
            let _ = store
                .record_enrolment(fixtures::enrolled(n), now)
                .await
                .unwrap();
        }
        let clock = Clock::from_fn(|| UnixTime::from_seconds(fixtures::NOW));
        let view = RevocationView::load(Arc::<SqliteStore>::clone(&store), clock)
            .await
            .unwrap();
        (dir, store, view)
    }

    const UNSPECIFIED: RevocationReason = RevocationReason::Unspecified;

    #[tokio::test]
    async fn a_revocation_is_known_after_the_next_refresh_and_cuts_what_is_open() {
        let (_dir, store, view) = scene().await;
        let (first, second) = ([1; 32], [2; 32]);
        assert_eq!(view.standing(&first), Standing::NotRevoked);
        let (live, other) = (view.enter(first).unwrap(), view.enter(second).unwrap());
        store
            .revoke(&fixtures::id(1), UNSPECIFIED, "", "test", fixtures::NOW)
            .await
            .unwrap();
        view.refresh().await.unwrap();
        assert_eq!(view.standing(&first), Standing::Revoked);
        assert!(live.cut().is_cancelled());
        assert!(view.enter(first).is_none());
        // The neighbour is not concerned.
        assert!(!other.cut().is_cancelled());
        assert!(view.enter(second).is_some());
        drop((live, other));
        assert!(view.state().live.is_empty());
    }

    #[tokio::test]
    async fn what_was_revoked_before_the_start_is_known() {
        let (_dir, store, view) = scene().await;
        store
            .suspend(
                &fixtures::id(1),
                SuspensionKind::Operator,
                "",
                "test",
                fixtures::NOW,
            )
            .await
            .unwrap();
        let again = RevocationView::load(store, view.clock.clone())
            .await
            .unwrap();
        assert_eq!(again.standing(&[1; 32]), Standing::Revoked);
        assert_eq!(again.standing(&[2; 32]), Standing::NotRevoked);
    }

    #[tokio::test]
    async fn a_commit_of_this_process_is_seen_without_being_asked_for() {
        let (_dir, store, view) = scene().await;
        let following = tokio::spawn(Arc::clone(&view).follow());
        let live = view.enter([1; 32]).unwrap();
        store
            .revoke(&fixtures::id(1), UNSPECIFIED, "", "test", fixtures::NOW)
            .await
            .unwrap();
        tokio::time::timeout(Duration::from_secs(1), live.cut().cancelled())
            .await
            .unwrap();
        following.abort();
    }

    #[tokio::test]
    async fn a_commit_of_another_process_is_seen_by_asking() {
        let (dir, _store, view) = scene().await;
        let following = tokio::spawn(Arc::clone(&view).follow());
        let live = view.enter([1; 32]).unwrap();
        // Another handle has a notice board of its own.
        let other = SqliteStore::open(&dir.path().join("holdfast.db"))
            .await
            .unwrap();
        other
            .revoke(&fixtures::id(1), UNSPECIFIED, "", "test", fixtures::NOW)
            .await
            .unwrap();
        tokio::time::timeout(Duration::from_secs(1), live.cut().cancelled())
            .await
            .unwrap();
        following.abort();
    }

    #[tokio::test]
    async fn adv_a20_what_is_not_known_any_more_is_not_good() {
        let (_dir, store, view) = scene().await;
        store.close().await;
        view.refresh().await.unwrap_err();
        assert_eq!(view.standing(&[1; 32]), Standing::NotRevoked, "for a while");
        view.age();
        assert_eq!(view.standing(&[1; 32]), Standing::Unknown);
        assert!(view.enter([1; 32]).is_none());
    }

    #[tokio::test]
    async fn entries_go_when_their_certificates_have_ended() {
        let (_dir, store, view) = scene().await;
        store
            .revoke(&fixtures::id(1), UNSPECIFIED, "", "test", fixtures::NOW)
            .await
            .unwrap();
        view.refresh().await.unwrap();
        view.state().forget_ended(fixtures::NOW + 86_400);
        assert_eq!(view.standing(&[1; 32]), Standing::Revoked);
        view.state().forget_ended(fixtures::NOW + 86_401);
        assert!(view.state().revoked.is_empty());
    }
}
