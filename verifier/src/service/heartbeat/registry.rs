//! Who beats at the moment, and the beats that are not on record yet.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use holdfast_proto::binding::Ueid;
use tokio_util::sync::CancellationToken;

use crate::{
    heartbeat::{Epoch, MasterKeys, NamedMaster},
    store::{BeatMark, Store, StoreError},
    swap::Swap,
};

/// Beats written in one transaction.
const BATCH: usize = 1000;

/// The streams of a running service, its master keys, and the marks that wait
/// to be written.
pub struct Heartbeats {
    masters: Swap<MasterKeys>,
    streams: Mutex<HashMap<Ueid, CancellationToken>>,
    /// The last beat of each.
    marks: Mutex<HashMap<Ueid, BeatMark>>,
}

impl Heartbeats {
    /// With these master keys.
    #[must_use]
    pub fn new(masters: MasterKeys) -> Self {
        Self {
            masters: Swap::new(masters),
            streams: Mutex::default(),
            marks: Mutex::default(),
        }
    }

    /// Takes up other master keys. Streams that are open go on with the keys
    /// that they have.
    pub(in crate::service) fn replace_masters(&self, masters: MasterKeys) {
        self.masters.replace(masters);
    }

    /// The master key that new epochs begin under.
    pub(super) fn current_master(&self) -> Option<NamedMaster> {
        self.masters.get().current().cloned()
    }

    /// The master key with this id, while it counts.
    pub(super) fn master(&self, id: &str, now: crate::time::UnixTime) -> Option<NamedMaster> {
        self.masters.get().with_id(id, now).cloned()
    }

    /// Opens the one stream of a gateway: an older one ends, for its connection
    /// may be dead without anybody knowing.
    pub(super) fn open(self: &Arc<Self>, id: Ueid) -> OpenStream {
        let ended = CancellationToken::new();
        if let Some(older) = locked(&self.streams).insert(id, ended.clone()) {
            older.cancel();
        }
        OpenStream {
            all: Arc::clone(self),
            id,
            ended,
        }
    }

    /// Ends a gateway's stream: it was attested anew, which ends its key.
    pub(in crate::service) fn end(&self, id: &Ueid) {
        locked(&self.marks).remove(id);
        if let Some(stream) = locked(&self.streams).remove(id) {
            stream.cancel();
        }
    }

    fn mark(&self, mark: BeatMark) {
        locked(&self.marks).insert(mark.gateway, mark);
    }

    /// Writes what has beaten since the last time. What could not be written
    /// waits for the next.
    pub(in crate::service) async fn write_marks(
        &self,
        store: &dyn Store,
    ) -> Result<(), StoreError> {
        let marks: Vec<BeatMark> = locked(&self.marks).drain().map(|(_, mark)| mark).collect();
        let mut written = 0;
        for batch in marks.chunks(BATCH) {
            if let Err(error) = store.record_beats(batch).await {
                let mut kept = locked(&self.marks);
                for mark in marks.iter().skip(written) {
                    kept.entry(mark.gateway).or_insert(*mark);
                }
                return Err(error);
            }
            written += batch.len();
        }
        Ok(())
    }
}

impl std::fmt::Debug for Heartbeats {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Heartbeats")
    }
}

/// A gateway's place among the streams, until dropped.
pub(super) struct OpenStream {
    all: Arc<Heartbeats>,
    id: Ueid,
    ended: CancellationToken,
}

impl OpenStream {
    /// When the stream has to end, for another one took its place or the
    /// gateway was attested.
    pub(super) async fn ended(&self) {
        self.ended.cancelled().await;
    }

    /// Counts a beat, unless the stream has to end.
    pub(super) fn mark(&self, epoch: &Epoch, clock: u64) {
        if !self.ended.is_cancelled() {
            self.all.mark(BeatMark {
                gateway: self.id,
                epoch: *epoch.as_bytes(),
                clock,
            });
        }
    }
}

impl Drop for OpenStream {
    fn drop(&mut self) {
        // One that was taken the place of leaves the other's alone.
        if !self.ended.is_cancelled() {
            locked(&self.all.streams).remove(&self.id);
        }
    }
}

/// Nothing is left half done while these are held.
fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::fixtures;

    fn heartbeats() -> Arc<Heartbeats> {
        Arc::new(Heartbeats::new(MasterKeys::default()))
    }

    #[tokio::test]
    async fn a_gateway_has_one_stream_and_the_newest_counts() {
        let all = heartbeats();
        let id = fixtures::id(1);
        let older = all.open(id);
        let newer = all.open(id);
        older.ended().await;
        let epoch = Epoch::from_bytes([1; 16]);
        older.mark(&epoch, 5);
        assert!(locked(&all.marks).is_empty());
        drop(older);
        newer.mark(&epoch, 6);
        let mark = BeatMark {
            gateway: id,
            epoch: [1; 16],
            clock: 6,
        };
        assert_eq!(locked(&all.marks).get(&id), Some(&mark));
        // Attested anew: what was shown before is of an older key.
        all.end(&id);
        newer.ended().await;
        assert!(locked(&all.marks).is_empty());
        drop(newer);
        assert!(locked(&all.streams).is_empty());
    }
}
