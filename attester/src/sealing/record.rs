//! A sealed secret in the state directory: what the TPM sealed is a key of 32
//! bytes, and the secret is encrypted with it (AES-256-GCM). So a secret can be
//! longer than a TPM takes, and never crosses its bus itself.

use holdfast_proto::secrets::SecretName;
use holdfast_proto::tpm::{HashAlg, PcrSelection, PcrSet};
use ring::aead::{AES_256_GCM, Aad, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};
use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

use super::SealError;
use crate::tpm::KeyBlob;

/// Longest secret, in bytes: keys, passwords, small credential files.
pub const MAX_SECRET: usize = 64 * 1024;
/// The key that the TPM seals.
pub(super) const KEY_LEN: usize = 32;
/// Of its file: the secret in hex, and the rest.
const MAX_FILE: u64 = 3 * MAX_SECRET as u64;
const VERSION: u32 = 1;

/// What a secret is bound to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Binding {
    /// States that are approved for this class.
    Approved {
        /// The class at the time of sealing: it is in the object's policy.
        class: String,
    },
    /// These PCRs, as they were.
    Current {
        /// Which.
        selection: PcrSelection,
        /// SHA-256 over their values.
        pcr_digest: [u8; 32],
    },
}

fn file(name: &SecretName) -> String {
    format!("sealed-{name}.json")
}

/// A secret as it lies on disk.
#[derive(Debug)]
pub(super) struct Sealed {
    pub(super) binding: Binding,
    pub(super) object: KeyBlob,
    ciphertext: Vec<u8>,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Json {
    version: u32,
    binding: BindingJson,
    object_public: String,
    object_private: String,
    ciphertext: String,
}

#[derive(Serialize, Deserialize)]
#[serde(tag = "policy", rename_all = "lowercase", deny_unknown_fields)]
enum BindingJson {
    Approved {
        class: String,
    },
    Current {
        bank: String,
        pcrs: Vec<u32>,
        pcr_digest: String,
    },
}

impl Sealed {
    /// Encrypts `secret` with `key`, which is used for nothing else, ever.
    pub(super) fn new(
        name: &SecretName,
        binding: Binding,
        object: KeyBlob,
        key: &[u8],
        secret: &[u8],
    ) -> Result<Self, SealError> {
        let mut ciphertext = Zeroizing::new(secret.to_vec());
        cipher(key)
            .seal_in_place_append_tag(once(), Aad::from(name.as_str()), &mut *ciphertext)
            .map_err(|_| SealError::Randomness)?;
        Ok(Self {
            binding,
            object,
            ciphertext: ciphertext.to_vec(),
        })
    }

    /// The secret, with the key that the TPM unsealed.
    pub(super) fn open(
        &self,
        name: &SecretName,
        key: &[u8],
    ) -> Result<Zeroizing<Vec<u8>>, SealError> {
        let mut bytes = Zeroizing::new(self.ciphertext.clone());
        if key.len() != KEY_LEN {
            return Err(damaged(name, "sealed key"));
        }
        let len = cipher(key)
            .open_in_place(once(), Aad::from(name.as_str()), &mut bytes)
            .map_err(|_| damaged(name, "ciphertext"))?
            .len();
        bytes.truncate(len);
        Ok(bytes)
    }

    pub(super) fn write(
        &self,
        state: &crate::state::StateDir,
        name: &SecretName,
    ) -> Result<(), SealError> {
        let json = Json {
            version: VERSION,
            binding: match &self.binding {
                Binding::Approved { class } => BindingJson::Approved {
                    class: class.clone(),
                },
                Binding::Current {
                    selection,
                    pcr_digest,
                } => BindingJson::Current {
                    bank: selection.hash.name().to_owned(),
                    pcrs: selection.pcrs.iter().collect(),
                    pcr_digest: hex::encode(pcr_digest),
                },
            },
            object_public: hex::encode(self.object.encode_public()),
            object_private: hex::encode(self.object.encode_private()),
            ciphertext: hex::encode(&self.ciphertext),
        };
        let mut bytes =
            serde_json::to_vec_pretty(&json).expect("a struct of strings and numbers serialises");
        bytes.push(b'\n');
        Ok(state.write_file(&file(name), &bytes)?)
    }

    pub(super) fn read(
        state: &crate::state::StateView,
        name: &SecretName,
    ) -> Result<Self, SealError> {
        let bytes = state
            .read_file(&file(name), MAX_FILE)?
            .ok_or_else(|| SealError::Absent(name.to_string()))?;
        let json: Json = serde_json::from_slice(&bytes).map_err(|e| damaged(name, e))?;
        if json.version != VERSION {
            return Err(damaged(name, format_args!("version {}", json.version)));
        }
        let bytes = |field: &str, text: &str| {
            hex::decode(text).map_err(|e| damaged(name, format_args!("{field}: {e}")))
        };
        let object = KeyBlob::parse(
            &bytes("object_public", &json.object_public)?,
            &bytes("object_private", &json.object_private)?,
        )
        .map_err(|e| damaged(name, e))?;
        let binding = match json.binding {
            BindingJson::Approved { class } => Binding::Approved { class },
            BindingJson::Current {
                bank,
                pcrs,
                pcr_digest,
            } => Binding::Current {
                selection: PcrSelection {
                    hash: HashAlg::from_name(&bank).ok_or_else(|| damaged(name, "bank"))?,
                    pcrs: PcrSet::from_indices(pcrs).map_err(|e| damaged(name, e))?,
                },
                pcr_digest: bytes("pcr_digest", &pcr_digest)?
                    .try_into()
                    .map_err(|_| damaged(name, "pcr_digest"))?,
            },
        };
        Ok(Self {
            binding,
            object,
            ciphertext: bytes("ciphertext", &json.ciphertext)?,
        })
    }

    pub(super) fn exists(
        state: &crate::state::StateDir,
        name: &SecretName,
    ) -> Result<bool, SealError> {
        Ok(state.read_file(&file(name), MAX_FILE)?.is_some())
    }
}

fn damaged(name: &SecretName, problem: impl std::fmt::Display) -> SealError {
    SealError::Damaged {
        name: name.to_string(),
        problem: problem.to_string(),
    }
}

fn cipher(key: &[u8]) -> LessSafeKey {
    let key = UnboundKey::new(&AES_256_GCM, key).expect("callers give KEY_LEN bytes");
    LessSafeKey::new(key)
}

/// Each key encrypts one secret once, so its one nonce may be zero.
fn once() -> Nonce {
    Nonce::assume_unique_for_key([0; NONCE_LEN])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_opens_under_its_name_and_key_alone() {
        let name: SecretName = "one".parse().unwrap();
        let area = holdfast_proto::sealing::sealed_template(&[7; 32]);
        let object = KeyBlob::parse(&area.encode_tpm2b(), &[0, 1, 9]).unwrap();
        let binding = Binding::Approved {
            class: "edge".to_owned(),
        };
        let sealed = Sealed::new(&name, binding, object, &[1; 32], b"secret").unwrap();
        assert_eq!(sealed.open(&name, &[1; 32]).unwrap().as_slice(), b"secret");
        let other: SecretName = "two".parse().unwrap();
        for (name, key) in [(&other, &[1; 32][..]), (&name, &[2; 32]), (&name, &[1; 31])] {
            let error = sealed.open(name, key).unwrap_err();
            assert!(matches!(error, SealError::Damaged { .. }), "{error}");
        }
        assert!(!format!("{sealed:?}").contains("secret"));
    }
}
