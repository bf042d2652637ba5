//! `gateway list|show|approve|suspend|resume|revoke`.

mod approve;

use anyhow::anyhow;
use clap::{Args, Subcommand};
use holdfast_proto::grpc::v1::{
    Gateway, GetGatewayRequest, ListGatewaysRequest, ResumeGatewayRequest, RevokeGatewayRequest,
    SuspendGatewayRequest,
};
use serde_json::{Value, json};

use super::{DirArg, Failure, JsonArg, Outcome, client, output};

/// Gateways fetched at once.
const PAGE: u32 = 500;

#[derive(Debug, Subcommand)]
pub(super) enum GatewayCommand {
    /// List all gateways on record.
    List(ListArgs),
    /// Show one, with the reasons of its last verdict.
    Show(OneArgs),
    /// Accept exactly the drift that one was refused for, and let it come back
    /// with `holdfast-attester recover`. Shows the drift first, and asks.
    #[command(after_help = "\
New values of the PCRs that differ become good for the whole class, as its next
version; the suspension is lifted in the same step, or neither is done. Refused
where the gateway was refused for anything but its PCRs, or where it or the
class changed since it was shown.

Examples:
  The new values beside the old:
    holdfast-verifier gateway approve --dir /var/lib/holdfast 01ab...
  The old ones for another two weeks, while others are updated:
    holdfast-verifier gateway approve --dir /var/lib/holdfast --window 14d 01ab...
  The old ones no longer:
    holdfast-verifier gateway approve --dir /var/lib/holdfast --replace 01ab...")]
    Approve(approve::ApproveArgs),
    /// Stop trusting one for the time being; its LDevIDs are revoked.
    Suspend(ChangeArgs),
    /// Lift a suspension: the gateway comes back with `holdfast-attester recover`.
    Resume(ChangeArgs),
    /// Never trust one again; its LDevIDs are revoked. Cannot be undone.
    Revoke(ChangeArgs),
}

#[derive(Debug, Args)]
pub(super) struct ListArgs {
    #[command(flatten)]
    dir: DirArg,
    #[command(flatten)]
    json: JsonArg,
}

#[derive(Debug, Args)]
pub(super) struct OneArgs {
    #[command(flatten)]
    dir: DirArg,
    /// Gateway id: 66 hex digits, as `list` shows it.
    id: String,
    #[command(flatten)]
    json: JsonArg,
}

#[derive(Debug, Args)]
pub(super) struct ChangeArgs {
    #[command(flatten)]
    one: OneArgs,
    /// Why: one line, for the record.
    #[arg(long, default_value = "")]
    reason: String,
}

pub(super) async fn run(command: GatewayCommand) -> Outcome {
    match command {
        GatewayCommand::List(args) => list(args).await,
        GatewayCommand::Show(args) => {
            let mut client = client::connect(&args.dir).await?;
            let request = GetGatewayRequest {
                gateway_id: args.id,
            };
            let answer = client
                .get_gateway(request)
                .await
                .map_err(|s| client::refused(&s))?;
            show(answer.into_inner().gateway, args.json)
        }
        GatewayCommand::Approve(args) => approve::run(args).await,
        GatewayCommand::Suspend(ChangeArgs { one, reason }) => {
            let mut client = client::connect(&one.dir).await?;
            let request = SuspendGatewayRequest {
                gateway_id: one.id,
                reason,
            };
            let answer = client
                .suspend_gateway(request)
                .await
                .map_err(|s| client::refused(&s))?;
            show(answer.into_inner().gateway, one.json)
        }
        GatewayCommand::Resume(ChangeArgs { one, reason }) => {
            let mut client = client::connect(&one.dir).await?;
            let request = ResumeGatewayRequest {
                gateway_id: one.id,
                reason,
            };
            let answer = client
                .resume_gateway(request)
                .await
                .map_err(|s| client::refused(&s))?;
            show(answer.into_inner().gateway, one.json)
        }
        GatewayCommand::Revoke(ChangeArgs { one, reason }) => {
            let mut client = client::connect(&one.dir).await?;
            let request = RevokeGatewayRequest {
                gateway_id: one.id,
                reason,
            };
            let answer = client
                .revoke_gateway(request)
                .await
                .map_err(|s| client::refused(&s))?;
            show(answer.into_inner().gateway, one.json)
        }
    }
}

async fn list(args: ListArgs) -> Outcome {
    let mut client = client::connect(&args.dir).await?;
    let mut gateways = Vec::new();
    let mut page_token = String::new();
    loop {
        let request = ListGatewaysRequest {
            page_size: PAGE,
            page_token,
        };
        let page = client
            .list_gateways(request)
            .await
            .map_err(|s| client::refused(&s))?
            .into_inner();
        gateways.extend(page.gateways);
        if page.next_page_token.is_empty() {
            break;
        }
        page_token = page.next_page_token;
    }
    if args.json.json {
        let values: Vec<Value> = gateways.iter().map(as_json).collect();
        return output::print_json(&json!({ "gateways": values }));
    }
    let rows: Vec<Vec<String>> = gateways
        .into_iter()
        .map(|g| {
            vec![
                g.gateway_id,
                g.state,
                g.class,
                output::when(g.last_affirmed),
                output::when(g.ldevid_not_after),
                g.state_reason,
            ]
        })
        .collect();
    let header = [
        "GATEWAY",
        "STATE",
        "CLASS",
        "LAST AFFIRMED",
        "LDEVID UNTIL",
        "REASON",
    ];
    output::print(&output::table(&header, &rows))
}

fn show(gateway: Option<Gateway>, json: JsonArg) -> Result<(), Failure> {
    let gateway = gateway.ok_or_else(|| anyhow!("the server answered without a gateway"))?;
    if json.json {
        return output::print_json(&as_json(&gateway));
    }
    let fields = [
        ("gateway", gateway.gateway_id),
        ("state", gateway.state),
        ("reason", gateway.state_reason),
        ("class", gateway.class),
        ("enrolled", output::when(gateway.enrolled_at)),
        ("last affirmed", output::when(gateway.last_affirmed)),
        ("LDevID serial", gateway.ldevid_serial),
        ("LDevID until", output::when(gateway.ldevid_not_after)),
        (
            "TPM",
            format!("{} {}", gateway.tpm_manufacturer, gateway.tpm_model),
        ),
    ];
    let mut lines: Vec<String> = fields
        .iter()
        .filter(|(_, value)| !value.is_empty())
        .map(|(name, value)| format!("{name:14} {}", output::inert(value)))
        .collect();
    for reason in &gateway.last_reasons {
        lines.push(format!(
            "last verdict   {}: {}; next: {}",
            output::inert(&reason.code),
            output::inert(&reason.detail),
            output::inert(&reason.next_step)
        ));
    }
    for line in &gateway.drift {
        lines.push(format!("drift          {}", output::inert(line)));
    }
    output::print(&lines.join("\n"))
}

fn as_json(gateway: &Gateway) -> Value {
    let reasons: Vec<Value> = gateway
        .last_reasons
        .iter()
        .map(|r| json!({ "code": r.code, "detail": r.detail, "next_step": r.next_step }))
        .collect();
    json!({
        "gateway_id": gateway.gateway_id,
        "class": gateway.class,
        "state": gateway.state,
        "state_reason": gateway.state_reason,
        "enrolled_at": gateway.enrolled_at,
        "last_affirmed": gateway.last_affirmed,
        "ldevid_not_after": gateway.ldevid_not_after,
        "ldevid_serial": gateway.ldevid_serial,
        "tpm_manufacturer": gateway.tpm_manufacturer,
        "tpm_model": gateway.tpm_model,
        "last_reasons": reasons,
        "drift": gateway.drift,
    })
}
