//! Between the core's facts, the store's records and the wire. No decisions.

use holdfast_proto::{binding::Ueid, grpc::v1};
use prost::Message;

use super::error::Refusal;
use crate::{
    appraisal::ImaState,
    drift::Drift,
    endorsement::EkFacts,
    exchange::{self, ActivatedGateway, Class},
    identity::Ldevid,
    silence::Notice,
    store::{
        Awaited, BootLogRef, CertificateRecord, EkRecord, GatewayKeys, GatewayRecord, LastQuote,
        NewCertificate, QuotedPcrs, Sha256, TpmRecord,
    },
    verification::{BootLog, PcrValues},
    wrapping::{WrapError, WrapRecipient},
};

pub(super) fn sha256(bytes: &[u8]) -> Sha256 {
    use sha2::Digest as _;
    sha2::Sha256::digest(bytes).into()
}

/// Digest that a request is known again by: its purpose, its caller where that
/// is known, and its encoding. prost writes fields in order of their numbers
/// and no message of ours has a map, so the encoding of a message is one; what
/// the peer's encoder did differently does not matter.
pub(super) fn request_digest(
    purpose: &'static [u8],
    caller: Option<&Ueid>,
    message: &impl Message,
) -> Sha256 {
    use sha2::Digest as _;
    let mut digest = sha2::Sha256::new();
    digest.update(b"holdfast-request-v1");
    // Purposes are ours and none is the beginning of another; the caller's
    // length is fixed by the purpose.
    digest.update(purpose);
    digest.update(
        caller
            .map(|id| id.as_bytes().as_slice())
            .unwrap_or_default(),
    );
    digest.update(message.encode_to_vec());
    digest.finalize().into()
}

pub(super) fn class(text: &str) -> Result<Class, Refusal> {
    Class::parse(text).map_err(|e| Refusal::Internal(format!("recorded class: {e}")))
}

pub(super) fn grant(ldevid: &Ldevid) -> v1::Grant {
    v1::Grant {
        ldevid_chain: ldevid.chain.clone(),
        renew_after: ldevid.renew_after().seconds(),
        not_after: ldevid.not_after.seconds(),
    }
}

pub(super) fn certificate(ldevid: &Ldevid) -> Result<NewCertificate, Refusal> {
    let der = ldevid
        .chain
        .first()
        .ok_or_else(|| Refusal::Internal("an LDevID without a certificate".to_owned()))?;
    Ok(NewCertificate {
        sha256: ldevid.sha256,
        serial: ldevid.serial_hex.clone(),
        issuer: ldevid
            .issuer_key_id
            .as_slice()
            .try_into()
            .map_err(|_| Refusal::Internal("an issuer without a key id of 20 octets".to_owned()))?,
        crl: ldevid.crl_part,
        der: der.clone(),
        not_before: ldevid.not_before.seconds(),
        not_after: ldevid.not_after.seconds(),
    })
}

pub(super) fn keys(gateway: &ActivatedGateway) -> GatewayKeys {
    GatewayKeys {
        ak_public: gateway.ak_public.clone(),
        ak_name: gateway.ak_name.clone(),
        ak_qualified_name: gateway.ak_qualified_name.clone(),
        ldevid_public: gateway.ldevid_public.clone(),
        ldevid_name: gateway.ldevid_name.clone(),
    }
}

pub(super) fn tpm(gateway: &ActivatedGateway) -> TpmRecord {
    TpmRecord {
        ek_public: gateway.ek_public.clone(),
        ek_link: gateway.ek_link,
        ek_spki_sha256: gateway.ek_spki_sha256,
        ek_chain_sha256: gateway.ek_chain_sha256,
        facts: gateway.tpm.clone(),
        clock: gateway.clock,
        firmware_version: gateway.firmware_version,
    }
}

/// Whom to wrap for, by the gateway's record.
pub(super) fn recipient(gateway: &GatewayRecord) -> Result<WrapRecipient, WrapError> {
    let tpm = &gateway.tpm;
    WrapRecipient::on_record(&tpm.ek_public, tpm.facts.known_by, tpm.ek_link, &gateway.id)
}

pub(super) fn boot_log(log: &BootLog) -> Option<BootLogRef> {
    match log {
        BootLog::Absent => None,
        BootLog::Whole { content, sha256 } => Some(BootLogRef::Content {
            sha256: *sha256,
            bytes: content.clone(),
        }),
        BootLog::Known { sha256 } => Some(BootLogRef::Known(*sha256)),
    }
}

/// What was quoted, as the store keeps it.
pub(super) fn quote(pcrs: &PcrValues) -> QuotedPcrs {
    QuotedPcrs {
        bank: pcrs.bank(),
        values: pcrs
            .iter()
            .map(|(index, value)| (index, value.to_vec()))
            .collect(),
    }
}

/// What the core needs of a record, to parse it again.
pub(super) fn record(record: GatewayRecord) -> Result<exchange::GatewayRecord, Refusal> {
    let further = record.further_eks_in_use();
    Ok(exchange::GatewayRecord {
        further_eks: further.map(|record| record.ek.clone()).collect(),
        id: record.id,
        class: class(&record.class)?,
        ak_public: record.keys.ak_public,
        ak_qualified_name: record.keys.ak_qualified_name,
        ldevid_public: record.keys.ldevid_public,
        tpm: record.tpm.facts,
        clock: Some(record.tpm.clock),
        boot_log_sha256: record.boot_log_sha256,
    })
}

/// Drift as the owner sees it.
pub(super) fn drift(
    id: &Ueid,
    class: &Class,
    quote: &LastQuote,
    drift: Drift,
    compared_with: String,
) -> v1::Drift {
    v1::Drift {
        gateway_id: id.to_string(),
        class: class.as_str().to_owned(),
        affirmed: quote.affirming,
        quoted_at: quote.at,
        compared_with,
        changes: drift
            .changes
            .into_iter()
            .map(|change| v1::DriftChange {
                text: change.text,
                pcrs: change.pcrs.into_iter().collect(),
                proven: change.proven,
            })
            .collect(),
        untold: u32::try_from(drift.untold).unwrap_or(u32::MAX),
        pcrs: drift
            .pcrs
            .into_iter()
            .map(|pcr| v1::DriftPcr {
                bank: quote.quoted.bank.name().to_owned(),
                index: pcr.index,
                measures: pcr.measures.to_owned(),
                accepted: pcr.accepted.iter().map(hex::encode).collect(),
                quoted: hex::encode(pcr.quoted),
                silent: pcr.silent.map(|why| why.to_string()).unwrap_or_default(),
            })
            .collect(),
    }
}

/// A gateway as the owner sees it.
/// `ima` is what a quoted PCR 10 proved, where one did.
pub(super) fn evidence_seen(quote: &LastQuote, ima: Option<&ImaState>) -> v1::EvidenceSeen {
    v1::EvidenceSeen {
        at: quote.at,
        boot_log_sha256: quote.boot_log_sha256.map(hex::encode).unwrap_or_default(),
        ima: ima.map(|ima| {
            let counts = ima.counts();
            v1::ImaSeen {
                entries: ima.place().entries(),
                reset_count: ima.place().reset_count(),
                files: counts.files,
                unknown: counts.unknown,
                mismatched: counts.mismatched,
                violations: counts.violations,
            }
        }),
    }
}

/// Within how many seconds it is told to begin to beat; 0: it need not.
pub(super) fn begin_beats(notice: Option<Notice>) -> u32 {
    notice.map_or(0, |notice| notice.within(0).max(1))
}

pub(super) fn awaited(awaited: Awaited) -> v1::Awaited {
    let Awaited {
        attest_within,
        deadline,
        beats,
    } = awaited;
    let heartbeats = match (&beats, &deadline) {
        (Some(beats), _) if beats.has_key => "on",
        (Some(_), _) => "to-begin",
        (None, Some(_)) => "required",
        (None, None) => "none",
    };
    v1::Awaited {
        attest_within_seconds: attest_within,
        beat_within_seconds: beats.as_ref().map(|beats| beats.within),
        last_beat_seconds_ago: beats.as_ref().map(|beats| beats.last),
        heartbeats: heartbeats.to_owned(),
        deadline_within_seconds: deadline.as_ref().map(|deadline| deadline.within),
        told_to_attest: deadline
            .and_then(|deadline| deadline.doubt)
            .unwrap_or_default(),
    }
}

pub(super) fn gateway(record: GatewayRecord) -> v1::Gateway {
    let (serial, not_after) = record.certificate.map_or_else(
        Default::default,
        |CertificateRecord {
             serial, not_after, ..
         }| { (serial, not_after) },
    );
    v1::Gateway {
        gateway_id: record.id.to_string(),
        class: record.class,
        state: record.lifecycle.name().to_owned(),
        state_reason: match record.lifecycle {
            crate::store::Lifecycle::Suspended(kind) => format!("{kind}: {}", record.state_reason),
            _ => record.state_reason,
        },
        enrolled_at: record.enrolled_at,
        last_affirmed: record.last_affirmed,
        ldevid_not_after: not_after,
        ldevid_serial: serial,
        endorsement_known_by: record.tpm.facts.known_by.name().to_owned(),
        endorsement_leniencies: (record.tpm.facts.leniencies.iter())
            .map(|leniency| leniency.name().to_owned())
            .collect(),
        device: record.tpm.facts.devid.map(|devid| v1::DeviceIdentity {
            oem: devid.oem,
            serial: devid.serial,
            hardware_serial: devid.hardware_serial,
            idevid_certificate_sha256: devid.idevid_certificate_sha256,
            iak_certificate_sha256: devid.iak_certificate_sha256,
        }),
        eks: record.eks.into_iter().map(recorded_ek).collect(),
        tpm_manufacturer: record.tpm.facts.manufacturer,
        tpm_model: record.tpm.facts.model,
        last_reasons: record
            .last_reasons
            .into_iter()
            .map(|r| v1::Reason {
                code: r.code,
                detail: r.detail,
                next_step: r.next_step,
            })
            .collect(),
        evidence: None,
        awaited: None,
        drift: Vec::new(),
        replacements: Vec::new(),
    }
}

fn recorded_ek(record: EkRecord) -> v1::RecordedEk {
    let EkFacts {
        spki_sha256, tpm, ..
    } = record.ek;
    v1::RecordedEk {
        template: tpm.ek_template,
        spki_sha256: hex::encode(spki_sha256),
        known_by: tpm.known_by.name().to_owned(),
        leniencies: (tpm.leniencies.iter())
            .map(|leniency| leniency.name().to_owned())
            .collect(),
        certificate_sha256: tpm.ek_certificate_sha256,
        issuer: match tpm.devid {
            None => tpm.issuer,
            // Who issued the IAK's: nobody vouches for the EK.
            Some(_) => String::new(),
        },
        first_shown: record.first_shown,
        last_shown: record.last_shown,
    }
}
