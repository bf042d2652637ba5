//! Operators' certificates.

use async_trait::async_trait;
use sqlx::{Row, SqliteConnection, sqlite::SqliteRow};

use super::{
    SqliteStore,
    admin::{AuditWrite, audit},
    rows,
};
use crate::{
    operators::OperatorCertificate,
    store::{OperatorRecord, Operators, Seconds, Sha256, StoreError},
};

const TABLE: &str = "operators";

#[async_trait]
impl Operators for SqliteStore {
    async fn add_operator(
        &self,
        certificate: &OperatorCertificate,
        by: &str,
        now: Seconds,
    ) -> Result<OperatorRecord, StoreError> {
        let mut tx = self.begin().await?;
        let record = add(&mut tx, certificate, by, now).await?;
        tx.commit().await?;
        Ok(record)
    }

    async fn operator(&self, sha256: &Sha256) -> Result<Option<OperatorRecord>, StoreError> {
        let row = sqlx::query("SELECT * FROM operators WHERE sha256 = ?")
            .bind(sha256.as_slice())
            .fetch_optional(&mut *self.readers.acquire().await?)
            .await?;
        row.as_ref().map(record).transpose()
    }

    async fn operators(&self, after: u64, limit: u32) -> Result<Vec<OperatorRecord>, StoreError> {
        let rows = sqlx::query("SELECT * FROM operators WHERE id > ? ORDER BY id LIMIT ?")
            .bind(i64::try_from(after).unwrap_or(i64::MAX))
            .bind(limit)
            .fetch_all(&mut *self.readers.acquire().await?)
            .await?;
        rows.iter().map(record).collect()
    }

    async fn revoke_operator(
        &self,
        serial: &str,
        reason: &str,
        by: &str,
        now: Seconds,
    ) -> Result<OperatorRecord, StoreError> {
        let mut tx = self.begin().await?;
        let record = revoke(&mut tx, serial, reason, by, now).await?;
        tx.commit().await?;
        Ok(record)
    }
}

async fn add(
    conn: &mut SqliteConnection,
    certificate: &OperatorCertificate,
    by: &str,
    now: Seconds,
) -> Result<OperatorRecord, StoreError> {
    let done = sqlx::query(
        "INSERT INTO operators (sha256, serial, name, role, not_before, not_after, added_at, added_by) \
         VALUES (?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT DO NOTHING",
    )
    .bind(certificate.sha256().as_slice())
    .bind(certificate.serial())
    .bind(certificate.name())
    .bind(certificate.role().name())
    .bind(certificate.not_before().seconds())
    .bind(certificate.not_after().seconds())
    .bind(now)
    .bind(by)
    .execute(&mut *conn)
    .await?;
    if done.rows_affected() == 0 {
        return Err(StoreError::OperatorExists {
            serial: certificate.serial().to_owned(),
        });
    }
    let entry = AuditWrite {
        at: now,
        actor: by,
        action: "operator-added",
        subject: certificate.serial(),
        detail: &format!(
            "{} as {} until {}",
            certificate.name(),
            certificate.role(),
            certificate.not_after().seconds()
        ),
    };
    audit(conn, entry).await?;
    by_serial(conn, certificate.serial()).await
}

async fn revoke(
    conn: &mut SqliteConnection,
    serial: &str,
    reason: &str,
    by: &str,
    now: Seconds,
) -> Result<OperatorRecord, StoreError> {
    let done = sqlx::query(
        "UPDATE operators SET revoked_at = ?, revocation_reason = ? \
         WHERE serial = ? AND revoked_at IS NULL",
    )
    .bind(now)
    .bind(reason)
    .bind(serial)
    .execute(&mut *conn)
    .await?;
    if done.rows_affected() == 0 {
        return Err(StoreError::UnknownOperator {
            serial: serial.to_owned(),
        });
    }
    let revoked = by_serial(&mut *conn, serial).await?;
    let entry = AuditWrite {
        at: now,
        actor: by,
        action: "operator-revoked",
        subject: serial,
        detail: &format!("{}: {reason}", revoked.name),
    };
    audit(conn, entry).await?;
    Ok(revoked)
}

async fn by_serial(
    conn: &mut SqliteConnection,
    serial: &str,
) -> Result<OperatorRecord, StoreError> {
    let row = sqlx::query("SELECT * FROM operators WHERE serial = ?")
        .bind(serial)
        .fetch_one(conn)
        .await?;
    record(&row)
}

fn record(row: &SqliteRow) -> Result<OperatorRecord, StoreError> {
    let revoked_at: Option<Seconds> = row.try_get("revoked_at")?;
    let reason: Option<String> = row.try_get("revocation_reason")?;
    Ok(OperatorRecord {
        id: row.try_get::<i64, _>("id")?.unsigned_abs(),
        sha256: rows::sha256(row, TABLE, "sha256")?,
        serial: row.try_get("serial")?,
        name: row.try_get("name")?,
        role: row
            .try_get::<String, _>("role")?
            .parse()
            .map_err(|_| rows::corrupt(TABLE, "role"))?,
        not_before: row.try_get("not_before")?,
        not_after: row.try_get("not_after")?,
        added_at: row.try_get("added_at")?,
        added_by: row.try_get("added_by")?,
        revoked: revoked_at.zip(reason),
    })
}
