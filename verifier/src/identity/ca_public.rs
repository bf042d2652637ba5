//! The public half of a CA's key: curve and point, and what follows from them.

use ring::signature::{
    ECDSA_P256_SHA256_ASN1, ECDSA_P384_SHA384_ASN1, EcdsaVerificationAlgorithm, UnparsedPublicKey,
};

use super::{IdentityError, certificate as x509, der, oid};
use crate::endorsement::der::{self as read, Reader};

/// Curves that a CA's key may lie on, each with the hash of its size
/// (RFC 5758 §3.2): nothing else is written into a certificate.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CaCurve {
    /// NIST P-256, ecdsa-with-SHA256.
    P256,
    /// NIST P-384, ecdsa-with-SHA384.
    P384,
}

impl CaCurve {
    /// Octets of a coordinate, and of each half of a raw signature.
    #[must_use]
    pub const fn coordinate_len(self) -> usize {
        match self {
            Self::P256 => 32,
            Self::P384 => 48,
        }
    }

    /// DER OBJECT IDENTIFIER of the curve (RFC 5480 §2.1.1.1): what PKCS#11
    /// calls CKA_EC_PARAMS.
    #[must_use]
    pub fn parameters(self) -> Vec<u8> {
        der::oid(match self {
            Self::P256 => oid::SECP256R1,
            Self::P384 => oid::SECP384R1,
        })
    }

    pub(super) const fn signature_oid(self) -> &'static [u32] {
        match self {
            Self::P256 => oid::ECDSA_WITH_SHA256,
            Self::P384 => oid::ECDSA_WITH_SHA384,
        }
    }

    /// A raw signature `r ‖ s`, as PKCS#11 and COSE have it, as a DER
    /// `Ecdsa-Sig-Value` (RFC 3279 §2.2.3). `None` for another length.
    #[must_use]
    pub fn signature_der(self, raw: &[u8]) -> Option<Vec<u8>> {
        let (r, s) = raw.split_at_checked(self.coordinate_len())?;
        (s.len() == r.len()).then(|| der::sequence(&[&der::unsigned(r), &der::unsigned(s)]))
    }

    /// The other way: `r ‖ s`, each padded to a coordinate's length, of a DER
    /// `Ecdsa-Sig-Value`. `None` where it is none of this curve.
    #[must_use]
    pub fn signature_raw(self, der: &[u8]) -> Option<Vec<u8>> {
        let mut values = Reader::new(read::only(der, read::SEQUENCE).ok()?);
        let len = self.coordinate_len();
        let mut raw = Vec::with_capacity(2 * len);
        for _ in 0..2 {
            let integer = values.tagged(read::INTEGER).ok()?.content;
            let magnitude = match integer {
                [0, rest @ ..] => rest,
                whole => whole,
            };
            let zeros = len.checked_sub(magnitude.len())?;
            raw.resize(raw.len() + zeros, 0);
            raw.extend_from_slice(magnitude);
        }
        values.finish().ok()?;
        Some(raw)
    }

    /// The digest that is signed.
    #[must_use]
    pub fn digest(self, message: &[u8]) -> Vec<u8> {
        let algorithm = match self {
            Self::P256 => &ring::digest::SHA256,
            Self::P384 => &ring::digest::SHA384,
        };
        ring::digest::digest(algorithm, message).as_ref().to_vec()
    }
}

/// A CA's public key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CaPublic {
    curve: CaCurve,
    point: Vec<u8>,
}

impl CaPublic {
    /// From an uncompressed point (SEC 1 §2.3.3): 65 octets are P-256, 97 are
    /// P-384. Whether it is on the curve is looked at by every verification.
    ///
    /// # Errors
    /// [`IdentityError::BadPublicKey`] for anything else.
    pub fn from_point(point: &[u8]) -> Result<Self, IdentityError> {
        let curve = match (point.first(), point.len()) {
            (Some(4), 65) => CaCurve::P256,
            (Some(4), 97) => CaCurve::P384,
            _ => return Err(IdentityError::BadPublicKey),
        };
        Ok(Self {
            curve,
            point: point.to_vec(),
        })
    }

    /// From a DER SubjectPublicKeyInfo, which must be the one that
    /// [`CaPublic::spki`] writes for its key.
    ///
    /// # Errors
    /// [`IdentityError::BadPublicKey`].
    pub fn from_spki(spki: &[u8]) -> Result<Self, IdentityError> {
        [65, 97]
            .into_iter()
            .filter_map(|length| spki.len().checked_sub(length))
            .filter_map(|start| Self::from_point(spki.get(start..)?).ok())
            .find(|public| public.spki() == spki)
            .ok_or(IdentityError::BadPublicKey)
    }

    /// The curve.
    #[must_use]
    pub const fn curve(&self) -> CaCurve {
        self.curve
    }

    /// The uncompressed point.
    #[must_use]
    pub fn point(&self) -> &[u8] {
        &self.point
    }

    /// DER SubjectPublicKeyInfo (RFC 5480 §2).
    #[must_use]
    pub fn spki(&self) -> Vec<u8> {
        der::sequence(&[&self.spki_content()])
    }

    /// The content of [`CaPublic::spki`], as webpki's trust anchors hold it.
    pub(super) fn spki_content(&self) -> Vec<u8> {
        let algorithm = der::sequence(&[&der::oid(oid::EC_PUBLIC_KEY), &self.curve.parameters()]);
        [algorithm, der::bit_string(&self.point)].concat()
    }

    /// Key identifier: leftmost 160 bits of SHA-256 over the subjectPublicKey
    /// (RFC 7093 §2 method 1).
    #[must_use]
    pub fn key_identifier(&self) -> [u8; 20] {
        x509::key_identifier(&self.point)
    }

    /// DER AlgorithmIdentifier of this key's signatures: no parameters
    /// (RFC 5758 §3.2).
    #[must_use]
    pub fn signature_algorithm(&self) -> Vec<u8> {
        der::sequence(&[&der::oid(self.curve.signature_oid())])
    }

    /// Whether `signature` (DER `Ecdsa-Sig-Value`) over `message` is this
    /// key's.
    ///
    /// # Errors
    /// [`IdentityError::BadSignature`].
    pub fn verify(&self, message: &[u8], signature: &[u8]) -> Result<(), IdentityError> {
        let algorithm: &EcdsaVerificationAlgorithm = match self.curve {
            CaCurve::P256 => &ECDSA_P256_SHA256_ASN1,
            CaCurve::P384 => &ECDSA_P384_SHA384_ASN1,
        };
        UnparsedPublicKey::new(algorithm, &self.point)
            .verify(message, signature)
            .map_err(|ring::error::Unspecified| IdentityError::BadSignature)
    }
}
