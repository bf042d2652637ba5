//! `input.reference`: what the owner accepts.

use std::collections::BTreeMap;

use serde::Serialize;

use super::Facts;
use crate::reference_values::ReferenceValues;

#[derive(Serialize)]
pub(super) struct Reference {
    known_by: &'static str,
    id: String,
    pcrs: BTreeMap<u32, Vec<String>>,
}

impl Reference {
    /// With the accepted values of those PCRs that were quoted.
    pub(super) fn of(facts: &Facts, set: &ReferenceValues) -> Self {
        let accepted = facts.pcrs.keys().filter_map(|index| {
            let values = set.accepted(facts.bank, *index)?;
            Some((*index, values.iter().map(hex::encode).collect()))
        });
        Self {
            known_by: "owner",
            id: hex::encode(set.digest()),
            pcrs: accepted.collect(),
        }
    }
}
