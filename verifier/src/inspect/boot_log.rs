//! A boot log: events, replayed PCRs, what it says and what is odd.

use std::collections::BTreeMap;

use holdfast_proto::{
    boot_log::{BootLog, Coverage, DataProof, Event, Fact, Format},
    tpm::HashAlg,
};
use serde::Serialize;
use serde_json::{Map, Value};

use super::{InspectError, MAX_BOOT_LOG_BYTES, algorithm, at_most, fact};

/// What a boot log says. Nothing in it is evidence until its PCRs are those of
/// a quote.
#[derive(Clone, Debug, Serialize)]
pub struct BootLogReport {
    /// `crypto-agile` or `sha1`.
    pub format: &'static str,
    /// The bank that facts and findings are judged by: the strongest that the
    /// log has digests for. None for a log of unknown algorithms only.
    pub bank: Option<&'static str>,
    /// In order; the Spec ID event of a crypto-agile log is 0.
    pub events: Vec<EventReport>,
    /// By bank, the PCRs that the log extends, after replay, in hex.
    pub pcrs: BTreeMap<&'static str, BTreeMap<u32, String>>,
    /// What is odd about the log, as seen with `bank`.
    pub findings: Vec<FindingReport>,
    /// Filling after the last event.
    pub padding: Option<PaddingReport>,
}

/// One event.
#[derive(Clone, Debug, Serialize)]
pub struct EventReport {
    /// Place in the log.
    pub index: usize,
    /// PCR, or measurement register.
    pub pcr: u32,
    /// What it says that it is; in no digest.
    pub claimed_type: String,
    /// Hex, by algorithm; `0x0012` and the like for unknown ones.
    pub digests: BTreeMap<String, String>,
    /// Whether the data hashes to the digest, in every bank that we know. None
    /// where there is no such digest, and for events that are not extended.
    pub digest_matches_data: Option<bool>,
    /// Bytes of event data.
    pub data_length: usize,
    /// What the data says.
    pub fact: FactReport,
}

/// What an event says.
#[derive(Clone, Debug, Serialize)]
pub struct FactReport {
    /// e.g. `secure-boot-variable`.
    pub kind: &'static str,
    /// Whether the digest, the PCR and the place prove it, given that the log
    /// replays to a quoted PCR of `bank`.
    pub proven: bool,
    /// What of the event the digest covers: `event`, `value`, `variable-data`,
    /// `digest`, `nothing`.
    pub covered: &'static str,
    /// In one line.
    pub text: String,
    /// In particulars, by `kind`.
    #[serde(flatten)]
    pub particulars: Map<String, Value>,
}

/// Something odd.
#[derive(Clone, Debug, Serialize)]
pub struct FindingReport {
    /// Stable name.
    pub code: &'static str,
    /// The event that it is about.
    pub event: Option<usize>,
    /// In one line.
    pub text: String,
}

/// Filling after the last event.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct PaddingReport {
    /// 0 or 255.
    pub byte: u8,
    /// How many.
    pub length: usize,
}

/// Reads a boot log.
///
/// # Errors
/// [`InspectError::TooLong`], [`InspectError::BootLog`].
pub fn inspect(bytes: &[u8]) -> Result<BootLogReport, InspectError> {
    at_most(bytes, MAX_BOOT_LOG_BYTES)?;
    let log = BootLog::parse(bytes)?;
    let replays: Vec<_> = log.banks().map(|bank| (bank, log.replay(bank))).collect();
    let bank = replays
        .iter()
        .filter(|(_, pcrs)| !pcrs.is_empty())
        .map(|(bank, _)| *bank)
        .max();
    // A log that extends nothing, such as a header alone, is judged by any bank.
    let judge = bank.or_else(|| log.banks().max());
    let shown = judge.unwrap_or(HashAlg::Sha256);
    let events = log
        .facts(shown)
        .map(|fact| EventReport::of(&log, &fact))
        .collect();
    let findings = log.findings(shown);
    Ok(BootLogReport {
        format: match log.format() {
            Format::CryptoAgile => "crypto-agile",
            Format::Sha1 => "sha1",
        },
        bank: judge.map(HashAlg::name),
        events,
        pcrs: replays
            .iter()
            .map(|(bank, pcrs)| {
                let values = pcrs.iter().map(|(pcr, value)| (pcr, value.to_string()));
                (bank.name(), values.collect())
            })
            .collect(),
        findings: findings
            .iter()
            .map(|finding| FindingReport {
                code: finding.code(),
                event: finding.event(),
                text: finding.to_string(),
            })
            .collect(),
        padding: log.padding().map(|padding| PaddingReport {
            byte: padding.byte,
            length: padding.len,
        }),
    })
}

impl EventReport {
    fn of(log: &BootLog<'_>, fact: &Fact<'_>) -> Self {
        let event = &fact.event;
        let (kind, text, particulars) = fact::describe(fact);
        Self {
            index: event.index(),
            pcr: event.pcr(),
            claimed_type: event.claimed_type().to_string(),
            digests: event
                .digests()
                .map(|(id, digest)| (algorithm(id), hex::encode(digest)))
                .collect(),
            digest_matches_data: matches_data(log, event),
            data_length: event.data().len(),
            fact: FactReport {
                kind,
                proven: fact.proven,
                covered: match fact.coverage {
                    Coverage::Event => "event",
                    Coverage::Value => "value",
                    Coverage::VariableData => "variable-data",
                    Coverage::Digest => "digest",
                    Coverage::Nothing => "nothing",
                },
                text,
                particulars,
            },
        }
    }
}

/// In every bank with a digest: data under one honest and one forged digest
/// does not match.
fn matches_data(log: &BootLog<'_>, event: &Event<'_>) -> Option<bool> {
    if !event.is_extended() {
        return None;
    }
    log.banks()
        .filter_map(|bank| match event.data_proof(bank) {
            DataProof::Proven => Some(true),
            DataProof::NotProven => Some(false),
            DataProof::NoDigest => None,
        })
        .reduce(|all, this| all && this)
}
