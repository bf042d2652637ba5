//! The boot log of a simulated gateway: what its firmware, shim, GRUB and
//! kernel measured, in TCG crypto-agile format, and the PCR values that follow.
//!
//! [`BootImage`] says what boots; [`BootImage::boot`] gives the [`BootLog`].
//! The log is the single source: the TPM is extended from it, and the reference
//! values are computed from it and never read back from a TPM.

mod event;
mod image;
mod uefi;

use std::collections::BTreeMap;

use holdfast_proto::tpm::{Digest, HashAlg};
use serde_json::{Value, json};

pub use self::event::{BANKS, Event, event_type};
pub use self::image::BootImage;

/// PCR values of one bank, by index; only those that something was extended to.
pub type PcrValues = BTreeMap<u32, Digest>;

/// A sequence of measurements after the Spec ID event.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BootLog {
    /// In the order in which they were measured; open for tests that forge.
    pub events: Vec<Event>,
}

impl BootLog {
    /// The whole log, as Linux shows it in
    /// `/sys/kernel/security/tpm0/binary_bios_measurements`.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let mut bytes = event::spec_id_record();
        for event in &self.events {
            bytes.extend(event.encode());
        }
        bytes
    }

    /// The events that reach a TPM.
    pub fn extended(&self) -> impl Iterator<Item = &Event> {
        self.events.iter().filter(|event| event.is_extended())
    }

    /// The values of `bank` after this boot: `pcr = H(pcr ‖ digest)` from zero.
    #[must_use]
    pub fn replay(&self, bank: HashAlg) -> PcrValues {
        let mut values = PcrValues::new();
        for event in self.extended() {
            for digest in event.digests.iter().filter(|digest| digest.alg() == bank) {
                let pcr = values
                    .entry(event.pcr)
                    .or_insert_with(|| event::zeros(bank));
                *pcr = bank.digest(&[pcr.as_bytes(), digest.as_bytes()]);
            }
        }
        values
    }
}

/// The reference values of the images that booted with these logs, as
/// `holdfast-verifier reference import` reads them:
/// `{"pcrs":{"sha256":{"0":["hex",…],…}}}`. A PCR accepts the value of any log.
#[must_use]
pub fn reference_values(logs: &[&BootLog]) -> Value {
    let mut accepted = BTreeMap::<u32, Vec<String>>::new();
    for log in logs {
        for (pcr, digest) in log.replay(HashAlg::Sha256) {
            let values = accepted.entry(pcr).or_default();
            let value = digest.to_string();
            if !values.contains(&value) {
                values.push(value);
            }
        }
    }
    // JSON keys are text: the map goes over to strings only here, so that it
    // stays in the order of the PCRs until then.
    let pcrs: serde_json::Map<String, Value> = accepted
        .into_iter()
        .map(|(pcr, values)| (pcr.to_string(), json!(values)))
        .collect();
    json!({ "pcrs": { HashAlg::Sha256.name(): pcrs } })
}

#[cfg(test)]
mod tests;
