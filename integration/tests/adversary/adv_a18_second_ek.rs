//! A18: the RSA and the ECC EK of one TPM as two gateways. No statement of a
//! TPM shows that two EKs are of one TPM, so as shipped one kind is accepted,
//! and a second record, or one that outlives a revocation, cannot come about.

use anyhow::{Context, Result};
use holdfast_attester::enrolment::KeyChoice;
use holdfast_attester::tpm::EkChoice;
use holdfast_integration::scene::{dial, request_challenge};
use holdfast_integration::{Refusal, Scene};

#[tokio::test]
async fn adv_a18_second_ek_of_a_tpm_with_fresh_keys() -> Result<()> {
    let scene = Scene::with(
        |_| {},
        |text| {
            let line = text
                .lines()
                .find(|line| line.starts_with("accepted_eks = "));
            text.replace(line.unwrap_or_default(), "accepted_eks = [\"L-2\"]")
        },
    )?;
    scene.enrol().await?;
    let second = second_ek(&scene)?;
    let bundle = scene.deployment.bundle()?;
    let request = second.challenge_request(bundle.join_token.expose());
    scene
        .assert_challenge_refused(request, bundle, Refusal::NOT_ENDORSED)
        .await?;
    assert_eq!(scene.deployment.gateways()?.len(), 1);

    // Nor does it get round a revocation.
    let id = scene.deployment.gateways()?[0]["gateway_id"]
        .as_str()
        .context("gateway_id")?
        .to_owned();
    scene.deployment.run(&["gateway", "revoke", &id])?;
    let bundle = scene.deployment.bundle()?;
    let connection = dial(&bundle).await?;
    let again = second_ek(&scene)?.challenge_request(bundle.join_token.expose());
    let status = request_challenge(&connection, again)
        .await
        .expect_err("the second EK got a challenge");
    Refusal::NOT_ENDORSED.expect(&status)?;
    assert_eq!(scene.deployment.gateways()?.len(), 1);
    Ok(())
}

/// The same TPM by its RSA EK, with an AK and an LDevID key of their own.
fn second_ek(scene: &Scene) -> Result<holdfast_attester::enrolment::Enrolment> {
    scene.gateway.enrolment(KeyChoice {
        ek: EkChoice::Rsa2048,
        ..KeyChoice::default()
    })
}
