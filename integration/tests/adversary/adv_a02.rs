//! A02: challenge tokens that are forged, altered, of another verifier, of
//! another purpose, expired, or from the future.

use anyhow::{Context, Result, ensure};
use holdfast_attester::enrolment::Enrolment;
use holdfast_integration::scene::{PURPOSES, dial, granted, request_challenge, send_enroll};
use holdfast_integration::{Deployment, ReadyEnrolment, Refusal, Scene};
use holdfast_proto::claims::Purpose;
use holdfast_proto::grpc::v1;
use ring::aead::{AES_256_GCM, Aad, LessSafeKey, Nonce, UnboundKey};
use ring::hkdf::{HKDF_SHA256, Salt};

/// version, purpose, key id, salt; then the ciphertext.
const HEADER: usize = 2 + 8 + 32;

/// One bit changed, in every part of the token.
#[tokio::test]
async fn adv_a02_altered_token() -> Result<()> {
    let scene = Scene::new()?;
    let honest = scene.ready_to_enrol().await?;
    let last = honest.request.token.len() - 1;
    let parts = [
        (0, "unknown token version"),
        (1, "made for another purpose"),
        (2, "of another verifier"),
        (9, "of another verifier"),
        (10, "not authentic"),
        (HEADER - 1, "not authentic"),
        (HEADER, "not authentic"),
        (last - 16, "not authentic"),
        (last, "not authentic"),
    ];
    for (at, cause) in parts {
        let refused = refused_with(&scene, &honest, |token| token[at] ^= 1);
        scene.because(cause, refused).await?;
    }
    scene
        .assert_refused(altered(honest, |t| t[HEADER] ^= 0x80), Refusal::STALE)
        .await
}

/// Shorter, longer, none, and far too long.
#[tokio::test]
async fn adv_a02_token_of_another_length() -> Result<()> {
    let scene = Scene::new()?;
    let honest = scene.ready_to_enrol().await?;
    for len in [0, 1, 2, 10, HEADER, HEADER + 15] {
        let refused = refused_with(&scene, &honest, |token| token.truncate(len));
        scene
            .because(&format!("the token has {len} bytes"), refused)
            .await?;
    }
    let whole = honest.request.token.len();
    for len in [HEADER + 16, whole - 16, whole - 1] {
        let refused = refused_with(&scene, &honest, |token| token.truncate(len));
        scene.because("not authentic", refused).await?;
    }
    let refused = refused_with(&scene, &honest, |token| token.push(0));
    scene.because("not authentic", refused).await?;
    let refused = refused_with(&scene, &honest, |token| token.resize(64 * 1024, 0));
    scene.because("the token has 65536 bytes", refused).await?;
    scene
        .assert_refused(altered(honest, Vec::clear), Refusal::STALE)
        .await
}

/// A real challenge for the very same keys, made by somebody else's verifier.
#[tokio::test]
async fn adv_a02_token_of_another_verifier() -> Result<()> {
    let scene = Scene::new()?;
    let other = Deployment::start()?;
    other.import_endorsements(&[&scene.gateway.sim().describe().vendor_root])?;
    let foreign = other.bundle()?;
    let mut attack = scene.ready_to_enrol().await?;
    let ask = v1::RequestChallengeRequest {
        join_token: foreign.join_token.expose().to_vec(),
        ..attack.challenge_request.clone()
    };
    attack.challenge = request_challenge(&dial(&foreign).await?, ask).await?;
    attack.request = attack.enrolment.complete(
        &attack.challenge,
        &attack.connection.exporter,
        &attack.platform,
    )?;
    let refused = scene.assert_refused(attack, Refusal::STALE);
    scene.because("of another verifier", refused).await?;
    ensure!(other.gateways()?.is_empty());
    Ok(())
}

/// A token for attestation used to enrol, and one for enrolment to attest.
#[tokio::test]
async fn adv_a02_attestation_and_enrolment_tokens_exchanged() -> Result<()> {
    let scene = Scene::new()?;
    let enrolled = scene.enrol().await?;
    for renew in [false, true] {
        let mut attest = scene.ready_to_attest(&enrolled, renew).await?;
        let mut enrol = scene.ready_to_enrol().await?;
        std::mem::swap(&mut attest.request.token, &mut enrol.request.token);
        // Nor where its header says so: the purpose is authenticated.
        let mut relabelled = enrol.request.clone();
        relabelled.token[1] = 1;
        let sent = async { refuse(send_enroll(&enrol.connection, relabelled).await) };
        scene.because("not authentic", sent).await?;

        // `attest` first: the good run of an enrolment makes new keys.
        let refused = scene.assert_attest_refused(attest, Refusal::STALE);
        scene.because("made for another purpose", refused).await?;
        if renew {
            let refused = scene.assert_refused(enrol, Refusal::STALE);
            scene.because("made for another purpose", refused).await?;
        }
    }
    Ok(())
}

/// A token for Recover used to enrol, and one for enrolment used to recover.
#[tokio::test]
async fn adv_a02_recovery_and_enrolment_tokens_exchanged() -> Result<()> {
    let scene = Scene::new()?;
    let enrolled = scene.enrol().await?;
    let id = enrolled.gateway_id.to_string();
    scene.deployment.run(&["gateway", "suspend", &id])?;
    scene.deployment.run(&["gateway", "resume", &id])?;

    let recovery = Enrolment::recovery(scene.gateway.tpm(), &enrolled)?;
    let enrol = scene.ready_to_enrol().await?;
    let mut client = enrol.connection.enrollment();
    let challenge = client
        .request_recovery_challenge(recovery.challenge_request(&[]))
        .await?
        .into_inner();
    let recover = recovery.complete(&challenge, &enrol.connection.exporter, &enrol.platform)?;

    for (octet, cause) in [
        (None, "made for another purpose"),
        (Some(2), "not authentic"),
    ] {
        let mut request = enrol.request.clone();
        request.token[1] = octet.unwrap_or(request.token[1]);
        let sent = async { refuse(client.recover(request).await) };
        scene.because(cause, sent).await?;
    }
    for (octet, cause) in [
        (None, "made for another purpose"),
        (Some(1), "not authentic"),
    ] {
        let mut request = recover.clone();
        request.token[1] = octet.unwrap_or(request.token[1]);
        let sent = async { refuse(enrol.connection.enrollment().enroll(request).await) };
        scene.because(cause, sent).await?;
    }
    // Neither was spent by that: the honest recovery goes through.
    let answer = enrol.connection.enrollment().recover(recover).await?;
    granted(Ok(answer.into_inner()))?;
    scene.assert_good_run(enrol.bundle.clone()).await
}

/// The token is for enrolment, and the claims say they were made for something
/// else.
#[tokio::test]
async fn adv_a02_claims_for_another_purpose() -> Result<()> {
    let scene = Scene::new()?;
    for purpose in PURPOSES.into_iter().filter(|p| *p != Purpose::Enrol) {
        let mut attack = scene.ready_to_enrol().await?;
        attack.recollect(|asked| asked.purpose = purpose)?;
        let refused = scene.assert_refused(attack, Refusal::NOT_AUTHENTIC);
        scene.because("claims were made to", refused).await?;
    }
    Ok(())
}

/// Sealed by this verifier's own key, as a replica with a wrong clock would
/// have: over, or not yet begun. Sealed the same way and in time, it is good.
#[tokio::test]
async fn adv_a02_expired_and_from_the_future() -> Result<()> {
    let scene = Scene::new()?;
    let now = holdfast_attester::evidence::now();
    let seal = |token: &[u8], issued, expires| resealed(&scene, token, issued, expires);
    for (issued, expires, cause) in [
        (now - 300, now - 1, "the token expired at"),
        (now - 300, now, "the token expired at"),
        (now - 100_000_000, now - 99_999_700, "the token expired at"),
        (now + 60, now + 360, "which is in the future"),
        (now + 31_536_000, now + 31_536_300, "which is in the future"),
    ] {
        let mut attack = scene.ready_to_enrol().await?;
        attack.request.token = seal(&attack.request.token, issued, expires)?;
        let refused = scene.assert_refused(attack, Refusal::STALE);
        scene.because(cause, refused).await?;
    }
    let mut control = scene.ready_to_enrol().await?;
    control.request.token = seal(&control.request.token, now - 100, now + 200)?;
    granted(control.send().await)?;
    Ok(())
}

/// The same of an attestation.
#[tokio::test]
async fn adv_a02_expired_attestation_token() -> Result<()> {
    let scene = Scene::new()?;
    let enrolled = scene.enrol().await?;
    let now = holdfast_attester::evidence::now();
    let mut attack = scene.ready_to_attest(&enrolled, false).await?;
    attack.request.token = resealed(&scene, &attack.request.token, now - 300, now - 1)?;
    let refused = scene.assert_attest_refused(attack, Refusal::STALE);
    scene.because("the token expired at", refused).await
}

/// Opens a token with the verifier's key and seals it with other times, by
/// what `freshness::sealer` documents.
fn resealed(scene: &Scene, token: &[u8], issued: i64, expires: i64) -> Result<Vec<u8>> {
    let stored = std::fs::read(scene.deployment.dir().join("token.key"))?;
    let key: [u8; 32] = match stored.as_slice().try_into() {
        Ok(raw) => raw,
        Err(_) => hex::decode(std::str::from_utf8(&stored)?.trim())?
            .as_slice()
            .try_into()
            .context("token.key")?,
    };
    let (header, sealed) = token.split_at(HEADER);
    let aead = || -> Result<LessSafeKey> {
        let purpose = [header[1]];
        let prk = Salt::new(HKDF_SHA256, &header[10..]).extract(&key);
        let info: [&[u8]; 2] = [b"holdfast-token-v1", &purpose];
        let okm = prk.expand(&info, &AES_256_GCM).ok().context("HKDF")?;
        Ok(LessSafeKey::new(UnboundKey::from(okm)))
    };
    let nonce = || Nonce::assume_unique_for_key([0; 12]);
    let mut content = sealed.to_vec();
    let opened = aead()?
        .open_in_place(nonce(), Aad::from(header), &mut content)
        .ok()
        .context("the token does not open")?
        .len();
    content.truncate(opened);
    content.truncate(opened - 16);
    content.extend(issued.to_be_bytes());
    content.extend(expires.to_be_bytes());
    aead()?
        .seal_in_place_append_tag(nonce(), Aad::from(header), &mut content)
        .ok()
        .context("seal")?;
    Ok([header, &content].concat())
}

fn altered(mut attack: ReadyEnrolment, change: impl FnOnce(&mut Vec<u8>)) -> ReadyEnrolment {
    change(&mut attack.request.token);
    attack
}

/// Sends the honest request with another token; nothing is on record after.
async fn refused_with(
    scene: &Scene,
    honest: &ReadyEnrolment,
    change: impl FnOnce(&mut Vec<u8>),
) -> Result<()> {
    let mut request = honest.request.clone();
    change(&mut request.token);
    refuse(send_enroll(&honest.connection, request).await)?;
    ensure!(scene.deployment.gateways()?.is_empty());
    Ok(())
}

fn refuse<T>(answer: Result<T, tonic::Status>) -> Result<()> {
    Refusal::STALE.expect(&answer.err().context("the attack was answered")?)
}
