//! Heartbeats as they are on record: the epoch of a gateway's key, and when it
//! beat last, as coarsely as it was written.

use async_trait::async_trait;
use holdfast_proto::binding::Ueid;

use super::{Seconds, StoreError};
use crate::silence::{SilenceRules, UpSeconds};

/// What is on record of a gateway that beats.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HeartbeatRecord {
    /// Its key's epoch, and the id of the master key that it is derived from;
    /// none since the last full attestation.
    pub epoch: Option<([u8; 16], String)>,
    /// TPM clock at the last beat on record, in the epoch.
    pub clock: Option<u64>,
    /// Within how many seconds it was told to beat again; none where it was not
    /// told.
    pub within: Option<UpSeconds>,
}

/// A beat that is to be recorded.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BeatMark {
    /// Whose.
    pub gateway: Ueid,
    /// Of the key that made it.
    pub epoch: [u8; 16],
    /// TPM clock then.
    pub clock: u64,
}

/// What the service asks about heartbeats.
#[async_trait]
pub trait Heartbeats: Send + Sync {
    /// What is on record of a gateway; none where it never began to beat, or is
    /// suspended.
    async fn heartbeat(&self, id: &Ueid) -> Result<Option<HeartbeatRecord>, StoreError>;

    /// Begins an epoch, or goes on with the one on record: from now on the
    /// gateway must beat within so many seconds each time. The beat that is due
    /// already stays due as it was. Only one in good standing.
    ///
    /// # Errors
    /// [`StoreError::Blocked`].
    async fn begin_epoch(
        &self,
        id: &Ueid,
        epoch: [u8; 16],
        master: &str,
        within: UpSeconds,
    ) -> Result<(), StoreError>;

    /// Records who has beaten since this was last called, and at which TPM
    /// clock. A beat of another epoch than the one on record is left out: it says
    /// nothing of what was affirmed since. One transaction.
    async fn record_beats(&self, beats: &[BeatMark]) -> Result<(), StoreError>;

    /// A beat of `epoch` has shown something that is not as affirmed: the epoch
    /// ends, and the gateway is suspended for silence unless it attests within
    /// the grace of these rules. Answers within how many seconds it has to, by the
    /// first such deadline since it attested: that one stays.
    ///
    /// # Errors
    /// [`StoreError::EpochEnded`] where it is not the epoch on record;
    /// [`StoreError::Blocked`].
    async fn doubt(
        &self,
        id: &Ueid,
        epoch: [u8; 16],
        code: &str,
        rules: &SilenceRules,
        now: Seconds,
    ) -> Result<u32, StoreError>;
}
