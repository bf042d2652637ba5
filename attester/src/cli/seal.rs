//! `seal`, `seal approvals` and `unseal`. Secrets come by stdin and go to stdout
//! or a file, never through arguments, reports or logs.

use std::io::Read;
use std::path::Path;

use holdfast_proto::sealing::Approvals;
use holdfast_proto::tpm::{HashAlg, PcrSelection, PcrSet};
use serde_json::json;
use zeroize::Zeroizing;

use super::config::Config;
use super::report::{DONE, Failure, Report};
use super::{ApprovalsCommand, Seal, SealCommand, SealPolicy, Unseal};
use crate::sealing::{
    Binding, MAX_SECRET, OwnApprovals, Policy, SealError, read_approvals, read_approvals_from,
    seal, unseal,
};
use crate::state::StateView;

pub(super) fn run_seal(config: &Config, args: Seal, report: &Report) -> Result<u8, Failure> {
    let Some(name) = args.name else {
        return match args.command {
            Some(SealCommand::Approvals(command)) => approvals(config, command, report),
            None => Err(Failure::bad_input(
                "no NAME",
                "holdfast-attester seal --help",
            )),
        };
    };
    let latch = (!args.no_latch_pcr).then_some(args.latch_pcr);
    let policy = match args.policy {
        SealPolicy::Approved => Policy::Approved,
        SealPolicy::Current => Policy::Current {
            selection: args.pcrs.0,
            latch,
        },
    };
    let state = config.open_enrolled()?;
    let enrolled = state.require_enrolled()?;
    let secret = read_secret()?;
    let tpm = config.open_tpm_of(&enrolled)?;
    let binding = seal(&tpm, &state, &name, policy, args.replace, &secret)?;
    let bound = match &binding {
        Binding::Approved { class } => format!(
            "boot states that are approved for class {class} under policy root {}",
            enrolled.policy_root_name
        ),
        Binding::Current { selection, .. } => format!("the present values of PCRs {selection}"),
    };
    report.say(format_args!(
        "Sealed {name} to this TPM and {bound}. To have it: holdfast-attester unseal {name}"
    ));
    report.result(&json!({ "sealed": name.to_string(), "to": bound }));
    Ok(DONE)
}

pub(super) fn run_unseal(config: &Config, args: &Unseal, report: &Report) -> Result<u8, Failure> {
    let to = args.to.destination(&args.name)?;
    let state = StateView::open(&config.state_dir)?;
    let tpm = config.open_tpm_of(&state.require_enrolled()?)?;
    let latch = args.latch.then_some(args.latch_pcr);
    let secret = unseal(&tpm, &state, &args.name, latch)?;
    if let Some(path) = to.write(&secret)? {
        report.say(format_args!("{}: {} bytes", path.display(), secret.len()));
        report.result(&json!({
            "output": path,
            "bytes": secret.len(),
            "latched_pcr": latch,
        }));
    }
    Ok(DONE)
}

fn approvals(config: &Config, command: ApprovalsCommand, report: &Report) -> Result<u8, Failure> {
    match command {
        ApprovalsCommand::Import { file } => import(config, &file, report),
        ApprovalsCommand::Show => {
            let state = StateView::open(&config.state_dir)?;
            let enrolled = state.require_enrolled()?;
            let own = OwnApprovals::on_file(&state, &enrolled)?;
            tell(own.approvals(), report);
            Ok(DONE)
        }
    }
}

fn import(config: &Config, file: &Path, report: &Report) -> Result<u8, Failure> {
    let state = config.open_enrolled()?;
    let own = OwnApprovals::check(approvals_in(file)?, &state.require_enrolled()?)?;
    own.keep(&state)?;
    tell(own.approvals(), report);
    Ok(DONE)
}

/// From a file, or from stdin (`-`).
pub(super) fn approvals_in(file: &Path) -> Result<Approvals, SealError> {
    if file == Path::new("-") {
        read_approvals_from(file, std::io::stdin())
    } else {
        read_approvals(file)
    }
}

fn tell(approvals: &Approvals, report: &Report) {
    let mut states = Vec::new();
    for authority in &approvals.authorities {
        let key = authority.key.name();
        report.say(format_args!("Policy key {key}, approved by the root:"));
        for approval in &authority.approvals {
            let (selection, digest) = (approval.selection, hex::encode(approval.pcr_digest));
            report.say(format_args!("  PCRs {selection}, digest {digest}"));
            states.push(json!({
                "key": key.to_string(),
                "pcr_selection": selection.to_string(),
                "pcr_digest": digest,
            }));
        }
    }
    report.say(format_args!(
        "{} boot states are approved for class {}.",
        states.len(),
        approvals.class
    ));
    report.result(&json!({
        "class": approvals.class,
        "root": approvals.root_name().to_string(),
        "states": states,
    }));
}

/// All of stdin, in memory that is never moved and is wiped in the end.
fn read_secret() -> Result<Zeroizing<Vec<u8>>, Failure> {
    let mut secret = Zeroizing::new(vec![0; MAX_SECRET + 1]);
    let (mut stdin, mut len) = (std::io::stdin().lock(), 0);
    while let Some(room) = secret.get_mut(len..).filter(|room| !room.is_empty()) {
        match stdin.read(room) {
            Ok(0) => break,
            Ok(read) => len += read,
            Err(e) if e.kind() == std::io::ErrorKind::Interrupted => {}
            Err(e) => {
                return Err(Failure::bad_input(
                    format!("stdin: {e}"),
                    "give the secret by stdin: holdfast-attester seal NAME < FILE",
                ));
            }
        }
    }
    secret.truncate(len);
    Ok(secret)
}

/// PCRs of the SHA-256 bank, as on the command line: `0,2,4,7`.
#[derive(Clone, Copy, Debug)]
pub(super) struct Pcrs(PcrSelection);

impl std::str::FromStr for Pcrs {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let indices = text
            .split(',')
            .map(|index| index.parse::<u32>().map_err(|e| format!("{index:?}: {e}")))
            .collect::<Result<Vec<_>, _>>()?;
        let pcrs = PcrSet::from_indices(indices).map_err(|e| e.to_string())?;
        Ok(Self(PcrSelection {
            hash: HashAlg::Sha256,
            pcrs,
        }))
    }
}

impl From<SealError> for Failure {
    fn from(error: SealError) -> Self {
        match error {
            SealError::Length { .. }
            | SealError::ResettablePcr(_)
            | SealError::ApprovalsFile { .. } => Self::bad_input(&error, error.next_step()),
            _ => Self::refused(&error, error.next_step()),
        }
    }
}
