//! Allow lists and CoRIMs at the owner's command line, with the real programs.

use std::path::PathBuf;
use std::process::Command;
use std::{env, fs};

use anyhow::{Context as _, Result, ensure};
use holdfast_integration::Deployment;
use serde_json::Value;

fn text(path: &std::path::Path) -> Result<&str> {
    path.to_str().context("path")
}

/// Two files, their checksums by coreutils, a key, and what `reference` says.
#[test]
fn an_allow_list_is_imported_listed_and_replaced() -> Result<()> {
    let verifier = Deployment::start()?;
    let folder = verifier.scratch().to_owned();
    fs::create_dir_all(folder.join("root/usr/bin"))?;
    fs::write(folder.join("root/usr/bin/one"), "1")?;
    fs::write(folder.join("root/usr/bin/two words"), "2")?;
    let sums = Command::new("sh")
        .args(["-c", "find ./usr -type f -exec sha256sum {} +"])
        .current_dir(folder.join("root"))
        .output()?;
    let sums_file = folder.join("good.sha256");
    fs::write(&sums_file, sums.stdout)?;
    let sums = text(&sums_file)?;

    // Looking changes nothing and needs no server; the document goes to a file.
    let document = folder.join("list.txt");
    let (path, key) = (text(&document)?, folder.join("root-ca.pem"));
    fs::copy(verifier.dir().join("root-ca.pem"), &key)?;
    let key = text(&key)?;
    let import = ["reference", "import", "--ima-key", key, sums];
    let shown = verifier.run_json(&[&import[..], &["--dry-run", "--output", path]].concat())?;
    ensure!(shown["entries"] == 2 && shown["keys"] == 1, "{shown}");
    ensure!(lists(&verifier)?.is_empty());

    let done = verifier.run_json(&import)?;
    ensure!(
        done["version"] == 1 && done["digest"] == shown["digest"],
        "{done}"
    );
    // The list itself is the same list: nothing changes.
    ensure!(
        verifier
            .run(&["reference", "import", path])?
            .contains("already version 1")
    );
    let again = verifier.run_json(&["reference", "import", "--class", "default", sums])?;
    ensure!(again["version"] == 2 && again["keys"] == 0, "{again}");
    let lists = lists(&verifier)?;
    ensure!(lists.len() == 2 && lists[0]["version"] == 2, "{lists:?}");
    Ok(())
}

/// Signed elsewhere, and a stranger's signature.
#[test]
fn an_allow_list_is_the_owners() -> Result<()> {
    let verifier = Deployment::start()?;
    let folder = verifier.scratch().to_owned();
    let sums = folder.join("good.sha256");
    fs::write(&sums, format!("{}  /usr/bin/a\n", "a".repeat(64)))?;
    let (document, statement) = (folder.join("list.txt"), folder.join("list.statement"));
    let (sums, document, statement) = (text(&sums)?, text(&document)?, text(&statement)?);
    verifier.run(&[
        "reference",
        "import",
        "--dry-run",
        "--output",
        document,
        sums,
    ])?;
    let key = folder.join("key.pem");
    fs::rename(verifier.dir().join("policy-root.key.pem"), &key)?;
    let refused = verifier.try_run(&["reference", "import", document])?;
    ensure!(refused.status.code() == Some(1), "{refused:?}");
    ensure!(String::from_utf8_lossy(&refused.stderr).contains("--owner-key"));

    let other = Deployment::start()?;
    let stranger = other.dir().join("policy-root.key.pem");
    let stranger = [
        "reference",
        "import",
        "--owner-key",
        text(&stranger)?,
        document,
    ];
    let refused = verifier.try_run(&stranger)?;
    ensure!(refused.status.code() == Some(1), "{refused:?}");
    ensure!(lists(&verifier)?.is_empty());

    let program = holdfast_integration::programs::program("holdfast-verifier")?;
    let signed = Command::new(program)
        .args([
            "owner",
            "sign",
            "--owner-key",
            text(&key)?,
            "--kind",
            "allow-list",
        ])
        .args([
            "--subject",
            "default",
            "--version",
            "1",
            "--output",
            statement,
            document,
        ])
        .output()?;
    ensure!(signed.status.success(), "{signed:?}");
    let done = verifier.run_json(&["reference", "import", "--statement", statement, document])?;
    ensure!(done["version"] == 1, "{done}");
    Ok(())
}

/// The draft's own example says nothing of PCRs, and nothing is imported.
#[test]
fn a_corim_without_pcrs_is_refused_and_told() -> Result<()> {
    let corpus = env::var_os("HOLDFAST_CORPUS").map_or_else(
        || PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/../../shared/corpus")),
        PathBuf::from,
    );
    let corim = corpus.join("corim/veraison__corim/corim/corim-2.cbor");
    if !corim.exists() {
        println!("skipped: no corpus at {}", corpus.display());
        return Ok(());
    }
    let verifier = Deployment::start()?;
    let import = ["reference", "import", "--dry-run", text(&corim)?];
    let said = |output: std::process::Output| String::from_utf8_lossy(&output.stderr).into_owned();
    let refused = verifier.try_run(&import)?;
    ensure!(refused.status.code() == Some(2));
    ensure!(said(refused).contains("--unsigned"));
    let refused = verifier.try_run(&[&import[..], &["--unsigned"]].concat())?;
    ensure!(refused.status.code() == Some(2));
    let said = said(refused);
    ensure!(
        said.contains("nothing of PCRs") && said.contains("not used"),
        "{said}"
    );
    Ok(())
}

/// A CoRIM with PCRs, made for the fuzz targets (fuzz/seeds): what it says of
/// them is what the class accepts, beside what it accepted before.
#[test]
fn the_pcrs_of_a_corim_become_reference_values() -> Result<()> {
    let verifier = Deployment::start()?;
    let corim = concat!(env!("CARGO_MANIFEST_DIR"), "/../fuzz/seeds/corim/full");
    let golden = verifier.scratch().join("golden.json");
    let before = format!(r#"{{"pcrs":{{"sha256":{{"0":["{}"]}}}}}}"#, "ab".repeat(32));
    fs::write(&golden, before)?;
    let import = [
        "reference",
        "import",
        "--unsigned",
        "--add-to",
        text(&golden)?,
        corim,
    ];
    let shown = verifier.run_json(&[&import[..], &["--dry-run"]].concat())?;
    let document: Value = serde_json::from_str(shown["document"].as_str().context("document")?)?;
    let [one, seven, eight] = [("01", 32), ("07", 48), ("08", 64)].map(|(b, n)| b.repeat(n));
    ensure!(document["pcrs"]["sha256"]["0"] == serde_json::json!([one, "ab".repeat(32)]));
    ensure!(document["pcrs"]["sha256"]["4"] == serde_json::json!([one]));
    ensure!(document["pcrs"]["sha384"]["0"] == serde_json::json!([seven]));
    ensure!(document["pcrs"]["sha512"]["7"] == serde_json::json!([eight]));
    let not_used = shown["sources"][0]["not_used"]
        .as_array()
        .context("not_used")?;
    ensure!(not_used.len() >= 5, "{not_used:?}");
    let done = verifier.run_json(&import)?;
    ensure!(
        done["version"] == 1 && done["digest"] == shown["digest"],
        "{done}"
    );
    Ok(())
}

fn lists(verifier: &Deployment) -> Result<Vec<Value>> {
    let listed = verifier.run_json(&["reference", "allow-lists"])?;
    Ok(listed["allow_lists"].as_array().context("no list")?.clone())
}
