//! `input.quote`: what the AK signed.

use std::collections::BTreeMap;

use serde::Serialize;

use super::Facts;
use crate::appraisal::pcr::meaning;

#[derive(Serialize)]
pub(super) struct Quote {
    known_by: &'static str,
    bank: &'static str,
    pcrs: BTreeMap<u32, Pcr>,
    clock: Clock,
    firmware_version: String,
}

#[derive(Serialize)]
struct Pcr {
    value: String,
    measures: &'static str,
    concerns: &'static str,
}

/// Without the time of the clock, which never stands still.
#[derive(Serialize)]
struct Clock {
    reset_count: u32,
    restart_count: u32,
    safe: bool,
}

impl Quote {
    pub(super) fn of(facts: &Facts) -> Self {
        let pcrs = facts.pcrs.iter().map(|(index, value)| {
            let meaning = meaning(*index);
            let pcr = Pcr {
                value: hex::encode(value),
                measures: meaning.measures,
                concerns: meaning.concerns.name(),
            };
            (*index, pcr)
        });
        Self {
            known_by: "ak-signature",
            bank: facts.bank.name(),
            pcrs: pcrs.collect(),
            clock: Clock {
                reset_count: facts.reset_count,
                restart_count: facts.restart_count,
                safe: facts.clock_safe,
            },
            firmware_version: format!("{:016x}", facts.firmware_version),
        }
    }
}
