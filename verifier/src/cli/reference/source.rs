//! What `reference import` is given: files of several forms, read into one
//! document.

use std::{
    fs::File,
    io::BufReader,
    path::{Path, PathBuf},
};

use anyhow::{Context as _, anyhow};
use clap::ValueEnum;
use serde_json::{Value, json};

use crate::{
    cli::{Failure, input, output, owner::read_capped},
    reference_values::{
        MAX_DOCUMENT_BYTES, ReferenceValues,
        allow_list::{AllowList, AllowListBuilder, ImaKey, MAX_LIST_BYTES},
        import::{
            corim::{self, Corim, Environment, MAX_CORIM_BYTES, Origin, SignerKey},
            deb, sha256sum,
        },
    },
    time::UnixTime,
};

/// Longest file with a key or certificate.
const KEY_MAX: u64 = 64 * 1024;

/// Forms of files.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(in crate::cli) enum Format {
    /// Reference values in our own JSON.
    Json,
    /// A CoRIM: reference values as makers publish them.
    Corim,
    /// What sha256sum, sha384sum or sha512sum print, or a list of ours.
    Sha256sum,
    /// A Debian package.
    Deb,
}

/// How the files are to be read.
pub(in crate::cli) struct How<'a> {
    pub(in crate::cli) format: Option<Format>,
    pub(in crate::cli) key: Option<&'a Path>,
    pub(in crate::cli) unsigned: bool,
    pub(in crate::cli) environment: Option<usize>,
    pub(in crate::cli) add_to: Option<&'a Path>,
    pub(in crate::cli) prefix: Option<&'a str>,
    pub(in crate::cli) ima_keys: &'a [PathBuf],
    pub(in crate::cli) now: UnixTime,
}

/// What was read.
pub(in crate::cli) struct Read {
    pub(in crate::cli) document: Document,
    /// What is to be told of where it came from, a line each. Inert.
    pub(in crate::cli) told: Vec<String>,
    /// The same for programs.
    pub(in crate::cli) sources: Vec<Value>,
}

/// What may be signed and sent.
pub(in crate::cli) enum Document {
    ReferenceValues(String),
    AllowList(AllowList),
}

/// Reads all files. Reference values come from one; an allow list from any
/// number.
pub(in crate::cli) fn read(files: &[PathBuf], how: &How<'_>) -> Result<Read, Failure> {
    let formats = files
        .iter()
        .map(|path| format_of(path, how.format))
        .collect::<Result<Vec<_>, _>>()?;
    match (formats.as_slice(), files) {
        ([Format::Json], [path]) if how.ima_keys.is_empty() => reference_values(path),
        ([Format::Corim], [path]) if how.ima_keys.is_empty() => from_corim(path, how),
        (formats, _) if formats.iter().all(is_of_files) => {
            allow_list(files.iter().zip(formats), how)
        }
        _ => Err(input(anyhow!(
            "reference values come from one file, and an allow list from others: import them one \
             by one"
        ))),
    }
}

fn is_of_files(format: &Format) -> bool {
    matches!(format, Format::Sha256sum | Format::Deb)
}

/// By how it begins; what could be two things is asked for.
fn format_of(path: &Path, said: Option<Format>) -> Result<Format, Failure> {
    if let Some(format) = said {
        return Ok(format);
    }
    let start = read_start(path)?;
    let text = start.trim_ascii_start();
    if start.starts_with(b"!<arch>\n") {
        Ok(Format::Deb)
    } else if corim::looks_like_one(&start) {
        Ok(Format::Corim)
    } else if text.starts_with(b"{") {
        Ok(Format::Json)
    } else if sha256sum::looks_like_one(&start) || AllowList::looks_like_one(&start) {
        Ok(Format::Sha256sum)
    } else {
        Err(input(anyhow!(
            "{}: neither JSON, nor a CoRIM, a checksum file or a Debian package by how it begins; \
             say what it is with --format",
            path.display()
        )))
    }
}

fn read_start(path: &Path) -> Result<Vec<u8>, Failure> {
    use std::io::Read as _;
    let name = || path.display().to_string();
    // Not a pipe or a device: it is read twice.
    let meta = std::fs::metadata(path).with_context(name).map_err(input)?;
    if !meta.is_file() {
        return Err(input(anyhow!("{} is not a file", name())));
    }
    let mut start = Vec::new();
    File::open(path)
        .and_then(|file| file.take(64 * 1024).read_to_end(&mut start))
        .with_context(name)
        .map_err(input)?;
    Ok(start)
}

fn limit(bytes: usize) -> u64 {
    u64::try_from(bytes).unwrap_or(u64::MAX)
}

fn reference_values(path: &Path) -> Result<Read, Failure> {
    let name = || path.display().to_string();
    let text = read_capped(path, limit(MAX_DOCUMENT_BYTES))?;
    let text = String::from_utf8(text).with_context(name).map_err(input)?;
    // Here already, so that the error names the file; the server looks again.
    ReferenceValues::parse(&text)
        .with_context(name)
        .map_err(input)?;
    Ok(Read {
        document: Document::ReferenceValues(text),
        told: Vec::new(),
        sources: vec![json!({ "file": path, "format": "json" })],
    })
}

fn from_corim(path: &Path, how: &How<'_>) -> Result<Read, Failure> {
    let name = || path.display().to_string();
    let bytes = read_capped(path, limit(MAX_CORIM_BYTES))?;
    let key = match how.key {
        None => None,
        Some(key) => {
            let file = read_capped(key, KEY_MAX)?;
            let name = || key.display().to_string();
            Some(SignerKey::read(&file).with_context(name).map_err(input)?)
        }
    };
    let origin = match (&key, how.unsigned) {
        (Some(key), false) => Origin::Signed(key),
        (None, true) => Origin::DangerUnsigned,
        _ => {
            return Err(input(anyhow!(
                "{}: say whose word a CoRIM is: --key PEM of its signer, or --unsigned if you know \
                 from elsewhere that it is genuine",
                name()
            )));
        }
    };
    let corim = corim::read(&bytes, &origin, how.now)
        .with_context(name)
        .map_err(input)?;
    let told = tell(&corim);
    let environments = corim.environments().with_context(name).map_err(input)?;
    // With what it says, to choose by.
    let chosen = choose(environments, how.environment)
        .map_err(|error| input(anyhow!("{}: {error}\n{}", name(), told.join("\n"))))?;
    let values = chosen
        .reference_values()
        .with_context(name)
        .map_err(input)?;
    let values = match how.add_to {
        None => values,
        Some(before) => {
            let name = || before.display().to_string();
            let text = read_capped(before, limit(MAX_DOCUMENT_BYTES))?;
            let text = String::from_utf8(text).with_context(name).map_err(input)?;
            ReferenceValues::parse(&text)
                .and_then(|before| before.united_with(&values))
                .with_context(name)
                .map_err(input)?
        }
    };
    let source = json!({
        "file": path,
        "format": "corim",
        "signed": key.is_some(),
        "id": corim.id,
        "entities": corim.entities,
        "environments": environments.iter().map(|e| &e.name).collect::<Vec<_>>(),
        "not_used": corim
            .not_used()
            .iter()
            .map(|n| json!({ "what": n.what, "why": n.why }))
            .collect::<Vec<_>>(),
    });
    Ok(Read {
        document: Document::ReferenceValues(values.canonical_json()),
        told,
        sources: vec![source],
    })
}

fn choose(
    environments: &[Environment],
    number: Option<usize>,
) -> Result<&Environment, anyhow::Error> {
    match (environments, number) {
        ([], _) => Err(anyhow!("it says nothing of PCRs")),
        ([only], None) => Ok(only),
        (several, None) => Err(anyhow!(
            "it has values for {} environments: say which one the gateways of this class are, with \
             --environment NUMBER",
            several.len()
        )),
        (some, Some(number)) => number
            .checked_sub(1)
            .and_then(|index| some.get(index))
            .ok_or_else(|| anyhow!("there is no environment {number}")),
    }
}

/// What a CoRIM says, for people.
fn tell(corim: &Corim) -> Vec<String> {
    let mut told = vec![format!("CoRIM {}", corim.id)];
    if !corim.entities.is_empty() {
        told.push(format!("  by {}", corim.entities.join(", ")));
    }
    if let Some(end) = corim.validity.and_then(|validity| validity.not_after) {
        told.push(format!("  valid until {}", output::when(end)));
    }
    for (index, environment) in corim.environments().into_iter().flatten().enumerate() {
        let number = index.saturating_add(1);
        told.push(format!("environment {number}: {}", environment.name));
        for (bank, pcr, values) in environment.pcrs() {
            for value in values {
                told.push(format!(
                    "  {} PCR {pcr} {}",
                    bank.name(),
                    hex::encode(value)
                ));
            }
        }
    }
    for not_used in corim.not_used() {
        told.push(format!("not used: {}: {}", not_used.what, not_used.why));
    }
    told
}

fn allow_list<'a>(
    files: impl Iterator<Item = (&'a PathBuf, &'a Format)>,
    how: &How<'_>,
) -> Result<Read, Failure> {
    let mut list = AllowListBuilder::new();
    let (mut told, mut sources) = (Vec::new(), Vec::new());
    for (path, format) in files {
        let name = || path.display().to_string();
        if *format == Format::Deb {
            let file = File::open(path).with_context(name).map_err(input)?;
            let package = deb::read(BufReader::new(file), &mut list)
                .with_context(name)
                .map_err(input)?;
            let about = &package.control;
            told.push(format!(
                "{}: {} {} {}, {} files",
                path.display(),
                about.package,
                about.version,
                about.architecture,
                package.files
            ));
            sources.push(json!({
                "file": path,
                "format": "deb",
                "package": about.package,
                "version": about.version,
                "architecture": about.architecture,
                "files": package.files,
            }));
            continue;
        }
        let bytes = read_capped(path, limit(MAX_LIST_BYTES))?;
        if AllowList::looks_like_one(&bytes) {
            let ours = AllowList::parse(bytes).with_context(name).map_err(input)?;
            list.add_list(&ours).with_context(name).map_err(input)?;
            told.push(format!(
                "{}: a list of {} files and {} keys",
                path.display(),
                ours.len(),
                ours.keys().len()
            ));
            sources.push(json!({
                "file": path,
                "format": "allow-list",
                "files": ours.len(),
                "keys": ours.keys().len(),
            }));
            continue;
        }
        let files = sha256sum::read(&bytes, how.prefix, &mut list)
            .with_context(name)
            .map_err(input)?;
        told.push(format!("{}: {files} files", path.display()));
        sources.push(json!({ "file": path, "format": "sha256sum", "files": files }));
    }
    for path in how.ima_keys {
        let file = read_capped(path, KEY_MAX)?;
        let key = ImaKey::read(&file)
            .with_context(|| path.display().to_string())
            .map_err(input)?;
        let id = hex::encode(key.key_id());
        told.push(format!("{}: key {id} for ima-sig", path.display()));
        sources.push(json!({ "file": path, "format": "ima-key", "key_id": id }));
        list.add_key(key);
    }
    Ok(Read {
        document: Document::AllowList(list.finish().map_err(input)?),
        told,
        sources,
    })
}
