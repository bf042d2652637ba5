//! The test stand: the verifier's core in this process, and real evidence for
//! it from a live software TPM.

use anyhow::{Context, Result};
use holdfast_attester::enrolment::KeyChoice;
use holdfast_attester::evidence::{self, Challenge};
use holdfast_integration::Gateway;
use holdfast_integration::scene::selection;
use holdfast_proto::claims::Purpose;
use holdfast_proto::grpc::v1;
use holdfast_proto::tpm::{EccCurve, HashAlg, PcrSelection, PcrSet, Public, Signature};
use holdfast_verifier::appraisal::Policy;
use holdfast_verifier::endorsement::{AcceptedEks, Anchors};
use holdfast_verifier::exchange::{
    Admission, AdmissionBasis, ChallengeCandidate, ChannelBinding, Class, EnrolCandidate,
    EnrolledGateway, EnrolmentPurpose, GatewayRecord, Settings, UnixTime, Verifier,
};
use holdfast_verifier::freshness::ChallengeSealer;
use holdfast_verifier::reference_values::ReferenceValues;
use holdfast_verifier::verification::AkPublic;
use ring::rand::SystemRandom;
use ring::signature::{ECDSA_P256_SHA256_FIXED, UnparsedPublicKey};
use tempfile::TempDir;

/// In place of a TLS connection: its exporter.
const EXPORTER: [u8; 32] = [7; 32];

/// A gateway that the core has enrolled, and its next re-attestation.
pub(crate) struct Stand {
    pub(crate) verifier: Verifier,
    pub(crate) gateway: EnrolledGateway,
    pub(crate) request: v1::AttestRequest,
    pub(crate) channel: ChannelBinding,
    pub(crate) references: ReferenceValues,
    pub(crate) now: UnixTime,
    pub(crate) ak: AkPublic,
    pub(crate) selection: PcrSelection,
    _folder: TempDir,
}

impl Stand {
    pub(crate) fn new() -> Result<Self> {
        let folder = tempfile::tempdir()?;
        let device = Gateway::boot(&folder.path().join("gateway"), |_| {})?;
        let described = device.sim().describe();
        let vendor = std::fs::read(&described.vendor_root)?;
        let references =
            ReferenceValues::parse(&std::fs::read_to_string(&described.reference_values)?)?;
        let selection_required = PcrSelection {
            hash: HashAlg::Sha256,
            pcrs: PcrSet::from_indices([0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 14])?,
        };
        let verifier = Verifier::new(Settings {
            anchors: Anchors::new(vec![der(&vendor)?], Vec::new())?,
            oems: holdfast_verifier::endorsement::OemAnchors::default(),
            accepted_eks: AcceptedEks::default(),
            sealer: ChallengeSealer::new([1; 32]),
            policy: Policy::standard()?,
            selection: selection_required,
        });
        let rng = SystemRandom::new();
        let platform = device.platform()?;
        let now = UnixTime::from_seconds(platform.issued_at);
        let channel = ChannelBinding::new(EXPORTER);

        let enrolment = device.enrolment(KeyChoice::default())?;
        let candidate = ChallengeCandidate::parse(&enrolment.challenge_request(&[0; 32]))?;
        let admission = Admission {
            basis: AdmissionBasis::JoinToken("bench".into()),
            class: Class::parse("default")?,
        };
        let challenge: v1::RequestChallengeResponse = verifier
            .challenge(candidate, EnrolmentPurpose::Enrol, admission, now, &rng)?
            .into();
        let request = enrolment.complete(&challenge, &EXPORTER, &platform)?;
        let enrolled = verifier
            .open(
                EnrolCandidate::parse(&request)?,
                EnrolmentPurpose::Enrol,
                now,
            )?
            .verify(&verifier, &channel, now)?
            .appraise(Some(&references), None, now);
        let known = enrolled.gateway;
        let boot_log = known.boot_log.sha256().copied();
        let ak = AkPublic::new(Public::parse(&known.ak_public)?)?;
        let gateway = EnrolledGateway::from_record(GatewayRecord {
            further_eks: Vec::new(),
            id: known.id,
            class: known.class,
            ak_public: known.ak_public,
            ak_qualified_name: known.ak_qualified_name,
            ldevid_public: known.ldevid_public,
            tpm: known.tpm,
            clock: Some(known.clock),
            boot_log_sha256: boot_log,
        })?;

        let challenge: v1::RequestAttestationChallengeResponse =
            verifier.attestation_challenge(&gateway, now, &rng)?.into();
        let asked = Challenge {
            nonce: challenge.nonce.as_slice().try_into()?,
            selection: selection(&challenge.pcr_selection)?,
            exporter: EXPORTER,
            purpose: Purpose::Attest,
            known_boot_log: boot_log,
            known_ima: None,
        };
        let evidence = evidence::collect(
            device.tpm(),
            enrolment.keys(),
            enrolment.gateway_id(),
            &asked,
            None,
            &platform,
        )?;
        let request = v1::AttestRequest {
            token: challenge.token,
            evidence: Some(evidence),
            ldevid_certification: None,
            ..v1::AttestRequest::default()
        };
        Ok(Self {
            verifier,
            gateway,
            request,
            channel,
            references,
            now,
            ak,
            selection: selection_required,
            _folder: folder,
        })
    }

    /// The evidence of [`request`](Self::request).
    pub(crate) fn evidence(&self) -> &v1::Evidence {
        self.request.evidence.as_ref().expect("`new` put it there")
    }

    /// The floor: one verification of the quote's signature by ring alone.
    pub(crate) fn ring_verify(&self) -> impl Fn() + use<> {
        let point = self.ak.public().to_ec_point().expect("a P-256 AK");
        let signature = Signature::parse(&self.evidence().quote_signature)
            .and_then(|signature| signature.ecdsa_fixed(EccCurve::P256))
            .expect("a signature that the core accepts");
        let message = self.evidence().quote_attest.clone();
        let key = UnparsedPublicKey::new(&ECDSA_P256_SHA256_FIXED, point);
        move || key.verify(&message, &signature).expect("a good signature")
    }
}

fn der(pem: &[u8]) -> Result<Vec<u8>> {
    let text = std::str::from_utf8(pem)?;
    let body: String = text
        .lines()
        .filter(|line| !line.starts_with("-----"))
        .collect();
    base64::Engine::decode(&base64::engine::general_purpose::STANDARD, body).context("vendor root")
}
