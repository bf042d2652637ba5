//! One event of a boot log, borrowed from it.

use super::{BootLog, EventType};
use crate::tpm::HashAlg;

/// How the digests of a record are laid out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Layout {
    /// `TCG_PCR_EVENT`: one SHA-1 digest.
    Sha1,
    /// `TCG_PCR_EVENT2`: `TPML_DIGEST_VALUES`, without its count.
    Agile,
}

/// A parsed record; [`Event`] is what the world sees of it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Record<'a> {
    pub(super) offset: usize,
    pub(super) pcr: u32,
    pub(super) event_type: EventType,
    pub(super) layout: Layout,
    pub(super) digests: &'a [u8],
    pub(super) data: &'a [u8],
}

/// Whether an event's data hashes to the event's digest.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DataProof {
    /// It does: where the digest replays to a quoted PCR, the data is what was
    /// measured.
    Proven,
    /// It does not. That is so of many honest events, whose data only describes
    /// what was measured, and of every event whose data was changed.
    NotProven,
    /// The event has no digest in this bank.
    NoDigest,
}

/// An event of a boot log.
///
/// Order, PCR and digest are proven where the log replays to a quoted PCR. The
/// type is a claim, always; the data is one unless [`Event::data_proof`] says
/// otherwise.
#[derive(Clone, Copy, Debug)]
pub struct Event<'l> {
    log: &'l BootLog<'l>,
    record: &'l Record<'l>,
    index: usize,
}

impl<'l> Event<'l> {
    pub(super) fn new(log: &'l BootLog<'l>, index: usize, record: &'l Record<'l>) -> Self {
        Self { log, record, index }
    }

    /// Its place in the log; the Spec ID event of a crypto-agile log is 0.
    #[must_use]
    pub const fn index(&self) -> usize {
        self.index
    }

    /// Offset of its first byte in the log.
    #[must_use]
    pub const fn offset(&self) -> usize {
        self.record.offset
    }

    /// The PCR, or, in a confidential-computing log (CCEL), the measurement
    /// register. Over 23 only for events that are not extended.
    #[must_use]
    pub const fn pcr(&self) -> u32 {
        self.record.pcr
    }

    /// What it says that it is. See [`EventType`].
    #[must_use]
    pub const fn claimed_type(&self) -> EventType {
        self.record.event_type
    }

    /// The event field. See [`Event::data_proof`].
    #[must_use]
    pub const fn data(&self) -> &'l [u8] {
        self.record.data
    }

    /// Whether it extends its PCR: `EV_NO_ACTION` never does. Relabelling an
    /// event to or from it changes the replay.
    #[must_use]
    pub fn is_extended(&self) -> bool {
        self.record.event_type != EventType::EV_NO_ACTION
    }

    /// Its digests as logged, of unknown algorithms too, by `TPM_ALG_ID`.
    pub fn digests(&self) -> impl Iterator<Item = (u16, &'l [u8])> {
        let algorithms = &self.log.algorithms;
        let layout = self.record.layout;
        let mut rest = self.record.digests;
        std::iter::from_fn(move || match layout {
            Layout::Sha1 => {
                let digest = std::mem::take(&mut rest);
                (!digest.is_empty()).then_some((HashAlg::Sha1.id(), digest))
            }
            Layout::Agile => {
                let (id, after) = rest.split_first_chunk::<2>()?;
                let id = u16::from_le_bytes(*id);
                let size = algorithms.iter().find(|known| known.id == id)?.digest_size;
                let (digest, after) = after.split_at_checked(size.into())?;
                rest = after;
                Some((id, digest))
            }
        })
    }

    /// Its digest in `bank`, as long as the bank's digests.
    #[must_use]
    pub fn digest(&self, bank: HashAlg) -> Option<&'l [u8]> {
        self.digests()
            .find_map(|(id, digest)| (id == bank.id()).then_some(digest))
    }

    /// Whether its data hashes to its digest in `bank`.
    #[must_use]
    pub fn data_proof(&self, bank: HashAlg) -> DataProof {
        if self.digest(bank).is_none() {
            return DataProof::NoDigest;
        }
        if self.measures(bank, &[self.data()]) {
            DataProof::Proven
        } else {
            DataProof::NotProven
        }
    }

    /// Whether its digest in `bank` is that of the concatenation of `parts`.
    pub(super) fn measures(&self, bank: HashAlg, parts: &[&[u8]]) -> bool {
        self.digest(bank)
            .is_some_and(|digest| bank.digest(parts).as_bytes() == digest)
    }
}
