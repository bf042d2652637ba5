//! The conversation of a re-attestation, and asking the Verifier what it
//! thinks of us. All over one mutual TLS connection.

use std::path::PathBuf;
use std::time::Duration;

use holdfast_proto::grpc::v1;

use super::Reattestation;
use crate::AttesterError;
use crate::client::{
    Backoff, ClientError, Connection, Identity, Verdict, connect_to, is_ima_resync,
};
use crate::enrolment::exchange::check_grant;
use crate::enrolment::parse_selection;
use crate::evidence::{Platform, read_ima_log, write_files};
use crate::secrets::{DeliveryError, Taken, receive};
use crate::state::{Enrolled, StateDir};
use crate::tpm::Tpm;

/// Further attempts to reach a Verifier that does not answer.
const RETRIES: u32 = 4;

/// Kind of the refusal of a log that was named by its hash.
const BOOT_LOG_UNKNOWN: &str = "boot-log-unknown";

/// What to attest.
#[derive(Clone, Debug)]
pub struct Plan {
    /// Whether to ask for a new LDevID.
    pub renew: bool,
    /// Where the boot log is.
    pub boot_log: PathBuf,
    /// Where the IMA log is.
    pub ima_log: PathBuf,
    /// Where to write what is sent, if anywhere.
    pub evidence_dir: Option<PathBuf>,
    /// Whether to ask for the result as a JWT, for relying parties.
    pub ear_jwt: bool,
}

/// A step taken, for whoever watches.
#[derive(Debug)]
#[non_exhaustive]
pub enum Step<'a> {
    /// Mutual TLS stands, by the key in the TPM.
    Connected,
    /// The Verifier challenges.
    Challenged(&'a v1::RequestAttestationChallengeResponse),
    /// The challenge is met; this will be sent.
    EvidenceReady(&'a v1::AttestRequest),
    /// The Verifier cannot go on with the IMA log: it is sent whole.
    Resynchronising,
    /// New approvals of boot states came, and were kept.
    ApprovalsTaken,
    /// Secrets came, and were kept; those taken back are deleted.
    SecretsTaken(&'a Taken),
    /// Secrets came, and not all were taken.
    SecretsRefused(&'a DeliveryError),
    /// The Verifier suspends this gateway unless heartbeats begin within so long.
    HeartbeatsRequired(Duration),
    /// The connection broke or the Verifier is busy: once more, from the start.
    Retrying(&'a ClientError),
}

/// How it ended.
#[derive(Clone, Debug)]
pub enum Outcome {
    /// Still trusted. With the new enrolment where it was renewed.
    Affirmed(Verdict, Option<Box<Enrolled>>),
    /// Appraised and refused: the Verifier has suspended this gateway.
    Refused(Verdict),
}

/// Attests once, and records a renewed LDevID.
///
/// # Errors
/// [`AttesterError`] where no verdict was reached.
pub async fn attest(
    tpm: &Tpm,
    state: &StateDir,
    plan: &Plan,
    watch: &mut dyn FnMut(Step<'_>),
) -> Result<Outcome, AttesterError> {
    let enrolled = state.require_enrolled()?;
    let held = Held {
        seal_approvals_sha256: crate::sealing::held(state)?,
        secrets: crate::secrets::held(state, &enrolled)?,
    };
    let mut reattestation = {
        let (enrolled, renew) = (enrolled.clone(), plan.renew);
        tpm.offload(move |tpm| Reattestation::new(tpm, &enrolled, renew))
            .await?
    };
    let mut backoff = Backoff::new(RETRIES);
    let mut whole_log = false;
    let mut answer = loop {
        match attempt(&reattestation, plan, &held, watch).await {
            Ok(answer) => break answer,
            // A new challenge, new evidence: nothing is sent twice.
            Err(AttesterError::Client(error)) if error.is_passing() => {
                if !backoff.wait().await {
                    return Err(error.into());
                }
                watch(Step::Retrying(&error));
            }
            // It said that it knows the log, and has lost it: once more, whole.
            Err(AttesterError::Client(error))
                if error.kind() == Some(BOOT_LOG_UNKNOWN) && !whole_log =>
            {
                whole_log = true;
                reattestation = reattestation.with_whole_log();
                watch(Step::Retrying(&error));
            }
            Err(error) => return Err(error),
        }
    };
    if let Some(approvals) = &answer.seal_approvals {
        // Not worth losing the verdict for: what the gateway has stays good.
        match crate::sealing::take_in(state, &enrolled, approvals.clone()) {
            Ok(()) => watch(Step::ApprovalsTaken),
            Err(error) => tracing::warn!(%error, "approvals for sealing"),
        }
    }
    let delivery = answer.secrets.take();
    let begin_beats = u64::from(answer.heartbeats_within_seconds);
    let outcome = conclude(state, enrolled, plan.renew, answer)?;
    if matches!(outcome, Outcome::Affirmed(..)) && begin_beats > 0 {
        watch(Step::HeartbeatsRequired(Duration::from_secs(begin_beats)));
    }
    // After the verdict is on disk, and not worth losing it for.
    if let (Outcome::Affirmed(..), Some(delivery)) = (&outcome, delivery) {
        match receive(tpm, state, &state.require_enrolled()?, delivery).await {
            Ok(taken) => watch(Step::SecretsTaken(&taken)),
            Err(error) => watch(Step::SecretsRefused(&error)),
        }
    }
    Ok(outcome)
}

/// What this gateway has of what the Verifier sends.
#[derive(Debug)]
struct Held {
    seal_approvals_sha256: Vec<u8>,
    secrets: Option<v1::HeldSecrets>,
}

/// What the Verifier holds about this gateway.
///
/// # Errors
/// [`AttesterError`] where it does not say.
pub async fn remote_status(
    tpm: &Tpm,
    enrolled: &Enrolled,
) -> Result<v1::GetStatusResponse, AttesterError> {
    let pinned = enrolled.keys.srk_name.clone();
    tpm.offload(move |tpm| tpm.storage_root(Some(&pinned)))
        .await?;
    let connection = connect(tpm, enrolled).await?;
    let answer = connection
        .attestation()
        .get_status(v1::GetStatusRequest {})
        .await
        .map_err(|status| connection.failed("GetStatus", status))?;
    Ok(answer.into_inner())
}

/// Mutual TLS to the Verifier of the enrolment, by the LDevID key in the TPM.
///
/// # Errors
/// As [`crate::client::connect`].
pub async fn connect(tpm: &Tpm, enrolled: &Enrolled) -> Result<Connection, ClientError> {
    let identity = Identity::new(tpm, &enrolled.keys.ldevid, &enrolled.ldevid_chain);
    connect_to(&enrolled.server, Some(&identity)).await
}

async fn attempt(
    reattestation: &Reattestation,
    plan: &Plan,
    held: &Held,
    watch: &mut dyn FnMut(Step<'_>),
) -> Result<v1::AttestResponse, AttesterError> {
    let enrolled = &reattestation.enrolled;
    let connection = connect(&reattestation.tpm, enrolled).await?;
    watch(Step::Connected);
    let mut client = connection.attestation();
    let challenge = client
        .request_attestation_challenge(v1::RequestAttestationChallengeRequest {})
        .await
        .map_err(|status| connection.failed("RequestAttestationChallenge", status))?
        .into_inner();
    watch(Step::Challenged(&challenge));
    let platform = Platform::observe(&plan.boot_log)?.with_ima_log(&plan.ima_log);
    let evidence_dir = plan.evidence_dir.clone();
    let request = {
        let (this, exporter) = (reattestation.clone(), connection.exporter);
        reattestation
            .tpm
            .offload(move |tpm| {
                let request = this.complete(&challenge, &exporter, &platform)?;
                if let (Some(dir), Some(evidence)) = (&evidence_dir, &request.evidence) {
                    let bank = parse_selection(challenge.pcr_selection.as_ref())?.hash;
                    let ak = tpm.attestation_key(&this.enrolled.keys.ak)?;
                    let log = platform.boot_log.as_deref();
                    write_files(dir, &ak, bank, &challenge.nonce, evidence, log)?;
                }
                Ok::<_, AttesterError>(request)
            })
            .await?
    };
    let mut request = v1::AttestRequest {
        ear_jwt: plan.ear_jwt,
        known_seal_approvals_sha256: held.seal_approvals_sha256.clone(),
        held_secrets: held.secrets.clone(),
        ..request
    };
    watch(Step::EvidenceReady(&request));
    let mut answer = client.attest(request.clone()).await;
    if let Err(status) = &answer
        && is_ima_resync(status)
        && let Some(evidence) = &mut request.evidence
        && evidence.ima_log.as_ref().is_some_and(|log| log.offset > 0)
    {
        // Nothing was spent, and no digest covers the log: the same evidence
        // once more, with all of the log.
        evidence.ima_log = read_ima_log(&plan.ima_log, None, 0, reattestation.purpose)?;
        watch(Step::Resynchronising);
        answer = client.attest(request).await;
    }
    let answer = answer.map_err(|status| connection.failed("Attest", status))?;
    Ok(answer.into_inner())
}

fn conclude(
    state: &StateDir,
    mut enrolled: Enrolled,
    renew: bool,
    answer: v1::AttestResponse,
) -> Result<Outcome, AttesterError> {
    const CALL: &str = "Attest";
    let verdict = Verdict::from_answer(CALL, answer.verdict)?;
    if !verdict.affirming {
        state.write_ear(&verdict.ear_jwt)?;
        return Ok(Outcome::Refused(verdict));
    }
    let renewed = match (renew, answer.grant) {
        (true, Some(grant)) => {
            check_grant(CALL, &enrolled.keys, &grant)?;
            enrolled.ldevid_chain = grant.ldevid_chain;
            enrolled.renew_after = grant.renew_after;
            enrolled.not_after = grant.not_after;
            state.promote(&enrolled)?;
            Some(Box::new(enrolled))
        }
        (true, None) => {
            let problem = "affirms and grants nothing";
            return Err(ClientError::BadAnswer {
                call: CALL,
                problem,
            }
            .into());
        }
        (false, _) => None,
    };
    if !verdict.ear_jwt.is_empty() {
        state.write_ear(&verdict.ear_jwt)?;
    }
    Ok(Outcome::Affirmed(verdict, renewed))
}
