//! `input.ak` and `input.ldevid`: which keys, and how they came to be
//! believed in.

use serde::Serialize;

#[derive(Serialize)]
pub(super) struct Key<'a> {
    known_by: &'static str,
    /// None where the policy does not ask.
    #[serde(skip_serializing_if = "Option::is_none")]
    name: Option<&'a str>,
}

impl<'a> Key<'a> {
    /// The AK, by its Name in hex.
    pub(super) fn activated(name: Option<&'a str>) -> Self {
        Self {
            known_by: "credential-activation",
            name,
        }
    }

    /// The LDevID key, by its Name in hex.
    pub(super) fn certified(name: Option<&'a str>) -> Self {
        Self {
            known_by: "tpm2-certify",
            name,
        }
    }
}
