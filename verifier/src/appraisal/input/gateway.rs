//! `input.gateway`: whom the appraisal is about.

use serde::Serialize;

use super::Facts;

#[derive(Serialize)]
pub(super) struct Gateway<'a> {
    id: String,
    class: &'a str,
}

impl<'a> Gateway<'a> {
    pub(super) fn of(facts: &'a Facts) -> Self {
        Self {
            id: facts.gateway.to_string(),
            class: &facts.class,
        }
    }
}
