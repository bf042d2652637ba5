//! Bundles that `holdfast-attester enroll` is given.

use anyhow::{Result, ensure};
use holdfast_integration::{Deployment, Scene, TokenOptions};

use crate::judge::{BAD_INPUT, REFUSED, chmod, judge, printed, stored, text};

/// Bundles that are none, are damaged, or are of another verifier.
#[test]
fn attester_bad_bundles() -> Result<()> {
    let mut scene = Scene::new()?;
    let good = scene.deployment.create_token(&TokenOptions::default())?;
    let line = std::fs::read_to_string(&good)?.trim().to_owned();
    let path = scene.deployment.scratch().join("bad.bundle");
    let before = stored(&scene.deployment)?;
    let cut = &line[..line.len() - 5];
    let later = line.replacen("bundle-1", "bundle-2", 1);
    let twice = format!("{line}\n{line}");
    let long = format!("{line}{}", "A".repeat(100_000));
    for content in [
        &b""[..],
        b"\n",
        b"garbage",
        b"holdfast-bundle-1.",
        b"holdfast-bundle-1.!!!!",
        b"\xFF\xFE",
        b"\x1b[2J",
        cut.as_bytes(),
        later.as_bytes(),
        twice.as_bytes(),
        long.as_bytes(),
        format!("{line}=").as_bytes(),
        line.to_lowercase().as_bytes(),
    ] {
        std::fs::write(&path, content)?;
        chmod(&path, 0o600)?;
        let output = scene
            .gateway
            .try_run(&["enroll", "--bundle", text(&path)?])?;
        let name = String::from_utf8_lossy(&content[..content.len().min(30)]).into_owned();
        judge(
            &name,
            &output,
            BAD_INPUT,
            &["bad.bundle", "next step: ", "token create"],
        )?;
        ensure!(
            !printed(&output).contains(&line[30..70]),
            "the bundle was shown"
        );
        ensure!(!printed(&output).contains('\u{1b}'), "a live escape");
    }
    for path in ["/", "/nonexistent/bundle", "/dev/zero", "/dev/null"] {
        let output = scene.gateway.try_run(&["enroll", "--bundle", path])?;
        judge(path, &output, BAD_INPUT, &[path, "next step: "])?;
    }

    // Of another verifier: at this one's address, and its token is unknown.
    let other = Deployment::start()?;
    let mut foreign = other.bundle()?;
    foreign.server = scene.deployment.address().to_string();
    std::fs::write(&path, foreign.encode()?.as_bytes())?;
    let output = scene
        .gateway
        .try_run(&["enroll", "--bundle", text(&path)?])?;
    judge(
        "pin",
        &output,
        REFUSED,
        &["is not the pinned verifier", "next step: "],
    )?;
    let mut foreign = scene.deployment.bundle()?;
    foreign.join_token = other.bundle()?.join_token;
    std::fs::write(&path, foreign.encode()?.as_bytes())?;
    let output = scene
        .gateway
        .try_run(&["enroll", "--bundle", text(&path)?])?;
    judge("token", &output, REFUSED, &["not-admitted", "next step: "])?;
    // Nobody there.
    foreign.server = "127.0.0.1:1".into();
    std::fs::write(&path, foreign.encode()?.as_bytes())?;
    let output = scene
        .gateway
        .try_run(&["enroll", "--bundle", text(&path)?])?;
    judge(
        "unreachable",
        &output,
        REFUSED,
        &["127.0.0.1:1", "next step: "],
    )?;

    ensure!(scene.deployment.gateways()?.is_empty());
    ensure!(stored(&scene.deployment)?.gateways == before.gateways);
    scene
        .gateway
        .run(&["enroll", "--bundle", text(&good)?])
        .map(drop)
}
