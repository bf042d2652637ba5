//! The audit log's rows.

use async_trait::async_trait;
use sqlx::{Row, SqliteConnection, sqlite::SqliteRow};

use super::{SqliteStore, rows};
use crate::store::{AUDIT_START, Audit, AuditEntry, AuditRow, StoreError, audit_hash};

/// Appends `entry`. Inside a `BEGIN IMMEDIATE` transaction: the row before
/// stays the last one until it commits.
pub(super) async fn append(
    conn: &mut SqliteConnection,
    entry: &AuditEntry,
) -> Result<(), StoreError> {
    let last = sqlx::query("SELECT hash FROM audit ORDER BY id DESC LIMIT 1")
        .fetch_optional(&mut *conn)
        .await?;
    let before = match last {
        Some(row) => hash(&row)?.unwrap_or(AUDIT_START),
        None => AUDIT_START,
    };
    sqlx::query(
        "INSERT INTO audit (at, actor, action, subject, detail, hash) VALUES (?, ?, ?, ?, ?, ?)",
    )
    .bind(entry.at)
    .bind(&entry.actor)
    .bind(&entry.action)
    .bind(&entry.subject)
    .bind(&entry.detail)
    .bind(audit_hash(&before, entry).as_slice())
    .execute(conn)
    .await?;
    Ok(())
}

fn hash(row: &SqliteRow) -> Result<Option<[u8; 32]>, StoreError> {
    match row.try_get::<Option<Vec<u8>>, _>("hash")? {
        None => Ok(None),
        Some(_) => rows::sha256(row, "audit", "hash").map(Some),
    }
}

#[async_trait]
impl Audit for SqliteStore {
    async fn record_act(&self, entry: AuditEntry) -> Result<(), StoreError> {
        let mut tx = self.begin().await?;
        append(&mut tx, &entry).await?;
        tx.commit().await?;
        Ok(())
    }

    async fn audit_page(
        &self,
        before: Option<u64>,
        limit: u32,
    ) -> Result<Vec<AuditRow>, StoreError> {
        let before = before.and_then(|id| i64::try_from(id).ok());
        let rows = sqlx::query("SELECT * FROM audit WHERE id < ? ORDER BY id DESC LIMIT ?")
            .bind(before.unwrap_or(i64::MAX))
            .bind(limit)
            .fetch_all(&mut *self.readers.acquire().await?)
            .await?;
        rows.iter()
            .map(|row| {
                Ok(AuditRow {
                    id: row.try_get::<i64, _>("id")?.unsigned_abs(),
                    entry: AuditEntry {
                        at: row.try_get("at")?,
                        actor: row.try_get("actor")?,
                        action: row.try_get("action")?,
                        subject: row.try_get("subject")?,
                        detail: row.try_get("detail")?,
                    },
                    hash: hash(row)?,
                })
            })
            .collect()
    }
}
