//! `input.gateway`: whom the appraisal is about.

use holdfast_proto::binding::Ueid;
use serde::Serialize;

#[derive(Serialize)]
pub(super) struct Gateway<'a> {
    /// None where the policy does not ask.
    #[serde(skip_serializing_if = "Option::is_none")]
    id: Option<String>,
    class: &'a str,
}

impl<'a> Gateway<'a> {
    pub(super) fn of(id: Option<&Ueid>, class: &'a str) -> Self {
        Self {
            id: id.map(Ueid::to_string),
            class,
        }
    }
}
