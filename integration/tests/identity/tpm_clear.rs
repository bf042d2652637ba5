//! TPM2_Clear on the IAK road: the IAK stays and the TPM's clock begins anew,
//! which looks like an older copy of the TPM's state. An act of the owner's tells
//! them apart.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use holdfast_integration::scene::granted;
use holdfast_integration::{Refusal, Scene, oracle, skip};
use holdfast_tpm_sim::OemOptions;
use tonic::Code;

use super::devid::{ready, scene};

const FELL: Refusal = Refusal::new(Code::PermissionDenied, "rolled-back");

/// In another second than what was granted: within one, an exchange may merely
/// have been overtaken.
async fn clear(scene: &mut Scene) -> Result<()> {
    tokio::time::sleep(Duration::from_millis(1100)).await;
    scene.gateway.with_sim(|sim| {
        oracle::run("tpm2_clear", ["-T", &sim.tcti(), "-c", "p"])?;
        anyhow::Ok(())
    })
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cleared_tpm_enrols_again_once_the_owner_lets_it() -> Result<()> {
    if !oracle::present("tpm2_clear") {
        skip!("tpm2-tools are not installed");
    }
    let mut scene = scene(OemOptions::new())?;
    // So that the reset counter has somewhere to fall from.
    scene.gateway.with_sim(|sim| sim.reboot())?;
    let first = ready(&scene.gateway, &scene.deployment).await?;
    granted(first.send().await)?;
    let id = first.enrolment.gateway_id().to_string();
    drop(first);

    clear(&mut scene).await?;
    let again = ready(&scene.gateway, &scene.deployment).await?;
    ensure!(
        again.enrolment.gateway_id().to_string() == id,
        "another IAK"
    );
    let refused = scene
        .because("gateway reset-clock", async {
            again.send().await.err().context("granted")
        })
        .await?;
    FELL.expect(&refused)?;
    drop(again);
    // Lifting the suspension alone leads round and round.
    scene.deployment.run(&["gateway", "resume", &id])?;
    let again = ready(&scene.gateway, &scene.deployment).await?;
    FELL.expect(&again.send().await.err().context("granted")?)?;
    drop(again);

    // Not without a reason.
    let unreasoned = ["gateway", "reset-clock", &id, "--reason", ""];
    ensure!(scene.deployment.run(&unreasoned).is_err());
    scene
        .deployment
        .run(&["gateway", "reset-clock", &id, "--reason", "cleared by us"])?;
    let audit = scene
        .deployment
        .run_json(&["audit", "list", "--limit", "1"])?;
    let audit = audit.to_string();
    ensure!(
        audit.contains("clock-reset") && audit.contains("cleared by us") && audit.contains(&id),
        "{audit}"
    );

    // The act lifts no suspension.
    let blocked = ready(&scene.gateway, &scene.deployment).await;
    let status = blocked.err().context("challenged")?.downcast()?;
    Refusal::BLOCKED.expect(&status)?;
    scene.deployment.run(&["gateway", "resume", &id])?;
    scene.gateway.with_sim(|sim| sim.reboot())?;
    let again = ready(&scene.gateway, &scene.deployment).await?;
    granted(again.send().await)?;
    drop(again);
    // It was for once.
    clear(&mut scene).await?;
    let again = ready(&scene.gateway, &scene.deployment).await?;
    FELL.expect(&again.send().await.err().context("granted")?)
}
