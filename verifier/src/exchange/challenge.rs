//! Step 1 of enrolment: a request becomes a challenge that only the TPM
//! holding the endorsed EK and that very AK can answer (ARCHITECTURE §4).

use holdfast_proto::{
    grpc::v1,
    tpm::{Name, PcrSelection, Public},
};
use ring::rand::SecureRandom;

use super::{ExchangeError, Verifier};
use crate::{
    endorsement::{EkChain, EkPublic},
    freshness::{Admission, Challenge, EnrolmentPurpose, EnrolmentState, random_32},
    time::UnixTime,
    verification::{AkPublic, LdevidPublic, PendingActivation, VerificationError},
};

/// The key material that both calls of enrolment carry.
pub(super) struct Keys {
    pub(super) ek: EkPublic,
    pub(super) chain: EkChain,
    pub(super) ak: AkPublic,
    pub(super) ldevid: LdevidPublic,
}

impl Keys {
    /// No public-key operation happens here: sizes, templates and checklists.
    pub(super) fn parse(
        ek: &[u8],
        chain: &[Vec<u8>],
        ak: &[u8],
        ldevid: &[u8],
    ) -> Result<Self, ExchangeError> {
        let ek = EkPublic::parse(ek)?;
        let ak = AkPublic::new(Public::parse(ak).map_err(VerificationError::AkPublic)?)?;
        let ldevid =
            LdevidPublic::new(Public::parse(ldevid).map_err(VerificationError::LdevidPublic)?)?;
        Ok(Self {
            ek,
            chain: EkChain::parse(chain)?,
            ak,
            ldevid,
        })
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
        let keys = Keys::parse(
            &request.ek_public,
            &request.ek_certificate_chain,
            &request.ak_public,
            &request.ldevid_public,
        )?;
        Ok(Self {
            keys,
            join_token: request.join_token.clone(),
        })
    }

    /// The id that the gateway will have if all goes well. Unproven.
    #[must_use]
    pub fn gateway_id(&self) -> &holdfast_proto::binding::Ueid {
        self.keys.ek.gateway_id()
    }

    /// Name of the EK. Unproven.
    #[must_use]
    pub fn ek_name(&self) -> &Name {
        self.keys.ek.name()
    }

    /// Name of the AK. Unproven.
    #[must_use]
    pub fn ak_name(&self) -> &Name {
        self.keys.ak.name()
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
        }
    }
}

/// A PCR selection as the wire has it.
pub(super) fn wire_selection(selection: &PcrSelection) -> v1::PcrSelection {
    v1::PcrSelection {
        hash_alg: selection.hash.id().into(),
        pcr_indices: selection.pcrs.iter().collect(),
    }
}

impl Verifier {
    /// Step 1, after admission: endorses the EK and makes a challenge that
    /// only the TPM holding that EK and that very AK can answer.
    ///
    /// # Errors
    /// The EK is not endorsed, or randomness failed.
    pub fn challenge(
        &self,
        candidate: ChallengeCandidate,
        purpose: EnrolmentPurpose,
        admission: Admission,
        now: UnixTime,
        rng: &dyn SecureRandom,
    ) -> Result<IssuedChallenge, ExchangeError> {
        let Keys {
            ek,
            chain,
            ak,
            ldevid,
        } = candidate.keys;
        let gateway = *ek.gateway_id();
        let endorsed = self.endorse(&chain, ek, now)?;
        let pending = PendingActivation::new(endorsed, ak);
        let (credential, secret_sha256) = pending.make_credential(rng)?;
        let nonce = random_32(rng)?;
        let state = EnrolmentState {
            purpose,
            ek: pending.ek().name().clone(),
            ek_chain_sha256: chain.sha256(),
            secret_sha256,
            admission,
            challenge: Challenge {
                gateway,
                ak: pending.ak().name().clone(),
                ldevid: ldevid.name().clone(),
                nonce,
                selection: self.selection,
                policy_id: *self.policy().id(),
                issued: now,
                expires: self.sealer.expiry(now),
            },
        };
        Ok(IssuedChallenge {
            nonce,
            credential_blob: credential.id_object,
            encrypted_secret: credential.encrypted_secret,
            selection: self.selection,
            token: self.sealer.seal(&state, rng)?,
            expires: state.challenge.expires,
        })
    }
}
