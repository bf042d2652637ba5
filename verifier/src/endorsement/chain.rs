//! An EK certificate and what came with it: well formed, untrusted.

use std::collections::BTreeSet;

use rustls_pki_types::CertificateDer;

use super::{
    certificate::Certificate, error::EndorsementError, leniency::Leniency, on_file::trim_nv_image,
};
use crate::digest::sha256;

/// The EK certificate first, then intermediates found in the TPM's NV, in any
/// order. Empty for a TPM that has none.
#[derive(Clone, Debug)]
pub struct EkChain {
    leaf: Option<CertificateDer<'static>>,
    rest: Vec<CertificateDer<'static>>,
    trimmed: Trim,
    sha256: [u8; 32],
}

/// What lay around the EK certificate, as it came out of NV.
#[derive(Clone, Copy, Debug, Default)]
struct Trim {
    header: usize,
    padding: usize,
}

impl EkChain {
    /// Vendors' chains have two to four certificates below the root.
    pub const MAX_CERTIFICATES: usize = 8;
    /// EK certificates have 700 to 1,900 bytes; RSA-4096 intermediates with
    /// policies somewhat more.
    pub const MAX_CERTIFICATE_LEN: usize = 8 * 1024;

    /// What lies around the first certificate, as in an image of its NV index,
    /// is taken off, and [`super::Anchors::endorse`] knows of it.
    ///
    /// # Errors
    /// Number, sizes, form; trailing bytes.
    pub fn parse(certificates: &[Vec<u8>]) -> Result<Self, EndorsementError> {
        if certificates.len() > Self::MAX_CERTIFICATES {
            return Err(EndorsementError::TooMany(certificates.len()));
        }
        let mut trimmed = Trim::default();
        let mut kept: Vec<CertificateDer<'static>> = Vec::with_capacity(certificates.len());
        for (at, bytes) in certificates.iter().enumerate() {
            if bytes.len() > Self::MAX_CERTIFICATE_LEN {
                return Err(EndorsementError::TooLong {
                    at,
                    len: bytes.len(),
                });
            }
            let mut der = bytes.as_slice();
            if at == 0 {
                let image = trim_nv_image(bytes);
                trimmed = Trim {
                    header: image.header.len(),
                    padding: image.padding.len(),
                };
                der = image.der;
            }
            Certificate::parse(der, at)?;
            kept.push(CertificateDer::from(der.to_vec()));
        }
        // A digest for each, so that certificates cannot be shifted against
        // one another.
        let digests: Vec<[u8; 32]> = kept.iter().map(|der| sha256(&[der])).collect();
        let mut kept = kept.into_iter();
        Ok(Self {
            leaf: kept.next(),
            rest: kept.collect(),
            trimmed,
            sha256: sha256(&[digests.as_flattened()]),
        })
    }

    /// The EK certificate.
    #[must_use]
    pub fn leaf(&self) -> Option<&CertificateDer<'static>> {
        self.leaf.as_ref()
    }

    /// What came with it.
    #[must_use]
    pub fn intermediates(&self) -> &[CertificateDer<'static>] {
        &self.rest
    }

    /// SHA-256 of the certificates' SHA-256 digests, in order, without what
    /// was trimmed.
    #[must_use]
    pub fn sha256(&self) -> [u8; 32] {
        self.sha256
    }

    /// What trimming needs to be excused.
    pub(super) fn quirks(&self) -> BTreeSet<Leniency> {
        let header = (self.trimmed.header > 0).then_some(Leniency::NvHeader);
        let padding = (self.trimmed.padding > 0).then_some(Leniency::NvPadding);
        header.into_iter().chain(padding).collect()
    }
}
