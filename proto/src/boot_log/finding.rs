//! What is odd about a log that is well-formed.

use std::fmt;

use super::decode::{Action, Value};
use super::facts::{self, Scan};
use super::{BootLog, EventType, Flaw};
use crate::tpm::HashAlg;

/// Something odd. Honest firmware causes some of these; an attacker who edits
/// a log causes others. A policy decides.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Finding {
    /// The header declares an algorithm that Holdfast does not replay.
    UnknownAlgorithm {
        /// `TPM_ALG_ID`
        id: u16,
    },
    /// No event has a digest in the bank: the log proves nothing here.
    BankAbsent {
        /// The bank.
        bank: HashAlg,
    },
    /// Some events have no digest in the bank, others do.
    BankIncomplete {
        /// The bank.
        bank: HashAlg,
        /// How many lack it.
        missing: usize,
        /// The first of them.
        event: usize,
    },
    /// A PCR from 0 to 7 has no separator: measurements were left out, or the
    /// boot did not get so far.
    SeparatorMissing {
        /// The PCR.
        pcr: u32,
    },
    /// A second separator in a PCR from 0 to 7.
    SeparatorRepeated {
        /// The event.
        event: usize,
        /// Its PCR.
        pcr: u32,
    },
    /// Says that it is a separator; its digest is not one's.
    SeparatorForged {
        /// The event.
        event: usize,
        /// Its PCR.
        pcr: u32,
    },
    /// In PCR 7, where nothing else has a separator's digest: says that it is
    /// something else.
    SeparatorRelabelled {
        /// The event.
        event: usize,
        /// Its PCR.
        pcr: u32,
        /// What it says.
        claimed: EventType,
    },
    /// Firmware ended this PCR with an error.
    SeparatorError {
        /// The event.
        event: usize,
        /// Its PCR.
        pcr: u32,
    },
    /// A secure boot variable after the separator of PCR 7.
    ConfigurationAfterSeparator {
        /// The event.
        event: usize,
    },
    /// A secure boot variable for the second time.
    ConfigurationRepeated {
        /// The event.
        event: usize,
    },
    /// Data that the digest must cover by the event's type, and does not: the
    /// data was changed, or the type.
    DataNotCovered {
        /// The event.
        event: usize,
        /// What it says that it is.
        claimed: EventType,
    },
    /// Data that does not read as the event's type.
    Malformed {
        /// The event.
        event: usize,
        /// What it says that it is.
        claimed: EventType,
        /// The flaw.
        flaw: Flaw,
    },
    /// An event that is never extended has a digest.
    InformativeDigest {
        /// The event.
        event: usize,
    },
    /// A startup locality not in PCR 0, or after its first measurement.
    LocalityMisplaced {
        /// The event.
        event: usize,
    },
    /// A second startup locality.
    LocalityRepeated {
        /// The event.
        event: usize,
    },
    /// A startup locality that is none of 0, 3 and 4, or not one byte.
    LocalityInvalid {
        /// The event.
        event: usize,
    },
    /// An H-CRTM measurement after a startup locality that excludes it.
    LocalityAgainstHcrtm {
        /// The H-CRTM event.
        event: usize,
    },
    /// An H-CRTM measurement that is not the first of PCR 0.
    HcrtmMisplaced {
        /// The event.
        event: usize,
    },
    /// The log does not say that boot services ended: it was taken before, or
    /// firmware left the events out, and PCR 5 then does not replay.
    ExitBootServicesMissing,
}

impl Finding {
    /// Stable name, for scripts and policies.
    #[must_use]
    pub const fn code(&self) -> &'static str {
        match self {
            Self::UnknownAlgorithm { .. } => "unknown-algorithm",
            Self::BankAbsent { .. } => "bank-absent",
            Self::BankIncomplete { .. } => "bank-incomplete",
            Self::SeparatorMissing { .. } => "separator-missing",
            Self::SeparatorRepeated { .. } => "separator-repeated",
            Self::SeparatorForged { .. } => "separator-forged",
            Self::SeparatorRelabelled { .. } => "separator-relabelled",
            Self::SeparatorError { .. } => "separator-error",
            Self::ConfigurationAfterSeparator { .. } => "configuration-after-separator",
            Self::ConfigurationRepeated { .. } => "configuration-repeated",
            Self::DataNotCovered { .. } => "data-not-covered",
            Self::Malformed { .. } => "malformed-data",
            Self::InformativeDigest { .. } => "informative-digest",
            Self::LocalityMisplaced { .. } => "locality-misplaced",
            Self::LocalityRepeated { .. } => "locality-repeated",
            Self::LocalityInvalid { .. } => "locality-invalid",
            Self::LocalityAgainstHcrtm { .. } => "locality-against-hcrtm",
            Self::HcrtmMisplaced { .. } => "hcrtm-misplaced",
            Self::ExitBootServicesMissing => "exit-boot-services-missing",
        }
    }

    /// The event that it is about, if it is about one.
    #[must_use]
    pub const fn event(&self) -> Option<usize> {
        match self {
            Self::UnknownAlgorithm { .. }
            | Self::BankAbsent { .. }
            | Self::SeparatorMissing { .. }
            | Self::ExitBootServicesMissing => None,
            Self::BankIncomplete { event, .. }
            | Self::SeparatorRepeated { event, .. }
            | Self::SeparatorForged { event, .. }
            | Self::SeparatorRelabelled { event, .. }
            | Self::SeparatorError { event, .. }
            | Self::ConfigurationAfterSeparator { event }
            | Self::ConfigurationRepeated { event }
            | Self::DataNotCovered { event, .. }
            | Self::Malformed { event, .. }
            | Self::InformativeDigest { event }
            | Self::LocalityMisplaced { event }
            | Self::LocalityRepeated { event }
            | Self::LocalityInvalid { event }
            | Self::LocalityAgainstHcrtm { event }
            | Self::HcrtmMisplaced { event } => Some(*event),
        }
    }
}

impl Finding {
    /// The PCR that it is about, where it is about one and names no event.
    #[must_use]
    pub const fn pcr(&self) -> Option<u32> {
        match self {
            Self::SeparatorMissing { pcr } => Some(*pcr),
            _ => None,
        }
    }
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(event) = self.event() {
            write!(f, "event {event}: ")?;
        }
        match self {
            Self::UnknownAlgorithm { id } => {
                write!(
                    f,
                    "algorithm {id:#06x} is not known: its bank is not replayed"
                )
            }
            Self::BankAbsent { bank } => write!(f, "no event has a {bank} digest"),
            Self::BankIncomplete { bank, missing, .. } => {
                write!(f, "the first of {missing} without a {bank} digest")
            }
            Self::SeparatorMissing { pcr } => write!(f, "PCR {pcr} has no separator"),
            Self::SeparatorRepeated { pcr, .. } => write!(f, "second separator of PCR {pcr}"),
            Self::SeparatorForged { pcr, .. } => {
                write!(
                    f,
                    "claims to be the separator of PCR {pcr}; its digest is another"
                )
            }
            Self::SeparatorRelabelled { pcr, claimed, .. } => {
                write!(f, "is the separator of PCR {pcr}; claims to be {claimed}")
            }
            Self::SeparatorError { pcr, .. } => {
                write!(f, "firmware ended PCR {pcr} with an error")
            }
            Self::ConfigurationAfterSeparator { .. } => {
                f.write_str("secure boot variable after the separator of PCR 7")
            }
            Self::ConfigurationRepeated { .. } => {
                f.write_str("secure boot variable measured a second time")
            }
            Self::DataNotCovered { claimed, .. } => {
                write!(
                    f,
                    "its digest does not cover its data, as that of {claimed} must"
                )
            }
            Self::Malformed { claimed, flaw, .. } => {
                write!(f, "its data is not that of {claimed}: {flaw}")
            }
            Self::InformativeDigest { .. } => {
                f.write_str("has a digest, though it is never extended")
            }
            Self::LocalityMisplaced { .. } => {
                f.write_str("startup locality after PCR 0 was extended, or in another PCR: ignored")
            }
            Self::LocalityRepeated { .. } => f.write_str("second startup locality: ignored"),
            Self::LocalityInvalid { .. } => {
                f.write_str("startup locality that no TPM starts in: ignored")
            }
            Self::LocalityAgainstHcrtm { .. } => {
                f.write_str("H-CRTM measurement where the startup locality excludes one")
            }
            Self::HcrtmMisplaced { .. } => {
                f.write_str("H-CRTM measurement that is not the first of PCR 0")
            }
            Self::ExitBootServicesMissing => {
                f.write_str("the log does not say that boot services ended")
            }
        }
    }
}

/// All that is odd about `log`, seen with the digests of `bank`.
pub(super) fn of(log: &BootLog<'_>, bank: HashAlg) -> Vec<Finding> {
    let mut findings = Vec::new();
    for algorithm in log.algorithms() {
        if algorithm.hash().is_none() {
            findings.push(Finding::UnknownAlgorithm { id: algorithm.id });
        }
    }
    let extended = || log.events().filter(|event| event.is_extended());
    let mut without = extended().filter(|event| event.digest(bank).is_none());
    if extended().all(|event| event.digest(bank).is_none()) {
        findings.push(Finding::BankAbsent { bank });
    } else if let Some(first) = without.next() {
        findings.push(Finding::BankIncomplete {
            bank,
            missing: 1 + without.count(),
            event: first.index(),
        });
    }
    findings.extend(facts::startup(log).findings);

    let mut scan = Scan::new(log, bank);
    let mut left = false;
    for event in log.events() {
        let fact = scan.step(event, &mut |finding| findings.push(finding));
        left |= matches!(fact.value, Value::Action(action)
            if action.known == Some(Action::ExitBootServicesSucceeded));
    }
    let missing = (0..8).filter(|pcr| scan.separated & (1 << pcr) == 0);
    findings.extend(missing.map(|pcr| Finding::SeparatorMissing { pcr }));
    findings.extend((!left).then_some(Finding::ExitBootServicesMissing));
    findings
}
