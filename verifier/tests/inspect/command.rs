//! The command as it is run: exit codes, streams, what is inert.

use std::{
    fs,
    path::Path,
    process::{Command, Output},
};

use serde_json::Value;

use super::corpus::corpus;

fn inspect(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_holdfast-verifier"))
        .arg("inspect")
        .args(arguments)
        .env_remove("NO_COLOR")
        .output()
        .unwrap()
}

fn code(output: &Output) -> i32 {
    output.status.code().unwrap()
}

fn stdout(output: &Output) -> String {
    String::from_utf8(output.stdout.clone()).unwrap()
}

fn stderr(output: &Output) -> String {
    String::from_utf8(output.stderr.clone()).unwrap()
}

fn text(path: &Path) -> &str {
    path.to_str().unwrap()
}

/// A SHA-1-only log with one action, whose text is `data`.
fn log(data: &[u8]) -> Vec<u8> {
    let digest = ring::digest::digest(&ring::digest::SHA1_FOR_LEGACY_USE_ONLY, data);
    let mut log = Vec::new();
    log.extend(4_u32.to_le_bytes());
    log.extend(0x8000_0007_u32.to_le_bytes());
    log.extend(digest.as_ref());
    log.extend(u32::try_from(data.len()).unwrap().to_le_bytes());
    log.extend(data);
    log
}

#[test]
fn adv_a27_what_a_device_says_is_inert_in_tables_and_in_json() {
    let dir = tempfile::tempdir().unwrap();
    let hostile = "\u{1b}]0;owned\u{7}\u{9b}2J\u{202e}\r\n\u{0}<script>";
    let boot = dir.path().join("boot\u{1b}[2J.log");
    fs::write(&boot, log(hostile.as_bytes())).unwrap();
    let name = "/bin/\u{1b}[31m\u{9b}x\u{202e}";
    let ima = dir.path().join("ima.log");
    let zero = "0".repeat(40);
    fs::write(&ima, format!("10 {zero} ima-ng sha1:{zero} {name}\n")).unwrap();
    for arguments in [
        &["boot-log", text(&boot)][..],
        &["boot-log", text(&boot), text(&boot)],
        &["boot-log", text(&boot), "--json"],
        &["boot-log", text(&boot), text(&boot), "--json"],
        &["ima-log", text(&ima), "--list"],
        &["ima-log", text(&ima), "--list", "--json"],
    ] {
        let output = inspect(arguments);
        assert_eq!(code(&output), 0, "{}", stderr(&output));
        let shown = stdout(&output) + &stderr(&output);
        assert!(
            shown.contains("\\u{1b}") || shown.contains("\\\\u{1b}"),
            "{shown}"
        );
        let inert = |c: char| c == '\n' || (!c.is_control() && c != '\u{202e}');
        assert!(shown.chars().all(inert), "{arguments:?}: {shown:?}");
    }
    // A file that says no good, on standard error.
    fs::write(&boot, b"no").unwrap();
    let output = inspect(&["boot-log", text(&boot)]);
    assert_eq!(code(&output), 2);
    assert!(!stderr(&output).contains('\u{1b}'));
}

#[test]
fn exit_codes_tell_read_refused_and_unreadable_apart() {
    let dir = tempfile::tempdir().unwrap();
    let file = |name: &str, bytes: &[u8]| {
        let path = dir.path().join(name);
        fs::write(&path, bytes).unwrap();
        text(&path).to_owned()
    };
    let good = file("good", &log(b"Calling EFI Application from Boot Option"));
    let bad = file("bad", b"bad");
    let empty = file("empty", b"");
    let absent = text(&dir.path().join("absent")).to_owned();
    let folder = text(dir.path()).to_owned();
    let long = file("long", &vec![0x41; 70 << 10]);
    for (arguments, expected) in [
        (&["boot-log", &good][..], 0),
        (&["boot-log", &bad], 2),
        (&["boot-log", &empty], 2),
        (&["boot-log", &absent], 2),
        (&["boot-log", &folder], 2),
        (&["boot-log"], 2),
        (&["boot-log", &good, &bad], 2),
        (&["boot-log", "--no-such"], 2),
        (&["ima-log", &empty], 0),
        (&["ima-log", &bad], 2),
        (&["claims", &bad], 1),
        (&["claims", &long], 2),
        (&["claims", &bad, "--key", &bad], 2),
        (&["claims", &bad, &absent], 2),
        (&["result", &bad], 1),
        (&["ldevid", &bad], 1),
        (&["ldevid", &empty], 2),
        (&["ldevid", &bad, "--at", "yesterday"], 2),
        (&["ek-cert", &bad], 2),
        (&["ek-cert", &bad, "--roots", &bad], 2),
        (&["ek-cert", &bad, "--roots", &absent], 2),
        (
            &[
                "quote",
                "--key",
                &bad,
                "--attest",
                &bad,
                "--signature",
                &bad,
            ],
            2,
        ),
        (&["quote", "--key", &bad], 2),
        (&["no-such"], 2),
    ] {
        let output = inspect(arguments);
        assert_eq!(
            code(&output),
            expected,
            "{arguments:?}: {}",
            stderr(&output)
        );
        assert_eq!(stderr(&output).is_empty(), expected == 0, "{arguments:?}");
    }
}

#[test]
fn several_files_make_one_array_and_the_worst_decides() {
    let dir = tempfile::tempdir().unwrap();
    let (good, bad) = (dir.path().join("good"), dir.path().join("bad"));
    fs::write(&good, log(b"x")).unwrap();
    fs::write(&bad, b"x").unwrap();
    let output = inspect(&["boot-log", "--json", text(&bad), text(&good)]);
    assert_eq!(code(&output), 2);
    let json: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(json[0]["file"], text(&bad));
    assert!(json[0]["error"].is_string());
    assert_eq!(json[1]["file"], text(&good));
    assert_eq!(json[1]["format"], "sha1");
    assert_eq!(json[1]["events"][0]["digest_matches_data"], true);
    assert_eq!(json.as_array().unwrap().len(), 2);
}

#[test]
fn a_quote_is_judged_as_tpm2_quote_wrote_it() {
    let Some(corpus) = corpus() else { return };
    let file = |name: &str| {
        let path = corpus.path(&format!("quote/keylime__keylime/{name}"));
        text(&path).to_owned()
    };
    let (key, attest, signature) = (file("ak.pub"), file("quote.out"), file("quotesig.out"));
    let base = [
        "quote",
        "--key",
        &key,
        "--attest",
        &attest,
        "--signature",
        &signature,
        "--json",
    ];
    let dir = tempfile::tempdir().unwrap();
    let pcrs = dir.path().join("pcrs.json");
    let values = [
        (15, "00".repeat(32)),
        (
            16,
            "9dbb22387e019c04da95477333546082ce313152c4a7f8a6e1d5f0c77f4fb6f0".to_owned(),
        ),
        (22, "ff".repeat(32)),
    ];
    let document: std::collections::BTreeMap<_, _> = values.iter().cloned().collect();
    fs::write(&pcrs, serde_json::json!({ "sha256": document }).to_string()).unwrap();
    let given: Vec<String> = values
        .iter()
        .map(|(n, v)| format!("sha256:{n}={v}"))
        .collect();
    let by_flags = ["--pcr", &given[0], "--pcr", &given[1], "--pcr", &given[2]];
    let nonce = "db1db298db6d60e6385b7231743e9c3056a18003";
    for (more, expected, reason) in [
        (&["--nonce", nonce][..], 0, None),
        (&by_flags, 0, None),
        (&["--pcrs", text(&pcrs)], 0, None),
        (&["--nonce", "00"], 1, Some("extraData")),
        (&["--nonce", ""], 1, Some("extraData")),
        (&by_flags[..4], 1, Some("quote covers sha256:15,16,22")),
    ] {
        let output = inspect(&[&base, more].concat());
        assert_eq!(code(&output), expected, "{more:?}: {}", stderr(&output));
        let json: Value = serde_json::from_slice(&output.stdout).unwrap();
        let verdict = if expected == 0 {
            "affirming"
        } else {
            "refused"
        };
        assert_eq!(json["verdict"], verdict);
        assert_eq!(json["attest"]["extra_data"], nonce);
        match reason {
            None => assert_eq!(json["reason"], Value::Null),
            Some(words) => {
                assert!(json["reason"].as_str().unwrap().contains(words), "{json}");
                assert!(stderr(&output).contains(words));
            }
        }
    }
    for more in [
        &["--nonce", "xyz"][..],
        &["--pcr", "sha256:0"],
        &["--pcr", "md5:0=00"],
        &["--pcr", "sha256:x=00"],
        &["--pcr", "sha256:0=zz"],
        &["--pcr", "sha256:0=00", "--pcr", "sha256:0=01"],
    ] {
        let output = inspect(&[&base, more].concat());
        assert_eq!(code(&output), 2, "{more:?}");
        assert!(!stderr(&output).is_empty());
    }
}
