//! Delivered secrets in the state directory, all in one file, which is replaced
//! in one rename. What is in it opens in this TPM alone: each key is under its
//! EK, and each secret under its key.

use std::collections::BTreeMap;

use holdfast_proto::secrets::SecretName;
use serde::{Deserialize, Serialize};

use super::DeliveryError;
use crate::state::{StateDir, StateView};
use crate::tpm::ImportedObject;

const FILE: &str = "delivered-secrets.json";
/// More than 64 KiB of secrets in hex, and 32 keys.
const MAX_FILE: u64 = 512 * 1024;
const VERSION: u32 = 1;
/// Classes of before whose count is remembered: a gateway that is moved more
/// often than that forgets the one that it left first.
const MAX_LEFT: usize = 32;

/// All that is here, and up to which change.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Held {
    pub(super) class: String,
    pub(super) count: u64,
    pub(super) secrets: BTreeMap<SecretName, Kept>,
    /// Classes that the gateway was of before and up to which change it saw them:
    /// what is old stays old should it come back. The one that it left last is
    /// last.
    left: Vec<Left>,
}

/// A class that the gateway was of.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Left {
    class: String,
    count: u64,
}

/// One secret, encrypted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Kept {
    pub(super) version: u64,
    pub(super) object: ImportedObject,
    pub(super) ciphertext: Vec<u8>,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Json {
    version: u32,
    class: String,
    count: u64,
    secrets: BTreeMap<String, KeptJson>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    left: Vec<Left>,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct KeptJson {
    version: u64,
    object_public: String,
    object_private: String,
    ciphertext: String,
}

impl Held {
    pub(super) fn none(class: &str) -> Self {
        Self {
            class: class.to_owned(),
            count: 0,
            secrets: BTreeMap::new(),
            left: Vec::new(),
        }
    }

    /// The same without its secrets: what is to be remembered in any case.
    pub(super) fn emptied(&self) -> Self {
        Self {
            secrets: BTreeMap::new(),
            ..self.clone()
        }
    }

    /// As a gateway of `class`: of another than before it has no secrets yet.
    pub(super) fn of(self, class: &str) -> Self {
        if self.class == class {
            return self;
        }
        let mut left = self.left;
        left.push(Left {
            class: self.class,
            count: self.count,
        });
        let back = left.iter().position(|before| before.class == class);
        let count = back.map_or(0, |at| left.remove(at).count);
        let forgotten = left.len().saturating_sub(MAX_LEFT);
        left.drain(..forgotten);
        Self {
            class: class.to_owned(),
            count,
            secrets: BTreeMap::new(),
            left,
        }
    }

    pub(super) fn read(state: &StateDir) -> Result<Option<Self>, DeliveryError> {
        let bytes = state.read_file(FILE, MAX_FILE)?;
        bytes.map(|bytes| Self::parse(&bytes)).transpose()
    }

    pub(super) fn view(state: &StateView) -> Result<Option<Self>, DeliveryError> {
        let bytes = state.read_file(FILE, MAX_FILE)?;
        bytes.map(|bytes| Self::parse(&bytes)).transpose()
    }

    pub(super) fn parse(bytes: &[u8]) -> Result<Self, DeliveryError> {
        let json: Json = serde_json::from_slice(bytes).map_err(damaged)?;
        if json.version != VERSION {
            return Err(damaged(format_args!("version {}", json.version)));
        }
        let mut secrets = BTreeMap::new();
        for (name, kept) in json.secrets {
            let name: SecretName = name.parse().map_err(damaged)?;
            let bytes = |text: &str| hex::decode(text).map_err(damaged);
            let object =
                ImportedObject::parse(&bytes(&kept.object_public)?, &bytes(&kept.object_private)?)
                    .map_err(damaged)?;
            let kept = Kept {
                version: kept.version,
                object,
                ciphertext: bytes(&kept.ciphertext)?,
            };
            secrets.insert(name, kept);
        }
        Ok(Self {
            class: json.class,
            count: json.count,
            secrets,
            left: json.left,
        })
    }

    pub(super) fn to_bytes(&self) -> Vec<u8> {
        let secrets = self.secrets.iter().map(|(name, kept)| {
            let kept = KeptJson {
                version: kept.version,
                object_public: hex::encode(kept.object.blob().encode_public()),
                object_private: hex::encode(kept.object.blob().encode_private()),
                ciphertext: hex::encode(&kept.ciphertext),
            };
            (name.to_string(), kept)
        });
        let json = Json {
            version: VERSION,
            class: self.class.clone(),
            count: self.count,
            secrets: secrets.collect(),
            left: self.left.clone(),
        };
        let mut bytes =
            serde_json::to_vec_pretty(&json).expect("a struct of strings and numbers serialises");
        bytes.push(b'\n');
        bytes
    }

    pub(super) fn write(&self, state: &StateDir) -> Result<(), DeliveryError> {
        Ok(state.write_file(FILE, &self.to_bytes())?)
    }
}

fn damaged(problem: impl std::fmt::Display) -> DeliveryError {
    DeliveryError::Damaged(problem.to_string())
}
