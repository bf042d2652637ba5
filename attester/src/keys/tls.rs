//! The LDevID as rustls knows identities: a signing key in the TPM, and its
//! certificate, which renewals replace under open connections.

use std::sync::{Arc, RwLock};

use holdfast_proto::tpm::{EccCurve, Signature};
use ring::digest::{SHA256, digest};
use rustls::client::ResolvesClientCert;
use rustls::pki_types::CertificateDer;
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::{CertifiedKey, Signer, SigningKey};
use rustls::{SignatureAlgorithm, SignatureScheme};

use super::der;
use crate::AttesterError;
use crate::state::{Enrolled, StateView};
use crate::tpm::{KeyBlob, Settings, TctiName, Tpm};

/// rustls' view of an LDevID key: ECDSA P-256 with SHA-256, signed by the TPM.
#[derive(Clone, Debug)]
pub struct TpmSigningKey {
    tpm: Tpm,
    key: Arc<KeyBlob>,
}

impl TpmSigningKey {
    /// `key` as `tpm` made it. Nothing is asked of the TPM until something is
    /// to be signed.
    #[must_use]
    pub fn new(tpm: &Tpm, key: &KeyBlob) -> Self {
        Self {
            tpm: tpm.clone(),
            key: Arc::new(key.clone()),
        }
    }
}

impl SigningKey for TpmSigningKey {
    fn choose_scheme(&self, offered: &[SignatureScheme]) -> Option<Box<dyn Signer>> {
        offered
            .contains(&SignatureScheme::ECDSA_NISTP256_SHA256)
            .then(|| Box::new(self.clone()) as Box<dyn Signer>)
    }

    fn algorithm(&self) -> SignatureAlgorithm {
        SignatureAlgorithm::ECDSA
    }
}

impl Signer for TpmSigningKey {
    /// Blocks for one TPM signature: milliseconds, on slow TPMs most of a
    /// second.
    fn sign(&self, message: &[u8]) -> Result<Vec<u8>, rustls::Error> {
        let hashed = digest(&SHA256, message);
        let hashed = <[u8; 32]>::try_from(hashed.as_ref()).expect("SHA-256 has 32 bytes");
        let signature = self
            .tpm
            .sign(&self.key, hashed)
            .map_err(|error| rustls::Error::General(format!("TPM: {error}")))?;
        ecdsa_der(&signature)
            .ok_or_else(|| rustls::Error::General("TPM: not an ECDSA P-256 signature".to_owned()))
    }

    fn scheme(&self) -> SignatureScheme {
        SignatureScheme::ECDSA_NISTP256_SHA256
    }
}

/// The LDevID for rustls: give it to `with_client_cert_resolver` or
/// `with_cert_resolver`. Clones share what [`Ldevid::replace`] puts in.
///
/// A handshake blocks for one signature by the TPM; async programs keep their
/// other work off that thread (`tokio::task::block_in_place`).
#[derive(Clone, Debug)]
pub struct Ldevid {
    certified: Arc<RwLock<Arc<CertifiedKey>>>,
}

impl Ldevid {
    /// The LDevID of a state directory, with its key in the TPM at `tcti`.
    ///
    /// # Errors
    /// [`AttesterError::State`] where there is no enrolment,
    /// [`AttesterError::Tpm`] where this is not the TPM that enrolled.
    pub fn open(state: &StateView, tcti: &TctiName) -> Result<Self, AttesterError> {
        let enrolled = state.require_enrolled()?;
        let settings = Settings {
            srk_handle: enrolled.keys.srk_handle,
            ..Settings::default()
        };
        let tpm = Tpm::open_with(tcti, settings)?;
        tpm.storage_root(Some(&enrolled.keys.srk_name))?;
        Ok(Self::of(&tpm, &enrolled))
    }

    /// The LDevID of an enrolment.
    #[must_use]
    pub fn of(tpm: &Tpm, enrolled: &Enrolled) -> Self {
        Self::new(tpm, &enrolled.keys.ldevid, &enrolled.ldevid_chain)
    }

    /// `chain`: DER, the LDevID first, then the CA's above it.
    #[must_use]
    pub fn new(tpm: &Tpm, key: &KeyBlob, chain: &[Vec<u8>]) -> Self {
        Self {
            certified: Arc::new(RwLock::new(certified(tpm, key, chain))),
        }
    }

    /// Key and certificate of a renewal, or of a new enrolment: handshakes that
    /// begin from now on use them. Connections that stand are not touched.
    pub fn replace(&self, tpm: &Tpm, enrolled: &Enrolled) {
        let new = certified(tpm, &enrolled.keys.ldevid, &enrolled.ldevid_chain);
        match self.certified.write() {
            Ok(mut current) => *current = new,
            // Nobody panics while holding it: it is read and written whole.
            Err(poisoned) => *poisoned.into_inner() = new,
        }
    }

    /// What a handshake that begins now would use.
    #[must_use]
    pub fn current(&self) -> Arc<CertifiedKey> {
        match self.certified.read() {
            Ok(current) => Arc::clone(&current),
            Err(poisoned) => Arc::clone(&poisoned.into_inner()),
        }
    }
}

impl ResolvesClientCert for Ldevid {
    fn resolve(&self, _: &[&[u8]], offered: &[SignatureScheme]) -> Option<Arc<CertifiedKey>> {
        let current = self.current();
        current.key.choose_scheme(offered).map(|_| current)
    }

    fn has_certs(&self) -> bool {
        true
    }
}

impl ResolvesServerCert for Ldevid {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        let current = self.current();
        current
            .key
            .choose_scheme(hello.signature_schemes())
            .map(|_| current)
    }
}

fn certified(tpm: &Tpm, key: &KeyBlob, chain: &[Vec<u8>]) -> Arc<CertifiedKey> {
    let chain = chain.iter().cloned().map(CertificateDer::from).collect();
    let key = TpmSigningKey::new(tpm, key);
    Arc::new(CertifiedKey::new(chain, Arc::new(key)))
}

/// `Ecdsa-Sig-Value` (RFC 3279 §2.2.3) of a P-256 signature.
fn ecdsa_der(signature: &Signature) -> Option<Vec<u8>> {
    let fixed = signature.ecdsa_fixed(EccCurve::P256).ok()?;
    let (r, s) = fixed.split_at_checked(32)?;
    Some(der::sequence(&[der::positive(r)?, der::positive(s)?]))
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
