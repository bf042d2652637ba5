//! What happens to gateways, told: the `watch` stream and signed webhooks,
//! against a receiver by somebody else (Python) that fails in every way.

use std::io::{BufRead as _, BufReader, Read as _};
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use holdfast_integration::programs::program;
use holdfast_integration::{Scene, TokenOptions, oracle};
use serde_json::Value;

const PATIENCE: Duration = Duration::from_secs(60);

/// Verifies the signature as Standard Webhooks has it, by Python's own hmac,
/// and writes what came and whether it took it. `outcomes` says what each
/// attempt in turn meets, over and over: `.` taken, `e` an error, `r` a redirect,
/// `c` a cut. Not at random: the pause after a failure doubles with each in a
/// row, and half a dozen of them are a minute. Says its port when it listens.
const RECEIVER: &str = r#"
import base64, hashlib, hmac, http.server, itertools, json, sys, time
secret, out, outcomes = sys.argv[1], sys.argv[2], itertools.cycle(sys.argv[3])
key = base64.b64decode(secret.removeprefix("whsec_"))
class H(http.server.BaseHTTPRequestHandler):
    # A peer that was killed, or only knocked, holds up nobody.
    timeout = 5
    def do_POST(self):
        length = int(self.headers["content-length"])
        body = self.rfile.read(length)
        if len(body) < length:
            return
        wid, ts = self.headers["webhook-id"], self.headers["webhook-timestamp"]
        signed = wid.encode() + b"." + ts.encode() + b"." + body
        want = "v1," + base64.b64encode(hmac.new(key, signed, hashlib.sha256).digest()).decode()
        good = hmac.compare_digest(want, self.headers["webhook-signature"]) and abs(time.time() - int(ts)) < 60
        outcome = next(outcomes)
        line = {"id": wid, "good": good, "outcome": outcome, "body": json.loads(body)}
        with open(out, "a") as f:
            f.write(json.dumps(line) + "\n")
        if outcome == ".":
            self.send_response(204); self.end_headers()
        elif outcome == "e":
            self.send_response(500); self.end_headers()
        elif outcome == "r":
            self.send_response(302); self.send_header("Location", "/elsewhere"); self.end_headers()
        else:
            self.close_connection = True
    def do_GET(self):
        raise SystemExit("a redirect was followed")
    def log_message(self, *a):
        pass
server = http.server.HTTPServer(("127.0.0.1", 0), H)
if len(sys.argv) > 4:
    import ssl
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(sys.argv[4], sys.argv[5])
    server.socket = context.wrap_socket(server.socket, server_side=True)
print(server.server_address[1], flush=True)
server.serve_forever()
"#;

/// Killed when dropped.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// A receiver that listens, and its port.
fn receiver(secret: &str, out: &Path, outcomes: &str) -> Result<(Running, u16)> {
    receiver_with(secret, out, outcomes, &[])
}

/// The same; with a certificate and its key it speaks TLS.
fn receiver_with(
    secret: &str,
    out: &Path,
    outcomes: &str,
    tls: &[PathBuf],
) -> Result<(Running, u16)> {
    let child = Command::new("python3")
        .args(["-c", RECEIVER, secret])
        .arg(out)
        .arg(outcomes)
        .args(tls)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .spawn()?;
    let mut running = Running(child);
    let stdout = running.0.stdout.take().context("stdout")?;
    let mut said = String::new();
    BufReader::new(stdout).read_line(&mut said)?;
    Ok((running, said.trim().parse().context("the receiver's port")?))
}

fn free_port() -> Result<u16> {
    Ok(TcpListener::bind("127.0.0.1:0")?.local_addr()?.port())
}

/// What came, in order, taken or not; fails on a bad signature.
fn came(out: &Path) -> Result<Vec<Value>> {
    let text = std::fs::read_to_string(out).unwrap_or_default();
    let mut came = Vec::new();
    // A line without its end is still being written.
    for line in text
        .split_inclusive('\n')
        .filter(|line| line.ends_with('\n'))
    {
        let line: Value = serde_json::from_str(line)?;
        ensure!(line["good"] == true, "a bad signature: {line}");
        came.push(line);
    }
    Ok(came)
}

/// What was taken, in order.
fn taken(out: &Path) -> Result<Vec<Value>> {
    let mut came = came(out)?;
    came.retain(|event| event["outcome"] == ".");
    Ok(came)
}

fn kinds(events: &[Value]) -> Vec<&str> {
    events
        .iter()
        .filter_map(|event| event["body"]["type"].as_str())
        .collect()
}

fn until(what: &str, mut look: impl FnMut() -> Result<bool>) -> Result<()> {
    until_still(what, || 0, &mut look)
}

/// Waits as long as something comes: [`PATIENCE`] runs anew with each change of
/// `progress`.
fn until_still(
    what: &str,
    progress: impl Fn() -> usize,
    mut look: impl FnMut() -> Result<bool>,
) -> Result<()> {
    let (mut began, mut before) = (Instant::now(), progress());
    while !look()? {
        let now = progress();
        if now != before {
            (began, before) = (Instant::now(), now);
        }
        ensure!(
            began.elapsed() < PATIENCE,
            "{what}: not in {PATIENCE:?}, after {before}"
        );
        std::thread::sleep(Duration::from_millis(100));
    }
    Ok(())
}

fn secret_file(scratch: &Path) -> Result<(String, PathBuf)> {
    use std::os::unix::fs::PermissionsExt as _;
    let secret = format!(
        "whsec_{}",
        oracle::run("openssl", ["rand", "-base64", "32"])?.trim()
    );
    let path = scratch.join("webhook.secret");
    std::fs::write(&path, format!("{secret}\n"))?;
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600))?;
    Ok((secret, path))
}

/// A private CA by OpenSSL, and a certificate of it for 127.0.0.1: CA's
/// certificate, receiver's certificate, receiver's key.
fn private_ca(folder: &Path, name: &str) -> Result<[PathBuf; 3]> {
    let file = |tail: &str| folder.join(format!("{name}{tail}"));
    let [ca, ca_key, leaf, key] = ["-ca.pem", "-ca.key", ".pem", ".key"].map(file);
    let path = |path: &Path| path.display().to_string();
    // Without the system's, which adds extensions of its own.
    let config = file(".cnf");
    std::fs::write(&config, "[req]\ndistinguished_name = dn\n[dn]\n")?;
    let config = path(&config);
    let make = |key: &Path, out: &Path, rest: &[&str]| {
        let ec = [
            "req",
            "-x509",
            "-newkey",
            "ec",
            "-pkeyopt",
            "ec_paramgen_curve:P-256",
        ];
        let (key, out) = (path(key), path(out));
        let files = [
            "-config", &config, "-nodes", "-days", "30", "-keyout", &key, "-out", &out,
        ];
        oracle::run("openssl", [&ec[..], &files, rest].concat())
    };
    let subject = format!("/CN={name} CA");
    make(
        &ca_key,
        &ca,
        &[
            "-subj",
            &subject,
            "-addext",
            "keyUsage=critical,keyCertSign",
            "-addext",
            "basicConstraints=critical,CA:TRUE",
        ],
    )?;
    make(
        &key,
        &leaf,
        &[
            "-CA",
            &path(&ca),
            "-CAkey",
            &path(&ca_key),
            "-subj",
            "/CN=hooks",
            "-addext",
            "subjectAltName=IP:127.0.0.1",
            "-addext",
            "basicConstraints=critical,CA:FALSE",
        ],
    )?;
    Ok([ca, leaf, key])
}

/// Over HTTPS to receivers of a private CA: the one whose CA is named is told,
/// the one of another CA is not, and the log says why.
#[tokio::test]
async fn webhooks_go_over_https_to_the_named_ca_alone() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let (secret, file) = secret_file(folder.path())?;
    let [ca, leaf, key] = private_ca(folder.path(), "good")?;
    let [_, other_leaf, other_key] = private_ca(folder.path(), "other")?;
    let (out, out_stranger) = (folder.path().join("out"), folder.path().join("stranger"));
    let (_good, good) = receiver_with(&secret, &out, ".", &[leaf, key])?;
    let other = [other_leaf, other_key];
    let (_stranger, stranger) = receiver_with(&secret, &out_stranger, ".", &other)?;
    let table = |port: u16| {
        format!(
            "[[webhook]]\nurl = \"https://127.0.0.1:{port}/hook\"\nsecret_file = \"{}\"\nca_file = \"{}\"\n",
            file.display(),
            ca.display(),
        )
    };
    let tables = [table(good), table(stranger)].concat();
    let scene = Scene::with(|_| {}, |text| format!("{text}\n{tables}"))?;
    let id = scene.enrol().await?.gateway_id.to_string();
    scene.deployment.run(&["gateway", "revoke", &id])?;
    until("the events over TLS", || {
        Ok(kinds(&taken(&out)?).contains(&"gateway.revoked"))
    })
    .with_context(|| scene.deployment.log())?;
    until("the refusal in the log", || {
        Ok(scene.deployment.log().contains("TLS: "))
    })?;
    ensure!(!out_stranger.exists(), "another CA's receiver was told");
    Ok(())
}

/// One receiver that fails in every way, one that is told of revocations alone,
/// one that is dead. The verifier is killed with events under way.
#[tokio::test]
async fn webhooks_come_signed_in_order_and_at_least_once_over_kill_9() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let (secret, file) = secret_file(folder.path())?;
    let (out_all, out_some) = (folder.path().join("all"), folder.path().join("some"));
    let (_all, all) = receiver(&secret, &out_all, "ec.r..c.")?;
    let (_some, some) = receiver(&secret, &out_some, "re.")?;
    let dead = free_port()?;
    let table = |port: u16, events: &str| {
        format!(
            "[[webhook]]\nurl = \"http://127.0.0.1:{port}/hook-t0ken?k=t0ken\"\nsecret_file = \"{}\"\n{events}\n",
            file.display()
        )
    };
    let tables = [
        table(dead, ""),
        table(all, ""),
        table(some, "events = [\"gateway.revoked\"]"),
    ]
    .concat();
    let mut scene = Scene::with(|_| {}, |text| format!("{text}\n{tables}"))?;
    let first = scene.enrol().await?.gateway_id.to_string();
    let other = scene.another_gateway("other")?;
    let bundle = scene.deployment.bundle_with(&TokenOptions::default())?;
    let second = holdfast_integration::scene::enrol(&other, &bundle)
        .await?
        .gateway_id
        .to_string();
    for id in [&first, &second] {
        scene.deployment.run(&["gateway", "suspend", id])?;
        scene.deployment.run(&["gateway", "resume", id])?;
    }
    scene.deployment.run(&["gateway", "revoke", &first])?;
    scene.deployment.crash_and_restart()?;
    scene.deployment.run(&[
        "gateway",
        "revoke",
        &second,
        "--reason-code",
        "cessation-of-operation",
    ])?;

    let coming = |out: &Path| came(out).map_or(0, |came| came.len());
    until_still(
        "all events",
        || coming(&out_all),
        || {
            let taken = taken(&out_all)?;
            let revoked = kinds(&taken)
                .into_iter()
                .filter(|kind| *kind == "gateway.revoked");
            Ok(revoked.count() >= 2)
        },
    )
    .with_context(|| scene.deployment.log())?;
    let events = taken(&out_all)?;
    for id in [&first, &second] {
        let mut numbers: Vec<u64> = Vec::new();
        let mut of_gateway = Vec::new();
        for event in &events {
            let data = &event["body"]["data"];
            if data["gateway_id"] != id.as_str() {
                continue;
            }
            let number = data["number"].as_u64().context("number")?;
            // Again is allowed, back is not.
            match numbers.last() {
                Some(last) if *last == number => continue,
                Some(last) => ensure!(number == last + 1, "{numbers:?}, then {number}"),
                None => ensure!(number == 1),
            }
            numbers.push(number);
            of_gateway.push(event.clone());
        }
        ensure!(
            kinds(&of_gateway)
                == [
                    "gateway.enrolled",
                    "gateway.suspended",
                    "gateway.resumed",
                    "gateway.revoked"
                ],
            "{of_gateway:#?}"
        );
    }
    let last = events.last().context("events")?;
    ensure!(
        last["body"]["data"]["reason_code"] == "cessation-of-operation",
        "{last}"
    );
    until_still(
        "the revocations",
        || coming(&out_some),
        || Ok(taken(&out_some)?.len() >= 2),
    )?;
    ensure!(
        kinds(&taken(&out_some)?)
            .iter()
            .all(|kind| *kind == "gateway.revoked")
    );

    // The dead one is spoken of, and no secret is: nor what is in a URL's path,
    // which chat services use as one.
    let log = scene.deployment.log();
    ensure!(log.contains(&format!("http://127.0.0.1:{dead}")), "{log}");
    ensure!(!log.contains("t0ken"), "a URL's token in the log: {log}");
    ensure!(
        !log.contains(secret.trim_start_matches("whsec_")),
        "a secret in the log"
    );
    Ok(())
}

/// Lines of `watch --json`, as they come.
struct Watch {
    child: Running,
    lines: std::sync::mpsc::Receiver<Value>,
}

impl Watch {
    fn start(scene: &Scene, arguments: &[&str]) -> Result<Self> {
        let mut child = Command::new(program("holdfast-verifier")?)
            .args(["watch", "--json", "--dir"])
            .arg(scene.deployment.dir())
            .args(arguments)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()?;
        let stdout = child.stdout.take().context("stdout")?;
        let (sender, lines) = std::sync::mpsc::channel();
        std::thread::spawn(move || {
            for line in BufReader::new(stdout).lines().map_while(Result::ok) {
                let Ok(value) = serde_json::from_str(&line) else {
                    return;
                };
                if sender.send(value).is_err() {
                    return;
                }
            }
        });
        Ok(Self {
            child: Running(child),
            lines,
        })
    }

    fn next(&self) -> Result<Value> {
        self.lines
            .recv_timeout(PATIENCE)
            .context("no event, or watch ended")
    }

    /// How it ended: exit code and standard error.
    fn end(mut self) -> Result<(Option<i32>, String)> {
        let mut words = String::new();
        if let Some(mut stderr) = self.child.0.stderr.take() {
            stderr.read_to_string(&mut words)?;
        }
        Ok((self.child.0.wait()?.code(), words))
    }
}

#[tokio::test]
async fn watch_goes_on_from_any_sequence_without_gap_or_repetition() -> Result<()> {
    let mut scene = Scene::new()?;
    let id = scene.enrol().await?.gateway_id.to_string();
    for _ in 0..3 {
        scene.deployment.run(&["gateway", "suspend", &id])?;
        scene.deployment.run(&["gateway", "resume", &id])?;
    }
    let watch = Watch::start(&scene, &["--after", "0"])?;
    let before: Vec<Value> = (0..7).map(|_| watch.next()).collect::<Result<_>>()?;
    for (index, event) in before.iter().enumerate() {
        ensure!(event["sequence"] == index + 1, "{event}");
        ensure!(event["number"] == index + 1, "{event}");
        ensure!(event["gateway_id"] == id.as_str(), "{event}");
    }
    ensure!(before[0]["type"] == "gateway.enrolled", "{}", before[0]);
    ensure!(before[1]["detail"]["cause"] == "operator", "{}", before[1]);

    // As it happens; and from the middle.
    let live = Watch::start(&scene, &["--after", "7"])?;
    scene.deployment.run(&["gateway", "revoke", &id])?;
    ensure!(watch.next()?["type"] == "gateway.revoked");
    let event = live.next()?;
    ensure!(event["sequence"] == 8, "{event}");

    // The server dies: the stream says so, and goes on after the restart.
    scene.deployment.crash_and_restart()?;
    let (code, words) = watch.end()?;
    ensure!(code == Some(1), "{words}");
    drop(live);
    let again = Watch::start(&scene, &["--after", "4"])?;
    for sequence in 5..=8 {
        ensure!(again.next()?["sequence"] == sequence);
    }
    // An orderly end does not wait for streams.
    let began = Instant::now();
    scene.deployment.stop()?;
    ensure!(
        began.elapsed() < Duration::from_secs(8),
        "{:?}",
        began.elapsed()
    );
    let (code, words) = again.end()?;
    ensure!(
        code == Some(1) && words.contains("shutting down"),
        "{words}"
    );
    Ok(())
}

#[tokio::test]
async fn watch_says_what_is_not_kept_and_what_never_was() -> Result<()> {
    let scene = Scene::new()?;
    let (code, words) = Watch::start(&scene, &["--after", "99"])?.end()?;
    ensure!(code == Some(1), "{words}");
    ensure!(words.contains("events-gone"), "{words}");
    let (code, words) = Watch::start(&scene, &["--gateway", "nonsense"])?.end()?;
    ensure!(code == Some(2), "{words}");
    Ok(())
}
