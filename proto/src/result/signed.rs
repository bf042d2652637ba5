//! An EAR with its signature: made by signing, opened by verifying.

use std::fmt;

use super::{Ear, Form, MAX_EAR_BYTES, SIGNATURE_BYTES, cwt, dotted, jwt};
use crate::cbor::CborError;
use crate::cose::Sign1Error;

/// Why bytes are not an EAR of ours.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum EarError {
    /// More than [`MAX_EAR_BYTES`].
    #[error("{0} bytes: at most {MAX_EAR_BYTES} are taken")]
    TooLong(usize),
    /// Not the encoding that it should be.
    #[error("{field} does not decode: {why}")]
    Malformed {
        /// Which part.
        field: &'static str,
        /// What the decoder says.
        why: String,
    },
    /// Of a CWT: not a COSE_Sign1 of the profile.
    #[error("CWT: {0}")]
    Envelope(#[from] Sign1Error),
    /// Of a CWT: the payload is not the deterministic CBOR of an EAR.
    #[error("EAR: {0}")]
    Cbor(#[from] CborError),
    /// The algorithm is not ES256, or a header parameter is not known.
    #[error("the header is not that of an EAR signed with ES256")]
    Header,
    /// Another `eat_profile`.
    #[error(
        "eat_profile is neither {} nor {}",
        super::PROFILE,
        super::DOTTED_PROFILE
    )]
    Profile,
    /// Not exactly one submodule, named `gateway`.
    #[error("submods is not exactly {:?}", super::SUBMODULE)]
    Submodules,
    /// `ear_status` is more trusting than the vector (EAR §3).
    #[error("ear_status is not borne out by the trustworthiness vector")]
    Status,
    /// `exp` is not after `iat`.
    #[error("exp is not after iat")]
    Expiry,
    /// A list or a string beyond its cap.
    #[error("too many or too long strings")]
    TooMuch,
    /// The signature is not 64 bytes.
    #[error("a signature of {0} bytes: ES256 has {SIGNATURE_BYTES}")]
    Signature(usize),
}

impl EarError {
    pub(super) fn malformed(field: &'static str, why: impl fmt::Display) -> Self {
        Self::Malformed {
            field,
            why: why.to_string(),
        }
    }
}

/// Why a [`SignedEar`] stays shut.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the signature of the attestation result does not verify")]
pub struct OpenError<E>(#[source] pub E);

/// A well-formed EAR whose signature nobody has checked. What it says is out
/// of reach.
pub struct SignedEar {
    pub(super) form: Form,
    pub(super) key_id: Vec<u8>,
    pub(super) to_be_signed: Vec<u8>,
    pub(super) signature: [u8; SIGNATURE_BYTES],
    pub(super) ear: Ear,
}

impl SignedEar {
    /// Reads a JWT (compact serialisation, RFC 7515 §7.1), of either form.
    ///
    /// # Errors
    /// [`EarError`] names the part and the rule.
    pub fn parse_jwt(text: &str) -> Result<Self, EarError> {
        within_cap(text.len())?;
        jwt::parse(text)
    }

    /// Reads a CWT (COSE_Sign1, tag 18), of either form. Only the deterministic
    /// encoding that [`Ear::sign_cwt_as`] writes is taken.
    ///
    /// # Errors
    /// [`EarError`] names the part and the rule.
    pub fn parse_cwt(bytes: &[u8]) -> Result<Self, EarError> {
        within_cap(bytes.len())?;
        cwt::parse(bytes)
    }

    /// Which key the EAR says it was signed with. Untrusted: it selects among
    /// keys that the caller trusts already.
    #[must_use]
    pub fn key_id(&self) -> &[u8] {
        &self.key_id
    }

    /// In which form it is written, by its `eat_profile`.
    #[must_use]
    pub fn form(&self) -> Form {
        self.form
    }

    /// Opens it if `verify` accepts the signature: ES256 over the first
    /// argument, the second being `r ‖ s`, 64 bytes.
    ///
    /// # Errors
    /// [`OpenError`] with what `verify` says.
    pub fn open<E>(
        self,
        verify: impl FnOnce(&[u8], &[u8]) -> Result<(), E>,
    ) -> Result<Ear, OpenError<E>> {
        verify(&self.to_be_signed, &self.signature).map_err(OpenError)?;
        Ok(self.ear)
    }
}

impl fmt::Debug for SignedEar {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SignedEar(unverified)")
    }
}

impl Ear {
    /// A JWT. `key_id` is written in lower hex; `sign` gets the JWS signing
    /// input and answers ES256's `r ‖ s`.
    ///
    /// # Errors
    /// What `sign` says.
    pub fn sign_jwt<E>(
        &self,
        key_id: &[u8],
        sign: impl FnOnce(&[u8]) -> Result<Vec<u8>, E>,
    ) -> Result<String, E> {
        jwt::sign(self, key_id, sign)
    }

    /// A JWT in the form that is asked for.
    ///
    /// # Errors
    /// As [`Ear::sign_jwt`].
    pub fn sign_jwt_as<E>(
        &self,
        form: Form,
        key_id: &[u8],
        sign: impl FnOnce(&[u8]) -> Result<Vec<u8>, E>,
    ) -> Result<String, E> {
        match form {
            Form::Draft04 => jwt::sign(self, key_id, sign),
            Form::Dotted => dotted::sign_jwt(self, key_id, sign),
        }
    }

    /// A CWT in the form that is asked for.
    ///
    /// # Errors
    /// As [`Ear::sign_cwt`].
    pub fn sign_cwt_as<E>(
        &self,
        form: Form,
        key_id: &[u8],
        sign: impl FnOnce(&[u8]) -> Result<Vec<u8>, E>,
    ) -> Result<Vec<u8>, E> {
        match form {
            Form::Draft04 => cwt::sign(self, key_id, sign),
            Form::Dotted => dotted::sign_cwt(self, key_id, sign),
        }
    }

    /// A CWT: COSE_Sign1 (tag 18) in deterministic CBOR, with `key_id` in its
    /// protected header. `sign` gets the Sig_structure and answers ES256's
    /// `r ‖ s`.
    ///
    /// # Errors
    /// What `sign` says.
    pub fn sign_cwt<E>(
        &self,
        key_id: &[u8],
        sign: impl FnOnce(&[u8]) -> Result<Vec<u8>, E>,
    ) -> Result<Vec<u8>, E> {
        cwt::sign(self, key_id, sign)
    }
}

pub(super) fn signature_of(bytes: &[u8]) -> Result<[u8; SIGNATURE_BYTES], EarError> {
    bytes
        .try_into()
        .map_err(|_| EarError::Signature(bytes.len()))
}

fn within_cap(length: usize) -> Result<(), EarError> {
    if length > MAX_EAR_BYTES {
        Err(EarError::TooLong(length))
    } else {
        Ok(())
    }
}
