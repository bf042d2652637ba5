//! `serve` tells systemd when it is ready, that it lives, and that it ends.

use std::os::unix::net::UnixDatagram;
use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use holdfast_integration::programs::program;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

#[test]
fn serve_tells_the_service_manager() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let dir = folder.path().join("verifier");
    let socket_path = folder.path().join("notify");
    let socket = UnixDatagram::bind(&socket_path)?;
    socket.set_read_timeout(Some(Duration::from_secs(30)))?;
    let verifier = || -> Result<Command> {
        let mut command = Command::new(program("holdfast-verifier")?);
        command.stdin(Stdio::null()).stderr(Stdio::null());
        Ok(command)
    };
    let made = verifier()?.arg("init").arg("--dir").arg(&dir).output()?;
    ensure!(made.status.success());
    let mut serving = verifier()?
        .args(["serve", "--listen", "127.0.0.1:0", "--dir"])
        .arg(&dir)
        .env("NOTIFY_SOCKET", &socket_path)
        .spawn()?;
    let next = || -> Result<String> {
        let mut buffer = [0; 4096];
        let length = socket.recv(&mut buffer).context("nothing was told")?;
        Ok(String::from_utf8(buffer[..length].to_vec())?)
    };
    let ready = next()?;
    ensure!(
        ready.starts_with("READY=1\nSTATUS=serving gateways at 127.0.0.1:"),
        "{ready}"
    );
    ensure!(next()? == "WATCHDOG=1", "the store was asked");
    kill(Pid::from_raw(i32::try_from(serving.id())?), Signal::SIGTERM)?;
    ensure!(next()? == "STOPPING=1");
    ensure!(serving.wait()?.success());
    Ok(())
}
