//! `endorsement import`: certificates, CRLs, and the owner's bundle.

use std::path::PathBuf;

use anyhow::anyhow;
use clap::Args;
use holdfast_proto::grpc::v1::{
    ApplyEndorsementsRequest, EndorsementFile, ImportEndorsementsRequest,
    ImportEndorsementsResponse, ImportOemAnchorsRequest, ListEndorsementsRequest,
};
use serde_json::{Value, json};

use super::files::{self, Read};
use crate::{
    cli::{DirArg, Failure, JsonArg, Outcome, client, input, output, owner::SignArgs},
    digest::sha256,
    endorsement::EndorsementBundle,
    owner::{EVERY_CLASS, Kind},
};

/// What goes into one call: below the 16 MiB that the socket takes.
const CALL_MAX: usize = 14 * 1024 * 1024;

#[derive(Debug, Args)]
pub(in crate::cli) struct ImportArgs {
    #[command(flatten)]
    dir: DirArg,
    /// Files or folders.
    #[arg(required = true, value_name = "PATH")]
    paths: Vec<PathBuf>,
    /// Trust each certificate by itself, also where another CA issued it. For a
    /// vendor's intermediate whose signature is too weak (SHA-1), or whose root
    /// is not to be trusted for everything.
    #[arg(long)]
    as_roots: bool,
    /// These are an OEM's: they endorse IAKs and IDevIDs of its products, and no
    /// EK. NAME is yours to choose: 1 to 64 of a-z 0-9 . _ -
    #[arg(long, value_name = "NAME", conflicts_with = "as_roots")]
    oem: Option<String>,
    /// Certificates among them that were withdrawn (oem withdraw) are trusted
    /// again. Without it, one of these is a reason to import none.
    #[arg(long, requires = "oem")]
    trust_again: bool,
    #[command(flatten)]
    sign: SignArgs,
    #[command(flatten)]
    json: JsonArg,
}

pub(super) async fn run(args: ImportArgs) -> Outcome {
    let files = files::all(&args.paths).map_err(input)?;
    if let Some(oem) = &args.oem
        && !files.is_empty()
    {
        return import_oem(&args, oem, &files).await;
    }
    match files.as_slice() {
        [] => Err(input(anyhow!(
            "no .pem, .crt, .cer, .der, .p7b, .p7c or .crl files there"
        ))),
        [one] if is_bundle(&one.content) => apply(&args, one).await,
        several if several.iter().any(|file| is_bundle(&file.content)) => Err(input(anyhow!(
            "an endorsement bundle is imported alone: name it and nothing else"
        ))),
        _ => import(&args, files).await,
    }
}

/// A bundle is a JSON object; no certificate begins so.
pub(in crate::cli) fn is_bundle(content: &[u8]) -> bool {
    content.trim_ascii_start().first() == Some(&b'{')
}

async fn apply(args: &ImportArgs, file: &Read) -> Outcome {
    let name = file.path.display();
    let document = String::from_utf8(file.content.clone())
        .map_err(|_| input(anyhow!("{name} is not text in UTF-8")))?;
    EndorsementBundle::parse(&document).map_err(|e| input(anyhow!("{name}: {e}")))?;
    let mut client = client::connect(&args.dir).await?;
    let listed = client
        .list_endorsements(ListEndorsementsRequest {})
        .await
        .map_err(|s| client::refused(&s))?
        .into_inner();
    let id = hex::encode(sha256(&[document.as_bytes()]));
    // What is in force already keeps its version.
    let version = match listed.bundle {
        Some(last) if last.sha256 == id => last.version,
        Some(last) => last.version.saturating_add(1),
        None => 1,
    };
    let statement = args.sign.sign(
        &args.dir,
        Kind::Endorsements,
        EVERY_CLASS,
        version,
        document.as_bytes(),
    )?;
    let done = client
        .apply_endorsements(ApplyEndorsementsRequest {
            document,
            statement,
        })
        .await
        .map_err(|s| client::refused(&s))?
        .into_inner();
    if args.json.json {
        return output::print_json(&json!({
            "version": done.version,
            "sha256": done.sha256,
            "changed": done.changed,
        }));
    }
    let (version, id) = (done.version, done.sha256);
    output::print(&if done.changed {
        format!("version {version} of the endorsement bundle is in force (SHA-256 {id})")
    } else {
        format!("nothing changed: this is version {version}, in force already (SHA-256 {id})")
    })
}

async fn import_oem(args: &ImportArgs, oem: &str, files: &[Read]) -> Outcome {
    let mut client = client::connect(&args.dir).await?;
    let request = ImportOemAnchorsRequest {
        oem: oem.to_owned(),
        certificates: files.iter().map(|file| file.content.clone()).collect(),
        trust_again: args.trust_again,
    };
    let done = client
        .import_oem_anchors(request)
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
        "OEM {oem}: {} roots and {} intermediates imported, {} known already",
        done.roots, done.intermediates, done.already_known
    ))
}

async fn import(args: &ImportArgs, files: Vec<Read>) -> Outcome {
    let mut client = client::connect(&args.dir).await?;
    let mut total = ImportEndorsementsResponse::default();
    let mut paths = Vec::new();
    for call in calls(files) {
        let (names, certificates) = call.into_iter().map(|f| (f.path, f.content)).unzip();
        let mut names: Vec<PathBuf> = names;
        let done = client
            .import_endorsements(ImportEndorsementsRequest {
                certificates,
                as_roots: args.as_roots,
            })
            .await
            .map_err(|s| client::refused(&s))?
            .into_inner();
        paths.append(&mut names);
        add(&mut total, done);
    }
    let named: Vec<(String, EndorsementFile)> = paths
        .iter()
        .map(|path| path.display().to_string())
        .zip(std::mem::take(&mut total.files))
        .collect();
    if args.json.json {
        let files: Vec<Value> = named
            .iter()
            .map(|(path, file)| of_file(path, file))
            .collect();
        output::print_json(&json!({
            "roots": total.roots,
            "intermediates": total.intermediates,
            "crls": total.crls,
            "already_known": total.already_known,
            "refused": total.refused,
            "files": files,
        }))?;
    } else {
        let rows = rows(&named);
        output::print(&output::table(&["FILE", "KIND", "OUTCOME", "WHAT"], &rows))?;
        output::print(&format!(
            "{} roots, {} intermediates and {} CRLs imported, {} known already, {} refused",
            total.roots, total.intermediates, total.crls, total.already_known, total.refused
        ))?;
    }
    match total.refused {
        0 => Ok(()),
        n => Err(Failure::Refused(anyhow!(
            "{n} certificates, CRLs or files were refused; the others are in use"
        ))),
    }
}

/// Files in their order, as many to a call as fit.
fn calls(files: Vec<Read>) -> Vec<Vec<Read>> {
    let mut calls: Vec<Vec<Read>> = Vec::new();
    let mut left = 0_usize;
    for file in files {
        match (calls.last_mut(), left.checked_sub(file.content.len())) {
            (Some(call), Some(rest)) => {
                left = rest;
                call.push(file);
            }
            _ => {
                left = CALL_MAX.saturating_sub(file.content.len());
                calls.push(vec![file]);
            }
        }
    }
    calls
}

fn add(total: &mut ImportEndorsementsResponse, mut done: ImportEndorsementsResponse) {
    total.roots = total.roots.saturating_add(done.roots);
    total.intermediates = total.intermediates.saturating_add(done.intermediates);
    total.crls = total.crls.saturating_add(done.crls);
    total.already_known = total.already_known.saturating_add(done.already_known);
    total.refused = total.refused.saturating_add(done.refused);
    total.files.append(&mut done.files);
}

fn of_file(path: &str, file: &EndorsementFile) -> Value {
    let items: Vec<Value> = file
        .items
        .iter()
        .map(|item| {
            json!({
                "kind": item.kind,
                "sha256": item.sha256,
                "name": item.name,
                "outcome": item.outcome,
                "reason": item.reason,
            })
        })
        .collect();
    json!({ "path": path, "reason": file.reason, "items": items })
}

fn rows(files: &[(String, EndorsementFile)]) -> Vec<Vec<String>> {
    let mut rows = Vec::new();
    for (path, file) in files {
        if !file.reason.is_empty() {
            let refused = "refused".to_owned();
            rows.push(vec![
                path.clone(),
                String::new(),
                refused,
                file.reason.clone(),
            ]);
        }
        for item in &file.items {
            let what = match item.reason.as_str() {
                "" => item.name.clone(),
                reason => reason.to_owned(),
            };
            rows.push(vec![
                path.clone(),
                item.kind.clone(),
                item.outcome.clone(),
                what,
            ]);
        }
    }
    rows
}
