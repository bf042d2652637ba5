//! What was issued: one JSON object a line, only ever added to, on disk before
//! the certificates leave.

use std::{
    fs::{File, OpenOptions},
    io::{self, Read as _, Seek as _, SeekFrom, Write as _},
    os::unix::fs::OpenOptionsExt as _,
    path::PathBuf,
};

use base64::{Engine as _, engine::general_purpose::STANDARD as BASE64};
use nix::libc;
use serde::{Deserialize, Serialize};

use super::{IssuedDevid, ProvenDevice};
use crate::{digest::sha256, time::UnixTime};

/// Why the ledger says no, or cannot be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum LedgerError {
    /// It cannot be read or written.
    #[error("{}: {source}", path.display())]
    Io {
        /// Which file.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// A line is not what was written.
    #[error(
        "{} is damaged at line {line}: restore it from a backup; nothing is issued without it", path.display()
    )]
    Damaged {
        /// Which file.
        path: PathBuf,
        /// Counted from 1.
        line: usize,
    },
    /// The product has certificates for other keys.
    #[error(
        "product serial {serial:?} was issued on {at} for other keys: is the serial right? With --replace the new keys take its place, and the OEM's customers must be told"
    )]
    OtherKeys {
        /// The product.
        serial: String,
        /// When.
        at: UnixTime,
    },
    /// The keys, or the TPM, have certificates for another product.
    #[error(
        "this {what} was issued on {at} for product serial {serial:?}: is the serial right? With --replace the new serial takes its place"
    )]
    OtherProduct {
        /// What is known already.
        what: &'static str,
        /// The product that it was for.
        serial: String,
        /// When.
        at: UnixTime,
    },
}

/// One issuance.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LedgerEntry {
    /// Seconds since the Unix epoch.
    pub at: i64,
    /// commonName of both subjects.
    pub model: String,
    /// serialNumber of both subjects.
    pub serial: String,
    /// SHA-256 of the EK's SubjectPublicKeyInfo, hex.
    pub ek_spki_sha256: String,
    /// SHA-256 of the IAK's, hex.
    pub iak_spki_sha256: String,
    /// SHA-256 of the IDevID key's, hex.
    pub idevid_spki_sha256: String,
    /// SHA-256 of the request, hex.
    pub csr_sha256: String,
    /// SHA-256 of the secret that proved it, hex.
    pub answer_sha256: String,
    /// Whether `--replace` was given.
    pub replace: bool,
    /// The IAK's certificate, base64 of DER.
    pub iak_certificate: String,
    /// The IDevID's certificate, base64 of DER.
    pub idevid_certificate: String,
}

impl LedgerEntry {
    /// DER of the IAK's and the IDevID's certificate.
    #[must_use]
    pub fn certificates(&self) -> Option<(Vec<u8>, Vec<u8>)> {
        Some((
            BASE64.decode(&self.iak_certificate).ok()?,
            BASE64.decode(&self.idevid_certificate).ok()?,
        ))
    }
}

/// The ledger, open.
#[derive(Debug)]
pub struct Ledger {
    path: PathBuf,
    file: File,
    entries: Vec<LedgerEntry>,
    /// Where the last whole line ends; what is beyond was cut off by a crash,
    /// before anybody was told of it.
    end: u64,
}

impl Ledger {
    /// Opens the ledger, making it where it is missing. The caller holds the
    /// directory's lock.
    ///
    /// # Errors
    /// [`LedgerError::Io`], [`LedgerError::Damaged`].
    pub fn open(path: PathBuf) -> Result<Self, LedgerError> {
        let at = |source| LedgerError::Io {
            path: path.clone(),
            source,
        };
        let mut file = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .mode(0o600)
            .custom_flags(libc::O_NOFOLLOW)
            .open(&path)
            .map_err(at)?;
        let mut text = Vec::new();
        file.read_to_end(&mut text).map_err(at)?;
        let whole = text.iter().rposition(|b| *b == b'\n').map_or(0, |n| n + 1);
        let lines = text.get(..whole).unwrap_or_default();
        let mut entries = Vec::new();
        for (line, json) in lines.split_inclusive(|b| *b == b'\n').enumerate() {
            let entry: LedgerEntry =
                serde_json::from_slice(json).map_err(|_| LedgerError::Damaged {
                    path: path.clone(),
                    line: line.saturating_add(1),
                })?;
            if entry.certificates().is_none() {
                return Err(LedgerError::Damaged {
                    path,
                    line: line.saturating_add(1),
                });
            }
            entries.push(entry);
        }
        Ok(Self {
            end: u64::try_from(whole).unwrap_or(u64::MAX),
            path,
            file,
            entries,
        })
    }

    /// All of it, in order.
    #[must_use]
    pub fn entries(&self) -> &[LedgerEntry] {
        &self.entries
    }

    /// What was issued for this very request and answer: a second try after a
    /// crash gets the same certificates.
    #[must_use]
    pub fn answered(
        &self,
        csr_sha256: &[u8; 32],
        answer_sha256: &[u8; 32],
    ) -> Option<&LedgerEntry> {
        let (csr, answer) = (hex::encode(csr_sha256), hex::encode(answer_sha256));
        self.entries
            .iter()
            .find(|entry| entry.csr_sha256 == csr && entry.answer_sha256 == answer)
    }

    /// One product has one set of keys, and one TPM is one product.
    ///
    /// # Errors
    /// [`LedgerError::OtherKeys`], [`LedgerError::OtherProduct`].
    pub fn expect_new(&self, device: &ProvenDevice) -> Result<(), LedgerError> {
        let serial = device.csr().subject().serial();
        let [ek, iak, idevid] = keys(device);
        // The newest word on each product counts: --replace made it.
        let mut seen = std::collections::BTreeSet::new();
        for entry in self.entries.iter().rev() {
            if !seen.insert(entry.serial.as_str()) {
                continue;
            }
            let at = UnixTime::from_seconds(entry.at);
            let same = (
                entry.iak_spki_sha256 == iak,
                entry.idevid_spki_sha256 == idevid,
            );
            if entry.serial == serial {
                if same != (true, true) {
                    return Err(LedgerError::OtherKeys {
                        serial: entry.serial.clone(),
                        at,
                    });
                }
                continue;
            }
            let what = match (same, entry.ek_spki_sha256 == ek) {
                ((true, _), _) => "IAK",
                ((_, true), _) => "IDevID key",
                (_, true) => "TPM (EK)",
                _ => continue,
            };
            return Err(LedgerError::OtherProduct {
                what,
                serial: entry.serial.clone(),
                at,
            });
        }
        Ok(())
    }

    /// Puts an issuance on record, and only then hands the certificates out.
    ///
    /// # Errors
    /// [`LedgerError::Io`]: then nothing is issued.
    pub fn record(
        &mut self,
        issued: IssuedDevid,
        replace: bool,
        now: UnixTime,
    ) -> Result<&LedgerEntry, LedgerError> {
        let IssuedDevid {
            device,
            iak,
            idevid,
        } = issued;
        let [ek_spki_sha256, iak_spki_sha256, idevid_spki_sha256] = keys(&device);
        let csr = device.csr();
        let entry = LedgerEntry {
            at: now.seconds(),
            model: csr.subject().model().to_owned(),
            serial: csr.subject().serial().to_owned(),
            ek_spki_sha256,
            iak_spki_sha256,
            idevid_spki_sha256,
            csr_sha256: hex::encode(csr.sha256()),
            answer_sha256: hex::encode(device.answer_sha256()),
            replace,
            iak_certificate: BASE64.encode(iak),
            idevid_certificate: BASE64.encode(idevid),
        };
        self.append(&entry).map_err(|source| LedgerError::Io {
            path: self.path.clone(),
            source,
        })?;
        self.entries.push(entry);
        Ok(self.entries.last().expect("pushed above"))
    }

    fn append(&mut self, entry: &LedgerEntry) -> io::Result<()> {
        let mut line = serde_json::to_vec(entry)?;
        line.push(b'\n');
        self.file.set_len(self.end)?;
        self.file.seek(SeekFrom::Start(self.end))?;
        self.file.write_all(&line)?;
        self.file.sync_all()?;
        self.end = self
            .end
            .saturating_add(u64::try_from(line.len()).unwrap_or(u64::MAX));
        Ok(())
    }
}

/// SHA-256 of the SubjectPublicKeyInfos of EK, IAK and IDevID key, hex.
fn keys(device: &ProvenDevice) -> [String; 3] {
    let csr = device.csr();
    let iak = csr.iak().public().to_spki_der().unwrap_or_default();
    [
        hex::encode(csr.ek().spki_sha256()),
        hex::encode(sha256(&[&iak])),
        hex::encode(sha256(&[csr.idevid().spki_der()])),
    ]
}
