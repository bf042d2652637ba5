//! Boot logs that were read lately, so that one that travels by its hash need
//! not be fetched and replayed again at each attestation.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
};

use holdfast_proto::tpm::HashAlg;

use super::{
    boot_log::{ReadBootLog, ReplayedBootLog},
    error::VerificationError,
    evidence::{BootLog, PcrValues},
};
use crate::digest;

/// Bytes of logs in one generation, with [`OVERHEAD`]: a thousand gateways with
/// logs of 30 KiB.
pub(super) const GENERATION_BYTES: usize = 32 << 20;

/// What an entry takes beside the log's bytes: its replay and the map's share. A
/// log of one event has 32 bytes, and a gateway can make as many as it likes.
const OVERHEAD: usize = size_of::<ReadBootLog>() + 256;

type Key = ([u8; 32], HashAlg);

/// Bounded map from the SHA-256 of a log and a bank to what it replays to. When
/// the younger generation is full, the older one is forgotten.
#[derive(Default)]
pub struct BootLogs(Mutex<Generations>);

#[derive(Default)]
struct Generations {
    younger: HashMap<Key, Arc<ReadBootLog>>,
    younger_bytes: usize,
    older: HashMap<Key, Arc<ReadBootLog>>,
}

/// A boot log that the store holds.
#[derive(Clone, Debug)]
pub enum KnownBootLog {
    /// It was read lately.
    Read(Arc<ReadBootLog>),
    /// Its bytes, from the store.
    Stored(Vec<u8>),
}

impl BootLogs {
    /// The log by that hash, as replayed in that bank, if it was read lately.
    #[must_use]
    pub fn get(&self, sha256: &[u8; 32], bank: HashAlg) -> Option<Arc<ReadBootLog>> {
        let key = (*sha256, bank);
        let mut generations = self.lock();
        if let Some(log) = generations.younger.get(&key) {
            return Some(Arc::clone(log));
        }
        let log = generations.older.remove(&key)?;
        generations.insert(Arc::clone(&log));
        Some(log)
    }

    /// Reads a log that the claims are bound to, and holds it against the
    /// quote. One that came by hash is read from `known`.
    pub(super) fn replay(
        &self,
        bound: &BootLog,
        known: Option<KnownBootLog>,
        quoted: &PcrValues,
    ) -> Result<Option<ReplayedBootLog>, VerificationError> {
        let bank = quoted.bank();
        let log = match bound {
            BootLog::Absent => return Ok(None),
            BootLog::Whole { content, sha256 } => match self.get(sha256, bank) {
                Some(log) => log,
                None => self.read(content.clone(), bank)?,
            },
            BootLog::Known { sha256 } => match known {
                Some(KnownBootLog::Read(log)) if log.bank() == bank && log.sha256() == sha256 => {
                    log
                }
                Some(KnownBootLog::Stored(content)) => {
                    // A store that returns other bytes than were put in has
                    // lost the log: the gateway is asked for it again.
                    if digest::sha256(&[&content]) != *sha256 {
                        return Err(VerificationError::BootLogUnknown);
                    }
                    self.read(content, bank)?
                }
                _ => self
                    .get(sha256, bank)
                    .ok_or(VerificationError::BootLogUnknown)?,
            },
        };
        Ok(Some(ReplayedBootLog::new(log, quoted)))
    }

    fn read(&self, content: Vec<u8>, bank: HashAlg) -> Result<Arc<ReadBootLog>, VerificationError> {
        Ok(self.keep(ReadBootLog::parse(content, bank)?))
    }

    fn keep(&self, log: ReadBootLog) -> Arc<ReadBootLog> {
        let log = Arc::new(log);
        self.lock().insert(Arc::clone(&log));
        log
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Generations> {
        // Entries go in and out whole: a panic elsewhere leaves none torn.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    #[cfg(test)]
    pub(super) fn bytes(&self) -> usize {
        let generations = self.lock();
        let all = generations
            .younger
            .values()
            .chain(generations.older.values());
        all.map(|log| log.content().len() + OVERHEAD).sum()
    }
}

impl Generations {
    fn insert(&mut self, log: Arc<ReadBootLog>) {
        let len = log.content().len() + OVERHEAD;
        if self.younger_bytes.saturating_add(len) > GENERATION_BYTES {
            self.older = std::mem::take(&mut self.younger);
            self.younger_bytes = 0;
        }
        let key = (*log.sha256(), log.bank());
        if self.younger.insert(key, log).is_none() {
            self.younger_bytes += len;
        }
    }
}

impl std::fmt::Debug for BootLogs {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("BootLogs(..)")
    }
}
