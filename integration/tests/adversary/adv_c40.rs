//! C40 (GHSA-6w5f-5wgr-qjg5): a boot loader that was told to give a shell. The
//! command line can be appraised, and a text that is not what was measured is
//! refused as such.

use anyhow::{Context, Result, ensure};
use holdfast_attester::enrolment::KeyChoice;
use holdfast_integration::forged_log::scene;
use holdfast_integration::scene::{granted, ready_to_enrol};
use holdfast_integration::{Gateway, Scene};
use holdfast_proto::grpc::v1;
use holdfast_tpm_sim::{BootImage, BootLog};

const GOOD: &str = "root=/dev/mapper/gateway-root ro quiet";

/// A machine that booted with `line` and sends the log that `forge` makes of
/// its own.
async fn verdict_on(
    scene: &Scene,
    name: &str,
    line: &str,
    forge: impl FnOnce(BootLog) -> BootLog,
) -> Result<v1::Verdict> {
    let image = BootImage::golden().with_command_line(line);
    let log = forge(image.boot()).encode();
    let gateway: Gateway = scene.another_gateway_with(name, |options| options.image = image)?;
    let bundle = scene.deployment.bundle()?;
    let mut ready = ready_to_enrol(&gateway, bundle, KeyChoice::default()).await?;
    ready.platform.boot_log = Some(log);
    ready.recollect(|_| ())?;
    let answer = ready.send().await?;
    answer.verdict.context("no verdict")
}

fn codes(verdict: &v1::Verdict) -> Vec<&str> {
    verdict
        .reasons
        .iter()
        .map(|reason| reason.code.as_str())
        .collect()
}

#[tokio::test]
async fn adv_c40_a_command_line_that_gives_a_shell() -> Result<()> {
    let scene = scene()?;
    for (name, word) in [
        ("init", "init=/bin/sh"),
        ("break", "rd.break"),
        ("unit", "systemd.unit=emergency.target"),
        ("quoted", "\"rdinit=/bin/sh\""),
    ] {
        let verdict = verdict_on(&scene, name, &format!("{GOOD} {word}"), |log| log).await?;
        ensure!(!verdict.affirming, "{word}: affirmed");
        let codes = codes(&verdict);
        ensure!(
            !codes.is_empty() && codes.iter().all(|code| *code == "command-line-dangerous"),
            "{word}: {:#?}",
            verdict.reasons
        );
    }
    // The same boot, with the log of a good one in place of the truth in every
    // event that would tell: digests stay, so that PCRs are explained.
    let good = BootImage::golden().with_command_line(GOOD).boot();
    let verdict = verdict_on(
        &scene,
        "lies",
        &format!("{GOOD} init=/bin/sh"),
        |mut log| {
            for (told, true_one) in good.events.iter().zip(&mut log.events) {
                true_one.data.clone_from(&told.data);
            }
            log
        },
    )
    .await?;
    ensure!(!verdict.affirming, "a hidden text was believed");
    ensure!(
        codes(&verdict).contains(&"command-line-hidden"),
        "{:#?}",
        verdict.reasons
    );
    // And without a word of it.
    let verdict = verdict_on(
        &scene,
        "mute",
        &format!("{GOOD} init=/bin/sh"),
        |mut log| {
            log.events.retain(|event| event.pcr != 8);
            log
        },
    )
    .await?;
    ensure!(!verdict.affirming, "a text that is not there was believed");
    ensure!(
        codes(&verdict).contains(&"boot-log-mismatch"),
        "{:#?}",
        verdict.reasons
    );

    let other = verdict_on(&scene, "other", &format!("{GOOD} console=ttyS0"), |log| log).await?;
    ensure!(other.affirming, "an honest line: {:#?}", other.reasons);
    let ready = scene.ready_to_enrol().await?;
    granted(ready.send().await)?;
    Ok(())
}
