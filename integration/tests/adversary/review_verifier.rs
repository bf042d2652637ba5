//! Review of the verifier: seams between what is checked and what is recorded,
//! attacked over the wire.

use anyhow::{Context, Result, bail, ensure};
use holdfast_attester::enrolment::KeyChoice;
use holdfast_integration::scene::{granted, ready_to_enrol};
use holdfast_integration::{Refusal, Scene, TokenOptions};
use holdfast_proto::grpc::v1;
use holdfast_tpm_sim::BootImage;
use holdfast_tpm_sim::boot_log::{Event, event_type};

fn refused<T: std::fmt::Debug>(answer: Result<T, tonic::Status>, expected: Refusal) -> Result<()> {
    match answer {
        Err(status) => expected.expect(&status),
        Ok(answer) => bail!("answered: {answer:?}"),
    }
}

/// As [`refused`], on a connection whose LDevID was revoked since.
fn refused_or_cut<T: std::fmt::Debug>(
    answer: Result<T, tonic::Status>,
    expected: Refusal,
) -> Result<()> {
    match answer {
        Err(status) => expected.expect_or_cut(&status),
        Ok(answer) => bail!("answered: {answer:?}"),
    }
}

/// The gateway that enrolled first.
fn gateway_id(scene: &Scene) -> Result<String> {
    let gateways = scene.deployment.gateways()?;
    let id = gateways.first().and_then(|g| g["gateway_id"].as_str());
    Ok(id.context("no gateway on record")?.to_owned())
}

/// A recorded answer is not a way around a revocation.
#[tokio::test]
async fn a_recorded_grant_is_not_answered_again_after_revocation() -> Result<()> {
    let scene = Scene::new()?;
    let ready = scene.ready_to_enrol().await?;
    granted(ready.send().await)?;
    granted(ready.send().await)?;
    let id = gateway_id(&scene)?;
    scene.deployment.run(&["gateway", "revoke", &id])?;
    refused(ready.send().await, Refusal::BLOCKED)
}

/// The owner suspends between the two calls of a re-enrolment.
#[tokio::test]
async fn a_suspension_between_the_two_calls_wins() -> Result<()> {
    let scene = Scene::new()?;
    granted(scene.ready_to_enrol().await?.send().await)?;
    let ready = scene.ready_to_enrol().await?;
    let id = gateway_id(&scene)?;
    scene.deployment.run(&["gateway", "suspend", &id])?;
    refused(ready.send().await, Refusal::BLOCKED)?;
    ensure!(scene.deployment.gateway(&id)?["state"] == "suspended");
    Ok(())
}

/// A connection that was opened with a good LDevID ends with it: neither a
/// plain attestation nor a renewal passes once the owner has suspended, and
/// resuming does not bring the certificate back.
#[tokio::test]
async fn an_open_connection_outlives_no_suspension() -> Result<()> {
    let scene = Scene::new()?;
    let enrolled = scene.enrol().await?;
    let plain = scene.ready_to_attest(&enrolled, false).await?;
    let renewal = scene.ready_to_attest(&enrolled, true).await?;
    let id = gateway_id(&scene)?;
    scene.deployment.run(&["gateway", "suspend", &id])?;
    refused_or_cut(plain.send().await, Refusal::BLOCKED)?;
    refused_or_cut(renewal.send().await, Refusal::BLOCKED)?;
    scene.deployment.run(&["gateway", "resume", &id])?;
    refused_or_cut(plain.send().await, Refusal::LDEVID_NOT_GOOD)?;
    refused_or_cut(renewal.send().await, Refusal::LDEVID_NOT_GOOD)
}

/// Enrolling anew ends the LDevID before, on connections already open too.
#[tokio::test]
async fn an_ldevid_ends_with_the_next_enrolment() -> Result<()> {
    let scene = Scene::new()?;
    let enrolled = scene.enrol().await?;
    let renewal = scene.ready_to_attest(&enrolled, true).await?;
    granted(scene.ready_to_enrol().await?.send().await)?;
    refused_or_cut(renewal.send().await, Refusal::LDEVID_NOT_GOOD)
}

/// A token of one call does not open another.
#[tokio::test]
async fn tokens_serve_their_own_call() -> Result<()> {
    let scene = Scene::new()?;
    let enrolled = scene.enrol().await?;
    let attestation = scene.ready_to_attest(&enrolled, true).await?;
    let mut enrolment = scene.ready_to_enrol().await?;
    let of_enrolment = enrolment.request.token.clone();
    enrolment.request.token = attestation.request.token.clone();
    refused(enrolment.send().await, Refusal::STALE)?;
    let mut attestation = attestation;
    attestation.request.token = of_enrolment;
    refused(attestation.send().await, Refusal::STALE)
}

/// Two enrolments race for the one use of a token: one is granted.
#[tokio::test]
async fn one_use_of_a_token_is_one_grant() -> Result<()> {
    let scene = Scene::new()?;
    let other = scene.another_gateway("other")?;
    scene
        .deployment
        .import_references("default", &scene.gateway.sim().describe().reference_values)?;
    let bundle = scene.deployment.bundle_with(&TokenOptions::default())?;
    let one = ready_to_enrol(&scene.gateway, bundle.clone(), KeyChoice::default()).await?;
    let two = ready_to_enrol(&scene.gateway, bundle.clone(), KeyChoice::default()).await?;
    let three = ready_to_enrol(&other, bundle, KeyChoice::default()).await;
    let (one, two) = tokio::join!(one.send(), two.send());
    let third = match three {
        Ok(three) => three.send().await.is_ok_and(|a| a.grant.is_some()),
        Err(_) => false,
    };
    let grants = [one, two]
        .into_iter()
        .filter(|a| a.as_ref().is_ok_and(|a| a.grant.is_some()))
        .count();
    ensure!(grants == 1 && !third, "{grants} grants, third: {third}");
    Ok(())
}

/// Two bytes on the wire become some thirty in memory, before anybody was
/// asked who he is: a message longer than any good one is not decoded. The
/// longest good one still is.
#[tokio::test]
async fn what_no_good_message_needs_is_not_decoded() -> Result<()> {
    let scene = Scene::new()?;
    let mut ready = scene.ready_to_enrol().await?;
    let good = ready.request.clone();
    ready.evidence().pcr_values = vec![v1::PcrValue::default(); 700_000];
    match ready.send().await {
        Err(status) => ensure!(status.code() == tonic::Code::OutOfRange, "{status:?}"),
        Ok(answer) => bail!("answered: {answer:?}"),
    }
    ready.request = good;
    // Padded to the limit by events that inform and are not extended.
    let mut longest = BootImage::golden().boot();
    let padded = |len| Event {
        data: vec![0; len],
        ..Event::of_data(0, event_type::EV_NO_ACTION, Vec::new())
    };
    let head = padded(0).encode().len();
    let missing = (1 << 20) - longest.encode().len() - 8 * head;
    longest.events.push(padded(missing / 8 + missing % 8));
    longest.events.extend((1..8).map(|_| padded(missing / 8)));
    let longest = longest.encode();
    ensure!(longest.len() == 1 << 20);
    let platform = holdfast_attester::evidence::Platform {
        boot_log: Some(longest),
        ima_log: None,
        ..ready.platform.clone()
    };
    ready.request =
        ready
            .enrolment
            .complete(&ready.challenge, &ready.connection.exporter, &platform)?;
    granted(ready.send().await)?;
    Ok(())
}
