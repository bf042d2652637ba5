//! The firmware's event log: parsing, replay to PCRs, and what it says.
//!
//! Reads the TCG crypto-agile and the SHA-1-only format (PC Client Platform
//! Firmware Profile §10), as Linux hands them out in
//! `/sys/kernel/security/tpm0/binary_bios_measurements`, and CCEL, the same
//! for confidential VMs. One pass, no recursion, memory in proportion to the
//! log; everything is borrowed from the bytes.
//!
//! A log is the gateway's own story. What makes it evidence is that
//! [`BootLog::replay`] gives the quoted PCRs. Even then only order, PCR and
//! digest of each event are proven; types are claims, and data is proven only
//! where it hashes to the digest ([`Event::data_proof`]). [`BootLog::facts`]
//! keeps the two apart, and [`BootLog::findings`] says what is odd.
//!
//! Confidential-computing logs parse and replay (their "PCR" is a measurement
//! register); facts and findings are those of the PC Client PCR layout.

mod cursor;
pub mod decode;
mod error;
mod event;
mod event_type;
mod facts;
mod finding;
mod pcr_map;
mod spec_id;

pub use self::cursor::{Cause, Flaw};
pub use self::error::BootLogError;
pub use self::event::{DataProof, Event};
pub use self::event_type::EventType;
pub use self::facts::{Coverage, Fact, Facts};
pub use self::finding::Finding;
pub use self::pcr_map::PcrMap;
pub use self::spec_id::{Algorithm, MAX_ALGORITHMS, MAX_UNKNOWN_DIGEST};

pub(crate) use self::cursor::Cursor;

use self::event::{Layout, Record};
use crate::tpm::HashAlg;

/// Most events in one log. Real ones have up to some 200; a server that logs
/// every GRUB command or option ROM may have thousands.
pub const MAX_EVENTS: usize = 16_384;

/// The longest event data, in bytes. The largest that firmware logs is dbx,
/// some 24 KiB today and bounded by its NVRAM; this is ten times that.
pub const MAX_EVENT_SIZE: usize = 256 * 1024;

/// The highest PCR of a PC Client TPM.
const MAX_PCR: u32 = 23;

/// What newer firmware writes as the PCR of events that are for no PCR.
const NO_PCR: u32 = u32::MAX;

/// The format of a boot log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// A Spec ID event that declares the banks, then `TCG_PCR_EVENT2`.
    CryptoAgile,
    /// `TCG_PCR_EVENT` only, as TPM 1.2 and early TPM 2.0 firmware log.
    Sha1,
}

/// Filling after the last event, as in a CCEL area.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Padding {
    /// 0xFF or 0x00.
    pub byte: u8,
    /// How many.
    pub len: usize,
}

/// A well-formed boot log.
#[derive(Clone, Debug)]
pub struct BootLog<'a> {
    format: Format,
    algorithms: Vec<Algorithm>,
    records: Vec<Record<'a>>,
    padding: Option<Padding>,
}

impl<'a> BootLog<'a> {
    /// Reads a whole log. The caller bounds its length.
    ///
    /// # Errors
    /// [`BootLogError`] where any byte is not accounted for: an empty log, a
    /// truncated event, a PCR over 23, an algorithm that the header does not
    /// declare or an event names twice, a length or count over its limit, or
    /// trailing bytes that are not filling.
    pub fn parse(log: &'a [u8]) -> Result<Self, BootLogError> {
        let fail = |event, flaw| BootLogError::at(event, 0, flaw);
        let mut cursor = Cursor::new(log);
        let first = Record::read_sha1(&mut cursor).map_err(|flaw| fail(0, flaw))?;
        let agile = first.event_type == EventType::EV_NO_ACTION
            && first.data.starts_with(spec_id::SIGNATURE);
        let (format, algorithms) = if agile {
            let base = cursor.offset().saturating_sub(first.data.len());
            let algorithms =
                spec_id::parse(first.data).map_err(|flaw| BootLogError::at(0, base, flaw))?;
            (Format::CryptoAgile, algorithms)
        } else {
            let sha1 = Algorithm {
                id: HashAlg::Sha1.id(),
                digest_size: 20,
            };
            (Format::Sha1, vec![sha1])
        };

        let filling = if agile {
            Filling::of(log)
        } else {
            Filling::none(log)
        };
        let mut records = vec![first];
        let mut padding = None;
        while !cursor.rest().is_empty() {
            if cursor.offset() >= filling.from {
                padding = Some(Padding {
                    byte: filling.byte,
                    len: cursor.rest().len(),
                });
                break;
            }
            let index = records.len();
            if index >= MAX_EVENTS {
                let cause = Cause::OverLimit {
                    value: index + 1,
                    max: MAX_EVENTS,
                };
                return Err(fail(index, cursor.flaw("event count", cause)));
            }
            let record = match format {
                Format::CryptoAgile => Record::read_agile(&mut cursor, &algorithms),
                Format::Sha1 => Record::read_sha1(&mut cursor),
            };
            records.push(record.map_err(|flaw| fail(index, flaw))?);
        }
        Ok(Self {
            format,
            algorithms,
            records,
            padding,
        })
    }

    /// Its format.
    #[must_use]
    pub const fn format(&self) -> Format {
        self.format
    }

    /// The algorithms that its header declares (SHA-1 in the older format),
    /// among them such as Holdfast does not know.
    #[must_use]
    pub fn algorithms(&self) -> &[Algorithm] {
        &self.algorithms
    }

    /// The banks that [`BootLog::replay`] can replay, in the log's order.
    pub fn banks(&self) -> impl Iterator<Item = HashAlg> {
        self.algorithms
            .iter()
            .filter_map(|algorithm| algorithm.hash())
    }

    /// Filling after the last event.
    #[must_use]
    pub const fn padding(&self) -> Option<Padding> {
        self.padding
    }

    /// Its events, in order.
    pub fn events(&self) -> impl ExactSizeIterator<Item = Event<'_>> {
        self.records
            .iter()
            .enumerate()
            .map(|(index, record)| Event::new(self, index, record))
    }

    /// The event at `index`.
    #[must_use]
    pub fn event(&self, index: usize) -> Option<Event<'_>> {
        let record = self.records.get(index)?;
        Some(Event::new(self, index, record))
    }

    /// What `bank` must hold if this log tells all that was measured:
    /// `pcr = H(pcr ‖ digest)` from the reset values, PCR 0 from the startup
    /// locality (or 4 after an H-CRTM).
    #[must_use]
    pub fn replay(&self, bank: HashAlg) -> PcrMap {
        let mut pcrs = PcrMap::at_startup(bank, facts::startup(self).locality);
        for event in self.events().filter(Event::is_extended) {
            if let Some(digest) = event.digest(bank) {
                pcrs.extend(event.pcr(), digest);
            }
        }
        pcrs
    }

    /// What each event says, and whether `bank` proves it.
    #[must_use]
    pub fn facts(&self, bank: HashAlg) -> Facts<'_> {
        Facts::new(self, bank)
    }

    /// What is odd about this log, seen with the digests of `bank`. None of it
    /// makes a log unreadable; what it means is for the policy.
    #[must_use]
    pub fn findings(&self, bank: HashAlg) -> Vec<Finding> {
        finding::of(self, bank)
    }
}

impl<'a> Record<'a> {
    /// `TCG_PCR_EVENT`
    fn read_sha1(cursor: &mut Cursor<'a>) -> Result<Self, Flaw> {
        let offset = cursor.offset();
        let (pcr, event_type) = Self::read_head(cursor)?;
        let digests = cursor.take("TCG_PCR_EVENT.digest", HashAlg::Sha1.digest_len())?;
        let size = cursor.size32("TCG_PCR_EVENT.eventSize", MAX_EVENT_SIZE)?;
        let data = cursor.take("TCG_PCR_EVENT.event", size)?;
        Ok(Self {
            offset,
            pcr,
            event_type,
            layout: Layout::Sha1,
            digests,
            data,
        })
    }

    /// `TCG_PCR_EVENT2`. An event may lack the digest of an algorithm that the
    /// header declares, as Linux allows too and firmware with inactive banks
    /// needs: [`Finding::BankIncomplete`] tells where a bank has gaps.
    fn read_agile(cursor: &mut Cursor<'a>, algorithms: &[Algorithm]) -> Result<Self, Flaw> {
        const ALG: &str = "TPMT_HA.hashAlg";
        let offset = cursor.offset();
        let (pcr, event_type) = Self::read_head(cursor)?;
        let count = cursor.size32("TPML_DIGEST_VALUES.count", algorithms.len())?;
        let digests = cursor.rest();
        let start = cursor.offset();
        let mut seen = 0u32;
        for _ in 0..count {
            let at = cursor.clone();
            let id = cursor.u16(ALG)?;
            let known = (0u32..).zip(algorithms).find(|(_, known)| known.id == id);
            let Some((position, algorithm)) = known else {
                return Err(at.flaw(ALG, Cause::Unsupported(id.into())));
            };
            if seen & (1 << position) != 0 {
                return Err(at.flaw(ALG, Cause::Repeated(id.into())));
            }
            seen |= 1 << position;
            cursor.take("TPMT_HA.digest", algorithm.digest_size.into())?;
        }
        let (digests, _) = digests.split_at(cursor.offset() - start);
        let size = cursor.size32("TCG_PCR_EVENT2.eventSize", MAX_EVENT_SIZE)?;
        let data = cursor.take("TCG_PCR_EVENT2.event", size)?;
        Ok(Self {
            offset,
            pcr,
            event_type,
            layout: Layout::Agile,
            digests,
            data,
        })
    }

    fn read_head(cursor: &mut Cursor<'a>) -> Result<(u32, EventType), Flaw> {
        let at = cursor.clone();
        let pcr = cursor.u32("pcrIndex")?;
        let event_type = EventType(cursor.u32("eventType")?);
        let for_no_pcr = pcr == NO_PCR && event_type == EventType::EV_NO_ACTION;
        if pcr > MAX_PCR && !for_no_pcr {
            return Err(at.flaw("pcrIndex", Cause::Unsupported(pcr.into())));
        }
        Ok((pcr, event_type))
    }
}

/// Where the run of one byte starts that the log ends in. Found once, so that
/// to ask at each event costs nothing.
struct Filling {
    byte: u8,
    from: usize,
}

impl Filling {
    fn of(log: &[u8]) -> Self {
        match log.last().copied() {
            Some(byte @ (0x00 | 0xff)) => {
                let run = log.iter().rev().take_while(|next| **next == byte).count();
                let from = log.len() - run;
                Self { byte, from }
            }
            _ => Self::none(log),
        }
    }

    /// A SHA-1-only log is never filled: 32 zero bytes are an event there.
    fn none(log: &[u8]) -> Self {
        Self {
            byte: 0,
            from: log.len(),
        }
    }
}

#[cfg(test)]
mod tests;
