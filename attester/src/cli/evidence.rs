//! `evidence`: what would be sent, as files.

use holdfast_proto::claims::Purpose;
use holdfast_proto::tpm::{HashAlg, PcrSelection, PcrSet};
use ring::rand::{SecureRandom, SystemRandom};
use serde_json::json;

use super::Evidence;
use super::config::Config;
use super::enroll::boot_log_words;
use super::report::{DONE, Failure, Report};
use crate::AttesterError;
use crate::enrolment::Enrolment;
use crate::evidence::{Challenge, Platform, collect, write_files};
use crate::state::StateDir;

/// What a Verifier asks for by default: firmware, boot loader, kernel, and
/// the shim's keys.
const PCRS: [u32; 11] = [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 14];

pub(super) fn run(config: &Config, args: &Evidence, report: &Report) -> Result<u8, Failure> {
    let state = StateDir::open(&config.state_dir)?;
    let tpm = config.open_tpm_for(&state)?;
    let (keys, gateway_id) = match state.enrolled()? {
        Some(enrolled) => {
            report.say("With the keys of the enrolment.");
            tpm.storage_root(Some(&enrolled.keys.srk_name))?;
            (enrolled.keys, enrolled.gateway_id)
        }
        None => {
            report.say("Not enrolled: with keys made for this occasion.");
            let pinned = state.pinned_root()?;
            let enrolment = Enrolment::by(
                &tpm,
                config.road(&args.keys),
                config.keys(&args.keys),
                pinned.as_ref(),
            )?;
            (enrolment.keys().clone(), *enrolment.gateway_id())
        }
    };
    let mut nonce = [0; 32];
    SystemRandom::new()
        .fill(&mut nonce)
        .map_err(|_| AttesterError::Randomness)?;
    let pcrs = PcrSet::from_indices(PCRS).expect("PCRS ascends and is below 24");
    let selection = PcrSelection {
        hash: HashAlg::Sha256,
        pcrs,
    };
    let challenge = Challenge {
        nonce,
        selection,
        // There is no connection, and no Verifier would accept this.
        exporter: [0; 32],
        purpose: Purpose::Attest,
        known_boot_log: None,
        known_ima: None,
    };
    let platform =
        Platform::observe(&args.logs.sought(config, report)).map_err(AttesterError::from)?;
    let evidence = collect(&tpm, &keys, &gateway_id, &challenge, None, &platform)
        .map_err(AttesterError::from)?;
    let ak = tpm.attestation_key(&keys.ak)?;
    let log = platform.boot_log.as_deref();
    write_files(
        &args.evidence_dir,
        &ak,
        selection.hash,
        &nonce,
        &evidence,
        log,
    )
    .map_err(AttesterError::from)?;
    report.say(format_args!(
        "Evidence over PCRs {selection} with a nonce of our own, bound to no connection; {}.",
        boot_log_words(&platform)
    ));
    let dir = args.evidence_dir.display();
    report.say(format_args!("Written to {dir}. To check the quote:"));
    report.say(format_args!(
        "  tpm2_checkquote -u {dir}/ak.pub -m {dir}/quote.attest -s {dir}/quote.sig -q $(cat {dir}/nonce.hex)"
    ));
    report.result(&json!({
        "gateway_id": gateway_id.to_string(),
        "evidence_dir": args.evidence_dir,
        "nonce": hex::encode(nonce),
        "pcr_selection": selection.to_string(),
        "boot_log_bytes": log.map(<[u8]>::len),
    }));
    Ok(DONE)
}
