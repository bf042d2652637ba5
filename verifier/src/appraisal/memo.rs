//! What a policy said of a state that was seen before (ARCHITECTURE §5).
//! Only the repeatable part is kept; a result is built anew for each exchange.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
};

use holdfast_proto::result::Tier;

use super::floor::Verdict;
use crate::time::UnixTime;

/// States in one generation. An affirmed one has few reasons or none: some
/// MiB for two full generations.
pub(super) const GENERATION: usize = 8192;
/// Longest life of an entry, in seconds. Nothing that the policy reads changes
/// with time but the reference values that have an end, which ends the entry
/// too; so this only bounds what an error in that could do.
pub(super) const MAX_AGE_SECONDS: i64 = 3600;

/// Bounded map from the digest of a policy's input to its verdict. When the
/// younger generation is full, the older one is forgotten.
pub(super) struct Memo(Mutex<Generations>);

#[derive(Default)]
struct Generations {
    younger: HashMap<[u8; 32], Entry>,
    older: HashMap<[u8; 32], Entry>,
}

#[derive(Clone)]
struct Entry {
    verdict: Arc<Verdict>,
    made: UnixTime,
    /// From here on it is not used any more.
    ends: UnixTime,
}

impl Memo {
    pub(super) fn new() -> Self {
        Self(Mutex::new(Generations::default()))
    }

    /// `make` says, beside the verdict, until when it holds, if it ends. The
    /// lock is not held while it runs: two threads may then do the same work,
    /// and come to the same verdict.
    pub(super) fn get_or_insert(
        &self,
        key: [u8; 32],
        now: UnixTime,
        make: impl FnOnce() -> (Verdict, Option<UnixTime>),
    ) -> Arc<Verdict> {
        if let Some(verdict) = self.get(&key, now) {
            return verdict;
        }
        let (verdict, ends) = make();
        let verdict = Arc::new(verdict);
        // Only what is affirmed is kept: it is what comes again and again, it
        // is small, and nobody can fill the memo with states that nobody
        // accepts. A policy that failed is thus asked again, too.
        if verdict.status == Tier::Affirming {
            let oldest = now.plus(MAX_AGE_SECONDS);
            let entry = Entry {
                verdict: Arc::clone(&verdict),
                made: now,
                ends: ends.map_or(oldest, |ends| ends.min(oldest)),
            };
            self.lock().insert(key, entry);
        }
        verdict
    }

    fn get(&self, key: &[u8; 32], now: UnixTime) -> Option<Arc<Verdict>> {
        let mut generations = self.lock();
        let fresh = |entry: &Entry| entry.made <= now && now < entry.ends;
        if let Some(entry) = generations.younger.get(key) {
            return fresh(entry).then(|| Arc::clone(&entry.verdict));
        }
        let entry = generations.older.remove(key).filter(fresh)?;
        let verdict = Arc::clone(&entry.verdict);
        generations.insert(*key, entry);
        Some(verdict)
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Generations> {
        // Entries go in and out whole: a panic elsewhere leaves none torn.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        let generations = self.lock();
        generations.younger.len() + generations.older.len()
    }
}

impl Generations {
    fn insert(&mut self, key: [u8; 32], entry: Entry) {
        if self.younger.len() >= GENERATION {
            self.older = std::mem::take(&mut self.younger);
        }
        self.younger.insert(key, entry);
    }
}
