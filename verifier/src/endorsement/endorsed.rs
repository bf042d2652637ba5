//! By whom a gateway's TPM is endorsed: the two roads, as one proof.

use holdfast_proto::binding::Ueid;

use super::{EkPublic, EndorsedEk, EndorsedIak, TpmFacts};

/// Somebody whom the owner trusts vouches for a key in this TPM.
#[derive(Debug)]
#[must_use]
pub enum Endorsed {
    /// The TPM's vendor for its EK.
    Ek(Box<EndorsedEk>),
    /// The device's OEM for its IAK.
    Iak(Box<EndorsedIak>),
}

impl Endorsed {
    /// The EK: endorsed, or on the IAK road claimed.
    #[must_use]
    pub fn ek(&self) -> &EkPublic {
        match self {
            Self::Ek(endorsed) => endorsed.ek(),
            Self::Iak(endorsed) => endorsed.ek(),
        }
    }

    /// What is certified of it.
    #[must_use]
    pub fn facts(&self) -> &TpmFacts {
        match self {
            Self::Ek(endorsed) => endorsed.facts(),
            Self::Iak(endorsed) => endorsed.facts(),
        }
    }

    /// UEID of the gateway: of the endorsed key.
    #[must_use]
    pub fn gateway_id(&self) -> &Ueid {
        match self {
            Self::Ek(endorsed) => endorsed.ek().gateway_id(),
            Self::Iak(endorsed) => endorsed.gateway_id(),
        }
    }

    /// The OEM's endorsement, on the IAK road.
    #[must_use]
    pub fn iak(&self) -> Option<&EndorsedIak> {
        match self {
            Self::Ek(_) => None,
            Self::Iak(endorsed) => Some(endorsed),
        }
    }
}
