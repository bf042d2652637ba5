//! Secrets that the Verifier's owner gives to the gateways of a class: taken from
//! the answer to an attestation, kept so that this TPM alone opens them, and
//! handed out by name. docs/secrets.md has the whole.

mod error;
mod record;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;

use holdfast_proto::grpc::v1;
use holdfast_proto::secrets::{
    DELIVERY_KEY_LEN, MAX_DELIVERED, MAX_NAMES, SecretName, delivery_aad,
};
use ring::aead::{AES_256_GCM, Aad, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};
use zeroize::Zeroizing;

pub use error::DeliveryError;
use record::{Held, Kept};

use crate::state::{Enrolled, StateDir, StateView};
use crate::tpm::{ImportedUse, Tpm};

/// One secret that is here, without the secret.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listed {
    /// Its name.
    pub name: SecretName,
    /// Its version.
    pub version: u64,
}

/// What a delivery changed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Taken {
    /// New ones, and new versions.
    pub taken: Vec<Listed>,
    /// Those that were here and are not in force any more: deleted.
    pub deleted: Vec<SecretName>,
    /// Those in force that are not here, and did not come this time: the
    /// Verifier repeats what it sent before only so often.
    pub awaited: Vec<SecretName>,
}

/// What the Verifier is told of what is here. `None` for nothing.
///
/// # Errors
/// [`DeliveryError::State`].
pub fn held(
    state: &StateDir,
    enrolled: &Enrolled,
) -> Result<Option<v1::HeldSecrets>, DeliveryError> {
    let held = match Held::read(state) {
        Ok(held) => held,
        // All are sent anew, and take its place.
        Err(DeliveryError::Damaged(problem)) => {
            tracing::warn!(problem, "delivered secrets on file are damaged");
            return Ok(None);
        }
        Err(error) => return Err(error),
    };
    Ok(held
        .filter(|held| held.class == enrolled.class)
        .map(|held| v1::HeldSecrets {
            class: held.class,
            count: held.count,
            held: held
                .secrets
                .iter()
                .map(|(name, kept)| v1::SecretVersion {
                    name: name.to_string(),
                    version: kept.version,
                })
                .collect(),
        }))
}

/// Takes what the Verifier sent: keeps what is new, and deletes what is not in
/// force any more.
///
/// # Errors
/// [`DeliveryError::OtherClass`], [`DeliveryError::Old`],
/// [`DeliveryError::Malformed`]: nothing was changed. Of the others, with what
/// could not be opened left out: it is sent again.
pub async fn receive(
    tpm: &Tpm,
    state: &StateDir,
    enrolled: &Enrolled,
    delivery: v1::SecretDelivery,
) -> Result<Taken, DeliveryError> {
    let intake = Intake::new(state, enrolled, delivery)?;
    tpm.offload(move |tpm| Ok::<_, DeliveryError>(intake.import(tpm)))
        .await?
        .keep(state)
}

/// Deletes what is here of another class than the gateway's. What it saw of it
/// is remembered: nothing older is taken, should it come back.
///
/// # Errors
/// [`DeliveryError::State`].
pub fn delete_other_classes(state: &StateDir, enrolled: &Enrolled) -> Result<(), DeliveryError> {
    match Held::read(state) {
        Ok(Some(held)) if held.class != enrolled.class => held.of(&enrolled.class).write(state),
        // What is damaged is replaced by what comes next.
        Ok(_) | Err(DeliveryError::Damaged(_)) => Ok(()),
        Err(error) => Err(error),
    }
}

/// A delivery that may be taken.
#[derive(Debug)]
struct Intake {
    enrolled: Enrolled,
    /// What is on file, also of another class.
    before: Option<Held>,
    /// What is on file of this gateway's class.
    ours: Held,
    delivery: Delivery,
}

impl Intake {
    fn new(
        state: &StateDir,
        enrolled: &Enrolled,
        delivery: v1::SecretDelivery,
    ) -> Result<Self, DeliveryError> {
        let before = match Held::read(state) {
            Ok(held) => held,
            Err(DeliveryError::Damaged(problem)) => {
                tracing::warn!(problem, "delivered secrets on file are replaced");
                None
            }
            Err(error) => return Err(error),
        };
        let ours = before
            .clone()
            .unwrap_or_else(|| Held::none(&enrolled.class))
            .of(&enrolled.class);
        Ok(Self {
            enrolled: enrolled.clone(),
            delivery: Delivery::parse(delivery, &enrolled.class, &ours)?,
            before,
            ours,
        })
    }

    /// Blocks on the TPM.
    fn import(self, tpm: &Tpm) -> Imported {
        let Self {
            enrolled,
            before,
            ours,
            delivery,
        } = self;
        delivery.settle(before.as_ref(), &ours, |name, version, sent| {
            import(tpm, &enrolled, name, version, sent)
        })
    }
}

/// What is to be kept.
#[derive(Debug)]
struct Imported {
    now: Held,
    taken: Taken,
    failed: Option<DeliveryError>,
}

impl Imported {
    fn keep(self, state: &StateDir) -> Result<Taken, DeliveryError> {
        self.now.write(state)?;
        match self.failed {
            None => Ok(self.taken),
            Some(error) => Err(error),
        }
    }
}

/// The secret of that name. Blocks on the TPM.
///
/// # Errors
/// [`DeliveryError::Absent`]; [`DeliveryError::Tpm`] where this is not the TPM
/// that it was delivered to.
pub fn open(
    tpm: &Tpm,
    state: &StateView,
    name: &SecretName,
) -> Result<Zeroizing<Vec<u8>>, DeliveryError> {
    let enrolled = state.require_enrolled()?;
    let kept = Held::view(state)?
        .filter(|held| held.class == enrolled.class)
        .and_then(|mut held| held.secrets.remove(name))
        .ok_or_else(|| DeliveryError::Absent(name.clone()))?;
    tpm.storage_root(Some(&enrolled.keys.srk_name))?;
    decrypt(tpm, &enrolled, name, &kept)
}

/// What is here, in order of name.
///
/// # Errors
/// [`DeliveryError::State`], [`DeliveryError::Damaged`].
pub fn list(state: &StateView) -> Result<Vec<Listed>, DeliveryError> {
    let enrolled = state.require_enrolled()?;
    let held = Held::view(state)?.filter(|held| held.class == enrolled.class);
    Ok(held
        .into_iter()
        .flat_map(|held| held.secrets)
        .map(|(name, kept)| Listed {
            name,
            version: kept.version,
        })
        .collect())
}

/// A delivery for this gateway, and not an old one.
#[derive(Debug)]
struct Delivery {
    count: u64,
    current: BTreeMap<SecretName, u64>,
    secrets: BTreeMap<SecretName, (u64, v1::DeliveredSecret)>,
}

impl Delivery {
    /// What is to be kept after it. The count is taken in any case: a secret that
    /// did not open is sent again, since it is not among what the gateway says
    /// that it holds; and an older delivery, which knows nothing of what was
    /// taken back since, stays refused. Of such a secret the copy of before is
    /// kept, where there is one.
    fn settle(
        self,
        before: Option<&Held>,
        ours: &Held,
        mut import: impl FnMut(&SecretName, u64, &v1::DeliveredSecret) -> Result<Kept, DeliveryError>,
    ) -> Imported {
        let mut taken = Taken::default();
        let mut failed = None;
        let mut now = ours.emptied();
        now.count = self.count;
        let came = |name: &SecretName| self.secrets.contains_key(name);
        taken.awaited = (self.current.keys())
            .filter(|name| !ours.secrets.contains_key(*name) && !came(name))
            .cloned()
            .collect();
        for name in self.current.keys() {
            if let Some(kept) = ours.secrets.get(name) {
                now.secrets.insert(name.clone(), kept.clone());
            }
        }
        for (name, (version, sent)) in self.secrets {
            match import(&name, version, &sent) {
                Ok(kept) => {
                    now.secrets.insert(name.clone(), kept);
                    taken.taken.push(Listed { name, version });
                }
                Err(error) => failed = Some(error),
            }
        }
        let had = before.iter().flat_map(|held| held.secrets.keys());
        taken.deleted = had
            .filter(|name| !now.secrets.contains_key(*name))
            .cloned()
            .collect();
        Imported { now, taken, failed }
    }

    fn parse(sent: v1::SecretDelivery, class: &str, ours: &Held) -> Result<Self, DeliveryError> {
        if sent.class != class {
            return Err(DeliveryError::OtherClass {
                wanted: class.to_owned(),
            });
        }
        if sent.count < ours.count {
            return Err(DeliveryError::Old {
                sent: sent.count,
                seen: ours.count,
            });
        }
        if sent.current.len() > MAX_NAMES || sent.secrets.len() > MAX_NAMES {
            return Err(DeliveryError::Malformed("more names than a class has"));
        }
        let mut current = BTreeMap::new();
        for version in &sent.current {
            let name = parse_name(&version.name)?;
            if version.version == 0 || version.version > sent.count {
                return Err(DeliveryError::Malformed("a version beyond its count"));
            }
            if let Some(kept) = ours.secrets.get(&name)
                && kept.version > version.version
            {
                return Err(DeliveryError::Old {
                    sent: version.version,
                    seen: kept.version,
                });
            }
            if current.insert(name, version.version).is_some() {
                return Err(DeliveryError::Malformed("a name twice"));
            }
        }
        let mut secrets = BTreeMap::new();
        for secret in sent.secrets {
            let stated = secret.secret.clone().unwrap_or_default();
            let name = parse_name(&stated.name)?;
            if current.get(&name) != Some(&stated.version) {
                return Err(DeliveryError::Malformed("a version that is not in force"));
            }
            if secret.ciphertext.len() > MAX_DELIVERED + AES_256_GCM.tag_len() {
                return Err(DeliveryError::Malformed("a secret that is too long"));
            }
            if secrets.insert(name, (stated.version, secret)).is_some() {
                return Err(DeliveryError::Malformed("a secret twice"));
            }
        }
        Ok(Self {
            count: sent.count,
            current,
            secrets,
        })
    }
}

fn parse_name(text: &str) -> Result<SecretName, DeliveryError> {
    text.parse()
        .map_err(|_| DeliveryError::Malformed("something that is no name"))
}

/// Imports the key, and opens the secret once, so that one that does not open is
/// told while the Verifier is at hand.
fn import(
    tpm: &Tpm,
    enrolled: &Enrolled,
    name: &SecretName,
    version: u64,
    sent: &v1::DeliveredSecret,
) -> Result<Kept, DeliveryError> {
    let wrapped = sent
        .key
        .as_ref()
        .ok_or(DeliveryError::Malformed("a secret without a key"))?;
    let object = tpm.import(&enrolled.pinned_ek()?, ImportedUse::Secret, wrapped)?;
    let kept = Kept {
        version,
        object,
        ciphertext: sent.ciphertext.clone(),
    };
    decrypt(tpm, enrolled, name, &kept).map(drop)?;
    Ok(kept)
}

fn decrypt(
    tpm: &Tpm,
    enrolled: &Enrolled,
    name: &SecretName,
    kept: &Kept,
) -> Result<Zeroizing<Vec<u8>>, DeliveryError> {
    let altered = || DeliveryError::Altered(name.clone());
    let key = tpm.open_delivered(&enrolled.pinned_ek()?, &kept.object)?;
    tpm.forget(&kept.object)?;
    decrypt_with(&key, enrolled, name, kept).ok_or_else(altered)
}

fn decrypt_with(
    key: &[u8],
    enrolled: &Enrolled,
    name: &SecretName,
    kept: &Kept,
) -> Option<Zeroizing<Vec<u8>>> {
    let key: &[u8; DELIVERY_KEY_LEN] = key.try_into().ok()?;
    let cipher = UnboundKey::new(&AES_256_GCM, key)
        .map(LessSafeKey::new)
        .ok()?;
    let aad = delivery_aad(&enrolled.gateway_id, &enrolled.class, name, kept.version)?;
    let mut text = Zeroizing::new(kept.ciphertext.clone());
    // The key encrypts this once: its one nonce is zero.
    let nonce = Nonce::assume_unique_for_key([0; NONCE_LEN]);
    let len = cipher
        .open_in_place(nonce, Aad::from(&aad), &mut text)
        .ok()?
        .len();
    text.truncate(len);
    Some(text)
}
