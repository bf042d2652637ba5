//! The floor: what holds whatever a policy says.
//!
//! 1. A policy that malfunctions affirms nothing; what our own comparison
//!    finds is said all the same.
//! 2. A claim that a quoted PCR concerns is not affirmed unless that PCR has
//!    reference values and equals one of them. A PCR that the owner does not
//!    want compared is left out of the required selection, not waved through.
//! 3. The status is affirming only where each of [`MANDATORY`] is.
//! 4. A claim that is not affirmed has a reason.
//! 5. The status is derived here, as the worst of the vector, or less.

use holdfast_proto::result::{Claim, Tier, TrustVector};

use super::{
    facts::Facts,
    opinion::{Opinion, OpinionError, Reason},
    pcr::{Meaning, meaning},
};
use crate::reference_values::ReferenceValues;

/// Claims without which no status is affirming.
pub const MANDATORY: [Claim; 4] = [
    Claim::InstanceIdentity,
    Claim::Hardware,
    Claim::Executables,
    Claim::Configuration,
];

/// Code of a policy that failed or was not complete. A policy cannot give it.
pub(super) const POLICY_ERROR: &str = "policy-error";
/// Code of a mandatory claim that a policy says nothing of. A policy cannot
/// give it.
pub(super) const CLAIM_NOT_MADE: &str = "claim-not-made";

/// AR4SI: the Verifier malfunctioned.
const MALFUNCTION: i8 = -1;
/// AR4SI executables: loaded, and not recognised.
const EXECUTABLES_UNRECOGNISED: i8 = 33;
/// Private value in the warning tier: configuration not recognised. (AR4SI
/// has "vulnerable" and "unacceptable", which we cannot know.)
const CONFIGURATION_UNRECOGNISED: i8 = -33;

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
    facts: &Facts,
    references: Option<&ReferenceValues>,
) -> Verdict {
    let Opinion {
        mut vector,
        mut reasons,
    } = opinion.unwrap_or_else(|fault| malfunction(&fault));
    for finding in compare(facts, references) {
        for claim in finding.claims.iter().copied() {
            if Tier::of(vector.get(claim)) < Tier::Warning {
                vector.set(claim, unrecognised(claim));
            }
        }
        // A policy that saw the same and said so in its own words is enough.
        if !reasons.iter().any(|given| says(given, &finding)) {
            reasons.push(finding);
        }
    }
    let mut ceiling = Tier::Affirming;
    for claim in MANDATORY {
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

/// Stands in for the opinion that a policy did not give.
fn malfunction(fault: &PolicyFault) -> Opinion {
    let mut vector = TrustVector::NONE;
    for claim in MANDATORY {
        vector.set(claim, MALFUNCTION);
    }
    let reason = Reason {
        code: POLICY_ERROR.to_owned(),
        claims: MANDATORY.to_vec(),
        detail: fault.to_string(),
        next_step:
            "Correct the appraisal policy (docs/policy.md) and restart the Verifier; no gateway is \
                    affirmed until then."
                .to_owned(),
    };
    Opinion {
        vector,
        reasons: vec![reason],
    }
}

/// Our own comparison of quoted PCRs with reference values.
fn compare(facts: &Facts, references: Option<&ReferenceValues>) -> Vec<Reason> {
    let class = &facts.class;
    let Some(references) = references else {
        return vec![Reason {
            code: "no-reference-values".to_owned(),
            claims: vec![Claim::Executables, Claim::Configuration],
            detail: format!("class {class:?} has no reference values to compare the quoted PCRs with"),
            next_step: "Give the class its accepted PCR values with `holdfast-verifier reference import`, then \
                        let the gateway try again."
                .to_owned(),
        }];
    };
    let compare_one = |(index, value): (&u32, &Vec<u8>)| {
        let Meaning { measures, concerns } = meaning(*index);
        let (code, detail, next_step) = match references.accepted(facts.bank, *index) {
            None => (
                "pcr-not-covered",
                format!(
                    "PCR {index} ({measures}): the reference values of class {class:?} say nothing of it"
                ),
                "Add this PCR to the class's reference values and import them, or take it out of `pcr_selection` \
                 in config.toml.",
            ),
            Some(accepted) if accepted.contains(value) => return None,
            Some(accepted) => (
                "pcr-mismatch",
                format!(
                    "PCR {index} ({measures}): expected {}, got {}",
                    expected(accepted),
                    hex::encode(value)
                ),
                "If this change was meant, import new reference values for the class; if not, keep the gateway \
                 out and find out what was started on it.",
            ),
        };
        Some(Reason {
            code: code.to_owned(),
            claims: vec![concerns],
            detail,
            next_step: next_step.to_owned(),
        })
    };
    facts.pcrs.iter().filter_map(compare_one).collect()
}

/// One value as it is; of several the first, and how many more there are.
fn expected(accepted: &std::collections::BTreeSet<Vec<u8>>) -> String {
    let first = accepted.first().map(hex::encode).unwrap_or_default();
    match accepted.len() {
        0 | 1 => first,
        count => format!("{first} or one of {} others", count.saturating_sub(1)),
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
        && (finding.code == "no-reference-values" || subject(given) == subject(finding))
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
        next_step:
            "Let the policy give a value for this claim (docs/policy.md) and restart the Verifier."
                .to_owned(),
    }
}

fn unexplained_by_policy(claims: Vec<Claim>) -> Reason {
    let names: Vec<&str> = claims.iter().map(|claim| claim.name()).collect();
    Reason {
        code: POLICY_ERROR.to_owned(),
        detail: format!("the policy gives no reason for its value of {}", names.join(", ")),
        claims,
        next_step: "Let the policy give a reason for every claim that it does not affirm (docs/policy.md) and \
                    restart the Verifier."
            .to_owned(),
    }
}
