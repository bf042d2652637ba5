//! A08: an LDevID key that does not live in this TPM, or was not certified, in
//! this exchange, by this AK.

use anyhow::{Context, Result};
use holdfast_integration::scene::{ready_to_enrol, selection, sign_claims};
use holdfast_integration::{Attacks, ReadyEnrolment, Refusal, Scene};
use holdfast_proto::binding::certify_extra_data;
use holdfast_proto::claims::{self, Claims, CoseAlg, SignedClaims};
use holdfast_proto::grpc::v1;
use holdfast_proto::tpm::templates::ldevid_template;
use holdfast_proto::tpm::{Attest, HashAlg, Name, ObjectAttributes, Public, Unique};
use ring::rand::SystemRandom;
use ring::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair};

/// Bits that must be set, and those that must not.
const FLAWS: &[(&str, ObjectAttributes, bool)] = &[
    ("fixedTPM is clear", ObjectAttributes::FIXED_TPM, false),
    (
        "fixedParent is clear",
        ObjectAttributes::FIXED_PARENT,
        false,
    ),
    (
        "sensitiveDataOrigin is clear",
        ObjectAttributes::SENSITIVE_DATA_ORIGIN,
        false,
    ),
    ("sign is clear", ObjectAttributes::SIGN, false),
    ("restricted is set", ObjectAttributes::RESTRICTED, true),
    ("decrypt is set", ObjectAttributes::DECRYPT, true),
    (
        "encryptedDuplication is set",
        ObjectAttributes::ENCRYPTED_DUPLICATION,
        true,
    ),
];

/// Exportable, imported, or of another role: refused on its face, in step 1 and
/// in step 2.
#[tokio::test]
async fn adv_a08_every_flaw_of_an_ldevid_key() -> Result<()> {
    let scene = Scene::new()?;
    for (flaw, bit, set) in FLAWS {
        let cause = format!("LDevID key: {flaw}");
        let spoil = |bytes: &[u8]| -> Result<Vec<u8>> {
            let mut area = Public::parse(bytes)?;
            let bits = area.attributes.bits();
            let bits = if *set {
                bits | bit.bits()
            } else {
                bits & !bit.bits()
            };
            area.attributes = ObjectAttributes::from_bits(bits);
            Ok(area.encode())
        };
        let bundle = scene.deployment.bundle()?;
        let enrolment = scene.gateway.enrolment(Default::default())?;
        let mut request = enrolment.challenge_request(bundle.join_token.expose());
        request.ldevid_public = spoil(&request.ldevid_public)?;
        let attack = scene.assert_challenge_refused(request, bundle, Refusal::INVALID_REQUEST);
        scene.because(&cause, attack).await?;

        let mut attack = scene.ready_to_enrol().await?;
        attack.request.ldevid_public = spoil(&attack.request.ldevid_public)?;
        let refused = scene.assert_refused(attack, Refusal::INVALID_REQUEST);
        scene.because(&cause, refused).await?;
    }
    Ok(())
}

/// Not certified at all; certified for another nonce; certified with another
/// key's Name in the binding.
#[tokio::test]
async fn adv_a08_certified_otherwise() -> Result<()> {
    let scene = Scene::new()?;
    let mut attacks = Attacks::on(&scene).await?;
    attacks
        .refused(Refusal::INVALID_REQUEST, "ldevid_certification", |ready| {
            ready.request.ldevid_certification = None;
            Ok(())
        })
        .await?;
    let binding = "certification's extraData is not";
    attacks
        .refused(Refusal::NOT_AUTHENTIC, binding, |ready| {
            let (ak, ldevid) = names(ready);
            recertify(ready, certify_extra_data(&[9; 32], &ak, &ldevid))
        })
        .await?;
    attacks
        .refused(Refusal::NOT_AUTHENTIC, binding, |ready| {
            let (ak, _) = names(ready);
            let nonce = ready.nonce()?;
            recertify(ready, certify_extra_data(&nonce, &ak, &ak))
        })
        .await?;
    attacks.then_the_good_run().await
}

/// Certified by another AK: one of the same TPM, and one of another gateway.
#[tokio::test]
async fn adv_a08_certified_by_another_ak() -> Result<()> {
    let scene = Scene::new()?;
    let elsewhere = scene.another_gateway("elsewhere")?;
    let donors = [
        scene.ready_to_enrol().await?,
        ready_to_enrol(&elsewhere, scene.deployment.bundle()?, Default::default()).await?,
    ];
    let mut attacks = Attacks::on(&scene).await?;
    for donor in &donors {
        // Its certification, whole: of its own key, by its own AK.
        attacks
            .refused(
                Refusal::NOT_AUTHENTIC,
                "certification's extraData is not",
                |ready| {
                    ready.request.ldevid_certification = donor.request.ldevid_certification.clone();
                    bind_certification(ready)
                },
            )
            .await?;
    }
    // Of the right key, with the right binding, by the wrong AK.
    attacks
        .refused(
            Refusal::NOT_AUTHENTIC,
            "certification and quote name different signers",
            |ready| {
                let (ak, ldevid) = names(ready);
                let extra_data = certify_extra_data(&ready.nonce()?, &ak, &ldevid);
                let keys = ready.enrolment.keys();
                let other = &donors[0].enrolment.keys().ak;
                let by_other = ready.tpm().certify(&keys.ldevid, other, extra_data)?;
                ready.request.ldevid_certification = Some(v1::KeyCertification {
                    attest: by_other.attest,
                    signature: by_other.signature,
                });
                bind_certification(ready)
            },
        )
        .await?;
    attacks.then_the_good_run().await
}

/// The certification as it should be, and a signature by another key: by the
/// LDevID key itself, which signs whatever it is given, and by another AK. And
/// the good one, changed after the claims were made.
#[tokio::test]
async fn adv_a08_forged_certification() -> Result<()> {
    let scene = Scene::new()?;
    let donor = scene.ready_to_enrol().await?;
    let mut attacks = Attacks::on(&scene).await?;
    let invalid = "certification's signature: does not verify";
    attacks
        .refused(Refusal::NOT_AUTHENTIC, invalid, |ready| {
            let forged = certification(ready)?;
            let digest = sha256(&forged.attest);
            let keys = ready.enrolment.keys().clone();
            let signature = ready.tpm().sign(&keys.ldevid, digest)?.encode();
            certification(ready)?.signature = signature;
            bind_certification(ready)
        })
        .await?;
    attacks
        .refused(Refusal::NOT_AUTHENTIC, invalid, |ready| {
            let (ak, ldevid) = names(ready);
            let extra_data = certify_extra_data(&ready.nonce()?, &ak, &ldevid);
            let keys = ready.enrolment.keys().clone();
            let other = &donor.enrolment.keys().ak;
            let by_other = ready.tpm().certify(&keys.ldevid, other, extra_data)?;
            let good = certification(ready)?;
            let mut attest = Attest::parse(&by_other.attest)?;
            attest.qualified_signer = Attest::parse(&good.attest)?.qualified_signer;
            good.attest = attest.encode();
            good.signature = by_other.signature;
            bind_certification(ready)
        })
        .await?;
    attacks
        .refused(Refusal::NOT_AUTHENTIC, invalid, |ready| {
            let last = certification(ready)?
                .signature
                .last_mut()
                .context("signature")?;
            *last ^= 1;
            Ok(())
        })
        .await?;
    attacks
        .refused(
            Refusal::NOT_AUTHENTIC,
            "claims do not hold the digest of the certification",
            |ready| {
                let (ak, ldevid) = names(ready);
                let extra_data = certify_extra_data(&ready.nonce()?, &ak, &ldevid);
                let keys = ready.enrolment.keys().clone();
                let again = ready.tpm().certify(&keys.ldevid, &keys.ak, extra_data)?;
                let good = certification(ready)?;
                good.attest = again.attest;
                good.signature = again.signature;
                Ok(())
            },
        )
        .await?;
    attacks.then_the_good_run().await
}

/// A key made by software, whose area claims all that it should. It signs its
/// claims well; what it cannot have is a certification of its Name.
#[tokio::test]
async fn adv_a08_key_made_by_software() -> Result<()> {
    let scene = Scene::new()?;
    let rng = SystemRandom::new();
    let pkcs8 = EcdsaKeyPair::generate_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, &rng)
        .map_err(|_| anyhow::anyhow!("key"))?;
    let key = EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, pkcs8.as_ref(), &rng)
        .map_err(|e| anyhow::anyhow!("{e}"))?;
    let (x, y) = key.public_key().as_ref()[1..].split_at(32);
    let area = Public {
        unique: Unique::Ecc {
            x: x.to_vec(),
            y: y.to_vec(),
        },
        ..ldevid_template()
    };

    let mut attack = scene.ready_to_enrol().await?;
    let mut ask = attack.challenge_request.clone();
    ask.ldevid_public = area.encode();
    attack.challenge =
        holdfast_integration::scene::request_challenge(&attack.connection, ask).await?;
    attack.request = attack.enrolment.complete(
        &attack.challenge,
        &attack.connection.exporter,
        &attack.platform,
    )?;
    attack.request.ldevid_public = area.encode();
    // The TPM certifies the key that it has, with the binding of the other.
    let (ak, _) = names(&attack);
    let extra_data = certify_extra_data(&attack.nonce()?, &ak, &area.name());
    let keys = attack.enrolment.keys();
    let of_own_key = attack.tpm().certify(&keys.ldevid, &keys.ak, extra_data)?;
    attack.request.ldevid_certification = Some(v1::KeyCertification {
        attest: of_own_key.attest.clone(),
        signature: of_own_key.signature,
    });
    let mut claims = opened(&attack.evidence().claims)?;
    claims.certify_sha256 = Some(sha256(&of_own_key.attest));
    let signed = claims::sign(
        &claims,
        CoseAlg::Esp256,
        area.name().as_bytes(),
        |message| {
            key.sign(&rng, message)
                .map(|signature| signature.as_ref().to_vec())
        },
    )
    .map_err(|_| anyhow::anyhow!("signing"))?;
    attack.replace_claims(signed)?;
    let refused = scene.assert_refused(attack, Refusal::NOT_AUTHENTIC);
    scene
        .because("certification is of another key", refused)
        .await
}

/// The area is substituted after the certification: another good key of the
/// same TPM, or the same key under another area.
#[tokio::test]
async fn adv_a08_area_substituted_after_certification() -> Result<()> {
    let scene = Scene::new()?;
    let donor = scene.ready_to_enrol().await?;
    let mut attacks = Attacks::on(&scene).await?;
    attacks
        .refused(Refusal::STALE, "LDevID key 000b", |ready| {
            ready.request.ldevid_public = donor.request.ldevid_public.clone();
            Ok(())
        })
        .await?;
    attacks
        .refused(Refusal::STALE, "LDevID key 000b", |ready| {
            let mut area = Public::parse(&ready.request.ldevid_public)?;
            let bits = area.attributes.bits() ^ ObjectAttributes::NO_DA.bits();
            area.attributes = ObjectAttributes::from_bits(bits);
            ready.request.ldevid_public = area.encode();
            Ok(())
        })
        .await?;
    attacks.then_the_good_run().await
}

fn certification(ready: &mut ReadyEnrolment) -> Result<&mut v1::KeyCertification> {
    ready
        .request
        .ldevid_certification
        .as_mut()
        .context("certification")
}

fn names(ready: &ReadyEnrolment) -> (Name, Name) {
    let ak = ready.enrolment.ak_public().name();
    (ak, ready.enrolment.keys().ldevid.name())
}

/// The TPM certifies the LDevID key again with `extra_data`, and all that binds
/// the certification is made anew.
fn recertify(ready: &mut ReadyEnrolment, extra_data: [u8; 32]) -> Result<()> {
    let keys = ready.enrolment.keys();
    let again = ready.tpm().certify(&keys.ldevid, &keys.ak, extra_data)?;
    ready.request.ldevid_certification = Some(v1::KeyCertification {
        attest: again.attest,
        signature: again.signature,
    });
    bind_certification(ready)
}

/// Claims and quote over the certification that is in the request.
fn bind_certification(ready: &mut ReadyEnrolment) -> Result<()> {
    let attest = ready
        .request
        .ldevid_certification
        .as_ref()
        .context("certification")?
        .attest
        .clone();
    let mut claims = opened(&ready.evidence().claims)?;
    claims.certify_sha256 = Some(sha256(&attest));
    let signed = sign_claims(ready.tpm(), ready.enrolment.keys(), &claims)?;
    ready.evidence().claims = signed;
    let required = selection(&ready.challenge.pcr_selection)?;
    ready.requote(&required, |bound| bound)
}

fn opened(signed: &[u8]) -> Result<Claims> {
    SignedClaims::parse(signed)?
        .open(|_, _, _| Ok::<_, std::convert::Infallible>(()))
        .map_err(|error| anyhow::anyhow!("our own claims: {error:?}"))
}

fn sha256(bytes: &[u8]) -> [u8; 32] {
    HashAlg::Sha256
        .digest(&[bytes])
        .as_bytes()
        .try_into()
        .expect("SHA-256 has 32 bytes")
}
