//! `policy test`: a policy's own examples, run.

use std::path::PathBuf;

use anyhow::anyhow;
use clap::Args;
use holdfast_proto::result::Tier;
use serde_json::json;

use super::files;
use crate::{
    appraisal::{Example, Trial},
    cli::{Failure, JsonArg, Outcome, input, output},
};

#[derive(Debug, Args)]
pub(in crate::cli) struct TestArgs {
    /// The policy, in Rego.
    file: PathBuf,
    /// Folder of its examples. Default: examples/NAME/ beside NAME.rego.
    #[arg(long, value_name = "DIR")]
    examples: Option<PathBuf>,
    #[command(flatten)]
    json: JsonArg,
}

pub(super) fn run(args: &TestArgs) -> Outcome {
    let (_, policy) = files::read(&args.file)?;
    let folder = args
        .examples
        .clone()
        .unwrap_or_else(|| files::examples_beside(&args.file));
    let examples = files::examples(&folder)?;
    if examples.is_empty() {
        return Err(input(anyhow!(
            "{} has no examples (*.json): policy test --help shows one",
            folder.display()
        )));
    }
    let ran: Vec<(Example, Trial)> = examples
        .into_iter()
        .map(|example| {
            let trial = example.run(&policy);
            (example, trial)
        })
        .collect();
    let failed = ran.iter().filter(|(e, trial)| !e.agrees(trial)).count();
    if args.json.json {
        let results: Vec<_> = ran.iter().map(result_json).collect();
        output::print_json(&json!({
            "policy_id": hex::encode(policy.id()),
            "passed": ran.len().saturating_sub(failed),
            "failed": failed,
            "examples": results,
        }))?;
    } else {
        print_table(&ran)?;
        for (example, trial) in ran.iter().filter(|(e, trial)| !e.agrees(trial)) {
            output::print(&format!(
                "\n{}: {}",
                example.file,
                output::inert(&example.name)
            ))?;
            for reason in &trial.reasons {
                output::print(&format!(
                    "  {}: {}\n    next step: {}",
                    reason.code,
                    output::inert(&reason.detail),
                    output::inert(&reason.next_step)
                ))?;
            }
        }
    }
    match failed {
        0 => Ok(()),
        failed => Err(Failure::Refused(anyhow!(
            "{failed} of {} examples are not as expected",
            ran.len()
        ))),
    }
}

fn print_table(ran: &[(Example, Trial)]) -> Outcome {
    let rows: Vec<Vec<String>> = ran
        .iter()
        .map(|(example, trial)| {
            let (status, codes) = example.expected();
            let agrees = example.agrees(trial);
            vec![
                if agrees { "ok" } else { "FAILED" }.to_owned(),
                example.file.clone(),
                says(status, codes.iter().map(String::as_str)),
                if agrees {
                    "the same".to_owned()
                } else {
                    says(trial.status, trial.codes().into_iter())
                },
                example.name.clone(),
            ]
        })
        .collect();
    output::print(&output::table(
        &["RESULT", "EXAMPLE", "EXPECTED", "SAYS", "ABOUT"],
        &rows,
    ))
}

fn says<'a>(status: Tier, codes: impl Iterator<Item = &'a str>) -> String {
    let codes: Vec<&str> = codes.collect();
    if codes.is_empty() {
        status.name().to_owned()
    } else {
        format!("{}: {}", status.name(), codes.join(", "))
    }
}

fn result_json((example, trial): &(Example, Trial)) -> serde_json::Value {
    let (status, codes) = example.expected();
    let vector: serde_json::Map<_, _> = trial
        .vector
        .made()
        .map(|(claim, value)| (claim.name().to_owned(), value.into()))
        .collect();
    let reasons: Vec<_> = trial
        .reasons
        .iter()
        .map(|r| json!({"code": r.code, "detail": r.detail, "next_step": r.next_step}))
        .collect();
    json!({
        "file": example.file,
        "name": example.name,
        "ok": example.agrees(trial),
        "expected": {"status": status.name(), "codes": codes},
        "status": trial.status.name(),
        "codes": trial.codes(),
        "vector": vector,
        "reasons": reasons,
    })
}
