//! Up-time, and the gateways that are silent by it.

use std::time::Duration;

use async_trait::async_trait;
use holdfast_proto::binding::Ueid;
use sqlx::{Row as _, SqliteConnection};

use super::{SqliteStore, admin, heartbeats, rows};
use crate::{
    silence::{SilenceRules, UpSeconds},
    store::{
        Awaited, AwaitedBeats, Deadline, Seconds, Silence, StoreError, SuspensionKind, Watched,
    },
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
pub(super) const BEATS_DUE: &str = "SELECT gateway, beat_due - beat_up AS told \
   FROM heartbeats WHERE beat_due <= ? ORDER BY beat_due LIMIT ?";

/// Those whose deadline has passed.
pub(super) const PAST_DEADLINE: &str = "SELECT gateway, doubt FROM heartbeats \
   WHERE deadline <= ? ORDER BY deadline LIMIT ?";

#[async_trait]
impl Silence for SqliteStore {
    fn pass(&self, time: Duration) {
        self.unmarked.pass(time);
    }

    fn lose(&self) {
        self.unmarked.lose();
    }

    async fn begin_run(&self, rules: &SilenceRules, now: Seconds) -> Result<(), StoreError> {
        let mut tx = self.begin().await?;
        begin_run(&mut tx, rules, now).await?;
        tx.commit().await
    }

    async fn awaited(
        &self,
        id: &Ueid,
        rules: &SilenceRules,
    ) -> Result<Option<Awaited>, StoreError> {
        awaited(&mut *self.readers.acquire().await?, id, rules).await
    }

    async fn watch_silence(
        &self,
        rules: &SilenceRules,
        limit: u32,
        now: Seconds,
    ) -> Result<Watched, StoreError> {
        let mut tx = self.begin().await?;
        let watched = watch(&mut tx, rules, limit, now).await?;
        match watched.suspended.is_empty() {
            true => tx.commit().await?,
            false => self.commit_change(tx).await?,
        }
        Ok(watched)
    }
}

async fn awaited(
    conn: &mut SqliteConnection,
    id: &Ueid,
    rules: &SilenceRules,
) -> Result<Option<Awaited>, StoreError> {
    let row = sqlx::query(
        "SELECT g.class, g.attested_up, h.epoch IS NOT NULL AS has_key, h.beat_up, h.beat_due, \
           h.deadline, h.doubt, up.seconds \
         FROM gateways g CROSS JOIN uptime up LEFT JOIN heartbeats h ON h.gateway = g.id \
         WHERE g.id = ? AND g.state = 'active'",
    )
    .bind(id.as_bytes().as_slice())
    .fetch_optional(conn)
    .await?;
    let Some(row) = row else {
        return Ok(None);
    };
    let up: UpSeconds = row.try_get("seconds")?;
    let attested: UpSeconds = row.try_get("attested_up")?;
    let class: String = row.try_get("class")?;
    let deadline: Option<UpSeconds> = row.try_get("deadline")?;
    let doubt: Option<String> = row.try_get("doubt")?;
    let beat: Option<(UpSeconds, UpSeconds)> = Option::zip(
        row.try_get::<Option<_>, _>("beat_up")?,
        row.try_get::<Option<_>, _>("beat_due")?,
    );
    let has_key = row.try_get("has_key")?;
    Ok(Some(Awaited {
        attest_within: attested + rules.within(&class) - up,
        deadline: deadline.map(|at| Deadline {
            within: at - up,
            doubt,
        }),
        beats: beat.map(|(last, due)| AwaitedBeats {
            has_key,
            last: up - last,
            within: due - up,
        }),
    }))
}

async fn begin_run(
    conn: &mut SqliteConnection,
    rules: &SilenceRules,
    now: Seconds,
) -> Result<(), StoreError> {
    // Of before deadlines were kept: as today's settings have it.
    sqlx::query(
        "UPDATE heartbeats SET beat_within = ?1, beat_due = beat_up + ?1 \
         WHERE beat_due IS NULL AND deadline IS NULL",
    )
    .bind(rules.beat_within())
    .execute(&mut *conn)
    .await?;
    sqlx::query(
        "UPDATE uptime SET marked_at = ?, \
         suspend_from = CASE WHEN swept >= suspend_from THEN seconds + ? ELSE suspend_from END",
    )
    .bind(now)
    .bind(rules.grace())
    .execute(conn)
    .await?;
    Ok(())
}

async fn watch(
    conn: &mut SqliteConnection,
    rules: &SilenceRules,
    limit: u32,
    now: Seconds,
) -> Result<Watched, StoreError> {
    let row = sqlx::query("UPDATE uptime SET marked_at = ? RETURNING seconds, suspend_from")
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
    let mut suspended = suspend_late(conn, up, limit, now).await?;
    let left =
        |suspended: &[Ueid]| limit.saturating_sub(u32::try_from(suspended.len()).unwrap_or(limit));
    suspended.extend(suspend_due(conn, rules, up, left(&suspended), now).await?);
    suspended.extend(suspend_beatless(conn, rules, up, left(&suspended), now).await?);
    let more = suspended.len() >= usize::try_from(limit).unwrap_or(usize::MAX);
    if !more {
        sqlx::query("UPDATE uptime SET swept = seconds")
            .execute(conn)
            .await?;
    }
    Ok(Watched { suspended, more })
}

/// Whoever was given a deadline and let it pass, whatever the rules are now.
async fn suspend_late(
    conn: &mut SqliteConnection,
    up: UpSeconds,
    limit: u32,
    now: Seconds,
) -> Result<Vec<Ueid>, StoreError> {
    let late = sqlx::query(PAST_DEADLINE)
        .bind(up)
        .bind(limit)
        .fetch_all(&mut *conn)
        .await?;
    let mut suspended = Vec::new();
    for row in late {
        let id = rows::ueid(&row, "heartbeats", "gateway")?;
        let reason = match row.try_get::<Option<String>, _>("doubt")? {
            Some(doubt) => told_to_attest(&doubt),
            None => "heartbeats are required of its class, and did not begin in time".to_owned(),
        };
        admin::suspend(conn, &id, SuspensionKind::Silence, &reason, VERIFIER, now).await?;
        suspended.push(id);
    }
    Ok(suspended)
}

fn told_to_attest(doubt: &str) -> String {
    format!("told to attest ({doubt}), and did not")
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
                Some(doubt) => told_to_attest(&doubt),
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
    let mut suspended = Vec::new();
    for row in due {
        let id = rows::ueid(&row, "heartbeats", "gateway")?;
        let within: UpSeconds = row.try_get("told")?;
        let reason = format!("no heartbeat within {within} s");
        admin::suspend(conn, &id, SuspensionKind::Silence, &reason, VERIFIER, now).await?;
        suspended.push(id);
    }
    Ok(suspended)
}
