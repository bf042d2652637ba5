//! C17 (CVE-2022-0317): what the quote does not cover is not believed, however
//! well the log tells it. And a log by its hash is judged like a whole one.

use std::process::Command;

use anyhow::{Context, Result, ensure};
use holdfast_attester::attestation::exchange::{Outcome, Step};
use holdfast_integration::Scene;
use holdfast_integration::forged_log::{SECURE_BOOT, assert_not_believed, forged, scene, verdict};
use holdfast_integration::ima::attest_as_deployed;

/// The log is the true one, and PCR 7 is not quoted: Secure Boot is not proven.
#[tokio::test]
async fn adv_c17_a_pcr_that_is_not_quoted_is_not_explained() -> Result<()> {
    let scene = Scene::with(
        |_| {},
        |configuration| {
            let (default, wanted) = ("[0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 14]", "[0, 1, 2, 4, 8]");
            assert!(configuration.contains(default), "{configuration}");
            configuration.replace(default, wanted)
        },
    )?;
    scene.deployment.apply_policy(SECURE_BOOT)?;
    let log = forged(|_| ());
    let code = "secure-boot-off";
    assert_not_believed(
        &scene,
        "the true log",
        log.clone(),
        code,
        "PCR 7 does not prove it",
    )
    .await?;
    assert_not_believed(
        &scene,
        "the true log",
        log,
        "secure-boot-unproven",
        "of PCR 7",
    )
    .await?;
    // The same quote and log under the default policy: by reference values.
    scene
        .deployment
        .apply_policy(include_str!("../../../verifier/policies/default.rego"))?;
    let good = verdict(&scene, forged(|_| ())).await?;
    ensure!(good.affirming, "{:#?}", good.reasons);
    Ok(())
}

/// A re-attestation names the log by its hash: the verifier judges by what it
/// kept, also after a restart; where it lost the log, the attester is asked for
/// it, sends it whole, and the record is mended.
#[tokio::test]
async fn a_log_by_its_hash_is_judged_by_what_it_says() -> Result<()> {
    let mut scene = scene()?;
    scene.enrol().await?;
    ensure!(attests(&scene).await? == 0, "by its hash");
    scene.deployment.kill_9()?;
    scene.deployment.serve()?;
    ensure!(attests(&scene).await? == 0, "by its hash, from the store");

    scene.deployment.kill_9()?;
    let database = scene.deployment.dir().join("holdfast.db");
    let damage = "UPDATE boot_logs SET content = x'00'";
    let done = Command::new("sqlite3")
        .arg(&database)
        .arg(damage)
        .output()?;
    ensure!(done.status.success(), "{done:?}");
    scene.deployment.serve()?;
    ensure!(attests(&scene).await? == 1, "asked for once more, whole");
    scene.deployment.kill_9()?;
    scene.deployment.serve()?;
    ensure!(attests(&scene).await? == 0, "mended");
    Ok(())
}

/// Attests as the program does: it must be affirmed; how often it was begun
/// anew.
async fn attests(scene: &Scene) -> Result<usize> {
    let mut anew = 0;
    let mut watch = |step: Step<'_>| {
        if matches!(step, Step::Retrying(error) if error.kind() == Some("boot-log-unknown")) {
            anew += 1;
        }
    };
    let outcome = attest_as_deployed(scene, &mut watch)
        .await
        .context("attest")?;
    let Outcome::Affirmed(verdict, _) = outcome else {
        anyhow::bail!("refused: {outcome:?}");
    };
    ensure!(verdict.reasons.is_empty(), "{:#?}", verdict.reasons);
    Ok(anew)
}
