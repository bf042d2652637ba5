//! A10: PCR selections and PCR values. What is quoted, what is listed and what
//! is required must be one and the same.

use anyhow::{Context, Result, ensure};
use holdfast_integration::scene::selection;
use holdfast_integration::{Attacks, Deployment, ReadyEnrolment, Refusal, Scene};
use holdfast_proto::grpc::v1;
use holdfast_proto::tpm::{Attest, Attested, HashAlg, PcrSelection, PcrSet};

/// One thing changed.
type Change<T> = fn(&mut T);

/// Genuine quotes, by the challenged AK and bound to the claims, over other
/// PCRs than required, with PCR values that fit the quote: only the selection
/// tells.
#[tokio::test]
async fn adv_a10_c22_genuine_quote_of_other_pcrs() -> Result<()> {
    let scene = Scene::new()?;
    let mut attacks = Attacks::on(&scene).await?;
    for (cause, hash, pcrs) in [
        // C17: a quote over nothing verifies.
        ("quote covers sha256:, required", HashAlg::Sha256, &[][..]),
        ("quote covers sha256:7,", HashAlg::Sha256, &[7]),
        (
            "quote covers sha256:0,1,2,3,4,5,6,7,8,9, required",
            HashAlg::Sha256,
            &[0, 1, 2, 3, 4, 5, 6, 7, 8, 9],
        ),
        // More than required is not appraised, so it is refused too.
        (
            "quote covers sha256:0,1,2,3,4,5,6,7,8,9,10,14,",
            HashAlg::Sha256,
            &[0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 14],
        ),
        // Resettable by anybody, in place of one that is not.
        (
            "quote covers sha256:0,1,2,3,4,5,6,7,8,9,16,",
            HashAlg::Sha256,
            &[0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 16],
        ),
        (
            "quote covers sha256:1,2,3,4,5,6,7,8,9,14,23,",
            HashAlg::Sha256,
            &[1, 2, 3, 4, 5, 6, 7, 8, 9, 14, 23],
        ),
        // The right PCRs of another bank, as long as it is there.
        (
            "quote covers sha1:0,1,2,3,4,5,6,7,8,9,14,",
            HashAlg::Sha1,
            &[0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 14],
        ),
        (
            "quote covers sha384:0,1,2,3,4,5,6,7,8,9,14,",
            HashAlg::Sha384,
            &[0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 14],
        ),
    ] {
        attacks
            .refused(Refusal::NOT_AUTHENTIC, cause, |ready| {
                let pcrs = PcrSet::from_indices(pcrs.iter().copied())?;
                match ready.requote(&PcrSelection { hash, pcrs }, |bound| bound) {
                    // This TPM lacks the bank: the quote then says so, which
                    // the altered structure says as well.
                    Err(_) => alter_selection(ready, |banks| banks[0].hash = hash),
                    done => done,
                }
            })
            .await?;
    }
    attacks.then_the_good_run().await
}

/// Selections that a TPM would give for other requests: two banks, the bank
/// twice, no bank at all, the right bank beside an empty one.
#[tokio::test]
async fn adv_a10_other_banks_in_the_selection() -> Result<()> {
    let scene = Scene::new()?;
    let mut attacks = Attacks::on(&scene).await?;
    let changes: [(&str, Change<Vec<PcrSelection>>); 6] = [
        ("quote covers , required", Vec::clear),
        ("quote covers sha256:0,", |banks| banks.push(banks[0])),
        ("quote covers sha256:0,", |banks| {
            banks.push(PcrSelection {
                hash: HashAlg::Sha1,
                pcrs: banks[0].pcrs,
            })
        }),
        ("quote covers sha1:0,", |banks| {
            banks.insert(
                0,
                PcrSelection {
                    hash: HashAlg::Sha1,
                    pcrs: banks[0].pcrs,
                },
            )
        }),
        ("quote covers sha256:0,", |banks| {
            banks.push(PcrSelection {
                hash: HashAlg::Sha384,
                pcrs: PcrSet::EMPTY,
            })
        }),
        // One selection, written as two halves of the same bank.
        ("quote covers sha256:0,1,2+sha256:3,", |banks| {
            let (low, high): (Vec<u32>, Vec<u32>) = banks[0].pcrs.iter().partition(|i| *i < 3);
            let half = |pcrs: Vec<u32>| PcrSelection {
                hash: HashAlg::Sha256,
                pcrs: PcrSet::from_indices(pcrs).expect("ascending"),
            };
            *banks = vec![half(low), half(high)];
        }),
    ];
    for (cause, change) in changes {
        attacks
            .refused(Refusal::NOT_AUTHENTIC, cause, |ready| {
                alter_selection(ready, change)
            })
            .await?;
    }
    // Encodings that are not one: a bank that is none, a bitmap of another
    // size, more banks than exist.
    let offset = |ready: &mut ReadyEnrolment| -> Result<usize> {
        let attest = Attest::parse(&ready.evidence().quote_attest)?;
        // magic, type, two TPM2Bs, clockInfo, firmwareVersion, count.
        Ok(6 + 2 + attest.qualified_signer.len() + 2 + attest.extra_data.len() + 17 + 8)
    };
    for (cause, at, value) in [
        ("TPMS_PCR_SELECTION.hash: unsupported value 0x12", 5, 0x12),
        (
            "TPMS_PCR_SELECTION.sizeofSelect: unsupported value 0x4",
            6,
            4,
        ),
        (
            "TPMS_PCR_SELECTION.sizeofSelect: unsupported value 0x0",
            6,
            0,
        ),
        ("TPML_PCR_SELECTION.count: length 4278190081", 0, 0xFF),
        ("quote_attest: ", 3, 2),
        ("quote_attest: ", 3, 0),
    ] {
        attacks
            .refused(Refusal::INVALID_REQUEST, cause, |ready| {
                let start = offset(ready)?;
                ready.evidence().quote_attest[start + at] = value;
                Ok(())
            })
            .await?;
    }
    attacks.then_the_good_run().await
}

/// A genuine quote of the required PCRs, beside another list of values.
#[tokio::test]
async fn adv_a10_list_of_values_is_not_the_selection() -> Result<()> {
    const OTHER: &str = "PCR values cover";
    const ORDER: &str = "PCR values are not strictly ascending";
    const DIGEST: &str = "PCR values do not match the quote's digest";
    let scene = Scene::new()?;
    let mut attacks = Attacks::on(&scene).await?;
    let value = |index, byte| v1::PcrValue {
        index,
        value: vec![byte; 32],
    };
    type Boxed<'a> = Box<dyn Fn(&mut Vec<v1::PcrValue>) + 'a>;
    let changes: Vec<(Refusal, &str, Boxed<'_>)> = vec![
        (Refusal::NOT_AUTHENTIC, OTHER, Box::new(Vec::clear)),
        (
            Refusal::NOT_AUTHENTIC,
            OTHER,
            Box::new(|pcrs| drop(pcrs.pop())),
        ),
        (
            Refusal::NOT_AUTHENTIC,
            OTHER,
            Box::new(|pcrs| drop(pcrs.remove(0))),
        ),
        (
            Refusal::NOT_AUTHENTIC,
            OTHER,
            Box::new(|pcrs| pcrs.push(value(15, 0))),
        ),
        (
            Refusal::NOT_AUTHENTIC,
            OTHER,
            Box::new(|pcrs| pcrs.push(value(16, 0))),
        ),
        // A resettable PCR's value under a boot PCR's number, and the reverse.
        (
            Refusal::NOT_AUTHENTIC,
            OTHER,
            Box::new(|pcrs| pcrs[10].index = 23),
        ),
        (
            Refusal::NOT_AUTHENTIC,
            DIGEST,
            Box::new(|pcrs| pcrs[10].value.fill(0xEE)),
        ),
        (
            Refusal::NOT_AUTHENTIC,
            DIGEST,
            Box::new(|pcrs| pcrs[0].value[31] ^= 1),
        ),
        (
            Refusal::NOT_AUTHENTIC,
            DIGEST,
            Box::new(|pcrs| {
                let first = pcrs[0].value.clone();
                pcrs[0].value = std::mem::replace(&mut pcrs[4].value, first);
            }),
        ),
        (
            Refusal::INVALID_REQUEST,
            ORDER,
            Box::new(|pcrs| pcrs.reverse()),
        ),
        (
            Refusal::INVALID_REQUEST,
            ORDER,
            Box::new(|pcrs| pcrs.swap(3, 4)),
        ),
        (
            Refusal::INVALID_REQUEST,
            ORDER,
            Box::new(|pcrs| pcrs.insert(1, pcrs[0].clone())),
        ),
        (
            Refusal::INVALID_REQUEST,
            ORDER,
            Box::new(|pcrs| pcrs.push(value(24, 0))),
        ),
        (
            Refusal::INVALID_REQUEST,
            ORDER,
            Box::new(|pcrs| pcrs.push(value(u32::MAX, 0))),
        ),
        (
            Refusal::INVALID_REQUEST,
            "pcr_values has 4096 bytes, at most 24 are taken",
            Box::new(|pcrs| pcrs.resize(4096, value(0, 0))),
        ),
        (
            Refusal::INVALID_REQUEST,
            "pcr_values.value has 65 bytes, at most 64 are taken",
            Box::new(|pcrs| pcrs[0].value.resize(65, 0)),
        ),
        // Bytes moved over the border between two values: the digest over all
        // of them is the same.
        (
            Refusal::NOT_AUTHENTIC,
            "PCR 0 has 33 bytes",
            Box::new(|pcrs| {
                let moved = pcrs[1].value.remove(0);
                pcrs[0].value.push(moved);
            }),
        ),
        (
            Refusal::NOT_AUTHENTIC,
            "PCR 0 has 20 bytes",
            Box::new(|pcrs| pcrs[0].value.truncate(20)),
        ),
        (
            Refusal::NOT_AUTHENTIC,
            "PCR 14 has 0 bytes",
            Box::new(|pcrs| pcrs[10].value.clear()),
        ),
    ];
    for (refusal, cause, change) in changes {
        attacks
            .refused(refusal, cause, |ready| {
                change(&mut ready.evidence().pcr_values);
                Ok(())
            })
            .await?;
    }
    attacks.then_the_good_run().await
}

/// Values of the state as it should be, beside a genuine quote of the state as
/// it is.
#[tokio::test]
async fn adv_a10_good_values_beside_the_quote_of_a_bad_state() -> Result<()> {
    let mut scene = Scene::new()?;
    let good = scene.ready_to_enrol().await?.evidence().pcr_values.clone();
    scene
        .gateway
        .with_sim(|sim| sim.extend_pcr(4, b"another boot loader"))?;
    let mut attack = scene.ready_to_enrol().await?;
    ensure!(attack.evidence().pcr_values != good);
    attack.evidence().pcr_values = good;
    let bundle = attack.bundle.clone();
    let refused = async {
        let status = attack.send().await.err().context("granted")?;
        Refusal::NOT_AUTHENTIC.expect(&status)
    };
    scene
        .because("PCR values do not match the quote's digest", refused)
        .await?;
    ensure!(scene.deployment.gateways()?.is_empty());
    drop(attack);
    scene
        .gateway
        .with_sim(holdfast_tpm_sim::SimGateway::reboot)?;
    scene.assert_good_run(bundle).await
}

/// The same for a gateway on record.
#[tokio::test]
async fn adv_a10_in_a_reattestation() -> Result<()> {
    let scene = Scene::new()?;
    let enrolled = scene.enrol().await?;
    let mut attack = scene.ready_to_attest(&enrolled, false).await?;
    let evidence = attack.request.evidence.as_mut().context("evidence")?;
    evidence.pcr_values.pop();
    let refused = scene.assert_attest_refused(attack, Refusal::NOT_AUTHENTIC);
    scene.because("PCR values cover", refused).await?;

    // Quoted over nothing, genuinely.
    let mut attack = scene.ready_to_attest(&enrolled, false).await?;
    let evidence = attack.request.evidence.as_mut().context("evidence")?;
    let bound = holdfast_proto::binding::quote_extra_data(&evidence.claims);
    let nothing = PcrSelection {
        hash: HashAlg::Sha256,
        pcrs: PcrSet::EMPTY,
    };
    let quote = scene
        .gateway
        .tpm()
        .quote(&enrolled.keys.ak, &nothing, bound)?;
    evidence.quote_attest = quote.attest;
    evidence.quote_signature = quote.signature;
    evidence.pcr_values.clear();
    let refused = scene.assert_attest_refused(attack, Refusal::NOT_AUTHENTIC);
    scene.because("quote covers ", refused).await
}

/// The owner cannot require a PCR that anybody can reset, or none.
#[test]
fn adv_a10_resettable_pcrs_cannot_be_required() -> Result<()> {
    let require = |pcrs: &str| {
        Deployment::start_with(|configuration| {
            let line = configuration
                .lines()
                .find(|line| line.starts_with("pcr_selection"))
                .expect("config.toml names pcr_selection")
                .to_owned();
            configuration.replace(&line, &format!("pcr_selection = {pcrs}"))
        })
    };
    for (pcrs, rule) in [
        ("[0, 7, 16]", "PCR 16 and 23 can be reset"),
        ("[0, 7, 23]", "PCR 16 and 23 can be reset"),
        ("[]", "a quote over none proves nothing"),
        ("[0, 0]", "name each PCR once"),
        ("[0, 24]", "pcr_selection"),
    ] {
        let refused = require(pcrs).err().context("it serves")?;
        let words = format!("{refused:#}");
        ensure!(
            words.contains("pcr_selection") && words.contains(rule),
            "{pcrs}: {words}"
        );
    }
    require("[0, 7]").map(drop)
}

fn alter_selection(
    ready: &mut ReadyEnrolment,
    change: impl FnOnce(&mut Vec<PcrSelection>),
) -> Result<()> {
    let required = selection(&ready.challenge.pcr_selection)?;
    let mut attest = Attest::parse(&ready.evidence().quote_attest)?;
    let Attested::Quote { selection, .. } = &mut attest.attested else {
        anyhow::bail!("not a quote");
    };
    ensure!(*selection == [required]);
    change(selection);
    ready.evidence().quote_attest = attest.encode();
    Ok(())
}
