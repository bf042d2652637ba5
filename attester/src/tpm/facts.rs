//! What the TPM is and has: read for `doctor`, changing nothing.

use holdfast_proto::tpm::Name;
use tss_esapi::constants::{CapabilityType, PropertyTag};
use tss_esapi::structures::CapabilityData;

use super::engine::{Engine, NO_SESSION};
use super::storage::unfit;
use super::{DeviceIdentityFindings, EkCertificates, Tpm, TpmError};

/// `TPMA_PERMANENT` (Part 2 §8.6).
const OWNER_AUTH_SET: u32 = 1;
const ENDORSEMENT_AUTH_SET: u32 = 1 << 1;
const IN_LOCKOUT: u32 = 1 << 9;
/// `TPMA_STARTUP_CLEAR` (Part 2 §8.7).
const OWNER_ENABLED: u32 = 1 << 1;
const ENDORSEMENT_ENABLED: u32 = 1 << 2;

/// Whose TPM it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TpmMake {
    /// Four-letter vendor id of the TCG's registry.
    pub manufacturer: String,
    /// The vendor's own words.
    pub vendor: String,
    /// Firmware version, both words.
    pub firmware: String,
}

/// A PCR bank that the TPM keeps.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PcrBank {
    /// Lower-case name of its hash.
    pub alg: String,
    /// How many PCRs it has.
    pub pcrs: usize,
}

/// What is at the storage root's handle.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SrkOccupant {
    /// Nothing: enrolment will make one.
    Free,
    /// A storage key that enrolment will use.
    Fit(Name),
    /// Something else.
    Unfit(&'static str),
}

/// What the TPM is and has.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TpmFacts {
    /// Whose it is.
    pub make: TpmMake,
    /// Revision of the TPM 2.0 specification, e.g. "1.38".
    pub spec_revision: String,
    /// PCR banks with at least one PCR.
    pub pcr_banks: Vec<PcrBank>,
    /// Free slots for transient objects.
    pub free_transient: Option<u32>,
    /// Free slots for loaded sessions.
    pub free_sessions: Option<u32>,
    /// Whether dictionary-attack lockout is active.
    pub in_lockout: bool,
    /// Failed tries so far, how many are allowed, seconds per forgiven try.
    pub lockout: (Option<u32>, Option<u32>, Option<u32>),
    /// Whether the endorsement hierarchy has an auth value.
    pub endorsement_auth_set: bool,
    /// Whether the owner hierarchy has an auth value.
    pub owner_auth_set: bool,
    /// Whether the endorsement hierarchy is enabled.
    pub endorsement_enabled: bool,
    /// Whether the owner hierarchy is enabled.
    pub owner_enabled: bool,
    /// The configured handle of the storage root.
    pub srk_handle: u32,
    /// What is there.
    pub srk: SrkOccupant,
    /// EK certificates in NV.
    pub certificates: EkCertificates,
    /// IDevID and IAK.
    pub device_identity: DeviceIdentityFindings,
}

impl Tpm {
    /// Reads everything that `doctor` shows.
    ///
    /// # Errors
    /// [`TpmError`] of the failing command.
    pub fn facts(&self) -> Result<TpmFacts, TpmError> {
        let certificates = self.ek_certificates()?;
        let device_identity = match self.find_device_identity() {
            Ok(found) => found,
            // Keys cannot be made without the hierarchy's auth value: told as
            // such by whoever reads these facts.
            Err(TpmError::AuthRefused { .. }) => DeviceIdentityFindings::default(),
            Err(error) => return Err(error),
        };
        self.call(move |engine| engine.facts(certificates, device_identity))
    }

    /// Whose TPM it is: a few commands that take no time.
    ///
    /// # Errors
    /// [`TpmError`] of the failing command.
    pub fn make(&self) -> Result<TpmMake, TpmError> {
        self.call(Engine::make)
    }
}

impl Engine {
    fn facts(
        &mut self,
        certificates: EkCertificates,
        device_identity: DeviceIdentityFindings,
    ) -> Result<TpmFacts, TpmError> {
        // The NV reads' session would count as an occupied slot.
        self.end_session();
        let permanent = self.property(PropertyTag::Permanent)?.unwrap_or(0);
        let startup = self
            .property(PropertyTag::StartupClear)?
            .unwrap_or(u32::MAX);
        let revision = self.property(PropertyTag::Revision)?.unwrap_or(0);
        Ok(TpmFacts {
            make: self.make()?,
            spec_revision: format!("{}.{:02}", revision / 100, revision % 100),
            pcr_banks: self.pcr_banks()?,
            free_transient: self.property(PropertyTag::HrTransientAvail)?,
            free_sessions: self.property(PropertyTag::HrLoadedAvail)?,
            in_lockout: permanent & IN_LOCKOUT != 0,
            lockout: (
                self.property(PropertyTag::LockoutCounter)?,
                self.property(PropertyTag::MaxAuthFail)?,
                self.property(PropertyTag::LockoutInterval)?,
            ),
            endorsement_auth_set: permanent & ENDORSEMENT_AUTH_SET != 0,
            owner_auth_set: permanent & OWNER_AUTH_SET != 0,
            endorsement_enabled: startup & ENDORSEMENT_ENABLED != 0,
            owner_enabled: startup & OWNER_ENABLED != 0,
            srk_handle: self.settings.srk_handle,
            srk: self.srk_occupant()?,
            certificates,
            device_identity,
        })
    }

    fn make(&mut self) -> Result<TpmMake, TpmError> {
        let firmware = (
            self.property(PropertyTag::FirmwareVersion1)?.unwrap_or(0),
            self.property(PropertyTag::FirmwareVersion2)?.unwrap_or(0),
        );
        Ok(TpmMake {
            manufacturer: self.text(&[PropertyTag::Manufacturer])?,
            vendor: self.text(&[
                PropertyTag::VendorString1,
                PropertyTag::VendorString2,
                PropertyTag::VendorString3,
                PropertyTag::VendorString4,
            ])?,
            firmware: format!("{:08x}.{:08x}", firmware.0, firmware.1),
        })
    }

    fn srk_occupant(&mut self) -> Result<SrkOccupant, TpmError> {
        // In use already: libtss2 would give the same reference again, and
        // closing it here would close it there.
        if let Some(root) = &self.root {
            return Ok(SrkOccupant::Fit(root.name.clone()));
        }
        match self.persistent(self.settings.srk_handle) {
            Ok(None) => Ok(SrkOccupant::Free),
            Ok(Some((mut object, public))) => {
                self.close(&mut object);
                Ok(match unfit(&public) {
                    None => SrkOccupant::Fit(public.name()),
                    Some(why) => SrkOccupant::Unfit(why),
                })
            }
            // A key of a kind that Holdfast has no words for.
            Err(TpmError::Malformed { .. }) => {
                Ok(SrkOccupant::Unfit("a key of an unsupported kind"))
            }
            Err(error) => Err(error),
        }
    }

    /// Big-endian letters in properties; anything but printable ASCII is left
    /// out, because it goes to a terminal.
    fn text(&mut self, tags: &[PropertyTag]) -> Result<String, TpmError> {
        let mut text = String::new();
        for tag in tags {
            let value = self.property(*tag)?.unwrap_or(0).to_be_bytes();
            text.extend(
                value
                    .iter()
                    .filter(|b| (0x20..0x7F).contains(*b))
                    .map(|b| char::from(*b)),
            );
        }
        Ok(text.trim().to_owned())
    }

    fn pcr_banks(&mut self) -> Result<Vec<PcrBank>, TpmError> {
        let (data, _) = self.command("TPM2_GetCapability", NO_SESSION, |c| {
            c.get_capability(CapabilityType::AssignedPcr, 0, 16)
        })?;
        let CapabilityData::AssignedPcr(list) = data else {
            return Ok(Vec::new());
        };
        Ok(list
            .get_selections()
            .iter()
            .filter(|bank| !bank.is_empty())
            .map(|bank| PcrBank {
                alg: format!("{:?}", bank.hashing_algorithm()).to_lowercase(),
                pcrs: bank.selected().len(),
            })
            .collect())
    }
}
