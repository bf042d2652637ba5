//! A26, reference values: unsigned, signed by the wrong key, rolled back, able
//! to match nothing, and changed in the store.

use anyhow::{Context, Result, bail, ensure};
use holdfast_integration::owner::{Signer, admin};
use holdfast_integration::{Refusal, Scene, oracle, skip};
use holdfast_proto::grpc::v1;
use holdfast_verifier::owner::{EVERY_CLASS, Kind};
use tonic::Code;

const NOT_SIGNED: Refusal = Refusal::new(Code::PermissionDenied, "not-signed-by-owner");
const NOT_NEXT: Refusal = Refusal::new(Code::FailedPrecondition, "not-next-version");
const CLASS: &str = "default";

/// Values that no boot of the scene's gateway has.
fn never() -> String {
    let zeros = "00".repeat(32);
    let pcrs: Vec<String> = [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 14]
        .iter()
        .map(|index| format!("\"{index}\":[\"{zeros}\"]"))
        .collect();
    format!("{{\"pcrs\":{{\"sha256\":{{{}}}}}}}", pcrs.join(","))
}

async fn import(
    scene: &Scene,
    document: &str,
    statement: Vec<u8>,
) -> Result<Result<v1::ImportReferenceValuesResponse, tonic::Status>> {
    let request = v1::ImportReferenceValuesRequest {
        class: CLASS.to_owned(),
        document: document.to_owned(),
        statement,
        ..v1::ImportReferenceValuesRequest::default()
    };
    let mut admin = admin(&scene.deployment).await?;
    let answer = admin.import_reference_values(request).await;
    Ok(answer.map(tonic::Response::into_inner))
}

/// A good enrolment that must not be granted; the codes of the reasons.
async fn refused_codes(scene: &Scene) -> Result<Vec<String>> {
    let answer = scene.ready_to_enrol().await?.send().await?;
    ensure!(answer.grant.is_none(), "granted");
    let verdict = answer.verdict.context("no verdict")?;
    ensure!(verdict.reasons.iter().all(|r| !r.next_step.is_empty()));
    Ok(verdict.reasons.into_iter().map(|r| r.code).collect())
}

/// From a good import, one thing changed. Version 1 is the scene's.
#[tokio::test]
async fn adv_a26_reference_values_that_are_not_the_owners_word() -> Result<()> {
    let scene = Scene::new()?;
    let deployment = &scene.deployment;
    let (owner, stranger) = (Signer::owner(deployment)?, Signer::stranger()?);
    let first = std::fs::read_to_string(scene.gateway.sim().describe().reference_values)?;
    let before = deployment.run_json(&["reference", "list"])?;
    let lax = never();
    let kind = Kind::ReferenceValues;
    for (what, statement, refusal, cause) in [
        ("unsigned", Vec::new(), NOT_SIGNED, "unsigned"),
        (
            "a stranger's",
            stranger.state(kind, CLASS, 2, &lax)?,
            NOT_SIGNED,
            "signed with key",
        ),
        (
            "a statement about the values in force",
            owner.state(kind, CLASS, 2, &first)?,
            NOT_SIGNED,
            "about a document with SHA-256",
        ),
        (
            "of another class",
            owner.state(kind, "other", 2, &lax)?,
            NOT_SIGNED,
            "about other, not default",
        ),
        (
            "of every class",
            owner.state(kind, EVERY_CLASS, 2, &lax)?,
            NOT_SIGNED,
            "about *, not default",
        ),
        (
            "a policy's",
            owner.state(Kind::Policy, CLASS, 2, &lax)?,
            NOT_SIGNED,
            "of kind policy, not reference-values",
        ),
        (
            "version 1 again",
            owner.state(kind, CLASS, 1, &lax)?,
            NOT_NEXT,
            "rollback",
        ),
        (
            "a version left out",
            owner.state(kind, CLASS, 3, &lax)?,
            NOT_NEXT,
            "next is version 2",
        ),
    ] {
        match import(&scene, &lax, statement).await? {
            Err(status) => {
                refusal.expect(&status).context(what)?;
                let text = status.message();
                ensure!(text.contains(cause), "{what}: {text:?}");
            }
            Ok(answer) => bail!("{what}: imported: {answer:?}"),
        }
        let now = deployment.run_json(&["reference", "list"])?;
        ensure!(now == before, "{what}: something changed: {now}");
    }

    // Signed as the next version: taken, and nothing matches it. (The good run
    // comes last: a gateway on record would be suspended here.)
    let done = import(&scene, &lax, owner.state(kind, CLASS, 2, &lax)?).await??;
    ensure!(done.version == 2, "{done:?}");
    let codes = refused_codes(&scene).await?;
    ensure!(codes.iter().all(|code| code == "pcr-mismatch"), "{codes:?}");
    // The first ones, as the owner signed them then: a rollback. Signed anew,
    // they are version 3.
    let old = import(&scene, &first, owner.state(kind, CLASS, 1, &first)?).await?;
    match old {
        Err(status) => NOT_NEXT.expect(&status)?,
        Ok(answer) => bail!("rolled back: {answer:?}"),
    }
    let _ = import(&scene, &first, owner.state(kind, CLASS, 3, &first)?).await??;
    scene.assert_good_run(deployment.bundle()?).await
}

/// Values that could never match are told as such, or at least match nothing.
#[tokio::test]
async fn adv_a26_reference_values_that_say_nothing() -> Result<()> {
    let scene = Scene::new()?;
    let owner = Signer::owner(&scene.deployment)?;
    for document in [
        "{\"pcrs\":{}}",
        "{\"pcrs\":{\"sha256\":{}}}",
        "{\"pcrs\":{\"sha256\":{\"0\":[]}}}",
        "{\"pcrs\":{\"sha256\":{\"0\":[\"00\"]}}}",
        "{\"pcrs\":{\"sha1\":{\"0\":[\"0000000000000000000000000000000000000000\"]}}}",
        "{\"pcrs\":{\"sha256\":{\"*\":[\"*\"]}}}",
    ] {
        let statement = owner.state(Kind::ReferenceValues, CLASS, 2, document)?;
        match import(&scene, document, statement).await? {
            Err(status) => Refusal::INVALID_REQUEST.expect(&status).context(document)?,
            Ok(answer) => bail!("{document}: imported: {answer:?}"),
        }
    }
    scene.assert_good_run(scene.deployment.bundle()?).await
}

/// Somebody wrote to the database: what the owner did not sign is not there,
/// and its class is not affirmed; put right, all is as before.
#[tokio::test]
async fn adv_a26_reference_values_changed_in_the_store() -> Result<()> {
    if !oracle::present("sqlite3") {
        skip!("needs sqlite3 (the package sqlite3)");
    }
    // Stopped often, with a gateway's connection still open.
    let quick =
        |configuration: String| configuration.replace("drain_seconds = 10", "drain_seconds = 1");
    let mut scene = Scene::with(|_| {}, quick)?;
    scene.deployment.stop()?;
    let store = scene.deployment.dir().join("holdfast.db");
    let kept = std::fs::read(&store)?;
    for (what, sql) in [
        (
            "other values",
            format!("UPDATE reference_documents SET content = '{}'", never()),
        ),
        (
            "another version",
            "UPDATE reference_values SET version = 7".to_owned(),
        ),
        (
            "no statement",
            "UPDATE reference_values SET statement = x''".to_owned(),
        ),
        (
            "another class's",
            "UPDATE reference_values SET class = 'other'".to_owned(),
        ),
    ] {
        oracle::run("sqlite3", [store.to_str().context("path")?, &sql])?;
        scene.deployment.serve().context(what)?;
        let codes = refused_codes(&scene).await.context(what)?;
        ensure!(
            codes.iter().any(|code| code == "no-reference-values"),
            "{what}: {codes:?}"
        );
        scene.deployment.stop()?;
        std::fs::write(&store, &kept)?;
    }
    scene.deployment.serve()?;
    scene.assert_good_run(scene.deployment.bundle()?).await
}
