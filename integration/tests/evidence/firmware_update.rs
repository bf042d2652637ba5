//! Updates, end to end: one that nobody announced is refused with what changed
//! in words, and approved; one that was announced is never refused.

use std::path::Path;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use anyhow::{Context, Result, ensure};
use holdfast_integration::programs::program;
use holdfast_integration::story::{attest, enrol, recover, refused};
use holdfast_integration::{Scene, oracle};
use holdfast_tpm_sim::BootImage;

/// What the update brings: firmware, kernel, dbx.
fn updated() -> BootImage {
    let mut image = BootImage::golden()
        .with_kernel("6.1.0-32-amd64")
        .with_grown_dbx();
    image.firmware = "Holdfast Simulated UEFI 2.8".to_owned();
    image
}

const FIRMWARE: &str = "firmware version changed from Holdfast Simulated UEFI 2.7 to Holdfast \
                        Simulated UEFI 2.8 [proven";
const KERNEL: &str = "kernel changed from 6.1.0-31-amd64 to 6.1.0-32-amd64 [claimed";
const DBX: &str = "dbx grew by 1 entry (3 → 4) [proven";

/// An update that nobody announced.
#[test]
fn an_update_is_refused_in_words_and_approved() -> Result<()> {
    let mut scene = Scene::new()?;
    let id = enrol(&mut scene.gateway, &scene.deployment, "default")?;
    let owner = |scene: &Scene, arguments: &[&str]| scene.deployment.run(arguments);
    attest(&mut scene.gateway)?;
    let shown = owner(&scene, &["reference", "diff", &id])?;
    ensure!(shown.contains("every quoted PCR has a value"), "{shown}");
    let nothing = scene
        .deployment
        .try_run(&["gateway", "approve", &id, "--yes"])?;
    ensure!(nothing.status.code() == Some(1), "approved without a drift");

    scene
        .gateway
        .with_sim(|sim| sim.reboot_with(&updated().boot()))?;
    let told = refused(&mut scene.gateway)?;
    ensure!(
        told.contains("pcr-mismatch") && told.contains("PCR 4"),
        "{told}"
    );
    ensure!(
        !told.contains("6.1.0-32") && !told.contains("dbx"),
        "the peer was told more than PCRs: {told}"
    );

    // The owner is told in words: by `show`, in the log, and by `diff`.
    let show = owner(&scene, &["gateway", "show", &id])?;
    let diff = owner(&scene, &["reference", "diff", &id])?;
    let log = scene.deployment.log();
    for words in [FIRMWARE, KERNEL, DBX] {
        ensure!(show.contains(words), "{words:?} is not in {show}");
        ensure!(diff.contains(words), "{words:?} is not in {diff}");
        ensure!(log.contains(words), "{words:?} is not in the log");
    }
    ensure!(diff.contains("last affirmed with"), "{diff}");
    ensure!(!diff.contains("does not say why"), "{diff}");
    let json = scene.deployment.run_json(&["reference", "diff", &id])?;
    let firmware = json["changes"]
        .as_array()
        .context("changes")?
        .iter()
        .find(|change| {
            change["text"]
                .as_str()
                .is_some_and(|text| text.starts_with("firmware version"))
        })
        .context("no firmware version")?;
    ensure!(firmware["pcrs"] == serde_json::json!([0]), "{firmware}");
    ensure!(firmware["known_by"] == "proven", "{firmware}");

    // Not without a look or a word, and not by another key.
    let silent = scene.deployment.try_run(&["gateway", "approve", &id])?;
    ensure!(silent.status.code() == Some(2), "approved unasked");
    let other = scene.deployment.scratch().join("other.pem");
    oracle::run(
        "openssl",
        [
            "genpkey",
            "-algorithm",
            "EC",
            "-pkeyopt",
            "ec_paramgen_curve:P-256",
            "-out",
            text(&other)?,
        ],
    )?;
    let own = std::os::unix::fs::PermissionsExt::from_mode(0o600);
    std::fs::set_permissions(&other, own)?;
    let forged = [
        "gateway",
        "approve",
        &id,
        "--yes",
        "--owner-key",
        text(&other)?,
    ];
    let forged = scene.deployment.try_run(&forged)?;
    ensure!(forged.status.code() == Some(1), "approved by another key");
    ensure!(state(&scene, &id)? == "suspended");

    let approved = owner(
        &scene,
        &[
            "gateway",
            "approve",
            &id,
            "--yes",
            "--reason",
            "update of November",
        ],
    )?;
    for words in [FIRMWARE, KERNEL, DBX, "are now version 2"] {
        ensure!(approved.contains(words), "{words:?} is not in {approved}");
    }
    ensure!(state(&scene, &id)? == "active");
    recover(&mut scene.gateway)?;
    attest(&mut scene.gateway)?;
    let versions = scene.deployment.run_json(&["reference", "list"])?;
    let newest = &versions["versions"][0];
    ensure!(
        newest["version"] == 2 && newest["in_force"] == true,
        "{versions}"
    );
    ensure!(newest["captured_from"] == *id, "{versions}");

    // Exactly that drift: another is refused again, now against the golden log
    // of the approval.
    let bad = updated().without_secure_boot();
    scene.gateway.with_sim(|sim| sim.reboot_with(&bad.boot()))?;
    refused(&mut scene.gateway)?;
    let diff = owner(&scene, &["reference", "diff", &id])?;
    ensure!(
        diff.contains("Secure Boot was switched off [proven, PCR 7]"),
        "{diff}"
    );
    ensure!(diff.contains("the golden boot of version 2"), "{diff}");
    ensure!(!diff.contains("firmware version"), "{diff}");

    // All of it is still so after a restart: statements are verified again.
    scene.deployment.crash_and_restart()?;
    owner(&scene, &["gateway", "resume", &id])?;
    scene
        .gateway
        .with_sim(|sim| sim.reboot_with(&updated().boot()))?;
    recover(&mut scene.gateway)?;
    attest(&mut scene.gateway)
}

/// The owner's key is not where the verifier is: what is proposed is written to
/// a file, signed elsewhere, and handed in.
#[test]
fn an_approval_is_signed_where_the_key_is() -> Result<()> {
    let mut scene = Scene::new()?;
    let id = enrol(&mut scene.gateway, &scene.deployment, "default")?;
    let key = scene.deployment.scratch().join("kept-elsewhere.pem");
    std::fs::rename(scene.deployment.dir().join("policy-root.key.pem"), &key)?;
    scene.deployment.crash_and_restart()?;
    scene
        .gateway
        .with_sim(|sim| sim.reboot_with(&updated().boot()))?;
    refused(&mut scene.gateway)?;

    let keyless = ["gateway", "approve", &id, "--yes"];
    let keyless = scene.deployment.try_run(&keyless)?;
    let said = String::from_utf8_lossy(&keyless.stderr).into_owned();
    ensure!(keyless.status.code() == Some(1), "approved without a key");
    ensure!(
        said.contains("--owner-key") && said.contains("owner sign"),
        "{said}"
    );

    let document = scene.deployment.scratch().join("proposed.json");
    let statement = scene.deployment.scratch().join("statement");
    let (document, statement) = (text(&document)?, text(&statement)?);
    let proposed = ["gateway", "approve", &id, "--output", document];
    let proposed = scene.deployment.run(&proposed)?;
    ensure!(
        proposed.contains(FIRMWARE) && proposed.contains("owner sign"),
        "{proposed}"
    );
    ensure!(
        state(&scene, &id)? == "suspended",
        "a proposal changed something"
    );
    let program = program("holdfast-verifier")?;
    let sign = |version: &str, out: &str| {
        let arguments = [
            "owner",
            "sign",
            "--owner-key",
            text(&key)?,
            "--kind",
            "reference-values",
            "--subject",
            "default",
            "--version",
            version,
            "--output",
            out,
            document,
        ];
        oracle::run(text(&program)?, arguments)
    };
    let approve = |statement: &str| {
        let arguments = ["gateway", "approve", &id, "--yes", "--statement", statement];
        scene.deployment.try_run(&arguments)
    };
    let replayed = scene.deployment.scratch().join("replayed");
    sign("1", text(&replayed)?)?;
    let rollback = approve(text(&replayed)?)?;
    ensure!(
        rollback.status.code() == Some(1),
        "an old version was taken"
    );
    ensure!(state(&scene, &id)? == "suspended");
    sign("2", statement)?;
    let done = approve(statement)?;
    ensure!(
        done.status.success(),
        "{}",
        String::from_utf8_lossy(&done.stderr)
    );
    recover(&mut scene.gateway)?;
    attest(&mut scene.gateway)
}

/// An update that was tried on another gateway first, and announced.
#[test]
fn an_update_within_a_window_is_never_refused() -> Result<()> {
    let mut scene = Scene::new()?;
    let id = enrol(&mut scene.gateway, &scene.deployment, "default")?;

    // The update is tried on a gateway of another class.
    let mut staging = scene.another_gateway("staging")?;
    let golden = scene.gateway.sim().describe().reference_values;
    scene.deployment.import_references("staging", &golden)?;
    let trial = enrol(&mut staging, &scene.deployment, "staging")?;
    staging.with_sim(|sim| sim.reboot_with(&updated().boot()))?;
    refused(&mut staging)?;

    // What it runs now is good; what the others run stays so for a while.
    let end = now() + 60;
    let until = "60s";
    let learn = [
        "reference",
        "learn",
        &trial,
        "--class",
        "default",
        "--replace",
        "--until",
        until,
        "--yes",
    ];
    let learned = scene.deployment.run(&learn)?;
    for words in [FIRMWARE, KERNEL, DBX, "are now version 2"] {
        ensure!(learned.contains(words), "{words:?} is not in {learned}");
    }
    let listed = scene
        .deployment
        .run(&["reference", "list", "--class", "default"])?;
    ensure!(listed.contains("Z"), "{listed}");

    attest(&mut scene.gateway).context("the old state within the window")?;
    ensure!(
        now() < end,
        "this machine is too slow for the window of this test"
    );
    scene
        .gateway
        .with_sim(|sim| sim.reboot_with(&updated().boot()))?;
    attest(&mut scene.gateway).context("the new state")?;
    while now() <= end + 5 {
        std::thread::sleep(Duration::from_millis(500));
    }
    attest(&mut scene.gateway).context("the new state after the window")?;
    ensure!(state(&scene, &id)? == "active", "was refused");

    // From here on the old state is not good any more.
    scene
        .gateway
        .with_sim(|sim| sim.reboot_with(&BootImage::golden().boot()))?;
    let told = refused(&mut scene.gateway)?;
    ensure!(told.contains("pcr-mismatch"), "{told}");
    ensure!(state(&scene, &id)? == "suspended");
    let diff = scene.deployment.run(&["reference", "diff", &id])?;
    let back = "kernel changed from 6.1.0-32-amd64 to 6.1.0-31-amd64";
    ensure!(diff.contains(back), "{diff}");
    Ok(())
}

fn state(scene: &Scene, id: &str) -> Result<String> {
    let gateway = scene.deployment.gateway(id)?;
    Ok(gateway["state"].as_str().context("state")?.to_owned())
}

fn now() -> u64 {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .map_or(0, |since| since.as_secs())
}

fn text(path: &Path) -> Result<&str> {
    path.to_str().context("path")
}
