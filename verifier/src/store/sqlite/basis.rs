//! Whether what an appraisal went by is still the owner's last word.

use sqlx::{Row, SqliteConnection, sqlite::SqliteRow};

use super::rows;
use crate::store::{Basis, InForce, Sha256, StoreError};

/// The newest versions of a class's documents.
pub(super) async fn in_force(
    conn: &mut SqliteConnection,
    class: &str,
) -> Result<InForce, StoreError> {
    let row = sqlx::query(
        "SELECT (SELECT max(version) FROM reference_values WHERE class = ?1) AS reference_values, \
         (SELECT max(version) FROM allow_lists WHERE class = ?1) AS allow_lists",
    )
    .bind(class)
    .fetch_one(conn)
    .await?;
    Ok(InForce {
        references: version(&row, "reference_values")?,
        allow_list: version(&row, "allow_lists")?,
    })
}

/// Refuses what was appraised by anything but the newest.
pub(super) async fn still_stands(
    conn: &mut SqliteConnection,
    basis: &Basis,
) -> Result<(), StoreError> {
    let newest = in_force(&mut *conn, &basis.class).await?;
    let policy = sqlx::query("SELECT sha256 FROM policies ORDER BY version DESC LIMIT 1")
        .fetch_optional(conn)
        .await?;
    let policy: Option<Sha256> = policy
        .map(|row| rows::sha256(&row, "policies", "sha256"))
        .transpose()?;
    let what = if policy.is_some_and(|policy| policy != basis.policy_id) {
        "policy"
    } else if newest.references != basis.in_force.references {
        "reference values"
    } else if newest.allow_list != basis.in_force.allow_list {
        "allow list"
    } else {
        return Ok(());
    };
    let class = basis.class.clone();
    Err(StoreError::Superseded { what, class })
}

fn version(row: &SqliteRow, table: &'static str) -> Result<u64, StoreError> {
    let newest: Option<i64> = row.try_get(table)?;
    u64::try_from(newest.unwrap_or(0)).map_err(|_| rows::corrupt(table, "version"))
}
