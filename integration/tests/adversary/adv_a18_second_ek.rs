//! A18: the RSA and the ECC EK of one TPM as two gateways. As shipped one kind
//! is accepted, and a second record, or one that outlives a revocation, cannot
//! come about. Where several are accepted, all of them are on one record.

use anyhow::{Context, Result, bail, ensure};
use holdfast_attester::AttesterError;
use holdfast_attester::enrolment::{Enrolment, KeyChoice};
use holdfast_attester::evidence;
use holdfast_attester::tpm::{EkChoice, EndorsementKey};
use holdfast_integration::refusal::Record;
use holdfast_integration::scene::{
    accepting, dial, granted, ready_by, ready_to_enrol, request_challenge, selection,
};
use holdfast_integration::{Gateway, ReadyEnrolment, Refusal, Scene, TokenOptions};
use holdfast_proto::binding::{certify_ek_extra_data, certify_extra_data, gateway_id};
use holdfast_proto::claims::Purpose;
use holdfast_proto::grpc::v1;
use holdfast_proto::tpm::templates::EkTemplate;
use holdfast_proto::tpm::{HashAlg, Public};
use serde_json::Value;
use tonic::Code;

const MISSING: Refusal = Refusal::new(Code::FailedPrecondition, "eks-missing");

/// As shipped: one template.
fn one(text: String) -> String {
    accepting(&text, "[\"L-2\"]", "all")
}

fn all(text: String) -> String {
    accepting(&text, "[\"L-1\", \"L-2\"]", "all")
}

fn any(text: String) -> String {
    accepting(&text, "[\"L-1\", \"L-2\"]", "any")
}

/// The same TPM by its RSA EK, with an AK and an LDevID key of their own.
fn second_ek(gateway: &Gateway) -> Result<Enrolment> {
    gateway.enrolment(KeyChoice {
        ek: EkChoice::Rsa2048,
        ..KeyChoice::default()
    })
}

/// As the adversary sends it, who shows these EKs and no others.
async fn by(scene: &Scene, enrolment: Enrolment) -> Result<ReadyEnrolment> {
    ready_by(&scene.gateway, scene.deployment.bundle()?, enrolment, true).await
}

async fn refused(ready: ReadyEnrolment, refusal: Refusal) -> Result<()> {
    match ready.send().await {
        Ok(_) => bail!("granted"),
        Err(status) => refusal.expect(&status),
    }
}

fn templates(gateway: &Value) -> Vec<&str> {
    let eks = gateway["eks"].as_array().into_iter().flatten();
    eks.filter_map(|ek| ek["template"].as_str()).collect()
}

fn id_of(gateway: &Value) -> Result<&str> {
    gateway["gateway_id"].as_str().context("gateway_id")
}

#[tokio::test]
async fn adv_a18_second_ek_of_a_tpm_with_fresh_keys() -> Result<()> {
    let scene = Scene::with(|_| {}, one)?;
    scene.enrol().await?;
    let bundle = scene.deployment.bundle()?;
    let request = second_ek(&scene.gateway)?.challenge_request(bundle.join_token.expose());
    scene
        .assert_challenge_refused(request, bundle, Refusal::NOT_ENDORSED)
        .await?;
    let records = scene.deployment.gateways()?;
    ensure!(records.len() == 1 && templates(&records[0]) == ["L-2"]);

    // Nor does it get round a revocation.
    let id = id_of(&records[0])?;
    scene.deployment.run(&["gateway", "revoke", id])?;
    let bundle = scene.deployment.bundle()?;
    let connection = dial(&bundle).await?;
    let again = second_ek(&scene.gateway)?.challenge_request(bundle.join_token.expose());
    let status = request_challenge(&connection, again)
        .await
        .expect_err("the second EK got a challenge");
    Refusal::NOT_ENDORSED.expect(&status)?;
    ensure!(scene.deployment.gateways()?.len() == 1);
    Ok(())
}

/// The program is told what is missing and shows it, by itself; the TPM is one
/// gateway, and when that is revoked, none of its EKs comes back.
#[tokio::test]
async fn adv_a18_all_eks_of_a_tpm_are_one_gateway() -> Result<()> {
    let mut scene = Scene::with(|_| {}, all)?;
    let bundle = scene.deployment.create_token(&TokenOptions::default())?;
    let bundle = bundle.to_str().context("path")?;
    let log = scene.gateway.sim().boot_log();
    let log = log.to_str().context("path")?;
    let said = scene
        .gateway
        .run(&["enroll", "--bundle", bundle, "--boot-log", log])?;
    ensure!(said.contains("EKs of template L-1 too"), "{said}");
    let records = scene.deployment.gateways()?;
    let id = id_of(&records[0])?;
    let shown = scene.deployment.gateway(id)?;
    ensure!(templates(&shown) == ["L-2", "L-1"], "{shown}");
    for ek in shown["eks"].as_array().context("eks")? {
        ensure!(ek["known_by"] == "ek-certificate", "{shown}");
        ensure!(ek["certificate_sha256"].as_str() != Some(""), "{shown}");
    }
    let told = scene.deployment.run(&["gateway", "show", id])?;
    ensure!(told.contains("EK             L-1 "), "{told}");
    let told = scene.deployment.run(&["gateway", "list"])?;
    ensure!(told.contains("L-2 L-1"), "{told}");
    let told = scene.deployment.run(&["audit", "list"])?;
    ensure!(told.contains("ek-added"), "{told}");

    // By the other EK as its first it would be another gateway.
    let both =
        || -> Result<Enrolment> { Ok(second_ek(&scene.gateway)?.showing(&[EkTemplate::L2])?) };
    refused(by(&scene, both()?).await?, Refusal::KEY_OF_ANOTHER).await?;
    scene.deployment.run(&["gateway", "revoke", id])?;
    let before = Record::of(&scene.deployment)?;
    refused(by(&scene, both()?).await?, Refusal::KEY_OF_ANOTHER).await?;
    // By that one alone it is not even challenged; nor by the first, with both.
    for (enrolment, refusal) in [
        (second_ek(&scene.gateway)?, MISSING),
        (
            (scene.gateway.enrolment(KeyChoice::default())?).showing(&[EkTemplate::L1])?,
            Refusal::BLOCKED,
        ),
    ] {
        let bundle = scene.deployment.bundle()?;
        let connection = dial(&bundle).await?;
        let request = enrolment.challenge_request(bundle.join_token.expose());
        let status = request_challenge(&connection, request)
            .await
            .expect_err("challenged");
        refusal.expect(&status)?;
    }
    before.unchanged(&scene.deployment)
}

/// Who leaves one out is told which, and spends nothing.
#[tokio::test]
async fn adv_a18_all_with_one_missing_names_it() -> Result<()> {
    let scene = Scene::with(|_| {}, all)?;
    let bundle = scene.deployment.bundle()?;
    let connection = dial(&bundle).await?;
    let enrolment = scene.gateway.enrolment(KeyChoice::default())?;
    let alone = enrolment.challenge_request(bundle.join_token.expose());
    let status = request_challenge(&connection, alone)
        .await
        .expect_err("challenged");
    MISSING.expect(&status)?;
    let named = status.metadata().get("holdfast-missing-eks");
    ensure!(named.is_some_and(|labels| labels == "L-1"), "{status:?}");
    ensure!(status.message().contains("L-1"), "{status:?}");
    let good = ready_by(
        &scene.gateway,
        bundle,
        enrolment.showing(&[EkTemplate::L1])?,
        true,
    )
    .await?;
    granted(good.send().await)?;
    Ok(())
}

/// One that is wanted and that the TPM does not make (here it is gone): the error
/// names the template and says what can be done.
#[tokio::test]
async fn an_ek_that_the_tpm_does_not_make_is_named() -> Result<()> {
    let scene = Scene::with(|_| {}, all)?;
    let gateway = scene.another_gateway("short-lived")?;
    let enrolment = gateway.enrolment(KeyChoice::default())?;
    drop(gateway);
    let error = match enrolment.showing(&[EkTemplate::H6]) {
        Err(
            error @ AttesterError::NoSuchEk {
                template: "H-6", ..
            },
        ) => error,
        other => bail!("{:?}", other.map(|_| ())),
    };
    ensure!(error.to_string().contains("EK of template H-6"), "{error}");
    let next = error.next_step();
    ensure!(next.contains("accepted_eks"), "{next}");
    ensure!(next.contains("eks = \"any\""), "{next}");
    Ok(())
}

/// Revoked, and back by its second EK: with "any" that is caught where both were
/// shown, as the program does unasked; and only there.
#[tokio::test]
async fn adv_a18_any_catches_the_eks_that_were_shown() -> Result<()> {
    let scene = Scene::with(|_| {}, any)?;
    let enrolled = scene.enrol().await?;
    let id = enrolled.gateway_id.to_string();
    ensure!(templates(&scene.deployment.gateway(&id)?) == ["L-2", "L-1"]);
    scene.deployment.run(&["gateway", "revoke", &id])?;
    let before = Record::of(&scene.deployment)?;
    let back = by(&scene, second_ek(&scene.gateway)?).await?;
    let caught = refused(back, Refusal::KEY_OF_ANOTHER);
    scene.because("EK belongs to gateway", caught).await?;
    before.unchanged(&scene.deployment)?;

    // What SECURITY.md says of "any": one that was never shown is not known.
    let silent = scene.another_gateway("silent")?;
    let bundle = scene.deployment.bundle()?;
    let first = ready_to_enrol(&silent, bundle, KeyChoice::default()).await?;
    granted(first.send().await)?;
    let id = first.enrolment.gateway_id().to_string();
    scene.deployment.run(&["gateway", "revoke", &id])?;
    let bundle = scene.deployment.bundle()?;
    let second = ready_by(&silent, bundle, second_ek(&silent)?, true).await?;
    granted(second.send().await)?;
    Ok(())
}

/// A vendor certifies two ECC EKs of one TPM, and one template is accepted. The
/// TPM opens a credential by its H-2 key, whatever template that is shown as; but
/// it has nothing under such a key.
#[tokio::test]
async fn adv_a18_an_ek_shown_as_of_the_accepted_template() -> Result<()> {
    let both = vec![EkTemplate::L2, EkTemplate::H2];
    let scene = Scene::with(|options| options.ek_certificates = both, one)?;
    scene.enrol().await?;
    let before = Record::of(&scene.deployment)?;
    let tpm = scene.gateway.tpm();
    let h2 = tpm.endorsement_key_of(EkTemplate::H2)?;
    ensure!(!h2.certificate_chain.is_empty(), "H-2 is not certified");
    let shown = Public {
        unique: h2.public.unique.clone(),
        ..EkTemplate::L2.public()
    };
    let l2 = EkTemplate::L2.public();
    for (under, named) in [
        (&h2.template, &shown),
        (&h2.template, &h2.public),
        (&l2, &shown),
    ] {
        let mut attack = scene.ready_to_enrol().await?;
        let mut ask = attack.challenge_request.clone();
        ask.ek_public = shown.encode();
        ask.ek_certificate_chain = h2.certificate_chain.clone();
        attack.challenge = request_challenge(&attack.connection, ask.clone()).await?;
        let (keys, nonce) = (attack.enrolment.keys().clone(), attack.nonce()?);
        let secret = tpm.activate_credential(
            &h2.template,
            &keys.ak,
            &attack.challenge.credential_blob,
            &attack.challenge.encrypted_secret,
        )?;
        let binding = certify_extra_data(&nonce, &keys.ak_name, &keys.ldevid.name());
        let certification = tpm.certify(&keys.ldevid, &keys.ak, binding)?;
        let of_ek = certify_ek_extra_data(&nonce, &keys.ak_name, &named.name());
        let ek_certification = tpm.certify_ek(under, &keys.ak, of_ek)?;
        let asked = evidence::Challenge {
            nonce,
            selection: selection(&attack.challenge.pcr_selection)?,
            exporter: attack.connection.exporter,
            purpose: Purpose::Enrol,
            known_boot_log: None,
            known_ima: None,
        };
        let (ueid, platform) = (gateway_id(&shown)?, &attack.platform);
        let collected =
            evidence::collect(tpm, &keys, &ueid, &asked, Some(&certification), platform)?;
        attack.request = v1::EnrollRequest {
            token: attack.challenge.token.clone(),
            activated_secret: secret.to_vec(),
            ek_public: ask.ek_public,
            ek_certificate_chain: ask.ek_certificate_chain,
            ldevid_certification: Some(certification.into()),
            evidence: Some(collected),
            ek_certification: Some(ek_certification.into()),
            ..attack.request
        };
        let answer = refused(attack, Refusal::NOT_AUTHENTIC);
        scene.because("EK L-2: ", answer).await?;
    }
    before.unchanged(&scene.deployment)
}

/// Gateway Y shows an EK of gateway X as its own: X's TPM does not hold Y's AK.
#[tokio::test]
async fn adv_a18_an_ek_of_another_tpm_mixed_in() -> Result<()> {
    let scene = Scene::with(|_| {}, any)?;
    let victim = scene.another_gateway("victim")?;
    let of_victim = victim.tpm().endorsement_key(EkChoice::Rsa2048)?;
    // Before the victim is on record, and after: the answer is the same.
    for on_record in [false, true] {
        if on_record {
            let bundle = scene.deployment.bundle()?;
            let enrolment = (victim.enrolment(KeyChoice::default())?).showing(&[EkTemplate::L1])?;
            granted(
                ready_by(&victim, bundle, enrolment, true)
                    .await?
                    .send()
                    .await,
            )?;
        }
        let before = Record::of(&scene.deployment)?;
        let (mut attack, credential) = with_foreign_ek(&scene, &of_victim).await?;
        // The victim's TPM, in the adversary's hands, opens it for no AK but the
        // one that was named; and the adversary's has not that EK.
        let ak = attack.enrolment.keys().ak.clone();
        for tpm in [victim.tpm(), scene.gateway.tpm()] {
            let opened = tpm.activate_credential(
                &of_victim.template,
                ak.clone(),
                &credential.credential_blob,
                &credential.encrypted_secret,
            );
            ensure!(opened.is_err(), "opened by another TPM");
        }
        for guess in [vec![0; 32], attack.request.activated_secret.clone()] {
            attack.request.further_eks[0].activated_secret = guess;
            let status = attack.send().await.expect_err("granted");
            Refusal::NOT_AUTHENTIC.expect(&status)?;
        }
        before.unchanged(&scene.deployment)?;
    }
    Ok(())
}

/// An enrolment of the scene's gateway that shows an EK of another TPM, with all
/// done but the secret; and the credential for that EK.
async fn with_foreign_ek(
    scene: &Scene,
    foreign: &EndorsementKey,
) -> Result<(ReadyEnrolment, v1::EkCredential)> {
    let mut ready = scene.ready_to_enrol().await?;
    ready.challenge_request.further_eks.push(v1::FurtherEk {
        ek_public: foreign.public.encode(),
        ek_certificate_chain: foreign.certificate_chain.clone(),
    });
    let request = ready.challenge_request.clone();
    ready.challenge = request_challenge(&ready.connection, request).await?;
    let credential = ready.challenge.further_credentials.remove(0);
    ready.request = (ready.enrolment).complete(
        &ready.challenge,
        &ready.connection.exporter,
        &ready.platform,
    )?;
    ready.request.further_eks.push(v1::ActivatedEk {
        ek_public: foreign.public.encode(),
        ek_certificate_chain: foreign.certificate_chain.clone(),
        activated_secret: Vec::new(),
        ek_certification: ready.request.ek_certification.clone(),
    });
    Ok((ready, credential))
}

/// A second EK that nobody vouches for: refused by name where it has to be shown;
/// where it does not, the program goes on without it, and a peer that insists is
/// refused.
#[tokio::test]
async fn adv_a18_a_second_ek_that_is_not_endorsed() -> Result<()> {
    let bare = |configuration: fn(String) -> String| {
        let certified = vec![EkTemplate::L2];
        Scene::with(|options| options.ek_certificates = certified, configuration)
    };
    let mut scene = bare(all)?;
    let bundle = scene.deployment.create_token(&TokenOptions::default())?;
    let bundle = bundle.to_str().context("path")?.to_owned();
    let output = (scene.gateway).try_run(&["enroll", "--bundle", &bundle])?;
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    ensure!(
        !output.status.success() && said.contains("not-endorsed"),
        "{said}"
    );
    ensure!(said.contains("further EK L-1: no EK certificate"), "{said}");
    ensure!(scene.deployment.gateways()?.is_empty());

    let scene = bare(any)?;
    let bundle = scene.deployment.bundle()?;
    let connection = dial(&bundle).await?;
    let insists = (scene.gateway.enrolment(KeyChoice::default())?).showing(&[EkTemplate::L1])?;
    let request = insists.challenge_request(bundle.join_token.expose());
    let status = request_challenge(&connection, request)
        .await
        .expect_err("challenged");
    Refusal::NOT_ENDORSED.expect(&status)?;
    let enrolled = scene.enrol().await?;
    let id = enrolled.gateway_id.to_string();
    ensure!(templates(&scene.deployment.gateway(&id)?) == ["L-2"]);
    Ok(())
}

/// With "any" the owner's word on a second EK does not keep the first one out.
#[tokio::test]
async fn adv_a18_any_goes_on_without_a_second_ek_that_is_denied() -> Result<()> {
    let mut scene = Scene::with(|_| {}, any)?;
    let second = scene.gateway.tpm().endorsement_key(EkChoice::Rsa2048)?;
    let leaf = second.certificate_chain.first().context("certificate")?;
    let document = serde_json::json!({
        "format": "holdfast-endorsements-1",
        "denied_issuers": [{
            "certificate_sha256": HashAlg::Sha256.digest(&[leaf]).to_string(),
            "reason": "a bad key",
        }],
    });
    let path = scene.deployment.scratch().join("denied.json");
    std::fs::write(&path, document.to_string())?;
    let path = path.to_str().context("path")?;
    scene.deployment.run(&["endorsement", "import", path])?;
    let bundle = scene.deployment.create_token(&TokenOptions::default())?;
    let bundle = bundle.to_str().context("path")?;
    let log = scene.gateway.sim().boot_log();
    let log = log.to_str().context("path")?;
    let said = scene
        .gateway
        .run(&["enroll", "--bundle", bundle, "--boot-log", log])?;
    ensure!(said.contains("Going on without further EKs"), "{said}");
    ensure!(templates(&scene.deployment.gateways()?[0]) == ["L-2"]);
    Ok(())
}

/// More EKs than there are templates, two of one template: malformed.
#[tokio::test]
async fn adv_a18_too_many_eks() -> Result<()> {
    let scene = Scene::with(|_| {}, any)?;
    let bundle = scene.deployment.bundle()?;
    let second = second_ek(&scene.gateway)?;
    let good = second.challenge_request(bundle.join_token.expose());
    let again = v1::FurtherEk {
        ek_public: good.ek_public.clone(),
        ek_certificate_chain: good.ek_certificate_chain.clone(),
    };
    for count in [1, 2, 6, 100] {
        let request = v1::RequestChallengeRequest {
            further_eks: vec![again.clone(); count],
            ..good.clone()
        };
        let connection = dial(&bundle).await?;
        let status = request_challenge(&connection, request)
            .await
            .expect_err("challenged");
        Refusal::INVALID_REQUEST.expect(&status)?;
    }
    scene.assert_good_run(bundle).await
}

/// The owner begins to accept a second template: a gateway on record shows its
/// EK of that when it recovers, and it is on the record from then on.
#[tokio::test]
async fn a_gateway_on_record_adds_an_ek_when_it_recovers() -> Result<()> {
    let mut scene = Scene::with(|_| {}, one)?;
    let enrolled = scene.enrol().await?;
    let id = enrolled.gateway_id.to_string();
    ensure!(templates(&scene.deployment.gateway(&id)?) == ["L-2"]);
    scene.deployment.stop()?;
    let path = scene.deployment.dir().join("config.toml");
    std::fs::write(&path, all(std::fs::read_to_string(&path)?))?;
    scene.deployment.serve()?;
    // It goes on as it is.
    let log = scene.gateway.sim().boot_log();
    let log = log.to_str().context("path")?.to_owned();
    scene.gateway.run(&["attest", "--boot-log", &log])?;
    scene.deployment.run(&["gateway", "suspend", &id])?;
    scene.deployment.run(&["gateway", "resume", &id])?;
    scene.gateway.run(&["recover", "--boot-log", &log])?;
    ensure!(templates(&scene.deployment.gateway(&id)?) == ["L-2", "L-1"]);
    scene.gateway.run(&["attest", "--boot-log", &log])?;
    let both = second_ek(&scene.gateway)?.showing(&[EkTemplate::L2])?;
    refused(by(&scene, both).await?, Refusal::KEY_OF_ANOTHER).await
}
