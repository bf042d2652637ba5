//! Keys whose signatures the owner lets vouch for files (`ima-sig`).

use std::fmt;

use base64::{Engine as _, engine::general_purpose::STANDARD};
use holdfast_proto::tpm::Parameters;
use rustls_pki_types::{CertificateDer, SubjectPublicKeyInfoDer, pem::PemObject as _};

use crate::endorsement::{EndorsementError, KeyMaterial, ShownCertificate};

/// Longest SubjectPublicKeyInfo, in bytes: RSA-8192 takes 1062.
const MAX_SPKI_BYTES: usize = 2048;

/// Shortest RSA modulus, in bits (SP 800-131A).
const RSA_MIN_BITS: u16 = 2048;

/// A key whose signatures vouch for files: RSA, or ECDSA on P-256, P-384 or
/// P-521. The owner's word makes it one; no certificate's dates or issuer do.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct ImaKey {
    key_id: [u8; 4],
    spki: Box<[u8]>,
}

/// What is wrong with a key.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ImaKeyError {
    /// Neither a certificate nor a public key, in PEM or DER.
    #[error("not a certificate and not a public key, in PEM or DER")]
    Unreadable,
    /// Several PEM blocks: which is meant is not guessed.
    #[error("{0} PEM blocks: give one key a file")]
    Several(usize),
    /// An RSA key of fewer than 2048 bits.
    #[error("RSA of {0} bits: at least {RSA_MIN_BITS} are needed")]
    Weak(u16),
    /// A kind of key that no signature of IMA's is verified with here.
    #[error("not a key of RSA, P-256, P-384 or P-521 ({0})")]
    Unsupported(String),
}

impl ImaKey {
    /// From a file: an X.509 certificate or a SubjectPublicKeyInfo, in PEM or
    /// DER. Its id is what evmctl and the kernel take: the last four bytes of
    /// the certificate's subject key identifier; without one, of the SHA-1 of
    /// the key (RFC 5280 §4.2.1.2, method 1).
    ///
    /// # Errors
    /// [`ImaKeyError`].
    pub fn read(file: &[u8]) -> Result<Self, ImaKeyError> {
        let certificates = CertificateDer::pem_slice_iter(file).filter_map(Result::ok);
        let keys = SubjectPublicKeyInfoDer::pem_slice_iter(file).filter_map(Result::ok);
        let blocks: Vec<Vec<u8>> = certificates
            .map(|der| der.to_vec())
            .chain(keys.map(|der| der.to_vec()))
            .collect();
        match blocks.as_slice() {
            [] => Self::from_der(file),
            [der] => Self::from_der(der),
            several => Err(ImaKeyError::Several(several.len())),
        }
    }

    fn from_der(der: &[u8]) -> Result<Self, ImaKeyError> {
        let (key, id) = match ShownCertificate::parse(der) {
            Ok(shown) => {
                let key = shown
                    .key()
                    .cloned()
                    .ok_or_else(|| ImaKeyError::Unsupported("in a certificate".to_owned()))?;
                (key, shown.subject_key_id)
            }
            Err(_) => match KeyMaterial::from_spki_der(der) {
                Ok(key) => (key, None),
                Err(error @ EndorsementError::NoTpmKey(_)) => {
                    return Err(ImaKeyError::Unsupported(error.to_string()));
                }
                Err(_) => return Err(ImaKeyError::Unreadable),
            },
        };
        if let Some(bits) = weak(&key) {
            return Err(ImaKeyError::Weak(bits));
        }
        let spki = key.to_spki_der().ok_or(ImaKeyError::Unreadable)?;
        let id = id.or_else(|| key.subject_key_id());
        let key_id = id
            .as_deref()
            .and_then(<[u8]>::last_chunk::<4>)
            .ok_or(ImaKeyError::Unreadable)?;
        Ok(Self {
            key_id: *key_id,
            spki: spki.into_boxed_slice(),
        })
    }

    /// What a signature names its key by.
    #[must_use]
    pub const fn key_id(&self) -> [u8; 4] {
        self.key_id
    }

    /// DER SubjectPublicKeyInfo (RFC 5280 §4.1.2.7).
    #[must_use]
    pub const fn spki_der(&self) -> &[u8] {
        &self.spki
    }

    /// `<key id> <base64>`.
    pub(super) fn to_line(&self) -> String {
        format!(
            "{} {}",
            hex::encode(self.key_id),
            STANDARD.encode(&self.spki)
        )
    }

    /// The inverse of [`ImaKey::to_line`]; none for any other form.
    pub(super) fn from_line(line: &[u8]) -> Option<Self> {
        let text = std::str::from_utf8(line).ok()?;
        let (id, base64) = text.split_once(' ')?;
        let mut key_id = [0; 4];
        hex::decode_to_slice(id, &mut key_id).ok()?;
        let spki = STANDARD.decode(base64).ok()?;
        if spki.len() > MAX_SPKI_BYTES {
            return None;
        }
        let known = KeyMaterial::from_spki_der(&spki).ok()?;
        let canonical = known.to_spki_der().filter(|_| weak(&known).is_none())?;
        let key = Self {
            key_id,
            spki: spki.into_boxed_slice(),
        };
        (*canonical == *key.spki && key.to_line() == text).then_some(key)
    }
}

/// The size of an RSA key that is too short.
fn weak(key: &KeyMaterial) -> Option<u16> {
    match key.parameters {
        Parameters::Rsa { key_bits, .. } if key_bits < RSA_MIN_BITS => Some(key_bits),
        _ => None,
    }
}

impl fmt::Debug for ImaKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ImaKey({})", hex::encode(self.key_id))
    }
}
