//! Certificates as they lie in files: PEM, any number, or one in DER.

use rustls_pki_types::{CertificateDer, pem::PemObject as _};

use super::InspectError;

/// The certificates of a file, in DER. What does not look like PEM is taken
/// for one in DER, as it is.
///
/// # Errors
/// [`InspectError::Certificate`] for PEM without any, or broken.
pub fn certificates(file: &[u8]) -> Result<Vec<Vec<u8>>, InspectError> {
    if !is_pem(file) {
        if file.is_empty() {
            return Err(InspectError::Certificate("empty".to_owned()));
        }
        return Ok(vec![file.to_vec()]);
    }
    let found: Vec<Vec<u8>> = CertificateDer::pem_slice_iter(file)
        .map(|der| der.map(|der| der.to_vec()))
        .collect::<Result<_, _>>()
        .map_err(|e| InspectError::Certificate(format!("not PEM: {e}")))?;
    if found.is_empty() {
        return Err(InspectError::Certificate(
            "PEM without a CERTIFICATE block".to_owned(),
        ));
    }
    Ok(found)
}

/// Whether there is a PEM block in it (RFC 7468; text may stand before).
pub(super) fn is_pem(file: &[u8]) -> bool {
    const BEGIN: &[u8] = b"-----BEGIN ";
    file.windows(BEGIN.len()).any(|window| window == BEGIN)
}
