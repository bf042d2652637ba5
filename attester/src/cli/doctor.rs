//! `doctor`: everything that enrolment needs, checked one by one, changing
//! nothing in the TPM.

mod logs;

use std::path::Path;

use holdfast_proto::binding::gateway_id;
use serde_json::{Value, json};

use super::config::Config;
use super::report::{DONE, Failure, REFUSED, Report, date};
use crate::evidence::now;
use crate::state::StateDir;
use crate::tpm::{DeviceKeySource, EkChoice, Issuer, SrkOccupant, TctiName, Tpm, TpmFacts};

/// Transient objects that enrolment has loaded at once: EK, AK, and the room
/// that the TPM needs for the storage root.
const SLOTS_NEEDED: u32 = 3;
/// HMAC session and policy session.
const SESSIONS_NEEDED: u32 = 2;

#[derive(Clone, Copy, PartialEq, Eq)]
enum Level {
    Ok,
    Warning,
    /// Enrolment cannot work.
    Lack,
}

struct Check {
    level: Level,
    subject: &'static str,
    detail: String,
    next_step: &'static str,
}

#[derive(Default)]
struct Findings(Vec<Check>);

impl Findings {
    fn ok(&mut self, subject: &'static str, detail: impl Into<String>) {
        self.add(Level::Ok, subject, detail, "");
    }

    fn warn(&mut self, subject: &'static str, detail: impl Into<String>, next_step: &'static str) {
        self.add(Level::Warning, subject, detail, next_step);
    }

    fn lack(&mut self, subject: &'static str, detail: impl Into<String>, next_step: &'static str) {
        self.add(Level::Lack, subject, detail, next_step);
    }

    fn add(
        &mut self,
        level: Level,
        subject: &'static str,
        detail: impl Into<String>,
        next_step: &'static str,
    ) {
        self.0.push(Check {
            level,
            subject,
            detail: detail.into(),
            next_step,
        });
    }
}

pub(super) fn run(
    config: &Config,
    boot_log: &Path,
    ima_log: &Path,
    report: &Report,
) -> Result<u8, Failure> {
    let mut findings = Findings::default();
    let mut facts = None;
    let opened = config.open_tpm();
    match &opened {
        Err(error) => findings.lack("TPM", error.to_string(), error.next_step()),
        Ok(tpm) => {
            findings.ok("TPM", format!("reached at {}", config.tcti));
            if matches!(&config.tcti, TctiName::Device(path) if path == Path::new("/dev/tpm0")) {
                findings.warn(
                    "TPM",
                    "/dev/tpm0 has no resource manager",
                    "use --tcti device:/dev/tpmrm0",
                );
            }
            match tpm.facts() {
                Err(error) => findings.lack("TPM", error.to_string(), error.next_step()),
                Ok(found) => {
                    examine(&found, config, &mut findings);
                    try_endorsement_key(tpm, &mut findings);
                    facts = Some(found);
                }
            }
        }
    }
    examine_state(config, facts.as_ref(), &mut findings);
    let tpm = opened.as_ref().ok();
    logs::examine_boot_log(boot_log, tpm, &mut findings);
    logs::examine_ima_log(ima_log, tpm, &mut findings);
    let able = !findings.0.iter().any(|check| check.level == Level::Lack);
    print(report, &findings, able);
    report.result(&to_json(&findings, facts.as_ref(), able));
    Ok(if able { DONE } else { REFUSED })
}

fn examine(facts: &TpmFacts, config: &Config, findings: &mut Findings) {
    findings.ok(
        "vendor",
        format!(
            "{} {}, firmware {}, TPM 2.0 revision {}",
            facts.make.manufacturer, facts.make.vendor, facts.make.firmware, facts.spec_revision
        ),
    );
    if !facts.endorsement_enabled || !facts.owner_enabled {
        findings.lack(
            "hierarchies",
            "the endorsement or the owner hierarchy is disabled",
            "enable it in the firmware's TPM settings and reboot",
        );
    }
    if facts.endorsement_auth_set && config.settings.endorsement_auth.is_none() {
        findings.lack(
            "endorsement auth",
            "the endorsement hierarchy has an auth value",
            "give it by --endorsement-auth-file FILE (mode 0600)",
        );
    }
    match (
        &facts.srk,
        facts.owner_auth_set && config.settings.owner_auth.is_none(),
    ) {
        (SrkOccupant::Free, true) => findings.lack(
            "owner auth",
            "the owner hierarchy has an auth value, and the storage root key is still to be made",
            "give it by --owner-auth-file FILE (mode 0600)",
        ),
        (SrkOccupant::Free, false) => {
            findings.ok(
                "storage root",
                format!("{:#010x} is free: enroll will make one", facts.srk_handle),
            );
        }
        (SrkOccupant::Fit(name), _) => {
            findings.ok(
                "storage root",
                format!(
                    "{:#010x} holds a storage key, Name {name}",
                    facts.srk_handle
                ),
            );
        }
        (SrkOccupant::Unfit(why), _) => findings.lack(
            "storage root",
            format!("{:#010x} is occupied: {why}", facts.srk_handle),
            "choose a free handle with --srk-handle (tpm2_getcap handles-persistent)",
        ),
    }
    examine_banks(facts, findings);
    examine_lockout(facts, findings);
    examine_slots(facts, findings);
    examine_certificates(facts, findings);
    examine_device_identity(facts, findings);
}

fn examine_banks(facts: &TpmFacts, findings: &mut Findings) {
    let banks: Vec<String> = facts
        .pcr_banks
        .iter()
        .map(|b| format!("{} ({} PCRs)", b.alg, b.pcrs))
        .collect();
    if facts.pcr_banks.iter().any(|bank| bank.alg == "sha256") {
        findings.ok("PCR banks", banks.join(", "));
    } else {
        findings.lack(
            "PCR banks",
            format!("no sha256 bank, only: {}", banks.join(", ")),
            "enable SHA-256 in the firmware's TPM settings (or tpm2_pcrallocate sha256:all), then reboot",
        );
    }
}

fn examine_lockout(facts: &TpmFacts, findings: &mut Findings) {
    let number = |n: Option<u32>| n.map_or_else(|| "?".to_owned(), |n| n.to_string());
    let (failed, allowed, interval) = facts.lockout;
    let detail = format!(
        "{} of {} failed tries, one forgiven every {} s",
        number(failed),
        number(allowed),
        number(interval)
    );
    if facts.in_lockout {
        findings.warn(
            "lockout",
            format!("active: {detail}"),
            "Holdfast's own keys are exempt; clear it with tpm2_dictionarylockout -c",
        );
    } else {
        findings.ok("lockout", detail);
    }
}

fn examine_slots(facts: &TpmFacts, findings: &mut Findings) {
    let enough = facts.free_transient.is_none_or(|n| n >= SLOTS_NEEDED)
        && facts.free_sessions.is_none_or(|n| n >= SESSIONS_NEEDED);
    let detail = format!(
        "free: {} transient objects, {} sessions",
        facts
            .free_transient
            .map_or_else(|| "?".to_owned(), |n| n.to_string()),
        facts
            .free_sessions
            .map_or_else(|| "?".to_owned(), |n| n.to_string()),
    );
    if enough {
        findings.ok("slots", detail);
    } else {
        findings.warn(
            "slots",
            detail,
            "use the resource manager (device:/dev/tpmrm0), or flush what others left: tpm2_flushcontext -t -l -s",
        );
    }
}

fn examine_certificates(facts: &TpmFacts, findings: &mut Findings) {
    let found = &facts.certificates;
    for (template, certificate) in &found.leaves {
        findings.ok(
            "EK certificate",
            format!(
                "template {} at NV {:#010x}, {} bytes",
                template.label(),
                template.cert_nv_index(),
                certificate.len()
            ),
        );
    }
    let device = &facts.device_identity;
    let by_oem = device.iak.is_some() && device.idevid.is_some();
    if found.leaves.is_empty() && by_oem {
        findings.ok(
            "EK certificate",
            "none in NV memory, and none is needed: the IAK has one (--identity auto or iak)",
        );
    } else if found.leaves.is_empty() {
        findings.lack(
            "EK certificate",
            "none in NV memory",
            "fetch it from the vendor and write it to NV 0x01c0000a (ECC) or 0x01c00002 (RSA); or name a key by --ek and let the verifier's owner admit it",
        );
    }
    for (index, problem) in &found.problems {
        findings.warn(
            "EK certificate",
            format!("NV {index:#010x}: {problem}"),
            "the vendor can say how to restore it",
        );
    }
    match found.chain.len() {
        0 => findings.ok(
            "EK chain",
            "no chain in NV: the verifier's owner imports the vendor's intermediates",
        ),
        n => findings.ok(
            "EK chain",
            format!("{n} certificate(s) in NV from 0x01c00100"),
        ),
    }
    for (template, issuer) in found.missing_issuers() {
        findings.add(
            Level::Ok,
            "EK issuer",
            format!(
                "template {}: the verifier must know {}",
                template.label(),
                describe(&issuer)
            ),
            "where enrolment ends in not-endorsed, the verifier's owner gets that certificate and runs holdfast-verifier endorsement import FILE",
        );
    }
}

/// Which certificate, and where it is said to be.
fn describe(issuer: &Issuer) -> String {
    let mut text = format!("\"{}\"", issuer.name);
    if issuer.is_self {
        text.push_str(" (a root, in NV: the verifier takes it from the vendor, not from here)");
    }
    if !issuer.key_id.is_empty() {
        text.push_str(&format!(", key id {}", issuer.key_id));
    }
    if let Some(url) = &issuer.url {
        text.push_str(&format!(
            ", said to be at {url} (compare its fingerprint with the vendor's word)"
        ));
    }
    text
}

/// What the OEM left: that it is not there is no lack.
fn examine_device_identity(facts: &TpmFacts, findings: &mut Findings) {
    const SUBJECT: &str = "device identity";
    let device = &facts.device_identity;
    for (name, key) in [("IAK", &device.iak), ("IDevID", &device.idevid)] {
        if let Some(key) = key {
            let how = match &key.source {
                DeviceKeySource::Template(_) => "made from its template".to_owned(),
                DeviceKeySource::Persistent { handle, .. } => format!("kept at {handle:#010x}"),
            };
            findings.ok(
                SUBJECT,
                format!(
                    "{name} by template {}, {how}; certificate at NV {:#010x}",
                    key.template.label(),
                    key.nv_index
                ),
            );
        }
    }
    for (index, problem) in &device.problems {
        findings.warn(
            SUBJECT,
            format!("NV {index:#010x}: {problem}"),
            "the OEM can say how to restore it",
        );
    }
    match device.clone().complete() {
        Ok(device) => match gateway_id(&device.iak.public) {
            Ok(id) => findings.ok(
                SUBJECT,
                format!("by the IAK road this gateway's id would be {id}"),
            ),
            Err(error) => findings.warn(SUBJECT, error.to_string(), "report this"),
        },
        Err(error) if device.certificates.is_empty() => {
            findings.ok(SUBJECT, format!("{error}: the EK road is open"));
        }
        Err(error) => findings.warn(
            SUBJECT,
            error.to_string(),
            "the OEM can say how its keys are made; the EK road is open all the same",
        ),
    }
}

/// The proof that the EK that the certificate is for can be made here.
fn try_endorsement_key(tpm: &Tpm, findings: &mut Findings) {
    match tpm.endorsement_key(EkChoice::Auto) {
        Ok(ek) => match gateway_id(&ek.public) {
            Ok(id) => findings.ok(
                "endorsement key",
                format!("made; this gateway's id would be {id}"),
            ),
            Err(error) => findings.lack("endorsement key", error.to_string(), "report this"),
        },
        // Said already, by the certificate's absence.
        Err(crate::tpm::TpmError::NoEkCertificate { .. }) => {}
        Err(error) => findings.lack("endorsement key", error.to_string(), error.next_step()),
    }
}

fn examine_state(config: &Config, facts: Option<&TpmFacts>, findings: &mut Findings) {
    let path = &config.state_dir;
    if std::fs::symlink_metadata(path).is_err() {
        findings.ok("state", format!("{} does not exist yet", path.display()));
        return;
    }
    let state = match StateDir::open(path) {
        Ok(state) => state,
        Err(error) => {
            findings.lack("state", error.to_string(), error.next_step());
            return;
        }
    };
    match state.enrolled() {
        Err(error) => findings.lack("state", error.to_string(), error.next_step()),
        Ok(None) => findings.ok("state", format!("{} holds no enrolment", path.display())),
        Ok(Some(enrolled)) => {
            let pinned = &enrolled.keys.srk_name;
            match facts.map(|facts| &facts.srk) {
                Some(SrkOccupant::Fit(name)) if name != pinned => findings.lack(
                    "state",
                    format!(
                        "{} belongs to another TPM, or this one was cleared",
                        path.display()
                    ),
                    "enrol anew with an empty --state-dir",
                ),
                Some(SrkOccupant::Free) => findings.lack(
                    "state",
                    format!(
                        "the storage root of {} is gone: the TPM was cleared",
                        path.display()
                    ),
                    "enrol anew with an empty --state-dir",
                ),
                _ if enrolled.not_after <= now() => findings.warn(
                    "state",
                    format!(
                        "enrolled as {}; the LDevID EXPIRED at {}",
                        enrolled.gateway_id,
                        date(enrolled.not_after)
                    ),
                    "holdfast-attester recover",
                ),
                _ => findings.ok(
                    "state",
                    format!(
                        "enrolled as {}, until {}",
                        enrolled.gateway_id,
                        date(enrolled.not_after)
                    ),
                ),
            }
        }
    }
}

fn print(report: &Report, findings: &Findings, able: bool) {
    for check in &findings.0 {
        let mark = match check.level {
            Level::Ok => "  ok   ",
            Level::Warning => "  warn ",
            Level::Lack => "  LACK ",
        };
        report.say(format_args!("{mark}{}: {}", check.subject, check.detail));
        if !check.next_step.is_empty() {
            report.say(format_args!("         next step: {}", check.next_step));
        }
    }
    report.say(if able {
        "This gateway can enrol."
    } else {
        "This gateway cannot enrol until what is marked LACK is there."
    });
}

fn to_json(findings: &Findings, facts: Option<&TpmFacts>, able: bool) -> Value {
    let checks: Vec<Value> = findings
        .0
        .iter()
        .map(|check| {
            json!({
                "check": check.subject,
                "status": match check.level {
                    Level::Ok => "ok",
                    Level::Warning => "warning",
                    Level::Lack => "lack",
                },
                "detail": check.detail,
                "next_step": check.next_step,
            })
        })
        .collect();
    let tpm = facts.map(|facts| {
        json!({
            "manufacturer": facts.make.manufacturer,
            "vendor": facts.make.vendor,
            "firmware": facts.make.firmware,
            "spec_revision": facts.spec_revision,
            "pcr_banks": facts.pcr_banks.iter().map(|b| (b.alg.clone(), b.pcrs)).collect::<std::collections::BTreeMap<_, _>>(),
            "ek_certificates": facts.certificates.leaves.iter().map(|(t, _)| t.label()).collect::<Vec<_>>(),
            "ek_chain_certificates": facts.certificates.chain.len(),
            "iak": facts.device_identity.iak.as_ref().map(|key| key.template.label()),
            "idevid": facts.device_identity.idevid.as_ref().map(|key| key.template.label()),
            "in_lockout": facts.in_lockout,
            "free_transient": facts.free_transient,
            "free_sessions": facts.free_sessions,
        })
    });
    json!({ "can_enrol": able, "checks": checks, "tpm": tpm })
}
