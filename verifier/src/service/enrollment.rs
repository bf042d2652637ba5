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

use std::sync::Arc;

use holdfast_proto::{
    binding::Ueid,
    grpc::v1::{self, enrollment_server::Enrollment},
};
use prost::Message as _;
use tonic::{Request, Response, Status};
use tracing::info;

use super::{
    Shared, acceptor::ConnectionInfo, convert, drift, error::Refusal, limits::Step, verdict,
};
use crate::{
    appraisal::ImaState,
    exchange::{
        Admission, AdmissionBasis, ChallengeCandidate, ChannelBinding, Class, EnrolCandidate,
        EnrolmentPurpose, UnixTime,
    },
    store::{Admittance, Answer, Enrolled, Recorded, Refused, Sha256},
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
        let id = *candidate.gateway_id();
        let (admission, step) = match purpose {
            EnrolmentPurpose::Enrol => (
                self.admit_by_token(&id, candidate.join_token(), now)
                    .await?,
                Step::Challenge(connection.address.key()),
            ),
            EnrolmentPurpose::Recover => (
                self.admit_on_record(&id, candidate.join_token(), now)
                    .await?,
                Step::RecoveryChallenge(connection.address.key()),
            ),
        };
        shared.limits.gateway(&id, step)?;
        let worker = Arc::clone(shared);
        let issued = shared
            .limits
            .crypto(move || {
                let Shared { verifier, rng, .. } = worker.as_ref();
                Ok(verifier.challenge(candidate, purpose, admission, now, rng)?)
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
        let channel = ChannelBinding::new(connection(&request)?.exporter);
        let message = request.into_inner();
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
        let admittance = self.admit_again(&id, opened.admission(), now).await?;
        shared.limits.gateway(&id, Step::Enrol)?;
        let class = opened.admission().class.clone();
        let references = shared.references.of(&class).await?;
        let files = shared.allow_lists.of(&class).await?;

        let worker = Arc::clone(shared);
        let (response, outcome) = shared
            .limits
            .crypto(move || {
                let enrolment = opened.verify(&worker.verifier, &channel, now)?.appraise(
                    references.as_deref(),
                    files.as_deref(),
                    now,
                );
                conclude(&worker, enrolment, admittance, request_sha256, now)
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
                info!(gateway = %id, ?purpose, affirming, "concluded");
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

    async fn admit_by_token(
        &self,
        id: &Ueid,
        secret: &[u8],
        now: UnixTime,
    ) -> Result<Admission, Refusal> {
        if secret.is_empty() {
            return Err(Refusal::JoinToken("absent"));
        }
        let secret_sha256 = convert::sha256(secret);
        let class = self.usable_token(&secret_sha256, now).await?;
        self.not_blocked(id).await?;
        Ok(Admission {
            basis: AdmissionBasis::JoinToken(hex::encode(secret_sha256)),
            class,
        })
    }

    async fn admit_on_record(
        &self,
        id: &Ueid,
        secret: &[u8],
        now: UnixTime,
    ) -> Result<Admission, Refusal> {
        if !secret.is_empty() {
            return Err(Refusal::Invalid("recovery takes no join token"));
        }
        let gateway = self
            .shared
            .store
            .gateway(id)
            .await?
            .ok_or(crate::store::StoreError::UnknownGateway { id: *id })?;
        gateway.may_recover(now.seconds())?;
        Ok(Admission {
            basis: AdmissionBasis::OnRecord,
            class: convert::class(&gateway.class)?,
        })
    }

    /// Looks again at what admitted the gateway in step 1. The recording
    /// transaction has the last word; this spares public-key work.
    async fn admit_again(
        &self,
        id: &Ueid,
        admission: &Admission,
        now: UnixTime,
    ) -> Result<Admittance, Refusal> {
        match &admission.basis {
            AdmissionBasis::JoinToken(hex_id) => {
                let mut secret_sha256: Sha256 = [0; 32];
                hex::decode_to_slice(hex_id, &mut secret_sha256).map_err(|_| {
                    Refusal::Internal("a token of ours names no join token".to_owned())
                })?;
                self.usable_token(&secret_sha256, now).await?;
                self.not_blocked(id).await?;
                Ok(Admittance::JoinToken(secret_sha256))
            }
            AdmissionBasis::OnRecord => {
                self.admit_on_record(id, &[], now).await?;
                Ok(Admittance::Recovery)
            }
        }
    }

    async fn usable_token(&self, secret: &Sha256, now: UnixTime) -> Result<Class, Refusal> {
        let token = self
            .shared
            .store
            .join_token(secret)
            .await?
            .ok_or(crate::store::StoreError::JoinTokenUnknown)?;
        token.usable(now.seconds())?;
        convert::class(&token.class)
    }

    async fn not_blocked(&self, id: &Ueid) -> Result<(), Refusal> {
        if let Some(gateway) = self.shared.store.gateway(id).await? {
            gateway.in_good_standing()?;
        }
        Ok(())
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
    request_sha256: Sha256,
    now: UnixTime,
) -> Result<(v1::EnrollResponse, Outcome), Refusal> {
    let crate::exchange::Enrolment {
        gateway,
        ima,
        result,
        token_id,
        expires,
        ..
    } = enrolment;
    let verdict = verdict::verdict(shared, &result, true, now)?;
    let against_gateway = !result.is_malfunction();
    let reasons = verdict::recorded_reasons(&verdict);
    let answer = |response: &v1::EnrollResponse| Answer {
        request_sha256,
        token_id: *token_id.as_bytes(),
        expires: expires.seconds(),
        response: response.encode_to_vec(),
    };
    let gateway_id = gateway.id.as_bytes().to_vec();
    match result.authorise() {
        Ok(grant) => {
            let ldevid = shared.issuer.prepare(grant, now, &shared.rng)?.sign()?;
            let response = v1::EnrollResponse {
                verdict: Some(verdict),
                grant: Some(convert::grant(&ldevid)),
                gateway_id,
            };
            let enrolled = Enrolled {
                answer: answer(&response),
                admittance,
                id: gateway.id,
                class: gateway.class.as_str().to_owned(),
                keys: convert::keys(&gateway),
                tpm: convert::tpm(&gateway),
                quote: convert::quote(&gateway.pcrs),
                boot_log: convert::boot_log(&gateway.boot_log),
                ima: ima.as_ref().map(ImaState::to_document),
                certificate: convert::certificate(&ldevid)?,
                reasons,
            };
            Ok((response, Outcome::Granted(Box::new(enrolled))))
        }
        Err(_) => {
            let response = v1::EnrollResponse {
                verdict: Some(verdict),
                grant: None,
                gateway_id,
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
            Ok((response, Outcome::Refused(Box::new(refused))))
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
