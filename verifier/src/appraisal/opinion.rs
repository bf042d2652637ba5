//! What a policy answered, read strictly. It is an opinion, not yet a verdict:
//! the [`floor`](super::floor) decides what it may say.

use std::collections::BTreeMap;

use holdfast_proto::result::{Claim, TrustVector};
use serde::Deserialize;

use super::floor::{CLAIM_NOT_MADE, POLICY_ERROR};

/// Most reasons that a policy may give: 24 PCRs, twice, and some.
pub const MAX_REASONS: usize = 64;
/// Longest code, in bytes.
const MAX_CODE: usize = 64;
/// Longest detail or next step, in bytes. Two SHA-512 values in hex are 256.
const MAX_TEXT: usize = 1024;

/// Why a claim has the value that it has.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reason {
    /// Stable, for programs: kebab-case.
    pub code: String,
    /// The trustworthiness claims that it is about, at least one.
    pub claims: Vec<Claim>,
    /// What was seen, for people.
    pub detail: String,
    /// What the operator can do about it.
    pub next_step: String,
}

/// A vector and the reasons for it, as a policy gave them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Opinion {
    pub(super) vector: TrustVector,
    pub(super) reasons: Vec<Reason>,
}

/// Why a policy's answer is none.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum OpinionError {
    #[error("the policy gave no result")]
    Undefined,
    #[error("the result is not of the shape that docs/policy.md describes: {0}")]
    Shape(String),
    #[error("vector: {0:?} is not a trustworthiness claim")]
    UnknownClaim(String),
    #[error("{0} reasons: at most {MAX_REASONS} are taken")]
    TooManyReasons(usize),
    #[error("reason {0}: the code is not 1 to {MAX_CODE} characters of kebab-case")]
    BadCode(usize),
    #[error("reason {0}: the code `{1}` is kept for what Holdfast says of a policy")]
    ReservedCode(usize, &'static str),
    #[error("reason {0}: {1} is longer than {MAX_TEXT} bytes")]
    LongText(usize, &'static str),
    #[error("reason {0}: {1} is empty, or has control characters")]
    BadText(usize, &'static str),
    #[error("reason {0} names no trustworthiness claim")]
    NoClaim(usize),
}

impl OpinionError {
    /// Whether there is too much of it, which a gateway can bring about by what
    /// it shows: a policy says more of more. So it is not taken for a fault of the
    /// policy alone, which would leave the gateway all that it has.
    pub(super) const fn is_of_size(&self) -> bool {
        matches!(self, Self::TooManyReasons(_) | Self::LongText(..))
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Written {
    vector: BTreeMap<String, i8>,
    reasons: Vec<WrittenReason>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct WrittenReason {
    code: String,
    claims: Vec<String>,
    detail: String,
    next_step: String,
}

impl Opinion {
    /// From the JSON text of the policy's `result`.
    pub(super) fn parse(json: &str) -> Result<Self, OpinionError> {
        let written: Written =
            serde_json::from_str(json).map_err(|error| OpinionError::Shape(error.to_string()))?;
        let mut vector = TrustVector::NONE;
        for (name, value) in &written.vector {
            vector.set(claim(name)?, *value);
        }
        let count = written.reasons.len();
        if count > MAX_REASONS {
            return Err(OpinionError::TooManyReasons(count));
        }
        let reasons = written
            .reasons
            .into_iter()
            .enumerate()
            .map(|(at, reason)| parse_reason(at, reason));
        Ok(Self {
            vector,
            reasons: reasons.collect::<Result<_, _>>()?,
        })
    }
}

fn claim(name: &str) -> Result<Claim, OpinionError> {
    Claim::from_name(name)
        .ok_or_else(|| OpinionError::UnknownClaim(name.escape_debug().to_string()))
}

fn parse_reason(at: usize, written: WrittenReason) -> Result<Reason, OpinionError> {
    let WrittenReason {
        code,
        claims,
        detail,
        next_step,
    } = written;
    let kebab = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
    if code.is_empty() || code.len() > MAX_CODE || !code.chars().all(kebab) {
        return Err(OpinionError::BadCode(at));
    }
    if let Some(reserved) = [POLICY_ERROR, CLAIM_NOT_MADE]
        .into_iter()
        .find(|kept| *kept == code)
    {
        return Err(OpinionError::ReservedCode(at, reserved));
    }
    for (field, text) in [("detail", &detail), ("next_step", &next_step)] {
        if text.len() > MAX_TEXT {
            return Err(OpinionError::LongText(at, field));
        }
        if text.is_empty() || text.chars().any(char::is_control) {
            return Err(OpinionError::BadText(at, field));
        }
    }
    if claims.is_empty() {
        return Err(OpinionError::NoClaim(at));
    }
    let claims = claims
        .iter()
        .map(|name| claim(name))
        .collect::<Result<_, _>>()?;
    Ok(Reason {
        code,
        claims,
        detail,
        next_step,
    })
}
