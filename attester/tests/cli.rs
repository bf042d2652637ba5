//! The program itself: exit codes, JSON, and being killed at any moment.
#![allow(clippy::unwrap_used, reason = "a panic here is a failed test")]

mod support;

use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::time::Duration;

use holdfast_proto::bundle::{Bundle, JoinToken};
use holdfast_proto::tpm::templates::{EkTemplate, srk_template};
use serde_json::Value;
use support::Swtpm;
use support::verifier::{JOIN_TOKEN, Verifier};
use tempfile::TempDir;

struct Machine {
    swtpm: Swtpm,
    dir: TempDir,
}

impl Machine {
    fn new() -> Self {
        let swtpm = Swtpm::start();
        swtpm.certify_ek(EkTemplate::L2);
        Self {
            swtpm,
            dir: tempfile::tempdir().unwrap(),
        }
    }

    fn state(&self) -> PathBuf {
        self.dir.path().join("state")
    }

    fn command(&self, args: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_holdfast-attester"));
        command
            .env_remove("TSS2_LOG")
            .arg("--tcti")
            .arg(self.swtpm.tcti().to_string())
            .arg("--state-dir")
            .arg(self.state())
            .args(args);
        command
    }

    fn run(&self, args: &[&str]) -> Output {
        self.command(args).output().unwrap()
    }

    fn write_bundle(&self, verifier: &Verifier, expires: i64) -> PathBuf {
        let bundle = Bundle {
            server: verifier.server.address.clone(),
            server_name: verifier.server.name.clone(),
            server_ca_der: verifier.server.ca_der.clone(),
            join_token: JoinToken::new(&JOIN_TOKEN).unwrap(),
            policy_root_name: srk_template().name(),
            class: "default".into(),
            expires,
        };
        let path = self.dir.path().join("bundle");
        std::fs::write(&path, bundle.encode().unwrap().as_bytes()).unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600)).unwrap();
        path
    }
}

fn json(output: &Output) -> Value {
    serde_json::from_slice(&output.stdout)
        .unwrap_or_else(|e| panic!("{e}: {}", String::from_utf8_lossy(&output.stdout)))
}

fn text(path: &Path) -> &str {
    path.to_str().unwrap()
}

#[test]
fn doctor_knows_whether_enrolment_can_work() {
    let machine = Machine::new();
    let output = machine.run(&["doctor", "--json"]);
    let found = json(&output);
    assert_eq!(
        (output.status.code(), &found["can_enrol"]),
        (Some(0), &Value::Bool(true))
    );
    assert_eq!(found["tpm"]["ek_certificates"], serde_json::json!(["L-2"]));
    // It changed nothing: no storage root was made, no directory either.
    assert!(!machine.state().exists());
    let root = machine.swtpm.open().storage_root(None).unwrap();
    assert!(root.created);
    assert!(output.stderr.is_empty(), "libtss2 is silent");

    let empty = Swtpm::start();
    let bare = Machine {
        swtpm: empty,
        dir: tempfile::tempdir().unwrap(),
    };
    let output = bare.run(&["doctor"]);
    assert_eq!(output.status.code(), Some(1));
    let words = String::from_utf8(output.stdout).unwrap();
    assert!(
        words.contains("LACK EK certificate") && words.contains("next step:"),
        "{words}"
    );
}

#[test]
fn bad_input_is_2_and_refusals_are_1() {
    let machine = Machine::new();
    let missing = machine.run(&["enroll", "--bundle", "/nonexistent"]);
    assert_eq!(missing.status.code(), Some(2));
    assert_eq!(machine.run(&["enroll"]).status.code(), Some(2));
    assert_eq!(
        machine
            .run(&["--tcti", "swtpm:path=/x", "doctor"])
            .status
            .code(),
        Some(2)
    );
    let status = machine.run(&["status", "--json"]);
    assert_eq!(status.status.code(), Some(1));
    assert_eq!(json(&status)["outcome"], "error");
    assert!(!machine.state().exists(), "asking makes no directory");
    let config = machine.dir.path().join("c.toml");
    std::fs::write(&config, "no_such_setting = 1").unwrap();
    let output = machine.run(&["--config", text(&config), "status"]);
    assert_eq!(output.status.code(), Some(2));
    assert!(
        String::from_utf8(output.stderr)
            .unwrap()
            .contains("no_such_setting")
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn from_bundle_to_status() {
    let (machine, verifier) = (Machine::new(), Verifier::start().await);
    let expired = machine.write_bundle(&verifier, 1_000);
    let output = machine.run(&["enroll", "--bundle", text(&expired)]);
    assert_eq!(output.status.code(), Some(1));
    assert!(
        String::from_utf8(output.stderr)
            .unwrap()
            .contains("expired")
    );

    let bundle = machine.write_bundle(&verifier, 4_000_000_000);
    let enroll = machine.run(&["enroll", "--json", "--bundle", text(&bundle)]);
    let value = json(&enroll);
    assert_eq!(
        (enroll.status.code(), &value["outcome"]),
        (Some(0), &Value::from("granted"))
    );
    assert!(value["tpm_time_ms"].as_f64().unwrap() > 0.0);
    let again = machine.run(&["enroll", "--json", "--bundle", text(&bundle)]);
    assert_eq!(json(&again)["outcome"], "already-enrolled");

    let attest = machine.run(&["attest", "--renew"]);
    assert_eq!(attest.status.code(), Some(0), "{attest:?}");
    let status = json(&machine.run(&["status", "--json"]));
    assert_eq!(status["gateway_id"], value["gateway_id"]);
    let doctor = machine.run(&["doctor"]);
    assert!(
        String::from_utf8(doctor.stdout)
            .unwrap()
            .contains("enrolled as")
    );

    verifier.script.lock().unwrap().refuse = true;
    // After the renewal the stand-in knows the first LDevID only.
    let refused = machine.run(&["recover", "--json"]);
    assert_eq!(refused.status.code(), Some(1));
    assert_eq!(json(&refused)["reasons"][0]["code"], "pcr-mismatch");
}

#[test]
fn evidence_is_what_tpm2_tools_accept() {
    let machine = Machine::new();
    let dir = machine.dir.path().join("evidence");
    let output = machine.run(&["evidence", "--evidence-dir", text(&dir)]);
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    let nonce = std::fs::read_to_string(dir.join("nonce.hex")).unwrap();
    let check = Command::new("tpm2_checkquote")
        .arg("-u")
        .arg(dir.join("ak.pub"))
        .arg("-m")
        .arg(dir.join("quote.attest"))
        .arg("-s")
        .arg(dir.join("quote.sig"))
        .args(["-q", nonce.trim()])
        .output()
        .expect("tpm2-tools are installed");
    assert!(
        check.status.success(),
        "{}",
        String::from_utf8_lossy(&check.stderr)
    );
}

/// kill -9 after ever longer times, until a run gets through by itself: each
/// run must cope with whatever the one before left on disk and in the TPM.
#[tokio::test(flavor = "multi_thread")]
async fn adv_a22_killed_at_any_moment_it_enrols_in_the_end() {
    let (machine, verifier) = (Machine::new(), Verifier::start().await);
    let bundle = machine.write_bundle(&verifier, 4_000_000_000);
    let mut kills = 0;
    let output = loop {
        let mut child = machine
            .command(&["enroll", "--json", "--bundle", text(&bundle)])
            .stdout(std::process::Stdio::piped())
            .stderr(std::process::Stdio::piped())
            .spawn()
            .unwrap();
        tokio::time::sleep(Duration::from_millis(7 * kills)).await;
        if child.try_wait().unwrap().is_some() || kills == 60 {
            break child.wait_with_output().unwrap();
        }
        child.kill().unwrap();
        child.wait().unwrap();
        kills += 1;
    };
    assert!(kills > 3, "killed {kills} times");
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    let outcome = json(&output)["outcome"].clone();
    assert!(
        outcome == "granted" || outcome == "already-enrolled",
        "{outcome}"
    );
    let attest = machine.run(&["attest"]);
    assert_eq!(attest.status.code(), Some(0), "{attest:?}");
    // Nothing of the killed runs is left.
    assert!(!machine.state().join("pending.json").exists());
    let facts = machine.swtpm.open().facts().unwrap();
    assert_eq!(
        (facts.free_transient, facts.free_sessions),
        (Some(3), Some(3))
    );
}
