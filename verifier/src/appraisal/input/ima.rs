//! `input.ima`: what the kernel measured since boot.

use holdfast_proto::ima_log::{BootAggregate, Extend};
use serde::Serialize;

use super::Facts;
use crate::appraisal::ima::{ImaState, Named, Signed};

#[derive(Serialize)]
pub(super) struct Ima<'a> {
    known_by: &'static str,
    entries: u64,
    extend: &'static str,
    boot_aggregate: &'static str,
    boot_aggregate_last_pcr: Option<u32>,
    allow_list: Option<&'a str>,
    files: u64,
    unknown: &'a Named,
    mismatched: &'a Named,
    violations: &'a Named,
    signed: Signed,
    other_pcrs: u64,
    altered: u64,
}

impl<'a> Ima<'a> {
    pub(super) fn of(facts: &'a Facts) -> Option<Self> {
        let ImaState {
            place,
            allow_list,
            findings,
        } = facts.ima.as_ref()?;
        let (boot_aggregate, boot_aggregate_last_pcr) = match place.boot_aggregate() {
            Some(BootAggregate::Matches { last_pcr }) => ("matches", Some(last_pcr)),
            Some(BootAggregate::Differs) => ("differs", None),
            // Not held against anything is not good.
            Some(BootAggregate::OtherBank | BootAggregate::PcrUnknown(_)) => ("not-checked", None),
            Some(BootAggregate::Absent) | None => ("absent", None),
        };
        Some(Self {
            known_by: "replayed",
            entries: place.entries(),
            extend: match place.extend() {
                Extend::Native => "native",
                Extend::Sha1Padded => "sha1-padded",
            },
            boot_aggregate,
            boot_aggregate_last_pcr,
            allow_list: allow_list.as_deref(),
            files: findings.files,
            unknown: &findings.unknown,
            mismatched: &findings.mismatched,
            violations: &findings.violations,
            signed: findings.signed,
            other_pcrs: findings.other_pcrs,
            altered: findings.altered,
        })
    }
}
