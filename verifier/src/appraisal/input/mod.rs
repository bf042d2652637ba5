//! Verified claims as the policy reads them: one JSON tree in which every
//! part says how it is known, one file for each branch. `docs/policy.md`
//! describes it field by field.

mod boot_log;
mod claims;
mod endorsement;
mod gateway;
mod ima;
mod key;
mod quote;
mod reference;

use serde::Serialize;

use self::{
    boot_log::BootLog, claims::Claims, endorsement::Endorsement, gateway::Gateway, ima::Ima,
    key::Key, quote::Quote, reference::Reference,
};
use super::facts::Facts;
use crate::reference_values::ReferenceValues;

/// Version of the input tree; it changes when a field changes its meaning.
pub(super) const FORMAT: &str = "holdfast-appraisal-input-1";

#[derive(Serialize)]
struct Input<'a> {
    format: &'static str,
    gateway: Gateway<'a>,
    endorsement: Endorsement<'a>,
    ak: Key<'a>,
    ldevid: Key<'a>,
    quote: Quote,
    claims: Claims<'a>,
    ima: Option<Ima<'a>>,
    boot_log: Option<BootLog>,
    reference: Option<Reference>,
}

impl<'a> Input<'a> {
    fn of(facts: &'a Facts) -> Self {
        Self {
            format: FORMAT,
            gateway: Gateway::of(facts),
            endorsement: Endorsement::of(facts),
            ak: Key::activated(&facts.ak),
            ldevid: Key::certified(&facts.ldevid),
            quote: Quote::of(facts),
            claims: Claims::of(facts),
            ima: Ima::of(facts),
            boot_log: facts.boot_log.as_ref().map(BootLog::outline),
            reference: None,
        }
    }
}

/// The text that the policy reads as `input`, keys in a fixed order.
pub(super) fn text(facts: &Facts, references: Option<&ReferenceValues>) -> String {
    json(&Input {
        boot_log: facts.boot_log.as_ref().map(BootLog::whole),
        reference: references.map(|set| Reference::of(facts, set)),
        ..Input::of(facts)
    })
}

/// All that the policy can read, but for the reference values, for which
/// their id stands: what the memo is keyed by. Made for every attestation, so
/// it is kept short: of what is large, a digest stands for the whole.
pub(super) fn key(facts: &Facts) -> String {
    json(&Input::of(facts))
}

/// Plain strings, integers and string keys always serialise.
fn json(input: &Input<'_>) -> String {
    serde_json::to_string(input).expect("plain structure serialises")
}
