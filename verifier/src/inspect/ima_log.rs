//! An IMA log: how many entries, which do not add up, and the PCRs after it.

use std::collections::BTreeMap;

use holdfast_proto::{
    ima_log::{Entry, Extend, Format, ImaLog, Replay},
    tpm::HashAlg,
};
use serde::Serialize;

use super::{InspectError, MAX_IMA_LOG_BYTES, at_most};

/// The PCR that IMA extends unless the owner chose another.
const IMA_PCR: u32 = 10;

/// By bank and PCR, hex.
pub type Pcrs = BTreeMap<&'static str, BTreeMap<u32, String>>;

/// What an IMA log says. Nothing in it is evidence until its PCR is that of a
/// quote.
#[derive(Clone, Debug, Serialize)]
pub struct ImaLogReport {
    /// `binary` or `ascii`.
    pub format: &'static str,
    /// How many entries.
    pub entries: u64,
    /// Entries that tell of a violation: a file written while measured, or
    /// measured while open for writing.
    pub violations: u64,
    /// Entries whose logged digest is not that of what they hold, from 0.
    pub mismatched: Vec<u64>,
    /// PCR 10, and any other that the log extends, after replay, where each
    /// bank is extended with its own digest (Linux 5.8 and later).
    pub pcrs: Pcrs,
    /// The same where the bank is extended with the SHA-1 digest and zeros
    /// (before Linux 5.8).
    pub pcrs_sha1_padded: Pcrs,
    /// How many entries of each template.
    pub templates: BTreeMap<String, u64>,
    /// Entries with a file signature. Nobody has verified them.
    pub signed: u64,
    /// Each entry, where the list was asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub list: Option<Vec<EntryReport>>,
}

/// One entry.
#[derive(Clone, Debug, Serialize)]
pub struct EntryReport {
    /// From 0.
    pub index: u64,
    /// PCR.
    pub pcr: u32,
    /// A claim: no digest covers the template's name.
    pub template: String,
    /// Template digest as logged.
    pub logged_digest: String,
    /// Whether that is the digest of what the entry holds.
    pub digest_matches_data: bool,
    /// Whether it tells of a violation.
    pub violation: bool,
    /// `<algorithm>:<hex>` of the file or buffer.
    pub file_digest: Option<String>,
    /// Path, or what a buffer is.
    pub name: Option<String>,
}

/// Reads an IMA log, in whichever format it is. `list` asks for each entry.
///
/// # Errors
/// [`InspectError::TooLong`], [`InspectError::ImaLog`].
pub fn inspect(bytes: &[u8], list: bool) -> Result<ImaLogReport, InspectError> {
    at_most(bytes, MAX_IMA_LOG_BYTES)?;
    let log = ImaLog::new(bytes);
    let mut native =
        [HashAlg::Sha1, HashAlg::Sha256].map(|bank| Replay::from_boot(bank, Extend::Native));
    let mut padded = Replay::from_boot(HashAlg::Sha256, Extend::Sha1Padded);
    let mut report = ImaLogReport {
        format: match log.format() {
            Format::Binary(_) => "binary",
            Format::Ascii => "ascii",
        },
        entries: 0,
        violations: 0,
        mismatched: Vec::new(),
        pcrs: Pcrs::new(),
        pcrs_sha1_padded: Pcrs::new(),
        templates: BTreeMap::new(),
        signed: 0,
        list: list.then(Vec::new),
    };
    for entry in log.entries() {
        let entry = entry?;
        for replay in &mut native {
            replay.push(&entry);
        }
        padded.push(&entry);
        report.push(&entry);
    }
    report.pcrs = native.iter().map(values).collect();
    report.pcrs_sha1_padded = [values(&padded)].into();
    Ok(report)
}

impl ImaLogReport {
    fn push(&mut self, entry: &Entry<'_>) {
        self.entries += 1;
        self.violations += u64::from(entry.is_violation());
        let as_logged = entry.is_as_logged();
        if !as_logged {
            self.mismatched.push(entry.index());
        }
        self.signed += u64::from(entry.signature().is_some());
        let template = entry.template().to_string();
        if let Some(list) = &mut self.list {
            list.push(EntryReport {
                index: entry.index(),
                pcr: entry.pcr(),
                template: template.clone(),
                logged_digest: hex::encode(entry.logged_digest()),
                digest_matches_data: as_logged && !entry.is_violation(),
                violation: entry.is_violation(),
                file_digest: entry
                    .file_digest()
                    .map(|digest| format!("{}:{}", digest.algorithm, hex::encode(digest.bytes))),
                name: entry.name().map(|name| name.to_string()),
            });
        }
        *self.templates.entry(template).or_default() += 1;
    }
}

fn values(replay: &Replay) -> (&'static str, BTreeMap<u32, String>) {
    let pcrs = replay.pcrs();
    let ima = pcrs.value(IMA_PCR).map(|value| (IMA_PCR, value));
    let values = pcrs.iter().chain(ima);
    (
        pcrs.bank().name(),
        values
            .map(|(pcr, value)| (pcr, value.to_string()))
            .collect(),
    )
}
