//! The simulated OEM: a root and an intermediate authority that certify the
//! IDevID and the IAK of the gateways that it builds (IEEE 802.1AR §8; TCG
//! "TPM 2.0 Keys for Device Identity and Attestation" §8).

use std::fs;
use std::path::{Path, PathBuf};

use holdfast_proto::tpm::Public;
use holdfast_proto::tpm::devid::DevidKey;
use rcgen::{KeyPair, PublicKeyData as _};

use super::certificate::{self, Authority, Body, KeyUsage};
use super::der::{self, tag};
use super::{Member, from_pem, random_serial, to_pem, write_new};
use crate::SimError;

const ORGANISATION: &str = "Holdfast Simulation";
const ROOT: &str = "Simulated OEM Root CA";
const INTERMEDIATE: &str = "Simulated OEM Device CA 1";
const CA_NOT_BEFORE: &str = "20200101000000Z";
/// A DevID does not end, so its issuers had better not either.
const NO_END: &str = "99991231235959Z";
/// TCG vendor code of the simulated TPM, "HFST".
const VENDOR_CODE: &str = "48465354";

/// serialNumber (RFC 4519 §2.31)
const SERIAL_NUMBER: &[u32] = &[2, 5, 4, 5];
const SUBJECT_ALT_NAME: &[u32] = &[2, 5, 29, 17];
const CERTIFICATE_POLICIES: &[u32] = &[2, 5, 29, 32];
/// id-on-hardwareModuleName (RFC 4108 §5)
const HARDWARE_MODULE_NAME: &[u32] = &[1, 3, 6, 1, 5, 5, 7, 8, 4];
/// hwType of a TPM 2.0
const HW_TYPE_TPM20: &[u32] = &[2, 23, 133, 1, 2];
/// tcg-kp-AIKCertificate
const AIK_PURPOSE: &[u32] = &[2, 23, 133, 8, 3];
/// tcg-cap-verifiedTPMResidency, -verifiedTPMFixed, -verifiedTPMRestricted
const VERIFIED_RESIDENCY: &[u32] = &[2, 23, 133, 11, 1, 1];
const VERIFIED_FIXED: &[u32] = &[2, 23, 133, 11, 1, 2];
const VERIFIED_RESTRICTED: &[u32] = &[2, 23, 133, 11, 1, 3];

/// Files of the CA that certifies devices: as the simulator names them, and as
/// `holdfast-verifier oem init` does.
const SIMULATED: &str = "oem-intermediate";
const MADE_BY_INIT: &str = "oem-device-ca";

/// An OEM, kept in a directory: a simulated one (`oem-root.pem`,
/// `oem-intermediate.pem`, and their keys, mode 0600), or one that
/// `holdfast-verifier oem init` made (`oem-root.pem`, `oem-device-ca.pem` and
/// the latter's key), whose ledger does not learn of what is issued here.
#[derive(Debug)]
pub struct OemCa {
    dir: PathBuf,
    /// Names the files of the CA that certifies devices.
    file: &'static str,
    intermediate: Member,
    /// Its subject, DER `Name`.
    name: Vec<u8>,
    /// Its subjectKeyIdentifier.
    key_id: Vec<u8>,
}

/// What a DevID certificate says. [`DevidCertificate::new`] is a good one; a
/// test changes one thing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DevidCertificate {
    /// DER `SubjectPublicKeyInfo`.
    pub spki: Vec<u8>,
    /// Product serial number in the subject; `None` leaves it out.
    pub serial: Option<String>,
    /// hwSerialNum of the HardwareModuleName; `None` leaves the SAN out.
    pub hardware_serial: Option<String>,
    /// Whether keyUsage says digitalSignature; else keyAgreement.
    pub signs: bool,
    /// Whether basicConstraints says CA.
    pub ca: bool,
    /// Purposes (extended key usage), as arcs; empty: no such extension.
    pub purposes: Vec<Vec<u32>>,
    /// notAfter, `YYYYMMDDHHMMSSZ`.
    pub not_after: &'static str,
    policies: [&'static [u32]; 2],
}

impl DevidCertificate {
    /// A good certificate for this key of a product with that serial number,
    /// on a TPM with this hardware serial number.
    ///
    /// # Errors
    /// Where the area holds no usable key.
    pub fn new(
        key: DevidKey,
        public: &Public,
        serial: &str,
        hardware_serial: &str,
    ) -> Result<Self, SimError> {
        Ok(Self {
            spki: public.to_spki_der()?,
            serial: Some(serial.to_owned()),
            hardware_serial: Some(hardware_serial.to_owned()),
            signs: true,
            ca: false,
            purposes: match key {
                DevidKey::Idevid => Vec::new(),
                DevidKey::Iak => vec![AIK_PURPOSE.to_vec()],
            },
            not_after: NO_END,
            policies: match key {
                DevidKey::Idevid => [VERIFIED_RESIDENCY, VERIFIED_FIXED],
                DevidKey::Iak => [VERIFIED_RESIDENCY, VERIFIED_RESTRICTED],
            },
        })
    }

    fn subject(&self) -> Vec<u8> {
        let attribute = |arcs: &[u32], value: Vec<u8>| {
            der::set_of(vec![der::sequence(&[der::oid(arcs), value])])
        };
        let mut rdns = vec![
            attribute(&[2, 5, 4, 10], der::utf8(ORGANISATION)),
            attribute(&[2, 5, 4, 3], der::utf8("Holdfast simulated gateway")),
        ];
        if let Some(serial) = &self.serial {
            rdns.push(attribute(
                SERIAL_NUMBER,
                der::tlv(tag::PRINTABLE_STRING, serial.as_bytes()),
            ));
        }
        der::sequence(&rdns)
    }

    fn extensions(&self, issuer: &[u8]) -> Vec<Vec<u8>> {
        let usage = if self.signs {
            KeyUsage::DigitalSignature
        } else {
            KeyUsage::KeyAgreement
        };
        let mut extensions = vec![
            certificate::authority_key_id(issuer),
            certificate::key_usage(usage),
        ];
        if self.ca {
            extensions.push(certificate::basic_constraints(true, None));
        }
        if !self.purposes.is_empty() {
            let purposes: Vec<_> = self.purposes.iter().map(|arcs| der::oid(arcs)).collect();
            extensions.push(certificate::extension(
                &[2, 5, 29, 37],
                false,
                &der::sequence(&purposes),
            ));
        }
        let policies = self.policies.map(|arcs| der::sequence(&[der::oid(arcs)]));
        extensions.push(certificate::extension(
            CERTIFICATE_POLICIES,
            false,
            &der::sequence(&policies),
        ));
        if let Some(serial) = &self.hardware_serial {
            extensions.push(certificate::extension(
                SUBJECT_ALT_NAME,
                false,
                &hardware_module_name(serial),
            ));
        }
        extensions
    }
}

/// hwSerialNum as HPE's profile has it: vendor code, then what tells one TPM of
/// that vendor from another. Here that is the SHA-256 of the EK's key, since
/// there may be no EK certificate to name.
pub(crate) fn hardware_serial(ek_spki_sha256: &[u8]) -> String {
    format!("{VENDOR_CODE}:{}", hex::encode(ek_spki_sha256))
}

impl OemCa {
    /// Opens the OEM in `dir`, or makes one there.
    ///
    /// # Errors
    /// Where its files are damaged or cannot be written.
    pub fn open_or_create(dir: &Path) -> Result<Self, SimError> {
        if dir.join("oem-root.pem").exists() {
            return Self::open(dir);
        }
        match Self::create(dir) {
            // Somebody else was first.
            Err(_) if dir.join("oem-root.pem").exists() => Self::open(dir),
            created => created,
        }
    }

    fn create(dir: &Path) -> Result<Self, SimError> {
        let (root, intermediate) = Self::generate()?;
        // As for the vendor: of two that create at once one wins, whole.
        let parent = dir.parent().filter(|parent| !parent.as_os_str().is_empty());
        let parent = parent.unwrap_or(Path::new("."));
        fs::create_dir_all(parent).map_err(SimError::io("make directory", parent))?;
        let building = tempfile::Builder::new()
            .prefix(".oem-ca-")
            .tempdir_in(parent)
            .map_err(SimError::io("make directory in", parent))?;
        for (name, member) in [("oem-root", &root), (SIMULATED, &intermediate)] {
            let path = |suffix: &str| building.path().join(format!("{name}{suffix}"));
            write_new(&path(".pem"), 0o644, &to_pem(&member.certificate))?;
            write_new(&path(".key.pem"), 0o600, &member.key.serialize_pem())?;
        }
        fs::rename(building.path(), dir).map_err(SimError::io("make directory", dir))?;
        let _moved = building.keep();
        Self::of(dir, SIMULATED, intermediate)
    }

    fn of(dir: &Path, file: &'static str, intermediate: Member) -> Result<Self, SimError> {
        let found = certificate::subject_of(&intermediate.certificate)
            .zip(certificate::subject_key_id_of(&intermediate.certificate));
        let (name, key_id) = found.ok_or_else(|| {
            SimError::Key(format!(
                "{}: not the certificate of a CA with a key identifier",
                dir.join(format!("{file}.pem")).display()
            ))
        })?;
        Ok(Self {
            dir: dir.to_owned(),
            file,
            intermediate,
            name,
            key_id,
        })
    }

    fn open(dir: &Path) -> Result<Self, SimError> {
        let file = if dir.join(format!("{MADE_BY_INIT}.pem")).exists() {
            MADE_BY_INIT
        } else {
            SIMULATED
        };
        let (certificate, key) = (
            dir.join(format!("{file}.pem")),
            dir.join(format!("{file}.key.pem")),
        );
        let text = fs::read_to_string(&certificate).map_err(SimError::io("read", &certificate))?;
        let der = from_pem(&text).ok_or_else(|| {
            SimError::Key(format!("{}: not a PEM certificate", certificate.display()))
        })?;
        let text = fs::read_to_string(&key).map_err(SimError::io("read", &key))?;
        if text.contains("ENCRYPTED") {
            return Err(SimError::Key(format!(
                "{}: it has a passphrase, and the simulator takes none: make an OEM for tests \
                 with `holdfast-verifier oem init` without --passphrase",
                key.display()
            )));
        }
        let intermediate = Member {
            certificate: der,
            key: KeyPair::from_pem(&text)?,
        };
        Self::of(dir, file, intermediate)
    }

    /// Root and intermediate.
    fn generate() -> Result<(Member, Member), SimError> {
        let key = KeyPair::generate_for(&rcgen::PKCS_ECDSA_P384_SHA384)?;
        let mut root = Authority {
            name: certificate::name(ORGANISATION, ROOT),
            key,
            certificate: Vec::new(),
        };
        root.certificate = root.issue(&Body {
            serial: random_serial()?,
            not_before: CA_NOT_BEFORE,
            not_after: NO_END,
            subject: root.name.clone(),
            spki: root.key.subject_public_key_info(),
            extensions: vec![
                certificate::subject_key_id(&root.key_id()),
                certificate::key_usage(KeyUsage::KeyCertSign),
                certificate::basic_constraints(true, None),
            ],
        })?;
        let constraints = vec![certificate::basic_constraints(true, Some(0))];
        let intermediate = root.sub_authority(INTERMEDIATE, NO_END, constraints)?;
        let member = |authority: Authority| Member {
            certificate: authority.certificate,
            key: authority.key,
        };
        Ok((member(root), member(intermediate)))
    }

    /// Certifies an IDevID or IAK. DER.
    ///
    /// # Errors
    /// Where signing fails.
    pub fn issue(&self, wanted: &DevidCertificate) -> Result<Vec<u8>, SimError> {
        let issuer = Authority {
            name: self.name.clone(),
            // `KeyPair` cannot be cloned.
            key: KeyPair::try_from(self.intermediate.key.serialized_der())?,
            certificate: self.intermediate.certificate.clone(),
        };
        issuer.issue(&Body {
            serial: random_serial()?,
            not_before: CA_NOT_BEFORE,
            not_after: wanted.not_after,
            subject: wanted.subject(),
            spki: wanted.spki.clone(),
            extensions: wanted.extensions(&self.key_id),
        })
    }

    /// File of the root certificate (PEM).
    #[must_use]
    pub fn root_path(&self) -> PathBuf {
        self.dir.join("oem-root.pem")
    }

    /// File of the intermediate certificate (PEM).
    #[must_use]
    pub fn intermediate_path(&self) -> PathBuf {
        self.dir.join(format!("{}.pem", self.file))
    }

    /// The intermediate certificate, DER.
    #[must_use]
    pub fn intermediate_der(&self) -> &[u8] {
        &self.intermediate.certificate
    }
}

/// `GeneralNames` of one otherName, `SEQUENCE { hwType, hwSerialNum }` in
/// `[0] EXPLICIT` (RFC 5280 §4.2.1.6).
fn hardware_module_name(serial: &str) -> Vec<u8> {
    let value = der::sequence(&[der::oid(HW_TYPE_TPM20), der::octets(serial.as_bytes())]);
    let name = [
        der::oid(HARDWARE_MODULE_NAME),
        der::tlv(tag::context(0), &value),
    ];
    der::sequence(&[der::tlv(tag::context(0), &name.concat())])
}
