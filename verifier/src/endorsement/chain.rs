//! An EK certificate and what came with it: well formed, untrusted.

use rustls_pki_types::CertificateDer;

use super::{certificate::Certificate, error::EndorsementError};
use crate::digest::sha256;

/// The EK certificate first, then intermediates found in the TPM's NV, in any
/// order.
#[derive(Clone, Debug)]
pub struct EkChain {
    leaf: CertificateDer<'static>,
    rest: Vec<CertificateDer<'static>>,
    sha256: [u8; 32],
}

impl EkChain {
    /// Vendors' chains have two to four certificates below the root.
    pub const MAX_CERTIFICATES: usize = 8;
    /// EK certificates have 700 to 1,900 bytes; RSA-4096 intermediates with
    /// policies somewhat more.
    pub const MAX_CERTIFICATE_LEN: usize = 8 * 1024;

    /// # Errors
    /// Number, sizes, form; trailing bytes.
    pub fn parse(certificates: &[Vec<u8>]) -> Result<Self, EndorsementError> {
        let (leaf, rest) = certificates
            .split_first()
            .ok_or(EndorsementError::NoCertificate)?;
        if certificates.len() > Self::MAX_CERTIFICATES {
            return Err(EndorsementError::TooMany(certificates.len()));
        }
        for (at, der) in certificates.iter().enumerate() {
            if der.len() > Self::MAX_CERTIFICATE_LEN {
                return Err(EndorsementError::TooLong { at, len: der.len() });
            }
            Certificate::parse(der, at)?;
        }
        // A digest for each, so that certificates cannot be shifted against
        // one another.
        let digests: Vec<[u8; 32]> = certificates.iter().map(|der| sha256(&[der])).collect();
        Ok(Self {
            leaf: CertificateDer::from(leaf.clone()),
            rest: rest
                .iter()
                .map(|der| CertificateDer::from(der.clone()))
                .collect(),
            sha256: sha256(&[digests.as_flattened()]),
        })
    }

    /// The EK certificate.
    #[must_use]
    pub fn leaf(&self) -> &CertificateDer<'static> {
        &self.leaf
    }

    /// What came with it.
    #[must_use]
    pub fn intermediates(&self) -> &[CertificateDer<'static>] {
        &self.rest
    }

    /// SHA-256 of the certificates' SHA-256 digests, in order.
    #[must_use]
    pub fn sha256(&self) -> [u8; 32] {
        self.sha256
    }
}
