//! An OEM that makes IDevID and IAK certificates with Holdfast, end to end on a
//! live swtpm with the programs alone: request, challenge, answer,
//! certificates, NV memory, and enrolment on the IAK road with a verifier that
//! imported this OEM's root. OpenSSL looks at the certificates.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use anyhow::{Context, Result, bail, ensure};
use holdfast_attester::enrolment::Road;
use holdfast_attester::enrolment::exchange::{Outcome, Plan, enrol};
use holdfast_attester::tpm::Ak;
use holdfast_integration::programs::program;
use holdfast_integration::{Deployment, Gateway, Scene, TokenOptions, oracle, story};
use holdfast_tpm_sim::SimOptions;
use tempfile::TempDir;

fn text(path: &Path) -> Result<&str> {
    path.to_str().context("a path that is text")
}

/// The OEM's machine: a directory, no server.
struct Oem {
    folder: TempDir,
}

impl Oem {
    /// Knows the vendor of this gateway's TPM.
    fn new(gateway: &Gateway) -> Result<Self> {
        let oem = Self {
            folder: tempfile::tempdir()?,
        };
        let described = gateway.sim().describe();
        fs::write(oem.folder.path().join("passphrase"), "correct horse\n")?;
        let mode = fs::metadata(oem.folder.path().join("passphrase"))?;
        let mut mode = mode.permissions();
        std::os::unix::fs::PermissionsExt::set_mode(&mut mode, 0o600);
        fs::set_permissions(oem.folder.path().join("passphrase"), mode)?;
        oem.run(&[
            "init",
            "--organization",
            "Acme GmbH",
            "--vendor-ca",
            text(&described.vendor_root)?,
            "--vendor-ca",
            text(&described.vendor_intermediate)?,
            "--passphrase",
            &oem.passphrase()?,
        ])?;
        Ok(oem)
    }

    fn passphrase(&self) -> Result<String> {
        let path = self.folder.path().join("passphrase");
        Ok(format!("file:{}", text(&path)?))
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn try_run(&self, arguments: &[&str]) -> Result<Output> {
        let mut command = self.command(arguments)?;
        Ok(command.output()?)
    }

    fn run(&self, arguments: &[&str]) -> Result<String> {
        let mut command = self.command(arguments)?;
        let output = command.output()?;
        oracle::succeed(&command, &output)
    }

    fn command(&self, arguments: &[&str]) -> Result<Command> {
        let mut command = Command::new(program("holdfast-verifier")?);
        command
            .arg("oem")
            .args(arguments)
            .arg("--dir")
            .arg(self.folder.path().join("oem"))
            .stdin(Stdio::null());
        Ok(command)
    }

    fn challenge(&self, name: &str) -> Result<String> {
        let (csr, challenge) = (
            self.path(&format!("{name}.csr")),
            self.path(&format!("{name}.challenge")),
        );
        self.run(&["challenge", text(&csr)?, "--output", text(&challenge)?])
    }

    fn issue(&self, name: &str) -> Result<Output> {
        let path = |tail: &str| self.path(&format!("{name}{tail}"));
        let (csr, answer, output) = (path(".csr"), path(".answer"), path(""));
        self.try_run(&[
            "issue",
            text(&csr)?,
            "--answer",
            text(&answer)?,
            "--output",
            text(&output)?,
            "--passphrase",
            &self.passphrase()?,
        ])
    }
}

fn csr(gateway: &mut Gateway, oem: &Oem, name: &str, serial: &str, more: &[&str]) -> Result<()> {
    let output = oem.path(&format!("{name}.csr"));
    let mut arguments = vec!["devid", "csr", "--model", "GW-100", "--serial", serial];
    arguments.extend(["--output", text(&output)?]);
    arguments.extend(more);
    gateway.run(&arguments)?;
    Ok(())
}

fn activate(gateway: &mut Gateway, oem: &Oem, name: &str, more: &[&str]) -> Result<Output> {
    let (challenge, answer) = (
        oem.path(&format!("{name}.challenge")),
        oem.path(&format!("{name}.answer")),
    );
    let mut arguments = vec![
        "devid",
        "activate",
        text(&challenge)?,
        "--output",
        text(&answer)?,
    ];
    arguments.extend(more);
    gateway.try_run(&arguments)
}

fn install(gateway: &mut Gateway, oem: &Oem, name: &str, more: &[&str]) -> Result<Output> {
    let (iak, idevid) = (
        oem.path(&format!("{name}/iak.pem")),
        oem.path(&format!("{name}/idevid.pem")),
    );
    let mut arguments = vec![
        "devid",
        "install",
        "--iak",
        text(&iak)?,
        "--idevid",
        text(&idevid)?,
    ];
    arguments.extend(more);
    gateway.try_run(&arguments)
}

fn succeeded(output: &Output) -> Result<()> {
    ensure!(output.status.success(), "{}", story::printed(output));
    Ok(())
}

/// From the bare TPM to certificates in NV.
fn provision(gateway: &mut Gateway, oem: &Oem, serial: &str, more: &[&str]) -> Result<()> {
    csr(gateway, oem, "gw", serial, more)?;
    oem.challenge("gw")?;
    succeeded(&activate(gateway, oem, "gw", more)?)?;
    succeeded(&oem.issue("gw")?)?;
    let making: Vec<&str> = more
        .chunks(2)
        .filter(|pair| pair[0] != "--ek")
        .flatten()
        .copied()
        .collect();
    succeeded(&install(gateway, oem, "gw", &making)?)
}

/// Enrols on the IAK road by a token.
async fn enrol_by_iak(gateway: &Gateway, deployment: &Deployment) -> Result<()> {
    let bundle = deployment.bundle_with(&TokenOptions::default())?;
    let mut plan = Plan::from_bundle(&bundle, Default::default(), gateway.sim().boot_log());
    plan.road = Road::Iak;
    match enrol(gateway.tpm(), &gateway.state_dir()?, &plan, &mut |_| {}).await? {
        Outcome::Granted(enrolled, _) => {
            ensure!(matches!(enrolled.keys.ak, Ak::Iak { .. }), "by the IAK");
            Ok(())
        }
        Outcome::Refused(verdict) => bail!("{:?}", verdict.reasons),
    }
}

fn import(deployment: &Deployment, oem: &Oem) -> Result<()> {
    let root = oem.path("oem/oem-root.pem");
    deployment.run(&["endorsement", "import", "--oem", "acme", text(&root)?])?;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn from_the_bare_tpm_to_an_enrolled_gateway() -> Result<()> {
    for (more, curve) in [
        (&[][..], "P-256"),
        (&["--template", "h-3", "--unique", "label-xy"][..], "P-384"),
        (&["--template", "h-1", "--ek", "rsa2048"][..], "2048 bit"),
    ] {
        let mut scene = Scene::with(|_: &mut SimOptions| {}, |c| c)?;
        let oem = Oem::new(&scene.gateway)?;
        provision(&mut scene.gateway, &oem, "GW-0001", more)?;

        // OpenSSL's word on both certificates.
        let root = oem.path("oem/oem-root.pem");
        for (name, purpose) in [("iak", "TPM"), ("idevid", "any")] {
            let file = oem.path(&format!("gw/{name}.pem"));
            let said = oracle::run(
                "openssl",
                [
                    "verify",
                    "-x509_strict",
                    "-CAfile",
                    text(&root)?,
                    "-untrusted",
                    text(&file)?,
                    text(&file)?,
                ],
            )?;
            ensure!(said.trim_end().ends_with(": OK"), "{said}");
            let shown = oracle::openssl_text(&file)?;
            for expected in [
                "serialNumber = GW-0001",
                "CN = GW-100",
                "O = Acme GmbH",
                "Not After : Dec 31 23:59:59 9999 GMT",
                "X509v3 Key Usage: critical",
                "Digital Signature",
                "2.23.133.11.1.1",
                curve,
            ] {
                ensure!(shown.contains(expected), "{name}: {expected}: {shown}");
            }
            let own = match name {
                "iak" => ("2.23.133.8.3", "2.23.133.11.1.3"),
                _ => ("2.23.133.11.1.2", "2.23.133.11.1.2"),
            };
            ensure!(shown.contains(own.1), "{name}: {shown}");
            let has_purpose = shown.contains("Extended Key Usage");
            ensure!(has_purpose == (purpose == "TPM"), "{name}: {shown}");
        }

        import(&scene.deployment, &oem)?;
        enrol_by_iak(&scene.gateway, &scene.deployment).await?;
        let issued = oem.run(&["issued", "--json"])?;
        ensure!(issued.contains("GW-0001"), "{issued}");
    }
    Ok(())
}

/// A05 on real TPMs: A's keys and B's EK never get a certificate.
#[test]
fn adv_a05_neither_tpm_answers_for_a_pair_that_is_not_in_one() -> Result<()> {
    let mut scene = Scene::with(|_: &mut SimOptions| {}, |c| c)?;
    let oem = Oem::new(&scene.gateway)?;
    let mut other = scene.another_gateway("other")?;
    csr(&mut scene.gateway, &oem, "a", "GW-A", &[])?;
    oem.challenge("a")?;
    // B is asked A's challenge.
    let said = activate(&mut other, &oem, "a", &[])?;
    ensure!(!said.status.success(), "{}", story::printed(&said));
    ensure!(!oem.path("a.answer").exists());
    // A answers with the keys of another convention: another IAK.
    let said = activate(&mut scene.gateway, &oem, "a", &["--unique", "zeros"])?;
    ensure!(!said.status.success(), "{}", story::printed(&said));
    // A made-up answer.
    let challenge: serde_json::Value =
        serde_json::from_str(&fs::read_to_string(oem.path("a.challenge"))?)?;
    let forged = serde_json::json!({
        "format": "holdfast-devid-answer-1",
        "csr_sha256": challenge["csr_sha256"],
        "secret": "00".repeat(32),
    });
    fs::write(oem.path("a.answer"), forged.to_string())?;
    let said = oem.issue("a")?;
    ensure!(said.status.code() == Some(1), "{}", story::printed(&said));
    ensure!(
        story::printed(&said).contains("wrong answer"),
        "{}",
        story::printed(&said)
    );
    ensure!(!oem.path("a").exists());
    // The good run after the attack.
    fs::remove_file(oem.path("a.answer"))?;
    succeeded(&activate(&mut scene.gateway, &oem, "a", &[])?)?;
    succeeded(&oem.issue("a")?)?;
    // B does not take A's certificates, and A does.
    let said = install(&mut other, &oem, "a", &[])?;
    ensure!(!said.status.success(), "{}", story::printed(&said));
    succeeded(&install(&mut scene.gateway, &oem, "a", &[])?)?;
    // Nothing is written over what is there.
    let said = install(&mut scene.gateway, &oem, "a", &[])?;
    ensure!(!said.status.success(), "{}", story::printed(&said));
    succeeded(&install(&mut scene.gateway, &oem, "a", &["--replace"])?)
}

/// The serial number of one product for another's keys.
#[test]
fn a_serial_number_is_issued_once() -> Result<()> {
    let mut scene = Scene::with(|_: &mut SimOptions| {}, |c| c)?;
    let oem = Oem::new(&scene.gateway)?;
    let mut other = scene.another_gateway("other")?;
    provision(&mut scene.gateway, &oem, "GW-0001", &[])?;
    csr(&mut other, &oem, "b", "GW-0001", &[])?;
    let challenged = oem.challenge("b");
    challenged?;
    succeeded(&activate(&mut other, &oem, "b", &[])?)?;
    let said = oem.issue("b")?;
    ensure!(said.status.code() == Some(1), "{}", story::printed(&said));
    ensure!(story::printed(&said).contains("--replace"));
    ensure!(!oem.path("b").exists());
    Ok(())
}
