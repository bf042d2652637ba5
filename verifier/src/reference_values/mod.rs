//! Reference Values (RFC 9334 §8.3): the PCR values that the owner accepts,
//! by class of gateway. In: the owner's JSON. Out: [`ReferenceValues`], or
//! what is wrong with it. `docs/reference-values.md` is its page for readers.
//!
//! Values may have an end (`until`): what was good before an update stays
//! good until it. [`ReferenceValues::at`] resolves them to one moment.

pub mod allow_list;
mod change;
pub mod import;
mod json;
mod loss;
#[cfg(test)]
mod tests;

use std::{
    borrow::Cow,
    collections::{BTreeMap, BTreeSet},
    fmt,
};

use holdfast_proto::tpm::HashAlg;

pub use self::{change::Change, loss::Loss};
use crate::{digest::sha256, time::UnixTime};

/// Longest document taken. 24 PCRs of 64 SHA-512 values each are 200 KiB.
pub const MAX_DOCUMENT_BYTES: usize = 256 * 1024;
/// Most values accepted for one PCR: a few kernels of a few releases. More is
/// a sign that a log-based policy is wanted, and would swell every appraisal.
pub const MAX_VALUES_PER_PCR: usize = 64;
/// Highest PCR of a PC Client TPM (PC Client PTP §3.6).
pub const MAX_PCR: u32 = 23;
/// Most ends in one document: overlapping rollouts, not a calendar.
pub const MAX_WINDOWS: usize = 8;

/// Accepted values of one PCR, each of the bank's length.
pub type Accepted = BTreeSet<Vec<u8>>;
/// Accepted values by bank and PCR.
type Banks = BTreeMap<HashAlg, BTreeMap<u32, Accepted>>;

/// The accepted PCR values of one class. Only [`ReferenceValues::parse`]
/// makes one: every PCR in it has at least one value.
///
/// Looking up speaks of the values without an end alone. Those that have one
/// are among them in what [`ReferenceValues::at`] gives for a time before it,
/// so that whoever forgets to ask accepts too little, never too much.
#[derive(Clone, PartialEq, Eq)]
pub struct ReferenceValues {
    banks: Banks,
    /// By end, ascending.
    windows: BTreeMap<UnixTime, Banks>,
    digest: [u8; 32],
}

impl ReferenceValues {
    /// Reads `{"pcrs":{"sha256":{"0":["<hex>", …], …}}}`, and beside `pcrs`
    /// perhaps `"until":[{"end":"2026-12-01T00:00:00Z","pcrs":{…}}]`. Nothing
    /// is skipped: an unknown or repeated key, a bank that nothing may rest on,
    /// a value of the wrong length, or a PCR without values refuses the whole
    /// document.
    ///
    /// # Errors
    /// [`ReferenceValuesError`] names the place and the rule.
    pub fn parse(document: &str) -> Result<Self, ReferenceValuesError> {
        if document.len() > MAX_DOCUMENT_BYTES {
            return Err(ReferenceValuesError::TooLong(document.len()));
        }
        let read: json::Document = serde_json::from_str(document)
            .map_err(|error| ReferenceValuesError::Json(error.to_string()))?;
        let banks = parse_banks(read.pcrs)?;
        let mut windows = BTreeMap::new();
        for window in read.until.unwrap_or_default() {
            let end = parse_end(&window.end)?;
            if windows.insert(end, parse_banks(window.pcrs)?).is_some() {
                return Err(ReferenceValuesError::RepeatedEnd(end));
            }
        }
        Self::new(banks, windows)
    }

    /// The canonical set of these values: what is accepted for longer is not
    /// listed again under an earlier end.
    fn new(
        banks: Banks,
        mut windows: BTreeMap<UnixTime, Banks>,
    ) -> Result<Self, ReferenceValuesError> {
        if windows.len() > MAX_WINDOWS {
            return Err(ReferenceValuesError::TooManyWindows(windows.len()));
        }
        let mut longer = banks.clone();
        for window in windows.values_mut().rev() {
            subtract(window, &longer);
            unite(&mut longer, window);
        }
        windows.retain(|_, window| !window.is_empty());
        for (bank, pcrs) in &longer {
            for (index, values) in pcrs {
                let place = Place {
                    bank: *bank,
                    index: *index,
                };
                at_most(place, values.len())?;
            }
        }
        let digest = sha256(&[json::canonical(&banks, &windows).as_bytes()]);
        Ok(Self {
            banks,
            windows,
            digest,
        })
    }

    /// Id of this set: SHA-256 of [`ReferenceValues::canonical_json`].
    #[must_use]
    pub fn digest(&self) -> &[u8; 32] {
        &self.digest
    }

    /// The same set in its one canonical form: no spaces, banks by algorithm,
    /// PCRs ascending, values sorted and without repetition, lower-case hex;
    /// ends ascending, under each only what is not accepted for longer. At
    /// most [`MAX_DOCUMENT_BYTES`] where it was parsed from no more than that.
    #[must_use]
    pub fn canonical_json(&self) -> String {
        json::canonical(&self.banks, &self.windows)
    }

    /// What is accepted at `now`, and until when that stays so (`None`: until
    /// another set is imported). A value is accepted before its end, and not
    /// at it. The id stays that of the whole set.
    #[must_use]
    pub fn at(&self, now: UnixTime) -> (Cow<'_, Self>, Option<UnixTime>) {
        let mut open = self
            .windows
            .iter()
            .filter(|(end, _)| now < **end)
            .peekable();
        let Some(next) = open.peek().map(|(end, _)| **end) else {
            return (Cow::Borrowed(self), None);
        };
        let mut banks = self.banks.clone();
        for (_, window) in open {
            unite(&mut banks, window);
        }
        let in_force = Self {
            banks,
            windows: BTreeMap::new(),
            digest: self.digest,
        };
        (Cow::Owned(in_force), Some(next))
    }

    /// The ends in it, ascending.
    pub fn ends(&self) -> impl Iterator<Item = UnixTime> {
        self.windows.keys().copied()
    }

    /// The banks that the values without an end are of.
    pub fn banks(&self) -> impl Iterator<Item = HashAlg> {
        self.banks.keys().copied()
    }

    /// Accepted values of one PCR; `None` where the set says nothing of it.
    #[must_use]
    pub fn accepted(&self, bank: HashAlg, pcr: u32) -> Option<&Accepted> {
        self.banks.get(&bank)?.get(&pcr)
    }

    /// What either set accepts: values without an end stay so, and ends stay.
    ///
    /// # Errors
    /// The rules of [`ReferenceValues::parse`].
    pub fn united_with(&self, other: &Self) -> Result<Self, ReferenceValuesError> {
        let (mut banks, mut windows) = (self.banks.clone(), self.windows.clone());
        unite(&mut banks, &other.banks);
        for (end, more) in &other.windows {
            unite(windows.entry(*end).or_default(), more);
        }
        Self::parse(&json::canonical(&banks, &windows))
    }

    /// The PCRs of one bank that the set speaks of, ascending.
    pub fn pcrs(&self, bank: HashAlg) -> impl Iterator<Item = (u32, &Accepted)> {
        self.banks
            .get(&bank)
            .into_iter()
            .flatten()
            .map(|(index, values)| (*index, values))
    }
}

impl fmt::Debug for ReferenceValues {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ReferenceValues")
            .field("digest", &hex::encode(self.digest))
            .finish_non_exhaustive()
    }
}

/// A bank and a PCR in it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Place {
    /// The bank.
    pub bank: HashAlg,
    /// The PCR.
    pub index: u32,
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} PCR {}", self.bank.name(), self.index)
    }
}

/// What is wrong with a document of reference values.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ReferenceValuesError {
    /// More than [`MAX_DOCUMENT_BYTES`].
    #[error("{0} bytes: at most {MAX_DOCUMENT_BYTES} are taken")]
    TooLong(usize),
    /// Not JSON of this shape.
    #[error("not a reference-value document: {0}")]
    Json(String),
    /// No bank.
    #[error("no bank: an empty set would accept nothing")]
    Empty,
    /// A bank without PCRs.
    #[error("bank {0} lists no PCR")]
    EmptyBank(&'static str),
    /// Not the name of a hash algorithm.
    #[error("{0:?} is not a bank: use sha256, sha384 or sha512")]
    UnknownBank(String),
    /// SHA-1 collides; a PCR of that bank proves nothing.
    #[error("the sha1 bank proves nothing: give values of sha256, sha384 or sha512")]
    WeakBank,
    /// Not a decimal number from 0 to 23 in its shortest form.
    #[error("{0}: {1:?} is not a PCR index from 0 to {MAX_PCR}")]
    BadIndex(&'static str, String),
    /// A PCR without values.
    #[error("{0} lists no value: it could never match; leave the PCR out or give its values")]
    NoValues(Place),
    /// More than [`MAX_VALUES_PER_PCR`].
    #[error("{0} lists {1} values: at most {MAX_VALUES_PER_PCR} are taken")]
    TooManyValues(Place, usize),
    /// Not hex of the bank's digest length.
    #[error("{place}: {value:?} is not {expected} bytes of hex", expected = place.bank.digest_len())]
    BadValue {
        /// Where.
        place: Place,
        /// As given, cut and escaped.
        value: String,
    },
    /// Not a time in UTC, to the second, in the one form.
    #[error("end {0:?} is not a time of the form 2026-12-01T00:00:00Z")]
    BadEnd(String),
    /// Two lists for one end.
    #[error("two lists end at {0}: make them one")]
    RepeatedEnd(UnixTime),
    /// A change would be over before it is made.
    #[error("{0} has passed: give an end that is yet to come")]
    EndPassed(UnixTime),
    /// More than [`MAX_WINDOWS`].
    #[error("{0} ends: at most {MAX_WINDOWS} are taken")]
    TooManyWindows(usize),
}

fn parse_banks(
    read: json::Unique<json::Unique<Vec<String>>>,
) -> Result<Banks, ReferenceValuesError> {
    let mut banks = BTreeMap::new();
    for (bank, pcrs) in read.0 {
        let alg = parse_bank(&bank)?;
        let mut accepted = BTreeMap::new();
        for (index, values) in pcrs.0 {
            let index = parse_index(alg, &index)?;
            accepted.insert(index, parse_values(Place { bank: alg, index }, &values)?);
        }
        if accepted.is_empty() {
            return Err(ReferenceValuesError::EmptyBank(alg.name()));
        }
        banks.insert(alg, accepted);
    }
    if banks.is_empty() {
        return Err(ReferenceValuesError::Empty);
    }
    Ok(banks)
}

/// RFC 3339 with `Z` and whole seconds, as [`UnixTime`] is shown: one way to
/// write each end.
fn parse_end(text: &str) -> Result<UnixTime, ReferenceValuesError> {
    use time::{OffsetDateTime, format_description::well_known::Rfc3339};
    OffsetDateTime::parse(text, &Rfc3339)
        .ok()
        .map(|end| UnixTime::from_seconds(end.unix_timestamp()))
        .filter(|end| end.to_string() == text)
        .ok_or_else(|| ReferenceValuesError::BadEnd(shown(text)))
}

/// Adds what `more` accepts.
fn unite(banks: &mut Banks, more: &Banks) {
    for (bank, pcrs) in more {
        let all = banks.entry(*bank).or_default();
        for (index, values) in pcrs {
            all.entry(*index)
                .or_default()
                .extend(values.iter().cloned());
        }
    }
}

/// Takes away what `less` accepts; PCRs and banks without a value go.
fn subtract(banks: &mut Banks, less: &Banks) {
    for (bank, pcrs) in banks.iter_mut() {
        for (index, values) in pcrs.iter_mut() {
            if let Some(known) = less.get(bank).and_then(|pcrs| pcrs.get(index)) {
                values.retain(|value| !known.contains(value));
            }
        }
        pcrs.retain(|_, values| !values.is_empty());
    }
    banks.retain(|_, pcrs| !pcrs.is_empty());
}

fn at_most(place: Place, count: usize) -> Result<(), ReferenceValuesError> {
    if count > MAX_VALUES_PER_PCR {
        return Err(ReferenceValuesError::TooManyValues(place, count));
    }
    Ok(())
}

fn parse_bank(name: &str) -> Result<HashAlg, ReferenceValuesError> {
    match HashAlg::ALL.into_iter().find(|alg| alg.name() == name) {
        Some(HashAlg::Sha1) => Err(ReferenceValuesError::WeakBank),
        Some(alg) => Ok(alg),
        None => Err(ReferenceValuesError::UnknownBank(shown(name))),
    }
}

fn parse_index(bank: HashAlg, text: &str) -> Result<u32, ReferenceValuesError> {
    match text.parse::<u32>() {
        Ok(index) if index <= MAX_PCR && index.to_string() == text => Ok(index),
        _ => Err(ReferenceValuesError::BadIndex(bank.name(), shown(text))),
    }
}

fn parse_values(place: Place, values: &[String]) -> Result<Accepted, ReferenceValuesError> {
    if values.is_empty() {
        return Err(ReferenceValuesError::NoValues(place));
    }
    at_most(place, values.len())?;
    let parse = |text: &String| match hex::decode(text) {
        Ok(value) if value.len() == place.bank.digest_len() => Ok(value),
        _ => Err(ReferenceValuesError::BadValue {
            place,
            value: shown(text),
        }),
    };
    values.iter().map(parse).collect()
}

/// The start of a foreign string, inert.
fn shown(text: &str) -> String {
    text.chars().take(80).flat_map(char::escape_debug).collect()
}
