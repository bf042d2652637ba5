//! How many certificates there are: of one gateway, and in all.

use holdfast_proto::binding::Ueid;
use sqlx::{Row as _, SqliteConnection};

use crate::store::{LDEVIDS_IN_FORCE, Seconds, StoreError};

/// Certificates stay on record this long after their end, for whoever asks what
/// a signature of then was worth.
const ENDED_SECONDS: Seconds = 30 * 86_400;
/// Rows that one sweep removes at most: it holds the write lock meanwhile.
const SWEPT_AT_ONCE: u32 = 5000;

/// # Errors
/// [`StoreError::TooManyLdevids`].
pub(super) async fn room(
    conn: &mut SqliteConnection,
    id: &Ueid,
    now: Seconds,
) -> Result<(), StoreError> {
    let row = sqlx::query(
        "SELECT count(*) AS n, min(not_after) AS first FROM certificates \
         WHERE gateway = ? AND revoked_at IS NULL AND not_after >= ?",
    )
    .bind(id.as_bytes().as_slice())
    .bind(now)
    .fetch_one(conn)
    .await?;
    if row.try_get::<i64, _>("n")? < i64::from(LDEVIDS_IN_FORCE) {
        return Ok(());
    }
    let first: Option<Seconds> = row.try_get("first")?;
    Err(StoreError::TooManyLdevids {
        id: *id,
        until: first.unwrap_or(now),
    })
}

/// Removes certificates that ended long ago. What stays whatever its age:
/// - one that a CRL has yet to list once more after its end (RFC 5280 §3.3): no
///   regular CRL of its scope, or of the full one, was made after that;
/// - the last of each gateway, which `gateway show` shows;
/// - those of the last revocation: the order of revocations goes on from them,
///   and a place in it is never given twice.
///
/// `ended`: what ended before has, whatever the clock says.
pub(super) async fn sweep(conn: &mut SqliteConnection, ended: Seconds) -> Result<u64, StoreError> {
    let swept = sqlx::query(
        "DELETE FROM certificates WHERE sha256 IN (SELECT c.sha256 FROM certificates AS c \
         WHERE c.not_after < ?1 \
           AND EXISTS (SELECT 1 FROM certificates AS later \
             WHERE later.gateway = c.gateway AND later.not_after > c.not_after) \
           AND (c.revocation IS NULL OR ( \
             c.revocation < (SELECT max(revocation) FROM certificates \
               WHERE revocation IS NOT NULL) \
             AND NOT EXISTS (SELECT 1 FROM crls WHERE crls.issuer = c.issuer \
               AND crls.crl IN (1, c.crl) AND crls.regular_at <= c.not_after))) \
         ORDER BY c.not_after LIMIT ?2)",
    )
    .bind(ended.saturating_sub(ENDED_SECONDS))
    .bind(SWEPT_AT_ONCE)
    .execute(conn)
    .await?;
    Ok(swept.rows_affected())
}
