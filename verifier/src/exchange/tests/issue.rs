//! From a finished exchange to an LDevID and a signed result: the end of the
//! typed road, with the grant that a whole run earned.

use std::{process::Command, sync::Arc};

use holdfast_proto::result::{SignedEar, Tier, VerifierId};
use ring::signature::{ECDSA_P256_SHA256_FIXED, UnparsedPublicKey};
use rustls_pki_types::{SubjectPublicKeyInfoDer, pem::PemObject as _};

use super::*;
use crate::identity::{
    CaSettings, FileSigner, Initial, Issuer, IssuingCa, IssuingCas, Profile, ResultKey, ServerName,
    ca_init, subject_serial_number,
};

fn ca() -> (Initial, Issuer) {
    let settings = CaSettings {
        organization: "Owner".into(),
        server_names: vec![ServerName::parse("localhost").unwrap()],
    };
    let initial = ca_init(&settings, NOW, &SystemRandom::new()).unwrap();
    let signer = FileSigner::from_pkcs8(initial.issuing.key.expose_der()).unwrap();
    let issuing = &initial.issuing.certificate;
    let ca = IssuingCa::open(issuing, Arc::new(signer)).unwrap();
    let issuer = Issuer::new(IssuingCas::only(ca), Profile::standard());
    (initial, issuer)
}

fn openssl(args: &[&str]) -> String {
    let out = Command::new("openssl").args(args).output().unwrap();
    let text = String::from_utf8_lossy(&out.stdout).into_owned();
    assert!(
        out.status.success(),
        "{text}{}",
        String::from_utf8_lossy(&out.stderr)
    );
    text
}

#[test]
fn a_good_run_earns_an_ldevid_for_the_certified_key() {
    let world = World::new(AkAlg::EcdsaP256);
    let (initial, issuer) = ca();
    let enrolment = world.enrol();
    let id = enrolment.gateway.id;
    let grant = enrolment.result.authorise().unwrap();
    assert_eq!(grant.policy_id(), world.verifier.policy().id());
    assert_eq!(grant.reference_id(), Some(world.references.digest()));
    let serial = grant.hardware_serial().to_owned();
    assert_eq!(serial.split(':').next(), Some("IFX"));
    let ldevid = issuer
        .prepare(grant, NOW, &SystemRandom::new())
        .unwrap()
        .sign()
        .unwrap();
    assert_eq!(ldevid.gateway_id, id);

    let dir = tempfile::tempdir().unwrap();
    let file = |name: &str, text: &str| {
        let path = dir.path().join(name);
        std::fs::write(&path, text).unwrap();
        path.to_str().unwrap().to_owned()
    };
    let root = file("root.pem", &initial.root.certificate_pem());
    let chain = file("ldevid.pem", &ldevid.chain_pem());
    let at = (NOW.seconds() + 60).to_string();
    let verify = [
        "verify",
        "-x509_strict",
        "-attime",
        &at,
        "-purpose",
        "sslclient",
        "-CAfile",
        &root,
        "-untrusted",
        &chain,
        &chain,
    ];
    assert!(openssl(&verify).contains("OK"));
    let shown = openssl(&["x509", "-in", &chain, "-noout", "-subject", "-pubkey"]);
    assert!(shown.contains(&subject_serial_number(&id)), "{shown}");
    let spki = SubjectPublicKeyInfoDer::from_pem_slice(shown.as_bytes()).unwrap();
    assert_eq!(
        spki.as_ref(),
        world.tpm.ldevid_public.to_spki_der().unwrap()
    );
    let der = &ldevid.chain[0];
    assert!(
        der.windows(serial.len()).any(|w| w == serial.as_bytes()),
        "HardwareModuleName"
    );
}

#[test]
fn a_grant_outside_the_cas_life_issues_nothing() {
    let world = World::new(AkAlg::EcdsaP256);
    let (_, issuer) = ca();
    let grant = world.enrol().result.authorise().unwrap();
    let late = issuer.cas().current().not_after();
    assert!(issuer.prepare(grant, late, &SystemRandom::new()).is_err());
}

#[test]
fn a_changed_boot_is_refused_with_its_reason_and_the_result_says_so() {
    let world = World::new(AkAlg::EcdsaP256);
    let mut other = SoftTpm::new(AkAlg::EcdsaP256);
    let changed = other.pcrs.get_mut(&0).unwrap();
    *changed = holdfast_proto::tpm::HashAlg::Sha256.digest(&[b"another firmware"]);
    let world = World {
        references: references(&other),
        ..world
    };
    let result = world.enrol().result;
    assert_eq!(result.status(), Tier::Warning);
    assert!(!result.is_malfunction());

    let key = ResultKey::from_pkcs8(ca().0.result_key.expose_der()).unwrap();
    let verifier = VerifierId {
        developer: "https://holdfast.dev".into(),
        build: "test".into(),
    };
    let ear = result.to_ear(verifier, NOW, NOW.plus(60));
    let jwt = ear.sign_jwt(key.id(), |message| key.sign(message)).unwrap();
    let signed = SignedEar::parse_jwt(&jwt).unwrap();
    assert_eq!(signed.key_id(), key.id());
    let public = key.public_pem();
    let spki = SubjectPublicKeyInfoDer::from_pem_slice(public.as_bytes()).unwrap();
    // The point is the last 65 bytes of a P-256 SubjectPublicKeyInfo.
    let point = spki[spki.len() - 65..].to_vec();
    let opened = signed
        .open(|message, signature| {
            UnparsedPublicKey::new(&ECDSA_P256_SHA256_FIXED, &point).verify(message, signature)
        })
        .unwrap();
    assert_eq!(opened.appraisal.status(), Tier::Warning);
    assert_eq!(opened.appraisal.reason_codes, ["pcr-mismatch"]);
    assert_eq!(opened.appraisal.ueid, *result.gateway_id().as_bytes());
    assert_eq!(
        opened.appraisal.reference_id.as_ref(),
        Some(world.references.digest())
    );
    let policy = format!("sha-256:{}", hex::encode(world.verifier.policy().id()));
    assert_eq!(opened.appraisal.policy_ids, [policy]);

    let refused = result.authorise().unwrap_err();
    assert_eq!(refused.status, Tier::Warning);
    assert_eq!(refused.reasons.len(), 1);
    assert!(
        refused.reasons[0]
            .detail
            .starts_with("PCR 0 (platform firmware): expected ")
    );
}
