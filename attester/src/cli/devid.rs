//! `devid csr|activate|install`: what a factory runs on the device to get its
//! IDevID and IAK certificates from the OEM's CA (`holdfast-verifier oem`).

use std::fs;
use std::io::Read as _;
use std::path::{Path, PathBuf};

use clap::{Args, Subcommand, ValueEnum};
use holdfast_proto::devid_challenge::{self, DevidAnswer, DevidChallenge};
use holdfast_proto::tpm::HashAlg;
use holdfast_proto::tpm::devid::{DevidTemplate, DevidUnique};
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;
use serde_json::json;
use zeroize::Zeroizing;

use super::config::Config;
use super::report::{DONE, Failure, Report};
use crate::output;
use crate::tpm::{DevidMaking, EkChoice, Tpm};

/// A leaf and a few CAs in PEM.
const CHAIN_MAX: u64 = 64 * 1024;
/// As in the subject of the certificates.
const TEXT_MAX: usize = 64;

#[derive(Debug, Subcommand)]
pub(super) enum Devid {
    /// Make IDevID and IAK, and the request (TCG-CSR-IDEVID) for their certificates
    #[command(
        after_help = "Example: holdfast-attester devid csr --model GW-100 --serial GW-0001 --output gw.csr"
    )]
    Csr(Csr),
    /// Answer the challenge of the OEM's CA: only the TPM that made the request can
    #[command(
        after_help = "Example: holdfast-attester devid activate gw.challenge --output gw.answer"
    )]
    Activate(Activate),
    /// Put the certificates into the TPM's NV memory
    #[command(
        after_help = "Example: holdfast-attester devid install --iak gw/iak.pem --idevid gw/idevid.pem"
    )]
    Install(Install),
}

#[derive(Clone, Copy, Debug, Args)]
struct Making {
    /// Template of both keys
    #[arg(long, value_name = "TEMPLATE", default_value = "h-2")]
    template: Template,
    /// What the templates have in `unique`; each makes other keys
    #[arg(long, value_name = "CONVENTION", default_value = "label-x")]
    unique: Convention,
}

#[derive(Debug, Args)]
pub(super) struct Csr {
    /// Product model, for the subject's common name
    #[arg(long)]
    model: String,
    /// Product serial number, for the subject
    #[arg(long)]
    serial: String,
    #[command(flatten)]
    making: Making,
    /// Endorsement key: auto, rsa2048, ecc-p256, ecc-p384 or rsa3072; it must have a certificate
    #[arg(long, value_name = "KIND", default_value = "auto")]
    ek: EkChoice,
    /// Where the request goes; nothing is overwritten
    #[arg(long, value_name = "FILE")]
    output: PathBuf,
}

#[derive(Debug, Args)]
pub(super) struct Activate {
    /// The challenge
    challenge: PathBuf,
    #[command(flatten)]
    making: Making,
    /// The endorsement key that the request named
    #[arg(long, value_name = "KIND", default_value = "auto")]
    ek: EkChoice,
    /// Where the answer goes (0600); nothing is overwritten
    #[arg(long, value_name = "FILE")]
    output: PathBuf,
}

#[derive(Debug, Args)]
pub(super) struct Install {
    /// The IAK's certificate and what stands above it (PEM)
    #[arg(long, value_name = "FILE")]
    iak: PathBuf,
    /// The IDevID's certificate and what stands above it (PEM)
    #[arg(long, value_name = "FILE")]
    idevid: PathBuf,
    #[command(flatten)]
    making: Making,
    /// Replace certificates that are there
    #[arg(long)]
    replace: bool,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum Template {
    #[value(name = "h-1")]
    H1,
    #[value(name = "h-2")]
    H2,
    #[value(name = "h-3")]
    H3,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum Convention {
    #[value(name = "label-x")]
    LabelX,
    #[value(name = "label-xy")]
    LabelXy,
    Zeros,
}

impl From<Making> for DevidMaking {
    fn from(making: Making) -> Self {
        Self {
            template: match making.template {
                Template::H1 => DevidTemplate::H1,
                Template::H2 => DevidTemplate::H2,
                Template::H3 => DevidTemplate::H3,
            },
            unique: match making.unique {
                Convention::LabelX => DevidUnique::LabelInX,
                Convention::LabelXy => DevidUnique::LabelInBoth,
                Convention::Zeros => DevidUnique::Zeros,
            },
        }
    }
}

pub(super) fn run(config: &Config, command: &Devid, report: &Report) -> Result<u8, Failure> {
    match command {
        Devid::Csr(args) => csr(config, args, report),
        Devid::Activate(args) => activate(config, args, report),
        Devid::Install(args) => install(config, args, report),
    }
}

fn csr(config: &Config, args: &Csr, report: &Report) -> Result<u8, Failure> {
    for (what, text) in [("--model", &args.model), ("--serial", &args.serial)] {
        let visible = text.bytes().all(|b| b.is_ascii_graphic() || b == b' ');
        if !(1..=TEXT_MAX).contains(&text.len()) || !visible || text.trim() != text {
            return Err(Failure::bad_input(
                format_args!("{what} {text:?} cannot be in a certificate"),
                "1 to 64 visible ASCII characters, no space at the ends",
            ));
        }
    }
    let tpm = config.open_tpm()?;
    let (request, _) = tpm.idevid_csr(args.making.into(), args.ek, &args.model, &args.serial)?;
    write_new(&args.output, output::PUBLIC, &request)?;
    let file = args.output.display();
    report.say(format_args!(
        "{file}: asks for IDevID and IAK certificates for {} {}. Next, at the OEM's CA:",
        args.model, args.serial
    ));
    report.say(format_args!(
        "  holdfast-verifier oem challenge --dir DIR {file} --output FILE"
    ));
    report.result(&json!({
        "csr": args.output,
        "csr_sha256": HashAlg::Sha256.digest(&[&request]).to_string(),
    }));
    Ok(DONE)
}

fn activate(config: &Config, args: &Activate, report: &Report) -> Result<u8, Failure> {
    let bytes = read(&args.challenge, devid_challenge::MAX_LEN as u64)?;
    let challenge = DevidChallenge::parse(&bytes).map_err(|error| {
        Failure::bad_input(
            format_args!("{}: {error}", args.challenge.display()),
            "give the file that holdfast-verifier oem challenge wrote",
        )
    })?;
    let tpm = config.open_tpm()?;
    let secret = answer(&tpm, args, &challenge)?;
    let answer = DevidAnswer {
        csr_sha256: challenge.csr_sha256,
        secret,
    };
    write_new(&args.output, output::PRIVATE, answer.encode().as_bytes())?;
    report.say(format_args!(
        "{}: the answer. Next, at the OEM's CA:",
        args.output.display()
    ));
    report.say(format_args!(
        "  holdfast-verifier oem issue --dir DIR CSR --answer {} --output DIR",
        args.output.display()
    ));
    report.result(&json!({ "answer": args.output }));
    Ok(DONE)
}

fn answer(
    tpm: &Tpm,
    args: &Activate,
    challenge: &DevidChallenge,
) -> Result<Zeroizing<[u8; 32]>, Failure> {
    let ek = tpm.endorsement_key(args.ek)?;
    let found = tpm.activate_credential(
        &ek.template,
        DevidMaking::from(args.making).iak(),
        &challenge.id_object,
        &challenge.encrypted_secret,
    )?;
    let mut secret = Zeroizing::new([0; 32]);
    if found.len() != secret.len() {
        return Err(Failure::refused(
            format_args!("the credential holds {} bytes, not 32", found.len()),
            "give the file that holdfast-verifier oem challenge wrote",
        ));
    }
    secret.copy_from_slice(&found);
    Ok(secret)
}

fn install(config: &Config, args: &Install, report: &Report) -> Result<u8, Failure> {
    let (iak, idevid) = (chain(&args.iak)?, chain(&args.idevid)?);
    let tpm = config.open_tpm()?;
    tpm.install_devid(args.making.into(), iak, idevid, args.replace)?;
    report.say(
        "IDevID and IAK certificates are in the TPM's NV memory. See: holdfast-attester doctor",
    );
    report.result(&json!({ "installed": true }));
    Ok(DONE)
}

fn chain(path: &Path) -> Result<Vec<Vec<u8>>, Failure> {
    let text = read(path, CHAIN_MAX)?;
    let certificates: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&text)
        .map(|der| der.map(|der| der.to_vec()))
        .collect();
    certificates
        .ok()
        .filter(|chain| !chain.is_empty())
        .ok_or_else(|| {
            Failure::bad_input(
                format_args!("{}: no certificate in PEM", path.display()),
                "give the files that holdfast-verifier oem issue wrote",
            )
        })
}

fn write_new(path: &Path, mode: u32, content: &[u8]) -> Result<(), Failure> {
    if path.symlink_metadata().is_ok() {
        return Err(Failure::bad_input(
            format_args!("{} is there already", path.display()),
            "name another file, or remove it",
        ));
    }
    output::write(path, mode, content).map_err(|error| Failure::refused(&error, error.next_step()))
}

fn read(path: &Path, max: u64) -> Result<Vec<u8>, Failure> {
    let bad = |problem: String| {
        Failure::bad_input(
            format_args!("{}: {problem}", path.display()),
            "name a file that can be read",
        )
    };
    let mut bytes = Vec::new();
    fs::File::open(path)
        .and_then(|file| file.take(max.saturating_add(1)).read_to_end(&mut bytes))
        .map_err(|error| bad(error.to_string()))?;
    if u64::try_from(bytes.len()).is_ok_and(|len| len > max) {
        return Err(bad(format!("more than {max} bytes")));
    }
    Ok(bytes)
}
