//! `holdfast-sim gateway`: one simulated gateway in the foreground.

use std::fs;
use std::io::Write as _;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::thread;

use clap::{Args, ValueEnum};
use holdfast_proto::tpm::devid::{DevidTemplate, DevidUnique};
use holdfast_proto::tpm::templates::EkTemplate;
use holdfast_tpm_sim::{OemOptions, SimGateway, SimOptions, Transport};

use crate::{Failure, interrupt};

/// What others read to find the gateway.
const DESCRIPTION: &str = "gateway.json";

#[derive(Debug, Args)]
pub(crate) struct Arguments {
    /// Where the gateway is kept; the same DIR later is the same gateway
    #[arg(long, value_name = "DIR")]
    dir: PathBuf,
    /// The simulated TPM vendor, made where it is missing [default: DIR/vendor-ca]
    #[arg(long, value_name = "DIR")]
    vendor_ca: Option<PathBuf>,
    /// Serve the TPM there, and its control channel on the next port; port 0
    /// finds free ones [default: 127.0.0.1:0]
    #[arg(long, value_name = "127.0.0.1:PORT", conflicts_with = "unix")]
    tcp: Option<SocketAddr>,
    /// Serve the TPM on this Unix socket, and its control channel on PATH.ctrl
    #[arg(long, value_name = "PATH")]
    unix: Option<PathBuf>,
    /// Endorsement keys that get a certificate
    #[arg(long, value_delimiter = ',', default_values = ["rsa2048", "ecc-p256"])]
    ek_cert: Vec<Ek>,
    /// No endorsement key gets a certificate
    #[arg(long, conflicts_with = "ek_cert")]
    no_ek_certificate: bool,
    /// Provision an IDevID and an IAK as a simulated OEM would: keys by the TCG's
    /// templates, certificates in NV
    #[arg(long)]
    oem: bool,
    /// The simulated OEM, made where it is missing; or the directory that
    /// `holdfast-verifier oem init` made, without a passphrase [default: DIR/oem-ca]
    #[arg(long, value_name = "DIR", requires = "oem")]
    oem_ca: Option<PathBuf>,
    /// Template of IDevID and IAK
    #[arg(long, value_name = "TEMPLATE", default_value = "h-2", requires = "oem")]
    oem_template: Devid,
    /// What IDevID and IAK templates have in `unique`; each makes other keys
    #[arg(
        long,
        value_name = "CONVENTION",
        default_value = "label-x",
        requires = "oem"
    )]
    oem_unique: Convention,
    /// Serial number of the product [default: follows from the IDevID key]
    #[arg(long, value_name = "SERIAL", requires = "oem", value_parser = product_serial)]
    oem_serial: Option<String>,
    /// Make IDevID and IAK persistent too, at 0x81020000 and 0x81020001
    #[arg(long, requires = "oem")]
    oem_persistent: bool,
}

/// Templates of the TCG's Device Identity document.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Devid {
    #[value(name = "h-1")]
    H1,
    #[value(name = "h-2")]
    H2,
    #[value(name = "h-3")]
    H3,
    #[value(name = "h-4")]
    H4,
}

impl Devid {
    fn template(self) -> DevidTemplate {
        match self {
            Self::H1 => DevidTemplate::H1,
            Self::H2 => DevidTemplate::H2,
            Self::H3 => DevidTemplate::H3,
            Self::H4 => DevidTemplate::H4,
        }
    }
}

/// Conventions for `unique`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Convention {
    #[value(name = "label-x")]
    LabelX,
    #[value(name = "label-xy")]
    LabelXy,
    Zeros,
}

impl Convention {
    fn unique(self) -> DevidUnique {
        match self {
            Self::LabelX => DevidUnique::LabelInX,
            Self::LabelXy => DevidUnique::LabelInBoth,
            Self::Zeros => DevidUnique::Zeros,
        }
    }
}

/// What a PrintableString takes without a question, and a label too.
fn product_serial(text: &str) -> Result<String, String> {
    let plain = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'.' | b':' | b'/');
    if (1..=64).contains(&text.len()) && text.bytes().all(plain) {
        Ok(text.to_owned())
    } else {
        Err("1 to 64 of A-Z a-z 0-9 - . : /".to_owned())
    }
}

/// Endorsement keys, as the attester's `--ek` names them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Ek {
    Rsa2048,
    #[value(name = "ecc-p256")]
    EccP256,
    #[value(name = "ecc-p384")]
    EccP384,
    Rsa3072,
}

impl Ek {
    fn template(self) -> EkTemplate {
        match self {
            Self::Rsa2048 => EkTemplate::L1,
            Self::EccP256 => EkTemplate::L2,
            Self::EccP384 => EkTemplate::H3,
            Self::Rsa3072 => EkTemplate::H6,
        }
    }
}

pub(crate) fn run(arguments: &Arguments) -> Result<(), Failure> {
    let mut gateway = SimGateway::start(SimOptions {
        vendor_ca: arguments.vendor_ca.clone(),
        transport: transport(arguments)?,
        ek_certificates: certified(arguments).map(Ek::template).collect(),
        oem: arguments.oem.then(|| OemOptions {
            ca: arguments.oem_ca.clone(),
            template: arguments.oem_template.template(),
            unique: arguments.oem_unique.unique(),
            serial: arguments.oem_serial.clone(),
            persistent: arguments.oem_persistent,
        }),
        ..SimOptions::new(&arguments.dir)
    })?;
    let description = publish(&gateway, &arguments.dir)?;
    print_summary(&gateway, arguments);
    let mut ended = Ok(());
    while !interrupt::requested() {
        if !gateway.is_running() {
            ended = Err(Failure::Failed("swtpm ended by itself".to_owned()));
            break;
        }
        thread::sleep(interrupt::POLL);
    }
    // First, so that nobody reads where a gateway no longer is.
    let _ = fs::remove_file(description);
    drop(gateway);
    if ended.is_ok() {
        tell!(
            "The gateway is off. Its TPM's state stays in {}.",
            arguments.dir.display()
        );
    }
    ended
}

fn certified(arguments: &Arguments) -> impl Iterator<Item = Ek> {
    let none = arguments.no_ek_certificate;
    arguments.ek_cert.iter().copied().filter(move |_| !none)
}

fn transport(arguments: &Arguments) -> Result<Transport, Failure> {
    match (arguments.tcp, &arguments.unix) {
        (_, Some(path)) => Ok(Transport::Unix(path.clone())),
        (None, None) => Ok(Transport::Tcp(None)),
        (Some(address), None) if address.ip() != IpAddr::V4(Ipv4Addr::LOCALHOST) => {
            Err(Failure::BadInput(format!(
                "--tcp {address}: a TPM is served on 127.0.0.1 only"
            )))
        }
        (Some(address), None) => Ok(Transport::Tcp(
            Some(address.port()).filter(|port| *port != 0),
        )),
    }
}

/// Writes `gateway.json` in one step, so that whoever sees it sees all of it.
fn publish(gateway: &SimGateway, dir: &Path) -> Result<PathBuf, Failure> {
    let path = dir.join(DESCRIPTION);
    let write = || {
        let mut file = tempfile::NamedTempFile::new_in(dir)?;
        serde_json::to_writer_pretty(&mut file, &gateway.describe())?;
        file.write_all(b"\n")?;
        file.persist(&path)?;
        Ok::<_, std::io::Error>(())
    };
    write()
        .map_err(|error| Failure::Failed(format!("cannot write {}: {error}", path.display())))?;
    Ok(path)
}

fn print_summary(gateway: &SimGateway, arguments: &Arguments) {
    let description = gateway.describe();
    let tcti = &description.tcti;
    let eks: Vec<_> = certified(arguments)
        .filter_map(|ek| Some(ek.to_possible_value()?.get_name().to_owned()))
        .collect();
    tell!(
        "A simulated gateway is on (swtpm, process {}).",
        description.swtpm_pid
    );
    tell!("  TPM               {tcti}");
    match eks.as_slice() {
        [] => tell!("  EK certificates   none"),
        eks => tell!("  EK certificates   {}", eks.join(", ")),
    }
    tell!("  TPM vendor        {}", description.vendor_root.display());
    tell!(
        "                    {}",
        description.vendor_intermediate.display()
    );
    if let Some(oem) = &description.oem {
        tell!("  OEM               {}", oem.root.display());
        tell!("                    {}", oem.intermediate.display());
        tell!("  product serial    {}", oem.serial);
    }
    tell!("  boot log          {}", description.boot_log.display());
    tell!(
        "  reference values  {}",
        description.reference_values.display()
    );
    tell!("Try:");
    if arguments.unix.is_none() {
        tell!("  holdfast-attester --tcti {tcti} doctor");
    }
    tell!("  TPM2TOOLS_TCTI={tcti} tpm2_pcrread sha256");
    tell!("Ctrl-C switches it off.");
}
