//! `input.boot_log.events`: every event that extends a PCR of the quoted bank.
//! `input.boot_log.separators` and `.actions`: how each part of the boot ended.

use holdfast_proto::boot_log::{
    Fact,
    decode::{Action as Known, Separator as State, Value},
};
use serde::Serialize;

use super::{Digest, Knowing, PROVEN};

#[derive(Default, Serialize)]
pub(super) struct Events {
    events: Vec<Event>,
    separators: Vec<Separator>,
    actions: Vec<Action>,
}

#[derive(Serialize)]
struct Event {
    event: usize,
    pcr: u32,
    claimed_type: String,
    /// What it says, by name; as `known_by` has it.
    kind: &'static str,
    known_by: &'static str,
    #[serde(flatten)]
    measured: Digest,
}

#[derive(Serialize)]
struct Separator {
    event: usize,
    pcr: u32,
    state: &'static str,
    known_by: &'static str,
}

#[derive(Serialize)]
struct Action {
    event: usize,
    pcr: u32,
    action: Option<&'static str>,
    text: String,
    known_by: &'static str,
}

impl Events {
    pub(super) fn add(&mut self, fact: &Fact<'_>, knowing: &Knowing<'_>) {
        let event = &fact.event;
        let known_by = knowing.of(fact);
        if let Some(measured) = knowing.digest(event) {
            self.events.push(Event {
                event: event.index(),
                pcr: event.pcr(),
                claimed_type: event.claimed_type().to_string(),
                kind: kind(&fact.value),
                known_by,
                measured,
            });
        }
        match &fact.value {
            Value::Separator(state) => self.separators.push(Separator {
                event: event.index(),
                pcr: event.pcr(),
                state: match state {
                    State::Ready => "ready",
                    State::Error => "error",
                },
                known_by,
            }),
            Value::Action(action) => self.actions.push(Action {
                event: event.index(),
                pcr: event.pcr(),
                action: action.known.map(action_name),
                text: action.text.to_string(),
                known_by,
            }),
            _ => {}
        }
    }
}

impl Event {
    #[allow(dead_code, reason = "tests look at what is proven")]
    fn is_proven(&self) -> bool {
        self.known_by == PROVEN
    }
}

/// As `inspect boot-log` names them.
fn kind(value: &Value<'_>) -> &'static str {
    match value {
        Value::NoAction(_) => "no-action",
        Value::Separator(_) => "separator",
        Value::SecureBootVariable(_) => "secure-boot-variable",
        Value::Variable(_) => "variable",
        Value::Authority(_) => "authority",
        Value::Image(_) => "image",
        Value::PartitionTable(_) => "partition-table",
        Value::Action(_) => "action",
        Value::FirmwareVersion(_) => "firmware-version",
        Value::FirmwareBlob(_) => "firmware-blob",
        Value::HandoffTables(_) => "handoff-tables",
        Value::LoaderText(_) => "loader-text",
        Value::LoaderFile(_) => "loader-file",
        Value::UkiSection(_) => "uki-section",
        Value::CommandLine(_) => "command-line",
        Value::Mok(_) => "mok",
        Value::Tagged(_) => "tagged",
        Value::Label(_) => "label",
        Value::Opaque(_) => "opaque",
        Value::Malformed(_) => "malformed",
        // A kind that proto learns later is nothing to a policy of today.
        _ => "other",
    }
}

fn action_name(action: Known) -> &'static str {
    match action {
        Known::CallingApplication => "calling-application",
        Known::ReturningFromApplication => "returning-from-application",
        Known::ExitBootServicesInvocation => "exit-boot-services-invocation",
        Known::ExitBootServicesSucceeded => "exit-boot-services-succeeded",
        Known::ExitBootServicesFailed => "exit-boot-services-failed",
        Known::DebugMode => "debug-mode",
        Known::DmaProtectionDisabled => "dma-protection-disabled",
    }
}
