//! Step 2 of enrolment and recovery: the answer, verified and appraised.

use std::sync::Arc;

use holdfast_proto::{
    grpc::v1,
    tpm::{ClockInfo, Name},
};

use super::{
    ExchangeError, Verifier,
    challenge::{Fields, Keys},
};
use crate::{
    appraisal::{AttestationResult, ImaState, Policy},
    endorsement::{EkFacts, EkLink, EkPublic, EndorsementStanding, FurtherEk, ShownEk, TpmFacts},
    freshness::{Admission, AnsweredChallenge, Class, EnrolmentPurpose, TokenId},
    reference_values::{ReferenceValues, allow_list::AllowList},
    time::UnixTime,
    verification::{
        BootLog, Certifications, CertifiedNow, ChannelBinding, Evidence, KeyCertification,
        PcrValues, VerifiedEvidence, Vouched, verify_enrolment,
    },
};

impl Verifier {
    /// Step 2, cheap half: the token is ours, of this purpose and in time, the
    /// keys are those of step 1, and the TPM found the secret.
    ///
    /// # Errors
    /// Which of these does not hold.
    pub fn open(
        &self,
        candidate: EnrolCandidate,
        purpose: EnrolmentPurpose,
        now: UnixTime,
    ) -> Result<OpenedEnrolment, ExchangeError> {
        let fresh = self
            .sealer
            .get()
            .open_enrolment(&candidate.token, purpose, now)?;
        // One policy from here to the verdict, whatever is applied meanwhile.
        let policy = self.policy();
        if fresh.challenge().policy_id != *policy.id() {
            return Err(ExchangeError::PolicyChanged);
        }
        let keys = &candidate.keys;
        fresh.expect_keys(
            keys.ek.name(),
            &keys.presented(),
            (keys.further.eks().map(EkPublic::name)).zip(keys.further.chains_sha256()),
            &keys.ak_name(),
            keys.ldevid.name(),
        )?;
        let admission = fresh.state().admission.clone();
        let answered = fresh.answer(&candidate.activated_secret, &candidate.further_secrets)?;
        Ok(OpenedEnrolment {
            keys: candidate.keys,
            certifications: candidate.certifications,
            evidence: candidate.evidence,
            answered,
            admission,
            policy,
        })
    }
}

/// A well-formed answer to a challenge. Nothing in it is proven.
pub struct EnrolCandidate {
    token: Vec<u8>,
    activated_secret: Vec<u8>,
    further_secrets: Vec<Vec<u8>>,
    keys: Keys,
    certifications: Certifications,
    evidence: Evidence,
}

impl EnrolCandidate {
    /// # Errors
    /// Sizes, structure, EK template, AK and LDevID checklists.
    pub fn parse(request: &v1::EnrollRequest) -> Result<Self, ExchangeError> {
        let certification = request
            .ldevid_certification
            .as_ref()
            .ok_or(ExchangeError::Missing("ldevid_certification"))?;
        let evidence = request
            .evidence
            .as_ref()
            .ok_or(ExchangeError::Missing("evidence"))?;
        if request.idevid_certification.is_some() && request.iak_certificate_chain.is_empty() {
            return Err(ExchangeError::Missing("iak_certificate_chain"));
        }
        let keys = Keys::parse(&Fields {
            ek: &request.ek_public,
            ek_chain: &request.ek_certificate_chain,
            further: (request.further_eks.iter())
                .map(|ek| ShownEk {
                    public: &ek.ek_public,
                    chain: &ek.ek_certificate_chain,
                })
                .collect(),
            ak: &request.ak_public,
            ldevid: &request.ldevid_public,
            iak_chain: &request.iak_certificate_chain,
            idevid_chain: &request.idevid_certificate_chain,
            idevid: &request.idevid_public,
        })?;
        Ok(Self {
            token: request.token.clone(),
            activated_secret: request.activated_secret.clone(),
            further_secrets: (request.further_eks.iter())
                .map(|ek| ek.activated_secret.clone())
                .collect(),
            keys,
            certifications: Certifications {
                ldevid: KeyCertification::parse(certification)?,
                eks: parse_ek_certifications(request)?,
                idevid: request
                    .idevid_certification
                    .as_ref()
                    .map(KeyCertification::parse_idevid)
                    .transpose()?,
            },
            evidence: Evidence::parse_at_enrolment(evidence)?,
        })
    }

    /// The id that the gateway will have if all goes well. Unproven.
    #[must_use]
    pub fn gateway_id(&self) -> &holdfast_proto::binding::Ueid {
        self.keys.gateway_id()
    }
}

/// Of the first EK and then of the further ones, none left out.
fn parse_ek_certifications(
    request: &v1::EnrollRequest,
) -> Result<Vec<KeyCertification>, ExchangeError> {
    let parse = |certification: &Option<v1::KeyCertification>| {
        let certification = certification.as_ref();
        let missing = ExchangeError::Missing("ek_certification");
        Ok(KeyCertification::parse_ek(certification.ok_or(missing)?)?)
    };
    let further = request.further_eks.iter().map(|ek| &ek.ek_certification);
    std::iter::once(&request.ek_certification)
        .chain(further)
        .map(parse)
        .collect()
}

/// An answer whose secrets are right: the TPM that holds these EKs and this AK
/// took part. Endorsement and Evidence are still to be checked.
pub struct OpenedEnrolment {
    keys: Keys,
    certifications: Certifications,
    evidence: Evidence,
    answered: AnsweredChallenge,
    admission: Admission,
    policy: Arc<Policy>,
}

impl OpenedEnrolment {
    /// The gateway's id.
    #[must_use]
    pub fn gateway_id(&self) -> &holdfast_proto::binding::Ueid {
        self.keys.gateway_id()
    }

    /// SHA-256 of the DER SubjectPublicKeyInfo of each EK: the first, then the
    /// further ones.
    pub fn eks_sha256(&self) -> impl Iterator<Item = [u8; 32]> {
        self.keys.eks().map(EkPublic::spki_sha256)
    }

    /// By what the gateway was admitted in step 1; it must still hold in the
    /// transaction that records the grant.
    #[must_use]
    pub fn admission(&self) -> &Admission {
        &self.admission
    }

    /// For the single-use table.
    #[must_use]
    pub fn token_id(&self) -> TokenId {
        self.answered.token_id()
    }

    /// When the token ends, and with it its row in the single-use table.
    #[must_use]
    pub fn expires(&self) -> UnixTime {
        self.answered.challenge().expires
    }

    /// Step 2, dear half: endorsement again (anchors may have changed),
    /// certify, quote, claims, and all their bindings.
    ///
    /// # Errors
    /// The first check that does not hold.
    pub fn verify(
        self,
        verifier: &Verifier,
        channel: &ChannelBinding,
        now: UnixTime,
    ) -> Result<VerifiedEnrolment, ExchangeError> {
        let Self {
            keys,
            certifications,
            evidence,
            answered,
            admission,
            policy,
        } = self;
        let ek_chain_sha256 = keys.chain_sha256();
        let token_id = answered.token_id();
        let (issued, expires) = (answered.challenge().issued, answered.challenge().expires);
        let (pending, ldevid) = verifier.pending(keys, now)?;
        let activated = pending.complete(answered)?;
        let (evidence, eks) = verify_enrolment(
            evidence,
            &certifications,
            ldevid,
            activated,
            channel,
            &verifier.boot_logs,
            now,
        )?;
        let gateway = ActivatedGateway {
            id: *evidence.gateway_id(),
            class: evidence.class().clone(),
            ek_public: eks.ek().public().encode(),
            ek_link: eks.link(),
            ek_name: eks.ek().name().clone(),
            ek_spki_sha256: eks.ek().spki_sha256(),
            ek_chain_sha256,
            further_eks: eks.further().iter().map(FurtherEk::facts).collect(),
            ak_public: evidence.ak().public().encode(),
            ak_name: evidence.ak().name().clone(),
            ak_qualified_name: evidence.ak_qualified_name().to_vec(),
            ldevid_public: evidence.ldevid().public().encode(),
            ldevid_name: evidence.ldevid().name().clone(),
            ldevid_spki_sha256: evidence.ldevid().spki_sha256(),
            tpm: evidence.tpm().clone(),
            clock: *evidence.clock(),
            firmware_version: evidence.firmware_version(),
            pcrs: evidence.pcrs().clone(),
            boot_log: evidence.boot_log().clone(),
        };
        Ok(VerifiedEnrolment {
            standing: verifier.standing(&evidence, &gateway.further_eks, now),
            gateway,
            evidence,
            token_id,
            issued,
            expires,
            admission,
            policy,
            vouched: Arc::clone(&verifier.vouched),
        })
    }
}

/// What the store records of a gateway that proved itself. Plain facts: only
/// [`VerifiedEnrolment`] makes one, and it confers nothing.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct ActivatedGateway {
    /// UEID: 0x01 ‖ SHA-256 of the SPKI of the EK, or on the IAK road of the
    /// IAK.
    pub id: holdfast_proto::binding::Ueid,
    /// Reference-value class, from the admission.
    pub class: Class,
    /// TPMT_PUBLIC of the EK.
    pub ek_public: Vec<u8>,
    /// What ties it to the AK.
    pub ek_link: EkLink,
    /// Name of the EK.
    pub ek_name: Name,
    /// SHA-256 of the EK's DER SubjectPublicKeyInfo.
    pub ek_spki_sha256: [u8; 32],
    /// Digest of the EK's certificate chain, or on the IAK road of the IAK's.
    pub ek_chain_sha256: [u8; 32],
    /// Its other EKs, certified by the same AK.
    pub further_eks: Vec<EkFacts>,
    /// TPMT_PUBLIC of the AK.
    pub ak_public: Vec<u8>,
    /// Name of the AK.
    pub ak_name: Name,
    /// Qualified name of the AK, as its attestations state it.
    pub ak_qualified_name: Vec<u8>,
    /// TPMT_PUBLIC of the LDevID key.
    pub ldevid_public: Vec<u8>,
    /// Name of the LDevID key.
    pub ldevid_name: Name,
    /// SHA-256 of the LDevID key's DER SubjectPublicKeyInfo.
    pub ldevid_spki_sha256: [u8; 32],
    /// What the EK certificate says of the TPM.
    pub tpm: TpmFacts,
    /// TPM clock at the quote.
    pub clock: ClockInfo,
    /// TPM firmware version at the quote.
    pub firmware_version: u64,
    /// What was quoted.
    pub pcrs: PcrValues,
    /// Boot log, bound to the quote by the claims.
    pub boot_log: BootLog,
}

/// An enrolment whose Evidence is authentic, fresh and bound. Not appraised.
pub struct VerifiedEnrolment {
    standing: EndorsementStanding,
    gateway: ActivatedGateway,
    evidence: VerifiedEvidence<CertifiedNow>,
    token_id: TokenId,
    issued: UnixTime,
    expires: UnixTime,
    admission: Admission,
    policy: Arc<Policy>,
    vouched: Arc<Vouched>,
}

impl VerifiedEnrolment {
    /// What will be recorded.
    #[must_use]
    pub fn gateway(&self) -> &ActivatedGateway {
        &self.gateway
    }

    /// Class whose reference values apply.
    #[must_use]
    pub fn class(&self) -> &Class {
        &self.gateway.class
    }

    /// Step 3: compares with reference values under the policy that the
    /// challenge was made under. A negative result is a value.
    pub fn appraise(
        self,
        references: Option<&ReferenceValues>,
        files: Option<&AllowList>,
        now: UnixTime,
    ) -> Enrolment {
        let ima = ImaState::of(self.evidence.ima(), None, files, &self.vouched);
        let policy = &self.policy;
        Enrolment {
            gateway: self.gateway,
            result: policy.appraise(self.evidence, self.standing, references, ima.as_ref(), now),
            ima,
            token_id: self.token_id,
            issued: self.issued,
            expires: self.expires,
            admission: self.admission,
        }
    }
}

/// A finished enrolment, to be recorded and then answered.
pub struct Enrolment {
    /// What to record.
    pub gateway: ActivatedGateway,
    /// What is known of its IMA log.
    pub ima: Option<ImaState>,
    /// Affirming or not, with reasons; consumed by `authorise`.
    pub result: AttestationResult<CertifiedNow>,
    /// To be spent in the recording transaction.
    pub token_id: TokenId,
    /// When the challenge was made: before the quote.
    pub issued: UnixTime,
    /// When the token ends.
    pub expires: UnixTime,
    /// To be checked again in the recording transaction.
    pub admission: Admission,
}
