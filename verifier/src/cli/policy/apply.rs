//! `policy apply`: the owner's next policy.

use std::path::PathBuf;

use clap::Args;
use holdfast_proto::grpc::v1::{ApplyPolicyRequest, ListPoliciesRequest};
use serde_json::json;

use super::{check, files};
use crate::{
    cli::{DirArg, JsonArg, Outcome, client, output, owner::SignArgs},
    owner::{EVERY_CLASS, Kind},
};

#[derive(Debug, Args)]
pub(in crate::cli) struct ApplyArgs {
    #[command(flatten)]
    dir: DirArg,
    /// The policy, in Rego. It holds for every class.
    file: PathBuf,
    #[command(flatten)]
    sign: SignArgs,
    #[command(flatten)]
    json: JsonArg,
}

pub(super) async fn run(args: ApplyArgs) -> Outcome {
    let (source, policy) = files::read(&args.file)?;
    let mut client = client::connect(&args.dir).await?;
    let listed = client
        .list_policies(ListPoliciesRequest {})
        .await
        .map_err(|s| client::refused(&s))?
        .into_inner();
    let last = listed.policies.first();
    let id = hex::encode(policy.id());
    // What is in force already keeps its version.
    let version = match last {
        Some(last) if last.policy_id == id => last.version,
        Some(last) => last.version.saturating_add(1),
        None => 1,
    };
    let statement = args.sign.sign(
        &args.dir,
        Kind::Policy,
        EVERY_CLASS,
        version,
        source.as_bytes(),
    )?;
    let done = client
        .apply_policy(ApplyPolicyRequest { source, statement })
        .await
        .map_err(|s| client::refused(&s))?
        .into_inner();
    // Of examples, `policy check` has more to say.
    let warnings: Vec<_> = check::warnings(&policy, &[])
        .into_iter()
        .filter(|warning| warning.code != "no-examples")
        .collect();
    if args.json.json {
        let listed: Vec<_> = warnings
            .iter()
            .map(|w| json!({"code": w.code, "text": w.text}))
            .collect();
        return output::print_json(&json!({
            "version": done.version,
            "policy_id": done.policy_id,
            "changed": done.changed,
            "warnings": listed,
        }));
    }
    let (version, id) = (done.version, done.policy_id);
    output::print(&if done.changed {
        format!("version {version} of the policy is in force (SHA-256 {id})")
    } else {
        format!("nothing changed: this is version {version}, in force already (SHA-256 {id})")
    })?;
    for warning in &warnings {
        output::print(&format!("warning: {}: {}", warning.code, warning.text))?;
    }
    Ok(())
}
