//! The program as the owner runs it: exit codes, strictness, and what is left
//! after `kill -9`.
#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a test that cannot go on fails"
)]

use std::{
    fs,
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
    process::{Child, Command, Output, Stdio},
    thread::sleep,
    time::{Duration, Instant},
};

use serde_json::Value;

struct Verifier {
    parent: tempfile::TempDir,
    serving: Option<Child>,
}

impl Drop for Verifier {
    fn drop(&mut self) {
        if let Some(mut child) = self.serving.take() {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

impl Verifier {
    fn new() -> Self {
        let made = Self {
            parent: tempfile::tempdir().unwrap(),
            serving: None,
        };
        assert_eq!(
            code(&made.run(&["init", "--server-name", "verifier.test"])),
            0
        );
        made
    }

    fn dir(&self) -> PathBuf {
        self.parent.path().join("v")
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_holdfast-verifier"));
        command.args(arguments).arg("--dir").arg(self.dir());
        for name in ["HOLDFAST_LISTEN", "HOLDFAST_DIR"] {
            command.env_remove(name);
        }
        command
    }

    fn run(&self, arguments: &[&str]) -> Output {
        self.command(arguments).output().unwrap()
    }

    fn json(&self, arguments: &[&str]) -> Value {
        let output = self.run(arguments);
        assert_eq!(code(&output), 0, "{}", text(&output));
        serde_json::from_slice(&output.stdout).unwrap()
    }

    fn serve(&mut self) {
        let address = self.parent.path().join("address");
        let _ = fs::remove_file(&address);
        let child = self
            .command(&["serve", "--listen", "127.0.0.1:0"])
            .arg("--address-file")
            .arg(&address)
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        self.serving = Some(child);
        let began = Instant::now();
        while !address.exists() {
            assert!(began.elapsed() < Duration::from_secs(20), "not ready");
            sleep(Duration::from_millis(20));
        }
        assert!(
            fs::read_to_string(address)
                .unwrap()
                .starts_with("127.0.0.1:")
        );
    }

    fn end(&mut self, signal: nix::sys::signal::Signal) -> std::process::ExitStatus {
        let mut child = self.serving.take().unwrap();
        let pid = nix::unistd::Pid::from_raw(child.id().try_into().unwrap());
        nix::sys::signal::kill(pid, signal).unwrap();
        child.wait().unwrap()
    }
}

fn code(output: &Output) -> i32 {
    output.status.code().unwrap()
}

fn text(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

fn chmod(path: &Path, mode: u32) {
    fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
}

#[test]
fn what_was_answered_is_there_after_kill_9() {
    use nix::sys::signal::Signal::{SIGKILL, SIGTERM};
    let mut v = Verifier::new();
    v.serve();
    let ca = v.dir().join("root-ca.pem");
    let imported = v.json(&["endorsement", "import", "--json", ca.to_str().unwrap()]);
    assert_eq!(imported["roots"], 1);
    let token = v.json(&["token", "create", "--json"]);
    v.end(SIGKILL);
    assert!(v.dir().join("admin.sock").exists(), "nobody tidied up");

    // The same command again, and the stale socket is no hindrance.
    v.serve();
    let listed = v.json(&["endorsement", "list", "--json"]);
    assert_eq!(listed["endorsements"].as_array().unwrap().len(), 1);
    assert_eq!(token["token_id"].as_str().unwrap().len(), 64);
    assert!(v.end(SIGTERM).success());
    assert!(!v.dir().join("admin.sock").exists());
}

#[test]
fn exit_codes_tell_refusal_from_bad_input() {
    let mut v = Verifier::new();
    // Nobody serves.
    let output = v.run(&["gateway", "list"]);
    assert_eq!(code(&output), 1);
    assert!(text(&output).contains("admin.sock"), "{}", text(&output));
    v.serve();
    let unknown = format!("01{}", "00".repeat(32));
    for (arguments, expected) in [
        (&["gateway", "list"][..], 0),
        (&["gateway", "show", &unknown], 1),
        (&["gateway", "show", "x"], 2),
        (&["token", "create", "--uses", "0"], 2),
        (&["token", "create", "--valid-for", "soon"], 2),
        (&["token", "create", "--class", "../x"], 2),
        (&["endorsement", "import", "/nowhere"], 2),
        (&["reference", "import", "/nowhere"], 2),
        (&["no-such-command"], 2),
        // Two servers never share a directory.
        (&["serve"], 1),
        (&["init"], 1),
    ] {
        let output = v.run(arguments);
        assert_eq!(code(&output), expected, "{arguments:?}: {}", text(&output));
        assert!(
            expected == 0 || !text(&output).is_empty(),
            "{arguments:?} says why"
        );
    }
}

#[test]
fn a_bundle_file_is_private_and_never_overwritten() {
    let mut v = Verifier::new();
    v.serve();
    let file = v.parent.path().join("gateway.bundle");
    let arguments = ["token", "create", "--output", file.to_str().unwrap()];
    assert_eq!(code(&v.run(&arguments)), 0);
    assert_eq!(
        fs::metadata(&file).unwrap().permissions().mode() & 0o777,
        0o600
    );
    let bundle = fs::read_to_string(&file).unwrap();
    holdfast_proto::bundle::Bundle::parse(bundle.trim_end()).unwrap();
    assert_eq!(code(&v.run(&arguments)), 2);
    assert_eq!(fs::read_to_string(&file).unwrap(), bundle);
}

#[test]
fn adv_a25_serve_refuses_loose_modes_and_names_the_chmod() {
    let v = Verifier::new();
    for (name, loose, tight) in [
        ("issuing-ca.key.pem", 0o640, 0o600),
        ("token.key", 0o604, 0o600),
        ("policy.rego", 0o666, 0o644),
        ("config.toml", 0o622, 0o644),
    ] {
        let path = v.dir().join(name);
        chmod(&path, loose);
        let output = v.run(&["serve", "--listen", "127.0.0.1:0"]);
        assert_eq!(code(&output), 1, "{name}");
        let command = format!("chmod {tight:04o} {}", path.display());
        assert!(text(&output).contains(&command), "{}", text(&output));
        chmod(&path, tight);
    }
    chmod(&v.dir(), 0o750);
    let output = v.run(&["serve", "--listen", "127.0.0.1:0"]);
    assert!(text(&output).contains(&format!("chmod 0700 {}", v.dir().display())));
}

#[test]
fn settings_are_strict_wherever_they_come_from() {
    let v = Verifier::new();
    let serve = |name: &str, value: &str| {
        let mut command = v.command(&["serve", "--listen", "127.0.0.1:0"]);
        command.env(name, value).output().unwrap()
    };
    let output = serve("HOLDFAST_LIMITS__REQUESTS", "0");
    assert_eq!(code(&output), 2);
    assert!(
        text(&output).contains("limits.requests is 0"),
        "{}",
        text(&output)
    );
    let output = serve("HOLDFAST_LIMITS__REQUEST", "1");
    assert_eq!(code(&output), 2);
    assert!(text(&output).contains("unknown field"), "{}", text(&output));
    let output = serve("HOLDFAST_PCR_SELECTION", "[0,16]");
    assert_eq!(code(&output), 2);
    assert!(text(&output).contains("PCR 16 and 23"), "{}", text(&output));

    let config = v.dir().join("config.toml");
    let sample = fs::read_to_string(&config).unwrap();
    fs::write(&config, format!("lisen = 1\n{sample}")).unwrap();
    let output = v.run(&["serve", "--listen", "127.0.0.1:0"]);
    assert_eq!(code(&output), 2);
    let text = text(&output);
    assert!(
        text.contains("lisen") && text.contains("config.toml"),
        "{text}"
    );
}
