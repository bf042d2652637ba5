//! `holdfast-sim gateway` as a process: what it writes, and that it leaves no
//! swtpm behind however it ends.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

use std::path::Path;
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use holdfast_tpm_sim::GatewayDescription;

struct Running {
    child: Child,
    description: GatewayDescription,
}

impl Running {
    fn start(dir: &Path, arguments: &[&str]) -> Self {
        let mut child = sim(&["gateway", "--dir", dir.to_str().unwrap()])
            .args(arguments)
            .stdout(Stdio::null())
            .spawn()
            .unwrap();
        let file = dir.join("gateway.json");
        until("gateway.json is written", || {
            assert!(child.try_wait().unwrap().is_none(), "holdfast-sim ended");
            file.exists()
        });
        let description = serde_json::from_slice(&std::fs::read(&file).unwrap()).unwrap();
        Self { child, description }
    }

    fn signal(&self, name: &str) {
        let pid = self.child.id().to_string();
        let sent = Command::new("kill")
            .args(["-s", name, &pid])
            .status()
            .unwrap();
        assert!(sent.success());
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn sim(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_holdfast-sim"));
    command.args(arguments);
    command
}

fn output(arguments: &[&str]) -> Output {
    sim(arguments).output().unwrap()
}

fn until(what: &str, mut condition: impl FnMut() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(20);
    while !condition() {
        assert!(Instant::now() < deadline, "waited in vain: {what}");
        std::thread::sleep(Duration::from_millis(10));
    }
}

fn runs(pid: u32) -> bool {
    // A zombie, which nobody reaps here, has no executable any more.
    Path::new(&format!("/proc/{pid}/exe")).exists()
}

#[test]
fn describes_the_gateway_and_ends_with_its_swtpm() {
    for signal in ["TERM", "INT", "HUP"] {
        let dir = tempfile::tempdir().unwrap();
        let mut running = Running::start(dir.path(), &["--ek-cert", "ecc-p256"]);
        let description = running.description.clone();
        for file in [
            &description.boot_log,
            &description.reference_values,
            &description.vendor_root,
            &description.vendor_intermediate,
        ] {
            assert!(file.exists(), "{}", file.display());
        }
        let read = Command::new("tpm2_pcrread")
            .arg("sha256:0")
            .env("TPM2TOOLS_TCTI", &description.tcti)
            .output()
            .unwrap();
        assert!(read.status.success());
        assert!(runs(description.swtpm_pid));
        running.signal(signal);
        assert!(running.child.wait().unwrap().success());
        assert!(!runs(description.swtpm_pid));
        assert!(!dir.path().join("gateway.json").exists());
    }
}

#[test]
fn swtpm_dies_with_a_killed_parent() {
    let dir = tempfile::tempdir().unwrap();
    let running = Running::start(dir.path(), &["--ek-cert", "ecc-p256"]);
    let swtpm = running.description.swtpm_pid;
    running.signal("KILL");
    until("swtpm ends", || !runs(swtpm));
}

#[test]
fn serves_where_it_is_told_to() {
    let dir = tempfile::tempdir().unwrap();
    let socket = dir.path().join("tpm.sock");
    let arguments = ["--ek-cert", "ecc-p256", "--unix", socket.to_str().unwrap()];
    let running = Running::start(&dir.path().join("gateway"), &arguments);
    assert_eq!(
        running.description.tcti,
        format!("swtpm:path={}", socket.display())
    );
}

#[test]
fn bad_input_is_refused_with_exit_code_2() {
    let dir = tempfile::tempdir().unwrap();
    let dir = dir.path().to_str().unwrap();
    let comma = format!("{dir}/a,b");
    for (arguments, reason) in [
        (
            ["gateway", "--dir", dir, "--tcp", "192.0.2.1:2321"],
            "127.0.0.1 only",
        ),
        (["gateway", "--dir", dir, "--ek-cert", "dsa"], "ecc-p256"),
        (
            ["gateway", "--dir", &comma, "--ek-cert", "ecc-p256"],
            "comma",
        ),
        (["demo", "--out", dir, "--bin-dir", dir], "cargo build"),
    ] {
        let refused = output(&arguments);
        assert_eq!(refused.status.code(), Some(2), "{arguments:?}");
        let said = String::from_utf8_lossy(&refused.stderr);
        assert!(said.contains(reason), "{arguments:?}: {said}");
    }
}

#[test]
fn demo_does_not_touch_a_directory_that_it_did_not_make() {
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("ldevid.pem"), "somebody's").unwrap();
    let refused = output(&["demo", "--out", dir.path().to_str().unwrap()]);
    assert_eq!(refused.status.code(), Some(2));
    let kept = std::fs::read(dir.path().join("ldevid.pem")).unwrap();
    assert_eq!(kept, b"somebody's");
}

/// A reader that went away, before the first word: no panic, and the gateway
/// serves on.
#[test]
fn output_that_nobody_reads_is_no_panic() {
    let dir = tempfile::tempdir().unwrap();
    let mut child = sim(&["gateway", "--dir", dir.path().to_str().unwrap()])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    drop(child.stdout.take());
    let mut running = Running {
        description: {
            let file = dir.path().join("gateway.json");
            until("gateway.json is written", || file.exists());
            serde_json::from_slice(&std::fs::read(&file).unwrap()).unwrap()
        },
        child,
    };
    running.signal("TERM");
    let status = running.child.wait().unwrap();
    assert_eq!(status.code(), Some(0), "{}", running.description.swtpm_pid);
}
