//! The EAR claims set, whatever its encoding.

use super::{EarError, MAX_LIST, MAX_TEXT, Tier, TrustVector};

/// Who appraised: `ear_verifier_id` (EAR §4.2).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VerifierId {
    /// Who made the Verifier.
    pub developer: String,
    /// Which build of it.
    pub build: String,
}

/// An EAR about one gateway.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ear {
    /// `iat`: seconds since the Unix epoch.
    pub issued_at: i64,
    /// `exp`: seconds since the Unix epoch. Always there: a result is about a
    /// moment, and nobody should hold one for good.
    pub expires: i64,
    /// `ear_verifier_id`
    pub verifier: VerifierId,
    /// `eat_nonce`: the challenge that the Evidence answered.
    pub nonce: [u8; 32],
    /// The `gateway` submodule.
    pub appraisal: Appraisal,
}

/// What was concluded: the `gateway` submodule.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Appraisal {
    status: Tier,
    /// `ear_trustworthiness_vector`
    pub vector: TrustVector,
    /// `ear_appraisal_policy_ids`: SHA-256 of the policy, `sha-256:<hex>`.
    pub policy_ids: Vec<String>,
    /// `ueid` (RFC 9711 §4.2.1) of the gateway.
    pub ueid: [u8; 33],
    /// Private: id of the reference values, SHA-256; absent where the class
    /// has none.
    pub reference_id: Option<[u8; 32]>,
    /// Private: codes of the reasons, for programs. What they say in words is
    /// between the owner and the gateway.
    pub reason_codes: Vec<String>,
}

impl Appraisal {
    /// `ear_status` is the worst of the vector, or `ceiling` where that is
    /// less trusted still: it never says more than the claims do (EAR §3).
    #[must_use]
    pub fn new(vector: TrustVector, ceiling: Tier, ueid: [u8; 33]) -> Self {
        Self {
            status: vector.tier().worse(ceiling),
            vector,
            policy_ids: Vec::new(),
            ueid,
            reference_id: None,
            reason_codes: Vec::new(),
        }
    }

    /// `ear_status`
    #[must_use]
    pub fn status(&self) -> Tier {
        self.status
    }
}

impl Ear {
    /// The rules that hold for every EAR, whoever wrote it.
    pub(super) fn check(self) -> Result<Self, EarError> {
        let lists = [&self.appraisal.policy_ids, &self.appraisal.reason_codes];
        let texts = [&self.verifier.developer, &self.verifier.build];
        let too_long = |text: &String| text.len() > MAX_TEXT;
        if lists
            .iter()
            .any(|list| list.len() > MAX_LIST || list.iter().any(too_long))
            || texts.into_iter().any(too_long)
        {
            return Err(EarError::TooMuch);
        }
        if self.expires <= self.issued_at {
            return Err(EarError::Expiry);
        }
        Ok(self)
    }
}

/// For the decoders: a status that the vector does not bear out is refused.
pub(super) fn appraisal_read(
    status: Tier,
    vector: TrustVector,
    ueid: [u8; 33],
) -> Result<Appraisal, EarError> {
    let appraisal = Appraisal::new(vector, status, ueid);
    if appraisal.status == status {
        Ok(appraisal)
    } else {
        Err(EarError::Status)
    }
}
