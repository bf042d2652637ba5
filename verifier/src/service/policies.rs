//! The appraisal policy in use: verified to be the owner's whenever it is
//! loaded, replaced without a restart.

use std::sync::Arc;

use tokio::sync::Mutex;

use super::error::Refusal;
use crate::{
    appraisal::{Policy, PolicyError},
    exchange::Verifier,
    owner::{EVERY_CLASS, Kind, OwnerError, OwnerKey, Stated, Succession},
    store::{NewPolicy, PolicyRecord, Store, StoreError},
    time::UnixTime,
};

/// Who applied the policy that `init` wrote.
const BY_INIT: &str = "init";

/// Why the policy on record is not taken into use.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum PolicyLoadError {
    /// The store could not be read.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The row is not what the owner signed.
    #[error(
        "version {version} of the policy in the store is not what the owner signed: {cause}. \
         Somebody changed the store: restore it from a backup"
    )]
    NotTheOwners {
        /// Which version.
        version: u64,
        /// What is not the owner's word.
        cause: OwnerError,
    },
    /// The row's own version or digest is not the stated one.
    #[error(
        "the policy in the store is kept as version {version}, but the owner signed it as \
         version {stated}. Somebody changed the store: restore it from a backup"
    )]
    Renumbered {
        /// Version of the row.
        version: u64,
        /// Version in the statement.
        stated: u64,
    },
    /// The owner signed it, but this program cannot run it.
    #[error("version {version} of the policy: {cause}")]
    Compile {
        /// Which version.
        version: u64,
        /// Why.
        cause: PolicyError,
    },
    /// The first policy is not the owner's.
    #[error("{0}")]
    First(OwnerError),
}

/// The policy, as it is in the store and as it comes in.
pub struct Policies {
    store: Arc<dyn Store>,
    owner: OwnerKey,
    /// One at a time: store and memory change in the same order.
    applying: Mutex<()>,
}

/// What an application did.
pub(super) struct Applied {
    pub(super) record: PolicyRecord,
    /// False where it was in force already.
    pub(super) changed: bool,
}

impl Policies {
    /// Over what the store holds, by the word of `owner`.
    #[must_use]
    pub fn new(store: Arc<dyn Store>, owner: OwnerKey) -> Self {
        Self {
            store,
            owner,
            applying: Mutex::default(),
        }
    }

    /// The policy in force, with its version; `None` where none was applied.
    ///
    /// # Errors
    /// [`PolicyLoadError`]: what is not the owner's is not used, and no older
    /// version is used in its place.
    pub async fn load(&self) -> Result<Option<(u64, Policy)>, PolicyLoadError> {
        let Some(record) = self.store.policy(None).await? else {
            return Ok(None);
        };
        let version = record.version;
        let stated = self
            .stated(&record.source, &record.statement)
            .map_err(|cause| PolicyLoadError::NotTheOwners { version, cause })?;
        if stated.version() != version {
            return Err(PolicyLoadError::Renumbered {
                version,
                stated: stated.version(),
            });
        }
        let policy = Policy::compile(&record.source)
            .map_err(|cause| PolicyLoadError::Compile { version, cause })?;
        Ok(Some((version, policy)))
    }

    /// Records the policy that `init` wrote and signed, as version 1, where
    /// none is on record.
    ///
    /// # Errors
    /// [`PolicyLoadError::First`], [`PolicyLoadError::Compile`].
    pub async fn begin(
        &self,
        source: &str,
        statement: &[u8],
        now: UnixTime,
    ) -> Result<(u64, Policy), PolicyLoadError> {
        let stated = self
            .stated(source, statement)
            .map_err(PolicyLoadError::First)?;
        let version = stated.version();
        stated.after(None).map_err(PolicyLoadError::First)?;
        let policy =
            Policy::compile(source).map_err(|cause| PolicyLoadError::Compile { version, cause })?;
        let new = new_policy(&stated, source, statement);
        self.store.apply_policy(new, BY_INIT, now.seconds()).await?;
        Ok((version, policy))
    }

    /// Verifies, compiles, records, and takes into use.
    pub(super) async fn apply(
        &self,
        verifier: &Verifier,
        source: String,
        statement: &[u8],
        by: &str,
        now: UnixTime,
    ) -> Result<Applied, Refusal> {
        let stated = self.stated(&source, statement)?;
        let _one_at_a_time = self.applying.lock().await;
        let last = self.store.policy(None).await?;
        let in_use = last.as_ref().map(|last| (last.version, &last.sha256));
        let succession = stated.after(in_use)?;
        let new = new_policy(&stated, &source, statement);
        let policy = tokio::task::spawn_blocking(move || Policy::compile(&source))
            .await
            .map_err(|e| Refusal::Internal(format!("compiling a policy: {e}")))?
            .map_err(|e| Refusal::AdminInput(e.to_string()))?;
        let (record, changed) = match (succession, last) {
            (Succession::Same, Some(last)) => (last, false),
            _ => {
                let record = self.store.apply_policy(new, by, now.seconds()).await?;
                (record, true)
            }
        };
        // Also where it is on record already: recording it may have failed
        // after it reached the disk.
        if verifier.policy().id() != policy.id() {
            verifier.replace_policy(policy);
        }
        Ok(Applied { record, changed })
    }

    fn stated(&self, source: &str, statement: &[u8]) -> Result<Stated, OwnerError> {
        self.owner
            .verify(statement, Kind::Policy, EVERY_CLASS, source.as_bytes())
    }
}

fn new_policy(stated: &Stated, source: &str, statement: &[u8]) -> NewPolicy {
    NewPolicy {
        version: stated.version(),
        sha256: *stated.sha256(),
        source: source.to_owned(),
        statement: statement.to_vec(),
    }
}
