//! What a log says, event by event, and whether the digests prove it.
//!
//! An event's type is in no digest, and its data only where it hashes to the
//! digest. So a fact is proven by the digest, the PCR and the place in that
//! PCR, which a quote does vouch for; the type can only take proof away:
//!
//! | fact | proven where |
//! |---|---|
//! | separator | PCR 7: the digest is that of a separator. PCR 0–6: it is, and no other event of the PCR has such a digest |
//! | secure boot variable | data covered, PCR 7, before its separator, first of its name |
//! | authority | entry covered, PCR 7, after its separator; before it, where its database was measured already |
//! | other variable | data covered, PCR 1, 3 or 5; not where only the value is covered |
//! | partition table | data covered, PCR 5, first one |
//! | action | data covered, PCR 4 to 7, a known text |
//! | firmware version | data covered, first measurement of PCR 0 (after an H-CRTM) |
//! | GRUB text | text covered, PCR 8, no NUL in it but one at its end; its label (command or command line) never |
//! | UKI section name | name covered, PCR 11 |
//! | command line (systemd) | data covered, PCR 12 or 8 |
//! | everything else | never |
//!
//! Proof is as strong as the bank: in SHA-1 who made the data can have made two
//! of them. From the moment that a loader runs it can extend what it likes: a fact says
//! what was measured, by firmware or by whatever firmware measured before it.

use std::collections::HashSet;

use super::decode::{AuthorityEntry, Guid, NoAction, SectionPart, Separator, Value, measured_name};
use super::{BootLog, DataProof, Event, EventType, Finding};
use crate::tpm::{Digest, HashAlg};

/// What of an event its digest covers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Coverage {
    /// The whole event data.
    Event,
    /// The value without the label before it, as GRUB and systemd-stub measure, or
    /// without stray bytes after it, as older shim logs.
    Value,
    /// The value of a UEFI variable without its name, as older firmware
    /// measures boot variables.
    VariableData,
    /// The digest alone tells it, whatever the data is: a separator.
    Digest,
    /// None of it.
    Nothing,
}

/// What one event says, and whether that is proven.
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub struct Fact<'l> {
    /// The event.
    pub event: Event<'l>,
    /// What it says.
    pub value: Value<'l>,
    /// What of its data the digest covers.
    pub coverage: Coverage,
    /// Whether the value is proven, given that the log replays to a quoted PCR
    /// of the bank that was asked for. See the module's table.
    pub proven: bool,
}

/// The facts of a log, in order.
#[derive(Debug)]
pub struct Facts<'l> {
    log: &'l BootLog<'l>,
    next: usize,
    scan: Scan<'l>,
}

impl<'l> Facts<'l> {
    pub(super) fn new(log: &'l BootLog<'l>, bank: HashAlg) -> Self {
        Self {
            log,
            next: 0,
            scan: Scan::new(log, bank),
        }
    }
}

impl<'l> Iterator for Facts<'l> {
    type Item = Fact<'l>;

    fn next(&mut self) -> Option<Fact<'l>> {
        let event = self.log.event(self.next)?;
        self.next += 1;
        Some(self.scan.step(event, &mut |_| ()))
    }
}

/// Going through a log once: what earlier events of a PCR say about the next.
#[derive(Debug)]
pub(super) struct Scan<'l> {
    bank: HashAlg,
    separators: [(Separator, Digest); 3],
    /// How many events of PCRs 0 to 7 have a separator's digest.
    candidates: [usize; 8],
    /// Bit n: PCR n had its separator.
    pub(super) separated: u32,
    /// Bit n: PCR n was extended, the H-CRTM aside.
    extended: u32,
    /// The H-CRTM was there.
    hcrtm: bool,
    /// Variables of PCR 7.
    variables: HashSet<(Guid, &'l [u8])>,
    /// A partition table was measured to PCR 5.
    partition_table: bool,
}

impl<'l> Scan<'l> {
    pub(super) fn new(log: &BootLog<'l>, bank: HashAlg) -> Self {
        // §10.4.1: 0 or FFFFFFFF, and 1 for an error, as UINT32.
        let separators = [
            (Separator::Ready, 0u32),
            (Separator::Ready, u32::MAX),
            (Separator::Error, 1),
        ];
        let mut scan = Self {
            bank,
            separators: separators
                .map(|(separator, value)| (separator, bank.digest(&[&value.to_le_bytes()]))),
            candidates: [0; 8],
            separated: 0,
            extended: 0,
            hcrtm: false,
            variables: HashSet::new(),
            partition_table: false,
        };
        for event in log.events().filter(Event::is_extended) {
            if scan.separator(event).is_some()
                && let Some(count) = scan.candidate(event.pcr())
            {
                *count += 1;
            }
        }
        scan
    }

    fn candidate(&mut self, pcr: u32) -> Option<&mut usize> {
        self.candidates.get_mut(usize::try_from(pcr).ok()?)
    }

    /// The next event's fact; what is odd about it goes to `note`.
    pub(super) fn step(&mut self, event: Event<'l>, note: &mut dyn FnMut(Finding)) -> Fact<'l> {
        let fact = self.fact(event, note);
        // One H-CRTM, the first of PCR 0: else whatever comes before a version
        // could be called one, and any text be the first measurement.
        let is_hcrtm = event.claimed_type() == EventType::EV_EFI_HCRTM_EVENT
            && event.pcr() == 0
            && self.extended & bit(0) == 0
            && !self.hcrtm;
        if is_hcrtm {
            self.hcrtm = true;
        } else if event.is_extended() {
            self.extended |= bit(event.pcr());
        }
        fact
    }

    fn fact(&mut self, event: Event<'l>, note: &mut dyn FnMut(Finding)) -> Fact<'l> {
        let index = event.index();
        if !event.is_extended() {
            if event
                .digests()
                .any(|(_, digest)| digest.iter().any(|byte| *byte != 0))
            {
                note(Finding::InformativeDigest { event: index });
            }
            return Fact {
                event,
                value: Value::of(event),
                coverage: Coverage::Nothing,
                proven: false,
            };
        }
        // In other PCRs the value of a variable, or what was measured, may be
        // as short as a separator, and then has its digest.
        let is_separator = event.pcr() == 7 || event.claimed_type() == EventType::EV_SEPARATOR;
        if is_separator && let Some(separator) = self.separator(event) {
            return self.separator_fact(event, separator, note);
        }

        let mut value = Value::of(event);
        let coverage = self.coverage(event, &mut value);
        if event.claimed_type() == EventType::EV_SEPARATOR
            && event.pcr() <= 7
            && event.digest(self.bank).is_some()
        {
            note(Finding::SeparatorForged {
                event: index,
                pcr: event.pcr(),
            });
        } else if event.claimed_type().covers_its_data()
            && !matches!(coverage, Coverage::Event | Coverage::Value)
            && event.digest(self.bank).is_some()
        {
            note(Finding::DataNotCovered {
                event: index,
                claimed: event.claimed_type(),
            });
        }
        if let Value::Malformed(flaw) = value {
            note(Finding::Malformed {
                event: index,
                claimed: event.claimed_type(),
                flaw,
            });
        }
        let in_place = self.is_in_place(event, &value, note);
        let covered = match value {
            Value::LoaderText(_) | Value::UkiSection(_) => coverage == Coverage::Value,
            Value::Authority(_) => matches!(coverage, Coverage::Event | Coverage::Value),
            _ => coverage == Coverage::Event,
        };
        Fact {
            event,
            value,
            coverage,
            proven: covered && in_place,
        }
    }

    /// The separator that the event's digest is.
    fn separator(&self, event: Event<'_>) -> Option<Separator> {
        let digest = event.digest(self.bank).filter(|_| event.pcr() <= 7)?;
        self.separators
            .iter()
            .find_map(|(separator, known)| (known.as_bytes() == digest).then_some(*separator))
    }

    fn separator_fact(
        &mut self,
        event: Event<'l>,
        separator: Separator,
        note: &mut dyn FnMut(Finding),
    ) -> Fact<'l> {
        let (index, pcr) = (event.index(), event.pcr());
        if event.claimed_type() != EventType::EV_SEPARATOR {
            let claimed = event.claimed_type();
            note(Finding::SeparatorRelabelled {
                event: index,
                pcr,
                claimed,
            });
        }
        if separator == Separator::Error {
            note(Finding::SeparatorError { event: index, pcr });
        }
        if self.separated & bit(pcr) != 0 {
            note(Finding::SeparatorRepeated { event: index, pcr });
        }
        self.separated |= bit(pcr);
        let only = self.candidate(pcr).is_some_and(|count| *count == 1);
        Fact {
            event,
            value: Value::Separator(separator),
            coverage: Coverage::Digest,
            proven: pcr == 7 || only,
        }
    }

    /// What the digest covers; settles which part of a UKI section it is.
    fn coverage(&self, event: Event<'l>, value: &mut Value<'l>) -> Coverage {
        if event.data_proof(self.bank) == DataProof::Proven {
            return Coverage::Event;
        }
        match value {
            Value::Variable(variable) if event.measures(self.bank, &[variable.data]) => {
                Coverage::VariableData
            }
            // GRUB measures the text, the GRUB of RHEL 8 with its terminator.
            Value::LoaderText(loader)
                if event.measures(self.bank, &[loader.text.as_bytes()])
                    || event.measures(self.bank, &[loader.text.as_bytes(), b"\0"]) =>
            {
                Coverage::Value
            }
            // Older shim logs one byte more than it measures.
            Value::Authority(authority) if authority.stray > 0 => {
                let measured = event.data().split_last().map(|(_, measured)| measured);
                match measured {
                    Some(measured) if event.measures(self.bank, &[measured]) => Coverage::Value,
                    _ => Coverage::Nothing,
                }
            }
            Value::UkiSection(section)
                if event.measures(self.bank, &[measured_name(section.name).as_bytes()]) =>
            {
                section.part = SectionPart::Name;
                Coverage::Value
            }
            _ => Coverage::Nothing,
        }
    }

    /// Whether the event is where only such a measurement can be.
    fn is_in_place(
        &mut self,
        event: Event<'l>,
        value: &Value<'l>,
        note: &mut dyn FnMut(Finding),
    ) -> bool {
        let (index, pcr) = (event.index(), event.pcr());
        let separated = self.separated & bit(pcr) != 0;
        match value {
            Value::SecureBootVariable(variable) => {
                let first = self
                    .variables
                    .insert((variable.vendor, variable.name.as_bytes()));
                if separated {
                    note(Finding::ConfigurationAfterSeparator { event: index });
                } else if !first {
                    note(Finding::ConfigurationRepeated { event: index });
                }
                !separated && first
            }
            Value::Authority(authority) => {
                let variable = &authority.variable;
                // Whatever is first of its name before the separator is the
                // variable itself, under a changed label.
                let first = self
                    .variables
                    .insert((variable.vendor, variable.name.as_bytes()));
                let is_entry = !matches!(authority.entry, AuthorityEntry::Other(_));
                separated || (!first && is_entry)
            }
            Value::Variable(_) => matches!(pcr, 1 | 3 | 5),
            Value::PartitionTable(_) => {
                pcr == 5 && !std::mem::replace(&mut self.partition_table, true)
            }
            Value::Action(action) => matches!(pcr, 4..=7) && action.known.is_some(),
            Value::FirmwareVersion(_) => pcr == 0 && self.extended & bit(0) == 0,
            Value::LoaderText(_) => pcr == 8,
            Value::UkiSection(_) => pcr == 11,
            Value::CommandLine(_) => matches!(pcr, 8 | 12),
            _ => false,
        }
    }
}

/// How PCR 0 started.
pub(super) struct Startup {
    /// Last byte of its first value.
    pub(super) locality: u8,
    /// What is odd about how the log says so.
    pub(super) findings: Vec<Finding>,
}

/// Startup locality and H-CRTM (§10.4.5.3; TPM 2.0 Library Part 1 §"H-CRTM").
/// A claim, like all that is not in a digest; a false one breaks the replay of
/// PCR 0. A claim out of place is not followed.
pub(super) fn startup(log: &BootLog<'_>) -> Startup {
    let mut findings = Vec::new();
    let mut stated = None;
    let mut hcrtm = false;
    let mut extended = false;
    for event in log.events() {
        let (index, pcr) = (event.index(), event.pcr());
        if event.claimed_type() == EventType::EV_NO_ACTION {
            if !event.data().starts_with(NoAction::STARTUP_LOCALITY) {
                continue;
            }
            match NoAction::of(event.data()) {
                _ if pcr != 0 || extended => {
                    findings.push(Finding::LocalityMisplaced { event: index });
                }
                _ if stated.is_some() => findings.push(Finding::LocalityRepeated { event: index }),
                NoAction::StartupLocality(locality @ (0 | 3 | 4)) => stated = Some(locality),
                _ => findings.push(Finding::LocalityInvalid { event: index }),
            }
            continue;
        }
        if event.claimed_type() == EventType::EV_EFI_HCRTM_EVENT {
            if pcr != 0 || extended {
                findings.push(Finding::HcrtmMisplaced { event: index });
            } else {
                hcrtm = true;
                if matches!(stated, Some(0 | 3)) {
                    findings.push(Finding::LocalityAgainstHcrtm { event: index });
                }
            }
        }
        extended |= pcr == 0;
    }
    let locality = if hcrtm { 4 } else { stated.unwrap_or(0) };
    Startup { locality, findings }
}

fn bit(pcr: u32) -> u32 {
    1u32.checked_shl(pcr).unwrap_or(0)
}
