//! What the owner says of TPMs, end to end: certificates and CRLs by files, and
//! the signed bundle. A06 "revoked", C28, and TPMs without a certificate.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};
use holdfast_attester::enrolment::KeyChoice;
use holdfast_attester::tpm::EkChoice;
use holdfast_integration::scene::{dial, ready_to_enrol, request_challenge};
use holdfast_integration::{Gateway, Refusal, Scene, oracle, skip};
use holdfast_proto::grpc::v1::RequestChallengeRequest;
use holdfast_proto::tpm::{Public, Unique};
use holdfast_tpm_sim::{EkCertOptions, Flaw};
use serde_json::{Value, json};

/// Refuses a challenge for this request, made with a good bundle, because of
/// `cause`; nothing more is tried afterwards.
async fn no_challenge(scene: &Scene, request: RequestChallengeRequest, cause: &str) -> Result<()> {
    let bundle = scene.deployment.bundle()?;
    let request = RequestChallengeRequest {
        join_token: bundle.join_token.expose().to_vec(),
        ..request
    };
    let asked = async {
        let answer = request_challenge(&dial(&bundle).await?, request).await;
        let status = answer.err().context("a challenge was made")?;
        Refusal::NOT_ENDORSED.expect(&status)
    };
    scene.because(cause, asked).await
}

fn write(scene: &Scene, name: &str, content: &[u8]) -> Result<PathBuf> {
    let path = scene.deployment.scratch().join(name);
    std::fs::write(&path, content)?;
    Ok(path)
}

/// Signs and imports a bundle with these fields.
fn apply(scene: &Scene, name: &str, fields: Value) -> Result<Value> {
    let mut bundle = fields;
    bundle["format"] = json!("holdfast-endorsements-1");
    let path = write(scene, name, bundle.to_string().as_bytes())?;
    let path = path.to_str().context("path")?;
    scene.deployment.run_json(&["endorsement", "import", path])
}

fn request_of(gateway: &Gateway, ek: EkChoice) -> Result<RequestChallengeRequest> {
    let choice = KeyChoice {
        ek,
        ..KeyChoice::default()
    };
    Ok(gateway.enrolment(choice)?.challenge_request(&[]))
}

/// The vendor's CRL with this EK certificate on it, by `openssl ca`.
fn revoke(scene: &Scene, certificate: &[u8]) -> Result<PathBuf> {
    let vendor = scene.gateway.sim().vendor();
    let ca = vendor.intermediate_path();
    let key = ca.with_extension("key.pem");
    let leaf = write(scene, "revoked.der", certificate)?;
    let serial = oracle::run(
        "openssl",
        [
            "x509",
            "-inform",
            "der",
            "-noout",
            "-serial",
            "-in",
            path(&leaf)?,
        ],
    )?;
    let serial = serial
        .trim()
        .rsplit('=')
        .next()
        .context("serial")?
        .to_owned();
    let index = format!("R\t991231235959Z\t260101000000Z\t{serial}\tunknown\t/CN=ek\n");
    let database = write(scene, "index.txt", index.as_bytes())?;
    let number = write(scene, "crlnumber", b"01\n")?;
    let config = format!(
        "[ca]\ndefault_ca=d\n[d]\ndatabase={}\ncrlnumber={}\ndefault_md=sha256\n\
         default_crl_days=7\n",
        database.display(),
        number.display()
    );
    let config = write(scene, "ca.cnf", config.as_bytes())?;
    let crl = scene.deployment.scratch().join("vendor.crl");
    oracle::run(
        "openssl",
        [
            "ca",
            "-gencrl",
            "-config",
            path(&config)?,
            "-cert",
            path(&ca)?,
            "-keyfile",
            path(&key)?,
            "-out",
            path(&crl)?,
        ],
    )?;
    Ok(crl)
}

fn path(path: &Path) -> Result<&str> {
    path.to_str().context("path")
}

fn state(scene: &Scene, id: &str) -> Result<String> {
    let shown = scene.deployment.run_json(&["gateway", "show", id])?;
    Ok(shown["state"].as_str().context("state")?.to_owned())
}

/// A06: on the vendor's CRL, an EK gets no challenge; a gateway that enrolled
/// before is caught at its next attestation, and one of another serial number
/// is not.
#[tokio::test]
async fn adv_a06_revoked_ek_and_the_gateway_that_has_it() -> Result<()> {
    if !oracle::present("openssl") {
        skip!("needs openssl");
    }
    let scene = Scene::new()?;
    let enrolled = scene.enrol().await?;
    let id = enrolled.gateway_id.to_string();
    let good = scene
        .ready_to_attest(&enrolled, false)
        .await?
        .send()
        .await?;
    ensure!(good.verdict.context("verdict")?.affirming);

    let request = request_of(&scene.gateway, EkChoice::EccP256)?;
    let leaf = request.ek_certificate_chain.first().context("leaf")?;
    let crl = revoke(&scene, leaf)?;
    // The CA that signed it must be known, or it could be anybody's.
    let vendor = scene.gateway.sim().vendor();
    let early = scene
        .deployment
        .try_run(&["endorsement", "import", path(&crl)?])?;
    ensure!(early.status.code() == Some(2), "{early:?}");
    let told = String::from_utf8_lossy(&early.stderr).into_owned();
    ensure!(
        told.contains("import that CA's certificate first"),
        "{told}"
    );
    scene
        .deployment
        .import_endorsements(&[&vendor.intermediate_path()])?;
    let done = scene
        .deployment
        .run_json(&["endorsement", "import", path(&crl)?])?;
    ensure!(done["crls"] == 1 && done["refused"] == 0, "{done}");
    let again = scene
        .deployment
        .run_json(&["endorsement", "import", path(&crl)?])?;
    ensure!(again["already_known"] == 1, "{again}");

    no_challenge(
        &scene,
        request,
        "a certificate of the path is revoked: serial",
    )
    .await?;
    // No renewal either, and no wait for one.
    let answer = scene.ready_to_attest(&enrolled, true).await?.send().await?;
    let verdict = answer.verdict.context("verdict")?;
    ensure!(!verdict.affirming && answer.grant.is_none(), "{verdict:?}");
    ensure!(
        verdict
            .reasons
            .iter()
            .any(|r| r.code == "ek-certificate-revoked"),
        "{verdict:?}"
    );
    ensure!(state(&scene, &id)? == "suspended");

    // Another TPM of that vendor is as good as ever; and all of it survives a
    // restart.
    let mut scene = scene;
    scene.deployment.crash_and_restart()?;
    let other = scene.another_gateway("other")?;
    let bundle = scene.deployment.bundle()?;
    let ready = ready_to_enrol(&other, bundle, KeyChoice::default()).await?;
    let granted = ready.send().await?;
    ensure!(granted.grant.is_some(), "{granted:?}");
    let listed = scene.deployment.run_json(&["endorsement", "list"])?;
    let crls = listed["crls"].as_array().context("crls")?;
    ensure!(crls.len() == 1 && crls[0]["entries"] == 1, "{listed}");
    Ok(())
}

/// A TPM with no certificate at all: refused, with its fingerprint; listed by
/// the owner, it enrols; taken from the list, it is suspended.
#[tokio::test]
async fn a_listed_ek_enrols_and_lives_by_the_list() -> Result<()> {
    let scene = Scene::new()?;
    let bare =
        scene.another_gateway_with("bare", |options| options.ek_certificates = Vec::new())?;
    let choice = KeyChoice {
        ek: EkChoice::EccP256,
        ..KeyChoice::default()
    };
    let request = bare.enrolment(choice)?.challenge_request(&[]);
    ensure!(request.ek_certificate_chain.is_empty());
    let spki = Public::parse(&request.ek_public)?.to_spki_der()?;
    let fingerprint = hex::encode(ring::digest::digest(&ring::digest::SHA256, &spki));
    let cause = format!("list fingerprint {fingerprint}");
    no_challenge(&scene, request, &cause).await?;

    let listed = json!({ "fingerprints": [
        { "spki_sha256": fingerprint, "manufacturer": "id:48465354", "model": "Bare" },
    ]});
    let done = apply(&scene, "one.json", listed)?;
    ensure!(done["version"] == 1 && done["changed"] == true, "{done}");
    let bundle = scene.deployment.bundle()?;
    let ready = ready_to_enrol(&bare, bundle, choice).await?;
    let answer = ready.send().await?;
    ensure!(answer.grant.is_some(), "{answer:?}");
    let id = holdfast_proto::binding::gateway_id(&Public::parse(&ready.request.ek_public)?)?;
    let shown = scene
        .deployment
        .run_json(&["gateway", "show", &id.to_string()])?;
    ensure!(shown["endorsement_known_by"] == "fingerprint", "{shown}");
    ensure!(shown["tpm_model"] == "Bare", "{shown}");

    // Version 2 lists nobody.
    let done = apply(&scene, "two.json", json!({}))?;
    ensure!(done["version"] == 2, "{done}");
    let listed = scene.deployment.run_json(&["endorsement", "list"])?;
    ensure!(
        listed["bundle"]["version"] == 2 && listed["fingerprints"] == 0,
        "{listed}"
    );
    let request = bare.enrolment(choice)?.challenge_request(&[]);
    no_challenge(&scene, request, "is not in the owner's list").await
}

/// C28: the quoted firmware is below the owner's floor. Nothing is granted, and
/// who holds an LDevID loses it; above the floor all is well.
#[tokio::test]
async fn cve_c28_quoted_firmware_below_the_floor() -> Result<()> {
    let scene = Scene::new()?;
    let enrolled = scene.enrol().await?;
    let id = enrolled.gateway_id.to_string();
    let floor = |quoted: &str| {
        json!({ "firmware_floors": [
            { "manufacturer": "HFST", "quoted": quoted, "reason": "CVE-2025-2884" },
        ]})
    };
    apply(&scene, "low.json", floor("0000000000000001"))?;
    let good = scene
        .ready_to_attest(&enrolled, false)
        .await?
        .send()
        .await?;
    ensure!(good.verdict.context("verdict")?.affirming);
    apply(&scene, "high.json", floor("ffffffffffffffff"))?;
    let answer = scene
        .ready_to_attest(&enrolled, false)
        .await?
        .send()
        .await?;
    let verdict = answer.verdict.context("verdict")?;
    let reason = verdict
        .reasons
        .iter()
        .find(|r| r.code == "tpm-firmware-below-floor")
        .with_context(|| format!("{verdict:?}"))?;
    ensure!(reason.detail.contains("CVE-2025-2884"), "{reason:?}");
    ensure!(reason.next_step.contains("firmware"), "{reason:?}");
    ensure!(state(&scene, &id)? == "suspended");
    let other = scene.another_gateway("other")?;
    let bundle = scene.deployment.bundle()?;
    let ready = ready_to_enrol(&other, bundle, KeyChoice::default()).await?;
    let answer = ready.send().await?;
    ensure!(answer.grant.is_none(), "{answer:?}");
    Ok(())
}

/// C28: an issuer that the owner denies, a firmware certified below the floor,
/// a key with the form of CVE-2017-15361: no challenge is made.
#[tokio::test]
async fn cve_c28_refused_before_a_challenge() -> Result<()> {
    let scene = Scene::new()?;
    let good = request_of(&scene.gateway, EkChoice::Rsa2048)?;
    apply(
        &scene,
        "denied.json",
        json!({ "denied_issuers": [{
            "subject": "O=Holdfast Simulation, CN=Simulated TPM Vendor EK CA 1",
            "reason": "CVE-2023-1017",
        }]}),
    )?;
    no_challenge(&scene, good.clone(), "the owner denies").await?;
    apply(
        &scene,
        "certified.json",
        json!({ "firmware_floors": [
            { "manufacturer": "HFST", "certified": "20240126", "reason": "CVE-2025-49133" },
        ]}),
    )?;
    no_challenge(&scene, good.clone(), "is below the owner's floor 20240126").await?;
    apply(&scene, "none.json", json!({}))?;

    let mut area = Public::parse(&good.ek_public)?;
    let Unique::Rsa(modulus) = &area.unique else {
        anyhow::bail!("not RSA");
    };
    area.unique = Unique::Rsa(roca(modulus));
    let vendor = scene.gateway.sim().vendor();
    let issued = vendor.issue_ek(&area, &EkCertOptions::default())?;
    let attack = RequestChallengeRequest {
        ek_public: area.encode(),
        ek_certificate_chain: [vec![issued.certificate], issued.intermediates].concat(),
        ..good.clone()
    };
    no_challenge(&scene, attack, "ROCA key (CVE-2017-15361)").await?;
    // What was changed is all that was wrong.
    let bundle = scene.deployment.bundle()?;
    let request = RequestChallengeRequest {
        join_token: bundle.join_token.expose().to_vec(),
        ..good
    };
    request_challenge(&dial(&bundle).await?, request).await?;
    Ok(())
}

/// `like`, changed in its last 16 bytes so that it is a power of 65537 modulo
/// each of the small primes of the published test.
fn roca(like: &[u8]) -> Vec<u8> {
    const PRIMES: [u128; 17] = [
        11, 13, 17, 19, 37, 53, 61, 71, 73, 79, 97, 103, 107, 109, 127, 151, 157,
    ];
    let product: u128 = PRIMES.iter().product();
    let (high, _) = like.split_at(like.len() - 16);
    let rest = high
        .iter()
        .chain(&[0; 16])
        .fold(0, |rest, byte| (rest * 256 + u128::from(*byte)) % product);
    let mut power = 1;
    loop {
        power = power * 65_537 % product;
        let low = (power + product - rest) % product;
        if low % 2 == 1 {
            return [high, &low.to_be_bytes()].concat();
        }
    }
}

/// Leniencies by configuration: an EK certificate that is over is taken where
/// "expired" is on, and the gateway's record says so.
#[tokio::test]
async fn a_leniency_is_named_in_the_record() -> Result<()> {
    let scene = Scene::with(
        |options| options.ek_cert = EkCertOptions::with_flaw(Flaw::Expired),
        |text| text.replace("\nleniencies = [", "\nleniencies = [\"expired\", "),
    )?;
    let enrolled = scene.enrol().await?;
    let shown =
        scene
            .deployment
            .run_json(&["gateway", "show", &enrolled.gateway_id.to_string()])?;
    ensure!(
        shown["endorsement_leniencies"] == json!(["expired"]),
        "{shown}"
    );
    let text = scene
        .deployment
        .run(&["gateway", "show", &enrolled.gateway_id.to_string()])?;
    ensure!(text.contains("leniencies     expired"), "{text}");
    // A bundle's word comes before the configuration.
    apply(&scene, "strict.json", json!({ "leniencies": [] }))?;
    let request = request_of(&scene.gateway, EkChoice::EccP256)?;
    no_challenge(&scene, request, "a certificate expired at").await
}

/// PKCS#7 by OpenSSL in both forms, folders below folders, and what each file
/// came to.
#[tokio::test]
async fn files_of_every_kind_are_imported_and_told_of() -> Result<()> {
    if !oracle::present("openssl") {
        skip!("needs openssl");
    }
    let scene = Scene::new()?;
    let foreign = scene.another_gateway_with("foreign", |options| options.vendor_ca = None)?;
    let vendor = foreign.sim().vendor();
    let (root, issuing) = (vendor.root_path(), vendor.intermediate_path());
    let folder = scene.deployment.scratch().join("cas");
    let deep = folder.join("a").join("b");
    std::fs::create_dir_all(&deep)?;
    for (form, out) in [
        ("DER", deep.join("both.p7b")),
        ("PEM", folder.join("both.p7c")),
    ] {
        oracle::run(
            "openssl",
            [
                "crl2pkcs7",
                "-nocrl",
                "-certfile",
                path(&root)?,
                "-certfile",
                path(&issuing)?,
                "-outform",
                form,
                "-out",
                path(&out)?,
            ],
        )?;
    }
    std::fs::write(folder.join("broken.pem"), "-----BEGIN CERTIFICATE-----\n")?;
    std::fs::write(folder.join("notes.txt"), "not looked at")?;
    std::fs::write(deep.join("issuing.cer"), vendor.intermediate_der())?;
    let run = scene
        .deployment
        .try_run(&["endorsement", "import", "--json", path(&folder)?])?;
    ensure!(run.status.code() == Some(1), "{run:?}");
    let told: Value = serde_json::from_slice(&run.stdout)?;
    ensure!(
        (
            &told["roots"],
            &told["intermediates"],
            &told["already_known"],
            &told["refused"]
        ) == (&json!(1), &json!(1), &json!(3), &json!(1)),
        "{told}"
    );
    let files = told["files"].as_array().context("files")?;
    ensure!(files.len() == 4, "{told}");
    let broken = files
        .iter()
        .find(|f| {
            f["path"]
                .as_str()
                .is_some_and(|p| p.ends_with("broken.pem"))
        })
        .context("broken.pem")?;
    ensure!(
        broken["reason"]
            .as_str()
            .is_some_and(|r| r.contains("block 0")),
        "{broken}"
    );
    // What was good is in use.
    let bundle = scene.deployment.bundle()?;
    ready_to_enrol(&foreign, bundle, KeyChoice::default()).await?;

    // Packed into a bundle, it is the owner's word.
    let packed = scene.deployment.scratch().join("packed.json");
    let verifier = holdfast_integration::programs::program("holdfast-verifier")?;
    oracle::run(
        path(&verifier)?,
        [
            "endorsement",
            "pack",
            "--output",
            path(&packed)?,
            path(&deep)?,
        ],
    )?;
    let done = scene
        .deployment
        .run_json(&["endorsement", "import", path(&packed)?])?;
    ensure!(done["version"] == 1, "{done}");
    let listed = scene.deployment.run_json(&["endorsement", "list"])?;
    let bundled = listed["endorsements"]
        .as_array()
        .context("endorsements")?
        .iter()
        .filter(|e| e["bundled"] == true);
    ensure!(bundled.count() == 2, "{listed}");
    Ok(())
}

/// Which certificate is missing, and how to get it: said at the gateway before,
/// and in the refusal.
#[tokio::test]
async fn doctor_and_refusal_name_the_missing_certificate() -> Result<()> {
    let scene = Scene::new()?;
    let mut foreign = scene.another_gateway_with("foreign", |options| {
        options.vendor_ca = None;
        options.intermediate_in_nv = false;
    })?;
    let words = foreign.run(&["doctor"])?;
    let issuer = "CN=Simulated TPM Vendor EK CA 1";
    ensure!(
        words.contains(issuer) && words.contains("endorsement import"),
        "{words}"
    );
    // Of another vendor whose names are those of the trusted one.
    let request = request_of(&foreign, EkChoice::EccP256)?;
    let bundle = scene.deployment.bundle()?;
    let request = RequestChallengeRequest {
        join_token: bundle.join_token.expose().to_vec(),
        ..request
    };
    let answer = request_challenge(&dial(&bundle).await?, request).await;
    let status = answer.err().context("a challenge was made")?;
    Refusal::NOT_ENDORSED.expect(&status)?;
    let text = status.message();
    ensure!(
        text.contains(issuer) && text.contains("key id") && text.contains("endorsement import"),
        "{text}"
    );
    Ok(())
}
