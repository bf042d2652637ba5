//! `admission pending|approve|deny|forget|allow|list|remove|bundle`.

use std::path::PathBuf;

use anyhow::anyhow;
use clap::{Args, Subcommand};
use holdfast_proto::grpc::v1::{
    AdmitDeviceRequest, AdmittedDevice, ApprovePendingRequest, CreateBundleRequest,
    DenyPendingRequest, ListDevicesRequest, ListPendingRequest, PendingGateway,
    RemoveDeviceRequest,
};
use serde_json::{Value, json};

use super::{DirArg, Failure, JsonArg, Outcome, client, input, output, token::seconds};
use crate::config::{HomeError, files};

/// Rows fetched at once.
const PAGE: u32 = 500;

#[derive(Debug, Subcommand)]
pub(super) enum AdmissionCommand {
    /// List gateways that proved their TPM and wait for approval.
    Pending(PlainArgs),
    /// Admit one that waits: its next `enroll` is appraised, and granted if good.
    Approve(ApproveArgs),
    /// Turn one away that waits or is in; it is refused until it is approved or forgotten. One
    /// that is in is suspended at once.
    Deny(DenyArgs),
    /// Forget one that waits or was denied: it may ask anew.
    Forget(OneArgs),
    /// Admit a device by name, before it ever called.
    #[command(after_help = "\
Examples:
  holdfast-verifier admission allow --dir D --ek-sha256 4f2a... --class edge   (doctor on the gateway shows it)

A product that its OEM certified is admitted by its serial number: oem allow.")]
    Allow(AllowArgs),
    /// List devices that are admitted by name.
    List(PlainArgs),
    /// Take an admission back; what the device holds already stays (gateway revoke).
    Remove(NameArgs),
    /// Make a bundle without a token: it pins this verifier, and admits nobody.
    Bundle(BundleArgs),
}

#[derive(Debug, Args)]
pub(super) struct PlainArgs {
    #[command(flatten)]
    dir: DirArg,
    #[command(flatten)]
    json: JsonArg,
}

#[derive(Debug, Args)]
pub(super) struct OneArgs {
    #[command(flatten)]
    dir: DirArg,
    /// Gateway id, as `pending` shows it.
    id: String,
    #[command(flatten)]
    json: JsonArg,
}

#[derive(Debug, Args)]
pub(super) struct ApproveArgs {
    #[command(flatten)]
    one: OneArgs,
    /// Class of reference values. Default: as proposed.
    #[arg(long, default_value = "", hide_default_value = true)]
    class: String,
}

#[derive(Debug, Args)]
pub(super) struct DenyArgs {
    #[command(flatten)]
    one: OneArgs,
    /// Why: one line, for the record.
    #[arg(long, default_value = "")]
    reason: String,
}

#[derive(Debug, Args)]
pub(super) struct Named {
    /// SHA-256 of the EK's SubjectPublicKeyInfo, hex.
    #[arg(long, value_name = "HEX")]
    ek_sha256: String,
}

impl Named {
    /// Kind and value, as the wire has them.
    fn split(self) -> (String, String) {
        ("ek-sha256".to_owned(), self.ek_sha256.to_ascii_lowercase())
    }
}

#[derive(Debug, Args)]
pub(super) struct AllowArgs {
    #[command(flatten)]
    dir: DirArg,
    #[command(flatten)]
    name: Named,
    /// Class of reference values that it is held to.
    #[arg(long, default_value = "default")]
    class: String,
    /// Why it is admitted: one line, for the record.
    #[arg(long, default_value = "")]
    note: String,
    #[command(flatten)]
    json: JsonArg,
}

#[derive(Debug, Args)]
pub(super) struct NameArgs {
    #[command(flatten)]
    dir: DirArg,
    #[command(flatten)]
    name: Named,
    #[command(flatten)]
    json: JsonArg,
}

#[derive(Debug, Args)]
pub(super) struct BundleArgs {
    #[command(flatten)]
    dir: DirArg,
    /// Class that the gateway is told; the verifier goes by its own record.
    #[arg(long, default_value = "default")]
    class: String,
    /// How long it may be used: a number and s, m, h or d; up to 2 years.
    #[arg(long, default_value = "365d", value_name = "TIME", value_parser = seconds)]
    valid_for: u32,
    /// What gateways dial, where that is not the server's own name.
    #[arg(long, value_name = "HOST:PORT")]
    server: Option<String>,
    /// Write the bundle to a new file instead of printing it.
    #[arg(long, value_name = "FILE")]
    output: Option<PathBuf>,
}

pub(super) async fn run(command: AdmissionCommand) -> Outcome {
    match command {
        AdmissionCommand::Pending(args) => pending(args).await,
        AdmissionCommand::Approve(ApproveArgs { one, class }) => {
            let mut client = client::connect(&one.dir).await?;
            let request = ApprovePendingRequest {
                gateway_id: one.id,
                class,
            };
            let answer = client
                .approve_pending(request)
                .await
                .map_err(|s| client::refused(&s))?;
            said_device("approved", answer.into_inner().device, one.json)
        }
        AdmissionCommand::Deny(DenyArgs { one, reason }) => deny(one, reason, false).await,
        AdmissionCommand::Forget(one) => deny(one, String::new(), true).await,
        AdmissionCommand::Allow(args) => {
            let mut client = client::connect(&args.dir).await?;
            let (kind, value) = args.name.split();
            let request = AdmitDeviceRequest {
                kind,
                value,
                class: args.class,
                note: args.note,
            };
            let answer = client
                .admit_device(request)
                .await
                .map_err(|s| client::refused(&s))?;
            said_device("admitted", answer.into_inner().device, args.json)
        }
        AdmissionCommand::List(args) => list(args).await,
        AdmissionCommand::Remove(args) => {
            let mut client = client::connect(&args.dir).await?;
            let (kind, value) = args.name.split();
            client
                .remove_device(RemoveDeviceRequest {
                    kind: kind.clone(),
                    value: value.clone(),
                })
                .await
                .map_err(|s| client::refused(&s))?;
            if args.json.json {
                return output::print_json(&json!({ "kind": kind, "removed": value }));
            }
            output::print(&format!("{} is admitted no more", output::inert(&value)))
        }
        AdmissionCommand::Bundle(args) => bundle(args).await,
    }
}

async fn bundle(args: BundleArgs) -> Outcome {
    if let Some(file) = &args.output
        && file.symlink_metadata().is_ok()
    {
        return Err(input(HomeError::Exists { path: file.clone() }));
    }
    let mut client = client::connect(&args.dir).await?;
    let request = CreateBundleRequest {
        class: args.class,
        valid_for_seconds: args.valid_for,
        server_url: args.server.unwrap_or_default(),
    };
    let made = client
        .create_bundle(request)
        .await
        .map_err(|s| client::refused(&s))?
        .into_inner();
    match &args.output {
        None => output::print(&made.bundle),
        Some(file) => {
            files::write_new(file, format!("{}\n", made.bundle).as_bytes(), 0o600)?;
            output::print(&format!(
                "bundle without a token written to {}; usable until {}",
                file.display(),
                output::when(made.expires)
            ))
        }
    }
}

async fn deny(one: OneArgs, reason: String, forget: bool) -> Outcome {
    let mut client = client::connect(&one.dir).await?;
    let request = DenyPendingRequest {
        gateway_id: one.id.clone(),
        reason,
        forget,
    };
    let answer = client
        .deny_pending(request)
        .await
        .map_err(|s| client::refused(&s))?
        .into_inner();
    if one.json.json {
        let value = answer.pending.as_ref().map_or_else(
            || json!({ "gateway_id": one.id, "forgotten": true }),
            |denied| {
                let mut value = pending_json(denied);
                if let Some(object) = value.as_object_mut() {
                    object.insert("suspended".into(), answer.suspended.into());
                }
                value
            },
        );
        return output::print_json(&value);
    }
    let what = match (forget, answer.suspended) {
        (true, _) => "forgotten",
        (false, false) => "denied",
        (false, true) => "denied; it was in: suspended, and its LDevIDs revoked",
    };
    output::print(&format!("{} {what}", output::inert(&one.id)))
}

async fn pending(args: PlainArgs) -> Outcome {
    let mut client = client::connect(&args.dir).await?;
    let (mut all, mut page_token) = (Vec::new(), String::new());
    loop {
        let request = ListPendingRequest {
            page_size: PAGE,
            page_token,
        };
        let page = client
            .list_pending(request)
            .await
            .map_err(|s| client::refused(&s))?
            .into_inner();
        all.extend(page.pending);
        page_token = page.next_page_token;
        if page_token.is_empty() {
            break;
        }
    }
    if args.json.json {
        let values: Vec<Value> = all.iter().map(pending_json).collect();
        return output::print_json(&json!({ "pending": values }));
    }
    let rows: Vec<Vec<String>> = all
        .into_iter()
        .map(|p| {
            let state = if p.denied {
                format!("denied: {}", p.reason)
            } else {
                format!("waits until {}", output::when(p.expires))
            };
            vec![
                p.gateway_id,
                p.class,
                p.tpm,
                p.address,
                output::when(p.first_seen),
                output::when(p.last_seen),
                state,
            ]
        })
        .collect();
    let header = ["GATEWAY", "CLASS", "TPM", "FROM", "FIRST", "LAST", "STATE"];
    output::print(&output::table(&header, &rows))
}

async fn list(args: PlainArgs) -> Outcome {
    let mut client = client::connect(&args.dir).await?;
    let (mut all, mut page_token) = (Vec::new(), String::new());
    loop {
        let request = ListDevicesRequest {
            page_size: PAGE,
            page_token,
        };
        let page = client
            .list_devices(request)
            .await
            .map_err(|s| client::refused(&s))?
            .into_inner();
        all.extend(page.devices);
        page_token = page.next_page_token;
        if page_token.is_empty() {
            break;
        }
    }
    if args.json.json {
        let values: Vec<Value> = all.iter().map(device_json).collect();
        return output::print_json(&json!({ "devices": values }));
    }
    let rows: Vec<Vec<String>> = all
        .into_iter()
        .map(|d| {
            vec![
                d.kind,
                d.value,
                d.class,
                output::when(d.added_at),
                d.added_by,
                d.note,
            ]
        })
        .collect();
    let header = ["BY", "VALUE", "CLASS", "ADDED", "ADDED BY", "NOTE"];
    output::print(&output::table(&header, &rows))
}

fn said_device(what: &str, device: Option<AdmittedDevice>, json: JsonArg) -> Result<(), Failure> {
    let device = device.ok_or_else(|| anyhow!("the server answered without a device"))?;
    if json.json {
        return output::print_json(&device_json(&device));
    }
    output::print(&format!(
        "{what}: {} {}, class {}; its next `holdfast-attester enroll` is appraised",
        output::inert(&device.kind),
        output::inert(&device.value),
        output::inert(&device.class)
    ))
}

fn device_json(device: &AdmittedDevice) -> Value {
    json!({
        "kind": device.kind,
        "value": device.value,
        "class": device.class,
        "note": device.note,
        "added_at": device.added_at,
        "added_by": device.added_by,
    })
}

fn pending_json(pending: &PendingGateway) -> Value {
    json!({
        "gateway_id": pending.gateway_id,
        "denied": pending.denied,
        "class": pending.class,
        "tpm": pending.tpm,
        "address": pending.address,
        "first_seen": pending.first_seen,
        "last_seen": pending.last_seen,
        "expires": pending.expires,
        "reason": pending.reason,
    })
}
