//! The path to the CA, by rustls-webpki.

use rustls_pki_types::{CertificateDer, Der, SignatureVerificationAlgorithm, TrustAnchor};
use webpki::{
    EndEntityCert,
    ring::{ECDSA_P256_SHA256, ECDSA_P384_SHA384},
};

use super::{CaFacts, Expectation, LintError};
use crate::time::UnixTime;

/// webpki builds a path to the CA for TLS client authentication now, and none
/// after the end.
pub(in crate::identity) fn path_to_ca(
    der: &[u8],
    ca: &CaFacts,
    expected: &Expectation,
) -> Result<(), LintError> {
    path_to_key(der, None, ca, expected)
}

/// To a CA of the same name whose key is `spki` (its content); none stands for
/// the CA's own.
pub(super) fn path_to_key(
    der: &[u8],
    spki: Option<Vec<u8>>,
    ca: &CaFacts,
    expected: &Expectation,
) -> Result<(), LintError> {
    let der = CertificateDer::from(der);
    let leaf =
        EndEntityCert::try_from(&der).map_err(|error| LintError::Unreadable(error.to_string()))?;
    if leaf.subject_public_key_info().as_ref() != expected.subject_spki {
        return Err(LintError::SubjectKey);
    }
    let ca_der = CertificateDer::from(ca.der.as_slice());
    let real = webpki::anchor_from_trusted_cert(&ca_der)
        .map_err(|error| LintError::Path(error.to_string()))?;
    let anchor = TrustAnchor {
        subject: real.subject,
        subject_public_key_info: match &spki {
            Some(spki) => Der::from(spki.as_slice()),
            None => real.subject_public_key_info,
        },
        name_constraints: real.name_constraints,
    };
    let algorithms: [&dyn SignatureVerificationAlgorithm; 2] =
        [ECDSA_P256_SHA256, ECDSA_P384_SHA384];
    let verify = |at: UnixTime| {
        leaf.verify_for_usage(
            &algorithms,
            std::slice::from_ref(&anchor),
            &[],
            at.to_pki(),
            webpki::KeyUsage::client_auth(),
            None,
            None,
        )
        .map(|_| ())
    };
    verify(expected.now).map_err(|error| LintError::Path(error.to_string()))?;
    match verify(expected.not_after.plus(1)) {
        Err(webpki::Error::CertExpired { .. }) => Ok(()),
        _ => Err(LintError::Outlives),
    }
}
