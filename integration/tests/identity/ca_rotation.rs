//! The verifier's keys from one generation to the next, while it serves.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, ensure};
use holdfast_attester::enrolment::KeyChoice;
use holdfast_integration::programs::program;
use holdfast_integration::scene::{granted, ready_to_enrol};
use holdfast_integration::{Deployment, Scene, TokenOptions, oracle, story};
use serde_json::Value;

/// `holdfast-verifier ARGUMENTS`, without a directory of its own.
fn verifier(arguments: &[&str]) -> Result<String> {
    let mut command = Command::new(program("holdfast-verifier")?);
    command.args(arguments);
    let output = command.output()?;
    oracle::succeed(&command, &output)
}

fn text(path: &Path) -> Result<&str> {
    path.to_str().context("a path that is text")
}

/// The chain that a gateway got, as a PEM file.
fn chain_file(scene: &Scene, name: &str, chain: &[Vec<u8>]) -> Result<PathBuf> {
    let path = scene.deployment.scratch().join(name);
    let pem = holdfast_verifier::identity::pem::encode_chain(chain);
    fs::write(&path, pem)?;
    Ok(path)
}

fn ids(deployment: &Deployment, kind: &str) -> Result<Vec<(String, String)>> {
    let listed = deployment.run_json(&["key", "list"])?;
    let keys = listed["keys"].as_array().context("keys")?.clone();
    let word = |key: &Value, name: &str| key[name].as_str().unwrap_or_default().to_owned();
    Ok(keys
        .iter()
        .filter(|key| key["kind"] == kind)
        .map(|key| (word(key, "state"), word(key, "key_id")))
        .collect())
}

#[tokio::test]
async fn the_issuing_ca_is_rotated_while_serving() -> Result<()> {
    let scene = Scene::new()?;
    let root = scene.deployment.dir().join("root-ca.pem");
    let old_ca = fs::read(scene.deployment.dir().join("issuing-ca.pem"))?;
    let before = scene.enrol().await?;
    let old_chain = chain_file(&scene, "old.pem", &before.ldevid_chain)?;
    oracle::openssl_verify(&root, &old_chain)?;

    let told = scene
        .deployment
        .run_json(&["key", "rotate", "issuing", "--overlap", "8d"])?;
    ensure!(told["server"] == "reloaded", "{told}");
    let issuing = ids(&scene.deployment, "issuing")?;
    ensure!(issuing.len() == 2 && issuing[0].0 == "current" && issuing[1].0 == "ending");

    // What was issued before is as good as ever: it renews itself over mTLS,
    // and gets its next LDevID from the new CA.
    let ready = scene.ready_to_attest(&before, true).await?;
    let answer = ready.send().await?;
    let grant = answer.grant.context("renewed")?;
    let new_chain = chain_file(&scene, "new.pem", &grant.ldevid_chain)?;
    oracle::openssl_verify(&root, &new_chain)?;
    oracle::openssl_verify(&root, &old_chain)?;
    let name = fs::read_dir(scene.deployment.dir())?
        .filter_map(|entry| entry.ok()?.file_name().into_string().ok())
        .find(|name| name.starts_with("issuing-ca-") && !name.contains("key"))
        .context("the new CA's file")?;
    let new_ca = fs::read_to_string(scene.deployment.dir().join(name))?;
    let answered = fs::read_to_string(&new_chain)?;
    ensure!(answered.ends_with(&new_ca) && !answered.as_bytes().ends_with(&old_ca));

    // And after a crash.
    let mut scene = scene;
    scene.deployment.crash_and_restart()?;
    ensure!(ids(&scene.deployment, "issuing")? == issuing);
    let log = scene.deployment.log();
    ensure!(log.contains("current") && log.contains("ending"), "{log}");
    Ok(())
}

/// Item 1: the service needs nothing of the offline directory; the issuing CA
/// is replaced in three steps that carry a request and a certificate.
#[tokio::test]
async fn the_root_is_offline_and_signs_in_three_steps() -> Result<()> {
    let safe = tempfile::tempdir()?;
    let (root, passphrase) = (safe.path().join("root"), safe.path().join("passphrase"));
    fs::write(&passphrase, "a long passphrase\n")?;
    oracle::run("chmod", ["600", text(&passphrase)?])?;
    let source = format!("file:{}", text(&passphrase)?);
    let dir = text(&root)?;
    let init = [
        "--root-ca-dir",
        dir,
        "--policy-root-dir",
        dir,
        "--server-ca-dir",
        dir,
        "--offline-passphrase",
        &source,
    ];
    let deployment = Deployment::start_as(&init, &[], |text| text)?;
    for name in ["root-ca", "policy-root", "server-ca"] {
        let key = format!("{name}.key.pem");
        ensure!(!deployment.dir().join(&key).exists(), "{key}");
        let passin = format!("file:{}", text(&passphrase)?);
        let path = root.join(&key);
        let read = ["pkey", "-in", text(&path)?, "-passin", &passin, "-noout"];
        oracle::run("openssl", read)?;
    }
    // Into the safe, which is then closed.
    let closed = safe.path().join("closed");
    fs::rename(&root, &closed)?;
    let mut deployment = deployment;
    deployment.crash_and_restart()?;
    deployment.create_token(&TokenOptions::default())?;
    let refused = deployment.try_run(&["key", "rotate", "issuing"])?;
    let said = String::from_utf8_lossy(&refused.stderr).into_owned();
    ensure!(
        refused.status.code() == Some(1) && said.contains("--root-ca-dir"),
        "{said}"
    );

    let file = |name: &str| deployment.scratch().join(name);
    let (request, certificate) = (file("next.csr"), file("next.pem"));
    deployment.run(&["ca", "request", "--output", text(&request)?])?;
    oracle::run(
        "openssl",
        ["req", "-in", text(&request)?, "-verify", "-noout"],
    )?;
    fs::rename(&closed, &root)?;
    let sign = [
        "ca",
        "sign",
        "--root-ca-dir",
        dir,
        "--root-passphrase",
        &source,
        text(&request)?,
        "--output",
        text(&certificate)?,
    ];
    verifier(&sign)?;
    fs::rename(&root, &closed)?;
    let told = deployment.run_json(&["ca", "install", text(&certificate)?])?;
    ensure!(told["server"] == "reloaded", "{told}");
    let root = deployment.dir().join("root-ca.pem");
    let verify = [
        "verify",
        "-x509_strict",
        "-CAfile",
        text(&root)?,
        text(&certificate)?,
    ];
    oracle::run("openssl", verify)?;
    let again = deployment.try_run(&["ca", "install", text(&certificate)?])?;
    ensure!(again.status.code() == Some(1));
    Ok(())
}

#[tokio::test]
async fn a_challenge_under_the_old_token_key_is_still_answered() -> Result<()> {
    let scene = Scene::new()?;
    let bundle = scene.deployment.bundle()?;
    let ready = ready_to_enrol(&scene.gateway, bundle, KeyChoice::default()).await?;
    let told = scene.deployment.run_json(&["key", "rotate", "token"])?;
    ensure!(told["server"] == "reloaded", "{told}");
    granted(ready.send().await)?;
    // Retired before its time, it opens nothing more.
    let bundle = scene.deployment.bundle()?;
    let ready = ready_to_enrol(&scene.gateway, bundle, KeyChoice::default()).await?;
    scene.deployment.run(&["key", "rotate", "token"])?;
    let ending = ids(&scene.deployment, "token")?;
    for (state, id) in ending.iter().skip(1) {
        ensure!(state == "ending");
        let early = scene.deployment.try_run(&["key", "retire", "token", id])?;
        ensure!(early.status.code() == Some(1));
        scene
            .deployment
            .run(&["key", "retire", "token", id, "--now"])?;
    }
    let status = ready
        .send()
        .await
        .err()
        .context("opened by a key that is gone")?;
    holdfast_integration::Refusal::STALE.expect(&status)
}

#[tokio::test]
async fn results_of_both_keys_verify_by_the_published_set() -> Result<()> {
    let mut scene = Scene::new()?;
    let old = fs::read_to_string(scene.deployment.dir().join("result.pub.pem"))?;
    story::enrol(&mut scene.gateway, &scene.deployment, "default")?;
    scene.deployment.run(&["key", "rotate", "result"])?;
    story::attest(&mut scene.gateway)?;
    let new = fs::read_to_string(scene.deployment.dir().join("result.pub.pem"))?;
    ensure!(old != new);
    let jwks = fs::read_to_string(scene.deployment.dir().join("result-keys.jwks.json"))?;
    let jwks: Value = serde_json::from_str(&jwks)?;
    let kids: Vec<_> = jwks["keys"].as_array().context("keys")?.iter().collect();
    ensure!(kids.len() == 2);
    for (n, pem) in [&new, &old].into_iter().enumerate() {
        let path = scene.deployment.scratch().join(format!("result{n}.pem"));
        fs::write(&path, pem)?;
        let der = scene.deployment.scratch().join("spki.der");
        let convert = [
            "pkey",
            "-pubin",
            "-in",
            text(&path)?,
            "-outform",
            "DER",
            "-out",
        ];
        oracle::run("openssl", [&convert[..], &[text(&der)?]].concat())?;
        let digest = oracle::run("openssl", ["dgst", "-sha256", "-r", text(&der)?])?;
        ensure!(
            digest.starts_with(kids[n]["kid"].as_str().context("kid")?),
            "{digest}"
        );
    }
    Ok(())
}

/// The server's certificate is another one for who dials next; who is connected
/// stays so.
#[tokio::test]
async fn the_servers_certificate_changes_under_open_connections() -> Result<()> {
    let scene = Scene::new()?;
    let bundle = scene.deployment.bundle()?;
    let ready = ready_to_enrol(&scene.gateway, bundle.clone(), KeyChoice::default()).await?;
    let before = shown(&scene.deployment)?;
    let told = scene.deployment.run_json(&["ca", "rotate", "server"])?;
    ensure!(told["server"] == "reloaded", "{told}");
    ensure!(shown(&scene.deployment)? != before);
    // Over the connection of before: its evidence is bound to its exporter.
    granted(ready.send().await)?;
    holdfast_integration::scene::dial(&bundle).await?;
    Ok(())
}

/// SHA-256 of the certificate that the server shows.
fn shown(deployment: &Deployment) -> Result<String> {
    let address = deployment.address().to_string();
    let connect = ["s_client", "-connect", &address, "-alpn", "h2"];
    let session = oracle::run_with_input("openssl", connect, b"")?;
    let begin = session
        .find("-----BEGIN CERTIFICATE-----")
        .context("no certificate")?;
    oracle::run_with_input(
        "openssl",
        ["x509", "-noout", "-fingerprint", "-sha256"],
        &session.as_bytes()[begin..],
    )
}

#[test]
fn ends_are_told_by_exit_code() -> Result<()> {
    let deployment = Deployment::start()?;
    deployment.run(&["ca", "check"])?;
    let shown = deployment.run_json(&["ca", "show"])?;
    let certificates = shown["certificates"].as_array().context("certificates")?;
    ensure!(certificates.len() == 4);
    // The server's has a year, the issuing CA's five.
    let soon = deployment.try_run(&["ca", "check", "--days", "400"])?;
    let said = String::from_utf8_lossy(&soon.stderr).into_owned();
    ensure!(
        soon.status.code() == Some(1) && said.contains("server"),
        "{said}"
    );
    ensure!(!said.contains("issuing"), "{said}");
    Ok(())
}

/// A keyring that cannot be used is refused, and the server goes on with what
/// it has.
#[test]
fn a_reload_is_all_or_nothing() -> Result<()> {
    let deployment = Deployment::start()?;
    deployment.run(&["key", "rotate", "token"])?;
    let path = deployment.dir().join("result.key.pem");
    let kept = fs::read(&path)?;
    fs::remove_file(&path)?;
    let failed = deployment.try_run(&["key", "rotate", "token"])?;
    let said = String::from_utf8_lossy(&failed.stderr).into_owned();
    ensure!(
        failed.status.code() == Some(1) && said.contains("did not take it up"),
        "{said}"
    );
    ensure!(said.contains("result.key.pem"), "{said}");
    deployment.create_token(&TokenOptions::default())?;
    fs::write(&path, kept)?;
    oracle::run("chmod", ["600", text(&path)?])?;
    let told = deployment.run_json(&["key", "rotate", "token"])?;
    ensure!(told["server"] == "reloaded", "{told}");
    Ok(())
}

/// Keys that were changed behind the server's back are taken up at SIGHUP, and
/// the server goes on serving; keys that cannot be read leave it as it was.
#[test]
fn sighup_takes_up_keys_that_were_changed_on_disk() -> Result<()> {
    let deployment = Deployment::start()?;
    let (socket, away) = (
        deployment.dir().join("admin.sock"),
        deployment.dir().join("away.sock"),
    );
    // Nobody to tell: the command changes the files alone.
    fs::rename(&socket, &away)?;
    let told = deployment.run_json(&["key", "rotate", "token"])?;
    ensure!(told["server"] == "not-running", "{told}");
    fs::rename(&away, &socket)?;
    let id = told["key_id"].as_str().context("key_id")?.to_owned();
    let on_record =
        || -> Result<bool> { Ok(deployment.run(&["audit", "list", "--json"])?.contains(&id)) };
    ensure!(!on_record()?, "taken up before SIGHUP");
    deployment.hang_up()?;
    let began = std::time::Instant::now();
    while !on_record()? {
        ensure!(began.elapsed().as_secs() < 30, "{}", deployment.log());
        std::thread::sleep(std::time::Duration::from_millis(100));
    }

    // A keyring that cannot be read: told in the log, and served as before.
    let ring = deployment.dir().join("keyring.json");
    let good = fs::read(&ring)?;
    fs::write(&ring, b"{}")?;
    deployment.hang_up()?;
    let began = std::time::Instant::now();
    while !deployment.log().contains("keys are as before") {
        ensure!(began.elapsed().as_secs() < 30, "{}", deployment.log());
        std::thread::sleep(std::time::Duration::from_millis(100));
    }
    deployment.gateways()?;
    fs::write(&ring, good)?;
    Ok(())
}
