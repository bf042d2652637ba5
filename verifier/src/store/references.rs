//! Reference values and last quotes, as they are kept.

use std::collections::BTreeMap;

use holdfast_proto::{binding::Ueid, tpm::HashAlg};
use serde::{Deserialize, Serialize};

use super::{
    error::StoreError,
    model::{GatewayRecord, Lifecycle, Seconds, Sha256, SuspensionKind},
};

/// The PCRs of a verified quote.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct QuotedPcrs {
    /// Their bank.
    pub bank: HashAlg,
    /// Value by index.
    pub values: BTreeMap<u32, Vec<u8>>,
}

/// [`QuotedPcrs`] in a row.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Row {
    bank: String,
    pcrs: BTreeMap<u32, String>,
}

impl QuotedPcrs {
    /// The one form in which they are kept, and hashed: JSON.
    #[must_use]
    pub fn to_json(&self) -> String {
        let row = Row {
            bank: self.bank.name().to_owned(),
            pcrs: self
                .values
                .iter()
                .map(|(index, value)| (*index, hex::encode(value)))
                .collect(),
        };
        serde_json::to_string(&row).expect("strings under fixed names serialise")
    }

    /// SHA-256 of [`QuotedPcrs::to_json`]: what the owner approves by.
    #[must_use]
    pub fn sha256(&self) -> Sha256 {
        use sha2::Digest as _;
        sha2::Sha256::digest(self.to_json()).into()
    }

    /// Back from [`QuotedPcrs::to_json`]; `None` for anything else.
    pub(super) fn from_json(text: &str) -> Option<Self> {
        let row: Row = serde_json::from_str(text).ok()?;
        let bank = HashAlg::ALL
            .into_iter()
            .find(|alg| alg.name() == row.bank)?;
        let values = row.pcrs.into_iter().map(|(index, value)| {
            let value = hex::decode(value).ok()?;
            (value.len() == bank.digest_len()).then_some((index, value))
        });
        Some(Self {
            bank,
            values: values.collect::<Option<_>>()?,
        })
    }
}

/// What a gateway quoted last.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LastQuote {
    /// The class that it was appraised as.
    pub class: String,
    /// The PCRs.
    pub quoted: QuotedPcrs,
    /// Its boot log, where it sent one.
    pub boot_log_sha256: Option<Sha256>,
    /// How it differed from what is good, as told at the time.
    pub drift: Vec<String>,
    /// When.
    pub at: Seconds,
    /// Whether it was affirmed.
    pub affirming: bool,
}

/// Reference values about to be recorded. The caller has verified `statement`.
#[derive(Debug, Clone)]
pub struct NewReferenceValues {
    /// Class.
    pub class: String,
    /// What the statement says: the version after the newest, or the newest
    /// with the very same document.
    pub version: u64,
    /// The JSON.
    pub document: String,
    /// The owner's statement on it.
    pub statement: Vec<u8>,
    /// Where the values were captured.
    pub captured: Option<Captured>,
}

/// The quote that reference values were captured from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Captured {
    /// Whose.
    pub gateway: Ueid,
    /// [`QuotedPcrs::sha256`] of it.
    pub quote_sha256: Sha256,
}

/// Exactly one drift to be accepted: the values that accept it are recorded,
/// and the gateway resumed, in one transaction or not at all.
#[derive(Debug, Clone)]
pub struct Approval {
    /// Whose drift.
    pub id: Ueid,
    /// [`QuotedPcrs::sha256`] of what the owner was shown.
    pub quote_sha256: Sha256,
    /// The values.
    pub values: NewReferenceValues,
    /// Why, for the record.
    pub reason: String,
}

/// Codes of reasons that new reference values can answer. Whoever was refused
/// for anything else is not to be approved by them.
pub const APPROVABLE: [&str; 2] = ["pcr-mismatch", "pcr-not-covered"];

impl GatewayRecord {
    /// Whether new reference values can bring it back: it is suspended for its
    /// evidence, and for nothing in it but its PCRs.
    ///
    /// # Errors
    /// [`StoreError::NotForEvidence`] or [`StoreError::NotApprovable`].
    pub fn may_be_approved(&self) -> Result<(), StoreError> {
        let id = self.id;
        if self.lifecycle != Lifecycle::Suspended(SuspensionKind::Evidence) {
            return Err(StoreError::NotForEvidence { id });
        }
        let codes = self.last_reasons.iter().map(|reason| reason.code.as_str());
        let other: Vec<&str> = codes.filter(|code| !APPROVABLE.contains(code)).collect();
        if !other.is_empty() || self.last_reasons.is_empty() {
            let codes = other.join(", ");
            return Err(StoreError::NotApprovable { id, codes });
        }
        Ok(())
    }
}

/// The golden boot that reference values were captured from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Golden {
    /// Whose boot.
    pub gateway: Ueid,
    /// SHA-256 of its boot log, where it had one.
    pub boot_log_sha256: Option<Sha256>,
}

/// A version of the reference values of a class, without the document.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ReferenceVersion {
    /// Class.
    pub class: String,
    /// 1, 2, …
    pub version: u64,
    /// SHA-256 of the document.
    pub sha256: Sha256,
    /// When it was imported.
    pub imported_at: Seconds,
    /// By whom; empty for versions of before this was kept.
    pub imported_by: String,
    /// Where it was captured, if it was.
    pub golden: Option<Golden>,
    /// Whether it carries an owner's statement. Only versions of before there
    /// were any do not.
    pub signed: bool,
}

/// Reference values of a class.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ReferenceRecord {
    /// Class.
    pub class: String,
    /// 1, 2, …
    pub version: u64,
    /// SHA-256 of `document`.
    pub sha256: Sha256,
    /// The JSON as imported.
    pub document: String,
    /// The owner's statement on it, to be verified again; empty in records of
    /// before there were any.
    pub statement: Vec<u8>,
    /// Where it was captured, if it was.
    pub golden: Option<Golden>,
}
