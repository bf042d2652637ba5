//! What the owner says of TPMs, in both steps of enrolment and later on.

use holdfast_proto::result::{Claim, Tier};

use super::{attest::Attester, *};
use crate::{
    appraisal::AttestationResult,
    endorsement::{
        EkKnownBy, EndorsementError, FirmwareFloor, ListedEk, Rules, StaleCrl,
        tests::path::{crl, issuing_anchors},
    },
};

fn ecdsa() -> World {
    World::new(AkAlg::EcdsaP256)
}

fn of<K>(result: &AttestationResult<K>) -> Vec<&str> {
    result.reasons().iter().map(|r| r.code.as_str()).collect()
}

fn floor(quoted: u64) -> Rules {
    let floor = FirmwareFloor {
        manufacturer: "IFX".to_owned(),
        model: None,
        line: None,
        quoted: Some(quoted),
        certified: None,
        reason: "CVE-2025-2884".to_owned(),
    };
    Rules {
        floors: vec![floor],
        ..Rules::default()
    }
}

#[test]
fn a_listed_ek_enrols_without_a_certificate() {
    let world = ecdsa();
    let spki = world.tpm.ek_public.to_spki_der().unwrap();
    let rules = Rules {
        fingerprints: [(crate::digest::sha256(&[&spki]), ListedEk::default())].into(),
        ..Rules::default()
    };
    let refused = ChallengeCandidate::parse(&world.request(&[])).unwrap();
    let rng = SystemRandom::new();
    let purpose = EnrolmentPurpose::Enrol;
    assert!(matches!(
        world
            .verifier
            .challenge(refused, purpose, admission(), NOW, &rng),
        Err(ExchangeError::Endorsement(
            EndorsementError::NoCertificate { .. }
        ))
    ));
    world
        .verifier
        .replace_anchors(world.vendor.anchors().with_rules(rules));
    let challenge = world.challenge(purpose, &[]);
    let request = world.answer(purpose, &[], &challenge, &mut honest);
    let enrolment = world.finish(purpose, &request).unwrap();
    assert_eq!(enrolment.gateway.tpm.known_by, EkKnownBy::Fingerprint);
    let grant = enrolment.result.authorise().unwrap();
    let serial = grant.hardware_serial();
    assert_eq!(
        serial,
        format!("TPM:ek:{}", hex::encode(crate::digest::sha256(&[&spki])))
    );
    // Not with a certificate that was not there when the challenge was made.
    let mut request = request;
    request.ek_certificate_chain = world.chain();
    assert!(world.finish(purpose, &request).is_err());
}

#[test]
fn cve_c28_a_gateway_on_record_loses_its_standing_with_its_endorsement() {
    let world = ecdsa();
    for renew in [false, true] {
        let attester = Attester::new(&world, renew);
        let attest = || attester.attest_with(honest, |_| ()).unwrap().outcome;
        let verdict = |outcome: &Outcome| match outcome {
            Outcome::Unchanged(result) => (result.is_affirming(), of(result).join(",")),
            Outcome::Renewing(result) => (result.is_affirming(), of(result).join(",")),
        };
        assert_eq!(verdict(&attest()), (true, String::new()));

        // Affirmed and remembered; then its certificate is revoked.
        let revoked = crl(Vendor::ISSUING, &world.vendor.issuing_key, 0x2A);
        let anchors = issuing_anchors(&world.vendor).with_crls(&[revoked]);
        world.verifier.replace_anchors(anchors.unwrap());
        let outcome = attest();
        assert_eq!(
            verdict(&outcome),
            (false, "ek-certificate-revoked".to_owned())
        );
        if let Outcome::Unchanged(result) = &outcome {
            assert_eq!(result.vector().get(Claim::Hardware), 96);
            assert_eq!(result.status(), Tier::Contraindicated);
        }

        // Or the owner sets a floor above what it quotes.
        let anchors = world.vendor.anchors().with_rules(floor(u64::MAX));
        world.verifier.replace_anchors(anchors);
        let outcome = attest();
        assert_eq!(
            verdict(&outcome),
            (false, "tpm-firmware-below-floor".to_owned())
        );
        if let Outcome::Unchanged(result) = &outcome {
            assert_eq!(result.vector().get(Claim::Hardware), 32);
            assert_eq!(result.status(), Tier::Warning);
        }

        world.verifier.replace_anchors(world.vendor.anchors());
        assert!(verdict(&attest()).0);
    }
}

#[test]
fn cve_c28_firmware_below_the_floor_is_granted_nothing() {
    let world = ecdsa();
    let anchors = world.vendor.anchors().with_rules(floor(u64::MAX));
    world.verifier.replace_anchors(anchors);
    let enrolment = world.enrol();
    assert_eq!(of(&enrolment.result), ["tpm-firmware-below-floor"]);
    assert!(enrolment.result.authorise().is_err());
}

#[test]
fn a_stale_crl_is_told_and_takes_nothing_away() {
    let world = ecdsa();
    let attester = Attester::new(&world, false);
    let mut spec = crate::endorsement::tests::path::CrlSpec::new(Vendor::ISSUING, 0x2B);
    spec.next_update = Some("260101000000Z");
    let stale = spec.sign(&world.vendor.issuing_key);
    for stale_crl in [StaleCrl::Refuse, StaleCrl::Warn] {
        let anchors = issuing_anchors(&world.vendor)
            .with_crls(std::slice::from_ref(&stale))
            .unwrap()
            .with_rules(Rules {
                stale_crl,
                ..Rules::default()
            });
        world.verifier.replace_anchors(anchors);
        let Outcome::Unchanged(result) = attester.attest_with(honest, |_| ()).unwrap().outcome
        else {
            panic!("renewing")
        };
        assert!(result.is_affirming());
        assert_eq!(of(&result), ["ek-crl-stale"]);
        let candidate = ChallengeCandidate::parse(&world.request(&world.chain())).unwrap();
        let rng = SystemRandom::new();
        let (purpose, admission) = (EnrolmentPurpose::Enrol, admission());
        let challenge = world
            .verifier
            .challenge(candidate, purpose, admission, NOW, &rng);
        assert_eq!(challenge.is_err(), stale_crl == StaleCrl::Refuse);
    }
}
