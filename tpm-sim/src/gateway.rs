//! A simulated gateway: one swtpm that a simulated vendor certified, booted
//! from a boot log.

use std::collections::BTreeMap;
use std::fs::{self, DirBuilder, OpenOptions};
use std::io::Write as _;
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};

use holdfast_proto::tpm::templates::EkTemplate;
use holdfast_proto::tpm::{ClockInfo, Digest, HashAlg};
use serde::{Deserialize, Serialize};

use crate::SimError;
use crate::boot_log::{BANKS, BootImage, BootLog, reference_values};
use crate::ima::ImaEntry;
use crate::oem::{OemDescription, OemOptions, OemProvision};
use crate::swtpm::{Swtpm, Transport, plain_path};
use crate::vendor_ca::{EkCertOptions, OemCa, VendorCa};

/// First NV index of the EK certificate chain (TCG EK Credential Profile).
const CHAIN_NV_INDEX: u32 = 0x01C0_0100;
/// PCRs of a PC Client TPM.
const PCRS: std::ops::Range<u32> = 0..24;

/// What to simulate. [`SimOptions::new`] gives a good gateway; a test changes
/// one thing.
#[derive(Clone, Debug)]
pub struct SimOptions {
    /// Where everything is kept: TPM state, boot log, vendor CA. A second start
    /// on the same directory is the same gateway.
    pub dir: PathBuf,
    /// The vendor's directory, made where it is missing; `None`: `vendor-ca`
    /// in `dir`.
    pub vendor_ca: Option<PathBuf>,
    /// Where its TPM listens.
    pub transport: Transport,
    /// EKs that get a certificate.
    pub ek_certificates: Vec<EkTemplate>,
    /// What the certificates say, and what is wrong with them.
    pub ek_cert: EkCertOptions,
    /// Whether the vendor's intermediate is in NV too, at 0x01C00100.
    pub intermediate_in_nv: bool,
    /// The image that its owner installed: it boots, and the reference values
    /// are its.
    pub image: BootImage,
    /// Whether its kernel measures files (IMA).
    pub ima: bool,
    /// How its OEM provisioned an IDevID and an IAK, if it did.
    pub oem: Option<OemOptions>,
}

impl SimOptions {
    /// A good gateway in `dir`, on free TCP ports, with certificates for the
    /// RSA-2048 and ECC P-256 EKs.
    #[must_use]
    pub fn new(dir: impl Into<PathBuf>) -> Self {
        Self {
            dir: dir.into(),
            vendor_ca: None,
            transport: Transport::Tcp(None),
            ek_certificates: vec![EkTemplate::L1, EkTemplate::L2],
            ek_cert: EkCertOptions::default(),
            intermediate_in_nv: true,
            image: BootImage::golden(),
            ima: false,
            oem: None,
        }
    }
}

/// What another program needs to know of a gateway; `gateway.json`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct GatewayDescription {
    /// TCTI name for `--tcti` and `TPM2TOOLS_TCTI`.
    pub tcti: String,
    /// Process id of swtpm. It changes with each power cycle.
    pub swtpm_pid: u32,
    /// TCG boot log, binary.
    pub boot_log: PathBuf,
    /// The installed image's reference values (JSON).
    pub reference_values: PathBuf,
    /// The vendor's root certificate (PEM).
    pub vendor_root: PathBuf,
    /// The vendor's intermediate certificate (PEM).
    pub vendor_intermediate: PathBuf,
    /// The OEM's work, where it did any.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub oem: Option<OemDescription>,
}

/// A running gateway. Dropping it is a power cut; its state stays in its
/// directory.
#[derive(Debug)]
pub struct SimGateway {
    dir: PathBuf,
    vendor: VendorCa,
    swtpm: Swtpm,
    image: BootImage,
    ima: bool,
    oem: Option<OemProvision>,
}

impl SimGateway {
    /// Starts swtpm, provisions it where that was not done before, and boots.
    ///
    /// # Errors
    /// [`SimError`] says what is missing or in the way.
    pub fn start(options: SimOptions) -> Result<Self, SimError> {
        let dir = private_dir(&plain_path(&options.dir)?)?;
        let vendor_dir = options
            .vendor_ca
            .clone()
            .unwrap_or_else(|| dir.join("vendor-ca"));
        let vendor = VendorCa::open_or_create(&vendor_dir)?;
        let mut swtpm = Swtpm::start(&dir, &options.transport)?;
        provision(&mut swtpm, &vendor, &options)?;
        let oem = match &options.oem {
            Some(oem) => {
                let ca_dir = oem.ca.clone().unwrap_or_else(|| dir.join("oem-ca"));
                let ca = OemCa::open_or_create(&ca_dir)?;
                Some(OemProvision::make(&mut swtpm.connect()?, ca, oem)?)
            }
            None => None,
        };
        let gateway = Self {
            dir,
            vendor,
            swtpm,
            image: options.image,
            ima: options.ima,
            oem,
        };
        let log = gateway.image.boot();
        gateway.write("reference-values.json", &pretty(&reference_values(&[&log])))?;
        gateway.boot(&log)?;
        Ok(gateway)
    }

    /// TCTI name. tss-esapi 7.7 takes only TCP; the tools take both.
    #[must_use]
    pub fn tcti(&self) -> String {
        self.swtpm.endpoint().to_string()
    }

    /// File of the running boot's log.
    #[must_use]
    pub fn boot_log(&self) -> PathBuf {
        self.dir.join("boot.log")
    }

    /// File of the running kernel's IMA log; empty where it does not measure.
    #[must_use]
    pub fn ima_log(&self) -> PathBuf {
        self.dir.join("ima.log")
    }

    /// Whether the kernel measures from the next boot on.
    pub fn set_ima(&mut self, ima: bool) {
        self.ima = ima;
    }

    /// The kernel measures: PCR 10 is extended, and the entry goes to the end
    /// of the IMA log.
    ///
    /// # Errors
    /// As [`SimGateway::extend_pcr`].
    pub fn measure(&self, entries: &[ImaEntry]) -> Result<(), SimError> {
        self.extend_unlogged(entries)?;
        self.log_unextended(entries)
    }

    /// The half of [`measure`](Self::measure) that reaches the TPM.
    ///
    /// # Errors
    /// As [`SimGateway::extend_pcr`].
    pub fn extend_unlogged(&self, entries: &[ImaEntry]) -> Result<(), SimError> {
        let mut tpm = self.swtpm.connect()?;
        for entry in entries {
            tpm.pcr_extend(entry.pcr, &entry.digests())?;
        }
        Ok(())
    }

    /// The half of [`measure`](Self::measure) that reaches the log.
    ///
    /// # Errors
    /// Where the log cannot be written.
    pub fn log_unextended(&self, entries: &[ImaEntry]) -> Result<(), SimError> {
        let path = self.ima_log();
        let bytes: Vec<u8> = entries.iter().flat_map(ImaEntry::encode).collect();
        OpenOptions::new()
            .create(true)
            .append(true)
            .open(&path)
            .and_then(|mut file| file.write_all(&bytes))
            .map_err(SimError::io("write", &path))
    }

    /// File of the installed image's reference values, whatever is booted.
    #[must_use]
    pub fn reference_values(&self) -> PathBuf {
        self.dir.join("reference-values.json")
    }

    /// The vendor that certified its EKs.
    #[must_use]
    pub fn vendor(&self) -> &VendorCa {
        &self.vendor
    }

    /// Process id of its swtpm.
    #[must_use]
    pub fn swtpm_pid(&self) -> u32 {
        self.swtpm.pid()
    }

    /// Whether its swtpm still runs.
    pub fn is_running(&mut self) -> bool {
        self.swtpm.is_running()
    }

    /// What another program needs to know.
    #[must_use]
    pub fn describe(&self) -> GatewayDescription {
        GatewayDescription {
            tcti: self.tcti(),
            swtpm_pid: self.swtpm_pid(),
            boot_log: self.boot_log(),
            reference_values: self.reference_values(),
            vendor_root: self.vendor.root_path(),
            vendor_intermediate: self.vendor.intermediate_path(),
            oem: self.oem.as_ref().map(OemProvision::describe),
        }
    }

    /// Extends PCR `index` in every bank with the digest of `data`, as software
    /// does that measures something new.
    ///
    /// # Errors
    /// Where the TPM refuses, or another program holds the connection.
    pub fn extend_pcr(&self, index: u32, data: &[u8]) -> Result<(), SimError> {
        let digests: Vec<_> = BANKS.iter().map(|bank| bank.digest(&[data])).collect();
        self.swtpm.connect()?.pcr_extend(index, &digests)
    }

    /// All PCRs of a bank.
    ///
    /// # Errors
    /// As [`SimGateway::extend_pcr`].
    pub fn read_pcrs(&self, bank: HashAlg) -> Result<BTreeMap<u32, Digest>, SimError> {
        self.swtpm
            .connect()?
            .pcr_read(bank, &PCRS.collect::<Vec<_>>())
    }

    /// The TPM's clock, as `TPM2_ReadClock` gives it.
    ///
    /// # Errors
    /// As [`SimGateway::extend_pcr`].
    pub fn clock(&self) -> Result<ClockInfo, SimError> {
        self.swtpm.connect()?.clock()
    }

    /// A hard power cycle, and the installed image boots again.
    ///
    /// # Errors
    /// Where swtpm does not start again.
    pub fn reboot(&mut self) -> Result<(), SimError> {
        let log = self.image.boot();
        self.reboot_with(&log)
    }

    /// A hard power cycle, and something else boots.
    ///
    /// # Errors
    /// Where swtpm does not start again.
    pub fn reboot_with(&mut self, log: &BootLog) -> Result<(), SimError> {
        self.swtpm.restart()?;
        self.boot(log)
    }

    /// Copies what the TPM keeps when its power is cut into the new directory
    /// `to`.
    ///
    /// # Errors
    /// Where it cannot be copied.
    pub fn snapshot_tpm(&self, to: &Path) -> Result<(), SimError> {
        self.swtpm.snapshot(to)
    }

    /// A hard power cycle into what [`snapshot_tpm`](Self::snapshot_tpm) copied:
    /// the TPM is put back, and the installed image boots.
    ///
    /// # Errors
    /// Where swtpm does not start again.
    pub fn put_tpm_back(&mut self, from: &Path) -> Result<(), SimError> {
        self.swtpm.put_back(from)?;
        let log = self.image.boot();
        self.boot(&log)
    }

    /// The certificate in NV for an EK, DER.
    ///
    /// # Errors
    /// As [`SimGateway::extend_pcr`].
    pub fn ek_certificate(&self, template: EkTemplate) -> Result<Option<Vec<u8>>, SimError> {
        self.swtpm.connect()?.nv_load(template.cert_nv_index())
    }

    /// Puts another certificate into NV for an EK.
    ///
    /// # Errors
    /// As [`SimGateway::extend_pcr`].
    pub fn replace_ek_certificate(
        &self,
        template: EkTemplate,
        certificate: &[u8],
    ) -> Result<(), SimError> {
        self.swtpm
            .connect()?
            .nv_store(template.cert_nv_index(), certificate)
    }

    /// What its OEM made, where it has one.
    #[must_use]
    pub fn oem(&self) -> Option<&OemProvision> {
        self.oem.as_ref()
    }

    /// The content of an NV index.
    ///
    /// # Errors
    /// As [`SimGateway::extend_pcr`].
    pub fn nv_load(&self, index: u32) -> Result<Option<Vec<u8>>, SimError> {
        self.swtpm.connect()?.nv_load(index)
    }

    /// Puts other content into an NV index of the factory's.
    ///
    /// # Errors
    /// As [`SimGateway::extend_pcr`].
    pub fn nv_store(&self, index: u32, content: &[u8]) -> Result<(), SimError> {
        self.swtpm.connect()?.nv_store(index, content)
    }

    /// Writes the log where the operating system would show it, and extends
    /// the TPM from it.
    fn boot(&self, log: &BootLog) -> Result<(), SimError> {
        self.write("boot.log", &log.encode())?;
        let mut tpm = self.swtpm.connect()?;
        for event in log.extended() {
            tpm.pcr_extend(event.pcr, &event.digests)?;
        }
        drop(tpm);
        // A list lives no longer than its kernel.
        self.write("ima.log", b"")?;
        if self.ima {
            let values = log.replay(HashAlg::Sha256);
            self.measure(&[ImaEntry::boot_aggregate(&values)])?;
        }
        Ok(())
    }

    fn write(&self, name: &str, bytes: &[u8]) -> Result<(), SimError> {
        let path = self.dir.join(name);
        fs::write(&path, bytes).map_err(SimError::io("write", &path))
    }
}

/// What the factory does once: PCR banks, and a certificate for each EK.
fn provision(swtpm: &mut Swtpm, vendor: &VendorCa, options: &SimOptions) -> Result<(), SimError> {
    let mut tpm = swtpm.connect()?;
    for template in &options.ek_certificates {
        let index = template.cert_nv_index();
        if tpm.nv_load(index)?.is_some() {
            continue;
        }
        let ek = tpm.endorsement_primary(&template.public())?;
        let issued = vendor.issue_ek(&ek, &options.ek_cert)?;
        tpm.nv_store(index, &issued.certificate)?;
        if options.intermediate_in_nv {
            // Of all EKs the same, unless a flaw lies in the chain.
            tpm.nv_store(CHAIN_NV_INDEX, &issued.intermediates.concat())?;
        }
    }
    if !tpm.has_our_banks()? {
        tpm.allocate_our_banks()?;
        drop(tpm);
        swtpm.restart()?;
    }
    Ok(())
}

/// Makes the directory, for its owner alone.
fn private_dir(dir: &Path) -> Result<PathBuf, SimError> {
    let mut builder = DirBuilder::new();
    builder.recursive(true).mode(0o700);
    builder
        .create(dir)
        .map_err(SimError::io("make directory", dir))?;
    fs::canonicalize(dir).map_err(SimError::io("look at", dir))
}

fn pretty(value: &serde_json::Value) -> Vec<u8> {
    format!("{value:#}\n").into_bytes()
}
