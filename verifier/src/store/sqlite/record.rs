//! The recording transactions. Each runs inside `BEGIN IMMEDIATE`, so that
//! what it checks holds until it commits; a refusal rolls everything back.
//!
//! In each the order is: the same request again (answer as before) → challenge
//! spent by another request (refuse) → policy, reference values or allow list
//! replaced since the appraisal (refuse) → everything else.

use std::cmp::Ordering;

use holdfast_proto::tpm::{ClockInfo, Name};
use serde_json::{Value, json};
use sqlx::{Row, SqliteConnection};

use super::{
    admin::{AuditWrite, audit, set_suspended},
    admissions,
    basis::still_stands,
    certificates, deliveries, eks,
    events::tell,
    heartbeats,
    oems::{bind_idevid, still_allowed},
    references::{last_quote, write_last_quote},
    revocations::revoke_certificates,
    rows,
    snapshot::expect_confirmed,
    writes::{
        keep_boot_log, keep_refused_boot_log, summary, write_answer, write_certificate,
        write_gateway, write_ima_state, write_reasons,
    },
};
use crate::identity::RevocationReason;
use crate::store::{
    Admittance, Affirmed, Answer, Blocked, Contraindicated, Enrolled, EventKind, GatewayRecord,
    LastQuote, Lifecycle, NewCertificate, OwnedKey, QuotedPcrs, Recorded, Refused, Seconds, Sha256,
    StoreError, SuspensionKind,
};

/// Actor of what a gateway brings about by itself.
const GATEWAY: &str = "gateway";

/// Why certificates are revoked here, in a word and as relying parties read it.
const SUPERSEDED: (&str, RevocationReason) = ("superseded", RevocationReason::Superseded);
const EVIDENCE: (&str, RevocationReason) = ("evidence", RevocationReason::PrivilegeWithdrawn);

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
        admissions::expect_not_denied(conn, &id).await?;
        let revoked =
            sqlx::query("SELECT 1 FROM certificates WHERE sha256 = ? AND revoked_at IS NOT NULL")
                .bind(row.try_get::<Option<Vec<u8>>, _>("ldevid")?);
        if revoked.fetch_optional(conn).await?.is_some() {
            return Err(StoreError::CertificateRevoked { id });
        }
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
    expect_confirmed(conn).await?;
    admissions::expect_not_denied(conn, &enrolled.id).await?;
    // Whoever is in waits no more.
    admissions::remove_pending(conn, &enrolled.id).await?;
    let on_record = rows::gateway(conn, &enrolled.id).await?;
    match (&enrolled.admittance, &on_record) {
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
            spend_join_token(conn, secret, now).await?;
        }
        (Admittance::Listed(name), gateway) => {
            gateway
                .as_ref()
                .map_or(Ok(()), GatewayRecord::in_good_standing)?;
            // It may have been taken back, or moved to another class, since the
            // challenge was made.
            admissions::admitted(conn, name)
                .await?
                .filter(|device| device.class == enrolled.class)
                .ok_or_else(|| StoreError::UnknownDevice { name: *name })?;
        }
        (Admittance::OemSerial { oem, serial }, gateway) => {
            gateway
                .as_ref()
                .map_or(Ok(()), GatewayRecord::in_good_standing)?;
            still_allowed(conn, (oem, serial), &enrolled.class).await?;
        }
    }
    keys_are_free(conn, &enrolled).await?;
    // A new AK may begin a new count (TPM2_Clear); the same one may not.
    if let Some(before) = on_record
        && before.keys.ak_name == enrolled.keys.ak_name
    {
        let now = Quoted {
            clock: &enrolled.tpm.clock,
            firmware_version: enrolled.tpm.firmware_version,
            pcrs: &enrolled.quote,
            challenged: enrolled.answer.issued,
        };
        time_went_on(conn, &before, &now).await?;
    }

    let boot_log = keep_boot_log(conn, enrolled.boot_log.as_ref(), now).await?;
    // A new enrolment ends the identities of the one before.
    revoke_certificates(conn, &enrolled.id, SUPERSEDED, now).await?;
    write_gateway(conn, &enrolled, boot_log, now).await?;
    eks::write(conn, &enrolled, now).await?;
    heartbeats::end(conn, &enrolled.id).await?;
    heartbeats::require(conn, &enrolled.id, enrolled.begin_beats).await?;
    deliveries::begin_anew(conn, &enrolled.id).await?;
    bind_idevid(conn, &enrolled.id, enrolled.tpm.facts.devid.as_ref(), now).await?;
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
    let kind = match enrolled.admittance {
        Admittance::Recovery => EventKind::Recovered,
        Admittance::JoinToken(_) | Admittance::Listed(_) | Admittance::OemSerial { .. } => {
            EventKind::Enrolled
        }
    };
    let detail = ldevid_detail(&enrolled.class, &enrolled.certificate);
    tell(conn, &enrolled.id, kind, detail, now).await?;
    let ldevid = enrolled.certificate.sha256;
    write_answer(conn, &enrolled.answer, &enrolled.id, Some(&ldevid), now).await?;
    audit(
        conn,
        AuditWrite {
            at: now,
            actor: GATEWAY,
            action: match &enrolled.admittance {
                Admittance::Recovery => "recovered",
                Admittance::JoinToken(_) | Admittance::Listed(_) | Admittance::OemSerial { .. } => {
                    "enrolled"
                }
            },
            subject: &enrolled.id.to_string(),
            detail: &format!(
                "class {}, LDevID serial {}, {}",
                enrolled.class,
                enrolled.certificate.serial,
                match &enrolled.admittance {
                    Admittance::JoinToken(id) => format!("join token {}", hex::encode(id)),
                    Admittance::Listed(name) => name.to_string(),
                    Admittance::Recovery => "recovery".to_owned(),
                    Admittance::OemSerial { oem, serial } => {
                        format!("OEM {oem}, product {serial}")
                    }
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
    write_answer(conn, &refused.answer, &refused.id, None, now).await?;
    // The TPM is the gateway's own (its EK was activated), so what it quoted
    // counts against the record; but only where it was appraised as what it is
    // on record as.
    if let Some(gateway) = rows::gateway(conn, &refused.id).await?
        && refused.against_gateway
        && gateway.class == refused.class
        && gateway.lifecycle != Lifecycle::Revoked
    {
        let reason = summary(&refused.reasons);
        set_suspended(conn, &gateway, SuspensionKind::Evidence, &reason, now).await?;
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
        revoke_certificates(conn, &refused.id, EVIDENCE, now).await?;
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
    admissions::expect_not_denied(conn, &affirmed.id).await?;
    same_keys(&gateway, &affirmed.ak_name, &affirmed.ldevid_name)?;
    let channel = rows::certificate(conn, &affirmed.channel_certificate).await?;
    if !channel.is_some_and(|(c, owner)| owner == affirmed.id && c.revoked_at.is_none()) {
        return Err(StoreError::CertificateRevoked { id: affirmed.id });
    }
    let quoted = Quoted {
        clock: &affirmed.clock,
        firmware_version: affirmed.firmware_version,
        pcrs: &affirmed.quote,
        challenged: affirmed.answer.issued,
    };
    time_went_on(conn, &gateway, &quoted).await?;

    let boot_log = keep_boot_log(conn, affirmed.boot_log.as_ref(), now).await?;
    sqlx::query(
        "UPDATE gateways SET clock = ?, reset_count = ?, restart_count = ?, clock_safe = ?, \
         firmware_version = ?, boot_log_sha256 = ?, last_affirmed = ?, \
         attested_up = (SELECT seconds FROM uptime) WHERE id = ?",
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
    heartbeats::attested(conn, &affirmed.id).await?;
    heartbeats::require(conn, &affirmed.id, affirmed.begin_beats).await?;
    write_ima_state(conn, &affirmed.id, affirmed.ima.as_deref(), now).await?;
    write_reasons(conn, &affirmed.id, &affirmed.reasons).await?;
    let class = gateway.class;
    let quote = LastQuote {
        class: class.clone(),
        quoted: affirmed.quote,
        boot_log_sha256: boot_log,
        drift: Vec::new(),
        at: now,
        affirming: true,
    };
    write_last_quote(conn, &affirmed.id, &quote).await?;
    if let Some(certificate) = &affirmed.certificate {
        certificates::room(conn, &affirmed.id, now).await?;
        write_certificate(conn, &affirmed.id, certificate, now).await?;
        let detail = ldevid_detail(&class, certificate);
        tell(conn, &affirmed.id, EventKind::Renewed, detail, now).await?;
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
    let renewed = affirmed.certificate.as_ref().map(|new| &new.sha256);
    let ldevid = renewed.unwrap_or(&affirmed.channel_certificate);
    write_answer(conn, &affirmed.answer, &affirmed.id, Some(ldevid), now).await?;
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
    // It was appraised as of that class; what another one accepts says nothing
    // of this one, and a quote is approved for the class that it is filed under.
    let of_this_class = gateway.class == contraindicated.class;
    let suspends = contraindicated.against_gateway && of_this_class;
    if suspends {
        set_suspended(conn, &gateway, SuspensionKind::Evidence, &reason, now).await?;
        revoke_certificates(conn, &id, EVIDENCE, now).await?;
    }
    if of_this_class {
        write_reasons(conn, &id, &contraindicated.reasons).await?;
        let quote = LastQuote {
            class: contraindicated.class,
            quoted: contraindicated.quote,
            boot_log_sha256: keep_refused_boot_log(conn, contraindicated.boot_log.as_ref(), now)
                .await?,
            drift: contraindicated.drift,
            at: now,
            affirming: false,
        };
        write_last_quote(conn, &id, &quote).await?;
    }
    write_answer(conn, &contraindicated.answer, &id, None, now).await?;
    audit(
        conn,
        AuditWrite {
            at: now,
            actor: GATEWAY,
            action: if suspends {
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

/// What an event says of a new LDevID.
fn ldevid_detail(class: &str, certificate: &NewCertificate) -> Value {
    json!({
        "class": class,
        "ldevid_serial": certificate.serial,
        "ldevid_not_after": certificate.not_after,
    })
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
        .fetch_optional(&mut *conn)
        .await?;
    if spent.is_some() {
        return Err(StoreError::ChallengeSpent);
    }
    still_stands(conn, &new.basis).await?;
    Ok(None)
}

/// TPM time in an order that only grows: resetCount first, for after a hard
/// stop the clock may be lower (TPM 2.0 Part 1 §36.3).
fn seen(clock: &ClockInfo) -> (u32, u64) {
    (clock.reset_count, clock.clock)
}

/// What a quote says of the time.
struct Quoted<'a> {
    clock: &'a ClockInfo,
    firmware_version: u64,
    pcrs: &'a QuotedPcrs,
    /// When the challenge was made that it answers.
    challenged: Seconds,
}

/// TPM time has gone on since the gateway was affirmed last. Where it has not,
/// and the challenge was made after that, no other exchange was merely quicker:
/// a TPM showed a time that it had left behind.
async fn time_went_on(
    conn: &mut SqliteConnection,
    before: &GatewayRecord,
    quoted: &Quoted<'_>,
) -> Result<(), StoreError> {
    let (then, now) = (seen(&before.tpm.clock), seen(quoted.clock));
    let went_on = match now.cmp(&then) {
        Ordering::Greater => true,
        Ordering::Less => false,
        // One moment, and one state.
        Ordering::Equal => {
            let last = last_quote(conn, &before.id).await?;
            before.tpm.clock == *quoted.clock
                && before.tpm.firmware_version == quoted.firmware_version
                && last.is_none_or(|last| !last.affirming || last.quoted == *quoted.pcrs)
        }
    };
    let id = before.id;
    match went_on {
        true => Ok(()),
        false if before.last_affirmed < quoted.challenged => Err(StoreError::RolledBack { id }),
        false => Err(StoreError::ClockFell { id }),
    }
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
    let keys = [
        (OwnedKey::Ak, AK, enrolled.keys.ak_name.as_bytes()),
        (
            OwnedKey::Ldevid,
            LDEVID,
            enrolled.keys.ldevid_name.as_bytes(),
        ),
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
    eks::expect_own(conn, enrolled).await
}
