//! The OEM's side: its CA, and certificates for the devices that it builds.
//! All of it works on files; no server runs.

use std::path::{Path, PathBuf};

use anyhow::Context as _;
use clap::Args;
use ring::rand::SystemRandom;
use serde_json::{Value, json};

use crate::{
    cli::{JsonArg, Outcome, input, output, owner::read_capped},
    config::files,
    custody::SecretSource,
    identity::pem,
    oem::{CHALLENGE_SECONDS, CsrRefusal, Desk, DeskError, LedgerEntry, NewDesk},
    service::Clock,
};

/// A vendor's bundle has some hundred certificates.
const VENDORS_MAX: u64 = 4 * 1024 * 1024;
const CSR_MAX: u64 = holdfast_proto::idevid_csr::MAX_LEN as u64;
const ANSWER_MAX: u64 = holdfast_proto::devid_challenge::MAX_LEN as u64;

pub(super) const EXAMPLES: &str = "\
An OEM's road, offline; CSR is a TCG-CSR-IDEVID:
  holdfast-verifier oem init --dir /srv/oem --organization 'Acme' --vendor-ca tpm-vendor-roots.pem
  holdfast-attester devid csr --model GW-100 --serial GW-0001 --output gw.csr       (on the device)
  holdfast-verifier oem challenge --dir /srv/oem gw.csr --output gw.challenge
  holdfast-attester devid activate gw.challenge --output gw.answer                  (on the device)
  holdfast-verifier oem issue --dir /srv/oem gw.csr --answer gw.answer --output gw/
  holdfast-attester devid install --iak gw/iak.pem --idevid gw/idevid.pem           (on the device)
The verifier's owner: holdfast-verifier endorsement import --oem acme /srv/oem/oem-root.pem";

#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(in crate::cli) struct InitArgs {
    /// Directory to make; it must not exist, or be empty.
    #[arg(long, value_name = "DIR")]
    dir: PathBuf,
    /// The OEM's name: O of all subjects.
    #[arg(long, value_name = "NAME")]
    organization: String,
    /// CA certificates (and CRLs) of the TPM vendors whose TPMs are built in:
    /// PEM, DER or PKCS#7; repeat for more. They are kept in
    /// DIR/tpm-vendors.pem, to which more may be appended.
    #[arg(long = "vendor-ca", value_name = "FILE", required = true)]
    vendors: Vec<PathBuf>,
    /// Put the root's key there instead of into DIR: it is needed again only to
    /// certify another device CA.
    #[arg(long, value_name = "DIR")]
    root_dir: Option<PathBuf>,
    /// Encrypt both keys: credential:NAME, env:NAME or file:/PATH says where the
    /// passphrase is.
    #[arg(long, value_name = "SOURCE")]
    passphrase: Option<SecretSource>,
    #[command(flatten)]
    json: JsonArg,
}

#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(in crate::cli) struct ChallengeArgs {
    /// The OEM's directory.
    #[arg(long, value_name = "DIR")]
    dir: PathBuf,
    /// The device's request.
    csr: PathBuf,
    /// Where the challenge goes; nothing is overwritten.
    #[arg(long, value_name = "FILE")]
    output: PathBuf,
    #[command(flatten)]
    json: JsonArg,
}

#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(in crate::cli) struct IssueArgs {
    /// The OEM's directory.
    #[arg(long, value_name = "DIR")]
    dir: PathBuf,
    /// The device's request, as it was challenged.
    csr: PathBuf,
    /// What the device made of the challenge.
    #[arg(long, value_name = "FILE")]
    answer: PathBuf,
    /// Directory for iak.pem and idevid.pem, each with the device CA's
    /// certificate behind it; made where it is missing, nothing is overwritten.
    #[arg(long, value_name = "DIR")]
    output: PathBuf,
    /// Issue although the product has certificates for other keys, or the TPM
    /// for another product.
    #[arg(long)]
    replace: bool,
    /// Where the passphrase of the device CA's key is.
    #[arg(long, value_name = "SOURCE")]
    passphrase: Option<SecretSource>,
    #[command(flatten)]
    json: JsonArg,
}

#[derive(Debug, Args)]
pub(in crate::cli) struct IssuedArgs {
    /// The OEM's directory.
    #[arg(long, value_name = "DIR")]
    dir: PathBuf,
    #[command(flatten)]
    json: JsonArg,
}

pub(super) fn init(args: &InitArgs) -> Outcome {
    let vendors = args
        .vendors
        .iter()
        .map(|path| read_capped(path, VENDORS_MAX))
        .collect::<Result<Vec<_>, _>>()?;
    let new = NewDesk {
        organization: &args.organization,
        vendors: &vendors,
        passphrase: args.passphrase.as_ref(),
        root_dir: args.root_dir.as_deref(),
    };
    new.make(&args.dir, Clock::system().now(), &SystemRandom::new())
        .map_err(failure)?;
    let root = args.dir.join("oem-root.pem");
    if args.json.json {
        return output::print_json(&json!({ "dir": args.dir, "root": root }));
    }
    output::print(&format!(
        "An OEM's CA is in {}.\n{} is what owners of verifiers import:\n  \
         holdfast-verifier endorsement import --dir … --oem NAME {}",
        args.dir.display(),
        root.display(),
        root.display(),
    ))
}

pub(super) fn challenge(args: &ChallengeArgs) -> Outcome {
    let csr = read_capped(&args.csr, CSR_MAX)?;
    let desk = Desk::open(&args.dir).map_err(failure)?;
    let (checked, challenge) = desk
        .challenge(&csr, Clock::system().now(), &SystemRandom::new())
        .map_err(failure)
        .map_err(|e| named(e, &args.csr))?;
    files::write_new(&args.output, challenge.encode().as_bytes(), 0o644)?;
    let subject = checked.subject();
    if args.json.json {
        return output::print_json(&json!({
            "csr_sha256": hex::encode(checked.sha256()),
            "model": subject.model(),
            "serial": subject.serial(),
            "challenge": args.output,
        }));
    }
    output::print(&format!(
        "{}: the request of {} {:?} is sound. {} is for its TPM alone, for {} days. Next, on the device:\n  \
         holdfast-attester devid activate {} --output FILE",
        args.csr.display(),
        subject.model(),
        subject.serial(),
        args.output.display(),
        CHALLENGE_SECONDS / (24 * 3600),
        args.output.display(),
    ))
}

pub(super) fn issue(args: &IssueArgs) -> Outcome {
    let csr = read_capped(&args.csr, CSR_MAX)?;
    let answer = zeroize::Zeroizing::new(read_capped(&args.answer, ANSWER_MAX)?);
    let desk = Desk::open(&args.dir).map_err(failure)?;
    let entry = desk
        .issue(
            &csr,
            &answer,
            args.replace,
            args.passphrase.as_ref(),
            Clock::system().now(),
            &SystemRandom::new(),
        )
        .map_err(failure)
        .map_err(|e| named(e, &args.csr))?;
    let (iak, idevid) = write(&desk, &entry, &args.output)?;
    if args.json.json {
        return output::print_json(&json!({
            "model": entry.model,
            "serial": entry.serial,
            "iak": iak,
            "idevid": idevid,
        }));
    }
    output::print(&format!(
        "Issued for {} {:?}, and on record: {} and {}. Next, on the device:\n  \
         holdfast-attester devid install --iak {} --idevid {}",
        entry.model,
        entry.serial,
        iak.display(),
        idevid.display(),
        iak.display(),
        idevid.display(),
    ))
}

/// Leaf and device CA in PEM, twice.
fn write(
    desk: &Desk,
    entry: &LedgerEntry,
    dir: &Path,
) -> Result<(PathBuf, PathBuf), crate::cli::Failure> {
    let (iak, idevid) = entry.certificates().context("ledger.jsonl is damaged")?;
    let device_ca = desk.device_ca().map_err(failure)?;
    std::fs::create_dir_all(dir).with_context(|| dir.display().to_string())?;
    let file = |name: &str, leaf: &[u8]| {
        let path = dir.join(name);
        let text = [
            pem::encode("CERTIFICATE", leaf),
            pem::encode("CERTIFICATE", &device_ca),
        ]
        .concat();
        files::write_new(&path, text.as_bytes(), 0o644).map(|()| path)
    };
    Ok((file("iak.pem", &iak)?, file("idevid.pem", &idevid)?))
}

pub(super) fn issued(args: &IssuedArgs) -> Outcome {
    let desk = Desk::open(&args.dir).map_err(failure)?;
    let ledger = desk.ledger().map_err(failure)?;
    if args.json.json {
        let listed: Vec<Value> = ledger
            .entries()
            .iter()
            .map(|entry| serde_json::to_value(entry).unwrap_or_default())
            .collect();
        return output::print_json(&json!({ "issued": listed }));
    }
    let rows: Vec<Vec<String>> = ledger
        .entries()
        .iter()
        .map(|entry| {
            vec![
                output::when(entry.at),
                entry.serial.clone(),
                entry.model.clone(),
                entry.idevid_spki_sha256.chars().take(16).collect(),
                if entry.replace { "replace" } else { "" }.to_owned(),
            ]
        })
        .collect();
    let header = ["AT", "SERIAL", "MODEL", "IDEVID KEY", ""];
    output::print(&output::table(&header, &rows))
}

/// What is malformed is bad input; what breaks a rule is refused.
fn failure(error: DeskError) -> crate::cli::Failure {
    match error {
        DeskError::Refused(CsrRefusal::Form(_))
        | DeskError::Answer(_)
        | DeskError::Vendors(_)
        | DeskError::Vendor(_) => input(error),
        other => other.into(),
    }
}

fn named(failure: crate::cli::Failure, path: &Path) -> crate::cli::Failure {
    use crate::cli::Failure;
    let context = path.display().to_string();
    match failure {
        Failure::Refused(error) => Failure::Refused(error.context(context)),
        Failure::Input(error) => Failure::Input(error.context(context)),
    }
}
