//! `gateway list|show|approve|suspend|resume|reset-clock|replace|revoke`.

mod approve;

use anyhow::anyhow;
use clap::{Args, Subcommand, ValueEnum};
use holdfast_proto::grpc::v1::{
    Awaited, EvidenceSeen, Gateway, GetGatewayRequest, ListGatewaysRequest, RecordedEk,
    ReplaceGatewayRequest, Replacement, ResetGatewayClockRequest, ResumeGatewayRequest,
    RevocationReason, RevokeGatewayRequest, SuspendGatewayRequest,
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
    /// Let one whose TPM was cleared (TPM2_Clear) enrol again, though its TPM's
    /// clock is behind what was seen of it. Its LDevIDs are revoked.
    #[command(after_help = "\
Only a gateway that came by its IAK needs this: the IAK survives TPM2_Clear, and
the clock begins anew (docs/devid.md). Be sure that somebody did clear it: an
older copy of the TPM's state looks the same. A suspension stays: `resume` lifts it.

Example:
  holdfast-verifier gateway reset-clock --dir /var/lib/holdfast 01ab... \\
    --reason 'cleared by the firmware update of 3 May'")]
    ResetClock(ResetClockArgs),
    /// Put another in the place of a broken one: the broken one is revoked for
    /// ever, the other is admitted in its class. Cannot be undone.
    Replace(ReplaceArgs),
    /// Never trust one again; its LDevIDs are revoked. Cannot be undone.
    #[command(after_help = "\
Within a second the verifier refuses the gateway's LDevIDs and cuts its
connections; CRLs and OCSP tell other relying parties (docs/revocation.md).

Example:
  holdfast-verifier gateway revoke --dir /var/lib/holdfast 01ab... \\
    --reason-code key-compromise --reason 'stolen from site 7'")]
    Revoke(RevokeArgs),
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
pub(super) struct ReplaceArgs {
    #[command(flatten)]
    one: OneArgs,
    /// The other: its gateway id, as `admission pending` shows it, or the
    /// SHA-256 of its EK, as doctor shows it. It must not be on record yet.
    #[arg(long, value_name = "ID")]
    by: String,
    /// Why: one line, for the record.
    #[arg(long)]
    reason: String,
}

#[derive(Debug, Args)]
pub(super) struct ResetClockArgs {
    #[command(flatten)]
    one: OneArgs,
    /// Why: one line, for the record.
    #[arg(long)]
    reason: String,
}

#[derive(Debug, Args)]
pub(super) struct ChangeArgs {
    #[command(flatten)]
    one: OneArgs,
    /// Why: one line, for the record.
    #[arg(long, default_value = "")]
    reason: String,
}

#[derive(Debug, Args)]
pub(super) struct RevokeArgs {
    #[command(flatten)]
    change: ChangeArgs,
    /// Why, as CRLs and OCSP say it.
    #[arg(long, value_enum, default_value_t = ReasonCode::Unspecified, value_name = "CODE")]
    reason_code: ReasonCode,
}

/// CRLReason (RFC 5280 §5.3.1), as far as it is of an LDevID.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(super) enum ReasonCode {
    /// None is given.
    Unspecified,
    /// The TPM, or a key in it, is in other hands.
    KeyCompromise,
    /// What the LDevID says of its holder is no longer so.
    AffiliationChanged,
    /// Another gateway or identity took its place.
    Superseded,
    /// The gateway is taken out of service.
    CessationOfOperation,
    /// It is not trusted any more.
    PrivilegeWithdrawn,
}

impl From<ReasonCode> for RevocationReason {
    fn from(code: ReasonCode) -> Self {
        match code {
            ReasonCode::Unspecified => Self::Unspecified,
            ReasonCode::KeyCompromise => Self::KeyCompromise,
            ReasonCode::AffiliationChanged => Self::AffiliationChanged,
            ReasonCode::Superseded => Self::Superseded,
            ReasonCode::CessationOfOperation => Self::CessationOfOperation,
            ReasonCode::PrivilegeWithdrawn => Self::PrivilegeWithdrawn,
        }
    }
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
        GatewayCommand::ResetClock(ResetClockArgs { one, reason }) => {
            let mut client = client::connect(&one.dir).await?;
            let request = ResetGatewayClockRequest {
                gateway_id: one.id,
                reason,
            };
            let answer = client
                .reset_gateway_clock(request)
                .await
                .map_err(|s| client::refused(&s))?;
            show(answer.into_inner().gateway, one.json)
        }
        GatewayCommand::Replace(ReplaceArgs { one, by, reason }) => {
            let mut client = client::connect(&one.dir).await?;
            let request = ReplaceGatewayRequest {
                gateway_id: one.id,
                by,
                reason,
            };
            let done = client
                .replace_gateway(request)
                .await
                .map_err(|s| client::refused(&s))?
                .into_inner()
                .replacement
                .unwrap_or_default();
            if one.json.json {
                return output::print_json(&replacement_json(&done));
            }
            output::print(&format!(
                "{} is revoked; {} is admitted in its place: it may enrol",
                output::inert(&done.old_gateway_id),
                output::inert(&done.new_gateway_id)
            ))
        }
        GatewayCommand::Revoke(RevokeArgs {
            change: ChangeArgs { one, reason },
            reason_code,
        }) => {
            let mut client = client::connect(&one.dir).await?;
            let request = RevokeGatewayRequest {
                gateway_id: one.id,
                reason,
                reason_code: RevocationReason::from(reason_code).into(),
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
                (g.eks.iter().map(|ek| ek.template.as_str()))
                    .collect::<Vec<_>>()
                    .join(" "),
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
        "EKS",
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
            format!("{} {}", gateway.tpm_manufacturer, gateway.tpm_model)
                .trim()
                .to_owned(),
        ),
        (
            "device",
            gateway
                .device
                .map(|device| format!("{} of OEM {}", device.serial, device.oem))
                .unwrap_or_default(),
        ),
        ("EK known by", gateway.endorsement_known_by),
        ("leniencies", gateway.endorsement_leniencies.join(", ")),
    ];
    let mut lines: Vec<String> = fields
        .iter()
        .filter(|(_, value)| !value.is_empty())
        .map(|(name, value)| format!("{name:14} {}", output::inert(value)))
        .collect();
    lines.extend(gateway.eks.iter().map(ek_line));
    if let Some(seen) = &gateway.evidence {
        lines.extend(evidence_lines(seen));
    }
    if let Some(awaited) = &gateway.awaited {
        lines.extend(awaited_lines(awaited));
    }
    for reason in &gateway.last_reasons {
        lines.push(format!(
            "last verdict   {}: {}; next: {}",
            output::inert(&reason.code),
            output::inert(&reason.detail),
            output::inert(&reason.next_step)
        ));
    }
    for replacement in &gateway.replacements {
        lines.push(format!(
            "replacement    {} by {} at {}: {}",
            output::inert(&replacement.old_gateway_id),
            output::inert(&replacement.new_gateway_id),
            output::when(replacement.at),
            output::inert(&replacement.reason)
        ));
    }
    for line in &gateway.drift {
        lines.push(format!("drift          {}", output::inert(line)));
    }
    output::print(&lines.join("\n"))
}

/// By when it must do what, and how its heartbeats stand.
fn awaited_lines(awaited: &Awaited) -> Vec<String> {
    let mut lines = vec![format!(
        "attest within  {}",
        seconds(awaited.attest_within_seconds)
    )];
    let mut beats = output::inert(&awaited.heartbeats);
    if let Some(ago) = awaited.last_beat_seconds_ago {
        beats += &format!(", last recorded {ago} s ago");
    }
    if let Some(within) = awaited.beat_within_seconds {
        beats += &format!(", the next within {}", seconds(within));
    }
    lines.push(format!("heartbeats     {beats}"));
    if let Some(within) = awaited.deadline_within_seconds {
        let (to, within) = (output::inert(&awaited.told_to_attest), seconds(within));
        lines.push(match to.as_str() {
            "" => format!("told           to begin heartbeats within {within}"),
            code => format!("told           to attest ({code}) within {within}"),
        });
    }
    lines
}

/// Of up-time, from now.
fn seconds(seconds: i64) -> String {
    match seconds {
        ..0 => "OVERDUE: it is about to be suspended".to_owned(),
        seconds => format!("{seconds} s, while the verifier is up"),
    }
}

/// One EK: the record says of each how it was endorsed.
fn ek_line(ek: &RecordedEk) -> String {
    let mut text = format!("{} {}, {}", ek.template, ek.spki_sha256, ek.known_by);
    if !ek.leniencies.is_empty() {
        text.push_str(&format!(" with {}", ek.leniencies.join(", ")));
    }
    format!(
        "EK             {}; last shown {}",
        output::inert(&text),
        output::when(ek.last_shown)
    )
}

fn evidence_lines(seen: &EvidenceSeen) -> [String; 3] {
    let boot_log = match seen.boot_log_sha256.as_str() {
        "" => "none: what the PCRs mean is not known",
        digest => digest,
    };
    let ima = seen.ima.map_or_else(
        || "none that a quoted PCR 10 proves".to_owned(),
        |ima| {
            format!(
                "{} entries since boot {}: {} files, {} unknown, {} mismatched, {} violations",
                ima.entries,
                ima.reset_count,
                ima.files,
                ima.unknown,
                ima.mismatched,
                ima.violations
            )
        },
    );
    [
        format!("last quote     {}", output::when(seen.at)),
        format!("boot log       {}", output::inert(boot_log)),
        format!("IMA log        {ima}"),
    ]
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
        "endorsement_known_by": gateway.endorsement_known_by,
        "endorsement_leniencies": gateway.endorsement_leniencies,
        "eks": gateway.eks.iter().map(ek_json).collect::<Vec<_>>(),
        "device": gateway.device.as_ref().map(|device| json!({
            "oem": device.oem,
            "serial": device.serial,
            "hardware_serial": device.hardware_serial,
            "idevid_certificate_sha256": device.idevid_certificate_sha256,
            "iak_certificate_sha256": device.iak_certificate_sha256,
        })),
        "last_reasons": reasons,
        "evidence": gateway.evidence.as_ref().map(|seen| json!({
            "at": seen.at,
            "boot_log_sha256": seen.boot_log_sha256,
            "ima": seen.ima.map(|ima| json!({
                "entries": ima.entries,
                "reset_count": ima.reset_count,
                "files": ima.files,
                "unknown": ima.unknown,
                "mismatched": ima.mismatched,
                "violations": ima.violations,
            })),
        })),
        "awaited": gateway.awaited.as_ref().map(|awaited| json!({
            "attest_within_seconds": awaited.attest_within_seconds,
            "heartbeats": awaited.heartbeats,
            "beat_within_seconds": awaited.beat_within_seconds,
            "last_beat_seconds_ago": awaited.last_beat_seconds_ago,
            "deadline_within_seconds": awaited.deadline_within_seconds,
            "told_to_attest": Some(&awaited.told_to_attest).filter(|code| !code.is_empty()),
        })),
        "drift": gateway.drift,
        "replacements": gateway.replacements.iter().map(replacement_json).collect::<Vec<_>>(),
    })
}

fn ek_json(ek: &RecordedEk) -> Value {
    json!({
        "template": ek.template,
        "spki_sha256": ek.spki_sha256,
        "known_by": ek.known_by,
        "leniencies": ek.leniencies,
        "certificate_sha256": ek.certificate_sha256,
        "issuer": ek.issuer,
        "first_shown": ek.first_shown,
        "last_shown": ek.last_shown,
    })
}

fn replacement_json(replacement: &Replacement) -> Value {
    json!({
        "old_gateway_id": replacement.old_gateway_id,
        "new_gateway_id": replacement.new_gateway_id,
        "at": replacement.at,
        "by": replacement.by,
        "reason": replacement.reason,
    })
}
