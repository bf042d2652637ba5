//! The boot log against the quote (PC Client PFP §10; ADVERSARY A12, C17).
//!
//! A log is the gateway's own story. Here it is read, replayed in the quoted
//! bank, and held against the quoted PCRs, one by one: those that it gives are
//! *explained*, and what it says of them can be proven; of all others it says
//! nothing that counts. A PCR that was not quoted is never explained.

use std::{collections::BTreeMap, fmt, sync::Arc};

use holdfast_proto::{
    boot_log::{BootLog, BootLogError, PcrMap},
    tpm::{Digest, HashAlg},
};

use super::{IMA_PCR, evidence::PcrValues};
use crate::digest::sha256;

/// The highest PCR that the static root of trust measures the boot into (PC
/// Client PFP §3.3.4). Those above are for debugging, for dynamic launches, and
/// can be reset by software: no boot log accounts for them.
const LAST_BOOT_PCR: u32 = 15;

/// A boot log that was read and replayed in one bank. Well formed, and nothing
/// more: what it says is no evidence until it is held against a quote.
pub struct ReadBootLog {
    content: Vec<u8>,
    sha256: [u8; 32],
    replay: PcrMap,
}

impl ReadBootLog {
    /// # Errors
    /// [`BootLogError`] where any byte is not accounted for.
    pub fn parse(content: Vec<u8>, bank: HashAlg) -> Result<Self, BootLogError> {
        let replay = BootLog::parse(&content)?.replay(bank);
        Ok(Self {
            sha256: sha256(&[&content]),
            replay,
            content,
        })
    }

    /// SHA-256 of the log.
    #[must_use]
    pub const fn sha256(&self) -> &[u8; 32] {
        &self.sha256
    }

    /// The bank that it was replayed in.
    #[must_use]
    pub const fn bank(&self) -> HashAlg {
        self.replay.bank()
    }

    /// Whether it has any measurement in its bank.
    #[must_use]
    pub const fn tells(&self) -> bool {
        !self.replay.is_empty()
    }

    /// What it gives for a PCR; none where it has no measurement of it.
    #[must_use]
    pub fn replayed(&self, index: u32) -> Option<&Digest> {
        self.replay.get(index)
    }

    /// The bytes of the log.
    #[must_use]
    pub fn content(&self) -> &[u8] {
        &self.content
    }

    /// The log itself, read again: it borrows from the bytes.
    #[must_use]
    pub fn log(&self) -> BootLog<'_> {
        BootLog::parse(&self.content).expect("it was read when this value was made")
    }

    /// How it relates to PCR values of its bank, each by index.
    pub(crate) fn relations<'v>(
        &self,
        values: impl Iterator<Item = (u32, &'v [u8])>,
    ) -> BTreeMap<u32, PcrRelation> {
        values
            .map(|(index, value)| (index, self.relation(index, value)))
            .collect()
    }

    fn relation(&self, index: u32, value: &[u8]) -> PcrRelation {
        if index > LAST_BOOT_PCR {
            return PcrRelation::Outside;
        }
        match self.replay.get(index) {
            None if value.iter().all(|byte| *byte == 0) => PcrRelation::Empty,
            // Not even where the log has its value: whoever knows what IMA
            // extended can log it as events without names, and need not show
            // which files they were.
            _ if index == IMA_PCR => PcrRelation::Outside,
            Some(replayed) if replayed.as_bytes() == value => PcrRelation::Explained,
            Some(_) => PcrRelation::Mismatched,
            None => PcrRelation::Untold,
        }
    }
}

impl fmt::Debug for ReadBootLog {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ReadBootLog")
            .field("sha256", &hex::encode(self.sha256))
            .field("bank", &self.bank())
            .finish_non_exhaustive()
    }
}

/// How a boot log relates to one quoted PCR.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum PcrRelation {
    /// The log has measurements of it, and they give the quoted value: order
    /// and digests of them are proven.
    Explained,
    /// The log has measurements of it, and they give another value: the log is
    /// not that of this boot, or was changed, or the operating system extended
    /// the PCR later.
    Mismatched,
    /// Something was measured into it, of which the log says nothing.
    Untold,
    /// Nothing was ever measured into it, and the log says so too.
    Empty,
    /// No boot log accounts for it: IMA's PCR, and those that can be reset.
    Outside,
}

/// A boot log, replayed and held against the PCRs of a verified quote. Made by
/// the verification of Evidence only.
#[derive(Clone, Debug)]
pub struct ReplayedBootLog {
    log: Arc<ReadBootLog>,
    relations: BTreeMap<u32, PcrRelation>,
}

impl ReplayedBootLog {
    pub(super) fn new(log: Arc<ReadBootLog>, quoted: &PcrValues) -> Self {
        Self {
            relations: log.relations(quoted.iter()),
            log,
        }
    }

    /// What was replayed.
    #[must_use]
    pub fn log(&self) -> &Arc<ReadBootLog> {
        &self.log
    }

    /// How it relates to each quoted PCR. A PCR that was not quoted is not in
    /// it.
    #[must_use]
    pub const fn relations(&self) -> &BTreeMap<u32, PcrRelation> {
        &self.relations
    }
}
