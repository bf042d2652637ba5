//! Boot logs that are not those of the boot: what a gateway with a taken-over
//! operating system would send.

use anyhow::{Context as _, Result, ensure};
use holdfast_tpm_sim::{BootImage, BootLog};

use crate::scene::ready_to_enrol;
use crate::{ReadyEnrolment, Scene};
use holdfast_attester::enrolment::KeyChoice;
use holdfast_proto::grpc::v1;

/// The policy that goes by the log, as Holdfast ships it.
pub const SECURE_BOOT: &str = include_str!("../../verifier/policies/secure-boot.rego");

/// The usual scene under [`SECURE_BOOT`], without reference values for what the
/// gateway quotes: it goes by its log alone.
///
/// # Errors
/// As [`Scene::new`].
pub fn scene() -> Result<Scene> {
    let scene = Scene::new()?;
    let references = scene.deployment.scratch().join("none.json");
    let unused = format!(
        r#"{{"pcrs":{{"sha256":{{"23":["{}"]}}}}}}"#,
        "00".repeat(32)
    );
    std::fs::write(&references, unused)?;
    scene.deployment.import_references("default", &references)?;
    scene.deployment.apply_policy(SECURE_BOOT)?;
    Ok(scene)
}

/// The log of the golden image with one change.
#[must_use]
pub fn forged(change: impl FnOnce(&mut BootLog)) -> Vec<u8> {
    let mut log = BootImage::golden().boot();
    change(&mut log);
    log.encode()
}

/// A good enrolment of the scene's gateway, but with this log; bound by claims
/// and quote like the true one.
///
/// # Errors
/// Where step 1 fails, or the TPM.
pub async fn ready_with(scene: &Scene, log: Vec<u8>) -> Result<ReadyEnrolment> {
    let bundle = scene.deployment.bundle()?;
    let mut ready = ready_to_enrol(&scene.gateway, bundle, KeyChoice::default()).await?;
    ready.platform.boot_log = Some(log);
    ready.recollect(|_| ())?;
    Ok(ready)
}

/// The verdict on the scene's gateway with this log.
///
/// # Errors
/// Where there is none.
pub async fn verdict(scene: &Scene, log: Vec<u8>) -> Result<v1::Verdict> {
    let answer = ready_with(scene, log).await?.send().await?;
    let verdict = answer.verdict.context("no verdict")?;
    ensure!(
        verdict.affirming == answer.grant.is_some(),
        "granted without being affirmed, or the other way round"
    );
    Ok(verdict)
}

/// That this log is not believed: nothing is granted and nothing recorded, and
/// a reason with `code` names `detail`.
///
/// # Errors
/// Says what came instead.
pub async fn assert_not_believed(
    scene: &Scene,
    what: &str,
    log: Vec<u8>,
    code: &str,
    detail: &str,
) -> Result<()> {
    let verdict = verdict(scene, log).await.with_context(|| what.to_owned())?;
    ensure!(!verdict.affirming, "{what}: affirmed");
    ensure!(
        verdict
            .reasons
            .iter()
            .any(|reason| reason.code == code && reason.detail.contains(detail)),
        "{what}: expected {code} ({detail}), got {:#?}",
        verdict.reasons
    );
    ensure!(
        scene.deployment.gateways()?.is_empty(),
        "{what}: a gateway is on record"
    );
    Ok(())
}
