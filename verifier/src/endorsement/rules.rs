//! What the owner says of TPMs, beyond whom to trust: leniencies, keys without
//! certificates, denied issuers, firmware floors.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::{
    devid::OemName,
    error::EndorsementError,
    facts::{self, PathCertificate, TpmFacts},
    leniency::Leniencies,
};

/// What happens where the newest CRL of a CA is over.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum StaleCrl {
    /// No EK of that CA gets a challenge until a fresh one is imported. A
    /// gateway on record goes on, with a warning: a file that nobody renewed
    /// must not stop a fleet.
    #[default]
    Refuse,
    /// It counts as it is, with a warning.
    Warn,
}

impl StaleCrl {
    /// As in configuration.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Refuse => "refuse",
            Self::Warn => "warn",
        }
    }
}

/// The owner's rules for endorsements.
#[derive(Clone, Debug, Default)]
pub struct Rules {
    /// What real vendors' certificates may do.
    pub leniencies: Leniencies,
    /// What a stale CRL means.
    pub stale_crl: StaleCrl,
    /// EKs that need no certificate, by SHA-256 of their SubjectPublicKeyInfo.
    pub fingerprints: BTreeMap<[u8; 32], ListedEk>,
    /// What the owner says of the TPMs that an OEM builds in, where the OEM's
    /// certificates say nothing of them.
    pub oem_tpms: BTreeMap<OemName, ListedEk>,
    /// Certificates, keys and names that no path may have in it.
    pub denied: Vec<DeniedIssuer>,
    /// Lowest firmware that is taken.
    pub floors: Vec<FirmwareFloor>,
}

/// What the owner says of a TPM: of an EK that the owner vouches for, or of all
/// those of an OEM.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ListedEk {
    /// As tpmManufacturer would have it, or empty.
    pub manufacturer: String,
    /// As tpmModel would have it, or empty.
    pub model: String,
    /// As tpmVersion would have it, or empty.
    pub version: String,
}

/// An issuer, or one certificate, that the owner does not trust.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DeniedIssuer {
    /// Which.
    pub which: Denied,
    /// Why, in the owner's words.
    pub reason: String,
}

/// By what a certificate is denied.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Denied {
    /// SHA-256 of its DER.
    Certificate([u8; 32]),
    /// SHA-256 of its SubjectPublicKeyInfo.
    Key([u8; 32]),
    /// Its subject, as `endorsement list` and refusals show it.
    Subject(String),
}

/// The lowest firmware version that is taken of some TPMs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FirmwareFloor {
    /// tpmManufacturer as text (`IFX`) or as it is certified (`id:49465800`).
    pub manufacturer: String,
    /// tpmModel; none for every model.
    pub model: Option<String>,
    /// Only of firmware whose highest 16 bits are these: vendors keep several
    /// lines of versions (7.x, 133.x), each with a floor of its own.
    pub line: Option<u16>,
    /// Lowest TPMS_ATTEST.firmwareVersion (TPM 2.0 Part 2 §10.12.12).
    pub quoted: Option<u64>,
    /// Lowest tpmVersion of the EK certificate.
    pub certified: Option<u32>,
    /// Why, in the owner's words.
    pub reason: String,
}

impl FirmwareFloor {
    /// Whether it is about TPMs like this one. A maker or a model that nobody
    /// told may be the very one that the floor is for.
    fn concerns(&self, tpm: &Known<'_>) -> bool {
        // As text or as certified, in the floor and in what is known.
        let text = |name: &str| facts::vendor_text(name).unwrap_or_else(|| name.to_owned());
        let manufacturer = tpm.manufacturer.is_empty()
            || text(&self.manufacturer).eq_ignore_ascii_case(&text(tpm.manufacturer));
        let model = |model: &String| tpm.model.is_empty() || *model == tpm.model;
        manufacturer && self.model.as_ref().is_none_or(model)
    }

    /// For people.
    pub(super) fn which(&self) -> String {
        match &self.model {
            Some(model) => format!("{} {model}", self.manufacturer),
            None => self.manufacturer.clone(),
        }
    }
}

/// What is known of a TPM, whoever told it; empty where nobody did.
struct Known<'a> {
    manufacturer: &'a str,
    model: &'a str,
    version: &'a str,
}

impl Rules {
    /// What its certificate says, else the owner.
    fn known<'a>(&'a self, tpm: &'a TpmFacts) -> Known<'a> {
        let oem = tpm.devid.as_ref().map(|devid| devid.oem.as_str());
        let stated = self
            .oem_tpms
            .iter()
            .find(|(name, _)| Some(name.as_str()) == oem)
            .map(|(_, stated)| stated);
        let or = |said: &'a String, stated: Option<&'a String>| match (said.as_str(), stated) {
            ("", Some(stated)) => stated.as_str(),
            (said, _) => said,
        };
        Known {
            manufacturer: or(&tpm.manufacturer, stated.map(|s| &s.manufacturer)),
            model: or(&tpm.model, stated.map(|s| &s.model)),
            version: or(&tpm.version, stated.map(|s| &s.version)),
        }
    }

    /// The first floor that a quoted firmware version is below.
    pub(super) fn floor_of_quote(&self, tpm: &TpmFacts, version: u64) -> Option<&FirmwareFloor> {
        let tpm = &self.known(tpm);
        self.floors.iter().find(|floor| {
            let [high, low, ..] = version.to_be_bytes();
            floor.concerns(tpm)
                && floor
                    .line
                    .is_none_or(|line| line == u16::from_be_bytes([high, low]))
                && floor.quoted.is_some_and(|lowest| version < lowest)
        })
    }

    /// That no certified firmware version is below a floor. One that cannot be
    /// read, or that nobody told, is below every floor.
    ///
    /// # Errors
    /// [`EndorsementError::FirmwareFloor`].
    pub(super) fn expect_certified_firmware(&self, tpm: &TpmFacts) -> Result<(), EndorsementError> {
        let tpm = &self.known(tpm);
        let version = certified_version(tpm.version);
        let below = self.floors.iter().find(|floor| {
            let of_line = match (floor.line, version) {
                (Some(line), Some(version)) => u32::from(line) == version >> 16,
                _ => true,
            };
            floor.concerns(tpm)
                && of_line
                && floor
                    .certified
                    .is_some_and(|lowest| version.is_none_or(|version| version < lowest))
        });
        match below {
            Some(floor) => Err(EndorsementError::FirmwareFloor {
                version: match tpm.version {
                    "" => "(which nobody states)".to_owned(),
                    version => version.to_owned(),
                },
                floor: format!("{:08x}", floor.certified.unwrap_or_default()),
                which: floor.which(),
                reason: floor.reason.clone(),
            }),
            None => Ok(()),
        }
    }

    /// That the owner denies no certificate of a path.
    ///
    /// # Errors
    /// [`EndorsementError::Denied`].
    pub(super) fn expect_not_denied(
        &self,
        path: &[PathCertificate],
    ) -> Result<(), EndorsementError> {
        match path.iter().find_map(|c| self.denial(c)) {
            Some((subject, denied)) => Err(EndorsementError::Denied {
                subject: subject.to_owned(),
                reason: denied.reason.clone(),
            }),
            None => Ok(()),
        }
    }

    /// The first denial of this certificate, with its subject.
    pub(super) fn denial<'a>(
        &'a self,
        certificate: &'a PathCertificate,
    ) -> Option<(&'a str, &'a DeniedIssuer)> {
        let matches = |denied: &&DeniedIssuer| match &denied.which {
            Denied::Certificate(sha256) => hex::encode(sha256) == certificate.sha256,
            Denied::Key(sha256) => hex::encode(sha256) == certificate.key_sha256,
            Denied::Subject(subject) => *subject == certificate.subject,
        };
        let found = self.denied.iter().find(matches)?;
        Some((&certificate.subject, found))
    }
}

/// tpmVersion `id:` and up to eight hex digits (EK Credential Profile
/// §3.1.2).
fn certified_version(text: &str) -> Option<u32> {
    let digits = text.strip_prefix("id:").unwrap_or(text);
    let hex = (1..=8).contains(&digits.len()) && digits.bytes().all(|b| b.is_ascii_hexdigit());
    hex.then(|| u32::from_str_radix(digits, 16).ok()).flatten()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn certified_versions_are_hex_after_id() {
        assert_eq!(certified_version("id:00070055"), Some(0x0007_0055));
        assert_eq!(certified_version("id:13"), Some(0x13));
        for bad in ["", "id:", "id:7.85", "id:123456789", "7.85"] {
            assert_eq!(certified_version(bad), None, "{bad}");
        }
    }
}
