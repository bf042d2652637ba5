//! `input.endorsement`: what the TPM's vendor or the device's OEM certified, or
//! the owner listed; and whether it still stands.

use serde::Serialize;

use super::Facts;
use crate::endorsement::{DevidFacts, Leniency};

#[derive(Serialize)]
pub(super) struct Endorsement<'a> {
    known_by: &'static str,
    leniencies: Vec<&'static str>,
    findings: Vec<Found<'a>>,
    manufacturer: &'a str,
    model: &'a str,
    version: &'a str,
    issuer: &'a str,
    ek_template: &'a str,
    ek_certificate_sha256: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    devid: Option<&'a DevidFacts>,
}

/// Something that was found now: in the memo's key whatever the policy reads,
/// for the floor goes by it. What is imported or signed anew (anchors, CRLs,
/// rules) and changes an answer so changes the key.
#[derive(Serialize)]
pub(super) struct Found<'a> {
    code: &'static str,
    detail: &'a str,
}

impl<'a> Endorsement<'a> {
    pub(super) fn of(facts: &'a Facts) -> Self {
        let tpm = &facts.tpm;
        Self {
            known_by: tpm.known_by.name(),
            leniencies: facts.standing.leniencies().map(Leniency::name).collect(),
            findings: findings(facts),
            manufacturer: &tpm.manufacturer,
            model: &tpm.model,
            version: &tpm.version,
            issuer: &tpm.issuer,
            ek_template: &tpm.ek_template,
            ek_certificate_sha256: &tpm.ek_certificate_sha256,
            devid: tpm.devid.as_ref(),
        }
    }
}

/// Whether the endorsement stands now: what was found.
pub(super) fn findings(facts: &Facts) -> Vec<Found<'_>> {
    let found = facts.standing.findings().iter();
    found
        .map(|finding| Found {
            code: finding.code.name(),
            detail: &finding.detail,
        })
        .collect()
}
