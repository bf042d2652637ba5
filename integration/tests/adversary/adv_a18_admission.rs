//! A18, C03, C05, C30, C31: who is admitted, and by whom. Without a ground
//! there is no grant, whatever was proven.

use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use holdfast_attester::enrolment::KeyChoice;
use holdfast_integration::refusal::Record;
use holdfast_integration::scene::{
    dial, enrol, granted, ready_to_attest, ready_to_enrol, request_challenge,
};
use holdfast_integration::{Refusal, Scene};
use holdfast_proto::bundle::Bundle;
use tonic::Code;

const AWAITING: Refusal = Refusal::new(Code::FailedPrecondition, "awaiting-approval");

/// Gateways without a token may wait for approval.
fn manual(configuration: String) -> String {
    configuration.replacen("manual = false", "manual = true", 1)
}

fn bundle_without_token(scene: &Scene) -> Result<Bundle> {
    let server = scene.deployment.address().to_string();
    let text = scene
        .deployment
        .run(&["admission", "bundle", "--server", &server])?;
    Ok(Bundle::parse(text.trim())?)
}

/// The whole exchange with nothing but proof: `Enroll`'s answer.
async fn without_a_token(scene: &Scene) -> Result<tonic::Status> {
    let bundle = bundle_without_token(scene)?;
    let ready = ready_to_enrol(&scene.gateway, bundle, KeyChoice::default()).await?;
    match ready.send().await {
        Err(status) => Ok(status),
        Ok(answer) => bail!("granted without a ground: {answer:?}"),
    }
}

#[tokio::test]
async fn cve_c30_default_deny_without_a_token() -> Result<()> {
    let scene = Scene::new()?;
    let bundle = bundle_without_token(&scene)?;
    let enrolment = scene.gateway.enrolment(KeyChoice::default())?;
    let request = enrolment.challenge_request(&[]);
    let connection = dial(&bundle).await?;
    let Err(status) = request_challenge(&connection, request).await else {
        bail!("challenged");
    };
    Refusal::NOT_ADMITTED.expect(&status)?;
    ensure!(
        scene.deployment.run_json(&["admission", "pending"])?["pending"] == serde_json::json!([])
    );
    Ok(())
}

/// Proven in full, asked again and again: it waits, and that is all. Approved,
/// it is granted; the same for one that is denied.
#[tokio::test]
async fn cve_c30_who_waits_for_approval_is_granted_nothing() -> Result<()> {
    let scene = Scene::with(|_| {}, manual)?;
    for _ in 0..2 {
        AWAITING.expect(&without_a_token(&scene).await?)?;
    }
    ensure!(scene.deployment.gateways()?.is_empty(), "a record was made");
    let waiting = scene.deployment.run_json(&["admission", "pending"])?;
    let waiting = waiting["pending"].as_array().context("pending")?;
    ensure!(waiting.len() == 1, "{waiting:?}");
    let id = waiting[0]["gateway_id"].as_str().context("id")?;
    ensure!(waiting[0]["address"] == "127.0.0.1", "{waiting:?}");

    scene
        .deployment
        .run(&["admission", "deny", id, "--reason", "who is this?"])?;
    // Told to its TPM alone: not in step 1, which anybody can ask for any EK.
    Refusal::NOT_ADMITTED.expect(&without_a_token(&scene).await?)?;
    scene.deployment.run(&["admission", "forget", id])?;
    AWAITING.expect(&without_a_token(&scene).await?)?;

    scene.deployment.run(&["admission", "approve", id])?;
    let bundle = bundle_without_token(&scene)?;
    let ready = ready_to_enrol(&scene.gateway, bundle, KeyChoice::default()).await?;
    granted(ready.send().await)?;
    let gateways = scene.deployment.gateways()?;
    ensure!(gateways[0]["gateway_id"] == id, "{gateways:?}");
    Ok(())
}

/// A TPM that is not proven does not even wait.
#[tokio::test]
async fn cve_c05_the_challenge_cannot_be_gone_round() -> Result<()> {
    let scene = Scene::with(|_| {}, manual)?;
    let bundle = bundle_without_token(&scene)?;
    let ready = || ready_to_enrol(&scene.gateway, bundle.clone(), KeyChoice::default());
    let other = ready().await?;
    let cases: [(&str, Refusal); 5] = [
        ("no token", Refusal::STALE),
        ("no secret", Refusal::NOT_AUTHENTIC),
        ("a secret of zeros", Refusal::NOT_AUTHENTIC),
        ("another's secret", Refusal::NOT_AUTHENTIC),
        ("no certification", Refusal::INVALID_REQUEST),
    ];
    for (what, refusal) in cases {
        let mut attack = ready().await?;
        let request = &mut attack.request;
        match what {
            "no token" => request.token.clear(),
            "no secret" => request.activated_secret.clear(),
            "a secret of zeros" => request.activated_secret = vec![0; 32],
            "another's secret" => {
                request
                    .activated_secret
                    .clone_from(&other.request.activated_secret);
            }
            _ => request.ldevid_certification = None,
        }
        let Err(status) = attack.send().await else {
            bail!("{what}: answered");
        };
        // Sizes are looked at before anything is opened.
        refusal
            .expect(&status)
            .or_else(|e| Refusal::INVALID_REQUEST.expect(&status).map_err(|_| e))
            .context(what)?;
    }
    let waiting = scene.deployment.run_json(&["admission", "pending"])?;
    ensure!(waiting["pending"] == serde_json::json!([]), "{waiting}");
    AWAITING.expect(&without_a_token(&scene).await?)
}

/// The owner names the EK; takes it back between the two calls.
#[tokio::test]
async fn cve_c31_a_named_device_is_granted_while_it_is_named() -> Result<()> {
    let scene = Scene::new()?;
    let id = scene
        .gateway
        .enrolment(KeyChoice::default())?
        .gateway_id()
        .to_string();
    let ek = id.get(2..).context("id")?;
    scene
        .deployment
        .run(&["admission", "allow", "--ek-sha256", ek])?;
    let bundle = bundle_without_token(&scene)?;
    let attack = ready_to_enrol(&scene.gateway, bundle.clone(), KeyChoice::default()).await?;
    scene
        .deployment
        .run(&["admission", "remove", "--ek-sha256", ek])?;
    let before = Record::of(&scene.deployment)?;
    let Err(status) = attack.send().await else {
        bail!("granted after the admission was taken back");
    };
    Refusal::NOT_ADMITTED.expect(&status)?;
    before.unchanged(&scene.deployment)?;

    scene
        .deployment
        .run(&["admission", "allow", "--ek-sha256", ek])?;
    let ready = ready_to_enrol(&scene.gateway, bundle.clone(), KeyChoice::default()).await?;
    granted(ready.send().await)?;
    // And again, as often as it comes; but not once it is revoked.
    let ready = ready_to_enrol(&scene.gateway, bundle.clone(), KeyChoice::default()).await?;
    granted(ready.send().await)?;
    scene.deployment.run(&["gateway", "revoke", &id])?;
    let enrolment = scene.gateway.enrolment(KeyChoice::default())?;
    let connection = dial(&bundle).await?;
    let Err(status) = request_challenge(&connection, enrolment.challenge_request(&[])).await else {
        bail!("challenged, revoked as it is");
    };
    Refusal::BLOCKED.expect(&status)
}

/// CVE-2025-13609: another TPM registers under the id of one on record. The id
/// is the EK's; with a token of its own it says that it is the other.
#[tokio::test]
async fn cve_c03_another_tpm_does_not_take_over_an_identity() -> Result<()> {
    let scene = Scene::new()?;
    let victim = scene.ready_to_enrol().await?;
    granted(victim.send().await)?;
    let before = Record::of(&scene.deployment)?;

    let other = scene.another_gateway("other")?;
    let mut attack =
        ready_to_enrol(&other, scene.deployment.bundle()?, KeyChoice::default()).await?;
    // Step 1 with the victim's EK and certificates, and keys of its own ...
    let mut ask = attack.challenge_request.clone();
    ask.ek_public
        .clone_from(&victim.challenge_request.ek_public);
    ask.ek_certificate_chain
        .clone_from(&victim.challenge_request.ek_certificate_chain);
    let challenge = request_challenge(&attack.connection, ask.clone()).await?;
    // ... whose secret its TPM cannot open.
    attack.request.token = challenge.token;
    attack.request.ek_public = ask.ek_public;
    attack.request.ek_certificate_chain = ask.ek_certificate_chain;
    let Err(status) = attack.send().await else {
        bail!("another TPM took the identity over");
    };
    Refusal::NOT_AUTHENTIC.expect(&status)?;
    before.unchanged(&scene.deployment)
}

/// RMA: an explicit act. The broken one is out for ever, the other comes in
/// without a token, in the same class.
#[tokio::test]
async fn adv_a18_replacing_a_broken_gateway_is_an_act_of_the_owner() -> Result<()> {
    let scene = Scene::new()?;
    let enrolled = scene.enrol().await?;
    let old = enrolled.gateway_id.to_string();
    let other = scene.another_gateway("other")?;
    let new = other
        .enrolment(KeyChoice::default())?
        .gateway_id()
        .to_string();
    let reason = ["--reason", "power supply"];
    let replace = |by: &str| {
        let words = ["gateway", "replace", &old, "--by", by];
        scene
            .deployment
            .try_run(&[words.as_slice(), &reason].concat())
    };
    ensure!(!replace(&old)?.status.success(), "by itself");
    ensure!(scene.deployment.gateway(&old)?["state"] == "active");

    ensure!(replace(new.get(2..).context("ek")?)?.status.success());
    ensure!(scene.deployment.gateway(&old)?["state"] == "revoked");
    ensure!(
        ready_to_attest(&scene.gateway, &enrolled, false)
            .await
            .is_err(),
        "the broken one is out"
    );
    let bundle = bundle_without_token(&scene)?;
    let ready = ready_to_enrol(&other, bundle, KeyChoice::default()).await?;
    granted(ready.send().await)?;
    let shown = scene.deployment.gateway(&new)?;
    ensure!(
        shown["replacements"][0]["old_gateway_id"] == old.as_str(),
        "{shown}"
    );
    ensure!(!replace(&new)?.status.success(), "twice");
    Ok(())
}

/// The programs: `enroll --wait` asks until a person approves.
#[tokio::test(flavor = "multi_thread")]
async fn the_attester_waits_politely() -> Result<()> {
    let mut scene = Scene::with(|_| {}, manual)?;
    let server = scene.deployment.address().to_string();
    let file = scene.deployment.scratch().join("pinned.bundle");
    let path = file.to_str().context("path")?.to_owned();
    scene.deployment.run(&[
        "admission",
        "bundle",
        "--server",
        &server,
        "--output",
        &path,
    ])?;
    let told = scene.gateway.try_run(&["enroll", "--bundle", &path])?;
    let said = String::from_utf8_lossy(&told.stderr).into_owned();
    ensure!(
        told.status.code() == Some(1) && said.contains("awaiting-approval"),
        "{said}"
    );
    ensure!(said.contains("enroll --wait"), "{said}");

    let Scene {
        gateway,
        deployment,
    } = &mut scene;
    let waiting = std::thread::scope(|scope| -> Result<std::process::Output> {
        let run = scope
            .spawn(|| gateway.try_run(&["enroll", "--bundle", &path, "--wait", "--poll", "5"]));
        std::thread::sleep(Duration::from_secs(6));
        let listed = deployment.run_json(&["admission", "pending"])?;
        let id = listed["pending"][0]["gateway_id"]
            .as_str()
            .context("id")?
            .to_owned();
        deployment.run(&["admission", "approve", &id])?;
        run.join()
            .map_err(|_| anyhow::anyhow!("the attester's thread"))?
    })?;
    let said = String::from_utf8_lossy(&waiting.stderr);
    ensure!(waiting.status.success(), "{said}");
    Ok(())
}

/// As the program does it, by name alone.
#[tokio::test]
async fn a_named_device_enrols_by_the_library() -> Result<()> {
    let scene = Scene::new()?;
    let id = scene
        .gateway
        .enrolment(KeyChoice::default())?
        .gateway_id()
        .to_string();
    let ek = id.get(2..).context("id")?;
    scene
        .deployment
        .run(&["admission", "allow", "--ek-sha256", ek, "--note", "shelf 7"])?;
    let enrolled = enrol(&scene.gateway, &bundle_without_token(&scene)?).await?;
    ensure!(enrolled.gateway_id.to_string() == id);
    Ok(())
}
