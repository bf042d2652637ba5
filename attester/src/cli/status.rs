//! `status`.

use holdfast_proto::grpc::v1::GetStatusResponse;
use serde_json::{Value, json};

use super::config::Config;
use super::report::{DONE, Failure, Report, date};
use crate::attestation::exchange::remote_status;
use crate::client::inert;
use crate::evidence::now;
use crate::names;
use crate::state::Enrolled;

pub(super) async fn run(config: &Config, remote: bool, report: &Report) -> Result<u8, Failure> {
    let state = config.open_enrolled()?;
    let pending = state.pending()?.is_some();
    if pending {
        report.say("An enrolment was sent and not answered: run enroll (or recover) again.");
    }
    let enrolled = state.require_enrolled()?;
    say_local(&enrolled, report);
    let answer = if remote {
        let tpm = config.open_tpm_for(&state)?;
        Some(remote_status(&tpm, &enrolled).await?)
    } else {
        None
    };
    if let Some(answer) = &answer {
        report.say(format_args!("Verifier says: {}", inert(&answer.state)));
        report.say(format_args!(
            "  last affirmed {}",
            date(answer.last_affirmed)
        ));
        report.say(format_args!(
            "  LDevID valid until {}",
            date(answer.ldevid_not_after)
        ));
    }
    report.result(&json!({
        "gateway_id": enrolled.gateway_id.to_string(),
        "class": enrolled.class,
        "server": enrolled.server.address,
        "server_name": enrolled.server.name,
        "not_after": enrolled.not_after,
        "renew_after": enrolled.renew_after,
        "expired": enrolled.not_after <= now(),
        "srk_handle": format!("{:#010x}", enrolled.keys.srk_handle),
        "ak": names::ak_alg(enrolled.keys.ak.alg),
        "ak_name": enrolled.keys.ak_name.to_string(),
        "ldevid_name": enrolled.keys.ldevid.name().to_string(),
        "pending": pending,
        "remote": answer.as_ref().map(remote_json),
    }));
    Ok(DONE)
}

fn say_local(enrolled: &Enrolled, report: &Report) {
    let now = now();
    report.say(format_args!("Gateway {}", enrolled.gateway_id));
    report.say(format_args!(
        "  class {}, verifier {}",
        enrolled.class, enrolled.server.address
    ));
    report.say(format_args!(
        "  LDevID valid until {}{}",
        date(enrolled.not_after),
        match () {
            () if enrolled.not_after <= now => " (EXPIRED: holdfast-attester recover)",
            () if enrolled.renew_after <= now =>
                " (renewal is due: holdfast-attester attest --renew)",
            () => "",
        }
    ));
    report.say(format_args!(
        "  attestation key {}, Name {}",
        names::ak_alg(enrolled.keys.ak.alg),
        enrolled.keys.ak_name
    ));
    report.say(format_args!(
        "  LDevID key Name {}",
        enrolled.keys.ldevid.name()
    ));
}

fn remote_json(answer: &GetStatusResponse) -> Value {
    json!({
        "gateway_id": hex::encode(&answer.gateway_id),
        "state": inert(&answer.state),
        "last_affirmed": answer.last_affirmed,
        "ldevid_not_after": answer.ldevid_not_after,
    })
}
