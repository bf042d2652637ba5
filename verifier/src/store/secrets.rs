//! Secrets for gateways as the store keeps them: encrypted, under a key that it
//! does not have.

use async_trait::async_trait;
use holdfast_proto::{binding::Ueid, secrets::SecretName};

use super::{Seconds, StoreError};
use crate::{
    secrets::{SecretId, StoredSecret},
    silence::UpSeconds,
};

/// How often in a row a gateway is sent what it was sent before: it may have lost
/// its file or an answer, and it may merely say so.
pub const REDELIVERIES: UpSeconds = 3;
/// After that once in this many seconds of the verifier's up-time.
pub const REDELIVERY_EVERY: UpSeconds = 3600;

/// A version to be put.
#[derive(Debug, Clone)]
pub struct NewSecret {
    /// Its version is the class's count after this change.
    pub id: SecretId,
    /// Bytes of the secret.
    pub size: usize,
    /// Encrypted.
    pub stored: StoredSecret,
}

/// How a version stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SecretState {
    /// It is what gateways get.
    Current,
    /// A later one took its place; nothing of it is kept.
    Superseded,
    /// Nothing of it is kept.
    Revoked,
}

impl SecretState {
    /// As it is stored and shown.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Current => "current",
            Self::Superseded => "superseded",
            Self::Revoked => "revoked",
        }
    }

    /// From its name.
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        [Self::Current, Self::Superseded, Self::Revoked]
            .into_iter()
            .find(|state| state.name() == name)
    }
}

/// One version on record, without the secret.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SecretRecord {
    /// Which.
    pub id: SecretId,
    /// How it stands.
    pub state: SecretState,
    /// Bytes of the secret.
    pub size: u32,
    /// Id of the owner's key that it is under; none where nothing is kept.
    pub key_id: Option<String>,
    /// When it was put.
    pub put_at: Seconds,
    /// By whom.
    pub put_by: String,
    /// When, by whom and why it ended; none while it is in force.
    pub ended: Option<(Seconds, String, String)>,
    /// To how many gateways it was sent.
    pub delivered: u32,
}

/// What is in force of a class.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct SecretsInForce {
    /// How often the secrets of the class were changed; 0: it never had any.
    pub count: u64,
    /// In order of name.
    pub secrets: Vec<SecretInForce>,
}

/// One that is in force.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SecretInForce {
    /// Which.
    pub id: SecretId,
    /// Encrypted.
    pub stored: StoredSecret,
}

/// Secrets for gateways.
#[async_trait]
pub trait Secrets: Send + Sync {
    /// What is in force of a class, of one moment.
    async fn secrets_in_force(&self, class: &str) -> Result<SecretsInForce, StoreError>;

    /// Puts a version in force. The one of before is superseded, and what is kept
    /// of it erased.
    ///
    /// # Errors
    /// [`StoreError::SecretsChanged`] where the version is not the count that
    /// follows; [`StoreError::SecretsFull`].
    async fn put_secret(
        &self,
        new: NewSecret,
        by: &str,
        now: Seconds,
    ) -> Result<SecretRecord, StoreError>;

    /// Takes the version in force out of force, and erases what is kept of it.
    ///
    /// # Errors
    /// [`StoreError::UnknownSecret`] where none is.
    async fn revoke_secret(
        &self,
        class: &str,
        name: &SecretName,
        reason: &str,
        by: &str,
        now: Seconds,
    ) -> Result<SecretRecord, StoreError>;

    /// Of these, what may be sent to the gateway now: what it was not sent
    /// before, and the rest while it has [`REDELIVERIES`] left.
    async fn deliverable(
        &self,
        gateway: &Ueid,
        secrets: Vec<SecretId>,
    ) -> Result<Vec<SecretId>, StoreError>;

    /// Records that these are sent to a gateway in good standing, of their
    /// class, with one line in the audit log. All or none.
    ///
    /// # Errors
    /// [`StoreError::SecretsChanged`] where the class is not at `count` any
    /// more; [`StoreError::RedeliverySpent`] where one was sent before and it has
    /// no redeliveries left; [`StoreError::Blocked`], [`StoreError::KeysChanged`].
    async fn record_delivery(
        &self,
        gateway: &Ueid,
        class: &str,
        count: u64,
        sent: &[SecretId],
        now: Seconds,
    ) -> Result<(), StoreError>;

    /// The newest version of each secret, of a class or of every one: up to
    /// `limit`, in order of class and name.
    async fn secrets(
        &self,
        class: Option<&str>,
        limit: u32,
    ) -> Result<Vec<SecretRecord>, StoreError>;

    /// The newest `limit` versions of one secret, newest first.
    async fn secret_versions(
        &self,
        class: &str,
        name: &SecretName,
        limit: u32,
    ) -> Result<Vec<SecretRecord>, StoreError>;

    /// The latest `limit` gateways that a version was sent to.
    async fn secret_gateways(&self, id: &SecretId, limit: u32) -> Result<Vec<Ueid>, StoreError>;

    /// All that are in force, of every class.
    async fn all_secrets(&self) -> Result<Vec<SecretInForce>, StoreError>;

    /// Puts these under the keys that they are under now: the same secrets. One
    /// that is not in force any more is passed over. Returns how many changed.
    async fn rewrap_secrets(
        &self,
        rewrapped: Vec<SecretInForce>,
        by: &str,
        now: Seconds,
    ) -> Result<u64, StoreError>;
}
