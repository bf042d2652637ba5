//! Appraisal policies: every version stays, the newest is in force.

use sqlx::{Row, SqliteConnection, sqlite::SqliteRow};

use super::{
    admin::{AuditWrite, audit},
    rows,
};
use crate::store::{NewPolicy, PolicyRecord, PolicyVersion, Seconds, StoreError};

const TABLE: &str = "policies";

/// One version, or the newest.
pub(super) async fn policy(
    conn: &mut SqliteConnection,
    version: Option<u64>,
) -> Result<Option<PolicyRecord>, StoreError> {
    let query = match version {
        None => sqlx::query("SELECT * FROM policies ORDER BY version DESC LIMIT 1"),
        Some(version) => sqlx::query("SELECT * FROM policies WHERE version = ?")
            .bind(i64::try_from(version).unwrap_or(i64::MAX)),
    };
    let row = query.fetch_optional(conn).await?;
    row.map(|row| {
        Ok(PolicyRecord {
            version: version_of(&row)?,
            sha256: rows::sha256(&row, TABLE, "sha256")?,
            source: row.try_get("source")?,
            statement: row.try_get("statement")?,
            applied_at: row.try_get("applied_at")?,
            applied_by: row.try_get("applied_by")?,
        })
    })
    .transpose()
}

/// The newest `limit`, newest first.
pub(super) async fn policies(
    conn: &mut SqliteConnection,
    limit: u32,
) -> Result<Vec<PolicyVersion>, StoreError> {
    let rows = sqlx::query(
        "SELECT version, sha256, applied_at, applied_by FROM policies \
         ORDER BY version DESC LIMIT ?",
    )
    .bind(limit)
    .fetch_all(conn)
    .await?;
    rows.iter()
        .map(|row| {
            Ok(PolicyVersion {
                version: version_of(row)?,
                sha256: rows::sha256(row, TABLE, "sha256")?,
                applied_at: row.try_get("applied_at")?,
                applied_by: row.try_get("applied_by")?,
            })
        })
        .collect()
}

pub(super) async fn apply_policy(
    conn: &mut SqliteConnection,
    new: NewPolicy,
    by: &str,
    now: Seconds,
) -> Result<PolicyRecord, StoreError> {
    let last = policy(conn, None).await?.map_or(0, |last| last.version);
    if new.version != last.saturating_add(1) {
        return Err(StoreError::PolicyVersion {
            version: new.version,
            last,
        });
    }
    sqlx::query(
        "INSERT INTO policies (version, sha256, source, statement, applied_at, applied_by) \
         VALUES (?, ?, ?, ?, ?, ?)",
    )
    .bind(new.version.cast_signed())
    .bind(new.sha256.as_slice())
    .bind(&new.source)
    .bind(new.statement.as_slice())
    .bind(now)
    .bind(by)
    .execute(&mut *conn)
    .await?;
    let entry = AuditWrite {
        at: now,
        actor: by,
        action: "policy-applied",
        subject: "policy",
        detail: &format!(
            "version {}, SHA-256 {}",
            new.version,
            hex::encode(new.sha256)
        ),
    };
    audit(conn, entry).await?;
    Ok(PolicyRecord {
        version: new.version,
        sha256: new.sha256,
        source: new.source,
        statement: new.statement,
        applied_at: now,
        applied_by: by.to_owned(),
    })
}

fn version_of(row: &SqliteRow) -> Result<u64, StoreError> {
    u64::try_from(row.try_get::<i64, _>("version")?).map_err(|_| rows::corrupt(TABLE, "version"))
}
