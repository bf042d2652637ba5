//! TPM2_MakeCredential in software (TPM 2.0 Part 1 §24; Part 3 §12.6): a
//! secret that only the TPM holding both the EK and the named object can read.

use holdfast_proto::tpm::Name;
use ring::rand::SecureRandom;

use super::{
    encapsulation::{Encapsulated, SeedUse, encapsulate},
    error::VerificationError,
};
use crate::endorsement::EkPublic;

/// The two outputs, without the outer size fields that TPM2B adds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Credential {
    /// Contents of TPM2B_ID_OBJECT: TPM2B integrity HMAC ‖ encrypted secret.
    pub id_object: Vec<u8>,
    /// Contents of TPM2B_ENCRYPTED_SECRET: OAEP ciphertext, or TPMS_ECC_POINT.
    pub encrypted_secret: Vec<u8>,
}

/// Wraps `secret` so that TPM2_ActivateCredential gives it back only where
/// `ek` and the object called `name` are both loaded.
///
/// # Errors
/// [`VerificationError::EkUnfit`] where the EK's point is not on its curve;
/// [`VerificationError::Entropy`].
pub fn make_credential(
    ek: &EkPublic,
    name: &Name,
    secret: &[u8; 32],
    rng: &dyn SecureRandom,
) -> Result<Credential, VerificationError> {
    let Encapsulated {
        protected,
        encrypted_seed,
    } = encapsulate(ek, name, SeedUse::Identity, secret, rng)?;
    Ok(Credential {
        id_object: protected,
        encrypted_secret: encrypted_seed,
    })
}
