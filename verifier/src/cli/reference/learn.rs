//! `reference learn`: golden capture. What a gateway quoted last becomes what
//! its class accepts, once the owner has seen and signed it.

use clap::{ArgGroup, Args};
use holdfast_proto::grpc::v1::{
    ProposeReferenceValuesRequest, propose_reference_values_request::Change,
};
use serde_json::json;

use super::send::{self, Document};
use crate::cli::{
    DirArg, JsonArg, Outcome, client, output,
    owner::SignArgs,
    proposal::{self, DecideArgs, Decision},
};

#[derive(Debug, Args)]
#[command(group(ArgGroup::new("change").required(true).args(["add", "replace"])))]
pub(in crate::cli) struct LearnArgs {
    #[command(flatten)]
    dir: DirArg,
    /// The gateway to learn from: its last quote was verified, whether or not
    /// it was affirmed.
    gateway: String,
    /// The class that learns. Default: the gateway's own.
    #[arg(long, default_value = "")]
    class: String,
    /// Accept its values beside those that are accepted already. With --until
    /// they end then.
    #[arg(long)]
    add: bool,
    /// Accept its values in place of those that are accepted. With --until
    /// the old ones are accepted until then.
    #[arg(long)]
    replace: bool,
    /// An end: 2026-12-01T00:00:00Z, 2026-12-01, or from now: 12h, 14d.
    #[arg(long, value_name = "DATE", value_parser = proposal::end)]
    until: Option<i64>,
    #[command(flatten)]
    decide: DecideArgs,
    #[command(flatten)]
    sign: SignArgs,
    #[command(flatten)]
    json: JsonArg,
}

pub(super) async fn run(args: LearnArgs) -> Outcome {
    let mut client = client::connect(&args.dir).await?;
    let change = if args.replace {
        Change::Replace
    } else {
        Change::Add
    };
    let proposal = client
        .propose_reference_values(ProposeReferenceValuesRequest {
            gateway_id: args.gateway.clone(),
            class: args.class,
            change: change.into(),
            until: args.until.unwrap_or_default(),
            drift_only: false,
        })
        .await
        .map_err(|s| client::refused(&s))?
        .into_inner();
    let drift = proposal::drift_of(proposal.drift.as_ref())?;
    if proposal.same {
        if args.json.json {
            return output::print_json(&json!({ "changed": false, "class": proposal.class }));
        }
        return output::print(&format!(
            "nothing to learn: class {} accepts exactly this already (version {})",
            proposal.class, proposal.base_version
        ));
    }
    let question = format!(
        "Sign this as version {} of the reference values of class {}?",
        proposal.base_version.saturating_add(1),
        proposal.class
    );
    match args.decide.decide(&proposal, &question, args.json.json)? {
        Decision::Stop => return Ok(()),
        Decision::Go => {}
    }
    let document = Document {
        class: &proposal.class,
        text: &proposal.document,
        version: proposal.base_version.saturating_add(1),
        captured: Some((&args.gateway, &proposal.quote_sha256)),
    };
    let done = send::import(&mut client, &args.dir, &args.sign, &document).await?;
    if args.json.json {
        return output::print_json(&json!({
            "changed": true,
            "class": done.class,
            "version": done.version,
            "digest": done.digest,
            "drift": proposal::as_json(drift),
            "falling": proposal::falling_json(&proposal.falling),
        }));
    }
    output::print(&send::said(&done))
}
