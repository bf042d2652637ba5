//! `policy show`: a policy's text.

use anyhow::anyhow;
use clap::Args;
use holdfast_proto::grpc::v1::GetPolicyRequest;
use serde_json::json;

use crate::{
    appraisal::{LIBRARY, Policy},
    cli::{DirArg, JsonArg, Outcome, client, input, output},
};

#[derive(Debug, Args)]
pub(in crate::cli) struct ShowArgs {
    /// Name of one that comes with Holdfast.
    #[arg(conflicts_with = "dir")]
    name: Option<String>,
    /// The verifier's directory: show what is on record there.
    #[arg(long, value_name = "DIR")]
    dir: Option<std::path::PathBuf>,
    /// Which version on record. Default: the one in force.
    #[arg(long, requires = "dir", value_parser = clap::value_parser!(u64).range(1..))]
    version: Option<u64>,
    #[command(flatten)]
    json: JsonArg,
}

pub(super) async fn run(args: ShowArgs) -> Outcome {
    match (args.name, args.dir) {
        (Some(name), _) => shipped(&name, args.json),
        (None, None) => library(args.json),
        (None, Some(dir)) => {
            let at = DirArg {
                dir: Some(dir),
                ..DirArg::default()
            };
            on_record(at, args.version.unwrap_or(0), args.json).await
        }
    }
}

fn shipped(name: &str, json: JsonArg) -> Outcome {
    let Some(shipped) = LIBRARY.iter().find(|shipped| shipped.name == name) else {
        let names: Vec<&str> = LIBRARY.iter().map(|shipped| shipped.name).collect();
        return Err(input(anyhow!(
            "{name:?} does not come with Holdfast; these do: {}",
            names.join(", ")
        )));
    };
    if json.json {
        let policy = Policy::compile(shipped.source)?;
        return output::print_json(&json!({
            "name": shipped.name,
            "about": shipped.about,
            "policy_id": hex::encode(policy.id()),
            "source": shipped.source,
        }));
    }
    print(shipped.source)
}

fn library(json: JsonArg) -> Outcome {
    if json.json {
        let listed: Vec<_> = LIBRARY
            .iter()
            .map(|shipped| json!({"name": shipped.name, "about": shipped.about}))
            .collect();
        return output::print_json(&json!(listed));
    }
    let rows: Vec<Vec<String>> = LIBRARY
        .iter()
        .map(|shipped| vec![shipped.name.to_owned(), shipped.about.to_owned()])
        .collect();
    output::print(&output::table(&["NAME", "AFFIRMS WHERE"], &rows))
}

async fn on_record(dir: DirArg, version: u64, json: JsonArg) -> Outcome {
    let mut client = client::connect(&dir).await?;
    let policy = client
        .get_policy(GetPolicyRequest { version })
        .await
        .map_err(|s| client::refused(&s))?
        .into_inner()
        .policy
        .ok_or_else(|| anyhow!("the server answered without a policy"))?;
    if json.json {
        return output::print_json(&json!({
            "version": policy.version,
            "policy_id": policy.policy_id,
            "applied_at": output::when(policy.applied_at),
            "applied_by": policy.applied_by,
            "source": policy.source,
        }));
    }
    print(&policy.source)
}

/// As it is, where it ends in a newline, as texts do: its SHA-256 is its id.
fn print(source: &str) -> Outcome {
    output::print(source.strip_suffix('\n').unwrap_or(source))
}
