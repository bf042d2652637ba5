//! Whose TPM something may be wrapped for.

use holdfast_proto::binding::Ueid;

use super::WrapError;
use crate::endorsement::{EkKnownBy, EkPublic, EndorsedEk, TpmFacts};

/// An EK that its vendor's certificate or the owner's list vouches for: what is
/// wrapped for it, a TPM alone can open. Made from an [`EndorsedEk`], or from a
/// record that was made of one; never from what a peer says.
#[derive(Clone, Debug)]
pub struct WrapRecipient {
    ek: EkPublic,
}

impl WrapRecipient {
    /// From an endorsement just made.
    #[must_use]
    pub fn of(endorsed: &EndorsedEk) -> Self {
        Self {
            ek: endorsed.ek().clone(),
        }
    }

    /// From a gateway's record, for which the shell vouches: it comes from its
    /// store, and was written when the EK was endorsed. `ek_public` is
    /// TPMT_PUBLIC.
    ///
    /// # Errors
    /// [`WrapError::EkNotEndorsed`] on the IAK road; [`WrapError::OtherEk`],
    /// [`WrapError::Record`] where the record is damaged.
    pub fn on_record(ek_public: &[u8], tpm: &TpmFacts, id: &Ueid) -> Result<Self, WrapError> {
        match tpm.known_by {
            EkKnownBy::EkCertificate | EkKnownBy::Fingerprint => {}
            EkKnownBy::IakCertificate => return Err(WrapError::EkNotEndorsed),
        }
        let ek = EkPublic::parse(ek_public).map_err(WrapError::Record)?;
        if ek.gateway_id() != id {
            return Err(WrapError::OtherEk {
                found: *ek.gateway_id(),
                id: *id,
            });
        }
        Ok(Self { ek })
    }

    /// The gateway whose TPM it is: its id is that of the EK.
    #[must_use]
    pub fn gateway_id(&self) -> &Ueid {
        self.ek.gateway_id()
    }

    pub(super) fn ek(&self) -> &EkPublic {
        &self.ek
    }
}
