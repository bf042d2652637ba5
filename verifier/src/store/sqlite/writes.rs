//! Rows that the recording transactions write.

use holdfast_proto::binding::Ueid;
use sqlx::SqliteConnection;

use super::sweep::ANSWER_GRACE_SECONDS;
use crate::{
    endorsement::EkLink,
    store::{Answer, BootLogRef, Enrolled, NewCertificate, Reason, Seconds, Sha256, StoreError},
};

pub(super) async fn keep_boot_log(
    conn: &mut SqliteConnection,
    log: Option<&BootLogRef>,
    now: Seconds,
) -> Result<Option<Sha256>, StoreError> {
    match log {
        None => Ok(None),
        Some(BootLogRef::Content { sha256, bytes }) => {
            // A log that is there and comes whole all the same was damaged
            // here, and is mended by this.
            sqlx::query(
                "INSERT INTO boot_logs (sha256, content, added_at) VALUES (?, ?, ?) \
                 ON CONFLICT (sha256) DO UPDATE SET content = excluded.content",
            )
            .bind(sha256.as_slice())
            .bind(bytes.as_slice())
            .bind(now)
            .execute(conn)
            .await?;
            Ok(Some(*sha256))
        }
        Some(BootLogRef::Known(sha256)) => {
            let known = sqlx::query("SELECT 1 FROM boot_logs WHERE sha256 = ?")
                .bind(sha256.as_slice())
                .fetch_optional(conn)
                .await?;
            known
                .map(|_| Some(*sha256))
                .ok_or(StoreError::BootLogUnknown)
        }
    }
}

/// As [`keep_boot_log`], of a gateway on record that is refused: where the log
/// that it refers to is not there, the refusal stands without it.
pub(super) async fn keep_refused_boot_log(
    conn: &mut SqliteConnection,
    log: Option<&BootLogRef>,
    now: Seconds,
) -> Result<Option<Sha256>, StoreError> {
    match keep_boot_log(conn, log, now).await {
        Err(StoreError::BootLogUnknown) => Ok(None),
        kept => kept,
    }
}

pub(super) async fn write_gateway(
    conn: &mut SqliteConnection,
    enrolled: &Enrolled,
    boot_log: Option<Sha256>,
    now: Seconds,
) -> Result<(), StoreError> {
    let Enrolled {
        id,
        class,
        keys,
        tpm,
        ..
    } = enrolled;
    sqlx::query(
        "INSERT INTO gateways (id, class, state, state_kind, state_reason, \
           ak_public, ak_name, ak_qualified_name, ldevid_public, ldevid_name, \
           ek_public, ek_certified, ek_spki_sha256, ek_chain_sha256, \
           tpm_facts, \
           clock, reset_count, restart_count, clock_safe, firmware_version, \
           boot_log_sha256, last_reasons, enrolled_at, last_affirmed, attested_up) \
         VALUES (?, ?, 'active', NULL, '', ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, \
           (SELECT seconds FROM uptime)) \
         ON CONFLICT (id) DO UPDATE SET class = excluded.class, state = 'active', \
           state_kind = NULL, state_reason = '', ak_public = excluded.ak_public, \
           ak_name = excluded.ak_name, ak_qualified_name = excluded.ak_qualified_name, \
           ldevid_public = excluded.ldevid_public, \
           ldevid_name = excluded.ldevid_name, ek_public = excluded.ek_public, \
           ek_certified = excluded.ek_certified, \
           ek_spki_sha256 = excluded.ek_spki_sha256, \
           ek_chain_sha256 = excluded.ek_chain_sha256, \
           tpm_facts = excluded.tpm_facts, clock = excluded.clock, \
           reset_count = excluded.reset_count, restart_count = excluded.restart_count, \
           clock_safe = excluded.clock_safe, firmware_version = excluded.firmware_version, \
           boot_log_sha256 = excluded.boot_log_sha256, \
           last_reasons = excluded.last_reasons, last_affirmed = excluded.last_affirmed, \
           attested_up = excluded.attested_up",
    )
    .bind(id.as_bytes().as_slice())
    .bind(class)
    .bind(keys.ak_public.as_slice())
    .bind(keys.ak_name.as_bytes())
    .bind(keys.ak_qualified_name.as_slice())
    .bind(keys.ldevid_public.as_slice())
    .bind(keys.ldevid_name.as_bytes())
    .bind(tpm.ek_public.as_slice())
    .bind(tpm.ek_link == EkLink::Certification)
    .bind(tpm.ek_spki_sha256.as_slice())
    .bind(tpm.ek_chain_sha256.as_slice())
    .bind(json(&tpm.facts))
    .bind(tpm.clock.clock.cast_signed())
    .bind(tpm.clock.reset_count)
    .bind(tpm.clock.restart_count)
    .bind(tpm.clock.safe)
    .bind(tpm.firmware_version.cast_signed())
    .bind(boot_log.map(|d| d.to_vec()))
    .bind(json(&enrolled.reasons))
    .bind(now)
    .bind(now)
    .execute(conn)
    .await?;
    Ok(())
}

pub(super) async fn write_certificate(
    conn: &mut SqliteConnection,
    id: &Ueid,
    certificate: &NewCertificate,
    now: Seconds,
) -> Result<(), StoreError> {
    sqlx::query(
        "INSERT INTO certificates \
           (sha256, serial, gateway, der, not_before, not_after, issued_at, issuer, crl) \
         VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)",
    )
    .bind(certificate.sha256.as_slice())
    .bind(&certificate.serial)
    .bind(id.as_bytes().as_slice())
    .bind(certificate.der.as_slice())
    .bind(certificate.not_before)
    .bind(certificate.not_after)
    .bind(now)
    .bind(certificate.issuer.as_slice())
    .bind(certificate.crl.number())
    .execute(conn)
    .await?;
    Ok(())
}

/// Only beside a verdict that affirms: whom nobody trusts leaves nothing here.
pub(super) async fn write_ima_state(
    conn: &mut SqliteConnection,
    id: &Ueid,
    state: Option<&str>,
    now: Seconds,
) -> Result<(), StoreError> {
    let query = match state {
        None => {
            sqlx::query("DELETE FROM ima_states WHERE gateway = ?").bind(id.as_bytes().to_vec())
        }
        Some(state) => sqlx::query(
            "INSERT INTO ima_states (gateway, state, updated_at) VALUES (?, ?, ?) \
             ON CONFLICT (gateway) DO UPDATE SET state = excluded.state, \
               updated_at = excluded.updated_at",
        )
        .bind(id.as_bytes().to_vec())
        .bind(state.to_owned())
        .bind(now),
    };
    query.execute(conn).await?;
    Ok(())
}

/// `granted`: the LDevID that an answer which grants rests on.
pub(super) async fn write_answer(
    conn: &mut SqliteConnection,
    answer: &Answer,
    id: &Ueid,
    granted: Option<&Sha256>,
    now: Seconds,
) -> Result<(), StoreError> {
    sqlx::query(
        "INSERT INTO answers \
           (request_sha256, token_id, gateway, granted, response, expires, ldevid, until_up) \
         VALUES (?, ?, ?, ?, ?, ?, ?, (SELECT seconds FROM uptime) + ?)",
    )
    .bind(answer.request_sha256.as_slice())
    .bind(answer.token_id.as_slice())
    .bind(id.as_bytes().as_slice())
    .bind(granted.is_some())
    .bind(answer.response.as_slice())
    .bind(answer.expires)
    .bind(granted.map(Sha256::as_slice))
    .bind(answer.expires.saturating_sub(now).max(0) + ANSWER_GRACE_SECONDS)
    .execute(conn)
    .await?;
    Ok(())
}

pub(super) async fn write_reasons(
    conn: &mut SqliteConnection,
    id: &Ueid,
    reasons: &[Reason],
) -> Result<(), StoreError> {
    sqlx::query("UPDATE gateways SET last_reasons = ? WHERE id = ?")
        .bind(json(reasons))
        .bind(id.as_bytes().as_slice())
        .execute(conn)
        .await?;
    Ok(())
}

pub(super) fn json(value: &(impl serde::Serialize + ?Sized)) -> String {
    serde_json::to_string(value).expect("strings under fixed names serialise")
}

/// The codes of the reasons, as the state's reason and for the audit log.
pub(super) fn summary(reasons: &[Reason]) -> String {
    let codes: Vec<&str> = reasons.iter().map(|r| r.code.as_str()).collect();
    codes.join(", ")
}
