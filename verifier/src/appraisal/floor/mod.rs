//! The floor: what holds whatever a policy says.
//!
//! 1. A policy that malfunctions affirms nothing; what our own comparison
//!    finds is said all the same. One that says more than is taken affirms
//!    nothing either, and that counts against the gateway.
//! 2. A claim that a quoted PCR concerns is not affirmed unless that PCR is
//!    accounted for, as the policy's [`Floor`] has it. A PCR that the owner does
//!    not want compared is left out of the required selection, not waved
//!    through.
//! 3. The status is affirming only where each of [`Floor::mandatory`] is.
//! 4. A claim that is not affirmed has a reason.
//! 5. Hardware is not affirmed where the TPM's endorsement does not stand any
//!    more: revoked, denied, or its firmware below the owner's floor.
//! 6. The status is derived here, as the worst of the vector, or less.

mod compare;
mod endorsement;
mod level;

use std::collections::BTreeMap;

use holdfast_proto::{
    result::{Claim, Tier, TrustVector},
    tpm::HashAlg,
};

pub(super) use self::compare::Findings;
use self::compare::findings;
pub use self::level::Floor;
use super::{
    facts::{Facts, LoggedBoot},
    ima::ImaState,
    opinion::{Opinion, OpinionError, Reason},
};
use crate::{endorsement::EndorsementStanding, reference_values::ReferenceValues};

/// Code of a policy that failed or was not complete. A policy cannot give it.
pub(super) const POLICY_ERROR: &str = "policy-error";
/// Code of a mandatory claim that a policy says nothing of. A policy cannot
/// give it.
pub(super) const CLAIM_NOT_MADE: &str = "claim-not-made";
/// Code of an answer that is larger than any that is taken.
pub(super) const ANSWER_TOO_LARGE: &str = "policy-answer-too-large";

/// AR4SI: nothing is claimed.
const NO_CLAIM: i8 = 0;
/// AR4SI: the Verifier malfunctioned.
const MALFUNCTION: i8 = -1;
/// AR4SI executables: loaded, and not recognised.
const EXECUTABLES_UNRECOGNISED: i8 = 33;
/// Private value in the warning tier: configuration not recognised. (AR4SI
/// has "vulnerable" and "unacceptable", which we cannot know.)
const CONFIGURATION_UNRECOGNISED: i8 = -33;

/// What the floor goes by, and no more: what decides a verdict is in the memo's
/// key ([`input::key`](super::input::key)), so this is too.
pub(super) struct Grounds<'a> {
    class: &'a str,
    bank: HashAlg,
    pcrs: &'a BTreeMap<u32, Vec<u8>>,
    /// Of an IMA log that was replayed to the quoted PCR, the file signatures
    /// that were not looked at.
    ima_unchecked: Option<u64>,
    boot_log: Option<&'a LoggedBoot>,
    standing: &'a EndorsementStanding,
}

impl<'a> Grounds<'a> {
    pub(super) fn of(facts: &'a Facts) -> Self {
        Self {
            class: &facts.class,
            bank: facts.bank,
            pcrs: &facts.pcrs,
            ima_unchecked: facts.ima.as_ref().map(ImaState::unchecked_signatures),
            boot_log: facts.boot_log.as_ref(),
            standing: &facts.standing,
        }
    }
}

/// The repeatable part of an appraisal.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Verdict {
    pub(super) vector: TrustVector,
    pub(super) status: Tier,
    pub(super) reasons: Vec<Reason>,
}

impl Verdict {
    /// Whether the policy alone is at fault: nothing at all is said of the
    /// gateway.
    pub(super) fn is_malfunction(&self) -> bool {
        let of_policy = |reason: &Reason| [POLICY_ERROR, CLAIM_NOT_MADE].contains(&&*reason.code);
        self.status == Tier::None && self.reasons.iter().all(of_policy)
    }
}

/// Puts the floor beneath an opinion.
pub(super) fn verdict(
    opinion: Result<Opinion, PolicyFault>,
    floor: Floor,
    grounds: &Grounds<'_>,
    references: Option<&ReferenceValues>,
) -> Verdict {
    let mut found = findings(floor, grounds, references);
    found.add_standing(grounds.standing);
    conclude(opinion, floor, found)
}

/// All of the floor but our own comparison, whose findings come in.
pub(super) fn conclude(
    opinion: Result<Opinion, PolicyFault>,
    floor: Floor,
    findings: Findings,
) -> Verdict {
    let Opinion {
        mut vector,
        mut reasons,
    } = opinion.unwrap_or_else(|fault| malfunction(&fault, floor));
    let Findings {
        against,
        unfounded,
        told,
    } = findings;
    for finding in &against {
        for claim in &finding.claims {
            let value = match claim {
                Claim::Hardware => endorsement::hardware(&finding.code),
                claim => unrecognised(*claim),
            };
            if Tier::of(vector.get(*claim)) < Tier::of(value) {
                vector.set(*claim, value);
            }
        }
    }
    for claim in unfounded {
        if Tier::of(vector.get(claim)) == Tier::Affirming {
            vector.set(claim, NO_CLAIM);
        }
    }
    for finding in against.into_iter().chain(told) {
        // A policy that saw the same and said so in its own words is enough.
        if !reasons.iter().any(|given| says(given, &finding)) {
            reasons.push(finding);
        }
    }
    let mut ceiling = Tier::Affirming;
    for claim in floor.mandatory().iter().copied() {
        if Tier::of(vector.get(claim)) != Tier::Affirming {
            ceiling = Tier::None;
            if vector.get(claim) == 0
                && !reasons.iter().any(|reason| reason.claims.contains(&claim))
            {
                reasons.push(not_made(claim));
            }
        }
    }
    let unexplained: Vec<Claim> = vector
        .made()
        .filter(|(_, value)| Tier::of(*value) != Tier::Affirming)
        .map(|(claim, _)| claim)
        .filter(|claim| !reasons.iter().any(|reason| reason.claims.contains(claim)))
        .collect();
    if !unexplained.is_empty() {
        ceiling = Tier::None;
        reasons.push(unexplained_by_policy(unexplained));
    }
    Verdict {
        vector,
        status: vector.tier().worse(ceiling),
        reasons,
    }
}

/// Why a policy gave no opinion.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum PolicyFault {
    #[error("the policy ran longer than {0} ms")]
    TimeLimit(u128),
    #[error("the policy failed: {0}")]
    Failed(String),
    #[error(transparent)]
    Answer(#[from] OpinionError),
}

impl PolicyFault {
    const fn is_of_size(&self) -> bool {
        matches!(self, Self::Answer(error) if error.is_of_size())
    }
}

/// Stands in for the opinion that a policy did not give.
fn malfunction(fault: &PolicyFault, floor: Floor) -> Opinion {
    let mut vector = TrustVector::NONE;
    for claim in floor.mandatory() {
        vector.set(*claim, MALFUNCTION);
    }
    let (code, next_step) = if fault.is_of_size() {
        (
            ANSWER_TOO_LARGE,
            "Let the policy cut the texts of its reasons and give the first of many (docs/policy.md), \
             apply it (holdfast-verifier policy apply), and look at what this gateway shows \
             (inspect boot-log, inspect ima-log): it shows more than others.",
        )
    } else {
        (
            POLICY_ERROR,
            "Correct the appraisal policy (docs/policy.md) and apply it (holdfast-verifier policy \
             apply); no gateway is affirmed until then.",
        )
    };
    let reason = Reason {
        code: code.to_owned(),
        claims: floor.mandatory().to_vec(),
        detail: fault.to_string(),
        next_step: next_step.to_owned(),
    };
    Opinion {
        vector,
        reasons: vec![reason],
    }
}

/// Whether a reason of the policy already says what a finding says: the same
/// code about the same PCR (details begin with "PCR n ").
fn says(given: &Reason, finding: &Reason) -> bool {
    let subject = |reason: &Reason| {
        reason
            .detail
            .split_whitespace()
            .take(2)
            .collect::<Vec<_>>()
            .join(" ")
    };
    given.code == finding.code
        && finding
            .claims
            .iter()
            .all(|claim| given.claims.contains(claim))
        && (compare::is_about_all(&finding.code) || subject(given) == subject(finding))
}

fn unrecognised(claim: Claim) -> i8 {
    match claim {
        Claim::Configuration => CONFIGURATION_UNRECOGNISED,
        _ => EXECUTABLES_UNRECOGNISED,
    }
}

fn not_made(claim: Claim) -> Reason {
    Reason {
        code: CLAIM_NOT_MADE.to_owned(),
        claims: vec![claim],
        detail: format!(
            "the policy says nothing of {}, without which no gateway is affirmed",
            claim.name()
        ),
        next_step: "Let the policy give a value for this claim (docs/policy.md), and apply it \
                    (holdfast-verifier policy apply)."
            .to_owned(),
    }
}

fn unexplained_by_policy(claims: Vec<Claim>) -> Reason {
    let names: Vec<&str> = claims.iter().map(|claim| claim.name()).collect();
    Reason {
        code: POLICY_ERROR.to_owned(),
        detail: format!("the policy gives no reason for its value of {}", names.join(", ")),
        claims,
        next_step: "Let the policy give a reason for every claim that it does not affirm (docs/policy.md), and \
                    apply it (holdfast-verifier policy apply)."
            .to_owned(),
    }
}
