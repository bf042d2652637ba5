//! `enroll` and `recover`.

use std::path::Path;
use std::time::Duration;

use holdfast_proto::bundle::Bundle;
use holdfast_proto::tpm::templates::EkTemplate;
use serde_json::json;

use super::config::Config;
use super::report::{APPROVALS_TAKEN, DONE, Failure, REFUSED, Report, date, pcrs, reasons_json};
use super::seal::approvals_in;
use super::secret::{secrets_refused, secrets_taken};
use super::{Enroll, Sending};
use crate::client::Verdict;
use crate::enrolment::exchange::{Binding, Outcome, Plan, Step, enrol};
use crate::enrolment::{Enrolment, bundle_file};
use crate::evidence::{Platform, now};
use crate::names;
use crate::sealing::OwnApprovals;
use crate::state::{Enrolled, StateDir, certificates_to_pem};
use crate::tpm::{Ak, DeviceIdentity, Tpm};

pub(super) async fn enroll(config: &Config, args: Enroll, report: &Report) -> Result<u8, Failure> {
    let bundle = read_bundle(&args.bundle)?;
    let boot_log = args.sending.logs.sought(config, report);
    let mut plan = Plan::from_bundle(&bundle, config.keys(&args.keys), boot_log);
    plan.road = config.road(&args.keys);
    plan.ima_log = args.sending.logs.ima_sought(config, report);
    plan.evidence_dir = args.sending.evidence_dir;
    plan.replace = args.replace;
    plan.binding = match &args.bind_to_boot {
        Some(file) => Binding::To(OwnApprovals::check_for(
            approvals_in(file)?,
            &plan.policy_root_name,
            &plan.class,
        )?),
        None if args.no_bind_to_boot => Binding::Without,
        None => Binding::Unsaid,
    };
    let state = StateDir::open(&config.state_dir)?;
    if let Some(enrolled) = state.enrolled()? {
        if !args.replace {
            return already_enrolled(&enrolled, &plan, report);
        }
        stays_bound(&enrolled, &plan)?;
    }
    let poll = args.wait.then(|| Duration::from_secs(args.poll));
    loop {
        let ended = run(config, &state, &plan, report).await;
        let (Err(failure), Some(poll)) = (&ended, poll) else {
            return ended;
        };
        if !failure.is_awaiting_approval() {
            return ended;
        }
        report.say(format_args!(
            "Waiting for the owner's approval; asking again in {} s …",
            poll.as_secs()
        ));
        tokio::time::sleep(poll).await;
    }
}

pub(super) async fn recover(
    config: &Config,
    args: Sending,
    report: &Report,
) -> Result<u8, Failure> {
    let state = config.open_enrolled()?;
    let mut plan = Plan::recovery(&state.require_enrolled()?, args.logs.sought(config, report));
    plan.ima_log = args.logs.ima_sought(config, report);
    plan.evidence_dir = args.evidence_dir;
    run(config, &state, &plan, report).await
}

/// A binding is not lost for want of a word.
fn stays_bound(enrolled: &Enrolled, plan: &Plan) -> Result<(), Failure> {
    match plan.binding {
        Binding::Unsaid if enrolled.keys.ldevid.is_bound() => Err(Failure::refused(
            "this gateway is enrolled with an LDevID key that is bound to boot states, and the new one would not be",
            "enroll --replace --bind-to-boot FILE; or --no-bind-to-boot, to give the binding up",
        )),
        _ => Ok(()),
    }
}

/// Running `enroll` twice does no harm.
fn already_enrolled(enrolled: &Enrolled, plan: &Plan, report: &Report) -> Result<u8, Failure> {
    if enrolled.server != plan.server {
        return Err(Failure::refused(
            format!(
                "this gateway is enrolled with another verifier, {}",
                enrolled.server.address
            ),
            "use another --state-dir, or --replace to give that enrolment up",
        ));
    }
    if enrolled.not_after <= now() {
        return Err(Failure::refused(
            format!(
                "this gateway is enrolled and its LDevID expired at {}",
                date(enrolled.not_after)
            ),
            "holdfast-attester recover (or enroll --replace with a new bundle)",
        ));
    }
    if !plan.is_met_by(&enrolled.keys.ldevid) {
        return Err(Failure::refused(
            "this gateway is enrolled with an LDevID key that is not bound to these boot states",
            "holdfast-attester enroll --replace --bind-to-boot FILE with a new bundle",
        ));
    }
    report.say(format_args!(
        "Already enrolled as {}, LDevID valid until {}: nothing to do (--replace enrols anew).",
        enrolled.gateway_id,
        date(enrolled.not_after)
    ));
    report.result(&granted_json("already-enrolled", enrolled, &[]));
    Ok(DONE)
}

async fn run(
    config: &Config,
    state: &StateDir,
    plan: &Plan,
    report: &Report,
) -> Result<u8, Failure> {
    report.say(format_args!("TPM: {}", config.tcti));
    let tpm = config.open_tpm_for(state)?;
    let outcome = enrol(&tpm, state, plan, &mut |step| tell(report, &step)).await?;
    report.say(format_args!(
        "TPM time: {} ms in {} commands",
        tpm.command_time().as_millis(),
        tpm.command_count()
    ));
    Ok(match outcome {
        Outcome::Granted(enrolled, verdict) => {
            granted(&tpm, state, &enrolled, &verdict, report);
            DONE
        }
        Outcome::Refused(verdict) => {
            report.say("The verifier verified the evidence, appraised it, and refuses:");
            report.reasons(&verdict);
            report.result(&json!({
                "outcome": "refused",
                "reasons": reasons_json(&verdict.reasons),
                "ear_jwt": verdict.ear_jwt,
            }));
            REFUSED
        }
    })
}

fn granted(tpm: &Tpm, state: &StateDir, enrolled: &Enrolled, verdict: &Verdict, report: &Report) {
    report.say(format_args!(
        "Affirmed and granted. Gateway {}",
        enrolled.gateway_id
    ));
    report.reasons(verdict);
    report.say(format_args!(
        "  LDevID valid until {}",
        date(enrolled.not_after)
    ));
    report.say(format_args!("  renew after {}", date(enrolled.renew_after)));
    report.say(format_args!(
        "  certificate: {}; its key never leaves the TPM",
        state.path().join("ldevid.pem").display()
    ));
    let mut value = granted_json("granted", enrolled, &verdict.reasons);
    if let Some(object) = value.as_object_mut() {
        object.insert("ear_jwt".into(), verdict.ear_jwt.clone().into());
        object.insert(
            "tpm_time_ms".into(),
            json!(tpm.command_time().as_secs_f64() * 1000.0),
        );
        object.insert("tpm_commands".into(), tpm.command_count().into());
    }
    report.result(&value);
}

fn granted_json(
    outcome: &str,
    enrolled: &Enrolled,
    reasons: &[holdfast_proto::grpc::v1::Reason],
) -> serde_json::Value {
    json!({
        "outcome": outcome,
        "gateway_id": enrolled.gateway_id.to_string(),
        "class": enrolled.class,
        "server": enrolled.server.address,
        "ldevid": certificates_to_pem(&enrolled.ldevid_chain),
        "not_after": enrolled.not_after,
        "renew_after": enrolled.renew_after,
        "reasons": reasons_json(reasons),
    })
}

fn tell(report: &Report, step: &Step<'_>) {
    match step {
        Step::Resuming => {
            report.say(
                "An earlier enrolment was sent and not answered: sending the same bytes again.",
            );
        }
        Step::PendingRefused(error) => {
            report.say(format_args!("That one is void ({error}): beginning anew."));
        }
        Step::KeysReady(enrolment) => tell_keys(report, enrolment),
        Step::Connected(server) => report.say(format_args!(
            "Connected to {}: TLS 1.3, certified as {:?} by the CA that the bundle pins.",
            server.address, server.name
        )),
        Step::ShowingEks(templates) => report.say(format_args!(
            "The verifier wants to see this TPM's EKs of template {} too, so that the TPM is one gateway: making them (an RSA key may take a while).",
            templates.iter().map(|t| t.label()).collect::<Vec<_>>().join(", ")
        )),
        Step::EksLeftOut(error) => report.say(format_args!(
            "Going on without further EKs, which this verifier allows: {error}."
        )),
        Step::Challenged(challenge) => report.say(format_args!(
            "The verifier accepts endorsement and keys, and challenges: a fresh nonce, PCRs {} to quote, a secret that only this EK opens for this AK.",
            pcrs(challenge.pcr_selection.as_ref())
        )),
        Step::EvidenceReady { request, platform } => {
            report.say("Secret opened by TPM2_ActivateCredential: EK and AK are in one TPM.");
            report.say(
                "LDevID key certified by the AK (TPM2_Certify): made in this TPM, cannot leave it.",
            );
            if let Some(evidence) = &request.evidence {
                report.say(format_args!(
                    "Evidence: {} PCR values quoted by the AK; claims signed by the LDevID key, bound to this TLS connection; {}.",
                    evidence.pcr_values.len(),
                    boot_log_words(platform)
                ));
            }
            report.say("Waiting for the verdict …");
        }
        Step::ApprovalsTaken => report.say(APPROVALS_TAKEN),
        Step::SecretsTaken(taken) => secrets_taken(report, taken),
        Step::SecretsRefused(error) => secrets_refused(report, error),
        Step::HeartbeatsRequired(within) => report.heartbeats_required(*within),
        Step::Retrying(error) => report.say(format_args!("{error}: trying again …")),
    }
}

fn tell_keys(report: &Report, enrolment: &Enrolment) {
    let keys = enrolment.keys();
    let ek = enrolment.endorsement_key();
    let template = EkTemplate::matching(&ek.public).map_or("vendor's own", EkTemplate::label);
    report.say(format_args!(
        "Storage root key at {:#010x}, Name {}",
        keys.srk_handle, keys.srk_name
    ));
    if let Some(device) = enrolment.device_identity() {
        tell_device(report, device);
    }
    match ek.certificate_chain.split_first() {
        None if enrolment.device_identity().is_some() => report.say(format_args!(
            "Endorsement key by template {template}: the challenge links it to the IAK"
        )),
        Some((_, chain)) => report.say(format_args!(
            "Endorsement key by template {template}, with its vendor certificate from NV and {} more of the chain",
            chain.len()
        )),
        None => report.say(format_args!(
            "Endorsement key by template {template}, WITHOUT a vendor certificate: the owner must have admitted it"
        )),
    }
    let (from, ak) = match &keys.ak {
        Ak::Own(_) => ("the endorsement key", "Fresh attestation key"),
        Ak::Iak { .. } => ("the IAK", "Attestation key"),
    };
    report.say(format_args!(
        "Gateway id {} (from {from})",
        enrolment.gateway_id()
    ));
    report.say(format_args!(
        "{ak} ({}), Name {}",
        names::ak(&keys.ak),
        keys.ak_name
    ));
    report.say(format_args!(
        "Fresh LDevID key, Name {}",
        keys.ldevid.name()
    ));
}

fn tell_device(report: &Report, device: &DeviceIdentity) {
    for (name, key) in [("IAK", &device.iak), ("IDevID", &device.idevid)] {
        report.say(format_args!(
            "{name} by template {}, certificate at NV {:#010x} and {} more of the chain",
            key.template.label(),
            key.nv_index,
            key.certificate_chain.len().saturating_sub(1)
        ));
    }
}

pub(super) fn boot_log_words(platform: &Platform) -> String {
    match &platform.boot_log {
        Some(log) => format!("boot log of {} bytes", log.len()),
        None => "no boot log on this machine".to_owned(),
    }
}

fn read_bundle(path: &Path) -> Result<Bundle, Failure> {
    let read = if path == Path::new("-") {
        bundle_file::read_from(path, std::io::stdin())
    } else {
        bundle_file::read(path)
    };
    read.map_err(|e| match e.is_expired() {
        true => Failure::refused(&e, e.next_step()),
        false => Failure::bad_input(&e, e.next_step()),
    })
}
