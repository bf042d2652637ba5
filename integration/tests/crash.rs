//! `kill -9` of the verifier, and of the attester, between any two steps: what
//! was answered stays, and a retry succeeds.

use std::io::{Read as _, Write as _};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant, SystemTime};

use anyhow::{Context, Result, ensure};
use holdfast_attester::enrolment::KeyChoice;
use holdfast_integration::programs::program;
use holdfast_integration::scene::{dial, granted, ready_to_enrol, request_challenge};
use holdfast_integration::{Deployment, Refusal, Scene, TokenOptions, oracle, skip};
use holdfast_proto::bundle::Bundle;

/// How often the verifier is killed at random moments of an enrolment.
const KILLS: u32 = 15;
const PATIENCE: Duration = Duration::from_secs(30);

/// Each step of the wire, one after the other, with a crash before and after
/// each.
#[tokio::test]
async fn crash_between_the_steps_of_the_wire() -> Result<()> {
    let mut scene = Scene::new()?;
    // Two uses: it is the challenge that is spent below, not the bundle.
    let bundle = scene.deployment.bundle_with(&TokenOptions {
        uses: 2,
        ..TokenOptions::default()
    })?;
    let enrolment = scene.gateway.enrolment(KeyChoice::default())?;
    let request = enrolment.challenge_request(bundle.join_token.expose());

    // Before RequestChallenge: connected, and nobody is there any more.
    let connection = dial(&bundle).await?;
    scene.deployment.crash_and_restart()?;
    ensure!(
        request_challenge(&connection, request.clone())
            .await
            .is_err(),
        "the connection outlived the verifier"
    );
    drop(enrolment);

    // After RequestChallenge was answered: the challenge is still one, but the
    // evidence is of a connection that is gone.
    let mut ready = ready_to_enrol(&scene.gateway, bundle, KeyChoice::default()).await?;
    scene.deployment.crash_and_restart()?;
    ensure!(ready.send().await.is_err());
    ready.connection = dial(&ready.bundle).await?;
    let status = ready
        .send()
        .await
        .err()
        .context("over another connection")?;
    Refusal::NOT_AUTHENTIC.expect(&status)?;
    ensure!(scene.deployment.gateways()?.is_empty());
    ready.recollect(|_| {})?;

    // After Enroll was answered: the same bytes get the same answer, after one
    // crash and after two; the record is the same.
    let answer = ready.send().await?;
    granted(Ok(answer.clone()))?;
    let record = scene.deployment.gateways()?;
    for _ in 0..2 {
        scene.deployment.crash_and_restart()?;
        ready.connection = dial(&ready.bundle).await?;
        ensure!(ready.send().await? == answer, "an answer was lost");
        ensure!(scene.deployment.gateways()? == record);
    }

    // Other bytes on the same challenge are no retry.
    ready.recollect(|_| {})?;
    let status = ready.send().await.err().context("granted twice")?;
    Refusal::STALE.expect(&status)?;
    ensure!(scene.deployment.gateways()? == record);
    Ok(())
}

/// Enroll is recorded, its answer is never read, the verifier dies: the
/// attester, still running, sends the same bytes again by itself.
#[test]
fn crash_after_the_record_and_before_the_answer() -> Result<()> {
    let mut scene = Scene::new()?;
    let proxy = Proxy::to(scene.deployment.address())?;
    let bundle = proxy.bundle(&scene.deployment, "bundle")?;
    proxy.mute.store(true, Ordering::SeqCst);
    let log = scene.gateway.sim().boot_log();
    let state = scene.gateway.state_path().to_path_buf();
    let deployment = &mut scene.deployment;
    let output = scene.gateway.with_sim(|sim| -> Result<Output> {
        let attester = enroll(&sim.tcti(), &state, &bundle, &log)?;
        wait_for_grants(deployment, 1)?;
        deployment.kill_9()?;
        proxy.mute.store(false, Ordering::SeqCst);
        deployment.serve()?;
        Ok(attester.wait_with_output()?)
    })?;
    ensure!(output.status.success(), "{}", printed(&output));
    ensure!(
        printed(&output).contains("trying again"),
        "{}",
        printed(&output)
    );
    let once = only_one_grant(&scene)?;
    scene.gateway.run(&["status", "--remote"])?;
    ensure!(only_one_grant(&scene)? == once);
    Ok(())
}

/// The same, and the attester dies too: started again, it finds its unanswered
/// request, and the verifier its answer.
#[test]
fn crash_of_both_after_the_record() -> Result<()> {
    let mut scene = Scene::new()?;
    let proxy = Proxy::to(scene.deployment.address())?;
    let bundle = proxy.bundle(&scene.deployment, "bundle")?;
    proxy.mute.store(true, Ordering::SeqCst);
    let log = scene.gateway.sim().boot_log();
    let state = scene.gateway.state_path().to_path_buf();
    let deployment = &mut scene.deployment;
    scene.gateway.with_sim(|sim| -> Result<()> {
        let mut attester = enroll(&sim.tcti(), &state, &bundle, &log)?;
        wait_for_grants(deployment, 1)?;
        attester.kill()?;
        attester.wait()?;
        deployment.crash_and_restart()
    })?;
    proxy.mute.store(false, Ordering::SeqCst);
    let before = only_one_grant(&scene)?;
    let (bundle, log) = (text(&bundle)?, text(&log)?);
    let said = scene
        .gateway
        .run(&["enroll", "--bundle", bundle, "--boot-log", log])?;
    ensure!(said.contains("sending the same bytes again"), "{said}");
    ensure!(only_one_grant(&scene)? == before, "granted twice");
    scene.gateway.run(&["status", "--remote"])?;
    scene.gateway.run(&["attest", "--boot-log", log])?;
    Ok(())
}

/// The verifier is killed at random moments of whole enrolments by the program.
/// Whatever came of each, the store is sound, no challenge was granted twice,
/// and `enroll` again succeeds.
#[test]
fn crash_at_random_moments_of_enroll() -> Result<()> {
    if !oracle::present("sqlite3") {
        skip!("needs sqlite3, to look at the store");
    }
    let mut scene = Scene::new()?;
    let options = TokenOptions {
        uses: 4 * KILLS,
        ..TokenOptions::default()
    };
    let bundle = scene.deployment.create_token(&options)?;
    let log = scene.gateway.sim().boot_log();
    let state = scene.gateway.state_path().to_path_buf();
    let began = Instant::now();
    scene.gateway.run(&[
        "enroll",
        "--bundle",
        text(&bundle)?,
        "--boot-log",
        text(&log)?,
    ])?;
    let whole = began.elapsed();
    let seed = SystemTime::now()
        .duration_since(SystemTime::UNIX_EPOCH)?
        .subsec_nanos();
    let (mut interrupted, mut granted_before) = (0, grants(&scene.deployment)?);
    for kill in 0..KILLS {
        // Spread over the run, with chance within each part of it.
        let chance = f64::from(seed.rotate_left(kill) % 1000) / 1000.0;
        let delay = whole.mul_f64((f64::from(kill) + chance) / f64::from(KILLS));
        let why = || format!("killed {delay:?} after the start (seed {seed}, kill {kill})");

        std::fs::remove_dir_all(&state)?;
        let deployment = &mut scene.deployment;
        let output = scene.gateway.with_sim(|sim| -> Result<Output> {
            let attester = enroll(&sim.tcti(), &state, &bundle, &log)?;
            std::thread::sleep(delay);
            deployment.crash_and_restart()?;
            Ok(attester.wait_with_output()?)
        })?;
        let words = printed(&output);
        match output.status.code() {
            Some(0) => {}
            Some(1) => ensure!(words.contains("next step: "), "{}: {words}", why()),
            other => anyhow::bail!("{}: exit {other:?}: {words}", why()),
        }
        interrupted += u32::from(words.contains("trying again") || !output.status.success());

        sound(&scene.deployment).with_context(why)?;
        // Again, by the same words: it is enrolled, or enrols now.
        scene
            .gateway
            .run(&[
                "enroll",
                "--bundle",
                text(&bundle)?,
                "--boot-log",
                text(&log)?,
            ])
            .with_context(why)?;
        scene
            .gateway
            .run(&["status", "--remote"])
            .with_context(why)?;
        sound(&scene.deployment).with_context(why)?;
        let now = grants(&scene.deployment)?;
        ensure!(now > granted_before, "{}: nothing was granted", why());
        granted_before = now;
    }
    let uses_left: u32 = query(&scene.deployment, "SELECT sum(uses_left) FROM join_tokens")?;
    ensure!(
        uses_left + granted_before == options.uses,
        "{granted_before} grants of {} uses leave {uses_left}",
        options.uses
    );
    eprintln!(
        "{KILLS} kills, {interrupted} of them noticed by the attester, {granted_before} grants"
    );
    Ok(())
}

/// Once a bad state was answered as refused, the gateway is suspended whatever
/// happens to the verifier; and where the answer was lost, asking again says
/// so.
#[test]
fn crash_around_a_refused_reattestation() -> Result<()> {
    let mut scene = Scene::new()?;
    let bundle = scene.deployment.create_token(&TokenOptions::default())?;
    let log = scene.gateway.sim().boot_log();
    let log = text(&log)?.to_owned();
    scene
        .gateway
        .run(&["enroll", "--bundle", text(&bundle)?, "--boot-log", &log])?;
    let id = scene.deployment.gateways()?[0]["gateway_id"]
        .as_str()
        .context("gateway_id")?
        .to_owned();
    let state = scene.gateway.state_path().to_path_buf();
    scene
        .gateway
        .with_sim(|sim| sim.extend_pcr(9, b"not released"))?;

    let began = Instant::now();
    let refused = scene.gateway.try_run(&["attest", "--boot-log", &log])?;
    let whole = began.elapsed();
    ensure!(refused.status.code() == Some(1), "{}", printed(&refused));
    ensure!(
        printed(&refused).contains("pcr-mismatch"),
        "{}",
        printed(&refused)
    );
    scene.deployment.crash_and_restart()?;
    let shown = scene.deployment.gateway(&id)?;
    ensure!(shown["state"] == "suspended", "{shown}");
    let refused = scene.gateway.try_run(&["status", "--remote"])?;
    ensure!(refused.status.code() == Some(1), "{}", printed(&refused));

    // At moments of such a run, each by a gateway in good standing.
    for part in 1..=6_u32 {
        back_in_good_standing(&mut scene, &id, &log)?;
        scene
            .gateway
            .with_sim(|sim| sim.extend_pcr(9, b"not released"))?;
        let delay = whole * part / 6;
        let deployment = &mut scene.deployment;
        let output = scene.gateway.with_sim(|sim| -> Result<Output> {
            let attester = attester(&sim.tcti(), &state, &["attest", "--boot-log", &log])?;
            std::thread::sleep(delay);
            deployment.crash_and_restart()?;
            Ok(attester.wait_with_output()?)
        })?;
        let words = printed(&output);
        ensure!(output.status.code() == Some(1), "{delay:?}: {words}");
        let now = scene.deployment.gateway(&id)?["state"].clone();
        if words.contains("pcr-mismatch") {
            ensure!(
                now == "suspended",
                "{delay:?}: answered as refused, now {now}"
            );
        } else if now == "active" {
            let again = scene.gateway.try_run(&["attest", "--boot-log", &log])?;
            ensure!(
                printed(&again).contains("pcr-mismatch"),
                "{}",
                printed(&again)
            );
        }
        let now = scene.deployment.gateway(&id)?["state"].clone();
        ensure!(now == "suspended", "{delay:?}: {now}");
    }

    back_in_good_standing(&mut scene, &id, &log)
}

/// The good run: the state is good again, the owner has looked, and the
/// gateway recovers.
fn back_in_good_standing(scene: &mut Scene, id: &str, log: &str) -> Result<()> {
    scene
        .gateway
        .with_sim(holdfast_tpm_sim::SimGateway::reboot)?;
    scene.deployment.run(&["gateway", "resume", id])?;
    scene.gateway.run(&["recover", "--boot-log", log])?;
    scene.gateway.run(&["attest", "--boot-log", log]).map(drop)
}

/// A renewal at random moments: the old LDevID or the new one, but never none.
#[test]
fn crash_during_a_renewal_leaves_an_ldevid_that_works() -> Result<()> {
    let mut scene = Scene::new()?;
    let bundle = scene.deployment.create_token(&TokenOptions::default())?;
    let log = scene.gateway.sim().boot_log();
    let log = text(&log)?.to_owned();
    scene
        .gateway
        .run(&["enroll", "--bundle", text(&bundle)?, "--boot-log", &log])?;
    let state = scene.gateway.state_path().to_path_buf();
    let began = Instant::now();
    scene
        .gateway
        .run(&["attest", "--renew", "--boot-log", &log])?;
    let whole = began.elapsed();
    for part in 0..6_u32 {
        let delay = whole * part / 6;
        let deployment = &mut scene.deployment;
        let output = scene.gateway.with_sim(|sim| -> Result<Output> {
            let renewing = ["attest", "--renew", "--boot-log", &log];
            let attester = attester(&sim.tcti(), &state, &renewing)?;
            std::thread::sleep(delay);
            deployment.crash_and_restart()?;
            Ok(attester.wait_with_output()?)
        })?;
        ensure!(
            matches!(output.status.code(), Some(0 | 1)),
            "{delay:?}: {}",
            printed(&output)
        );
        scene
            .gateway
            .run(&["status", "--remote"])
            .with_context(|| format!("after {delay:?}: {}", printed(&output)))?;
        scene
            .gateway
            .run(&["attest", "--renew", "--boot-log", &log])?;
    }
    ensure!(scene.deployment.gateways()?.len() == 1);
    Ok(())
}

// ---- the attester as a process that can be left alone

fn attester(tcti: &str, state: &Path, arguments: &[&str]) -> Result<Child> {
    Ok(Command::new(program("holdfast-attester")?)
        .args(["--tcti", tcti, "--state-dir"])
        .arg(state)
        .args(arguments)
        .env_remove("RUST_LOG")
        .env("TSS2_LOG", "all+NONE")
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()?)
}

fn enroll(tcti: &str, state: &Path, bundle: &Path, log: &Path) -> Result<Child> {
    let (bundle, log) = (text(bundle)?, text(log)?);
    attester(
        tcti,
        state,
        &["enroll", "--bundle", bundle, "--boot-log", log],
    )
}

// ---- what the store must be, seen from outside

/// What holds at every moment.
fn sound(deployment: &Deployment) -> Result<()> {
    let one: String = query(deployment, "PRAGMA integrity_check")?;
    ensure!(one == "ok", "{one}");
    for (must_be_none, sql) in [
        (
            "dangling rows",
            "SELECT count(*) FROM pragma_foreign_key_check",
        ),
        (
            "challenges granted twice",
            "SELECT count(*) FROM (SELECT token_id FROM answers GROUP BY token_id HAVING count(*) > 1)",
        ),
        (
            "grants without a certificate, or the reverse",
            "SELECT abs((SELECT count(*) FROM answers WHERE granted = 1)
                      - (SELECT count(*) FROM certificates))",
        ),
        (
            "other gateways than the one",
            "SELECT abs((SELECT count(*) FROM gateways WHERE state = 'active') - 1)",
        ),
        (
            "EKs that it did not show, or less than the two that it did",
            "SELECT abs((SELECT count(*) FROM gateway_eks) - 2)",
        ),
    ] {
        let found: u32 = query(deployment, sql)?;
        ensure!(found == 0, "{must_be_none}: {found}");
    }
    let listed = deployment.gateways()?;
    ensure!(
        listed.len() == 1 && listed[0]["state"] == "active",
        "{listed:?}"
    );
    Ok(())
}

fn grants(deployment: &Deployment) -> Result<u32> {
    query(deployment, "SELECT count(*) FROM answers WHERE granted = 1")
}

fn query<T: std::str::FromStr>(deployment: &Deployment, sql: &str) -> Result<T> {
    let store = deployment.dir().join("holdfast.db");
    let printed = oracle::run("sqlite3", ["-readonly", text(&store)?, sql])?;
    printed
        .trim()
        .parse()
        .ok()
        .with_context(|| format!("{sql}: {printed:?}"))
}

/// The one gateway's record.
fn only_one_grant(scene: &Scene) -> Result<serde_json::Value> {
    let mut listed = scene.deployment.gateways()?;
    ensure!(listed.len() == 1, "{listed:?}");
    Ok(listed.remove(0))
}

fn wait_for_grants(deployment: &Deployment, count: usize) -> Result<()> {
    let deadline = Instant::now() + PATIENCE;
    while deployment.gateways()?.len() < count {
        ensure!(Instant::now() < deadline, "nothing was recorded");
        std::thread::sleep(Duration::from_millis(20));
    }
    Ok(())
}

// ---- a network that loses answers

/// More than all that a client sends before `Enroll`, and less than `Enroll`
/// with its boot log.
const BEFORE_ENROLL: usize = 14 * 1024;

/// Forwards connections; while `mute`, nothing that comes after the start of
/// `Enroll` gets back to the client. TLS goes through untouched.
struct Proxy {
    address: SocketAddr,
    mute: Arc<AtomicBool>,
}

impl Proxy {
    fn to(server: SocketAddr) -> Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0")?;
        let proxy = Self {
            address: listener.local_addr()?,
            mute: Arc::default(),
        };
        let mute = Arc::clone(&proxy.mute);
        std::thread::spawn(move || {
            for client in listener.incoming().flatten() {
                // Refused where nobody serves.
                if let Ok(server) = TcpStream::connect(server) {
                    forward(client, server, &mute);
                }
            }
        });
        Ok(proxy)
    }

    /// A bundle that leads here.
    fn bundle(&self, deployment: &Deployment, name: &str) -> Result<PathBuf> {
        let mut bundle: Bundle = deployment.bundle()?;
        bundle.server = self.address.to_string();
        let path = deployment.scratch().join(name);
        std::fs::write(&path, bundle.encode()?.as_bytes())?;
        Ok(path)
    }
}

fn forward(client: TcpStream, server: TcpStream, mute: &Arc<AtomicBool>) {
    let sent = Arc::new(AtomicUsize::new(0));
    let (Ok(client_2), Ok(server_2)) = (client.try_clone(), server.try_clone()) else {
        return;
    };
    let counter = Arc::clone(&sent);
    std::thread::spawn(move || {
        pump(client, server, |len| {
            counter.fetch_add(len, Ordering::SeqCst);
            true
        });
    });
    let mute = Arc::clone(mute);
    std::thread::spawn(move || {
        pump(server_2, client_2, |_| {
            !(mute.load(Ordering::SeqCst) && sent.load(Ordering::SeqCst) > BEFORE_ENROLL)
        });
    });
}

/// Copies what `pass` lets through, until either side ends; then ends both.
fn pump(mut from: TcpStream, mut to: TcpStream, pass: impl Fn(usize) -> bool) {
    let mut buffer = [0; 16 * 1024];
    loop {
        match from.read(&mut buffer) {
            Ok(0) | Err(_) => break,
            Ok(len) if pass(len) => {
                if to.write_all(&buffer[..len]).is_err() {
                    break;
                }
            }
            Ok(_) => {}
        }
    }
    let _ = from.shutdown(Shutdown::Both);
    let _ = to.shutdown(Shutdown::Both);
}

fn text(path: &Path) -> Result<&str> {
    path.to_str().context("a path that is not UTF-8")
}

fn printed(output: &Output) -> String {
    format!(
        "{}{}",
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    )
}
