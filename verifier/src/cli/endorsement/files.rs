//! Files of certificates and CRLs, and folders of them.

use std::{
    fs,
    path::{Path, PathBuf},
};

use anyhow::{Context as _, anyhow, ensure};

/// Longest file: a vendor's bundle is below 1 MiB, a large CRL some.
const FILE_MAX: u64 = 12 * 1024 * 1024;
/// Deepest folder below the one that is named.
const DEPTH_MAX: usize = 8;
/// Files in one go: all vendors' together are some hundred.
const FILES_MAX: usize = 10_000;
/// What in a folder is looked at.
const EXTENSIONS: [&str; 7] = ["pem", "crt", "cer", "der", "p7b", "p7c", "crl"];

/// A file and its content.
pub(in crate::cli) struct Read {
    pub(in crate::cli) path: PathBuf,
    pub(in crate::cli) content: Vec<u8>,
}

/// The contents of a file, or of the certificate files of a folder and what is
/// below it.
pub(in crate::cli) fn read(path: &Path, into: &mut Vec<Vec<u8>>) -> Result<(), anyhow::Error> {
    let files = all(std::slice::from_ref(&path.to_owned()))?;
    into.extend(files.into_iter().map(|file| file.content));
    Ok(())
}

/// As [`read`], of several, with their names. CRLs come last, after the
/// certificates that they need.
pub(in crate::cli) fn all(paths: &[PathBuf]) -> Result<Vec<Read>, anyhow::Error> {
    let mut found = Vec::new();
    for path in paths {
        let meta = fs::metadata(path).with_context(|| path.display().to_string())?;
        if meta.is_dir() {
            folder(path, 0, &mut found)?;
        } else {
            found.push(path.clone());
        }
        ensure!(
            found.len() <= FILES_MAX,
            "more than {FILES_MAX} files; import them in parts"
        );
    }
    found.sort_by_key(|path| is_kind(path, &["crl"]));
    found
        .into_iter()
        .map(|path| {
            let content = read_file(&path)?;
            Ok(Read { path, content })
        })
        .collect()
}

/// Links to folders are not followed: none leads round in a circle.
fn folder(path: &Path, depth: usize, found: &mut Vec<PathBuf>) -> Result<(), anyhow::Error> {
    let name = || path.display().to_string();
    ensure!(
        depth <= DEPTH_MAX,
        "{}: folders are more than {DEPTH_MAX} deep",
        name()
    );
    let entries = fs::read_dir(path).with_context(name)?;
    let mut entries: Vec<_> = entries.collect::<Result<_, _>>().with_context(name)?;
    entries.sort_by_key(fs::DirEntry::file_name);
    for entry in entries {
        let path = entry.path();
        let kind = entry.file_type().with_context(name)?;
        if kind.is_dir() {
            folder(&path, depth.saturating_add(1), found)?;
        } else if is_kind(&path, &EXTENSIONS) {
            ensure!(
                found.len() < FILES_MAX,
                "more than {FILES_MAX} files; import them in parts"
            );
            found.push(path);
        }
    }
    Ok(())
}

fn is_kind(path: &Path, extensions: &[&str]) -> bool {
    let extension = path.extension().and_then(|e| e.to_str());
    extension.is_some_and(|e| extensions.contains(&e.to_ascii_lowercase().as_str()))
}

fn read_file(path: &Path) -> Result<Vec<u8>, anyhow::Error> {
    let name = || path.display().to_string();
    let meta = fs::metadata(path).with_context(name)?;
    if !meta.is_file() || meta.len() > FILE_MAX {
        return Err(anyhow!("{} is not a file of at most 12 MiB", name()));
    }
    fs::read(path).with_context(name)
}
