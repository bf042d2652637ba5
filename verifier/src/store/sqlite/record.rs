//! The recording transactions. Each runs inside `BEGIN IMMEDIATE`, so that
//! what it checks holds until it commits; a refusal rolls everything back.
//!
//! In each the order is: the same request again (answer as before) → challenge
//! spent by another request (refuse) → everything else.

use holdfast_proto::tpm::{ClockInfo, Name};
use sqlx::{Row, SqliteConnection};

use super::{
    admin::{AuditWrite, audit, revoke_certificates, set_suspended},
    references::write_last_quote,
    rows,
    writes::{
        keep_boot_log, keep_refused_boot_log, summary, write_answer, write_certificate,
        write_gateway, write_ima_state, write_reasons,
    },
};
use crate::store::{
    Admittance, Affirmed, Answer, Blocked, Contraindicated, Enrolled, GatewayRecord, LastQuote,
    Lifecycle, OwnedKey, Recorded, Refused, Seconds, Sha256, StoreError, SuspensionKind,
};

/// Actor of what a gateway brings about by itself.
const GATEWAY: &str = "gateway";

/// The recorded answer to a request, unless what it granted was taken back.
pub(super) async fn answer(
    conn: &mut SqliteConnection,
    request: &Sha256,
    now: Seconds,
) -> Result<Option<Vec<u8>>, StoreError> {
    let Some(row) = sqlx::query("SELECT * FROM answers WHERE request_sha256 = ? AND expires > ?")
        .bind(request.as_slice())
        .bind(now)
        .fetch_optional(&mut *conn)
        .await?
    else {
        return Ok(None);
    };
    if row.try_get::<bool, _>("granted")? {
        let id = rows::ueid(&row, "answers", "gateway")?;
        let gateway = rows::known_gateway(conn, &id).await?;
        gateway.in_good_standing()?;
    }
    Ok(Some(row.try_get("response")?))
}

pub(super) async fn enrolment(
    conn: &mut SqliteConnection,
    enrolled: Enrolled,
    now: Seconds,
) -> Result<Recorded, StoreError> {
    if let Some(before) = answered_before(conn, &enrolled.answer, now).await? {
        return Ok(before);
    }
    let on_record = rows::gateway(conn, &enrolled.id).await?;
    match (enrolled.admittance, &on_record) {
        (Admittance::Recovery, None) => {
            return Err(StoreError::UnknownGateway { id: enrolled.id });
        }
        (Admittance::Recovery, Some(gateway)) => {
            gateway.may_recover(now)?;
            // The class comes out of the challenge, sealed in step 1; a token
            // may have moved the gateway since.
            if gateway.class != enrolled.class {
                return Err(StoreError::KeysChanged { id: enrolled.id });
            }
        }
        (Admittance::JoinToken(secret), gateway) => {
            gateway
                .as_ref()
                .map_or(Ok(()), GatewayRecord::in_good_standing)?;
            spend_join_token(conn, &secret, now).await?;
        }
    }
    keys_are_free(conn, &enrolled).await?;
    // A new AK may begin a new count (TPM2_Clear); the same one may not.
    if let Some(before) = on_record
        && before.keys.ak_name == enrolled.keys.ak_name
        && seen(&enrolled.tpm.clock) < seen(&before.tpm.clock)
    {
        return Err(StoreError::ClockFell { id: enrolled.id });
    }

    let boot_log = keep_boot_log(conn, enrolled.boot_log.as_ref(), now).await?;
    // A new enrolment ends the identities of the one before.
    revoke_certificates(conn, &enrolled.id, "superseded", now).await?;
    write_gateway(conn, &enrolled, boot_log, now).await?;
    write_ima_state(conn, &enrolled.id, enrolled.ima.as_deref(), now).await?;
    let quote = LastQuote {
        class: enrolled.class.clone(),
        quoted: enrolled.quote.clone(),
        boot_log_sha256: boot_log,
        drift: Vec::new(),
        at: now,
        affirming: true,
    };
    write_last_quote(conn, &enrolled.id, &quote).await?;
    write_certificate(conn, &enrolled.id, &enrolled.certificate, now).await?;
    write_answer(conn, &enrolled.answer, &enrolled.id, true).await?;
    audit(
        conn,
        AuditWrite {
            at: now,
            actor: GATEWAY,
            action: match enrolled.admittance {
                Admittance::Recovery => "recovered",
                Admittance::JoinToken(_) => "enrolled",
            },
            subject: &enrolled.id.to_string(),
            detail: &format!(
                "class {}, LDevID serial {}, {}",
                enrolled.class,
                enrolled.certificate.serial,
                match enrolled.admittance {
                    Admittance::JoinToken(id) => format!("join token {}", hex::encode(id)),
                    Admittance::Recovery => "recovery".to_owned(),
                }
            ),
        },
    )
    .await?;
    Ok(Recorded::Now)
}

pub(super) async fn refusal(
    conn: &mut SqliteConnection,
    refused: Refused,
    now: Seconds,
) -> Result<Recorded, StoreError> {
    if let Some(before) = answered_before(conn, &refused.answer, now).await? {
        return Ok(before);
    }
    write_answer(conn, &refused.answer, &refused.id, false).await?;
    // The TPM is the gateway's own (its EK was activated), so what it quoted
    // counts against the record; but only where it was appraised as what it is
    // on record as.
    if let Some(gateway) = rows::gateway(conn, &refused.id).await?
        && refused.against_gateway
        && gateway.class == refused.class
        && gateway.lifecycle != Lifecycle::Revoked
    {
        let reason = summary(&refused.reasons);
        set_suspended(conn, &gateway, SuspensionKind::Evidence, &reason).await?;
        write_reasons(conn, &refused.id, &refused.reasons).await?;
        // In here, beside the reasons: a log that anybody with a join token
        // may send is kept of those alone who are on record, one each.
        let quote = LastQuote {
            class: refused.class.clone(),
            quoted: refused.quote.clone(),
            boot_log_sha256: keep_refused_boot_log(conn, refused.boot_log.as_ref(), now).await?,
            drift: refused.drift.clone(),
            at: now,
            affirming: false,
        };
        write_last_quote(conn, &refused.id, &quote).await?;
        revoke_certificates(conn, &refused.id, "evidence", now).await?;
    }
    audit(
        conn,
        AuditWrite {
            at: now,
            actor: GATEWAY,
            action: "enrolment-refused",
            subject: &refused.id.to_string(),
            detail: &summary(&refused.reasons),
        },
    )
    .await?;
    Ok(Recorded::Now)
}

pub(super) async fn affirmation(
    conn: &mut SqliteConnection,
    affirmed: Affirmed,
    now: Seconds,
) -> Result<Recorded, StoreError> {
    if let Some(before) = answered_before(conn, &affirmed.answer, now).await? {
        return Ok(before);
    }
    let gateway = rows::known_gateway(conn, &affirmed.id).await?;
    gateway.in_good_standing()?;
    same_keys(&gateway, &affirmed.ak_name, &affirmed.ldevid_name)?;
    let channel = rows::certificate(conn, &affirmed.channel_certificate).await?;
    if !channel.is_some_and(|(c, owner)| owner == affirmed.id && c.revoked_at.is_none()) {
        return Err(StoreError::CertificateRevoked { id: affirmed.id });
    }
    if seen(&affirmed.clock) < seen(&gateway.tpm.clock) {
        return Err(StoreError::ClockFell { id: affirmed.id });
    }

    let boot_log = keep_boot_log(conn, affirmed.boot_log.as_ref(), now).await?;
    sqlx::query(
        "UPDATE gateways SET clock = ?, reset_count = ?, restart_count = ?, clock_safe = ?, \
         firmware_version = ?, boot_log_sha256 = ?, last_affirmed = ? WHERE id = ?",
    )
    .bind(affirmed.clock.clock.cast_signed())
    .bind(affirmed.clock.reset_count)
    .bind(affirmed.clock.restart_count)
    .bind(affirmed.clock.safe)
    .bind(affirmed.firmware_version.cast_signed())
    .bind(boot_log.map(|d| d.to_vec()))
    .bind(now)
    .bind(affirmed.id.as_bytes().as_slice())
    .execute(&mut *conn)
    .await?;
    write_ima_state(conn, &affirmed.id, affirmed.ima.as_deref(), now).await?;
    write_reasons(conn, &affirmed.id, &affirmed.reasons).await?;
    let quote = LastQuote {
        class: gateway.class,
        quoted: affirmed.quote,
        boot_log_sha256: boot_log,
        drift: Vec::new(),
        at: now,
        affirming: true,
    };
    write_last_quote(conn, &affirmed.id, &quote).await?;
    if let Some(certificate) = &affirmed.certificate {
        write_certificate(conn, &affirmed.id, certificate, now).await?;
        audit(
            conn,
            AuditWrite {
                at: now,
                actor: GATEWAY,
                action: "renewed",
                subject: &affirmed.id.to_string(),
                detail: &format!("LDevID serial {}", certificate.serial),
            },
        )
        .await?;
    }
    write_answer(conn, &affirmed.answer, &affirmed.id, true).await?;
    Ok(Recorded::Now)
}

pub(super) async fn contraindication(
    conn: &mut SqliteConnection,
    contraindicated: Contraindicated,
    now: Seconds,
) -> Result<Recorded, StoreError> {
    if let Some(before) = answered_before(conn, &contraindicated.answer, now).await? {
        return Ok(before);
    }
    let id = contraindicated.id;
    let gateway = rows::known_gateway(conn, &id).await?;
    if gateway.lifecycle == Lifecycle::Revoked {
        return Err(StoreError::Blocked {
            id,
            blocked: Blocked::Revoked,
        });
    }
    same_keys(
        &gateway,
        &contraindicated.ak_name,
        &contraindicated.ldevid_name,
    )?;

    let reason = summary(&contraindicated.reasons);
    if contraindicated.against_gateway {
        set_suspended(conn, &gateway, SuspensionKind::Evidence, &reason).await?;
        revoke_certificates(conn, &id, "evidence", now).await?;
    }
    write_reasons(conn, &id, &contraindicated.reasons).await?;
    let quote = LastQuote {
        class: gateway.class,
        quoted: contraindicated.quote,
        boot_log_sha256: keep_refused_boot_log(conn, contraindicated.boot_log.as_ref(), now)
            .await?,
        drift: contraindicated.drift,
        at: now,
        affirming: false,
    };
    write_last_quote(conn, &id, &quote).await?;
    write_answer(conn, &contraindicated.answer, &id, false).await?;
    audit(
        conn,
        AuditWrite {
            at: now,
            actor: GATEWAY,
            action: if contraindicated.against_gateway {
                "suspended"
            } else {
                "not-appraised"
            },
            subject: &id.to_string(),
            detail: &format!("evidence: {reason}"),
        },
    )
    .await?;
    Ok(Recorded::Now)
}

async fn answered_before(
    conn: &mut SqliteConnection,
    new: &Answer,
    now: Seconds,
) -> Result<Option<Recorded>, StoreError> {
    if let Some(response) = answer(conn, &new.request_sha256, now).await? {
        return Ok(Some(Recorded::Before(response)));
    }
    let spent = sqlx::query("SELECT 1 FROM answers WHERE token_id = ? OR request_sha256 = ?")
        .bind(new.token_id.as_slice())
        .bind(new.request_sha256.as_slice())
        .fetch_optional(conn)
        .await?;
    match spent {
        Some(_) => Err(StoreError::ChallengeSpent),
        None => Ok(None),
    }
}

/// TPM time in an order that only grows: resetCount first, for after a hard
/// stop the clock may be lower (TPM 2.0 Part 1 §36.3).
fn seen(clock: &ClockInfo) -> (u32, u64) {
    (clock.reset_count, clock.clock)
}

fn same_keys(gateway: &GatewayRecord, ak: &Name, ldevid: &Name) -> Result<(), StoreError> {
    if gateway.keys.ak_name == *ak && gateway.keys.ldevid_name == *ldevid {
        Ok(())
    } else {
        Err(StoreError::KeysChanged { id: gateway.id })
    }
}

async fn spend_join_token(
    conn: &mut SqliteConnection,
    secret: &Sha256,
    now: Seconds,
) -> Result<(), StoreError> {
    let token = rows::join_token(conn, secret)
        .await?
        .ok_or(StoreError::JoinTokenUnknown)?;
    token.usable(now)?;
    sqlx::query("UPDATE join_tokens SET uses_left = uses_left - 1 WHERE secret_sha256 = ?")
        .bind(secret.as_slice())
        .execute(conn)
        .await?;
    Ok(())
}

async fn keys_are_free(conn: &mut SqliteConnection, enrolled: &Enrolled) -> Result<(), StoreError> {
    const AK: &str = "SELECT id FROM gateways WHERE ak_name = ? AND id <> ?";
    const LDEVID: &str = "SELECT id FROM gateways WHERE ldevid_name = ? AND id <> ?";
    const EK: &str = "SELECT id FROM gateways WHERE ek_spki_sha256 = ? AND id <> ?";
    let keys = [
        (OwnedKey::Ak, AK, enrolled.keys.ak_name.as_bytes()),
        (
            OwnedKey::Ldevid,
            LDEVID,
            enrolled.keys.ldevid_name.as_bytes(),
        ),
        (OwnedKey::Ek, EK, enrolled.tpm.ek_spki_sha256.as_slice()),
    ];
    for (key, sql, value) in keys {
        let row = sqlx::query(sql)
            .bind(value)
            .bind(enrolled.id.as_bytes().as_slice())
            .fetch_optional(&mut *conn)
            .await?;
        if let Some(row) = row {
            let owner = rows::ueid(&row, "gateways", "id")?;
            return Err(StoreError::KeyOfAnother { key, owner });
        }
    }
    Ok(())
}
