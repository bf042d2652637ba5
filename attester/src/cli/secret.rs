//! `secret get|list`: secrets that the verifier delivered.

use clap::Subcommand;
use holdfast_proto::secrets::SecretName;
use serde_json::json;

use super::config::Config;
use super::hand_out::HandOut;
use super::report::{DONE, Failure, Report};
use crate::secrets::{DeliveryError, Listed, Taken, list, open};
use crate::state::StateView;

#[derive(Debug, Subcommand)]
pub(super) enum Secret {
    /// Get a secret out (to stdout)
    #[command(after_help = "Example: holdfast-attester secret get db-password --credential")]
    Get {
        /// The secret's name
        name: SecretName,
        #[command(flatten)]
        to: HandOut,
    },
    /// List what was delivered: names and versions
    List,
}

pub(super) fn run(config: &Config, command: &Secret, report: &Report) -> Result<u8, Failure> {
    match command {
        Secret::Get { name, to } => {
            let to = to.destination(name)?;
            let state = StateView::open(&config.state_dir)?;
            let tpm = config.open_tpm_of(&state.require_enrolled()?)?;
            let secret = open(&tpm, &state, name)?;
            if let Some(path) = to.write(&secret)? {
                report.say(format_args!("{}: {} bytes", path.display(), secret.len()));
                report.result(&json!({ "output": path, "bytes": secret.len() }));
            }
        }
        Secret::List => {
            let state = StateView::open(&config.state_dir)?;
            let here = list(&state)?;
            for Listed { name, version } in &here {
                report.say(format_args!("{name}, version {version}"));
            }
            if here.is_empty() {
                report.say("No secrets were delivered to this gateway.");
            }
            let here: Vec<_> = here
                .iter()
                .map(|s| json!({ "name": s.name.as_str(), "version": s.version }))
                .collect();
            report.result(&json!({ "secrets": here }));
        }
    }
    Ok(DONE)
}

/// Tells of secrets that came with an answer.
pub(super) fn secrets_taken(report: &Report, taken: &Taken) {
    for Listed { name, version } in &taken.taken {
        report.say(format_args!(
            "Secret {name}, version {version}, came along: holdfast-attester secret get {name}"
        ));
    }
    for name in &taken.deleted {
        report.say(format_args!(
            "Secret {name} was taken back, and is deleted."
        ));
    }
    secrets_awaited(report, taken);
}

/// Tells of secrets that did not come.
fn secrets_awaited(report: &Report, taken: &Taken) {
    for name in &taken.awaited {
        report.say(format_args!(
            "Secret {name} is in force and is not here: the verifier sends the same again once an \
             hour, with an attestation."
        ));
    }
}

/// Tells of secrets that came, and were not taken.
pub(super) fn secrets_refused(report: &Report, error: &DeliveryError) {
    report.say(format_args!(
        "Secrets that came along were not taken: {error}; {}",
        error.next_step()
    ));
}

impl From<DeliveryError> for Failure {
    fn from(error: DeliveryError) -> Self {
        Self::refused(&error, error.next_step())
    }
}
