//! The status as Prometheus text (exposition format 0.0.4). Names and labels are
//! stable; docs/running.md lists them.

use std::fmt::{Display, Write as _};

use super::heartbeats::Beats;
use super::status::{Standing, Status};

/// All metrics. `live`: whether a daemon says it, or what it left behind.
#[must_use]
pub fn render(status: &Status, live: bool) -> String {
    let mut text = Text::default();
    text.one("up", "gauge", "whether the daemon runs", u8::from(live));
    text.head("info", "gauge", "who this is");
    let id = status.identity.as_ref();
    text.sample(
        "info",
        &[
            ("version", &status.program),
            ("gateway_id", id.map_or("", |id| &id.gateway_id)),
            ("class", id.map_or("", |id| &id.class)),
            ("tpm_manufacturer", &status.tpm.manufacturer),
            ("tpm_firmware", &status.tpm.firmware),
        ],
        1,
    );
    text.head(
        "standing",
        "gauge",
        "how the gateway stands: 1 for one of them",
    );
    for standing in [
        Standing::NotEnrolled,
        Standing::Unknown,
        Standing::Trusted,
        Standing::Refused,
        Standing::Expired,
    ] {
        let holds = u8::from(standing == status.standing);
        text.sample("standing", &[("standing", standing.name())], holds);
    }
    if live {
        let started = status.started;
        text.one(
            "start_time_seconds",
            "gauge",
            "start of the daemon",
            started,
        );
    }
    if let Some(id) = id {
        let help = "end of the LDevID";
        text.one("ldevid_not_after_seconds", "gauge", help, id.not_after);
        let help = "when it is to be renewed";
        text.one("ldevid_renew_after_seconds", "gauge", help, id.renew_after);
    }
    if let Some(verdict) = &status.verdict {
        let help = "time of the last verdict";
        text.one("last_verdict_seconds", "gauge", help, verdict.at);
    }
    if let Some(next) = &status.next {
        text.head("next_act_seconds", "gauge", "time of the next act");
        text.sample("next_act_seconds", &[("act", &next.act)], next.at);
    }
    let failures = status
        .trouble
        .as_ref()
        .map_or(0, |trouble| trouble.failures);
    let help = "failures and refusals in a row";
    text.one("consecutive_failures", "gauge", help, failures);
    text.head("acts_total", "counter", "acts that have ended");
    for (act, outcomes) in &status.counters.acts {
        for (outcome, count) in [
            ("affirmed", outcomes.affirmed),
            ("refused", outcomes.refused),
            ("failed", outcomes.failed),
        ] {
            text.sample("acts_total", &[("act", act), ("outcome", outcome)], count);
        }
    }
    heartbeats(&mut text, status);
    let help = "TPM commands sent";
    text.one("tpm_commands_total", "counter", help, status.tpm.commands);
    let seconds = std::time::Duration::from_millis(status.tpm.milliseconds).as_secs_f64();
    text.one("tpm_seconds_total", "counter", "their time", seconds);
    let help = "times that the TPM was busy, taken or not there";
    text.one("tpm_busy_total", "counter", help, status.tpm.busy);
    let help = "times that the wall clock was set, or the machine woke up";
    let steps = status.counters.clock_steps;
    text.one("clock_steps_total", "counter", help, steps);
    let help = "times that the settings were read again";
    text.one("reloads_total", "counter", help, status.counters.reloads);
    text.0
}

fn heartbeats(text: &mut Text, status: &Status) {
    let beats = &status.heartbeats;
    let help = "how heartbeats stand: 1 for one of them";
    text.head("heartbeats", "gauge", help);
    for state in Beats::ALL {
        let holds = u8::from(state == beats.state);
        text.sample("heartbeats", &[("state", state.name())], holds);
    }
    let help = "heartbeats that the verifier accepted";
    text.one("heartbeats_accepted_total", "counter", help, beats.accepted);
    let help = "streams of heartbeats that it began";
    text.one("heartbeat_streams_total", "counter", help, beats.streams);
    if let Some(at) = beats.last_accepted {
        let help = "time of the last heartbeat that was accepted";
        text.one("last_heartbeat_seconds", "gauge", help, at);
    }
    if let Some(due) = beats.due {
        let help = "by when the verifier awaits the next heartbeat";
        text.one("heartbeat_due_seconds", "gauge", help, due);
    }
}

#[derive(Default)]
struct Text(String);

impl Text {
    fn head(&mut self, name: &str, kind: &str, help: &str) {
        // Writing to a String does not fail.
        let _ = write!(
            self.0,
            "# HELP holdfast_attester_{name} {help}\n# TYPE holdfast_attester_{name} {kind}\n"
        );
    }

    fn sample(&mut self, name: &str, labels: &[(&str, &str)], value: impl Display) {
        let labels: Vec<String> = labels
            .iter()
            .map(|(name, value)| format!("{name}=\"{}\"", escaped(value)))
            .collect();
        let labels = match labels.is_empty() {
            true => String::new(),
            false => format!("{{{}}}", labels.join(",")),
        };
        let _ = writeln!(self.0, "holdfast_attester_{name}{labels} {value}");
    }

    fn one(&mut self, name: &str, kind: &str, help: &str, value: impl Display) {
        self.head(name, kind, help);
        self.sample(name, &[], value);
    }
}

/// A label's value: three characters are written otherwise.
fn escaped(value: &str) -> String {
    value
        .replace('\\', "\\\\")
        .replace('"', "\\\"")
        .replace('\n', "\\n")
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::daemon::planner::Now;

    #[test]
    fn each_sample_has_a_head_and_labels_cannot_break_out() {
        let now = Now {
            boot: std::time::Duration::ZERO,
            wall: 7,
        };
        let mut status = Status::new(Path::new("/s"), &"swtpm:".parse().unwrap(), now);
        status.tpm.firmware = "a\"} 1\nevil\\".to_owned();
        let within = std::time::Duration::from_secs(30);
        status.heartbeats.accepted(5, within);
        let text = render(&status, true);
        let mut known = Vec::new();
        for line in text.lines() {
            if let Some(head) = line.strip_prefix("# TYPE ") {
                known.push(head.split(' ').next().unwrap().to_owned());
            } else if !line.starts_with('#') {
                let name = line.split(['{', ' ']).next().unwrap();
                assert!(known.iter().any(|head| head == name), "{line}");
                let value = line.rsplit(' ').next().unwrap();
                assert!(value.parse::<f64>().is_ok(), "{line}");
            }
        }
        assert!(text.contains(r#"tpm_firmware="a\"} 1\nevil\\""#), "{text}");
        assert!(text.contains("holdfast_attester_up 1\n"));
        assert!(text.contains("holdfast_attester_standing{standing=\"not-enrolled\"} 1\n"));
        assert!(text.contains("acts_total{act=\"renew\",outcome=\"failed\"} 0\n"));
        for sample in [
            "heartbeats{state=\"beating\"} 1\n",
            "heartbeats{state=\"off\"} 0\n",
            "heartbeats_accepted_total 1\n",
            "last_heartbeat_seconds 5\n",
            "heartbeat_due_seconds 35\n",
        ] {
            assert!(text.contains(sample), "{sample} is not in {text}");
        }
    }
}
