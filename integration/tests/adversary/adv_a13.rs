//! A13: the IMA log, forged in every way of the row; each in a run that is good
//! otherwise, on a live TPM.

use anyhow::{Context as _, Result, bail, ensure};
use holdfast_attester::attestation::exchange::{Outcome, Step};
use holdfast_integration::ima::{self, LISTED};
use holdfast_integration::{Attacks, ReadyEnrolment, Refusal, Scene};
use holdfast_proto::grpc::v1;
use holdfast_tpm_sim::{ImaEntry, SimGateway};
use tonic::Code;

const RESYNC: Refusal = Refusal::new(Code::FailedPrecondition, "ima-resync");
const MISSED: &str = "the IMA log does not lead to the quoted PCR 10";
const GO_ON: &str = "on does not go on to the quoted PCR 10";

/// The scene's log, entry by entry.
fn entries(extra: &[ImaEntry]) -> Vec<Vec<u8>> {
    let files = LISTED[..2].iter();
    files
        .map(|(path, content)| ImaEntry::file(path, content).encode())
        .chain(extra.iter().map(ImaEntry::encode))
        .collect()
}

fn log(ready: &mut ReadyEnrolment) -> Result<&mut v1::ImaLog> {
    ready.evidence().ima_log.as_mut().context("a log")
}

fn edit(ready: &mut ReadyEnrolment, edit: impl FnOnce(&mut Vec<u8>)) -> Result<()> {
    let log = log(ready)?;
    let mut content = log.content.to_vec();
    edit(&mut content);
    log.content = content.into();
    Ok(())
}

/// Replaces the last entry.
fn last(ready: &mut ReadyEnrolment, with: &[u8]) -> Result<()> {
    let cut = entries(&[]).pop().context("an entry")?.len();
    edit(ready, |log| {
        log.truncate(log.len() - cut);
        log.extend(with);
    })
}

/// Truncated, edited, reordered, relabelled, malformed: nothing but what was
/// measured leads to PCR 10.
#[tokio::test]
async fn adv_a13_a_log_that_was_tampered_with() -> Result<()> {
    let scene = ima::scene()?;
    let mut attacks = Attacks::on(&scene).await?;
    let not_authentic = Refusal::NOT_AUTHENTIC;
    let invalid = Refusal::INVALID_REQUEST;
    let bash = entries(&[]).pop().context("an entry")?;

    // Truncated: by an entry, to nothing, by a byte, by its first entry.
    attacks
        .refused(not_authentic, MISSED, |r| last(r, b""))
        .await?;
    attacks
        .refused(not_authentic, MISSED, |r| edit(r, Vec::clear))
        .await?;
    let cause = "IMA log: entry 2, template data at byte";
    attacks
        .refused(invalid, cause, |r| {
            edit(r, |log| log.truncate(log.len() - 1))
        })
        .await?;
    attacks
        .refused(not_authentic, MISSED, |r| {
            let rest = entries(&[]).concat().len();
            edit(r, |log| *log = log.split_off(log.len() - rest))
        })
        .await?;
    // Edited: the path, the digest, the PCR, a violation made of an entry.
    let change = |at: usize, to: u8| {
        let mut entry = bash.clone();
        entry[at] = to;
        entry
    };
    let end = bash.len();
    for entry in [change(end - 2, b'g'), change(60, 0xFF), change(0, 11)] {
        attacks
            .refused(not_authentic, MISSED, |r| last(r, &entry))
            .await?;
    }
    let mut violation = bash.clone();
    violation[4..24].fill(0);
    attacks
        .refused(not_authentic, MISSED, |r| last(r, &violation))
        .await?;
    // Another file in its place, and its template under another name.
    let other = ImaEntry::file("/usr/bin/bash", b"evil").encode();
    attacks
        .refused(not_authentic, MISSED, |r| last(r, &other))
        .await?;
    for (template, cause) in [
        ("ima-xx", "IMA log: entry 2, template name at byte"),
        ("ima-ng|", "IMA log: entry 2, template name at byte"),
        ("ima-sig", "IMA log: entry 2"),
    ] {
        let mut entry = ImaEntry::file("/usr/bin/bash", b"bash");
        entry.template = template.to_owned();
        attacks
            .refused(invalid, cause, |r| last(r, &entry.encode()))
            .await?;
    }
    // A path with a NUL, one without its end, lengths that lie.
    let nul = ImaEntry::ng(b"/usr/bin/ba\0sh", b"bash").encode();
    let cause = "IMA log: entry 2, n-ng at byte";
    attacks.refused(invalid, cause, |r| last(r, &nul)).await?;
    attacks
        .refused(invalid, cause, |r| last(r, &change(end - 1, b'x')))
        .await?;
    attacks
        .refused(invalid, "IMA log: entry 2", |r| last(r, &change(27, 0xFF)))
        .await?;
    // Text; and more than a stranger may send.
    let text = b"10 91f34b5c671d73504b274a919661cf80dab1e127 ima-ng sha256:00 /a\n";
    let cause = "not in the format of binary_runtime_measurements";
    attacks
        .refused(invalid, cause, |r| edit(r, |log| *log = text.to_vec()))
        .await?;
    let cause = "has 4194305 bytes";
    attacks
        .refused(invalid, cause, |r| {
            edit(r, |log| log.resize((4 << 20) + 1, 0))
        })
        .await?;
    attacks.then_the_good_run().await
}

/// Offsets in an enrolment, where nothing is known; and a log that goes on
/// beyond the quote, which is good.
#[tokio::test]
async fn adv_a13_offsets_before_anything_is_known() -> Result<()> {
    let scene = ima::scene()?;
    let mut attacks = Attacks::on(&scene).await?;
    for offset in [1, 3, u64::MAX] {
        attacks
            .refused(RESYNC, GO_ON, |r| {
                log(r)?.offset = offset;
                Ok(())
            })
            .await?;
    }
    let ahead = ImaEntry::file("/opt/not-quoted", b"?").encode();
    attacks
        .then_granted(|r| edit(r, |log| log.extend(&ahead)))
        .await
}

/// Lies in the incremental protocol: every one asks for the whole log, changes
/// nothing, and leaves no gap.
#[tokio::test]
async fn adv_a13_offset_lies() -> Result<()> {
    let mut scene = ima::scene()?;
    let enrolled = scene.enrol().await?;
    ima::run(&mut scene, &LISTED[2..])?;
    let new = [
        ImaEntry::file(LISTED[2].0, LISTED[2].1).encode(),
        ImaEntry::file(LISTED[3].0, LISTED[3].1).encode(),
    ];
    let cases: [(u64, Vec<u8>); 7] = [
        (2, new.concat()),
        (4, new[1].clone()),
        (u64::MAX, Vec::new()),
        (3, new[1].clone()),
        (3, Vec::new()),
        (3, [&[0], new.concat().as_slice()].concat()),
        (3, [b"10 00 ima-ng".as_slice(), &new[0]].concat()),
    ];
    for (offset, content) in cases {
        let (mut attack, _) = ima::ready(&scene, &enrolled).await?;
        let evidence = attack.request.evidence.as_mut().context("evidence")?;
        let content = content.into();
        evidence.ima_log = Some(v1::ImaLog { offset, content });
        let before = holdfast_integration::refusal::Record::of(&scene.deployment)?;
        let sent = async {
            let status = attack.send().await.expect_err("a lie was believed");
            RESYNC.expect(&status)
        };
        scene.because(GO_ON, sent).await?;
        before.unchanged(&scene.deployment)?;
    }
    // The refusals spent nothing and moved nothing: the two are still new.
    let (ready, log) = ima::ready(&scene, &enrolled).await?;
    ensure!(log.offset == 3 && log.content == new.concat());
    let verdict = ready.send().await?.verdict.context("verdict")?;
    ensure!(verdict.affirming, "{:?}", verdict.reasons);
    Ok(())
}

/// A log that begins anew in the middle of a boot (kexec): the attester offers
/// all that it has, and it does not lead to PCR 10.
#[tokio::test]
async fn adv_a13_restart_in_the_middle() -> Result<()> {
    let mut scene = ima::scene()?;
    scene.enrol().await?;
    std::fs::write(scene.gateway.sim().ima_log(), b"")?;
    let again = ImaEntry::boot_aggregate(&std::collections::BTreeMap::new());
    ima::measure(&mut scene, &[again])?;
    let mut resynchronised = false;
    let attack = async {
        let mut watch = |step: Step<'_>| {
            resynchronised |= matches!(step, Step::Resynchronising);
        };
        match ima::attest_as_deployed(&scene, &mut watch).await {
            Err(error) => Ok(error),
            Ok(outcome) => bail!("{outcome:?}"),
        }
    };
    let error = scene.because(MISSED, attack).await?;
    ensure!(
        resynchronised && format!("{error:#}").contains("not-authentic"),
        "{error:#}"
    );
    // Only a reboot mends it.
    scene.gateway.with_sim(SimGateway::reboot)?;
    ima::run(&mut scene, &LISTED[..2])?;
    let outcome = ima::attest_as_deployed(&scene, &mut |_| {}).await?;
    ensure!(matches!(outcome, Outcome::Affirmed(..)), "{outcome:?}");
    Ok(())
}

/// What PCR 10 proves and nobody should accept: told by name, with what a
/// terminal obeys taken out.
#[tokio::test]
async fn adv_a13_what_is_measured_is_told() -> Result<()> {
    let mut scene = ima::scene()?;
    let cases: [(ImaEntry, &str, &str); 5] = [
        (
            ImaEntry::ng(b"/tmp/a\nb\x1b[2Jc\xFF", b"x"),
            "ima-unknown-file",
            r"/tmp/a\u{a}b\u{1b}[2Jc\xff (sha256:",
        ),
        (
            ImaEntry::file("/usr/bin/bash", b"evil"),
            "ima-mismatched-file",
            "/usr/bin/bash is sha256:",
        ),
        (
            ImaEntry::violation("/var/log/x"),
            "ima-violation",
            "/var/log/x was written",
        ),
        (
            ImaEntry::file("boot_aggregate", b"x"),
            "ima-unknown-file",
            "boot_aggregate (sha256:",
        ),
        (
            ImaEntry::of(
                "ima-buf",
                &[
                    [b"sha256:\0".as_slice(), &[7; 32]].concat(),
                    b"/opt/x\0".to_vec(),
                    b"y".to_vec(),
                ],
            ),
            "ima-unknown-file",
            "/opt/x (sha256:0707",
        ),
    ];
    for (entry, code, detail) in cases {
        ima::measure(&mut scene, &[entry])?;
        assert_refused_for(&scene, code, detail).await?;
        scene.gateway.with_sim(SimGateway::reboot)?;
    }
    // And a good boot is good.
    ima::run(&mut scene, &LISTED[..2])?;
    scene.assert_good_run(scene.deployment.bundle()?).await
}

/// The first entry is of another boot.
#[tokio::test]
async fn adv_a13_boot_aggregate_forged() -> Result<()> {
    let mut scene = ima::scene()?;
    // A kernel that lies about the boot: its log is measured, but its first
    // entry is over other PCRs.
    scene.gateway.with_sim(|sim| {
        sim.set_ima(false);
        sim.reboot()
    })?;
    let forged = ImaEntry::boot_aggregate(&std::collections::BTreeMap::new());
    let rest = LISTED[..2]
        .iter()
        .map(|(path, content)| ImaEntry::file(path, content));
    let log: Vec<ImaEntry> = [forged].into_iter().chain(rest).collect();
    ima::measure(&mut scene, &log)?;
    assert_refused_for(&scene, "ima-boot-aggregate", "differs").await?;

    // None at all.
    scene.gateway.with_sim(SimGateway::reboot)?;
    ima::measure(&mut scene, &log[1..])?;
    assert_refused_for(&scene, "ima-boot-aggregate", "absent").await?;

    scene.gateway.with_sim(|sim| {
        sim.set_ima(true);
        sim.reboot()
    })?;
    ima::run(&mut scene, &LISTED[..2])?;
    scene.assert_good_run(scene.deployment.bundle()?).await
}

/// An enrolment of the scene's gateway is verified, and refused for `code`
/// alone, with `detail` in its words; nothing goes on record.
async fn assert_refused_for(scene: &Scene, code: &str, detail: &str) -> Result<()> {
    let ready = scene.ready_to_enrol().await?;
    let answer = ready.send().await?;
    ensure!(answer.grant.is_none());
    let verdict = answer.verdict.context("verdict")?;
    ensure!(!verdict.affirming, "{code}: affirmed");
    let told = |r: &v1::Reason| r.code == code && r.detail.contains(detail);
    ensure!(
        verdict.reasons.iter().all(told),
        "{code}: {:?}",
        verdict.reasons
    );
    ensure!(!verdict.reasons.is_empty());
    ensure!(scene.deployment.gateways()?.is_empty());
    Ok(())
}
