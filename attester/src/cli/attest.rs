//! `attest`.

use serde_json::json;

use super::Attest;
use super::config::Config;
use super::report::{APPROVALS_TAKEN, DONE, Failure, REFUSED, Report, date, pcrs, reasons_json};
use super::secret::{secrets_refused, secrets_taken};
use crate::attestation::exchange::{Outcome, Plan, Step, attest};

pub(super) async fn run(config: &Config, args: Attest, report: &Report) -> Result<u8, Failure> {
    let state = config.open_enrolled()?;
    let plan = Plan {
        renew: args.renew,
        boot_log: args.sending.logs.sought(config, report),
        ima_log: args.sending.logs.ima_sought(config, report),
        evidence_dir: args.sending.evidence_dir,
        ear_jwt: true,
    };
    state.require_enrolled()?;
    report.say(format_args!("TPM: {}", config.tcti));
    let tpm = config.open_tpm_for(&state)?;
    let outcome = attest(&tpm, &state, &plan, &mut |step| tell(report, &step)).await?;
    Ok(match outcome {
        Outcome::Affirmed(verdict, renewed) => {
            report.say("Affirmed: the verifier still trusts this gateway.");
            report.reasons(&verdict);
            if let Some(enrolled) = &renewed {
                report.say(format_args!(
                    "  new LDevID valid until {}",
                    date(enrolled.not_after)
                ));
            }
            report.result(&json!({
                "outcome": "affirmed",
                "renewed": renewed.is_some(),
                "not_after": renewed.as_ref().map(|e| e.not_after),
                "renew_after": renewed.as_ref().map(|e| e.renew_after),
                "reasons": reasons_json(&verdict.reasons),
                "ear_jwt": verdict.ear_jwt,
            }));
            DONE
        }
        Outcome::Refused(verdict) => {
            report
                .say("Refused: the verifier no longer trusts this gateway, and has suspended it:");
            report.reasons(&verdict);
            report.result(&json!({
                "outcome": "refused",
                "reasons": reasons_json(&verdict.reasons),
                "ear_jwt": verdict.ear_jwt,
            }));
            REFUSED
        }
    })
}

fn tell(report: &Report, step: &Step<'_>) {
    match step {
        Step::Connected => {
            report.say("Connected: mutual TLS 1.3 by the LDevID, signed for by its key in the TPM.")
        }
        Step::Challenged(challenge) => report.say(format_args!(
            "Challenged: a fresh nonce, PCRs {} to quote.",
            pcrs(challenge.pcr_selection.as_ref())
        )),
        Step::EvidenceReady(request) => report.say(format_args!(
            "Evidence: quoted by the AK, claims bound to this TLS connection{}.",
            if request.ldevid_certification.is_some() {
                ", LDevID key certified anew"
            } else {
                ""
            }
        )),
        Step::ApprovalsTaken => report.say(APPROVALS_TAKEN),
        Step::SecretsTaken(taken) => secrets_taken(report, taken),
        Step::SecretsRefused(error) => secrets_refused(report, error),
        Step::HeartbeatsRequired(within) => report.heartbeats_required(*within),
        Step::Resynchronising => {
            report.say("The verifier does not have this IMA log: sending it from its first entry.")
        }
        Step::Retrying(error) => report.say(format_args!("{error}: trying again …")),
    }
}
