//! Bad input at the command lines: each is refused with exit code 1 or 2, says
//! on stderr what is wrong and what to do, shows no secret, and changes nothing.

use std::collections::BTreeMap;
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use anyhow::{Context, Result, bail, ensure};
use holdfast_integration::programs::program;
use holdfast_integration::{Deployment, Gateway, Scene, TokenOptions, oracle};
use tempfile::TempDir;

const REFUSED: i32 = 1;
const BAD_INPUT: i32 = 2;

// ---- the verifier

/// Usage: missing, unknown and malformed arguments, none of which get as far as
/// a server.
#[test]
fn verifier_usage() -> Result<()> {
    let dir = folder()?;
    let dir = text(dir.path())?;
    let absent = format!("{dir}/absent");
    let cases: &[(&[&str], &str)] = &[
        (&[], "Usage: holdfast-verifier"),
        (&["nonsense"], "unrecognized subcommand 'nonsense'"),
        (&["--nonsense"], "unexpected argument '--nonsense'"),
        (&["init"], "--dir <DIR>"),
        (&["serve"], "--dir <DIR>"),
        (&["token"], "Usage: holdfast-verifier token"),
        (&["token", "create"], "--dir <DIR>"),
        (&["endorsement", "import", "--dir", dir], "<PATH>..."),
        (&["endorsement", "list"], "--dir <DIR>"),
        (&["reference", "import", "--dir", dir], "<FILE>"),
        (&["gateway", "list"], "--dir <DIR>"),
        (&["gateway", "show", "--dir", dir], "<ID>"),
        (&["gateway", "suspend", "--dir", dir], "<ID>"),
        (&["gateway", "resume", "--dir", dir], "<ID>"),
        (&["gateway", "revoke", "--dir", dir], "<ID>"),
        (
            &["init", "--dir", &absent, "--listen", "nowhere"],
            "'--listen <ADDR>'",
        ),
        (
            &["init", "--dir", &absent, "--listen", "127.0.0.1:70000"],
            "'--listen <ADDR>'",
        ),
        (
            &["init", "--dir", &absent, "--server-name", "a name"],
            "neither a DNS name nor",
        ),
        (
            &["init", "--dir", &absent, "--server-name", ""],
            "neither a DNS name nor",
        ),
        (
            &["init", "--dir", &absent, "--server-name", "a\u{1b}[2J"],
            "neither a DNS name nor",
        ),
        (
            &["serve", "--dir", dir, "--log-format", "xml"],
            "'--log-format <FORMAT>'",
        ),
        (
            &["token", "create", "--dir", dir, "--uses", "-1"],
            "unexpected argument '-1'",
        ),
        (
            &["token", "create", "--dir", dir, "--uses", "many"],
            "'--uses <N>'",
        ),
        (
            &["token", "create", "--dir", dir, "--uses", "4294967296"],
            "'--uses <N>'",
        ),
        (
            &["token", "create", "--dir", dir, "--valid-for", "5w"],
            "e.g. 90s, 30m, 1h, 2d",
        ),
        (
            &["token", "create", "--dir", dir, "--valid-for", "99999999d"],
            "at most 30 days",
        ),
        (
            &["token", "create", "--dir", dir, "--valid-for", ""],
            "'--valid-for <TIME>'",
        ),
    ];
    for (arguments, words) in cases {
        refused(&mut verifier(arguments)?, BAD_INPUT, &[words])?;
    }
    ensure!(!Path::new(&absent).exists(), "init left something behind");
    Ok(())
}

/// Directories that `init` must leave alone.
#[test]
fn verifier_init_overwrites_nothing() -> Result<()> {
    let folder = folder()?;
    let taken = folder.path().join("taken");
    std::fs::create_dir(&taken)?;
    std::fs::write(taken.join("precious"), "precious")?;
    let file = folder.path().join("file");
    std::fs::write(&file, "precious")?;
    let link = folder.path().join("link");
    std::fs::create_dir(folder.path().join("empty"))?;
    symlink(folder.path().join("empty"), &link)?;
    let before = contents(folder.path())?;
    for (path, words) in [
        (&taken, "exists already and is not overwritten"),
        (&file, "is not a plain directory"),
        (&link, "is not a plain directory"),
    ] {
        let path = text(path)?;
        refused(
            &mut verifier(&["init", "--dir", path])?,
            REFUSED,
            &[path, words],
        )?;
        let fresh = folder.path().join("fresh");
        refused(
            &mut verifier(&["init", "--dir", text(&fresh)?, "--root-ca-dir", path])?,
            REFUSED,
            &[path, words],
        )?;
    }
    refused(
        &mut verifier(&["init", "--dir", "/proc/self/nowhere/dir"])?,
        REFUSED,
        &["/proc/self/nowhere"],
    )?;
    ensure!(contents(folder.path())? == before, "something was changed");
    Ok(())
}

/// A25: a directory or a secret that others can get at, or that is somewhere
/// else. `serve` names the file and the remedy.
#[test]
fn adv_a25_verifier_directory_with_loose_modes() -> Result<()> {
    let folder = folder()?;
    let dir = initialised(folder.path())?;
    for mode in [0o755, 0o750, 0o701, 0o1777] {
        let (dir_text, mode_text) = (text(&dir)?, format!("mode {mode:04o}"));
        chmod(&dir, mode)?;
        for arguments in [&["serve"][..], &["gateway", "list"], &["token", "create"]] {
            refused(
                verifier(arguments)?.args(["--dir", dir_text]),
                REFUSED,
                &[dir_text, &mode_text, "chmod 0700"],
            )?;
        }
    }
    chmod(&dir, 0o700)?;
    for name in SECRETS {
        let path = dir.join(name);
        for mode in [0o640, 0o604, 0o622] {
            chmod(&path, mode)?;
            let mode_text = format!("mode {mode:04o}");
            refused_serve(&dir, REFUSED, &[text(&path)?, &mode_text, "chmod 0600"])?;
        }
        chmod(&path, 0o600)?;
    }
    // What is no secret may be read, but not written.
    for name in ["config.toml", "policy.rego", "root-ca.pem", "server.pem"] {
        let path = dir.join(name);
        chmod(&path, 0o666)?;
        refused_serve(&dir, REFUSED, &[text(&path)?, "mode 0666", "chmod 0644"])?;
        chmod(&path, 0o644)?;
    }
    // Links, at the directory and in it.
    let link = folder.path().join("link");
    symlink(&dir, &link)?;
    refused_serve(&link, REFUSED, &[text(&link)?, "links are not followed"])?;
    for name in ["token.key", "policy.rego", "server.pem"] {
        let (path, moved) = (dir.join(name), folder.path().join(name));
        std::fs::rename(&path, &moved)?;
        symlink(&moved, &path)?;
        refused_serve(&dir, REFUSED, &[text(&path)?, "links are not followed"])?;
        std::fs::remove_file(&path)?;
        std::fs::rename(&moved, &path)?;
    }
    // Another's, where this is root.
    if nix::unistd::geteuid().is_root() {
        let path = dir.join("token.key");
        std::os::unix::fs::chown(&path, Some(65534), None)?;
        refused_serve(
            &dir,
            REFUSED,
            &[text(&path)?, "belongs to uid 65534", "chown 0"],
        )?;
        std::os::unix::fs::chown(&path, Some(0), None)?;
    }
    serves(&dir)
}

/// Every file of the directory, replaced by garbage, emptied, or gone: `serve`
/// names it, and touches nothing.
#[test]
fn verifier_serve_with_damaged_files() -> Result<()> {
    let folder = folder()?;
    let dir = initialised(folder.path())?;
    for name in [
        "config.toml",
        "policy.rego",
        "token.key",
        "server.pem",
        "server.key.pem",
        "issuing-ca.pem",
        "issuing-ca.key.pem",
        "root-ca.pem",
        "result.key.pem",
        "policy-root.pub.pem",
        "server-ca.pem",
    ] {
        let path = dir.join(name);
        let good = std::fs::read(&path)?;
        let code = if name == "config.toml" {
            BAD_INPUT
        } else {
            REFUSED
        };
        for bad in [&b"garbage {{{ \x1b[2J"[..], b"\xFF\xFE\x00"] {
            std::fs::write(&path, bad)?;
            let output = refused_serve(&dir, code, &[name])
                .with_context(|| format!("{name} with {bad:?}"))?;
            ensure!(
                !output.contains('\u{1b}'),
                "{name}: a live escape: {output:?}"
            );
        }
        std::fs::remove_file(&path)?;
        refused_serve(&dir, REFUSED, &[name]).with_context(|| format!("{name} is gone"))?;
        std::fs::write(&path, good)?;
        chmod(&path, if name.contains("key") { 0o600 } else { 0o644 })?;
    }
    let store = dir.join("holdfast.db");
    std::fs::write(
        &store,
        "garbage, and more of it than a header has. ".repeat(100),
    )?;
    chmod(&store, 0o600)?;
    refused_serve(&dir, REFUSED, &["holdfast.db"])?;
    std::fs::remove_file(&store)?;
    serves(&dir)
}

/// Keys and values in `config.toml` that are none.
#[test]
fn verifier_serve_with_a_bad_configuration() -> Result<()> {
    let folder = folder()?;
    let dir = initialised(folder.path())?;
    let path = dir.join("config.toml");
    let good = std::fs::read_to_string(&path)?;
    for (line, words) in [
        ("lisTen = \"127.0.0.1:0\"", "lisTen"),
        ("insecure = true", "insecure"),
        ("challenge_seconds = -4", "challenge_seconds"),
        ("challenge_seconds = 0", "challenge_seconds"),
        ("challenge_seconds = \"long\"", "challenge_seconds"),
        ("pcr_selection = [16]", "pcr_selection"),
        ("pcr_selection = \"all\"", "pcr_selection"),
        ("listen = \"nowhere\"", "listen"),
        ("server_names = 7", "server_names"),
        ("[limits2]", "limits2"),
    ] {
        let key = line.split(' ').next().context("a key")?;
        let rest: String = good
            .lines()
            .filter(|old| !old.starts_with(&format!("{key} ")))
            .map(|old| format!("{old}\n"))
            .collect();
        // Tables come last, and a new one before them would take their keys.
        let edited = if line.starts_with('[') {
            format!("{rest}\n{line}\n")
        } else {
            format!("{line}\n{rest}")
        };
        std::fs::write(&path, edited)?;
        refused_serve(&dir, BAD_INPUT, &[words]).with_context(|| line.to_owned())?;
    }
    std::fs::write(&path, &good)?;
    // By the environment.
    let listen = [
        ("HOLDFAST_LISTEN", "nowhere"),
        ("HOLDFAST_CHALLENGE_SECONDS", "x"),
    ];
    for (variable, value) in listen {
        let mut command = verifier(&["serve", "--dir", text(&dir)?])?;
        refused(command.env(variable, value), BAD_INPUT, &[])?;
    }
    serves(&dir)
}

/// Commands that need the server, and it is not there; and a second server.
#[test]
fn verifier_without_a_server_or_with_two() -> Result<()> {
    let folder = folder()?;
    let dir = initialised(folder.path())?;
    let dir_text = text(&dir)?;
    let certificate = dir.join("root-ca.pem");
    let document = folder.path().join("golden.json");
    std::fs::write(
        &document,
        format!(
            "{{\"pcrs\":{{\"sha256\":{{\"0\":[\"{}\"]}}}}}}",
            "00".repeat(32)
        ),
    )?;
    for arguments in [
        &["gateway", "list"][..],
        &["gateway", "show", "00"],
        &["gateway", "suspend", "00"],
        &["gateway", "resume", "00"],
        &["gateway", "revoke", "00"],
        &["endorsement", "list"],
        &["endorsement", "import", text(&certificate)?],
        &["reference", "import", text(&document)?],
        &["token", "create"],
    ] {
        let mut command = verifier(arguments)?;
        command.args(["--dir", dir_text]);
        refused(
            &mut command,
            REFUSED,
            &["no server is running", "holdfast-verifier serve --dir"],
        )?;
    }
    let absent = folder.path().join("absent");
    for arguments in [&["serve"][..], &["gateway", "list"]] {
        refused(
            verifier(arguments)?.arg("--dir").arg(&absent),
            REFUSED,
            &[text(&absent)?, "does not exist", "holdfast-verifier init"],
        )?;
    }

    let deployment = Deployment::start()?;
    let second = deployment.try_run(&["serve", "--listen", "127.0.0.1:0"])?;
    judge(
        "a second serve",
        &second,
        REFUSED,
        &["is in use by another"],
    )?;
    // Another's port.
    let taken = deployment.address().to_string();
    refused(
        &mut verifier(&["serve", "--dir", dir_text, "--listen", &taken])?,
        REFUSED,
        &[&taken],
    )?;
    deployment.gateways().map(drop)
}

/// Malformed and hostile arguments and files for a running server: the record
/// stays as it is.
#[tokio::test]
async fn verifier_hostile_arguments_change_nothing() -> Result<()> {
    let scene = Scene::new()?;
    scene.enrol().await?;
    let deployment = &scene.deployment;
    let scratch = deployment.scratch().join("bad");
    std::fs::create_dir(&scratch)?;
    let file = |name: &str, content: &[u8]| -> Result<String> {
        let path = scratch.join(name);
        std::fs::write(&path, content)?;
        Ok(text(&path)?.to_owned())
    };
    let before = stored(deployment)?;
    let long = "x".repeat(65_536);
    let another = "01".repeat(33);
    let garbage = file("garbage.json", b"{{{ \x1b[2J")?;
    let nested = file("nested.json", "[".repeat(100_000).as_bytes())?;
    let unknown = file("unknown.json", br#"{"pcrs":{},"more":1}"#)?;
    let short = file("short.json", br#"{"pcrs":{"sha256":{"0":["00"]}}}"#)?;
    let pcr = file("pcr.json", br#"{"pcrs":{"sha256":{"24":[]}}}"#)?;
    let binary = file("binary.json", b"\xFF\xFE\x00\x01")?;
    let huge = file("huge.json", &vec![b' '; 32 << 20])?;
    let no_certificate = file("no.pem", b"garbage")?;
    let broken = file(
        "broken.pem",
        b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n",
    )?;
    let leaf = text(&deployment.dir().join("server.pem"))?.to_owned();
    let key = text(&deployment.dir().join("server.key.pem"))?.to_owned();
    let empty = scratch.join("empty");
    std::fs::create_dir(&empty)?;
    let empty = text(&empty)?;
    let absent = text(&scratch.join("absent"))?.to_owned();
    let existing = file("existing", b"precious")?;

    let cases: Vec<(Vec<&str>, i32, &[&str])> = vec![
        (vec!["gateway", "show", &another], REFUSED, &[]),
        (vec!["gateway", "show", "nonsense"], BAD_INPUT, &[]),
        (vec!["gateway", "show", ""], BAD_INPUT, &[]),
        (vec!["gateway", "show", "../../etc/passwd"], BAD_INPUT, &[]),
        (vec!["gateway", "show", "' OR 1=1 --"], BAD_INPUT, &[]),
        (vec!["gateway", "show", &long], BAD_INPUT, &[]),
        (vec!["gateway", "revoke", &another], REFUSED, &[]),
        (vec!["gateway", "revoke", "nonsense"], BAD_INPUT, &[]),
        (vec!["gateway", "suspend", &another], REFUSED, &[]),
        (vec!["gateway", "suspend", "\u{1b}[2J"], BAD_INPUT, &[]),
        (vec!["gateway", "resume", &another], REFUSED, &[]),
        (
            vec!["token", "create", "--class", ""],
            BAD_INPUT,
            &["class"],
        ),
        (
            vec!["token", "create", "--class", "../x"],
            BAD_INPUT,
            &["class"],
        ),
        (
            vec!["token", "create", "--class", &long],
            BAD_INPUT,
            &["class"],
        ),
        (vec!["token", "create", "--uses", "0"], BAD_INPUT, &["uses"]),
        (vec!["token", "create", "--valid-for", "0s"], BAD_INPUT, &[]),
        (
            vec!["token", "create", "--valid-for", "400d"],
            BAD_INPUT,
            &[],
        ),
        (
            vec!["token", "create", "--server", "no port"],
            BAD_INPUT,
            &[],
        ),
        (
            vec!["token", "create", "--server", "http://x:1"],
            BAD_INPUT,
            &[],
        ),
        (
            vec!["token", "create", "--output", &existing],
            BAD_INPUT,
            &["exists already and is not overwritten"],
        ),
        (vec!["reference", "import", &absent], BAD_INPUT, &["absent"]),
        (vec!["reference", "import", empty], BAD_INPUT, &["empty"]),
        (
            vec!["reference", "import", "/dev/zero"],
            BAD_INPUT,
            &["/dev/zero"],
        ),
        (
            vec!["reference", "import", &garbage],
            BAD_INPUT,
            &["garbage.json"],
        ),
        (
            vec!["reference", "import", &nested],
            BAD_INPUT,
            &["nested.json"],
        ),
        (
            vec!["reference", "import", &unknown],
            BAD_INPUT,
            &["unknown.json", "more"],
        ),
        (
            vec!["reference", "import", &short],
            BAD_INPUT,
            &["short.json"],
        ),
        (vec!["reference", "import", &pcr], BAD_INPUT, &["pcr.json"]),
        (
            vec!["reference", "import", &binary],
            BAD_INPUT,
            &["binary.json"],
        ),
        (
            vec!["reference", "import", &huge],
            BAD_INPUT,
            &["huge.json"],
        ),
        (
            vec!["reference", "import", "--class", "a b", &short],
            BAD_INPUT,
            &[],
        ),
        (
            vec!["endorsement", "import", &absent],
            BAD_INPUT,
            &["absent"],
        ),
        (
            vec!["endorsement", "import", empty],
            BAD_INPUT,
            &["no .pem"],
        ),
        (
            vec!["endorsement", "import", &no_certificate],
            BAD_INPUT,
            &[],
        ),
        (vec!["endorsement", "import", &broken], BAD_INPUT, &[]),
        (vec!["endorsement", "import", &leaf], BAD_INPUT, &[]),
        (vec!["endorsement", "import", &key], BAD_INPUT, &[]),
        (
            vec!["endorsement", "import", "/dev/zero"],
            BAD_INPUT,
            &["/dev/zero"],
        ),
        (
            vec!["endorsement", "import", &huge],
            BAD_INPUT,
            &["huge.json"],
        ),
    ];
    let secrets = secrets(&deployment.dir())?;
    let mut wrong = Vec::new();
    for (arguments, code, words) in cases {
        let named: Vec<String> = arguments
            .iter()
            .map(|a| a.chars().take(40).collect())
            .collect();
        let output = deployment.try_run(&arguments)?;
        if let Err(error) = judge(&named.join(" "), &output, code, words) {
            wrong.push(format!("{error:#}"));
        }
        shows_none(&output, &secrets)?;
    }
    ensure!(wrong.is_empty(), "{}", wrong.join("\n"));
    ensure!(std::fs::read(&existing)? == b"precious");
    ensure!(stored(deployment)? == before, "something stored changed");
    // The server stands, and the good run succeeds.
    let bundle = deployment.bundle()?;
    scene.assert_good_run(bundle).await
}

// ---- the attester

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

/// Bundles that are none, are damaged, or are of another verifier.
#[test]
fn attester_bad_bundles() -> Result<()> {
    let mut scene = Scene::new()?;
    let good = scene.deployment.create_token(&TokenOptions::default())?;
    let line = std::fs::read_to_string(&good)?.trim().to_owned();
    let path = scene.deployment.scratch().join("bad.bundle");
    let before = stored(&scene.deployment)?;
    let cut = &line[..line.len() - 5];
    let later = line.replacen("bundle-1", "bundle-2", 1);
    let twice = format!("{line}\n{line}");
    let long = format!("{line}{}", "A".repeat(100_000));
    for content in [
        &b""[..],
        b"\n",
        b"garbage",
        b"holdfast-bundle-1.",
        b"holdfast-bundle-1.!!!!",
        b"\xFF\xFE",
        b"\x1b[2J",
        cut.as_bytes(),
        later.as_bytes(),
        twice.as_bytes(),
        long.as_bytes(),
        format!("{line}=").as_bytes(),
        line.to_lowercase().as_bytes(),
    ] {
        std::fs::write(&path, content)?;
        chmod(&path, 0o600)?;
        let output = scene
            .gateway
            .try_run(&["enroll", "--bundle", text(&path)?])?;
        let name = String::from_utf8_lossy(&content[..content.len().min(30)]).into_owned();
        judge(
            &name,
            &output,
            BAD_INPUT,
            &["bad.bundle", "next step: ", "token create"],
        )?;
        ensure!(
            !printed(&output).contains(&line[30..70]),
            "the bundle was shown"
        );
        ensure!(!printed(&output).contains('\u{1b}'), "a live escape");
    }
    for path in ["/", "/nonexistent/bundle", "/dev/zero", "/dev/null"] {
        let output = scene.gateway.try_run(&["enroll", "--bundle", path])?;
        judge(path, &output, BAD_INPUT, &[path, "next step: "])?;
    }

    // Of another verifier: at this one's address, and its token is unknown.
    let other = Deployment::start()?;
    let mut foreign = other.bundle()?;
    foreign.server = scene.deployment.address().to_string();
    std::fs::write(&path, foreign.encode()?.as_bytes())?;
    let output = scene
        .gateway
        .try_run(&["enroll", "--bundle", text(&path)?])?;
    judge(
        "pin",
        &output,
        REFUSED,
        &["is not the pinned verifier", "next step: "],
    )?;
    let mut foreign = scene.deployment.bundle()?;
    foreign.join_token = other.bundle()?.join_token;
    std::fs::write(&path, foreign.encode()?.as_bytes())?;
    let output = scene
        .gateway
        .try_run(&["enroll", "--bundle", text(&path)?])?;
    judge("token", &output, REFUSED, &["not-admitted", "next step: "])?;
    // Nobody there.
    foreign.server = "127.0.0.1:1".into();
    std::fs::write(&path, foreign.encode()?.as_bytes())?;
    let output = scene
        .gateway
        .try_run(&["enroll", "--bundle", text(&path)?])?;
    judge(
        "unreachable",
        &output,
        REFUSED,
        &["127.0.0.1:1", "next step: "],
    )?;

    ensure!(scene.deployment.gateways()?.is_empty());
    ensure!(stored(&scene.deployment)?.gateways == before.gateways);
    scene
        .gateway
        .run(&["enroll", "--bundle", text(&good)?])
        .map(drop)
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

/// A25: a state directory that others can get at, that is a link, or that is
/// damaged. The enrolment in it is left as it is.
#[tokio::test]
async fn adv_a25_attester_state_directory() -> Result<()> {
    let mut scene = Scene::new()?;
    scene.enrol().await?;
    let state = scene.gateway.state_path().to_path_buf();
    let commands: [&[&str]; 4] = [
        &["attest"],
        &["recover"],
        &["status"],
        &["status", "--remote"],
    ];
    let each = |gateway: &mut Gateway, words: &[&str]| -> Result<()> {
        for arguments in commands {
            let output = gateway.try_run(arguments)?;
            judge(&arguments.join(" "), &output, REFUSED, words)?;
            ensure!(
                printed(&output).contains("next step: "),
                "{}",
                printed(&output)
            );
        }
        Ok(())
    };
    for mode in [0o755, 0o770, 0o1777] {
        chmod(&state, mode)?;
        each(&mut scene.gateway, &[text(&state)?, &format!("{mode:04o}")])?;
    }
    chmod(&state, 0o700)?;
    let record = state.join("state.json");
    chmod(&record, 0o644)?;
    each(&mut scene.gateway, &[text(&record)?, "0644"])?;
    chmod(&record, 0o600)?;

    let good = std::fs::read(&record)?;
    for bad in [&b"{{{"[..], b"", b"{}", b"\xFF\xFE", b"[[[[[[[["] {
        std::fs::write(&record, bad)?;
        each(&mut scene.gateway, &["state.json"])?;
    }
    std::fs::write(&record, &good)?;

    let moved = state.with_extension("moved");
    std::fs::rename(&state, &moved)?;
    symlink(&moved, &state)?;
    each(&mut scene.gateway, &[text(&state)?, "symbolic link"])?;
    std::fs::remove_file(&state)?;
    std::fs::write(&state, "a file")?;
    each(&mut scene.gateway, &[text(&state)?])?;
    std::fs::remove_file(&state)?;
    std::fs::rename(&moved, &state)?;

    // The file is a link.
    let elsewhere = state.with_extension("json");
    std::fs::rename(&record, &elsewhere)?;
    symlink(&elsewhere, &record)?;
    each(&mut scene.gateway, &[text(&record)?, "symbolic link"])?;
    std::fs::remove_file(&record)?;
    std::fs::rename(&elsewhere, &record)?;

    let log = scene.gateway.sim().boot_log();
    scene
        .gateway
        .run(&["attest", "--boot-log", text(&log)?])
        .map(drop)
}

/// Boot logs that are none: what cannot be read is said, before a token is
/// shown.
#[test]
fn attester_bad_boot_logs() -> Result<()> {
    let mut scene = Scene::new()?;
    let bundle = scene.deployment.create_token(&TokenOptions::default())?;
    let huge = scene.deployment.scratch().join("huge.log");
    std::fs::write(&huge, vec![0; 2 << 20])?;
    for log in [text(&huge)?, "/dev/zero", "/"] {
        let output =
            scene
                .gateway
                .try_run(&["enroll", "--bundle", text(&bundle)?, "--boot-log", log])?;
        judge(log, &output, REFUSED, &[log, "next step: "])?;
    }
    ensure!(scene.deployment.gateways()?.is_empty());
    scene
        .gateway
        .run(&["enroll", "--bundle", text(&bundle)?])
        .map(drop)
}

// ---- the simulator

/// `holdfast-sim`: no process is left behind either.
#[test]
fn sim_bad_input() -> Result<()> {
    let folder = folder()?;
    let file = folder.path().join("file");
    std::fs::write(&file, "precious")?;
    let (file, dir) = (
        text(&file)?.to_owned(),
        text(&folder.path().join("gateway"))?.to_owned(),
    );
    let usage: &[(&[&str], &str)] = &[
        (&[], "Usage: holdfast-sim"),
        (&["nonsense"], "unrecognized subcommand 'nonsense'"),
        (&["gateway"], "--dir <DIR>"),
        (&["demo"], "--out <DIR>"),
        (
            &["gateway", "--dir", &dir, "--tcp", "nowhere"],
            "'--tcp <127.0.0.1:PORT>'",
        ),
        (
            &["gateway", "--dir", &dir, "--tcp", "0.0.0.0:0"],
            "served on 127.0.0.1 only",
        ),
        (
            &["gateway", "--dir", &dir, "--ek-cert", "dsa"],
            "'--ek-cert <EK_CERT>'",
        ),
        (
            &[
                "gateway",
                "--dir",
                &dir,
                "--tcp",
                "127.0.0.1:0",
                "--unix",
                "/x",
            ],
            "cannot be used with",
        ),
        (
            &["demo", "--out", &dir, "--bin-dir", "/nonexistent"],
            "--bin-dir",
        ),
    ];
    for (arguments, words) in usage {
        let mut command = Command::new(program("holdfast-sim")?);
        refused(command.args(*arguments), BAD_INPUT, &[words])?;
    }
    for arguments in [
        &["gateway", "--dir", &file][..],
        &["gateway", "--dir", "/proc/self/nowhere/gateway"],
        &["gateway", "--dir", &dir, "--vendor-ca", &file],
        &["demo", "--out", &file],
    ] {
        let mut command = Command::new(program("holdfast-sim")?);
        let output = command.args(arguments).stdin(Stdio::null()).output()?;
        ensure!(
            matches!(output.status.code(), Some(REFUSED | BAD_INPUT)),
            "{arguments:?}: {}",
            printed(&output)
        );
        let path = arguments.last().context("a path")?;
        ensure!(
            String::from_utf8_lossy(&output.stderr).contains(path),
            "{arguments:?}: {}",
            printed(&output)
        );
    }
    ensure!(std::fs::read(&file)? == b"precious");
    Ok(())
}

// ---- how it is judged

/// Runs it; it must exit with `code` and say all of `words` on stderr.
fn refused(command: &mut Command, code: i32, words: &[&str]) -> Result<String> {
    let output = command.stdin(Stdio::null()).output()?;
    judge(
        &format!("{:?}", command.get_args().collect::<Vec<_>>()),
        &output,
        code,
        words,
    )?;
    Ok(printed(&output))
}

fn judge(name: &str, output: &Output, code: i32, words: &[&str]) -> Result<()> {
    let stderr = String::from_utf8_lossy(&output.stderr);
    if output.status.code() != Some(code) {
        bail!(
            "{name}: expected exit code {code}, got {}: {}",
            output.status,
            printed(output)
        );
    }
    ensure!(!stderr.contains("panicked"), "{name}: {stderr}");
    ensure!(!stderr.trim().is_empty(), "{name}: says nothing");
    for words in words {
        ensure!(
            stderr.contains(words),
            "{name}: expected {words:?} in: {stderr}"
        );
    }
    Ok(())
}

/// `serve` on `dir` must end by itself, show no secret of `dir`, and leave its
/// files as they are. What it logged before it failed is part of the answer.
fn refused_serve(dir: &Path, code: i32, words: &[&str]) -> Result<String> {
    let before = contents(dir)?;
    let secrets = secrets(dir)?;
    let mut command = Command::new("timeout");
    command
        .arg("20")
        .arg(program("holdfast-verifier")?)
        .args(["serve", "--listen", "127.0.0.1:0", "--dir"])
        .arg(dir)
        .env_remove("RUST_LOG")
        .stdin(Stdio::null());
    let output = command.output()?;
    judge("serve", &output, code, words)?;
    shows_none(&output, &secrets)?;
    ensure!(contents(dir)? == before, "serve changed a file in {dir:?}");
    Ok(printed(&output))
}

/// The good run: `serve` starts, and ends well.
fn serves(dir: &Path) -> Result<()> {
    let ready = dir.with_extension("address");
    let mut server = verifier(&["serve", "--listen", "127.0.0.1:0", "--dir", text(dir)?])?
        .arg("--address-file")
        .arg(&ready)
        .stdin(Stdio::null())
        .stderr(Stdio::null())
        .spawn()?;
    for _ in 0..1000 {
        if ready.exists() || server.try_wait()?.is_some() {
            break;
        }
        std::thread::sleep(std::time::Duration::from_millis(20));
    }
    let started = ready.exists();
    server.kill()?;
    server.wait()?;
    ensure!(started, "the good serve did not start");
    Ok(())
}

const SECRETS: [&str; 4] = [
    "token.key",
    "server.key.pem",
    "issuing-ca.key.pem",
    "result.key.pem",
];

/// Parts of the secrets in a verifier's directory: of the token key's hex, and
/// of the lines of a PKCS#8 P-256 key that hold the private scalar (bytes 36 to
/// 68); what is before and after is in certificates too.
fn secrets(dir: &Path) -> Result<Vec<String>> {
    let mut parts = Vec::new();
    for entry in std::fs::read_dir(dir)? {
        let path = entry?.path();
        if !path.to_string_lossy().contains("key") {
            continue;
        }
        let Ok(text) = std::fs::read_to_string(&path) else {
            continue;
        };
        match text.lines().collect::<Vec<_>>().as_slice() {
            ["-----BEGIN PRIVATE KEY-----", first, second, ..] => {
                parts.push(first[48..].to_owned());
                parts.push(second[..24].to_owned());
            }
            [hex] if hex.len() == 64 => parts.push(hex[..24].to_owned()),
            // Damaged by the test itself.
            _ => {}
        }
    }
    ensure!(parts.len() > 6, "the keys are not as this test knows them");
    Ok(parts)
}

fn shows_none(output: &Output, secrets: &[String]) -> Result<()> {
    let all = printed(output);
    for secret in secrets {
        ensure!(!all.contains(secret), "a secret was printed: {all}");
    }
    Ok(())
}

/// What of a deployment's store bad input could have changed.
#[derive(Debug, PartialEq)]
struct Stored {
    gateways: Vec<serde_json::Value>,
    endorsements: serde_json::Value,
    counts: Option<String>,
}

fn stored(deployment: &Deployment) -> Result<Stored> {
    let store = deployment.dir().join("holdfast.db");
    let counts = "SELECT (SELECT count(*) FROM join_tokens), (SELECT count(*) FROM reference_values),
         (SELECT count(*) FROM certificates), (SELECT count(*) FROM answers), (SELECT count(*) FROM anchors)";
    Ok(Stored {
        gateways: deployment.gateways()?,
        endorsements: deployment.run_json(&["endorsement", "list"])?,
        counts: if oracle::present("sqlite3") {
            Some(oracle::run(
                "sqlite3",
                ["-readonly", text(&store)?, counts],
            )?)
        } else {
            None
        },
    })
}

/// All files below a folder, but the ones that serving makes.
fn contents(folder: &Path) -> Result<BTreeMap<PathBuf, Vec<u8>>> {
    let mut found = BTreeMap::new();
    let mut folders = vec![folder.to_path_buf()];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(&folder)? {
            let path = entry?.path();
            let name = path
                .file_name()
                .unwrap_or_default()
                .to_string_lossy()
                .into_owned();
            if name == "lock" || name.starts_with("holdfast.db") {
                continue;
            }
            if path.is_dir() && !path.is_symlink() {
                folders.push(path);
            } else {
                let content = std::fs::read(&path).unwrap_or_default();
                found.insert(path, content);
            }
        }
    }
    Ok(found)
}

fn initialised(folder: &Path) -> Result<PathBuf> {
    let dir = folder.join("verifier");
    let mut init = verifier(&[
        "init",
        "--server-name",
        "verifier.test",
        "--dir",
        text(&dir)?,
    ])?;
    let output = init.output()?;
    oracle::succeed(&init, &output)?;
    Ok(dir)
}

fn verifier(arguments: &[&str]) -> Result<Command> {
    let mut command = Command::new(program("holdfast-verifier")?);
    command.args(arguments).env_remove("RUST_LOG");
    Ok(command)
}

fn attester(arguments: &[&str]) -> Result<Command> {
    let mut command = Command::new(program("holdfast-attester")?);
    command.args(arguments).env("TSS2_LOG", "all+NONE");
    Ok(command)
}

fn chmod(path: &Path, mode: u32) -> Result<()> {
    Ok(std::fs::set_permissions(
        path,
        std::fs::Permissions::from_mode(mode),
    )?)
}

fn folder() -> Result<TempDir> {
    Ok(tempfile::Builder::new().prefix("holdfast-cli-").tempdir()?)
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
