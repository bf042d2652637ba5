//! The simulated TPM vendor: a root and an intermediate authority that issue EK
//! certificates. Trust it in tests and demonstrations only.

mod certificate;
mod der;
mod ek_certificate;
mod oem;

use std::fs::{self, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use rcgen::{KeyPair, PublicKeyData as _};
use ring::rand::{SecureRandom as _, SystemRandom};

use self::certificate::{Authority, Body};
pub use self::ek_certificate::{EkCertOptions, Flaw, IssuedEk, SanLayout};
pub(crate) use self::oem::hardware_serial;
pub use self::oem::{DevidCertificate, OemCa};
use crate::SimError;

const ORGANISATION: &str = "Holdfast Simulation";
const ROOT: &str = "Simulated TPM Vendor Root CA";
const INTERMEDIATE: &str = "Simulated TPM Vendor EK CA 1";
const CA_NOT_BEFORE: &str = "20200101000000Z";
const CA_NOT_AFTER: &str = "20991231235959Z";

/// A simulated TPM vendor, kept in a directory:
/// `vendor-root.pem`, `vendor-intermediate.pem`, and their keys (mode 0600).
#[derive(Debug)]
pub struct VendorCa {
    dir: PathBuf,
    root: Member,
    intermediate: Member,
}

#[derive(Debug)]
struct Member {
    certificate: Vec<u8>,
    key: KeyPair,
}

impl VendorCa {
    /// Makes a new vendor. `dir` must not exist, or be empty.
    ///
    /// # Errors
    /// Where the files cannot be written, or keys not be made.
    pub fn create(dir: &Path) -> Result<Self, SimError> {
        let ca = Self::generate(dir)?;
        // Written beside and moved into place, so that of two that create at
        // once, one wins and no half of a vendor is ever seen.
        let parent = dir.parent().filter(|parent| !parent.as_os_str().is_empty());
        let parent = parent.unwrap_or(Path::new("."));
        fs::create_dir_all(parent).map_err(SimError::io("make directory", parent))?;
        let building = tempfile::Builder::new()
            .prefix(".vendor-ca-")
            .tempdir_in(parent)
            .map_err(SimError::io("make directory in", parent))?;
        ca.save(building.path())?;
        fs::rename(building.path(), dir).map_err(SimError::io("make directory", dir))?;
        // It is no longer where the guard would remove it.
        let _moved = building.keep();
        Ok(ca)
    }

    /// Opens the vendor that [`VendorCa::create`] left in `dir`.
    ///
    /// # Errors
    /// Where its files are missing or damaged.
    pub fn open(dir: &Path) -> Result<Self, SimError> {
        let member = |name: &str| {
            let certificate = dir.join(format!("{name}.pem"));
            let key = dir.join(format!("{name}.key.pem"));
            let text =
                fs::read_to_string(&certificate).map_err(SimError::io("read", &certificate))?;
            let certificate = from_pem(&text).ok_or_else(|| {
                SimError::Key(format!("{}: not a PEM certificate", certificate.display()))
            })?;
            let key = fs::read_to_string(&key).map_err(SimError::io("read", &key))?;
            Ok::<_, SimError>(Member {
                certificate,
                key: KeyPair::from_pem(&key)?,
            })
        };
        let (root, intermediate) = (member("vendor-root")?, member("vendor-intermediate")?);
        Ok(Self {
            dir: dir.to_owned(),
            root,
            intermediate,
        })
    }

    /// Opens the vendor in `dir`, or makes one there.
    ///
    /// # Errors
    /// As [`VendorCa::open`] and [`VendorCa::create`].
    pub fn open_or_create(dir: &Path) -> Result<Self, SimError> {
        if dir.join("vendor-root.pem").exists() {
            return Self::open(dir);
        }
        match Self::create(dir) {
            // Somebody else was first.
            Err(_) if dir.join("vendor-root.pem").exists() => Self::open(dir),
            created => created,
        }
    }

    /// File of the root certificate (PEM).
    #[must_use]
    pub fn root_path(&self) -> PathBuf {
        self.dir.join("vendor-root.pem")
    }

    /// File of the intermediate certificate (PEM).
    #[must_use]
    pub fn intermediate_path(&self) -> PathBuf {
        self.dir.join("vendor-intermediate.pem")
    }

    /// The root certificate, DER.
    #[must_use]
    pub fn root_der(&self) -> &[u8] {
        &self.root.certificate
    }

    /// The intermediate certificate, DER.
    #[must_use]
    pub fn intermediate_der(&self) -> &[u8] {
        &self.intermediate.certificate
    }

    fn generate(dir: &Path) -> Result<Self, SimError> {
        let name = certificate::name(ORGANISATION, ROOT);
        let key = KeyPair::generate_for(&rcgen::PKCS_ECDSA_P384_SHA384)?;
        let mut root = Authority {
            name,
            key,
            certificate: Vec::new(),
        };
        root.certificate = root.issue(&Body {
            serial: random_serial()?,
            not_before: CA_NOT_BEFORE,
            not_after: CA_NOT_AFTER,
            subject: root.name.clone(),
            spki: root.key.subject_public_key_info(),
            extensions: vec![
                certificate::subject_key_id(&root.key_id()),
                certificate::ca_key_usage(),
                certificate::basic_constraints(true, None),
            ],
        })?;
        let constraints = vec![certificate::basic_constraints(true, Some(0))];
        let intermediate = root.sub_authority(INTERMEDIATE, CA_NOT_AFTER, constraints)?;
        let member = |authority: Authority| Member {
            certificate: authority.certificate,
            key: authority.key,
        };
        Ok(Self {
            dir: dir.to_owned(),
            root: member(root),
            intermediate: member(intermediate),
        })
    }

    fn save(&self, dir: &Path) -> Result<(), SimError> {
        for (name, member) in [
            ("vendor-root", &self.root),
            ("vendor-intermediate", &self.intermediate),
        ] {
            write_new(
                &dir.join(format!("{name}.pem")),
                0o644,
                &to_pem(&member.certificate),
            )?;
            write_new(
                &dir.join(format!("{name}.key.pem")),
                0o600,
                &member.key.serialize_pem(),
            )?;
        }
        Ok(())
    }

    fn root_authority(&self) -> Result<Authority, SimError> {
        self.root.authority(ROOT)
    }

    fn intermediate_authority(&self) -> Result<Authority, SimError> {
        self.intermediate.authority(INTERMEDIATE)
    }
}

impl Member {
    fn authority(&self, common_name: &str) -> Result<Authority, SimError> {
        Ok(Authority {
            name: certificate::name(ORGANISATION, common_name),
            // `KeyPair` cannot be cloned.
            key: KeyPair::try_from(self.key.serialized_der())?,
            certificate: self.certificate.clone(),
        })
    }
}

impl Authority {
    /// An authority with a new key below this one. `constraints` are its basic
    /// and name constraints.
    fn sub_authority(
        &self,
        common_name: &str,
        not_after: &str,
        constraints: Vec<Vec<u8>>,
    ) -> Result<Self, SimError> {
        let key = KeyPair::generate()?;
        let name = certificate::name(ORGANISATION, common_name);
        let mut extensions = vec![
            certificate::subject_key_id(&certificate::key_id(&key)),
            certificate::authority_key_id(&self.key_id()),
            certificate::ca_key_usage(),
        ];
        extensions.extend(constraints);
        let certificate = self.issue(&Body {
            serial: random_serial()?,
            not_before: CA_NOT_BEFORE,
            not_after,
            subject: name.clone(),
            spki: key.subject_public_key_info(),
            extensions,
        })?;
        Ok(Self {
            name,
            key,
            certificate,
        })
    }
}

/// 16 random octets, positive.
fn random_serial() -> Result<Vec<u8>, SimError> {
    let mut serial = [0; 16];
    SystemRandom::new()
        .fill(&mut serial)
        .map_err(|_| SimError::Key("the system gives no random numbers".to_owned()))?;
    let [first, ..] = &mut serial;
    *first = (*first & 0x7f) | 0x40;
    Ok(serial.to_vec())
}

fn to_pem(der: &[u8]) -> String {
    let text = STANDARD.encode(der);
    let mut pem = "-----BEGIN CERTIFICATE-----\n".to_owned();
    for (at, character) in text.chars().enumerate() {
        if at > 0 && at % 64 == 0 {
            pem.push('\n');
        }
        pem.push(character);
    }
    pem.push_str("\n-----END CERTIFICATE-----\n");
    pem
}

fn from_pem(pem: &str) -> Option<Vec<u8>> {
    let (_, rest) = pem.split_once("-----BEGIN CERTIFICATE-----")?;
    let (text, _) = rest.split_once("-----END CERTIFICATE-----")?;
    STANDARD
        .decode(text.split_whitespace().collect::<String>())
        .ok()
}

fn write_new(path: &Path, mode: u32, text: &str) -> Result<(), SimError> {
    let write = || -> io::Result<()> {
        let mut file = OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(mode)
            .open(path)?;
        file.write_all(text.as_bytes())
    };
    write().map_err(SimError::io("write", path))
}

#[cfg(test)]
mod tests;
