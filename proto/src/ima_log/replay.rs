//! Replaying an IMA log to its PCR, over as many reports as it takes.

use thiserror::Error;

use super::{Entry, ImaLog, ImaLogError, error};
use crate::boot_log::PcrMap;
use crate::tpm::{Digest, HashAlg};

/// What a kernel extends banks other than SHA-1 with.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Extend {
    /// The bank's own digest of the template data.
    Native,
    /// SHA-1 of the template data, then zeros: kernels before 5.8. Only as
    /// strong as SHA-1.
    Sha1Padded,
}

/// The state of a replay: all that must be kept of a gateway's IMA log to go on
/// where the last report ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Replay {
    extend: Extend,
    pcrs: PcrMap,
    offset: u64,
    entries: u64,
    violations: u64,
}

impl Replay {
    /// From boot: nothing measured.
    #[must_use]
    pub fn from_boot(bank: HashAlg, extend: Extend) -> Self {
        Self {
            extend,
            pcrs: PcrMap::at_reset(bank),
            offset: 0,
            entries: 0,
            violations: 0,
        }
    }

    /// From what was kept of an earlier replay; see [`PcrMap::restore`].
    #[must_use]
    pub const fn resume(
        extend: Extend,
        pcrs: PcrMap,
        offset: u64,
        entries: u64,
        violations: u64,
    ) -> Self {
        Self {
            extend,
            pcrs,
            offset,
            entries,
            violations,
        }
    }

    /// How banks are extended.
    #[must_use]
    pub const fn extend(&self) -> Extend {
        self.extend
    }

    /// The values so far.
    #[must_use]
    pub const fn pcrs(&self) -> &PcrMap {
        &self.pcrs
    }

    /// Bytes of the log so far.
    #[must_use]
    pub const fn offset(&self) -> u64 {
        self.offset
    }

    /// Entries so far.
    #[must_use]
    pub const fn entries(&self) -> u64 {
        self.entries
    }

    /// Violations among them.
    #[must_use]
    pub const fn violations(&self) -> u64 {
        self.violations
    }

    /// The log that goes on where this replay is.
    ///
    /// # Errors
    /// [`Gap`] where `offset`, which is the sender's word, is not here.
    pub fn follow<'a>(&self, offset: u64, log: &'a [u8]) -> Result<ImaLog<'a>, Gap> {
        if offset != self.offset {
            return Err(Gap {
                offset,
                expected: self.offset,
            });
        }
        Ok(ImaLog::new(log).starting_at(self.offset, self.entries))
    }

    /// Extends with the next entry.
    pub fn push(&mut self, entry: &Entry<'_>) {
        let bank = self.pcrs.bank();
        let is_violation = entry.is_violation();
        let digest = match (is_violation, self.extend) {
            (true, Extend::Native) => Digest::filled(bank, 0xff),
            (true, Extend::Sha1Padded) => Digest::filled(HashAlg::Sha1, 0xff).resized(bank),
            (false, Extend::Native) => entry.template_hash(bank),
            (false, Extend::Sha1Padded) => entry.template_hash(HashAlg::Sha1).resized(bank),
        };
        self.pcrs.extend(entry.pcr(), digest.as_bytes());
        self.entries += 1;
        self.offset = self.offset.saturating_add(error::as_u64(entry.len()));
        self.violations += u64::from(is_violation);
    }

    /// Goes on with `log` until PCR `pcr` is as `quoted`. A gateway reads quote
    /// and log one after the other, so that the log may be ahead of the quote:
    /// what counts is the part of it that was quoted. `visit` sees the entries
    /// as they pass; they are proven only if the answer is [`Match::Reached`].
    ///
    /// # Errors
    /// [`ImaLogError`] where the log is malformed before the match.
    pub fn until(
        mut self,
        log: ImaLog<'_>,
        pcr: u32,
        quoted: &Digest,
        mut visit: impl FnMut(&Entry<'_>),
    ) -> Result<Match, ImaLogError> {
        let mut entries = log.entries();
        while self.pcrs.value(pcr) != Some(quoted) {
            match entries.next() {
                Some(Ok(entry)) => {
                    self.push(&entry);
                    visit(&entry);
                }
                Some(Err(malformed)) => return Err(malformed),
                None => return Ok(Match::Missed(self)),
            }
        }
        Ok(Match::Reached {
            at_end: entries.rest().is_empty(),
            replay: self,
        })
    }
}

/// Whether a log leads to a quoted value.
#[derive(Clone, Debug, PartialEq, Eq)]
#[must_use]
pub enum Match {
    /// It does.
    Reached {
        /// The state there, from which the next report goes on.
        replay: Replay,
        /// Whether the log ends there. Else it is ahead of the quote.
        at_end: bool,
    },
    /// It does not: the gateway was rebooted, entries are missing or changed, or
    /// banks are extended in the other way. The state at the log's end.
    Missed(Replay),
}

/// A report that does not start where the last one ended. The remedy is a
/// replay from boot.
#[derive(Clone, Copy, Debug, Error, PartialEq, Eq)]
#[error("IMA log from byte {offset} where byte {expected} is next")]
pub struct Gap {
    /// Where it says that it starts.
    pub offset: u64,
    /// Where it should.
    pub expected: u64,
}
