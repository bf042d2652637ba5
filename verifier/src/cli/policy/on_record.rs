//! `policy list`: what was in force, and when.

use clap::Args;
use holdfast_proto::grpc::v1::ListPoliciesRequest;
use serde_json::json;

use crate::cli::{DirArg, JsonArg, Outcome, client, output};

#[derive(Debug, Args)]
pub(in crate::cli) struct ListArgs {
    #[command(flatten)]
    dir: DirArg,
    #[command(flatten)]
    json: JsonArg,
}

pub(super) async fn run(args: ListArgs) -> Outcome {
    let mut client = client::connect(&args.dir).await?;
    let listed = client
        .list_policies(ListPoliciesRequest {})
        .await
        .map_err(|s| client::refused(&s))?
        .into_inner();
    output::note_cut(
        listed.cut,
        "`policy show --version N` has each of the older ones",
    );
    let policies = listed.policies;
    if args.json.json {
        let listed: Vec<_> = policies
            .iter()
            .map(|p| {
                json!({
                    "version": p.version,
                    "policy_id": p.policy_id,
                    "applied_at": output::when(p.applied_at),
                    "applied_by": p.applied_by,
                })
            })
            .collect();
        return output::print_json(&json!(listed));
    }
    let rows: Vec<Vec<String>> = policies
        .into_iter()
        .map(|p| {
            vec![
                p.version.to_string(),
                output::when(p.applied_at),
                p.applied_by,
                p.policy_id,
            ]
        })
        .collect();
    output::print(&output::table(
        &["VERSION", "APPLIED", "BY", "SHA-256"],
        &rows,
    ))
}
