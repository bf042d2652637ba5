//! What an EK certificate says of the TPM (EK Credential Profile §3.1.2,
//! §3.2.9).

use serde::{Deserialize, Serialize};

use super::{
    certificate::{self, Certificate},
    der::{self, Reader},
    devid::DevidFacts,
    ek::EkPublic,
    error::EndorsementError,
    leniency::Leniency,
    oid,
    rules::ListedEk,
};

/// How an EK is known to be a TPM's.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum EkKnownBy {
    /// Its certificate chains to an imported root.
    #[default]
    EkCertificate,
    /// The owner listed its key, and vouches for it.
    Fingerprint,
    /// It is not: an OEM's certificate for the IAK, which chains to an imported
    /// OEM's, stands in its place, and the EK is linked to the IAK alone.
    IakCertificate,
}

impl EkKnownBy {
    /// As in policy input and records.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::EkCertificate => "ek-certificate",
            Self::Fingerprint => "fingerprint",
            Self::IakCertificate => "iak-certificate",
        }
    }
}

/// What ties the EK on a record to the AK.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EkLink {
    /// TPM2_ActivateCredential alone, in records of before EKs were certified:
    /// on the IAK road a program may have answered.
    Activation,
    /// The AK's certification, too: the EK is in the AK's TPM.
    Certification,
}

/// One certificate of the path that endorsed an EK: what is needed to ask
/// again, later, whether it still stands.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PathCertificate {
    /// SHA-256 of its DER, lower-case hex.
    pub sha256: String,
    /// SHA-256 of its SubjectPublicKeyInfo, lower-case hex.
    pub key_sha256: String,
    /// SHA-256 of its issuer's Name, lower-case hex.
    pub issuer_sha256: String,
    /// Serial number, lower-case hex.
    pub serial: String,
    /// Subject, for people; inert.
    pub subject: String,
}

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
    /// How the EK is known. Records of before the owner could list keys have
    /// none: all had certificates.
    #[serde(default)]
    pub known_by: EkKnownBy,
    /// What its certificates needed to be excused.
    #[serde(default)]
    pub leniencies: Vec<Leniency>,
    /// From the EK certificate to the root. Empty in old records, and without a
    /// certificate.
    #[serde(default)]
    pub path: Vec<PathCertificate>,
    /// What the OEM certified, of a gateway that came by the IAK road: then no
    /// EK certificate stands behind it, `ek_certificate_…` are empty, `issuer`
    /// is that of the IAK certificate, and the TPM's maker may be unknown.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub devid: Option<DevidFacts>,
}

impl PathCertificate {
    pub(super) fn of(certificate: &Certificate<'_>, der: &[u8]) -> Self {
        let sha256 = |bytes: &[u8]| hex::encode(crate::digest::sha256(&[bytes]));
        Self {
            sha256: sha256(der),
            key_sha256: sha256(certificate.spki),
            issuer_sha256: sha256(certificate.issuer),
            serial: hex::encode(certificate.serial),
            subject: certificate::display_name(certificate.subject),
        }
    }
}

impl TpmFacts {
    /// What a certificate says; leniencies and path are not known yet.
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
            known_by: EkKnownBy::EkCertificate,
            leniencies: Vec::new(),
            path: Vec::new(),
            devid: None,
        })
    }

    /// What the owner says of a TPM whose EK has no certificate.
    pub(super) fn listed(entry: &ListedEk, ek: &EkPublic) -> Self {
        Self {
            manufacturer: entry.manufacturer.clone(),
            model: entry.model.clone(),
            version: entry.version.clone(),
            issuer: String::new(),
            ek_certificate_serial: String::new(),
            ek_certificate_aki: String::new(),
            ek_certificate_sha256: String::new(),
            ek_template: ek.template().label().to_owned(),
            known_by: EkKnownBy::Fingerprint,
            leniencies: Vec::new(),
            path: Vec::new(),
            devid: None,
        }
    }

    /// The vendor id as text where it has the form `id:` and eight hex digits
    /// of ASCII, trailing zeros and blanks dropped, e.g. `IFX`.
    #[must_use]
    pub fn manufacturer_text(&self) -> Option<String> {
        vendor_text(&self.manufacturer)
    }
}

/// [`TpmFacts::manufacturer_text`] of a tpmManufacturer.
pub(super) fn vendor_text(manufacturer: &str) -> Option<String> {
    let code = hex::decode(manufacturer.strip_prefix("id:")?).ok()?;
    let text = std::str::from_utf8(&code)
        .ok()?
        .trim_end_matches(['\0', ' ']);
    let plain = code.len() == 4 && text.bytes().all(|b| b.is_ascii_graphic());
    plain.then(|| text.to_owned())
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
    let strings = [
        der::UTF8_STRING,
        der::PRINTABLE_STRING,
        der::IA5_STRING,
        der::TELETEX_STRING,
    ];
    let text = std::str::from_utf8(value.content)
        .ok()
        .filter(|_| strings.contains(&value.tag))?;
    printable(text)
}

/// The text of a TPM attribute, whoever states it.
pub(super) fn printable(text: &str) -> Option<String> {
    const MAX: usize = 64;
    let visible = text.bytes().all(|b| b.is_ascii_graphic() || b == b' ');
    (visible && (1..=MAX).contains(&text.len())).then(|| text.to_owned())
}
