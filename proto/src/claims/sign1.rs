//! COSE_Sign1 (RFC 9052 §4.2), as strict as the profile: tag 18, `alg` and
//! `kid` in the protected header and nothing else anywhere, payload inside.

use super::{Claims, ClaimsError, OpenError};
use crate::cbor::{Decoder, Encoder, Keys};

/// Longest COSE_Sign1 that is looked at: some thirty times what the profile's
/// claims take.
pub const MAX_LEN: usize = 16 * 1024;

/// Tag 18 in its only deterministic encoding.
const TAG_SIGN1: u8 = 0xD2;

// Header parameters (RFC 9052 §3.1).
const ALG: i64 = 1;
const CRIT: i64 = 2;
const KID: i64 = 4;

/// Names of SHA-1 and SHA-512 objects: 2 bytes of algorithm and the digest.
const KID_LEN: std::ops::RangeInclusive<usize> = 22..=66;

/// Signature algorithm. Fully specified ones (RFC 9864) are written; on the way
/// in their deprecated forerunners ES256 and ES384 mean the same.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum CoseAlg {
    /// ESP256: ECDSA on P-256 with SHA-256.
    Esp256,
    /// ESP384: ECDSA on P-384 with SHA-384.
    Esp384,
}

impl CoseAlg {
    /// The identifier that is written.
    #[must_use]
    pub const fn id(self) -> i64 {
        match self {
            Self::Esp256 => -9,
            Self::Esp384 => -51,
        }
    }

    fn from_id(id: i64) -> Result<Self, ClaimsError> {
        match id {
            -9 | -7 => Ok(Self::Esp256),
            -51 | -35 => Ok(Self::Esp384),
            other => Err(ClaimsError::UnsupportedAlg(other)),
        }
    }

    /// Length of r ‖ s, in bytes.
    #[must_use]
    pub const fn signature_len(self) -> usize {
        match self {
            Self::Esp256 => 64,
            Self::Esp384 => 96,
        }
    }
}

/// `claims` as a COSE_Sign1. `kid` is the Name of the signing key. `sign` gets
/// the `Sig_structure` (RFC 9052 §4.4), to be hashed and signed, and returns
/// r ‖ s, each of the curve's length.
///
/// # Errors
/// Those of `sign`.
pub fn sign<E>(
    claims: &Claims,
    alg: CoseAlg,
    kid: &[u8],
    sign: impl FnOnce(&[u8]) -> Result<Vec<u8>, E>,
) -> Result<Vec<u8>, E> {
    let mut protected = Encoder::default();
    protected
        .map(2)
        .integer(ALG)
        .integer(alg.id())
        .integer(KID)
        .bytes(kid);
    let (protected, payload) = (protected.into_bytes(), claims.encode());
    let signature = sign(&sig_structure(&protected, &payload))?;

    let mut out = Encoder::default();
    out.raw(&[TAG_SIGN1]).array(4);
    out.bytes(&protected)
        .map(0)
        .bytes(&payload)
        .bytes(&signature);
    Ok(out.into_bytes())
}

/// A well-formed COSE_Sign1 whose claims are out of reach until its signature
/// is verified.
#[derive(Clone, Debug)]
pub struct SignedClaims {
    bytes: Vec<u8>,
    alg: CoseAlg,
    kid: Vec<u8>,
    to_be_signed: Vec<u8>,
    payload: Vec<u8>,
    signature: Vec<u8>,
}

impl SignedClaims {
    /// # Errors
    /// Where the bytes are not exactly one COSE_Sign1 of the profile. The
    /// payload is not looked into.
    pub fn parse(bytes: &[u8]) -> Result<Self, ClaimsError> {
        if bytes.len() > MAX_LEN {
            return Err(ClaimsError::TooLong {
                len: bytes.len(),
                max: MAX_LEN,
            });
        }
        let Some((&TAG_SIGN1, sign1)) = bytes.split_first() else {
            return Err(ClaimsError::NotSign1);
        };
        let mut input = Decoder::new(sign1);
        input.array("COSE_Sign1", 4)?;
        let protected = input.bytes("protected header")?;
        let (alg, kid) = read_protected(protected)?;
        match input.map("unprotected header")? {
            0 => {}
            count => return Err(ClaimsError::Unprotected(count)),
        }
        if input.null() {
            return Err(ClaimsError::DetachedPayload);
        }
        let payload = input.bytes("payload")?;
        let signature = input.bytes("signature")?;
        input.finish()?;
        if signature.len() != alg.signature_len() {
            return Err(ClaimsError::SignatureLength {
                len: signature.len(),
                expected: alg.signature_len(),
            });
        }
        Ok(Self {
            bytes: bytes.to_vec(),
            alg,
            kid: kid.to_vec(),
            to_be_signed: sig_structure(protected, payload),
            payload: payload.to_vec(),
            signature: signature.to_vec(),
        })
    }

    /// What the signer says it signed with. The verifier's key decides.
    #[must_use]
    pub const fn alg(&self) -> CoseAlg {
        self.alg
    }

    /// Name of the key that the signer says it signed with. It is compared with
    /// the key in hand, never used to find one.
    #[must_use]
    pub fn kid(&self) -> &[u8] {
        &self.kid
    }

    /// The bytes as received, over which the quote is bound.
    #[must_use]
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// The claims, once `verify` accepts the signature. It gets the algorithm,
    /// the `Sig_structure` and r ‖ s.
    ///
    /// # Errors
    /// [`OpenError::Signature`] with the error of `verify`;
    /// [`OpenError::Claims`] where the payload is not a claims set of the
    /// profile.
    pub fn open<E>(
        self,
        verify: impl FnOnce(CoseAlg, &[u8], &[u8]) -> Result<(), E>,
    ) -> Result<Claims, OpenError<E>> {
        verify(self.alg, &self.to_be_signed, &self.signature).map_err(OpenError::Signature)?;
        Ok(Claims::decode(&self.payload)?)
    }
}

fn read_protected(bytes: &[u8]) -> Result<(CoseAlg, &[u8]), ClaimsError> {
    // RFC 9052 §3: an empty header is a zero-length string.
    if bytes.is_empty() {
        return Err(ClaimsError::NoAlg);
    }
    let mut input = Decoder::new(bytes);
    let mut keys = Keys::default();
    let (mut alg, mut kid) = (None, None);
    for _ in 0..input.map("protected header")? {
        match keys.next(&mut input, "header label")? {
            ALG => alg = Some(CoseAlg::from_id(input.integer("alg")?)?),
            KID => kid = Some(input.bytes("kid")?),
            CRIT => return Err(ClaimsError::Critical),
            other => return Err(ClaimsError::UnknownHeader(other)),
        }
    }
    input.finish()?;
    let alg = alg.ok_or(ClaimsError::NoAlg)?;
    let kid = kid.ok_or(ClaimsError::NoKid)?;
    if !KID_LEN.contains(&kid.len()) {
        return Err(ClaimsError::Kid(kid.len()));
    }
    Ok((alg, kid))
}

/// `Sig_structure` (RFC 9052 §4.4), without external data: the binding to
/// channel and challenge is in the claims.
pub(super) fn sig_structure(protected: &[u8], payload: &[u8]) -> Vec<u8> {
    let mut out = Encoder::default();
    out.array(4)
        .text("Signature1")
        .bytes(protected)
        .bytes(&[])
        .bytes(payload);
    out.into_bytes()
}
