//! `endorsement pack`: a bundle out of files, for the owner to look at, to
//! sign and to import.

use std::path::PathBuf;

use anyhow::{Context as _, anyhow};
use base64::{Engine as _, engine::general_purpose::STANDARD as BASE64};
use clap::Args;
use serde_json::{Map, Value};

use super::files;
use crate::{
    cli::{JsonArg, Outcome, input, output, owner::read_capped},
    config::files::write_new,
    endorsement::{
        BUNDLE_FORMAT, CertificateFacts, EndorsementBundle, Item, MAX_BUNDLE_BYTES, items,
    },
};

#[derive(Debug, Args)]
#[command(after_help = "\
Certificates and CRLs are added to the lists of the bundle, self-signed
certificates to its roots. Everything else in a bundle (fingerprints, denied
issuers, firmware floors, leniencies) is written by hand: docs/endorsement.md.

Example:
  holdfast-verifier endorsement pack --from endorsements-1.json \\
    --output endorsements-2.json vendor-cas/ ek-ca.crl")]
pub(in crate::cli) struct PackArgs {
    /// A bundle to start from.
    #[arg(long, value_name = "FILE")]
    from: Option<PathBuf>,
    /// Where the bundle goes; nothing is overwritten.
    #[arg(long, value_name = "FILE")]
    output: PathBuf,
    /// Files or folders.
    #[arg(required = true, value_name = "PATH")]
    paths: Vec<PathBuf>,
    #[command(flatten)]
    json: JsonArg,
}

pub(super) fn run(args: &PackArgs) -> Outcome {
    let mut bundle = match &args.from {
        None => Map::from_iter([("format".to_owned(), BUNDLE_FORMAT.into())]),
        Some(path) => {
            let text = read_capped(path, u64::try_from(MAX_BUNDLE_BYTES)?)?;
            serde_json::from_slice(&text)
                .with_context(|| path.display().to_string())
                .map_err(input)?
        }
    };
    let mut added = 0_usize;
    for file in files::all(&args.paths).map_err(input)? {
        let name = file.path.display().to_string();
        for item in items(&file.content)
            .with_context(|| name.clone())
            .map_err(input)?
        {
            let (list, der) = match &item {
                Item::Crl(der) => ("crls", der),
                Item::Certificate(der) => match CertificateFacts::self_signed(der) {
                    Ok(true) => ("roots", der),
                    Ok(false) => ("intermediates", der),
                    Err(e) => return Err(input(anyhow!("{name}: {e}"))),
                },
            };
            let entry = Value::from(BASE64.encode(der));
            let list = bundle
                .entry(list)
                .or_insert_with(|| Value::Array(Vec::new()));
            let list = list
                .as_array_mut()
                .ok_or_else(|| input(anyhow!("a list in the bundle is none")))?;
            if !list.contains(&entry) {
                list.push(entry);
                added = added.saturating_add(1);
            }
        }
    }
    let mut text = serde_json::to_string_pretty(&bundle)?;
    text.push('\n');
    EndorsementBundle::parse(&text).map_err(|e| input(anyhow!("{e}")))?;
    write_new(&args.output, text.as_bytes(), 0o644)?;
    if args.json.json {
        return output::print_json(&serde_json::json!({ "output": args.output, "added": added }));
    }
    output::print(&format!(
        "{}: {added} certificates and CRLs added; sign and import it with endorsement import",
        args.output.display()
    ))
}
