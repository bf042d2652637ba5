//! The key that something is judged by: PEM or DER SubjectPublicKeyInfo, a PEM
//! certificate for its key, TPM2B_PUBLIC or TPMT_PUBLIC.

use holdfast_proto::tpm::Public;
use rustls_pki_types::{SubjectPublicKeyInfoDer, pem::PemObject as _};
use serde::Serialize;

use super::{InspectError, MAX_EVIDENCE_BYTES, at_most, pem};
use crate::{
    endorsement::{EndorsementError, KeyMaterial, ShownCertificate},
    verification::KeyOnFile,
};

/// Reads a key of any of these kinds.
///
/// # Errors
/// [`InspectError::Key`] says what it is not.
pub fn read(bytes: &[u8]) -> Result<KeyOnFile, InspectError> {
    at_most(bytes, MAX_EVIDENCE_BYTES)?;
    let no = |e: EndorsementError| InspectError::Key(e.to_string());
    if pem::is_pem(bytes) {
        if let Ok(spki) = SubjectPublicKeyInfoDer::from_pem_slice(bytes) {
            let material = KeyMaterial::from_spki_der(spki.as_ref()).map_err(no)?;
            return Ok(KeyOnFile::from_material(material));
        }
        let found = pem::certificates(bytes).map_err(|_| {
            InspectError::Key("PEM without a PUBLIC KEY or CERTIFICATE block".to_owned())
        })?;
        let leaf = found.first().map(Vec::as_slice).unwrap_or_default();
        let certificate = ShownCertificate::parse(leaf).map_err(no)?;
        return match certificate.key() {
            Some(key) => Ok(KeyOnFile::from_material(key.clone())),
            None => Err(InspectError::Key(
                "the certificate's key is of a kind that no TPM makes".to_owned(),
            )),
        };
    }
    if bytes.first() == Some(&0x30) {
        let material = KeyMaterial::from_spki_der(bytes).map_err(no)?;
        return Ok(KeyOnFile::from_material(material));
    }
    // A TPM2B_PUBLIC begins with its own length; a TPMT_PUBLIC with its type,
    // which is far below any key's length.
    let area = match bytes {
        [high, low, rest @ ..] if usize::from(u16::from_be_bytes([*high, *low])) == rest.len() => {
            Public::parse_tpm2b(bytes)
        }
        _ => Public::parse(bytes),
    }
    .map_err(|e| InspectError::Key(e.to_string()))?;
    KeyOnFile::from_area(area)
        .ok_or_else(|| InspectError::Key("the object is not an asymmetric key".to_owned()))
}

/// What is shown of a key.
#[derive(Clone, Debug, Serialize)]
pub struct KeyReport {
    /// Kind and size, e.g. `rsa-2048`.
    pub kind: String,
    /// Its Name, where its public area was given.
    pub name: Option<String>,
    /// SHA-256 of its DER SubjectPublicKeyInfo.
    pub spki_sha256: Option<String>,
}

impl KeyReport {
    pub(super) fn of(key: &KeyOnFile) -> Self {
        Self {
            kind: key.material().kind(),
            name: key.name().map(|name| name.to_string()),
            spki_sha256: key
                .material()
                .to_spki_der()
                .map(|der| hex::encode(crate::digest::sha256(&[&der]))),
        }
    }
}
