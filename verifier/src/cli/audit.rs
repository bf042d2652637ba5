//! `audit list|verify`.

use anyhow::{Context as _, anyhow};
use clap::{Args, Subcommand};
use holdfast_proto::grpc::v1::{AuditRecord, ListAuditRequest};
use serde_json::{Value, json};

use super::{DirArg, Failure, JsonArg, Outcome, client, input, output};
use crate::store::{AuditChain, AuditEntry, AuditRow};

/// Records fetched at once.
const PAGE: u32 = 1000;

#[derive(Debug, Subcommand)]
pub(super) enum AuditCommand {
    /// List what was done, and what was refused, newest first.
    List(ListArgs),
    /// Walk the hash chain from the first record to the last, and print the
    /// last one's hash: note it elsewhere, and give it to --head next time.
    Verify(VerifyArgs),
}

#[derive(Debug, Args)]
pub(super) struct ListArgs {
    #[command(flatten)]
    dir: DirArg,
    /// How many at most.
    #[arg(long, default_value_t = 100, value_name = "N")]
    limit: u32,
    #[command(flatten)]
    json: JsonArg,
}

#[derive(Debug, Args)]
pub(super) struct VerifyArgs {
    #[command(flatten)]
    dir: DirArg,
    /// A hash that was noted before, in hex: refused where it is in the log no
    /// more.
    #[arg(long, value_name = "HASH")]
    head: Option<String>,
    #[command(flatten)]
    json: JsonArg,
}

pub(super) async fn run(command: AuditCommand) -> Outcome {
    match command {
        AuditCommand::List(args) => list(args).await,
        AuditCommand::Verify(args) => verify(args).await,
    }
}

/// Up to `limit` records, newest first.
async fn fetch(at: &DirArg, limit: Option<u32>) -> Result<Vec<AuditRecord>, Failure> {
    let mut client = client::connect(at).await?;
    let mut records: Vec<AuditRecord> = Vec::new();
    let mut page_token = String::new();
    loop {
        let have = u32::try_from(records.len()).unwrap_or(u32::MAX);
        let wanted = limit.map_or(PAGE, |limit| limit.saturating_sub(have).min(PAGE));
        if wanted == 0 {
            return Ok(records);
        }
        let request = ListAuditRequest {
            page_size: wanted,
            page_token,
        };
        let page = client
            .list_audit(request)
            .await
            .map_err(|s| client::refused(&s))?
            .into_inner();
        records.extend(page.records);
        if page.next_page_token.is_empty() {
            return Ok(records);
        }
        page_token = page.next_page_token;
    }
}

async fn list(args: ListArgs) -> Outcome {
    let records = fetch(&args.dir, Some(args.limit)).await?;
    if args.json.json {
        let values: Vec<Value> = records.iter().map(as_json).collect();
        return output::print_json(&json!({ "records": values }));
    }
    let rows: Vec<Vec<String>> = records
        .into_iter()
        .map(|r| {
            vec![
                r.id.to_string(),
                output::when(r.at),
                r.actor,
                r.action,
                r.subject,
                r.detail,
            ]
        })
        .collect();
    let header = ["ID", "WHEN", "WHO", "WHAT", "TO", "DETAIL"];
    output::print(&output::table(&header, &rows))
}

async fn verify(args: VerifyArgs) -> Outcome {
    let noted = args
        .head
        .as_deref()
        .map(|text| hex::decode(text).context("--head").map_err(input))
        .transpose()?;
    let mut records = fetch(&args.dir, None).await?;
    records.reverse();
    let mut chain = AuditChain::default();
    let mut seen = false;
    let count = records.len();
    for record in records {
        seen |= noted.as_deref() == Some(record.hash.as_slice());
        chain.follow(&row(record)?)?;
    }
    if noted.is_some() && !seen {
        return Err(
            anyhow!("no record has the hash of --head: the log was cut or replaced").into(),
        );
    }
    let head = chain.head().map(hex::encode).unwrap_or_default();
    if args.json.json {
        return output::print_json(&json!({ "records": count, "head": head }));
    }
    output::print(&format!(
        "{count} records follow from each other; head {head}"
    ))
}

fn row(record: AuditRecord) -> Result<AuditRow, Failure> {
    let hash = match record.hash.as_slice() {
        [] => None,
        bytes => Some(
            bytes
                .try_into()
                .map_err(|_| anyhow!("record {} has a hash of another length", record.id))?,
        ),
    };
    Ok(AuditRow {
        id: record.id,
        entry: AuditEntry {
            at: record.at,
            actor: record.actor,
            action: record.action,
            subject: record.subject,
            detail: record.detail,
        },
        hash,
    })
}

fn as_json(record: &AuditRecord) -> Value {
    json!({
        "id": record.id,
        "at": record.at,
        "actor": record.actor,
        "action": record.action,
        "subject": record.subject,
        "detail": record.detail,
        "hash": hex::encode(&record.hash),
    })
}
