//! Drift: in what a gateway's boot differs from the golden one, in words.
//! In: quoted PCRs, what is accepted, two boot logs. Out: [`Drift`].
//!
//! Nothing is decided here, and no more is told than is known. A PCR whose
//! quoted value its log does not replay to is not explained by that log, and
//! so none of its words are repeated. Of the others each change says whether
//! it is *proven* (digests that replay to the quote cover the words, on both
//! sides) or *claimed* (what changed is in the digests; what it is called is
//! the log's word alone). Texts of devices come out inert and cut.

mod story;
#[cfg(test)]
mod tests;
mod words;

use std::collections::{BTreeMap, BTreeSet};

use holdfast_proto::{boot_log::BootLog, tpm::HashAlg};

use self::story::Story;
use crate::{appraisal::measures, reference_values::ReferenceValues, verification::IMA_PCR};

/// Most changes told. An update has a handful; the rest is counted.
pub const MAX_CHANGES: usize = 64;

/// What is compared.
#[derive(Debug, Clone, Copy)]
pub struct Boots<'a> {
    /// Bank of the quote.
    pub bank: HashAlg,
    /// Quoted PCRs, verified.
    pub quoted: &'a BTreeMap<u32, Vec<u8>>,
    /// The boot log that came with the quote.
    pub log: Option<&'a [u8]>,
    /// What is accepted now.
    pub accepted: Option<&'a ReferenceValues>,
    /// The log of a boot that is good.
    pub golden: Option<&'a [u8]>,
}

/// In what a boot differs from what is accepted.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Drift {
    /// The quoted PCRs that are not accepted, ascending.
    pub pcrs: Vec<PcrDrift>,
    /// What the logs say of them, gravest first.
    pub changes: Vec<Change>,
    /// How many more changes there are.
    pub untold: usize,
}

/// A quoted PCR that is not accepted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PcrDrift {
    /// Which.
    pub index: u32,
    /// What it measures.
    pub measures: &'static str,
    /// The accepted values; empty where the set says nothing of it.
    pub accepted: Vec<Vec<u8>>,
    /// The quoted value.
    pub quoted: Vec<u8>,
    /// Why no change speaks of it; `None` where one does.
    pub silent: Option<Silence>,
}

/// Why the logs do not say what changed in a PCR.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Silence {
    /// No log came.
    #[error("the gateway sent no boot log")]
    NoLog,
    /// It does not parse.
    #[error("its boot log does not read as one")]
    Unreadable,
    /// It tells of another boot.
    #[error("the log does not say why (it does not replay to the quoted value)")]
    NotReplayed,
    /// There is nothing to compare with.
    #[error("there is no boot log of a good boot to compare with")]
    NoGolden,
    /// Both tell the same, and yet one replays to the quote.
    #[error("the log does not say why (it tells what the golden one tells)")]
    Same,
}

/// One thing that changed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Change {
    /// In words, inert.
    pub text: String,
    /// The PCRs that show it.
    pub pcrs: BTreeSet<u32>,
    /// Whether the words are proven; else they are the logs' claim.
    pub proven: bool,
}

impl Drift {
    /// Compares. PCR 10 counts only where the owner gave it a value: else it is
    /// the IMA log that tells of it, and no boot.
    #[must_use]
    pub fn of(boots: &Boots<'_>) -> Self {
        let drifted: Vec<u32> = boots
            .quoted
            .iter()
            .filter(|(index, value)| {
                let accepted = boots
                    .accepted
                    .and_then(|set| set.accepted(boots.bank, **index));
                match accepted {
                    Some(accepted) => !accepted.contains(*value),
                    None => **index != IMA_PCR,
                }
            })
            .map(|(index, _)| *index)
            .collect();
        if drifted.is_empty() {
            return Self::default();
        }
        let mut silences = BTreeMap::new();
        let mut changes = changes(boots, &drifted, &mut silences);
        let untold = changes.len().saturating_sub(MAX_CHANGES);
        changes.truncate(MAX_CHANGES);
        let pcrs = drifted.into_iter().map(|index| PcrDrift {
            index,
            measures: measures(index),
            accepted: boots
                .accepted
                .and_then(|set| set.accepted(boots.bank, index))
                .map(|values| values.iter().cloned().collect())
                .unwrap_or_default(),
            quoted: boots.quoted.get(&index).cloned().unwrap_or_default(),
            silent: silences.get(&index).copied(),
        });
        Self {
            pcrs: pcrs.collect(),
            changes,
            untold,
        }
    }

    /// Whether every quoted PCR is accepted.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.pcrs.is_empty()
    }

    /// A line for each change and each PCR that no change speaks of.
    #[must_use]
    pub fn lines(&self) -> Vec<String> {
        let known = |proven| if proven { "proven" } else { "claimed" };
        let told = self
            .changes
            .iter()
            .map(|change| format!("{} [{}]", change.text, known(change.proven)));
        let untold = (self.untold > 0).then(|| format!("{} more changes", self.untold));
        let silent = self.pcrs.iter().filter_map(|pcr| {
            let why = pcr.silent?;
            Some(format!(
                "PCR {} ({}) changed and {why}",
                pcr.index, pcr.measures
            ))
        });
        told.chain(untold).chain(silent).collect()
    }
}

/// What the logs say of the drifted PCRs; why not goes to `silences`.
fn changes(
    boots: &Boots<'_>,
    drifted: &[u32],
    silences: &mut BTreeMap<u32, Silence>,
) -> Vec<Change> {
    let mut all_silent = |silence| {
        silences.extend(drifted.iter().map(|index| (*index, silence)));
        Vec::new()
    };
    let Some(log) = boots.log else {
        return all_silent(Silence::NoLog);
    };
    let Ok(log) = BootLog::parse(log) else {
        return all_silent(Silence::Unreadable);
    };
    let replay = log.replay(boots.bank);
    let told: Vec<u32> = drifted
        .iter()
        .copied()
        .filter(|index| {
            let value = replay
                .value(*index)
                .map(|digest| digest.as_bytes().to_vec());
            let replayed = value.as_ref() == boots.quoted.get(index);
            if !replayed {
                silences.insert(*index, Silence::NotReplayed);
            }
            replayed
        })
        .collect();
    let Some(golden) = boots.golden.and_then(|golden| BootLog::parse(golden).ok()) else {
        silences.extend(told.iter().map(|index| (*index, Silence::NoGolden)));
        return Vec::new();
    };
    let golden_replay = golden.replay(boots.bank);
    // A golden log vouches for its words only where it replays to a value
    // that is accepted.
    let vouched = |index: u32| {
        let accepted = boots
            .accepted
            .and_then(|set| set.accepted(boots.bank, index));
        let value = golden_replay.value(index).map(|digest| digest.as_bytes());
        accepted
            .zip(value)
            .is_some_and(|(accepted, value)| accepted.contains(value))
    };
    let before = Story::of(&golden, boots.bank, &told);
    let after = Story::of(&log, boots.bank, &told);
    let changes = words::changes(&before, &after, vouched);
    for index in told {
        if !changes.iter().any(|change| change.pcrs.contains(&index)) {
            silences.insert(index, Silence::Same);
        }
    }
    changes
}
