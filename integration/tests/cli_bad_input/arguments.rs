//! The verifier's arguments: usage, and hostile texts and numbers.

use std::path::Path;

use anyhow::{Result, ensure};
use holdfast_integration::Scene;

use crate::judge::{
    BAD_INPUT, REFUSED, folder, judge, refused, secrets, shows_none, stored, text, verifier,
};

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
