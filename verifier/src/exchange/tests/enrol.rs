//! Enrolment and recovery.

use holdfast_proto::{
    claims::{self, Claims, CoseAlg},
    tpm::{Attest, Attested, HashAlg, Hierarchy, Name, Public, Signature},
};

use super::*;
use crate::{
    endorsement::EndorsementError,
    freshness::FreshnessError,
    verification::{
        BootLog, KeyFault, SignatureFault, VerificationError as V, tests::soft_tpm::BOOT_LOG,
    },
};

use ExchangeError::{Endorsement, Freshness, Verification};

fn world() -> World {
    World::new(AkAlg::EcdsaP256)
}

#[test]
fn a_good_run_with_every_kind_of_ak() {
    for alg in AkAlg::ALL {
        let world = World::new(alg);
        let enrolment = world.enrol();
        assert!(enrolment.result.is_affirming(), "{:?}", enrolment.result);
        let gateway = &enrolment.gateway;
        let tpm = &world.tpm;
        assert_eq!(
            gateway.id,
            holdfast_proto::binding::gateway_id(&tpm.ek_public).unwrap()
        );
        assert_eq!(gateway.id.as_bytes()[1..], gateway.ek_spki_sha256);
        assert_eq!(gateway.ek_name, tpm.ek_public.name());
        assert_eq!(gateway.ak_name, tpm.ak_public.name());
        assert_eq!(gateway.ldevid_name, tpm.ldevid_public.name());
        assert_eq!(gateway.class.as_str(), "default");
        assert_eq!(gateway.tpm.manufacturer, "id:49465800");
        assert_eq!(gateway.clock, tpm.clock);
        assert!(matches!(&gateway.boot_log, BootLog::Whole { content, .. } if content == BOOT_LOG));
        assert_eq!(enrolment.admission, admission());
        let grant = enrolment.result.authorise().unwrap();
        assert_eq!(
            grant.ldevid_spki(),
            tpm.ldevid_public.to_spki_der().unwrap()
        );
        assert_eq!(grant.gateway_id(), &gateway.id);
    }
}

#[test]
fn recovery_is_a_purpose_of_its_own() {
    let world = world();
    let chain = world.chain();
    let challenge = world.challenge(EnrolmentPurpose::Recover, &chain);
    let request = world.answer(EnrolmentPurpose::Recover, &chain, &challenge, &mut honest);
    let enrolment = world.finish(EnrolmentPurpose::Recover, &request).unwrap();
    assert!(enrolment.result.is_affirming());
    refused!(
        world,
        world.finish(EnrolmentPurpose::Enrol, &request),
        Freshness(FreshnessError::Purpose)
    );
    // A Recover token with claims made to enrol.
    let request = world.answer(EnrolmentPurpose::Enrol, &chain, &challenge, &mut honest);
    refused!(
        world,
        world.finish(EnrolmentPurpose::Recover, &request),
        Verification(V::Purpose {
            got: Purpose::Enrol,
            expected: Purpose::Recover
        })
    );
}

#[test]
fn without_reference_values_nothing_is_affirmed() {
    let world = world();
    let chain = world.chain();
    let challenge = world.challenge(EnrolmentPurpose::Enrol, &chain);
    let request = world.answer(EnrolmentPurpose::Enrol, &chain, &challenge, &mut honest);
    let candidate = EnrolCandidate::parse(&request).unwrap();
    let opened = world
        .verifier
        .open(candidate, EnrolmentPurpose::Enrol, NOW)
        .unwrap();
    let channel = ChannelBinding::new(EXPORTER);
    let enrolment = opened
        .verify(&world.verifier, &channel, NOW)
        .unwrap()
        .appraise(None, None, NOW);
    assert!(!enrolment.result.is_affirming());
    assert!(enrolment.result.authorise().is_err());
}

#[test]
fn adv_a01_old_evidence_with_a_new_challenge() {
    let world = world();
    let (purpose, chain) = (EnrolmentPurpose::Enrol, world.chain());
    let old = world.challenge(purpose, &chain);
    let stale = world.answer(purpose, &chain, &old, &mut honest);
    let new = world.challenge(purpose, &chain);
    let mut request = world.answer(purpose, &chain, &new, &mut honest);
    request.evidence = stale.evidence.clone();
    refused!(
        world,
        world.finish(purpose, &request),
        Verification(V::Nonce)
    );

    // Old certify with new claims.
    let mut request = world.answer(purpose, &chain, &new, &mut honest);
    request.ldevid_certification = stale.ldevid_certification.clone();
    refused!(
        world,
        world.finish(purpose, &request),
        Verification(V::CertifyDigest)
    );

    // New evidence with the old token.
    let mut request = world.answer(purpose, &chain, &new, &mut honest);
    request.token = old.token;
    refused!(
        world,
        world.finish(purpose, &request),
        Freshness(FreshnessError::WrongSecret)
    );

    // The same bytes twice are the same token: the store spends it once.
    let request = world.answer(purpose, &chain, &new, &mut honest);
    let (one, two) = (
        world.finish(purpose, &request),
        world.finish(purpose, &request),
    );
    assert_eq!(one.unwrap().token_id, two.unwrap().token_id);
}

#[test]
fn adv_a02_token_of_another_verifier_and_expired() {
    let world = world();
    let (purpose, chain) = (EnrolmentPurpose::Enrol, world.chain());
    let challenge = world.challenge(purpose, &chain);
    let request = world.answer(purpose, &chain, &challenge, &mut honest);
    let other = Verifier::new(Settings {
        anchors: world.vendor.anchors(),
        oems: OemAnchors::default(),
        accepted_eks: AcceptedEks::new(EkTemplate::ALL).requiring(RequiredEks::Any),
        sealer: ChallengeSealer::new([8; 32]),
        policy: Policy::standard().unwrap(),
        selection: selection(),
    });
    let candidate = || EnrolCandidate::parse(&request).unwrap();
    refused!(
        world,
        other.open(candidate(), purpose, NOW),
        Freshness(FreshnessError::UnknownKey)
    );
    refused!(
        world,
        world.verifier.open(candidate(), purpose, NOW.plus(300)),
        Freshness(FreshnessError::Expired(_))
    );
}

#[test]
fn adv_a03_ak_of_another_tpm() {
    let world = world();
    let other = SoftTpm::new(AkAlg::EcdsaP256);
    // Another AK named in step 2.
    refused!(
        world,
        world.enrol_with(honest, |r| r.ak_public = other.ak_public.encode()),
        Freshness(FreshnessError::OtherAk(_))
    );
    // The right AK named, the quote signed by another.
    refused!(
        world,
        world.enrol_with(honest, |r| {
            let evidence = r.evidence.as_mut().unwrap();
            evidence.quote_signature = other.ak.sign(&evidence.quote_attest).encode();
        }),
        Verification(V::QuoteSignature(SignatureFault::Invalid))
    );
    // And the EK, and its chain.
    refused!(
        world,
        world.enrol_with(honest, |r| r.ek_public = other.ek_public.encode()),
        Freshness(FreshnessError::OtherEk(_))
    );
    refused!(
        world,
        world.enrol_with(honest, |r| r.ek_certificate_chain.truncate(1)),
        Freshness(FreshnessError::OtherEkChain)
    );
}

#[test]
fn adv_a04_secret() {
    let world = world();
    let changes: [fn(&mut Vec<u8>); 4] = [
        |s| s[31] ^= 1,
        Vec::clear,
        |s| s.truncate(31),
        |s| s.push(0),
    ];
    for change in changes {
        refused!(
            world,
            world.enrol_with(honest, |r| change(&mut r.activated_secret)),
            Freshness(FreshnessError::WrongSecret)
        );
    }
}

#[test]
fn adv_a05_certificate_of_another_ek_gets_no_challenge() {
    let world = world();
    let other = SoftTpm::new(AkAlg::EcdsaP256);
    let request = world.request(&world.vendor.certify(&other.ek_public));
    let candidate = ChallengeCandidate::parse(&request).unwrap();
    let rng = SystemRandom::new();
    refused!(
        world,
        world
            .verifier
            .challenge(candidate, EnrolmentPurpose::Enrol, admission(), NOW, &rng),
        Endorsement(EndorsementError::OtherKey)
    );
}

#[test]
fn adv_a07_weak_ak_gets_no_challenge() {
    let world = world();
    let mut request = world.request(&world.chain());
    let restricted = holdfast_proto::tpm::ObjectAttributes::RESTRICTED.bits();
    let attributes = world.tpm.ak_public.attributes.bits() & !restricted;
    let attributes = holdfast_proto::tpm::ObjectAttributes::from_bits(attributes);
    request.ak_public = Public {
        attributes,
        ..world.tpm.ak_public.clone()
    }
    .encode();
    refused!(
        world,
        ChallengeCandidate::parse(&request),
        Verification(V::Ak(KeyFault::NotRestricted))
    );
    request.ldevid_public = request.ak_public.clone();
    request.ak_public = world.tpm.ak_public.encode();
    // An unrestricted AK is a fine LDevID key; a restricted one is not.
    ChallengeCandidate::parse(&request).unwrap();
    request.ldevid_public = world.tpm.ak_public.encode();
    refused!(
        world,
        ChallengeCandidate::parse(&request),
        Verification(V::Ldevid(KeyFault::Restricted))
    );
}

/// A program's AK, loaded into a good TPM by its public area alone, has no auth
/// value there; a policy, anybody could show.
#[test]
fn adv_a08_ak_with_a_policy_gets_no_challenge() {
    let world = world();
    let mut request = world.request(&world.chain());
    request.ak_public = Public {
        attributes: world.tpm.ak_public.attributes
            | holdfast_proto::tpm::ObjectAttributes::ADMIN_WITH_POLICY,
        auth_policy: vec![7; 32],
        ..world.tpm.ak_public.clone()
    }
    .encode();
    let candidate = ChallengeCandidate::parse(&request).unwrap();
    let rng = SystemRandom::new();
    refused!(
        world,
        world
            .verifier
            .challenge(candidate, EnrolmentPurpose::Enrol, admission(), NOW, &rng),
        Verification(V::Ak(KeyFault::Policy))
    );
}

#[test]
fn adv_a08_certification() {
    let world = world();
    refused!(
        world,
        world.enrol_with(honest, |r| r.ldevid_certification = None),
        ExchangeError::Missing("ldevid_certification")
    );
    // Public area substituted after certify.
    let other = SoftTpm::new(AkAlg::EcdsaP256);
    refused!(
        world,
        world.enrol_with(honest, |r| r.ldevid_public = other.ldevid_public.encode()),
        Freshness(FreshnessError::OtherLdevid(_))
    );
    let certify = |change: &dyn Fn(&mut Attest)| {
        world.enrol_with(
            |step| {
                if let Step::Certify(attest) = step {
                    change(attest);
                }
            },
            |_| (),
        )
    };
    // Another nonce.
    refused!(
        world,
        certify(&|a| a.extra_data[0] ^= 1),
        Verification(V::CertifyBinding)
    );
    // Another object, certified by the right AK with the right binding.
    refused!(
        world,
        certify(&|a| {
            let Attested::Certify { name, .. } = &mut a.attested else {
                unreachable!()
            };
            *name = other.ldevid_public.name();
        }),
        Verification(V::CertifyName)
    );
    refused!(
        world,
        certify(&|a| {
            let Attested::Certify {
                name,
                qualified_name,
            } = &mut a.attested
            else {
                unreachable!()
            };
            qualified_name.clone_from(name);
        }),
        Verification(V::CertifyQualifiedName)
    );
    refused!(
        world,
        certify(&|a| a.qualified_signer[2] ^= 1),
        Verification(V::SignersDiffer)
    );
    // A quote sent as certify (A09).
    refused!(
        world,
        certify(&|a| a.attested = Attested::Quote {
            selection: vec![],
            pcr_digest: vec![]
        }),
        Verification(V::NotACertify)
    );
    // Certified by another AK.
    refused!(
        world,
        world.enrol_with(
            |step| {
                if let Step::CertifySignature(signature) = step {
                    *signature = other.ak.sign(b"something else");
                }
            },
            |_| ()
        ),
        Verification(V::CertifySignature(SignatureFault::Invalid))
    );
    // Substituted after the claims were made.
    refused!(
        world,
        world.enrol_with(honest, |r| {
            let attest = &mut r.ldevid_certification.as_mut().unwrap().attest;
            *attest = other.certify(&[0; 32]).encode();
        }),
        Verification(V::CertifyDigest)
    );
}

#[test]
fn adv_a09_place_of_the_ak() {
    let world = world();
    let quote = |signer: Name| {
        world.enrol_with(
            |step| match step {
                Step::Certify(attest) | Step::Quote(attest) => {
                    attest.qualified_signer = signer.as_bytes().to_vec();
                }
                _ => {}
            },
            |request| {
                let certified = request.ek_certification.as_mut().unwrap();
                let mut attest = Attest::parse(&certified.attest).unwrap();
                attest.qualified_signer = signer.as_bytes().to_vec();
                certified.attest = attest.encode();
                certified.signature = world.tpm.ak.sign(&certified.attest).encode();
            },
        )
    };
    let ak = world.tpm.ak_public.name();
    // In the owner hierarchy clockInfo would be obfuscated.
    refused!(
        world,
        quote(Name::qualified_primary(Hierarchy::Owner, &ak)),
        Verification(V::QualifiedSigner)
    );
    // A child of the EK is as good as a primary key.
    let ek = Name::qualified_primary(Hierarchy::Endorsement, &world.tpm.ek_public.name());
    let child = Name::qualified(ek.as_bytes(), &ak);
    let enrolment = quote(child.clone()).unwrap();
    assert_eq!(enrolment.gateway.ak_qualified_name, child.as_bytes());
}

#[test]
fn adv_a09_quote_and_its_bindings() {
    let world = world();
    let quote = |change: &dyn Fn(&mut Attest)| {
        world.enrol_with(
            |step| {
                if let Step::Quote(attest) = step {
                    change(attest);
                }
            },
            |_| (),
        )
    };
    refused!(
        world,
        quote(&|a| a.extra_data[31] ^= 1),
        Verification(V::QuoteBinding)
    );
    let certify = world.tpm.certify(&[0; 32]).attested;
    refused!(
        world,
        quote(&|a| a.attested = certify.clone()),
        Verification(V::NotAQuote)
    );
    // The claims changed after the quote.
    refused!(
        world,
        world.enrol_with(honest, |r| {
            let evidence = r.evidence.as_mut().unwrap();
            let last = evidence.claims.len() - 1;
            evidence.claims[last] ^= 1;
        }),
        Verification(V::QuoteBinding)
    );
    refused!(
        world,
        world.enrol_with(honest, |r| r.evidence = None),
        ExchangeError::Missing("evidence")
    );
}

#[test]
fn adv_a10_pcr_list_on_the_wire() {
    let world = world();
    let values = |change: &dyn Fn(&mut Vec<v1::PcrValue>)| {
        world.enrol_with(honest, |r| {
            change(&mut r.evidence.as_mut().unwrap().pcr_values)
        })
    };
    refused!(
        world,
        values(&|v| v.swap(0, 1)),
        Verification(V::PcrOrder(0))
    );
    refused!(
        world,
        values(&|v| v[3].index = 24),
        Verification(V::PcrOrder(24))
    );
    refused!(
        world,
        values(&|v| v[3].index = u32::MAX),
        Verification(V::PcrOrder(_))
    );
    refused!(
        world,
        values(&|v| v.push(v[3].clone())),
        Verification(V::PcrOrder(14))
    );
    refused!(
        world,
        values(&|v| v.truncate(3)),
        Verification(V::PcrList { .. })
    );
    refused!(
        world,
        values(&|v| v[0].value = vec![0; 65]),
        Verification(V::TooLong { .. })
    );
    refused!(
        world,
        values(&|v| v[0].value[0] ^= 1),
        Verification(V::PcrDigest)
    );
    refused!(
        world,
        values(&|v| *v = vec![v[0].clone(); 25]),
        Verification(V::TooLong {
            field: "pcr_values",
            len: 25,
            max: 24
        })
    );
}

#[test]
fn adv_a11_signature_of_another_hash() {
    let world = world();
    refused!(
        world,
        world.enrol_with(
            |step| {
                if let Step::QuoteSignature(Signature::Ecdsa { hash, .. }) = step {
                    *hash = HashAlg::Sha384;
                }
            },
            |_| ()
        ),
        Verification(V::QuoteSignature(SignatureFault::Scheme(_)))
    );
}

/// Enrols with claims that `sign` made from the honest ones.
fn signed_with(
    world: &World,
    sign: impl Fn(&Claims) -> Vec<u8>,
) -> Result<Enrolment, ExchangeError> {
    let mut honest_claims = None;
    world.enrol_with(
        |step| match step {
            Step::Claims(claims) => honest_claims = Some(claims.clone()),
            Step::Signed(bytes) => *bytes = sign(honest_claims.as_ref().unwrap()),
            _ => {}
        },
        |_| (),
    )
}

#[test]
fn adv_a11_a14_cose_header_and_key() {
    let world = world();
    let kid = world.tpm.ldevid_public.name();
    let make = |alg, kid: &[u8], claims: &Claims| {
        let curve = holdfast_proto::tpm::EccCurve::P256;
        let sign = |tbs: &[u8]| {
            let mut signature = world.tpm.ldevid.sign(tbs).ecdsa_fixed(curve).unwrap();
            signature.resize(CoseAlg::signature_len(alg), 0);
            Ok::<_, std::convert::Infallible>(signature)
        };
        claims::sign(claims, alg, kid, sign).unwrap()
    };
    // alg of another curve than the key.
    refused!(
        world,
        signed_with(&world, |c| make(CoseAlg::Esp384, kid.as_bytes(), c)),
        Verification(V::ClaimsAlg {
            got: CoseAlg::Esp384
        })
    );
    // kid that points elsewhere, though the signature is right.
    let ak = world.tpm.ak_public.name();
    refused!(
        world,
        signed_with(&world, |c| make(CoseAlg::Esp256, ak.as_bytes(), c)),
        Verification(V::ClaimsKid)
    );
    // Signed by another key under the right kid.
    let other = SoftTpm::new(AkAlg::EcdsaP256);
    refused!(
        world,
        signed_with(&world, |c| {
            let sign = |tbs: &[u8]| {
                let curve = holdfast_proto::tpm::EccCurve::P256;
                Ok::<_, std::convert::Infallible>(
                    other.ldevid.sign(tbs).ecdsa_fixed(curve).unwrap(),
                )
            };
            claims::sign(c, CoseAlg::Esp256, kid.as_bytes(), sign).unwrap()
        }),
        Verification(V::ClaimsSignature(SignatureFault::Invalid))
    );
    // Not COSE at all.
    refused!(
        world,
        signed_with(&world, |_| vec![0xD2, 0x84]),
        Verification(V::Claims(_))
    );
}

#[test]
fn adv_a15_a16_what_claims_must_say() {
    let world = world();
    let claims = |change: &dyn Fn(&mut Claims)| {
        world.enrol_with(
            |step| {
                if let Step::Claims(claims) = step {
                    change(claims);
                }
            },
            |_| (),
        )
    };
    let other = holdfast_proto::binding::gateway_id(&SoftTpm::new(AkAlg::EcdsaP256).ek_public);
    let other = other.unwrap();
    refused!(world, claims(&|c| c.nonce[0] ^= 1), Verification(V::Nonce));
    refused!(
        world,
        claims(&|c| c.ueid = other),
        Verification(V::Ueid { got }) if got == other
    );
    refused!(
        world,
        claims(&|c| c.purpose = Purpose::Attest),
        Verification(V::Purpose {
            got: Purpose::Attest,
            expected: Purpose::Enrol
        })
    );
    // A16: relayed over another connection; stripped.
    refused!(
        world,
        claims(&|c| c.exporter[0] ^= 1),
        Verification(V::Exporter)
    );
    refused!(
        world,
        claims(&|c| c.exporter = [0; 32]),
        Verification(V::Exporter)
    );
    refused!(
        world,
        claims(&|c| c.certify_sha256 = None),
        Verification(V::CertifyDigest)
    );
    refused!(
        world,
        claims(&|c| c.certify_sha256 = Some([0; 32])),
        Verification(V::CertifyDigest)
    );
    // iat: the verifier's now is NOW + 3.
    let iat = |offset: i64| claims(&move |c| c.issued_at = NOW.seconds() + offset);
    iat(303).unwrap();
    refused!(world, iat(304), Verification(V::IssuedAt { .. }));
    iat(-300).unwrap();
    refused!(world, iat(-301), Verification(V::IssuedAt { .. }));
}

#[test]
fn adv_a16_evidence_relayed_over_another_connection() {
    let world = world();
    let (purpose, chain) = (EnrolmentPurpose::Enrol, world.chain());
    let challenge = world.challenge(purpose, &chain);
    let request = world.answer(purpose, &chain, &challenge, &mut honest);
    let opened = world
        .verifier
        .open(EnrolCandidate::parse(&request).unwrap(), purpose, NOW)
        .unwrap();
    let attackers = ChannelBinding::new([0x66; 32]);
    assert_eq!(format!("{attackers:?}"), "ChannelBinding(..)");
    refused!(
        world,
        opened.verify(&world.verifier, &attackers, NOW),
        Verification(V::Exporter)
    );
}

#[test]
fn boot_log_is_the_one_in_the_claims() {
    let world = world();
    let log = |change: &dyn Fn(&mut Option<v1::BootLog>)| {
        world.enrol_with(honest, |r| {
            change(&mut r.evidence.as_mut().unwrap().boot_log)
        })
    };
    let content = |bytes: &[u8]| {
        Some(v1::BootLog {
            log: Some(v1::boot_log::Log::Content(bytes.to_vec())),
        })
    };
    let by_hash = |digest: Vec<u8>| {
        Some(v1::BootLog {
            log: Some(v1::boot_log::Log::Sha256(digest)),
        })
    };
    refused!(
        world,
        log(&|l| *l = content(b"another")),
        Verification(V::BootLogDigest)
    );
    refused!(world, log(&|l| *l = None), Verification(V::BootLogDigest));
    refused!(
        world,
        log(&|l| *l = by_hash(vec![0; 32])),
        Verification(V::BootLogDigest)
    );
    // By the right hash, but nothing is on record yet.
    let digest = crate::digest::sha256(&[BOOT_LOG]).to_vec();
    refused!(
        world,
        log(&|l| *l = by_hash(digest.clone())),
        Verification(V::BootLogUnknown)
    );
    refused!(
        world,
        log(&|l| *l = by_hash(vec![0; 31])),
        Verification(V::NotADigest { len: 31, .. })
    );
    refused!(
        world,
        log(&|l| *l = content(&vec![0; (1 << 20) + 1])),
        Verification(V::TooLong {
            field: "boot_log.content",
            ..
        })
    );
    // A digest in the claims, and no log.
    refused!(
        world,
        world.enrol_with(
            |step| {
                if let Step::Evidence(evidence) = step {
                    evidence.boot_log = Some(v1::BootLog { log: None });
                }
            },
            |_| ()
        ),
        Verification(V::BootLogDigest)
    );
    let mut without = World::new(AkAlg::EcdsaP256);
    without.tpm.boot_log = None;
    assert_eq!(without.enrol().gateway.boot_log, BootLog::Absent);
}

#[test]
fn sizes_on_the_wire() {
    let world = world();
    let chain = world.chain();
    let mut request = world.request(&chain);
    request.join_token = vec![0; 65];
    refused!(
        world,
        ChallengeCandidate::parse(&request),
        Verification(V::TooLong {
            field: "join_token",
            len: 65,
            max: 64
        })
    );
    let mut request = world.request(&chain);
    request.ak_public.push(0);
    refused!(
        world,
        ChallengeCandidate::parse(&request),
        Verification(V::AkPublic(_))
    );
    let mut request = world.request(&chain);
    request.ldevid_public.truncate(5);
    refused!(
        world,
        ChallengeCandidate::parse(&request),
        Verification(V::LdevidPublic(_))
    );
    let candidate = ChallengeCandidate::parse(&world.request(&chain)).unwrap();
    assert_eq!(candidate.join_token(), [9; 32]);
    assert_eq!(candidate.ak_name(), world.tpm.ak_public.name());
    assert_eq!(candidate.ldevid_name(), &world.tpm.ldevid_public.name());
    assert_eq!(candidate.ek_name(), &world.tpm.ek_public.name());
}

#[test]
fn anchors_are_asked_again_in_step_two() {
    let world = world();
    let (purpose, chain) = (EnrolmentPurpose::Enrol, world.chain());
    let challenge = world.challenge(purpose, &chain);
    let request = world.answer(purpose, &chain, &challenge, &mut honest);
    world
        .verifier
        .replace_anchors(Anchors::new(Vec::new(), Vec::new()).unwrap());
    assert!(matches!(
        world.finish(purpose, &request).map(|_| ()),
        Err(Endorsement(EndorsementError::UnknownIssuer(_)))
    ));
    world.verifier.replace_anchors(world.vendor.anchors());
    assert!(
        world
            .finish(purpose, &request)
            .unwrap()
            .result
            .is_affirming()
    );
}

#[test]
fn a_new_policy_needs_a_new_challenge() {
    let world = world();
    let (purpose, chain) = (EnrolmentPurpose::Enrol, world.chain());
    let challenge = world.challenge(purpose, &chain);
    let request = world.answer(purpose, &chain, &challenge, &mut honest);
    let policy = format!("{}\n# another", crate::appraisal::DEFAULT_POLICY);
    let replaced = Verifier::new(Settings {
        anchors: world.vendor.anchors(),
        oems: OemAnchors::default(),
        accepted_eks: AcceptedEks::new(EkTemplate::ALL).requiring(RequiredEks::Any),
        sealer: ChallengeSealer::new([7; 32]),
        policy: Policy::compile(&policy).unwrap(),
        selection: selection(),
    });
    refused!(
        world,
        replaced.open(EnrolCandidate::parse(&request).unwrap(), purpose, NOW),
        ExchangeError::PolicyChanged
    );
}

/// In step 1, and again in step 2: the owner may have narrowed it meanwhile.
#[test]
fn adv_a18_ek_of_a_kind_that_is_not_accepted() {
    let world = world();
    let (purpose, chain) = (EnrolmentPurpose::Enrol, world.chain());
    let challenge = world.challenge(purpose, &chain);
    let request = world.answer(purpose, &chain, &challenge, &mut honest);
    let own = EkTemplate::matching(&world.tpm.ek_public).unwrap();
    let narrowed = Verifier::new(Settings {
        anchors: world.vendor.anchors(),
        oems: OemAnchors::default(),
        accepted_eks: AcceptedEks::new(EkTemplate::ALL.into_iter().filter(|t| *t != own))
            .requiring(RequiredEks::Any),
        sealer: ChallengeSealer::new([7; 32]),
        policy: Policy::standard().unwrap(),
        selection: selection(),
    });
    let candidate = ChallengeCandidate::parse(&world.request(&chain)).unwrap();
    let rng = SystemRandom::new();
    refused!(
        world,
        narrowed.challenge(candidate, purpose, admission(), NOW, &rng),
        Endorsement(EndorsementError::KindNotAccepted { .. })
    );
    let opened = narrowed
        .open(EnrolCandidate::parse(&request).unwrap(), purpose, NOW)
        .unwrap();
    refused!(
        world,
        opened.verify(&narrowed, &ChannelBinding::new(EXPORTER), NOW),
        Endorsement(EndorsementError::KindNotAccepted { .. })
    );
}

#[test]
fn the_peer_learns_the_kind_only() {
    let kinds = [
        (ExchangeError::Missing("evidence"), Kind::InvalidRequest),
        (ExchangeError::PolicyChanged, Kind::Stale),
        (
            Endorsement(EndorsementError::NotATemplate),
            Kind::InvalidRequest,
        ),
        (
            Endorsement(EndorsementError::NoCertificate {
                spki_sha256: String::new(),
            }),
            Kind::NotEndorsed,
        ),
        (Endorsement(EndorsementError::OtherKey), Kind::NotEndorsed),
        (Freshness(FreshnessError::Forged), Kind::Stale),
        (Freshness(FreshnessError::Entropy), Kind::Internal),
        (
            Verification(V::Ak(KeyFault::Decrypts)),
            Kind::InvalidRequest,
        ),
        (Verification(V::Nonce), Kind::Stale),
        (Verification(V::Exporter), Kind::NotAuthentic),
        (Verification(V::Entropy), Kind::Internal),
        (ExchangeError::Record(V::Nonce), Kind::Internal),
    ];
    for (error, kind) in kinds {
        assert_eq!(error.kind(), kind, "{error}");
    }
}
