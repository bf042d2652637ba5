//! Enrolment and recovery over gRPC: the two calls of ARCHITECTURE §4.
//!
//! Order in step 1: parse, admission, rate, then public-key work. Order in
//! step 2: was it answered before, parse, token and secret, admission again,
//! rate, public-key work, record, answer.
//!
//! A verdict that is not affirming spends the challenge as a grant does, and is
//! recorded: the same request again gets the same refusal, and evidence cannot
//! be tried out against one challenge until it passes. The join token keeps its
//! use, for nothing was granted. An exchange that ends in an error (not
//! authentic, malformed) records nothing and spends nothing.

mod admission;

use std::sync::Arc;

use holdfast_proto::grpc::v1::{self, enrollment_server::Enrollment};
use prost::Message as _;
use tonic::{Request, Response, Status};
use tracing::info;

use super::{
    Shared,
    acceptor::ConnectionInfo,
    convert, drift,
    error::Refusal,
    ground::Ground,
    limits::{Payer, Step},
    one_tpm, secrets, verdict,
};
use crate::{
    appraisal::{ImaState, SecretRelease},
    exchange::{
        ChallengeCandidate, ChannelBinding, EnrolCandidate, EnrolmentPurpose, OpenedEnrolment,
        UnixTime,
    },
    store::{Admittance, Answer, Basis, Enrolled, InForce, NewPending, Recorded, Refused, Sha256},
};

/// Handlers of `holdfast.v1.Enrollment`.
pub(super) struct EnrollmentService {
    shared: Arc<Shared>,
}

impl EnrollmentService {
    pub(super) fn new(shared: Arc<Shared>) -> Self {
        Self { shared }
    }
}

#[tonic::async_trait]
impl Enrollment for EnrollmentService {
    async fn request_challenge(
        &self,
        request: Request<v1::RequestChallengeRequest>,
    ) -> Result<Response<v1::RequestChallengeResponse>, Status> {
        self.challenge(request, EnrolmentPurpose::Enrol)
            .await
            .map_err(Refusal::into_status)
    }

    async fn enroll(
        &self,
        request: Request<v1::EnrollRequest>,
    ) -> Result<Response<v1::EnrollResponse>, Status> {
        self.enrol(request, EnrolmentPurpose::Enrol)
            .await
            .map_err(Refusal::into_status)
    }

    async fn request_recovery_challenge(
        &self,
        request: Request<v1::RequestChallengeRequest>,
    ) -> Result<Response<v1::RequestChallengeResponse>, Status> {
        self.challenge(request, EnrolmentPurpose::Recover)
            .await
            .map_err(Refusal::into_status)
    }

    async fn recover(
        &self,
        request: Request<v1::EnrollRequest>,
    ) -> Result<Response<v1::EnrollResponse>, Status> {
        self.enrol(request, EnrolmentPurpose::Recover)
            .await
            .map_err(Refusal::into_status)
    }
}

impl EnrollmentService {
    async fn challenge(
        &self,
        request: Request<v1::RequestChallengeRequest>,
        purpose: EnrolmentPurpose,
    ) -> Result<Response<v1::RequestChallengeResponse>, Refusal> {
        let shared = &self.shared;
        let now = shared.clock.now();
        let connection = connection(&request)?;
        let candidate = ChallengeCandidate::parse(request.get_ref())?;
        shared.verifier.expect_all_eks(&candidate)?;
        let id = *candidate.gateway_id();
        self.doors_are_open().await?;
        let (ground, step) = match purpose {
            EnrolmentPurpose::Enrol => (
                self.ground(&id, &candidate, now).await?,
                Step::Challenge(connection.address.key()),
            ),
            EnrolmentPurpose::Recover => (
                Ground::Settled(
                    self.admit_on_record(&id, candidate.join_token(), now)
                        .await?,
                ),
                Step::RecoveryChallenge(connection.address.key()),
            ),
        };
        shared.limits.gateway(&id, step)?;
        let worker = Arc::clone(shared);
        let issued = shared
            .limits
            .crypto(move || {
                let Shared { verifier, rng, .. } = worker.as_ref();
                let endorsed = match verifier.endorse_candidate(candidate, now) {
                    Ok(endorsed) => endorsed,
                    Err(cause) => return Err(ground.unproven(cause.into())),
                };
                let admission = ground.settle(endorsed.endorsed())?;
                Ok(verifier.issue_challenge(endorsed, purpose, admission, now, rng)?)
            })
            .await?;
        info!(gateway = %id, ?purpose, "challenged");
        Ok(Response::new(issued.into()))
    }

    async fn enrol(
        &self,
        request: Request<v1::EnrollRequest>,
        purpose: EnrolmentPurpose,
    ) -> Result<Response<v1::EnrollResponse>, Refusal> {
        let shared = &self.shared;
        let now = shared.clock.now();
        let connection = connection(&request)?;
        let channel = ChannelBinding::new(connection.exporter);
        let message = request.into_inner();
        let payer = Payer::Address(connection.address.key());
        shared.limits.volume(payer, message.encoded_len())?;
        let request_sha256 = convert::request_digest(
            match purpose {
                EnrolmentPurpose::Enrol => b"enrol",
                EnrolmentPurpose::Recover => b"recover",
            },
            None,
            &message,
        );
        if let Some(recorded) = shared.store.answer(&request_sha256, now.seconds()).await? {
            info!("answered as before");
            return decode(&recorded);
        }

        let candidate = EnrolCandidate::parse(&message)?;
        drop(message);
        let opened = shared.verifier.open(candidate, purpose, now)?;
        let id = *opened.gateway_id();
        self.doors_are_open().await?;
        one_tpm::expect(shared, &opened, now).await?;
        let admittance = self.admit_again(&id, opened.admission(), now).await?;
        shared.limits.gateway(&id, Step::Enrol)?;
        let Some(admittance) = admittance else {
            return Err(self.wait(opened, channel, &connection, now).await);
        };
        let class = opened.admission().class.clone();
        // Before the documents are: see `InForce`.
        let in_force = shared.store.in_force(class.as_str()).await?;
        let references = shared.references.of(&class).await?;
        let files = shared.allow_lists.of(&class).await?;

        let worker = Arc::clone(shared);
        let (mut response, outcome, release) = shared
            .limits
            .crypto(move || {
                let enrolment = opened.verify(&worker.verifier, &channel, now)?.appraise(
                    references.as_deref(),
                    files.as_deref(),
                    now,
                );
                conclude(
                    &worker,
                    enrolment,
                    admittance,
                    (request_sha256, in_force),
                    now,
                )
            })
            .await?;

        let (recorded, affirming) = match outcome {
            Outcome::Granted(enrolled) => (
                shared
                    .store
                    .record_enrolment(*enrolled, now.seconds())
                    .await?,
                true,
            ),
            Outcome::Refused(mut refused) => {
                refused.drift = self.drift_of(&refused, now).await?;
                (
                    shared.store.record_refusal(*refused, now.seconds()).await?,
                    false,
                )
            }
        };
        match recorded {
            Recorded::Now => {
                // Its heartbeat key is of the AK before.
                shared.heartbeats.end(&id);
                info!(gateway = %id, ?purpose, affirming, "concluded");
                if let Some(release) = release {
                    response.secrets = secrets::news(shared, release, None, now).await;
                }
                Ok(Response::new(response))
            }
            // The same request, at the same time, was quicker.
            Recorded::Before(bytes) => decode(&bytes),
        }
    }

    /// Words for the owner, of a gateway on record; none of a stranger.
    async fn drift_of(&self, refused: &Refused, now: UnixTime) -> Result<Vec<String>, Refusal> {
        let shared = &self.shared;
        let on_record = shared.store.gateway(&refused.id).await?;
        let Some(gateway) = on_record.filter(|gateway| gateway.class == refused.class) else {
            return Ok(Vec::new());
        };
        let subject = drift::Subject {
            class: &convert::class(&refused.class)?,
            quoted: refused.quote.clone(),
            log: refused.boot_log.clone(),
            affirmed_log: gateway.boot_log_sha256,
        };
        Ok(drift::words(shared, &refused.id, subject, &refused.reasons, now).await)
    }

    /// Proves the TPM in full, and then notes that the gateway waits. Nothing
    /// is appraised and nothing granted: there is no way from here to a grant.
    async fn wait(
        &self,
        opened: OpenedEnrolment,
        channel: ChannelBinding,
        connection: &ConnectionInfo,
        now: UnixTime,
    ) -> Refusal {
        let shared = &self.shared;
        let Some(queue) = shared.approval.as_ref() else {
            // Configured otherwise since the challenge was made.
            return Refusal::JoinToken("absent");
        };
        let worker = Arc::clone(shared);
        let proven = shared
            .limits
            .crypto(move || {
                let verified = opened.verify(&worker.verifier, &channel, now)?;
                Ok(verified.gateway().clone())
            })
            .await;
        let gateway = match proven {
            Ok(gateway) => gateway,
            Err(refusal) => return refusal,
        };
        let id = gateway.id;
        let pending = NewPending {
            id,
            class: gateway.class.as_str().to_owned(),
            tpm: format!("{} {}", gateway.tpm.manufacturer, gateway.tpm.model),
            address: connection.address.key().to_string(),
            expires: now.plus(queue.seconds).seconds(),
        };
        match shared
            .store
            .note_pending(pending, queue.bounds, now.seconds())
            .await
        {
            Ok(()) => Refusal::AwaitingApproval(id),
            Err(error) => error.into(),
        }
    }
}

/// What is to be recorded.
enum Outcome {
    Granted(Box<Enrolled>),
    Refused(Box<Refused>),
}

/// From an appraised enrolment to what is answered and what is recorded. Runs
/// in the crypto pool: it signs the result and the LDevID.
fn conclude(
    shared: &Shared,
    enrolment: crate::exchange::Enrolment,
    admittance: Admittance,
    (request_sha256, in_force): (Sha256, InForce),
    now: UnixTime,
) -> Result<(v1::EnrollResponse, Outcome, Option<SecretRelease>), Refusal> {
    let crate::exchange::Enrolment {
        gateway,
        ima,
        mut result,
        token_id,
        issued,
        expires,
        ..
    } = enrolment;
    let verdict = verdict::verdict(shared, &result, true, now)?;
    let against_gateway = !result.is_malfunction();
    let reasons = verdict::recorded_reasons(&verdict);
    let basis = Basis {
        class: gateway.class.as_str().to_owned(),
        policy_id: *result.policy_id(),
        in_force,
    };
    let answer = |response: &v1::EnrollResponse| Answer {
        request_sha256,
        token_id: *token_id.as_bytes(),
        issued: issued.seconds(),
        expires: expires.seconds(),
        response: response.encode_to_vec(),
        basis,
    };
    let gateway_id = gateway.id.as_bytes().to_vec();
    let release = result.release();
    match result.authorise() {
        Ok(grant) => {
            let ldevid = shared.issuer.prepare(grant, now, &shared.rng)?.sign()?;
            let begin_beats = shared.silence.beats_begin(gateway.class.as_str());
            let response = v1::EnrollResponse {
                verdict: Some(verdict),
                grant: Some(convert::grant(&ldevid)),
                gateway_id,
                // All: a TPM that enrols or recovers may have none.
                seal_approvals: shared.seal_approvals.news(&gateway.class, &[]),
                secrets: None,
                heartbeats_within_seconds: convert::begin_beats(begin_beats),
            };
            let enrolled = Enrolled {
                answer: answer(&response),
                admittance,
                id: gateway.id,
                class: gateway.class.as_str().to_owned(),
                keys: convert::keys(&gateway),
                tpm: convert::tpm(&gateway),
                further_eks: gateway.further_eks.clone(),
                quote: convert::quote(&gateway.pcrs),
                boot_log: convert::boot_log(&gateway.boot_log),
                ima: ima.as_ref().map(ImaState::to_document),
                certificate: convert::certificate(&ldevid)?,
                reasons,
                begin_beats,
            };
            Ok((response, Outcome::Granted(Box::new(enrolled)), release))
        }
        Err(_) => {
            let response = v1::EnrollResponse {
                verdict: Some(verdict),
                grant: None,
                gateway_id,
                seal_approvals: None,
                secrets: None,
                heartbeats_within_seconds: 0,
            };
            let refused = Refused {
                answer: answer(&response),
                id: gateway.id,
                class: gateway.class.as_str().to_owned(),
                against_gateway,
                quote: convert::quote(&gateway.pcrs),
                boot_log: convert::boot_log(&gateway.boot_log),
                drift: Vec::new(),
                reasons,
            };
            Ok((response, Outcome::Refused(Box::new(refused)), None))
        }
    }
}

fn decode(bytes: &[u8]) -> Result<Response<v1::EnrollResponse>, Refusal> {
    v1::EnrollResponse::decode(bytes)
        .map(Response::new)
        .map_err(|e| Refusal::Internal(format!("recorded answer: {e}")))
}

/// The connection that a request came by.
pub(super) fn connection<T>(request: &Request<T>) -> Result<ConnectionInfo, Refusal> {
    request
        .extensions()
        .get::<ConnectionInfo>()
        .cloned()
        .ok_or_else(|| Refusal::Internal("a request without a connection".to_owned()))
}
