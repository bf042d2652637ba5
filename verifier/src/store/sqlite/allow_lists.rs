//! Allow lists: every version's line stays, documents are kept once, the
//! newest of a class is in force.

use sqlx::{Row, SqliteConnection, sqlite::SqliteRow};

use super::{
    admin::{AuditWrite, audit},
    rows,
};
use crate::store::{AllowListRecord, AllowListVersion, NewAllowList, Seconds, StoreError};

const TABLE: &str = "allow_lists";

/// The newest of a class, with its document.
pub(super) async fn newest(
    conn: &mut SqliteConnection,
    class: &str,
) -> Result<Option<AllowListRecord>, StoreError> {
    let row = sqlx::query(
        "SELECT l.version, l.statement, d.content FROM allow_lists l \
         JOIN allow_list_documents d ON d.sha256 = l.sha256 \
         WHERE l.class = ? ORDER BY l.version DESC LIMIT 1",
    )
    .bind(class)
    .fetch_optional(conn)
    .await?;
    row.map(|row| {
        Ok(AllowListRecord {
            version: number(&row, "version")?,
            document: row.try_get("content")?,
            statement: row.try_get("statement")?,
        })
    })
    .transpose()
}

/// The newest `limit` versions of a class, or of all, newest first.
pub(super) async fn versions(
    conn: &mut SqliteConnection,
    class: Option<&str>,
    limit: u32,
) -> Result<Vec<AllowListVersion>, StoreError> {
    let rows = sqlx::query(
        "SELECT l.class, l.version, l.sha256, l.entries, l.keys, l.imported_at, l.imported_by, \
         length(d.content) AS bytes FROM allow_lists l \
         JOIN allow_list_documents d ON d.sha256 = l.sha256 \
         WHERE ?1 IS NULL OR l.class = ?1 ORDER BY l.class, l.version DESC LIMIT ?2",
    )
    .bind(class)
    .bind(limit)
    .fetch_all(conn)
    .await?;
    rows.iter().map(version).collect()
}

pub(super) async fn import(
    conn: &mut SqliteConnection,
    new: NewAllowList,
    by: &str,
    now: Seconds,
) -> Result<AllowListVersion, StoreError> {
    let last = versions(conn, Some(&new.class), 1).await?;
    let last = last.first().map_or(0, |last| last.version);
    if new.version != last.saturating_add(1) {
        return Err(StoreError::AllowListVersion {
            version: new.version,
            last,
        });
    }
    sqlx::query(
        "INSERT INTO allow_list_documents (sha256, content) VALUES (?, ?) \
         ON CONFLICT (sha256) DO NOTHING",
    )
    .bind(new.sha256.as_slice())
    .bind(new.document.as_slice())
    .execute(&mut *conn)
    .await?;
    sqlx::query(
        "INSERT INTO allow_lists \
         (class, version, sha256, statement, entries, keys, imported_at, imported_by) \
         VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
    )
    .bind(&new.class)
    .bind(new.version.cast_signed())
    .bind(new.sha256.as_slice())
    .bind(new.statement.as_slice())
    .bind(new.entries)
    .bind(new.keys)
    .bind(now)
    .bind(by)
    .execute(&mut *conn)
    .await?;
    let entry = AuditWrite {
        at: now,
        actor: by,
        action: "allow-list-imported",
        subject: &new.class,
        detail: &format!(
            "version {}, SHA-256 {}",
            new.version,
            hex::encode(new.sha256)
        ),
    };
    audit(conn, entry).await?;
    Ok(AllowListVersion {
        class: new.class,
        version: new.version,
        sha256: new.sha256,
        bytes: u64::try_from(new.document.len()).unwrap_or(u64::MAX),
        entries: new.entries,
        keys: new.keys,
        imported_at: now,
        imported_by: by.to_owned(),
    })
}

fn version(row: &SqliteRow) -> Result<AllowListVersion, StoreError> {
    Ok(AllowListVersion {
        class: row.try_get("class")?,
        version: number(row, "version")?,
        sha256: rows::sha256(row, TABLE, "sha256")?,
        bytes: number(row, "bytes")?,
        entries: row.try_get("entries")?,
        keys: row.try_get("keys")?,
        imported_at: row.try_get("imported_at")?,
        imported_by: row.try_get("imported_by")?,
    })
}

fn number(row: &SqliteRow, column: &'static str) -> Result<u64, StoreError> {
    u64::try_from(row.try_get::<i64, _>(column)?).map_err(|_| rows::corrupt(TABLE, column))
}
