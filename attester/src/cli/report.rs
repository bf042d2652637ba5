//! What the operator sees: words as things happen, or one JSON object at the
//! end.

use std::fmt::Display;
use std::io::Write as _;
use std::process::ExitCode;
use std::time::Duration;

use holdfast_proto::grpc::v1;
use serde_json::{Value, json};

use crate::AttesterError;
use crate::client::{ClientError, Verdict};
pub(super) use crate::dates::date;
use crate::enrolment::parse_selection;
use crate::state::StateError;
use crate::tpm::TpmError;

/// Said when approvals came with a verdict.
pub(super) const APPROVALS_TAKEN: &str =
    "Approvals of boot states for sealed secrets came along, and were kept.";
/// Done.
pub(super) const DONE: u8 = 0;
/// Refused, with the reason.
pub(super) const REFUSED: u8 = 1;
/// Bad input or usage.
const BAD_INPUT: u8 = 2;

/// Why a command ended early.
#[derive(Debug)]
pub(super) struct Failure {
    code: u8,
    problem: String,
    next_step: String,
    kind: Option<String>,
}

impl Failure {
    /// Whether the owner must approve this gateway first.
    pub(super) fn is_awaiting_approval(&self) -> bool {
        self.kind.as_deref() == Some("awaiting-approval")
    }

    pub(super) fn refused(problem: impl Display, next_step: impl Display) -> Self {
        Self {
            code: REFUSED,
            problem: problem.to_string(),
            next_step: next_step.to_string(),
            kind: None,
        }
    }

    pub(super) fn bad_input(problem: impl Display, next_step: impl Display) -> Self {
        Self {
            code: BAD_INPUT,
            problem: problem.to_string(),
            next_step: next_step.to_string(),
            kind: None,
        }
    }
}

/// For the log of a daemon.
impl Display for Failure {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}: {}", self.problem, self.next_step)
    }
}

impl From<AttesterError> for Failure {
    fn from(error: AttesterError) -> Self {
        let kind = match &error {
            AttesterError::Client(client) => client.kind().map(str::to_owned),
            _ => None,
        };
        Self {
            kind,
            ..Self::refused(&error, error.next_step())
        }
    }
}

impl From<TpmError> for Failure {
    fn from(error: TpmError) -> Self {
        Self::refused(&error, error.next_step())
    }
}

impl From<StateError> for Failure {
    fn from(error: StateError) -> Self {
        Self::refused(&error, error.next_step())
    }
}

impl From<ClientError> for Failure {
    fn from(error: ClientError) -> Self {
        Self::refused(&error, error.next_step())
    }
}

#[derive(Debug)]
pub(super) struct Report {
    json: bool,
}

impl Report {
    pub(super) fn new(json: bool) -> Self {
        Self { json }
    }

    /// A line for people.
    pub(super) fn say(&self, line: impl Display) {
        if !self.json {
            print(line);
        }
    }

    /// What the Verifier wants beside full attestations.
    pub(super) fn heartbeats_required(&self, within: Duration) {
        self.say(format_args!(
            "The verifier requires heartbeats of this gateway, and suspends it unless they begin \
             within {} s: holdfast-attester run --heartbeats",
            within.as_secs()
        ));
    }

    /// The result for programs.
    pub(super) fn result(&self, value: &Value) {
        if self.json {
            print(format_args!("{value:#}"));
        }
    }

    pub(super) fn failure(&self, failure: &Failure) -> ExitCode {
        if self.json {
            let value = json!({
                "outcome": "error",
                "error": failure.problem,
                "next_step": failure.next_step,
            });
            print(format_args!("{value:#}"));
        } else {
            let _ = writeln!(
                std::io::stderr(),
                "error: {}\n  next step: {}",
                failure.problem,
                failure.next_step
            );
        }
        ExitCode::from(failure.code)
    }

    /// The reasons of a verdict.
    pub(super) fn reasons(&self, verdict: &Verdict) {
        for reason in &verdict.reasons {
            self.say(format_args!("  {}: {}", reason.code, reason.detail));
            if !reason.next_step.is_empty() {
                self.say(format_args!("    next step: {}", reason.next_step));
            }
        }
    }
}

/// A reader that went away is no reason to stop, least of all in the middle of
/// an enrolment (`println!` would panic).
fn print(line: impl Display) {
    let _ = writeln!(std::io::stdout(), "{line}");
}

pub(super) fn reasons_json(reasons: &[v1::Reason]) -> Value {
    reasons
        .iter()
        .map(|r| json!({ "code": r.code, "detail": r.detail, "next_step": r.next_step }))
        .collect()
}

/// A challenge's PCR selection as tpm2-tools write it, e.g. "sha256:0,1,7".
pub(super) fn pcrs(selection: Option<&v1::PcrSelection>) -> String {
    parse_selection(selection).map_or_else(|e| e.to_string(), |selection| selection.to_string())
}
