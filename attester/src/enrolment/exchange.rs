//! The conversation of an enrolment, so that a run killed at any point, on
//! either side, can be repeated: keys are on disk before `Enroll` is sent, and
//! an unanswered `Enroll` is sent again as the same bytes, which the Verifier
//! recognises.

mod plan;
mod step_one;

use std::time::Duration;

use holdfast_proto::claims::Purpose;
use holdfast_proto::grpc::v1;
use holdfast_proto::sealing::Purpose as KeyPurpose;
use holdfast_proto::tpm::Public;
use holdfast_proto::tpm::templates::EkTemplate;
use rustls::pki_types::CertificateDer;
use rustls::server::ParsedCertificate;

pub use self::plan::{Binding, Plan};
use self::step_one::challenged;
pub(crate) use self::step_one::templates;
use super::{Enrolment, parse_selection};
use crate::AttesterError;
use crate::client::{Backoff, ClientError, Connection, Verdict, connect_to};
use crate::evidence::{Platform, write_files};
use crate::secrets::{DeliveryError, Taken, receive};
use crate::state::{Enrolled, Keys, Pending, Server, StateDir};
use crate::tpm::{Ak, Tpm};

/// Further attempts to reach a Verifier that does not answer.
const RETRIES: u32 = 4;
/// How often to begin again with a new challenge, after an `Enroll` that got
/// lost on its way.
const CHALLENGES: u32 = 3;

/// A step taken, for whoever watches.
#[derive(Debug)]
#[non_exhaustive]
pub enum Step<'a> {
    /// An unanswered `Enroll` of an earlier run is sent again.
    Resuming,
    /// Its answer is no more to be had.
    PendingRefused(&'a ClientError),
    /// EK, AK and LDevID key are there.
    KeysReady(&'a Enrolment),
    /// TLS stands, and the server is the pinned one.
    Connected(&'a Server),
    /// Approvals of boot states came with the grant, and were kept.
    ApprovalsTaken,
    /// The Verifier wants to see the TPM's EKs of these templates too; those that
    /// there are will be shown.
    ShowingEks(&'a [EkTemplate]),
    /// It goes on without them.
    EksLeftOut(&'a AttesterError),
    /// The Verifier has checked endorsement and keys, and challenges.
    Challenged(&'a v1::RequestChallengeResponse),
    /// The challenge is met; this will be sent.
    EvidenceReady {
        /// What will be sent.
        request: &'a v1::EnrollRequest,
        /// What the platform added.
        platform: &'a Platform,
    },
    /// Secrets came with the grant, and were kept.
    SecretsTaken(&'a Taken),
    /// Secrets came, and not all were taken.
    SecretsRefused(&'a DeliveryError),
    /// The Verifier suspends this gateway unless heartbeats begin within so long.
    HeartbeatsRequired(Duration),
    /// The connection broke or the Verifier is busy: once more.
    Retrying(&'a ClientError),
}

/// How it ended.
#[derive(Clone, Debug)]
pub enum Outcome {
    /// Enrolled; the state directory has it.
    Granted(Box<Enrolled>, Verdict),
    /// Verified, appraised, and refused.
    Refused(Verdict),
}

/// Enrols, or recovers, and records the outcome in `state`.
///
/// # Errors
/// [`AttesterError`] where no verdict was reached. It can be run again.
pub async fn enrol(
    tpm: &Tpm,
    state: &StateDir,
    plan: &Plan,
    watch: &mut dyn FnMut(Step<'_>),
) -> Result<Outcome, AttesterError> {
    // A log that cannot be sent is better known before the token is shown.
    Platform::observe(&plan.boot_log)?;
    if let Some(outcome) = resume(tpm, state, plan, watch).await? {
        return Ok(outcome);
    }
    // The TPM is slow and so is a handshake: both at once.
    let (enrolment, connection) =
        tokio::join!(prepare(tpm, state, plan), connect_to(&plan.server, None));
    let mut enrolment = enrolment?;
    watch(Step::KeysReady(&enrolment));
    let mut connection = Some(connection);
    let mut left = CHALLENGES;
    loop {
        left -= 1;
        let pending = challenge(&mut enrolment, connection.take(), state, plan, watch).await?;
        let (connection, pending) = pending;
        match send(&pending, Some(connection), watch).await {
            Ok(answer) => return finish(tpm, state, &pending, answer, watch).await,
            // Nobody answered: the pending request stays, for the next run.
            Err(Lost::Unanswered(error)) => return Err(error.into()),
            Err(Lost::Refused { error, repeated }) => {
                state.clear_pending()?;
                // The first copy got lost before it was granted, and the
                // second came over another connection than its claims say.
                if !repeated || left == 0 {
                    return Err(error.into());
                }
                watch(Step::PendingRefused(&error));
            }
        }
    }
}

/// Sends an unanswered `Enroll` of an earlier run again. `None` where there is
/// none, or it is refused by now.
async fn resume(
    tpm: &Tpm,
    state: &StateDir,
    plan: &Plan,
    watch: &mut dyn FnMut(Step<'_>),
) -> Result<Option<Outcome>, AttesterError> {
    let Some(pending) = state.pending()? else {
        return Ok(None);
    };
    // What was begun for something else is not what this run asks for: its grant
    // would be taken for it.
    let other = pending.server != plan.server
        || pending.purpose != plan.purpose
        || pending.class != plan.class
        || !plan.is_met_by(&pending.keys.ldevid);
    if other {
        state.clear_pending()?;
        return Ok(None);
    }
    let other = match plan.purpose {
        Purpose::Recover => None,
        _ => plan.other_choices(&pending.keys),
    };
    match other {
        // Its answer may be waiting: not given up in silence.
        Some((begun, asked)) if !plan.replace => {
            return Err(AttesterError::OtherChoices { begun, asked });
        }
        Some(_) => {
            state.clear_pending()?;
            return Ok(None);
        }
        None => {}
    }
    watch(Step::Resuming);
    match send(&pending, None, watch).await {
        Ok(answer) => finish(tpm, state, &pending, answer, watch).await.map(Some),
        Err(Lost::Unanswered(error)) => Err(error.into()),
        Err(Lost::Refused { error, .. }) => {
            watch(Step::PendingRefused(&error));
            state.clear_pending()?;
            Ok(None)
        }
    }
}

async fn prepare(tpm: &Tpm, state: &StateDir, plan: &Plan) -> Result<Enrolment, AttesterError> {
    match plan.purpose {
        Purpose::Recover => {
            let enrolled = state.require_enrolled()?;
            tpm.offload(move |tpm| Enrolment::recovery(tpm, &enrolled))
                .await
        }
        _ => {
            let (road, choice, pinned) = (plan.road, plan.choice, state.pinned_root()?);
            let bound = match &plan.binding {
                Binding::Unsaid | Binding::Without => None,
                Binding::To(approvals) => {
                    // Before there is a key that needs them.
                    approvals.keep(state)?;
                    let approved = approvals.states(KeyPurpose::LdevidKey);
                    Some((plan.boot_policy(), approved))
                }
            };
            tpm.offload(move |tpm| {
                let enrolment = Enrolment::by(tpm, road, choice, pinned.as_ref())?;
                match bound {
                    Some((policy, approved)) => enrolment.bound(policy, approved),
                    None => Ok(enrolment),
                }
            })
            .await
        }
    }
}

/// Step 1, and the answer to it, on disk.
async fn challenge(
    enrolment: &mut Enrolment,
    connection: Option<Result<Connection, ClientError>>,
    state: &StateDir,
    plan: &Plan,
    watch: &mut dyn FnMut(Step<'_>),
) -> Result<(Connection, Pending), AttesterError> {
    let (connection, challenge) = challenged(enrolment, plan, connection, watch).await?;
    watch(Step::Challenged(&challenge));
    let bank = parse_selection(challenge.pcr_selection.as_ref())?.hash;
    let platform = Platform::observe(&plan.boot_log)?.with_ima_log(&plan.ima_log);
    let (request, platform, nonce) = {
        let (enrolment, exporter) = (enrolment.clone(), connection.exporter);
        let tpm = enrolment.tpm.clone();
        tpm.offload(move |_| {
            enrolment
                .complete(&challenge, &exporter, &platform)
                .map(|request| (request, platform, challenge.nonce))
        })
        .await?
    };
    watch(Step::EvidenceReady {
        request: &request,
        platform: &platform,
    });
    if let (Some(dir), Some(evidence)) = (&plan.evidence_dir, &request.evidence) {
        let log = platform.boot_log.as_deref();
        write_files(dir, enrolment.ak_public(), bank, &nonce, evidence, log)?;
    }
    let pending = Pending {
        server: plan.server.clone(),
        purpose: plan.purpose,
        class: plan.class.clone(),
        policy_root_name: plan.policy_root_name.clone(),
        keys: enrolment.keys().clone(),
        request,
    };
    state.set_pending(&pending)?;
    Ok((connection, pending))
}

/// How a sent `Enroll` can fail.
enum Lost {
    /// No answer: it may have been granted.
    Unanswered(ClientError),
    /// A refusal; `repeated` where an earlier copy went unanswered.
    Refused { error: ClientError, repeated: bool },
}

async fn send(
    pending: &Pending,
    mut connection: Option<Connection>,
    watch: &mut dyn FnMut(Step<'_>),
) -> Result<v1::EnrollResponse, Lost> {
    let mut repeated = connection.is_none();
    let mut backoff = Backoff::new(RETRIES);
    loop {
        let attempt = async {
            let connection = match connection.take() {
                Some(connection) => connection,
                None => connect_to(&pending.server, None).await?,
            };
            let mut client = connection.enrollment();
            let request = pending.request.clone();
            match pending.purpose {
                Purpose::Recover => client
                    .recover(request)
                    .await
                    .map_err(|status| connection.failed("Recover", status)),
                _ => client
                    .enroll(request)
                    .await
                    .map_err(|status| connection.failed("Enroll", status)),
            }
        };
        let error = match attempt.await {
            Ok(answer) => return Ok(answer.into_inner()),
            Err(error) => error,
        };
        if !error.is_passing() {
            return Err(Lost::Refused { error, repeated });
        }
        if !backoff.wait().await {
            return Err(Lost::Unanswered(error));
        }
        repeated = true;
        watch(Step::Retrying(&error));
    }
}

async fn finish(
    tpm: &Tpm,
    state: &StateDir,
    pending: &Pending,
    mut answer: v1::EnrollResponse,
    watch: &mut dyn FnMut(Step<'_>),
) -> Result<Outcome, AttesterError> {
    let delivery = answer.secrets.take();
    let begin_beats = u64::from(answer.heartbeats_within_seconds);
    let outcome = conclude(state, pending, answer, watch)?;
    let Outcome::Granted(enrolled, _) = &outcome else {
        return Ok(outcome);
    };
    if begin_beats > 0 {
        watch(Step::HeartbeatsRequired(Duration::from_secs(begin_beats)));
    }
    // After the grant is on disk, and not worth losing it for.
    if let Err(error) = crate::secrets::delete_other_classes(state, enrolled) {
        watch(Step::SecretsRefused(&error));
    }
    if let Some(delivery) = delivery {
        match receive(tpm, state, enrolled, delivery).await {
            Ok(taken) => watch(Step::SecretsTaken(&taken)),
            Err(error) => watch(Step::SecretsRefused(&error)),
        }
    }
    Ok(outcome)
}

fn conclude(
    state: &StateDir,
    pending: &Pending,
    answer: v1::EnrollResponse,
    watch: &mut dyn FnMut(Step<'_>),
) -> Result<Outcome, AttesterError> {
    const CALL: &str = "Enroll";
    let bad = |problem| ClientError::BadAnswer {
        call: CALL,
        problem,
    };
    let verdict = Verdict::from_answer(CALL, answer.verdict)?;
    if !verdict.affirming {
        state.clear_pending()?;
        state.write_ear(&verdict.ear_jwt)?;
        return Ok(Outcome::Refused(verdict));
    }
    let grant = answer
        .grant
        .ok_or_else(|| bad("affirms and grants nothing"))?;
    check_grant(CALL, &pending.keys, &grant)?;
    let ueid = |key: &[u8]| {
        let key = Public::parse(key).map_err(AttesterError::EkPublic)?;
        super::ueid(&key)
    };
    // Of the very bytes that the Verifier checked.
    let ek = ueid(&pending.request.ek_public)?;
    let (gateway_id, ek_ueid) = match pending.keys.ak {
        Ak::Own(_) => (ek, None),
        Ak::Iak { .. } => (ueid(&pending.request.ak_public)?, Some(ek)),
    };
    if answer.gateway_id != gateway_id.as_bytes() {
        return Err(bad("names another gateway").into());
    }
    let enrolled = Enrolled {
        server: pending.server.clone(),
        gateway_id,
        class: pending.class.clone(),
        policy_root_name: pending.policy_root_name.clone(),
        keys: Keys {
            ek_ueid,
            ..pending.keys.clone()
        },
        ldevid_chain: grant.ldevid_chain,
        renew_after: grant.renew_after,
        not_after: grant.not_after,
    };
    state.promote(&enrolled)?;
    state.write_ear(&verdict.ear_jwt)?;
    if let Some(approvals) = answer.seal_approvals {
        // Not worth losing the enrolment for.
        match crate::sealing::take_in(state, &enrolled, approvals) {
            Ok(()) => watch(Step::ApprovalsTaken),
            Err(error) => tracing::warn!(%error, "approvals for sealing"),
        }
    }
    Ok(Outcome::Granted(Box::new(enrolled), verdict))
}

/// Whether the granted LDevID is for our key: a certificate for another one
/// would fail at the first handshake, long after the old one is gone.
pub(crate) fn check_grant(
    call: &'static str,
    keys: &Keys,
    grant: &v1::Grant,
) -> Result<(), ClientError> {
    let bad = |problem| ClientError::BadAnswer { call, problem };
    let leaf = grant
        .ldevid_chain
        .first()
        .ok_or_else(|| bad("grants no certificate"))?;
    let spki = keys
        .ldevid
        .public()
        .to_spki_der()
        .map_err(|_| bad("cannot be compared with the LDevID key"))?;
    let leaf = CertificateDer::from(leaf.as_slice());
    let certified = ParsedCertificate::try_from(&leaf)
        .map_err(|_| bad("grants something that is no X.509 certificate"))?
        .subject_public_key_info();
    if certified.as_ref() == spki {
        Ok(())
    } else {
        Err(bad("grants a certificate for another key"))
    }
}
