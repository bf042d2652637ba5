//! A16: relay. Honest evidence, carried over another TLS connection than the
//! one that its claims name.

use anyhow::Result;
use holdfast_integration::scene::dial;
use holdfast_integration::{Refusal, Scene};

/// The attacker's own connection to the verifier carries an honest gateway's
/// request.
#[tokio::test]
async fn adv_a16_c39_enrolment_relayed_over_another_connection() -> Result<()> {
    let scene = Scene::new()?;
    let mut attack = scene.ready_to_enrol().await?;
    attack.connection = dial(&attack.bundle).await?;
    scene.assert_refused(attack, Refusal::NOT_AUTHENTIC).await
}

/// Claims that name no connection at all.
#[tokio::test]
async fn adv_a16_exporter_of_no_connection() -> Result<()> {
    let scene = Scene::new()?;
    let mut attack = scene.ready_to_enrol().await?;
    attack.recollect(|asked| asked.exporter = [0; 32])?;
    scene.assert_refused(attack, Refusal::NOT_AUTHENTIC).await
}

/// The same, for a re-attestation: evidence of one mutual-TLS connection over
/// another one of the same gateway.
#[tokio::test]
async fn adv_a16_attestation_relayed_over_another_connection() -> Result<()> {
    let scene = Scene::new()?;
    let enrolled = scene.enrol().await?;
    let mut attack = scene.ready_to_attest(&enrolled, false).await?;
    attack.connection = scene.ready_to_attest(&enrolled, false).await?.connection;
    scene
        .assert_attest_refused(attack, Refusal::NOT_AUTHENTIC)
        .await
}
