//! The good road, end to end, as deployed: the three programs, a software TPM,
//! and other people's tools as judges.

use std::path::Path;

use anyhow::{Context, Result, ensure};
use holdfast_attester::enrolment::KeyChoice;
use holdfast_attester::tpm::EkChoice;
use holdfast_integration::scene::{dial, granted, ready_to_enrol, request_challenge, send_enroll};
use holdfast_integration::{Refusal, Scene, TokenOptions, oracle, skip};
use holdfast_proto::tpm::templates::{AkAlg, EkTemplate};
use prost::Message as _;

/// Every kind of EK and every kind of AK enrols, with the programs alone, and
/// OpenSSL and tpm2-tools agree with the outcome.
#[test]
fn every_ek_and_ak_enrols_and_independent_tools_agree() -> Result<()> {
    let scene = Scene::new()?;
    let pairs = [
        (EkTemplate::L1, "rsa2048", "ecdsa-p256"),
        (EkTemplate::L2, "ecc-p256", "ecdsa-p384"),
        (EkTemplate::H3, "ecc-p384", "rsassa-2048"),
        (EkTemplate::H6, "rsa3072", "rsapss-2048"),
    ];
    for (template, ek, ak) in pairs {
        let mut gateway =
            scene.another_gateway_with(ek, |options| options.ek_certificates = vec![template])?;
        let evidence = scene.deployment.scratch().join(format!("evidence-{ek}"));
        let bundle = scene.deployment.create_token(&TokenOptions::default())?;
        let log = gateway.sim().boot_log();
        gateway
            .run(&[
                "enroll",
                "--bundle",
                text(&bundle)?,
                "--ek",
                ek,
                "--ak",
                ak,
                "--boot-log",
                text(&log)?,
                "--evidence-dir",
                text(&evidence)?,
            ])
            .with_context(|| format!("{ek} with {ak}"))?;

        let ldevid = gateway.state_path().join("ldevid.pem");
        oracle::openssl_verify(&scene.deployment.dir().join("root-ca.pem"), &ldevid)?;
        match ak {
            "rsapss-2048" => oracle::openssl_checkquote_pss(&evidence),
            _ => oracle::tpm2_checkquote(&evidence),
        }
        .with_context(|| format!("{ek} with {ak}"))?;
        assert_profile(&oracle::openssl_text(&ldevid)?);
    }
    ensure!(scene.deployment.gateways()?.len() == pairs.len());
    Ok(())
}

/// The LDevID profile, as OpenSSL reads it (docs/ldevid-profile.md).
fn assert_profile(text: &str) {
    for line in [
        "serialNumber",
        "X509v3 Key Usage: critical",
        "Digital Signature",
        "TLS Web Client Authentication",
        "X509v3 Subject Alternative Name",
        "X509v3 Authority Key Identifier",
        "X509v3 Certificate Policies",
        "2.23.133.11.1.1",
        "id-ecPublicKey",
    ] {
        assert!(text.contains(line), "the LDevID lacks {line:?}:\n{text}");
    }
    assert!(!text.contains("CA:TRUE"), "{text}");
}

/// After enrolment: status by mutual TLS, a plain and a renewing attestation;
/// then the state changes, and the verdict, the record and the LDevID follow;
/// the owner looks, resumes, and the gateway recovers.
#[test]
fn a_life_attest_renew_change_suspend_resume_recover_revoke() -> Result<()> {
    let mut scene = Scene::new()?;
    let bundle = scene.deployment.create_token(&TokenOptions::default())?;
    let log = scene.gateway.sim().boot_log();
    let log = text(&log)?;
    scene
        .gateway
        .run(&["enroll", "--bundle", text(&bundle)?, "--boot-log", log])?;
    let id = only_gateway(&scene)?;
    let first = std::fs::read(scene.gateway.state_path().join("ldevid.pem"))?;

    scene.gateway.run(&["status", "--remote"])?;
    scene.gateway.run(&["attest", "--boot-log", log])?;
    ensure!(first == std::fs::read(scene.gateway.state_path().join("ldevid.pem"))?);
    scene
        .gateway
        .run(&["attest", "--renew", "--boot-log", log])?;
    let renewed = scene.gateway.state_path().join("ldevid.pem");
    ensure!(
        first != std::fs::read(&renewed)?,
        "renewing changed nothing"
    );
    oracle::openssl_verify(&scene.deployment.dir().join("root-ca.pem"), &renewed)?;

    // Something that nobody released is measured.
    scene
        .gateway
        .with_sim(|sim| sim.extend_pcr(9, b"not released"))?;
    let refused = scene.gateway.try_run(&["attest", "--boot-log", log])?;
    let printed = printed(&refused);
    ensure!(refused.status.code() == Some(1), "{printed}");
    ensure!(printed.contains("pcr-mismatch"), "{printed}");
    ensure!(state(&scene, &id)? == "suspended");
    let refused = scene.gateway.try_run(&["status", "--remote"])?;
    ensure!(
        refused.status.code() == Some(1),
        "a suspended LDevID was served"
    );

    // Suspended for bad evidence: no Recover until the owner has looked.
    scene
        .gateway
        .with_sim(holdfast_tpm_sim::SimGateway::reboot)?;
    let refused = scene.gateway.try_run(&["recover", "--boot-log", log])?;
    ensure!(
        refused.status.code() == Some(1),
        "recovered from bad evidence unasked"
    );
    scene.deployment.run(&["gateway", "resume", &id])?;
    scene.gateway.run(&["recover", "--boot-log", log])?;
    ensure!(state(&scene, &id)? == "active");
    scene.gateway.run(&["attest", "--boot-log", log])?;

    scene
        .deployment
        .run(&["gateway", "revoke", &id, "--reason", "stolen"])?;
    ensure!(state(&scene, &id)? == "revoked");
    for arguments in [&["attest"][..], &["recover"], &["status", "--remote"]] {
        let refused = scene.gateway.try_run(arguments)?;
        ensure!(
            refused.status.code() == Some(1),
            "{arguments:?} by a revoked gateway"
        );
    }
    std::fs::remove_dir_all(scene.gateway.state_path())?;
    let bundle = scene.deployment.create_token(&TokenOptions::default())?;
    let refused = scene
        .gateway
        .try_run(&["enroll", "--bundle", text(&bundle)?])?;
    ensure!(
        refused.status.code() == Some(1),
        "a revoked gateway enrolled again"
    );
    ensure!(
        scene.deployment.run(&["gateway", "resume", &id]).is_err(),
        "a revocation was lifted"
    );
    Ok(())
}

/// A copy of the state directory is worth nothing on another machine.
#[tokio::test]
async fn a_copied_state_directory_is_worthless() -> Result<()> {
    let scene = Scene::new()?;
    scene.enrol().await?;
    let mut thief = scene.another_gateway("thief")?;
    let copied = thief.state_path().to_path_buf();
    oracle::run(
        "cp",
        ["-a", text(scene.gateway.state_path())?, text(&copied)?],
    )?;
    for arguments in [
        &["attest"][..],
        &["attest", "--renew"],
        &["recover"],
        &["status", "--remote"],
    ] {
        let refused = thief.try_run(arguments)?;
        ensure!(
            refused.status.code() == Some(1),
            "{arguments:?}: {}",
            printed(&refused)
        );
    }
    let _ = only_gateway(&scene)?;
    Ok(())
}

/// A retry of the same bytes gets the same answer: on the same connection, on
/// another one, and after a crash; and other bytes do not.
#[tokio::test]
async fn the_same_bytes_get_the_same_answer() -> Result<()> {
    let mut scene = Scene::new()?;
    // Two uses: it is the challenge that is spent below, not the bundle.
    let options = TokenOptions {
        uses: 2,
        ..TokenOptions::default()
    };
    let bundle = scene.deployment.bundle_with(&options)?;
    let mut ready = ready_to_enrol(&scene.gateway, bundle, KeyChoice::default()).await?;
    let first = ready.send().await?;
    granted(Ok(first.clone()))?;
    ensure!(ready.send().await? == first);
    let other = dial(&ready.bundle).await?;
    ensure!(send_enroll(&other, ready.request.clone()).await? == first);
    scene.deployment.crash_and_restart()?;
    let other = dial(&ready.bundle).await?;
    ensure!(send_enroll(&other, ready.request.clone()).await? == first);

    // The same challenge with anything changed is spent.
    ready.connection = other;
    ready.recollect(|_| {})?;
    let status = ready.send().await.expect_err("a challenge granted twice");
    Refusal::STALE.expect(&status)?;
    let _ = only_gateway(&scene)?;
    Ok(())
}

/// `kill -9` between any two steps loses nothing that was answered, and a retry
/// succeeds.
#[tokio::test]
async fn kill_9_between_any_two_steps() -> Result<()> {
    let mut scene = Scene::new()?;

    // After `token create`: the bundle still admits.
    let bundle = scene.deployment.bundle()?;
    scene.deployment.crash_and_restart()?;

    // After the challenge: it can still be met, over another connection.
    let mut ready = ready_to_enrol(&scene.gateway, bundle, KeyChoice::default()).await?;
    scene.deployment.crash_and_restart()?;
    ensure!(
        ready.send().await.is_err(),
        "the connection outlived the verifier"
    );
    ready.connection = dial(&ready.bundle).await?;
    ready.recollect(|_| {})?;
    ensure!(scene.deployment.gateways()?.is_empty());

    let mut grant = granted(ready.send().await)?;

    // While `Enroll` is on its way, at several moments: whether or not it was
    // granted, one of the two ways to go on succeeds, and what was answered
    // stays so.
    for milliseconds in [0, 1, 2, 4, 8, 16, 32] {
        ready = scene.ready_to_enrol().await?;
        let killed = async {
            tokio::time::sleep(std::time::Duration::from_millis(milliseconds)).await;
            scene.deployment.kill_9()
        };
        let (answer, killed) = tokio::join!(ready.send(), killed);
        killed?;
        scene.deployment.serve()?;
        ready.connection = dial(&ready.bundle).await?;
        grant = match (answer, ready.send().await) {
            (Ok(answered), again) => {
                ensure!(again? == answered, "an answered grant was lost");
                granted(Ok(answered))?
            }
            (Err(_), Ok(again)) => granted(Ok(again))?,
            (Err(_), Err(status)) => {
                Refusal::NOT_AUTHENTIC.expect(&status)?;
                ready.recollect(|_| {})?;
                granted(ready.send().await)?
            }
        };
    }

    // After the answer: the record is there, the same bytes get the answer, and
    // the LDevID is good.
    scene.deployment.crash_and_restart()?;
    let id = only_gateway(&scene)?;
    ensure!(state(&scene, &id)? == "active");
    ready.connection = dial(&ready.bundle).await?;
    ensure!(granted(ready.send().await)? == grant);
    Ok(())
}

/// The attester killed and started again finds its unanswered request, and the
/// verifier its answer.
#[tokio::test]
async fn an_enrolment_goes_on_after_the_verifier_died() -> Result<()> {
    let mut scene = Scene::new()?;
    let bundle = scene.deployment.create_token(&TokenOptions::default())?;
    let log = scene.gateway.sim().boot_log();
    let arguments = [
        "enroll",
        "--bundle",
        text(&bundle)?,
        "--boot-log",
        text(&log)?,
    ];
    scene.deployment.kill_9()?;
    let refused = scene.gateway.try_run(&arguments)?;
    ensure!(refused.status.code() == Some(1), "{}", printed(&refused));
    scene.deployment.serve()?;
    scene.gateway.run(&arguments)?;
    let _ = only_gateway(&scene)?;
    Ok(())
}

/// Both EKs of one TPM work through the library road too, and give two ids:
/// the limit that SECURITY.md states.
#[tokio::test]
async fn each_ek_has_its_own_id() -> Result<()> {
    let scene = Scene::new()?;
    let mut ids = Vec::new();
    for (ek, ak) in [
        (EkChoice::Rsa2048, AkAlg::EcdsaP256),
        (EkChoice::EccP256, AkAlg::RsaPss2048),
    ] {
        let bundle = scene.deployment.bundle()?;
        let ready = ready_to_enrol(&scene.gateway, bundle, KeyChoice { ek, ak }).await?;
        let answer = ready.send().await?;
        ensure!(answer.gateway_id == ready.enrolment.gateway_id().as_bytes());
        granted(Ok(answer.clone()))?;
        ids.push(answer.gateway_id);
    }
    ensure!(ids[0] != ids[1]);
    ensure!(scene.deployment.gateways()?.len() == 2);
    Ok(())
}

/// A state that was never good is refused at enrolment, with its reason, as a
/// value: nothing is granted, and the bundle stays good.
#[tokio::test]
async fn a_bad_state_is_not_affirmed() -> Result<()> {
    let mut scene = Scene::new()?;
    scene
        .gateway
        .with_sim(|sim| sim.extend_pcr(4, b"another boot loader"))?;
    let ready = scene.ready_to_enrol().await?;
    let answer = ready.send().await?;
    let verdict = answer.verdict.context("no verdict")?;
    ensure!(!verdict.affirming && answer.grant.is_none());
    ensure!(
        verdict.reasons.iter().any(|r| r.code == "pcr-mismatch"),
        "{:?}",
        verdict.reasons
    );
    ensure!(
        verdict.reasons.iter().all(|r| !r.next_step.is_empty()),
        "{:?}",
        verdict.reasons
    );
    let bundle = ready.bundle.clone();
    drop(ready);
    scene
        .gateway
        .with_sim(holdfast_tpm_sim::SimGateway::reboot)?;
    scene.assert_good_run(bundle).await
}

/// A client by other people, made from the .proto files: step 1 succeeds, a bad
/// step 2 is refused clearly.
#[tokio::test]
async fn a_python_client_speaks_it() -> Result<()> {
    const PYTHON: &str = "/usr/bin/python3";
    let has_grpc = std::process::Command::new(PYTHON)
        .args(["-c", "import grpc, google.protobuf"])
        .output()
        .is_ok_and(|output| output.status.success());
    if !has_grpc || !oracle::present("protoc") {
        skip!(
            "needs python3-grpcio, python3-protobuf and protobuf-compiler (scripts/setup.sh --interop)"
        );
    }
    let scene = Scene::new()?;
    let bundle = scene.deployment.bundle()?;
    let enrolment = scene.gateway.enrolment(KeyChoice::default())?;
    let request = enrolment.challenge_request(bundle.join_token.expose());
    let work = scene.deployment.scratch().join("python");
    std::fs::create_dir(&work)?;
    let ask = serde_json::json!({
        "proto": concat!(env!("CARGO_MANIFEST_DIR"), "/../proto"),
        "work": work,
        "address": bundle.server,
        "server_name": bundle.server_name,
        "server_ca": scene.deployment.dir().join("server-ca.pem"),
        "challenge": {
            "ek_public": hex::encode(&request.ek_public),
            "ek_certificate_chain":
                request.ek_certificate_chain.iter().map(hex::encode).collect::<Vec<_>>(),
            "ak_public": hex::encode(&request.ak_public),
            "ldevid_public": hex::encode(&request.ldevid_public),
            "join_token": hex::encode(&request.join_token),
        },
    });
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/interop/client.py");
    let answer: serde_json::Value = serde_json::from_str(&oracle::run_with_input(
        PYTHON,
        [script],
        ask.to_string().as_bytes(),
    )?)?;

    let challenge = &answer["challenge"];
    ensure!(
        challenge["nonce"]
            .as_str()
            .is_some_and(|nonce| nonce.len() == 64),
        "{answer}"
    );
    ensure!(challenge["hash_alg"] == 0x000B, "{answer}");
    ensure!(
        challenge["pcr_indices"] == serde_json::json!([0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 14]),
        "{answer}"
    );
    let refusal = &answer["enroll"];
    ensure!(refusal["code"] == "INVALID_ARGUMENT", "{answer}");
    ensure!(
        refusal["metadata"]["holdfast-kind"] == "invalid-request",
        "{answer}"
    );
    ensure!(scene.deployment.gateways()?.is_empty());

    // And the honest run with the same bundle.
    scene.assert_good_run(bundle).await
}

/// What travels in an enrolment is under a stated bound.
#[tokio::test]
async fn an_enrolment_is_small_but_for_its_log() -> Result<()> {
    let scene = Scene::new()?;
    let ready = scene.ready_to_enrol().await?;
    let log = ready.platform.boot_log.as_ref().map_or(0, Vec::len);
    let step_1 = ready.challenge_request.encoded_len();
    let step_2 = ready.request.encoded_len() - log;
    ensure!(
        step_1 < 6 * 1024 && step_2 < 8 * 1024,
        "step 1: {step_1} B, step 2: {step_2} B and a log of {log} B"
    );
    let again = dial(&ready.bundle).await?;
    request_challenge(&again, ready.challenge_request.clone()).await?;
    Ok(())
}

fn only_gateway(scene: &Scene) -> Result<String> {
    let gateways = scene.deployment.gateways()?;
    ensure!(
        gateways.len() == 1,
        "{} gateways: {gateways:#?}",
        gateways.len()
    );
    Ok(gateways[0]["gateway_id"]
        .as_str()
        .context("gateway_id")?
        .to_owned())
}

fn state(scene: &Scene, id: &str) -> Result<String> {
    let shown = scene.deployment.gateway(id)?;
    Ok(shown["state"]
        .as_str()
        .with_context(|| format!("state in {shown}"))?
        .to_owned())
}

fn text(path: &Path) -> Result<&str> {
    path.to_str().context("a path that is not UTF-8")
}

fn printed(output: &std::process::Output) -> String {
    format!(
        "{}{}",
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    )
}

/// ARCHITECTURE §5: what a fleet repeats all day is small. A refusal, and
/// whoever asks, also get the result as a JWT.
#[tokio::test]
async fn a_reattestation_of_an_unchanged_gateway_fits_in_2560_bytes() -> Result<()> {
    let scene = Scene::new()?;
    let enrolled = scene.enrol().await?;
    let lean = scene.ready_to_attest(&enrolled, false).await?;
    let answer = lean.send().await?;
    let verdict = answer.verdict.as_ref().context("verdict")?;
    assert!(verdict.affirming && verdict.ear_jwt.is_empty() && !verdict.ear_cwt.is_empty());
    let bytes = lean.challenge.encoded_len() + lean.request.encoded_len() + answer.encoded_len();
    assert!(bytes <= 2560, "{bytes} bytes");

    let mut asking = scene.ready_to_attest(&enrolled, false).await?;
    asking.request.ear_jwt = true;
    let verdict = asking.send().await?.verdict.context("verdict")?;
    assert_eq!(verdict.ear_jwt.split('.').count(), 3);
    Ok(())
}
