//! A18: one gateway as another, or twice; and hostile names. A second EK of the
//! same TPM is in `adv_a18_second_ek`.

use anyhow::{Result, ensure};
use holdfast_integration::scene::{dial, enrol, request_challenge};
use holdfast_integration::{Refusal, Scene};
use holdfast_proto::grpc::v1;
use holdfast_proto::tpm::{ObjectAttributes, Parameters, Public, Symmetric};

/// The certified key with another area around it would be another Name, and
/// still activate: only the template rule stops it. Any byte but `unique`.
#[tokio::test]
async fn adv_a18_ek_under_an_altered_area() -> Result<()> {
    let scene = Scene::new()?;
    let changes: [fn(&mut Public); 5] = [
        |area| area.auth_policy[0] ^= 1,
        |area| area.auth_policy[31] ^= 0x80,
        |area| area.auth_policy.clear(),
        |area| {
            let bits = area.attributes.bits() ^ ObjectAttributes::NO_DA.bits();
            area.attributes = ObjectAttributes::from_bits(bits);
        },
        |area| {
            if let Parameters::Ecc { symmetric, .. } = &mut area.parameters {
                *symmetric = Symmetric::Aes { key_bits: 256 };
            }
        },
    ];
    for change in changes {
        let bundle = scene.deployment.bundle()?;
        let enrolment = scene.gateway.enrolment(Default::default())?;
        let mut request = enrolment.challenge_request(bundle.join_token.expose());
        let mut area = Public::parse(&request.ek_public)?;
        change(&mut area);
        request.ek_public = area.encode();
        let attack = scene.assert_challenge_refused(request, bundle, Refusal::INVALID_REQUEST);
        scene
            .because("the EK's public area equals no known EK template", attack)
            .await?;
    }
    Ok(())
}

/// A gateway on record is enrolled again by another TPM: the id is made of the
/// EK that was challenged, so the other TPM gets a record of its own, and the
/// record of the first stays as it is, byte for byte.
#[tokio::test]
async fn adv_a18_a_record_is_never_taken_over() -> Result<()> {
    let scene = Scene::new()?;
    let first = scene.enrol().await?;
    let id = first.gateway_id.to_string();
    let before = scene.deployment.gateway(&id)?;
    let other = scene.another_gateway("other")?;

    // Its own TPM, the first one's id in the claims.
    let bundle = scene.deployment.bundle()?;
    let mut attack =
        holdfast_integration::scene::ready_to_enrol(&other, bundle, Default::default()).await?;
    attack.resign_claims(|claims| claims.ueid = first.gateway_id)?;
    let status = attack.send().await.expect_err("granted under another's id");
    Refusal::NOT_AUTHENTIC.expect(&status)?;
    ensure!(
        scene.deployment.gateway(&id)? == before,
        "the record changed"
    );

    let second = enrol(&other, &scene.deployment.bundle()?).await?;
    ensure!(second.gateway_id != first.gateway_id, "one id for two TPMs");
    ensure!(
        scene.deployment.gateway(&id)? == before,
        "the record changed"
    );
    Ok(())
}

/// 64 KiB, control characters and paths in every field that a gateway fills.
#[tokio::test]
async fn adv_a18_hostile_bytes_in_every_field() -> Result<()> {
    let scene = Scene::new()?;
    let good = scene.ready_to_enrol().await?.challenge_request;
    let hostile: [Vec<u8>; 4] = [
        vec![b'A'; 65_536],
        b"../../etc/passwd\0".to_vec(),
        b"\x1b[2J\r\n<script>=cmd|".to_vec(),
        "\u{202e}gateway\u{0430}".as_bytes().to_vec(),
    ];
    type Field = fn(&mut v1::RequestChallengeRequest, Vec<u8>);
    let fields: [(&str, Field, Refusal); 5] = [
        (
            "ek_public",
            |r, b| r.ek_public = b,
            Refusal::INVALID_REQUEST,
        ),
        (
            "ak_public",
            |r, b| r.ak_public = b,
            Refusal::INVALID_REQUEST,
        ),
        (
            "ldevid_public",
            |r, b| r.ldevid_public = b,
            Refusal::INVALID_REQUEST,
        ),
        (
            "ek_certificate_chain",
            |r, b| r.ek_certificate_chain = vec![b],
            Refusal::INVALID_REQUEST,
        ),
        ("join_token", |r, b| r.join_token = b, Refusal::NOT_ADMITTED),
    ];
    let bundle = scene.deployment.bundle()?;
    for (name, set, refusal) in fields {
        for bytes in &hostile {
            let mut request = good.clone();
            request.join_token = bundle.join_token.expose().to_vec();
            set(&mut request, bytes.clone());
            let too_long = name == "join_token" && bytes.len() > 64;
            let refusal = if too_long {
                Refusal::INVALID_REQUEST
            } else {
                refusal
            };
            let connection = dial(&bundle).await?;
            match request_challenge(&connection, request).await {
                Err(status) => refusal.expect(&status)?,
                Ok(_) => anyhow::bail!("{name}: a challenge for {} hostile bytes", bytes.len()),
            }
        }
    }
    ensure!(
        !scene.deployment.log().contains('\x1b'),
        "live escapes in the log"
    );
    scene.assert_good_run(bundle).await
}

/// The same at the owner's command line: no id and no class is a path, and what
/// is printed back is inert.
#[tokio::test]
async fn adv_a18_hostile_names_from_the_owner() -> Result<()> {
    let scene = Scene::new()?;
    let enrolled = scene.enrol().await?;
    let long = "a".repeat(65_536);
    for name in ["../../etc/passwd", "\x1b[2J", "a\nb", "\u{0430}", "", &long] {
        let calls: [&[&str]; 4] = [
            &["gateway", "show", name],
            &["gateway", "revoke", name],
            &["token", "create", "--class", name],
            &["reference", "import", "--class", name, "/dev/null"],
        ];
        for call in calls {
            let output = scene.deployment.try_run(call)?;
            let code = output.status.code();
            ensure!(matches!(code, Some(1 | 2)), "{call:?} exited with {code:?}");
            let printed = [output.stdout, output.stderr].concat();
            ensure!(!printed.contains(&0x1b), "{call:?} printed a live escape");
        }
    }
    let shown = scene.deployment.gateway(&enrolled.gateway_id.to_string())?;
    ensure!(shown["state"] == "active", "{shown}");
    Ok(())
}
