//! A05: the EK certificate of one key with the public area of another. Refused
//! before a challenge is made.

use anyhow::Result;
use holdfast_attester::enrolment::KeyChoice;
use holdfast_attester::tpm::EkChoice;
use holdfast_integration::{Refusal, Scene};
use holdfast_proto::grpc::v1::RequestChallengeRequest;

const OTHER_KEY: &str = "the EK certificate is for another key";

const RSA: KeyChoice = KeyChoice {
    ek: EkChoice::Rsa2048,
    ak: holdfast_proto::tpm::templates::AkAlg::EcdsaP256,
};

async fn refused_at_once(
    scene: &Scene,
    request: RequestChallengeRequest,
    chain_of: &RequestChallengeRequest,
) -> Result<()> {
    let bundle = scene.deployment.bundle()?;
    let attack = RequestChallengeRequest {
        ek_certificate_chain: chain_of.ek_certificate_chain.clone(),
        join_token: bundle.join_token.expose().to_vec(),
        ..request
    };
    let refused = scene.assert_challenge_refused(attack, bundle, Refusal::NOT_ENDORSED);
    scene.because(OTHER_KEY, refused).await
}

/// Two genuine TPMs of one vendor, ECC and RSA: X's certificate, Y's key, and
/// the other way round.
#[tokio::test]
async fn adv_a05_certificate_of_another_tpm() -> Result<()> {
    let scene = Scene::new()?;
    let other = scene.another_gateway("other")?;
    for choice in [KeyChoice::default(), RSA] {
        let x = scene.gateway.enrolment(choice)?.challenge_request(&[]);
        let y = other.enrolment(choice)?.challenge_request(&[]);
        refused_at_once(&scene, x.clone(), &y).await?;
        refused_at_once(&scene, y, &x).await?;
    }
    Ok(())
}

/// The certificates of one TPM's two EKs, exchanged.
#[tokio::test]
async fn adv_a05_certificate_of_the_other_ek() -> Result<()> {
    let scene = Scene::new()?;
    let ecc = scene
        .gateway
        .enrolment(KeyChoice::default())?
        .challenge_request(&[]);
    let rsa = scene.gateway.enrolment(RSA)?.challenge_request(&[]);
    refused_at_once(&scene, ecc.clone(), &rsa).await?;
    refused_at_once(&scene, rsa, &ecc).await
}

/// Both certificates are there, the wrong one first: the first is the EK's.
#[tokio::test]
async fn adv_a05_the_right_certificate_in_second_place() -> Result<()> {
    let scene = Scene::new()?;
    let other = scene.another_gateway("other")?;
    let x = scene
        .gateway
        .enrolment(KeyChoice::default())?
        .challenge_request(&[]);
    let mut y = other
        .enrolment(KeyChoice::default())?
        .challenge_request(&[]);
    y.ek_certificate_chain
        .insert(1, x.ek_certificate_chain[0].clone());
    refused_at_once(&scene, x, &y).await
}
