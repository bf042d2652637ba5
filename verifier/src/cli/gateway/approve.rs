//! `gateway approve`: accepts exactly the drift that a gateway was refused for.

use anyhow::anyhow;
use clap::Args;
use holdfast_proto::grpc::v1::{
    ApproveGatewayRequest, ProposeReferenceValuesRequest, propose_reference_values_request::Change,
};
use serde_json::json;

use super::as_json;
use crate::{
    cli::{
        Outcome, client, output,
        owner::SignArgs,
        proposal::{self, DecideArgs, Decision},
    },
    owner::Kind,
};

#[derive(Debug, Args)]
pub(in crate::cli) struct ApproveArgs {
    #[command(flatten)]
    change: super::ChangeArgs,
    /// Accept the old values until then only: 2026-12-01T00:00:00Z, 2026-12-01,
    /// or from now: 12h, 14d. Else they stay beside the new ones.
    #[arg(long, value_name = "DATE", value_parser = proposal::end)]
    window: Option<i64>,
    /// Accept the old values no longer: gateways that are not updated yet will
    /// be refused.
    #[arg(long, conflicts_with = "window")]
    replace: bool,
    #[command(flatten)]
    decide: DecideArgs,
    #[command(flatten)]
    sign: SignArgs,
}

pub(super) async fn run(args: ApproveArgs) -> Outcome {
    let super::ChangeArgs { one, reason } = args.change;
    let json = one.json.json;
    let mut client = client::connect(&one.dir).await?;
    let replace = args.replace || args.window.is_some();
    let change = if replace {
        Change::Replace
    } else {
        Change::Add
    };
    let proposal = client
        .propose_reference_values(ProposeReferenceValuesRequest {
            gateway_id: one.id.clone(),
            class: String::new(),
            change: change.into(),
            until: args.window.unwrap_or_default(),
            drift_only: true,
        })
        .await
        .map_err(|s| client::refused(&s))?
        .into_inner();
    let drift = proposal::drift_of(proposal.drift.as_ref())?;
    if drift.pcrs.is_empty() {
        return Err(anyhow!(
            "nothing to approve: class {} accepts by now what the gateway quoted; lift its \
             suspension with: holdfast-verifier gateway resume {}",
            proposal.class,
            one.id
        )
        .into());
    }
    let version = proposal.base_version.saturating_add(1);
    let question = format!(
        "Sign this as version {version} of the reference values of class {}, and lift the suspension?",
        proposal.class
    );
    match args.decide.decide(&proposal, &question, json)? {
        Decision::Stop => return Ok(()),
        Decision::Go => {}
    }
    let document = proposal.document.as_bytes();
    let statement = args.sign.sign(
        &one.dir,
        Kind::ReferenceValues,
        &proposal.class,
        version,
        document,
    )?;
    let done = client
        .approve_gateway(ApproveGatewayRequest {
            gateway_id: one.id.clone(),
            document: proposal.document.clone(),
            statement,
            quote_sha256: proposal.quote_sha256.clone(),
            reason,
        })
        .await
        .map_err(|s| client::refused(&s))?
        .into_inner();
    if json {
        return output::print_json(&json!({
            "class": done.class,
            "version": done.version,
            "digest": done.digest,
            "drift": proposal::as_json(drift),
            "falling": proposal::falling_json(&proposal.falling),
            "gateway": done.gateway.as_ref().map(as_json),
        }));
    }
    output::print(&format!(
        "approved: reference values of class {} are now version {} (SHA-256 {})\n\
         gateway {} may come back: holdfast-attester recover",
        done.class, done.version, done.digest, one.id
    ))
}
