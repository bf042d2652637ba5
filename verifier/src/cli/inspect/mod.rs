//! `inspect`: what a file says, offline. The library behind it is
//! [`crate::inspect`]; here are arguments, files, and what is printed.

mod judged;
mod logs;
mod page;

use std::{
    fs::File,
    io::Read as _,
    path::{Path, PathBuf},
};

use anyhow::{Context as _, anyhow};
use clap::{Args, Subcommand};
use holdfast_proto::tpm::HashAlg;
use serde::Serialize;
use serde_json::Value;
use time::{OffsetDateTime, format_description::well_known::Rfc3339};

use self::page::Page;
use super::{Failure, JsonArg, Outcome, endorsement, input, output};
use crate::{
    endorsement::{Leniencies, Leniency},
    inspect::{
        self, InspectError, MAX_BOOT_LOG_BYTES, MAX_BUNDLE_BYTES, MAX_EVIDENCE_BYTES,
        MAX_IMA_LOG_BYTES, Verdict, ek_certificate::Trust,
    },
    service::Clock,
    time::UnixTime,
    verification::{KeyOnFile, QuoteExpectation, Values},
};

const KEYS: &str = "\
A key is PEM (PUBLIC KEY, or a CERTIFICATE for its key), TPM2B_PUBLIC or
TPMT_PUBLIC. Exit codes: 0 it holds, or was read; 1 refused, with the reason;
2 a file that cannot be read, or usage.";

const READ: &str = "\
Exit codes: 0 read; 2 a file that cannot be read, with the reason, or usage.
Nothing in a log is evidence until its PCRs are those of a quote.";

const JUDGED: &str = "\
Exit codes: 0 it holds, or was read; 1 refused, with the reason; 2 a file that
cannot be read, or usage.";

#[derive(Debug, Subcommand)]
pub(super) enum InspectCommand {
    /// Show a firmware event log: events, what each proves, PCRs after replay,
    /// and what is odd about it.
    #[command(after_help = READ)]
    BootLog(FilesArgs),
    /// Show an IMA measurement list, binary or ASCII: entries that do not add
    /// up, and PCR 10 after replay.
    #[command(after_help = READ)]
    ImaLog(ImaArgs),
    /// Judge a quote as tpm2_quote writes it: signature, magic and type, and
    /// nonce and PCR values where they are given.
    #[command(after_help = KEYS)]
    Quote(QuoteArgs),
    /// Judge an EK certificate (PEM, DER, or an image of its NV index) by
    /// vendors' CA certificates.
    #[command(after_help = JUDGED)]
    EkCert(EkCertArgs),
    /// Show a gateway's signed claims; with a key, judge their signature.
    #[command(after_help = KEYS)]
    Claims(KeyedArgs),
    /// Judge an LDevID certificate by the profile, and by its issuing CA where
    /// the file holds it or it is given.
    #[command(after_help = JUDGED)]
    Ldevid(LdevidArgs),
    /// Show an attestation result (EAR, as JWT or CWT); with the verifier's
    /// key (result.pub.pem), judge its signature and its end.
    #[command(after_help = KEYS)]
    Result(ResultArgs),
}

#[derive(Debug, Args)]
pub(super) struct FilesArgs {
    /// The files.
    #[arg(required = true, value_name = "FILE")]
    files: Vec<PathBuf>,
    #[command(flatten)]
    json: JsonArg,
}

#[derive(Debug, Args)]
pub(super) struct ImaArgs {
    #[command(flatten)]
    files: FilesArgs,
    /// Show every entry too.
    #[arg(long)]
    list: bool,
}

#[derive(Debug, Args)]
pub(super) struct QuoteArgs {
    /// Public key that is said to have signed.
    #[arg(long, value_name = "FILE")]
    key: PathBuf,
    /// The TPMS_ATTEST.
    #[arg(long, value_name = "FILE")]
    attest: PathBuf,
    /// The TPMT_SIGNATURE.
    #[arg(long, value_name = "FILE")]
    signature: PathBuf,
    /// Expected extraData, in hex.
    #[arg(long, value_name = "HEX")]
    nonce: Option<String>,
    /// Expected value of a PCR: bank, index, hex. Repeat for all that were
    /// quoted.
    #[arg(long = "pcr", value_name = "BANK:N=HEX")]
    pcr: Vec<String>,
    /// Expected values, as the attester writes them:
    /// {"sha256":{"0":"<hex>"}}.
    #[arg(long, value_name = "FILE", conflicts_with = "pcr")]
    pcrs: Option<PathBuf>,
    #[command(flatten)]
    json: JsonArg,
}

#[derive(Debug, Args)]
pub(super) struct EkCertArgs {
    #[command(flatten)]
    files: FilesArgs,
    /// Files or folders of CA certificates to trust; repeat for more.
    #[arg(long, required = true, value_name = "PATH")]
    roots: Vec<PathBuf>,
    /// Files or folders of CA certificates that help to find a path.
    #[arg(long, value_name = "PATH")]
    intermediates: Vec<PathBuf>,
    /// Let this pass too, beside what is let pass by default
    /// (docs/endorsement.md): ecc-key-encipherment, sha1-signature, expired;
    /// repeat for more.
    #[arg(long, value_name = "NAME", value_parser = leniency)]
    leniency: Vec<Leniency>,
    /// Judge at this time instead of now.
    #[arg(long, value_name = "RFC3339", value_parser = rfc3339)]
    at: Option<UnixTime>,
}

#[derive(Debug, Args)]
pub(super) struct KeyedArgs {
    #[command(flatten)]
    files: FilesArgs,
    /// Public key that is said to have signed.
    #[arg(long, value_name = "FILE")]
    key: Option<PathBuf>,
}

#[derive(Debug, Args)]
pub(super) struct ResultArgs {
    #[command(flatten)]
    keyed: KeyedArgs,
    /// Judge at this time instead of now.
    #[arg(long, value_name = "RFC3339", value_parser = rfc3339)]
    at: Option<UnixTime>,
}

#[derive(Debug, Args)]
pub(super) struct LdevidArgs {
    #[command(flatten)]
    files: FilesArgs,
    /// Certificate of the issuing CA, where the file does not hold it.
    #[arg(long, value_name = "FILE")]
    issuer: Option<PathBuf>,
    /// Judge at this time instead of now.
    #[arg(long, value_name = "RFC3339", value_parser = rfc3339)]
    at: Option<UnixTime>,
}

pub(super) fn run(command: InspectCommand) -> Outcome {
    match command {
        InspectCommand::BootLog(args) => {
            each(&args, MAX_BOOT_LOG_BYTES, inspect::boot_log::inspect)
        }
        InspectCommand::ImaLog(args) => each(&args.files, MAX_IMA_LOG_BYTES, |bytes| {
            inspect::ima_log::inspect(bytes, args.list)
        }),
        InspectCommand::Quote(args) => quote(&args),
        InspectCommand::EkCert(args) => {
            let more = args.leniency.iter().copied();
            let leniencies = Leniencies::default().iter().chain(more).collect();
            let (roots, intermediates) = (bundle(&args.roots)?, bundle(&args.intermediates)?);
            let trust = Trust::with_leniencies(roots, intermediates, leniencies)
                .context("--roots")
                .map_err(input)?;
            let at = now_or(args.at);
            each(&args.files, MAX_EVIDENCE_BYTES, |bytes| {
                inspect::ek_certificate::inspect(bytes, &trust, at)
            })
        }
        InspectCommand::Claims(args) => {
            let key = args.key.as_deref().map(key).transpose()?;
            each(&args.files, MAX_EVIDENCE_BYTES, |bytes| {
                inspect::claims::inspect(bytes, key.as_ref())
            })
        }
        InspectCommand::Ldevid(args) => {
            let issuer = args.issuer.as_deref();
            let issuer = issuer.map(|f| read(f, MAX_EVIDENCE_BYTES)).transpose()?;
            let at = now_or(args.at);
            each(&args.files, MAX_EVIDENCE_BYTES, |bytes| {
                inspect::ldevid::inspect(bytes, issuer.as_deref(), at)
            })
        }
        InspectCommand::Result(args) => {
            let key = args.keyed.key.as_deref().map(key).transpose()?;
            let at = now_or(args.at);
            each(&args.keyed.files, MAX_EVIDENCE_BYTES, |bytes| {
                inspect::result::inspect(bytes, key.as_ref(), at)
            })
        }
    }
}

/// A report: printed as JSON by its fields, and as text by itself.
trait Shown: Serialize {
    /// What was concluded, and why it was refused; none of what is only read.
    fn verdict(&self) -> Option<(Verdict, Option<&str>)> {
        None
    }

    /// Writes it for people.
    fn write(&self, page: &mut Page);
}

fn quote(args: &QuoteArgs) -> Outcome {
    let nonce = args.nonce.as_deref().map(hex::decode).transpose();
    let expected = QuoteExpectation {
        nonce: nonce.context("--nonce is not hex").map_err(input)?,
        pcrs: expected_pcrs(args)?,
    };
    let report = inspect::quote::inspect(
        &key(&args.key)?,
        &read(&args.attest, MAX_EVIDENCE_BYTES)?,
        &read(&args.signature, MAX_EVIDENCE_BYTES)?,
        &expected,
    )
    .map_err(input)?;
    let value = output::inert_json(serde_json::to_value(&report)?);
    if args.json.json {
        output::print_json(&value)?;
    } else {
        let mut page = Page::for_stdout();
        report.write(&mut page);
        output::print(&page.into_text())?;
    }
    conclude(&args.attest, report.verdict())
}

/// Inspects each file. One report is one JSON value; several are an array, each
/// with its file's name.
fn each<R: Shown>(
    args: &FilesArgs,
    max: usize,
    inspect: impl Fn(&[u8]) -> Result<R, InspectError>,
) -> Outcome {
    let several = args.files.len() > 1;
    let (mut values, mut outcome) = (Vec::new(), Ok(()));
    let mut page = Page::for_stdout();
    for file in &args.files {
        let shown = file.display().to_string();
        let report = read(file, max).and_then(|bytes| {
            inspect(&bytes)
                .with_context(|| shown.clone())
                .map_err(input)
        });
        let mut value = match &report {
            Ok(report) => serde_json::to_value(report)?,
            Err(failure) => serde_json::json!({ "error": failure.text() }),
        };
        if several {
            page.heading(&shown);
            if let Value::Object(map) = &mut value {
                map.insert("file".to_owned(), Value::String(shown));
            }
        }
        let concluded = match report {
            Ok(report) => {
                report.write(&mut page);
                conclude(file, report.verdict())
            }
            Err(failure) => {
                if several {
                    page.line(&failure.text());
                } else {
                    // Nothing to print but the reason, which main says.
                    return Err(failure);
                }
                Err(failure)
            }
        };
        values.push(value);
        outcome = worse(outcome, concluded);
    }
    if args.json.json {
        let value = match values.pop() {
            Some(one) if !several => one,
            last => Value::Array(values.into_iter().chain(last).collect()),
        };
        output::print_json(&output::inert_json(value))?;
    } else {
        output::print(&page.into_text())?;
    }
    outcome
}

fn conclude(file: &Path, verdict: Option<(Verdict, Option<&str>)>) -> Outcome {
    match verdict {
        Some((Verdict::Refused, reason)) => Err(Failure::Refused(anyhow!(
            "{} is refused: {}",
            file.display(),
            reason.unwrap_or("no reason")
        ))),
        _ => Ok(()),
    }
}

/// Bad input before refusal before success, and the first of its kind.
fn worse(so_far: Outcome, next: Outcome) -> Outcome {
    match (&so_far, &next) {
        (Ok(()), _) | (Err(Failure::Refused(_)), Err(Failure::Input(_))) => next,
        _ => so_far,
    }
}

fn now_or(at: Option<UnixTime>) -> UnixTime {
    at.unwrap_or_else(|| Clock::system().now())
}

fn rfc3339(text: &str) -> Result<UnixTime, String> {
    OffsetDateTime::parse(text, &Rfc3339)
        .map(|at| UnixTime::from_seconds(at.unix_timestamp()))
        .map_err(|e| format!("{e}; e.g. 2026-01-31T12:00:00Z"))
}

/// At most `max` bytes of a file, of the kernel's too, which say that they have
/// none.
fn read(path: &Path, max: usize) -> Result<Vec<u8>, Failure> {
    let named = || path.display().to_string();
    let limit = u64::try_from(max).unwrap_or(u64::MAX);
    let mut bytes = Vec::new();
    File::open(path)
        .and_then(|file| file.take(limit.saturating_add(1)).read_to_end(&mut bytes))
        .with_context(named)
        .map_err(input)?;
    if bytes.len() > max {
        return Err(input(anyhow!("{} has over {max} bytes", named())));
    }
    Ok(bytes)
}

fn key(path: &Path) -> Result<KeyOnFile, Failure> {
    inspect::key::read(&read(path, MAX_EVIDENCE_BYTES)?)
        .with_context(|| path.display().to_string())
        .map_err(input)
}

/// The certificates in files and folders.
fn leniency(name: &str) -> Result<Leniency, String> {
    let known = Leniency::ALL.into_iter().find(|l| l.name() == name);
    known.ok_or_else(|| {
        let names = Leniency::ALL.map(Leniency::name).join(", ");
        format!("it is one of {names}")
    })
}

fn bundle(paths: &[PathBuf]) -> Result<Vec<Vec<u8>>, Failure> {
    let mut files = Vec::new();
    for path in paths {
        endorsement::read(path, &mut files).map_err(input)?;
    }
    let total: usize = files.iter().map(Vec::len).sum();
    if total > MAX_BUNDLE_BYTES {
        return Err(input(anyhow!(
            "{total} bytes of CA certificates, at most {MAX_BUNDLE_BYTES} are read"
        )));
    }
    let found = files.iter().map(|file| inspect::certificates(file));
    let found: Vec<_> = found.collect::<Result<_, _>>().map_err(input)?;
    Ok(found.into_iter().flatten().collect())
}

fn expected_pcrs(args: &QuoteArgs) -> Result<Option<Values>, Failure> {
    let mut values = Values::new();
    let mut put = |bank: &str, index: &str, value: &str| -> anyhow::Result<()> {
        let bank =
            HashAlg::from_name(bank).ok_or_else(|| anyhow!("{bank} is no bank that we know"))?;
        let index = index.parse().context("the index is no number")?;
        let value = hex::decode(value).context("the value is not hex")?;
        let other = values.entry(bank).or_default().insert(index, value);
        anyhow::ensure!(other.is_none(), "PCR {index} is given twice");
        Ok(())
    };
    for text in &args.pcr {
        let parts = text
            .split_once('=')
            .and_then(|(pcr, value)| Some((pcr.split_once(':')?, value)));
        let ((bank, index), value) = parts
            .ok_or_else(|| anyhow!("--pcr {text}: not of the form sha256:0=<hex>"))
            .map_err(input)?;
        put(bank, index, value)
            .with_context(|| format!("--pcr {text}"))
            .map_err(input)?;
    }
    if let Some(file) = &args.pcrs {
        type Document =
            std::collections::BTreeMap<String, std::collections::BTreeMap<String, String>>;
        let bytes = read(file, MAX_EVIDENCE_BYTES)?;
        let named = || file.display().to_string();
        let document: Document = serde_json::from_slice(&bytes)
            .with_context(named)
            .map_err(input)?;
        for (bank, pcrs) in &document {
            for (index, value) in pcrs {
                put(bank, index, value).with_context(named).map_err(input)?;
            }
        }
    }
    Ok((!values.is_empty()).then_some(values))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bad_input_weighs_more_than_refusal_and_that_more_than_success() {
        let refused = || Err(Failure::Refused(anyhow!("r")));
        let bad = || Err(input(anyhow!("i")));
        assert!(worse(Ok(()), Ok(())).is_ok());
        assert!(matches!(worse(Ok(()), refused()), Err(Failure::Refused(_))));
        assert!(matches!(worse(refused(), bad()), Err(Failure::Input(_))));
        assert!(matches!(worse(bad(), refused()), Err(Failure::Input(_))));
        assert!(matches!(worse(bad(), Ok(())), Err(Failure::Input(_))));
    }

    #[test]
    fn times_are_rfc3339_only() {
        assert_eq!(
            rfc3339("1970-01-01T00:00:01Z"),
            Ok(UnixTime::from_seconds(1))
        );
        for text in ["yesterday", "1970-01-01", "", "0"] {
            assert!(rfc3339(text).is_err(), "{text}");
        }
    }
}
