//! A20: silence. A gateway that stops attesting is suspended within the stated
//! bound, also over restarts of the verifier; it comes back by Recover. Who was
//! revoked, or suspended for what it showed, does not.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use holdfast_integration::scene::{dial, request_challenge};
use holdfast_integration::{Deployment, Refusal, Scene, story};
use holdfast_proto::grpc::v1::enrollment_client::EnrollmentClient;

/// Interval and grace of these tests, in seconds, and what a loaded machine may
/// add.
const WITHIN: u64 = 12;
const GRACE: u64 = 8;
const SLACK: u64 = 5;

fn silent_soon(configuration: String) -> String {
    let changed = configuration
        .replace(
            "\nattest_within_seconds = 0\n",
            &format!("\nattest_within_seconds = {WITHIN}\n"),
        )
        .replace(
            "\ngrace_seconds = 60\n",
            &format!("\ngrace_seconds = {GRACE}\n"),
        );
    assert_ne!(changed, configuration, "config.toml has changed");
    changed
}

fn state(deployment: &Deployment, id: &str) -> Result<(String, String)> {
    let gateway = deployment.gateway(id)?;
    let text = |field: &str| gateway[field].as_str().unwrap_or_default().to_owned();
    Ok((text("state"), text("state_reason")))
}

/// Waits until the gateway is suspended, at most `seconds`. Answers how long it
/// took, and why it is suspended.
fn until_suspended(deployment: &Deployment, id: &str, seconds: u64) -> Result<(Duration, String)> {
    let began = Instant::now();
    loop {
        let (state, reason) = state(deployment, id)?;
        if state == "suspended" {
            return Ok((began.elapsed(), reason));
        }
        ensure!(
            began.elapsed() < Duration::from_secs(seconds),
            "{state} after {seconds} s\n{}",
            deployment.log()
        );
        std::thread::sleep(Duration::from_millis(200));
    }
}

/// Suspended after the interval and before the end of the grace; refused
/// everywhere; back by Recover, and then for another interval.
#[test]
fn adv_a20_a_silent_gateway_is_suspended_in_time_and_recovers() -> Result<()> {
    let mut scene = Scene::with(|_| {}, silent_soon)?;
    let id = story::enrol(&mut scene.gateway, &scene.deployment, "default")?;
    std::thread::sleep(Duration::from_secs(WITHIN / 2));
    story::attest(&mut scene.gateway)?;
    let attested = Instant::now();

    let (_, reason) = until_suspended(&scene.deployment, &id, WITHIN + GRACE + SLACK)?;
    let silence = attested.elapsed();
    ensure!(
        silence > Duration::from_secs(WITHIN - 1),
        "too soon: {silence:?}"
    );
    ensure!(
        reason == format!("silence: no affirming attestation within {WITHIN} s"),
        "{reason}"
    );
    story::refused(&mut scene.gateway)?;
    let audit = scene.deployment.run(&["audit", "list"])?;
    ensure!(
        audit.contains("silence: no affirming attestation"),
        "{audit}"
    );

    story::recover(&mut scene.gateway)?;
    ensure!(state(&scene.deployment, &id)?.0 == "active");
    story::attest(&mut scene.gateway)
}

/// The verifier is killed for longer than the interval: that time does not
/// count, a start gives a grace, and what was missed is noticed all the same.
#[test]
fn adv_a20_silence_is_noticed_across_a_restart_and_an_outage_is_none() -> Result<()> {
    let mut scene = Scene::with(|_| {}, silent_soon)?;
    let id = story::enrol(&mut scene.gateway, &scene.deployment, "default")?;
    let enrolled = Instant::now();
    scene.deployment.kill_9()?;
    std::thread::sleep(Duration::from_secs(WITHIN + GRACE));
    scene.deployment.serve()?;
    let started = Instant::now();

    // Back in time: it is as if nothing had been.
    story::attest(&mut scene.gateway)?;
    ensure!(state(&scene.deployment, &id)?.0 == "active");
    // Once more, and now it stays away.
    std::thread::sleep(Duration::from_secs(WITHIN / 3));
    scene.deployment.crash_and_restart()?;
    let (_, reason) = until_suspended(&scene.deployment, &id, WITHIN + GRACE + SLACK)?;
    ensure!(
        started.elapsed() > Duration::from_secs(WITHIN - 1),
        "too soon: {:?} after {:?}",
        started.elapsed(),
        enrolled.elapsed()
    );
    ensure!(reason.contains("no affirming attestation"), "{reason}");
    story::refused(&mut scene.gateway)?;
    story::recover(&mut scene.gateway)
}

/// A verifier that is killed again and again before its usual look: what it lived
/// counts all the same.
#[test]
fn adv_a20_restarts_closer_than_a_look_hide_nobody() -> Result<()> {
    let mut scene = Scene::with(
        |_| {},
        |text| {
            silent_soon(text).replace(
                &format!("\nattest_within_seconds = {WITHIN}\n"),
                "\nattest_within_seconds = 4\n",
            )
        },
    )?;
    let id = story::enrol(&mut scene.gateway, &scene.deployment, "default")?;
    let began = Instant::now();
    let mut lives = 0;
    loop {
        scene.deployment.crash_and_restart()?;
        lives += 1;
        let (state, reason) = state(&scene.deployment, &id)?;
        if state == "suspended" {
            ensure!(reason.contains("no affirming attestation"), "{reason}");
            break;
        }
        ensure!(
            began.elapsed() < Duration::from_secs(90),
            "{state} after {lives} lives\n{}",
            scene.deployment.log()
        );
        // A grace of 8 s is looked at each 2 s.
        std::thread::sleep(Duration::from_millis(800));
    }
    println!("suspended after {lives} lives, {:?}", began.elapsed());
    ensure!(began.elapsed() > Duration::from_secs(4));
    Ok(())
}

/// Recover heals silence and nothing else.
#[tokio::test]
async fn adv_a20_a_revoked_or_suspicious_gateway_does_not_recover() -> Result<()> {
    let mut scene = Scene::with(|_| {}, silent_soon)?;
    let id = story::enrol(&mut scene.gateway, &scene.deployment, "default")?;
    let bundle = scene.deployment.bundle()?;

    // Evidence speaks against it; then it falls silent, which changes nothing.
    scene
        .gateway
        .with_sim(|sim| sim.extend_pcr(4, b"another boot manager"))?;
    story::refused(&mut scene.gateway)?;
    std::thread::sleep(Duration::from_secs(WITHIN + GRACE));
    let (_, reason) = state(&scene.deployment, &id)?;
    ensure!(!reason.contains("no affirming attestation"), "{reason}");
    for graver in ["suspended", "revoked"] {
        if graver == "revoked" {
            scene
                .deployment
                .run(&["gateway", "revoke", &id, "--reason", "stolen"])?;
        }
        let request = scene
            .gateway
            .enrolment(holdfast_attester::enrolment::KeyChoice::default())?
            .challenge_request(&[]);
        let connection = dial(&bundle).await?;
        let status = EnrollmentClient::new(connection.channel.clone())
            .request_recovery_challenge(request)
            .await
            .err()
            .with_context(|| format!("a {graver} gateway may recover"))?;
        Refusal::BLOCKED.expect(&status)?;
        ensure!(story::recover(&mut scene.gateway).is_err());
        ensure!(state(&scene.deployment, &id)?.0 == graver);
    }
    // Nor does a token help.
    let request = scene
        .gateway
        .enrolment(holdfast_attester::enrolment::KeyChoice::default())?
        .challenge_request(bundle.join_token.expose());
    let status = request_challenge(&dial(&bundle).await?, request)
        .await
        .err()
        .context("a revoked gateway was challenged")?;
    Refusal::BLOCKED.expect(&status)
}
