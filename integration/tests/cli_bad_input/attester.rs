//! The attester's arguments, and a machine that has nothing.

use std::path::Path;
use std::process::Stdio;

use anyhow::{Result, ensure};
use holdfast_integration::{Scene, TokenOptions};

use crate::judge::{BAD_INPUT, REFUSED, attester, chmod, folder, printed, refused, text};

/// Usage, before any TPM or file is touched.
#[test]
fn attester_usage() -> Result<()> {
    let folder = folder()?;
    let config = folder.path().join("attester.toml");
    let config = text(&config)?;
    let state = folder.path().join("state");
    let state = text(&state)?;
    let cases: &[(&[&str], &str)] = &[
        (&[], "Usage: holdfast-attester"),
        (&["nonsense"], "unrecognized subcommand 'nonsense'"),
        (&["enroll"], "--bundle <FILE>"),
        (&["attest", "--renewal"], "unexpected argument '--renewal'"),
        (&["--tcti", "nonsense", "doctor"], "use device:/dev/tpmrm0"),
        (&["--tcti", "", "doctor"], "'--tcti <TCTI>'"),
        (
            &["--tcti", "swtpm:host=127.0.0.1,port=99999", "doctor"],
            "port=\"99999\"",
        ),
        (&["--tcti", "swtpm:port", "doctor"], "'--tcti <TCTI>'"),
        (&["--tcti", "cmd:rm -rf /", "doctor"], "'--tcti <TCTI>'"),
        (&["--tcti", "libtss2-evil.so", "doctor"], "'--tcti <TCTI>'"),
        (
            &["--srk-handle", "0x80000000", "doctor"],
            "persistent handle",
        ),
        (&["--srk-handle", "-", "doctor"], "persistent handle"),
        (&["enroll", "--bundle", "x", "--ek", "dsa"], "'--ek <KIND>'"),
        (&["enroll", "--bundle", "x", "--ak", "dsa"], "'--ak <ALG>'"),
        (&["--config", config, "doctor"], "attester.toml"),
        (&["--owner-auth-file", config, "doctor"], "attester.toml"),
        (
            &["--endorsement-auth-file", config, "doctor"],
            "attester.toml",
        ),
        (&["enroll", "--bundle", config], "attester.toml"),
    ];
    for (arguments, words) in cases {
        let mut command = attester(arguments)?;
        refused(command.args(["--state-dir", state]), BAD_INPUT, &[words])?;
    }
    for (content, words) in [
        ("tctl = \"tabrmd:\"\n", "tctl"),
        ("tcti = \"nonsense\"\n", "nonsense"),
        ("srk_handle = \"1\"\n", "srk_handle"),
        ("ek = \"dsa\"\n", "ek"),
        ("ak = 7\n", "ak"),
        ("{{{", "attester.toml"),
    ] {
        std::fs::write(config, content)?;
        refused(
            &mut attester(&["--config", config, "--state-dir", state, "doctor"])?,
            BAD_INPUT,
            &[words, "correct the settings file"],
        )?;
    }
    // An auth value that others can read.
    let auth = folder.path().join("auth");
    std::fs::write(&auth, "s3cret-auth-value")?;
    chmod(&auth, 0o644)?;
    let output = refused(
        &mut attester(&[
            "--owner-auth-file",
            text(&auth)?,
            "--state-dir",
            state,
            "doctor",
        ])?,
        BAD_INPUT,
        &["auth", "0644"],
    )?;
    ensure!(!output.contains("s3cret"), "{output}");
    ensure!(!Path::new(state).exists(), "a state directory was made");
    Ok(())
}

/// Commands that need an enrolment where there is none, or a TPM where there is
/// none.
#[test]
fn attester_without_enrolment_or_tpm() -> Result<()> {
    let scene = Scene::new()?;
    let folder = folder()?;
    let state = folder.path().join("state");
    let state = text(&state)?;
    for arguments in [
        &["attest"][..],
        &["attest", "--renew"],
        &["recover"],
        &["status"],
    ] {
        let mut command = attester(arguments)?;
        command.args(["--state-dir", state]);
        refused(
            &mut command,
            REFUSED,
            &["holds no enrolment", "next step: ", "enroll --bundle"],
        )?;
    }
    ensure!(!Path::new(state).exists(), "asking made a directory");
    let bundle = scene.deployment.create_token(&TokenOptions::default())?;
    let nowhere = folder.path().join("no-tpm");
    std::fs::write(&nowhere, "no TPM")?;
    let file = format!("device:{}", text(&nowhere)?);
    for tcti in [
        "device:/dev/nowhere",
        &file,
        "device:/dev/null",
        "swtpm:host=127.0.0.1,port=1",
    ] {
        for arguments in [
            &[
                "enroll",
                "--boot-log",
                "/nonexistent",
                "--bundle",
                text(&bundle)?,
            ][..],
            &[
                "evidence",
                "--evidence-dir",
                text(&folder.path().join("evidence"))?,
            ],
        ] {
            let mut command = attester(arguments)?;
            command.args(["--state-dir", state, "--tcti", tcti]);
            refused(&mut command, REFUSED, &[tcti, "next step: "])?;
        }
        let mut command = attester(&["doctor", "--state-dir", state, "--tcti", tcti])?;
        let output = command.stdin(Stdio::null()).output()?;
        ensure!(
            output.status.code() == Some(REFUSED),
            "{}",
            printed(&output)
        );
        ensure!(printed(&output).contains(tcti), "{}", printed(&output));
    }
    ensure!(scene.deployment.gateways()?.is_empty());
    Ok(())
}
