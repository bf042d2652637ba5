//! What was sent to whom, and how often the same may be sent again.

use holdfast_proto::binding::Ueid;
use sqlx::SqliteConnection;

use super::admin::{AuditWrite, audit};
use crate::{
    secrets::SecretId,
    silence::UpSeconds,
    store::{REDELIVERIES, REDELIVERY_EVERY, Seconds, StoreError},
};

const GATEWAY: &str = "gateway";

/// Of these, what may be sent now.
pub(super) async fn deliverable(
    conn: &mut SqliteConnection,
    gateway: &Ueid,
    secrets: Vec<SecretId>,
) -> Result<Vec<SecretId>, StoreError> {
    if spent(conn, gateway).await?.is_some() {
        return Ok(secrets);
    }
    let mut new = Vec::with_capacity(secrets.len());
    for secret in secrets {
        if !was_sent(conn, gateway, &secret).await? {
            new.push(secret);
        }
    }
    Ok(new)
}

/// Records one delivery: a row for each secret, and one line in the audit log.
pub(super) async fn record(
    conn: &mut SqliteConnection,
    gateway: &Ueid,
    (class, count): (&str, u64),
    sent: &[SecretId],
    now: Seconds,
) -> Result<(), StoreError> {
    if sent.is_empty() {
        return Ok(());
    }
    let mut words = Vec::with_capacity(sent.len());
    let mut repeats = false;
    for secret in sent {
        let again = was_sent(conn, gateway, secret).await?;
        repeats |= again;
        deliver(conn, gateway, secret, now).await?;
        let again = if again { " again" } else { "" };
        words.push(format!("{} {}{again}", secret.name, secret.version));
    }
    if repeats {
        let spent = spent(conn, gateway).await?;
        let full_up = spent.ok_or(StoreError::RedeliverySpent { id: *gateway })?;
        spend(conn, gateway, full_up).await?;
    }
    let entry = AuditWrite {
        at: now,
        actor: GATEWAY,
        action: "secret-delivered",
        subject: &gateway.to_string(),
        detail: &format!("class {class}, change {count}: {}", words.join(", ")),
    };
    audit(conn, entry).await
}

/// A gateway that enrols or recovers may have lost all that it had.
pub(super) async fn begin_anew(
    conn: &mut SqliteConnection,
    gateway: &Ueid,
) -> Result<(), StoreError> {
    sqlx::query("DELETE FROM secret_redeliveries WHERE gateway = ?")
        .bind(gateway.as_bytes().as_slice())
        .execute(conn)
        .await?;
    Ok(())
}

async fn was_sent(
    conn: &mut SqliteConnection,
    gateway: &Ueid,
    secret: &SecretId,
) -> Result<bool, StoreError> {
    let row = sqlx::query(
        "SELECT 1 FROM secret_deliveries \
         WHERE class = ? AND name = ? AND version = ? AND gateway = ?",
    )
    .bind(secret.class.as_str())
    .bind(secret.name.as_str())
    .bind(secret.version.cast_signed())
    .bind(gateway.as_bytes().as_slice())
    .fetch_optional(conn)
    .await?;
    Ok(row.is_some())
}

async fn deliver(
    conn: &mut SqliteConnection,
    gateway: &Ueid,
    secret: &SecretId,
    now: Seconds,
) -> Result<(), StoreError> {
    sqlx::query(
        "INSERT INTO secret_deliveries (class, name, version, gateway, delivered_at) \
         VALUES (?, ?, ?, ?, ?) ON CONFLICT DO UPDATE SET delivered_at = excluded.delivered_at",
    )
    .bind(secret.class.as_str())
    .bind(secret.name.as_str())
    .bind(secret.version.cast_signed())
    .bind(gateway.as_bytes().as_slice())
    .bind(now)
    .execute(conn)
    .await?;
    Ok(())
}

/// Up-time at which the gateway would have all its redeliveries again, were it
/// to use one now; none where none is left.
async fn spent(
    conn: &mut SqliteConnection,
    gateway: &Ueid,
) -> Result<Option<UpSeconds>, StoreError> {
    let up: UpSeconds = sqlx::query_scalar("SELECT seconds FROM uptime")
        .fetch_one(&mut *conn)
        .await?;
    let full_up: Option<UpSeconds> =
        sqlx::query_scalar("SELECT full_up FROM secret_redeliveries WHERE gateway = ?")
            .bind(gateway.as_bytes().as_slice())
            .fetch_optional(conn)
            .await?;
    let next = full_up.unwrap_or(up).max(up) + REDELIVERY_EVERY;
    Ok((next <= up + REDELIVERY_EVERY * REDELIVERIES).then_some(next))
}

async fn spend(
    conn: &mut SqliteConnection,
    gateway: &Ueid,
    full_up: UpSeconds,
) -> Result<(), StoreError> {
    sqlx::query(
        "INSERT INTO secret_redeliveries (gateway, full_up) VALUES (?, ?) \
         ON CONFLICT DO UPDATE SET full_up = excluded.full_up",
    )
    .bind(gateway.as_bytes().as_slice())
    .bind(full_up)
    .execute(conn)
    .await?;
    Ok(())
}
