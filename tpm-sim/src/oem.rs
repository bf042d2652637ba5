//! What an OEM does to a gateway before it leaves the factory: IDevID and IAK
//! made from the TCG's templates, certified, and the certificates in NV.

use std::path::PathBuf;

use holdfast_proto::tpm::devid::{
    DevidKey, DevidTemplate, DevidUnique, IAK_CERTIFICATE_NV, IAK_HANDLE, IDEVID_CERTIFICATE_NV,
    IDEVID_HANDLE,
};
use holdfast_proto::tpm::templates::EkTemplate;
use holdfast_proto::tpm::{HashAlg, Public};
use serde::{Deserialize, Serialize};

use crate::SimError;
use crate::tpm::Wire;
use crate::vendor_ca::{DevidCertificate, OemCa, hardware_serial};

/// How the OEM provisions. [`OemOptions::new`] is as swtpm_setup does.
#[derive(Clone, Debug)]
pub struct OemOptions {
    /// The OEM's directory, made where it is missing; `None`: `oem-ca` in the
    /// gateway's.
    pub ca: Option<PathBuf>,
    /// Template of both keys.
    pub template: DevidTemplate,
    /// What their templates have in `unique`.
    pub unique: DevidUnique,
    /// Product serial number; `None`: one that follows from the IDevID key.
    pub serial: Option<String>,
    /// Whether the keys are made persistent too, at 0x81020000 and 0x81020001.
    pub persistent: bool,
}

impl OemOptions {
    /// ECC P-256, the label in x.
    #[must_use]
    pub fn new() -> Self {
        Self {
            ca: None,
            template: DevidTemplate::H2,
            unique: DevidUnique::LabelInX,
            serial: None,
            persistent: false,
        }
    }
}

impl Default for OemOptions {
    fn default() -> Self {
        Self::new()
    }
}

/// What another program needs to know of the OEM's work.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct OemDescription {
    /// The OEM's root certificate (PEM).
    pub root: PathBuf,
    /// The OEM's intermediate certificate (PEM).
    pub intermediate: PathBuf,
    /// Product serial number, as in the certificates.
    pub serial: String,
}

/// A gateway's IDevID and IAK as the OEM made them.
#[derive(Debug)]
pub struct OemProvision {
    /// The OEM.
    pub ca: OemCa,
    /// The IDevID's public area.
    pub idevid: Public,
    /// The IAK's public area.
    pub iak: Public,
    /// Product serial number.
    pub serial: String,
    /// hwSerialNum of the HardwareModuleName.
    pub hardware_serial: String,
}

impl OemProvision {
    /// Makes the keys, and certifies them where NV has no certificate yet.
    pub(crate) fn make(tpm: &mut Wire, ca: OemCa, options: &OemOptions) -> Result<Self, SimError> {
        let public = |tpm: &mut Wire, key| {
            tpm.endorsement_primary(&options.template.public(key, options.unique))
        };
        let idevid = public(tpm, DevidKey::Idevid)?;
        let iak = public(tpm, DevidKey::Iak)?;
        let ek = tpm.endorsement_primary(&EkTemplate::L2.public())?;
        let digest = HashAlg::Sha256
            .digest(&[&idevid.to_spki_der()?])
            .to_string();
        let made = Self {
            ca,
            serial: options
                .serial
                .clone()
                .unwrap_or_else(|| format!("SIM-{}", digest.split_at(12).0)),
            hardware_serial: hardware_serial(
                HashAlg::Sha256.digest(&[&ek.to_spki_der()?]).as_bytes(),
            ),
            idevid,
            iak,
        };
        for (key, index) in [
            (DevidKey::Idevid, IDEVID_CERTIFICATE_NV),
            (DevidKey::Iak, IAK_CERTIFICATE_NV),
        ] {
            if tpm.nv_load(index)?.is_none() {
                let certificate = made.ca.issue(&made.certificate(key)?)?;
                tpm.nv_store(index, &made.with_chain(&certificate))?;
            }
        }
        if options.persistent {
            for (key, handle) in [
                (DevidKey::Idevid, IDEVID_HANDLE),
                (DevidKey::Iak, IAK_HANDLE),
            ] {
                tpm.keep_primary(&options.template.public(key, options.unique), handle)?;
            }
        }
        Ok(made)
    }

    /// A good certificate for one of the keys, to be issued or altered.
    ///
    /// # Errors
    /// Where the area holds no usable key.
    pub fn certificate(&self, key: DevidKey) -> Result<DevidCertificate, SimError> {
        let public = match key {
            DevidKey::Idevid => &self.idevid,
            DevidKey::Iak => &self.iak,
        };
        DevidCertificate::new(key, public, &self.serial, &self.hardware_serial)
    }

    /// A certificate as it goes into NV: the OEM's intermediate follows it.
    #[must_use]
    pub fn with_chain(&self, certificate: &[u8]) -> Vec<u8> {
        [certificate, self.ca.intermediate_der()].concat()
    }

    /// What another program needs to know.
    #[must_use]
    pub fn describe(&self) -> OemDescription {
        OemDescription {
            root: self.ca.root_path(),
            intermediate: self.ca.intermediate_path(),
            serial: self.serial.clone(),
        }
    }
}
