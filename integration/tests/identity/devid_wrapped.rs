//! What is wrapped for the EK of a gateway that came by its IAK, on a live swtpm:
//! keys for beats and secrets of the verifier, and what it seals itself. The IAK
//! certified that EK, and the OEM the IAK.

use std::fs;
use std::io::Write as _;
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail, ensure};
use holdfast_attester::heartbeat::{Beating, Begun, Heart};
use holdfast_attester::tpm::Ak;
use holdfast_integration::programs::program;
use holdfast_integration::story::{attest, enrol, printed};
use holdfast_integration::{Deployment, Gateway, Scene, TokenOptions};
use holdfast_tpm_sim::OemOptions;

use super::devid::scene;
use super::revocation::sql;

const SECRET: &[u8] = b"for the TPM of this product only";

/// A scene whose gateway enrolled by its IAK, and the gateway's id.
fn enrolled() -> Result<(Scene, String)> {
    let mut scene = scene(OemOptions::new())?;
    let id = enrol(&mut scene.gateway, &scene.deployment, "default")?;
    let keys = scene.gateway.state_dir()?.require_enrolled()?.keys;
    ensure!(matches!(keys.ak, Ak::Iak { .. }), "not by the IAK");
    Ok((scene, id))
}

fn heart(gateway: &Gateway) -> Result<Heart> {
    Ok(Heart::new(&gateway.state_dir()?.require_enrolled()?))
}

fn enrol_anew(gateway: &mut Gateway, deployment: &Deployment) -> Result<()> {
    let bundle = deployment.create_token(&TokenOptions::default())?;
    let bundle = bundle.to_str().context("path")?;
    let log = gateway.sim().boot_log();
    let log = log.to_str().context("path")?;
    let enroll = ["enroll", "--replace", "--bundle", bundle, "--boot-log", log];
    gateway.run(&enroll).map(drop)
}

async fn beating(gateway: &Gateway) -> Result<Box<Beating>> {
    match heart(gateway)?.begin(gateway.tpm()).await? {
        Begun::Beating(beating) => Ok(beating),
        Begun::Ended(ended) => bail!("no stream began: {ended:?}"),
    }
}

/// A program of ours on the gateway, with `input` on its stdin; what it wrote.
fn pipe(gateway: &mut Gateway, arguments: &[&str], input: &[u8]) -> Result<Vec<u8>> {
    let state = gateway.state_path().to_owned();
    gateway.with_sim(|sim| -> Result<Vec<u8>> {
        let mut child = Command::new(program("holdfast-attester")?)
            .args(["--tcti", &sim.tcti(), "--state-dir"])
            .arg(&state)
            .args(arguments)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()?;
        child.stdin.take().context("stdin")?.write_all(input)?;
        let output = child.wait_with_output()?;
        ensure!(output.status.success(), "{}", printed(&output));
        Ok(output.stdout)
    })
}

fn as_of_before_the_ek_was_certified(scene: &mut Scene) -> Result<()> {
    scene.deployment.stop()?;
    let store = scene.deployment.dir().join("holdfast.db");
    sql(&store, "UPDATE gateways SET ek_certified = 0;")?;
    scene.deployment.serve()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_gateway_of_the_iak_road_beats() -> Result<()> {
    let (mut scene, id) = enrolled()?;
    let mut stream = beating(&scene.gateway).await?;
    for _ in 0..3 {
        ensure!(stream.beat(scene.gateway.tpm()).await?.is_none());
    }
    drop(stream);
    scene
        .gateway
        .with_sim(|sim| sim.extend_pcr(4, b"another boot manager"))?;
    let told = beating(&scene.gateway)
        .await?
        .beat(scene.gateway.tpm())
        .await?;
    ensure!(format!("{told:?}").contains("pcr-drift"), "{told:?}");
    let awaited = scene.deployment.gateway(&id)?["awaited"].clone();
    ensure!(awaited["deadline_within_seconds"].is_u64(), "{awaited:#}");
    Ok(())
}

/// A record of before says nothing of the EK but that somebody answered for it.
#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_wrapped_for_an_ek_that_the_iak_did_not_certify() -> Result<()> {
    let (mut scene, id) = enrolled()?;
    as_of_before_the_ek_was_certified(&mut scene)?;
    put(&scene)?;
    attest(&mut scene.gateway)?;
    let held = pipe(&mut scene.gateway, &["secret", "list"], b"")?;
    ensure!(!String::from_utf8_lossy(&held).contains("password"));
    let refused = heart(&scene.gateway)?.begin(scene.gateway.tpm()).await;
    let refused = format!("{:?}", refused.map(drop));
    ensure!(refused.contains("no-heartbeats"), "{refused}");
    // None are awaited where it asks for a key and gets none.
    let shown = scene.deployment.gateway(&id)?;
    ensure!(
        shown["awaited"]["beat_within_seconds"].is_null(),
        "{shown:#}"
    );

    enrol_anew(&mut scene.gateway, &scene.deployment)?;
    let mut stream = beating(&scene.gateway).await?;
    ensure!(stream.beat(scene.gateway.tpm()).await?.is_none());
    attest(&mut scene.gateway)?;
    ensure!(get(&mut scene.gateway)? == SECRET);
    Ok(())
}

fn put(scene: &Scene) -> Result<()> {
    let mut child = Command::new(program("holdfast-verifier")?)
        .args(["secret", "put", "--class", "default", "password", "--dir"])
        .arg(scene.deployment.dir())
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()?;
    child.stdin.take().context("stdin")?.write_all(SECRET)?;
    let output = child.wait_with_output()?;
    ensure!(output.status.success(), "{}", printed(&output));
    Ok(())
}

fn get(gateway: &mut Gateway) -> Result<Vec<u8>> {
    pipe(gateway, &["secret", "get", "password"], b"")
}

#[test]
fn a_gateway_of_the_iak_road_gets_secrets() -> Result<()> {
    let (mut scene, _) = enrolled()?;
    put(&scene)?;
    attest(&mut scene.gateway)?;
    ensure!(get(&mut scene.gateway)? == SECRET);
    Ok(())
}

/// Sealing pins the EK that enrolled, which does not make this gateway's id.
#[test]
fn a_gateway_of_the_iak_road_seals() -> Result<()> {
    let (mut scene, _) = enrolled()?;
    let gateway = &mut scene.gateway;
    let (seal, unseal) = (
        ["seal", "disk-key", "--policy", "current"],
        ["unseal", "disk-key"],
    );
    pipe(gateway, &seal, SECRET)?;
    ensure!(pipe(gateway, &unseal, b"")? == SECRET);

    // Another EK, be it of the same TPM, is not the one that enrolled.
    let file = gateway.state_path().join("state.json");
    let whole = fs::read_to_string(&file)?;
    let mut state: serde_json::Value = serde_json::from_str(&whole)?;
    let ueid = state["keys"]["ek_ueid"].as_str().context("ek_ueid")?;
    let other = format!("01{}", "ab".repeat(32));
    fs::write(&file, whole.replace(ueid, &other))?;
    let refused = pipe(gateway, &unseal, b"").err().context("another EK")?;
    ensure!(refused.to_string().contains(&other), "{refused}");

    // A state of before that was kept; nothing that is sealed is lost.
    let keys = state["keys"].as_object_mut().context("keys")?;
    keys.remove("ek_ueid");
    fs::write(&file, serde_json::to_string(&state)?)?;
    let refused = pipe(gateway, &unseal, b"").err().context("no EK")?;
    ensure!(
        refused.to_string().contains("enroll --replace"),
        "{refused}"
    );
    enrol_anew(gateway, &scene.deployment)?;
    ensure!(pipe(gateway, &unseal, b"")? == SECRET);
    Ok(())
}
