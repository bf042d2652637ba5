//! What a caller learns of the owner's lists by naming what is on them. Step 1
//! takes public keys and certificates, which anybody may have copied.

use anyhow::{Context, Result};
use holdfast_attester::enrolment::Enrolment;
use holdfast_integration::gateway::Gateway;
use holdfast_integration::refusal::kind_of;
use holdfast_integration::scene::{dial, request_challenge};
use holdfast_integration::{Deployment, Refusal, Scene};
use holdfast_tpm_sim::OemOptions;
use tonic::{Code, Status};

use super::devid::{oem_gateway, ready_by_serial, scene, serial, trust_oem};

const AWAITING: Refusal = Refusal::new(Code::FailedPrecondition, "awaiting-approval");

fn manual(configuration: String) -> String {
    configuration.replacen("manual = false", "manual = true", 1)
}

fn allow(deployment: &Deployment, oem: &str, serial: &str) -> Result<()> {
    deployment.run(&["oem", "allow", "--oem", oem, serial])?;
    Ok(())
}

/// The refusal of step 1 or 2.
async fn refused(gateway: &Gateway, deployment: &Deployment) -> Result<Status> {
    match ready_by_serial(gateway, deployment).await {
        Ok(ready) => ready.send().await.err().context("granted"),
        Err(error) => Ok(error.downcast::<Status>()?),
    }
}

/// A device of an OEM that nobody trusts.
fn foreign(scene: &Scene) -> Result<Gateway> {
    scene.another_gateway_with("foreign", |options| {
        let ca = Some(options.dir.join("another-oem"));
        let oem = OemOptions {
            ca,
            ..OemOptions::new()
        };
        oem_gateway(options, oem);
    })
}

#[tokio::test(flavor = "multi_thread")]
async fn adv_a18_naming_a_listed_serial_number_tells_nothing() -> Result<()> {
    for (manual_queue, told) in [(false, "not-admitted"), (true, "not-endorsed")] {
        let with = |c| if manual_queue { manual(c) } else { c };
        let scene = Scene::with(|o| oem_gateway(o, OemOptions::new()), with)?;
        trust_oem(&scene.deployment, &scene.gateway)?;
        let stranger = foreign(&scene)?;
        let unlisted = refused(&stranger, &scene.deployment).await?;
        allow(&scene.deployment, "acme", &serial(&stranger)?)?;
        let listed = scene
            .because("IAK certificate: ", async {
                refused(&stranger, &scene.deployment).await
            })
            .await?;
        assert_eq!(kind_of(&unlisted), Some(told));
        assert_eq!(kind_of(&listed), kind_of(&unlisted));
        assert_eq!(listed.message(), unlisted.message());
        assert_eq!(listed.code(), unlisted.code());
    }
    Ok(())
}

/// Two OEMs may number their products alike: the one's entry is no ground for
/// the other's product, and takes no other ground away.
#[tokio::test(flavor = "multi_thread")]
async fn another_oems_serial_number_changes_nothing() -> Result<()> {
    let scene = Scene::with(|o| oem_gateway(o, OemOptions::new()), manual)?;
    trust_oem(&scene.deployment, &scene.gateway)?;
    let described = foreign(&scene)?.sim().describe();
    let root = described.oem.context("an OEM")?.root;
    let root = root.display().to_string();
    scene
        .deployment
        .run(&["endorsement", "import", "--oem", "other", &root])?;
    let own = serial(&scene.gateway)?;
    allow(&scene.deployment, "other", &own)?;
    AWAITING.expect(&refused(&scene.gateway, &scene.deployment).await?)?;
    allow(&scene.deployment, "acme", &own)?;
    let good = ready_by_serial(&scene.gateway, &scene.deployment).await?;
    good.send().await?;
    Ok(())
}

/// Whether a gateway is suspended is its own business: step 1 by a stranger who
/// has its certificates, but no ground, does not tell.
#[tokio::test(flavor = "multi_thread")]
async fn adv_a18_whether_a_gateway_is_blocked_is_told_to_its_tpm() -> Result<()> {
    let scene = scene(OemOptions::new())?;
    allow(&scene.deployment, "acme", &serial(&scene.gateway)?)?;
    let good = ready_by_serial(&scene.gateway, &scene.deployment).await?;
    good.send().await?;
    let id = good.enrolment.gateway_id().to_string();
    scene.deployment.run(&["gateway", "suspend", &id])?;
    Refusal::BLOCKED.expect(&refused(&scene.gateway, &scene.deployment).await?)?;

    let own = serial(&scene.gateway)?;
    scene
        .deployment
        .run(&["oem", "remove", "--oem", "acme", &own])?;
    let bundle = scene.deployment.bundle()?;
    let copied = Enrolment::by_iak(scene.gateway.tpm(), Default::default(), None)?;
    let connection = dial(&bundle).await?;
    let answer = request_challenge(&connection, copied.challenge_request(&[])).await;
    Refusal::NOT_ADMITTED.expect(&answer.err().context("challenged")?)
}
