//! `endorsement import|list`: TPM vendors' CA certificates.

use std::{
    fs,
    path::{Path, PathBuf},
};

use anyhow::{Context as _, anyhow};
use clap::{Args, Subcommand};
use holdfast_proto::grpc::v1::{ImportEndorsementsRequest, ListEndorsementsRequest};
use serde_json::json;

use super::{DirArg, JsonArg, Outcome, client, input, output};

/// A certificate file; a vendor's whole bundle is below 1 MiB.
const FILE_MAX: u64 = 4 * 1024 * 1024;

#[derive(Debug, Subcommand)]
pub(super) enum EndorsementCommand {
    /// Trust the CA certificates in these files and folders. Self-signed ones
    /// become roots, the others intermediates. Takes effect at once.
    Import(ImportArgs),
    /// List what is trusted.
    List(ListArgs),
}

#[derive(Debug, Args)]
pub(super) struct ImportArgs {
    #[command(flatten)]
    dir: DirArg,
    /// PEM (any number of certificates) or DER files, or folders of them
    /// (.pem, .crt, .cer, .der).
    #[arg(required = true, value_name = "PATH")]
    paths: Vec<PathBuf>,
    #[command(flatten)]
    json: JsonArg,
}

#[derive(Debug, Args)]
pub(super) struct ListArgs {
    #[command(flatten)]
    dir: DirArg,
    #[command(flatten)]
    json: JsonArg,
}

pub(super) async fn run(command: EndorsementCommand) -> Outcome {
    match command {
        EndorsementCommand::Import(args) => import(args).await,
        EndorsementCommand::List(args) => list(args).await,
    }
}

async fn import(args: ImportArgs) -> Outcome {
    let mut certificates = Vec::new();
    for path in &args.paths {
        read(path, &mut certificates).map_err(input)?;
    }
    if certificates.is_empty() {
        return Err(input(anyhow!("no .pem, .crt, .cer or .der files there")));
    }
    let mut client = client::connect(&args.dir).await?;
    let done = client
        .import_endorsements(ImportEndorsementsRequest { certificates })
        .await
        .map_err(|s| client::refused(&s))?
        .into_inner();
    if args.json.json {
        return output::print_json(&json!({
            "roots": done.roots,
            "intermediates": done.intermediates,
            "already_known": done.already_known,
        }));
    }
    output::print(&format!(
        "{} roots and {} intermediates imported, {} known already",
        done.roots, done.intermediates, done.already_known
    ))
}

async fn list(args: ListArgs) -> Outcome {
    let mut client = client::connect(&args.dir).await?;
    let listed = client
        .list_endorsements(ListEndorsementsRequest {})
        .await
        .map_err(|s| client::refused(&s))?
        .into_inner()
        .endorsements;
    if args.json.json {
        let values: Vec<_> = listed
            .iter()
            .map(|e| {
                json!({
                    "sha256": e.sha256,
                    "subject": e.subject,
                    "root": e.root,
                    "not_after": e.not_after,
                })
            })
            .collect();
        return output::print_json(&json!({ "endorsements": values }));
    }
    let rows: Vec<Vec<String>> = listed
        .into_iter()
        .map(|e| {
            let kind = if e.root { "root" } else { "intermediate" };
            let short = e.sha256.chars().take(16).collect();
            vec![short, kind.to_owned(), output::when(e.not_after), e.subject]
        })
        .collect();
    output::print(&output::table(
        &["SHA-256", "KIND", "VALID UNTIL", "SUBJECT"],
        &rows,
    ))
}

/// The contents of a file, or of the certificate files of a folder.
pub(super) fn read(path: &Path, into: &mut Vec<Vec<u8>>) -> Result<(), anyhow::Error> {
    let meta = fs::metadata(path).with_context(|| path.display().to_string())?;
    if !meta.is_dir() {
        into.push(read_file(path, &meta)?);
        return Ok(());
    }
    let entries = fs::read_dir(path).with_context(|| path.display().to_string())?;
    let mut files: Vec<PathBuf> = entries
        .map(|entry| entry.map(|e| e.path()))
        .collect::<Result<_, _>>()
        .with_context(|| path.display().to_string())?;
    files.sort();
    for file in files {
        let extension = file
            .extension()
            .and_then(|e| e.to_str())
            .map(str::to_ascii_lowercase);
        let certificate = matches!(extension.as_deref(), Some("pem" | "crt" | "cer" | "der"));
        if certificate {
            let meta = fs::metadata(&file).with_context(|| file.display().to_string())?;
            into.push(read_file(&file, &meta)?);
        }
    }
    Ok(())
}

fn read_file(path: &Path, meta: &fs::Metadata) -> Result<Vec<u8>, anyhow::Error> {
    if !meta.is_file() || meta.len() > FILE_MAX {
        return Err(anyhow!("{} is not a file of at most 4 MiB", path.display()));
    }
    fs::read(path).with_context(|| path.display().to_string())
}
