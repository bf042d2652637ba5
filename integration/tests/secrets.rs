//! Secrets from the verifier, end to end: put by the owner, delivered with a
//! fresh attestation to the TPMs of a class and to no other, taken back.

use std::fs;
use std::io::Write as _;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt};
use std::path::Path;
use std::process::{Command, Output, Stdio};

use anyhow::{Context, Result, ensure};
use base64::Engine as _;
use holdfast_attester::secrets::{DeliveryError, receive};
use holdfast_attester::tpm::TpmError;
use holdfast_integration::programs::program;
use holdfast_integration::scene::{ready_to_attest, ready_to_enrol};
use holdfast_integration::story::{attest, enrol, printed, recover, refused};
use holdfast_integration::{Deployment, Gateway, Scene, TokenOptions};
use holdfast_proto::grpc::v1;
use holdfast_tpm_sim::BootImage;
use serde_json::Value;

const SECRET: &[u8] = b"\x00the password of the database\xff, not even text\n";
const SECOND: &[u8] = b"the next password of that database";

/// A scene whose verifier logs all there is to log.
fn scene() -> Result<Scene> {
    Scene::with(
        |_| {},
        |text| text.replace("filter = \"info\"", "filter = \"trace\""),
    )
}

fn put_as(deployment: &Deployment, class: &str, name: &str, secret: &[u8]) -> Result<Output> {
    let mut child = Command::new(program("holdfast-verifier")?)
        .args(["secret", "put", "--json", "--class", class, name, "--dir"])
        .arg(deployment.dir())
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()?;
    // Where it refuses before it reads, nobody reads.
    let _ = child.stdin.take().context("stdin")?.write_all(secret);
    Ok(child.wait_with_output()?)
}

/// Answers the version.
fn put(deployment: &Deployment, class: &str, name: &str, secret: &[u8]) -> Result<u64> {
    let output = put_as(deployment, class, name, secret)?;
    ensure!(output.status.success(), "{}", printed(&output));
    let put: Value = serde_json::from_slice(&output.stdout)?;
    put["version"].as_u64().context("version")
}

fn gets(gateway: &mut Gateway, name: &str, secret: &[u8]) -> Result<()> {
    let output = gateway.try_run(&["secret", "get", name])?;
    ensure!(output.status.success(), "{}", printed(&output));
    ensure!(output.stdout == secret, "{}", printed(&output));
    ensure!(!holds(&output.stderr, secret), "the secret is in the log");
    Ok(())
}

fn gets_none(gateway: &mut Gateway, name: &str, why: &str) -> Result<()> {
    let output = gateway.try_run(&["secret", "get", name])?;
    ensure!(output.status.code() == Some(1), "{}", printed(&output));
    ensure!(output.stdout.is_empty());
    let said = printed(&output);
    ensure!(said.contains(why), "{why:?} is not in {said}");
    Ok(())
}

/// `attest`, which must be affirmed; what it printed.
fn attested(gateway: &mut Gateway) -> Result<String> {
    let log = gateway.sim().boot_log();
    gateway.run(&["attest", "--boot-log", log.to_str().context("path")?])
}

fn holds(bytes: &[u8], secret: &[u8]) -> bool {
    // What is cut out of the middle of the secret is the secret, too.
    let part = secret.get(4..24).unwrap_or(secret);
    let forms = [
        part.to_vec(),
        hex::encode(part).into_bytes(),
        hex::encode_upper(part).into_bytes(),
        base64::engine::general_purpose::STANDARD_NO_PAD
            .encode(part)
            .into_bytes(),
        // As Debug shows bytes.
        part.iter()
            .map(|b| b.to_string())
            .collect::<Vec<_>>()
            .join(", ")
            .into_bytes(),
    ];
    forms
        .iter()
        .any(|form| bytes.windows(form.len()).any(|window| window == form))
}

/// That no file below `dir` holds the secret.
fn nowhere_below(dir: &Path, secret: &[u8]) -> Result<()> {
    let mut folders = vec![dir.to_owned()];
    let mut files = 0;
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder)? {
            let entry = entry?;
            let kind = entry.file_type()?;
            if kind.is_dir() {
                folders.push(entry.path());
            } else if kind.is_file() {
                files += 1;
                let content = fs::read(entry.path())?;
                ensure!(!holds(&content, secret), "{}", entry.path().display());
            }
        }
    }
    ensure!(files > 3, "{} has no files to look at", dir.display());
    Ok(())
}

fn updated() -> BootImage {
    BootImage::golden().with_kernel("6.1.0-32-amd64")
}

/// A gateway of another class, whose boot is as good.
fn of_staging(scene: &Scene) -> Result<Gateway> {
    let other = scene.another_gateway("staging")?;
    let golden = other.sim().describe().reference_values;
    scene.deployment.import_references("staging", &golden)?;
    Ok(other)
}

#[test]
fn cve_c41_a_secret_goes_to_the_gateways_of_its_class_and_nowhere_else() -> Result<()> {
    let mut scene = scene()?;
    let id = enrol(&mut scene.gateway, &scene.deployment, "default")?;
    let first = put(&scene.deployment, "default", "db-password", SECRET)?;
    gets_none(
        &mut scene.gateway,
        "db-password",
        "was delivered to this gateway",
    )?;

    // kill -9 between put and delivery.
    scene.deployment.crash_and_restart()?;
    let said = attested(&mut scene.gateway)?;
    ensure!(
        said.contains(&format!("Secret db-password, version {first}, came along")),
        "{said}"
    );
    gets(&mut scene.gateway, "db-password", SECRET)?;
    // What is here is not sent again.
    let said = attested(&mut scene.gateway)?;
    ensure!(!said.contains("came along"), "{said}");

    // Another class gets nothing of it, and its own with its enrolment.
    let mut other = of_staging(&scene)?;
    put(&scene.deployment, "staging", "token", b"of staging")?;
    enrol(&mut other, &scene.deployment, "staging")?;
    gets(&mut other, "token", b"of staging")?;
    attest(&mut other)?;
    gets_none(&mut other, "db-password", "was delivered to this gateway")?;
    gets_none(&mut scene.gateway, "token", "was delivered to this gateway")?;

    // The next version takes its place.
    let second = put(&scene.deployment, "default", "db-password", SECOND)?;
    ensure!(second > first, "{second} is not after {first}");
    gets(&mut scene.gateway, "db-password", SECRET)?;
    attest(&mut scene.gateway)?;
    gets(&mut scene.gateway, "db-password", SECOND)?;

    // As a file and as a credential, as `unseal` writes them.
    let memory = tempfile::tempdir_in("/dev/shm")?;
    let file = memory.path().join("out");
    let path = file.to_str().context("path")?;
    let said = scene
        .gateway
        .run(&["secret", "get", "db-password", "--output", path])?;
    ensure!(!holds(said.as_bytes(), SECOND));
    ensure!(fs::read(&file)? == SECOND);
    ensure!(fs::metadata(&file)?.mode() & 0o7777 == 0o600);

    // Who has what is on record; the secret is not.
    let shown =
        scene
            .deployment
            .run_json(&["secret", "show", "--class", "default", "db-password"])?;
    let versions = shown["versions"].as_array().context("versions")?;
    ensure!(versions.len() == 2, "{shown}");
    ensure!(versions[0]["state"] == "current" && versions[1]["state"] == "superseded");
    ensure!(versions[0]["gateways"][0] == id.as_str(), "{shown}");
    let audit = scene.deployment.run(&["audit", "list"])?;
    for act in ["secret-put", "secret-delivered"] {
        ensure!(audit.contains(act), "{act} is not in {audit}");
    }

    // Taken back: the gateway deletes it when it is told.
    scene.deployment.run(&[
        "secret",
        "revoke",
        "--class",
        "default",
        "db-password",
        "--reason",
        "leaked",
    ])?;
    gets(&mut scene.gateway, "db-password", SECOND)?;
    let said = attested(&mut scene.gateway)?;
    ensure!(said.contains("db-password was taken back"), "{said}");
    gets_none(
        &mut scene.gateway,
        "db-password",
        "was delivered to this gateway",
    )?;
    let again =
        scene
            .deployment
            .try_run(&["secret", "revoke", "--class", "default", "db-password"])?;
    ensure!(again.status.code() == Some(1), "{}", printed(&again));
    let audit = scene.deployment.run(&["audit", "list"])?;
    ensure!(audit.contains("secret-revoked"), "{audit}");

    // In no log at trace level, no database, no state directory.
    for secret in [SECRET, SECOND] {
        ensure!(!holds(scene.deployment.log().as_bytes(), secret));
        ensure!(!holds(audit.as_bytes(), secret));
        nowhere_below(&scene.deployment.dir(), secret)?;
        nowhere_below(scene.gateway.state_path(), secret)?;
    }
    ensure!(
        scene.deployment.log().contains("TRACE"),
        "the log is not at trace level"
    );
    Ok(())
}

/// A gateway that says, again and again, that it holds nothing.
#[test]
fn adv_a21_who_says_to_have_lost_its_secrets_gets_them_again_seldom() -> Result<()> {
    let mut scene = scene()?;
    for name in ["one", "two"] {
        put(&scene.deployment, "default", name, SECRET)?;
    }
    enrol(&mut scene.gateway, &scene.deployment, "default")?;
    let file = scene.gateway.state_path().join("delivered-secrets.json");
    for _ in 0..3 {
        fs::remove_file(&file)?;
        let said = attested(&mut scene.gateway)?;
        ensure!(said.matches("came along").count() == 2, "{said}");
    }
    fs::remove_file(&file)?;
    let said = attested(&mut scene.gateway)?;
    ensure!(!said.contains("came along"), "{said}");
    ensure!(
        said.contains("Secret two is in force and is not here"),
        "{said}"
    );
    // What is new comes, and nothing else with it.
    put(&scene.deployment, "default", "three", SECOND)?;
    let said = attested(&mut scene.gateway)?;
    ensure!(said.matches("came along").count() == 1, "{said}");
    gets(&mut scene.gateway, "three", SECOND)?;

    let audit = scene.deployment.run(&["audit", "list"])?;
    let delivered = audit.matches("secret-delivered").count();
    ensure!(delivered == 5, "{delivered} deliveries in {audit}");
    ensure!(audit.contains("one 1 again, two 2 again"), "{audit}");
    let log = scene.deployment.log();
    ensure!(log.contains("says again that it lost secrets"), "{log}");
    Ok(())
}

/// A gateway that moves to another class gets no more of the old one, and does
/// not keep what it had.
#[tokio::test]
async fn a_gateway_that_changes_its_class_keeps_nothing_of_the_old_one() -> Result<()> {
    let mut scene = scene()?;
    let golden = scene.gateway.sim().describe().reference_values;
    scene.deployment.import_references("staging", &golden)?;
    put(&scene.deployment, "default", "db-password", SECRET)?;
    enrol(&mut scene.gateway, &scene.deployment, "default")?;
    gets(&mut scene.gateway, "db-password", SECRET)?;
    let bundle = scene.deployment.bundle_with(&TokenOptions {
        class: "staging".to_owned(),
        ..TokenOptions::default()
    })?;
    holdfast_integration::scene::enrol(&scene.gateway, &bundle).await?;
    gets_none(
        &mut scene.gateway,
        "db-password",
        "was delivered to this gateway",
    )?;
    put(&scene.deployment, "default", "db-password", SECOND)?;
    attest(&mut scene.gateway)?;
    gets_none(
        &mut scene.gateway,
        "db-password",
        "was delivered to this gateway",
    )?;
    let file = scene.gateway.state_path().join("delivered-secrets.json");
    let kept: Value = serde_json::from_slice(&fs::read(file)?)?;
    ensure!(kept["secrets"] == serde_json::json!({}), "{kept}");
    Ok(())
}

/// Only an affirming verdict has secrets in its answer, and that once.
#[tokio::test]
async fn adv_a16_no_secret_without_an_affirming_verdict() -> Result<()> {
    let mut scene = scene()?;
    put(&scene.deployment, "default", "db-password", SECRET)?;
    let enrolled = scene.enrol().await?;

    // Honest evidence over another connection: no answer at all.
    let mut relayed = scene.ready_to_attest(&enrolled, false).await?;
    relayed.connection = scene.ready_to_attest(&enrolled, false).await?.connection;
    ensure!(relayed.send().await.is_err(), "relayed evidence was taken");
    drop(relayed);

    let ready = scene.ready_to_attest(&enrolled, false).await?;
    let answer = ready.send().await?;
    let sent = answer
        .secrets
        .context("nothing was held, and nothing sent")?;
    ensure!(sent.secrets.len() == 1 && !holds(&sent.secrets[0].ciphertext, SECRET));
    // The same request again has the verdict, and no secrets.
    let again = ready.send().await?;
    ensure!(again.verdict == answer.verdict && again.secrets.is_none());
    drop(ready);

    scene
        .gateway
        .with_sim(|sim| sim.reboot_with(&updated().boot()))?;
    let ready = scene.ready_to_attest(&enrolled, true).await?;
    let refused = ready.send().await?;
    ensure!(refused.verdict.context("verdict")?.affirming == false);
    ensure!(refused.secrets.is_none(), "secrets for a changed boot");
    drop(ready);

    // Nor in an enrolment that is not affirmed.
    let mut other = scene.another_gateway("changed")?;
    other.with_sim(|sim| sim.reboot_with(&updated().boot()))?;
    let bundle = scene.deployment.bundle()?;
    let ready = ready_to_enrol(&other, bundle, Default::default()).await?;
    let refused = ready.send().await?;
    ensure!(refused.verdict.context("verdict")?.affirming == false);
    ensure!(refused.secrets.is_none(), "secrets for a changed boot");
    Ok(())
}

/// What was sent to one TPM, in the hands of another; what was sent before; and
/// what was altered.
#[tokio::test]
async fn cve_c11_a_delivery_is_for_one_tpm_and_is_not_taken_twice() -> Result<()> {
    let scene = scene()?;
    let enrolled = scene.enrol().await?;
    let (tpm, state) = (scene.gateway.tpm(), scene.gateway.state_dir()?);
    let mut sent = Vec::new();
    for secret in [SECRET, SECOND] {
        put(&scene.deployment, "default", "db-password", secret)?;
        let ready = ready_to_attest(&scene.gateway, &enrolled, false).await?;
        sent.push(ready.send().await?.secrets.context("no secrets")?);
    }
    let [old, new]: [v1::SecretDelivery; 2] = sent.try_into().ok().context("two deliveries")?;

    // Another gateway of the class, and its TPM.
    let other = scene.another_gateway("other")?;
    let bundle = scene.deployment.bundle_with(&TokenOptions::default())?;
    let of_other = holdfast_integration::scene::enrol(&other, &bundle).await?;
    let refusal = receive(other.tpm(), &other.state_dir()?, &of_other, new.clone())
        .await
        .err()
        .context("another TPM took it")?;
    ensure!(
        matches!(
            refusal,
            DeliveryError::Tpm(TpmError::KeyOfAnotherTpm { .. })
        ),
        "{refusal:?}"
    );

    // One secret under the name or version of another does not open.
    for change in 0..3 {
        let mut altered = new.clone();
        match change {
            0 => {
                let secret = altered.secrets[0].secret.as_mut().context("a version")?;
                secret.name = "root-password".to_owned();
                altered.current[0].name = "root-password".to_owned();
            }
            1 => {
                let secret = altered.secrets[0].secret.as_mut().context("a version")?;
                secret.version -= 1;
                altered.current[0].version -= 1;
            }
            _ => altered.secrets[0].ciphertext[0] ^= 1,
        }
        let refusal = receive(tpm, &state, &enrolled, altered).await.err();
        ensure!(
            matches!(refusal, Some(DeliveryError::Altered(_))),
            "{change}: {refusal:?}"
        );
    }

    let taken = receive(tpm, &state, &enrolled, new.clone()).await?;
    ensure!(taken.taken.len() == 1, "{taken:?}");
    let refusal = receive(tpm, &state, &enrolled, old).await.err();
    ensure!(
        matches!(refusal, Some(DeliveryError::Old { .. })),
        "{refusal:?}"
    );
    // The newest again changes nothing.
    receive(tpm, &state, &enrolled, new).await?;
    let view = holdfast_attester::state::StateView::open(state.path())?;
    let name = "db-password".parse()?;
    let opened = holdfast_attester::secrets::open(tpm, &view, &name)?;
    ensure!(opened.as_slice() == SECOND);
    Ok(())
}

/// The state directory on another gateway, whose TPM is as good.
#[test]
fn adv_a23_a_copied_state_directory_gives_no_delivered_secret() -> Result<()> {
    let mut scene = scene()?;
    put(&scene.deployment, "default", "db-password", SECRET)?;
    enrol(&mut scene.gateway, &scene.deployment, "default")?;
    gets(&mut scene.gateway, "db-password", SECRET)?;
    let mut thief = scene.another_gateway("thief")?;
    fs::create_dir_all(thief.state_path())?;
    fs::set_permissions(thief.state_path(), PermissionsExt::from_mode(0o700))?;
    let take = |thief: &Gateway| -> Result<()> {
        for entry in fs::read_dir(scene.gateway.state_path())? {
            let entry = entry?;
            fs::copy(entry.path(), thief.state_path().join(entry.file_name()))?;
        }
        Ok(())
    };
    take(&thief)?;
    nowhere_below(thief.state_path(), SECRET)?;
    gets_none(
        &mut thief,
        "db-password",
        "the storage root key at 0x81000001 is",
    )?;
    // In a state directory of its own the thief's gateway is enrolled, and the
    // secrets in it are another's.
    fs::remove_dir_all(thief.state_path())?;
    let staging = thief.sim().describe().reference_values;
    scene.deployment.import_references("staging", &staging)?;
    enrol(&mut thief, &scene.deployment, "staging")?;
    let stolen = fs::read_to_string(scene.gateway.state_path().join("delivered-secrets.json"))?;
    let own = thief.state_path().join("delivered-secrets.json");
    fs::write(&own, stolen.replace("\"default\"", "\"staging\""))?;
    fs::set_permissions(&own, PermissionsExt::from_mode(0o600))?;
    gets_none(&mut thief, "db-password", "")?;
    gets(&mut scene.gateway, "db-password", SECRET)
}

/// The owner's key: made with the first secret, rotated, and not retired while a
/// secret needs it. A backup has ciphertext alone, and what was put since is
/// put again under numbers that no gateway has seen.
#[test]
fn the_owners_key_rotates_and_a_backup_gives_nothing_away() -> Result<()> {
    let mut scene = scene()?;
    let keys = |deployment: &Deployment| -> Result<Vec<Value>> {
        let listed = deployment.run_json(&["key", "list"])?;
        let keys = listed["keys"].as_array().context("keys")?;
        Ok(keys
            .iter()
            .filter(|key| key["kind"] == "secrets")
            .cloned()
            .collect())
    };
    ensure!(keys(&scene.deployment)?.is_empty());
    put(&scene.deployment, "default", "db-password", SECRET)?;
    let first = keys(&scene.deployment)?;
    ensure!(first.len() == 1, "{first:?}");
    let first = first[0]["key_id"].as_str().context("id")?.to_owned();
    enrol(&mut scene.gateway, &scene.deployment, "default")?;

    // Rotated while nobody serves: the secret still needs the key of before.
    scene.deployment.stop()?;
    scene.deployment.run(&["key", "rotate", "secrets"])?;
    let retire = ["key", "retire", "secrets", &first, "--now"];
    let early = scene.deployment.try_run(&retire)?;
    ensure!(early.status.code() == Some(1), "{}", printed(&early));
    ensure!(
        printed(&early).contains("would be lost"),
        "{}",
        printed(&early)
    );
    scene.deployment.serve()?;
    scene.deployment.run(&retire)?;
    let left = keys(&scene.deployment)?;
    ensure!(
        left.len() == 1 && left[0]["key_id"] != first.as_str(),
        "{left:?}"
    );
    scene.deployment.crash_and_restart()?;
    let mut second = scene.another_gateway("second")?;
    let options = TokenOptions::default();
    let bundle = scene.deployment.create_token(&options)?;
    let log = second.sim().boot_log();
    let text = |path: &Path| -> Result<String> { Ok(path.to_str().context("path")?.to_owned()) };
    second.run(&[
        "enroll",
        "--bundle",
        &text(&bundle)?,
        "--boot-log",
        &text(&log)?,
    ])?;
    gets(&mut second, "db-password", SECRET)?;

    let scratch = scene.deployment.scratch().to_owned();
    let (backup, passphrase) = (scratch.join("holdfast.tar"), scratch.join("passphrase"));
    fs::write(&passphrase, "a long one, in a file\n")?;
    fs::set_permissions(&passphrase, PermissionsExt::from_mode(0o600))?;
    let (from, source) = (text(&backup)?, format!("file:{}", text(&passphrase)?));
    let made =
        scene
            .deployment
            .run_json(&["backup", "--output", &from, "--passphrase", &source])?;
    ensure!(!holds(&fs::read(&backup)?, SECRET), "the backup");
    let id = made["id"].as_str().context("id")?.to_owned();
    let since = put(&scene.deployment, "default", "db-password", SECOND)?;
    attest(&mut scene.gateway)?;
    gets(&mut scene.gateway, "db-password", SECOND)?;

    scene.deployment.kill_9()?;
    fs::rename(scene.deployment.dir(), scratch.join("lost"))?;
    scene.deployment.run(&[
        "restore",
        "--from",
        &from,
        "--passphrase",
        &source,
        "--id",
        &id,
    ])?;
    // The key for secrets is void with the others: it may have been stolen.
    for kind in ["token", "result", "issuing", "secrets", "heartbeat"] {
        scene.deployment.run(&["key", "rotate", kind])?;
    }
    scene.deployment.serve()?;
    let again = put(
        &scene.deployment,
        "default",
        "db-password",
        b"after all that",
    )?;
    ensure!(again > since, "{again} was given before");
    scene.deployment.run(&["confirm-restore", "--id", &id])?;
    recover(&mut scene.gateway)?;
    gets(&mut scene.gateway, "db-password", b"after all that")
}

#[test]
fn bad_input_is_named_and_changes_nothing() -> Result<()> {
    let mut scene = Scene::new()?;
    for (class, name, secret, code) in [
        ("default", "db-password", &b""[..], 2),
        ("default", "db-password", &[0x5A; 4097], 2),
        ("default", "../passwd", SECRET, 2),
        ("Not a class", "db-password", SECRET, 2),
    ] {
        let output = put_as(&scene.deployment, class, name, secret)?;
        ensure!(output.status.code() == Some(code), "{}", printed(&output));
        ensure!(!holds(printed(&output).as_bytes(), SECRET));
    }
    let listed = scene.deployment.run_json(&["secret", "list"])?;
    ensure!(listed["secrets"] == serde_json::json!([]), "{listed}");
    put(&scene.deployment, "default", "longest", &[0x5A; 4096])?;
    enrol(&mut scene.gateway, &scene.deployment, "default")?;
    gets(&mut scene.gateway, "longest", &[0x5A; 4096])?;
    // 64 KiB of a class, and no more.
    for number in 0..15 {
        put(
            &scene.deployment,
            "default",
            &format!("n{number}"),
            &[1; 4096],
        )?;
    }
    let full = put_as(&scene.deployment, "default", "more", &[1; 1])?;
    ensure!(full.status.code() == Some(1), "{}", printed(&full));
    ensure!(
        printed(&full).contains("secrets-full"),
        "{}",
        printed(&full)
    );
    // All of them fit one answer.
    attest(&mut scene.gateway)?;
    gets(&mut scene.gateway, "n14", &[1; 4096])?;
    refused_after_a_change(&mut scene)
}

/// A gateway that is refused keeps what it has; the owner revokes.
fn refused_after_a_change(scene: &mut Scene) -> Result<()> {
    put(&scene.deployment, "default", "longest", SECRET)?;
    scene
        .gateway
        .with_sim(|sim| sim.reboot_with(&updated().boot()))?;
    let said = refused(&mut scene.gateway)?;
    ensure!(!said.contains("came along"), "{said}");
    gets(&mut scene.gateway, "longest", &[0x5A; 4096])
}
