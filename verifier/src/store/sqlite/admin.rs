//! What the owner changes: anchors, join tokens, the state of gateways; and the
//! audit log.

use holdfast_proto::binding::Ueid;
use serde_json::json;
use sqlx::{Row, SqliteConnection};

use super::{
    admissions::expect_not_denied,
    audit::append,
    events::tell,
    heartbeats,
    revocations::{restate_reason, revoke_certificates},
    rows,
};
use crate::identity::RevocationReason;
use crate::store::{
    Anchor, AuditEntry, Blocked, EventKind, GatewayRecord, Imported, JoinToken, Lifecycle, Seconds,
    StoreError, SuspensionKind,
};

/// One line of the audit log, to be written.
pub(super) struct AuditWrite<'a> {
    pub(super) at: Seconds,
    pub(super) actor: &'a str,
    pub(super) action: &'a str,
    pub(super) subject: &'a str,
    pub(super) detail: &'a str,
}

pub(super) async fn audit(
    conn: &mut SqliteConnection,
    entry: AuditWrite<'_>,
) -> Result<(), StoreError> {
    let entry = AuditEntry {
        at: entry.at,
        actor: entry.actor.to_owned(),
        action: entry.action.to_owned(),
        subject: entry.subject.to_owned(),
        detail: entry.detail.to_owned(),
    };
    append(conn, &entry).await
}

pub(super) async fn audit_entries(
    conn: &mut SqliteConnection,
    limit: u32,
) -> Result<Vec<AuditEntry>, StoreError> {
    let rows = sqlx::query("SELECT * FROM audit ORDER BY id DESC LIMIT ?")
        .bind(limit)
        .fetch_all(conn)
        .await?;
    rows.iter()
        .map(|row| {
            Ok(AuditEntry {
                at: row.try_get("at")?,
                actor: row.try_get("actor")?,
                action: row.try_get("action")?,
                subject: row.try_get("subject")?,
                detail: row.try_get("detail")?,
            })
        })
        .collect()
}

pub(super) async fn anchors(conn: &mut SqliteConnection) -> Result<Vec<Anchor>, StoreError> {
    let rows = sqlx::query("SELECT * FROM anchors ORDER BY subject, sha256")
        .fetch_all(conn)
        .await?;
    rows.iter()
        .map(|row| {
            Ok(Anchor {
                sha256: rows::sha256(row, "anchors", "sha256")?,
                der: row.try_get("der")?,
                subject: row.try_get("subject")?,
                root: row.try_get("root")?,
                not_after: row.try_get("not_after")?,
            })
        })
        .collect()
}

pub(super) async fn import_anchors(
    conn: &mut SqliteConnection,
    anchors: Vec<Anchor>,
    by: &str,
    now: Seconds,
) -> Result<Imported, StoreError> {
    let mut imported = Imported::default();
    for anchor in anchors {
        let done = sqlx::query(
            "INSERT INTO anchors (sha256, der, subject, root, not_after, imported_at) \
             VALUES (?, ?, ?, ?, ?, ?) \
             ON CONFLICT (sha256) DO UPDATE SET root = 1 WHERE excluded.root = 1 AND root = 0",
        )
        .bind(anchor.sha256.as_slice())
        .bind(anchor.der.as_slice())
        .bind(&anchor.subject)
        .bind(anchor.root)
        .bind(anchor.not_after)
        .bind(now)
        .execute(&mut *conn)
        .await?;
        if done.rows_affected() == 0 {
            imported.already_known += 1;
            continue;
        }
        if anchor.root {
            imported.roots += 1;
        } else {
            imported.intermediates += 1;
        }
        let entry = AuditWrite {
            at: now,
            actor: by,
            action: "endorsement-imported",
            subject: &hex::encode(anchor.sha256),
            detail: &anchor.subject,
        };
        audit(conn, entry).await?;
    }
    Ok(imported)
}

pub(super) async fn create_join_token(
    conn: &mut SqliteConnection,
    token: JoinToken,
    by: &str,
    now: Seconds,
) -> Result<(), StoreError> {
    let done = sqlx::query(
        "INSERT INTO join_tokens (secret_sha256, class, uses_left, expires, created_at) \
         VALUES (?, ?, ?, ?, ?) ON CONFLICT (secret_sha256) DO NOTHING",
    )
    .bind(token.secret_sha256.as_slice())
    .bind(&token.class)
    .bind(token.uses_left)
    .bind(token.expires)
    .bind(now)
    .execute(&mut *conn)
    .await?;
    if done.rows_affected() == 0 {
        return Err(StoreError::JoinTokenExists);
    }
    let entry = AuditWrite {
        at: now,
        actor: by,
        action: "token-created",
        subject: &hex::encode(token.secret_sha256),
        detail: &format!(
            "class {}, {} uses, expires {}",
            token.class, token.uses_left, token.expires
        ),
    };
    audit(conn, entry).await
}

pub(super) async fn suspend(
    conn: &mut SqliteConnection,
    id: &Ueid,
    kind: SuspensionKind,
    reason: &str,
    by: &str,
    now: Seconds,
) -> Result<(), StoreError> {
    let gateway = not_revoked(conn, id).await?;
    set_suspended(conn, &gateway, kind, reason, now).await?;
    let reason_code = RevocationReason::PrivilegeWithdrawn;
    revoke_certificates(conn, id, (kind.as_str(), reason_code), now).await?;
    let entry = AuditWrite {
        at: now,
        actor: by,
        action: "suspended",
        subject: &id.to_string(),
        detail: &format!("{kind}: {reason}"),
    };
    audit(conn, entry).await
}

pub(super) async fn resume(
    conn: &mut SqliteConnection,
    id: &Ueid,
    reason: &str,
    by: &str,
    now: Seconds,
) -> Result<(), StoreError> {
    let gateway = not_revoked(conn, id).await?;
    expect_not_denied(conn, id).await?;
    set_state(conn, id, Lifecycle::Active, "").await?;
    // Of one that was active already there is nothing to tell.
    if gateway.lifecycle != Lifecycle::Active {
        tell(
            conn,
            id,
            EventKind::Resumed,
            json!({ "reason": reason }),
            now,
        )
        .await?;
    }
    let entry = AuditWrite {
        at: now,
        actor: by,
        action: "resumed",
        subject: &id.to_string(),
        detail: reason,
    };
    audit(conn, entry).await
}

pub(super) async fn reset_clock(
    conn: &mut SqliteConnection,
    id: &Ueid,
    reason: &str,
    by: &str,
    now: Seconds,
) -> Result<(), StoreError> {
    let before = not_revoked(conn, id).await?.tpm.clock;
    sqlx::query("UPDATE gateways SET clock = 0, reset_count = 0, restart_count = 0 WHERE id = ?")
        .bind(id.as_bytes().as_slice())
        .execute(&mut *conn)
        .await?;
    // An LDevID of before could attest with an older state of the same TPM.
    let superseded = ("clock-reset", RevocationReason::Superseded);
    revoke_certificates(conn, id, superseded, now).await?;
    let entry = AuditWrite {
        at: now,
        actor: by,
        action: "clock-reset",
        subject: &id.to_string(),
        detail: &format!(
            "was seen at {} ms after reset {}: {reason}",
            before.clock, before.reset_count
        ),
    };
    audit(conn, entry).await
}

pub(super) async fn revoke(
    conn: &mut SqliteConnection,
    id: &Ueid,
    code: RevocationReason,
    reason: &str,
    by: &str,
    now: Seconds,
) -> Result<(), StoreError> {
    not_revoked(conn, id).await?;
    set_state(conn, id, Lifecycle::Revoked, reason).await?;
    sqlx::query("UPDATE gateways SET reason_code = ? WHERE id = ?")
        .bind(code.code())
        .bind(id.as_bytes().as_slice())
        .execute(&mut *conn)
        .await?;
    if code != RevocationReason::Unspecified {
        restate_reason(conn, id, code, now).await?;
    }
    revoke_certificates(conn, id, ("operator", code), now).await?;
    let detail = json!({ "reason_code": code.name(), "reason": reason });
    tell(conn, id, EventKind::Revoked, detail, now).await?;
    let entry = AuditWrite {
        at: now,
        actor: by,
        action: "revoked",
        subject: &id.to_string(),
        detail: &format!("{code}: {reason}"),
    };
    audit(conn, entry).await
}

/// Suspends and tells it, unless the gateway is suspended for something graver.
pub(super) async fn set_suspended(
    conn: &mut SqliteConnection,
    gateway: &GatewayRecord,
    kind: SuspensionKind,
    reason: &str,
    now: Seconds,
) -> Result<(), StoreError> {
    match gateway.lifecycle {
        Lifecycle::Suspended(graver) if graver > kind => return Ok(()),
        _ => set_state(conn, &gateway.id, Lifecycle::Suspended(kind), reason).await?,
    }
    let detail = json!({ "cause": kind.as_str(), "reason": reason });
    tell(conn, &gateway.id, EventKind::Suspended, detail, now).await
}

async fn not_revoked(conn: &mut SqliteConnection, id: &Ueid) -> Result<GatewayRecord, StoreError> {
    let gateway = rows::known_gateway(conn, id).await?;
    if gateway.lifecycle == Lifecycle::Revoked {
        return Err(StoreError::Blocked {
            id: *id,
            blocked: Blocked::Revoked,
        });
    }
    Ok(gateway)
}

async fn set_state(
    conn: &mut SqliteConnection,
    id: &Ueid,
    state: Lifecycle,
    reason: &str,
) -> Result<(), StoreError> {
    let kind = match state {
        Lifecycle::Active => None,
        Lifecycle::Suspended(kind) => Some(kind),
        Lifecycle::Revoked => Some(SuspensionKind::Operator),
    };
    // One that is made active begins a new interval: else what was silent would
    // be suspended again at once.
    sqlx::query(
        "UPDATE gateways SET state = ?1, state_kind = ?2, state_reason = ?3, \
         attested_up = CASE ?1 WHEN 'active' THEN (SELECT seconds FROM uptime) \
           ELSE attested_up END WHERE id = ?4",
    )
    .bind(state.name())
    .bind(kind.map(SuspensionKind::as_str))
    .bind(reason)
    .bind(id.as_bytes().as_slice())
    .execute(&mut *conn)
    .await?;
    if state != Lifecycle::Active {
        heartbeats::end(conn, id).await?;
    }
    Ok(())
}
