//! `reference list` and `reference diff`.

use clap::Args;
use holdfast_proto::grpc::v1::{DiffGatewayRequest, ListReferenceValuesRequest};
use serde_json::{Value, json};

use crate::cli::{DirArg, JsonArg, Outcome, client, output, proposal};

#[derive(Debug, Args)]
pub(in crate::cli) struct ListArgs {
    #[command(flatten)]
    dir: DirArg,
    /// Of one class alone.
    #[arg(long, default_value = "")]
    class: String,
    #[command(flatten)]
    json: JsonArg,
}

#[derive(Debug, Args)]
pub(in crate::cli) struct DiffArgs {
    #[command(flatten)]
    dir: DirArg,
    /// The gateway whose last quote is compared.
    gateway: String,
    #[command(flatten)]
    json: JsonArg,
}

pub(super) async fn list(args: ListArgs) -> Outcome {
    let mut client = client::connect(&args.dir).await?;
    let listed = client
        .list_reference_values(ListReferenceValuesRequest { class: args.class })
        .await
        .map_err(|s| client::refused(&s))?
        .into_inner();
    output::note_cut(listed.cut, "name a class (--class) to see its newest");
    let (versions, cut) = (listed.versions, listed.cut);
    if args.json.json {
        let versions: Vec<Value> = versions
            .iter()
            .map(|v| {
                json!({
                    "class": v.class,
                    "version": v.version,
                    "digest": v.digest,
                    "imported_at": v.imported_at,
                    "imported_by": v.imported_by,
                    "captured_from": v.captured_gateway_id,
                    "golden_boot_log_sha256": v.golden_boot_log_sha256,
                    "in_force": v.in_force,
                    "ends": v.ends,
                })
            })
            .collect();
        return output::print_json(&json!({ "versions": versions, "cut": cut }));
    }
    let rows: Vec<Vec<String>> = versions
        .into_iter()
        .map(|v| {
            let ends: Vec<String> = v.ends.iter().map(|end| output::when(*end)).collect();
            vec![
                v.class,
                v.version.to_string(),
                if v.in_force { "yes" } else { "-" }.to_owned(),
                output::when(v.imported_at),
                v.imported_by,
                v.digest,
                v.captured_gateway_id,
                ends.join(" "),
            ]
        })
        .collect();
    let header = [
        "CLASS",
        "VERSION",
        "IN FORCE",
        "IMPORTED",
        "BY",
        "SHA-256",
        "CAPTURED FROM",
        "ENDS",
    ];
    output::print(&output::table(&header, &rows))
}

pub(super) async fn diff(args: DiffArgs) -> Outcome {
    let mut client = client::connect(&args.dir).await?;
    let answer = client
        .diff_gateway(DiffGatewayRequest {
            gateway_id: args.gateway,
        })
        .await
        .map_err(|s| client::refused(&s))?
        .into_inner();
    let drift = proposal::drift_of(answer.drift.as_ref())?;
    if args.json.json {
        return output::print_json(&proposal::as_json(drift));
    }
    output::print(&proposal::text(drift))
}
