//! The IMA log, replayed to the quoted PCR 10: from boot, or from where the
//! last replay of the same boot ended (ADVERSARY A13).
//!
//! No digest in the claims covers the log. Nothing needs to: what leads to the
//! quoted value is what the kernel measured, whoever brought it. Entries ahead
//! of the quote are dropped; the next report brings them again.

mod place;
mod signature;
#[cfg(test)]
pub(crate) mod tests;
mod vouched;

use holdfast_proto::{
    grpc::{Bytes, v1},
    ima_log::{BootAggregate, Entry, Extend, Format, ImaLog, Match, Replay},
    tpm::{Digest, HashAlg},
};

pub use self::{
    place::ImaPlace,
    signature::{SignatureVerdict, verify_file_signature},
    vouched::{MAX_INVALID_SIGNATURES, MAX_SIGNATURES, SignatureBudget, Vouched},
};
use super::{
    error::VerificationError,
    evidence::{PcrValues, at_most},
};

/// The PCR that IMA extends, unless the owner's kernel was told otherwise.
pub const IMA_PCR: u32 = 10;

/// Longest log in a re-attestation, in bytes: 100,000 entries of the usual
/// 160. The gateway is known by its LDevID, and counted.
pub const IMA_LOG_MAX: usize = 16 << 20;
/// Longest log in an enrolment or recovery, in bytes: 25,000 entries. Whoever
/// can connect can make us hold this much, so it is less; a gateway with a
/// longer log reboots first.
pub const IMA_LOG_AT_ENROLMENT_MAX: usize = 4 << 20;

/// An IMA log as it was sent: untrusted.
#[derive(Debug)]
pub(super) struct SentIma {
    /// Entries that the sender left out.
    offset: u64,
    content: Bytes,
}

impl SentIma {
    pub(super) fn parse(log: &v1::ImaLog) -> Result<Self, VerificationError> {
        at_most("ima_log.content", &log.content, IMA_LOG_MAX)?;
        Ok(Self {
            offset: log.offset,
            content: log.content.clone(),
        })
    }

    /// # Errors
    /// [`VerificationError::TooLong`]
    pub(super) fn expect_short(&self) -> Result<(), VerificationError> {
        at_most("ima_log.content", &self.content, IMA_LOG_AT_ENROLMENT_MAX)
    }
}

/// What verification found of the IMA log.
#[derive(Clone, Debug)]
pub enum ImaEvidence {
    /// PCR 10 is not in the required selection: nothing could prove a log.
    NotQuoted,
    /// The gateway sent none.
    Absent,
    /// It leads to the quoted PCR 10.
    Replayed(Box<ReplayedIma>),
}

/// An IMA log whose replay reached the quoted PCR 10. Only verification makes
/// one. Its entries are what the kernel measured, with these exceptions: of a
/// violation no PCR holds the content, entries of other PCRs than 10 are not
/// proven, and a template's name is the sender's word.
#[derive(Clone, Debug)]
pub struct ReplayedIma {
    from_boot: bool,
    /// Bytes and entries before `content`.
    start: (u64, u64),
    /// Up to the quoted value.
    content: Bytes,
    place: ImaPlace,
}

impl ReplayedIma {
    /// Whether it begins at boot, rather than where the last replay ended.
    #[must_use]
    pub fn is_from_boot(&self) -> bool {
        self.from_boot
    }

    /// Where the next one can go on.
    #[must_use]
    pub fn place(&self) -> &ImaPlace {
        &self.place
    }

    /// The new entries, up to the quoted value.
    pub fn entries(&self) -> impl Iterator<Item = Entry<'_>> {
        let (bytes, entries) = self.start;
        ImaLog::new(&self.content)
            .starting_at(bytes, entries)
            .entries()
            .map(|entry| entry.expect("the replay read it"))
    }
}

/// Replays what was sent.
///
/// # Errors
/// [`VerificationError::ImaResync`] where what was sent from the middle does
/// not lead to the quote: the sender may try from boot.
/// [`VerificationError::ImaMissed`] where a log from boot does not.
pub(super) fn replay(
    sent: Option<SentIma>,
    known: Option<&ImaPlace>,
    pcrs: &PcrValues,
    reset_count: u32,
) -> Result<ImaEvidence, VerificationError> {
    let bank = pcrs.bank();
    let Some(quoted) = pcrs.get(IMA_PCR) else {
        return match sent {
            None => Ok(ImaEvidence::NotQuoted),
            Some(_) => Err(VerificationError::ImaNotQuoted),
        };
    };
    let quoted =
        Digest::from_bytes(bank, quoted).map_err(|source| VerificationError::Structure {
            field: "pcr_values.value",
            source,
        })?;
    let Some(SentIma { offset, content }) = sent else {
        return Ok(ImaEvidence::Absent);
    };
    if !content.is_empty() && ImaLog::new(&content).format() == Format::Ascii {
        // A place in the middle of another log's entry reads like this, too.
        return Err(match offset {
            0 => VerificationError::ImaFormat,
            entry => VerificationError::ImaResync { entry },
        });
    }
    let goal = Goal {
        content,
        pcrs,
        quoted,
        reset_count,
    };
    let replayed = if offset == 0 {
        goal.whole()?
    } else {
        known
            .filter(|place| place.reset_count == reset_count && place.entries() == offset)
            .and_then(|place| goal.go_on(place))
            .ok_or(VerificationError::ImaResync { entry: offset })?
    };
    Ok(ImaEvidence::Replayed(Box::new(replayed)))
}

/// What a log must lead to.
struct Goal<'a> {
    content: Bytes,
    pcrs: &'a PcrValues,
    quoted: Digest,
    reset_count: u32,
}

impl Goal<'_> {
    /// The kernel extends other banks than SHA-1 with their own digests (Linux
    /// 5.8) or with padded SHA-1; which of the two, only the replay tells.
    fn whole(self) -> Result<ReplayedIma, VerificationError> {
        let ways: &[Extend] = match self.pcrs.bank() {
            HashAlg::Sha1 => &[Extend::Native],
            _ => &[Extend::Native, Extend::Sha1Padded],
        };
        let mut malformed = None;
        for extend in ways {
            let start = Replay::from_boot(self.pcrs.bank(), *extend);
            let mut aggregate = None;
            let outcome = self.reach(start, &mut aggregate);
            match outcome {
                Ok(Some(replay)) => return Ok(self.replayed(true, (0, 0), replay, aggregate)),
                Ok(None) => {}
                Err(error) => malformed = malformed.or(Some(error)),
            }
        }
        Err(malformed.unwrap_or(VerificationError::ImaMissed))
    }

    fn go_on(self, place: &ImaPlace) -> Option<ReplayedIma> {
        let start = place.replay.clone();
        let before = (start.offset(), start.entries());
        let mut aggregate = place.boot_aggregate;
        let replay = self.reach(start, &mut aggregate).ok().flatten()?;
        Some(self.replayed(false, before, replay, aggregate))
    }

    /// The state at the quoted value, if the log gets there.
    fn reach(
        &self,
        start: Replay,
        aggregate: &mut Option<BootAggregate>,
    ) -> Result<Option<Replay>, VerificationError> {
        let log = ImaLog::new(&self.content).starting_at(start.offset(), start.entries());
        let reached = start.until(log, IMA_PCR, &self.quoted, |entry| {
            // The content of others is in no value that was quoted.
            let proven = entry.pcr() == IMA_PCR && !entry.is_violation();
            if entry.index() == 0 && proven {
                let bank = self.pcrs.bank();
                let quoted = |pcr| Digest::from_bytes(bank, self.pcrs.get(pcr)?).ok();
                *aggregate = Some(BootAggregate::of(entry, bank, quoted));
            }
        });
        match reached.map_err(VerificationError::ImaLog)? {
            Match::Reached { replay, .. } => Ok(Some(replay)),
            Match::Missed(_) => Ok(None),
        }
    }

    fn replayed(
        self,
        from_boot: bool,
        start: (u64, u64),
        replay: Replay,
        boot_aggregate: Option<BootAggregate>,
    ) -> ReplayedIma {
        let proven = replay.offset().saturating_sub(start.0);
        let proven = usize::try_from(proven).unwrap_or(usize::MAX);
        ReplayedIma {
            from_boot,
            start,
            content: self.content.slice(..proven.min(self.content.len())),
            place: ImaPlace {
                reset_count: self.reset_count,
                replay,
                boot_aggregate,
            },
        }
    }
}
