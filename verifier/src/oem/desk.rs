//! The OEM's directory: CA, TPM vendors' certificates, challenges that wait,
//! the ledger.

use std::path::Path;

use holdfast_proto::devid_challenge::{DevidAnswer, DevidChallenge};
use ring::rand::SecureRandom;
use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

use super::{CheckedCsr, DeskError, IssuedDevid, Ledger, LedgerEntry, PendingDevid};
use crate::{
    config::{Home, home::HomeLock, staging::Staging},
    custody::{Cabinet, SecretSource, encrypt, read_signer},
    digest::sha256,
    endorsement::{Anchors, CertificateFacts, Item, Leniencies, items},
    identity::{DevidCa, NewDevidCa, SecretKey, pem},
    time::UnixTime,
};

/// File names in the directory.
const ROOT: &str = "oem-root.pem";
const ROOT_KEY: &str = "oem-root.key.pem";
const DEVICE: &str = "oem-device-ca.pem";
const DEVICE_KEY: &str = "oem-device-ca.key.pem";
const VENDORS: &str = "tpm-vendors.pem";
const LEDGER: &str = "ledger.jsonl";

/// What `oem init` makes.
pub struct NewDesk<'a> {
    /// Organisation in all subjects.
    pub organization: &'a str,
    /// TPM vendors' CA certificates and CRLs, one file's content each.
    pub vendors: &'a [Vec<u8>],
    /// Encrypts both keys.
    pub passphrase: Option<&'a SecretSource>,
    /// Where the root's key goes instead of into the directory.
    pub root_dir: Option<&'a Path>,
}

/// An OEM's directory, taken for this process alone.
#[derive(Debug)]
pub struct Desk {
    home: Home,
    _lock: HomeLock,
}

/// A waiting challenge, as it is kept.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct PendingFile {
    secret_sha256: String,
    made: i64,
}

impl NewDesk<'_> {
    /// Makes the directory, whole or not at all.
    ///
    /// # Errors
    /// [`DeskError`]
    pub fn make(&self, dir: &Path, now: UnixTime, rng: &dyn SecureRandom) -> Result<(), DeskError> {
        let bad_ca = |source| DeskError::Ca { file: ROOT, source };
        let ca = NewDevidCa::make(self.organization, now, rng).map_err(bad_ca)?;
        let vendors = self.vendors_pem()?;
        let passphrase = self
            .passphrase
            .map(SecretSource::read)
            .transpose()
            .map_err(crate::custody::CustodyError::from)?;
        let key_text = |key: &SecretKey| -> Result<Zeroizing<Vec<u8>>, DeskError> {
            Ok(Zeroizing::new(match &passphrase {
                None => key.expose_pem().as_bytes().to_vec(),
                Some(passphrase) => encrypt(key.expose_der(), passphrase, rng)
                    .map_err(|_| DeskError::NoRandomness)?
                    .into_bytes(),
            }))
        };
        // Already there, and not empty: renaming over it would fail late.
        let staging = Staging::beside(dir)?;
        let home = staging.home();
        home.write_new(ROOT, ca.root.certificate_pem().as_bytes(), 0o644)?;
        home.write_new(DEVICE, ca.device.certificate_pem().as_bytes(), 0o644)?;
        home.write_new(DEVICE_KEY, &key_text(&ca.device.key)?, 0o600)?;
        home.write_new(VENDORS, vendors.as_bytes(), 0o644)?;
        let root_key = key_text(&ca.root.key)?;
        match self.root_dir {
            None => home.write_new(ROOT_KEY, &root_key, 0o600)?,
            Some(offline) => {
                let offline = match Home::create(offline) {
                    Ok(made) => made,
                    Err(crate::config::HomeError::Exists { .. }) => Home::open(offline)?,
                    Err(error) => return Err(error.into()),
                };
                offline.write_new(ROOT_KEY, &root_key, 0o600)?;
                offline.write_new(ROOT, ca.root.certificate_pem().as_bytes(), 0o644)?;
            }
        }
        Ok(staging.become_dir(dir)?)
    }

    fn vendors_pem(&self) -> Result<String, DeskError> {
        let mut text = String::new();
        for content in self.vendors {
            for item in items(content)? {
                text.push_str(&match item {
                    Item::Certificate(der) => pem::encode("CERTIFICATE", &der),
                    Item::Crl(der) => pem::encode("X509 CRL", &der),
                });
            }
        }
        vendors(text.as_bytes())?;
        Ok(text)
    }
}

impl Desk {
    /// Opens the directory, and takes it for this process alone.
    ///
    /// # Errors
    /// [`DeskError::Home`] names the file whose mode or owner is wrong.
    pub fn open(dir: &Path) -> Result<Self, DeskError> {
        let home = Home::open(dir)?;
        home.inspect_secrets()?;
        let lock = home.lock()?;
        Ok(Self { home, _lock: lock })
    }

    /// Checks a request and makes a challenge for it. An earlier challenge for
    /// the same request no longer counts.
    ///
    /// # Errors
    /// [`DeskError::Refused`] with the rule that the request breaks.
    pub fn challenge(
        &self,
        csr: &[u8],
        now: UnixTime,
        rng: &dyn SecureRandom,
    ) -> Result<(CheckedCsr, DevidChallenge), DeskError> {
        let checked = CheckedCsr::check(csr, &self.vendors()?, now)?;
        // A slip of the serial number is told before the device is bothered.
        let (challenge, pending) = checked.challenge(now, rng)?;
        let text = serde_json::to_string(&PendingFile {
            secret_sha256: hex::encode(pending.secret_sha256()),
            made: pending.made().seconds(),
        })
        .expect("text and numbers encode");
        self.home
            .replace(&pending_name(checked.sha256()), text.as_bytes(), 0o600)?;
        Ok((checked, challenge))
    }

    /// Issues both certificates to whoever answered right; recorded before this
    /// returns. The same request and answer again give the same certificates.
    ///
    /// # Errors
    /// [`DeskError`]; nothing is issued then.
    pub fn issue(
        &self,
        csr: &[u8],
        answer: &[u8],
        replace: bool,
        passphrase: Option<&SecretSource>,
        now: UnixTime,
        rng: &dyn SecureRandom,
    ) -> Result<LedgerEntry, DeskError> {
        let answer = DevidAnswer::parse(answer)?;
        let csr_sha256 = sha256(&[csr]);
        let mut ledger = self.ledger()?;
        let answer_sha256 = sha256(&[answer.secret.as_slice()]);
        if let Some(entry) = ledger.answered(&csr_sha256, &answer_sha256) {
            return Ok(entry.clone());
        }
        let checked = CheckedCsr::check(csr, &self.vendors()?, now)?;
        let device = self.pending(&csr_sha256)?.prove(checked, &answer, now)?;
        if !replace {
            ledger.expect_new(&device)?;
        }
        let ca = self.ca(passphrase)?;
        let issued = IssuedDevid::sign(device, &ca, &self.root()?, now, rng)?;
        let entry = ledger.record(issued, replace, now)?.clone();
        self.home.remove_if_there(&pending_name(&csr_sha256))?;
        Ok(entry)
    }

    /// What was issued.
    ///
    /// # Errors
    /// [`DeskError::Ledger`].
    pub fn ledger(&self) -> Result<Ledger, DeskError> {
        Ok(Ledger::open(self.home.path(LEDGER))?)
    }

    /// DER of the root's certificate.
    ///
    /// # Errors
    /// [`DeskError::Custody`].
    pub fn root(&self) -> Result<Vec<u8>, DeskError> {
        Ok(Cabinet::new(&self.home).certificate(ROOT)?)
    }

    /// DER of the device CA's certificate.
    ///
    /// # Errors
    /// [`DeskError::Custody`].
    pub fn device_ca(&self) -> Result<Vec<u8>, DeskError> {
        Ok(Cabinet::new(&self.home).certificate(DEVICE)?)
    }

    fn ca(&self, passphrase: Option<&SecretSource>) -> Result<DevidCa, DeskError> {
        let signer = read_signer(&self.home, DEVICE_KEY, passphrase)?;
        DevidCa::open(&self.device_ca()?, signer).map_err(|source| DeskError::Ca {
            file: DEVICE,
            source,
        })
    }

    fn vendors(&self) -> Result<Anchors, DeskError> {
        vendors(&self.home.read_trusted_bytes(VENDORS)?)
    }

    fn pending(&self, csr_sha256: &[u8; 32]) -> Result<PendingDevid, DeskError> {
        use crate::config::HomeError;
        let name = pending_name(csr_sha256);
        let text = match self.home.read_secret(&name) {
            Err(HomeError::Io { source, .. }) if source.kind() == std::io::ErrorKind::NotFound => {
                return Err(DeskError::NoChallenge(hex::encode(csr_sha256)));
            }
            other => other?,
        };
        let read = || {
            let file: PendingFile = serde_json::from_str(&text).ok()?;
            let mut secret_sha256 = [0; 32];
            hex::decode_to_slice(&file.secret_sha256, &mut secret_sha256).ok()?;
            let made = UnixTime::from_seconds(file.made);
            Some(PendingDevid::new(*csr_sha256, secret_sha256, made))
        };
        read().ok_or(DeskError::Damaged { file: name })
    }
}

fn pending_name(csr_sha256: &[u8; 32]) -> String {
    format!("challenge-{}.json", hex::encode(csr_sha256))
}

/// Self-signed certificates are roots, others intermediates.
fn vendors(text: &[u8]) -> Result<Anchors, DeskError> {
    let (mut roots, mut intermediates, mut crls) = (Vec::new(), Vec::new(), Vec::new());
    for item in items(text)? {
        match item {
            Item::Crl(der) => crls.push(der),
            Item::Certificate(der) => {
                let facts = CertificateFacts::parse(&der, &Leniencies::default())
                    .map_err(DeskError::Vendor)?;
                if facts.root {
                    roots.push(der);
                } else {
                    intermediates.push(der);
                }
            }
        }
    }
    Anchors::new(roots, intermediates)
        .and_then(|anchors| anchors.with_crls(&crls))
        .map_err(DeskError::Vendor)
}
