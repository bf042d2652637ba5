//! Up-time, and the gateways that are silent by it.

use holdfast_proto::binding::Ueid;
use sqlx::{Row as _, SqliteConnection};

use super::{admin, heartbeats, rows};
use crate::{
    silence::{SilenceRules, UpSeconds},
    store::{Seconds, StoreError, SuspensionKind, Watched},
};

/// Actor of what the verifier does by itself.
const VERIFIER: &str = "verifier";

/// The classes of active gateways: one step in the index for each, however many
/// gateways there are.
const CLASSES: &str = "WITH RECURSIVE found (class) AS ( \
     SELECT min(class) FROM gateways WHERE state = 'active' \
     UNION ALL SELECT (SELECT min(class) FROM gateways \
       WHERE state = 'active' AND class > found.class) \
     FROM found WHERE found.class IS NOT NULL) \
   SELECT class FROM found WHERE class IS NOT NULL";

/// Those of a class who are due, the most silent first.
pub(super) const DUE: &str = "SELECT id FROM gateways \
   WHERE state = 'active' AND class = ? AND attested_up <= ? ORDER BY attested_up LIMIT ?";

/// Those that beat and are due, the most silent first. Only who is active has a
/// row.
pub(super) const BEATS_DUE: &str =
    "SELECT gateway FROM heartbeats WHERE beat_up <= ? ORDER BY beat_up LIMIT ?";

pub(super) async fn begin_run(
    conn: &mut SqliteConnection,
    grace: UpSeconds,
    now: Seconds,
) -> Result<(), StoreError> {
    sqlx::query(
        "UPDATE uptime SET marked_at = ?, \
         suspend_from = CASE WHEN swept >= suspend_from THEN seconds + ? ELSE suspend_from END",
    )
    .bind(now)
    .bind(grace)
    .execute(conn)
    .await?;
    Ok(())
}

pub(super) async fn watch(
    conn: &mut SqliteConnection,
    rules: &SilenceRules,
    passed: UpSeconds,
    limit: u32,
    now: Seconds,
) -> Result<Watched, StoreError> {
    let row = sqlx::query(
        "UPDATE uptime SET seconds = seconds + max(?, 0), marked_at = ? \
         RETURNING seconds, suspend_from",
    )
    .bind(passed)
    .bind(now)
    .fetch_one(&mut *conn)
    .await?;
    let (up, from): (UpSeconds, UpSeconds) =
        (row.try_get("seconds")?, row.try_get("suspend_from")?);
    if up < from {
        return Ok(Watched {
            suspended: Vec::new(),
            more: false,
        });
    }
    let mut suspended = suspend_due(conn, rules, up, limit, now).await?;
    let left = limit.saturating_sub(u32::try_from(suspended.len()).unwrap_or(limit));
    suspended.extend(suspend_beatless(conn, rules, up, left, now).await?);
    let more = suspended.len() >= usize::try_from(limit).unwrap_or(usize::MAX);
    if !more {
        sqlx::query("UPDATE uptime SET swept = seconds")
            .execute(conn)
            .await?;
    }
    Ok(Watched { suspended, more })
}

async fn suspend_due(
    conn: &mut SqliteConnection,
    rules: &SilenceRules,
    up: UpSeconds,
    limit: u32,
    now: Seconds,
) -> Result<Vec<Ueid>, StoreError> {
    let classes: Vec<String> = sqlx::query_scalar(CLASSES).fetch_all(&mut *conn).await?;
    let mut suspended = Vec::new();
    let mut left = limit;
    for class in classes {
        let due = sqlx::query(DUE)
            .bind(&class)
            .bind(rules.due(&class, up))
            .bind(left)
            .fetch_all(&mut *conn)
            .await?;
        let silent = format!("no affirming attestation within {} s", rules.within(&class));
        for row in due {
            let id = rows::ueid(&row, "gateways", "id")?;
            let reason = match heartbeats::doubt_of(conn, &id).await? {
                Some(doubt) => format!("told to attest ({doubt}), and did not"),
                None => silent.clone(),
            };
            admin::suspend(conn, &id, SuspensionKind::Silence, &reason, VERIFIER, now).await?;
            suspended.push(id);
            left = left.saturating_sub(1);
        }
    }
    Ok(suspended)
}

async fn suspend_beatless(
    conn: &mut SqliteConnection,
    rules: &SilenceRules,
    up: UpSeconds,
    limit: u32,
    now: Seconds,
) -> Result<Vec<Ueid>, StoreError> {
    let due = sqlx::query(BEATS_DUE)
        .bind(rules.beats_due(up))
        .bind(limit)
        .fetch_all(&mut *conn)
        .await?;
    let reason = format!("no heartbeat within {} s", rules.beat_within());
    let mut suspended = Vec::new();
    for row in due {
        let id = rows::ueid(&row, "heartbeats", "gateway")?;
        admin::suspend(conn, &id, SuspensionKind::Silence, &reason, VERIFIER, now).await?;
        suspended.push(id);
    }
    Ok(suspended)
}
