//! Sealing, end to end: the owner approves boot states, the approval travels
//! with the attestation, and a secret outlives a firmware update that was
//! approved, without being sealed anew.

use std::io::Write as _;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::Path;
use std::process::{Command, Output, Stdio};

use anyhow::{Context, Result, ensure};
use holdfast_attester::state::Pending;
use holdfast_integration::hsm::Hsm;
use holdfast_integration::programs::program;
use holdfast_integration::story::{attest, enrol, printed, recover, refused};
use holdfast_integration::{Deployment, Gateway, Scene, TokenOptions, oracle, skip};
use holdfast_proto::claims::Purpose;
use holdfast_proto::grpc::v1::EnrollRequest;
use holdfast_proto::tpm::HashAlg;
use holdfast_tpm_sim::BootImage;
use holdfast_verifier::config::DEFAULT_PCRS;
use serde_json::json;

const SECRET: &[u8] = b"\x00disk key\xff, not even text\n";

/// `holdfast-attester ARGUMENTS` with `input` on its stdin.
fn run(
    gateway: &mut Gateway,
    arguments: &[&str],
    input: &[u8],
    environment: &[(&str, &Path)],
) -> Result<Output> {
    let state = gateway.state_path().to_owned();
    gateway.with_sim(|sim| -> Result<Output> {
        let mut child = Command::new(program("holdfast-attester")?)
            .args(["--tcti", &sim.tcti(), "--state-dir"])
            .arg(&state)
            .args(arguments)
            .env_remove("RUNTIME_DIRECTORY")
            .envs(environment.iter().copied())
            .env("HOLDFAST_LOG", "trace")
            .env("TSS2_LOG", "all+NONE")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()?;
        child.stdin.take().context("stdin")?.write_all(input)?;
        Ok(child.wait_with_output()?)
    })
}

fn seal(gateway: &mut Gateway, arguments: &[&str]) -> Result<()> {
    let output = run(gateway, &[&["seal"], arguments].concat(), SECRET, &[])?;
    ensure!(output.status.success(), "{}", printed(&output));
    ensure!(!holds_secret(&output.stdout) && !holds_secret(&output.stderr));
    Ok(())
}

fn unseals(gateway: &mut Gateway, arguments: &[&str]) -> Result<()> {
    let output = run(gateway, &[&["unseal"], arguments].concat(), b"", &[])?;
    ensure!(output.status.success(), "{}", printed(&output));
    ensure!(output.stdout == SECRET, "{}", printed(&output));
    ensure!(!holds_secret(&output.stderr), "the secret is in the log");
    Ok(())
}

/// No secret, exit code 1, and the reason.
fn stays_sealed(gateway: &mut Gateway, why: &str) -> Result<()> {
    let output = run(gateway, &["unseal", "disk-key"], b"", &[])?;
    let said = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.code() == Some(1), "{}", printed(&output));
    ensure!(output.stdout.is_empty());
    ensure!(said.contains(why), "{why:?} is not in {said}");
    Ok(())
}

fn holds_secret(bytes: &[u8]) -> bool {
    bytes.windows(8).any(|window| window == b"disk key")
}

fn updated() -> BootImage {
    let mut image = BootImage::golden().with_kernel("6.1.0-32-amd64");
    image.firmware = "Holdfast Simulated UEFI 2.8".to_owned();
    image
}

/// The owner's side of an approval, and the attestation that brings it.
fn approve(scene: &mut Scene, id: &str) -> Result<()> {
    let owner = &scene.deployment;
    owner.run(&["seal", "approve", "--from-gateway", id])?;
    attest(&mut scene.gateway)
}

#[test]
fn a_secret_outlives_an_approved_update_and_no_other() -> Result<()> {
    let mut scene = Scene::new()?;
    let id = enrol(&mut scene.gateway, &scene.deployment, "default")?;
    seal(&mut scene.gateway, &["disk-key"])?;
    stays_sealed(
        &mut scene.gateway,
        "has no approvals of boot states for class \"default\"",
    )?;

    let early = ["seal", "approve", "--from-gateway", &id];
    let early = scene.deployment.try_run(&early)?;
    ensure!(
        printed(&early).contains("holdfast-verifier seal delegate"),
        "{}",
        printed(&early)
    );
    scene.deployment.run(&["seal", "delegate"])?;
    attest(&mut scene.gateway)?;
    approve(&mut scene, &id)?;
    unseals(&mut scene.gateway, &["disk-key"])?;

    // An update that nobody approved.
    scene
        .gateway
        .with_sim(|sim| sim.reboot_with(&updated().boot()))?;
    refused(&mut scene.gateway)?;
    let not_approved = "none of 1 approvals is of the state that the TPM is in";
    stays_sealed(&mut scene.gateway, not_approved)?;
    let unaffirmed = ["seal", "approve", "--from-gateway", &id];
    let unaffirmed = scene.deployment.try_run(&unaffirmed)?;
    ensure!(
        unaffirmed.status.code() == Some(1),
        "approved what was refused"
    );
    ensure!(
        printed(&unaffirmed).contains("was not affirmed"),
        "{}",
        printed(&unaffirmed)
    );

    // Approved: by the verifier, then for sealing. Nothing is sealed anew.
    scene
        .deployment
        .run(&["gateway", "approve", &id, "--yes"])?;
    recover(&mut scene.gateway)?;
    stays_sealed(&mut scene.gateway, not_approved)?;
    approve(&mut scene, &id)?;
    unseals(&mut scene.gateway, &["disk-key"])?;

    // adv_a29: once latched it comes out no more, until the next boot.
    unseals(&mut scene.gateway, &["disk-key", "--latch"])?;
    stays_sealed(&mut scene.gateway, "none of 2 approvals")?;
    attest(&mut scene.gateway).context("the latch is not among the quoted PCRs")?;
    scene
        .gateway
        .with_sim(|sim| sim.reboot_with(&updated().boot()))?;
    unseals(&mut scene.gateway, &["disk-key"])?;

    // A new online key: the root's word, and a new approval.
    scene.deployment.run(&["seal", "delegate", "--new-key"])?;
    attest(&mut scene.gateway)?;
    approve(&mut scene, &id)?;
    unseals(&mut scene.gateway, &["disk-key"])?;
    let shown = scene.deployment.run_json(&["seal", "show"])?;
    let states = shown["states"].as_array().context("states")?;
    ensure!(states.len() == 3, "{shown}");
    ensure!(states[0]["key"] != states[1]["key"], "{shown}");

    // What an attestation brought is not sent again.
    let log = scene.gateway.sim().boot_log();
    let log = log.to_str().context("path")?;
    let again = scene.gateway.run(&["attest", "--boot-log", log])?;
    ensure!(!again.contains("Approvals of boot states"), "{again}");
    Ok(())
}

/// The owner approves what the gateway's TPM has now, from a document.
fn approve_present(scene: &mut Scene) -> Result<()> {
    let values = scene
        .gateway
        .with_sim(|sim| sim.read_pcrs(HashAlg::Sha256))?;
    let pcrs: serde_json::Map<String, serde_json::Value> = DEFAULT_PCRS
        .iter()
        .map(|pcr| {
            Ok((
                pcr.to_string(),
                json!([hex::encode(values[pcr].as_bytes())]),
            ))
        })
        .collect::<Result<_>>()?;
    let file = scene.deployment.scratch().join("present.json");
    std::fs::write(&file, json!({ "pcrs": { "sha256": pcrs } }).to_string())?;
    let file = file.to_str().context("path")?;
    let approve = ["seal", "approve", "--from-reference", file];
    scene.deployment.run(&approve).map(drop)
}

/// With the grant of an enrolment, and of a recovery: a secret is to be had at
/// once, without an attestation more.
#[test]
fn approvals_come_with_the_grant() -> Result<()> {
    let mut scene = Scene::new()?;
    scene.deployment.run(&["seal", "delegate"])?;
    approve_present(&mut scene)?;
    let id = enrol(&mut scene.gateway, &scene.deployment, "default")?;
    seal(&mut scene.gateway, &["disk-key"])?;
    unseals(&mut scene.gateway, &["disk-key"])?;

    // An update, approved for both, that only a recovery can tell of.
    scene
        .gateway
        .with_sim(|sim| sim.reboot_with(&updated().boot()))?;
    refused(&mut scene.gateway)?;
    stays_sealed(&mut scene.gateway, "none of 1 approvals")?;
    approve_present(&mut scene)?;
    scene
        .deployment
        .run(&["gateway", "approve", &id, "--yes"])?;
    recover(&mut scene.gateway)?;
    unseals(&mut scene.gateway, &["disk-key"])
}

/// What was enrolled, or begun, without the binding is not taken for it.
#[test]
fn adv_a23_an_unbound_enrolment_is_not_taken_for_a_bound_one() -> Result<()> {
    let mut scene = Scene::new()?;
    scene.deployment.run(&["seal", "delegate"])?;
    approve_present(&mut scene)?;
    let file = scene.deployment.scratch().join("golden.approvals");
    let file = file.to_str().context("path")?.to_owned();
    scene
        .deployment
        .run(&["seal", "export", "--output", &file])?;
    let bundle = |scene: &mut Scene| -> Result<String> {
        let path = scene.deployment.create_token(&TokenOptions::default())?;
        Ok(path.to_str().context("path")?.to_owned())
    };
    let log = scene.gateway.sim().boot_log();
    let log = log.to_str().context("path")?.to_owned();
    let first = bundle(&mut scene)?;
    let plain = ["enroll", "--bundle", &first, "--boot-log", &log];
    scene.gateway.run(&plain)?;
    let bound = ["--bind-to-boot", &file];
    let refused = scene.gateway.try_run(&[&plain[..], &bound].concat())?;
    ensure!(refused.status.code() == Some(1), "{}", printed(&refused));
    ensure!(
        printed(&refused).contains("not bound to these boot states"),
        "{}",
        printed(&refused)
    );

    // As an answer to the first that got lost leaves it.
    let state = scene.gateway.state_dir()?;
    let enrolled = state.require_enrolled()?;
    state.set_pending(&Pending {
        server: enrolled.server.clone(),
        purpose: Purpose::Enrol,
        class: enrolled.class.clone(),
        policy_root_name: enrolled.policy_root_name.clone(),
        keys: enrolled.keys.clone(),
        request: EnrollRequest::default(),
    })?;
    drop(state);
    let second = bundle(&mut scene)?;
    let anew = [
        "enroll",
        "--replace",
        "--bundle",
        &second,
        "--boot-log",
        &log,
    ];
    let said = scene.gateway.try_run(&[&anew[..], &bound].concat())?;
    ensure!(said.status.success(), "{}", printed(&said));
    ensure!(
        !printed(&said).contains("the same bytes again"),
        "{}",
        printed(&said)
    );
    let enrolled = scene.gateway.state_dir()?.require_enrolled()?;
    ensure!(enrolled.keys.ldevid.is_bound());

    // Nor is the binding lost for want of a word.
    let third = bundle(&mut scene)?;
    let anew = [
        "enroll",
        "--replace",
        "--bundle",
        &third,
        "--boot-log",
        &log,
    ];
    let refused = scene.gateway.try_run(&anew)?;
    ensure!(refused.status.code() == Some(1), "{}", printed(&refused));
    ensure!(
        printed(&refused).contains("--no-bind-to-boot"),
        "{}",
        printed(&refused)
    );
    let enrolled = scene.gateway.state_dir()?.require_enrolled()?;
    ensure!(enrolled.keys.ldevid.is_bound());
    scene
        .gateway
        .run(&[&anew[..], &["--no-bind-to-boot"]].concat())?;
    let enrolled = scene.gateway.state_dir()?.require_enrolled()?;
    ensure!(!enrolled.keys.ldevid.is_bound());
    Ok(())
}

/// `enroll --bind-to-boot`: the LDevID key, and with it the gateway's identity,
/// is to be had in approved boot states alone; an update needs an approval and
/// no new enrolment.
#[test]
fn adv_a23_an_ldevid_that_is_bound_to_the_boot_is_silent_in_another() -> Result<()> {
    let mut scene = Scene::new()?;
    let scratch = scene.deployment.scratch().to_owned();
    let export = |scene: &Scene, name: &str| -> Result<String> {
        let file = scratch.join(name);
        let file = file.to_str().context("path")?.to_owned();
        scene
            .deployment
            .run(&["seal", "export", "--output", &file])?;
        Ok(file)
    };
    scene.deployment.run(&["seal", "delegate"])?;
    approve_present(&mut scene)?;
    let approvals = export(&scene, "golden.approvals")?;
    let bundle = scene.deployment.create_token(&TokenOptions::default())?;
    let bundle = bundle.to_str().context("path")?;
    let log = scene.gateway.sim().boot_log();
    let log = log.to_str().context("path")?;
    let bound = ["--bind-to-boot", &approvals, "--boot-log", log];
    scene
        .gateway
        .run(&[&["enroll", "--bundle", bundle], &bound[..]].concat())?;
    // Handshakes and claims are signed by policy; OpenSSL could not.
    attest(&mut scene.gateway)?;
    scene.gateway.run(&["status", "--remote"])?;
    let out = scratch.join("exported");
    let out = out.to_str().context("path")?;
    let exported = scene.gateway.try_run(&["key", "export", "--output", out])?;
    ensure!(
        printed(&exported).contains("bound to the boot state"),
        "{}",
        printed(&exported)
    );

    scene
        .gateway
        .with_sim(|sim| sim.reboot_with(&updated().boot()))?;
    let said = refused(&mut scene.gateway)?;
    ensure!(said.contains("bound to approved boot states"), "{said}");

    // Good by the verifier, and approved for the key: by a file, since the
    // gateway has no way to ask for it.
    approve_present(&mut scene)?;
    let present = scratch.join("present.json");
    scene.deployment.import_references("default", &present)?;
    let approvals = export(&scene, "updated.approvals")?;
    scene
        .gateway
        .run(&["seal", "approvals", "import", &approvals])?;
    attest(&mut scene.gateway)?;

    // A recovery's new key is bound as the one before.
    let gateways = scene.deployment.gateways()?;
    let id = gateways[0]["gateway_id"].as_str().context("id")?;
    scene
        .deployment
        .run(&["gateway", "suspend", id, "--reason", "in repair"])?;
    scene.deployment.run(&["gateway", "resume", id])?;
    recover(&mut scene.gateway)?;
    attest(&mut scene.gateway)?;
    let third = BootImage::golden().with_kernel("6.1.0-99-amd64");
    scene
        .gateway
        .with_sim(|sim| sim.reboot_with(&third.boot()))?;
    let said = refused(&mut scene.gateway)?;
    ensure!(said.contains("bound to approved boot states"), "{said}");
    Ok(())
}

/// The online policy key in a PKCS#11 token.
#[test]
fn a_policy_key_in_a_pkcs11_token_approves_what_a_tpm_takes() -> Result<()> {
    if !oracle::present("softhsm2-util") {
        skip!("softhsm2-util is not installed (apt-get install softhsm2)");
    }
    let hsm = Hsm::new()?;
    let mut scene = Scene::of(hsm.deployment()?, |_| {})?;
    a_device_approves(&mut scene, "PKCS#11")
}

/// The same in a TPM of the verifier's own machine, where it has handles beside
/// the issuing key's; tpm2-tools find both there.
#[test]
fn a_policy_key_in_the_verifiers_tpm_approves_what_a_tpm_takes() -> Result<()> {
    const HANDLE: &str = "0x81010020";
    let folder = tempfile::tempdir()?;
    let mut tpm = Gateway::boot(&folder.path().join("verifier-tpm"), |_| {})?;
    let tcti = tpm.sim().tcti();
    let port = tcti.rsplit("port=").next().context("a port")?;
    let device = format!("swtpm:127.0.0.1:{port}");
    let init = [
        "--ca-backend",
        "tpm",
        "--ca-tpm",
        &device,
        "--ca-tpm-handle",
        HANDLE,
        "--ca-tpm-key-auth",
        "env:CA_KEY_AUTH",
    ];
    let environment = [("CA_KEY_AUTH", "thirty-two octets at the most")];
    // swtpm serves one at a time: this program's own connection ends meanwhile.
    tpm.with_sim(|_| -> Result<()> {
        let deployment = Deployment::start_as(&init, &environment, |text| text)?;
        let mut scene = Scene::of(deployment, |_| {})?;
        a_device_approves(&mut scene, "TPM")?;
        if oracle::present("tpm2_getcap") {
            let mut command = Command::new("tpm2_getcap");
            command
                .arg("handles-persistent")
                .env("TPM2TOOLS_TCTI", &tcti);
            let output = command.output()?;
            let handles = oracle::succeed(&command, &output)?;
            for handle in ["0x81010020", "0x81010021", "0x81010022"] {
                ensure!(handles.to_lowercase().contains(handle), "{handles}");
            }
        }
        Ok(())
    })
}

/// Approvals by a policy key in a device are taken by the gateway's TPM, also
/// after a rotation, and nothing is sealed anew.
fn a_device_approves(scene: &mut Scene, place: &str) -> Result<()> {
    let id = enrol(&mut scene.gateway, &scene.deployment, "default")?;
    seal(&mut scene.gateway, &["disk-key"])?;
    scene.deployment.run(&["seal", "delegate"])?;
    let listed = scene.deployment.run_json(&["key", "list"])?;
    let of_seal = |listed: &serde_json::Value| -> Result<Vec<String>> {
        let keys = listed["keys"].as_array().context("keys")?;
        let seal = keys.iter().filter(|key| key["kind"] == "seal");
        Ok(seal
            .map(|key| format!("{} {}", key["state"], key["key"]))
            .collect())
    };
    let keys = of_seal(&listed)?;
    ensure!(keys.len() == 1 && keys[0].contains(place), "{keys:?}");
    let shown = scene.deployment.run_json(&["ca", "show"])?;
    ensure!(
        shown["keys"][0]["kind"] == "seal" && shown["keys"][1].is_null(),
        "{shown}"
    );
    ensure!(!scene.deployment.dir().join("seal-policy.key.pem").exists());
    approve(scene, &id)?;
    unseals(&mut scene.gateway, &["disk-key"])?;

    // Rotated, and not delegated yet: the key of before approves.
    scene.deployment.run(&["key", "rotate", "seal"])?;
    let keys = of_seal(&scene.deployment.run_json(&["key", "list"])?)?;
    ensure!(keys.len() == 2, "{keys:?}");
    let table = scene.deployment.run(&["ca", "show"])?;
    ensure!(table.matches("sealing policy key").count() == 2, "{table}");
    scene
        .gateway
        .with_sim(|sim| sim.reboot_with(&updated().boot()))?;
    refused(&mut scene.gateway)?;
    scene
        .deployment
        .run(&["gateway", "approve", &id, "--yes"])?;
    recover(&mut scene.gateway)?;
    approve(scene, &id)?;
    unseals(&mut scene.gateway, &["disk-key"])?;
    // Delegated: the new one does.
    scene.deployment.run(&["seal", "delegate"])?;
    approve(scene, &id)?;
    let shown = scene.deployment.run_json(&["seal", "show"])?;
    let states = shown["states"].as_array().context("states")?;
    ensure!(states.len() == 3, "{shown}");
    ensure!(states[0]["key"] != states[1]["key"], "{shown}");
    unseals(&mut scene.gateway, &["disk-key"])
}

/// As an older version left it: a plain file of its own, and approvals by it.
#[test]
fn a_policy_key_of_an_older_version_is_taken_over_and_goes_on() -> Result<()> {
    let mut scene = Scene::new()?;
    let id = enrol(&mut scene.gateway, &scene.deployment, "default")?;
    seal(&mut scene.gateway, &["disk-key"])?;
    scene.deployment.run(&["seal", "delegate"])?;
    approve(&mut scene, &id)?;
    // Back to what it was: the key in a file of its own, and in no keyring.
    let dir = scene.deployment.dir();
    let path = dir.join("keyring.json");
    let mut ring: serde_json::Value = serde_json::from_str(&std::fs::read_to_string(&path)?)?;
    let name = ring["seal"][0]["key"]["file"]
        .as_str()
        .context("a file")?
        .to_owned();
    ring.as_object_mut().context("an object")?.remove("seal");
    std::fs::write(&path, ring.to_string())?;
    std::fs::rename(dir.join(name), dir.join("seal-policy.key.pem"))?;

    scene
        .gateway
        .with_sim(|sim| sim.reboot_with(&updated().boot()))?;
    refused(&mut scene.gateway)?;
    scene
        .deployment
        .run(&["gateway", "approve", &id, "--yes"])?;
    recover(&mut scene.gateway)?;
    // The same key approves: nothing is delegated anew.
    approve(&mut scene, &id)?;
    ensure!(!dir.join("seal-policy.key.pem").exists());
    let shown = scene.deployment.run_json(&["seal", "show"])?;
    let states = shown["states"].as_array().context("states")?;
    ensure!(
        states.len() == 2 && states[0]["key"] == states[1]["key"],
        "{shown}"
    );
    unseals(&mut scene.gateway, &["disk-key"])
}

/// Approvals as a file; another owner's and another class's are not taken.
#[test]
fn adv_a23_approvals_travel_as_a_file_to_their_own_gateways_alone() -> Result<()> {
    let mut scene = Scene::new()?;
    let id = enrol(&mut scene.gateway, &scene.deployment, "default")?;
    seal(&mut scene.gateway, &["disk-key"])?;
    attest(&mut scene.gateway)?;
    let scratch = scene.deployment.scratch().to_owned();
    let export = |class: &str, source: &[&str]| -> Result<String> {
        let file = scratch.join(format!("{class}.approvals"));
        let file = file.to_str().context("path")?.to_owned();
        let owner = &scene.deployment;
        owner.run(&["seal", "delegate", "--class", class])?;
        let approve = ["seal", "approve", "--class", class];
        owner.run(&[&approve, source].concat())?;
        owner.run(&["seal", "export", "--class", class, "--output", &file])?;
        Ok(file)
    };
    let golden = scene.gateway.sim().describe().reference_values;
    let golden = golden.to_str().context("path")?;
    let good = export("default", &["--from-gateway", &id])?;
    let other_class = export("staging", &["--from-reference", golden])?;
    let stranger = Scene::new()?;
    stranger.deployment.run(&["seal", "delegate"])?;
    stranger
        .deployment
        .run(&["seal", "approve", "--from-reference", golden])?;
    let other_root = scratch.join("stranger.approvals");
    let other_root = other_root.to_str().context("path")?;
    stranger
        .deployment
        .run(&["seal", "export", "--output", other_root])?;

    for (file, why) in [
        (
            other_class.as_str(),
            "the approvals are for class \"staging\", not \"default\"",
        ),
        (other_root, "the approvals are under policy root"),
    ] {
        let import = ["seal", "approvals", "import", file];
        let output = run(&mut scene.gateway, &import, b"", &[])?;
        ensure!(output.status.code() == Some(1), "{}", printed(&output));
        ensure!(printed(&output).contains(why), "{}", printed(&output));
        stays_sealed(&mut scene.gateway, "has no approvals")?;
    }
    let garbage = run(
        &mut scene.gateway,
        &["seal", "approvals", "import", "-"],
        b"x",
        &[],
    )?;
    ensure!(garbage.status.code() == Some(2), "{}", printed(&garbage));
    let import = ["seal", "approvals", "import", &good];
    let output = run(&mut scene.gateway, &import, b"", &[])?;
    ensure!(output.status.success(), "{}", printed(&output));
    unseals(&mut scene.gateway, &["disk-key"])
}

/// Where a secret may be written to, and where not.
#[test]
fn cve_c12_a_secret_is_written_whole_private_and_as_a_credential_in_memory() -> Result<()> {
    let mut scene = Scene::new()?;
    enrol(&mut scene.gateway, &scene.deployment, "default")?;
    seal(&mut scene.gateway, &["disk-key", "--policy", "current"])?;
    unseals(&mut scene.gateway, &["disk-key"])?;
    let scratch = scene.deployment.scratch().to_owned();

    let file = scratch.join("out");
    let path = file.to_str().context("path")?;
    let output = run(
        &mut scene.gateway,
        &["unseal", "disk-key", "--output", path],
        b"",
        &[],
    )?;
    ensure!(output.status.success(), "{}", printed(&output));
    ensure!(std::fs::read(&file)? == SECRET);
    ensure!(std::fs::metadata(&file)?.mode() & 0o7777 == 0o600);
    ensure!(!holds_secret(&output.stdout) && !holds_secret(&output.stderr));

    let shared = scratch.join("shared");
    std::fs::create_dir(&shared)?;
    std::fs::set_permissions(&shared, PermissionsExt::from_mode(0o777))?;
    let path = shared.join("out");
    let arguments = [
        "unseal",
        "disk-key",
        "--latch",
        "--output",
        path.to_str().context("path")?,
    ];
    let output = run(&mut scene.gateway, &arguments, b"", &[])?;
    ensure!(output.status.code() == Some(1), "{}", printed(&output));
    ensure!(
        printed(&output).contains("others could replace"),
        "{}",
        printed(&output)
    );
    ensure!(!path.exists());

    let credential = ["unseal", "disk-key", "--credential"];
    let none = run(&mut scene.gateway, &credential, b"", &[])?;
    ensure!(none.status.code() == Some(2), "{}", printed(&none));
    let memory = tempfile::tempdir_in("/dev/shm")?;
    let environment = [("RUNTIME_DIRECTORY", memory.path())];
    let output = run(&mut scene.gateway, &credential, b"", &environment)?;
    ensure!(output.status.success(), "{}", printed(&output));
    let written = memory.path().join("disk-key");
    ensure!(std::fs::read(&written)? == SECRET);
    ensure!(std::fs::metadata(&written)?.mode() & 0o7777 == 0o400);

    // What was refused did not latch either.
    unseals(&mut scene.gateway, &["disk-key"])?;
    scene
        .gateway
        .with_sim(|sim| sim.extend_pcr(4, b"another boot loader"))?;
    stays_sealed(
        &mut scene.gateway,
        "the boot state is not the one that this was sealed to",
    )
}

/// The state directory on another gateway, whose TPM is as good.
#[test]
fn adv_a23_a_copied_state_directory_unseals_nothing() -> Result<()> {
    let mut scene = Scene::new()?;
    enrol(&mut scene.gateway, &scene.deployment, "default")?;
    seal(&mut scene.gateway, &["disk-key", "--policy", "current"])?;
    let mut thief = scene.another_gateway("thief")?;
    enrol(&mut thief, &scene.deployment, "staging").ok();
    std::fs::create_dir_all(thief.state_path())?;
    std::fs::set_permissions(thief.state_path(), PermissionsExt::from_mode(0o700))?;
    for entry in std::fs::read_dir(scene.gateway.state_path())? {
        let entry = entry?;
        std::fs::copy(entry.path(), thief.state_path().join(entry.file_name()))?;
    }
    stays_sealed(&mut thief, "the storage root key at 0x81000001 is")?;
    unseals(&mut scene.gateway, &["disk-key"])
}

/// A root that is kept encrypted, as `init --offline-passphrase` leaves it, and
/// one that is not this verifier's.
#[test]
fn delegating_needs_the_root_and_its_passphrase() -> Result<()> {
    let deployment = Deployment::start()?;
    let root = deployment.dir().join("policy-root.key.pem");
    let folder = deployment.scratch().to_owned();
    let (encrypted, passphrase) = (folder.join("root.pem"), folder.join("passphrase"));
    std::fs::write(&passphrase, "correct horse battery staple")?;
    std::fs::set_permissions(&passphrase, PermissionsExt::from_mode(0o600))?;
    let text = |path: &Path| -> Result<String> { Ok(path.to_str().context("path")?.to_owned()) };
    let (root, encrypted) = (text(&root)?, text(&encrypted)?);
    let source = format!("file:{}", text(&passphrase)?);
    let encrypt = [
        "pkcs8",
        "-topk8",
        "-v2",
        "aes-256-cbc",
        "-iter",
        "100000",
        "-in",
        &root,
    ];
    let to = ["-out", &encrypted, "-passout", &source];
    oracle::run("openssl", [&encrypt[..], &to].concat())?;
    std::fs::set_permissions(&encrypted, PermissionsExt::from_mode(0o600))?;
    std::fs::remove_file(&root)?;

    let missing = deployment.try_run(&["seal", "delegate"])?;
    ensure!(missing.status.code() == Some(1), "{}", printed(&missing));
    let delegate = ["seal", "delegate", "--owner-key", &encrypted];
    let closed = deployment.try_run(&delegate)?;
    ensure!(closed.status.code() == Some(2), "{}", printed(&closed));
    ensure!(
        printed(&closed).contains("is encrypted"),
        "{}",
        printed(&closed)
    );
    let other = Deployment::start()?;
    let other = text(&other.dir().join("policy-root.key.pem"))?;
    let stranger = deployment.try_run(&["seal", "delegate", "--owner-key", &other])?;
    ensure!(stranger.status.code() == Some(1), "{}", printed(&stranger));
    let why = "is not the policy root of this verifier";
    ensure!(printed(&stranger).contains(why), "{}", printed(&stranger));
    deployment.run(&[&delegate[..], &["--owner-passphrase", &source]].concat())?;
    deployment.run(&["seal", "show"]).map(drop)
}
