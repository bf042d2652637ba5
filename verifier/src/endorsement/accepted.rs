//! Which kinds of EK count: with one kind, a TPM is one gateway.

use holdfast_proto::tpm::templates::EkTemplate;

use super::{EkPublic, EndorsementError};

/// EK templates under which a TPM may be enrolled.
///
/// A TPM has one EK of each template, often two of them certified, and nothing
/// that it can sign tells whether two EKs are of one TPM. So the gateway's id
/// is unique to a TPM only where one template is accepted; with more, whoever
/// is admitted twice can be two gateways, and one outlives the other's
/// revocation (ADVERSARY A18).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AcceptedEks(Vec<EkTemplate>);

impl AcceptedEks {
    /// What is accepted unless configured otherwise: L-2, ECC P-256, which is
    /// quick to make and which discrete and firmware TPMs have certified.
    pub const DEFAULT: EkTemplate = EkTemplate::L2;

    /// These templates and no others; none at all accepts no gateway.
    #[must_use]
    pub fn new(templates: impl IntoIterator<Item = EkTemplate>) -> Self {
        Self(templates.into_iter().collect())
    }

    /// Whether one TPM can be at most one gateway.
    #[must_use]
    pub fn is_one_per_tpm(&self) -> bool {
        self.0.len() <= 1
    }

    /// # Errors
    /// [`EndorsementError::KindNotAccepted`].
    pub(crate) fn expect(&self, ek: &EkPublic) -> Result<(), EndorsementError> {
        if self.0.contains(&ek.template()) {
            return Ok(());
        }
        let labels: Vec<&str> = self.0.iter().map(|t| t.label()).collect();
        Err(EndorsementError::KindNotAccepted {
            got: ek.template().label(),
            accepted: labels.join(", "),
        })
    }
}

impl Default for AcceptedEks {
    fn default() -> Self {
        Self::new([Self::DEFAULT])
    }
}
