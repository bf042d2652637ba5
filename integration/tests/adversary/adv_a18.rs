//! A18: one gateway as another, or twice; and hostile names. A second EK of the
//! same TPM is in `adv_a18_second_ek`.

use anyhow::{Context, Result, bail, ensure};
use holdfast_attester::enrolment::KeyChoice;
use holdfast_attester::evidence;
use holdfast_attester::tpm::EkChoice;
use holdfast_integration::scene::{
    dial, enrol, granted, ready_to_enrol, request_challenge, selection,
};
use holdfast_integration::{Refusal, Scene};
use holdfast_proto::binding::{certify_ek_extra_data, certify_extra_data};
use holdfast_proto::claims::Purpose;
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

/// One bit of every byte outside `unique`, of both EKs: the certificate is for
/// the key alone, and says nothing of the rest.
#[tokio::test]
async fn adv_a18_every_byte_of_an_ek_area_but_its_key() -> Result<()> {
    let scene = Scene::new()?;
    let bundle = scene.deployment.bundle()?;
    let connection = dial(&bundle).await?;
    for ek in [EkChoice::EccP256, EkChoice::Rsa2048] {
        let choice = KeyChoice {
            ek,
            ..KeyChoice::default()
        };
        let enrolment = scene.gateway.enrolment(choice)?;
        let good = enrolment.challenge_request(bundle.join_token.expose());
        request_challenge(&connection, good.clone()).await?;
        // At the end is the key: x and y, or the modulus, and no more.
        let key = match ek {
            EkChoice::Rsa2048 => 256,
            _ => 32 + 2 + 32,
        };
        for at in 0..good.ek_public.len() - key {
            let mut attack = good.clone();
            attack.ek_public[at] ^= 1 << (at % 8);
            let Err(status) = request_challenge(&connection, attack).await else {
                bail!("{ek:?}: byte {at} changed, and a challenge was made");
            };
            Refusal::INVALID_REQUEST
                .expect(&status)
                .with_context(|| format!("{ek:?}: byte {at}"))?;
        }
    }
    ensure!(scene.deployment.gateways()?.is_empty());
    scene.assert_good_run(bundle).await
}

/// The other EK of the TPM, with its own certificate, and everything good but
/// that AK, LDevID key, or both are those of the record of the first.
#[tokio::test]
async fn adv_a18_both_eks_with_the_keys_of_one_record() -> Result<()> {
    let scene = Scene::new()?;
    for (same_ak, same_ldevid) in [(true, true), (true, false), (false, true)] {
        let first = scene.ready_to_enrol().await?;
        granted(first.send().await)?;
        let rsa = KeyChoice {
            ek: EkChoice::Rsa2048,
            ..KeyChoice::default()
        };
        let mut attack = ready_to_enrol(&scene.gateway, scene.deployment.bundle()?, rsa).await?;

        let mut keys = attack.enrolment.keys().clone();
        let mut ask = attack.challenge_request.clone();
        if same_ak {
            keys.ak = first.enrolment.keys().ak.clone();
            keys.ak_name = first.enrolment.keys().ak_name.clone();
            ask.ak_public = first.challenge_request.ak_public.clone();
        }
        if same_ldevid {
            keys.ldevid = first.enrolment.keys().ldevid.clone();
            ask.ldevid_public = first.challenge_request.ldevid_public.clone();
        }
        attack.challenge = request_challenge(&attack.connection, ask.clone()).await?;
        let (tpm, nonce) = (scene.gateway.tpm(), attack.nonce()?);
        let ek = attack.enrolment.endorsement_key().clone();
        let of_ek = certify_ek_extra_data(&nonce, &keys.ak_name, &ek.public.name());
        let secret = tpm.activate_credential(
            &ek.template,
            &keys.ak,
            &attack.challenge.credential_blob,
            &attack.challenge.encrypted_secret,
        )?;
        let binding = certify_extra_data(&nonce, &keys.ak_name, &keys.ldevid.name());
        let certification = tpm.certify(&keys.ldevid, &keys.ak, binding)?;
        let asked = evidence::Challenge {
            nonce,
            selection: selection(&attack.challenge.pcr_selection)?,
            exporter: attack.connection.exporter,
            purpose: Purpose::Enrol,
            known_boot_log: None,
            known_ima: None,
        };
        let id = attack.enrolment.gateway_id();
        let platform = &attack.platform;
        let collected = evidence::collect(tpm, &keys, id, &asked, Some(&certification), platform)?;
        attack.request = v1::EnrollRequest {
            token: attack.challenge.token.clone(),
            activated_secret: secret.to_vec(),
            ak_public: ask.ak_public,
            ldevid_public: ask.ldevid_public,
            ldevid_certification: Some(certification.into()),
            ek_certification: Some(tpm.certify_ek(&ek.template, &keys.ak, of_ek)?.into()),
            evidence: Some(collected),
            ..attack.request
        };
        let owner = format!("belongs to gateway {}", first.enrolment.gateway_id());
        let refused = scene.assert_refused(attack, Refusal::KEY_OF_ANOTHER);
        scene.because(&owner, refused).await?;
        ensure!(scene.deployment.gateways()?.len() == 1, "one TPM, two ids");
    }
    Ok(())
}

/// Hostile bytes in every field of step 2.
#[tokio::test]
async fn adv_a18_hostile_bytes_in_every_field_of_step_2() -> Result<()> {
    type Field = fn(&mut v1::EnrollRequest) -> Option<&mut Vec<u8>>;
    fn evidence(r: &mut v1::EnrollRequest) -> Option<&mut v1::Evidence> {
        r.evidence.as_mut()
    }
    fn certification(r: &mut v1::EnrollRequest) -> Option<&mut v1::KeyCertification> {
        r.ldevid_certification.as_mut()
    }
    let fields: [(&str, Field, Refusal); 13] = [
        ("token", |r| Some(&mut r.token), Refusal::STALE),
        ("ek", |r| Some(&mut r.ek_public), Refusal::INVALID_REQUEST),
        (
            "chain",
            |r| r.ek_certificate_chain.first_mut(),
            Refusal::INVALID_REQUEST,
        ),
        ("ak", |r| Some(&mut r.ak_public), Refusal::INVALID_REQUEST),
        (
            "ldevid",
            |r| Some(&mut r.ldevid_public),
            Refusal::INVALID_REQUEST,
        ),
        (
            "certify",
            |r| Some(&mut certification(r)?.attest),
            Refusal::INVALID_REQUEST,
        ),
        (
            "certify of the EK",
            |r| Some(&mut r.ek_certification.as_mut()?.attest),
            Refusal::INVALID_REQUEST,
        ),
        (
            "certify signature",
            |r| Some(&mut certification(r)?.signature),
            Refusal::INVALID_REQUEST,
        ),
        (
            "claims",
            |r| Some(&mut evidence(r)?.claims),
            Refusal::INVALID_REQUEST,
        ),
        (
            "quote",
            |r| Some(&mut evidence(r)?.quote_attest),
            Refusal::INVALID_REQUEST,
        ),
        (
            "quote signature",
            |r| Some(&mut evidence(r)?.quote_signature),
            Refusal::INVALID_REQUEST,
        ),
        (
            "PCR value",
            |r| Some(&mut evidence(r)?.pcr_values.first_mut()?.value),
            Refusal::NOT_AUTHENTIC,
        ),
        (
            "boot log by hash",
            |r| {
                let log = v1::boot_log::Log::Sha256(Vec::new());
                let evidence = evidence(r)?;
                evidence.boot_log = Some(v1::BootLog { log: Some(log) });
                match evidence.boot_log.as_mut()?.log.as_mut()? {
                    v1::boot_log::Log::Sha256(hash) => Some(hash),
                    v1::boot_log::Log::Content(_) => None,
                }
            },
            Refusal::INVALID_REQUEST,
        ),
    ];
    let scene = Scene::new()?;
    let ready = scene.ready_to_enrol().await?;
    let hostile = [
        Vec::new(),
        vec![b'A'; 65_536],
        b"../../etc/passwd\0".to_vec(),
        b"\x1b[2J\r\n<script>=cmd|".to_vec(),
    ];
    for (name, field, refusal) in fields {
        for bytes in &hostile {
            let mut request = ready.request.clone();
            *field(&mut request).context(name)? = bytes.clone();
            let mut client = ready.connection.enrollment();
            let Err(status) = client.enroll(request).await else {
                bail!("{name}: granted with {} hostile bytes", bytes.len());
            };
            // A PCR value that is longer than any digest is not well formed.
            let refusal = match name {
                "PCR value" if bytes.len() > 64 => Refusal::INVALID_REQUEST,
                _ => refusal,
            };
            refusal
                .expect(&status)
                .with_context(|| format!("{name}, {} bytes", bytes.len()))?;
        }
    }
    ensure!(
        !scene.deployment.log().contains('\x1b'),
        "live escapes in the log"
    );
    ensure!(scene.deployment.gateways()?.is_empty());
    // None of it spent the challenge.
    granted(ready.send().await)?;
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
    // But for what is awaited of it, whose time runs.
    let on_record = || -> Result<serde_json::Value> {
        let mut shown = scene.deployment.gateway(&id)?;
        shown["awaited"].take();
        Ok(shown)
    };
    let before = on_record()?;
    let other = scene.another_gateway("other")?;

    // Its own TPM, the first one's id in the claims.
    let bundle = scene.deployment.bundle()?;
    let mut attack = ready_to_enrol(&other, bundle, Default::default()).await?;
    attack.resign_claims(|claims| claims.ueid = first.gateway_id)?;
    let status = attack.send().await.expect_err("granted under another's id");
    Refusal::NOT_AUTHENTIC.expect(&status)?;
    ensure!(on_record()? == before, "the record changed");

    let second = enrol(&other, &scene.deployment.bundle()?).await?;
    ensure!(second.gateway_id != first.gateway_id, "one id for two TPMs");
    ensure!(on_record()? == before, "the record changed");
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
