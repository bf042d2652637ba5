//! `input.boot_log.firmware`: which firmware, by its own word and by the blobs
//! that were measured (PCR 0 and 1).

use holdfast_proto::boot_log::{
    Fact,
    decode::{FirmwareVersion, NoAction, Value},
};
use serde::Serialize;

use super::{CLAIMED, Digest, Knowing, PROVEN};

#[derive(Serialize)]
pub(super) struct Firmware {
    version: Option<String>,
    known_by: &'static str,
    /// Locality of TPM2_Startup, as the log has it; none where it does not say.
    startup_locality: Option<u8>,
    blobs: Vec<Blob>,
}

impl Default for Firmware {
    fn default() -> Self {
        Self {
            version: None,
            known_by: CLAIMED,
            startup_locality: None,
            blobs: Vec::new(),
        }
    }
}

/// A piece of firmware. What is proven is that something with this digest was
/// measured.
#[derive(Serialize)]
struct Blob {
    event: usize,
    pcr: u32,
    description: Option<String>,
    base: String,
    length: u64,
    known_by: &'static str,
    #[serde(flatten)]
    measured: Option<Digest>,
}

impl Firmware {
    pub(super) fn add(&mut self, fact: &Fact<'_>, knowing: &Knowing<'_>) {
        let (event, known_by) = (&fact.event, knowing.of(fact));
        match &fact.value {
            Value::FirmwareVersion(version)
                if self.version.is_none() || (known_by == PROVEN && self.known_by != PROVEN) =>
            {
                let version = match version {
                    FirmwareVersion::Text(text) => text.to_string(),
                    FirmwareVersion::Guid(guid) => guid.to_string(),
                };
                (self.version, self.known_by) = (Some(version), known_by);
            }
            Value::FirmwareBlob(blob) => self.blobs.push(Blob {
                event: event.index(),
                pcr: event.pcr(),
                description: blob.description.map(|text| text.to_string()),
                base: format!("{:#x}", blob.base),
                length: blob.length,
                known_by,
                measured: knowing.digest(event),
            }),
            Value::NoAction(NoAction::StartupLocality(locality)) => {
                self.startup_locality.get_or_insert(*locality);
            }
            _ => {}
        }
    }
}
