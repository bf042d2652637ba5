//! Whole exchanges with a TPM in memory: the good run, and the same run with
//! one thing changed (ADVERSARY A01 to A19). Every attack asserts the exact
//! variant, and that the good run still succeeds afterwards.

mod attest;
mod endorsement;
mod enrol;
mod further;
mod iak;
mod issue;

use holdfast_proto::{
    claims::Purpose,
    grpc::v1,
    tpm::templates::{AkAlg, EkTemplate},
};
use ring::rand::SystemRandom;

use super::*;
use crate::{
    endorsement::{
        RequiredEks,
        tests::pki::{NOW, Vendor},
    },
    reference_values::ReferenceValues,
    verification::tests::soft_tpm::{EXPORTER, SoftTpm, Step, selection},
};

/// Nothing spoiled.
fn honest(_: Step<'_>) {}

/// A verifier, a vendor, and one gateway of that vendor.
struct World {
    vendor: Vendor,
    tpm: SoftTpm,
    verifier: Verifier,
    references: ReferenceValues,
}

impl World {
    fn new(alg: AkAlg) -> Self {
        let vendor = Vendor::new();
        let tpm = SoftTpm::new(alg);
        Self {
            verifier: verifier(&vendor),
            references: references(&tpm),
            vendor,
            tpm,
        }
    }

    fn chain(&self) -> Vec<Vec<u8>> {
        self.vendor.certify(&self.tpm.ek_public)
    }

    fn request(&self, chain: &[Vec<u8>]) -> v1::RequestChallengeRequest {
        self.tpm.challenge_request(chain)
    }

    /// Step 1.
    fn challenge(
        &self,
        purpose: EnrolmentPurpose,
        chain: &[Vec<u8>],
    ) -> v1::RequestChallengeResponse {
        let candidate = ChallengeCandidate::parse(&self.request(chain)).unwrap();
        let rng = SystemRandom::new();
        self.verifier
            .challenge(candidate, purpose, admission(), NOW, &rng)
            .unwrap()
            .into()
    }

    /// The gateway's answer, spoiled by `spoil`.
    fn answer(
        &self,
        purpose: EnrolmentPurpose,
        chain: &[Vec<u8>],
        challenge: &v1::RequestChallengeResponse,
        spoil: &mut dyn FnMut(Step<'_>),
    ) -> v1::EnrollRequest {
        let purpose = match purpose {
            EnrolmentPurpose::Enrol => Purpose::Enrol,
            EnrolmentPurpose::Recover => Purpose::Recover,
        };
        let secret = self
            .tpm
            .activate(&challenge.credential_blob, &challenge.encrypted_secret);
        let (certification, evidence) =
            self.tpm
                .evidence(&challenge.nonce, purpose, NOW.seconds() + 2, spoil);
        let request = self.request(chain);
        v1::EnrollRequest {
            token: challenge.token.clone(),
            activated_secret: secret.unwrap(),
            ek_public: request.ek_public,
            ek_certificate_chain: request.ek_certificate_chain,
            ak_public: request.ak_public,
            ldevid_public: request.ldevid_public,
            ldevid_certification: Some(certification),
            evidence: Some(evidence),
            ek_certification: Some(self.tpm.certify_ek(&challenge.nonce, &self.tpm.ek_public)),
            ..Default::default()
        }
    }

    /// Step 2.
    fn finish(
        &self,
        purpose: EnrolmentPurpose,
        request: &v1::EnrollRequest,
    ) -> Result<Enrolment, ExchangeError> {
        let later = NOW.plus(3);
        let opened = self
            .verifier
            .open(EnrolCandidate::parse(request)?, purpose, later)?;
        let verified = opened.verify(&self.verifier, &ChannelBinding::new(EXPORTER), later)?;
        Ok(verified.appraise(Some(&self.references), None, later))
    }

    /// The whole of enrolment, with the Evidence spoiled by `spoil` and then
    /// the request by `change`.
    fn enrol_with(
        &self,
        mut spoil: impl FnMut(Step<'_>),
        change: impl FnOnce(&mut v1::EnrollRequest),
    ) -> Result<Enrolment, ExchangeError> {
        let purpose = EnrolmentPurpose::Enrol;
        let chain = self.chain();
        let challenge = self.challenge(purpose, &chain);
        let mut request = self.answer(purpose, &chain, &challenge, &mut spoil);
        change(&mut request);
        self.finish(purpose, &request)
    }

    fn enrol(&self) -> Enrolment {
        self.enrol_with(honest, |_| ()).unwrap()
    }
}

fn verifier(vendor: &Vendor) -> Verifier {
    Verifier::new(Settings {
        anchors: vendor.anchors(),
        oems: OemAnchors::default(),
        accepted_eks: AcceptedEks::new(EkTemplate::ALL).requiring(RequiredEks::Any),
        sealer: ChallengeSealer::new([7; 32]),
        policy: Policy::standard().unwrap(),
        selection: selection(),
    })
}

fn references(tpm: &SoftTpm) -> ReferenceValues {
    let pcrs: serde_json::Map<_, _> = selection()
        .pcrs
        .iter()
        .map(|i| (i.to_string(), serde_json::json!([tpm.pcrs[&i].to_string()])))
        .collect();
    ReferenceValues::parse(&serde_json::json!({"pcrs": {"sha256": pcrs}}).to_string()).unwrap()
}

fn admission() -> Admission {
    Admission {
        basis: AdmissionBasis::JoinToken("jt-1".into()),
        class: Class::parse("default").unwrap(),
    }
}

/// Asserts one variant and, after it, a good run.
macro_rules! refused {
    ($world:expr, $result:expr, $pattern:pat $(if $guard:expr)?) => {{
        match $result.map(|_| ()) {
            Err($pattern) $(if $guard)? => {}
            other => panic!("{other:?} is not {}", stringify!($pattern)),
        }
        assert!($world.enrol().result.is_affirming());
    }};
}
use refused;
