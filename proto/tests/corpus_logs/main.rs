//! Boot logs and IMA logs of real machines, from the corpus of public projects:
//! every stated answer is reproduced, or why not is in [`explained`]. The
//! corpus is `HOLDFAST_CORPUS`, or `shared/corpus` beside the project; where it
//! is absent this test says so and passes.
#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a panic in a test's helper is a failed test"
)]

mod boot_logs;
mod explained;
mod ima_logs;

use std::path::{Path, PathBuf};
use std::{env, fs};

use serde_json::Value as Json;

use self::explained::EXPLAINED;

#[test]
fn every_stated_answer() {
    let root = env::var_os("HOLDFAST_CORPUS").map_or_else(
        || Path::new(env!("CARGO_MANIFEST_DIR")).join("../../shared/corpus"),
        PathBuf::from,
    );
    if !root.exists() {
        println!("skipped: no corpus at {}", root.display());
        return;
    }
    let corpus = Corpus::open(root);
    let mut explained = 0;
    let mut unexplained = Vec::new();
    let mut used = vec![false; EXPLAINED.len()];
    let files = corpus.files();
    for (path, kind) in &files {
        let mut differences = Differences::default();
        match kind.as_str() {
            "uefi-eventlog" | "cc-eventlog" => corpus.boot_log(path, &mut differences),
            "uefi-eventlog-negative" => corpus.boot_log_negative(path, &mut differences),
            "ima" => corpus.ima_log(path, &mut differences),
            "ima-negative" => corpus.ima_log_negative(path, &mut differences),
            other => unreachable!("{other}"),
        }
        explained += usize::from(!differences.0.is_empty());
        for (what, detail) in differences.0 {
            let known = EXPLAINED
                .iter()
                .position(|(file, topic, _)| path.ends_with(file) && *topic == what);
            match known {
                Some(known) => used[known] = true,
                None => unexplained.push(format!("{path}: {what}: {detail}")),
            }
        }
    }
    for ((path, what, why), used) in EXPLAINED.iter().zip(used) {
        println!("explained: {path}: {what}: {why}");
        if !used {
            unexplained.push(format!("{path}: {what}: explained, and does not occur"));
        }
    }
    println!(
        "corpus logs: {} files, {} as stated, {} unexplained",
        files.len(),
        files.len() - explained,
        unexplained.len()
    );
    assert!(unexplained.is_empty(), "{unexplained:#?}");
}

/// What differs from what is stated: a topic, and the particulars.
#[derive(Default)]
struct Differences(Vec<(&'static str, String)>);

impl Differences {
    fn same<T: PartialEq + std::fmt::Debug>(&mut self, what: &'static str, ours: T, stated: T) {
        if ours != stated {
            self.0.push((what, format!("{ours:?}, stated {stated:?}")));
        }
    }
}

struct Corpus {
    root: PathBuf,
    cross_check: Json,
}

impl Corpus {
    fn open(root: PathBuf) -> Self {
        let replay = fs::read(root.join("REPLAY.json")).unwrap();
        let mut replay: Json = serde_json::from_slice(&replay).unwrap();
        Self {
            root,
            cross_check: replay["results"].take(),
        }
    }

    /// Path and kind of every log.
    fn files(&self) -> Vec<(String, String)> {
        const KINDS: [&str; 5] = [
            "uefi-eventlog",
            "uefi-eventlog-negative",
            "cc-eventlog",
            "ima",
            "ima-negative",
        ];
        let manifest = fs::read_to_string(self.root.join("MANIFEST.tsv")).unwrap();
        manifest
            .lines()
            .map(|line| line.split('\t').collect::<Vec<_>>())
            .filter(|row| KINDS.contains(&row[4]) && !row[0].ends_with(".der"))
            .map(|row| (row[0].to_owned(), row[4].to_owned()))
            .collect()
    }

    fn read(&self, path: &str) -> Vec<u8> {
        fs::read(self.root.join(path)).unwrap()
    }

    /// The file `path` and `suffix`, as JSON, where there is one.
    fn json(&self, path: &str, suffix: &str) -> Option<Json> {
        let bytes = fs::read(self.root.join(format!("{path}{suffix}"))).ok()?;
        Some(serde_json::from_slice(&bytes).unwrap())
    }
}
