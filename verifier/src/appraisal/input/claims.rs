//! `input.claims`: what the gateway's own software says.

use serde::Serialize;

use super::Facts;

#[derive(Serialize)]
pub(super) struct Claims<'a> {
    known_by: &'static str,
    software_name: &'a str,
    software_version: &'a str,
    boot_log_sha256: Option<String>,
}

impl<'a> Claims<'a> {
    pub(super) fn of(facts: &'a Facts) -> Self {
        Self {
            known_by: "ldevid-signature",
            software_name: &facts.software_name,
            software_version: &facts.software_version,
            boot_log_sha256: facts.boot_log_sha256.map(hex::encode),
        }
    }
}
