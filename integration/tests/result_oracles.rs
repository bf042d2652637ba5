//! Attestation results, read by other people's code: PyJWT, cbor2 and the
//! `ear` crate of the Veraison project. Both forms, as JWT and CWT, of an
//! affirmation and of a refusal.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail, ensure};
use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use holdfast_integration::{Scene, oracle, skip};
use holdfast_proto::grpc::v1;
use serde_json::{Value, json};

/// What both oracles are handed.
struct Emitted {
    /// `result.pub.pem`.
    key: String,
    verdict: v1::Verdict,
    /// The class's reference values and the policy in force.
    policy: String,
    gateway: String,
}

/// One of a gateway that is affirmed, and one of the same gateway after its
/// reference values were replaced by others.
async fn emitted(form: &str) -> Result<[Emitted; 2]> {
    let wanted = format!("ear_form = \"{form}\"");
    let scene = Scene::with(
        |_| {},
        |configuration| configuration.replace("ear_form = \"draft-04\"", &wanted),
    )?;
    let deployment = &scene.deployment;
    let key = std::fs::read_to_string(deployment.dir().join("result.pub.pem"))?;
    let policy = deployment.run_json(&["policy", "list"])?[0]["policy_id"]
        .as_str()
        .context("policy id")?
        .to_owned();
    let enrolled = scene.enrol().await?;
    let gateway = deployment.gateways()?[0]["gateway_id"]
        .as_str()
        .context("gateway id")?
        .to_owned();
    let attest = async || -> Result<v1::Verdict> {
        let mut ready = scene.ready_to_attest(&enrolled, false).await?;
        ready.request.ear_jwt = true;
        ready.send().await?.verdict.context("no verdict")
    };
    let affirmed = attest().await?;
    ensure!(affirmed.affirming, "{:?}", affirmed.reasons);

    let other = deployment.scratch().join("other.json");
    let zeros = "00".repeat(32);
    let pcrs: serde_json::Map<_, _> = [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 14]
        .map(|index| (index.to_string(), json!([zeros])))
        .into_iter()
        .collect();
    std::fs::write(&other, json!({"pcrs": {"sha256": pcrs}}).to_string())?;
    deployment.import_references("default", &other)?;
    let refused = attest().await?;
    ensure!(!refused.affirming, "affirmed against other values");
    Ok([affirmed, refused].map(|verdict| Emitted {
        key: key.clone(),
        verdict,
        policy: format!("sha-256:{policy}"),
        gateway: gateway.clone(),
    }))
}

/// `openssl`-like: x and y of a P-256 SubjectPublicKeyInfo in PEM.
fn jwk(pem: &str) -> Result<Value> {
    let body: String = pem.lines().filter(|line| !line.starts_with('-')).collect();
    let der = STANDARD.decode(body)?;
    let point = der.get(der.len().saturating_sub(64)..).context("point")?;
    let (x, y) = point.split_at(32);
    Ok(json!({
        "kty": "EC", "crv": "P-256", "alg": "ES256",
        "x": URL_SAFE_NO_PAD.encode(x), "y": URL_SAFE_NO_PAD.encode(y),
    }))
}

fn target() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../target/oracles")
}

// ---- PyJWT

/// Debian's, as in the other interop test.
const PYTHON: &str = "/usr/bin/python3";

/// Whether it has PyJWT, cbor2 and cryptography.
fn python_reads_tokens() -> bool {
    Command::new(PYTHON)
        .args(["-c", "import jwt, cbor2, cryptography"])
        .output()
        .is_ok_and(|output| output.status.success())
}

fn read_by_python(emitted: &Emitted) -> Result<Value> {
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/interop/result.py");
    let ask = json!({
        "key": emitted.key,
        "jwt": emitted.verdict.ear_jwt,
        "cwt": hex::encode(&emitted.verdict.ear_cwt),
    });
    let printed = oracle::run_with_input(PYTHON, [script], ask.to_string().as_bytes())?;
    Ok(serde_json::from_str(&printed)?)
}

/// The form of draft-ietf-rats-ear-04, claim by claim.
#[tokio::test]
async fn pyjwt_and_cbor2_read_the_drafts_form() -> Result<()> {
    if !python_reads_tokens() {
        skip!(
            "needs python3-jwt, python3-cbor2 and python3-cryptography (scripts/setup.sh --interop)"
        );
    }
    for (emitted, status) in emitted("draft-04")
        .await?
        .iter()
        .zip(["affirming", "warning"])
    {
        let read = read_by_python(emitted)?;
        let (header, claims) = (&read["jwt"]["header"], &read["jwt"]["claims"]);
        ensure!(
            header["alg"] == "ES256" && header["typ"] == "eat+jwt",
            "{header}"
        );
        ensure!(
            claims["eat_profile"] == "tag:ietf.org,2026:rats/ear#04",
            "{claims}"
        );
        let gateway = &claims["submods"]["gateway"];
        ensure!(gateway["ear_status"] == status, "{gateway}");
        ensure!(
            gateway["ear_appraisal_policy_ids"] == json!([emitted.policy]),
            "{gateway}"
        );
        let vector = &gateway["ear_trustworthiness_vector"];
        ensure!(
            vector["instance-identity"] == 2 && vector["hardware"] == 2,
            "{vector}"
        );
        let executables = if status == "affirming" { 3 } else { 33 };
        ensure!(vector["executables"] == executables, "{vector}");
        let id = gateway["holdfast_reference_id"]
            .as_str()
            .context("reference id")?;
        ensure!(id.len() == 64, "{gateway}");
        let ueid = URL_SAFE_NO_PAD.decode(gateway["ueid"].as_str().context("ueid")?)?;
        ensure!(hex::encode(ueid) == emitted.gateway, "{gateway}");

        // The CWT says the same, by the keys of the draft.
        let cwt = &read["cwt"];
        ensure!(cwt["header"]["alg"] == "ESP256", "{cwt}");
        ensure!(cwt["header"]["kid"] == header["kid"], "{cwt}");
        let code = if status == "affirming" { 2 } else { 32 };
        let inside = &cwt["claims"]["266"]["gateway"];
        ensure!(inside["1000"] == code, "{inside}");
        ensure!(inside["1003"] == json!([emitted.policy]), "{inside}");
        ensure!(inside["256"] == emitted.gateway.as_str(), "{inside}");
        ensure!(inside["-75000"] == id, "{inside}");
        ensure!(cwt["claims"]["4"] == claims["exp"], "{cwt}");
        // AR4SI 2.3.5: 0 instance identity, 1 configuration, 2 executables, 4 hardware.
        ensure!(
            inside["1001"]["0"] == 2 && inside["1001"]["4"] == 2,
            "{inside}"
        );
        ensure!(inside["1001"]["2"] == executables, "{inside}");
    }
    Ok(())
}

/// The oracle itself refuses what is forged: else it would prove nothing.
#[tokio::test]
async fn the_python_oracle_refuses_what_is_forged() -> Result<()> {
    if !python_reads_tokens() {
        skip!(
            "needs python3-jwt, python3-cbor2 and python3-cryptography (scripts/setup.sh --interop)"
        );
    }
    let [mut emitted, _] = emitted("draft-04").await?;
    let good = emitted.verdict.clone();
    *emitted.verdict.ear_cwt.last_mut().context("empty")? ^= 1;
    let Err(error) = read_by_python(&emitted) else {
        bail!("a forged CWT was read");
    };
    ensure!(
        format!("{error:#}").contains("cwt: the signature"),
        "{error:#}"
    );
    emitted.verdict = good;
    let mut parts: Vec<String> = emitted
        .verdict
        .ear_jwt
        .split('.')
        .map(str::to_owned)
        .collect();
    let body = URL_SAFE_NO_PAD.decode(&parts[1])?;
    let body = String::from_utf8(body)?.replace("affirming", "warning");
    parts[1] = URL_SAFE_NO_PAD.encode(body);
    emitted.verdict.ear_jwt = parts.join(".");
    let Err(error) = read_by_python(&emitted) else {
        bail!("a forged JWT was read");
    };
    ensure!(format!("{error:#}").contains("jwt: Signature"), "{error:#}");
    Ok(())
}

// ---- the ear crate

/// The program in `integration/oracle-ear`, built on demand from what
/// `scripts/setup.sh --interop` fetched: it links OpenSSL, so it is a workspace
/// of its own.
fn ear_oracle() -> std::result::Result<PathBuf, String> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("oracle-ear");
    let target = target().join("ear");
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let output = Command::new(cargo)
        .args(["build", "--quiet", "--locked", "--offline"])
        .current_dir(folder)
        .env("CARGO_TARGET_DIR", &target)
        // The system's OpenSSL, not one built for half an hour.
        .env("OPENSSL_NO_VENDOR", "1")
        .output()
        .map_err(|e| format!("cargo: {e}"))?;
    if output.status.success() {
        return Ok(target.join("debug/oracle-ear"));
    }
    Err(String::from_utf8_lossy(&output.stderr).into_owned())
}

fn read_by_ear(program: &Path, emitted: &Emitted) -> Result<Value> {
    let ask = json!({
        "jwk": jwk(&emitted.key)?,
        "jwt": emitted.verdict.ear_jwt,
        "cwt": hex::encode(&emitted.verdict.ear_cwt),
    });
    let program = program.to_str().context("path")?;
    let none: [&str; 0] = [];
    let printed = oracle::run_with_input(program, none, ask.to_string().as_bytes())?;
    Ok(serde_json::from_str(&printed)?)
}

/// The older, dotted form: JWT and CWT verify and read the same there.
#[tokio::test]
async fn the_ear_crate_reads_the_dotted_form() -> Result<()> {
    let program = match ear_oracle() {
        Ok(program) => program,
        Err(why) => skip!(
            "needs the ear crate and libssl-dev (scripts/setup.sh --interop), and cannot build with them: {why}"
        ),
    };
    for (emitted, status) in emitted("dotted")
        .await?
        .iter()
        .zip(["affirming", "warning"])
    {
        let read = read_by_ear(&program, emitted)?;
        ensure!(read["jwt"] == read["cwt"], "JWT and CWT differ: {read:#}");
        let jwt = &read["jwt"];
        ensure!(
            jwt["profile"] == "tag:github.com,2023:veraison/ear",
            "{jwt}"
        );
        ensure!(jwt["developer"] == "https://holdfast.dev", "{jwt}");
        let gateway = &jwt["submods"]["gateway"];
        ensure!(gateway["status"] == status, "{gateway}");
        ensure!(gateway["policy_id"] == emitted.policy.as_str(), "{gateway}");
        let executables = if status == "affirming" { 3 } else { 33 };
        ensure!(gateway["vector"]["executables"] == executables, "{gateway}");
        ensure!(gateway["vector"]["hardware"] == 2, "{gateway}");
    }
    Ok(())
}

/// And that oracle refuses another key.
#[tokio::test]
async fn the_ear_crate_refuses_another_key() -> Result<()> {
    let program = match ear_oracle() {
        Ok(program) => program,
        Err(why) => skip!(
            "needs the ear crate and libssl-dev (scripts/setup.sh --interop), and cannot build with them: {why}"
        ),
    };
    let [mut emitted, _] = emitted("dotted").await?;
    let [other, _] = self::emitted("dotted").await?;
    emitted.key = other.key;
    ensure!(
        read_by_ear(&program, &emitted).is_err(),
        "another's key was good"
    );
    Ok(())
}
