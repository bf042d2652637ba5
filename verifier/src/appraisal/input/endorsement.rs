//! `input.endorsement`: what the TPM's vendor certified.

use serde::Serialize;

use super::Facts;

#[derive(Serialize)]
pub(super) struct Endorsement<'a> {
    known_by: &'static str,
    manufacturer: &'a str,
    model: &'a str,
    version: &'a str,
    issuer: &'a str,
    ek_template: &'a str,
    ek_certificate_sha256: &'a str,
}

impl<'a> Endorsement<'a> {
    pub(super) fn of(facts: &'a Facts) -> Self {
        let tpm = &facts.tpm;
        Self {
            known_by: "ek-certificate",
            manufacturer: &tpm.manufacturer,
            model: &tpm.model,
            version: &tpm.version,
            issuer: &tpm.issuer,
            ek_template: &tpm.ek_template,
            ek_certificate_sha256: &tpm.ek_certificate_sha256,
        }
    }
}
