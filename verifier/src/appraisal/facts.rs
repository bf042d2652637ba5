//! Verified claims as the policy reads them: one JSON tree in which every
//! part says how it is known. `docs/policy.md` describes it field by field.
//!
//! Nothing that differs from exchange to exchange is in it (nonce, exporter,
//! iat, uptime, the running TPM clock): verification has dealt with those, and
//! the memo can thus be keyed by the text that the policy reads.

use std::collections::BTreeMap;

use holdfast_proto::{binding::Ueid, tpm::HashAlg};
use serde::Serialize;

use super::pcr::meaning;
use crate::{
    endorsement::TpmFacts,
    reference_values::ReferenceValues,
    verification::{KeyProof, VerifiedEvidence},
};

/// What an appraisal depends on, besides reference values and policy.
#[derive(Clone, Debug)]
pub(super) struct Facts {
    pub(super) gateway: Ueid,
    pub(super) class: String,
    pub(super) tpm: TpmFacts,
    /// Name of the AK, lower hex.
    pub(super) ak: String,
    /// Name of the LDevID key, lower hex.
    pub(super) ldevid: String,
    pub(super) bank: HashAlg,
    pub(super) pcrs: BTreeMap<u32, Vec<u8>>,
    pub(super) reset_count: u32,
    pub(super) restart_count: u32,
    pub(super) clock_safe: bool,
    pub(super) firmware_version: u64,
    pub(super) software_name: String,
    pub(super) software_version: String,
    pub(super) boot_log_sha256: Option<[u8; 32]>,
}

impl Facts {
    /// The repeatable part of verified Evidence.
    pub(super) fn of<K: KeyProof>(evidence: &VerifiedEvidence<K>) -> Self {
        let clock = evidence.clock();
        let claims = evidence.claims();
        Self {
            gateway: *evidence.gateway_id(),
            class: evidence.class().as_str().to_owned(),
            tpm: evidence.tpm().clone(),
            ak: evidence.ak().name().to_string(),
            ldevid: evidence.ldevid_name().to_string(),
            bank: evidence.pcrs().bank(),
            pcrs: evidence
                .pcrs()
                .iter()
                .map(|(index, value)| (index, value.to_vec()))
                .collect(),
            reset_count: clock.reset_count,
            restart_count: clock.restart_count,
            clock_safe: clock.safe,
            firmware_version: evidence.firmware_version(),
            software_name: claims.software_name.clone(),
            software_version: claims.software_version.clone(),
            boot_log_sha256: evidence.boot_log().sha256().copied(),
        }
    }

    /// The text that the policy reads as `input`, keys in a fixed order.
    pub(super) fn input(&self, references: Option<&ReferenceValues>) -> String {
        let pcrs = self.pcrs.iter().map(|(index, value)| {
            let meaning = meaning(*index);
            let pcr = Pcr {
                value: hex::encode(value),
                measures: meaning.measures,
                concerns: meaning.concerns.name(),
            };
            (*index, pcr)
        });
        let input = Input {
            format: FORMAT,
            gateway: Gateway {
                id: self.gateway.to_string(),
                class: &self.class,
            },
            endorsement: Endorsement {
                known_by: "ek-certificate",
                manufacturer: &self.tpm.manufacturer,
                model: &self.tpm.model,
                version: &self.tpm.version,
                issuer: &self.tpm.issuer,
                ek_template: &self.tpm.ek_template,
                ek_certificate_sha256: &self.tpm.ek_certificate_sha256,
            },
            ak: Key {
                known_by: "credential-activation",
                name: &self.ak,
            },
            ldevid: Key {
                known_by: "tpm2-certify",
                name: &self.ldevid,
            },
            quote: Quote {
                known_by: "ak-signature",
                bank: self.bank.name(),
                pcrs: pcrs.collect(),
                clock: Clock {
                    reset_count: self.reset_count,
                    restart_count: self.restart_count,
                    safe: self.clock_safe,
                },
                firmware_version: format!("{:016x}", self.firmware_version),
            },
            claims: Claims {
                known_by: "ldevid-signature",
                software_name: &self.software_name,
                software_version: &self.software_version,
                boot_log_sha256: self.boot_log_sha256.map(hex::encode),
            },
            reference: references.map(|set| Reference {
                known_by: "owner",
                id: hex::encode(set.digest()),
                pcrs: self.accepted(set),
            }),
        };
        // Plain strings, integers and string keys: this always serialises.
        serde_json::to_string(&input).expect("plain structure serialises")
    }

    /// The accepted values of those PCRs that were quoted.
    fn accepted(&self, set: &ReferenceValues) -> BTreeMap<u32, Vec<String>> {
        self.pcrs
            .keys()
            .filter_map(|index| {
                let values = set.accepted(self.bank, *index)?;
                Some((*index, values.iter().map(hex::encode).collect()))
            })
            .collect()
    }
}

/// Version of the input tree; it changes when a field changes its meaning.
const FORMAT: &str = "holdfast-appraisal-input-1";

#[derive(Serialize)]
struct Input<'a> {
    format: &'static str,
    gateway: Gateway<'a>,
    endorsement: Endorsement<'a>,
    ak: Key<'a>,
    ldevid: Key<'a>,
    quote: Quote,
    claims: Claims<'a>,
    reference: Option<Reference>,
}

#[derive(Serialize)]
struct Gateway<'a> {
    id: String,
    class: &'a str,
}

#[derive(Serialize)]
struct Endorsement<'a> {
    known_by: &'static str,
    manufacturer: &'a str,
    model: &'a str,
    version: &'a str,
    issuer: &'a str,
    ek_template: &'a str,
    ek_certificate_sha256: &'a str,
}

#[derive(Serialize)]
struct Key<'a> {
    known_by: &'static str,
    name: &'a str,
}

#[derive(Serialize)]
struct Quote {
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

#[derive(Serialize)]
struct Clock {
    reset_count: u32,
    restart_count: u32,
    safe: bool,
}

#[derive(Serialize)]
struct Claims<'a> {
    known_by: &'static str,
    software_name: &'a str,
    software_version: &'a str,
    boot_log_sha256: Option<String>,
}

#[derive(Serialize)]
struct Reference {
    known_by: &'static str,
    id: String,
    pcrs: BTreeMap<u32, Vec<String>>,
}
