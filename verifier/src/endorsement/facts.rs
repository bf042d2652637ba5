//! What an EK certificate says of the TPM (EK Credential Profile §3.1.2,
//! §3.2.9).

use serde::{Deserialize, Serialize};

use super::{
    certificate::{self, Certificate},
    der::{self, Reader},
    ek::EkPublic,
    error::EndorsementError,
    oid,
};

/// What the vendor certified of a TPM, and who certified it. Plain facts, as
/// they go into the record, into appraisal and into the LDevID; having one
/// proves nothing. The store keeps it as JSON.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TpmFacts {
    /// tpmManufacturer, e.g. `id:49465800`: the TCG vendor id in hex.
    pub manufacturer: String,
    /// tpmModel: a part number.
    pub model: String,
    /// tpmVersion: firmware version, e.g. `id:00070055`.
    pub version: String,
    /// Issuer of the EK certificate, for people.
    pub issuer: String,
    /// Serial number of the EK certificate, lower-case hex.
    pub ek_certificate_serial: String,
    /// authorityKeyIdentifier of the EK certificate, lower-case hex; empty
    /// where it has none.
    pub ek_certificate_aki: String,
    /// SHA-256 of the EK certificate, lower-case hex.
    pub ek_certificate_sha256: String,
    /// EK template, e.g. `L-1`.
    pub ek_template: String,
}

impl TpmFacts {
    pub(super) fn read(
        leaf: &Certificate<'_>,
        leaf_der: &[u8],
        ek: &EkPublic,
    ) -> Result<Self, EndorsementError> {
        let names = leaf.extension(oid::SUBJECT_ALT_NAME).unwrap_or_default();
        let attribute = |wanted, label| {
            tpm_attribute(names, wanted).ok_or(EndorsementError::TpmAttribute(label))
        };
        Ok(Self {
            manufacturer: attribute(oid::TPM_MANUFACTURER, "tpmManufacturer")?,
            model: attribute(oid::TPM_MODEL, "tpmModel")?,
            version: attribute(oid::TPM_VERSION, "tpmVersion")?,
            issuer: certificate::display_name(leaf.issuer),
            ek_certificate_serial: hex::encode(leaf.serial),
            ek_certificate_aki: leaf.authority_key_id().map(hex::encode).unwrap_or_default(),
            ek_certificate_sha256: hex::encode(crate::digest::sha256(&[leaf_der])),
            ek_template: ek.template().label().to_owned(),
        })
    }

    /// The vendor id as text where it has the form `id:` and eight hex digits
    /// of ASCII, trailing zeros and blanks dropped, e.g. `IFX`.
    #[must_use]
    pub fn manufacturer_text(&self) -> Option<String> {
        let code = hex::decode(self.manufacturer.strip_prefix("id:")?).ok()?;
        let text = std::str::from_utf8(&code)
            .ok()?
            .trim_end_matches(['\0', ' ']);
        let plain = code.len() == 4 && text.bytes().all(|b| b.is_ascii_graphic());
        plain.then(|| text.to_owned())
    }
}

/// The one value of a TPM attribute in the directoryName of a SAN.
pub(super) fn tpm_attribute(general_names: &[u8], wanted: &[u8]) -> Option<String> {
    let mut names = Reader::new(der::only(general_names, der::SEQUENCE).ok()?);
    let mut found = None;
    while !names.is_empty() {
        let name = names.next().ok()?;
        // directoryName is [4], explicit because Name is a CHOICE.
        if name.tag != der::constructed(4) {
            continue;
        }
        for (oid, value) in certificate::attributes(name.content).ok()? {
            if oid == wanted && found.replace(text(&value)?).is_some() {
                return None;
            }
        }
    }
    found
}

/// 1 to 64 visible ASCII characters or inner blanks: what vendors write, and
/// inert wherever it is shown.
fn text(value: &der::Element<'_>) -> Option<String> {
    const MAX: usize = 64;
    let strings = [
        der::UTF8_STRING,
        der::PRINTABLE_STRING,
        der::IA5_STRING,
        der::TELETEX_STRING,
    ];
    let text = std::str::from_utf8(value.content)
        .ok()
        .filter(|_| strings.contains(&value.tag))?;
    let visible = text.bytes().all(|b| b.is_ascii_graphic() || b == b' ');
    (visible && (1..=MAX).contains(&text.len())).then(|| text.to_owned())
}
