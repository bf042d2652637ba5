//! Collects entries from wherever they come, and writes the canonical list.

use holdfast_proto::tpm::HashAlg;

use super::{
    AllowList, AllowListError, HEADER, ImaKey, KEY, LineFault, MAX_ENTRIES, MAX_LIST_BYTES, line,
};

/// A list in the making. What is added twice is in it once.
#[derive(Debug, Default)]
pub struct AllowListBuilder {
    /// Lines without their newlines.
    lines: Vec<Box<[u8]>>,
    bytes: usize,
    keys: Vec<ImaKey>,
}

impl AllowListBuilder {
    /// An empty one.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a file by its absolute path.
    ///
    /// # Errors
    /// [`AllowListError`] for SHA-1, a digest of another length than the
    /// algorithm's, a path that is not absolute and normal, or a list that
    /// grows beyond its limits. Its line numbers count what was added.
    pub fn add(&mut self, path: &[u8], alg: HashAlg, digest: &[u8]) -> Result<(), AllowListError> {
        let number = self.lines.len().saturating_add(1);
        let fault = |fault| AllowListError::Line(number, fault);
        if alg == HashAlg::Sha1 {
            return Err(fault(LineFault::WeakDigest));
        }
        if digest.len() != alg.digest_len() {
            return Err(fault(LineFault::Digest));
        }
        line::normal(path).map_err(|path| fault(LineFault::Path(path)))?;
        if self.lines.len() >= MAX_ENTRIES {
            return Err(AllowListError::TooManyEntries);
        }
        let name = line::escaped(path);
        let marker: &[u8] = if name.contains(&b'\\') { b"\\" } else { b"" };
        let text = [marker, hex::encode(digest).as_bytes(), b"  ", &name].concat();
        self.bytes = self.bytes.saturating_add(text.len()).saturating_add(1);
        if self.bytes > MAX_LIST_BYTES {
            return Err(AllowListError::TooLong(self.bytes));
        }
        self.lines.push(text.into_boxed_slice());
        Ok(())
    }

    /// Adds a key.
    pub fn add_key(&mut self, key: ImaKey) {
        self.keys.push(key);
    }

    /// Adds all that another list holds.
    ///
    /// # Errors
    /// As [`AllowListBuilder::add`].
    pub fn add_list(&mut self, list: &AllowList) -> Result<(), AllowListError> {
        for entry in list.entries() {
            let digest = hex::decode(entry.hex).unwrap_or_default();
            self.add(&entry.path, entry.alg, &digest)?;
        }
        self.keys.extend(list.keys().iter().cloned());
        Ok(())
    }

    /// The canonical list.
    ///
    /// # Errors
    /// [`AllowListError`] for an empty one, or one beyond its limits.
    pub fn finish(mut self) -> Result<AllowList, AllowListError> {
        self.keys.sort_unstable();
        self.keys.dedup();
        self.lines.sort_unstable_by(|one, other| {
            match (line::Line::cut(one), line::Line::cut(other)) {
                (Ok(one), Ok(other)) => one.order(&other),
                // Not so: `add` wrote them.
                _ => one.cmp(other),
            }
        });
        self.lines.dedup();
        let mut document = Vec::with_capacity(self.bytes.saturating_add(HEADER.len()));
        document.extend_from_slice(HEADER);
        for key in &self.keys {
            document.extend_from_slice(KEY);
            document.extend_from_slice(key.to_line().as_bytes());
            document.push(b'\n');
        }
        for text in self.lines {
            document.extend_from_slice(&text);
            document.push(b'\n');
        }
        AllowList::parse(document)
    }
}
