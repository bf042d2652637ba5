//! Endorsement bundles (every version stays, the newest is in force) and CRLs
//! (of each CA the newest).

use async_trait::async_trait;
use sqlx::{Row, SqliteConnection};

use super::{
    SqliteStore,
    admin::{AuditWrite, audit},
    rows,
};
use crate::store::{BundleRecord, CrlRecord, Endorsements, NewBundle, Seconds, StoreError};

const BUNDLES: &str = "endorsement_bundles";
const CRLS: &str = "endorsement_crls";

#[async_trait]
impl Endorsements for SqliteStore {
    async fn endorsement_bundle(&self) -> Result<Option<BundleRecord>, StoreError> {
        newest(&mut *self.readers.acquire().await?).await
    }

    async fn apply_endorsement_bundle(
        &self,
        new: NewBundle,
        by: &str,
        now: Seconds,
    ) -> Result<BundleRecord, StoreError> {
        let mut tx = self.begin().await?;
        let record = apply(&mut tx, new, by, now).await?;
        tx.commit().await?;
        Ok(record)
    }

    async fn endorsement_crls(&self) -> Result<Vec<CrlRecord>, StoreError> {
        crls(&mut *self.readers.acquire().await?).await
    }

    async fn import_endorsement_crls(
        &self,
        crls: Vec<CrlRecord>,
        by: &str,
        now: Seconds,
    ) -> Result<(), StoreError> {
        let mut tx = self.begin().await?;
        for crl in crls {
            import(&mut tx, crl, by, now).await?;
        }
        tx.commit().await?;
        Ok(())
    }
}

async fn newest(conn: &mut SqliteConnection) -> Result<Option<BundleRecord>, StoreError> {
    let row = sqlx::query("SELECT * FROM endorsement_bundles ORDER BY version DESC LIMIT 1")
        .fetch_optional(conn)
        .await?;
    row.map(|row| {
        let version = u64::try_from(row.try_get::<i64, _>("version")?)
            .map_err(|_| rows::corrupt(BUNDLES, "version"))?;
        Ok(BundleRecord {
            version,
            sha256: rows::sha256(&row, BUNDLES, "sha256")?,
            document: row.try_get("document")?,
            statement: row.try_get("statement")?,
            applied_at: row.try_get("applied_at")?,
            applied_by: row.try_get("applied_by")?,
        })
    })
    .transpose()
}

async fn apply(
    conn: &mut SqliteConnection,
    new: NewBundle,
    by: &str,
    now: Seconds,
) -> Result<BundleRecord, StoreError> {
    let last = newest(conn).await?.map_or(0, |last| last.version);
    if new.version != last.saturating_add(1) {
        return Err(StoreError::EndorsementVersion {
            version: new.version,
            last,
        });
    }
    sqlx::query(
        "INSERT INTO endorsement_bundles \
         (version, sha256, document, statement, applied_at, applied_by) VALUES (?, ?, ?, ?, ?, ?)",
    )
    .bind(new.version.cast_signed())
    .bind(new.sha256.as_slice())
    .bind(&new.document)
    .bind(new.statement.as_slice())
    .bind(now)
    .bind(by)
    .execute(&mut *conn)
    .await?;
    let entry = AuditWrite {
        at: now,
        actor: by,
        action: "endorsements-applied",
        subject: "endorsements",
        detail: &format!(
            "version {}, SHA-256 {}",
            new.version,
            hex::encode(new.sha256)
        ),
    };
    audit(conn, entry).await?;
    Ok(BundleRecord {
        version: new.version,
        sha256: new.sha256,
        document: new.document,
        statement: new.statement,
        applied_at: now,
        applied_by: by.to_owned(),
    })
}

async fn crls(conn: &mut SqliteConnection) -> Result<Vec<CrlRecord>, StoreError> {
    let found = sqlx::query("SELECT * FROM endorsement_crls ORDER BY issuer, sha256")
        .fetch_all(conn)
        .await?;
    found
        .iter()
        .map(|row| {
            Ok(CrlRecord {
                issuer_sha256: rows::sha256(row, CRLS, "issuer_sha256")?,
                key_sha256: rows::sha256(row, CRLS, "key_sha256")?,
                sha256: rows::sha256(row, CRLS, "sha256")?,
                der: row.try_get("der")?,
                issuer: row.try_get("issuer")?,
                this_update: row.try_get("this_update")?,
                next_update: row.try_get("next_update")?,
            })
        })
        .collect()
}

async fn import(
    conn: &mut SqliteConnection,
    crl: CrlRecord,
    by: &str,
    now: Seconds,
) -> Result<(), StoreError> {
    sqlx::query(
        "INSERT OR REPLACE INTO endorsement_crls (issuer_sha256, key_sha256, sha256, der, issuer, \
         this_update, next_update, imported_at) VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
    )
    .bind(crl.issuer_sha256.as_slice())
    .bind(crl.key_sha256.as_slice())
    .bind(crl.sha256.as_slice())
    .bind(crl.der.as_slice())
    .bind(&crl.issuer)
    .bind(crl.this_update)
    .bind(crl.next_update)
    .bind(now)
    .execute(&mut *conn)
    .await?;
    let entry = AuditWrite {
        at: now,
        actor: by,
        action: "endorsement-crl-imported",
        subject: &hex::encode(crl.sha256),
        detail: &crl.issuer,
    };
    audit(conn, entry).await
}
