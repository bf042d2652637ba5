//! The repeatable part of verified Evidence: what an appraisal depends on,
//! besides reference values and policy.
//!
//! Nothing that differs from exchange to exchange is in it (nonce, exporter,
//! iat, uptime, the running TPM clock): verification has dealt with those, and
//! equal facts thus have equal verdicts.

use std::{collections::BTreeMap, sync::Arc};

use holdfast_proto::{binding::Ueid, tpm::HashAlg};

use super::ima::ImaState;
use crate::{
    endorsement::{EndorsementStanding, TpmFacts},
    verification::{KeyProof, PcrRelation, ReadBootLog, VerifiedEvidence},
};

/// What an appraisal depends on, besides reference values and policy.
#[derive(Clone, Debug)]
pub(super) struct Facts {
    pub(super) gateway: Ueid,
    pub(super) class: String,
    pub(super) tpm: TpmFacts,
    /// Whether the TPM's endorsement stands now.
    pub(super) standing: EndorsementStanding,
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
    pub(super) ima: Option<ImaState>,
    pub(super) boot_log: Option<LoggedBoot>,
}

/// A boot log, and how it relates to each quoted PCR.
#[derive(Clone, Debug)]
pub(super) struct LoggedBoot {
    pub(super) log: Arc<ReadBootLog>,
    pub(super) relations: BTreeMap<u32, PcrRelation>,
}

impl Facts {
    /// The repeatable part of verified Evidence.
    pub(super) fn of<K: KeyProof>(
        evidence: &VerifiedEvidence<K>,
        standing: EndorsementStanding,
        ima: Option<&ImaState>,
    ) -> Self {
        let clock = evidence.clock();
        let claims = evidence.claims();
        Self {
            gateway: *evidence.gateway_id(),
            class: evidence.class().as_str().to_owned(),
            tpm: evidence.tpm().clone(),
            standing,
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
            ima: ima.cloned(),
            boot_log: evidence.replayed_boot_log().map(|replayed| LoggedBoot {
                log: Arc::clone(replayed.log()),
                relations: replayed.relations().clone(),
            }),
        }
    }
}
