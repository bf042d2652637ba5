//! Where the corpus is, and what its manifest lists.

use std::{
    env, fs,
    path::{Path, PathBuf},
};

use serde_json::Value;

pub(super) struct Corpus {
    root: PathBuf,
}

/// The corpus; none, said, where it is absent.
pub(super) fn corpus() -> Option<Corpus> {
    let root = env::var_os("HOLDFAST_CORPUS").map_or_else(
        || Path::new(env!("CARGO_MANIFEST_DIR")).join("../../shared/corpus"),
        PathBuf::from,
    );
    if !root.exists() {
        println!("skipped: no corpus at {}", root.display());
        return None;
    }
    Some(Corpus { root })
}

impl Corpus {
    pub(super) fn path(&self, path: &str) -> PathBuf {
        self.root.join(path)
    }

    pub(super) fn read(&self, path: &str) -> Vec<u8> {
        fs::read(self.path(path)).unwrap_or_else(|e| panic!("{path}: {e}"))
    }

    pub(super) fn json(&self, path: &str) -> Value {
        serde_json::from_slice(&self.read(path)).unwrap()
    }

    /// What the manifest says of a file.
    pub(super) fn stated(&self, path: &str) -> String {
        let manifest = String::from_utf8(self.read("MANIFEST.tsv")).unwrap();
        let row = manifest
            .lines()
            .find(|row| row.split('\t').next() == Some(path));
        row.unwrap().split('\t').nth(6).unwrap().to_owned()
    }

    /// Paths of a kind, by the manifest.
    pub(super) fn files(&self, kind: &str) -> Vec<String> {
        let manifest = String::from_utf8(self.read("MANIFEST.tsv")).unwrap();
        manifest
            .lines()
            .map(|line| line.split('\t').collect::<Vec<_>>())
            .filter(|row| row[4] == kind)
            .map(|row| row[0].to_owned())
            .collect()
    }
}

/// Every disagreement has its line in a table, and every line its
/// disagreement.
pub(super) fn settle(
    kind: &str,
    found: &[(String, String)],
    explained: &[(&str, &str, &str)],
    files: usize,
) {
    let knows = |(path, what): &(String, String)| {
        explained
            .iter()
            .position(|(file, topic, _)| path.ends_with(file) && what.contains(topic))
    };
    let mut unexplained: Vec<String> = found
        .iter()
        .filter(|difference| knows(difference).is_none())
        .map(|(path, what)| format!("{path}: {what}"))
        .collect();
    for (at, (path, topic, why)) in explained.iter().enumerate() {
        println!("explained: {path}: {topic}: {why}");
        if !found.iter().any(|difference| knows(difference) == Some(at)) {
            unexplained.push(format!("{path}: {topic}: explained, and does not occur"));
        }
    }
    let mut differing: Vec<&str> = found.iter().map(|(path, _)| path.as_str()).collect();
    differing.dedup();
    println!(
        "corpus {kind}: {files} files, {} as stated, {} unexplained",
        files - differing.len(),
        unexplained.len()
    );
    assert!(unexplained.is_empty(), "{unexplained:#?}");
}
