//! The IAK road with a TPM in memory: the good run, and the same with one thing
//! changed (A03, A18, C09). Nobody has an EK certificate here.

use holdfast_proto::{
    binding::{certify_ek_extra_data, certify_idevid_extra_data, gateway_id},
    tpm::{Hierarchy, Name, Public, devid::DevidKey},
};

use super::*;
use crate::{
    endorsement::{
        DevidError, DevidFacts, EkKnownBy, TpmFacts,
        devid::tests::{Oem, public},
    },
    freshness::FreshnessError,
    verification::{
        KeyFault, VerificationError,
        tests::soft_tpm::{SigningKey, SoftEk},
    },
};

/// A verifier that trusts one OEM, and a gateway of that OEM.
struct Device {
    world: World,
    oem: Oem,
    idevid: Public,
}

impl Device {
    fn new() -> Self {
        let mut world = World::new(AkAlg::EcdsaP256);
        world.tpm.ak_public = public(DevidKey::Iak, world.tpm.ak.unique());
        let oem = Oem::new("acme");
        world.verifier.replace_oems(oem.anchors());
        Self {
            world,
            oem,
            idevid: public(DevidKey::Idevid, SigningKey::new(AkAlg::EcdsaP256).unique()),
        }
    }

    fn request(&self) -> v1::RequestChallengeRequest {
        v1::RequestChallengeRequest {
            iak_certificate_chain: self.oem.certify(DevidKey::Iak, &self.world.tpm.ak_public),
            idevid_certificate_chain: self.oem.certify(DevidKey::Idevid, &self.idevid),
            idevid_public: self.idevid.encode(),
            ..self.world.tpm.challenge_request(&[])
        }
    }

    fn challenge(
        &self,
        request: &v1::RequestChallengeRequest,
    ) -> Result<v1::RequestChallengeResponse, ExchangeError> {
        let candidate = ChallengeCandidate::parse(request)?;
        let purpose = EnrolmentPurpose::Enrol;
        let rng = SystemRandom::new();
        let issued = self
            .world
            .verifier
            .challenge(candidate, purpose, admission(), NOW, &rng)?;
        Ok(issued.into())
    }

    fn answer(
        &self,
        asked: &v1::RequestChallengeRequest,
        challenge: &v1::RequestChallengeResponse,
    ) -> v1::EnrollRequest {
        let tpm = &self.world.tpm;
        let id = gateway_id(&tpm.ak_public).unwrap();
        let mut name_us = |step: Step<'_>| {
            if let Step::Claims(claims) = step {
                claims.ueid = id;
            }
        };
        let (certification, evidence) = tpm.evidence(
            &challenge.nonce,
            Purpose::Enrol,
            NOW.seconds() + 2,
            &mut name_us,
        );
        let nonce = challenge.nonce.as_slice().try_into().unwrap();
        let idevid = self.idevid.name();
        let binding = certify_idevid_extra_data(&nonce, &tpm.ak_public.name(), &idevid);
        v1::EnrollRequest {
            token: challenge.token.clone(),
            activated_secret: tpm
                .activate(&challenge.credential_blob, &challenge.encrypted_secret)
                .unwrap_or_default(),
            ek_public: asked.ek_public.clone(),
            ek_certificate_chain: asked.ek_certificate_chain.clone(),
            ak_public: asked.ak_public.clone(),
            ldevid_public: asked.ldevid_public.clone(),
            ldevid_certification: Some(certification),
            evidence: Some(evidence),
            iak_certificate_chain: asked.iak_certificate_chain.clone(),
            idevid_certificate_chain: asked.idevid_certificate_chain.clone(),
            idevid_public: asked.idevid_public.clone(),
            idevid_certification: Some(tpm.certify_primary(&binding, idevid)),
            further_eks: Vec::new(),
            ek_certification: Some(tpm.certify_ek(&nonce, &tpm.ek_public)),
        }
    }

    fn enrol_with(
        &self,
        change: impl FnOnce(&mut v1::EnrollRequest),
    ) -> Result<Enrolment, ExchangeError> {
        let asked = self.request();
        let mut request = self.answer(&asked, &self.challenge(&asked)?);
        change(&mut request);
        self.world.finish(EnrolmentPurpose::Enrol, &request)
    }

    fn enrol(&self) -> Enrolment {
        self.enrol_with(|_| ()).unwrap()
    }
}

#[test]
fn a_gateway_without_an_ek_certificate_enrols_by_its_oem() {
    let device = Device::new();
    let enrolment = device.enrol();
    assert!(enrolment.result.is_affirming());
    let gateway = enrolment.gateway;
    assert_eq!(gateway.id, gateway_id(&device.world.tpm.ak_public).unwrap());
    let devid = gateway.tpm.devid.unwrap();
    assert_eq!(
        (devid.oem.as_str(), devid.serial.as_str()),
        ("acme", "GW-0001")
    );
    // The EK is linked to the record, by activation.
    assert_eq!(gateway.ek_public, device.world.tpm.ek_public.encode());
}

/// One OEM's IDevID says the hwSerialNum of another's product, and another an
/// EK certificate's: each is under its own OEM's name.
#[test]
fn adv_a18_an_oem_speaks_serial_numbers_of_its_own_only() {
    let serial = |change: fn(TpmFacts) -> TpmFacts| {
        let gateway = Device::new().enrol().gateway;
        crate::appraisal::hardware_serial(&change(gateway.tpm), &gateway.id)
    };
    fn devid(mut tpm: TpmFacts, change: fn(&mut DevidFacts)) -> TpmFacts {
        tpm.devid.iter_mut().for_each(change);
        tpm
    }
    assert_eq!(serial(|tpm| tpm), "oem:acme:hw:HFST:00:01");
    assert_eq!(
        serial(|tpm| devid(tpm, |d| d.oem = "other".to_owned())),
        "oem:other:hw:HFST:00:01"
    );
    assert_eq!(
        serial(|tpm| devid(tpm, |d| d.hardware_type.clear())),
        "oem:acme:sn:GW-0001"
    );
    // What a product's serial number looks like does not matter.
    assert_eq!(
        serial(|tpm| devid(tpm, |d| {
            d.hardware_type.clear();
            d.serial = "x:hw:HFST:00:01".to_owned();
        })),
        "oem:acme:sn:x:hw:HFST:00:01"
    );
    // A vendor's certificate that calls its maker an OEM.
    assert_eq!(
        serial(|tpm| TpmFacts {
            manufacturer: "oem:acme:hw".to_owned(),
            known_by: EkKnownBy::EkCertificate,
            ek_certificate_aki: "ab".to_owned(),
            ek_certificate_serial: "2a".to_owned(),
            devid: None,
            ..tpm
        }),
        "TPM:ab:2a"
    );
    // And the LDevID has it.
    let grant = Device::new().enrol().result.authorise().unwrap();
    assert_eq!(grant.hardware_serial(), "oem:acme:hw:HFST:00:01");
}

/// No OEM, no IAK road: it is closed until the owner opens it.
#[test]
fn without_an_oem_nobody_comes_in() {
    let device = Device::new();
    device.world.verifier.replace_oems(OemAnchors::default());
    refused!(
        device_after(&device),
        device.challenge(&device.request()),
        ExchangeError::Devid(DevidError::NoOem)
    );
}

/// Opens the road again, for the good run.
fn device_after(device: &Device) -> &Device {
    device.world.verifier.replace_oems(device.oem.anchors());
    device
}

#[test]
fn roads_are_not_mixed() {
    let device = Device::new();
    let with = |change: fn(&mut v1::RequestChallengeRequest, &Device)| {
        let mut request = device.request();
        change(&mut request, &device);
        device.challenge(&request)
    };
    refused!(
        device,
        with(|r, d| r.ek_certificate_chain = d.world.chain()),
        ExchangeError::Devid(DevidError::EkCertificates(2))
    );
    refused!(
        device,
        with(|r, _| r.iak_certificate_chain.clear()),
        ExchangeError::Missing("iak_certificate_chain")
    );
    let by_ek = |r: &mut v1::RequestChallengeRequest, d: &Device, ak: &Public| {
        r.iak_certificate_chain.clear();
        r.idevid_certificate_chain.clear();
        r.idevid_public.clear();
        r.ek_certificate_chain = d.world.chain();
        r.ak_public = ak.encode();
    };
    let mut request = device.request();
    by_ek(&mut request, &device, &device.world.tpm.ak_public);
    refused!(
        device,
        device.challenge(&request),
        ExchangeError::Verification(VerificationError::Ak(KeyFault::Policy))
    );
    let plain = Public {
        auth_policy: Vec::new(),
        ..device.world.tpm.ak_public.clone()
    };
    by_ek(&mut request, &device, &plain);
    refused!(
        device,
        device.challenge(&request).and_then(|challenge| {
            let request = device.answer(&device.request(), &challenge);
            device.world.finish(EnrolmentPurpose::Enrol, &request)
        }),
        ExchangeError::Freshness(FreshnessError::OtherRoad)
    );
    refused!(
        device,
        device.enrol_with(|r| {
            r.iak_certificate_chain.clear();
            r.idevid_certificate_chain.clear();
            r.idevid_public.clear();
            r.idevid_certification = None;
        }),
        ExchangeError::Freshness(FreshnessError::OtherRoad)
    );
    refused!(
        device,
        device.enrol_with(|r| {
            r.iak_certificate_chain.clear();
            r.idevid_certificate_chain.clear();
            r.idevid_public.clear();
            r.ek_certificate_chain = device.world.chain();
        }),
        ExchangeError::Missing("iak_certificate_chain")
    );
    refused!(
        device,
        device.enrol_with(|r| r.iak_certificate_chain.clear()),
        ExchangeError::Missing("iak_certificate_chain")
    );
}

/// The AK that is used is the IAK that was certified, and no other.
#[test]
fn cve_c09_one_ak_checked_another_used() {
    let device = Device::new();
    let other = SigningKey::new(AkAlg::EcdsaP256);
    let other_iak = public(DevidKey::Iak, other.unique());
    // In step 1, under the certificate of ours.
    let mut request = device.request();
    request.ak_public = other_iak.encode();
    refused!(
        device,
        device.challenge(&request),
        ExchangeError::Devid(DevidError::OtherKey { of: DevidKey::Iak })
    );
    // In step 2, with a certificate of the same OEM.
    let chain = device.oem.certify(DevidKey::Iak, &other_iak);
    refused!(
        device,
        device.enrol_with(|r| {
            r.ak_public = other_iak.encode();
            r.iak_certificate_chain = chain;
        }),
        ExchangeError::Freshness(FreshnessError::OtherIakChain)
    );
    // Evidence by another key than the one named.
    let mut thief = Device::new();
    thief.oem = device.oem;
    thief.world.verifier.replace_oems(thief.oem.anchors());
    let asked = thief.request();
    let challenge = thief.challenge(&asked).unwrap();
    let own = thief.answer(&asked, &challenge);
    thief.world.tpm.ak = other;
    let forged = thief.answer(&asked, &challenge);
    thief.world.finish(EnrolmentPurpose::Enrol, &own).unwrap();
    match thief
        .world
        .finish(EnrolmentPurpose::Enrol, &forged)
        .map(|_| ())
    {
        Err(ExchangeError::Verification(VerificationError::Idevid(cause)))
            if matches!(*cause, VerificationError::CertifySignature(_)) => {}
        other => panic!("{other:?}"),
    }
}

/// An EK of another gateway is claimed: its TPM does not hold our IAK, so that
/// nobody finds the secret.
#[test]
fn adv_a18_an_ek_claimed_without_activation_is_refused() {
    let device = Device::new();
    let victim = SoftTpm::new(AkAlg::EcdsaP256);
    let mut asked = device.request();
    asked.ek_public = victim.ek_public.encode();
    let challenge = device.challenge(&asked).unwrap();
    let mut request = device.answer(&asked, &challenge);
    for guess in [Vec::new(), vec![0; 32]] {
        request.activated_secret = guess;
        refused!(
            device,
            device.world.finish(EnrolmentPurpose::Enrol, &request),
            ExchangeError::Freshness(FreshnessError::WrongSecret)
        );
    }
    // The secret of a challenge for our own EK does not open this one.
    let asked_for_own = device.request();
    let own = device.challenge(&asked_for_own).unwrap();
    request.activated_secret = device.answer(&asked_for_own, &own).activated_secret;
    refused!(
        device,
        device.world.finish(EnrolmentPurpose::Enrol, &request),
        ExchangeError::Freshness(FreshnessError::WrongSecret)
    );
    // And the EK cannot be put in place afterwards.
    refused!(
        device,
        device.enrol_with(|r| r.ek_public = victim.ek_public.encode()),
        ExchangeError::Freshness(FreshnessError::OtherEk(_))
    );
}

/// A program's EK beside a genuine IAK answers the activation; what is wrapped
/// for it would be the program's. The IAK's TPM certifies its own EK alone.
#[test]
fn adv_a18_an_ek_of_a_program_beside_a_genuine_iak() {
    let device = Device::new();
    let tpm = &device.world.tpm;
    let program = SoftEk::new(EkTemplate::L2);
    let asked = v1::RequestChallengeRequest {
        ek_public: program.public.encode(),
        ..device.request()
    };
    let challenge = device.challenge(&asked).unwrap();
    let (blob, secret) = (&challenge.credential_blob, &challenge.encrypted_secret);
    let iak = tpm.ak_public.name();
    let mut request = device.answer(&asked, &challenge);
    request.activated_secret = program.activate(&iak, blob, secret).unwrap();
    let nonce = challenge.nonce.as_slice().try_into().unwrap();
    let binding = certify_ek_extra_data(&nonce, &iak, &program.public.name());
    let own = Name::qualified_primary(Hierarchy::Endorsement, &tpm.ek_public.name());
    request.ek_certification = Some(tpm.certify_under(&binding, &own));
    match device
        .world
        .finish(EnrolmentPurpose::Enrol, &request)
        .map(|_| ())
    {
        Err(ExchangeError::Verification(VerificationError::EkName { source, .. }))
            if matches!(*source, VerificationError::NotUnderEk) => {}
        other => panic!("{other:?}"),
    }
}

#[test]
fn an_idevid_is_shown_to_be_in_the_iaks_tpm() {
    let device = Device::new();
    refused!(
        device,
        device.enrol_with(|r| r.idevid_certification = None),
        ExchangeError::Verification(VerificationError::IdevidNotCertified)
    );
    let certify = |binding: &[u8], name| device.world.tpm.certify_primary(binding, name);
    // Of another challenge.
    let stale = certify(&[0; 32], device.idevid.name());
    refused!(
        device,
        device.enrol_with(|r| r.idevid_certification = Some(stale)),
        ExchangeError::Verification(VerificationError::Idevid(cause))
            if matches!(*cause, VerificationError::CertifyBinding)
    );
    // The certification of the LDevID key in its place.
    refused!(
        device,
        device.enrol_with(|r| r.idevid_certification = r.ldevid_certification.clone()),
        ExchangeError::Verification(VerificationError::Idevid(cause))
            if matches!(*cause, VerificationError::CertifyBinding)
    );
    // One of another key, under the right binding.
    let asked = device.request();
    let challenge = device.challenge(&asked).unwrap();
    let mut request = device.answer(&asked, &challenge);
    let nonce = challenge.nonce.as_slice().try_into().unwrap();
    let iak = device.world.tpm.ak_public.name();
    let binding = certify_idevid_extra_data(&nonce, &iak, &device.idevid.name());
    request.idevid_certification = Some(certify(&binding, iak));
    refused!(
        device,
        device.world.finish(EnrolmentPurpose::Enrol, &request),
        ExchangeError::Verification(VerificationError::Idevid(cause))
            if matches!(*cause, VerificationError::CertifyName)
    );
}

#[test]
fn an_idevid_swapped_between_the_calls_is_refused() {
    let device = Device::new();
    let other = public(DevidKey::Idevid, SigningKey::new(AkAlg::EcdsaP256).unique());
    let chain = device.oem.certify(DevidKey::Idevid, &other);
    let expected = other.name();
    refused!(
        device,
        device.enrol_with(|r| {
            r.idevid_public = other.encode();
            r.idevid_certificate_chain = chain;
        }),
        ExchangeError::Freshness(FreshnessError::OtherIdevid(name)) if name == expected
    );
    // Another certificate of the same key.
    let again = device.oem.certify(DevidKey::Idevid, &device.idevid);
    refused!(
        device,
        device.enrol_with(|r| r.idevid_certificate_chain = again),
        ExchangeError::Freshness(FreshnessError::OtherIdevidChain)
    );
}

/// Further EKs are claimed as the first is, and each is linked to the IAK by an
/// activation of its own.
#[test]
fn adv_a18_further_eks_on_the_iak_road() {
    let device = Device::new();
    let second = SoftEk::new(EkTemplate::H2);
    let shown = v1::FurtherEk {
        ek_public: second.public.encode(),
        ek_certificate_chain: Vec::new(),
    };
    let asked = v1::RequestChallengeRequest {
        further_eks: vec![shown.clone()],
        ..device.request()
    };
    let challenge = device.challenge(&asked).unwrap();
    let iak = device.world.tpm.ak_public.name();
    let credential = &challenge.further_credentials[0];
    let secret = |name: &Name| {
        second.activate(
            name,
            &credential.credential_blob,
            &credential.encrypted_secret,
        )
    };
    assert!(secret(&device.world.tpm.ldevid_public.name()).is_none());
    let mut request = device.answer(&asked, &challenge);
    request.further_eks = vec![v1::ActivatedEk {
        ek_public: shown.ek_public.clone(),
        ek_certificate_chain: Vec::new(),
        activated_secret: secret(&iak).unwrap(),
        ek_certification: Some((device.world.tpm).certify_ek(&challenge.nonce, &second.public)),
    }];
    let enrolment = device
        .world
        .finish(EnrolmentPurpose::Enrol, &request)
        .unwrap();
    let further = &enrolment.gateway.further_eks[0].tpm;
    assert_eq!(further.known_by, EkKnownBy::IakCertificate);
    assert_eq!(further.ek_template, "H-2");
    request.further_eks[0].activated_secret[0] ^= 1;
    assert!(matches!(
        device
            .world
            .finish(EnrolmentPurpose::Enrol, &request)
            .map(|_| ()),
        Err(ExchangeError::Freshness(FreshnessError::WrongSecret))
    ));

    // A certificate would be a claim that nothing reads.
    let certified = v1::FurtherEk {
        ek_certificate_chain: device.world.vendor.certify(&second.public),
        ..shown
    };
    let asked = v1::RequestChallengeRequest {
        further_eks: vec![certified],
        ..device.request()
    };
    assert!(matches!(
        device.challenge(&asked).map(|_| ()),
        Err(ExchangeError::Devid(DevidError::EkCertificates(n))) if n > 0
    ));
}
