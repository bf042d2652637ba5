//! Attestation of a gateway on record, with and without renewal.

use holdfast_proto::claims::Claims;

use super::*;
use crate::{
    freshness::FreshnessError,
    verification::{BootLog, SignatureFault, VerificationError as V, tests::soft_tpm::BOOT_LOG},
};

use ExchangeError::{Freshness, Verification};

/// An enrolled gateway, as the store gives it back.
fn enrolled(world: &World) -> EnrolledGateway {
    let gateway = world.enrol().gateway;
    EnrolledGateway::from_record(record(gateway)).unwrap()
}

fn record(gateway: ActivatedGateway) -> GatewayRecord {
    GatewayRecord {
        further_eks: gateway.further_eks,
        id: gateway.id,
        class: gateway.class,
        ak_public: gateway.ak_public,
        ak_qualified_name: gateway.ak_qualified_name,
        ldevid_public: gateway.ldevid_public,
        tpm: gateway.tpm,
        clock: Some(gateway.clock),
        boot_log_sha256: gateway.boot_log.sha256().copied(),
    }
}

pub(super) struct Attester<'a> {
    world: &'a World,
    gateway: EnrolledGateway,
    renew: bool,
}

impl<'a> Attester<'a> {
    pub(super) fn new(world: &'a World, renew: bool) -> Self {
        Self {
            world,
            gateway: enrolled(world),
            renew,
        }
    }

    /// Without renewal, by what an enrolment brought.
    pub(super) fn of(world: &'a World, gateway: ActivatedGateway) -> Self {
        Self {
            world,
            gateway: EnrolledGateway::from_record(record(gateway)).unwrap(),
            renew: false,
        }
    }

    fn challenge(&self) -> v1::RequestAttestationChallengeResponse {
        let rng = SystemRandom::new();
        self.world
            .verifier
            .attestation_challenge(&self.gateway, NOW, &rng)
            .unwrap()
            .into()
    }

    fn answer(
        &self,
        challenge: &v1::RequestAttestationChallengeResponse,
        spoil: &mut dyn FnMut(Step<'_>),
    ) -> v1::AttestRequest {
        let purpose = if self.renew {
            Purpose::Renew
        } else {
            Purpose::Attest
        };
        let (certification, evidence) =
            self.world
                .tpm
                .evidence(&challenge.nonce, purpose, NOW.seconds(), spoil);
        v1::AttestRequest {
            token: challenge.token.clone(),
            evidence: Some(evidence),
            ldevid_certification: self.renew.then_some(certification),
            ..v1::AttestRequest::default()
        }
    }

    fn finish(&self, request: &v1::AttestRequest) -> Result<Attestation, ExchangeError> {
        let channel = ChannelBinding::new(EXPORTER);
        let references = Some(&self.world.references);
        self.world.verifier.attest(
            &self.gateway,
            request,
            &channel,
            references,
            None,
            NOW.plus(1),
        )
    }

    pub(super) fn attest_with(
        &self,
        mut spoil: impl FnMut(Step<'_>),
        change: impl FnOnce(&mut v1::AttestRequest),
    ) -> Result<Attestation, ExchangeError> {
        let mut request = self.answer(&self.challenge(), &mut spoil);
        change(&mut request);
        self.finish(&request)
    }
}

#[test]
fn a_good_attestation_and_a_good_renewal() {
    for alg in AkAlg::ALL {
        let world = World::new(alg);
        let plain = Attester::new(&world, false)
            .attest_with(honest, |_| ())
            .unwrap();
        let Outcome::Unchanged(result) = plain.outcome else {
            panic!("renewing")
        };
        assert!(result.is_affirming());
        assert_eq!(plain.clock, world.tpm.clock);

        let renewal = Attester::new(&world, true)
            .attest_with(honest, |_| ())
            .unwrap();
        let Outcome::Renewing(result) = renewal.outcome else {
            panic!("unchanged")
        };
        let grant = result.authorise().unwrap();
        assert_eq!(
            grant.ldevid_spki(),
            world.tpm.ldevid_public.to_spki_der().unwrap()
        );
    }
}

#[test]
fn a_changed_state_is_a_value_not_an_error() {
    let mut world = World::new(AkAlg::EcdsaP256);
    let gateway = enrolled(&world);
    let changed = holdfast_proto::tpm::HashAlg::Sha256.digest(&[b"another kernel"]);
    world.tpm.pcrs.insert(7, changed);
    let attester = Attester {
        world: &world,
        gateway,
        renew: true,
    };
    let attestation = attester.attest_with(honest, |_| ()).unwrap();
    let Outcome::Renewing(result) = attestation.outcome else {
        panic!("unchanged")
    };
    assert!(!result.is_affirming());
    assert!(
        result.reasons().iter().any(|r| r.code == "pcr-mismatch"),
        "{:?}",
        result.reasons()
    );
    assert!(result.authorise().is_err());
}

#[test]
fn a_known_boot_log_goes_by_hash() {
    let mut world = World::new(AkAlg::EcdsaP256);
    let gateway = enrolled(&world);
    let digest = crate::digest::sha256(&[BOOT_LOG]);
    world.tpm.boot_log = Some(v1::BootLog {
        log: Some(v1::boot_log::Log::Sha256(digest.to_vec())),
    });
    let attester = Attester {
        world: &world,
        gateway,
        renew: false,
    };
    assert_eq!(attester.challenge().known_boot_log_sha256, digest);
    let attestation = attester.attest_with(honest, |_| ()).unwrap();
    assert_eq!(attestation.boot_log, BootLog::Known { sha256: digest });
}

#[test]
fn adv_a01_old_evidence() {
    let world = World::new(AkAlg::EcdsaP256);
    let attester = Attester::new(&world, false);
    let stale = attester.answer(&attester.challenge(), &mut honest);
    refused!(
        world,
        attester.attest_with(honest, |r| r.evidence = stale.evidence.clone()),
        Verification(V::Nonce)
    );
}

#[test]
fn adv_a02_purposes_do_not_mix() {
    let world = World::new(AkAlg::EcdsaP256);
    let attester = Attester::new(&world, false);
    let enrolment = world.challenge(EnrolmentPurpose::Enrol, &world.chain());
    refused!(
        world,
        attester.attest_with(honest, |r| r.token = enrolment.token.clone()),
        Freshness(FreshnessError::Purpose)
    );
    // An attestation token used to enrol.
    let token = attester.challenge().token;
    refused!(
        world,
        world.enrol_with(honest, |r| r.token = token),
        Freshness(FreshnessError::Purpose)
    );
    // Certification left out of a renewal, or added to an attestation.
    let renewer = Attester::new(&world, true);
    refused!(
        world,
        renewer.attest_with(honest, |r| r.ldevid_certification = None),
        Verification(V::Purpose {
            got: Purpose::Renew,
            expected: Purpose::Attest
        })
    );
    let certification = renewer
        .answer(&renewer.challenge(), &mut honest)
        .ldevid_certification;
    refused!(
        world,
        attester.attest_with(honest, |r| r.ldevid_certification = certification),
        Verification(V::Purpose {
            got: Purpose::Attest,
            expected: Purpose::Renew
        })
    );
}

#[test]
fn adv_a08_renewal_needs_its_own_certification() {
    let world = World::new(AkAlg::EcdsaP256);
    let renewer = Attester::new(&world, true);
    refused!(
        world,
        renewer.attest_with(
            |step| {
                if let Step::Certify(attest) = step {
                    attest.extra_data[0] ^= 1;
                }
            },
            |_| ()
        ),
        Verification(V::CertifyBinding)
    );
    refused!(
        world,
        renewer.attest_with(
            |step| {
                if let Step::CertifySignature(signature) = step {
                    *signature = SoftTpm::new(AkAlg::EcdsaP256).ak.sign(b"");
                }
            },
            |_| ()
        ),
        Verification(V::CertifySignature(SignatureFault::Invalid))
    );
}

#[test]
fn adv_a19_challenge_of_another_gateway() {
    let world = World::new(AkAlg::EcdsaP256);
    let attester = Attester::new(&world, false);
    // B's token, in the hands of A.
    let mut other = World::new(AkAlg::EcdsaP256);
    other.verifier = verifier(&other.vendor);
    let token = Attester::new(&other, false).challenge().token;
    refused!(
        world,
        attester.attest_with(honest, |r| r.token = token),
        Verification(V::OtherGateway)
    );
}

#[test]
fn keys_on_record_changed_since_the_challenge() {
    // A recovery between challenge and answer gives new keys: start again.
    let world = World::new(AkAlg::EcdsaP256);
    let attester = Attester::new(&world, false);
    let request = attester.answer(&attester.challenge(), &mut honest);
    let other = SoftTpm::new(AkAlg::EcdsaP256);
    let with = |change: &dyn Fn(&mut GatewayRecord)| {
        let mut record = record(world.enrol().gateway);
        change(&mut record);
        let gateway = EnrolledGateway::from_record(record).unwrap();
        Attester {
            world: &world,
            gateway,
            renew: false,
        }
        .finish(&request)
    };
    refused!(
        world,
        with(&|r| r.ak_public = other.ak_public.encode()),
        Verification(V::OtherAk { .. })
    );
    refused!(
        world,
        with(&|r| r.ldevid_public = other.ldevid_public.encode()),
        Verification(V::OtherLdevid { .. })
    );
    refused!(
        world,
        with(&|r| r.ak_qualified_name[5] ^= 1),
        Verification(V::QualifiedSigner)
    );
}

#[test]
fn adv_a16_channel_of_another_connection() {
    let world = World::new(AkAlg::EcdsaP256);
    let attester = Attester::new(&world, false);
    let claims = |change: &dyn Fn(&mut Claims)| {
        attester.attest_with(
            |step| {
                if let Step::Claims(claims) = step {
                    change(claims);
                }
            },
            |_| (),
        )
    };
    refused!(
        world,
        claims(&|c| c.exporter[31] ^= 1),
        Verification(V::Exporter)
    );
    // An attestation has nothing certified to claim.
    refused!(
        world,
        claims(&|c| c.certify_sha256 = Some([1; 32])),
        Verification(V::CertifyDigest)
    );
}

#[test]
fn a_damaged_record_is_our_fault() {
    let world = World::new(AkAlg::EcdsaP256);
    let mut record = record(world.enrol().gateway);
    record.ak_public.pop();
    let error = EnrolledGateway::from_record(record).err().unwrap();
    assert!(matches!(error, ExchangeError::Record(V::AkPublic(_))));
    assert_eq!(error.kind(), Kind::Internal);
}

#[test]
fn accessors_of_a_gateway_on_record() {
    let world = World::new(AkAlg::EcdsaP256);
    let gateway = enrolled(&world);
    assert_eq!(gateway.class().as_str(), "default");
    assert_eq!(gateway.ak_name(), &world.tpm.ak_public.name());
    assert_eq!(gateway.ldevid().name(), &world.tpm.ldevid_public.name());
    assert_eq!(gateway.id().as_bytes().len(), 33);
}
