//! Step 1 of enrolment: a request becomes a challenge that only the TPM
//! holding the endorsed EK and that very AK can answer (ARCHITECTURE §4).

use holdfast_proto::{
    binding::Ueid,
    grpc::v1,
    tpm::{Name, PcrSelection, Public, templates::EkTemplate},
};
use ring::rand::SecureRandom;

use super::{ExchangeError, Verifier};
use crate::{
    endorsement::{
        ClaimedDevid, DevidError, EkChain, EkPublic, Endorsed, EndorsementError, FurtherEks,
        ShownEk,
    },
    freshness::{Admission, Challenge, EnrolmentPurpose, EnrolmentState, Presented, random_32},
    time::UnixTime,
    verification::{AkPublic, Credential, LdevidPublic, PendingActivation, VerificationError},
};

/// The fields in which both calls of enrolment carry keys and certificates.
pub(super) struct Fields<'a> {
    pub(super) ek: &'a [u8],
    pub(super) ek_chain: &'a [Vec<u8>],
    pub(super) further: Vec<ShownEk<'a>>,
    pub(super) ak: &'a [u8],
    pub(super) ldevid: &'a [u8],
    pub(super) iak_chain: &'a [Vec<u8>],
    pub(super) idevid_chain: &'a [Vec<u8>],
    pub(super) idevid: &'a [u8],
}

/// The key material that both calls of enrolment carry.
pub(super) struct Keys {
    pub(super) ek: EkPublic,
    pub(super) further: FurtherEks,
    pub(super) road: Road,
    pub(super) ldevid: LdevidPublic,
}

/// Who is said to vouch for the gateway's TPM.
pub(super) enum Road {
    /// The TPM's vendor, for the EK. The AK is any that it activates.
    Ek {
        chain: Box<EkChain>,
        ak: Box<AkPublic>,
    },
    /// The OEM, for the IAK, which is the AK.
    Iak(Box<ClaimedDevid>),
}

impl Keys {
    /// No public-key operation happens here: sizes, templates and checklists.
    pub(super) fn parse(fields: &Fields<'_>) -> Result<Self, ExchangeError> {
        let ek = EkPublic::parse(fields.ek)?;
        let further = FurtherEks::parse(&ek, &fields.further)?;
        let road = if fields.iak_chain.is_empty() {
            // Unread, they would be a claim that nothing binds.
            if !fields.idevid_chain.is_empty() || !fields.idevid.is_empty() {
                return Err(ExchangeError::Missing("iak_certificate_chain"));
            }
            let ak = AkPublic::new(Public::parse(fields.ak).map_err(VerificationError::AkPublic)?)?;
            Road::Ek {
                chain: Box::new(EkChain::parse(fields.ek_chain)?),
                ak: Box::new(ak),
            }
        } else {
            let further: usize = fields.further.iter().map(|ek| ek.chain.len()).sum();
            let certificates = fields.ek_chain.len().saturating_add(further);
            if certificates > 0 {
                return Err(DevidError::EkCertificates(certificates).into());
            }
            Road::Iak(Box::new(ClaimedDevid::parse(
                fields.ak,
                fields.iak_chain,
                fields.idevid,
                fields.idevid_chain,
            )?))
        };
        let ldevid = LdevidPublic::new(
            Public::parse(fields.ldevid).map_err(VerificationError::LdevidPublic)?,
        )?;
        Ok(Self {
            ek,
            further,
            road,
            ldevid,
        })
    }

    /// Every EK: the first, then the further ones in order.
    pub(super) fn eks(&self) -> impl Iterator<Item = &EkPublic> + Clone {
        std::iter::once(&self.ek).chain(self.further.eks())
    }

    pub(super) fn gateway_id(&self) -> &Ueid {
        match &self.road {
            Road::Ek { .. } => self.ek.gateway_id(),
            Road::Iak(claimed) => claimed.gateway_id(),
        }
    }

    pub(super) fn ak_name(&self) -> Name {
        match &self.road {
            Road::Ek { ak, .. } => ak.name().clone(),
            Road::Iak(claimed) => claimed.iak().public().name(),
        }
    }

    pub(super) fn presented(&self) -> Presented {
        match &self.road {
            Road::Ek { chain, .. } => Presented::EkChain(chain.sha256()),
            Road::Iak(claimed) => Presented::Devid(claimed.digests()),
        }
    }

    /// One digest of what stands behind the keys, for the record.
    pub(super) fn chain_sha256(&self) -> [u8; 32] {
        match &self.road {
            Road::Ek { chain, .. } => chain.sha256(),
            Road::Iak(claimed) => claimed.digests().iak_chain_sha256,
        }
    }
}

/// A well-formed request for a challenge. Nothing in it is proven.
pub struct ChallengeCandidate {
    keys: Keys,
    join_token: Vec<u8>,
}

impl ChallengeCandidate {
    /// Longest join-token secret taken: 32 bytes are made by `token create`.
    const JOIN_TOKEN_MAX: usize = 64;

    /// # Errors
    /// Sizes, EK template, AK and LDevID checklists.
    pub fn parse(request: &v1::RequestChallengeRequest) -> Result<Self, ExchangeError> {
        if request.join_token.len() > Self::JOIN_TOKEN_MAX {
            return Err(VerificationError::TooLong {
                field: "join_token",
                len: request.join_token.len(),
                max: Self::JOIN_TOKEN_MAX,
            }
            .into());
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
            keys,
            join_token: request.join_token.clone(),
        })
    }

    /// The id that the gateway will have if all goes well. Unproven.
    #[must_use]
    pub fn gateway_id(&self) -> &Ueid {
        self.keys.gateway_id()
    }

    /// What it presents on the IAK road. Unproven.
    #[must_use]
    pub fn devid(&self) -> Option<&ClaimedDevid> {
        match &self.keys.road {
            Road::Ek { .. } => None,
            Road::Iak(claimed) => Some(claimed),
        }
    }

    /// Name of the EK. Unproven.
    #[must_use]
    pub fn ek_name(&self) -> &Name {
        self.keys.ek.name()
    }

    /// Name of the AK. Unproven.
    #[must_use]
    pub fn ak_name(&self) -> Name {
        self.keys.ak_name()
    }

    /// Name of the LDevID key. Unproven.
    #[must_use]
    pub fn ldevid_name(&self) -> &Name {
        self.keys.ldevid.name()
    }

    /// The join token's secret as presented; empty in recovery.
    #[must_use]
    pub fn join_token(&self) -> &[u8] {
        &self.join_token
    }
}

/// A request whose TPM is endorsed. Whether it is admitted is the shell's.
#[must_use]
pub struct EndorsedCandidate {
    pending: PendingActivation,
    presented: Presented,
    ldevid: LdevidPublic,
    wanted: Vec<EkTemplate>,
}

impl EndorsedCandidate {
    /// By whom.
    pub fn endorsed(&self) -> &Endorsed {
        self.pending.endorsed()
    }
}

/// What step 1 answers.
#[derive(Debug)]
pub struct IssuedChallenge {
    /// 32 bytes, for claims and certify.
    pub nonce: [u8; 32],
    /// Contents of TPM2B_ID_OBJECT.
    pub credential_blob: Vec<u8>,
    /// Contents of TPM2B_ENCRYPTED_SECRET.
    pub encrypted_secret: Vec<u8>,
    /// PCRs to quote.
    pub selection: PcrSelection,
    /// Sealed state, to be sent back unchanged.
    pub token: Vec<u8>,
    /// When the token ends.
    pub expires: UnixTime,
    /// For each further EK, in order: a credential of its own.
    pub further: Vec<Credential>,
    /// Accepted templates of which no EK was shown.
    pub wanted: Vec<EkTemplate>,
}

impl From<IssuedChallenge> for v1::RequestChallengeResponse {
    fn from(issued: IssuedChallenge) -> Self {
        Self {
            nonce: issued.nonce.to_vec(),
            credential_blob: issued.credential_blob,
            encrypted_secret: issued.encrypted_secret,
            pcr_selection: Some(wire_selection(&issued.selection)),
            token: issued.token,
            expires: issued.expires.seconds(),
            further_credentials: (issued.further.into_iter())
                .map(|credential| v1::EkCredential {
                    credential_blob: credential.id_object,
                    encrypted_secret: credential.encrypted_secret,
                })
                .collect(),
            wanted_eks: (issued.wanted.iter())
                .map(|template| template.label().to_owned())
                .collect(),
        }
    }
}

/// A PCR selection as the wire has it.
pub(crate) fn wire_selection(selection: &PcrSelection) -> v1::PcrSelection {
    v1::PcrSelection {
        hash_alg: selection.hash.id().into(),
        pcr_indices: selection.pcrs.iter().collect(),
    }
}

impl Verifier {
    /// Whether EKs of all the kinds are shown that have to be. Costs nothing and
    /// hangs on the configuration alone: it may be told to anybody.
    ///
    /// # Errors
    /// [`EndorsementError::EksMissing`]. Other kinds than the accepted ones are
    /// refused with the endorsement.
    pub fn expect_all_eks(&self, candidate: &ChallengeCandidate) -> Result<(), ExchangeError> {
        match self.accepted_eks.expect(candidate.keys.eks()) {
            Err(missing @ EndorsementError::EksMissing { .. }) => Err(missing.into()),
            _ => Ok(()),
        }
    }

    /// Step 1, first half: endorses the EKs, or the IAK.
    ///
    /// # Errors
    /// One is not endorsed, or not shown.
    pub fn endorse_candidate(
        &self,
        candidate: ChallengeCandidate,
        now: UnixTime,
    ) -> Result<EndorsedCandidate, ExchangeError> {
        let presented = candidate.keys.presented();
        let wanted = self.accepted_eks.not_shown(candidate.keys.eks());
        let (pending, ldevid) = self.pending(candidate.keys, now)?;
        Ok(EndorsedCandidate {
            pending,
            presented,
            ldevid,
            wanted,
        })
    }

    /// Step 1, second half, after admission: makes a challenge that only the
    /// TPM holding that EK and that very AK can answer.
    ///
    /// # Errors
    /// No credential can be made for the EK, or randomness failed.
    pub fn issue_challenge(
        &self,
        candidate: EndorsedCandidate,
        purpose: EnrolmentPurpose,
        admission: Admission,
        now: UnixTime,
        rng: &dyn SecureRandom,
    ) -> Result<IssuedChallenge, ExchangeError> {
        let EndorsedCandidate {
            pending,
            presented,
            ldevid,
            wanted,
        } = candidate;
        let (credential, secret_sha256) = pending.make_credential(rng)?;
        let (further, challenged) = pending.make_further_credentials(rng)?.into_iter().unzip();
        let nonce = random_32(rng)?;
        let state = EnrolmentState {
            purpose,
            ek: pending.ek().name().clone(),
            presented,
            secret_sha256,
            further: challenged,
            admission,
            challenge: Challenge {
                gateway: *pending.endorsed().gateway_id(),
                ak: pending.ak().name().clone(),
                ldevid: ldevid.name().clone(),
                nonce,
                selection: self.selection,
                policy_id: *self.policy().id(),
                issued: now,
                expires: self.sealer.get().expiry(now),
            },
        };
        Ok(IssuedChallenge {
            nonce,
            credential_blob: credential.id_object,
            encrypted_secret: credential.encrypted_secret,
            selection: self.selection,
            token: self.sealer.get().seal(&state, rng)?,
            expires: state.challenge.expires,
            further,
            wanted,
        })
    }

    /// Both halves, where the admission does not hang on the endorsement.
    ///
    /// # Errors
    /// Those of both.
    pub fn challenge(
        &self,
        candidate: ChallengeCandidate,
        purpose: EnrolmentPurpose,
        admission: Admission,
        now: UnixTime,
        rng: &dyn SecureRandom,
    ) -> Result<IssuedChallenge, ExchangeError> {
        let endorsed = self.endorse_candidate(candidate, now)?;
        self.issue_challenge(endorsed, purpose, admission, now, rng)
    }

    /// In both steps of enrolment: of accepted kinds, as many as have to be, and
    /// each endorsed.
    pub(super) fn pending(
        &self,
        keys: Keys,
        now: UnixTime,
    ) -> Result<(PendingActivation, LdevidPublic), ExchangeError> {
        self.accepted_eks.expect(keys.eks())?;
        let Keys {
            ek,
            further,
            road,
            ldevid,
        } = keys;
        let anchors = self.anchors();
        let pending = match road {
            Road::Ek { chain, ak } => {
                PendingActivation::new(anchors.endorse(&chain, ek, now)?, *ak)?
            }
            Road::Iak(claimed) => PendingActivation::of_iak(self.oems().endorse(
                *claimed,
                ek,
                anchors.rules(),
                now,
            )?)?,
        };
        let further = further.endorse_beside(pending.endorsed(), &anchors, now)?;
        Ok((pending.with_further(further), ldevid))
    }
}
