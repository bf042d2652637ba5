//! `holdfast-sim demo` with the programs as built: the whole story, twice in a
//! row, and what it leaves stands before other people's tools.

use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result, ensure};
use holdfast_integration::oracle;
use holdfast_integration::programs::program;

#[test]
fn the_story_is_told_twice_and_its_artefacts_stand() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let out = folder.path().join("demo");
    let mut ids = Vec::new();
    for _ in 0..2 {
        let mut command = Command::new(program("holdfast-sim")?);
        command.args(["demo", "--out"]).arg(&out);
        let output = command.output()?;
        let told = oracle::succeed(&command, &output)?;
        for said in [
            "Endorsed",
            "Challenged",
            "Quoted",
            "Claimed",
            "Appraised",
            "Granted",
            "pcr-mismatch",
        ] {
            ensure!(told.contains(said), "the story lacks {said:?}:\n{told}");
        }
        artefacts(&out)?;
        ids.push(std::fs::read(out.join("ldevid.pem"))?);
    }
    ensure!(
        ids[0] != ids[1],
        "the second run left the first run's LDevID"
    );
    Ok(())
}

fn artefacts(out: &Path) -> Result<()> {
    oracle::openssl_verify(&out.join("ca.pem"), &out.join("ldevid.pem"))?;
    oracle::tpm2_checkquote(&out.join("evidence"))?;
    let profile = oracle::openssl_text(&out.join("ldevid.pem"))?;
    for held in [
        "TLS Web Client Authentication",
        "Digital Signature",
        "2.23.133.11.1.1",
        "serialNumber",
    ] {
        ensure!(
            profile.contains(held),
            "the LDevID lacks {held:?}:\n{profile}"
        );
    }
    let ear = std::fs::read_to_string(out.join("ear.jwt"))?;
    ensure!(
        ear.trim().split('.').count() == 3,
        "ear.jwt is no JWT: {ear}"
    );
    for name in [
        "ak.pub",
        "quote.attest",
        "quote.sig",
        "pcrs.json",
        "claims.cose",
        "boot.log",
        "nonce.hex",
    ] {
        let path = out.join("evidence").join(name);
        let bytes = std::fs::read(&path).with_context(|| path.display().to_string())?;
        ensure!(!bytes.is_empty(), "{} is empty", path.display());
    }
    Ok(())
}
