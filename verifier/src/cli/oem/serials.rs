//! What is on record of OEMs, over the admin socket.

use std::{fs, path::PathBuf};

use anyhow::Context as _;
use clap::Args;
use holdfast_proto::grpc::v1::{
    AllowOemSerialsRequest, AllowedSerial, ListOemAnchorsRequest, ListOemSerialsRequest,
    RemoveOemSerialsRequest, WithdrawOemRequest,
};
use serde_json::json;

use crate::cli::{DirArg, JsonArg, Outcome, client, input, output};

/// Entries asked for at once.
const PAGE: u32 = 1000;
/// Serial numbers sent in one call.
const CALL: usize = 10_000;

#[derive(Debug, Args)]
pub(in crate::cli) struct ListArgs {
    #[command(flatten)]
    dir: DirArg,
    #[command(flatten)]
    json: JsonArg,
}

#[derive(Debug, Args)]
pub(in crate::cli) struct Products {
    #[command(flatten)]
    dir: DirArg,
    /// The OEM, by the name that its certificates were imported under.
    #[arg(long, value_name = "NAME")]
    oem: String,
    /// Serial numbers, as in the subject of the products' IDevIDs.
    #[arg(value_name = "SERIAL", required_unless_present = "from")]
    serials: Vec<String>,
    /// A file with more of them, one a line.
    #[arg(long, value_name = "FILE")]
    from: Option<PathBuf>,
    #[command(flatten)]
    json: JsonArg,
}

#[derive(Debug, Args)]
pub(in crate::cli) struct AllowArgs {
    #[command(flatten)]
    products: Products,
    /// Reference-value class that they are admitted to.
    #[arg(long, default_value = "default")]
    class: String,
}

#[derive(Debug, Args)]
pub(in crate::cli) struct RemoveArgs {
    #[command(flatten)]
    products: Products,
}

#[derive(Debug, Args)]
pub(in crate::cli) struct WithdrawArgs {
    #[command(flatten)]
    dir: DirArg,
    /// The OEM, by the name that its certificates were imported under.
    #[arg(long, value_name = "NAME")]
    oem: String,
    /// Only the certificate with this SHA-256. Default: every one of the OEM.
    #[arg(
        long,
        value_name = "HEX",
        default_value = "",
        hide_default_value = true
    )]
    certificate: String,
    /// Why: one line, for the record.
    #[arg(long)]
    reason: String,
    #[command(flatten)]
    json: JsonArg,
}

pub(super) async fn withdraw(args: WithdrawArgs) -> Outcome {
    let mut client = client::connect(&args.dir).await?;
    let request = WithdrawOemRequest {
        oem: args.oem.clone(),
        certificate_sha256: args.certificate.to_ascii_lowercase(),
        reason: args.reason,
    };
    let done = client
        .withdraw_oem(request)
        .await
        .map_err(|s| client::refused(&s))?
        .into_inner();
    if args.json.json {
        return output::print_json(&json!({
            "oem": args.oem,
            "certificates": done.certificates,
            "gateways_suspended": done.gateway_ids,
            "serials_removed": done.serials_removed,
        }));
    }
    output::print(&format!(
        "{} certificates of OEM {} withdrawn; {} gateways suspended, their LDevIDs revoked; {} \
         serial numbers taken off the list",
        done.certificates,
        output::inert(&args.oem),
        done.gateway_ids.len(),
        done.serials_removed
    ))
}

pub(super) async fn allow(args: AllowArgs) -> Outcome {
    let AllowArgs { products, class } = args;
    let serials = products.read()?;
    let mut client = client::connect(&products.dir).await?;
    let mut changed = 0;
    for some in serials.chunks(CALL) {
        let request = AllowOemSerialsRequest {
            oem: products.oem.clone(),
            serials: some.to_vec(),
            class: class.clone(),
        };
        let done = client
            .allow_oem_serials(request)
            .await
            .map_err(|s| client::refused(&s))?;
        changed += done.into_inner().changed;
    }
    if products.json.json {
        return output::print_json(&json!({ "changed": changed }));
    }
    output::print(&format!(
        "{changed} of {} serial numbers put on the list",
        serials.len()
    ))
}

pub(super) async fn remove(args: RemoveArgs) -> Outcome {
    let products = args.products;
    let serials = products.read()?;
    let mut client = client::connect(&products.dir).await?;
    let mut removed = 0;
    for some in serials.chunks(CALL) {
        let request = RemoveOemSerialsRequest {
            oem: products.oem.clone(),
            serials: some.to_vec(),
        };
        let done = client
            .remove_oem_serials(request)
            .await
            .map_err(|s| client::refused(&s))?;
        removed += done.into_inner().removed;
    }
    if products.json.json {
        return output::print_json(&json!({ "removed": removed }));
    }
    output::print(&format!(
        "{removed} of {} serial numbers taken off the list",
        serials.len()
    ))
}

impl Products {
    fn read(&self) -> Result<Vec<String>, crate::cli::Failure> {
        let mut serials = self.serials.clone();
        if let Some(path) = &self.from {
            let text = fs::read_to_string(path)
                .with_context(|| path.display().to_string())
                .map_err(input)?;
            let lines = text.lines().map(str::trim).filter(|line| !line.is_empty());
            serials.extend(lines.map(str::to_owned));
        }
        Ok(serials)
    }
}

pub(super) async fn list(args: ListArgs) -> Outcome {
    let mut client = client::connect(&args.dir).await?;
    let mut all: Vec<AllowedSerial> = Vec::new();
    loop {
        let last = all.last().cloned().unwrap_or_default();
        let request = ListOemSerialsRequest {
            page_size: PAGE,
            after_oem: last.oem,
            after_serial: last.serial,
        };
        let page = client
            .list_oem_serials(request)
            .await
            .map_err(|s| client::refused(&s))?
            .into_inner()
            .serials;
        let full = u32::try_from(page.len()) == Ok(PAGE);
        all.extend(page);
        if !full {
            break;
        }
    }
    if args.json.json {
        let values: Vec<_> = all
            .iter()
            .map(|s| {
                json!({
                    "oem": s.oem,
                    "serial": s.serial,
                    "class": s.class,
                    "added_at": s.added_at,
                })
            })
            .collect();
        return output::print_json(&json!({ "serials": values }));
    }
    let rows: Vec<Vec<String>> = all
        .into_iter()
        .map(|s| vec![s.oem, s.serial, s.class, output::when(s.added_at)])
        .collect();
    output::print(&output::table(&["OEM", "SERIAL", "CLASS", "SINCE"], &rows))
}

pub(super) async fn anchors(args: ListArgs) -> Outcome {
    let mut client = client::connect(&args.dir).await?;
    let listed = client
        .list_oem_anchors(ListOemAnchorsRequest {})
        .await
        .map_err(|s| client::refused(&s))?
        .into_inner()
        .anchors;
    if args.json.json {
        let values: Vec<_> = listed
            .iter()
            .map(|a| {
                json!({
                    "oem": a.oem,
                    "sha256": a.sha256,
                    "subject": a.subject,
                    "root": a.root,
                    "not_after": a.not_after,
                })
            })
            .collect();
        return output::print_json(&json!({ "anchors": values }));
    }
    let rows: Vec<Vec<String>> = listed
        .into_iter()
        .map(|a| {
            let kind = if a.root { "root" } else { "intermediate" };
            let short = a.sha256.chars().take(16).collect();
            vec![
                a.oem,
                short,
                kind.to_owned(),
                output::when(a.not_after),
                a.subject,
            ]
        })
        .collect();
    output::print(&output::table(
        &["OEM", "SHA-256", "KIND", "VALID UNTIL", "SUBJECT"],
        &rows,
    ))
}
