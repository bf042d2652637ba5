//! Rows of `gateway_eks`.

use async_trait::async_trait;
use holdfast_proto::binding::Ueid;
use sqlx::{Row, SqliteConnection, sqlite::SqliteRow};

use super::{
    SqliteStore,
    admin::{AuditWrite, audit},
    admissions::{expect_not_denied, remove_pending},
    rows,
    writes::json,
};
use crate::{
    endorsement::EkFacts,
    store::{EkRecord, Eks, Enrolled, OwnedKey, Seconds, Sha256, StoreError},
};

const T: &str = "gateway_eks";
/// Most EKs on one record, of which none is ever removed. On the IAK road nobody
/// vouches for them, and a device could show new ones for ever.
const MAX_ON_RECORD: i64 = 16;

#[async_trait]
impl Eks for SqliteStore {
    async fn owner_of_ek(&self, spki_sha256: &Sha256) -> Result<Option<Ueid>, StoreError> {
        owner(&mut *self.readers.acquire().await?, spki_sha256).await
    }
}

/// Whose record has this EK, whatever became of that gateway.
pub(super) async fn owner(
    conn: &mut SqliteConnection,
    spki_sha256: &Sha256,
) -> Result<Option<Ueid>, StoreError> {
    let row = sqlx::query("SELECT gateway FROM gateway_eks WHERE spki_sha256 = ?")
        .bind(spki_sha256.as_slice())
        .fetch_optional(conn)
        .await?;
    row.map(|row| rows::ueid(&row, T, "gateway")).transpose()
}

/// No EK that was shown is denied as a gateway of its own, nor on the record of
/// another gateway.
///
/// # Errors
/// [`StoreError::PendingDenied`], [`StoreError::KeyOfAnother`].
pub(super) async fn expect_own(
    conn: &mut SqliteConnection,
    enrolled: &Enrolled,
) -> Result<(), StoreError> {
    for ek in shown(enrolled) {
        expect_not_denied(conn, &Ueid::from_digest(&ek.spki_sha256)).await?;
        expect_not_of_another(conn, &enrolled.id, &ek.spki_sha256).await?;
    }
    Ok(())
}

async fn expect_not_of_another(
    conn: &mut SqliteConnection,
    id: &Ueid,
    spki_sha256: &Sha256,
) -> Result<(), StoreError> {
    match owner(conn, spki_sha256).await? {
        Some(owner) if owner != *id => Err(StoreError::KeyOfAnother {
            key: OwnedKey::Ek,
            owner,
        }),
        _ => Ok(()),
    }
}

/// Puts every EK that was shown on the gateway's record, and tells of those that
/// are new on it. None of them waits any more as a gateway of its own.
///
/// # Errors
/// [`StoreError::KeyOfAnother`], [`StoreError::TooManyEks`].
pub(super) async fn write(
    conn: &mut SqliteConnection,
    enrolled: &Enrolled,
    now: Seconds,
) -> Result<(), StoreError> {
    for ek in shown(enrolled) {
        remove_pending(conn, &Ueid::from_digest(&ek.spki_sha256)).await?;
        let is_new = owner(conn, &ek.spki_sha256).await?.is_none();
        if is_new {
            expect_room(conn, &enrolled.id).await?;
        }
        let done = sqlx::query(
            "INSERT INTO gateway_eks \
               (spki_sha256, gateway, public, chain_sha256, facts, first_shown, last_shown) \
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?6) \
             ON CONFLICT (spki_sha256) DO UPDATE SET public = excluded.public, \
               chain_sha256 = excluded.chain_sha256, facts = excluded.facts, \
               last_shown = excluded.last_shown \
             WHERE gateway = excluded.gateway",
        )
        .bind(ek.spki_sha256.as_slice())
        .bind(enrolled.id.as_bytes().as_slice())
        .bind(ek.public.as_slice())
        .bind(ek.chain_sha256.as_slice())
        .bind(json(&ek.tpm))
        .bind(now)
        .execute(&mut *conn)
        .await?;
        if done.rows_affected() == 0 {
            expect_not_of_another(conn, &enrolled.id, &ek.spki_sha256).await?;
        }
        // The gateway's id says its own.
        if is_new && Ueid::from_digest(&ek.spki_sha256) != enrolled.id {
            let entry = AuditWrite {
                at: now,
                actor: "gateway",
                action: "ek-added",
                subject: &enrolled.id.to_string(),
                detail: &format!(
                    "EK {} {}, known by {}",
                    ek.tpm.ek_template,
                    hex::encode(ek.spki_sha256),
                    ek.tpm.known_by.name()
                ),
            };
            audit(conn, entry).await?;
        }
    }
    Ok(())
}

async fn expect_room(conn: &mut SqliteConnection, id: &Ueid) -> Result<(), StoreError> {
    let on_record: i64 = sqlx::query_scalar("SELECT count(*) FROM gateway_eks WHERE gateway = ?")
        .bind(id.as_bytes().as_slice())
        .fetch_one(conn)
        .await?;
    if on_record < MAX_ON_RECORD {
        return Ok(());
    }
    Err(StoreError::TooManyEks { id: *id })
}

/// Every EK on a gateway's record: the first that it showed comes first.
pub(super) async fn of_gateway(
    conn: &mut SqliteConnection,
    id: &Ueid,
) -> Result<Vec<EkRecord>, StoreError> {
    let rows =
        sqlx::query("SELECT * FROM gateway_eks WHERE gateway = ? ORDER BY first_shown, rowid")
            .bind(id.as_bytes().as_slice())
            .fetch_all(conn)
            .await?;
    rows.iter().map(record).collect()
}

/// What an enrolment shows: the first EK, then the further ones.
fn shown(enrolled: &Enrolled) -> Vec<EkFacts> {
    let first = EkFacts {
        spki_sha256: enrolled.tpm.ek_spki_sha256,
        public: enrolled.tpm.ek_public.clone(),
        chain_sha256: enrolled.tpm.ek_chain_sha256,
        tpm: enrolled.tpm.facts.clone(),
    };
    let further = enrolled.further_eks.iter().cloned();
    std::iter::once(first).chain(further).collect()
}

fn record(row: &SqliteRow) -> Result<EkRecord, StoreError> {
    let facts: String = row.try_get("facts")?;
    Ok(EkRecord {
        ek: EkFacts {
            spki_sha256: rows::sha256(row, T, "spki_sha256")?,
            public: row.try_get("public")?,
            chain_sha256: rows::sha256(row, T, "chain_sha256")?,
            tpm: serde_json::from_str(&facts).map_err(|_| rows::corrupt(T, "facts"))?,
        },
        first_shown: row.try_get("first_shown")?,
        last_shown: row.try_get("last_shown")?,
    })
}
