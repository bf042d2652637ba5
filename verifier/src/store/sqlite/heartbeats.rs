//! Epochs and beats.

use holdfast_proto::binding::Ueid;
use sqlx::{Row as _, SqliteConnection};

use super::{
    admin::{AuditWrite, audit},
    rows,
};
use crate::{
    silence::SilenceRules,
    store::{BeatMark, HeartbeatRecord, Seconds, StoreError},
};

const TABLE: &str = "heartbeats";

pub(super) async fn heartbeat(
    conn: &mut SqliteConnection,
    id: &Ueid,
) -> Result<Option<HeartbeatRecord>, StoreError> {
    let row = sqlx::query("SELECT epoch, master, clock FROM heartbeats WHERE gateway = ?")
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
    }))
}

pub(super) async fn begin_epoch(
    conn: &mut SqliteConnection,
    id: &Ueid,
    epoch: [u8; 16],
    master: &str,
) -> Result<(), StoreError> {
    rows::known_gateway(conn, id).await?.in_good_standing()?;
    // Whoever begins to beat has a whole interval. Whoever goes on has what is
    // left of it: beginning again and again is no beat.
    sqlx::query(
        "INSERT INTO heartbeats (gateway, epoch, master, beat_up) \
         VALUES (?, ?, ?, (SELECT seconds FROM uptime)) \
         ON CONFLICT (gateway) DO UPDATE SET epoch = excluded.epoch, \
           master = excluded.master, clock = NULL",
    )
    .bind(id.as_bytes().as_slice())
    .bind(epoch.as_slice())
    .bind(master)
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
            "UPDATE heartbeats SET beat_up = (SELECT seconds FROM uptime), clock = ? \
             WHERE gateway = ? AND epoch = ?",
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
    epoch: [u8; 16],
    code: &str,
    rules: &SilenceRules,
    now: Seconds,
) -> Result<(), StoreError> {
    let gateway = rows::known_gateway(conn, id).await?;
    gateway.in_good_standing()?;
    let on_record = heartbeat(conn, id).await?.and_then(|record| record.epoch);
    if on_record.is_none_or(|(current, _)| current != epoch) {
        return Err(StoreError::EpochEnded { id: *id });
    }
    // Once: it may come back and show the same.
    if doubt_of(conn, id).await?.as_deref() == Some(code) {
        return end_epoch(conn, id, code).await;
    }
    // Its interval is over: what is left is the grace.
    sqlx::query(
        "UPDATE gateways SET attested_up = \
           min(attested_up, (SELECT seconds FROM uptime) - ?) WHERE id = ?",
    )
    .bind(rules.within(&gateway.class))
    .bind(id.as_bytes().as_slice())
    .execute(&mut *conn)
    .await?;
    end_epoch(conn, id, code).await?;
    let entry = AuditWrite {
        at: now,
        actor: "verifier",
        action: "told-to-attest",
        subject: &id.to_string(),
        detail: code,
    };
    audit(conn, entry).await
}

async fn end_epoch(conn: &mut SqliteConnection, id: &Ueid, code: &str) -> Result<(), StoreError> {
    sqlx::query(
        "UPDATE heartbeats SET epoch = NULL, master = NULL, clock = NULL, doubt = ? \
         WHERE gateway = ?",
    )
    .bind(code)
    .bind(id.as_bytes().as_slice())
    .execute(conn)
    .await?;
    Ok(())
}

/// A full attestation was affirmed: the key's epoch ends, and with it what beats
/// have shown.
pub(super) async fn attested(conn: &mut SqliteConnection, id: &Ueid) -> Result<(), StoreError> {
    sqlx::query(
        "UPDATE heartbeats SET epoch = NULL, master = NULL, clock = NULL, doubt = NULL, \
           beat_up = (SELECT seconds FROM uptime) WHERE gateway = ?",
    )
    .bind(id.as_bytes().as_slice())
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
