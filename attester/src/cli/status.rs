//! `status`.

use std::path::Path;

use holdfast_proto::grpc::v1::GetStatusResponse;
use serde_json::{Value, json};

use super::config::Config;
use super::report::{DONE, Failure, Report, date};
use crate::attestation::exchange::remote_status;
use crate::client::inert;
use crate::daemon::heartbeats::Heartbeats;
use crate::daemon::planner::Now;
use crate::daemon::status::{Identity, Status};
use crate::daemon::{ask, metrics};
use crate::evidence::now;
use crate::names;
use crate::state::{Enrolled, STATUS_FILE, StateError, StateView};

/// More than a status has.
const MAX_STATUS: u64 = 1024 * 1024;

/// What a daemon says of itself.
enum Told {
    /// It runs.
    Live(Status),
    /// It has ended, and left this.
    Left(Status),
}

pub(super) async fn run(config: &Config, remote: bool, report: &Report) -> Result<u8, Failure> {
    let told = told(config);
    let view = match StateView::open(&config.state_dir) {
        Ok(view) => view,
        // The directory is another user's, the socket is for the group too.
        Err(StateError::Owner { .. } | StateError::Mode { .. } | StateError::Io { .. })
            if told.is_some() && !remote =>
        {
            return Ok(only_told(told.as_ref(), report));
        }
        Err(error) => return Err(error.into()),
    };
    let pending = view.has_pending()?;
    if pending && !matches!(told, Some(Told::Live(_))) {
        report.say("An enrolment was sent and not answered: run enroll (or recover) again.");
    }
    let enrolled = match view.require_enrolled() {
        Ok(enrolled) => enrolled,
        Err(StateError::NotEnrolled(_)) if told.is_some() && !remote => {
            return Ok(only_told(told.as_ref(), report));
        }
        Err(error) => return Err(error.into()),
    };
    say_local(&enrolled, report);
    say_told(told.as_ref(), report);
    let answer = if remote {
        let tpm = config.open_tpm_of(&enrolled)?;
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
    let identity = Identity::of(&enrolled);
    report.result(&json!({
        "gateway_id": identity.gateway_id,
        "class": enrolled.class,
        "server": enrolled.server.address,
        "server_name": enrolled.server.name,
        "serial": identity.serial,
        "issuer": identity.issuer,
        "not_after": enrolled.not_after,
        "renew_after": enrolled.renew_after,
        "expired": enrolled.not_after <= now(),
        "srk_handle": format!("{:#010x}", enrolled.keys.srk_handle),
        "ak": names::ak(&enrolled.keys.ak),
        "ak_name": enrolled.keys.ak_name.to_string(),
        "ldevid_name": enrolled.keys.ldevid.name().to_string(),
        "pending": pending,
        "daemon": told.as_ref().map(told_json),
        "remote": answer.as_ref().map(remote_json),
    }));
    Ok(DONE)
}

/// `status --prometheus`: from the daemon, else what can be said without one.
pub(super) fn prometheus(config: &Config) -> Result<u8, Failure> {
    let (status, live) = match told(config) {
        Some(Told::Live(status)) => (status, true),
        Some(Told::Left(mut status)) => {
            (status.running, status.next) = (None, None);
            (known(config, status)?, false)
        }
        None => {
            let status = Status::new(&config.state_dir, &config.tcti, wall());
            (known(config, status)?, false)
        }
    };
    print(&metrics::render(&status, live));
    Ok(DONE)
}

fn print(text: &str) {
    use std::io::Write as _;
    // A reader that went away is no reason to panic.
    let _ = std::io::stdout().write_all(text.as_bytes());
}

/// The same, with the enrolment as it is now.
fn known(config: &Config, mut status: Status) -> Result<Status, Failure> {
    match StateView::open(&config.state_dir).and_then(|view| view.require_enrolled()) {
        Ok(enrolled) => status.know(Some(&enrolled), wall()),
        Err(StateError::NotEnrolled(_)) => status.know(None, wall()),
        Err(error) => return Err(error.into()),
    }
    Ok(status)
}

/// The wall clock, where no plan is made.
fn wall() -> Now {
    Now {
        boot: std::time::Duration::ZERO,
        wall: now(),
    }
}

/// From the daemon of this state directory, else what the last one left.
fn told(config: &Config) -> Option<Told> {
    let live = config.status_sockets().iter().find_map(|socket| {
        let status = Status::parse(&ask(socket, "/status").ok()?)?;
        same(&status.state_dir, &config.state_dir).then_some(status)
    });
    if let Some(status) = live {
        return Some(Told::Live(status));
    }
    let view = StateView::open(&config.state_dir).ok()?;
    let left = view.read_file(STATUS_FILE, MAX_STATUS).ok()??;
    Status::parse(&left).map(Told::Left)
}

/// Whether both lead to one directory.
fn same(a: &Path, b: &Path) -> bool {
    a == b
        || match (a.canonicalize(), b.canonicalize()) {
            (Ok(a), Ok(b)) => a == b,
            _ => false,
        }
}

/// Where there is nothing else to go by.
fn only_told(told: Option<&Told>, report: &Report) -> u8 {
    if let Some(Told::Live(status) | Told::Left(status)) = told {
        match &status.identity {
            Some(identity) => say_identity(identity, report),
            None => report.say("Not enrolled"),
        }
    }
    say_told(told, report);
    report.result(&json!({ "daemon": told.map(told_json) }));
    DONE
}

fn say_local(enrolled: &Enrolled, report: &Report) {
    say_identity(&Identity::of(enrolled), report);
    report.say(format_args!(
        "  attestation key {}, Name {}",
        names::ak(&enrolled.keys.ak),
        enrolled.keys.ak_name
    ));
    report.say(format_args!(
        "  LDevID key Name {}",
        enrolled.keys.ldevid.name()
    ));
}

fn say_identity(identity: &Identity, report: &Report) {
    let now = now();
    report.say(format_args!("Gateway {}", identity.gateway_id));
    report.say(format_args!(
        "  class {}, verifier {}",
        identity.class, identity.server
    ));
    report.say(format_args!(
        "  LDevID {}, issued by {}",
        identity.serial, identity.issuer
    ));
    report.say(format_args!(
        "  LDevID valid until {}{}",
        date(identity.not_after),
        match () {
            () if identity.not_after <= now => " (EXPIRED: holdfast-attester recover)",
            () if identity.renew_after <= now =>
                " (renewal is due: holdfast-attester attest --renew)",
            () => "",
        }
    ));
}

fn say_told(told: Option<&Told>, report: &Report) {
    let status = match told {
        None => {
            report.say("No daemon runs (holdfast-attester run).");
            return;
        }
        Some(Told::Live(status)) => {
            report.say(format_args!(
                "Daemon: {}, running since {}",
                status.standing.name(),
                date(status.started)
            ));
            status
        }
        Some(Told::Left(status)) => {
            report.say("No daemon runs (holdfast-attester run); the last one said:");
            status
        }
    };
    if let Some(verdict) = &status.verdict {
        report.say(format_args!(
            "  last verdict: {} ({}, {})",
            if verdict.affirming {
                "affirmed"
            } else {
                "REFUSED"
            },
            verdict.act,
            date(verdict.at)
        ));
        for reason in &verdict.reasons {
            report.say(format_args!("    {}: {}", reason.code, reason.detail));
            if !reason.next_step.is_empty() {
                report.say(format_args!("      next step: {}", reason.next_step));
            }
        }
    }
    if let Some(trouble) = &status.trouble {
        report.say(format_args!(
            "  in trouble: {} failed {} times in a row, last {}: {}",
            trouble.act,
            trouble.failures,
            date(trouble.at),
            trouble.problem
        ));
        report.say(format_args!("    next step: {}", trouble.next_step));
    }
    if let (Some(Told::Live(_)), Some(running)) = (told, &status.running) {
        report.say(format_args!(
            "  under way: {} since {}",
            running.act,
            date(running.since)
        ));
    }
    if let (Some(Told::Live(_)), Some(next)) = (told, &status.next) {
        report.say(format_args!(
            "  next: {} at {} ({})",
            next.act,
            date(next.at),
            next.why
        ));
    }
    if matches!(told, Some(Told::Live(_))) {
        say_heartbeats(&status.heartbeats, report);
    }
    say_tpm(status, report);
}

fn say_heartbeats(beats: &Heartbeats, report: &Report) {
    let mut line = format!(
        "  heartbeats: {}, {} accepted",
        beats.state.name(),
        beats.accepted
    );
    if let Some(last) = beats.last_accepted {
        line += &format!(", last {}", date(last));
    }
    if let Some(due) = beats.due {
        line += &format!("; the verifier awaits the next by {}", date(due));
    }
    report.say(line);
    if let Some(told) = &beats.told {
        let by = told
            .by
            .map_or_else(String::new, |by| format!(" by {}", date(by)));
        report.say(format_args!(
            "    the verifier wants a full attestation{by}: {} ({})",
            told.code,
            date(told.at)
        ));
    }
    if let Some(trouble) = &beats.trouble {
        report.say(format_args!(
            "    in trouble {}: {}",
            date(trouble.at),
            trouble.problem
        ));
        report.say(format_args!("      next step: {}", trouble.next_step));
    }
}

fn say_tpm(status: &Status, report: &Report) {
    let tpm = &status.tpm;
    report.say(format_args!(
        "  TPM {} {} firmware {} at {}: {} commands in {} ms, busy {} times",
        tpm.manufacturer,
        tpm.vendor,
        tpm.firmware,
        tpm.tcti,
        tpm.commands,
        tpm.milliseconds,
        tpm.busy
    ));
    if let Some(error) = &tpm.last_error {
        report.say(format_args!(
            "    last error {}: {}",
            date(error.at),
            error.problem
        ));
    }
}

fn told_json(told: &Told) -> Value {
    let (status, live) = match told {
        Told::Live(status) => (status, true),
        Told::Left(status) => (status, false),
    };
    json!({ "running": live, "status": status })
}

fn remote_json(answer: &GetStatusResponse) -> Value {
    json!({
        "gateway_id": hex::encode(&answer.gateway_id),
        "state": inert(&answer.state),
        "last_affirmed": answer.last_affirmed,
        "ldevid_not_after": answer.ldevid_not_after,
    })
}
