//! IDevID and IAK: is this attestation key in a device that an OEM made whom
//! the owner trusts? (TCG "TPM 2.0 Keys for Device Identity and Attestation"
//! v1.10; IEEE 802.1AR.) In: DER certificates and public areas, the owner's
//! OEM anchors, a time. Out: [`EndorsedIak`], or why not.
//!
//! OEM anchors and TPM vendors' anchors are kept apart: an OEM's CA endorses no
//! EK, and a TPM vendor's no IAK.

mod anchors;
mod certificate;
mod claimed;
mod error;
mod leaf;
mod oem;
mod path;
#[cfg(test)]
pub(crate) mod tests;

use holdfast_proto::tpm::Name;
use serde::{Deserialize, Serialize};

use super::PathCertificate;

pub use anchors::{EndorsedIak, OemAnchors};
pub(crate) use certificate::DevidNames;
pub use certificate::is_product_serial;
pub use claimed::{ClaimedDevid, IakPublic, IdevidPublic};
pub use error::DevidError;
pub use oem::OemName;
pub use path::OemCas;

/// What an OEM certified of a device. Plain facts, as they go into the record
/// and into appraisal; having one proves nothing.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DevidFacts {
    /// The owner's name for the OEM.
    pub oem: String,
    /// serialNumber of the IDevID's subject: the product's serial number.
    pub serial: String,
    /// hwType of the HardwareModuleName, dotted; empty where there is none.
    pub hardware_type: String,
    /// hwSerialNum, as text where it is visible ASCII, else `0x` and hex; empty
    /// where there is none.
    pub hardware_serial: String,
    /// Template of the IAK, e.g. `H-2`.
    pub iak_template: String,
    /// SHA-256 of the IAK certificate, lower-case hex.
    pub iak_certificate_sha256: String,
    /// SHA-256 of the IDevID certificate, lower-case hex.
    pub idevid_certificate_sha256: String,
    /// SHA-256 of the IDevID key's SubjectPublicKeyInfo, lower-case hex.
    pub idevid_spki_sha256: String,
    /// From the IAK certificate to the OEM's root. Empty in old records.
    #[serde(default)]
    pub iak_path: Vec<PathCertificate>,
    /// From the IDevID certificate to the OEM's root. Empty in old records.
    #[serde(default)]
    pub idevid_path: Vec<PathCertificate>,
}

/// Digests by which a challenge remembers what was presented on the IAK road.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DevidDigests {
    /// Of the IAK's certificate chain.
    pub iak_chain_sha256: [u8; 32],
    /// Of the IDevID's certificate chain.
    pub idevid_chain_sha256: [u8; 32],
    /// Name of the IDevID key.
    pub idevid: Name,
}
