//! A07: an AK that is not what an AK must be. Each is the good area with one
//! thing changed, refused in step 1 by the constructor of the AK's type, before
//! any public-key work; and an odd key that a real TPM did make.

use anyhow::{Context, Result};
use holdfast_integration::scene::{dial, request_challenge};
use holdfast_integration::{Refusal, Scene};
use holdfast_proto::tpm::{
    AsymScheme, EccCurve, HashAlg, ObjectAttributes, Parameters, Public, Symmetric, Unique,
};

/// One thing changed in a public area.
type Change = fn(&mut Public);

fn without(area: &mut Public, bit: ObjectAttributes) {
    area.attributes = ObjectAttributes::from_bits(area.attributes.bits() & !bit.bits());
}

fn with(area: &mut Public, bit: ObjectAttributes) {
    area.attributes = area.attributes.union(bit);
}

fn ecc(area: &mut Public, change: impl FnOnce(&mut Symmetric, &mut AsymScheme, &mut EccCurve)) {
    if let Parameters::Ecc {
        symmetric,
        scheme,
        curve,
    } = &mut area.parameters
    {
        change(symmetric, scheme, curve);
    }
}

const FLAWS: &[(&str, Change)] = &[
    ("restricted is clear", |a| {
        without(a, ObjectAttributes::RESTRICTED);
    }),
    ("fixedTPM is clear", |a| {
        without(a, ObjectAttributes::FIXED_TPM);
    }),
    ("fixedParent is clear", |a| {
        without(a, ObjectAttributes::FIXED_PARENT);
    }),
    ("sensitiveDataOrigin is clear", |a| {
        without(a, ObjectAttributes::SENSITIVE_DATA_ORIGIN);
    }),
    ("sign is clear", |a| without(a, ObjectAttributes::SIGN)),
    ("decrypt is set", |a| with(a, ObjectAttributes::DECRYPT)),
    ("x509sign is set", |a| with(a, ObjectAttributes::X509_SIGN)),
    ("encryptedDuplication is set", |a| {
        with(a, ObjectAttributes::ENCRYPTED_DUPLICATION);
    }),
    ("nameAlg Sha1 is too weak", |a| a.name_alg = HashAlg::Sha1),
    ("signing scheme not allowed", |a| {
        ecc(a, |_, scheme, _| *scheme = AsymScheme::Null);
    }),
    ("signing scheme not allowed", |a| {
        ecc(a, |_, scheme, _| *scheme = AsymScheme::Ecdsa(HashAlg::Sha1));
    }),
    ("symmetric algorithm present", |a| {
        ecc(a, |symmetric, _, _| {
            *symmetric = Symmetric::Aes { key_bits: 128 };
        });
    }),
    ("curve P521 not allowed", |a| {
        ecc(a, |_, _, curve| *curve = EccCurve::P521);
    }),
    ("malformed point", |a| {
        if let Unique::Ecc { x, .. } = &mut a.unique {
            x.clear();
        }
    }),
    ("RSA key of 1024 bits", |a| {
        a.parameters = Parameters::Rsa {
            symmetric: Symmetric::Null,
            scheme: AsymScheme::RsaSsa(HashAlg::Sha256),
            key_bits: 1024,
            exponent: 0,
        };
        a.unique = Unique::Rsa(vec![0xC1; 128]);
    }),
    ("RSA exponent 3", |a| {
        a.parameters = Parameters::Rsa {
            symmetric: Symmetric::Null,
            scheme: AsymScheme::RsaSsa(HashAlg::Sha256),
            key_bits: 2048,
            exponent: 3,
        };
        a.unique = Unique::Rsa(vec![0xC1; 256]);
    }),
];

#[tokio::test]
async fn adv_a07_every_flaw_of_an_ak() -> Result<()> {
    let scene = Scene::new()?;
    for (flaw, change) in FLAWS {
        let bundle = scene.deployment.bundle()?;
        let enrolment = scene.gateway.enrolment(Default::default())?;
        let mut request = enrolment.challenge_request(bundle.join_token.expose());
        let mut area = Public::parse(&request.ak_public)?;
        change(&mut area);
        request.ak_public = area.encode();
        let attack = scene.assert_challenge_refused(request, bundle, Refusal::INVALID_REQUEST);
        scene.because(&format!("AK: {flaw}"), attack).await?;
    }
    Ok(())
}

/// In step 2 the area goes through the same constructor, and must be the one of
/// step 1 besides.
#[tokio::test]
async fn adv_a07_flawed_ak_in_step_2() -> Result<()> {
    let scene = Scene::new()?;
    let mut attack = scene.ready_to_enrol().await?;
    let mut area = Public::parse(&attack.request.ak_public)?;
    without(&mut area, ObjectAttributes::RESTRICTED);
    attack.request.ak_public = area.encode();
    let refused = scene.assert_refused(attack, Refusal::INVALID_REQUEST);
    scene.because("AK: restricted is clear", refused).await
}

/// The LDevID key is a good key of this very TPM, and an unrestricted one: it
/// would sign any quote that software makes up.
#[tokio::test]
async fn adv_a07_unrestricted_key_of_the_same_tpm_as_ak() -> Result<()> {
    let scene = Scene::new()?;
    let ready = scene.ready_to_enrol().await?;
    let mut request = ready.challenge_request.clone();
    request.ak_public = request.ldevid_public.clone();
    let attack = scene.assert_challenge_refused(request, ready.bundle, Refusal::INVALID_REQUEST);
    scene.because("AK: restricted is clear", attack).await
}

/// And an EK, which is restricted and decrypts.
#[tokio::test]
async fn adv_a07_ek_as_ak() -> Result<()> {
    let scene = Scene::new()?;
    let ready = scene.ready_to_enrol().await?;
    let mut request = ready.challenge_request.clone();
    request.ak_public = request.ek_public.clone();
    let connection = dial(&ready.bundle).await?;
    let status = request_challenge(&connection, request)
        .await
        .err()
        .context("a challenge was made")?;
    Refusal::INVALID_REQUEST.expect(&status)
}
