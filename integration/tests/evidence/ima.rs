//! IMA, end to end: what a gateway's kernel measures travels once, is proven by
//! the quoted PCR 10, and is held against the allow list of its class.

use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use holdfast_attester::attestation::exchange::{Outcome, Step};
use holdfast_attester::enrolment::KeyChoice;
use holdfast_attester::state::Enrolled;
use holdfast_integration::ima::{self, LISTED};
use holdfast_integration::scene::ready_to_enrol;
use holdfast_integration::{Refusal, Scene, oracle, skip};
use holdfast_proto::grpc::v1;
use holdfast_proto::tpm::HashAlg;
use holdfast_tpm_sim::{BootImage, ImaEntry, ImaSigner, SimGateway};
use prost::Message as _;
use tonic::Code;

const RESYNC: Refusal = Refusal::new(Code::FailedPrecondition, "ima-resync");

fn encoded(entries: &[ImaEntry]) -> Vec<u8> {
    entries.iter().flat_map(ImaEntry::encode).collect()
}

/// Attests, must be affirmed; what was sent of the log.
async fn affirmed(scene: &Scene, enrolled: &Enrolled) -> Result<v1::ImaLog> {
    let (ready, log) = ima::ready(scene, enrolled).await?;
    let verdict = ready.send().await?.verdict.context("no verdict")?;
    ensure!(verdict.affirming, "{:?}", verdict.reasons);
    Ok(log)
}

/// After an enrolment with the whole log, each attestation carries the new
/// entries and nothing else: none at all where nothing was run.
#[tokio::test]
async fn the_log_travels_once() -> Result<()> {
    let mut scene = ima::scene()?;
    let enrolled = scene.enrol().await?;

    let (lean, log) = ima::ready(&scene, &enrolled).await?;
    ensure!((log.offset, log.content.len()) == (3, 0), "{log:?}");
    let answer = lean.send().await?;
    ensure!(answer.verdict.as_ref().context("verdict")?.affirming);
    let bytes = lean.challenge.encoded_len() + lean.request.encoded_len() + answer.encoded_len();
    ensure!(bytes <= 2560, "{bytes} bytes");
    let quiet = lean.request.encoded_len();
    drop(lean);

    for (count, from) in [(1, 3), (2, 4), (1, 6)] {
        let new = ima::run(&mut scene, &LISTED[4 - count..])?;
        let (ready, log) = ima::ready(&scene, &enrolled).await?;
        ensure!(log.offset == from, "from {}", log.offset);
        ensure!(log.content == encoded(&new), "{log:?}");
        // Signatures vary by a byte or two.
        let more = ready.request.encoded_len() - quiet;
        ensure!(more <= log.content.len() + 8, "{more} bytes more");
        let verdict = ready.send().await?.verdict.context("verdict")?;
        ensure!(verdict.affirming, "{:?}", verdict.reasons);
    }
    Ok(())
}

/// As many entries as a gateway that is never rebooted comes to, in one
/// attestation; and nothing of them in the next.
#[tokio::test]
async fn a_hundred_thousand_entries_travel_at_once_and_once() -> Result<()> {
    const ENTRIES: usize = 100_000;
    /// Of the attestation alone: the simulated TPM takes longer to extend.
    const PATIENCE: Duration = Duration::from_secs(20);
    let mut scene = ima::scene()?;
    let enrolled = scene.enrol().await?;
    let (path, content) = *LISTED.first().context("nothing is listed")?;
    let many = vec![ImaEntry::file(path, content); ENTRIES];
    scene.gateway.with_sim(|sim| sim.measure(&many))?;
    let started = Instant::now();
    let log = affirmed(&scene, &enrolled).await?;
    let took = started.elapsed();
    ensure!(log.offset == 3 && log.content == encoded(&many));
    ensure!(took < PATIENCE, "{took:?}");
    let log = affirmed(&scene, &enrolled).await?;
    ensure!(
        (log.offset, log.content.len()) == (3 + 100_000, 0),
        "{log:?}"
    );
    Ok(())
}

/// The log goes on while the TPM quotes: what was quoted counts, and what was
/// not is sent again.
#[tokio::test]
async fn what_is_ahead_of_the_quote_comes_again() -> Result<()> {
    let mut scene = ima::scene()?;
    let enrolled = scene.enrol().await?;
    let late = [ImaEntry::file("/usr/bin/a", b"a")];
    scene.gateway.with_sim(|sim| sim.log_unextended(&late))?;
    let log = affirmed(&scene, &enrolled).await?;
    ensure!(log.offset == 3 && log.content == encoded(&late));
    let log = affirmed(&scene, &enrolled).await?;
    ensure!(log.offset == 3 && log.content == encoded(&late), "{log:?}");
    scene.gateway.with_sim(|sim| sim.extend_unlogged(&late))?;
    let log = affirmed(&scene, &enrolled).await?;
    ensure!(log.offset == 3 && log.content == encoded(&late));
    let log = affirmed(&scene, &enrolled).await?;
    ensure!((log.offset, log.content.len()) == (4, 0), "{log:?}");
    Ok(())
}

/// After a reboot the log is another one, and is sent whole unasked.
#[tokio::test]
async fn a_reboot_begins_anew() -> Result<()> {
    let mut scene = ima::scene()?;
    let enrolled = scene.enrol().await?;
    scene.gateway.with_sim(SimGateway::reboot)?;
    let new = ima::run(&mut scene, &LISTED[..1])?;
    let log = affirmed(&scene, &enrolled).await?;
    ensure!(log.offset == 0 && log.content.ends_with(&encoded(&new)));
    let log = affirmed(&scene, &enrolled).await?;
    ensure!((log.offset, log.content.len()) == (2, 0), "{log:?}");
    Ok(())
}

/// Files are held against the list in force: with another list the whole log is
/// looked at again, even where the list changes under an attestation.
#[tokio::test(flavor = "multi_thread")]
async fn another_list_begins_anew() -> Result<()> {
    let scene = ima::scene()?;
    let enrolled = scene.enrol().await?;
    ima::allow(&scene, &LISTED[..3])?;
    let log = affirmed(&scene, &enrolled).await?;
    ensure!(log.offset == 0 && !log.content.is_empty());
    let log = affirmed(&scene, &enrolled).await?;
    ensure!(log.offset == 3);

    let (ready, _) = ima::ready(&scene, &enrolled).await?;
    ima::allow(&scene, &LISTED)?;
    RESYNC.expect(
        &ready
            .send()
            .await
            .expect_err("a list in between was passed over"),
    )?;
    drop(ready);
    affirmed(&scene, &enrolled).await?;

    let (mut resynchronised, mut replaced) = (false, Ok(()));
    let outcome = ima::attest_as_deployed(&scene, &mut |step| match step {
        Step::EvidenceReady(_) => replaced = ima::allow(&scene, &LISTED[..2]),
        Step::Resynchronising => resynchronised = true,
        _ => {}
    })
    .await?;
    replaced?;
    ensure!(matches!(outcome, Outcome::Affirmed(..)), "{outcome:?}");
    ensure!(resynchronised);
    Ok(())
}

/// A file that nobody listed: refused with its name and what to do; listed, and
/// resumed by the owner, the gateway comes back.
#[tokio::test]
async fn an_unknown_file_is_refused_and_once_listed_good() -> Result<()> {
    let mut scene = ima::scene()?;
    let enrolled = scene.enrol().await?;
    ima::run(&mut scene, &[("/opt/new", b"new")])?;
    let (ready, log) = ima::ready(&scene, &enrolled).await?;
    ensure!(log.offset == 3);
    let verdict = ready.send().await?.verdict.context("verdict")?;
    ensure!(!verdict.affirming);
    let [reason] = verdict.reasons.as_slice() else {
        anyhow::bail!("{:?}", verdict.reasons)
    };
    ensure!(reason.code == "ima-unknown-file", "{reason:?}");
    ensure!(reason.detail.starts_with("/opt/new (sha256:"), "{reason:?}");
    ensure!(reason.next_step.contains("allow list"), "{reason:?}");
    drop(ready);
    // Its connection holds the TPM until the runtime has closed it; the program
    // wants the TPM to itself.
    tokio::time::sleep(Duration::from_millis(300)).await;

    ima::allow(&scene, &[&LISTED[..], &[("/opt/new", b"new")]].concat())?;
    let id = enrolled.gateway_id.to_string();
    scene.deployment.run(&["gateway", "resume", &id])?;
    let (boot_log, ima_log) = (
        scene.gateway.sim().boot_log(),
        scene.gateway.sim().ima_log(),
    );
    let text = |path: &Path| path.display().to_string();
    let logs = ["--boot-log", &text(&boot_log), "--ima-log", &text(&ima_log)];
    scene
        .gateway
        .run(&[&["recover"], logs.as_slice()].concat())?;
    scene
        .gateway
        .run(&[&["attest"], logs.as_slice()].concat())?;
    Ok(())
}

/// An update of a gateway that measures files: its drift is approved without
/// PCR 10, which goes on changing, and the gateway stays good when it does.
#[tokio::test]
async fn an_update_is_approved_without_pcr_10() -> Result<()> {
    let mut scene = ima::scene()?;
    let enrolled = scene.enrol().await?;
    let updated = BootImage::golden().with_kernel("6.1.0-32-amd64");
    scene
        .gateway
        .with_sim(|sim| sim.reboot_with(&updated.boot()))?;
    ima::run(&mut scene, &LISTED[..1])?;
    let (ready, _) = ima::ready(&scene, &enrolled).await?;
    let verdict = ready.send().await?.verdict.context("verdict")?;
    let codes: Vec<&str> = verdict.reasons.iter().map(|r| r.code.as_str()).collect();
    ensure!(
        !codes.is_empty() && codes.iter().all(|code| *code == "pcr-mismatch"),
        "{codes:?}"
    );
    drop(ready);
    tokio::time::sleep(Duration::from_millis(300)).await;

    let id = enrolled.gateway_id.to_string();
    let shown = scene.deployment.run(&["reference", "diff", &id])?;
    ensure!(!shown.contains("PCR 10"), "{shown}");
    scene
        .deployment
        .run(&["gateway", "approve", &id, "--yes", "--reason", "update"])?;
    let (boot_log, ima_log) = (
        scene.gateway.sim().boot_log(),
        scene.gateway.sim().ima_log(),
    );
    let text = |path: &Path| path.display().to_string();
    let logs = ["--boot-log", &text(&boot_log), "--ima-log", &text(&ima_log)];
    scene
        .gateway
        .run(&[&["recover"], logs.as_slice()].concat())?;
    ima::run(&mut scene, &LISTED[1..3])?;
    scene
        .gateway
        .run(&[&["attest"], logs.as_slice()].concat())?;
    Ok(())
}

/// Without a log there is nothing that explains PCR 10.
#[tokio::test]
async fn a_gateway_without_a_log_is_refused() -> Result<()> {
    let scene = ima::scene()?;
    let bundle = scene.deployment.bundle()?;
    let mut ready = ready_to_enrol(&scene.gateway, bundle, KeyChoice::default()).await?;
    ready.evidence().ima_log = None;
    let verdict = ready.send().await?.verdict.context("verdict")?;
    ensure!(!verdict.affirming);
    let codes: Vec<&str> = verdict.reasons.iter().map(|r| r.code.as_str()).collect();
    ensure!(codes.contains(&"ima-missing"), "{codes:?}");
    Ok(())
}

/// ima-evm-utils reads the simulated log, finds it to lead to the TPM's PCR 10
/// in each bank; and finds a changed one not to.
#[tokio::test]
async fn evmctl_agrees_with_the_simulator() -> Result<()> {
    if !oracle::present("evmctl") {
        skip!("needs evmctl: apt-get install ima-evm-utils");
    }
    let mut scene = ima::scene()?;
    let signer = ImaSigner::generate()?;
    let signed = ImaEntry::signed("/opt/signed", b"x", &signer.sign(b"x"));
    ima::measure(&mut scene, &[signed])?;
    let folder = scene.deployment.scratch().to_path_buf();
    let banks = scene.gateway.with_sim(|sim| {
        let read = |bank| sim.read_pcrs(bank).map(|values| (bank, values));
        Ok::<_, holdfast_tpm_sim::SimError>([read(HashAlg::Sha1)?, read(HashAlg::Sha256)?])
    })?;
    let mut arguments = vec!["ima_measurement".to_owned(), "-v".to_owned()];
    for (bank, values) in banks {
        let path = folder.join(format!("pcrs-{}", bank.name()));
        let lines: String = values
            .iter()
            .map(|(pcr, value)| format!("PCR-{pcr:02}: {value}\n"))
            .collect();
        std::fs::write(&path, lines)?;
        arguments.push(format!("--pcrs={},{}", bank.name(), path.display()));
    }
    let with = |log: &Path| {
        let mut arguments = arguments.clone();
        arguments.push(log.display().to_string());
        oracle::run("evmctl", arguments)
    };
    let log = scene.gateway.sim().ima_log();
    with(&log)?;
    let changed = folder.join("changed");
    let mut bytes = std::fs::read(&log)?;
    let digest = bytes.len() - 100;
    bytes[digest] ^= 1;
    std::fs::write(&changed, bytes)?;
    ensure!(with(&changed).is_err(), "evmctl passed a changed log");
    Ok(())
}

/// What the owner sees of it, and what the gateway's own `doctor` says.
#[tokio::test]
async fn the_logs_are_shown_on_both_sides() -> Result<()> {
    let mut scene = ima::scene()?;
    let enrolled = scene.enrol().await?;
    affirmed(&scene, &enrolled).await?;

    let shown = scene.deployment.gateway(&enrolled.gateway_id.to_string())?;
    let seen = &shown["evidence"];
    ensure!(
        seen["ima"]["entries"] == 3 && seen["ima"]["files"] == 2,
        "{seen}"
    );
    let of_no_file = ["unknown", "mismatched", "violations"];
    ensure!(
        of_no_file.iter().all(|kind| seen["ima"][kind] == 0),
        "{seen}"
    );
    let log = std::fs::read(scene.gateway.sim().boot_log())?;
    let digest = HashAlg::Sha256.digest(&[&log]).to_string();
    ensure!(seen["boot_log_sha256"] == digest, "{seen}");

    let doctor = |scene: &mut Scene, boot_log: &Path, ima_log: &Path| {
        let (boot_log, ima_log) = (boot_log.display(), ima_log.display());
        scene.gateway.run(&[
            "doctor",
            &format!("--boot-log={boot_log}"),
            &format!("--ima-log={ima_log}"),
        ])
    };
    let sim = scene.gateway.sim();
    let (boot_log, ima_log) = (sim.boot_log(), sim.ima_log());
    let words = doctor(&mut scene, &boot_log, &ima_log)?;
    for good in [
        "leads to what PCRs 0 to 7 hold",
        "leads to what PCR 10 holds",
    ] {
        ensure!(words.contains(good), "{words}");
    }
    // Logs of another boot, or of none.
    let other = scene.deployment.scratch().join("other.log");
    std::fs::write(
        &other,
        BootImage::golden().with_kernel("another").boot().encode(),
    )?;
    let short = scene.deployment.scratch().join("short.log");
    std::fs::write(&short, encoded(&[ImaEntry::file("/x", b"x")]))?;
    let words = doctor(&mut scene, &other, &short)?;
    ensure!(words.contains("does not lead to what PCR 4"), "{words}");
    ensure!(
        words.contains("does not lead to what PCR 10 holds"),
        "{words}"
    );
    let garbage = scene.deployment.scratch().join("garbage.log");
    std::fs::write(&garbage, [0xA5; 100])?;
    let words = doctor(&mut scene, &garbage, &garbage)?;
    ensure!(words.matches("cannot be read").count() == 2, "{words}");
    Ok(())
}
