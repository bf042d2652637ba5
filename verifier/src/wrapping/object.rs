//! The two kinds of object, and their wrapping.

use holdfast_proto::{
    grpc::v1,
    tpm::{
        Name, Public, Unique,
        templates::{delivered_secret_template, heartbeat_key_template},
    },
};
use ring::rand::SecureRandom;
use zeroize::Zeroizing;

use super::{WrapError, WrapRecipient};
use crate::{
    freshness::random_32,
    heartbeat::HeartbeatKey,
    verification::{
        VerificationError,
        encapsulation::{Encapsulated, SeedUse, encapsulate, tpm2b},
    },
};

/// Longest secret in one object (Part 2 §11.1.13: MAX_SYM_DATA).
pub const MAX_SECRET_LEN: usize = 128;

/// `TPM_ALG_KEYEDHASH`, the sensitive area's type.
const ALG_KEYEDHASH: u16 = 0x0008;

/// The inputs of TPM2_Import under one TPM's EK, without the size fields that
/// TPM2B adds: of no use to anybody else.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WrappedObject {
    public: Public,
    duplicate: Vec<u8>,
    encrypted_seed: Vec<u8>,
}

impl WrappedObject {
    /// `objectPublic`.
    #[must_use]
    pub fn public(&self) -> &Public {
        &self.public
    }

    /// The object's Name.
    #[must_use]
    pub fn name(&self) -> Name {
        self.public.name()
    }

    /// Contents of `duplicate`.
    #[must_use]
    pub fn duplicate(&self) -> &[u8] {
        &self.duplicate
    }

    /// Contents of `inSymSeed`.
    #[must_use]
    pub fn encrypted_seed(&self) -> &[u8] {
        &self.encrypted_seed
    }
}

impl From<WrappedObject> for v1::WrappedObject {
    fn from(object: WrappedObject) -> Self {
        Self {
            public: object.public.encode(),
            duplicate: object.duplicate,
            encrypted_seed: object.encrypted_seed,
        }
    }
}

/// A heartbeat key for the TPM of `recipient`.
///
/// # Errors
/// [`WrapError::Encapsulation`].
pub fn wrap_heartbeat_key(
    recipient: &WrapRecipient,
    key: &HeartbeatKey,
    rng: &dyn SecureRandom,
) -> Result<WrappedObject, WrapError> {
    let (obfuscation, key) = key.sensitive();
    wrap(recipient, heartbeat_key_template(), obfuscation, key, rng)
}

/// A secret for the TPM of `recipient`, to be unsealed there: at most
/// [`MAX_SECRET_LEN`] bytes.
///
/// # Errors
/// [`WrapError::SecretLength`], [`WrapError::Encapsulation`].
pub fn wrap_secret(
    recipient: &WrapRecipient,
    secret: &[u8],
    rng: &dyn SecureRandom,
) -> Result<WrappedObject, WrapError> {
    if !(1..=MAX_SECRET_LEN).contains(&secret.len()) {
        return Err(WrapError::SecretLength { len: secret.len() });
    }
    // Hides the secret from whoever sees `unique`: without it a short one could
    // be guessed from its digest (Part 1 §27.5.3.2).
    let obfuscation = Zeroizing::new(random_32(rng).map_err(|_| VerificationError::Entropy)?);
    wrap(
        recipient,
        delivered_secret_template(),
        &obfuscation,
        secret,
        rng,
    )
}

fn wrap(
    recipient: &WrapRecipient,
    template: Public,
    obfuscation: &[u8; 32],
    data: &[u8],
    rng: &dyn SecureRandom,
) -> Result<WrappedObject, WrapError> {
    let public = with_unique(template, obfuscation, data);
    let sensitive = sensitive_area(obfuscation, data);
    let Encapsulated {
        protected,
        encrypted_seed,
    } = encapsulate(
        recipient.ek(),
        &public.name(),
        SeedUse::Duplicate,
        &sensitive,
        rng,
    )?;
    Ok(WrappedObject {
        public,
        duplicate: protected,
        encrypted_seed,
    })
}

/// `unique` of a keyed-hash object: nameAlg's hash of obfuscation ‖ data
/// (Part 1 §27.5.3).
pub(crate) fn with_unique(template: Public, obfuscation: &[u8; 32], data: &[u8]) -> Public {
    let digest = template.name_alg.digest(&[obfuscation, data]);
    Public {
        unique: Unique::KeyedHash(digest.as_bytes().to_vec()),
        ..template
    }
}

/// TPMT_SENSITIVE (Part 2 §12.3.2.4): type, empty authValue, seedValue, data.
fn sensitive_area(obfuscation: &[u8; 32], data: &[u8]) -> Zeroizing<Vec<u8>> {
    let mut area = Zeroizing::new(Vec::with_capacity(8 + obfuscation.len() + data.len()));
    area.extend(ALG_KEYEDHASH.to_be_bytes());
    area.extend(tpm2b(&[]));
    area.extend(tpm2b(obfuscation));
    area.extend(Zeroizing::new(tpm2b(data)).iter());
    area
}
