//! Which attestation key: Holdfast's own, or the OEM's IAK.

use holdfast_proto::tpm::{HashAlg, Hierarchy, Public};
use tss_esapi::constants::CommandCode;
use tss_esapi::handles::KeyHandle;
use tss_esapi::interface_types::session_handles::AuthSession;

use super::devid::DeviceKeySource;
use super::engine::Engine;
use super::{AttestationKey, TpmError};
use holdfast_proto::tpm::devid::{DevidKey, DevidTemplate};

/// The attestation key of an enrolment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Ak {
    /// Made for the enrolment (EK road).
    Own(AttestationKey),
    /// The IAK (IAK road).
    Iak {
        /// How it is had.
        source: DeviceKeySource,
        /// Its template.
        template: DevidTemplate,
    },
}

impl Ak {
    /// The hash of its signature scheme, and so of a quote's PCR digest.
    #[must_use]
    pub const fn hash(&self) -> HashAlg {
        match self {
            Self::Own(key) => key.hash(),
            Self::Iak { template, .. } => template.hash(),
        }
    }
}

impl From<AttestationKey> for Ak {
    fn from(key: AttestationKey) -> Self {
        Self::Own(key)
    }
}

impl From<&AttestationKey> for Ak {
    fn from(key: &AttestationKey) -> Self {
        Self::Own(key.clone())
    }
}

impl From<&Ak> for Ak {
    fn from(key: &Ak) -> Self {
        key.clone()
    }
}

impl Engine {
    /// Runs `work` with the AK.
    pub(super) fn with_ak<T>(
        &mut self,
        ak: &Ak,
        work: impl FnOnce(&mut Self, KeyHandle, &Public) -> Result<T, TpmError>,
    ) -> Result<T, TpmError> {
        match ak {
            Ak::Own(key) => self.with_primary(Hierarchy::Endorsement, &key.template(), work),
            Ak::Iak { source, .. } => self.with_device_key(source, work),
        }
    }

    /// Authorisation for the AK's ADMIN role in `TPM2_ActivateCredential`: the
    /// salted session with its empty auth value; for the IAK by its policy.
    pub(super) fn with_activation_auth<T>(
        &mut self,
        ak: &Ak,
        work: impl FnOnce(&mut Self, Option<AuthSession>) -> Result<T, TpmError>,
    ) -> Result<T, TpmError> {
        match ak {
            Ak::Own(_) => work(self, None),
            Ak::Iak { template, .. } => self.with_devid_policy(
                DevidKey::Iak,
                template.hash(),
                CommandCode::ActivateCredential,
                |engine, policy| work(engine, Some(policy)),
            ),
        }
    }
}
