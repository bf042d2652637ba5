//! A scene whose gateway measures files (IMA), under the policy for it.

use anyhow::{Context as _, Result};
use holdfast_attester::attestation::exchange::{Outcome, Plan, Step, attest};
use holdfast_attester::state::Enrolled;
use holdfast_proto::grpc::v1;
use holdfast_proto::tpm::HashAlg;
use holdfast_tpm_sim::ImaEntry;

use crate::{ReadyAttestation, Scene};

/// The policy that Holdfast ships for such gateways.
pub const POLICY: &str = include_str!("../../verifier/policies/ima.rego");

/// A file, by path and content.
pub type File = (&'static str, &'static [u8]);

/// What is on the allow list of [`scene`].
pub const LISTED: [File; 4] = [
    ("/sbin/init", b"init"),
    ("/usr/bin/bash", b"bash"),
    ("/usr/bin/a", b"a"),
    ("/usr/bin/b", b"b"),
];

/// The usual scene, with PCR 10 quoted, [`POLICY`], and [`LISTED`] as the allow
/// list of `default`. The gateway has run `/sbin/init` and `/usr/bin/bash`.
///
/// # Errors
/// As [`Scene::new`].
pub fn scene() -> Result<Scene> {
    let mut scene = Scene::with(
        |options| options.ima = true,
        |configuration| {
            let (default, wanted) = ("8, 9, 14]", "8, 9, 10, 14]");
            assert!(configuration.contains(default), "{configuration}");
            configuration.replace(default, wanted)
        },
    )?;
    scene.deployment.apply_policy(POLICY)?;
    allow(&scene, &LISTED)?;
    run(&mut scene, &LISTED[..2])?;
    Ok(scene)
}

/// Makes `files` the allow list of the class `default`.
///
/// # Errors
/// Where it is refused.
pub fn allow(scene: &Scene, files: &[File]) -> Result<()> {
    let lines: String = files
        .iter()
        .map(|(path, content)| format!("{}  {path}\n", HashAlg::Sha256.digest(&[content])))
        .collect();
    let list = scene.deployment.scratch().join("allowed");
    std::fs::write(&list, lines)?;
    scene.deployment.import_allow_list("default", &list)
}

/// The scene's gateway runs files; the entries that this makes.
///
/// # Errors
/// Those of the TPM.
pub fn run(scene: &mut Scene, files: &[File]) -> Result<Vec<ImaEntry>> {
    let entries: Vec<ImaEntry> = files
        .iter()
        .map(|(path, content)| ImaEntry::file(path, content))
        .collect();
    measure(scene, &entries)?;
    Ok(entries)
}

/// The scene's gateway measures.
///
/// # Errors
/// Those of the TPM.
pub fn measure(scene: &mut Scene, entries: &[ImaEntry]) -> Result<()> {
    scene.gateway.with_sim(|sim| sim.measure(entries))
}

/// Attests as the program does. `watch` sees the steps.
///
/// # Errors
/// Where there is no verdict.
pub async fn attest_as_deployed(scene: &Scene, watch: &mut dyn FnMut(Step<'_>)) -> Result<Outcome> {
    let sim = scene.gateway.sim();
    let plan = Plan {
        renew: false,
        boot_log: sim.boot_log(),
        ima_log: sim.ima_log(),
        evidence_dir: None,
        ear_jwt: false,
    };
    let state = scene.gateway.state_dir()?;
    Ok(attest(scene.gateway.tpm(), &state, &plan, watch).await?)
}

/// A re-attestation that is ready, with the log in it.
///
/// # Errors
/// Where there is none.
pub async fn ready(scene: &Scene, enrolled: &Enrolled) -> Result<(ReadyAttestation, v1::ImaLog)> {
    let ready = scene.ready_to_attest(enrolled, false).await?;
    let evidence = ready.request.evidence.as_ref().context("no evidence")?;
    let log = evidence.ima_log.clone().context("no IMA log was sent")?;
    Ok((ready, log))
}
