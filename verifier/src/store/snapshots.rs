//! Shapes of backup and restore.

use async_trait::async_trait;
use serde::{Deserialize, Serialize};

use super::{Seconds, StoreError};

/// What a copy of the store holds.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SnapshotFacts {
    /// Number of its newest migration.
    pub schema: i64,
    /// Gateways on record.
    pub gateways: i64,
    /// When the last act was recorded in the audit log; 0 for none.
    pub last_act_at: Seconds,
}

/// What was made void in a store that was brought back from a backup.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Restored {
    /// LDevIDs that were not revoked at the backup, and are now, also those
    /// that have ended by a clock that may be wrong: a gateway that was revoked
    /// since, or renewed, looks just like one that was not. Each comes back by
    /// Recover, with a full attestation.
    pub certificates: u64,
    /// Join tokens, all of them: they may have been used since.
    pub join_tokens: u64,
    /// Gateways that waited for approval: they may have been denied since.
    pub pending: u64,
    /// Operators' certificates: they may have been revoked since.
    pub operators: u64,
}

/// A store that was brought back, and that nobody has confirmed yet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Restoration {
    /// Id of the backup, hex.
    pub backup: String,
    /// When it was restored.
    pub restored_at: Seconds,
}

/// What stood at the backup, and counts again once a restore is confirmed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Confirmed {
    /// Gateways that are not revoked: they may recover.
    pub gateways: u64,
    /// Devices that are admitted by name.
    pub devices: u64,
    /// Products that are admitted by their serial number.
    pub serials: u64,
}

/// What is asked about a store that was brought back.
#[async_trait]
pub trait Restorations: Send + Sync {
    /// The restore that is not confirmed, if there is one: nobody enrols or
    /// recovers meanwhile.
    async fn unconfirmed_restore(&self) -> Result<Option<Restoration>, StoreError>;

    /// Says that what was revoked, denied or removed after the backup has been
    /// so again: from here on gateways enrol and recover.
    ///
    /// # Errors
    /// [`StoreError::UnknownRestore`] where no restore of this backup waits.
    async fn confirm_restore(
        &self,
        backup: &str,
        by: &str,
        now: Seconds,
    ) -> Result<Confirmed, StoreError>;
}
