//! A03: the AK. Quotes by another one, of another TPM or of the same, and keys
//! swapped between challenge and completion.

use anyhow::{Context, Result, ensure};
use holdfast_attester::enrolment::KeyChoice;
use holdfast_attester::tpm::{EkChoice, Tpm};
use holdfast_integration::scene::{ready_to_enrol, request_challenge, selection};
use holdfast_integration::{ReadyEnrolment, Refusal, Scene};
use holdfast_proto::binding::quote_extra_data;
use holdfast_proto::tpm::Attest;

const ELSEWHERE: &str = "the AK is not a child of the endorsed EK or a primary key";

/// Quotes the attack's claims with the AK of `donor`, in `tpm`.
fn quote_by(attack: &mut ReadyEnrolment, tpm: &Tpm, donor: &ReadyEnrolment) -> Result<()> {
    let selection = selection(&attack.challenge.pcr_selection)?;
    let bound = quote_extra_data(&attack.evidence().claims);
    let quote = tpm.quote(&donor.enrolment.keys().ak, &selection, bound)?;
    attack.evidence().quote_attest = quote.attest;
    attack.evidence().quote_signature = quote.signature;
    Ok(())
}

/// Says in the quote that the challenged AK signed it.
fn claim_the_challenged_ak(attack: &mut ReadyEnrolment, honest: &[u8]) -> Result<()> {
    let mut attest = Attest::parse(&attack.evidence().quote_attest)?;
    attest.qualified_signer = Attest::parse(honest)?.qualified_signer;
    attack.evidence().quote_attest = attest.encode();
    Ok(())
}

/// A quote over the right claims and the same PCR values, by the AK of another
/// genuine TPM, which is itself good for that other TPM.
#[tokio::test]
async fn adv_a03_quote_by_another_tpm() -> Result<()> {
    let scene = Scene::new()?;
    let other = scene.another_gateway("other")?;
    let bundle = scene.deployment.bundle()?;
    let donor = ready_to_enrol(&other, bundle, KeyChoice::default()).await?;
    let mut attack = scene.ready_to_enrol().await?;
    quote_by(&mut attack, other.tpm(), &donor)?;
    let refused = scene.assert_refused(attack, Refusal::NOT_AUTHENTIC);
    scene.because(ELSEWHERE, refused).await?;

    // The same, with the signer's name written over.
    let mut attack = scene.ready_to_enrol().await?;
    let honest = attack.evidence().quote_attest.clone();
    quote_by(&mut attack, other.tpm(), &donor)?;
    claim_the_challenged_ak(&mut attack, &honest)?;
    let refused = scene.assert_refused(attack, Refusal::NOT_AUTHENTIC);
    scene
        .because("quote's signature: does not verify", refused)
        .await
}

/// A quote by another good AK of the same TPM.
#[tokio::test]
async fn adv_a03_quote_by_another_ak_of_the_same_tpm() -> Result<()> {
    let scene = Scene::new()?;
    let donor = scene.ready_to_enrol().await?;
    let mut attack = scene.ready_to_enrol().await?;
    quote_by(&mut attack, scene.gateway.tpm(), &donor)?;
    let refused = scene.assert_refused(attack, Refusal::NOT_AUTHENTIC);
    scene.because(ELSEWHERE, refused).await?;

    let mut attack = scene.ready_to_enrol().await?;
    let honest = attack.evidence().quote_attest.clone();
    quote_by(&mut attack, scene.gateway.tpm(), &donor)?;
    claim_the_challenged_ak(&mut attack, &honest)?;
    let refused = scene.assert_refused(attack, Refusal::NOT_AUTHENTIC);
    scene
        .because("quote's signature: does not verify", refused)
        .await
}

/// The challenge was met with one AK, and everything else is of another good
/// AK: its area, its certification, its quote.
#[tokio::test]
async fn adv_a03_ak_swapped_after_the_challenge() -> Result<()> {
    let scene = Scene::new()?;
    let challenged = scene.ready_to_enrol().await?;
    let mut attack = scene.ready_to_enrol().await?;
    // The attack's keys answer the other challenge, whose secret is known.
    attack.challenge = challenged.challenge.clone();
    attack.request.token = challenged.request.token;
    attack.request.activated_secret = challenged.request.activated_secret;
    attack.request.ldevid_public = challenged.request.ldevid_public;
    attack.recollect(|_| {})?;
    let refused = scene.assert_refused(attack, Refusal::STALE);
    scene.because("AK 000b", refused).await
}

/// Each of the other keys, swapped likewise.
#[tokio::test]
async fn adv_a03_other_keys_swapped_after_the_challenge() -> Result<()> {
    let scene = Scene::new()?;
    let donor = scene.ready_to_enrol().await?;
    let mut attack = scene.ready_to_enrol().await?;
    attack.request.ldevid_public = donor.request.ldevid_public;
    let refused = scene.assert_refused(attack, Refusal::STALE);
    scene.because("LDevID key 000b", refused).await?;

    let rsa = KeyChoice {
        ek: EkChoice::Rsa2048,
        ..KeyChoice::default()
    };
    let donor = ready_to_enrol(&scene.gateway, scene.deployment.bundle()?, rsa).await?;
    let mut attack = scene.ready_to_enrol().await?;
    attack.request.ek_public = donor.request.ek_public.clone();
    attack.request.ek_certificate_chain = donor.request.ek_certificate_chain.clone();
    let refused = scene.assert_refused(attack, Refusal::STALE);
    scene.because("freshness: EK 000b", refused).await?;

    let mut attack = scene.ready_to_enrol().await?;
    attack.request.ek_certificate_chain = donor.request.ek_certificate_chain;
    let refused = scene.assert_refused(attack, Refusal::STALE);
    scene
        .because("the EK certificate chain is not the one", refused)
        .await?;

    let mut attack = scene.ready_to_enrol().await?;
    attack.request.ek_certificate_chain.truncate(1);
    let refused = scene.assert_refused(attack, Refusal::STALE);
    scene
        .because("the EK certificate chain is not the one", refused)
        .await
}

/// A genuine gateway asks with the victim's EK, certificate and all, and its
/// own AK: it gets a challenge, and its TPM cannot meet it. Nor can the
/// victim's TPM, for the AK is not there: an AK is activated where the EK is.
#[tokio::test]
async fn adv_a03_another_gateways_ek_with_ones_own_ak() -> Result<()> {
    let scene = Scene::new()?;
    let thief = scene.another_gateway("thief")?;
    let bundle = scene.deployment.bundle()?;
    let victim = scene.ready_to_enrol().await?;
    let mut attack = ready_to_enrol(&thief, bundle, KeyChoice::default()).await?;
    let mut ask = attack.challenge_request.clone();
    ask.ek_public = victim.challenge_request.ek_public.clone();
    ask.ek_certificate_chain = victim.challenge_request.ek_certificate_chain.clone();
    attack.challenge = request_challenge(&attack.connection, ask.clone()).await?;

    let keys = attack.enrolment.keys();
    for (tpm, template) in [
        (thief.tpm(), &attack.enrolment.endorsement_key().template),
        (
            scene.gateway.tpm(),
            &victim.enrolment.endorsement_key().template,
        ),
    ] {
        let met = tpm.activate_credential(
            template,
            &keys.ak,
            &attack.challenge.credential_blob,
            &attack.challenge.encrypted_secret,
        );
        let error = met
            .err()
            .context("a TPM activated a foreign pair of keys")?;
        ensure!(
            error.to_string().contains("TPM2_ActivateCredential"),
            "{error}"
        );
    }

    // What is left is to answer without the secret.
    attack.request.token = attack.challenge.token.clone();
    attack.request.ek_public = ask.ek_public;
    attack.request.ek_certificate_chain = ask.ek_certificate_chain;
    attack.recollect(|_| {})?;
    let refused = scene.assert_refused(attack, Refusal::NOT_AUTHENTIC);
    scene
        .because("the activated secret is wrong", refused)
        .await
}
