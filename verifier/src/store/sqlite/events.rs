//! The outbox's rows.

use async_trait::async_trait;
use holdfast_proto::binding::Ueid;
use serde_json::Value;
use sqlx::{Row, SqliteConnection, sqlite::SqliteRow};

use super::{SqliteStore, rows};
use crate::store::{Event, EventKind, Events, KeptEvents, Seconds, StoreError};

const TABLE: &str = "events";

/// Writes an event, in the transaction of what it tells. The gateway is on
/// record.
pub(super) async fn tell(
    conn: &mut SqliteConnection,
    id: &Ueid,
    kind: EventKind,
    detail: Value,
    now: Seconds,
) -> Result<(), StoreError> {
    let number: i64 =
        sqlx::query_scalar("UPDATE gateways SET events = events + 1 WHERE id = ? RETURNING events")
            .bind(id.as_bytes().as_slice())
            .fetch_one(&mut *conn)
            .await?;
    sqlx::query("INSERT INTO events (at, gateway, number, kind, detail) VALUES (?, ?, ?, ?, ?)")
        .bind(now)
        .bind(id.as_bytes().as_slice())
        .bind(number)
        .bind(kind.name())
        .bind(detail.to_string())
        .execute(conn)
        .await?;
    Ok(())
}

#[async_trait]
impl Events for SqliteStore {
    async fn events_after(
        &self,
        sequence: u64,
        gateway: Option<&Ueid>,
        limit: u32,
    ) -> Result<Vec<Event>, StoreError> {
        after(
            &mut *self.readers.acquire().await?,
            sequence,
            gateway,
            limit,
        )
        .await
    }

    async fn look_at_events(
        &self,
        sequence: u64,
        gateway: Option<&Ueid>,
        limit: u32,
    ) -> Result<(Vec<Event>, KeptEvents), StoreError> {
        let mut tx = self.readers.begin().await?;
        let events = after(&mut tx, sequence, gateway, limit).await?;
        Ok((events, kept(&mut tx).await?))
    }

    async fn events_kept(&self) -> Result<KeptEvents, StoreError> {
        kept(&mut *self.readers.acquire().await?).await
    }

    async fn sweep_events(&self, before: Seconds) -> Result<u64, StoreError> {
        let mut tx = self.begin().await?;
        let swept = sqlx::query("DELETE FROM events WHERE at < ?")
            .bind(before)
            .execute(&mut *tx)
            .await?;
        tx.commit().await?;
        Ok(swept.rows_affected())
    }

    async fn webhook_position(&self, url: &str, now: Seconds) -> Result<u64, StoreError> {
        let mut tx = self.begin().await?;
        sqlx::query(
            "INSERT INTO webhooks (url, position, updated_at) VALUES (?, \
               coalesce((SELECT seq FROM sqlite_sequence WHERE name = 'events'), 0), ?) \
             ON CONFLICT (url) DO NOTHING",
        )
        .bind(url)
        .bind(now)
        .execute(&mut *tx)
        .await?;
        let position: i64 = sqlx::query_scalar("SELECT position FROM webhooks WHERE url = ?")
            .bind(url)
            .fetch_one(&mut *tx)
            .await?;
        tx.commit().await?;
        Ok(position.cast_unsigned())
    }

    async fn advance_webhook(
        &self,
        url: &str,
        position: u64,
        now: Seconds,
    ) -> Result<(), StoreError> {
        let mut tx = self.begin().await?;
        sqlx::query("UPDATE webhooks SET position = ?, updated_at = ? WHERE url = ?")
            .bind(position.cast_signed())
            .bind(now)
            .bind(url)
            .execute(&mut *tx)
            .await?;
        tx.commit().await?;
        Ok(())
    }
}

async fn after(
    conn: &mut SqliteConnection,
    sequence: u64,
    gateway: Option<&Ueid>,
    limit: u32,
) -> Result<Vec<Event>, StoreError> {
    let after = i64::try_from(sequence).unwrap_or(i64::MAX);
    let query = match gateway {
        None => sqlx::query("SELECT * FROM events WHERE sequence > ? ORDER BY sequence LIMIT ?")
            .bind(after)
            .bind(limit),
        Some(id) => sqlx::query(
            "SELECT * FROM events WHERE sequence > ? AND gateway = ? ORDER BY sequence LIMIT ?",
        )
        .bind(after)
        .bind(id.as_bytes().to_vec())
        .bind(limit),
    };
    let rows = query.fetch_all(conn).await?;
    rows.iter().map(event).collect()
}

async fn kept(conn: &mut SqliteConnection) -> Result<KeptEvents, StoreError> {
    let row = sqlx::query(
        "SELECT coalesce((SELECT seq FROM sqlite_sequence WHERE name = 'events'), 0) AS newest, \
           (SELECT min(sequence) FROM events) AS oldest",
    )
    .fetch_one(conn)
    .await?;
    let newest = row.try_get::<i64, _>("newest")?.cast_unsigned();
    let oldest: Option<i64> = row.try_get("oldest")?;
    Ok(KeptEvents {
        oldest: oldest.map_or(newest.saturating_add(1), i64::cast_unsigned),
        newest,
    })
}

fn event(row: &SqliteRow) -> Result<Event, StoreError> {
    let id: Vec<u8> = row.try_get("id")?;
    let kind: String = row.try_get("kind")?;
    Ok(Event {
        sequence: row.try_get::<i64, _>("sequence")?.cast_unsigned(),
        id: id.try_into().map_err(|_| rows::corrupt(TABLE, "id"))?,
        at: row.try_get("at")?,
        gateway: rows::ueid(row, TABLE, "gateway")?,
        number: row.try_get::<i64, _>("number")?.cast_unsigned(),
        kind: EventKind::from_name(&kind).ok_or_else(|| rows::corrupt(TABLE, "kind"))?,
        detail: row.try_get("detail")?,
    })
}
