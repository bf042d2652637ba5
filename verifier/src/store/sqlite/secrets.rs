//! Secrets for gateways.

use async_trait::async_trait;
use holdfast_proto::{
    binding::Ueid,
    secrets::{MAX_BYTES_OF_CLASS, MAX_NAMES, SecretName},
};
use sqlx::{Row, SqliteConnection, sqlite::SqliteRow};

use super::{
    SqliteStore,
    admin::{AuditWrite, audit},
    deliveries, rows,
};
use crate::{
    freshness::Class,
    secrets::{SecretId, StoredSecret},
    store::{
        NewSecret, Seconds, SecretInForce, SecretRecord, SecretState, Secrets, SecretsInForce,
        StoreError,
    },
};

const TABLE: &str = "secrets";
/// Columns of a record, and of the table as `s`.
const RECORD: &str = "SELECT s.class, s.name, s.version, s.state, s.size, s.key_id, s.put_at, \
     s.put_by, s.ended_at, s.ended_by, s.reason, \
     (SELECT count(*) FROM secret_deliveries d WHERE d.class = s.class AND d.name = s.name \
      AND d.version = s.version) AS delivered FROM secrets s";
const GATEWAY: &str = "gateway";

#[async_trait]
impl Secrets for SqliteStore {
    async fn secrets_in_force(&self, class: &str) -> Result<SecretsInForce, StoreError> {
        let mut tx = self.readers.begin().await?;
        let count = count_of(&mut tx, class).await?;
        let rows = sqlx::query(
            "SELECT * FROM secrets WHERE class = ? AND state = 'current' ORDER BY name",
        )
        .bind(class)
        .fetch_all(&mut *tx)
        .await?;
        Ok(SecretsInForce {
            count,
            secrets: rows.iter().map(in_force).collect::<Result<_, _>>()?,
        })
    }

    async fn put_secret(
        &self,
        new: NewSecret,
        by: &str,
        now: Seconds,
    ) -> Result<SecretRecord, StoreError> {
        let mut tx = self.begin().await?;
        let record = put(&mut tx, &new, by, now).await?;
        tx.commit().await?;
        Ok(record)
    }

    async fn revoke_secret(
        &self,
        class: &str,
        name: &SecretName,
        reason: &str,
        by: &str,
        now: Seconds,
    ) -> Result<SecretRecord, StoreError> {
        let mut tx = self.begin().await?;
        let ended = Ended {
            state: SecretState::Revoked,
            reason,
            by,
            now,
        };
        let version = end(&mut tx, class, name, ended).await?;
        let version = version.ok_or_else(|| StoreError::UnknownSecret {
            class: class.to_owned(),
            name: name.clone(),
        })?;
        let next = count_of(&mut tx, class).await?.saturating_add(1);
        set_count(&mut tx, class, next).await?;
        let record = record_of(&mut tx, class, name, version).await?;
        let entry = AuditWrite {
            at: now,
            actor: by,
            action: "secret-revoked",
            subject: name.as_str(),
            detail: &format!("class {class}, version {version}: {reason}"),
        };
        audit(&mut tx, entry).await?;
        tx.commit().await?;
        Ok(record)
    }

    async fn record_delivery(
        &self,
        gateway: &Ueid,
        class: &str,
        count: u64,
        sent: &[SecretId],
        now: Seconds,
    ) -> Result<(), StoreError> {
        let mut tx = self.begin().await?;
        let on_record = rows::known_gateway(&mut tx, gateway).await?;
        on_record.in_good_standing()?;
        if on_record.class != class {
            return Err(StoreError::KeysChanged { id: *gateway });
        }
        expect_count(&mut tx, class, count).await?;
        deliveries::record(&mut tx, gateway, (class, count), sent, now).await?;
        tx.commit().await?;
        Ok(())
    }

    async fn deliverable(
        &self,
        gateway: &Ueid,
        secrets: Vec<SecretId>,
    ) -> Result<Vec<SecretId>, StoreError> {
        deliveries::deliverable(&mut *self.readers.acquire().await?, gateway, secrets).await
    }

    async fn secrets(
        &self,
        class: Option<&str>,
        limit: u32,
    ) -> Result<Vec<SecretRecord>, StoreError> {
        let newest = format!(
            "{RECORD} WHERE s.version = (SELECT max(n.version) FROM secrets n \
             WHERE n.class = s.class AND n.name = s.name) \
             AND (? IS NULL OR s.class = ?) ORDER BY s.class, s.name LIMIT ?"
        );
        let rows = sqlx::query(sqlx::AssertSqlSafe(newest))
            .bind(class)
            .bind(class)
            .bind(limit)
            .fetch_all(&mut *self.readers.acquire().await?)
            .await?;
        rows.iter().map(record).collect()
    }

    async fn secret_versions(
        &self,
        class: &str,
        name: &SecretName,
        limit: u32,
    ) -> Result<Vec<SecretRecord>, StoreError> {
        let versions =
            format!("{RECORD} WHERE s.class = ? AND s.name = ? ORDER BY s.version DESC LIMIT ?");
        let rows = sqlx::query(sqlx::AssertSqlSafe(versions))
            .bind(class)
            .bind(name.as_str())
            .bind(limit)
            .fetch_all(&mut *self.readers.acquire().await?)
            .await?;
        rows.iter().map(record).collect()
    }

    async fn secret_gateways(&self, id: &SecretId, limit: u32) -> Result<Vec<Ueid>, StoreError> {
        let rows = sqlx::query(
            "SELECT gateway FROM secret_deliveries WHERE class = ? AND name = ? AND version = ? \
             ORDER BY delivered_at DESC, gateway LIMIT ?",
        )
        .bind(id.class.as_str())
        .bind(id.name.as_str())
        .bind(id.version.cast_signed())
        .bind(limit)
        .fetch_all(&mut *self.readers.acquire().await?)
        .await?;
        rows.iter()
            .map(|row| rows::ueid(row, "secret_deliveries", GATEWAY))
            .collect()
    }

    async fn all_secrets(&self) -> Result<Vec<SecretInForce>, StoreError> {
        let rows = sqlx::query("SELECT * FROM secrets WHERE state = 'current'")
            .fetch_all(&mut *self.readers.acquire().await?)
            .await?;
        rows.iter().map(in_force).collect()
    }

    async fn rewrap_secrets(
        &self,
        rewrapped: Vec<SecretInForce>,
        by: &str,
        now: Seconds,
    ) -> Result<u64, StoreError> {
        let mut tx = self.begin().await?;
        let mut changed = 0;
        let mut key_id = String::new();
        for SecretInForce { id, stored } in rewrapped {
            changed += sqlx::query(
                "UPDATE secrets SET key_id = ?, wrapped_key = ? \
                 WHERE class = ? AND name = ? AND version = ? AND state = 'current' \
                 AND ciphertext = ?",
            )
            .bind(&stored.key_id)
            .bind(stored.wrapped_key.as_slice())
            .bind(id.class.as_str())
            .bind(id.name.as_str())
            .bind(id.version.cast_signed())
            .bind(stored.ciphertext.as_slice())
            .execute(&mut *tx)
            .await?
            .rows_affected();
            key_id = stored.key_id;
        }
        if changed > 0 {
            let entry = AuditWrite {
                at: now,
                actor: by,
                action: "secrets-rewrapped",
                subject: &key_id,
                detail: &format!("{changed} secrets"),
            };
            audit(&mut tx, entry).await?;
        }
        tx.commit().await?;
        Ok(changed)
    }
}

async fn put(
    conn: &mut SqliteConnection,
    new: &NewSecret,
    by: &str,
    now: Seconds,
) -> Result<SecretRecord, StoreError> {
    let SecretId {
        class,
        name,
        version,
    } = &new.id;
    let class = class.as_str();
    expect_count(conn, class, version.saturating_sub(1)).await?;
    let ended = Ended {
        state: SecretState::Superseded,
        reason: "",
        by,
        now,
    };
    end(conn, class, name, ended).await?;
    let row = sqlx::query(
        "SELECT count(*) AS names, coalesce(sum(size), 0) AS bytes FROM secrets \
         WHERE class = ? AND state = 'current'",
    )
    .bind(class)
    .fetch_one(&mut *conn)
    .await?;
    let (names, bytes): (i64, i64) = (row.try_get("names")?, row.try_get("bytes")?);
    let size = i64::try_from(new.size).unwrap_or(i64::MAX);
    let most = |n: usize| i64::try_from(n).unwrap_or(i64::MAX);
    if names >= most(MAX_NAMES) || bytes.saturating_add(size) > most(MAX_BYTES_OF_CLASS) {
        return Err(StoreError::SecretsFull {
            class: class.to_owned(),
        });
    }
    sqlx::query(
        "INSERT INTO secrets (class, name, version, state, size, key_id, wrapped_key, ciphertext, \
         put_at, put_by) VALUES (?, ?, ?, 'current', ?, ?, ?, ?, ?, ?)",
    )
    .bind(class)
    .bind(name.as_str())
    .bind(version.cast_signed())
    .bind(size)
    .bind(&new.stored.key_id)
    .bind(new.stored.wrapped_key.as_slice())
    .bind(new.stored.ciphertext.as_slice())
    .bind(now)
    .bind(by)
    .execute(&mut *conn)
    .await?;
    set_count(conn, class, *version).await?;
    let entry = AuditWrite {
        at: now,
        actor: by,
        action: "secret-put",
        subject: name.as_str(),
        detail: &format!("class {class}, version {version}"),
    };
    audit(conn, entry).await?;
    record_of(conn, class, name, *version).await
}

/// How, by whom and when a version ends.
struct Ended<'a> {
    state: SecretState,
    reason: &'a str,
    by: &'a str,
    now: Seconds,
}

/// Ends the version in force, where there is one, and erases it.
async fn end(
    conn: &mut SqliteConnection,
    class: &str,
    name: &SecretName,
    ended: Ended<'_>,
) -> Result<Option<u64>, StoreError> {
    let row = sqlx::query(
        "UPDATE secrets SET state = ?, reason = ?, ended_by = ?, ended_at = ?, \
         key_id = NULL, wrapped_key = NULL, ciphertext = NULL \
         WHERE class = ? AND name = ? AND state = 'current' RETURNING version",
    )
    .bind(ended.state.name())
    .bind(ended.reason)
    .bind(ended.by)
    .bind(ended.now)
    .bind(class)
    .bind(name.as_str())
    .fetch_optional(conn)
    .await?;
    row.as_ref().map(version_of).transpose()
}

async fn count_of(conn: &mut SqliteConnection, class: &str) -> Result<u64, StoreError> {
    let row = sqlx::query("SELECT count FROM secret_classes WHERE class = ?")
        .bind(class)
        .fetch_optional(conn)
        .await?;
    row.map_or(Ok(0), |row| {
        u64::try_from(row.try_get::<i64, _>("count")?)
            .map_err(|_| rows::corrupt("secret_classes", "count"))
    })
}

async fn set_count(conn: &mut SqliteConnection, class: &str, count: u64) -> Result<(), StoreError> {
    sqlx::query(
        "INSERT INTO secret_classes (class, count) VALUES (?, ?) \
         ON CONFLICT DO UPDATE SET count = excluded.count",
    )
    .bind(class)
    .bind(count.cast_signed())
    .execute(conn)
    .await?;
    Ok(())
}

async fn expect_count(
    conn: &mut SqliteConnection,
    class: &str,
    expected: u64,
) -> Result<(), StoreError> {
    let found = count_of(conn, class).await?;
    if found == expected {
        return Ok(());
    }
    Err(StoreError::SecretsChanged {
        class: class.to_owned(),
        expected,
        found,
    })
}

async fn record_of(
    conn: &mut SqliteConnection,
    class: &str,
    name: &SecretName,
    version: u64,
) -> Result<SecretRecord, StoreError> {
    let one = format!("{RECORD} WHERE s.class = ? AND s.name = ? AND s.version = ?");
    let row = sqlx::query(sqlx::AssertSqlSafe(one))
        .bind(class)
        .bind(name.as_str())
        .bind(version.cast_signed())
        .fetch_one(conn)
        .await?;
    record(&row)
}

fn record(row: &SqliteRow) -> Result<SecretRecord, StoreError> {
    let ended_at: Option<Seconds> = row.try_get("ended_at")?;
    let ended_by: Option<String> = row.try_get("ended_by")?;
    let state: String = row.try_get("state")?;
    Ok(SecretRecord {
        id: id(row)?,
        state: SecretState::from_name(&state).ok_or_else(|| rows::corrupt(TABLE, "state"))?,
        size: row.try_get("size")?,
        key_id: row.try_get("key_id")?,
        put_at: row.try_get("put_at")?,
        put_by: row.try_get("put_by")?,
        ended: match ended_at {
            None => None,
            Some(at) => Some((at, ended_by.unwrap_or_default(), row.try_get("reason")?)),
        },
        delivered: row.try_get("delivered")?,
    })
}

fn in_force(row: &SqliteRow) -> Result<SecretInForce, StoreError> {
    Ok(SecretInForce {
        id: id(row)?,
        stored: StoredSecret {
            key_id: row.try_get("key_id")?,
            wrapped_key: row.try_get("wrapped_key")?,
            ciphertext: row.try_get("ciphertext")?,
        },
    })
}

fn id(row: &SqliteRow) -> Result<SecretId, StoreError> {
    let (class, name): (String, String) = (row.try_get("class")?, row.try_get("name")?);
    Ok(SecretId {
        class: Class::parse(&class).map_err(|_| rows::corrupt(TABLE, "class"))?,
        name: name.parse().map_err(|_| rows::corrupt(TABLE, "name"))?,
        version: version_of(row)?,
    })
}

fn version_of(row: &SqliteRow) -> Result<u64, StoreError> {
    u64::try_from(row.try_get::<i64, _>("version")?).map_err(|_| rows::corrupt(TABLE, "version"))
}
