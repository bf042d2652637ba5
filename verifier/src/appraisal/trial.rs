//! A policy tried on an input that somebody wrote down. It proves nothing
//! about any gateway and confers nothing: what the policy says of verified
//! claims is an [`AttestationResult`](super::AttestationResult), and only
//! [`Policy::appraise`] makes one.

use holdfast_proto::result::{Tier, TrustVector};
use serde_json::{Value, json};

use super::{Policy, Reason, floor};

/// What a policy says of an input: as in an appraisal, but without the floor's
/// own comparison of PCRs with reference values, so that a policy that is too
/// lax is seen for what it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Trial {
    /// AR4SI trustworthiness vector.
    pub vector: TrustVector,
    /// Overall tier.
    pub status: Tier,
    /// Why. Never empty where the status is not affirming.
    pub reasons: Vec<Reason>,
}

impl Trial {
    /// Codes of the reasons, sorted, each once.
    #[must_use]
    pub fn codes(&self) -> Vec<&str> {
        let mut codes: Vec<&str> = self.reasons.iter().map(|r| r.code.as_str()).collect();
        codes.sort_unstable();
        codes.dedup();
        codes
    }

    /// Whether the policy failed, ran too long, or gave no proper answer.
    #[must_use]
    pub fn policy_failed(&self) -> bool {
        let faults = [floor::POLICY_ERROR, floor::ANSWER_TOO_LARGE];
        let mut codes = self.reasons.iter().map(|reason| &*reason.code);
        codes.any(|code| faults.contains(&code))
    }
}

impl Policy {
    /// Runs the policy on `input`, within the same limits as an appraisal and
    /// shown as much of it.
    #[must_use]
    pub fn try_on(&self, input: &Value) -> Trial {
        let verdict = floor::conclude(
            self.run(&self.reads().shown_of(input).to_string()),
            self.floor(),
            floor::Findings::default(),
        );
        Trial {
            vector: verdict.vector,
            status: verdict.status,
            reasons: verdict.reasons,
        }
    }
}

/// An input in which nothing is known of the gateway by any means: a policy
/// that affirms it affirms everything.
#[must_use]
pub fn nothing_known() -> Value {
    let pcr = |concerns: &str| json!({"value": "00".repeat(32), "measures": "unknown", "concerns": concerns});
    json!({
        "format": super::input::FORMAT,
        "gateway": {"id": "01".to_owned() + &"00".repeat(32), "class": "unknown"},
        "endorsement": {
            "known_by": "nothing", "manufacturer": "", "model": "", "version": "", "issuer": "",
            "ek_template": "", "ek_certificate_sha256": "",
        },
        "ak": {"known_by": "nothing", "name": ""},
        "ldevid": {"known_by": "nothing", "name": ""},
        "quote": {
            "known_by": "nothing",
            "bank": "sha256",
            "pcrs": {"4": pcr("executables"), "7": pcr("configuration")},
            "clock": {"reset_count": 0, "restart_count": 0, "safe": false},
            "firmware_version": "0000000000000000",
        },
        "claims": {
            "known_by": "nothing", "software_name": "", "software_version": "",
            "boot_log_sha256": null,
        },
        "boot_log": null,
        "ima": null,
        "reference": null,
    })
}
