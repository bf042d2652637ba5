//! Enrolment through an OEM's CA on a live swtpm (IAK road): IDevID and IAK as
//! a simulated OEM provisioned them, no EK certificate anywhere.

use anyhow::{Context, Result, bail, ensure};
use holdfast_attester::enrolment::exchange::{Outcome, Plan, enrol};
use holdfast_attester::enrolment::{Enrolment, Road};
use holdfast_attester::state::Enrolled;
use holdfast_attester::tpm::{Ak, DeviceKeySource};
use holdfast_integration::gateway::Gateway;
use holdfast_integration::oracle;
use holdfast_integration::programs::program;
use holdfast_integration::scene::{
    ReadyEnrolment, Scene, granted, ready_by, ready_to_attest, send_enroll,
};
use holdfast_integration::{Deployment, Refusal, TokenOptions};
use holdfast_proto::grpc::v1;
use holdfast_proto::tpm::devid::{
    DevidKey, DevidTemplate, DevidUnique, IAK_CERTIFICATE_NV, IDEVID_CERTIFICATE_NV,
};
use holdfast_tpm_sim::{OemOptions, SimOptions};

/// A gateway of the OEM in the deployment's scratch folder, without an EK
/// certificate.
pub(super) fn oem_gateway(options: &mut SimOptions, oem: OemOptions) {
    options.ek_certificates = Vec::new();
    let folder = options.dir.parent().map(|parent| parent.join("oem"));
    options.oem = Some(OemOptions {
        ca: oem.ca.or(folder),
        ..oem
    });
}

/// A scene whose verifier trusts the gateway's OEM as `acme`.
pub(super) fn scene(oem: OemOptions) -> Result<Scene> {
    let scene = Scene::with(|o| oem_gateway(o, oem), |c| c)?;
    trust_oem(&scene.deployment, &scene.gateway)?;
    Ok(scene)
}

pub(super) fn trust_oem(deployment: &Deployment, gateway: &Gateway) -> Result<()> {
    let described = gateway.sim().describe().oem.context("an OEM")?;
    let root = described.root.display().to_string();
    deployment.run(&["endorsement", "import", "--oem", "acme", &root])?;
    Ok(())
}

pub(super) fn serial(gateway: &Gateway) -> Result<String> {
    Ok(gateway.sim().describe().oem.context("an OEM")?.serial)
}

fn allow(scene: &Scene, serial: &str) -> Result<()> {
    scene
        .deployment
        .run(&["oem", "allow", "--oem", "acme", serial])?;
    Ok(())
}

/// Enrols as the program does.
async fn enrol_by_iak(gateway: &Gateway, deployment: &Deployment) -> Result<Enrolled> {
    let bundle = deployment.bundle_with(&TokenOptions::default())?;
    let mut plan = Plan::from_bundle(&bundle, Default::default(), gateway.sim().boot_log());
    plan.road = Road::Auto;
    match enrol(gateway.tpm(), &gateway.state_dir()?, &plan, &mut |_| {}).await? {
        Outcome::Granted(enrolled, _) => Ok(*enrolled),
        Outcome::Refused(verdict) => bail!("{:?}", verdict.reasons),
    }
}

/// All done but sending `Enroll`, by a join token.
pub(super) async fn ready(gateway: &Gateway, deployment: &Deployment) -> Result<ReadyEnrolment> {
    let bundle = deployment.bundle()?;
    let enrolment = Enrolment::by_iak(gateway.tpm(), Default::default(), None)?;
    ready_by(gateway, bundle, enrolment, true).await
}

/// The same by the serial number alone: no token is shown.
pub(super) async fn ready_by_serial(
    gateway: &Gateway,
    deployment: &Deployment,
) -> Result<ReadyEnrolment> {
    let bundle = deployment.bundle()?;
    let enrolment = Enrolment::by_iak(gateway.tpm(), Default::default(), None)?;
    ready_by(gateway, bundle, enrolment, false).await
}

async fn assert_good_run(scene: &Scene) -> Result<()> {
    let good = ready(&scene.gateway, &scene.deployment).await?;
    granted(good.send().await).context("the good run after the attack")?;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_gateway_without_an_ek_certificate_enrols_attests_and_recovers() -> Result<()> {
    let mut scene = scene(OemOptions::new())?;
    let enrolled = enrol_by_iak(&scene.gateway, &scene.deployment).await?;
    ensure!(matches!(enrolled.keys.ak, Ak::Iak { .. }), "by the IAK");
    let iak = &scene.gateway.tpm().device_identity()?.iak.public;
    assert_eq!(
        enrolled.gateway_id,
        holdfast_proto::binding::gateway_id(iak)?
    );
    let again = ready_to_attest(&scene.gateway, &enrolled, true).await?;
    let answer = again.send().await?;
    ensure!(answer.verdict.context("verdict")?.affirming, "renewed");
    drop(again);
    let shown = scene.deployment.run(&[
        "gateway",
        "show",
        "--json",
        &enrolled.gateway_id.to_string(),
    ])?;
    let shown: serde_json::Value = serde_json::from_str(&shown)?;
    assert_eq!(shown["device"]["oem"], "acme");
    assert_eq!(
        shown["device"]["serial"].as_str(),
        Some(serial(&scene.gateway)?.as_str())
    );
    // The state directory is enough for the program to go on.
    let log = scene.gateway.sim().boot_log().display().to_string();
    scene
        .gateway
        .run(&["attest", "--renew", "--boot-log", &log])?;
    Ok(())
}

/// Makers do not agree on `unique`; the two make different keys of one TPM, and
/// whichever the OEM certified is found and enrols.
#[tokio::test(flavor = "multi_thread")]
async fn keys_that_differ_only_in_the_unique_convention_both_enrol() -> Result<()> {
    let mut ids = Vec::new();
    for unique in DevidUnique::ALL {
        let scene = scene(OemOptions {
            unique,
            ..OemOptions::new()
        })?;
        let enrolled = enrol_by_iak(&scene.gateway, &scene.deployment)
            .await
            .with_context(|| unique.label())?;
        let Ak::Iak {
            source: DeviceKeySource::Template(area),
            ..
        } = &enrolled.keys.ak
        else {
            bail!("{unique:?}: the IAK from its template");
        };
        assert_eq!(
            **area,
            DevidTemplate::H2.public(DevidKey::Iak, unique),
            "{unique:?}"
        );
        ids.push(enrolled.gateway_id);
    }
    ids.dedup();
    assert_eq!(ids.len(), DevidUnique::ALL.len());
    Ok(())
}

/// P-384 and RSA, and keys that the OEM keeps in the TPM.
#[tokio::test(flavor = "multi_thread")]
async fn every_template_that_can_attest_enrols() -> Result<()> {
    for (template, persistent) in [
        (DevidTemplate::H3, false),
        (DevidTemplate::H1, false),
        (DevidTemplate::H2, true),
    ] {
        let scene = scene(OemOptions {
            template,
            persistent,
            ..OemOptions::new()
        })?;
        let enrolled = enrol_by_iak(&scene.gateway, &scene.deployment)
            .await
            .with_context(|| format!("{template:?}, persistent: {persistent}"))?;
        let Ak::Iak { source, .. } = &enrolled.keys.ak else {
            bail!("{template:?}: not by the IAK");
        };
        let kept = matches!(source, DeviceKeySource::Persistent { .. });
        assert_eq!(kept, persistent, "{template:?}");
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_product_on_the_allow_list_needs_no_join_token() -> Result<()> {
    let scene = scene(OemOptions::new())?;
    let serial = serial(&scene.gateway)?;
    let refused = ready_by_serial(&scene.gateway, &scene.deployment).await;
    let status = refused.err().context("not on the list")?;
    let status = status.downcast::<tonic::Status>()?;
    Refusal::new(tonic::Code::PermissionDenied, "not-admitted").expect(&status)?;

    allow(&scene, "another")?;
    allow(&scene, &serial)?;
    let listed = scene.deployment.run(&["oem", "serials", "--json"])?;
    ensure!(listed.contains(&serial), "{listed}");
    let good = ready_by_serial(&scene.gateway, &scene.deployment).await?;

    // Taken off the list between the two calls.
    scene
        .deployment
        .run(&["oem", "remove", "--oem", "acme", &serial])?;
    let status = good.send().await.err().context("off the list")?;
    Refusal::new(tonic::Code::PermissionDenied, "not-admitted").expect(&status)?;

    allow(&scene, &serial)?;
    granted(good.send().await)?;
    Ok(())
}

/// One product is one gateway: its LDevID does not move to a device with
/// another IDevID, nor does another IAK of it become a second gateway.
#[tokio::test(flavor = "multi_thread")]
async fn a_gateway_is_bound_to_its_idevid() -> Result<()> {
    let mut scene = scene(OemOptions::new())?;
    let enrolled = enrol_by_iak(&scene.gateway, &scene.deployment).await?;

    // The OEM gives the same IAK to another product.
    scene.gateway.with_sim(|sim| {
        let oem = sim.oem().context("an OEM")?;
        for (key, index) in [
            (DevidKey::Iak, IAK_CERTIFICATE_NV),
            (DevidKey::Idevid, IDEVID_CERTIFICATE_NV),
        ] {
            let mut wanted = oem.certificate(key)?;
            wanted.serial = Some("GW-other".to_owned());
            let certificate = oem.with_chain(&oem.ca.issue(&wanted)?);
            sim.nv_store(index, &certificate)?;
        }
        anyhow::Ok(())
    })?;
    let moved = ready(&scene.gateway, &scene.deployment).await?;
    let status = moved.send().await.err().context("bound to another")?;
    Refusal::new(tonic::Code::PermissionDenied, "other-idevid").expect(&status)?;
    drop(moved);
    let shown = scene
        .deployment
        .run(&["gateway", "show", &enrolled.gateway_id.to_string()])?;
    ensure!(!shown.contains("GW-other"), "{shown}");

    // Another device that says it is that product.
    let oem_serial = serial(&scene.gateway)?;
    let twin = scene.another_gateway_with("twin", |options| {
        oem_gateway(
            options,
            OemOptions {
                serial: Some(oem_serial),
                ..OemOptions::new()
            },
        );
    })?;
    let attack = ready(&twin, &scene.deployment).await?;
    let status = attack.send().await.err().context("a product twice")?;
    Refusal::new(tonic::Code::PermissionDenied, "key-of-another").expect(&status)
}

#[tokio::test(flavor = "multi_thread")]
async fn certificates_of_another_oem_are_refused() -> Result<()> {
    let scene = scene(OemOptions::new())?;
    let foreign = scene.another_gateway_with("foreign", |options| {
        let other = options.dir.join("another-oem");
        oem_gateway(
            options,
            OemOptions {
                ca: Some(other),
                ..OemOptions::new()
            },
        );
    })?;
    let refusal = || Refusal::new(tonic::Code::PermissionDenied, "not-endorsed");
    let expect = |outcome: Result<ReadyEnrolment>| -> Result<()> {
        let status = outcome.err().context("a challenge was made")?;
        refusal().expect(&status.downcast::<tonic::Status>()?)
    };
    scene
        .because("IAK certificate: ", async {
            expect(ready(&foreign, &scene.deployment).await)
        })
        .await?;
    // An OEM's root does not endorse EKs, nor a TPM vendor's IAKs.
    let root = foreign.sim().describe().oem.context("an OEM")?.root;
    scene.deployment.import_endorsements(&[&root])?;
    expect(ready(&foreign, &scene.deployment).await)?;
    assert_good_run(&scene).await
}

/// One thing of a good request changed, each with its own cause in the log.
#[tokio::test(flavor = "multi_thread")]
async fn swapped_parts_are_refused_each_for_its_own_reason() -> Result<()> {
    type Change = fn(&mut v1::EnrollRequest, &v1::EnrollRequest);
    let scene = scene(OemOptions::new())?;
    let other = scene.another_gateway_with("other", |o| oem_gateway(o, OemOptions::new()))?;
    let donor = ready(&other, &scene.deployment).await?;
    let stale = || Refusal::new(tonic::Code::FailedPrecondition, "stale");
    let changes: [(&str, Change, Refusal); 6] = [
        (
            "the IAK is of product",
            |r, d| {
                r.idevid_certificate_chain = d.idevid_certificate_chain.clone();
                r.idevid_public = d.idevid_public.clone();
            },
            Refusal::new(tonic::Code::PermissionDenied, "not-endorsed"),
        ),
        (
            "the IAK certificate is for another key",
            |r, d| r.ak_public = d.ak_public.clone(),
            Refusal::new(tonic::Code::PermissionDenied, "not-endorsed"),
        ),
        (
            "the IAK certificate chain is not the one that was challenged",
            |r, d| {
                r.ak_public = d.ak_public.clone();
                r.iak_certificate_chain = d.iak_certificate_chain.clone();
                r.idevid_certificate_chain = d.idevid_certificate_chain.clone();
                r.idevid_public = d.idevid_public.clone();
            },
            stale(),
        ),
        (
            "the IAK's public area equals no known IAK template",
            // restricted is bit 16: octet 5 of TPMT_PUBLIC.
            |r, _| r.ak_public[5] ^= 1,
            Refusal::new(tonic::Code::InvalidArgument, "invalid-request"),
        ),
        (
            "IDevID key: certification's extraData",
            |r, d| r.idevid_certification = d.idevid_certification.clone(),
            Refusal::new(tonic::Code::Unauthenticated, "not-authentic"),
        ),
        (
            "the IDevID key is not certified",
            |r, _| r.idevid_certification = None,
            Refusal::new(tonic::Code::Unauthenticated, "not-authentic"),
        ),
    ];
    for (cause, change, refusal) in changes {
        let mut attack = ready(&scene.gateway, &scene.deployment).await?;
        change(&mut attack.request, &donor.request);
        scene
            .because(cause, async {
                let answer = send_enroll(&attack.connection, attack.request.clone()).await;
                refusal.expect(&answer.err().context("answered")?)
            })
            .await?;
    }
    assert_good_run(&scene).await
}

/// A18: the EK of another gateway, claimed beside an IAK of one's own.
#[tokio::test(flavor = "multi_thread")]
async fn adv_a18_an_ek_claimed_on_the_iak_road_without_activation() -> Result<()> {
    let scene = scene(OemOptions::new())?;
    let victim = scene.another_gateway_with("victim", |_| {})?;
    let ek = victim.tpm().endorsement_key(Default::default())?;
    let good = ready(&scene.gateway, &scene.deployment).await?;
    let mut attack = good.challenge_request.clone();
    attack.ek_public = ek.public.encode();
    let challenge =
        holdfast_integration::scene::request_challenge(&good.connection, attack).await?;
    // Our TPM does not open it, and a guess is no answer.
    for guess in [vec![0; 32], good.request.activated_secret.clone()] {
        let mut request = good.request.clone();
        request.token = challenge.token.clone();
        request.ek_public = ek.public.encode();
        request.activated_secret = guess;
        scene
            .because("the activated secret is wrong", async {
                let status = send_enroll(&good.connection, request).await.err();
                Refusal::new(tonic::Code::Unauthenticated, "not-authentic")
                    .expect(&status.context("answered")?)
            })
            .await?;
    }
    granted(good.send().await)?;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn doctor_tells_what_the_oem_left() -> Result<()> {
    let mut scene = scene(OemOptions {
        persistent: true,
        ..OemOptions::new()
    })?;
    let told = scene.gateway.run(&["doctor", "--json"])?;
    let told: serde_json::Value = serde_json::from_str(&told)?;
    assert_eq!(told["can_enrol"], true, "{told:#}");
    assert_eq!(told["tpm"]["iak"], "H-2");
    assert_eq!(told["tpm"]["idevid"], "H-2");
    ensure!(told.to_string().contains("kept at 0x81020001"), "{told:#}");
    // The IAK road forced, by the program.
    let bundle = scene.deployment.create_token(&TokenOptions::default())?;
    let path = bundle.display().to_string();
    let log = scene.gateway.sim().boot_log().display().to_string();
    let told = scene.gateway.run(&[
        "enroll",
        "--bundle",
        &path,
        "--identity",
        "iak",
        "--boot-log",
        &log,
    ])?;
    ensure!(told.contains("from the IAK"), "{told}");
    Ok(())
}

/// The EK road where there is an EK certificate, whatever the OEM left.
#[tokio::test(flavor = "multi_thread")]
async fn auto_takes_the_ek_road_where_it_is_open() -> Result<()> {
    let scene = Scene::with(|o| o.oem = Some(OemOptions::new()), |c| c)?;
    let made = Enrolment::by(scene.gateway.tpm(), Road::Auto, Default::default(), None)?;
    ensure!(made.device_identity().is_none(), "by the EK");
    let made = Enrolment::by(scene.gateway.tpm(), Road::Iak, Default::default(), None)?;
    ensure!(made.device_identity().is_some(), "by the IAK");
    Ok(())
}

/// The CA of `oem init` builds a simulated gateway, which enrols by its IAK with
/// a verifier that imported that CA's root.
#[tokio::test]
async fn the_oem_of_oem_init_builds_a_simulated_gateway() -> Result<()> {
    let scene = scene(OemOptions::new())?;
    let scratch = scene.deployment.scratch();
    let desk = scratch.join("desk");
    let vendor = scene.gateway.sim().describe().vendor_root;
    let text = |path: &std::path::Path| path.display().to_string();
    let (program, dir) = (program("holdfast-verifier")?, text(&desk));
    oracle::run(
        &text(&program),
        [
            "oem",
            "init",
            "--organization",
            "Acme GmbH",
            "--vendor-ca",
            &text(&vendor),
            "--dir",
            &dir,
        ],
    )?;
    let boot = |name: &str| {
        Gateway::boot(&scratch.join(name), |options| {
            let ca = Some(desk.clone());
            oem_gateway(
                options,
                OemOptions {
                    ca,
                    ..OemOptions::new()
                },
            );
        })
    };
    let built = boot("built")?;
    let root = text(&desk.join("oem-root.pem"));
    let import = ["endorsement", "import", "--oem", "desk", &root];
    ensure!(enrol_by_iak(&built, &scene.deployment).await.is_err());
    scene.deployment.run(&import)?;
    enrol_by_iak(&built, &scene.deployment).await?;

    // A key with a passphrase is for the desk alone.
    let key = desk.join("oem-device-ca.key.pem");
    std::fs::write(&key, "-----BEGIN ENCRYPTED PRIVATE KEY-----\n")?;
    let refused = boot("refused").err().context("built without the key")?;
    ensure!(refused.to_string().contains("passphrase"), "{refused}");
    Ok(())
}

/// The OEM's CA is withdrawn: its gateway is out at once, cannot come back when
/// it is resumed, and may where the owner trusts the OEM again.
#[tokio::test(flavor = "multi_thread")]
async fn adv_a18_gateways_of_a_withdrawn_oem_are_out_at_once() -> Result<()> {
    let mut scene = scene(OemOptions::new())?;
    let enrolled = enrol_by_iak(&scene.gateway, &scene.deployment).await?;
    allow(&scene, "another")?;
    let (id, log) = (
        enrolled.gateway_id.to_string(),
        scene.gateway.sim().boot_log().display().to_string(),
    );
    let withdraw = ["oem", "withdraw", "--oem", "acme", "--reason", "key stolen"];
    let nobody = scene
        .deployment
        .try_run(&["oem", "withdraw", "--oem", "other", "--reason", "x"])?;
    ensure!(nobody.status.code() == Some(2), "{nobody:?}");
    let done = scene.deployment.run_json(&withdraw)?;
    ensure!(done["gateways_suspended"][0] == id.as_str(), "{done}");
    ensure!(done["serials_removed"] == 1, "{done}");
    let shown = scene.deployment.gateway(&id)?;
    ensure!(shown["state"] == "suspended", "{shown}");
    let refused = scene.gateway.try_run(&["attest", "--boot-log", &log])?;
    ensure!(refused.status.code() == Some(1), "{refused:?}");
    // A resume alone does not bring it back.
    scene.deployment.run(&["gateway", "resume", &id])?;
    let refused = scene.gateway.try_run(&["recover", "--boot-log", &log])?;
    ensure!(refused.status.code() == Some(1), "{refused:?}");

    // Nor does an import like the first: it has to be said.
    let described = scene.gateway.sim().describe().oem.context("an OEM")?;
    let root = described.root.display().to_string();
    let import = ["endorsement", "import", "--oem", "acme", &root];
    let refused = scene.deployment.try_run(&import)?;
    let said = String::from_utf8_lossy(&refused.stderr).into_owned();
    ensure!(refused.status.code() == Some(1), "{refused:?}");
    ensure!(said.contains("--trust-again"), "{said}");
    let refused = scene.gateway.try_run(&["recover", "--boot-log", &log])?;
    ensure!(refused.status.code() == Some(1), "{refused:?}");
    scene
        .deployment
        .run(&[import.as_slice(), &["--trust-again"]].concat())?;
    scene.gateway.run(&["recover", "--boot-log", &log])?;
    scene.gateway.run(&["attest", "--boot-log", &log])?;
    let audit = scene.deployment.run(&["audit", "list"])?;
    for act in ["oem-withdrawn", "oem-trusted-again", "suspended"] {
        ensure!(audit.contains(act), "{act}: {audit}");
    }
    Ok(())
}
