//! What the owner is shown before signing, what is signed, and what was not
//! asked for: drift as text and JSON, the question, ends.

use std::{
    io::{self, BufRead as _, IsTerminal as _, Write as _},
    path::PathBuf,
    time::{SystemTime, UNIX_EPOCH},
};

use anyhow::anyhow;
use clap::Args;
use holdfast_proto::grpc::v1::{Drift, FallingValue, ProposeReferenceValuesResponse};
use serde_json::{Value, json};
use time::{OffsetDateTime, format_description::well_known::Rfc3339};

use super::{Failure, input, output, token};
use crate::config::files;

/// How a proposal becomes the owner's word.
#[derive(Debug, Args)]
pub(super) struct DecideArgs {
    /// Do not ask.
    #[arg(long)]
    yes: bool,
    /// Write the proposed document here and stop: to be signed where the key
    /// is kept (`owner sign`), and handed in with --statement. Nothing is
    /// overwritten.
    #[arg(long, value_name = "FILE", conflicts_with = "yes")]
    output: Option<PathBuf>,
}

/// What is to be done with a proposal.
pub(super) enum Decision {
    /// To be signed and sent.
    Go,
    /// Written to a file, and said so.
    Stop,
}

impl DecideArgs {
    /// Shows the proposal, and asks.
    pub(super) fn decide(
        &self,
        proposal: &ProposeReferenceValuesResponse,
        question: &str,
        json: bool,
    ) -> Result<Decision, Failure> {
        let drift = drift_of(proposal.drift.as_ref())?;
        let next = proposal.base_version.saturating_add(1);
        let shown = [Some(text(drift)), falling_text(&proposal.falling)];
        let shown = shown.into_iter().flatten().collect::<Vec<_>>().join("\n");
        if let Some(file) = &self.output {
            files::write_new(file, proposal.document.as_bytes(), 0o644)?;
            if json {
                output::print_json(&json!({
                    "changed": false,
                    "class": proposal.class,
                    "version": next,
                    "written_to": file.display().to_string(),
                    "drift": as_json(drift),
                    "falling": falling_json(&proposal.falling),
                }))?;
                return Ok(Decision::Stop);
            }
            output::print(&format!(
                "{shown}\n\nwritten to {}; sign it where the key is kept:\n  holdfast-verifier owner sign \
                 --owner-key KEY --kind reference-values --subject {} --version {next} --output \
                 STATEMENT {}\nthen give this command --statement STATEMENT instead of --output",
                file.display(),
                proposal.class,
                output::shell(file)
            ))?;
            return Ok(Decision::Stop);
        }
        if self.yes {
            if !json {
                output::print(&shown)?;
            }
            return Ok(Decision::Go);
        }
        if !io::stdin().is_terminal() {
            return Err(input(anyhow!(
                "{shown}\n\nnobody is there to ask: say --yes, or --output FILE to look at it first",
            )));
        }
        eprint!("{shown}\n\n{question} [y/N] ");
        io::stderr().flush()?;
        let mut answer = String::new();
        io::stdin().lock().read_line(&mut answer)?;
        match answer.trim() {
            "y" | "Y" | "yes" => Ok(Decision::Go),
            _ => Err(Failure::Refused(anyhow!("nothing was changed"))),
        }
    }
}

pub(super) fn drift_of(drift: Option<&Drift>) -> Result<&Drift, Failure> {
    drift.ok_or_else(|| anyhow!("the server answered without a drift").into())
}

/// For people. Texts are made inert by the server, and here again.
pub(super) fn text(drift: &Drift) -> String {
    let verdict = if drift.affirmed {
        "affirmed"
    } else {
        "refused"
    };
    let mut lines = vec![format!(
        "gateway {} (class {}), last quote {}: {verdict} then",
        drift.gateway_id,
        drift.class,
        output::when(drift.quoted_at)
    )];
    if drift.pcrs.is_empty() {
        lines.push("every quoted PCR has a value that the class accepts".to_owned());
        return lines.join("\n");
    }
    if !drift.compared_with.is_empty() {
        lines.push(format!("compared with {}:", drift.compared_with));
    }
    for change in &drift.changes {
        let pcrs: Vec<String> = change.pcrs.iter().map(ToString::to_string).collect();
        let known = if change.proven { "proven" } else { "claimed" };
        lines.push(format!(
            "  {} [{known}, PCR {}]",
            output::inert(&change.text),
            pcrs.join(", ")
        ));
    }
    if drift.untold > 0 {
        lines.push(format!("  and {} more changes", drift.untold));
    }
    for pcr in drift.pcrs.iter().filter(|pcr| !pcr.silent.is_empty()) {
        lines.push(format!(
            "  PCR {} ({}) changed and {}",
            pcr.index, pcr.measures, pcr.silent
        ));
    }
    if drift.changes.iter().any(|change| !change.proven) {
        lines.push(
            "claimed: something there changed, which the quote proves; its name is the log's word"
                .to_owned(),
        );
    }
    lines.push("PCRs that are not accepted:".to_owned());
    for pcr in &drift.pcrs {
        let accepted = match pcr.accepted.as_slice() {
            [] => "no value".to_owned(),
            [one] => one.clone(),
            [first, rest @ ..] => format!("{first} or one of {} others", rest.len()),
        };
        lines.push(format!(
            "  {} PCR {} ({})\n    accepted {accepted}\n    quoted   {}",
            pcr.bank, pcr.index, pcr.measures, pcr.quoted
        ));
    }
    lines.join("\n")
}

/// Values that would not be accepted any more, for people: all of them, for
/// what falls away is what nobody asked about.
fn falling_text(falling: &[FallingValue]) -> Option<String> {
    if falling.is_empty() {
        return None;
    }
    let mut lines = vec!["values that will not be accepted any more:".to_owned()];
    for value in falling {
        let when = match value.at {
            0 => "at once".to_owned(),
            at => format!("from {}", output::when(at)),
        };
        lines.push(format!(
            "  {} PCR {} ({}) {} {when}",
            value.bank, value.index, value.measures, value.value
        ));
    }
    Some(lines.join("\n"))
}

/// The same for programs.
pub(super) fn falling_json(falling: &[FallingValue]) -> Vec<Value> {
    falling
        .iter()
        .map(|value| {
            json!({
                "bank": value.bank,
                "pcr": value.index,
                "measures": value.measures,
                "value": value.value,
                "at": (value.at != 0).then_some(value.at),
            })
        })
        .collect()
}

/// For programs.
pub(super) fn as_json(drift: &Drift) -> Value {
    let changes: Vec<Value> = drift
        .changes
        .iter()
        .map(|c| json!({ "text": c.text, "pcrs": c.pcrs, "known_by": if c.proven { "proven" } else { "claimed" } }))
        .collect();
    let pcrs: Vec<Value> = drift
        .pcrs
        .iter()
        .map(|p| {
            json!({
                "bank": p.bank,
                "pcr": p.index,
                "measures": p.measures,
                "accepted": p.accepted,
                "quoted": p.quoted,
                "unexplained": if p.silent.is_empty() { Value::Null } else { json!(p.silent) },
            })
        })
        .collect();
    json!({
        "gateway_id": drift.gateway_id,
        "class": drift.class,
        "affirmed": drift.affirmed,
        "quoted_at": drift.quoted_at,
        "compared_with": drift.compared_with,
        "changes": changes,
        "untold": drift.untold,
        "pcrs": pcrs,
    })
}

/// An end: `2026-12-01T00:00:00Z`, `2026-12-01` (its beginning, UTC), or from
/// now: `90s`, `12h`, `14d`. Seconds since 1970.
pub(super) fn end(text: &str) -> Result<i64, String> {
    let now = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .map_or(0, |since| {
            i64::try_from(since.as_secs()).unwrap_or(i64::MAX)
        });
    end_from(text, now)
}

fn end_from(text: &str, now: i64) -> Result<i64, String> {
    if let Ok(seconds) = token::seconds(text) {
        return Ok(now.saturating_add(seconds.into()));
    }
    let moment = if text.len() == "2026-12-01".len() {
        format!("{text}T00:00:00Z")
    } else {
        text.to_owned()
    };
    let end = OffsetDateTime::parse(&moment, &Rfc3339)
        .map_err(|_| "write 2026-12-01T00:00:00Z, 2026-12-01, or from now: 12h, 14d".to_owned())?
        .unix_timestamp();
    if end <= now {
        return Err("that has passed".to_owned());
    }
    Ok(end)
}

#[cfg(test)]
mod tests {
    use holdfast_proto::grpc::v1::{DriftChange, DriftPcr};

    use super::*;

    #[test]
    fn ends_are_to_come() {
        let now = 1_796_083_200 - 86_400;
        for (text, end) in [
            ("2026-12-01T00:00:00Z", 1_796_083_200),
            ("2026-12-01", 1_796_083_200),
            ("2026-12-01T02:00:00+02:00", 1_796_083_200),
            ("1d", 1_796_083_200),
            ("90s", now + 90),
        ] {
            assert_eq!(end_from(text, now), Ok(end), "{text}");
        }
        for bad in [
            "",
            "soon",
            "2026-11-30",
            "2026-13-01",
            "2026-12-01T00:00:00",
            "-1d",
        ] {
            assert!(end_from(bad, now).is_err(), "{bad}");
        }
    }

    #[test]
    fn what_falls_away_is_shown_in_full() {
        let value = |at| FallingValue {
            bank: "sha256".to_owned(),
            index: 4,
            measures: "boot manager code".to_owned(),
            value: "aa".to_owned(),
            at,
        };
        assert_eq!(falling_text(&[]), None);
        assert_eq!(
            falling_text(&[value(0), value(1_796_083_200)]).unwrap(),
            "values that will not be accepted any more:\n\
             \x20 sha256 PCR 4 (boot manager code) aa at once\n\
             \x20 sha256 PCR 4 (boot manager code) aa from 2026-12-01T00:00:00Z"
        );
        assert_eq!(
            json!(falling_json(&[value(0)])),
            json!([{"bank": "sha256", "pcr": 4, "measures": "boot manager code", "value": "aa", "at": null}])
        );
    }

    #[test]
    fn adv_a27_a_drift_is_shown_inert_and_says_what_is_proven() {
        let drift = Drift {
            gateway_id: "01".to_owned(),
            class: "default".to_owned(),
            quoted_at: 1,
            compared_with: "the golden boot".to_owned(),
            changes: vec![DriftChange {
                text: "kernel \u{1b}[2J changed".to_owned(),
                pcrs: vec![4, 9],
                proven: false,
            }],
            pcrs: vec![DriftPcr {
                bank: "sha256".to_owned(),
                index: 5,
                measures: "tables".to_owned(),
                accepted: vec!["aa".to_owned(), "bb".to_owned()],
                quoted: "cc".to_owned(),
                silent: "the log does not say why".to_owned(),
            }],
            ..Drift::default()
        };
        let text = text(&drift);
        assert!(!text.contains('\u{1b}'));
        assert!(
            text.contains("  kernel \\u{1b}[2J changed [claimed, PCR 4, 9]"),
            "{text}"
        );
        assert!(
            text.contains("PCR 5 (tables) changed and the log does not say why"),
            "{text}"
        );
        assert!(text.contains("accepted aa or one of 1 others"), "{text}");
    }
}
