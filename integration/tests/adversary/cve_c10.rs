//! C10 (CVE-2021-3406): an EK certificate, an EK as PEM and an EK's TPM
//! structure that nobody compared. Here there is one EK, the TPM structure, and
//! the certificate must be for that key, in both steps.

use anyhow::{Context, Result};
use holdfast_attester::enrolment::KeyChoice;
use holdfast_integration::{Refusal, Scene};
use holdfast_proto::grpc::v1::RequestChallengeRequest;
use holdfast_proto::tpm::{ObjectAttributes, Public};

/// The victim's certificate with a key that the attacker holds; and the
/// victim's key in a structure that says something else of it.
#[tokio::test]
async fn cve_c10_certificate_and_public_area_are_compared() -> Result<()> {
    let scene = Scene::new()?;
    let victim = scene.another_gateway("victim")?;
    let usual = KeyChoice::default();
    let attacker = scene.gateway.enrolment(usual)?.challenge_request(&[]);
    let of_victim = victim.enrolment(usual)?.challenge_request(&[]);
    let mut area = Public::parse(&of_victim.ek_public)?;
    area.attributes = area.attributes | ObjectAttributes::USER_WITH_AUTH;
    let cases = [
        (
            attacker.ek_public.clone(),
            Refusal::NOT_ENDORSED,
            "the EK certificate is for another key",
        ),
        (
            area.encode(),
            Refusal::INVALID_REQUEST,
            "the EK's public area equals no known EK template",
        ),
    ];
    for (ek_public, refusal, cause) in cases {
        let bundle = scene.deployment.bundle()?;
        let attack = RequestChallengeRequest {
            ek_public,
            ek_certificate_chain: of_victim.ek_certificate_chain.clone(),
            join_token: bundle.join_token.expose().to_vec(),
            ..attacker.clone()
        };
        let refused = scene.assert_challenge_refused(attack, bundle, refusal);
        scene.because(cause, refused).await?;
    }
    Ok(())
}

/// Between the steps the certificate, or the key, is exchanged.
#[tokio::test]
async fn cve_c10_neither_is_exchanged_between_the_steps() -> Result<()> {
    let scene = Scene::new()?;
    let victim = scene.another_gateway("victim")?;
    let theirs = victim
        .enrolment(KeyChoice::default())?
        .challenge_request(&[]);
    let mut attack = scene.ready_to_enrol().await?;
    attack.request.ek_certificate_chain = theirs.ek_certificate_chain.clone();
    scene.assert_refused(attack, Refusal::STALE).await?;
    let mut attack = scene.ready_to_enrol().await?;
    attack.request.ek_public = theirs.ek_public.clone();
    scene.assert_refused(attack, Refusal::STALE).await?;
    let mut attack = scene.ready_to_enrol().await?;
    attack.request.ek_certificate_chain = Vec::new();
    scene
        .assert_refused(attack, Refusal::STALE)
        .await
        .context("no certificate in the second step")
}
