//! A secret on its way to one gateway.

use holdfast_proto::{
    binding::Ueid,
    grpc::v1,
    secrets::{DELIVERY_KEY_LEN, delivery_aad},
};
use ring::{
    aead::{AES_256_GCM, Aad, LessSafeKey, NONCE_LEN, Nonce, UnboundKey},
    rand::SecureRandom,
};
use zeroize::Zeroizing;

use super::{Secret, SecretId, SecretsError};
use crate::{
    appraisal::SecretRelease,
    wrapping::{WrapRecipient, wrap_secret},
};

/// Permission to deliver to one gateway's TPM, in one answer. Made by spending
/// what an affirming verdict gave.
#[must_use = "a release that is dropped is a gateway that was affirmed and got nothing"]
pub struct Delivery {
    gateway: Ueid,
    class: String,
    recipient: WrapRecipient,
}

impl Delivery {
    /// Spends `release`. The TPM must be that of the gateway that was affirmed.
    ///
    /// # Errors
    /// [`SecretsError::OtherGateway`].
    pub fn new(release: SecretRelease, recipient: WrapRecipient) -> Result<Self, SecretsError> {
        let (gateway, class) = release.into_parts();
        if recipient.gateway_id() != &gateway {
            return Err(SecretsError::OtherGateway);
        }
        Ok(Self {
            gateway,
            class,
            recipient,
        })
    }

    /// The class that was affirmed.
    #[must_use]
    pub fn class(&self) -> &str {
        &self.class
    }

    /// The gateway that was affirmed.
    #[must_use]
    pub fn gateway_id(&self) -> &Ueid {
        &self.gateway
    }
}

/// One secret for that gateway's TPM: under a new key, which is wrapped for it.
/// So a secret may be longer than a TPM takes, and never crosses its bus.
///
/// # Errors
/// [`SecretsError::OtherClass`]; [`SecretsError::Wrap`].
pub fn deliver(
    delivery: &Delivery,
    id: &SecretId,
    secret: &Secret,
    rng: &dyn SecureRandom,
) -> Result<v1::DeliveredSecret, SecretsError> {
    let other_class = || SecretsError::OtherClass {
        secret: id.class.as_str().to_owned(),
        affirmed: delivery.class.clone(),
    };
    if id.class.as_str() != delivery.class {
        return Err(other_class());
    }
    let aad = delivery_aad(&delivery.gateway, id.class.as_str(), &id.name, id.version)
        .ok_or_else(other_class)?;
    let mut key = Zeroizing::new([0; DELIVERY_KEY_LEN]);
    rng.fill(key.as_mut_slice())
        .map_err(|_| SecretsError::NoRandomness)?;
    let cipher = UnboundKey::new(&AES_256_GCM, key.as_slice())
        .map(LessSafeKey::new)
        .expect("a key of AES-256 has 32 bytes");
    let plain = secret.expose();
    let mut text = Zeroizing::new(Vec::with_capacity(plain.len() + AES_256_GCM.tag_len()));
    text.extend_from_slice(plain);
    cipher
        .seal_in_place_append_tag(
            // The key encrypts this once: its one nonce may be zero.
            Nonce::assume_unique_for_key([0; NONCE_LEN]),
            Aad::from(&aad),
            &mut *text,
        )
        .expect("4 KiB are within the bounds of GCM");
    Ok(v1::DeliveredSecret {
        secret: Some(v1::SecretVersion {
            name: id.name.to_string(),
            version: id.version,
        }),
        key: Some(wrap_secret(&delivery.recipient, key.as_slice(), rng)?.into()),
        ciphertext: text.to_vec(),
    })
}
