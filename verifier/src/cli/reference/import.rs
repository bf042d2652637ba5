//! `reference import`: makes a document the reference values of a class.

use std::{fs, path::PathBuf};

use anyhow::{Context as _, anyhow};
use clap::Args;
use holdfast_proto::grpc::v1::ImportReferenceValuesRequest;
use serde_json::json;

use crate::{
    cli::{DirArg, JsonArg, Outcome, client, input, output},
    reference_values::{MAX_DOCUMENT_BYTES, ReferenceValues},
};

#[derive(Debug, Args)]
pub(in crate::cli) struct ImportArgs {
    #[command(flatten)]
    dir: DirArg,
    /// The class.
    #[arg(long, default_value = "default")]
    class: String,
    /// The JSON document.
    file: PathBuf,
    #[command(flatten)]
    json: JsonArg,
}

pub(super) async fn run(args: ImportArgs) -> Outcome {
    let name = args.file.display().to_string();
    let meta = fs::metadata(&args.file)
        .with_context(|| name.clone())
        .map_err(input)?;
    if !meta.is_file() || meta.len() > u64::try_from(MAX_DOCUMENT_BYTES).unwrap_or(u64::MAX) {
        return Err(input(anyhow!(
            "{name} is not a file of at most {MAX_DOCUMENT_BYTES} bytes"
        )));
    }
    let document = fs::read_to_string(&args.file)
        .with_context(|| name.clone())
        .map_err(input)?;
    // Here already, so that the error names the file; the server looks again.
    ReferenceValues::parse(&document)
        .with_context(|| name.clone())
        .map_err(input)?;
    let mut client = client::connect(&args.dir).await?;
    let done = client
        .import_reference_values(ImportReferenceValuesRequest {
            class: args.class,
            document,
        })
        .await
        .map_err(|s| client::refused(&s))?
        .into_inner();
    if args.json.json {
        return output::print_json(&json!({
            "class": done.class,
            "version": done.version,
            "digest": done.digest,
        }));
    }
    output::print(&format!(
        "reference values of class {} are now version {} (SHA-256 {})",
        done.class, done.version, done.digest
    ))
}
