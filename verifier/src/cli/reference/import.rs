//! `reference import`: makes documents the reference values, or the allow
//! list, of a class.

use std::{path::PathBuf, time::SystemTime};

use anyhow::anyhow;
use clap::Args;
use serde_json::{Value, json};

use super::{
    allow_list, send,
    source::{self, Document, Format, How},
};
use crate::{
    cli::{DirArg, JsonArg, Outcome, client, input, output, owner::SignArgs},
    config::files,
    digest::sha256,
    time::UnixTime,
};

#[derive(Debug, Args)]
pub(in crate::cli) struct ImportArgs {
    #[command(flatten)]
    dir: DirArg,
    /// The class.
    #[arg(long, default_value = "default")]
    class: String,
    /// What the files are, where it is not clear from how they begin.
    #[arg(long, value_enum, value_name = "FORMAT")]
    format: Option<Format>,
    /// One file of reference values, or any number of checksum files, Debian
    /// packages and lists of ours for an allow list.
    #[arg(required = true, value_name = "FILE")]
    files: Vec<PathBuf>,
    /// CoRIM: public key or certificate of its signer, P-256 or P-384.
    #[arg(long, value_name = "PEM")]
    key: Option<PathBuf>,
    /// CoRIM: take one that nobody signed.
    #[arg(long, conflicts_with = "key")]
    unsigned: bool,
    /// CoRIM: which environment the gateways of this class are, where it has
    /// values for several.
    #[arg(long, value_name = "NUMBER")]
    environment: Option<usize>,
    /// CoRIM: keep what this document of reference values accepts, too.
    #[arg(long, value_name = "JSON")]
    add_to: Option<PathBuf>,
    /// Checksum files: where relative names are. Without it, names that start
    /// with ./ are from /.
    #[arg(long, value_name = "PATH")]
    prefix: Option<String>,
    /// Allow list: a key or certificate whose ima-sig signatures vouch for
    /// files. May be given several times.
    #[arg(long, value_name = "PEM")]
    ima_key: Vec<PathBuf>,
    /// Show what would be imported, and change nothing.
    #[arg(long)]
    dry_run: bool,
    /// With --dry-run, write the document here, to be signed elsewhere.
    #[arg(long, value_name = "FILE", requires = "dry_run")]
    output: Option<PathBuf>,
    #[command(flatten)]
    sign: SignArgs,
    #[command(flatten)]
    json: JsonArg,
}

pub(super) async fn run(args: ImportArgs) -> Outcome {
    if let Some(prefix) = args.prefix.as_ref().filter(|p| !p.starts_with('/')) {
        return Err(input(anyhow!("--prefix {prefix} is not absolute")));
    }
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH)?;
    let read = source::read(
        &args.files,
        &How {
            format: args.format,
            key: args.key.as_deref(),
            unsigned: args.unsigned,
            environment: args.environment,
            add_to: args.add_to.as_deref(),
            prefix: args.prefix.as_deref(),
            ima_keys: &args.ima_key,
            now: UnixTime::from_seconds(i64::try_from(since.as_secs())?),
        },
    )?;
    if args.dry_run {
        return show(&args, &read);
    }
    let dir = &args.dir;
    let mut client = client::connect(dir).await?;
    let (mut done, said) = match &read.document {
        Document::ReferenceValues(text) => {
            let document = send::Document {
                class: &args.class,
                text,
                version: send::version(&mut client, &args.class, text).await?,
                captured: None,
            };
            let done = send::import(&mut client, dir, &args.sign, &document).await?;
            let said = send::said(&done);
            let done = json!({
                "class": done.class,
                "version": done.version,
                "digest": done.digest,
            });
            (done, said)
        }
        Document::AllowList(list) => {
            let done = allow_list::import(&mut client, dir, &args.sign, &args.class, list).await?;
            let list = done.list.clone().unwrap_or_default();
            (allow_list::as_json(&list), allow_list::said(&done))
        }
    };
    if args.json.json {
        if let Value::Object(fields) = &mut done {
            let sources = output::inert_json(read.sources.into());
            fields.insert("sources".to_owned(), sources);
        }
        return output::print_json(&done);
    }
    print_lines(read.told.iter().map(String::as_str).chain([said.as_str()]))
}

/// What would be imported.
fn show(args: &ImportArgs, read: &source::Read) -> Outcome {
    let (kind, document) = match &read.document {
        Document::ReferenceValues(text) => ("reference-values", text.as_bytes()),
        Document::AllowList(list) => ("allow-list", list.document()),
    };
    let digest = hex::encode(sha256(&[document]));
    if let Some(path) = &args.output {
        files::write_new(path, document, 0o644)?;
    }
    if args.json.json {
        let counted = match &read.document {
            Document::ReferenceValues(text) => json!({ "document": text }),
            Document::AllowList(list) => {
                json!({ "entries": list.len(), "keys": list.keys().len() })
            }
        };
        let mut shown = json!({
            "dry_run": true,
            "kind": kind,
            "class": args.class,
            "digest": digest,
            "bytes": document.len(),
            "sources": output::inert_json(read.sources.clone().into()),
        });
        if let (Value::Object(shown), Value::Object(counted)) = (&mut shown, counted) {
            shown.extend(counted);
        }
        return output::print_json(&shown);
    }
    let said = match &read.document {
        Document::ReferenceValues(text) => text.clone(),
        Document::AllowList(list) => format!(
            "allow list: {} files, {} keys for ima-sig, {} bytes",
            list.len(),
            list.keys().len(),
            document.len()
        ),
    };
    let end = format!("nothing is changed; SHA-256 of the document: {digest}");
    let told = read.told.iter().map(String::as_str);
    print_lines(told.chain(said.lines()).chain([end.as_str()]))
}

fn print_lines<'a>(lines: impl Iterator<Item = &'a str>) -> Outcome {
    let lines: Vec<String> = lines.map(output::inert).collect();
    output::print(&lines.join("\n"))
}
