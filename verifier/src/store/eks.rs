//! Every EK of every gateway: each is on one record only, so that a TPM that is
//! on record by one EK is not another gateway by a second one (ADVERSARY A18).

use async_trait::async_trait;
use holdfast_proto::binding::Ueid;

use super::{GatewayRecord, Seconds, Sha256, StoreError};
use crate::endorsement::EkFacts;

/// An EK that a gateway has shown.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EkRecord {
    /// The EK, and who vouched for it when it was last shown.
    pub ek: EkFacts,
    /// When it was first shown.
    pub first_shown: Seconds,
    /// In which enrolment or recovery it was last shown.
    pub last_shown: Seconds,
}

/// What the shell asks about EKs.
#[async_trait]
pub trait Eks {
    /// The gateway that has the EK with this SHA-256 of its SubjectPublicKeyInfo
    /// on its record, whatever its state.
    async fn owner_of_ek(&self, spki_sha256: &Sha256) -> Result<Option<Ueid>, StoreError>;
}

impl GatewayRecord {
    /// The EKs beside the first that were shown together with it when the gateway
    /// enrolled or recovered last: what the gateway stands on. One that was not
    /// shown any more stays on record and is asked nothing.
    pub fn further_eks_in_use(&self) -> impl Iterator<Item = &EkRecord> {
        let first = self.tpm.ek_spki_sha256;
        let shown = (self.eks.iter())
            .find(|record| record.ek.spki_sha256 == first)
            .map(|record| record.last_shown);
        self.eks.iter().filter(move |record| {
            record.ek.spki_sha256 != first && Some(record.last_shown) == shown
        })
    }
}
