//! `policy check`: does it compile, and is it likely what was meant?

use std::path::PathBuf;

use anyhow::anyhow;
use clap::Args;
use holdfast_proto::result::Tier;
use serde_json::json;

use super::files;
use crate::{
    appraisal::{Example, Policy, nothing_known},
    cli::{Failure, JsonArg, Outcome, output},
};

#[derive(Debug, Args)]
pub(in crate::cli) struct CheckArgs {
    /// The policy, in Rego.
    file: PathBuf,
    /// Folder of its examples. Default: examples/NAME/ beside NAME.rego.
    #[arg(long, value_name = "DIR")]
    examples: Option<PathBuf>,
    /// Fail on warnings.
    #[arg(long)]
    strict: bool,
    #[command(flatten)]
    json: JsonArg,
}

/// Something that is likely not meant.
pub(super) struct Warning {
    pub(super) code: &'static str,
    pub(super) text: String,
}

pub(super) fn run(args: &CheckArgs) -> Outcome {
    let (_, policy) = files::read(&args.file)?;
    let beside = files::examples_beside(&args.file);
    let examples = match &args.examples {
        Some(folder) => files::examples(folder)?,
        None if beside.is_dir() => files::examples(&beside)?,
        None => Vec::new(),
    };
    let warnings = warnings(&policy, &examples);
    let id = hex::encode(policy.id());
    if args.json.json {
        let listed: Vec<_> = warnings
            .iter()
            .map(|w| json!({"code": w.code, "text": w.text}))
            .collect();
        output::print_json(&json!({
            "policy_id": id, "examples": examples.len(), "warnings": listed,
        }))?;
    } else {
        output::print(&format!(
            "{} compiles (SHA-256 {id}); {} examples",
            args.file.display(),
            examples.len()
        ))?;
        for warning in &warnings {
            output::print(&format!("warning: {}: {}", warning.code, warning.text))?;
        }
    }
    if args.strict && !warnings.is_empty() {
        return Err(Failure::Refused(anyhow!("{} warnings", warnings.len())));
    }
    Ok(())
}

pub(super) fn warnings(policy: &Policy, examples: &[Example]) -> Vec<Warning> {
    let mut warnings = Vec::new();
    let blind = policy.try_on(&nothing_known());
    if blind.status == Tier::Affirming {
        warnings.push(Warning {
            code: "affirms-everything",
            text: "it affirms a gateway of which nothing is known; Holdfast's floor still refuses \
                   what differs from the reference values"
                .to_owned(),
        });
    }
    if blind.policy_failed() {
        let why = blind.reasons.first().map(|r| r.detail.as_str());
        warnings.push(Warning {
            code: "fails",
            text: format!(
                "it gives no proper answer where nothing is known, so a gateway would see \
                 policy-error instead of a reason: {}",
                why.unwrap_or_default()
            ),
        });
    }
    let affirms = |example: &Example| example.run(policy).status == Tier::Affirming;
    if examples.is_empty() {
        warnings.push(Warning {
            code: "no-examples",
            text: "nothing shows what it is meant to affirm and to refuse: write examples \
                   (policy test --help)"
                .to_owned(),
        });
    } else if !examples.iter().any(affirms) {
        warnings.push(Warning {
            code: "never-affirms",
            text: "it affirms none of its own examples: no gateway may ever pass".to_owned(),
        });
    }
    warnings
}
