//! `holdfast-sim demo` when something goes wrong: it says what, ends with
//! exit code 1, and leaves no process behind. The programs are stand-ins here;
//! the story with the real ones is in the integration tests.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant};

/// A verifier that initialises and serves, as far as the demo can see.
const VERIFIER: &str = r#"
case "$1" in
  init) mkdir -p "$3" && echo root > "$3/root-ca.pem" ;;
  serve) echo $$ > "${0%/*}/serve.pid"; echo 127.0.0.1:1 > "$7"; exec sleep 60 ;;
esac
"#;

struct Scene {
    dir: tempfile::TempDir,
}

impl Scene {
    fn new(verifier: &str, attester: &str) -> Self {
        let dir = tempfile::tempdir().unwrap();
        for (name, body) in [
            ("holdfast-verifier", verifier),
            ("holdfast-attester", attester),
        ] {
            let path = dir.path().join(name);
            std::fs::write(&path, format!("#!/bin/sh\n{body}")).unwrap();
            std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).unwrap();
        }
        Self { dir }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    fn demo(&self) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_holdfast-sim"));
        let (out, bin) = (self.path("demo"), self.dir.path());
        command.args(["demo".as_ref(), "--out".as_ref(), out.as_os_str()]);
        command.args(["--bin-dir".as_ref(), bin.as_os_str()]);
        command
    }

    /// Asserts that the demo fails, and gives back what it said.
    fn fails(&self) -> String {
        let Output {
            status,
            stdout,
            stderr,
        } = self.demo().output().unwrap();
        let said = String::from_utf8_lossy(&[stdout, stderr].concat()).into_owned();
        assert_eq!(status.code(), Some(1), "{said}");
        self.assert_nothing_is_left();
        said
    }

    /// No process has this scene's directory on its command line.
    fn assert_nothing_is_left(&self) {
        let here = self.dir.path().to_str().unwrap();
        for entry in std::fs::read_dir("/proc").unwrap().flatten() {
            let line = std::fs::read(entry.path().join("cmdline")).unwrap_or_default();
            let line = String::from_utf8_lossy(&line).replace('\0', " ");
            assert!(!line.contains(here), "left behind: {line}");
        }
        if let Ok(pid) = std::fs::read_to_string(self.path("serve.pid")) {
            let exe = format!("/proc/{}/exe", pid.trim());
            assert!(!Path::new(&exe).exists(), "the verifier was left behind");
        }
    }
}

#[test]
fn a_failing_command_is_shown_with_its_words() {
    let scene = Scene::new("echo 'no room on the disk' >&2; exit 1", "");
    let said = scene.fails();
    assert!(
        said.contains("init") && said.contains("no room on the disk"),
        "{said}"
    );
}

#[test]
fn a_verifier_that_does_not_serve_is_shown_with_its_log() {
    let dies = VERIFIER.replace("exec sleep 60", "echo 'address in use' >&2; exit 1");
    let dies = dies.replace(r#"echo 127.0.0.1:1 > "$7";"#, "");
    let said = Scene::new(&dies, "").fails();
    assert!(
        said.contains("does not serve") && said.contains("address in use"),
        "{said}"
    );
}

#[test]
fn a_refused_enrolment_ends_the_story_and_all_processes() {
    let attester = r#"case "$*" in *enroll*) echo 'not endorsed' >&2; exit 1 ;; esac"#;
    let scene = Scene::new(VERIFIER, attester);
    let said = scene.fails();
    assert!(said.contains("not endorsed"), "{said}");
    assert!(scene.path("serve.pid").exists());
}

/// The attester says that all is well; the files say otherwise.
#[test]
fn a_claimed_success_without_evidence_is_no_success() {
    let attester = r#"
state=$4
case "$*" in *enroll*) mkdir -p "$state"; : > "$state/ldevid.pem"; : > "$state/ear.jwt" ;; esac
"#;
    let said = Scene::new(VERIFIER, attester).fails();
    assert!(said.contains("ldevid.pem"), "{said}");
}

#[test]
fn ctrl_c_ends_all_processes() {
    for signal in ["INT", "TERM"] {
        let scene = Scene::new(VERIFIER, ": > \"${0%/*}/doctor\"; exec sleep 60");
        let mut demo = scene
            .demo()
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        // doctor hangs: by then the verifier serves and swtpm runs.
        let doctor = scene.path("doctor");
        let deadline = Instant::now() + Duration::from_secs(20);
        while !doctor.exists() {
            assert!(
                Instant::now() < deadline,
                "the demo did not get to the gateway"
            );
            std::thread::sleep(Duration::from_millis(10));
        }
        let pid = demo.id().to_string();
        assert!(
            Command::new("kill")
                .args(["-s", signal, &pid])
                .status()
                .unwrap()
                .success()
        );
        assert_eq!(demo.wait().unwrap().code(), Some(130));
        scene.assert_nothing_is_left();
    }
}
