//! Checks of the road that `exchange` makes earlier as well, so that no run
//! from outside reaches them: whoever uses the room as a library does.

use holdfast_proto::{
    claims::Purpose,
    tpm::{Public, templates::AkAlg},
};
use ring::rand::SystemRandom;

use super::soft_tpm::{EXPORTER, SoftTpm, selection};
use crate::{
    digest::sha256,
    endorsement::tests::pki::{NOW, Vendor, chain, ek},
    freshness::{
        Admission, AdmissionBasis, AnsweredChallenge, Challenge, ChallengeSealer, Class,
        EnrolmentPurpose, EnrolmentState,
    },
    verification::{
        AkPublic, BootLogs, Certifications, ChannelBinding, Evidence, KeyCertification,
        LdevidPublic, PendingActivation, VerificationError, verify_enrolment,
    },
};

fn pending(vendor: &Vendor, tpm: &SoftTpm, ak: &Public) -> PendingActivation {
    let chain = chain(&vendor.certify(&tpm.ek_public));
    let endorsed = vendor
        .anchors()
        .endorse(&chain, ek(&tpm.ek_public), NOW)
        .unwrap();
    PendingActivation::new(endorsed, AkPublic::new(ak.clone()).unwrap()).unwrap()
}

/// A challenge for `tpm`, changed by `change` before it is sealed, answered.
fn answered(tpm: &SoftTpm, change: impl FnOnce(&mut EnrolmentState)) -> AnsweredChallenge {
    let sealer = ChallengeSealer::new([7; 32]);
    let mut state = EnrolmentState {
        purpose: EnrolmentPurpose::Enrol,
        ek: tpm.ek_public.name(),
        presented: crate::freshness::Presented::EkChain([0; 32]),
        secret_sha256: sha256(&[b"secret"]),
        further: Vec::new(),
        admission: Admission {
            basis: AdmissionBasis::OnRecord,
            class: Class::parse("default").unwrap(),
        },
        challenge: Challenge {
            gateway: holdfast_proto::binding::gateway_id(&tpm.ek_public).unwrap(),
            ak: tpm.ak_public.name(),
            ldevid: tpm.ldevid_public.name(),
            nonce: [3; 32],
            selection: selection(),
            policy_id: [0; 32],
            issued: NOW,
            expires: sealer.expiry(NOW),
        },
    };
    change(&mut state);
    let token = sealer.seal(&state, &SystemRandom::new()).unwrap();
    let fresh = sealer
        .open_enrolment(&token, EnrolmentPurpose::Enrol, NOW)
        .unwrap();
    fresh.answer(b"secret", &[]).unwrap()
}

#[test]
fn activation_is_of_the_keys_that_were_challenged() {
    let (vendor, tpm) = (Vendor::new(), SoftTpm::new(AkAlg::EcdsaP256));
    let other = SoftTpm::new(AkAlg::EcdsaP256);
    let complete = |change: fn(&mut EnrolmentState, &SoftTpm)| {
        let answered = answered(&tpm, |state| change(state, &other));
        pending(&vendor, &tpm, &tpm.ak_public)
            .complete(answered)
            .map(|_| ())
    };
    complete(|_, _| ()).unwrap();
    assert!(matches!(
        complete(|state, other| state.ek = other.ek_public.name()),
        Err(VerificationError::OtherEk)
    ));
    assert!(matches!(
        complete(|state, other| {
            state.challenge.gateway =
                holdfast_proto::binding::gateway_id(&other.ek_public).unwrap();
        }),
        Err(VerificationError::OtherEk)
    ));
    let swapped = pending(&vendor, &tpm, &other.ak_public).complete(answered(&tpm, |_| ()));
    assert!(matches!(
        swapped.map(|_| ()),
        Err(VerificationError::OtherAk { got }) if got == other.ak_public.name()
    ));
}

#[test]
fn evidence_is_with_the_ldevid_key_that_was_challenged() {
    let (vendor, tpm) = (Vendor::new(), SoftTpm::new(AkAlg::EcdsaP256));
    let other = SoftTpm::new(AkAlg::EcdsaP256);
    let verify = |ldevid: &Public, eks: &[&Public]| {
        let activated = pending(&vendor, &tpm, &tpm.ak_public)
            .complete(answered(&tpm, |_| ()))
            .unwrap();
        let (certification, evidence) =
            tpm.evidence(&[3; 32], Purpose::Enrol, NOW.seconds(), &mut |_| ());
        verify_enrolment(
            Evidence::parse(&evidence).unwrap(),
            &Certifications {
                ldevid: KeyCertification::parse(&certification).unwrap(),
                eks: (eks.iter())
                    .map(|ek| KeyCertification::parse_ek(&tpm.certify_ek(&[3; 32], ek)).unwrap())
                    .collect(),
                idevid: None,
            },
            LdevidPublic::new(ldevid.clone()).unwrap(),
            activated,
            &ChannelBinding::new(EXPORTER),
            &BootLogs::default(),
            NOW,
        )
    };
    let (verified, eks) = verify(&tpm.ldevid_public, &[&tpm.ek_public]).unwrap();
    assert_eq!(eks.ek().public(), &tpm.ek_public);
    assert!(eks.further().is_empty());
    assert_eq!(verified.ldevid_name(), &tpm.ldevid_public.name());
    assert_eq!(verified.nonce(), &[3; 32]);
    assert_eq!(verified.clock(), &tpm.clock);
    assert_eq!(verified.previous_clock(), None);
    assert_eq!(verified.tpm().model, "SLB9670");
    assert_eq!(verified.claims().software_name, "holdfast-attester");
    assert!(matches!(
        verify(&other.ldevid_public, &[&tpm.ek_public]).map(|_| ()),
        Err(VerificationError::OtherLdevid { got }) if got == other.ldevid_public.name()
    ));
    for eks in [&[][..], &[&tpm.ek_public, &tpm.ek_public]] {
        assert!(matches!(
            verify(&tpm.ldevid_public, eks).map(|_| ()),
            Err(VerificationError::EksNotCertified { certified, shown: 1 })
                if certified == eks.len()
        ));
    }
}
