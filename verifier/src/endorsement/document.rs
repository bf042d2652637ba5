//! The endorsement bundle: one document with all that the owner says of TPMs,
//! to be taken as the owner's word with a signed statement
//! (docs/endorsement.md). Reading it proves nothing.

use std::collections::BTreeMap;

use serde::Deserialize;
use thiserror::Error;

use super::{
    authority::CertificateFacts,
    crl::ParsedCrl,
    devid::OemName,
    facts::printable,
    file::{self, Item},
    leniency::Leniencies,
    rules::{Denied, DeniedIssuer, FirmwareFloor, ListedEk, Rules, StaleCrl},
};

/// What `format` must say.
pub const BUNDLE_FORMAT: &str = "holdfast-endorsements-1";
/// Longest document, in bytes: below the 16 MiB that a message of the admin
/// socket may have.
pub const MAX_BUNDLE_BYTES: usize = 12 * 1024 * 1024;
/// Longest text of the owner's in it: a reason is a line.
const MAX_TEXT: usize = 200;

/// Why a document is not taken.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum BundleError {
    /// Longer than [`MAX_BUNDLE_BYTES`].
    #[error("{0} bytes, at most {MAX_BUNDLE_BYTES} are taken")]
    TooLong(usize),
    /// Not the JSON of a bundle.
    #[error("not an endorsement bundle: {0}")]
    Json(String),
    /// Another format, or a later one.
    #[error("its format is {0:?}, this program reads {BUNDLE_FORMAT:?}")]
    Format(String),
    /// An entry that cannot serve.
    #[error("{list}[{at}]: {why}")]
    Entry {
        /// Which list.
        list: &'static str,
        /// Its place in it, from 0.
        at: usize,
        /// What is wrong.
        why: String,
    },
}

/// What the owner says of TPMs, in one document.
#[derive(Debug)]
pub struct EndorsementBundle {
    roots: Vec<Vec<u8>>,
    intermediates: Vec<Vec<u8>>,
    crls: Vec<Vec<u8>>,
    leniencies: Option<Leniencies>,
    stale_crl: Option<StaleCrl>,
    fingerprints: BTreeMap<[u8; 32], ListedEk>,
    oem_tpms: BTreeMap<OemName, ListedEk>,
    denied: Vec<DeniedIssuer>,
    floors: Vec<FirmwareFloor>,
}

impl EndorsementBundle {
    /// From its text.
    ///
    /// # Errors
    /// [`BundleError`] names the entry that cannot serve.
    pub fn parse(text: &str) -> Result<Self, BundleError> {
        if text.len() > MAX_BUNDLE_BYTES {
            return Err(BundleError::TooLong(text.len()));
        }
        // Asked first: a later format may have other fields.
        let json = |error: serde_json::Error| BundleError::Json(error.to_string());
        let Format { format } = serde_json::from_str(text).map_err(json)?;
        if format != BUNDLE_FORMAT {
            return Err(BundleError::Format(format.chars().take(40).collect()));
        }
        let raw: Raw = serde_json::from_str(text).map_err(json)?;
        let leniencies = raw.leniencies.clone().unwrap_or_default();
        let roots = ders("roots", &raw.roots, |item| match item {
            Item::Certificate(der) => CertificateFacts::as_root(der)
                .map(drop)
                .map_err(|e| e.to_string()),
            Item::Crl(_) => Err("a CRL".to_owned()),
        })?;
        let intermediates = ders("intermediates", &raw.intermediates, |item| match item {
            Item::Certificate(der) => CertificateFacts::parse(der, &leniencies)
                .map(drop)
                .map_err(|e| e.to_string()),
            Item::Crl(_) => Err("a CRL".to_owned()),
        })?;
        let crls = ders("crls", &raw.crls, |item| match item {
            Item::Crl(der) => ParsedCrl::parse(der).map(drop).map_err(|e| e.to_string()),
            Item::Certificate(_) => Err("a certificate".to_owned()),
        })?;
        Ok(Self {
            roots,
            intermediates,
            crls,
            leniencies: raw.leniencies,
            stale_crl: raw.stale_crl,
            fingerprints: fingerprints(&raw.fingerprints)?,
            oem_tpms: oem_tpms(&raw.oem_tpms)?,
            denied: entries("denied_issuers", &raw.denied_issuers, RawDenied::read)?,
            floors: entries("firmware_floors", &raw.firmware_floors, RawFloor::read)?,
        })
    }

    /// DER certificates to be trusted by themselves.
    #[must_use]
    pub fn roots(&self) -> &[Vec<u8>] {
        &self.roots
    }

    /// DER certificates that help to find a path.
    #[must_use]
    pub fn intermediates(&self) -> &[Vec<u8>] {
        &self.intermediates
    }

    /// DER CRLs.
    #[must_use]
    pub fn crls(&self) -> &[Vec<u8>] {
        &self.crls
    }

    /// How many EKs it lists.
    #[must_use]
    pub fn fingerprints(&self) -> usize {
        self.fingerprints.len()
    }

    /// The rules: where the bundle says nothing of leniencies or stale CRLs,
    /// what is configured.
    #[must_use]
    pub fn rules(&self, configured: &Rules) -> Rules {
        Rules {
            leniencies: self
                .leniencies
                .clone()
                .unwrap_or_else(|| configured.leniencies.clone()),
            stale_crl: self.stale_crl.unwrap_or(configured.stale_crl),
            fingerprints: self.fingerprints.clone(),
            oem_tpms: self.oem_tpms.clone(),
            denied: self.denied.clone(),
            floors: self.floors.clone(),
        }
    }
}

#[derive(Deserialize)]
struct Format {
    format: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Raw {
    #[serde(rename = "format")]
    _format: String,
    #[serde(default)]
    roots: Vec<String>,
    #[serde(default)]
    intermediates: Vec<String>,
    #[serde(default)]
    crls: Vec<String>,
    leniencies: Option<Leniencies>,
    stale_crl: Option<StaleCrl>,
    #[serde(default)]
    fingerprints: Vec<RawFingerprint>,
    #[serde(default)]
    oem_tpms: Vec<RawOemTpm>,
    #[serde(default)]
    denied_issuers: Vec<RawDenied>,
    #[serde(default)]
    firmware_floors: Vec<RawFloor>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawFingerprint {
    spki_sha256: String,
    #[serde(default)]
    manufacturer: String,
    #[serde(default)]
    model: String,
    #[serde(default)]
    version: String,
    /// For people; nothing reads it.
    #[serde(default, rename = "note")]
    _note: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawOemTpm {
    oem: String,
    manufacturer: String,
    #[serde(default)]
    model: String,
    #[serde(default)]
    version: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawDenied {
    certificate_sha256: Option<String>,
    spki_sha256: Option<String>,
    subject: Option<String>,
    reason: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawFloor {
    manufacturer: String,
    model: Option<String>,
    line: Option<String>,
    quoted: Option<String>,
    certified: Option<String>,
    reason: String,
}

impl RawDenied {
    fn read(&self) -> Result<DeniedIssuer, String> {
        let which = match (&self.certificate_sha256, &self.spki_sha256, &self.subject) {
            (Some(hex), None, None) => Denied::Certificate(digest(hex)?),
            (None, Some(hex), None) => Denied::Key(digest(hex)?),
            (None, None, Some(subject)) => Denied::Subject(subject.clone()),
            _ => return Err("one of certificate_sha256, spki_sha256, subject".to_owned()),
        };
        Ok(DeniedIssuer {
            which,
            reason: line(&self.reason)?,
        })
    }
}

impl RawFloor {
    fn read(&self) -> Result<FirmwareFloor, String> {
        if self.quoted.is_none() && self.certified.is_none() {
            return Err("neither quoted nor certified: it forbids nothing".to_owned());
        }
        let number = |text: &Option<String>, digits: usize| match text {
            None => Ok(None),
            Some(text) if text.len() == digits => u64::from_str_radix(text, 16)
                .ok()
                .filter(|_| text.bytes().all(|b| b.is_ascii_hexdigit()))
                .map(Some)
                .ok_or_else(|| format!("{text:?} is not hex")),
            Some(text) => Err(format!("{text:?} does not have {digits} hex digits")),
        };
        let (line_number, certified) = (number(&self.line, 4)?, number(&self.certified, 8)?);
        Ok(FirmwareFloor {
            manufacturer: line(&self.manufacturer)?,
            model: self.model.as_deref().map(line).transpose()?,
            line: line_number.and_then(|n| u16::try_from(n).ok()),
            quoted: number(&self.quoted, 16)?,
            certified: certified.and_then(|n| u32::try_from(n).ok()),
            reason: line(&self.reason)?,
        })
    }
}

fn fingerprints(list: &[RawFingerprint]) -> Result<BTreeMap<[u8; 32], ListedEk>, BundleError> {
    let read = entries("fingerprints", list, |entry| {
        let listed = stated(&entry.manufacturer, &entry.model, &entry.version)?;
        Ok((digest(&entry.spki_sha256)?, listed))
    })?;
    once("fingerprints", read)
}

fn oem_tpms(list: &[RawOemTpm]) -> Result<BTreeMap<OemName, ListedEk>, BundleError> {
    let read = entries("oem_tpms", list, |entry| {
        if entry.manufacturer.is_empty() {
            return Err("it names no manufacturer".to_owned());
        }
        let name = OemName::parse(&entry.oem).map_err(|e| e.to_string())?;
        let listed = stated(&entry.manufacturer, &entry.model, &entry.version)?;
        Ok((name, listed))
    })?;
    once("oem_tpms", read)
}

/// What the owner says of a TPM; empty where nothing is said.
fn stated(manufacturer: &str, model: &str, version: &str) -> Result<ListedEk, String> {
    let fact = |text: &str| match text {
        "" => Ok(String::new()),
        text => {
            printable(text).ok_or_else(|| format!("{text:?} is not 1 to 64 visible characters"))
        }
    };
    Ok(ListedEk {
        manufacturer: fact(manufacturer)?,
        model: fact(model)?,
        version: fact(version)?,
    })
}

fn once<K: Ord, V>(list: &'static str, read: Vec<(K, V)>) -> Result<BTreeMap<K, V>, BundleError> {
    let mut map = BTreeMap::new();
    for (at, (key, value)) in read.into_iter().enumerate() {
        if map.insert(key, value).is_some() {
            return Err(BundleError::Entry {
                list,
                at,
                why: "listed twice".to_owned(),
            });
        }
    }
    Ok(map)
}

/// Each entry is PEM of one or more, or base64 of DER.
fn ders(
    list: &'static str,
    texts: &[String],
    good: impl Fn(&Item) -> Result<(), String>,
) -> Result<Vec<Vec<u8>>, BundleError> {
    use base64::{Engine as _, engine::general_purpose::STANDARD as BASE64};
    let read = entries(list, texts, |text| {
        let bytes = if text.contains("-----BEGIN ") {
            text.as_bytes().to_vec()
        } else {
            let plain: String = text.split_ascii_whitespace().collect();
            let bytes = BASE64.decode(plain);
            bytes.map_err(|_| "neither PEM nor base64".to_owned())?
        };
        let items = file::items(&bytes).map_err(|e| e.to_string())?;
        items.iter().try_for_each(&good)?;
        Ok(items)
    })?;
    let ders = read.into_iter().flatten().map(|item| match item {
        Item::Certificate(der) | Item::Crl(der) => der,
    });
    Ok(ders.collect())
}

fn entries<T, U>(
    list: &'static str,
    raw: &[T],
    read: impl Fn(&T) -> Result<U, String>,
) -> Result<Vec<U>, BundleError> {
    raw.iter()
        .enumerate()
        .map(|(at, entry)| read(entry).map_err(|why| BundleError::Entry { list, at, why }))
        .collect()
}

fn digest(text: &str) -> Result<[u8; 32], String> {
    let mut digest = [0; 32];
    hex::decode_to_slice(text, &mut digest)
        .map(|()| digest)
        .map_err(|_| format!("{text:?} is not the hex of a SHA-256"))
}

/// Text of the owner's that is shown: one line without control characters.
fn line(text: &str) -> Result<String, String> {
    let good = (1..=MAX_TEXT).contains(&text.len()) && !text.chars().any(char::is_control);
    good.then(|| text.to_owned())
        .ok_or_else(|| "a text that is empty, too long or has control characters".to_owned())
}
