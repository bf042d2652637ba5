//! C33 (step-ca 1265): the key in the request is not the key that was attested.
//! A08 has the single checks; this is the class as it was published.

use anyhow::{Context, Result, ensure};
use holdfast_integration::scene::request_challenge;
use holdfast_integration::{Refusal, Scene};
use holdfast_proto::tpm::Public;

/// Both keys are good ones of the same TPM, and the challenge was for the one
/// that the request names; the TPM certified the other.
#[tokio::test]
async fn cve_c33_the_key_in_the_request_is_not_the_certified_one() -> Result<()> {
    let scene = Scene::new()?;
    let donor = scene.ready_to_enrol().await?;
    let other = donor.request.ldevid_public.clone();
    let mut attack = scene.ready_to_enrol().await?;
    let mut ask = attack.challenge_request.clone();
    ask.ldevid_public.clone_from(&other);
    attack.challenge = request_challenge(&attack.connection, ask).await?;
    attack.request = attack.enrolment.complete(
        &attack.challenge,
        &attack.connection.exporter,
        &attack.platform,
    )?;
    ensure!(attack.request.ldevid_public != other, "two keys");
    attack.request.ldevid_public = other;
    scene.assert_refused(attack, Refusal::NOT_AUTHENTIC).await
}

/// What is granted bears the certified key, and no other.
#[tokio::test]
async fn cve_c33_the_granted_key_is_the_certified_one() -> Result<()> {
    let scene = Scene::new()?;
    let ready = scene.ready_to_enrol().await?;
    let certified = Public::parse(&ready.request.ldevid_public)?;
    let spki = certified.to_spki_der().context("an ECC key")?;
    let grant = ready.send().await?.grant.context("no grant")?;
    let leaf = grant.ldevid_chain.first().context("no certificate")?;
    ensure!(
        leaf.windows(spki.len()).any(|window| window == spki),
        "the LDevID is for another key"
    );
    Ok(())
}
