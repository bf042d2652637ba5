//! Whose TPM something may be wrapped for.

use holdfast_proto::binding::Ueid;

use super::WrapError;
use crate::endorsement::{EkKnownBy, EkLink, EkPublic};

/// An EK that somebody vouches for: its vendor by a certificate, the owner by a
/// list, or an IAK that its OEM certified and that certified the EK. What is
/// wrapped for it, a TPM alone can open. Made from a record that was made of one;
/// never from what a peer says.
#[derive(Clone, Debug)]
pub struct WrapRecipient {
    ek: EkPublic,
    gateway: Ueid,
}

impl WrapRecipient {
    /// From a gateway's record, for which the shell vouches: it comes from its
    /// store, and was written when the EK was endorsed. `ek_public` is
    /// TPMT_PUBLIC.
    ///
    /// # Errors
    /// [`WrapError::EkNotCertified`] on the IAK road, where the IAK did not
    /// certify it; [`WrapError::OtherEk`], [`WrapError::Record`] where the record
    /// is damaged.
    pub fn on_record(
        ek_public: &[u8],
        known_by: EkKnownBy,
        link: EkLink,
        id: &Ueid,
    ) -> Result<Self, WrapError> {
        let ek = EkPublic::parse(ek_public).map_err(WrapError::Record)?;
        match (known_by, link) {
            (EkKnownBy::EkCertificate | EkKnownBy::Fingerprint, _) => {
                if ek.gateway_id() != id {
                    return Err(WrapError::OtherEk {
                        found: *ek.gateway_id(),
                        id: *id,
                    });
                }
            }
            (EkKnownBy::IakCertificate, EkLink::Certification) => {}
            (EkKnownBy::IakCertificate, EkLink::Activation) => {
                return Err(WrapError::EkNotCertified);
            }
        }
        Ok(Self { ek, gateway: *id })
    }

    /// The gateway whose TPM it is.
    #[must_use]
    pub fn gateway_id(&self) -> &Ueid {
        &self.gateway
    }

    pub(super) fn ek(&self) -> &EkPublic {
        &self.ek
    }
}
