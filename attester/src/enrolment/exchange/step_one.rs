//! Step 1: a challenge, with as many EKs shown as the Verifier wants.

use holdfast_proto::claims::Purpose;
use holdfast_proto::grpc::v1;
use holdfast_proto::tpm::templates::EkTemplate;

use super::{Plan, RETRIES, Step};
use crate::AttesterError;
use crate::client::{Backoff, ClientError, Connection, connect_to};
use crate::enrolment::Enrolment;

/// A challenge for `enrolment`, which is made to show further EKs of its TPM
/// where the Verifier asks for them. Nothing is stored for a challenge: it may be
/// asked for again.
pub(super) async fn challenged(
    enrolment: &mut Enrolment,
    plan: &Plan,
    connection: Option<Result<Connection, ClientError>>,
    watch: &mut dyn FnMut(Step<'_>),
) -> Result<(Connection, v1::RequestChallengeResponse), AttesterError> {
    let request = enrolment.challenge_request(&plan.join_token);
    // The TPM is slow and so is the Verifier: both at once.
    let (answer, ()) = tokio::join!(
        request_challenge(plan, connection, &request, watch),
        prepare(enrolment.clone())
    );
    let (connection, challenge) = match answer {
        Ok(challenged) => challenged,
        Err(error) => {
            let missing = error.missing_eks();
            if missing.is_empty() {
                return Err(error.into());
            }
            // Once: where it names others the next time, that is an answer.
            watch(Step::ShowingEks(&missing));
            let (tpm, same) = (enrolment.tpm.clone(), enrolment.clone());
            *enrolment = tpm.offload(move |_| same.showing(&missing)).await?;
            let request = enrolment.challenge_request(&plan.join_token);
            request_challenge(plan, None, &request, watch).await?
        }
    };
    let wanted = templates(challenge.wanted_eks.iter().map(String::as_str));
    if wanted.is_empty() {
        return Ok((connection, challenge));
    }
    Ok(offer(enrolment, plan, &wanted, (connection, challenge), watch).await)
}

/// What the TPM can do before it is challenged. Where it fails, the activation
/// will say so.
async fn prepare(enrolment: Enrolment) {
    let tpm = enrolment.tpm.clone();
    if let Err(error) = tpm.offload(move |_| enrolment.prepare()).await {
        tracing::debug!(%error, "the activation is not prepared");
    }
}

/// Shows the certified ones of the EKs that the Verifier would like to see. Where
/// it does not take them, or the TPM does not make them, what it challenged
/// without them stands.
async fn offer(
    enrolment: &mut Enrolment,
    plan: &Plan,
    wanted: &[EkTemplate],
    without: (Connection, v1::RequestChallengeResponse),
    watch: &mut dyn FnMut(Step<'_>),
) -> (Connection, v1::RequestChallengeResponse) {
    let (tpm, same, templates) = (enrolment.tpm.clone(), enrolment.clone(), wanted.to_vec());
    let more = match tpm
        .offload(move |_| same.showing_certified(&templates))
        .await
    {
        Ok(Some(more)) => more,
        Ok(None) => return without,
        Err(error) => {
            watch(Step::EksLeftOut(&error));
            return without;
        }
    };
    watch(Step::ShowingEks(wanted));
    let request = more.challenge_request(&plan.join_token);
    match ask(plan, &without.0, &request).await {
        Ok(challenge) => {
            *enrolment = more;
            (without.0, challenge)
        }
        Err(error) => {
            watch(Step::EksLeftOut(&error.into()));
            without
        }
    }
}

/// The templates of these labels; what an older attester does not know it cannot
/// show.
pub(crate) fn templates<'l>(labels: impl Iterator<Item = &'l str>) -> Vec<EkTemplate> {
    labels.filter_map(EkTemplate::from_label).collect()
}

/// The first attempt is over `connection`, where there is one.
async fn request_challenge(
    plan: &Plan,
    mut connection: Option<Result<Connection, ClientError>>,
    request: &v1::RequestChallengeRequest,
    watch: &mut dyn FnMut(Step<'_>),
) -> Result<(Connection, v1::RequestChallengeResponse), ClientError> {
    let mut backoff = Backoff::new(RETRIES);
    loop {
        let attempt = async {
            let connection = match connection.take() {
                Some(connected) => connected?,
                None => connect_to(&plan.server, None).await?,
            };
            watch(Step::Connected(&plan.server));
            let challenge = ask(plan, &connection, request).await?;
            Ok((connection, challenge))
        };
        let error: ClientError = match attempt.await {
            Ok(done) => return Ok(done),
            Err(error) => error,
        };
        if !error.is_passing() || !backoff.wait().await {
            return Err(error);
        }
        watch(Step::Retrying(&error));
    }
}

async fn ask(
    plan: &Plan,
    connection: &Connection,
    request: &v1::RequestChallengeRequest,
) -> Result<v1::RequestChallengeResponse, ClientError> {
    let mut client = connection.enrollment();
    let answer = match plan.purpose {
        Purpose::Recover => client
            .request_recovery_challenge(request.clone())
            .await
            .map_err(|status| connection.failed("RequestRecoveryChallenge", status)),
        _ => client
            .request_challenge(request.clone())
            .await
            .map_err(|status| connection.failed("RequestChallenge", status)),
    };
    answer.map(tonic::Response::into_inner)
}
