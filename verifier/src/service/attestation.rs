//! Attestation over gRPC, for gateways that hold an LDevID.
//!
//! The handshake has proven the key and the chain. Here, at every call: the
//! certificate is one that was issued and recorded, by the SHA-256 of its DER
//! and not by what it says; it is not revoked and has not expired since; its
//! gateway is in good standing.

use std::sync::Arc;

use holdfast_proto::{
    binding::Ueid,
    grpc::v1::{self, attestation_server::Attestation},
};
use prost::Message as _;
use tonic::{Request, Response, Status};
use tracing::info;

use super::{
    Shared,
    acceptor::ConnectionInfo,
    convert, drift,
    enrollment::connection,
    error::Refusal,
    limits::{Payer, Step},
    secrets, verdict,
};
use crate::{
    appraisal::{ImaState, SecretRelease},
    exchange::{ChannelBinding, EnrolledGateway, KnownBootLog, Outcome, UnixTime},
    store::{
        Affirmed, Answer, Basis, CertificateRecord, Contraindicated, GatewayRecord, InForce,
        Recorded, Sha256, StoreError,
    },
    verification::IMA_PCR,
};

/// Handlers of `holdfast.v1.Attestation`.
pub(super) struct AttestationService {
    shared: Arc<Shared>,
}

/// The gateway at the other end of a connection.
pub(super) struct Caller {
    pub(super) certificate: CertificateRecord,
    pub(super) gateway: GatewayRecord,
}

impl AttestationService {
    pub(super) fn new(shared: Arc<Shared>) -> Self {
        Self { shared }
    }
}

/// Who calls, if it may.
pub(super) async fn caller(
    shared: &Shared,
    connection: &ConnectionInfo,
    now: UnixTime,
) -> Result<Caller, Refusal> {
    let sha256 = connection.client_certificate.ok_or(Refusal::NoLdevid)?;
    let (certificate, gateway) = shared
        .store
        .certificate(&sha256)
        .await?
        .ok_or_else(|| Refusal::UnknownLdevid(hex::encode(sha256)))?;
    gateway.in_good_standing()?;
    if certificate.revoked_at.is_some() {
        return Err(StoreError::CertificateRevoked { id: gateway.id }.into());
    }
    if certificate.not_after < now.seconds() {
        return Err(Refusal::ExpiredLdevid(certificate.serial));
    }
    Ok(Caller {
        certificate,
        gateway,
    })
}

#[tonic::async_trait]
impl Attestation for AttestationService {
    async fn request_attestation_challenge(
        &self,
        request: Request<v1::RequestAttestationChallengeRequest>,
    ) -> Result<Response<v1::RequestAttestationChallengeResponse>, Status> {
        self.challenge(request).await.map_err(Refusal::into_status)
    }

    async fn attest(
        &self,
        request: Request<v1::AttestRequest>,
    ) -> Result<Response<v1::AttestResponse>, Status> {
        self.full(request).await.map_err(Refusal::into_status)
    }

    async fn get_status(
        &self,
        request: Request<v1::GetStatusRequest>,
    ) -> Result<Response<v1::GetStatusResponse>, Status> {
        self.status(request).await.map_err(Refusal::into_status)
    }
}

impl AttestationService {
    async fn challenge(
        &self,
        request: Request<v1::RequestAttestationChallengeRequest>,
    ) -> Result<Response<v1::RequestAttestationChallengeResponse>, Refusal> {
        let shared = &self.shared;
        let now = shared.clock.now();
        let caller = caller(&self.shared, &connection(&request)?, now).await?;
        let id = caller.gateway.id;
        shared.limits.gateway(&id, Step::AttestationChallenge)?;
        let class = convert::class(&caller.gateway.class)?;
        let files = shared.allow_lists.of(&class).await?;
        let ima = self.ima_state(&id).await?;
        // Sealing is symmetric and parsing two public areas is quick: no
        // public-key work, so not in the pool.
        let gateway = EnrolledGateway::from_record(convert::record(caller.gateway)?)?
            .with_ima(ima.as_deref(), files.as_deref());
        let issued = shared
            .verifier
            .attestation_challenge(&gateway, now, &shared.rng)?;
        info!(gateway = %id, "challenged");
        Ok(Response::new(issued.into()))
    }

    async fn full(
        &self,
        request: Request<v1::AttestRequest>,
    ) -> Result<Response<v1::AttestResponse>, Refusal> {
        let shared = &self.shared;
        let now = shared.clock.now();
        let connection = connection(&request)?;
        let caller = caller(&self.shared, &connection, now).await?;
        let id = caller.gateway.id;
        let message = request.into_inner();
        let held = message.held_secrets.clone();
        let bytes = message.encoded_len();
        shared.limits.volume(Payer::Gateway(id), bytes)?;
        // The gateway's id is in the digest: nobody gets another's answer.
        let request_sha256 = convert::request_digest(b"attest", Some(&id), &message);
        if let Some(recorded) = shared.store.answer(&request_sha256, now.seconds()).await? {
            info!(gateway = %id, "answered as before");
            return decode(&recorded);
        }
        shared.limits.gateway(&id, Step::Attest)?;
        if message.ldevid_certification.is_some() {
            // Asked again where it is recorded; this spares public-key work.
            shared.store.room_for_ldevid(&id, now.seconds()).await?;
        }
        let class = convert::class(&caller.gateway.class)?;
        // Before the documents are: see `InForce`.
        let in_force = shared.store.in_force(class.as_str()).await?;
        let references = shared.references.of(&class).await?;
        let files = shared.allow_lists.of(&class).await?;
        let ima = self.ima_state(&id).await?;
        let channel = ChannelBinding::new(connection.exporter);
        let boot_log = self.known_boot_log(&caller.gateway, &message).await?;
        let affirmed_log = caller.gateway.boot_log_sha256;

        let worker = Arc::clone(shared);
        let sealed_class = class.clone();
        let (mut response, outcome, release) = shared
            .limits
            .crypto(move || {
                let Caller {
                    certificate,
                    gateway: record,
                } = caller;
                let gateway = EnrolledGateway::from_record(convert::record(record.clone())?)?
                    .with_ima(ima.as_deref(), files.as_deref())
                    .with_boot_log(boot_log);
                let attestation = worker.verifier.attest(
                    &gateway,
                    &message,
                    &channel,
                    references.as_deref(),
                    files.as_deref(),
                    now,
                )?;
                let context = Context {
                    shared: &worker,
                    record,
                    jwt: message.ear_jwt,
                    seal_approvals: worker
                        .seal_approvals
                        .news(&sealed_class, &message.known_seal_approvals_sha256),
                    channel_certificate: certificate.sha256,
                    request_sha256,
                    in_force,
                    now,
                };
                context.conclude(attestation)
            })
            .await?;

        let (recorded, affirming) = match outcome {
            Conclusion::Affirmed(affirmed) => (
                shared
                    .store
                    .record_affirmation(*affirmed, now.seconds())
                    .await?,
                true,
            ),
            Conclusion::Contraindicated(mut against) => {
                let subject = drift::Subject {
                    class: &class,
                    quoted: against.quote.clone(),
                    log: against.boot_log.clone(),
                    affirmed_log,
                };
                against.drift = drift::words(shared, &id, subject, &against.reasons, now).await;
                (
                    shared
                        .store
                        .record_contraindication(*against, now.seconds())
                        .await?,
                    false,
                )
            }
        };
        match recorded {
            Recorded::Now => {
                // Its heartbeat key is of the attestation before.
                shared.heartbeats.end(&id);
                info!(gateway = %id, affirming, renewed = response.grant.is_some(), "attested");
                if let Some(release) = release {
                    response.secrets = secrets::news(shared, release, held, now).await;
                }
                Ok(Response::new(response))
            }
            Recorded::Before(bytes) => decode(&bytes),
        }
    }

    /// What is on record of the gateway's IMA log, where one is of use.
    async fn ima_state(&self, id: &Ueid) -> Result<Option<String>, Refusal> {
        let Shared {
            verifier, store, ..
        } = self.shared.as_ref();
        if !verifier.selection().pcrs.contains(IMA_PCR) {
            return Ok(None);
        }
        Ok(store.ima_state(id).await?)
    }

    /// The boot log on record, where the evidence names it by its hash: as it
    /// was read lately, or else from the store.
    async fn known_boot_log(
        &self,
        record: &GatewayRecord,
        message: &v1::AttestRequest,
    ) -> Result<Option<KnownBootLog>, Refusal> {
        let evidence = message.evidence.as_ref();
        let sent = evidence.and_then(|evidence| evidence.boot_log.as_ref()?.log.as_ref());
        let (Some(v1::boot_log::Log::Sha256(named)), Some(known)) = (sent, &record.boot_log_sha256)
        else {
            return Ok(None);
        };
        if named != known {
            return Ok(None);
        }
        if let Some(read) = self.shared.verifier.boot_log(known) {
            return Ok(Some(read));
        }
        let stored = self.shared.store.boot_log(known).await?;
        Ok(stored.map(KnownBootLog::Stored))
    }

    async fn status(
        &self,
        request: Request<v1::GetStatusRequest>,
    ) -> Result<Response<v1::GetStatusResponse>, Refusal> {
        let now = self.shared.clock.now();
        let Caller { gateway, .. } = caller(&self.shared, &connection(&request)?, now).await?;
        Ok(Response::new(v1::GetStatusResponse {
            gateway_id: gateway.id.as_bytes().to_vec(),
            state: gateway.lifecycle.name().to_owned(),
            last_affirmed: gateway.last_affirmed,
            ldevid_not_after: gateway.certificate.map_or(0, |c| c.not_after),
        }))
    }
}

/// What is to be recorded.
enum Conclusion {
    Affirmed(Box<Affirmed>),
    Contraindicated(Box<Contraindicated>),
}

/// What a conclusion needs beside the appraised attestation.
struct Context<'a> {
    shared: &'a Shared,
    record: GatewayRecord,
    /// Whether an affirmation is to come as a JWT too.
    jwt: bool,
    /// For a gateway that is affirmed.
    seal_approvals: Option<v1::SealApprovals>,
    channel_certificate: Sha256,
    request_sha256: Sha256,
    in_force: InForce,
    now: UnixTime,
}

impl Context<'_> {
    /// From an appraised attestation to what is answered and what is recorded.
    /// Runs in the crypto pool: it signs the result and the LDevID.
    fn conclude(
        self,
        attestation: crate::exchange::Attestation,
    ) -> Result<(v1::AttestResponse, Conclusion, Option<SecretRelease>), Refusal> {
        let Self {
            shared,
            record,
            jwt,
            seal_approvals,
            channel_certificate,
            request_sha256,
            in_force,
            now,
        } = self;
        let (verdict, policy_id, against_gateway, ldevid, release) = match attestation.outcome {
            Outcome::Unchanged(mut result) => (
                verdict::verdict(shared, &result, jwt, now)?,
                *result.policy_id(),
                !result.is_malfunction(),
                None,
                result.release(),
            ),
            Outcome::Renewing(mut result) => {
                let verdict = verdict::verdict(shared, &result, jwt, now)?;
                let policy_id = *result.policy_id();
                let against_gateway = !result.is_malfunction();
                let release = result.release();
                let ldevid = match result.authorise() {
                    Ok(grant) => Some(shared.issuer.prepare(grant, now, &shared.rng)?.sign()?),
                    Err(_) => None,
                };
                (verdict, policy_id, against_gateway, ldevid, release)
            }
        };
        let reasons = verdict::recorded_reasons(&verdict);
        let affirming = verdict.affirming;
        let begin_beats = shared.silence.beats_begin(&record.class);
        let response = v1::AttestResponse {
            verdict: Some(verdict),
            grant: ldevid.as_ref().map(convert::grant),
            seal_approvals: seal_approvals.filter(|_| affirming),
            secrets: None,
            heartbeats_within_seconds: convert::begin_beats(begin_beats.filter(|_| affirming)),
        };
        let answer = Answer {
            request_sha256,
            token_id: *attestation.token_id.as_bytes(),
            issued: attestation.issued.seconds(),
            expires: attestation.expires.seconds(),
            response: response.encode_to_vec(),
            basis: Basis {
                class: record.class.clone(),
                policy_id,
                in_force,
            },
        };
        let conclusion = if affirming {
            Conclusion::Affirmed(Box::new(Affirmed {
                answer,
                id: record.id,
                channel_certificate,
                ak_name: record.keys.ak_name,
                ldevid_name: record.keys.ldevid_name,
                clock: attestation.clock,
                firmware_version: attestation.firmware_version,
                quote: convert::quote(&attestation.pcrs),
                boot_log: convert::boot_log(&attestation.boot_log),
                ima: attestation.ima.as_ref().map(ImaState::to_document),
                certificate: ldevid.as_ref().map(convert::certificate).transpose()?,
                reasons,
                begin_beats,
            }))
        } else {
            Conclusion::Contraindicated(Box::new(Contraindicated {
                answer,
                id: record.id,
                class: record.class,
                ak_name: record.keys.ak_name,
                ldevid_name: record.keys.ldevid_name,
                against_gateway,
                quote: convert::quote(&attestation.pcrs),
                boot_log: convert::boot_log(&attestation.boot_log),
                drift: Vec::new(),
                reasons,
            }))
        };
        Ok((response, conclusion, release))
    }
}

fn decode(bytes: &[u8]) -> Result<Response<v1::AttestResponse>, Refusal> {
    v1::AttestResponse::decode(bytes)
        .map(Response::new)
        .map_err(|e| Refusal::Internal(format!("recorded answer: {e}")))
}
