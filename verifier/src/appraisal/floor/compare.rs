//! Our own comparison of quoted PCRs with reference values and boot log.

use std::collections::BTreeSet;

use holdfast_proto::result::Claim;

use super::{Floor, Grounds, Reason, ReferenceValues};
use crate::{
    appraisal::pcr::{Meaning, meaning},
    verification::{IMA_PCR, MAX_INVALID_SIGNATURES, MAX_SIGNATURES, PcrRelation},
};

const NO_REFERENCE_VALUES: &str = "no-reference-values";
const PCR_NOT_COVERED: &str = "pcr-not-covered";
const PCR_MISMATCH: &str = "pcr-mismatch";
const BOOT_LOG_MISSING: &str = "boot-log-missing";
const BOOT_LOG_MISMATCH: &str = "boot-log-mismatch";
const IMA_SIGNATURES_UNCHECKED: &str = "ima-signatures-unchecked";

/// PCRs that firmware must measure into on every boot (PC Client PFP §3.3.4):
/// none of them is empty on a machine that measures at all.
const LAST_FIRMWARE_PCR: u32 = 7;

/// What the comparison found.
#[derive(Debug, Default)]
pub(in crate::appraisal) struct Findings {
    /// Against the claims that each names.
    pub(super) against: Vec<Reason>,
    /// Claims that nothing was compared for, so that none can be affirmed.
    pub(super) unfounded: BTreeSet<Claim>,
    /// For the owner to know; against nothing.
    pub(super) told: Vec<Reason>,
}

pub(super) fn findings(
    floor: Floor,
    grounds: &Grounds<'_>,
    references: Option<&ReferenceValues>,
) -> Findings {
    let mut findings = by_floor(floor, grounds, references);
    findings.against.extend(unchecked(grounds));
    findings
}

fn by_floor(floor: Floor, grounds: &Grounds<'_>, references: Option<&ReferenceValues>) -> Findings {
    match floor {
        Floor::ReferenceValues => Findings {
            against: by_reference(grounds, references),
            told: unexplained(grounds).into_iter().collect(),
            ..Findings::default()
        },
        Floor::BootLog => {
            let against = by_log(grounds, references);
            // A PCR that only its reference value accounts for.
            let told = unexplained(grounds).filter(|_| against.is_empty());
            Findings {
                against,
                told: told.into_iter().collect(),
                ..Findings::default()
            }
        }
        Floor::Hardware => {
            let unfounded = by_log(grounds, references).into_iter();
            let differing = by_reference(grounds, references).into_iter();
            Findings {
                unfounded: unfounded.flat_map(|reason| reason.claims).collect(),
                told: differing
                    .filter(|reason| reason.code == PCR_MISMATCH)
                    .chain(unexplained(grounds))
                    .collect(),
                ..Findings::default()
            }
        }
    }
}

/// Whether reasons with this code are about a whole appraisal, rather than one
/// PCR.
pub(super) fn is_about_all(code: &str) -> bool {
    [
        NO_REFERENCE_VALUES,
        BOOT_LOG_MISSING,
        IMA_SIGNATURES_UNCHECKED,
    ]
    .contains(&code)
}

/// That signatures of files were left unverified: what nobody looked at is not
/// affirmed, whatever a policy makes of the counts.
fn unchecked(grounds: &Grounds<'_>) -> Option<Reason> {
    let count = grounds.ima_unchecked.filter(|count| *count > 0)?;
    Some(Reason {
        code: IMA_SIGNATURES_UNCHECKED.to_owned(),
        claims: vec![Claim::Executables],
        detail: format!(
            "{count} file signatures of the IMA log were not verified: one exchange verifies {MAX_SIGNATURES} that \
             are new, and no more after {MAX_INVALID_SIGNATURES} that are invalid"
        ),
        next_step: "Let the gateway try again: those that were verified are remembered, and the next ones are \
                    looked at. If it stays so, files have signatures that do not verify: list those files by digest \
                    (`reference import`), or let the kernel measure fewer."
            .to_owned(),
    })
}

/// Each quoted PCR equals a reference value.
fn by_reference(grounds: &Grounds<'_>, references: Option<&ReferenceValues>) -> Vec<Reason> {
    let class = grounds.class;
    let Some(references) = references else {
        return vec![Reason {
            code: NO_REFERENCE_VALUES.to_owned(),
            claims: vec![Claim::Executables, Claim::Configuration],
            detail: format!(
                "class {class:?} has no reference values to compare the quoted PCRs with"
            ),
            next_step: "Give the class its accepted PCR values with `holdfast-verifier reference import`, then \
                        let the gateway try again."
                .to_owned(),
        }];
    };
    let quoted = grounds.pcrs.iter();
    quoted
        .filter_map(|(index, value)| by_reference_one(grounds, references, *index, value))
        .collect()
}

fn by_reference_one(
    grounds: &Grounds<'_>,
    references: &ReferenceValues,
    index: u32,
    value: &[u8],
) -> Option<Reason> {
    let Meaning { measures, concerns } = meaning(index);
    let (code, detail, next_step) = match references.accepted(grounds.bank, index) {
        None => (
            PCR_NOT_COVERED,
            format!(
                "PCR {index} ({measures}): the reference values of class {:?} say nothing of it",
                grounds.class
            ),
            "Add this PCR to the class's reference values and import them, or take it out of `pcr_selection` \
             in config.toml.",
        ),
        Some(accepted) if accepted.contains(value) => return None,
        Some(accepted) => (
            PCR_MISMATCH,
            format!(
                "PCR {index} ({measures}): expected {}, got {}",
                expected(accepted),
                hex::encode(value)
            ),
            "If this change was meant, look at it with `reference diff` and accept it with `gateway approve`, or \
             import new reference values for the class; if not, keep the gateway \
             out and find out what was started on it.",
        ),
    };
    Some(Reason {
        code: code.to_owned(),
        claims: vec![concerns],
        detail,
        next_step: next_step.to_owned(),
    })
}

/// Each quoted PCR equals a reference value, or the boot log explains it.
fn by_log(grounds: &Grounds<'_>, references: Option<&ReferenceValues>) -> Vec<Reason> {
    let mut reasons = Vec::new();
    let mut missing = BTreeSet::new();
    for (index, value) in grounds.pcrs {
        let accepted = references.and_then(|set| set.accepted(grounds.bank, *index));
        if accepted.is_some_and(|accepted| accepted.contains(value)) {
            continue;
        }
        // What IMA measured was replayed to the quoted value.
        if *index == IMA_PCR && grounds.ima_unchecked.is_some() {
            continue;
        }
        let Some(boot) = grounds.boot_log else {
            missing.insert(meaning(*index).concerns);
            continue;
        };
        match boot.relations.get(index) {
            Some(PcrRelation::Explained) => {}
            Some(PcrRelation::Empty) if *index > LAST_FIRMWARE_PCR => {}
            Some(PcrRelation::Outside) | None => reasons.push(outside(*index)),
            Some(relation) => reasons.push(unexplained_one(*index, value, *relation, grounds)),
        }
    }
    if !missing.is_empty() {
        reasons.insert(0, log_missing(missing));
    }
    reasons
}

fn log_missing(claims: BTreeSet<Claim>) -> Reason {
    Reason {
        code: BOOT_LOG_MISSING.to_owned(),
        claims: claims.into_iter().collect(),
        detail: "the policy goes by the boot log, and the gateway sent none".to_owned(),
        next_step: "Let the attester read the log (as root, or by --boot-log), and let the gateway try again; or \
                    use a policy that goes by reference values."
            .to_owned(),
    }
}

fn outside(index: u32) -> Reason {
    let Meaning { measures, concerns } = meaning(index);
    Reason {
        code: PCR_NOT_COVERED.to_owned(),
        claims: vec![concerns],
        detail: format!(
            "PCR {index} ({measures}): no boot log accounts for it, and no reference value is equal to it"
        ),
        next_step:
            "Give the class a reference value for this PCR, or take it out of `pcr_selection` in \
                    config.toml."
                .to_owned(),
    }
}

fn unexplained_one(
    index: u32,
    value: &[u8],
    relation: PcrRelation,
    grounds: &Grounds<'_>,
) -> Reason {
    let Meaning { measures, concerns } = meaning(index);
    let quoted = hex::encode(value);
    let replayed = grounds
        .boot_log
        .as_ref()
        .and_then(|boot| boot.log.replayed(index));
    let detail = match (relation, replayed) {
        (PcrRelation::Empty, _) => {
            format!(
                "PCR {index} ({measures}): nothing was measured into it, which no firmware does that measures"
            )
        }
        (_, Some(replayed)) => {
            format!(
                "PCR {index} ({measures}): the boot log gives {replayed}, the quote has {quoted}"
            )
        }
        (_, None) => {
            format!(
                "PCR {index} ({measures}): the boot log has no event of it, the quote has {quoted}"
            )
        }
    };
    Reason {
        code: BOOT_LOG_MISMATCH.to_owned(),
        claims: vec![concerns],
        detail,
        next_step: next_step(index).to_owned(),
    }
}

fn next_step(index: u32) -> &'static str {
    if index > LAST_FIRMWARE_PCR {
        "If the operating system extends this PCR after the boot (systemd does so with 11 and 15), take it out of \
         `pcr_selection` in config.toml or give it a reference value; if not, keep the gateway out and find out why \
         its boot log is not that of its boot."
    } else {
        "Keep the gateway out and find out why its boot log is not that of its boot: it was changed, cut short, or \
         is of another boot (`holdfast-verifier inspect boot-log` shows it)."
    }
}

/// That the log does not explain what it should, in one reason, where PCRs are
/// judged by something else.
fn unexplained(grounds: &Grounds<'_>) -> Option<Reason> {
    let boot = grounds.boot_log?;
    let pcrs: Vec<u32> = boot
        .relations
        .iter()
        .filter(|(index, relation)| match relation {
            PcrRelation::Mismatched => true,
            // A log of another bank tells nothing, and contradicts nothing.
            PcrRelation::Untold => **index <= LAST_FIRMWARE_PCR && boot.log.tells(),
            _ => false,
        })
        .map(|(index, _)| *index)
        .collect();
    let claims: BTreeSet<Claim> = pcrs.iter().map(|index| meaning(*index).concerns).collect();
    let names: Vec<String> = pcrs.iter().map(u32::to_string).collect();
    let last = pcrs.last()?;
    Some(Reason {
        code: BOOT_LOG_MISMATCH.to_owned(),
        claims: claims.into_iter().collect(),
        detail: format!(
            "PCR {}: the boot log does not give the quoted values; nothing that it says of them counts",
            names.join(", ")
        ),
        next_step: next_step(*last).to_owned(),
    })
}

/// One value as it is; of several the first, and how many more there are.
fn expected(accepted: &BTreeSet<Vec<u8>>) -> String {
    let first = accepted.first().map(hex::encode).unwrap_or_default();
    match accepted.len() {
        0 | 1 => first,
        count => format!("{first} or one of {} others", count.saturating_sub(1)),
    }
}
