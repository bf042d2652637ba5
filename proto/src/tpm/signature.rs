//! `TPMT_SIGNATURE` (TPM 2.0 Library Part 2 §11.3).

use super::cursor::{Reader, Writer};
use super::spki::left_pad;
use super::{Digest, EccCurve, HashAlg, ParseError};

const ALG_HMAC: u16 = 0x0005;
const ALG_RSASSA: u16 = 0x0014;
const ALG_RSAPSS: u16 = 0x0016;
const ALG_ECDSA: u16 = 0x0018;

/// RSA-4096.
const MAX_RSA: usize = 512;
/// P-521.
const MAX_SCALAR: usize = 66;

/// A signature and the scheme that its maker says it used.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Signature {
    /// RSASSA-PKCS1-v1_5
    RsaSsa {
        /// Hash of the scheme.
        hash: HashAlg,
        /// At most 512 bytes.
        sig: Vec<u8>,
    },
    /// RSASSA-PSS. The salt's length is not said: TPMs differ.
    RsaPss {
        /// Hash of the scheme, and of its MGF1.
        hash: HashAlg,
        /// At most 512 bytes.
        sig: Vec<u8>,
    },
    /// ECDSA
    Ecdsa {
        /// Hash of the scheme.
        hash: HashAlg,
        /// Big-endian, at most 66 bytes; leading zeros may be stripped.
        r: Vec<u8>,
        /// Like `r`.
        s: Vec<u8>,
    },
    /// HMAC, whose hash is that of `digest`.
    Hmac {
        /// The code.
        digest: Digest,
    },
}

impl Signature {
    /// # Errors
    /// Where the bytes are not exactly one supported `TPMT_SIGNATURE`.
    pub fn parse(bytes: &[u8]) -> Result<Self, ParseError> {
        const ALG: &str = "TPMT_SIGNATURE.sigAlg";
        const HASH: &str = "TPMT_SIGNATURE.hash";
        let mut reader = Reader::new(bytes);
        let alg = reader.u16(ALG)?;
        if !matches!(alg, ALG_HMAC | ALG_RSASSA | ALG_RSAPSS | ALG_ECDSA) {
            return Err(ParseError::unsupported(ALG, alg));
        }
        let hash = HashAlg::from_field(HASH, reader.u16(HASH)?)?;
        let signature = match alg {
            ALG_RSASSA => Self::RsaSsa {
                hash,
                sig: read(&mut reader, "TPMT_SIGNATURE.sig", MAX_RSA)?,
            },
            ALG_RSAPSS => Self::RsaPss {
                hash,
                sig: read(&mut reader, "TPMT_SIGNATURE.sig", MAX_RSA)?,
            },
            ALG_ECDSA => Self::Ecdsa {
                hash,
                r: read(&mut reader, "TPMT_SIGNATURE.signatureR", MAX_SCALAR)?,
                s: read(&mut reader, "TPMT_SIGNATURE.signatureS", MAX_SCALAR)?,
            },
            _ => {
                let digest = reader.take("TPMT_SIGNATURE.hmac", hash.digest_len())?;
                Self::Hmac {
                    digest: Digest::from_bytes(hash, digest)?,
                }
            }
        };
        reader.finish("TPMT_SIGNATURE")?;
        Ok(signature)
    }

    /// As a `TPMT_SIGNATURE`.
    ///
    /// # Panics
    /// Where a buffer was set by hand to more than 65,535 bytes.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let mut writer = Writer::default();
        writer.u16(self.alg());
        writer.u16(self.hash().id());
        match self {
            Self::RsaSsa { sig, .. } | Self::RsaPss { sig, .. } => writer.buffer(sig),
            Self::Ecdsa { r, s, .. } => {
                writer.buffer(r);
                writer.buffer(s);
            }
            Self::Hmac { digest } => writer.raw(digest.as_bytes()),
        }
        writer.into_bytes()
    }

    /// Hash of the scheme.
    #[must_use]
    pub const fn hash(&self) -> HashAlg {
        match self {
            Self::RsaSsa { hash, .. } | Self::RsaPss { hash, .. } | Self::Ecdsa { hash, .. } => {
                *hash
            }
            Self::Hmac { digest } => digest.alg(),
        }
    }

    /// `sigAlg`
    const fn alg(&self) -> u16 {
        match self {
            Self::RsaSsa { .. } => ALG_RSASSA,
            Self::RsaPss { .. } => ALG_RSAPSS,
            Self::Ecdsa { .. } => ALG_ECDSA,
            Self::Hmac { .. } => ALG_HMAC,
        }
    }

    /// r ‖ s, each left-padded to the length of a scalar of `curve`: what COSE
    /// (RFC 9053 §2.1) and `ring`'s `_FIXED` algorithms take.
    ///
    /// # Errors
    /// Where this is not ECDSA, or r or s is zero or longer than a scalar. That
    /// both are below the group order is for the verification.
    pub fn ecdsa_fixed(&self, curve: EccCurve) -> Result<Vec<u8>, ParseError> {
        let Self::Ecdsa { r, s, .. } = self else {
            return Err(ParseError::unsupported("TPMT_SIGNATURE.sigAlg", self.alg()));
        };
        Ok([
            scalar("TPMT_SIGNATURE.signatureR", r, curve)?,
            scalar("TPMT_SIGNATURE.signatureS", s, curve)?,
        ]
        .concat())
    }
}

fn scalar(field: &'static str, bytes: &[u8], curve: EccCurve) -> Result<Vec<u8>, ParseError> {
    if bytes.iter().all(|byte| *byte == 0) {
        return Err(ParseError::unsupported(field, 0u8));
    }
    left_pad(field, bytes, curve.coordinate_len())
}

fn read(reader: &mut Reader<'_>, field: &'static str, max: usize) -> Result<Vec<u8>, ParseError> {
    reader.buffer(field, max).map(<[u8]>::to_vec)
}
