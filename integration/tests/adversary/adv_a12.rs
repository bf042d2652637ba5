//! A12: the boot log. The gateway booted well; its log was changed, and the
//! change is bound by claims and quote like the truth. Under the policy that goes
//! by the log it is never believed; under reference values it is told.

use anyhow::{Result, ensure};
use holdfast_integration::forged_log::{assert_not_believed, forged, ready_with, scene, verdict};
use holdfast_integration::{Refusal, Scene};
use holdfast_tpm_sim::boot_log::{Event, event_type};
use holdfast_tpm_sim::{BootImage, BootLog};
use tonic::Code;

const MISMATCH: &str = "boot-log-mismatch";
const UNPROVEN: &str = "secure-boot-unproven";

/// The first event that `what` holds of.
fn at(log: &BootLog, what: impl Fn(&Event) -> bool) -> usize {
    log.events
        .iter()
        .position(what)
        .expect("the golden log has one")
}

fn separator(pcr: u32) -> impl Fn(&Event) -> bool {
    move |event| event.pcr == pcr && event.event_type == event_type::EV_SEPARATOR
}

async fn then_the_good_run(scene: &Scene) -> Result<()> {
    let good = verdict(scene, forged(|_| ())).await?;
    ensure!(good.affirming, "the good run after: {:#?}", good.reasons);
    ensure!(good.reasons.is_empty(), "{:#?}", good.reasons);
    Ok(())
}

/// Dropped, appended, reordered, twice, forged: the PCR is not explained.
#[tokio::test]
async fn adv_a12_a_log_that_does_not_replay() -> Result<()> {
    type Change = fn(&mut BootLog);
    let cases: [(&str, &str, Change); 9] = [
        ("separator of PCR 7 dropped", "PCR 7 ", |log| {
            let at = at(log, separator(7));
            drop(log.events.remove(at));
        }),
        ("all of PCR 4 dropped", "PCR 4 ", |log| {
            log.events.retain(|event| event.pcr != 4);
        }),
        ("cut in the middle", "PCR 9 ", |log| {
            let half = log.events.len() / 2;
            log.events.truncate(half);
        }),
        ("an event appended", "PCR 8 ", |log| {
            let data = b"grub_cmd: echo".to_vec();
            log.events
                .push(Event::of(8, event_type::EV_IPL, b"echo", data));
        }),
        ("two events exchanged", "PCR 7 ", |log| {
            let first = at(log, |event| event.pcr == 7);
            log.events.swap(first, first + 1);
        }),
        ("a second separator", "PCR 4 ", |log| {
            let copy = log.events[at(log, separator(4))].clone();
            log.events.push(copy);
        }),
        ("a separator with another digest", "PCR 0 ", |log| {
            let at = at(log, separator(0));
            log.events[at] = Event::of_data(0, event_type::EV_SEPARATOR, vec![1, 0, 0, 0]);
        }),
        ("an event that says it is not extended", "PCR 7 ", |log| {
            let first = at(log, |event| event.pcr == 7);
            log.events[first].event_type = event_type::EV_NO_ACTION;
        }),
        ("a start-up from locality 3", "PCR 0 ", |log| {
            let mut event = Event::of_data(0, event_type::EV_NO_ACTION, Vec::new());
            event.data = b"StartupLocality\0\x03".to_vec();
            log.events.insert(0, event);
        }),
    ];
    let scene = scene()?;
    for (what, detail, change) in cases {
        assert_not_believed(&scene, what, forged(change), MISMATCH, detail).await?;
    }
    then_the_good_run(&scene).await
}

/// Types and data are changed where digests are not: PCRs are explained, the
/// facts are not proven.
#[tokio::test]
async fn adv_a12_a_log_that_replays_and_lies() -> Result<()> {
    type Change = fn(&mut BootLog);
    let cases: [(&str, &str, &str, Change); 5] = [
        ("Secure Boot said to be off", UNPROVEN, "PCR 7", |log| {
            let first = at(log, |event| event.pcr == 7);
            if let Some(value) = log.events[first].data.last_mut() {
                *value = 0;
            }
        }),
        ("an authority called an action", UNPROVEN, "PCR 7", |log| {
            let at = at(log, |event| {
                event.event_type == event_type::EV_EFI_VARIABLE_AUTHORITY
            });
            log.events[at].event_type = event_type::EV_EFI_ACTION;
        }),
        ("a variable called a separator", UNPROVEN, "PCR 7", |log| {
            let first = at(log, |event| event.pcr == 7);
            log.events[first].event_type = event_type::EV_SEPARATOR;
        }),
        (
            "a separator called something else",
            "separator-not-proven",
            "PCR 4",
            |log| {
                let at = at(log, separator(4));
                log.events[at].event_type = event_type::EV_IPL;
            },
        ),
        // The error is told by the digest; the data cannot say so.
        (
            "a separator with other data",
            "command-line-hidden",
            "PCR 8",
            |log| {
                let at = at(log, |event| event.pcr == 8);
                log.events[at].data = b"grub_cmd: nothing".to_vec();
            },
        ),
    ];
    let scene = scene()?;
    for (what, code, detail, change) in cases {
        assert_not_believed(&scene, what, forged(change), code, detail).await?;
    }
    then_the_good_run(&scene).await
}

/// Bytes that are no log: refused with a kind of their own, and the log says
/// which event and field.
#[tokio::test]
async fn adv_a12_a_log_that_cannot_be_read() -> Result<()> {
    let scene = scene()?;
    let refusal = Refusal::new(Code::InvalidArgument, "boot-log-malformed");
    let good = BootImage::golden().boot().encode();
    // The Spec ID event: 32 bytes of head, then its data; algorithms at 28.
    let algorithms = 32 + 28;
    let change = |change: &dyn Fn(&mut Vec<u8>)| {
        let mut bytes = good.clone();
        change(&mut bytes);
        bytes
    };
    let first = 32 + 28 + 2 * 4 + 1;
    let cases = [
        ("an empty log", Vec::new(), "event 0"),
        (
            "an algorithm that the header does not declare",
            change(&|bytes| bytes[algorithms..algorithms + 2].copy_from_slice(&[0x99, 0x99])),
            "event 1",
        ),
        (
            "an event of 4 GiB",
            change(&|bytes| {
                let size = first + 12 + 2 + 20 + 2 + 32;
                bytes[size..size + 4].fill(0xFF);
            }),
            "event 1, TCG_PCR_EVENT2.eventSize",
        ),
        (
            "more digests than there are",
            change(&|bytes| bytes[first + 8..first + 12].fill(0xFF)),
            "event 1, TPML_DIGEST_VALUES.count",
        ),
        (
            "a PCR that no TPM has",
            change(&|bytes| bytes[first] = 24),
            "event 1, pcrIndex",
        ),
        (
            "a last event that is cut",
            change(&|bytes| bytes.truncate(bytes.len() - 1)),
            "TCG_PCR_EVENT2.event",
        ),
    ];
    for (what, log, cause) in cases {
        let ready = ready_with(&scene, log).await?;
        let attack = async {
            match ready.send().await {
                Err(status) => refusal.expect(&status),
                Ok(answer) => anyhow::bail!("{what}: answered: {answer:?}"),
            }
        };
        scene.because(cause, attack).await?;
        ensure!(scene.deployment.gateways()?.is_empty(), "{what}");
    }
    then_the_good_run(&scene).await
}

/// Where reference values decide, a log that differs is told and costs nothing.
#[tokio::test]
async fn adv_a12_under_reference_values_a_forged_log_is_told() -> Result<()> {
    let scene = Scene::new()?;
    let log = forged(|log| {
        let at = at(log, separator(7));
        drop(log.events.remove(at));
    });
    let verdict = verdict(&scene, log).await?;
    ensure!(verdict.affirming, "{:#?}", verdict.reasons);
    let codes: Vec<&str> = verdict
        .reasons
        .iter()
        .map(|reason| reason.code.as_str())
        .collect();
    ensure!(codes == [MISMATCH], "{codes:?}");
    ensure!(
        verdict.reasons[0].detail.starts_with("PCR 7:"),
        "{:?}",
        verdict.reasons
    );
    Ok(())
}
