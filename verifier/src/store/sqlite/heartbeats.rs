//! Epochs and beats.

use holdfast_proto::binding::Ueid;
use sqlx::{Row as _, SqliteConnection};

use super::{
    admin::{AuditWrite, audit},
    rows,
};
use crate::{
    silence::{Notice, SilenceRules, UpSeconds},
    store::{BeatMark, HeartbeatRecord, Seconds, StoreError},
};

const TABLE: &str = "heartbeats";

pub(super) async fn heartbeat(
    conn: &mut SqliteConnection,
    id: &Ueid,
) -> Result<Option<HeartbeatRecord>, StoreError> {
    let row =
        sqlx::query("SELECT epoch, master, clock, beat_within FROM heartbeats WHERE gateway = ?")
            .bind(id.as_bytes().as_slice())
            .fetch_optional(conn)
            .await?;
    let Some(row) = row else {
        return Ok(None);
    };
    let epoch: Option<Vec<u8>> = row.try_get("epoch")?;
    let master: Option<String> = row.try_get("master")?;
    let epoch = match epoch.zip(master) {
        None => None,
        Some((epoch, master)) => {
            let epoch = epoch.try_into().map_err(|_| StoreError::Corrupt {
                table: TABLE,
                column: "epoch",
            })?;
            Some((epoch, master))
        }
    };
    let clock: Option<i64> = row.try_get("clock")?;
    Ok(Some(HeartbeatRecord {
        epoch,
        clock: clock.map(i64::cast_unsigned),
        within: row.try_get("beat_within")?,
    }))
}

pub(super) async fn begin_epoch(
    conn: &mut SqliteConnection,
    id: &Ueid,
    (epoch, master): ([u8; 16], &str),
    within: UpSeconds,
) -> Result<(), StoreError> {
    rows::known_gateway(conn, id).await?.in_good_standing()?;
    // Whoever begins to beat has a whole interval. Whoever goes on has what is
    // left of it: beginning again and again is no beat. A deadline to begin is
    // met; one to attest is not.
    sqlx::query(
        "INSERT INTO heartbeats (gateway, epoch, master, beat_within, beat_up, beat_due) \
         SELECT ?1, ?2, ?3, ?4, seconds, seconds + ?4 FROM uptime WHERE true \
         ON CONFLICT (gateway) DO UPDATE SET epoch = excluded.epoch, \
           master = excluded.master, beat_within = excluded.beat_within, \
           beat_due = coalesce(beat_due, excluded.beat_due), \
           clock = CASE WHEN epoch = excluded.epoch THEN clock END, \
           deadline = CASE WHEN doubt IS NOT NULL THEN deadline END",
    )
    .bind(id.as_bytes().as_slice())
    .bind(epoch.as_slice())
    .bind(master)
    .bind(within)
    .execute(conn)
    .await?;
    Ok(())
}

pub(super) async fn record_beats(
    conn: &mut SqliteConnection,
    beats: &[BeatMark],
) -> Result<(), StoreError> {
    for beat in beats {
        // Of this very epoch: what waited to be written while the gateway
        // attested and began anew would else count for what it shows now.
        sqlx::query(
            "UPDATE heartbeats SET clock = ?, beat_up = up.seconds, \
               beat_due = up.seconds + beat_within \
             FROM uptime AS up WHERE gateway = ? AND epoch = ?",
        )
        .bind(beat.clock.cast_signed())
        .bind(beat.gateway.as_bytes().as_slice())
        .bind(beat.epoch.as_slice())
        .execute(&mut *conn)
        .await?;
    }
    Ok(())
}

pub(super) async fn doubt(
    conn: &mut SqliteConnection,
    id: &Ueid,
    (epoch, code): ([u8; 16], &str),
    rules: &SilenceRules,
    now: Seconds,
) -> Result<u32, StoreError> {
    let gateway = rows::known_gateway(conn, id).await?;
    gateway.in_good_standing()?;
    let on_record = heartbeat(conn, id).await?.and_then(|record| record.epoch);
    if on_record.is_none_or(|(current, _)| current != epoch) {
        return Err(StoreError::EpochEnded { id: *id });
    }
    let up: UpSeconds = sqlx::query_scalar("SELECT seconds FROM uptime")
        .fetch_one(&mut *conn)
        .await?;
    // It may come back and show the same, or more: the first deadline stays.
    let before = doubt_of(conn, id).await?;
    let deadline: Option<UpSeconds> = sqlx::query_scalar(
        "UPDATE heartbeats SET epoch = NULL, master = NULL, clock = NULL, doubt = ?, \
           deadline = coalesce(deadline, ?) WHERE gateway = ? RETURNING deadline",
    )
    .bind(code)
    .bind(rules.notice(up).at())
    .bind(id.as_bytes().as_slice())
    .fetch_one(&mut *conn)
    .await?;
    let deadline = deadline.ok_or_else(|| rows::corrupt(TABLE, "deadline"))?;
    if before.as_deref() != Some(code) {
        let entry = AuditWrite {
            at: now,
            actor: "verifier",
            action: "told-to-attest",
            subject: &id.to_string(),
            detail: code,
        };
        audit(conn, entry).await?;
    }
    Ok(Notice::on_record(deadline).within(up))
}

/// A full attestation was affirmed: the key's epoch ends, and with it what beats
/// have shown.
pub(super) async fn attested(conn: &mut SqliteConnection, id: &Ueid) -> Result<(), StoreError> {
    // One that was to begin and never did: whether it still is to, the class
    // says now.
    sqlx::query("DELETE FROM heartbeats WHERE gateway = ? AND beat_within IS NULL")
        .bind(id.as_bytes().as_slice())
        .execute(&mut *conn)
        .await?;
    sqlx::query(
        "UPDATE heartbeats SET epoch = NULL, master = NULL, clock = NULL, doubt = NULL, \
           deadline = NULL, beat_up = up.seconds, beat_due = up.seconds + beat_within \
         FROM uptime AS up WHERE gateway = ?",
    )
    .bind(id.as_bytes().as_slice())
    .execute(conn)
    .await?;
    Ok(())
}

/// It has just attested, and must begin to beat within so long.
pub(super) async fn require(
    conn: &mut SqliteConnection,
    id: &Ueid,
    begin: Option<Notice>,
) -> Result<(), StoreError> {
    let Some(begin) = begin else {
        return Ok(());
    };
    sqlx::query(
        "INSERT INTO heartbeats (gateway, beat_up, deadline) \
         SELECT ?, seconds, seconds + ? FROM uptime WHERE true \
         ON CONFLICT (gateway) DO UPDATE SET deadline = excluded.deadline",
    )
    .bind(id.as_bytes().as_slice())
    .bind(begin.at())
    .execute(conn)
    .await?;
    Ok(())
}

/// The gateway is not active any more, or begins anew: it does not beat.
pub(super) async fn end(conn: &mut SqliteConnection, id: &Ueid) -> Result<(), StoreError> {
    sqlx::query("DELETE FROM heartbeats WHERE gateway = ?")
        .bind(id.as_bytes().as_slice())
        .execute(conn)
        .await?;
    Ok(())
}

/// What a beat of this gateway has shown, if anything.
pub(super) async fn doubt_of(
    conn: &mut SqliteConnection,
    id: &Ueid,
) -> Result<Option<String>, StoreError> {
    let doubt = sqlx::query_scalar("SELECT doubt FROM heartbeats WHERE gateway = ?")
        .bind(id.as_bytes().as_slice())
        .fetch_optional(conn)
        .await?;
    Ok(doubt.flatten())
}
