//! Claims in their COSE_Sign1, out of reach until its signature is verified.

use super::{Claims, ClaimsError, OpenError};
use crate::cose::{self, CoseAlg, Limits, Sign1};

/// Longest COSE_Sign1 that is looked at: some thirty times what the profile's
/// claims take.
pub const MAX_LEN: usize = 16 * 1024;

const LIMITS: Limits = Limits {
    max_len: MAX_LEN,
    // Names of SHA-1 and SHA-512 objects: 2 bytes of algorithm and the digest.
    kid_len: 22..=66,
};

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
    cose::sign(alg, kid, claims.encode(), sign)
}

/// A well-formed COSE_Sign1 whose claims are out of reach until its signature
/// is verified.
#[derive(Clone, Debug)]
pub struct SignedClaims {
    bytes: Vec<u8>,
    sign1: Sign1,
}

impl SignedClaims {
    /// # Errors
    /// Where the bytes are not exactly one COSE_Sign1 of the profile. The
    /// payload is not looked into.
    pub fn parse(bytes: &[u8]) -> Result<Self, ClaimsError> {
        let sign1 = cose::parse(bytes, &LIMITS)?;
        let bytes = bytes.to_vec();
        Ok(Self { bytes, sign1 })
    }

    /// What the signer says it signed with. The verifier's key decides.
    #[must_use]
    pub const fn alg(&self) -> CoseAlg {
        self.sign1.alg
    }

    /// Name of the key that the signer says it signed with. It is compared with
    /// the key in hand, never used to find one.
    #[must_use]
    pub fn kid(&self) -> &[u8] {
        &self.sign1.kid
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
        let Sign1 {
            alg,
            payload,
            to_be_signed,
            signature,
            ..
        } = self.sign1;
        verify(alg, &to_be_signed, &signature).map_err(OpenError::Signature)?;
        Ok(Claims::decode(&payload)?)
    }
}
