//! Reference values, and what they are captured from and approved for: the
//! last quotes.

use holdfast_proto::binding::Ueid;
use sqlx::{Row, SqliteConnection, sqlite::SqliteRow};

use super::{
    admin::{AuditWrite, audit, resume},
    rows,
    writes::json,
};
use crate::store::{
    Approval, Golden, LastQuote, NewReferenceValues, QuotedPcrs, ReferenceRecord, ReferenceVersion,
    Seconds, Sha256, StoreError,
};

pub(super) async fn newest(
    conn: &mut SqliteConnection,
    class: &str,
) -> Result<Option<ReferenceRecord>, StoreError> {
    let row = sqlx::query(
        "SELECT v.*, d.content FROM reference_values v \
         JOIN reference_documents d ON d.sha256 = v.sha256 \
         WHERE v.class = ? ORDER BY v.version DESC LIMIT 1",
    )
    .bind(class)
    .fetch_optional(conn)
    .await?;
    row.map(|row| {
        Ok(ReferenceRecord {
            class: class.to_owned(),
            version: version(&row)?,
            sha256: rows::sha256(&row, "reference_values", "sha256")?,
            document: row.try_get("content")?,
            statement: row
                .try_get::<Option<Vec<u8>>, _>("statement")?
                .unwrap_or_default(),
            golden: golden(&row)?,
        })
    })
    .transpose()
}

/// The newest `limit` versions of a class, or of all classes, newest first.
pub(super) async fn versions(
    conn: &mut SqliteConnection,
    class: Option<&str>,
    limit: u32,
) -> Result<Vec<ReferenceVersion>, StoreError> {
    let rows = sqlx::query(
        "SELECT class, version, sha256, imported_at, imported_by, golden_gateway, \
         golden_boot_log, statement IS NOT NULL AS signed FROM reference_values \
         WHERE ?1 IS NULL OR class = ?1 ORDER BY class, version DESC LIMIT ?2",
    )
    .bind(class)
    .bind(limit)
    .fetch_all(conn)
    .await?;
    rows.iter()
        .map(|row| {
            Ok(ReferenceVersion {
                class: row.try_get("class")?,
                version: version(row)?,
                sha256: rows::sha256(row, "reference_values", "sha256")?,
                imported_at: row.try_get("imported_at")?,
                imported_by: row.try_get("imported_by")?,
                golden: golden(row)?,
                signed: row.try_get("signed")?,
            })
        })
        .collect()
}

/// Records the version after the newest. The newest again is no change.
pub(super) async fn import(
    conn: &mut SqliteConnection,
    new: &NewReferenceValues,
    by: &str,
    now: Seconds,
) -> Result<ReferenceRecord, StoreError> {
    let class = new.class.as_str();
    let sha256 = sha256_of(new.document.as_bytes());
    let newest = newest(conn, class).await?;
    if let Some(newest) = &newest
        && (newest.version, newest.sha256) == (new.version, sha256)
        && !newest.statement.is_empty()
    {
        return Ok(newest.clone());
    }
    let newest = newest.map_or(0, |newest| newest.version);
    if new.version != newest.saturating_add(1) {
        return Err(StoreError::ReferenceVersion {
            class: new.class.clone(),
            stated: new.version,
            newest,
        });
    }
    let golden = match new.captured {
        None => None,
        Some(captured) => {
            let quote = quote_of(conn, &captured.gateway, &captured.quote_sha256).await?;
            Some(Golden {
                gateway: captured.gateway,
                boot_log_sha256: quote.boot_log_sha256,
            })
        }
    };
    sqlx::query(
        "INSERT INTO reference_documents (sha256, content) VALUES (?, ?) \
         ON CONFLICT (sha256) DO NOTHING",
    )
    .bind(sha256.as_slice())
    .bind(&new.document)
    .execute(&mut *conn)
    .await?;
    sqlx::query(
        "INSERT INTO reference_values (class, version, sha256, imported_at, imported_by, \
         statement, golden_gateway, golden_boot_log) VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
    )
    .bind(class)
    .bind(new.version.cast_signed())
    .bind(sha256.as_slice())
    .bind(now)
    .bind(by)
    .bind(new.statement.as_slice())
    .bind(golden.map(|g| g.gateway.as_bytes().to_vec()))
    .bind(golden.and_then(|g| g.boot_log_sha256).map(|d| d.to_vec()))
    .execute(&mut *conn)
    .await?;
    let captured = golden.map_or_else(String::new, |g| format!(", captured from {}", g.gateway));
    let entry = AuditWrite {
        at: now,
        actor: by,
        action: "reference-imported",
        subject: class,
        detail: &format!(
            "version {}, SHA-256 {}{captured}",
            new.version,
            hex::encode(sha256)
        ),
    };
    audit(conn, entry).await?;
    Ok(ReferenceRecord {
        class: class.to_owned(),
        version: new.version,
        sha256,
        document: new.document.clone(),
        statement: new.statement.clone(),
        golden,
    })
}

/// Imports and resumes, if nothing has changed since the owner looked.
pub(super) async fn approve(
    conn: &mut SqliteConnection,
    approval: &Approval,
    by: &str,
    now: Seconds,
) -> Result<ReferenceRecord, StoreError> {
    let id = approval.id;
    let gateway = rows::known_gateway(conn, &id).await?;
    gateway.may_be_approved()?;
    let quote = quote_of(conn, &id, &approval.quote_sha256).await?;
    if quote.affirming || quote.class != gateway.class || gateway.class != approval.values.class {
        return Err(StoreError::QuoteChanged { id });
    }
    let newest = newest(conn, &gateway.class)
        .await?
        .map_or(0, |newest| newest.version);
    // An approval makes a version; a version that is there already was made
    // for something else.
    if approval.values.version <= newest {
        return Err(StoreError::ReferenceVersion {
            class: gateway.class,
            stated: approval.values.version,
            newest,
        });
    }
    let record = import(conn, &approval.values, by, now).await?;
    resume(conn, &id, &approval.reason, by, now).await?;
    let entry = AuditWrite {
        at: now,
        actor: by,
        action: "approved",
        subject: &id.to_string(),
        detail: &format!(
            "class {}, version {}, quote {}: {}",
            record.class,
            record.version,
            hex::encode(approval.quote_sha256),
            approval.reason
        ),
    };
    audit(conn, entry).await?;
    Ok(record)
}

pub(super) async fn last_quote(
    conn: &mut SqliteConnection,
    id: &Ueid,
) -> Result<Option<LastQuote>, StoreError> {
    const T: &str = "last_quotes";
    let row = sqlx::query("SELECT * FROM last_quotes WHERE gateway = ?")
        .bind(id.as_bytes().as_slice())
        .fetch_optional(conn)
        .await?;
    row.map(|row| {
        let quoted: String = row.try_get("quoted")?;
        let drift: String = row.try_get("drift")?;
        Ok(LastQuote {
            class: row.try_get("class")?,
            quoted: QuotedPcrs::from_json(&quoted).ok_or_else(|| rows::corrupt(T, "quoted"))?,
            boot_log_sha256: optional_sha256(&row, T, "boot_log_sha256")?,
            drift: serde_json::from_str(&drift).map_err(|_| rows::corrupt(T, "drift"))?,
            at: row.try_get("at")?,
            affirming: row.try_get("affirming")?,
        })
    })
    .transpose()
}

/// Written inside the transactions that record a verdict.
pub(super) async fn write_last_quote(
    conn: &mut SqliteConnection,
    id: &Ueid,
    quote: &LastQuote,
) -> Result<(), StoreError> {
    sqlx::query(
        "INSERT INTO last_quotes (gateway, class, quoted, sha256, boot_log_sha256, drift, at, \
         affirming) VALUES (?, ?, ?, ?, ?, ?, ?, ?) \
         ON CONFLICT (gateway) DO UPDATE SET class = excluded.class, quoted = excluded.quoted, \
           sha256 = excluded.sha256, boot_log_sha256 = excluded.boot_log_sha256, \
           drift = excluded.drift, at = excluded.at, affirming = excluded.affirming",
    )
    .bind(id.as_bytes().as_slice())
    .bind(&quote.class)
    .bind(quote.quoted.to_json())
    .bind(quote.quoted.sha256().as_slice())
    .bind(quote.boot_log_sha256.map(|d| d.to_vec()))
    .bind(json(&quote.drift))
    .bind(quote.at)
    .bind(quote.affirming)
    .execute(conn)
    .await?;
    Ok(())
}

/// The last quote of a gateway, if it is still the one that was looked at.
async fn quote_of(
    conn: &mut SqliteConnection,
    id: &Ueid,
    sha256: &Sha256,
) -> Result<LastQuote, StoreError> {
    last_quote(conn, id)
        .await?
        .filter(|quote| quote.quoted.sha256() == *sha256)
        .ok_or(StoreError::QuoteChanged { id: *id })
}

fn version(row: &SqliteRow) -> Result<u64, StoreError> {
    u64::try_from(row.try_get::<i64, _>("version")?)
        .map_err(|_| rows::corrupt("reference_values", "version"))
}

fn golden(row: &SqliteRow) -> Result<Option<Golden>, StoreError> {
    const T: &str = "reference_values";
    if row
        .try_get::<Option<Vec<u8>>, _>("golden_gateway")?
        .is_none()
    {
        return Ok(None);
    }
    Ok(Some(Golden {
        gateway: rows::ueid(row, T, "golden_gateway")?,
        boot_log_sha256: optional_sha256(row, T, "golden_boot_log")?,
    }))
}

fn optional_sha256(
    row: &SqliteRow,
    table: &'static str,
    column: &'static str,
) -> Result<Option<Sha256>, StoreError> {
    match row.try_get::<Option<Vec<u8>>, _>(column)? {
        None => Ok(None),
        Some(_) => rows::sha256(row, table, column).map(Some),
    }
}

fn sha256_of(bytes: &[u8]) -> Sha256 {
    use sha2::Digest as _;
    sha2::Sha256::digest(bytes).into()
}
