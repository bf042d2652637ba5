//! Several EKs of one TPM in one enrolment (A18): all of them are endorsed and
//! all of them answer, or nothing is granted.

use proptest::{collection::vec, prelude::*};

use holdfast_proto::{
    binding::certify_ek_extra_data,
    tpm::{Attest, HashAlg, Hierarchy, Name, Public, templates::ek_child_template},
};

use super::{attest, *};
use crate::{
    endorsement::{
        Denied, DeniedIssuer, EndorsementError, FurtherEks, MAX_FURTHER_EKS, Rules, ShownEk,
    },
    freshness::FreshnessError,
    verification::{VerificationError, tests::soft_tpm::SoftEk},
};

use ExchangeError::{Endorsement, Freshness};

const PURPOSE: EnrolmentPurpose = EnrolmentPurpose::Enrol;

/// A gateway with EKs of L-2 and H-2, and a verifier that takes both.
struct Two {
    world: World,
    second: SoftEk,
}

impl Two {
    fn requiring(required: RequiredEks) -> Self {
        let mut world = World::new(AkAlg::EcdsaP256);
        world.verifier = Verifier::new(Settings {
            anchors: world.vendor.anchors(),
            oems: OemAnchors::default(),
            accepted_eks: AcceptedEks::new([EkTemplate::L2, EkTemplate::H2]).requiring(required),
            sealer: ChallengeSealer::new([7; 32]),
            policy: Policy::standard().unwrap(),
            selection: selection(),
        });
        Self {
            world,
            second: SoftEk::new(EkTemplate::H2),
        }
    }

    /// With the second EK beside the first.
    fn asked(&self) -> v1::RequestChallengeRequest {
        v1::RequestChallengeRequest {
            further_eks: vec![v1::FurtherEk {
                ek_public: self.second.public.encode(),
                ek_certificate_chain: self.world.vendor.certify(&self.second.public),
            }],
            ..self.world.request(&self.world.chain())
        }
    }

    fn challenge(
        &self,
        asked: &v1::RequestChallengeRequest,
    ) -> Result<v1::RequestChallengeResponse, ExchangeError> {
        let candidate = ChallengeCandidate::parse(asked)?;
        self.world.verifier.expect_all_eks(&candidate)?;
        let rng = SystemRandom::new();
        let issued = self
            .world
            .verifier
            .challenge(candidate, PURPOSE, admission(), NOW, &rng)?;
        Ok(issued.into())
    }

    /// The answer of the TPM that holds both.
    fn answer(
        &self,
        asked: &v1::RequestChallengeRequest,
        challenge: &v1::RequestChallengeResponse,
    ) -> v1::EnrollRequest {
        let ak = self.world.tpm.ak_public.name();
        let activate = |(ek, credential): (&v1::FurtherEk, &v1::EkCredential)| v1::ActivatedEk {
            ek_public: ek.ek_public.clone(),
            ek_certificate_chain: ek.ek_certificate_chain.clone(),
            activated_secret: self
                .second
                .activate(
                    &ak,
                    &credential.credential_blob,
                    &credential.encrypted_secret,
                )
                .unwrap_or_default(),
            ek_certification: Some(
                (self.world.tpm).certify_ek(&challenge.nonce, &self.second.public),
            ),
        };
        let further = asked.further_eks.iter().zip(&challenge.further_credentials);
        v1::EnrollRequest {
            further_eks: further.map(activate).collect(),
            ..self
                .world
                .answer(PURPOSE, &asked.ek_certificate_chain, challenge, &mut honest)
        }
    }

    fn enrol_with(
        &self,
        change: impl FnOnce(&mut v1::EnrollRequest),
    ) -> Result<Enrolment, ExchangeError> {
        self.enrol_knowing(|request, _| change(request))
    }

    /// The same, where the change is bound to the challenge's nonce.
    fn enrol_knowing(
        &self,
        change: impl FnOnce(&mut v1::EnrollRequest, &[u8; 32]),
    ) -> Result<Enrolment, ExchangeError> {
        let asked = self.asked();
        let challenge = self.challenge(&asked)?;
        let mut request = self.answer(&asked, &challenge);
        change(&mut request, challenge.nonce.as_slice().try_into().unwrap());
        self.world.finish(PURPOSE, &request)
    }

    fn enrol(&self) -> Enrolment {
        self.enrol_with(|_| ()).unwrap()
    }
}

#[test]
fn both_eks_are_on_the_record_of_one_gateway() {
    for required in [RequiredEks::All, RequiredEks::Any] {
        let two = Two::requiring(required);
        let asked = two.asked();
        let challenge = two.challenge(&asked).unwrap();
        assert!(challenge.wanted_eks.is_empty());
        let [credential] = &challenge.further_credentials[..] else {
            panic!("one further EK")
        };
        assert_ne!(credential.credential_blob, challenge.credential_blob);

        let enrolment = two.enrol();
        let gateway = &enrolment.gateway;
        let first = holdfast_proto::binding::gateway_id(&two.world.tpm.ek_public).unwrap();
        assert_eq!(gateway.id, first);
        let [second] = &gateway.further_eks[..] else {
            panic!("one further EK")
        };
        let spki = two.second.public.to_spki_der().unwrap();
        assert_eq!(second.spki_sha256, crate::digest::sha256(&[&spki]));
        assert_eq!(second.public, two.second.public.encode());
        assert_eq!(second.tpm.ek_template, "H-2");
        assert_eq!(second.tpm.manufacturer, "id:49465800");
        assert!(!second.tpm.path.is_empty());
        assert!(enrolment.result.is_affirming());
    }
}

#[test]
fn adv_a18_every_secret_must_be_right() {
    let two = Two::requiring(RequiredEks::All);
    let changes: [fn(&mut v1::EnrollRequest); 5] = [
        |r| r.further_eks[0].activated_secret[31] ^= 1,
        |r| r.further_eks[0].activated_secret.clear(),
        |r| r.further_eks[0].activated_secret = r.activated_secret.clone(),
        |r| r.activated_secret = r.further_eks[0].activated_secret.clone(),
        |r| {
            let first = std::mem::take(&mut r.activated_secret);
            r.activated_secret = std::mem::replace(&mut r.further_eks[0].activated_secret, first);
        },
    ];
    for change in changes {
        refused!(
            two,
            two.enrol_with(change),
            Freshness(FreshnessError::WrongSecret)
        );
    }
}

/// An EK answers with its private key, whatever area is shown with it: one of H-2
/// opens what is made for the same key as L-2. Its Name is what tells them apart.
#[test]
fn adv_a18_an_ek_shown_as_of_another_template() {
    let not_under = |error: ExchangeError, label: &str| match error {
        ExchangeError::Verification(VerificationError::EkName { template, source }) => {
            template == label && matches!(*source, VerificationError::NotUnderEk)
        }
        _ => false,
    };
    let two = Two::requiring(RequiredEks::All);
    let tpm = &two.world.tpm;
    let as_h2 = Public {
        unique: tpm.ek_public.unique.clone(),
        ..EkTemplate::H2.public()
    };
    let as_l2 = Public {
        unique: two.second.public.unique.clone(),
        ..EkTemplate::L2.public()
    };
    let ak = tpm.ak_public.name();
    // What the TPM says of a key as it is, bound to what is claimed of it.
    let certified = |nonce: &[u8; 32], claimed: &Public, place: Name| {
        let binding = certify_ek_extra_data(nonce, &ak, &claimed.name());
        Some(tpm.certify_under(&binding, &place))
    };
    let primary = |ek: &Public| Name::qualified_primary(Hierarchy::Endorsement, &ek.name());
    let first = two.enrol_knowing(|r, nonce| {
        r.ek_certification = certified(nonce, &tpm.ek_public, primary(&as_h2));
    });
    assert!(not_under(first.err().unwrap(), "L-2"));
    let second = &two.second.public;
    let further = two.enrol_knowing(|r, nonce| {
        r.further_eks[0].ek_certification = certified(nonce, second, primary(&as_l2));
    });
    assert!(not_under(further.err().unwrap(), "H-2"));
    assert!(two.enrol().result.is_affirming());
    // Nor does the word on one EK, or on what stands elsewhere, do for another.
    let changes: [fn(&mut v1::EnrollRequest); 3] = [
        |r| r.ek_certification = r.ldevid_certification.clone(),
        |r| r.ek_certification = r.further_eks[0].ek_certification.clone(),
        |r| r.further_eks[0].ek_certification = r.ek_certification.clone(),
    ];
    for change in changes {
        assert!(matches!(
            two.enrol_with(change).map(|_| ()),
            Err(ExchangeError::Verification(VerificationError::EkName { source, .. }))
                if matches!(*source, VerificationError::CertifyBinding)
        ));
    }
    for hierarchy in [Hierarchy::Owner, Hierarchy::Platform, Hierarchy::Null] {
        let elsewhere = Name::qualified_primary(hierarchy, &tpm.ek_public.name());
        let result = two.enrol_knowing(|r, nonce| {
            r.ek_certification = certified(nonce, &tpm.ek_public, elsewhere);
        });
        assert!(not_under(result.err().unwrap(), "L-2"), "{hierarchy:?}");
    }
    // An object of the right place that is named by SHA-1.
    let sha1 = Public {
        name_alg: HashAlg::Sha1,
        ..ek_child_template()
    };
    let result = two.enrol_knowing(|r, nonce| {
        let binding = certify_ek_extra_data(nonce, &ak, &tpm.ek_public.name());
        r.ek_certification = Some(tpm.certify_child(&binding, &primary(&tpm.ek_public), &sha1));
    });
    assert!(matches!(
        result.map(|_| ()),
        Err(ExchangeError::Verification(VerificationError::EkName { source, .. }))
            if matches!(*source, VerificationError::EkChildNameAlg { got: HashAlg::Sha1 })
    ));
    // A statement of another kind, one of an earlier challenge, and one that
    // another key is said to have made.
    let refusal = |change: &dyn Fn(&mut v1::EnrollRequest, &[u8; 32])| match two
        .enrol_knowing(change)
        .map(|_| ())
    {
        Err(ExchangeError::Verification(VerificationError::EkName { source, .. })) => *source,
        other => panic!("{other:?}"),
    };
    let signed = |attest: Attest| {
        let attest = attest.encode();
        Some(v1::KeyCertification {
            signature: tpm.ak.sign(&attest).encode(),
            attest,
        })
    };
    let own = |nonce: &[u8; 32]| certify_ek_extra_data(nonce, &ak, &tpm.ek_public.name());
    assert!(matches!(
        refusal(&|r, nonce| r.ek_certification = signed(tpm.quote(&own(nonce), &selection()))),
        VerificationError::NotACertify
    ));
    assert!(matches!(
        refusal(&|r, _| r.ek_certification = Some(tpm.certify_ek(&[9; 32], &tpm.ek_public))),
        VerificationError::CertifyBinding
    ));
    assert!(matches!(
        refusal(&|r, nonce| {
            let stated = tpm.certify_under(&own(nonce), &primary(&tpm.ek_public));
            let stated = Attest::parse(&stated.attest).unwrap();
            r.ek_certification = signed(Attest {
                qualified_signer: tpm.ek_public.name().as_bytes().to_vec(),
                ..stated
            });
        }),
        VerificationError::SignersDiffer
    ));
    let absent: [fn(&mut v1::EnrollRequest); 2] = [
        |r| r.ek_certification = None,
        |r| r.further_eks[0].ek_certification = None,
    ];
    for change in absent {
        assert!(matches!(
            two.enrol_with(change).map(|_| ()),
            Err(ExchangeError::Missing("ek_certification"))
        ));
    }
    // It is the AK's word, and no one else's.
    let stranger = SoftTpm::new(AkAlg::EcdsaP256);
    let result = two.enrol_with(|r| {
        let signed = r.ek_certification.as_mut().unwrap();
        signed.signature = stranger.ak.sign(&signed.attest).encode();
    });
    assert!(matches!(
        result.map(|_| ()),
        Err(ExchangeError::Verification(VerificationError::EkName { source, .. }))
            if matches!(*source, VerificationError::CertifySignature(_))
    ));
    let result = two.enrol_knowing(|r, nonce| {
        r.ek_certification = Some(stranger.certify_ek(nonce, &tpm.ek_public));
    });
    assert!(matches!(
        result.map(|_| ()),
        Err(ExchangeError::Verification(
            VerificationError::EkName { .. }
        ))
    ));
    assert!(two.enrol().result.is_affirming());
}

#[test]
fn adv_a03_further_eks_swapped_between_the_calls() {
    let two = Two::requiring(RequiredEks::Any);
    let other = SoftEk::new(EkTemplate::H2);
    let changes: [&dyn Fn(&mut v1::EnrollRequest); 4] = [
        &|r| r.further_eks.clear(),
        &|r| r.further_eks[0].ek_public = other.public.encode(),
        &|r| r.further_eks[0].ek_certificate_chain.clear(),
        &|r| r.further_eks[0].ek_certificate_chain = two.world.vendor.certify(&other.public),
    ];
    for change in changes {
        refused!(
            two,
            two.enrol_with(change),
            Freshness(FreshnessError::OtherFurtherEks)
        );
    }
    // And one that is shown in the second call alone.
    let asked = two.world.request(&two.world.chain());
    let mut request = two.answer(&asked, &two.challenge(&asked).unwrap());
    request.further_eks.push(v1::ActivatedEk {
        ek_public: two.second.public.encode(),
        ek_certificate_chain: two.world.vendor.certify(&two.second.public),
        activated_secret: request.activated_secret.clone(),
        ek_certification: request.ek_certification.clone(),
    });
    refused!(
        two,
        two.world.finish(PURPOSE, &request),
        Freshness(FreshnessError::OtherFurtherEks)
    );
}

#[test]
fn adv_a18_all_names_what_is_missing_and_any_what_it_would_like_to_see() {
    let two = Two::requiring(RequiredEks::All);
    let alone = two.world.request(&two.world.chain());
    let refusal = two.challenge(&alone).unwrap_err();
    assert_eq!(refusal.kind(), Kind::EksMissing);
    assert!(
        matches!(&refusal, Endorsement(EndorsementError::EksMissing { missing }) if missing == &["H-2"]),
        "{refusal:?}"
    );
    // Whoever leaves out the early look is refused where endorsement begins.
    let candidate = ChallengeCandidate::parse(&alone).unwrap();
    assert!(matches!(
        two.world.verifier.endorse_candidate(candidate, NOW),
        Err(Endorsement(EndorsementError::EksMissing { .. }))
    ));

    let two = Two::requiring(RequiredEks::Any);
    let challenge = two
        .challenge(&two.world.request(&two.world.chain()))
        .unwrap();
    assert_eq!(challenge.wanted_eks, ["H-2"]);
    assert!(two.world.enrol().gateway.further_eks.is_empty());
}

/// Whichever rule holds: what is shown has to be good.
#[test]
fn adv_a18_a_further_ek_is_endorsed_by_the_rules_of_the_first() {
    for required in [RequiredEks::All, RequiredEks::Any] {
        let two = Two::requiring(required);
        let refused = |change: &dyn Fn(&mut v1::RequestChallengeRequest)| {
            let mut asked = two.asked();
            change(&mut asked);
            two.challenge(&asked).map(|_| ())
        };
        let other = SoftEk::new(EkTemplate::H2);
        refused!(
            two,
            refused(&|r| r.further_eks[0].ek_certificate_chain.clear()),
            Endorsement(EndorsementError::FurtherEk { which, source })
                if which == "H-2" && matches!(*source, EndorsementError::NoCertificate { .. })
        );
        refused!(
            two,
            refused(&|r| {
                r.further_eks[0].ek_certificate_chain = two.world.vendor.certify(&other.public);
            }),
            Endorsement(EndorsementError::FurtherEk { source, .. })
                if matches!(*source, EndorsementError::OtherKey)
        );
        refused!(
            two,
            refused(&|r| {
                let stranger = Vendor::new();
                r.further_eks[0].ek_certificate_chain = stranger.certify(&two.second.public);
            }),
            Endorsement(EndorsementError::FurtherEk { .. })
        );
        refused!(
            two,
            refused(&|r| {
                let l1 = crate::endorsement::tests::pki::rsa_ek();
                r.further_eks.push(v1::FurtherEk {
                    ek_certificate_chain: two.world.vendor.certify(&l1),
                    ek_public: l1.encode(),
                });
            }),
            Endorsement(EndorsementError::KindNotAccepted { got: "L-1", .. })
        );
    }
}

#[test]
fn adv_a18_too_many_eks_and_two_of_a_kind_are_malformed() {
    let two = Two::requiring(RequiredEks::Any);
    let further = |eks: Vec<v1::FurtherEk>| {
        let asked = v1::RequestChallengeRequest {
            further_eks: eks,
            ..two.asked()
        };
        let refusal = ChallengeCandidate::parse(&asked).map(|_| ()).unwrap_err();
        assert_eq!(refusal.kind(), Kind::InvalidRequest);
        refusal
    };
    let good = two.asked().further_eks;
    // Before anything of them is read.
    let empty = vec![v1::FurtherEk::default(); MAX_FURTHER_EKS + 1];
    assert!(matches!(
        further(empty),
        Endorsement(EndorsementError::TooManyEks(6))
    ));
    assert!(matches!(
        further([good.clone(), good.clone()].concat()),
        Endorsement(EndorsementError::EkTwice("H-2"))
    ));
    // Nor another key of the first's template.
    let another = v1::FurtherEk {
        ek_public: SoftEk::new(EkTemplate::L2).public.encode(),
        ek_certificate_chain: Vec::new(),
    };
    assert!(matches!(
        further(vec![another]),
        Endorsement(EndorsementError::EkTwice("L-2"))
    ));
    // Nor the first's key as another template's.
    let first = Public::parse(&two.asked().ek_public).unwrap();
    let disguised = Public {
        attributes: two.second.public.attributes,
        auth_policy: two.second.public.auth_policy.clone(),
        ..first
    };
    let disguised = v1::FurtherEk {
        ek_public: disguised.encode(),
        ek_certificate_chain: two.asked().ek_certificate_chain,
    };
    assert!(matches!(
        further(vec![disguised]),
        Endorsement(EndorsementError::SameEk("H-2"))
    ));
    let mut broken = good;
    broken[0].ek_public.truncate(7);
    assert!(matches!(
        further(broken),
        Endorsement(EndorsementError::FurtherEk { which, .. }) if which == "number 0"
    ));
    two.enrol();
}

proptest! {
    #[test]
    fn adv_a18_no_eks_over_the_cap_are_read(
        eks in vec(vec(any::<u8>(), 0..40), MAX_FURTHER_EKS + 1..64),
    ) {
        let first = crate::endorsement::tests::pki::ek(&SoftEk::new(EkTemplate::L2).public);
        let shown: Vec<ShownEk<'_>> = eks
            .iter()
            .map(|public| ShownEk { public, chain: &[] })
            .collect();
        let count = shown.len();
        let refused = FurtherEks::parse(&first, &shown);
        prop_assert!(matches!(refused, Err(EndorsementError::TooManyEks(n)) if n == count));
        // Nor does anything that is no EK pass beneath it.
        prop_assert!(FurtherEks::parse(&first, &shown[..1]).is_err());
    }
}

/// What an EK stands on is asked of each again at every attestation.
#[test]
fn cve_c28_a_gateway_loses_its_standing_with_that_of_its_second_ek() {
    let two = Two::requiring(RequiredEks::All);
    let gateway = two.enrol().gateway;
    let second = gateway.further_eks[0].tpm.path[0].sha256.clone();
    let attester = attest::Attester::of(&two.world, gateway);
    let affirmed = || match attester.attest_with(honest, |_| ()).unwrap().outcome {
        Outcome::Unchanged(result) => result.is_affirming(),
        Outcome::Renewing(_) => panic!("renewing"),
    };
    assert!(affirmed());
    let mut sha256 = [0; 32];
    hex::decode_to_slice(second, &mut sha256).unwrap();
    let rules = Rules {
        denied: vec![DeniedIssuer {
            which: Denied::Certificate(sha256),
            reason: "stolen".to_owned(),
        }],
        ..Rules::default()
    };
    let anchors = two.world.vendor.anchors().with_rules(rules);
    two.world.verifier.replace_anchors(anchors);
    assert!(!affirmed());
    two.world
        .verifier
        .replace_anchors(two.world.vendor.anchors());
    assert!(affirmed());
}
