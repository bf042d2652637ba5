//! Rows to records. A row that no version of this program wrote is an error
//! that names its column, never a panic or a guess.

use holdfast_proto::{
    binding::Ueid,
    tpm::{ClockInfo, Name},
};
use sqlx::{Row, SqliteConnection, sqlite::SqliteRow};

use super::eks;
use crate::{
    endorsement::EkLink,
    store::{
        CertificateRecord, GatewayKeys, GatewayPage, GatewayRecord, JoinToken, Lifecycle, Sha256,
        StoreError, SuspensionKind, TpmRecord,
    },
};

/// A `StoreError::Corrupt` for a column.
pub(super) fn corrupt(table: &'static str, column: &'static str) -> StoreError {
    StoreError::Corrupt { table, column }
}

pub(super) fn sha256(
    row: &SqliteRow,
    table: &'static str,
    column: &'static str,
) -> Result<Sha256, StoreError> {
    row.try_get::<Vec<u8>, _>(column)?
        .try_into()
        .map_err(|_| corrupt(table, column))
}

pub(super) fn unsigned(
    row: &SqliteRow,
    table: &'static str,
    column: &'static str,
) -> Result<u32, StoreError> {
    u32::try_from(row.try_get::<i64, _>(column)?).map_err(|_| corrupt(table, column))
}

pub(super) fn ueid(
    row: &SqliteRow,
    table: &'static str,
    column: &'static str,
) -> Result<Ueid, StoreError> {
    let bytes: Vec<u8> = row.try_get(column)?;
    Ueid::parse(&bytes).map_err(|_| corrupt(table, column))
}

fn name(row: &SqliteRow, column: &'static str) -> Result<Name, StoreError> {
    Name::parse(&row.try_get::<Vec<u8>, _>(column)?).map_err(|_| corrupt("gateways", column))
}

pub(super) async fn join_token(
    conn: &mut SqliteConnection,
    secret: &Sha256,
) -> Result<Option<JoinToken>, StoreError> {
    let row = sqlx::query("SELECT * FROM join_tokens WHERE secret_sha256 = ?")
        .bind(secret.as_slice())
        .fetch_optional(conn)
        .await?;
    row.map(|row| {
        Ok(JoinToken {
            secret_sha256: *secret,
            class: row.try_get("class")?,
            uses_left: unsigned(&row, "join_tokens", "uses_left")?,
            expires: row.try_get("expires")?,
        })
    })
    .transpose()
}

pub(super) async fn gateway(
    conn: &mut SqliteConnection,
    id: &Ueid,
) -> Result<Option<GatewayRecord>, StoreError> {
    let row = sqlx::query("SELECT * FROM gateways WHERE id = ?")
        .bind(id.as_bytes().as_slice())
        .fetch_optional(&mut *conn)
        .await?;
    match row {
        None => Ok(None),
        Some(row) => Ok(Some(gateway_of(conn, &row).await?)),
    }
}

/// As [`gateway`], where absence is an error.
pub(super) async fn known_gateway(
    conn: &mut SqliteConnection,
    id: &Ueid,
) -> Result<GatewayRecord, StoreError> {
    gateway(conn, id)
        .await?
        .ok_or(StoreError::UnknownGateway { id: *id })
}

pub(super) async fn gateways(
    conn: &mut SqliteConnection,
    after: Option<&Ueid>,
    limit: u32,
) -> Result<GatewayPage, StoreError> {
    let after = after.map(|id| id.as_bytes().to_vec()).unwrap_or_default();
    let rows = sqlx::query("SELECT * FROM gateways WHERE id > ? ORDER BY id LIMIT ?")
        .bind(after)
        .bind(limit)
        .fetch_all(&mut *conn)
        .await?;
    let full = u32::try_from(rows.len()) == Ok(limit);
    // After the last whose id can be read: one that cannot is met again there,
    // and ends nothing.
    let last = rows.iter().rev();
    let next = last
        .filter(|_| full)
        .find_map(|row| ueid(row, "gateways", "id").ok());
    let mut gateways = Vec::with_capacity(rows.len());
    for row in &rows {
        match gateway_of(conn, row).await {
            Ok(gateway) => gateways.push(gateway),
            Err(error @ StoreError::Corrupt { .. }) => {
                let id = row
                    .try_get::<Vec<u8>, _>("id")
                    .map(hex::encode)
                    .unwrap_or_default();
                tracing::error!(gateway = id, %error, "left out of a list");
            }
            Err(error) => return Err(error),
        }
    }
    Ok(GatewayPage { gateways, next })
}

async fn gateway_of(
    conn: &mut SqliteConnection,
    row: &SqliteRow,
) -> Result<GatewayRecord, StoreError> {
    const T: &str = "gateways";
    let id = ueid(row, T, "id")?;
    let reasons: String = row.try_get("last_reasons")?;
    let facts: String = row.try_get("tpm_facts")?;
    Ok(GatewayRecord {
        id,
        class: row.try_get("class")?,
        lifecycle: lifecycle(row)?,
        state_reason: row.try_get("state_reason")?,
        keys: GatewayKeys {
            ak_public: row.try_get("ak_public")?,
            ak_name: name(row, "ak_name")?,
            ak_qualified_name: row.try_get("ak_qualified_name")?,
            ldevid_public: row.try_get("ldevid_public")?,
            ldevid_name: name(row, "ldevid_name")?,
        },
        tpm: TpmRecord {
            ek_public: row.try_get("ek_public")?,
            ek_link: match row.try_get("ek_certified")? {
                true => EkLink::Certification,
                false => EkLink::Activation,
            },
            ek_spki_sha256: sha256(row, T, "ek_spki_sha256")?,
            ek_chain_sha256: sha256(row, T, "ek_chain_sha256")?,
            facts: serde_json::from_str(&facts).map_err(|_| corrupt(T, "tpm_facts"))?,
            clock: ClockInfo {
                clock: row.try_get::<i64, _>("clock")?.cast_unsigned(),
                reset_count: unsigned(row, T, "reset_count")?,
                restart_count: unsigned(row, T, "restart_count")?,
                safe: row.try_get("clock_safe")?,
            },
            firmware_version: row.try_get::<i64, _>("firmware_version")?.cast_unsigned(),
        },
        boot_log_sha256: match row.try_get::<Option<Vec<u8>>, _>("boot_log_sha256")? {
            None => None,
            Some(_) => Some(sha256(row, T, "boot_log_sha256")?),
        },
        last_reasons: serde_json::from_str(&reasons).map_err(|_| corrupt(T, "last_reasons"))?,
        enrolled_at: row.try_get("enrolled_at")?,
        last_affirmed: row.try_get("last_affirmed")?,
        certificate: latest_certificate(conn, &id).await?,
        eks: eks::of_gateway(conn, &id).await?,
    })
}

fn lifecycle(row: &SqliteRow) -> Result<Lifecycle, StoreError> {
    let state: String = row.try_get("state")?;
    let kind: Option<String> = row.try_get("state_kind")?;
    match (state.as_str(), kind.as_deref()) {
        ("active", None) => Ok(Lifecycle::Active),
        ("suspended", Some("silence")) => Ok(Lifecycle::Suspended(SuspensionKind::Silence)),
        ("suspended", Some("operator")) => Ok(Lifecycle::Suspended(SuspensionKind::Operator)),
        ("suspended", Some("evidence")) => Ok(Lifecycle::Suspended(SuspensionKind::Evidence)),
        ("revoked", _) => Ok(Lifecycle::Revoked),
        _ => Err(corrupt("gateways", "state")),
    }
}

async fn latest_certificate(
    conn: &mut SqliteConnection,
    id: &Ueid,
) -> Result<Option<CertificateRecord>, StoreError> {
    let row = sqlx::query(
        "SELECT * FROM certificates WHERE gateway = ? AND revoked_at IS NULL \
         ORDER BY not_after DESC LIMIT 1",
    )
    .bind(id.as_bytes().as_slice())
    .fetch_optional(conn)
    .await?;
    row.as_ref().map(certificate_of).transpose()
}

/// A certificate and whose it is.
pub(super) async fn certificate(
    conn: &mut SqliteConnection,
    sha256: &Sha256,
) -> Result<Option<(CertificateRecord, Ueid)>, StoreError> {
    let row = sqlx::query("SELECT * FROM certificates WHERE sha256 = ?")
        .bind(sha256.as_slice())
        .fetch_optional(conn)
        .await?;
    row.map(|row| {
        Ok((
            certificate_of(&row)?,
            ueid(&row, "certificates", "gateway")?,
        ))
    })
    .transpose()
}

fn certificate_of(row: &SqliteRow) -> Result<CertificateRecord, StoreError> {
    Ok(CertificateRecord {
        sha256: sha256(row, "certificates", "sha256")?,
        serial: row.try_get("serial")?,
        not_before: row.try_get("not_before")?,
        not_after: row.try_get("not_after")?,
        revoked_at: row.try_get("revoked_at")?,
    })
}

pub(super) async fn ima_state(
    conn: &mut SqliteConnection,
    id: &Ueid,
) -> Result<Option<String>, StoreError> {
    Ok(
        sqlx::query_scalar("SELECT state FROM ima_states WHERE gateway = ?")
            .bind(id.as_bytes().as_slice())
            .fetch_optional(conn)
            .await?,
    )
}

pub(super) async fn boot_log(
    conn: &mut SqliteConnection,
    sha256: &Sha256,
) -> Result<Option<Vec<u8>>, StoreError> {
    Ok(
        sqlx::query_scalar("SELECT content FROM boot_logs WHERE sha256 = ?")
            .bind(sha256.as_slice())
            .fetch_optional(conn)
            .await?,
    )
}
