//! `watch`: what happens to gateways, as it happens.

use clap::Args;
use holdfast_proto::grpc::v1::{GatewayEvent, WatchRequest};
use serde_json::{Value, json};

use super::{DirArg, JsonArg, Outcome, client, output};

#[derive(Debug, Args)]
#[command(after_help = "\
Prints a line for each event: enrolled, recovered, renewed, suspended, resumed,
revoked. Without --after it begins with what happens from now on; with it, right
after that event, without a gap. Ends with exit code 1 where the server does,
where events in between are kept no longer, or where the lines are not taken:
go on with --after and the last sequence that was printed.

Examples:
  holdfast-verifier watch --dir /var/lib/holdfast
  holdfast-verifier watch --dir /var/lib/holdfast --after 0 --json   # all that is kept")]
pub(super) struct WatchArgs {
    #[command(flatten)]
    dir: DirArg,
    /// Begin after the event with this sequence; 0: with the oldest that is kept.
    #[arg(long, value_name = "SEQUENCE")]
    after: Option<u64>,
    /// Only of this gateway.
    #[arg(long, value_name = "ID", default_value = "")]
    gateway: String,
    #[command(flatten)]
    json: JsonArg,
}

pub(super) async fn run(args: WatchArgs) -> Outcome {
    let mut client = client::connect(&args.dir).await?;
    let request = WatchRequest {
        after_sequence: args.after,
        gateway_id: args.gateway,
    };
    let mut events = client
        .watch(request)
        .await
        .map_err(|s| client::refused(&s))?
        .into_inner();
    while let Some(answer) = events.message().await.map_err(|s| client::refused(&s))? {
        let Some(event) = answer.event else { continue };
        if args.json.json {
            // One line each: to be read as they come.
            output::print(&as_json(&event).to_string())?;
        } else {
            output::print(&as_line(&event))?;
        }
    }
    Ok(())
}

fn as_line(event: &GatewayEvent) -> String {
    format!(
        "{} {} {} {} {}",
        event.sequence,
        output::when(event.at),
        output::inert(&event.kind),
        output::inert(&event.gateway_id),
        output::inert(&event.detail_json)
    )
}

fn as_json(event: &GatewayEvent) -> Value {
    let detail: Value = serde_json::from_str(&event.detail_json).unwrap_or(Value::Null);
    json!({
        "sequence": event.sequence,
        "id": event.event_id,
        "at": event.at,
        "gateway_id": event.gateway_id,
        "number": event.number,
        "type": event.kind,
        "detail": detail,
    })
}
