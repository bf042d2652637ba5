//! The side-car, before and behind other people's programs.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use holdfast_integration::programs::program;
use holdfast_integration::skip;
use nix::sys::signal::Signal;

use crate::daemons::{Abrmd, Daemon, Nginx, missing};
use crate::openssl::require_ldevids;
use crate::stand::{Stand, words};

/// `holdfast-attester proxy …` on the gateway's TPM, and where it listens.
fn proxy(
    tcti: &str,
    state: &Path,
    log: &Path,
    arguments: &[&str],
    environment: &[(String, String)],
) -> Result<(Daemon, String)> {
    let mut command = Command::new(program("holdfast-attester")?);
    command
        .args(["--json", "--tcti", tcti, "--state-dir"])
        .arg(state)
        .arg("proxy")
        .args(arguments)
        .env("TSS2_LOG", "all+NONE")
        .env("HOLDFAST_LOG", "info")
        .envs(environment.iter().cloned());
    let mut daemon = Daemon::start(command, log.to_owned())?;
    // The first thing said; the log's lines may follow it.
    let first = || {
        let said = std::fs::read_to_string(log).ok()?;
        let mut values = serde_json::Deserializer::from_str(&said).into_iter();
        values.next()?.ok()
    };
    daemon.until(|| first().is_some())?;
    let value: serde_json::Value = first().with_context(|| daemon.log())?;
    let listening = value["listening"].as_str().context("listening")?.to_owned();
    Ok((daemon, listening))
}

fn text(path: &Path) -> Result<&str> {
    path.to_str().context("path")
}

/// One answer of an HTTP/1.1 server that keeps the connection open.
fn ask(stream: &mut (impl Read + Write)) -> Result<String> {
    stream.write_all(b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n")?;
    let mut reader = BufReader::new(stream);
    let mut length = 0;
    loop {
        let mut line = String::new();
        ensure!(reader.read_line(&mut line)? > 0, "the connection ended");
        if let Some(value) = line.strip_prefix("Content-Length: ") {
            length = value.trim().parse()?;
        }
        if line.trim().is_empty() {
            break;
        }
    }
    let mut body = vec![0; length];
    reader.read_exact(&mut body)?;
    Ok(String::from_utf8(body)?)
}

/// A local program speaks HTTP to a socket, and is this gateway to an nginx that
/// requires LDevIDs. A renewal is in the next handshake, and cuts nothing.
#[test]
fn outbound_is_this_gateway_and_takes_renewals_in() -> Result<()> {
    let programs = ["nginx", "tpm2-abrmd", "dbus-daemon", "tpm2_getcap"];
    if let Some(lacking) = missing(&programs) {
        skip!("{lacking}");
    }
    let mut stand = Stand::new()?;
    let (server_key, server_certificate) = stand.software_server()?;
    let server = require_ldevids(&server_certificate, &server_key, &stand.root())
        .replace("$ssl_client_s_dn", "$ssl_client_s_dn $ssl_client_serial");
    let nginx = Nginx::start(&stand.folder("nginx"), &server, &[])?;
    let (abrmd, log) = (stand.folder("abrmd"), stand.folder("proxy.log"));
    let socket = stand.folder("proxy.sock");
    let upstream = format!("127.0.0.1:{}", nginx.port);
    let state = stand.scene.gateway.state_path().to_owned();
    let boot_log = stand.scene.gateway.sim().boot_log();
    let id = stand.id.clone();
    stand.scene.gateway.with_sim(|sim| -> Result<()> {
        let abrmd = Abrmd::start(&abrmd, &sim.tcti())?;
        let tcti = "tabrmd:bus_type=session";
        let listen = format!("unix:{}", text(&socket)?);
        let ca = text(&server_certificate)?;
        let arguments = [
            "outbound",
            "--listen",
            &listen,
            "--upstream",
            &upstream,
            "--server-name",
            "localhost",
            "--ca",
            ca,
        ];
        let (mut daemon, listening) = proxy(tcti, &state, &log, &arguments, &abrmd.environment())?;
        ensure!(listening == listen, "{listening}");
        let mode = std::fs::metadata(&socket)?.mode() & 0o7777;
        ensure!(mode == 0o600, "the socket has mode {mode:04o}");

        let mut standing = UnixStream::connect(&socket)?;
        let before = ask(&mut standing)?;
        ensure!(
            before.contains("SUCCESS") && before.contains(&id[2..]),
            "{before}"
        );

        // The renewal runs while the proxy has the TPM: behind the same
        // resource manager.
        let output = Command::new(program("holdfast-attester")?)
            .args(["--tcti", tcti, "--state-dir"])
            .arg(&state)
            .args(["attest", "--renew", "--boot-log"])
            .arg(&boot_log)
            .envs(abrmd.environment())
            .output()?;
        ensure!(output.status.success(), "{}", words(&output));
        ensure!(ask(&mut standing)? == before, "the standing connection");
        let after = ask(&mut UnixStream::connect(&socket)?)?;
        ensure!(
            after.contains("SUCCESS") && after.contains(&id[2..]),
            "{after}"
        );
        ensure!(after != before, "the old certificate was shown again");

        // Told to stop: nobody new, but who is there may finish.
        daemon.signal(Signal::SIGTERM)?;
        let deadline = Instant::now() + Duration::from_secs(10);
        while UnixStream::connect(&socket).is_ok() && Instant::now() < deadline {
            std::thread::sleep(Duration::from_millis(10));
        }
        ensure!(!socket.exists(), "the socket is still there");
        ensure!(
            ask(&mut standing)? == before,
            "the standing connection was cut"
        );
        drop(standing);
        ensure!(daemon.ended()? == Some(0), "{}", daemon.log());
        Ok(())
    })
}

/// A server of another CA, and one of another name, hear nothing.
#[test]
fn adv_a28_outbound_speaks_to_the_configured_server_alone() -> Result<()> {
    if let Some(lacking) = missing(&["nginx"]) {
        skip!("{lacking}");
    }
    let mut stand = Stand::new()?;
    let (server_key, server_certificate) = stand.software_server()?;
    let server = require_ldevids(&server_certificate, &server_key, &stand.root());
    let nginx = Nginx::start(&stand.folder("nginx"), &server, &[])?;
    let upstream = format!("127.0.0.1:{}", nginx.port);
    let state = stand.scene.gateway.state_path().to_owned();
    let (root, folder) = (stand.root(), stand.folder("logs"));
    std::fs::create_dir(&folder)?;
    stand.scene.gateway.with_sim(|sim| -> Result<()> {
        for (name, ca, problem) in [
            ("localhost", &root, "UnknownIssuer"),
            ("other.test", &server_certificate, "NotValidForName"),
        ] {
            let arguments = [
                "outbound",
                "--listen",
                "127.0.0.1:0",
                "--upstream",
                &upstream,
                "--server-name",
                name,
                "--ca",
                text(ca)?,
            ];
            let log = folder.join(name);
            let (mut daemon, listening) = proxy(&sim.tcti(), &state, &log, &arguments, &[])?;
            let mut local = TcpStream::connect(&listening)?;
            local.set_read_timeout(Some(Duration::from_secs(20)))?;
            let answer = ask(&mut local);
            ensure!(answer.is_err(), "{answer:?}");
            // The connection ends first, the log's line is written after it.
            daemon.until(|| {
                let said = std::fs::read_to_string(&log).unwrap_or_default();
                said.contains(problem) || said.contains("not valid for name")
            })?;
        }
        Ok(())
    })
}

/// Who has a certificate of the configured CA reaches the backend, also while a
/// flood of half-open connections goes on; who has none does not.
#[test]
fn inbound_lets_known_clients_in_and_outlasts_a_flood() -> Result<()> {
    if let Some(lacking) = missing(&[]) {
        skip!("{lacking}");
    }
    let mut stand = Stand::new()?;
    let (client_key, client_certificate) = stand.software_server()?;
    let backend = TcpListener::bind("127.0.0.1:0")?;
    let backend_address = backend.local_addr()?.to_string();
    std::thread::spawn(move || {
        for stream in backend.incoming().flatten() {
            let _ = (&stream).write_all(b"the backend\n");
        }
    });
    let state = stand.scene.gateway.state_path().to_owned();
    let (root, log, id) = (stand.root(), stand.folder("proxy.log"), stand.id.clone());
    stand.scene.gateway.with_sim(|sim| -> Result<()> {
        let arguments = [
            "inbound",
            "--listen",
            "127.0.0.1:0",
            "--backend",
            &backend_address,
            "--client-ca",
            text(&client_certificate)?,
        ];
        let (mut daemon, listening) = proxy(&sim.tcti(), &state, &log, &arguments, &[])?;
        let connect = |known: bool| -> Result<String> {
            let mut client = Command::new("openssl");
            client
                .args(["s_client", "-connect", &listening, "-tls1_3", "-ign_eof"])
                .args(["-verify_return_error", "-purpose", "any", "-CAfile"])
                .arg(&root)
                .stdin(Stdio::null());
            if known {
                client.arg("-cert").arg(&client_certificate);
                client.arg("-key").arg(&client_key);
            }
            Ok(words(&client.output()?))
        };
        let said = connect(true)?;
        ensure!(
            said.contains("the backend") && said.contains(&id[2..]),
            "{said}"
        );
        let said = connect(false)?;
        ensure!(!said.contains("the backend"), "{said}");
        ensure!(said.contains("certificate required"), "{said}");

        let flood: Vec<_> = (0..300)
            .map(|_| TcpStream::connect(&listening))
            .collect::<Result<_, _>>()?;
        let began = Instant::now();
        let said = connect(true)?;
        ensure!(said.contains("the backend"), "{said}");
        ensure!(
            began.elapsed() < Duration::from_secs(5),
            "{:?}",
            began.elapsed()
        );
        drop(flood);
        daemon.signal(Signal::SIGTERM)?;
        ensure!(daemon.ended()? == Some(0), "{}", daemon.log());
        Ok(())
    })
}

#[test]
fn cve_c14_no_plaintext_where_others_could_put_their_own() -> Result<()> {
    let mut stand = Stand::new()?;
    let shared = stand.folder("shared");
    std::fs::create_dir(&shared)?;
    std::fs::set_permissions(&shared, PermissionsExt::from_mode(0o1777))?;
    let root = stand.root();
    let socket = format!("unix:{}/s", shared.display());
    for (listen, code, problem) in [
        (
            socket.as_str(),
            1,
            "has mode 1777: others could put a socket of theirs there",
        ),
        (
            "0.0.0.0:0",
            2,
            "is not a loopback address: plaintext stays on this machine",
        ),
    ] {
        let output = stand.scene.gateway.try_run(&[
            "proxy",
            "outbound",
            "--listen",
            listen,
            "--upstream",
            "127.0.0.1:1",
            "--ca",
            text(&root)?,
        ])?;
        let said = words(&output);
        ensure!(said.contains(problem), "{said}");
        ensure!(output.status.code() == Some(code), "{said}");
    }
    Ok(())
}
