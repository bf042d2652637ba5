//! [`Store`] on SQLite.
//!
//! One connection writes, in `BEGIN IMMEDIATE` transactions one after another;
//! a small pool reads. The journal is a WAL with `synchronous = FULL`: a commit
//! returns after fsync of the WAL.

mod admin;
mod admissions;
mod allow_lists;
mod audit;
mod basis;
mod certificates;
mod deliveries;
mod eks;
mod endorsements;
mod events;
mod heartbeats;
mod keys;
mod oems;
mod operators;
mod policies;
mod record;
mod references;
mod revocations;
mod rows;
mod secrets;
mod silence;
mod snapshot;
mod sweep;
#[cfg(test)]
mod tests;
mod uptime;
mod writes;

use std::{path::Path, time::Duration};

use async_trait::async_trait;
use holdfast_proto::binding::Ueid;
use sqlx::{
    SqlitePool,
    sqlite::{SqliteConnectOptions, SqliteJournalMode, SqlitePoolOptions, SqliteSynchronous},
};
use tokio::sync::watch;

use self::uptime::{Unmarked, WriteTx};
use super::{
    Affirmed, AllowListRecord, AllowListVersion, Anchor, Approval, AuditEntry, BeatMark,
    CertificateRecord, Contraindicated, CrlDraft, CrlScope, CrlTimes, Enrolled, GatewayPage,
    GatewayRecord, HeartbeatRecord, Heartbeats, Imported, InForce, Issued, JoinToken, KeyId,
    LastQuote, NewAllowList, NewPolicy, NewReferenceValues, PolicyRecord, PolicyVersion, Recorded,
    ReferenceRecord, ReferenceVersion, Refused, Restored, Revocations, RevokedSince, Seconds,
    Sha256, Store, StoreError, SuspensionKind, Swept,
};
use crate::{
    identity::RevocationReason,
    silence::{SilenceRules, UpSeconds},
};

/// Readers beside the writer. Reads are point look-ups of some tens of
/// microseconds; more connections only cost memory.
const READERS: u32 = 4;
/// How long a request waits for its turn to write before it is told to come
/// again. A transaction takes one fsync, milliseconds.
const ACQUIRE_TIMEOUT: Duration = Duration::from_secs(10);
/// Another process (a backup tool) may hold the write lock for this long.
const BUSY_TIMEOUT: Duration = Duration::from_secs(5);

/// Why a gateway is suspended whose TPM showed a time that it had left behind.
const ROLLED_BACK: &str = "tpm-rollback: the TPM's clock or reset counter fell";

/// A store in one SQLite file.
#[derive(Debug, Clone)]
pub struct SqliteStore {
    writer: SqlitePool,
    readers: SqlitePool,
    changed: watch::Sender<()>,
    unmarked: Unmarked,
}

impl SqliteStore {
    /// Opens, or makes, the database at `path` and brings it to this version's
    /// schema. The caller has made sure that the file's mode is 0600; the WAL
    /// takes it over.
    ///
    /// # Errors
    /// [`StoreError::Open`] where the file is no database, is of a later
    /// version, or cannot be read.
    pub async fn open(path: &Path) -> Result<Self, StoreError> {
        let options = SqliteConnectOptions::new()
            .filename(path)
            .create_if_missing(true)
            .journal_mode(SqliteJournalMode::Wal)
            .synchronous(SqliteSynchronous::Full)
            .foreign_keys(true)
            .busy_timeout(BUSY_TIMEOUT)
            .pragma("trusted_schema", "OFF");
        let writer = SqlitePoolOptions::new()
            .max_connections(1)
            .min_connections(1)
            .max_lifetime(None)
            .idle_timeout(None)
            .acquire_timeout(ACQUIRE_TIMEOUT)
            .connect_with(options.clone())
            .await
            .map_err(|e| StoreError::Open(Box::new(e)))?;
        if let Err(error) = sqlx::migrate!("./migrations").run(&writer).await {
            // Else its WAL stays behind.
            writer.close().await;
            return Err(StoreError::Open(Box::new(error)));
        }
        let readers = SqlitePoolOptions::new()
            .max_connections(READERS)
            .acquire_timeout(ACQUIRE_TIMEOUT)
            .connect_with(options.pragma("query_only", "ON"))
            .await
            .map_err(|e| StoreError::Open(Box::new(e)))?;
        let changed = watch::Sender::new(());
        Ok(Self {
            writer,
            readers,
            changed,
            unmarked: Unmarked::default(),
        })
    }

    async fn begin(&self) -> Result<WriteTx, StoreError> {
        let tx = self.writer.begin_with("BEGIN IMMEDIATE").await?;
        WriteTx::begin(tx, &self.unmarked).await
    }

    /// Commits what was recorded. Of a refusal nothing stays but, where it shows
    /// a TPM that was put back or copied, the gateway's suspension.
    async fn conclude(
        &self,
        tx: WriteTx,
        recorded: Result<Recorded, StoreError>,
        now: Seconds,
    ) -> Result<Recorded, StoreError> {
        match recorded {
            Ok(recorded) => {
                self.commit_change(tx).await?;
                Ok(recorded)
            }
            Err(StoreError::RolledBack { id }) => {
                tx.rollback().await?;
                let mut tx = self.begin().await?;
                let kind = SuspensionKind::Evidence;
                admin::suspend(&mut tx, &id, kind, ROLLED_BACK, "verifier", now).await?;
                self.commit_change(tx).await?;
                Err(StoreError::RolledBack { id })
            }
            Err(refusal) => Err(refusal),
        }
    }

    /// Commits what changed the state of a gateway, and tells those who wait
    /// for that.
    async fn commit_change(&self, tx: WriteTx) -> Result<(), StoreError> {
        tx.commit().await?;
        self.changed.send_replace(());
        Ok(())
    }
}

#[async_trait]
impl Store for SqliteStore {
    async fn anchors(&self) -> Result<Vec<Anchor>, StoreError> {
        admin::anchors(&mut *self.readers.acquire().await?).await
    }

    async fn import_anchors(
        &self,
        anchors: Vec<Anchor>,
        by: &str,
        now: Seconds,
    ) -> Result<Imported, StoreError> {
        let mut tx = self.begin().await?;
        let imported = admin::import_anchors(&mut tx, anchors, by, now).await?;
        tx.commit().await?;
        Ok(imported)
    }

    async fn create_join_token(
        &self,
        token: JoinToken,
        by: &str,
        now: Seconds,
    ) -> Result<(), StoreError> {
        let mut tx = self.begin().await?;
        admin::create_join_token(&mut tx, token, by, now).await?;
        tx.commit().await?;
        Ok(())
    }

    async fn join_token(&self, secret: &Sha256) -> Result<Option<JoinToken>, StoreError> {
        rows::join_token(&mut *self.readers.acquire().await?, secret).await
    }

    async fn gateway(&self, id: &Ueid) -> Result<Option<GatewayRecord>, StoreError> {
        rows::gateway(&mut *self.readers.acquire().await?, id).await
    }

    async fn gateways(&self, after: Option<&Ueid>, limit: u32) -> Result<GatewayPage, StoreError> {
        rows::gateways(&mut *self.readers.acquire().await?, after, limit).await
    }

    async fn certificate(
        &self,
        sha256: &Sha256,
    ) -> Result<Option<(CertificateRecord, GatewayRecord)>, StoreError> {
        // One transaction, so that both rows are of one moment.
        let mut tx = self.readers.begin().await?;
        let Some((certificate, id)) = rows::certificate(&mut tx, sha256).await? else {
            return Ok(None);
        };
        let gateway = rows::gateway(&mut tx, &id).await?;
        Ok(gateway.map(|gateway| (certificate, gateway)))
    }

    async fn room_for_ldevid(&self, id: &Ueid, now: Seconds) -> Result<(), StoreError> {
        certificates::room(&mut *self.readers.acquire().await?, id, now).await
    }

    async fn answer(&self, request: &Sha256, now: Seconds) -> Result<Option<Vec<u8>>, StoreError> {
        let mut tx = self.readers.begin().await?;
        record::answer(&mut tx, request, now).await
    }

    async fn boot_log(&self, sha256: &Sha256) -> Result<Option<Vec<u8>>, StoreError> {
        rows::boot_log(&mut *self.readers.acquire().await?, sha256).await
    }

    async fn ima_state(&self, id: &Ueid) -> Result<Option<String>, StoreError> {
        rows::ima_state(&mut *self.readers.acquire().await?, id).await
    }

    async fn record_enrolment(
        &self,
        enrolled: Enrolled,
        now: Seconds,
    ) -> Result<Recorded, StoreError> {
        let mut tx = self.begin().await?;
        let recorded = record::enrolment(&mut tx, enrolled, now).await;
        self.conclude(tx, recorded, now).await
    }

    async fn record_refusal(&self, refused: Refused, now: Seconds) -> Result<Recorded, StoreError> {
        let mut tx = self.begin().await?;
        let recorded = record::refusal(&mut tx, refused, now).await?;
        self.commit_change(tx).await?;
        Ok(recorded)
    }

    async fn record_affirmation(
        &self,
        affirmed: Affirmed,
        now: Seconds,
    ) -> Result<Recorded, StoreError> {
        let mut tx = self.begin().await?;
        let recorded = record::affirmation(&mut tx, affirmed, now).await;
        self.conclude(tx, recorded, now).await
    }

    async fn record_contraindication(
        &self,
        contraindicated: Contraindicated,
        now: Seconds,
    ) -> Result<Recorded, StoreError> {
        let mut tx = self.begin().await?;
        let recorded = record::contraindication(&mut tx, contraindicated, now).await?;
        self.commit_change(tx).await?;
        Ok(recorded)
    }

    async fn in_force(&self, class: &str) -> Result<InForce, StoreError> {
        basis::in_force(&mut *self.readers.acquire().await?, class).await
    }

    async fn reference_values(&self, class: &str) -> Result<Option<ReferenceRecord>, StoreError> {
        references::newest(&mut *self.readers.acquire().await?, class).await
    }

    async fn reference_versions(
        &self,
        class: Option<&str>,
        limit: u32,
    ) -> Result<Vec<ReferenceVersion>, StoreError> {
        references::versions(&mut *self.readers.acquire().await?, class, limit).await
    }

    async fn import_reference_values(
        &self,
        new: NewReferenceValues,
        by: &str,
        now: Seconds,
    ) -> Result<ReferenceRecord, StoreError> {
        let mut tx = self.begin().await?;
        let record = references::import(&mut tx, &new, by, now).await?;
        tx.commit().await?;
        Ok(record)
    }

    async fn allow_list(&self, class: &str) -> Result<Option<AllowListRecord>, StoreError> {
        allow_lists::newest(&mut *self.readers.acquire().await?, class).await
    }

    async fn allow_lists(
        &self,
        class: Option<&str>,
        limit: u32,
    ) -> Result<Vec<AllowListVersion>, StoreError> {
        allow_lists::versions(&mut *self.readers.acquire().await?, class, limit).await
    }

    async fn import_allow_list(
        &self,
        new: NewAllowList,
        by: &str,
        now: Seconds,
    ) -> Result<AllowListVersion, StoreError> {
        let mut tx = self.begin().await?;
        let version = allow_lists::import(&mut tx, new, by, now).await?;
        tx.commit().await?;
        Ok(version)
    }

    async fn last_quote(&self, id: &Ueid) -> Result<Option<LastQuote>, StoreError> {
        references::last_quote(&mut *self.readers.acquire().await?, id).await
    }

    async fn approve(
        &self,
        approval: Approval,
        by: &str,
        now: Seconds,
    ) -> Result<(ReferenceRecord, GatewayRecord), StoreError> {
        let mut tx = self.begin().await?;
        let record = references::approve(&mut tx, &approval, by, now).await?;
        let gateway = rows::known_gateway(&mut tx, &approval.id).await?;
        self.commit_change(tx).await?;
        Ok((record, gateway))
    }

    async fn policy(&self, version: Option<u64>) -> Result<Option<PolicyRecord>, StoreError> {
        policies::policy(&mut *self.readers.acquire().await?, version).await
    }

    async fn policies(&self, limit: u32) -> Result<Vec<PolicyVersion>, StoreError> {
        policies::policies(&mut *self.readers.acquire().await?, limit).await
    }

    async fn apply_policy(
        &self,
        new: NewPolicy,
        by: &str,
        now: Seconds,
    ) -> Result<PolicyRecord, StoreError> {
        let mut tx = self.begin().await?;
        let record = policies::apply_policy(&mut tx, new, by, now).await?;
        tx.commit().await?;
        Ok(record)
    }

    async fn suspend(
        &self,
        id: &Ueid,
        kind: SuspensionKind,
        reason: &str,
        by: &str,
        now: Seconds,
    ) -> Result<GatewayRecord, StoreError> {
        let mut tx = self.begin().await?;
        admin::suspend(&mut tx, id, kind, reason, by, now).await?;
        let gateway = rows::known_gateway(&mut tx, id).await?;
        self.commit_change(tx).await?;
        Ok(gateway)
    }

    async fn resume(
        &self,
        id: &Ueid,
        reason: &str,
        by: &str,
        now: Seconds,
    ) -> Result<GatewayRecord, StoreError> {
        let mut tx = self.begin().await?;
        admin::resume(&mut tx, id, reason, by, now).await?;
        let gateway = rows::known_gateway(&mut tx, id).await?;
        self.commit_change(tx).await?;
        Ok(gateway)
    }

    async fn reset_clock(
        &self,
        id: &Ueid,
        reason: &str,
        by: &str,
        now: Seconds,
    ) -> Result<GatewayRecord, StoreError> {
        let mut tx = self.begin().await?;
        admin::reset_clock(&mut tx, id, reason, by, now).await?;
        let gateway = rows::known_gateway(&mut tx, id).await?;
        self.commit_change(tx).await?;
        Ok(gateway)
    }

    async fn revoke(
        &self,
        id: &Ueid,
        code: RevocationReason,
        reason: &str,
        by: &str,
        now: Seconds,
    ) -> Result<GatewayRecord, StoreError> {
        let mut tx = self.begin().await?;
        admin::revoke(&mut tx, id, code, reason, by, now).await?;
        let gateway = rows::known_gateway(&mut tx, id).await?;
        self.commit_change(tx).await?;
        Ok(gateway)
    }

    async fn audit(&self, limit: u32) -> Result<Vec<AuditEntry>, StoreError> {
        admin::audit_entries(&mut *self.readers.acquire().await?, limit).await
    }

    async fn sweep(&self, now: Seconds) -> Result<Swept, StoreError> {
        let mut tx = self.begin().await?;
        let swept = sweep::sweep(&mut tx, now).await?;
        tx.commit().await?;
        Ok(swept)
    }

    async fn restored(
        &self,
        backup: &str,
        since: bool,
        now: Seconds,
    ) -> Result<Restored, StoreError> {
        let mut tx = self.begin().await?;
        let restored = snapshot::restored(&mut tx, backup, since, now).await?;
        tx.commit().await?;
        Ok(restored)
    }

    async fn probe(&self, now: Seconds) -> Result<(), StoreError> {
        sqlx::query(
            "INSERT INTO probe (id, at) VALUES (1, ?) ON CONFLICT DO UPDATE SET at = excluded.at",
        )
        .bind(now)
        .execute(&self.writer)
        .await?;
        Ok(())
    }

    async fn close(&self) {
        // The up-time since the last mark; where that fails it is lost, as after
        // a crash.
        if let Ok(tx) = self.begin().await
            && let Err(error) = tx.commit().await
        {
            tracing::warn!(%error, "up-time is not marked at the end");
        }
        self.readers.close().await;
        self.writer.close().await;
    }
}

#[async_trait]
impl Revocations for SqliteStore {
    async fn revoked_since(&self, place: u64, now: Seconds) -> Result<RevokedSince, StoreError> {
        let mut tx = self.readers.begin().await?;
        revocations::revoked_since(&mut tx, place, now).await
    }

    fn changed(&self) -> watch::Receiver<()> {
        self.changed.subscribe()
    }

    async fn adopt_certificates(&self, issuer: &KeyId) -> Result<u64, StoreError> {
        let mut tx = self.begin().await?;
        let adopted = revocations::adopt(&mut tx, issuer).await?;
        tx.commit().await?;
        Ok(adopted)
    }

    async fn configure_public_url(
        &self,
        url: Option<&str>,
        now: Seconds,
    ) -> Result<Vec<String>, StoreError> {
        let mut tx = self.begin().await?;
        let former = revocations::configure_public_url(&mut tx, url, now).await?;
        tx.commit().await?;
        Ok(former)
    }

    async fn certificates_in_force(&self, issuer: &KeyId, now: Seconds) -> Result<u64, StoreError> {
        revocations::in_force(&mut *self.readers.acquire().await?, issuer, now).await
    }

    async fn crl_scopes(&self, now: Seconds) -> Result<Vec<CrlScope>, StoreError> {
        revocations::scopes(&mut *self.readers.acquire().await?, now).await
    }

    async fn scopes_changed_since(&self, place: u64) -> Result<(u64, Vec<CrlScope>), StoreError> {
        let mut tx = self.readers.begin().await?;
        revocations::scopes_changed_since(&mut tx, place).await
    }

    async fn draft_crl(&self, scope: &CrlScope, times: CrlTimes) -> Result<CrlDraft, StoreError> {
        let mut tx = self.begin().await?;
        let draft = revocations::draft(&mut tx, scope, times).await?;
        tx.commit().await?;
        Ok(draft)
    }

    async fn issued(&self, issuer: &KeyId, serial: &str) -> Result<Option<Issued>, StoreError> {
        revocations::issued(&mut *self.readers.acquire().await?, issuer, serial).await
    }
}

#[async_trait]
impl Heartbeats for SqliteStore {
    async fn heartbeat(&self, id: &Ueid) -> Result<Option<HeartbeatRecord>, StoreError> {
        heartbeats::heartbeat(&mut *self.readers.acquire().await?, id).await
    }

    async fn begin_epoch(
        &self,
        id: &Ueid,
        epoch: [u8; 16],
        master: &str,
        within: UpSeconds,
    ) -> Result<(), StoreError> {
        let mut tx = self.begin().await?;
        heartbeats::begin_epoch(&mut tx, id, (epoch, master), within).await?;
        tx.commit().await?;
        Ok(())
    }

    async fn record_beats(&self, beats: &[BeatMark]) -> Result<(), StoreError> {
        let mut tx = self.begin().await?;
        heartbeats::record_beats(&mut tx, beats).await?;
        tx.commit().await?;
        Ok(())
    }

    async fn doubt(
        &self,
        id: &Ueid,
        epoch: [u8; 16],
        code: &str,
        rules: &SilenceRules,
        now: Seconds,
    ) -> Result<u32, StoreError> {
        let mut tx = self.begin().await?;
        let within = heartbeats::doubt(&mut tx, id, (epoch, code), rules, now).await?;
        tx.commit().await?;
        Ok(within)
    }
}
