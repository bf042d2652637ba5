//! Removing what has ended. A clock alone is no ground for that: one that is
//! wrong for an hour would remove what is in force for a year, revocations too.

use sqlx::{Row as _, SqliteConnection};

use super::certificates;
use crate::{
    silence::UpSeconds,
    store::{SWEEP_PACE, Seconds, StoreError, Swept},
};

/// Answers stay this much longer than their challenge could be used, in case
/// the clock steps back a little: a challenge that is fresh again must still be
/// known as spent.
pub(super) const ANSWER_GRACE_SECONDS: Seconds = 600;
/// Join tokens stay for a month after their end, so that whoever comes late
/// learns that it expired rather than that it never was.
const TOKEN_GRACE_SECONDS: Seconds = 30 * 86_400;

/// The time by which things have ended, and the up-time when it was looked at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Mark {
    at: Seconds,
    up: UpSeconds,
}

impl Mark {
    /// Goes towards `now`, either way, as far as the up-time since explains.
    fn follow(self, now: Seconds, up: UpSeconds) -> Self {
        let reach = up.saturating_sub(self.up).max(0).saturating_mul(SWEEP_PACE);
        let at = match self.at {
            0 => now,
            at => now.clamp(at.saturating_sub(reach), at.saturating_add(reach)),
        };
        Self { at, up }
    }

    async fn read(conn: &mut SqliteConnection) -> Result<(Self, UpSeconds), StoreError> {
        let row = sqlx::query(
            "SELECT sweep_mark.at, sweep_mark.up, uptime.seconds FROM sweep_mark, uptime",
        )
        .fetch_one(conn)
        .await?;
        let mark = Self {
            at: row.try_get("at")?,
            up: row.try_get("up")?,
        };
        Ok((mark, row.try_get("seconds")?))
    }
}

/// What ended before this time has ended, whatever the clock says; never later
/// than `now`.
pub(super) async fn ended_by(
    conn: &mut SqliteConnection,
    now: Seconds,
) -> Result<Seconds, StoreError> {
    let (mark, up) = Mark::read(conn).await?;
    Ok(mark.follow(now, up).at.min(now))
}

pub(super) async fn sweep(conn: &mut SqliteConnection, now: Seconds) -> Result<Swept, StoreError> {
    let (mark, up) = Mark::read(conn).await?;
    let mark = mark.follow(now, up);
    sqlx::query("UPDATE sweep_mark SET at = ?, up = ?")
        .bind(mark.at)
        .bind(mark.up)
        .execute(&mut *conn)
        .await?;
    let ended = mark.at.min(now);
    let mut rows = certificates::sweep(conn, ended).await?;
    // By up-time besides, which is exact for what lives for minutes.
    let answers = sqlx::query("DELETE FROM answers WHERE expires < ? AND until_up < ?")
        .bind(now.saturating_sub(ANSWER_GRACE_SECONDS))
        .bind(up)
        .execute(&mut *conn)
        .await?;
    rows += answers.rows_affected();
    let tokens = sqlx::query("DELETE FROM join_tokens WHERE expires < ?")
        .bind(ended.saturating_sub(TOKEN_GRACE_SECONDS))
        .execute(&mut *conn)
        .await?;
    rows += tokens.rows_affected();
    let waiting =
        sqlx::query("DELETE FROM pending_gateways WHERE state = 'waiting' AND expires <= ?")
            .bind(ended)
            .execute(&mut *conn)
            .await?;
    rows += waiting.rows_affected();
    // A gateway may send another log of 1 MiB with every attestation: only the
    // last one of each is kept, and the last that it was affirmed with, or one
    // gateway could fill the disk (A21). Golden logs are as many as the owner
    // makes.
    let logs = sqlx::query(
        "DELETE FROM boot_logs WHERE NOT EXISTS \
         (SELECT 1 FROM gateways WHERE gateways.boot_log_sha256 = boot_logs.sha256) \
         AND NOT EXISTS \
         (SELECT 1 FROM last_quotes WHERE last_quotes.boot_log_sha256 = boot_logs.sha256) \
         AND NOT EXISTS \
         (SELECT 1 FROM reference_values WHERE golden_boot_log = boot_logs.sha256)",
    )
    .execute(&mut *conn)
    .await?;
    rows += logs.rows_affected();
    Ok(Swept { rows, ended })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_mark_follows_the_clock_as_far_as_up_time_explains() {
        const NOW: Seconds = 1_800_000_000;
        const YEAR: Seconds = 365 * 86_400;
        let none = Mark { at: 0, up: 7 };
        let mark = none.follow(NOW, 10);
        assert_eq!(mark, Mark { at: NOW, up: 10 });
        // As it should be.
        assert_eq!(mark.follow(NOW + 60, 65).at, NOW + 60);
        // A clock that is wrong, for an hour: either way, and back.
        let ahead = mark.follow(NOW + YEAR, 3610);
        assert_eq!(ahead.at, NOW + SWEEP_PACE * 3600);
        assert_eq!(ahead.follow(NOW + 3600, 7210).at, NOW + 3600);
        let behind = mark.follow(1, 3610);
        assert_eq!(behind.at, NOW - SWEEP_PACE * 3600);
        assert_eq!(behind.follow(NOW + 7200, 10_810).at, NOW + 7200);
        // At once nothing, and up-time that fell (a backup) explains nothing.
        assert_eq!(mark.follow(NOW + YEAR, 10).at, NOW);
        assert_eq!(mark.follow(NOW + YEAR, 3).at, NOW);
        // Off for a month: it catches up within days.
        let month = 30 * 86_400;
        let days = month / (SWEEP_PACE - 1) + 1;
        let mark = mark.follow(NOW + month + days, 10 + days);
        assert_eq!(mark.at, NOW + month + days);
        // No end of the number line is beyond it.
        let far = Mark {
            at: i64::MAX,
            up: 0,
        };
        assert_eq!(far.follow(i64::MIN, i64::MAX).at, 0);
    }
}
