//! The LDevID as a TLS client identity whose private key never leaves the TPM.

use std::sync::Arc;

use holdfast_proto::tpm::{EccCurve, Signature};
use rustls::SignatureAlgorithm;
use rustls::SignatureScheme;
use rustls::pki_types::CertificateDer;
use rustls::sign::{CertifiedKey, Signer, SigningKey, SingleCertAndKey};

use crate::evidence::sha256;
use crate::tpm::{KeyBlob, Tpm};

/// Certificate chain, and the key behind it in the TPM.
#[derive(Clone, Debug)]
pub struct Identity {
    certified: Arc<CertifiedKey>,
}

impl Identity {
    /// `chain`: DER, the LDevID first.
    #[must_use]
    pub fn new(tpm: &Tpm, key: &KeyBlob, chain: &[Vec<u8>]) -> Self {
        let chain = chain.iter().cloned().map(CertificateDer::from).collect();
        let key = TpmKey {
            tpm: tpm.clone(),
            key: Arc::new(key.clone()),
        };
        Self {
            certified: Arc::new(CertifiedKey::new(chain, Arc::new(key))),
        }
    }

    pub(super) fn resolver(&self) -> Arc<SingleCertAndKey> {
        Arc::new(SingleCertAndKey::from(Arc::clone(&self.certified)))
    }
}

/// rustls' view of the LDevID key: ECDSA P-256 with SHA-256.
#[derive(Clone, Debug)]
struct TpmKey {
    tpm: Tpm,
    key: Arc<KeyBlob>,
}

impl SigningKey for TpmKey {
    fn choose_scheme(&self, offered: &[SignatureScheme]) -> Option<Box<dyn Signer>> {
        offered
            .contains(&SignatureScheme::ECDSA_NISTP256_SHA256)
            .then(|| Box::new(self.clone()) as Box<dyn Signer>)
    }

    fn algorithm(&self) -> SignatureAlgorithm {
        SignatureAlgorithm::ECDSA
    }
}

impl Signer for TpmKey {
    /// Blocks for one TPM signature: milliseconds, on slow TPMs most of a
    /// second.
    fn sign(&self, message: &[u8]) -> Result<Vec<u8>, rustls::Error> {
        let signature = self
            .tpm
            .sign(&self.key, sha256(message))
            .map_err(|error| rustls::Error::General(format!("TPM: {error}")))?;
        ecdsa_der(&signature)
            .ok_or_else(|| rustls::Error::General("TPM: not an ECDSA P-256 signature".to_owned()))
    }

    fn scheme(&self) -> SignatureScheme {
        SignatureScheme::ECDSA_NISTP256_SHA256
    }
}

/// `Ecdsa-Sig-Value` (RFC 3279 §2.2.3) of a P-256 signature. All lengths fit
/// DER's short form.
fn ecdsa_der(signature: &Signature) -> Option<Vec<u8>> {
    let fixed = signature.ecdsa_fixed(EccCurve::P256).ok()?;
    let (r, s) = fixed.split_at_checked(32)?;
    let body = [integer(r)?, integer(s)?].concat();
    let mut der = vec![0x30, u8::try_from(body.len()).ok()?];
    der.extend(body);
    Some(der)
}

/// A DER INTEGER: no leading zeros, but one where the sign bit would be set.
fn integer(big_endian: &[u8]) -> Option<Vec<u8>> {
    let first = big_endian.iter().position(|b| *b != 0)?;
    let (_, digits) = big_endian.split_at_checked(first)?;
    let pad = digits.first().is_some_and(|b| b & 0x80 != 0);
    let mut der = vec![0x02, u8::try_from(digits.len() + usize::from(pad)).ok()?];
    if pad {
        der.push(0);
    }
    der.extend(digits);
    Some(der)
}

#[cfg(test)]
mod tests {
    use holdfast_proto::tpm::HashAlg;

    use super::*;

    fn der(r: &[u8], s: &[u8]) -> Option<Vec<u8>> {
        ecdsa_der(&Signature::Ecdsa {
            hash: HashAlg::Sha256,
            r: r.to_vec(),
            s: s.to_vec(),
        })
    }

    #[test]
    fn integers_are_minimal_and_positive() {
        // A TPM may strip leading zeros, or not.
        assert_eq!(
            der(&[1], &[0x80]).unwrap(),
            [0x30, 7, 2, 1, 1, 2, 2, 0, 0x80]
        );
        let mut padded = [0; 32];
        padded[31] = 0x7F;
        assert_eq!(der(&padded, &[2]).unwrap(), [0x30, 6, 2, 1, 0x7F, 2, 1, 2]);
        let full = der(&[0xFF; 32], &[0xFF; 32]).unwrap();
        assert_eq!(full.len(), 2 + 2 * (2 + 33));
    }

    #[test]
    fn zero_and_overlong_are_refused() {
        assert_eq!(der(&[0; 32], &[1]), None);
        assert_eq!(der(&[1; 33], &[1]), None);
    }
}
