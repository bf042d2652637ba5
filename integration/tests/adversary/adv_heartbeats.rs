//! Heartbeats on a live TPM (A16, A17, A20): what is no beat of its stream is
//! refused, what is not as affirmed asks for a full attestation, and who stops
//! is suspended.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use holdfast_attester::attestation;
use holdfast_attester::heartbeat::{Beating, Begun, Ended, Heart};
use holdfast_attester::state::Enrolled;
use holdfast_attester::tpm::{ImportedObject, ImportedUse, PinnedEk};
use holdfast_integration::refusal::kind_of;
use holdfast_integration::scene::{self, enrol, selection};
use holdfast_integration::{Deployment, Gateway, Scene, TokenOptions, story};
use holdfast_proto::binding::beat_extra_data;
use holdfast_proto::grpc::v1::beat_request::Frame as Sent;
use holdfast_proto::grpc::v1::beat_response::Frame as Answer;
use holdfast_proto::grpc::v1::{self, BeatRequest};
use holdfast_proto::tpm::PcrSelection;
use holdfast_tpm_sim::SimGateway;
use prost::Message as _;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Status, Streaming};

/// Interval and grace of these tests, in seconds, and what a loaded machine may
/// add.
const WITHIN: u64 = 12;
const GRACE: u64 = 8;
const SLACK: u64 = 5;

fn quick(configuration: String) -> String {
    let changed = configuration
        .replace(
            "\nbeat_within_seconds = 300\n",
            &format!("\nbeat_within_seconds = {WITHIN}\n"),
        )
        .replace(
            "\ngrace_seconds = 60\n",
            &format!("\ngrace_seconds = {GRACE}\n"),
        );
    assert_ne!(changed, configuration, "config.toml has changed");
    changed
}

/// A gateway that enrolled in a verifier that wants beats often.
async fn scene() -> Result<(Scene, Enrolled)> {
    let scene = Scene::with(|_| {}, quick)?;
    let enrolled = scene.enrol().await?;
    Ok((scene, enrolled))
}

async fn beating(gateway: &Gateway, heart: &mut Heart) -> Result<Box<Beating>> {
    match heart.begin(gateway.tpm()).await? {
        Begun::Beating(beating) => Ok(beating),
        Begun::Ended(ended) => anyhow::bail!("no stream began: {ended:?}"),
    }
}

/// Begins a stream again as a daemon would, until the verifier is there.
async fn beating_again(gateway: &Gateway, heart: &mut Heart) -> Result<Box<Beating>> {
    let deadline = Instant::now() + Duration::from_secs(20);
    loop {
        match beating(gateway, heart).await {
            Ok(beating) => return Ok(beating),
            Err(error) if Instant::now() > deadline => return Err(error),
            Err(_) => tokio::time::sleep(Duration::from_millis(300)).await,
        }
    }
}

fn state(deployment: &Deployment, enrolled: &Enrolled) -> Result<(String, String)> {
    let gateway = deployment.gateway(&enrolled.gateway_id.to_string())?;
    let text = |field: &str| gateway[field].as_str().unwrap_or_default().to_owned();
    Ok((text("state"), text("state_reason")))
}

/// Waits until the gateway is suspended; answers after how long, and why.
async fn until_suspended(
    scene: &Scene,
    enrolled: &Enrolled,
    seconds: u64,
) -> Result<(Duration, String)> {
    let began = Instant::now();
    loop {
        let (state, reason) = state(&scene.deployment, enrolled)?;
        if state == "suspended" {
            return Ok((began.elapsed(), reason));
        }
        ensure!(
            began.elapsed() < Duration::from_secs(seconds),
            "{state} after {seconds} s\n{}",
            scene.deployment.log()
        );
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
}

async fn attest(gateway: &Gateway) -> Result<()> {
    let plan = attestation::exchange::Plan {
        renew: false,
        boot_log: gateway.sim().boot_log(),
        ima_log: gateway.sim().ima_log(),
        evidence_dir: None,
        ear_jwt: false,
    };
    let state = gateway.state_dir()?;
    match attestation::exchange::attest(gateway.tpm(), &state, &plan, &mut |_| {}).await? {
        attestation::exchange::Outcome::Affirmed(..) => Ok(()),
        attestation::exchange::Outcome::Refused(verdict) => {
            anyhow::bail!("refused: {:?}", verdict.reasons)
        }
    }
}

/// A stream by hand, to send in it what the attester would not.
struct Wire {
    gateway: Gateway,
    pin: PinnedEk,
    key: ImportedObject,
    nonce: [u8; 32],
    selection: PcrSelection,
    sender: mpsc::Sender<BeatRequest>,
    answers: Streaming<v1::BeatResponse>,
}

impl Wire {
    async fn open(gateway: Gateway, enrolled: &Enrolled) -> Result<Self> {
        let connection = attestation::exchange::connect(gateway.tpm(), enrolled).await?;
        let (sender, frames) = mpsc::channel(4);
        let mut answers = connection
            .heartbeat()
            .beat(ReceiverStream::new(frames))
            .await?
            .into_inner();
        let hello = Sent::Hello(v1::BeatHello::default());
        sender.send(BeatRequest { frame: Some(hello) }).await?;
        let Some(Answer::Begin(begin)) = next(&mut answers).await? else {
            anyhow::bail!("no begin");
        };
        let pin = enrolled.pinned_ek()?;
        let wrapped = begin.key.context("no key")?;
        Ok(Self {
            key: gateway
                .tpm()
                .import(&pin, ImportedUse::HeartbeatKey, &wrapped)?,
            nonce: begin.nonce.as_slice().try_into()?,
            selection: selection(&begin.pcr_selection)?,
            gateway,
            pin,
            sender,
            answers,
        })
    }

    fn beat(&self, nonce: &[u8; 32], counter: u32) -> Result<v1::BeatQuote> {
        let quote = self.gateway.tpm().beat(
            &self.pin,
            &self.key,
            &self.selection,
            beat_extra_data(nonce, counter),
        )?;
        Ok(v1::BeatQuote {
            counter,
            attest: quote.attest,
            signature: quote.signature,
        })
    }

    async fn send(&mut self, beat: v1::BeatQuote) -> Result<Answer, Status> {
        let frame = Some(Sent::Beat(beat));
        let _ = self.sender.send(BeatRequest { frame }).await;
        next(&mut self.answers)
            .await
            .and_then(|answer| answer.ok_or_else(|| Status::unknown("no answer")))
    }

    /// The frame is refused, and the stream over.
    async fn refused(mut self, beat: v1::BeatQuote) -> Result<()> {
        let status = self
            .send(beat)
            .await
            .err()
            .context("the beat was answered")?;
        ensure!(kind_of(&status) == Some("not-a-beat"), "{status:?}");
        Ok(())
    }
}

async fn next(answers: &mut Streaming<v1::BeatResponse>) -> Result<Option<Answer>, Status> {
    Ok(answers.message().await?.and_then(|answer| answer.frame))
}

/// Two gateways, each with a stream of its own.
struct Two {
    scene: Scene,
    one: Wire,
    other: Wire,
}

async fn two() -> Result<Two> {
    let scene = Scene::new()?;
    let mut wires = Vec::new();
    for name in ["one", "other"] {
        let gateway = scene.another_gateway(name)?;
        let bundle = scene.deployment.bundle_with(&TokenOptions::default())?;
        let enrolled = enrol(&gateway, &bundle).await?;
        wires.push(Wire::open(gateway, &enrolled).await?);
    }
    let other = wires.pop().context("other")?;
    let one = wires.pop().context("one")?;
    Ok(Two { scene, one, other })
}

#[tokio::test]
async fn beats_are_answered_and_small() -> Result<()> {
    let Two {
        scene: _scene,
        mut one,
        ..
    } = two().await?;
    for counter in 1..=3 {
        let beat = one.beat(&one.nonce, counter)?;
        let frame = BeatRequest {
            frame: Some(Sent::Beat(beat.clone())),
        };
        println!("a beat takes {} bytes", frame.encoded_len());
        ensure!(frame.encoded_len() <= 400, "{}", frame.encoded_len());
        let began = Instant::now();
        let answer = one.send(beat).await?;
        println!("answered in {:?}", began.elapsed());
        ensure!(
            answer == Answer::Alive(v1::BeatAlive { counter }),
            "{answer:?}"
        );
    }
    Ok(())
}

#[tokio::test]
async fn adv_a16_a_beat_again_is_refused() -> Result<()> {
    let Two {
        scene: _scene,
        mut one,
        ..
    } = two().await?;
    let first = one.beat(&one.nonce, 1)?;
    one.send(first.clone()).await?;
    one.refused(first).await
}

#[tokio::test]
async fn adv_a16_a_beat_out_of_turn_is_refused() -> Result<()> {
    let Two {
        scene: _scene,
        one,
        other,
    } = two().await?;
    let skipped = one.beat(&one.nonce, 2)?;
    one.refused(skipped).await?;
    // Its number alone changed.
    let mut renumbered = other.beat(&other.nonce, 2)?;
    renumbered.counter = 1;
    other.refused(renumbered).await
}

#[tokio::test]
async fn adv_a16_a_beat_of_another_stream_is_refused() -> Result<()> {
    let Two {
        scene: _scene,
        one,
        other,
    } = two().await?;
    let swapped = one.beat(&other.nonce, 1)?;
    one.refused(swapped).await
}

#[tokio::test]
async fn adv_a16_a_beat_by_another_tpm_is_refused() -> Result<()> {
    let Two {
        scene: _scene,
        one,
        other,
    } = two().await?;
    let foreign = other.beat(&one.nonce, 1)?;
    one.refused(foreign).await
}

/// Drift is told at once, and who does not attest then is suspended within the
/// grace.
#[tokio::test]
async fn adv_a20_drift_asks_for_an_attestation_and_then_suspends() -> Result<()> {
    let (mut scene, enrolled) = scene().await?;
    let mut heart = Heart::new(&enrolled);
    ensure!(
        beating(&scene.gateway, &mut heart)
            .await?
            .beat(scene.gateway.tpm())
            .await?
            .is_none()
    );
    drop(heart);
    scene
        .gateway
        .with_sim(|sim| sim.extend_pcr(4, b"another boot manager"))?;
    let mut heart = Heart::new(&enrolled);
    let told = beating(&scene.gateway, &mut heart)
        .await?
        .beat(scene.gateway.tpm())
        .await?;
    let told_at = Instant::now();
    let Some(Ended::AttestNow { code, within }) = told else {
        anyhow::bail!("{told:?}");
    };
    ensure!(code == "pcr-drift", "{code}");
    ensure!(
        (1..GRACE).contains(&within.as_secs()),
        "told to attest within {within:?}"
    );
    // Going on beating does not help.
    let _ = beating(&scene.gateway, &mut heart)
        .await?
        .beat(scene.gateway.tpm())
        .await?;
    let (_, reason) = until_suspended(&scene, &enrolled, GRACE + SLACK).await?;
    println!("suspended {:?} after it was told", told_at.elapsed());
    ensure!(told_at.elapsed() > within, "sooner than {within:?}");
    ensure!(
        reason == "silence: told to attest (pcr-drift), and did not",
        "{reason}"
    );
    Ok(())
}

/// A reboot is no alarm: attest, and beat again, with a new key.
#[tokio::test]
async fn adv_a17_a_reset_asks_for_an_attestation_and_beats_go_on_after_it() -> Result<()> {
    let (mut scene, enrolled) = scene().await?;
    let mut heart = Heart::new(&enrolled);
    ensure!(
        beating(&scene.gateway, &mut heart)
            .await?
            .beat(scene.gateway.tpm())
            .await?
            .is_none()
    );
    drop(heart);
    scene.gateway.with_sim(SimGateway::reboot)?;
    let mut heart = Heart::new(&enrolled);
    let mut stream = beating(&scene.gateway, &mut heart).await?;
    let told = stream.beat(scene.gateway.tpm()).await?;
    ensure!(
        matches!(&told, Some(Ended::AttestNow { code, .. }) if code == "tpm-reset"),
        "{told:?}"
    );
    attest(&scene.gateway).await?;
    let mut stream = beating(&scene.gateway, &mut heart).await?;
    ensure!(stream.beat(scene.gateway.tpm()).await?.is_none());
    // A full attestation ends the key, and with it the stream.
    attest(&scene.gateway).await?;
    let ended = stream.beat(scene.gateway.tpm()).await?;
    ensure!(ended == Some(Ended::BeginAgain), "{ended:?}");
    ensure!(
        beating(&scene.gateway, &mut heart)
            .await?
            .beat(scene.gateway.tpm())
            .await?
            .is_none()
    );
    ensure!(state(&scene.deployment, &enrolled)?.0 == "active");
    Ok(())
}

/// A TPM put back to a snapshot beats: suspended at once.
#[tokio::test]
async fn adv_a17_a_tpm_that_was_put_back_is_suspended_by_its_beat() -> Result<()> {
    let (mut scene, enrolled) = scene().await?;
    let snapshot = scene.deployment.scratch().join("snapshot");
    scene.gateway.with_sim(|sim| sim.snapshot_tpm(&snapshot))?;
    for _ in 0..2 {
        scene.gateway.with_sim(SimGateway::reboot)?;
        attest(&scene.gateway).await?;
    }
    scene.gateway.with_sim(|sim| sim.put_tpm_back(&snapshot))?;
    let mut heart = Heart::new(&enrolled);
    let refused = beating(&scene.gateway, &mut heart)
        .await?
        .beat(scene.gateway.tpm())
        .await;
    ensure!(refused.is_err(), "{refused:?}");
    let (state, reason) = state(&scene.deployment, &enrolled)?;
    ensure!(state == "suspended", "{state}");
    ensure!(reason.starts_with("evidence: tpm-rollback"), "{reason}");
    Ok(())
}

/// Who stops beating is suspended in time, also where the verifier is killed in
/// between; its key outlives that.
#[tokio::test]
async fn adv_a20_missed_beats_are_noticed_across_a_restart() -> Result<()> {
    let (mut scene, enrolled) = scene().await?;
    let mut heart = Heart::new(&enrolled);
    let mut stream = beating(&scene.gateway, &mut heart).await?;
    ensure!(stream.every() == Duration::from_secs(WITHIN / 3));
    ensure!(stream.beat(scene.gateway.tpm()).await?.is_none());

    // Killed: the stream breaks, and is begun anew with the same key.
    scene.deployment.crash_and_restart()?;
    ensure!(stream.beat(scene.gateway.tpm()).await.is_err());
    let mut stream = beating_again(&scene.gateway, &mut heart).await?;
    // Longer than the interval in all, and each beat in time.
    for _ in 0..4 {
        ensure!(stream.beat(scene.gateway.tpm()).await?.is_none());
        tokio::time::sleep(stream.every()).await;
    }
    ensure!(state(&scene.deployment, &enrolled)?.0 == "active");
    ensure!(stream.beat(scene.gateway.tpm()).await?.is_none());
    let last = Instant::now();

    // And now it is silent; the verifier is killed once more.
    drop(stream);
    tokio::time::sleep(Duration::from_secs(WITHIN / 2)).await;
    scene.deployment.crash_and_restart()?;
    let (_, reason) = until_suspended(&scene, &enrolled, WITHIN + GRACE + SLACK).await?;
    println!("suspended {:?} after its last beat", last.elapsed());
    ensure!(
        last.elapsed() > Duration::from_secs(WITHIN - 1),
        "too soon: {:?}",
        last.elapsed()
    );
    ensure!(
        reason == format!("silence: no heartbeat within {WITHIN} s"),
        "{reason}"
    );
    // Back by recovery.
    story::recover(&mut scene.gateway)?;
    ensure!(state(&scene.deployment, &enrolled)?.0 == "active");
    Ok(())
}

/// A class that requires heartbeats: who attests and does not begin is silent,
/// and is told so; who begins after recovery is trusted.
#[tokio::test]
async fn adv_a20_where_heartbeats_are_required_who_does_not_begin_is_suspended() -> Result<()> {
    let mut scene = Scene::with(
        |_| {},
        |text| {
            format!(
                "{}\n[class.default]\nheartbeats = \"required\"\n",
                quick(text)
            )
        },
    )?;
    let enrolled = scene.enrol().await?;
    let began = Instant::now();
    let id = enrolled.gateway_id.to_string();
    let awaited = scene.deployment.gateway(&id)?["awaited"].clone();
    ensure!(awaited["heartbeats"] == "required", "{awaited:#}");
    let within = awaited["deadline_within_seconds"].as_u64();
    ensure!(within.is_some_and(|within| within <= GRACE), "{awaited:#}");
    let (_, reason) = until_suspended(&scene, &enrolled, GRACE + SLACK).await?;
    println!("suspended {:?} after it enrolled", began.elapsed());
    ensure!(
        reason.contains("heartbeats are required of its class"),
        "{reason}"
    );

    let log = scene.gateway.sim().boot_log();
    let log = log.to_str().context("path")?;
    let said = scene.gateway.run(&["recover", "--boot-log", log])?;
    ensure!(
        said.contains("requires heartbeats of this gateway"),
        "{said}"
    );
    let mut heart = Heart::new(&scene.gateway.state_dir()?.require_enrolled()?);
    let mut stream = beating(&scene.gateway, &mut heart).await?;
    for _ in 0..4 {
        ensure!(stream.beat(scene.gateway.tpm()).await?.is_none());
        tokio::time::sleep(stream.every()).await;
    }
    ensure!(state(&scene.deployment, &enrolled)?.0 == "active");
    // An attestation wants them begun anew.
    attest(&scene.gateway).await?;
    let (_, reason) = until_suspended(&scene, &enrolled, GRACE + SLACK).await?;
    ensure!(reason.contains("did not begin in time"), "{reason}");
    Ok(())
}

/// One stream a gateway: a second takes the place of the first.
#[tokio::test]
async fn a_gateway_has_one_stream() -> Result<()> {
    let (scene, enrolled) = scene().await?;
    let mut heart = Heart::new(&enrolled);
    let mut first = beating(&scene.gateway, &mut heart).await?;
    let mut second = beating(&scene.gateway, &mut heart).await?;
    let ended = first.beat(scene.gateway.tpm()).await?;
    ensure!(ended == Some(Ended::BeginAgain), "{ended:?}");
    ensure!(second.beat(scene.gateway.tpm()).await?.is_none());
    Ok(())
}

/// A suspended gateway's stream is cut, and it begins no other.
#[tokio::test]
async fn adv_a19_a_suspended_gateway_beats_no_more() -> Result<()> {
    let (scene, enrolled) = scene().await?;
    let mut heart = Heart::new(&enrolled);
    let mut stream = beating(&scene.gateway, &mut heart).await?;
    ensure!(stream.beat(scene.gateway.tpm()).await?.is_none());
    let id = enrolled.gateway_id.to_string();
    scene
        .deployment
        .run(&["gateway", "suspend", &id, "--reason", "test"])?;
    tokio::time::sleep(Duration::from_secs(2)).await;
    ensure!(stream.beat(scene.gateway.tpm()).await.is_err());
    ensure!(heart.begin(scene.gateway.tpm()).await.is_err());
    // Without an LDevID nobody begins one.
    let connection = scene::dial(&scene.deployment.bundle()?).await?;
    let (_sender, frames) = mpsc::channel(1);
    let status = connection
        .heartbeat()
        .beat(ReceiverStream::new(frames))
        .await
        .err()
        .context("a stream began without an LDevID")?;
    ensure!(kind_of(&status) == Some("no-ldevid"), "{status:?}");
    Ok(())
}
