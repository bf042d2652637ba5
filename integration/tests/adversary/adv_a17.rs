//! A17: time in the TPM that falls: a virtual TPM put back to a snapshot, or a
//! copy of it, with the AK that the verifier knows.

use anyhow::{Result, ensure};
use holdfast_integration::{Scene, story};
use holdfast_tpm_sim::SimGateway;

/// The scene's gateway, enrolled, and what its TPM kept then.
struct PutBack {
    scene: Scene,
    id: String,
    snapshot: std::path::PathBuf,
}

impl PutBack {
    fn new() -> Result<Self> {
        let mut scene = Scene::new()?;
        let id = story::enrol(&mut scene.gateway, &scene.deployment, "default")?;
        let snapshot = scene.deployment.scratch().join("snapshot");
        scene.gateway.with_sim(|sim| sim.snapshot_tpm(&snapshot))?;
        Ok(Self {
            scene,
            id,
            snapshot,
        })
    }

    fn reboot(&mut self) -> Result<()> {
        self.scene.gateway.with_sim(SimGateway::reboot)
    }

    fn put_back(&mut self) -> Result<()> {
        let Self {
            scene, snapshot, ..
        } = self;
        scene.gateway.with_sim(|sim| sim.put_tpm_back(snapshot))?;
        // Within one second the verifier cannot tell which exchange was first,
        // and refuses without suspending.
        std::thread::sleep(std::time::Duration::from_millis(1100));
        Ok(())
    }

    /// Refused by the name of it, suspended, and not back by `recover`.
    fn is_suspended(&mut self) -> Result<()> {
        let printed = story::refused(&mut self.scene.gateway)?;
        ensure!(printed.contains("rolled-back"), "{printed}");
        let gateway = self.scene.deployment.gateway(&self.id)?;
        ensure!(gateway["state"] == "suspended", "{gateway}");
        let reason = gateway["state_reason"].as_str().unwrap_or_default();
        ensure!(reason.starts_with("evidence: tpm-rollback"), "{reason}");
        ensure!(story::recover(&mut self.scene.gateway).is_err());
        Ok(())
    }
}

/// A hard power cut is honest: resetCount goes up, whatever the clock does.
#[test]
fn adv_a17_a_power_cut_is_no_alarm_and_a_lower_reset_count_is() -> Result<()> {
    let mut story = PutBack::new()?;
    for _ in 0..2 {
        story.reboot()?;
        std::thread::sleep(std::time::Duration::from_secs(1));
        story::attest(&mut story.scene.gateway)?;
    }
    // Started once since the snapshot, where the verifier has seen two.
    story.put_back()?;
    story.is_suspended()
}

/// As many resets as the verifier has seen, and less time.
#[test]
fn adv_a17_a_clock_that_falls_within_one_reset_is_suspended() -> Result<()> {
    let mut story = PutBack::new()?;
    story.reboot()?;
    // By so much is the snapshot behind: it must be asked within that time.
    std::thread::sleep(std::time::Duration::from_secs(25));
    story::attest(&mut story.scene.gateway)?;
    story.put_back()?;
    story.is_suspended()
}
