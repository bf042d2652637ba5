//! A copy of the store at one moment, for a backup; and what is made void in a
//! store that was brought back.

use std::path::Path;

use async_trait::async_trait;
use sqlx::{
    Connection as _, Row as _, SqliteConnection,
    sqlite::{SqliteConnectOptions, SqliteConnection as Sqlite},
};

use super::{
    BUSY_TIMEOUT, SqliteStore,
    admin::{AuditWrite, audit},
    revocations::revoke_all,
};
use crate::{
    identity::RevocationReason,
    store::{Confirmed, Restoration, Restorations, Restored, Seconds, SnapshotFacts, StoreError},
};

impl SqliteStore {
    /// The newest schema that this program knows.
    #[must_use]
    pub fn schema() -> i64 {
        sqlx::migrate!("./migrations")
            .iter()
            .map(|migration| migration.version)
            .max()
            .unwrap_or(0)
    }

    /// Copies the database at `source`, as of one moment, to the new file
    /// `target`. A server may go on reading and writing meanwhile: it is a read
    /// transaction for it. Nothing is migrated.
    ///
    /// # Errors
    /// [`StoreError::Open`] where there is no database at `source`;
    /// [`StoreError::Database`] where the copy fails.
    pub async fn snapshot(source: &Path, target: &Path) -> Result<(), StoreError> {
        let mut conn = connect(source).await?;
        // A bound parameter: the path is no part of the statement.
        let target = target.to_str().ok_or_else(|| {
            StoreError::Open(Box::new(sqlx::Error::Configuration(
                "the path of the copy is no UTF-8".into(),
            )))
        })?;
        sqlx::query("VACUUM INTO ?")
            .bind(target)
            .execute(&mut conn)
            .await?;
        conn.close().await?;
        Ok(())
    }

    /// Looks into the database at `path` without changing it.
    ///
    /// # Errors
    /// [`StoreError::Open`] where it is no database of a verifier;
    /// [`StoreError::Database`] where it cannot be read.
    pub async fn facts(path: &Path) -> Result<SnapshotFacts, StoreError> {
        let mut conn = connect(path).await?;
        let number = async |conn: &mut SqliteConnection, sql: &'static str| {
            sqlx::query(sql)
                .fetch_one(conn)
                .await
                .and_then(|row| row.try_get::<Option<i64>, _>(0))
                .map(Option::unwrap_or_default)
        };
        let schema = number(
            &mut conn,
            "SELECT max(version) FROM _sqlx_migrations WHERE success",
        )
        .await
        .map_err(|e| StoreError::Open(Box::new(e)))?;
        let facts = SnapshotFacts {
            schema,
            gateways: number(&mut conn, "SELECT count(*) FROM gateways").await?,
            last_act_at: number(&mut conn, "SELECT max(at) FROM audit").await?,
        };
        conn.close().await?;
        Ok(facts)
    }

    /// What SQLite finds wrong in the database at `path`; `None` for nothing.
    ///
    /// # Errors
    /// [`StoreError::Open`], [`StoreError::Database`].
    pub async fn damage(path: &Path) -> Result<Option<String>, StoreError> {
        let mut conn = connect(path).await?;
        let found: String = sqlx::query("PRAGMA integrity_check(1)")
            .fetch_one(&mut conn)
            .await?
            .try_get(0)?;
        conn.close().await?;
        Ok((found != "ok").then_some(found))
    }
}

async fn connect(path: &Path) -> Result<Sqlite, StoreError> {
    let options = SqliteConnectOptions::new()
        .filename(path)
        .create_if_missing(false)
        .busy_timeout(BUSY_TIMEOUT)
        .pragma("trusted_schema", "OFF");
    Sqlite::connect_with(&options)
        .await
        .map_err(|e| StoreError::Open(Box::new(e)))
}

/// Added to what counts upwards in a store that was brought back: more than
/// can have been counted since the backup, one each second for thirty years.
/// What was told since, and is forgotten here, is not told again under the same
/// number: numbers of CRLs (RFC 5280 §5.2.3), places and numbers of events,
/// versions of secrets.
const AHEAD: i64 = 1 << 30;

pub(super) async fn restored(
    conn: &mut SqliteConnection,
    backup: &str,
    since: bool,
    now: Seconds,
) -> Result<Restored, StoreError> {
    let restored = match since {
        true => void(conn, backup, now).await?,
        false => Restored::default(),
    };
    let detail = format!(
        "{} LDevIDs and {} operators' certificates revoked, {} join tokens and {} pending \
         admissions void",
        restored.certificates, restored.operators, restored.join_tokens, restored.pending
    );
    audit(
        conn,
        AuditWrite {
            at: now,
            actor: "restore",
            action: "verifier-restored",
            subject: backup,
            detail: &detail,
        },
    )
    .await?;
    Ok(restored)
}

/// By record, not by time: the clock of a machine that was just set up may be
/// years off, and one that is fast must not leave anything in force.
async fn void(
    conn: &mut SqliteConnection,
    backup: &str,
    now: Seconds,
) -> Result<Restored, StoreError> {
    let certificates = revoke_all(conn, ("restored", RevocationReason::Superseded), now).await?;
    let join_tokens = sqlx::query("DELETE FROM join_tokens")
        .execute(&mut *conn)
        .await?
        .rows_affected();
    // A denial stays: it may have been lifted since, and that is the owner's to
    // say again.
    let pending = sqlx::query("DELETE FROM pending_gateways WHERE state = 'waiting'")
        .execute(&mut *conn)
        .await?
        .rows_affected();
    let operators = sqlx::query(
        "UPDATE operators SET revoked_at = ?, revocation_reason = 'restored' \
         WHERE revoked_at IS NULL",
    )
    .bind(now)
    .execute(&mut *conn)
    .await?
    .rows_affected();
    sqlx::query("INSERT INTO restorations (backup, restored_at) VALUES (?, ?)")
        .bind(backup)
        .bind(now)
        .execute(&mut *conn)
        .await?;
    // Else a secret that is put next had a number that gateways know already.
    sqlx::query("UPDATE secret_classes SET count = count + ?")
        .bind(AHEAD)
        .execute(&mut *conn)
        .await?;
    sqlx::query("UPDATE crls SET number = number + ?")
        .bind(AHEAD)
        .execute(&mut *conn)
        .await?;
    sqlx::query(
        "INSERT INTO sqlite_sequence (name, seq) SELECT 'events', 0 \
         WHERE NOT EXISTS (SELECT 1 FROM sqlite_sequence WHERE name = 'events')",
    )
    .execute(&mut *conn)
    .await?;
    sqlx::query("UPDATE sqlite_sequence SET seq = seq + ? WHERE name = 'events'")
        .bind(AHEAD)
        .execute(&mut *conn)
        .await?;
    sqlx::query("UPDATE gateways SET events = events + ?")
        .bind(AHEAD)
        .execute(&mut *conn)
        .await?;
    Ok(Restored {
        certificates,
        join_tokens,
        pending,
        operators,
    })
}

#[async_trait]
impl Restorations for SqliteStore {
    async fn unconfirmed_restore(&self) -> Result<Option<Restoration>, StoreError> {
        unconfirmed(&mut *self.readers.acquire().await?).await
    }

    async fn confirm_restore(
        &self,
        backup: &str,
        by: &str,
        now: Seconds,
    ) -> Result<Confirmed, StoreError> {
        let mut tx = self.begin().await?;
        let confirmed = confirm(&mut tx, backup, by, now).await?;
        tx.commit().await?;
        Ok(confirmed)
    }
}

async fn unconfirmed(conn: &mut SqliteConnection) -> Result<Option<Restoration>, StoreError> {
    let row = sqlx::query(
        "SELECT backup, restored_at FROM restorations WHERE confirmed_at IS NULL \
         ORDER BY id DESC LIMIT 1",
    )
    .fetch_optional(conn)
    .await?;
    row.map(|row| {
        Ok(Restoration {
            backup: row.try_get("backup")?,
            restored_at: row.try_get("restored_at")?,
        })
    })
    .transpose()
}

/// # Errors
/// [`StoreError::RestoreUnconfirmed`].
pub(super) async fn expect_confirmed(conn: &mut SqliteConnection) -> Result<(), StoreError> {
    match unconfirmed(conn).await? {
        None => Ok(()),
        Some(Restoration { backup, .. }) => Err(StoreError::RestoreUnconfirmed { backup }),
    }
}

async fn confirm(
    conn: &mut SqliteConnection,
    backup: &str,
    by: &str,
    now: Seconds,
) -> Result<Confirmed, StoreError> {
    let waits = unconfirmed(conn).await?;
    if waits.is_none_or(|restoration| restoration.backup != backup) {
        return Err(StoreError::UnknownRestore {
            backup: backup.to_owned(),
        });
    }
    // Those before it as well: a backup of a restored verifier was restored.
    sqlx::query(
        "UPDATE restorations SET confirmed_at = ?, confirmed_by = ? WHERE confirmed_at IS NULL",
    )
    .bind(now)
    .bind(by)
    .execute(&mut *conn)
    .await?;
    let count = async |conn: &mut SqliteConnection, sql: &'static str| {
        let count: i64 = sqlx::query_scalar(sql).fetch_one(conn).await?;
        Ok::<_, StoreError>(count.unsigned_abs())
    };
    let confirmed = Confirmed {
        gateways: count(
            conn,
            "SELECT count(*) FROM gateways WHERE state <> 'revoked'",
        )
        .await?,
        devices: count(conn, "SELECT count(*) FROM admitted_devices").await?,
        serials: count(conn, "SELECT count(*) FROM oem_serials").await?,
    };
    let detail = format!(
        "{} gateways may recover, {} devices and {} products may enrol",
        confirmed.gateways, confirmed.devices, confirmed.serials
    );
    audit(
        conn,
        AuditWrite {
            at: now,
            actor: by,
            action: "restore-confirmed",
            subject: backup,
            detail: &detail,
        },
    )
    .await?;
    Ok(confirmed)
}
