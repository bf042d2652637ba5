//! Revoked certificates.

use holdfast_proto::binding::Ueid;
use sqlx::{Row, SqliteConnection, sqlite::SqliteRow};

use super::{rows, sweep};
use crate::{
    identity::{CrlEntry, CrlPart, RevocationReason},
    store::{
        CrlDraft, CrlScope, CrlTimes, Issued, KeyId, Revoked, RevokedSince, Seconds, StoreError,
    },
    time::UnixTime,
};

const TABLE: &str = "certificates";

/// Revokes every certificate of a gateway that is not revoked yet.
pub(super) async fn revoke_certificates(
    conn: &mut SqliteConnection,
    id: &Ueid,
    (word, reason): (&str, RevocationReason),
    now: Seconds,
) -> Result<(), StoreError> {
    let place = last_place(conn).await?.saturating_add(1);
    sqlx::query(
        "UPDATE certificates SET revoked_at = ?, revocation_reason = ?, reason_code = ?, \
         revocation = ? WHERE gateway = ? AND revoked_at IS NULL",
    )
    .bind(now)
    .bind(word)
    .bind(reason.code())
    .bind(place.cast_signed())
    .bind(id.as_bytes().as_slice())
    .execute(conn)
    .await?;
    Ok(())
}

/// Revokes every certificate that is not revoked yet, of all gateways, whatever
/// the time is: by a clock that is fast, all would have ended. Says how many.
pub(super) async fn revoke_all(
    conn: &mut SqliteConnection,
    (word, reason): (&str, RevocationReason),
    now: Seconds,
) -> Result<u64, StoreError> {
    let place = last_place(conn).await?.saturating_add(1);
    let revoked = sqlx::query(
        "UPDATE certificates SET revoked_at = ?1, revocation_reason = ?2, reason_code = ?3, \
         revocation = ?4 WHERE revoked_at IS NULL",
    )
    .bind(now)
    .bind(word)
    .bind(reason.code())
    .bind(place.cast_signed())
    .execute(conn)
    .await?;
    Ok(revoked.rows_affected())
}

/// Says a graver reason for certificates that a suspension revoked, where they
/// have not ended: whoever finds a signature made before wants to know that the
/// key was compromised. When they were revoked stays.
pub(super) async fn restate_reason(
    conn: &mut SqliteConnection,
    id: &Ueid,
    reason: RevocationReason,
    now: Seconds,
) -> Result<(), StoreError> {
    let place = last_place(conn).await?.saturating_add(1);
    sqlx::query(
        "UPDATE certificates SET reason_code = ?, revocation = ? \
         WHERE gateway = ? AND revoked_at IS NOT NULL AND not_after >= ? AND reason_code = ?",
    )
    .bind(reason.code())
    .bind(place.cast_signed())
    .bind(id.as_bytes().as_slice())
    .bind(now)
    .bind(RevocationReason::PrivilegeWithdrawn.code())
    .execute(conn)
    .await?;
    Ok(())
}

/// One transaction, so that the place is that of what was read.
pub(super) async fn revoked_since(
    conn: &mut SqliteConnection,
    place: u64,
    now: Seconds,
) -> Result<RevokedSince, StoreError> {
    let last = last_place(conn).await?;
    if last == place {
        return Ok(RevokedSince {
            certificates: Vec::new(),
            place,
        });
    }
    // A place that is ahead of the record: the file was replaced by an older
    // one. All is read again.
    let after = if last < place { 0 } else { place };
    let rows = sqlx::query(
        "SELECT sha256, not_after FROM certificates WHERE revocation > ? AND not_after >= ?",
    )
    .bind(after.cast_signed())
    .bind(now)
    .fetch_all(conn)
    .await?;
    let certificates = rows
        .iter()
        .map(|row| {
            Ok(Revoked {
                sha256: rows::sha256(row, TABLE, "sha256")?,
                not_after: row.try_get("not_after")?,
            })
        })
        .collect::<Result<_, StoreError>>()?;
    Ok(RevokedSince {
        certificates,
        place: last,
    })
}

async fn last_place(conn: &mut SqliteConnection) -> Result<u64, StoreError> {
    let last: Option<i64> =
        sqlx::query_scalar("SELECT max(revocation) FROM certificates WHERE revocation IS NOT NULL")
            .fetch_one(conn)
            .await?;
    Ok(last.unwrap_or(0).cast_unsigned())
}

pub(super) async fn adopt(conn: &mut SqliteConnection, issuer: &KeyId) -> Result<u64, StoreError> {
    let adopted = sqlx::query("UPDATE certificates SET issuer = ? WHERE issuer IS NULL")
        .bind(issuer.as_slice())
        .execute(conn)
        .await?;
    Ok(adopted.rows_affected())
}

pub(super) async fn in_force(
    conn: &mut SqliteConnection,
    issuer: &KeyId,
    now: Seconds,
) -> Result<u64, StoreError> {
    let count: i64 =
        sqlx::query_scalar("SELECT count(*) FROM certificates WHERE not_after >= ? AND issuer = ?")
            .bind(now)
            .bind(issuer.as_slice())
            .fetch_one(conn)
            .await?;
    Ok(count.cast_unsigned())
}

pub(super) async fn scopes(
    conn: &mut SqliteConnection,
    now: Seconds,
) -> Result<Vec<CrlScope>, StoreError> {
    let rows = sqlx::query(
        "SELECT DISTINCT issuer, crl FROM certificates \
         WHERE not_after >= ? AND issuer IS NOT NULL",
    )
    .bind(now)
    .fetch_all(conn)
    .await?;
    rows.iter().map(scope).collect()
}

pub(super) async fn scopes_changed_since(
    conn: &mut SqliteConnection,
    place: u64,
) -> Result<(u64, Vec<CrlScope>), StoreError> {
    let last = last_place(conn).await?;
    if last == place {
        return Ok((place, Vec::new()));
    }
    let after = if last < place { 0 } else { place };
    let rows = sqlx::query(
        "SELECT DISTINCT issuer, crl FROM certificates \
         WHERE revocation > ? AND issuer IS NOT NULL",
    )
    .bind(after.cast_signed())
    .fetch_all(conn)
    .await?;
    let scopes = rows.iter().map(scope).collect::<Result<_, _>>()?;
    Ok((last, scopes))
}

/// In one transaction: no URL is lost between two starts.
pub(super) async fn configure_public_url(
    conn: &mut SqliteConnection,
    url: Option<&str>,
    now: Seconds,
) -> Result<Vec<String>, StoreError> {
    sqlx::query("UPDATE public_urls SET until = ?1 WHERE until IS NULL AND url IS NOT ?2")
        .bind(now)
        .bind(url)
        .execute(&mut *conn)
        .await?;
    if let Some(url) = url {
        sqlx::query(
            "INSERT INTO public_urls (url, until) VALUES (?, NULL) \
             ON CONFLICT (url) DO UPDATE SET until = NULL",
        )
        .bind(url)
        .execute(&mut *conn)
        .await?;
    }
    sqlx::query(
        "DELETE FROM public_urls WHERE until IS NOT NULL AND NOT EXISTS \
           (SELECT 1 FROM certificates WHERE not_after >= ? AND issued_at <= until)",
    )
    .bind(sweep::ended_by(conn, now).await?)
    .execute(&mut *conn)
    .await?;
    let former =
        sqlx::query_scalar("SELECT url FROM public_urls WHERE until IS NOT NULL ORDER BY url");
    Ok(former.fetch_all(conn).await?)
}

/// Runs in a transaction that writes: no two CRLs of a scope get one number.
pub(super) async fn draft(
    conn: &mut SqliteConnection,
    scope: &CrlScope,
    times: CrlTimes,
) -> Result<CrlDraft, StoreError> {
    let CrlTimes {
        this_update,
        regular_every,
    } = times;
    let last: Option<SqliteRow> =
        sqlx::query("SELECT number, regular_at FROM crls WHERE issuer = ? AND crl = ?")
            .bind(scope.issuer.as_slice())
            .bind(scope.part.number())
            .fetch_optional(&mut *conn)
            .await?;
    let (number, regular_at): (i64, Option<Seconds>) = match last {
        None => (0, None),
        Some(row) => (row.try_get("number")?, Some(row.try_get("regular_at")?)),
    };
    // Not below the time, so that numbers go up also where the store is put
    // back to an older state (a backup is restored).
    let number = number.saturating_add(1).max(this_update).max(1);
    // Entries are left out once a regular CRL made after their end had them.
    let ended_since = regular_at.unwrap_or(this_update).min(this_update);
    let regular = regular_at
        .is_none_or(|at| at > this_update || this_update.saturating_sub(at) >= regular_every);
    sqlx::query(
        "INSERT INTO crls (issuer, crl, number, this_update, regular_at) VALUES (?, ?, ?, ?, ?) \
         ON CONFLICT (issuer, crl) DO UPDATE SET number = excluded.number, \
           this_update = excluded.this_update, regular_at = excluded.regular_at",
    )
    .bind(scope.issuer.as_slice())
    .bind(scope.part.number())
    .bind(number)
    .bind(this_update)
    .bind(if regular { this_update } else { ended_since })
    .execute(&mut *conn)
    .await?;

    let place = last_place(conn).await?;
    let full = scope.part == CrlPart::FULL;
    let rows = sqlx::query(
        "SELECT serial, revoked_at, reason_code FROM certificates \
         WHERE revocation IS NOT NULL AND not_after >= ? AND issuer = ? AND (? OR crl = ?) \
         ORDER BY revocation, serial",
    )
    .bind(ended_since)
    .bind(scope.issuer.as_slice())
    .bind(full)
    .bind(scope.part.number())
    .fetch_all(conn)
    .await?;
    let entries = rows.iter().map(entry).collect::<Result<_, _>>()?;
    Ok(CrlDraft {
        number: number.cast_unsigned(),
        entries,
        place,
    })
}

pub(super) async fn issued(
    conn: &mut SqliteConnection,
    issuer: &KeyId,
    serial: &str,
) -> Result<Option<Issued>, StoreError> {
    let row = sqlx::query(
        "SELECT revoked_at, reason_code FROM certificates WHERE serial = ? AND issuer = ?",
    )
    .bind(serial)
    .bind(issuer.as_slice())
    .fetch_optional(conn)
    .await?;
    row.map(|row| {
        Ok(match row.try_get::<Option<Seconds>, _>("revoked_at")? {
            None => Issued::Good,
            Some(at) => Issued::Revoked {
                at,
                reason: reason(&row)?,
            },
        })
    })
    .transpose()
}

fn entry(row: &SqliteRow) -> Result<CrlEntry, StoreError> {
    let serial: String = row.try_get("serial")?;
    Ok(CrlEntry {
        serial: hex::decode(serial).map_err(|_| rows::corrupt(TABLE, "serial"))?,
        revoked_at: UnixTime::from_seconds(row.try_get("revoked_at")?),
        reason: reason(row)?,
    })
}

fn reason(row: &SqliteRow) -> Result<RevocationReason, StoreError> {
    let code: Option<i64> = row.try_get("reason_code")?;
    let Some(code) = code else {
        return Ok(RevocationReason::Unspecified);
    };
    u8::try_from(code)
        .ok()
        .and_then(RevocationReason::from_code)
        .ok_or_else(|| rows::corrupt(TABLE, "reason_code"))
}

fn scope(row: &SqliteRow) -> Result<CrlScope, StoreError> {
    let issuer: Vec<u8> = row.try_get("issuer")?;
    let part = u16::try_from(row.try_get::<i64, _>("crl")?).ok();
    Ok(CrlScope {
        issuer: issuer
            .try_into()
            .map_err(|_| rows::corrupt(TABLE, "issuer"))?,
        part: part
            .and_then(CrlPart::from_number)
            .ok_or_else(|| rows::corrupt(TABLE, "crl"))?,
    })
}
