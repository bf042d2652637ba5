//! A01: replay. Old evidence for a new challenge, new evidence for an old one,
//! the same request twice, two requests that race for one challenge.

use anyhow::{Context, Result, ensure};
use holdfast_attester::enrolment::KeyChoice;
use holdfast_integration::refusal::Record;
use holdfast_integration::scene::{dial, granted, ready_to_enrol, request_challenge, send_enroll};
use holdfast_integration::{ReadyEnrolment, Refusal, Scene, TokenOptions};
use holdfast_proto::grpc::v1;
use tokio::task::JoinSet;

const OTHER_NONCE: &str = "claims hold another nonce";
const SPENT: &str = "challenge was spent by another request";

/// The same keys, on the same connection, ask again; the answer to the first
/// challenge is kept.
async fn challenged_again(
    scene: &Scene,
    uses: u32,
) -> Result<(
    ReadyEnrolment,
    v1::RequestChallengeResponse,
    v1::EnrollRequest,
)> {
    let bundle = scene.deployment.bundle_with(&TokenOptions {
        uses,
        ..TokenOptions::default()
    })?;
    let mut ready = ready_to_enrol(&scene.gateway, bundle, KeyChoice::default()).await?;
    let first = (ready.challenge.clone(), ready.request.clone());
    ready.challenge = request_challenge(&ready.connection, ready.challenge_request.clone()).await?;
    ready.request = ready.enrolment.complete(
        &ready.challenge,
        &ready.connection.exporter,
        &ready.platform,
    )?;
    ensure!(ready.challenge.nonce != first.0.nonce && ready.challenge.token != first.0.token);
    Ok((ready, first.0, first.1))
}

/// Everything of the old exchange, but the token and the secret of a new one.
#[tokio::test]
async fn adv_a01_old_evidence_with_a_new_challenge() -> Result<()> {
    let scene = Scene::new()?;
    let (mut attack, _, old) = challenged_again(&scene, 1).await?;
    attack.request.evidence = old.evidence;
    attack.request.ldevid_certification = old.ldevid_certification;
    let refused = scene.assert_refused(attack, Refusal::STALE);
    scene.because(OTHER_NONCE, refused).await
}

/// The quote alone is old: it is not over these claims.
#[tokio::test]
async fn adv_a01_c36_old_quote_with_new_claims() -> Result<()> {
    let scene = Scene::new()?;
    let (mut attack, _, old) = challenged_again(&scene, 1).await?;
    let old = old.evidence.context("evidence")?;
    attack.evidence().quote_attest = old.quote_attest;
    attack.evidence().quote_signature = old.quote_signature;
    let refused = scene.assert_refused(attack, Refusal::NOT_AUTHENTIC);
    scene
        .because("quote's extraData is not SHA-256(tag", refused)
        .await
}

/// The other way round: the token and secret of the first challenge, evidence
/// for the second.
#[tokio::test]
async fn adv_a01_new_evidence_with_an_old_challenge() -> Result<()> {
    let scene = Scene::new()?;
    let (mut attack, _, old) = challenged_again(&scene, 1).await?;
    attack.request.token = old.token.clone();
    attack.request.activated_secret = old.activated_secret.clone();
    let refused = scene.assert_refused(attack, Refusal::STALE);
    scene.because(OTHER_NONCE, refused).await
}

/// An old challenge that was spent, answered with evidence made for it anew.
#[tokio::test]
async fn adv_a01_a_spent_challenge() -> Result<()> {
    let scene = Scene::new()?;
    let bundle = scene.deployment.bundle_with(&TokenOptions {
        uses: 2,
        ..TokenOptions::default()
    })?;
    let mut attack = ready_to_enrol(&scene.gateway, bundle, KeyChoice::default()).await?;
    granted(attack.send().await)?;
    attack.recollect(|_| {})?;
    let refused = scene.assert_refused(attack, Refusal::STALE);
    scene.because(SPENT, refused).await
}

/// The same bytes, one after another, at once, and over other connections, get
/// the one recorded answer.
#[tokio::test]
async fn adv_a01_the_same_request_sent_twice() -> Result<()> {
    let scene = Scene::new()?;
    let options = TokenOptions {
        uses: 2,
        ..TokenOptions::default()
    };
    let bundle = scene.deployment.bundle_with(&options)?;
    let ready = ready_to_enrol(&scene.gateway, bundle, KeyChoice::default()).await?;
    let mut answers = JoinSet::new();
    for _ in 0..6 {
        let (connection, request) = (ready.connection.clone(), ready.request.clone());
        answers.spawn(async move { send_enroll(&connection, request).await });
    }
    let mut seen: Vec<v1::EnrollResponse> = Vec::new();
    while let Some(answer) = answers.join_next().await {
        seen.push(answer??);
    }
    let record = Record::of(&scene.deployment)?;
    seen.push(ready.send().await?);
    let elsewhere = dial(&ready.bundle).await?;
    seen.push(send_enroll(&elsewhere, ready.request.clone()).await?);
    ensure!(seen.windows(2).all(|pair| pair[0] == pair[1]));
    granted(Ok(seen[0].clone()))?;
    record.unchanged(&scene.deployment)?;
    ensure!(scene.deployment.gateways()?.len() == 1);
    // One use is left: eight requests took one.
    scene.assert_good_run(ready.bundle.clone()).await?;
    let spent = ready_to_enrol(&scene.gateway, ready.bundle.clone(), KeyChoice::default()).await;
    let status = spent.err().context("a third use of two")?;
    let status = status.downcast_ref().context("a gRPC status")?;
    Refusal::NOT_ADMITTED.expect(status)
}

/// Different good answers to one challenge, all at once: one is granted.
#[tokio::test]
async fn adv_a01_requests_race_on_one_challenge() -> Result<()> {
    let scene = Scene::new()?;
    let options = TokenOptions {
        uses: 2,
        ..TokenOptions::default()
    };
    let bundle = scene.deployment.bundle_with(&options)?;
    let mut ready = ready_to_enrol(&scene.gateway, bundle, KeyChoice::default()).await?;
    let mut requests = vec![ready.request.clone()];
    while requests.len() < 6 {
        ready.recollect(|_| {})?;
        ensure!(requests.iter().all(|earlier| *earlier != ready.request));
        requests.push(ready.request.clone());
    }
    let mut answers = JoinSet::new();
    for request in requests {
        let connection = ready.connection.clone();
        answers.spawn(async move { send_enroll(&connection, request).await });
    }
    let mut grants = 0;
    while let Some(answer) = answers.join_next().await {
        match answer? {
            Ok(answer) => {
                granted(Ok(answer))?;
                grants += 1;
            }
            Err(status) => Refusal::STALE.expect(&status)?,
        }
    }
    ensure!(grants == 1, "one challenge granted {grants} times");
    ensure!(scene.deployment.gateways()?.len() == 1);
    // The losers took no use of the bundle.
    scene.assert_good_run(ready.bundle.clone()).await
}

// ---- attestation

/// Evidence of the attestation before, with a fresh challenge; and the other
/// way round.
#[tokio::test]
async fn adv_a01_attestation_replayed() -> Result<()> {
    let scene = Scene::new()?;
    let enrolled = scene.enrol().await?;
    for renew in [false, true] {
        let old = scene.ready_to_attest(&enrolled, renew).await?;
        let mut attack = scene.ready_to_attest(&enrolled, renew).await?;
        // The connection of the old one, or its exporter would be what refuses.
        attack.connection = old.connection.clone();
        let fresh = std::mem::replace(&mut attack.request, old.request.clone());
        attack.request.token = fresh.token;
        let refused = scene.assert_attest_refused(attack, Refusal::STALE);
        scene.because(OTHER_NONCE, refused).await?;

        let mut attack = scene.ready_to_attest(&enrolled, renew).await?;
        attack.request.token = old.request.token;
        let refused = scene.assert_attest_refused(attack, Refusal::STALE);
        scene.because(OTHER_NONCE, refused).await?;
    }
    Ok(())
}

/// Two renewals race on one challenge: one new LDevID. The same bytes again
/// get the same one, and other bytes find the challenge spent.
#[tokio::test]
async fn adv_a01_renewals_race_on_one_challenge() -> Result<()> {
    let scene = Scene::new()?;
    let enrolled = scene.enrol().await?;
    let mut ready = scene.ready_to_attest(&enrolled, true).await?;
    let mut requests = vec![ready.request.clone()];
    for _ in 0..3 {
        requests.push(ready.reattestation.complete(
            &ready.challenge,
            &ready.connection.exporter,
            &scene.gateway.platform()?,
        )?);
    }
    let mut answers = JoinSet::new();
    for request in requests.clone() {
        let channel = ready.connection.attestation();
        answers.spawn(async move {
            let answer = channel.clone().attest(request.clone()).await;
            (request, answer.map(tonic::Response::into_inner))
        });
    }
    let mut winner = None;
    while let Some(answer) = answers.join_next().await {
        match answer? {
            (request, Ok(answer)) => {
                ensure!(answer.grant.is_some(), "{answer:?}");
                ensure!(
                    winner.replace((request, answer)).is_none(),
                    "one challenge renewed twice"
                );
            }
            (_, Err(status)) => Refusal::STALE.expect(&status)?,
        }
    }
    let (request, answer) = winner.context("no renewal was granted")?;
    let record = Record::of(&scene.deployment)?;
    for again in requests {
        ready.request = again.clone();
        match ready.send().await {
            Ok(same) => ensure!(again == request && same == answer),
            Err(status) => {
                ensure!(again != request, "the same bytes were refused: {status}");
                Refusal::STALE.expect(&status)?;
            }
        }
    }
    record.unchanged(&scene.deployment)
}
