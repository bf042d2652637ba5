//! Admissions: named devices, those that wait, replacements.

use async_trait::async_trait;
use holdfast_proto::binding::Ueid;
use sqlx::{Row, SqliteConnection, sqlite::SqliteRow};

use super::{
    SqliteStore,
    admin::{self, AuditWrite, audit},
    eks, rows, sweep,
};
use crate::{
    identity::RevocationReason,
    store::{
        Admissions, AdmittedDevice, Denied, DeviceName, GatewayRecord, Lifecycle, NewPending,
        PendingBounds, PendingGateway, Replacement, Seconds, StoreError, SuspensionKind,
    },
};

const DEVICES: &str = "admitted_devices";
const PENDING: &str = "pending_gateways";

#[async_trait]
impl Admissions for SqliteStore {
    async fn admitted_device(
        &self,
        name: &DeviceName,
    ) -> Result<Option<AdmittedDevice>, StoreError> {
        admitted(&mut *self.readers.acquire().await?, name).await
    }

    async fn admitted_devices(
        &self,
        after: u64,
        limit: u32,
    ) -> Result<Vec<AdmittedDevice>, StoreError> {
        let rows =
            sqlx::query("SELECT * FROM admitted_devices WHERE number > ? ORDER BY number LIMIT ?")
                .bind(i64::try_from(after).unwrap_or(i64::MAX))
                .bind(limit)
                .fetch_all(&mut *self.readers.acquire().await?)
                .await?;
        rows.iter().map(device).collect()
    }

    async fn admit_device(
        &self,
        name: &DeviceName,
        class: &str,
        note: &str,
        by: &str,
        now: Seconds,
    ) -> Result<AdmittedDevice, StoreError> {
        let mut tx = self.begin().await?;
        expect_not_denied(&mut tx, &name.gateway()).await?;
        let device = admit(&mut tx, name, class, note, by, now).await?;
        tx.commit().await?;
        Ok(device)
    }

    async fn remove_device(
        &self,
        name: &DeviceName,
        by: &str,
        now: Seconds,
    ) -> Result<(), StoreError> {
        let mut tx = self.begin().await?;
        let done = sqlx::query("DELETE FROM admitted_devices WHERE kind = ? AND value = ?")
            .bind(name.kind())
            .bind(name.value())
            .execute(&mut *tx)
            .await?;
        if done.rows_affected() == 0 {
            return Err(StoreError::UnknownDevice { name: *name });
        }
        write(
            &mut tx,
            by,
            "device-removed",
            &name.value(),
            name.kind(),
            now,
        )
        .await?;
        tx.commit().await?;
        Ok(())
    }

    async fn note_pending(
        &self,
        pending: NewPending,
        bounds: PendingBounds,
        now: Seconds,
    ) -> Result<(), StoreError> {
        let mut tx = self.begin().await?;
        note(&mut tx, pending, bounds, now).await?;
        tx.commit().await?;
        Ok(())
    }

    async fn pending_gateway(
        &self,
        id: &Ueid,
        now: Seconds,
    ) -> Result<Option<PendingGateway>, StoreError> {
        one_pending(&mut *self.readers.acquire().await?, id, now).await
    }

    async fn pending_gateways(
        &self,
        after: u64,
        limit: u32,
        now: Seconds,
    ) -> Result<Vec<PendingGateway>, StoreError> {
        let rows = sqlx::query(
            "SELECT * FROM pending_gateways WHERE number > ? AND (state = 'denied' OR expires > ?) \
             ORDER BY number LIMIT ?",
        )
        .bind(i64::try_from(after).unwrap_or(i64::MAX))
        .bind(now)
        .bind(limit)
        .fetch_all(&mut *self.readers.acquire().await?)
        .await?;
        rows.iter().map(pending).collect()
    }

    async fn approve_pending(
        &self,
        id: &Ueid,
        class: &str,
        by: &str,
        now: Seconds,
    ) -> Result<AdmittedDevice, StoreError> {
        let mut tx = self.begin().await?;
        known_pending(&mut tx, id, now).await?;
        remove_pending(&mut tx, id).await?;
        let name = DeviceName::of_gateway(id);
        let device = admit(&mut tx, &name, class, "approved", by, now).await?;
        tx.commit().await?;
        Ok(device)
    }

    async fn deny_pending(
        &self,
        id: &Ueid,
        reason: &str,
        by: &str,
        now: Seconds,
    ) -> Result<Denied, StoreError> {
        let mut tx = self.begin().await?;
        let denied = deny(&mut tx, id, reason, by, now).await?;
        self.commit_change(tx).await?;
        Ok(denied)
    }

    async fn forget_pending(&self, id: &Ueid, by: &str, now: Seconds) -> Result<(), StoreError> {
        let mut tx = self.begin().await?;
        known_pending(&mut tx, id, now).await?;
        remove_pending(&mut tx, id).await?;
        write(&mut tx, by, "admission-forgotten", &id.to_string(), "", now).await?;
        tx.commit().await?;
        Ok(())
    }

    async fn replace_gateway(
        &self,
        old: &Ueid,
        new: &Ueid,
        reason: &str,
        by: &str,
        now: Seconds,
    ) -> Result<Replacement, StoreError> {
        let mut tx = self.begin().await?;
        let replacement = replace(&mut tx, old, new, reason, by, now).await?;
        self.commit_change(tx).await?;
        Ok(replacement)
    }

    async fn replacements(&self, id: &Ueid) -> Result<Vec<Replacement>, StoreError> {
        let rows = sqlx::query("SELECT * FROM replacements WHERE old = ?1 OR new = ?1")
            .bind(id.as_bytes().as_slice())
            .fetch_all(&mut *self.readers.acquire().await?)
            .await?;
        rows.iter().map(replacement).collect()
    }
}

/// The device of this name, if it is admitted.
pub(super) async fn admitted(
    conn: &mut SqliteConnection,
    name: &DeviceName,
) -> Result<Option<AdmittedDevice>, StoreError> {
    let row = sqlx::query("SELECT * FROM admitted_devices WHERE kind = ? AND value = ?")
        .bind(name.kind())
        .bind(name.value())
        .fetch_optional(conn)
        .await?;
    row.as_ref().map(device).transpose()
}

async fn admit(
    conn: &mut SqliteConnection,
    name: &DeviceName,
    class: &str,
    note: &str,
    by: &str,
    now: Seconds,
) -> Result<AdmittedDevice, StoreError> {
    let done = sqlx::query(
        "INSERT INTO admitted_devices (kind, value, class, note, added_at, added_by) \
         VALUES (?, ?, ?, ?, ?, ?) ON CONFLICT (kind, value) DO NOTHING",
    )
    .bind(name.kind())
    .bind(name.value())
    .bind(class)
    .bind(note)
    .bind(now)
    .bind(by)
    .execute(&mut *conn)
    .await?;
    if done.rows_affected() == 0 {
        return Err(StoreError::DeviceExists { name: *name });
    }
    let detail = format!("{}, class {class}: {note}", name.kind());
    write(conn, by, "device-admitted", &name.value(), &detail, now).await?;
    admitted(conn, name)
        .await?
        .ok_or_else(|| rows::corrupt(DEVICES, "value"))
}

async fn note(
    conn: &mut SqliteConnection,
    new: NewPending,
    bounds: PendingBounds,
    now: Seconds,
) -> Result<(), StoreError> {
    // By the time that is certain: a clock that is wrong empties no queue.
    sqlx::query("DELETE FROM pending_gateways WHERE state = 'waiting' AND expires <= ?")
        .bind(sweep::ended_by(conn, now).await?)
        .execute(&mut *conn)
        .await?;
    let before = one_pending(conn, &new.id, now).await?;
    if before.as_ref().is_some_and(|pending| pending.denied) {
        return Err(StoreError::PendingDenied { id: new.id });
    }
    let full_address = waiting_at(conn, &new.address).await? >= i64::from(bounds.per_address);
    let address = match &before {
        // Whoever waits is never pushed out by one who comes later.
        None => {
            let all: i64 =
                sqlx::query_scalar("SELECT COUNT(*) FROM pending_gateways WHERE state = 'waiting'")
                    .fetch_one(&mut *conn)
                    .await?;
            if full_address || all >= i64::from(bounds.all) {
                return Err(StoreError::PendingFull);
            }
            &new.address
        }
        // One that calls from elsewhere counts there, where there is a place:
        // else one address could fill its share again and again, and have its
        // rows moved to another.
        Some(before) if full_address => &before.address,
        Some(_) => &new.address,
    };
    sqlx::query(
        "INSERT INTO pending_gateways \
           (id, state, class, tpm, address, first_seen, last_seen, expires) \
         VALUES (?1, 'waiting', ?2, ?3, ?4, ?5, ?5, ?6) \
         ON CONFLICT (id) DO UPDATE SET class = excluded.class, tpm = excluded.tpm, \
           address = excluded.address, last_seen = excluded.last_seen, \
           expires = excluded.expires",
    )
    .bind(new.id.as_bytes().as_slice())
    .bind(&new.class)
    .bind(&new.tpm)
    .bind(address)
    .bind(now)
    .bind(new.expires)
    .execute(&mut *conn)
    .await?;
    if before.is_none() {
        let detail = format!("{}, from {}", new.tpm, new.address);
        write(
            conn,
            "gateway",
            "admission-asked",
            &new.id.to_string(),
            &detail,
            now,
        )
        .await?;
    }
    Ok(())
}

/// The gateway of this id; or the one whose record has the EK that this would be
/// the id of: it waited by that one, and came in by another.
async fn by_any_ek(
    conn: &mut SqliteConnection,
    id: &Ueid,
) -> Result<Option<GatewayRecord>, StoreError> {
    if let Some(gateway) = rows::gateway(conn, id).await? {
        return Ok(Some(gateway));
    }
    match eks::owner(conn, id.digest()).await? {
        None => Ok(None),
        Some(owner) => rows::gateway(conn, &owner).await,
    }
}

async fn deny(
    conn: &mut SqliteConnection,
    id: &Ueid,
    reason: &str,
    by: &str,
    now: Seconds,
) -> Result<Denied, StoreError> {
    let on_record = by_any_ek(conn, id).await?;
    match (&on_record, one_pending(conn, id, now).await?) {
        (_, Some(_)) => {}
        (None, None) => return Err(StoreError::UnknownPending { id: *id }),
        // It came in before the owner had looked at the queue.
        (Some(gateway), None) => {
            let facts = &gateway.tpm.facts;
            sqlx::query(
                "INSERT OR REPLACE INTO pending_gateways \
                   (id, state, class, tpm, address, first_seen, last_seen, expires) \
                 VALUES (?1, 'denied', ?2, ?3, '', ?4, ?4, ?4)",
            )
            .bind(id.as_bytes().as_slice())
            .bind(&gateway.class)
            .bind(format!("{} {}", facts.manufacturer, facts.model))
            .bind(now)
            .execute(&mut *conn)
            .await?;
        }
    }
    sqlx::query("UPDATE pending_gateways SET state = 'denied', reason = ? WHERE id = ?")
        .bind(reason)
        .bind(id.as_bytes().as_slice())
        .execute(&mut *conn)
        .await?;
    write(conn, by, "admission-denied", &id.to_string(), reason, now).await?;
    // One that is in is put out. Revocation is graver already.
    let out = on_record.filter(|gateway| gateway.lifecycle != Lifecycle::Revoked);
    let suspended = out.is_some();
    if let Some(GatewayRecord { id: out, .. }) = out {
        let why = match reason {
            "" => "denied".to_owned(),
            reason => format!("denied: {reason}"),
        };
        admin::suspend(conn, &out, SuspensionKind::Operator, &why, by, now).await?;
    }
    Ok(Denied {
        pending: known_pending(conn, id, now).await?,
        suspended,
    })
}

async fn replace(
    conn: &mut SqliteConnection,
    old: &Ueid,
    new: &Ueid,
    reason: &str,
    by: &str,
    now: Seconds,
) -> Result<Replacement, StoreError> {
    let not = |why| StoreError::NotAReplacement { new: *new, why };
    if old == new {
        return Err(not("it is the broken one"));
    }
    let broken = rows::known_gateway(conn, old).await?;
    if rows::gateway(conn, new).await?.is_some() {
        return Err(not("it is on record as a gateway of its own"));
    }
    // The broken one's too: a second EK of its TPM is not another machine.
    if eks::owner(conn, DeviceName::of_gateway(new).sha256())
        .await?
        .is_some()
    {
        return Err(not("it is an EK of a gateway on record"));
    }
    match expect_not_denied(conn, new).await {
        Err(StoreError::PendingDenied { .. }) => {
            return Err(not("it was denied: admission forget lifts that"));
        }
        looked => looked?,
    }
    let done = sqlx::query(
        "INSERT INTO replacements (old, new, replaced_at, replaced_by, reason) \
         VALUES (?, ?, ?, ?, ?) ON CONFLICT DO NOTHING",
    )
    .bind(old.as_bytes().as_slice())
    .bind(new.as_bytes().as_slice())
    .bind(now)
    .bind(by)
    .bind(reason)
    .execute(&mut *conn)
    .await?;
    if done.rows_affected() == 0 {
        return Err(not("one of the two is part of another replacement"));
    }
    if broken.lifecycle != Lifecycle::Revoked {
        let why = format!("replaced by {new}: {reason}");
        let code = RevocationReason::CessationOfOperation;
        admin::revoke(conn, old, code, &why, by, now).await?;
    }
    remove_pending(conn, new).await?;
    let name = DeviceName::of_gateway(new);
    sqlx::query("DELETE FROM admitted_devices WHERE kind = ? AND value = ?")
        .bind(name.kind())
        .bind(name.value())
        .execute(&mut *conn)
        .await?;
    admit(
        conn,
        &name,
        &broken.class,
        &format!("replaces {old}"),
        by,
        now,
    )
    .await?;
    let detail = format!("by {new}: {reason}");
    write(conn, by, "replaced", &old.to_string(), &detail, now).await?;
    Ok(Replacement {
        old: *old,
        new: *new,
        at: now,
        by: by.to_owned(),
        reason: reason.to_owned(),
    })
}

async fn waiting_at(conn: &mut SqliteConnection, address: &str) -> Result<i64, StoreError> {
    let count = sqlx::query_scalar(
        "SELECT COUNT(*) FROM pending_gateways WHERE state = 'waiting' AND address = ?",
    );
    Ok(count.bind(address).fetch_one(conn).await?)
}

async fn one_pending(
    conn: &mut SqliteConnection,
    id: &Ueid,
    now: Seconds,
) -> Result<Option<PendingGateway>, StoreError> {
    let row = sqlx::query(
        "SELECT * FROM pending_gateways WHERE id = ? AND (state = 'denied' OR expires > ?)",
    )
    .bind(id.as_bytes().as_slice())
    .bind(now)
    .fetch_optional(conn)
    .await?;
    row.as_ref().map(pending).transpose()
}

/// Whatever else admits it: the owner's denial wins until it is lifted.
///
/// # Errors
/// [`StoreError::PendingDenied`].
pub(super) async fn expect_not_denied(
    conn: &mut SqliteConnection,
    id: &Ueid,
) -> Result<(), StoreError> {
    let denied = sqlx::query("SELECT 1 FROM pending_gateways WHERE id = ? AND state = 'denied'")
        .bind(id.as_bytes().as_slice())
        .fetch_optional(conn)
        .await?;
    match denied {
        None => Ok(()),
        Some(_) => Err(StoreError::PendingDenied { id: *id }),
    }
}

async fn known_pending(
    conn: &mut SqliteConnection,
    id: &Ueid,
    now: Seconds,
) -> Result<PendingGateway, StoreError> {
    one_pending(conn, id, now)
        .await?
        .ok_or(StoreError::UnknownPending { id: *id })
}

/// It waits no more, nor is it denied.
pub(super) async fn remove_pending(
    conn: &mut SqliteConnection,
    id: &Ueid,
) -> Result<(), StoreError> {
    sqlx::query("DELETE FROM pending_gateways WHERE id = ?")
        .bind(id.as_bytes().as_slice())
        .execute(conn)
        .await?;
    Ok(())
}

async fn write(
    conn: &mut SqliteConnection,
    actor: &str,
    action: &str,
    subject: &str,
    detail: &str,
    at: Seconds,
) -> Result<(), StoreError> {
    let entry = AuditWrite {
        at,
        actor,
        action,
        subject,
        detail,
    };
    audit(conn, entry).await
}

fn device(row: &SqliteRow) -> Result<AdmittedDevice, StoreError> {
    let (kind, value): (String, String) = (row.try_get("kind")?, row.try_get("value")?);
    Ok(AdmittedDevice {
        number: row.try_get::<i64, _>("number")?.unsigned_abs(),
        name: DeviceName::parse(&kind, &value).ok_or_else(|| rows::corrupt(DEVICES, "value"))?,
        class: row.try_get("class")?,
        note: row.try_get("note")?,
        added_at: row.try_get("added_at")?,
        added_by: row.try_get("added_by")?,
    })
}

fn pending(row: &SqliteRow) -> Result<PendingGateway, StoreError> {
    Ok(PendingGateway {
        number: row.try_get::<i64, _>("number")?.unsigned_abs(),
        id: rows::ueid(row, PENDING, "id")?,
        denied: row.try_get::<String, _>("state")? == "denied",
        class: row.try_get("class")?,
        tpm: row.try_get("tpm")?,
        address: row.try_get("address")?,
        first_seen: row.try_get("first_seen")?,
        last_seen: row.try_get("last_seen")?,
        expires: row.try_get("expires")?,
        reason: row.try_get("reason")?,
    })
}

fn replacement(row: &SqliteRow) -> Result<Replacement, StoreError> {
    Ok(Replacement {
        old: rows::ueid(row, "replacements", "old")?,
        new: rows::ueid(row, "replacements", "new")?,
        at: row.try_get("replaced_at")?,
        by: row.try_get("replaced_by")?,
        reason: row.try_get("reason")?,
    })
}
