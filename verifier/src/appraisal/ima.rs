//! What IMA measured, held against the owner's allow list: counted over the
//! whole boot, entry by entry as they come, so that an attestation costs what
//! is new.

use holdfast_proto::{
    boot_log::decode::Text,
    ima_log::{DigestKind, Entry},
};
use serde::{Deserialize, Serialize};

use crate::{
    reference_values::allow_list::{AllowList, ImaKey, Judgement},
    verification::{
        ImaEvidence, ImaPlace, ReplayedIma, SignatureBudget, SignatureVerdict, Vouched,
        verify_file_signature,
    },
};

/// Files of each kind that are named; the others are only counted. Enough to
/// see what is going on, in a reason and in the store.
pub const MAX_NAMED: usize = 16;
/// Longest name kept, in bytes, as it is shown: a policy's reasons must hold it.
const MAX_NAME: usize = 256;
/// The kernel's name of the entry that ties a log to its boot.
const BOOT_AGGREGATE: &[u8] = b"boot_aggregate";

/// What is known of a gateway's IMA log since boot: how far it was replayed,
/// and what is in it. The store keeps it from one attestation to the next.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ImaState {
    pub(super) place: ImaPlace,
    /// Id of the allow list that the files were held against, in hex.
    pub(super) allow_list: Option<String>,
    pub(super) findings: Findings,
}

/// Entries of a log since boot, by what the allow list says of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ImaCounts {
    /// Measured files and buffers.
    pub files: u64,
    /// Neither listed nor signed by a key of the list.
    pub unknown: u64,
    /// Listed, with other digests.
    pub mismatched: u64,
    /// Written while measured, or measured while open for writing.
    pub violations: u64,
}

/// What is in a log. Entries are not remembered, only counted.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Findings {
    /// Measured files and buffers.
    pub(super) files: u64,
    /// Neither listed nor signed by a key of the list.
    pub(super) unknown: Named,
    /// Listed, with other digests.
    pub(super) mismatched: Named,
    /// Written while measured, or measured while open for writing.
    pub(super) violations: Named,
    pub(super) signed: Signed,
    /// Entries of other PCRs than 10: nothing proves them.
    pub(super) other_pcrs: u64,
    /// Entries whose logged digest is not that of what they hold.
    pub(super) altered: u64,
}

/// Some files of many.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Named {
    /// How many entries.
    pub(super) count: u64,
    /// The first of them, at most [`MAX_NAMED`], each name once.
    pub(super) first: Vec<File>,
}

/// A measured file, inert.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct File {
    pub(super) path: String,
    /// `<algorithm>:<hex>`; empty for a violation, which has none.
    pub(super) digest: String,
}

/// Entries with a signature, by what it is worth.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Signed {
    pub(super) valid: u64,
    pub(super) invalid: u64,
    pub(super) unknown_key: u64,
    pub(super) unsupported: u64,
    /// Not looked at: more than one exchange may cost.
    #[serde(default)]
    pub(super) unchecked: u64,
}

impl ImaState {
    /// From verified evidence: what was known `before`, and what is new. None
    /// where the gateway sent no log that PCR 10 could prove.
    #[must_use]
    pub fn of(
        evidence: &ImaEvidence,
        before: Option<&Self>,
        list: Option<&AllowList>,
        vouched: &Vouched,
    ) -> Option<Self> {
        let ImaEvidence::Replayed(log) = evidence else {
            return None;
        };
        let known = before.filter(|_| !log.is_from_boot());
        Some(Self {
            place: log.place().clone(),
            allow_list: list.map(|list| hex::encode(list.digest())),
            findings: judge(known.map(|state| &state.findings), log, list, vouched),
        })
    }

    /// As the store keeps it.
    #[must_use]
    pub fn to_document(&self) -> String {
        serde_json::to_string(self).expect("plain structure serialises")
    }

    /// From what the store kept. What cannot be read (another version wrote
    /// it) is as good as nothing: the log is asked for from boot.
    #[must_use]
    pub fn parse(document: &str) -> Option<Self> {
        serde_json::from_str(document).ok()
    }

    /// How far the log was replayed.
    #[must_use]
    pub fn place(&self) -> &ImaPlace {
        &self.place
    }

    /// How much of what was measured, for people.
    #[must_use]
    pub fn counts(&self) -> ImaCounts {
        ImaCounts {
            files: self.findings.files,
            unknown: self.findings.unknown.count,
            mismatched: self.findings.mismatched.count,
            violations: self.findings.violations.count,
        }
    }

    /// File signatures that nobody looked at.
    pub(super) const fn unchecked_signatures(&self) -> u64 {
        self.findings.signed.unchecked
    }

    /// Whether its files were held against `list`: against another one, the
    /// log must be looked at again from boot.
    #[must_use]
    pub fn is_of(&self, list: Option<&AllowList>) -> bool {
        self.allow_list == list.map(|list| hex::encode(list.digest()))
    }
}

fn judge(
    known: Option<&Findings>,
    log: &ReplayedIma,
    list: Option<&AllowList>,
    vouched: &Vouched,
) -> Findings {
    let mut findings = known.cloned().unwrap_or_default();
    let mut budget = SignatureBudget::default();
    for entry in log.entries() {
        findings.push(&entry, list, vouched, &mut budget);
    }
    findings
}

impl Findings {
    fn push(
        &mut self,
        entry: &Entry<'_>,
        list: Option<&AllowList>,
        vouched: &Vouched,
        budget: &mut SignatureBudget,
    ) {
        self.other_pcrs += u64::from(entry.pcr() != crate::verification::IMA_PCR);
        self.altered += u64::from(!entry.is_as_logged());
        if entry.is_violation() {
            self.violations.push(entry);
            return;
        }
        let name = entry.name().map(Text::as_bytes);
        // Verification has held it against the quoted PCRs.
        if entry.index() == 0 && name == Some(BOOT_AGGREGATE) {
            return;
        }
        self.files += 1;
        let is_signed = self.signature(entry, list, vouched, budget) == SignatureVerdict::Valid;
        match judgement(entry, name, list) {
            Judgement::Known => {}
            // A listed path is what the list says, whoever signed another.
            Judgement::Mismatched => self.mismatched.push(entry),
            Judgement::Unknown if is_signed => {}
            Judgement::Unknown => self.unknown.push(entry),
        }
    }

    fn signature(
        &mut self,
        entry: &Entry<'_>,
        list: Option<&AllowList>,
        vouched: &Vouched,
        budget: &mut SignatureBudget,
    ) -> SignatureVerdict {
        let keys = |key_id| {
            list.into_iter()
                .flat_map(move |list| list.keys_of(key_id).map(ImaKey::spki_der))
        };
        let verdict = verify_file_signature(entry, keys, vouched, budget);
        let count = match verdict {
            SignatureVerdict::None => return verdict,
            SignatureVerdict::Valid => &mut self.signed.valid,
            SignatureVerdict::Invalid => &mut self.signed.invalid,
            SignatureVerdict::UnknownKey => &mut self.signed.unknown_key,
            SignatureVerdict::Unsupported => &mut self.signed.unsupported,
            SignatureVerdict::Unchecked => &mut self.signed.unchecked,
        };
        *count += 1;
        verdict
    }
}

/// What the list says. An entry without name or digest is unknown, not passed
/// over: a template's name is the sender's word, and could hide either. So is
/// one with an fs-verity digest, of which lists have none.
fn judgement(entry: &Entry<'_>, name: Option<&[u8]>, list: Option<&AllowList>) -> Judgement {
    let digest = entry
        .file_digest()
        .filter(|digest| digest.kind == DigestKind::Contents);
    match (name, digest, list) {
        (Some(name), Some(digest), Some(list)) => match digest.hash() {
            Some(alg) => list.judge(name, alg, digest.bytes),
            None => Judgement::Unknown,
        },
        _ => Judgement::Unknown,
    }
}

impl Named {
    fn push(&mut self, entry: &Entry<'_>) {
        self.count += 1;
        if self.first.len() >= MAX_NAMED {
            return;
        }
        let file = File::of(entry);
        if !self.first.contains(&file) {
            self.first.push(file);
        }
    }
}

impl File {
    fn of(entry: &Entry<'_>) -> Self {
        let name = entry.name().map(|name| name.to_string());
        let mut path = name.unwrap_or_else(|| "(no name)".to_owned());
        if path.len() > MAX_NAME {
            path.truncate(path.floor_char_boundary(MAX_NAME));
            path.push('…');
        }
        let digest = entry
            .file_digest()
            .filter(|_| !entry.is_violation())
            .map(|digest| format!("{}:{}", digest.algorithm, hex::encode(digest.bytes)));
        Self {
            path,
            digest: digest.unwrap_or_default(),
        }
    }
}
