//! OEMs in SQLite.

use async_trait::async_trait;
use holdfast_proto::binding::Ueid;
use sqlx::{Row, SqliteConnection, sqlite::SqliteRow};

use super::{
    SqliteStore,
    admin::{self, AuditWrite, audit},
    rows,
};
use crate::{
    endorsement::{DevidFacts, TpmFacts},
    store::{
        AllowedSerial, Anchor, Imported, OemAnchor, OemWithdrawn, Oems, OfWithdrawn, OwnedKey,
        Seconds, Sha256, StoreError, SuspensionKind, WithdrawnCa,
    },
};

#[async_trait]
impl Oems for SqliteStore {
    async fn oem_anchors(&self) -> Result<Vec<OemAnchor>, StoreError> {
        let rows = sqlx::query("SELECT * FROM oem_anchors ORDER BY oem, subject, sha256")
            .fetch_all(&mut *self.readers.acquire().await?)
            .await?;
        rows.iter()
            .map(|row| {
                Ok(OemAnchor {
                    oem: row.try_get("oem")?,
                    anchor: Anchor {
                        sha256: rows::sha256(row, "oem_anchors", "sha256")?,
                        der: row.try_get("der")?,
                        subject: row.try_get("subject")?,
                        root: row.try_get("root")?,
                        not_after: row.try_get("not_after")?,
                    },
                })
            })
            .collect()
    }

    async fn import_oem_anchors(
        &self,
        oem: &str,
        anchors: Vec<(Anchor, Sha256)>,
        of_withdrawn: OfWithdrawn,
        by: &str,
        now: Seconds,
    ) -> Result<Imported, StoreError> {
        let mut tx = self.begin().await?;
        let mut imported = Imported::default();
        for (anchor, key_sha256) in anchors {
            let done = sqlx::query(
                "INSERT INTO oem_anchors (oem, sha256, der, subject, root, not_after, imported_at) \
                 VALUES (?, ?, ?, ?, ?, ?, ?) ON CONFLICT (oem, sha256) DO NOTHING",
            )
            .bind(oem)
            .bind(anchor.sha256.as_slice())
            .bind(anchor.der.as_slice())
            .bind(&anchor.subject)
            .bind(anchor.root)
            .bind(anchor.not_after)
            .bind(now)
            .execute(&mut *tx)
            .await?;
            if let Some(withdrawn) = withdrawn_key(&mut tx, &key_sha256).await? {
                if of_withdrawn == OfWithdrawn::Refuse {
                    return Err(StoreError::OemCaWithdrawn {
                        oem: withdrawn,
                        sha256: hex::encode(anchor.sha256),
                        subject: anchor.subject,
                    });
                }
                sqlx::query("DELETE FROM oem_withdrawn WHERE oem = ? AND key_sha256 = ?")
                    .bind(oem)
                    .bind(key_sha256.as_slice())
                    .execute(&mut *tx)
                    .await?;
                let entry = AuditWrite {
                    at: now,
                    actor: by,
                    action: "oem-trusted-again",
                    subject: oem,
                    detail: &format!("{}: {}", hex::encode(anchor.sha256), anchor.subject),
                };
                audit(&mut tx, entry).await?;
            }
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
                action: "oem-imported",
                subject: oem,
                detail: &format!("{}: {}", hex::encode(anchor.sha256), anchor.subject),
            };
            audit(&mut tx, entry).await?;
        }
        tx.commit().await?;
        Ok(imported)
    }

    async fn withdrawn_oem_cas(&self) -> Result<Vec<WithdrawnCa>, StoreError> {
        let rows = sqlx::query("SELECT * FROM oem_withdrawn ORDER BY oem, subject, sha256")
            .fetch_all(&mut *self.readers.acquire().await?)
            .await?;
        rows.iter()
            .map(|row| {
                Ok(WithdrawnCa {
                    oem: row.try_get("oem")?,
                    sha256: rows::sha256(row, "oem_withdrawn", "sha256")?,
                    key_sha256: rows::sha256(row, "oem_withdrawn", "key_sha256")?,
                    subject: row.try_get("subject")?,
                })
            })
            .collect()
    }

    async fn withdraw_oem_cas(
        &self,
        oem: &str,
        cas: Vec<WithdrawnCa>,
        reason: &str,
        by: &str,
        now: Seconds,
    ) -> Result<OemWithdrawn, StoreError> {
        let mut tx = self.begin().await?;
        let withdrawn = withdraw(&mut tx, oem, &cas, reason, by, now).await?;
        self.commit_change(tx).await?;
        Ok(withdrawn)
    }

    async fn allow_oem_serials(
        &self,
        oem: &str,
        serials: Vec<String>,
        class: &str,
        by: &str,
        now: Seconds,
    ) -> Result<u32, StoreError> {
        let mut tx = self.begin().await?;
        let mut changed = 0;
        for serial in serials {
            let done = sqlx::query(
                "INSERT INTO oem_serials (oem, serial, class, added_at) VALUES (?, ?, ?, ?) \
                 ON CONFLICT (oem, serial) DO UPDATE SET class = excluded.class, \
                   added_at = excluded.added_at WHERE class <> excluded.class",
            )
            .bind(oem)
            .bind(&serial)
            .bind(class)
            .bind(now)
            .execute(&mut *tx)
            .await?;
            if done.rows_affected() == 0 {
                continue;
            }
            changed += 1;
            let entry = AuditWrite {
                at: now,
                actor: by,
                action: "oem-serial-allowed",
                subject: oem,
                detail: &format!("{serial}, class {class}"),
            };
            audit(&mut tx, entry).await?;
        }
        tx.commit().await?;
        Ok(changed)
    }

    async fn remove_oem_serials(
        &self,
        oem: &str,
        serials: Vec<String>,
        by: &str,
        now: Seconds,
    ) -> Result<u32, StoreError> {
        let mut tx = self.begin().await?;
        let mut removed = 0;
        for serial in serials {
            let done = sqlx::query("DELETE FROM oem_serials WHERE oem = ? AND serial = ?")
                .bind(oem)
                .bind(&serial)
                .execute(&mut *tx)
                .await?;
            if done.rows_affected() == 0 {
                continue;
            }
            removed += 1;
            let entry = AuditWrite {
                at: now,
                actor: by,
                action: "oem-serial-removed",
                subject: oem,
                detail: &serial,
            };
            audit(&mut tx, entry).await?;
        }
        tx.commit().await?;
        Ok(removed)
    }

    async fn oem_serials(
        &self,
        after: Option<(&str, &str)>,
        limit: u32,
    ) -> Result<Vec<AllowedSerial>, StoreError> {
        let (oem, serial) = after.unwrap_or_default();
        let rows = sqlx::query(
            "SELECT * FROM oem_serials WHERE (oem, serial) > (?, ?) ORDER BY oem, serial LIMIT ?",
        )
        .bind(oem)
        .bind(serial)
        .bind(limit)
        .fetch_all(&mut *self.readers.acquire().await?)
        .await?;
        rows.iter().map(allowed).collect()
    }

    async fn allowed_serial(&self, serial: &str) -> Result<Vec<AllowedSerial>, StoreError> {
        let rows = sqlx::query("SELECT * FROM oem_serials WHERE serial = ? ORDER BY oem")
            .bind(serial)
            .fetch_all(&mut *self.readers.acquire().await?)
            .await?;
        rows.iter().map(allowed).collect()
    }
}

/// The OEM of which a CA with this key was withdrawn, if one was.
async fn withdrawn_key(
    conn: &mut SqliteConnection,
    key_sha256: &Sha256,
) -> Result<Option<String>, StoreError> {
    let row = sqlx::query("SELECT oem FROM oem_withdrawn WHERE key_sha256 = ? LIMIT 1")
        .bind(key_sha256.as_slice())
        .fetch_optional(conn)
        .await?;
    Ok(row.map(|row| row.try_get("oem")).transpose()?)
}

async fn withdraw(
    conn: &mut SqliteConnection,
    oem: &str,
    cas: &[WithdrawnCa],
    reason: &str,
    by: &str,
    now: Seconds,
) -> Result<OemWithdrawn, StoreError> {
    for ca in cas {
        sqlx::query("DELETE FROM oem_anchors WHERE oem = ? AND sha256 = ?")
            .bind(oem)
            .bind(ca.sha256.as_slice())
            .execute(&mut *conn)
            .await?;
        sqlx::query(
            "INSERT INTO oem_withdrawn (oem, sha256, key_sha256, subject, reason, withdrawn_at) \
             VALUES (?, ?, ?, ?, ?, ?) ON CONFLICT (oem, sha256) DO NOTHING",
        )
        .bind(oem)
        .bind(ca.sha256.as_slice())
        .bind(ca.key_sha256.as_slice())
        .bind(&ca.subject)
        .bind(reason)
        .bind(now)
        .execute(&mut *conn)
        .await?;
        let entry = AuditWrite {
            at: now,
            actor: by,
            action: "oem-withdrawn",
            subject: oem,
            detail: &format!("{}: {}: {reason}", hex::encode(ca.sha256), ca.subject),
        };
        audit(conn, entry).await?;
    }
    let roots: i64 =
        sqlx::query_scalar("SELECT count(*) FROM oem_anchors WHERE oem = ? AND root = 1")
            .bind(oem)
            .fetch_one(&mut *conn)
            .await?;
    let mut withdrawn = OemWithdrawn::default();
    if roots == 0 {
        let serials = sqlx::query("DELETE FROM oem_serials WHERE oem = ?")
            .bind(oem)
            .execute(&mut *conn)
            .await?;
        withdrawn.serials = serials.rows_affected();
    }
    let keys: Vec<String> = cas.iter().map(|ca| hex::encode(ca.key_sha256)).collect();
    let of_oem = sqlx::query(
        "SELECT gateways.id AS id, tpm_facts FROM gateways \
         JOIN gateway_idevids ON gateway_idevids.gateway = gateways.id \
         WHERE gateway_idevids.oem = ? AND state <> 'revoked'",
    )
    .bind(oem)
    .fetch_all(&mut *conn)
    .await?;
    let why = format!("OEM {oem} withdrawn: {reason}");
    for row in &of_oem {
        let id = rows::ueid(row, "gateways", "id")?;
        // What cannot be read is not excused.
        let facts: Option<TpmFacts> =
            serde_json::from_str(&row.try_get::<String, _>("tpm_facts")?).ok();
        let through = facts.and_then(|facts| facts.devid).is_none_or(|devid| {
            let mut path = devid.iak_path.iter().chain(&devid.idevid_path);
            devid.iak_path.is_empty()
                || devid.idevid_path.is_empty()
                || path.any(|certificate| keys.contains(&certificate.key_sha256))
        });
        if roots == 0 || through {
            admin::suspend(conn, &id, SuspensionKind::Operator, &why, by, now).await?;
            withdrawn.gateways.push(id);
        }
    }
    Ok(withdrawn)
}

fn allowed(row: &SqliteRow) -> Result<AllowedSerial, StoreError> {
    Ok(AllowedSerial {
        oem: row.try_get("oem")?,
        serial: row.try_get("serial")?,
        class: row.try_get("class")?,
        added_at: row.try_get("added_at")?,
    })
}

/// In the recording transaction: the product is on its OEM's list, for this
/// class.
pub(super) async fn still_allowed(
    conn: &mut SqliteConnection,
    (oem, serial): (&str, &str),
    class: &str,
) -> Result<(), StoreError> {
    let row = sqlx::query("SELECT 1 FROM oem_serials WHERE oem = ? AND serial = ? AND class = ?")
        .bind(oem)
        .bind(serial)
        .bind(class)
        .fetch_optional(conn)
        .await?;
    row.map(|_| ()).ok_or_else(|| StoreError::SerialNotAllowed {
        oem: oem.to_owned(),
    })
}

/// Binds a gateway to its IDevID, for good: the LDevID of a device does not
/// move to one with another IDevID, and no product is two gateways.
pub(super) async fn bind_idevid(
    conn: &mut SqliteConnection,
    gateway: &Ueid,
    devid: Option<&DevidFacts>,
    now: Seconds,
) -> Result<(), StoreError> {
    let bound = sqlx::query("SELECT * FROM gateway_idevids WHERE gateway = ?")
        .bind(gateway.as_bytes().as_slice())
        .fetch_optional(&mut *conn)
        .await?;
    let other = || StoreError::OtherIdevid { id: *gateway };
    let Some(devid) = devid else {
        return bound.map_or(Ok(()), |_| Err(other()));
    };
    if let Some(row) = bound {
        let column = |name| row.try_get::<String, _>(name);
        let same = column("spki_sha256")? == devid.idevid_spki_sha256
            && column("oem")? == devid.oem
            && column("serial")? == devid.serial;
        if !same {
            return Err(other());
        }
    }
    // Withdrawn since the certificates were looked at: in this transaction, for
    // the withdrawal suspends those that are on record alone.
    for certificate in devid.iak_path.iter().chain(&devid.idevid_path) {
        let withdrawn =
            sqlx::query("SELECT 1 FROM oem_withdrawn WHERE oem = ? AND lower(hex(key_sha256)) = ?")
                .bind(&devid.oem)
                .bind(&certificate.key_sha256)
                .fetch_optional(&mut *conn)
                .await?;
        if withdrawn.is_some() {
            return Err(StoreError::OemWithdrawn {
                oem: devid.oem.clone(),
            });
        }
    }
    belongs_to_nobody_else(conn, gateway, devid).await?;
    // A new certificate for the same key and product is the OEM's business.
    sqlx::query(
        "INSERT INTO gateway_idevids \
           (gateway, oem, serial, spki_sha256, certificate_sha256, recorded_at) \
         VALUES (?, ?, ?, ?, ?, ?) ON CONFLICT (gateway) DO UPDATE SET \
           certificate_sha256 = excluded.certificate_sha256",
    )
    .bind(gateway.as_bytes().as_slice())
    .bind(&devid.oem)
    .bind(&devid.serial)
    .bind(&devid.idevid_spki_sha256)
    .bind(&devid.idevid_certificate_sha256)
    .bind(now)
    .execute(conn)
    .await?;
    Ok(())
}

async fn belongs_to_nobody_else(
    conn: &mut SqliteConnection,
    gateway: &Ueid,
    devid: &DevidFacts,
) -> Result<(), StoreError> {
    const KEY: &str = "SELECT gateway FROM gateway_idevids WHERE spki_sha256 = ? AND gateway <> ?";
    const PRODUCT: &str =
        "SELECT gateway FROM gateway_idevids WHERE oem = ? AND serial = ? AND gateway <> ?";
    let id = gateway.as_bytes().as_slice();
    let by_key = sqlx::query(KEY).bind(&devid.idevid_spki_sha256).bind(id);
    let by_product = sqlx::query(PRODUCT)
        .bind(&devid.oem)
        .bind(&devid.serial)
        .bind(id);
    for (key, query) in [(OwnedKey::Idevid, by_key), (OwnedKey::Product, by_product)] {
        if let Some(row) = query.fetch_optional(&mut *conn).await? {
            let owner = rows::ueid(&row, "gateway_idevids", "gateway")?;
            return Err(StoreError::KeyOfAnother { key, owner });
        }
    }
    Ok(())
}
