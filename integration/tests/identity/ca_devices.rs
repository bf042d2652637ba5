//! The issuing key in a PKCS#11 token (SoftHSM2) and in the verifier's own TPM
//! (swtpm): what it signs is verified by OpenSSL, a device that is gone stops
//! issuing and nothing else, and another key in its place signs nothing (C27).

use std::fs;
use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result, ensure};
use holdfast_integration::hsm::{Hsm, MODULE, PIN, SPY, TOKEN};
use holdfast_integration::{Deployment, Gateway, Scene, TokenOptions, oracle, skip, story};

fn text(path: &Path) -> Result<&str> {
    path.to_str().context("a path that is text")
}

/// The LDevID that the gateway's program was given.
fn verify_ldevid(scene: &Scene) -> Result<()> {
    let root = scene.deployment.dir().join("root-ca.pem");
    oracle::openssl_verify(&root, &scene.gateway.state_path().join("ldevid.pem"))
}

fn refused_for_now(gateway: &mut Gateway, deployment: &Deployment) -> Result<()> {
    let bundle = deployment.create_token(&TokenOptions::default())?;
    let log = gateway.sim().boot_log();
    let arguments = [
        "enroll",
        "--bundle",
        text(&bundle)?,
        "--boot-log",
        text(&log)?,
    ];
    let output = gateway.try_run(&arguments)?;
    let said = story::printed(&output);
    ensure!(!output.status.success(), "{said}");
    ensure!(said.contains("CA cannot sign now"), "{said}");
    // Everything else goes on.
    deployment.gateways()?;
    deployment.run(&["endorsement", "list"])?;
    Ok(())
}

#[test]
fn a_key_in_a_pkcs11_token_issues_and_its_loss_stops_issuing_alone() -> Result<()> {
    if !oracle::present("softhsm2-util") {
        skip!("softhsm2-util is not installed (apt-get install softhsm2)");
    }
    let hsm = Hsm::new()?;
    let mut scene = Scene::of(hsm.deployment()?, |_| {})?;
    ensure!(!scene.deployment.dir().join("issuing-ca.key.pem").exists());
    story::enrol(&mut scene.gateway, &scene.deployment, "default")?;
    verify_ldevid(&scene)?;
    if oracle::present("pkcs11-tool") {
        let objects = hsm.objects()?;
        ensure!(objects.contains("never extractable"), "{objects}");
        ensure!(objects.contains("EC_POINT"), "{objects}");
    }

    // Started without its token, the server serves all the same.
    scene.deployment.stop()?;
    hsm.take_out()?;
    scene.deployment.serve()?;
    ensure!(scene.deployment.log().contains("no LDevID can be issued"));
    let mut second = scene.another_gateway("second")?;
    refused_for_now(&mut second, &scene.deployment)?;
    // Put back, it is found again without a restart.
    hsm.put_back()?;
    let bundle = scene.deployment.create_token(&TokenOptions::default())?;
    let log = second.sim().boot_log();
    second.run(&[
        "enroll",
        "--bundle",
        text(&bundle)?,
        "--boot-log",
        text(&log)?,
    ])?;

    // Rotation makes the next key in the token; the old one signs on.
    let told = scene.deployment.run_json(&["key", "rotate", "issuing"])?;
    ensure!(told["server"] == "reloaded", "{told}");
    ensure!(
        told["key"].as_str().context("key")?.starts_with("PKCS#11"),
        "{told}"
    );
    let log = scene.gateway.sim().boot_log();
    scene
        .gateway
        .run(&["attest", "--renew", "--boot-log", text(&log)?])?;
    verify_ldevid(&scene)
}

#[test]
fn a_wrong_pin_is_told_and_tried_once() -> Result<()> {
    if !oracle::present("softhsm2-util") {
        skip!("softhsm2-util is not installed (apt-get install softhsm2)");
    }
    let hsm = Hsm::new()?;
    let folder = tempfile::tempdir()?;
    let dir = folder.path().join("verifier");
    let mut command = Command::new(holdfast_integration::programs::program(
        "holdfast-verifier",
    )?);
    command
        .args([
            "init",
            "--dir",
            text(&dir)?,
            "--ca-backend",
            "pkcs11",
            "--pkcs11-module",
            MODULE,
        ])
        .args(["--pkcs11-token", TOKEN, "--pkcs11-pin", "env:HSM_PIN"])
        .env("SOFTHSM2_CONF", &hsm.configuration)
        .env("HSM_PIN", "000000");
    let output = command.output()?;
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    ensure!(
        output.status.code() == Some(1) && said.contains("does not take the PIN"),
        "{said}"
    );
    ensure!(!said.contains("000000"), "{said}");
    // Nothing half made.
    ensure!(!dir.exists() && fs::read_dir(folder.path())?.next().is_none());
    Ok(())
}

/// Three keys in one token, and a PIN that is not its: the token is asked once,
/// or three keys would lock a token that takes three attempts. Put right, it is
/// tried again. OpenSC's spy counts.
#[test]
fn a_wrong_pin_is_tried_once_for_all_keys_of_a_token() -> Result<()> {
    if !oracle::present("softhsm2-util") || !Path::new(SPY).exists() {
        skip!("softhsm2-util or pkcs11-spy.so is missing (apt-get install softhsm2 opensc)");
    }
    let hsm = Hsm::new()?;
    let mut deployment = hsm.deployment_with(SPY, |text| {
        let (before, revocation) = text.split_once("[revocation]").unwrap_or((&text, ""));
        let revocation = revocation.replacen("listen = \"\"", "listen = \"127.0.0.1:0\"", 1);
        format!("{before}[revocation]{revocation}")
    })?;
    for _ in 0..2 {
        deployment.run(&["key", "rotate", "issuing"])?;
    }
    deployment.stop()?;
    fs::remove_file(hsm.spy_log())?;
    deployment.set_environment("HSM_PIN", "000000");
    deployment.serve()?;
    // Each of the three CAs is to sign a CRL, and cannot.
    until(&deployment, "CRLs are not up to date")?;
    std::thread::sleep(std::time::Duration::from_secs(3));
    let logins = |log: &str| log.matches("C_Login").count();
    let log = fs::read_to_string(hsm.spy_log())?;
    ensure!(logins(&log) == 1, "{} attempts", logins(&log));
    deployment.stop()?;
    deployment.set_environment("HSM_PIN", PIN);
    deployment.serve()?;
    until(&deployment, "CRL made")?;
    Ok(())
}

/// Waits until the log has this line.
fn until(deployment: &Deployment, line: &str) -> Result<()> {
    let deadline = std::time::Instant::now() + std::time::Duration::from_secs(60);
    while !deployment.log().contains(line) {
        ensure!(
            std::time::Instant::now() < deadline,
            "no {line:?} in: {}",
            deployment.log()
        );
        std::thread::sleep(std::time::Duration::from_millis(50));
    }
    Ok(())
}

/// A TPM for the verifier, and how its configuration names it.
fn own_tpm(scene_dir: &Path) -> Result<(Gateway, String, String)> {
    let tpm = Gateway::boot(scene_dir, |_| {})?;
    let tcti = tpm.sim().tcti();
    let port = tcti.rsplit("port=").next().context("a port")?;
    let device = format!("swtpm:127.0.0.1:{port}");
    Ok((tpm, device, tcti))
}

const HANDLE: &str = "0x81010020";

#[test]
fn adv_c27_a_key_in_the_verifiers_tpm_issues_and_a_substitute_does_not() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let (mut tpm, device, tcti) = own_tpm(&folder.path().join("verifier-tpm"))?;
    let init = [
        "--ca-backend",
        "tpm",
        "--ca-tpm",
        device.as_str(),
        "--ca-tpm-handle",
        HANDLE,
        "--ca-tpm-key-auth",
        "env:CA_KEY_AUTH",
    ];
    let environment = [("CA_KEY_AUTH", "thirty-two octets at the most")];
    let deployment = tpm.with_sim(|_| Deployment::start_as(&init, &environment, |text| text))?;
    let mut scene = Scene::of(deployment, |_| {})?;
    tpm.with_sim(|_| -> Result<()> {
        story::enrol(&mut scene.gateway, &scene.deployment, "default")?;
        verify_ldevid(&scene)?;
        if !oracle::present("tpm2_readpublic") {
            return Ok(());
        }
        // tpm2-tools read the same key, with the same attributes.
        let tool = |program: &str, arguments: &[&str]| -> Result<String> {
            let mut command = Command::new(program);
            command.args(arguments).env("TPM2TOOLS_TCTI", &tcti);
            let output = command.output()?;
            oracle::succeed(&command, &output)
        };
        let read = tool("tpm2_readpublic", &["-c", HANDLE])?;
        for wanted in [
            "fixedtpm|fixedparent|sensitivedataorigin|userwithauth|noda|sign",
            "ecdsa",
        ] {
            ensure!(read.contains(wanted), "{read}");
        }

        // Another key of the same kind in its place.
        tool("tpm2_evictcontrol", &["-C", "o", "-c", HANDLE])?;
        let context = folder.path().join("other.ctx");
        let attributes = "fixedtpm|fixedparent|sensitivedataorigin|userwithauth|noda|sign";
        let make = [
            "-C",
            "o",
            "-G",
            "ecc256:ecdsa-sha256",
            "-a",
            attributes,
            "-c",
        ];
        tool(
            "tpm2_createprimary",
            &[&make[..], &[text(&context)?]].concat(),
        )?;
        tool(
            "tpm2_evictcontrol",
            &["-C", "o", "-c", text(&context)?, HANDLE],
        )?;
        tool("tpm2_flushcontext", &["-t"])?;
        let mut second = scene.another_gateway("second")?;
        refused_for_now(&mut second, &scene.deployment)?;
        ensure!(
            scene
                .deployment
                .log()
                .contains("another key is in its place")
        );
        scene.deployment.stop()?;
        ensure!(
            scene.deployment.serve().is_err(),
            "started with another key"
        );
        let log = scene.deployment.log();
        ensure!(
            log.matches("another key is in its place").count() >= 2,
            "{log}"
        );
        Ok(())
    })
}

/// A TPM that is not there: told at the start, and everything but issuing goes
/// on.
#[test]
fn a_tpm_that_is_gone_stops_issuing_alone() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let (mut tpm, device, _) = own_tpm(&folder.path().join("verifier-tpm"))?;
    let init = ["--ca-backend", "tpm", "--ca-tpm", device.as_str()];
    let deployment = tpm.with_sim(|_| Deployment::start_as(&init, &[], |text| text))?;
    drop(tpm);
    let mut scene = Scene::of(deployment, |_| {})?;
    refused_for_now(&mut scene.gateway, &scene.deployment)?;
    scene.deployment.crash_and_restart()?;
    ensure!(scene.deployment.log().contains("no LDevID can be issued"));
    refused_for_now(&mut scene.gateway, &scene.deployment)
}
