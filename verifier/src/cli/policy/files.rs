//! A policy's file, and the folder of its examples.

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
};

use anyhow::{Context as _, anyhow};

use crate::{
    appraisal::{Example, MAX_EXAMPLES, MAX_SOURCE_BYTES, Policy},
    cli::{Failure, input, owner::read_capped},
};

/// Longest example: an input with long logs in it is some tens of KiB.
const MAX_EXAMPLE_BYTES: u64 = 1024 * 1024;

/// The source, compiled. What is wrong with it is named with the file.
pub(super) fn read(path: &Path) -> Result<(String, Policy), Failure> {
    let name = || path.display().to_string();
    let bytes = read_capped(path, u64::try_from(MAX_SOURCE_BYTES)?)?;
    let source =
        String::from_utf8(bytes).map_err(|_| input(anyhow!("{} is not text in UTF-8", name())))?;
    let policy = Policy::compile(&source).with_context(name).map_err(input)?;
    Ok((source, policy))
}

/// Where the examples of `policy` are unless told otherwise: `examples/NAME/`
/// beside `NAME.rego`.
pub(super) fn examples_beside(policy: &Path) -> PathBuf {
    let name = policy.file_stem().unwrap_or_default();
    policy.with_file_name("examples").join(name)
}

/// Every `*.json` of a folder.
pub(super) fn examples(folder: &Path) -> Result<Vec<Example>, Failure> {
    let name = || folder.display().to_string();
    let mut files = BTreeMap::new();
    for entry in fs::read_dir(folder).with_context(name).map_err(input)? {
        let path = entry.with_context(name).map_err(input)?.path();
        if path.extension().is_none_or(|extension| extension != "json") {
            continue;
        }
        if files.len() >= MAX_EXAMPLES {
            return Err(input(anyhow!(
                "{} has more than {MAX_EXAMPLES} examples",
                name()
            )));
        }
        let text = String::from_utf8(read_capped(&path, MAX_EXAMPLE_BYTES)?)
            .map_err(|_| input(anyhow!("{} is not text in UTF-8", path.display())))?;
        let file = path.file_name().unwrap_or_default();
        files.insert(file.to_string_lossy().into_owned(), text);
    }
    Example::parse_all(&files).with_context(name).map_err(input)
}
