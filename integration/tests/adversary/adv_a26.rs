//! A26: what decides an appraisal is the owner's word, or nothing. Policies
//! that are unsigned, signed by the wrong key, rolled back; policies that the
//! owner signed and that are wrong all the same; and a store that somebody
//! wrote to.

use std::path::Path;

use anyhow::{Context, Result, bail, ensure};
use holdfast_integration::owner::{Signer, admin};
use holdfast_integration::scene::granted;
use holdfast_integration::{Deployment, Refusal, Scene, oracle, skip};
use holdfast_proto::grpc::v1;
use holdfast_verifier::appraisal::DEFAULT_POLICY;
use holdfast_verifier::owner::{EVERY_CLASS, Kind};
use serde_json::Value;
use tonic::Code;

const NOT_SIGNED: Refusal = Refusal::new(Code::PermissionDenied, "not-signed-by-owner");
const NOT_NEXT: Refusal = Refusal::new(Code::FailedPrecondition, "not-next-version");

/// A policy whose text differs, and that does the same.
fn another(n: u32) -> String {
    format!("{DEFAULT_POLICY}\n# {n}\n")
}

fn rego(body: &str) -> String {
    format!("package holdfast.appraisal\n\nimport rego.v1\n\n{body}\n")
}

const AFFIRMS_ALL: &str = r#"result := {"reasons": [], "vector":
	{"instance-identity": 2, "hardware": 2, "executables": 2, "configuration": 2}}"#;

async fn apply(
    deployment: &Deployment,
    source: &str,
    statement: Vec<u8>,
) -> Result<Result<v1::ApplyPolicyResponse, tonic::Status>> {
    let request = v1::ApplyPolicyRequest {
        source: source.to_owned(),
        statement,
    };
    let answer = admin(deployment).await?.apply_policy(request).await;
    Ok(answer.map(tonic::Response::into_inner))
}

/// Through the command line, as the owner does.
fn apply_file(deployment: &Deployment, source: &str) -> Result<Value> {
    let path = deployment.scratch().join("applied.rego");
    std::fs::write(&path, source)?;
    deployment.run_json(&["policy", "apply", path.to_str().context("path")?])
}

/// What is in force, and all that was.
fn versions(deployment: &Deployment) -> Result<Value> {
    deployment.run_json(&["policy", "list"])
}

/// Enrols with everything good, and returns the codes of the refusal, which
/// must come with a next step each.
async fn refused_codes(scene: &Scene) -> Result<Vec<String>> {
    let answer = scene.ready_to_enrol().await?.send().await?;
    ensure!(answer.grant.is_none(), "granted");
    let verdict = answer.verdict.context("no verdict")?;
    ensure!(!verdict.affirming, "affirming");
    ensure!(!verdict.reasons.is_empty(), "refused without a reason");
    ensure!(verdict.reasons.iter().all(|r| !r.next_step.is_empty()));
    Ok(verdict.reasons.into_iter().map(|r| r.code).collect())
}

/// From a good statement, one thing changed: refused exactly so, nothing
/// changed; the good one is then taken, and gateways are affirmed under it.
#[tokio::test]
async fn adv_a26_a_policy_that_is_not_the_owners_word() -> Result<()> {
    let scene = Scene::new()?;
    let deployment = &scene.deployment;
    let (owner, stranger) = (Signer::owner(deployment)?, Signer::stranger()?);
    let policy = another(2);
    let lax = rego(AFFIRMS_ALL);
    let good = owner.state(Kind::Policy, EVERY_CLASS, 2, &policy)?;
    let before = versions(deployment)?;
    let mut flipped = good.clone();
    *flipped.last_mut().context("empty")? ^= 1;

    let attacks = [
        ("unsigned", &lax, Vec::new(), NOT_SIGNED, "unsigned"),
        (
            "signed by a stranger",
            &lax,
            stranger.state(Kind::Policy, EVERY_CLASS, 2, &lax)?,
            NOT_SIGNED,
            "signed with key",
        ),
        (
            "another policy under the owner's statement",
            &lax,
            good.clone(),
            NOT_SIGNED,
            "about a document with SHA-256",
        ),
        (
            "one bit of the signature",
            &policy,
            flipped,
            NOT_SIGNED,
            "the signature is not the owner's",
        ),
        (
            "cut short",
            &policy,
            good[..good.len() - 1].to_vec(),
            NOT_SIGNED,
            "not an owner's statement",
        ),
        (
            "a statement about reference values",
            &policy,
            owner.state(Kind::ReferenceValues, EVERY_CLASS, 2, &policy)?,
            NOT_SIGNED,
            "of kind reference-values, not policy",
        ),
        (
            "a statement about one class",
            &policy,
            owner.state(Kind::Policy, "default", 2, &policy)?,
            NOT_SIGNED,
            "about default, not *",
        ),
        (
            "another text as version 1",
            &policy,
            owner.state(Kind::Policy, EVERY_CLASS, 1, &policy)?,
            NOT_NEXT,
            "rollback",
        ),
        (
            "a version left out",
            &policy,
            owner.state(Kind::Policy, EVERY_CLASS, 3, &policy)?,
            NOT_NEXT,
            "next is version 2",
        ),
    ];
    for (what, source, statement, refusal, cause) in attacks {
        match apply(deployment, source, statement).await? {
            Err(status) => {
                refusal.expect(&status).context(what)?;
                ensure!(
                    status.message().contains(cause),
                    "{what}: {:?}",
                    status.message()
                );
            }
            Ok(answer) => bail!("{what}: applied: {answer:?}"),
        }
        ensure!(versions(deployment)? == before, "{what}: something changed");
    }
    scene.assert_good_run(deployment.bundle()?).await?;

    // The very same message but for nothing: applied, once.
    let applied = apply(deployment, &policy, good.clone()).await??;
    ensure!(applied.version == 2 && applied.changed, "{applied:?}");
    let again = apply(deployment, &policy, good).await??;
    ensure!(again.version == 2 && !again.changed, "{again:?}");
    scene.assert_good_run(deployment.bundle()?).await?;

    // Version 1, validly signed once, is history.
    let first = std::fs::read(deployment.dir().join("policy.statement"))?;
    match apply(deployment, DEFAULT_POLICY, first).await? {
        Err(status) => NOT_NEXT.expect(&status)?,
        Ok(answer) => bail!("rolled back: {answer:?}"),
    }
    Ok(())
}

/// The owner's key on another disk, and on none: the command line says so, and
/// takes what was signed elsewhere.
#[test]
fn adv_a26_the_command_line_signs_with_the_owners_key_or_not_at_all() -> Result<()> {
    let deployment = Deployment::start()?;
    let (dir, scratch) = (deployment.dir(), deployment.scratch().to_owned());
    let path = |name: &str| scratch.join(name).display().to_string();
    std::fs::write(path("p.rego"), another(2))?;
    let refused = |arguments: &[&str], code: i32, needle: &str| -> Result<()> {
        let output = deployment.try_run(arguments)?;
        let text = String::from_utf8_lossy(&output.stderr);
        ensure!(
            output.status.code() == Some(code) && text.contains(needle),
            "{arguments:?}: {} {text}",
            output.status
        );
        Ok(())
    };
    // Kept elsewhere.
    std::fs::rename(dir.join("policy-root.key.pem"), path("key.pem"))?;
    refused(
        &["policy", "apply", &path("p.rego")],
        1,
        "name it with --owner-key FILE",
    )?;
    // Another verifier's.
    let other = Deployment::start()?;
    let theirs = other.dir().join("policy-root.key.pem");
    let theirs = theirs.to_str().context("path")?;
    refused(
        &["policy", "apply", "--owner-key", theirs, &path("p.rego")],
        1,
        "name the policy root of this verifier",
    )?;
    // One that others could have read.
    std::fs::copy(path("key.pem"), path("loose.pem"))?;
    std::fs::set_permissions(
        path("loose.pem"),
        std::os::unix::fs::PermissionsExt::from_mode(0o644),
    )?;
    refused(
        &[
            "policy",
            "apply",
            "--owner-key",
            &path("loose.pem"),
            &path("p.rego"),
        ],
        1,
        "chmod 0600",
    )?;
    // A policy that does not compile: where, before anything is signed.
    std::fs::write(path("bad.rego"), rego("result := {"))?;
    refused(&["policy", "apply", &path("bad.rego")], 2, "line ")?;

    // Signed where the key is, by a program that has no verifier at hand.
    let program = holdfast_integration::programs::program("holdfast-verifier")?;
    let program = program.to_str().context("path")?;
    let sign = [
        "owner",
        "sign",
        "--owner-key",
        &path("key.pem"),
        "--kind",
        "policy",
        "--version",
        "2",
        "--output",
        &path("p.statement"),
        &path("p.rego"),
    ];
    oracle::run(program, sign)?;
    let applied = deployment.run_json(&[
        "policy",
        "apply",
        "--statement",
        &path("p.statement"),
        &path("p.rego"),
    ])?;
    ensure!(
        applied["version"] == 2 && applied["changed"] == true,
        "{applied}"
    );
    let shown = deployment.run_json(&["policy", "show"])?;
    ensure!(shown["source"] == another(2), "{shown}");
    Ok(())
}

/// Signed by the owner, and wrong: nobody is affirmed who should not be, the
/// reason says what is wrong, and the next policy mends it without a restart.
#[tokio::test]
async fn adv_a26_policies_that_the_owner_signed_by_mistake() -> Result<()> {
    let scene = Scene::new()?;
    let deployment = &scene.deployment;
    // What no timer would hold is not even taken.
    for (body, needle) in [
        ("result := f(1)\n\nf(x) := f(x)", "comes to call itself"),
        ("result := http.send({})", "http.send"),
        ("result := {", "line "),
    ] {
        let source = rego(body);
        let statement = Signer::owner(deployment)?.state(Kind::Policy, EVERY_CLASS, 2, &source)?;
        match apply(deployment, &source, statement).await? {
            Err(status) => {
                Refusal::INVALID_REQUEST.expect(&status)?;
                ensure!(status.message().contains(needle), "{:?}", status.message());
            }
            Ok(answer) => bail!("{body}: applied: {answer:?}"),
        }
    }

    let deep: String = (0..12).map(|n| format!("some x{n} in xs; ")).collect();
    let endless = rego(&format!(
        "xs := [v | some v in input.quote.pcrs]\n\n\
         result := {{\"vector\": {{}}, \"reasons\": [1 | {deep} x0 == 1]}}"
    ));
    let never = rego(
        r#"result := {"vector": {"instance-identity": 2, "hardware": 2, "executables": 33, "configuration": 2},
	"reasons": [{"code": "never", "claims": ["executables"], "detail": "never", "next_step": "none"}]}"#,
    );
    for (what, source, expected) in [
        ("can never match", never, "never"),
        ("runs for ever", endless, "policy-error"),
        (
            "errs",
            rego(
                "result := {\"vector\": {\"hardware\": to_number}, \"reasons\": []}\n\nto_number := substring(1, 2, 3)",
            ),
            "policy-error",
        ),
        (
            "says nothing",
            rego("result := 1 if input.no.such"),
            "policy-error",
        ),
        (
            "answers in another shape",
            rego("result := true"),
            "policy-error",
        ),
    ] {
        apply_file(deployment, &source).context(what)?;
        let codes = refused_codes(&scene).await.context(what)?;
        ensure!(
            codes.iter().any(|code| code == expected),
            "{what}: {codes:?}"
        );
    }
    apply_file(deployment, &another(3))?;
    scene.assert_good_run(deployment.bundle()?).await
}

/// A policy that affirms everything: the owner is warned, a good gateway
/// passes, and one that differs from the reference values is refused all the
/// same.
#[tokio::test]
async fn adv_a26_a_policy_that_matches_everything_meets_the_floor() -> Result<()> {
    let scene = Scene::new()?;
    let deployment = &scene.deployment;
    let applied = apply_file(deployment, &rego(AFFIRMS_ALL))?;
    ensure!(
        applied["warnings"][0]["code"] == "affirms-everything",
        "{applied}"
    );
    scene.assert_good_run(deployment.bundle()?).await?;

    let other = scene.another_gateway_with("other", |options| {
        options.image.kernel = "6.1.0-99-amd64".into();
    })?;
    let bundle = deployment.bundle()?;
    let ready =
        holdfast_integration::scene::ready_to_enrol(&other, bundle, Default::default()).await?;
    let verdict = ready.send().await?.verdict.context("no verdict")?;
    ensure!(!verdict.affirming, "affirmed");
    ensure!(
        verdict.reasons.iter().all(|r| r.code == "pcr-mismatch"),
        "{:?}",
        verdict.reasons
    );
    Ok(())
}

/// A challenge is for one policy. What was asked under the last one is stale,
/// and the attester's next try is under the new one.
#[tokio::test]
async fn adv_a26_challenges_of_before_are_stale() -> Result<()> {
    let scene = Scene::new()?;
    let enrolled = scene.enrol().await?;
    let enrolment = scene.ready_to_enrol().await?;
    let attestation = scene.ready_to_attest(&enrolled, false).await?;
    apply_file(&scene.deployment, &another(2))?;
    scene
        .assert_attest_refused(attestation, Refusal::STALE)
        .await?;
    // Last: its good run is a new enrolment, which ends the LDevID.
    scene.assert_refused(enrolment, Refusal::STALE).await
}

/// Somebody wrote to the database: the policy is not used, and no older one in
/// its place; put right, all is as before.
#[tokio::test]
async fn adv_a26_a_store_that_was_written_to() -> Result<()> {
    if !oracle::present("sqlite3") {
        skip!("needs sqlite3 (the package sqlite3)");
    }
    let mut scene = Scene::new()?;
    apply_file(&scene.deployment, &another(2))?;
    let stranger = Signer::stranger()?;
    scene.deployment.stop()?;
    let store = scene.deployment.dir().join("holdfast.db");
    let kept = std::fs::read(&store)?;
    let lax = rego(AFFIRMS_ALL).replace('\'', "''");
    let forged = stranger.state(Kind::Policy, EVERY_CLASS, 2, &rego(AFFIRMS_ALL))?;
    for (what, sql, needle) in [
        (
            "another policy",
            format!("UPDATE policies SET source = '{lax}' WHERE version = 2"),
            "is not what the owner signed",
        ),
        (
            "another policy, with its digest",
            format!(
                "UPDATE policies SET source = '{lax}', sha256 = zeroblob(32) WHERE version = 2"
            ),
            "is not what the owner signed",
        ),
        (
            "another policy, signed by somebody else",
            format!(
                "UPDATE policies SET source = '{lax}', statement = x'{}' WHERE version = 2",
                hex::encode(forged)
            ),
            "signed with key",
        ),
        (
            "no statement",
            "UPDATE policies SET statement = x'' WHERE version = 2".to_owned(),
            "unsigned",
        ),
        (
            "the first policy as the newest",
            "UPDATE policies SET version = 9 WHERE version = 1".to_owned(),
            "signed it as version 1",
        ),
        (
            "the first policy's text and statement as version 2",
            "UPDATE policies SET source = (SELECT source FROM policies WHERE version = 1), \
             statement = (SELECT statement FROM policies WHERE version = 1) WHERE version = 2"
                .to_owned(),
            "signed it as version 1",
        ),
    ] {
        write_store(&store, &sql)?;
        match scene.deployment.serve() {
            Ok(()) => bail!("{what}: it serves"),
            Err(error) => {
                let text = format!("{error:#}");
                ensure!(
                    text.contains(needle) && text.contains("holdfast.db"),
                    "{what}: {text}"
                );
            }
        }
        std::fs::write(&store, &kept)?;
    }
    scene.deployment.serve()?;
    scene.assert_good_run(scene.deployment.bundle()?).await
}

/// A directory of before policies were signed: it does not serve, says the
/// command that signs what is there, and serves after that.
#[test]
fn a_directory_with_an_unsigned_policy_says_how_to_sign_it() -> Result<()> {
    if !oracle::present("sqlite3") {
        skip!("needs sqlite3 (the package sqlite3)");
    }
    let mut deployment = Deployment::start()?;
    deployment.stop()?;
    let dir = deployment.dir();
    write_store(&dir.join("holdfast.db"), "DELETE FROM policies")?;
    std::fs::remove_file(dir.join("policy.statement"))?;
    std::fs::write(dir.join("policy.rego"), another(1))?;
    let error = format!("{:#}", deployment.serve().err().context("it serves")?);
    ensure!(
        error.contains("unsigned") && error.contains("holdfast-verifier owner sign"),
        "{error}"
    );
    let path = |name: &str| dir.join(name).display().to_string();
    let program = holdfast_integration::programs::program("holdfast-verifier")?;
    let sign = [
        "owner",
        "sign",
        "--owner-key",
        &path("policy-root.key.pem"),
        "--kind",
        "policy",
        "--version",
        "1",
        "--output",
        &path("policy.statement"),
        &path("policy.rego"),
    ];
    oracle::run(program.to_str().context("path")?, sign)?;
    deployment.serve()?;
    let listed = versions(&deployment)?;
    ensure!(
        listed[0]["version"] == 1 && listed[0]["applied_by"] == "init",
        "{listed}"
    );
    Ok(())
}

fn write_store(store: &Path, sql: &str) -> Result<()> {
    oracle::run("sqlite3", [store.to_str().context("path")?, sql]).map(drop)
}

/// What the whole catalogue rests on: a gateway is affirmed.
#[tokio::test]
async fn the_good_run() -> Result<()> {
    let scene = Scene::new()?;
    granted(scene.ready_to_enrol().await?.send().await)?;
    Ok(())
}
