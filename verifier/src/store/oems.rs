//! OEMs on record: whose IAKs count, and which of their products are admitted.

use async_trait::async_trait;
use holdfast_proto::binding::Ueid;

use super::{Anchor, Imported, Seconds, Sha256, StoreError};

/// A certificate of an OEM.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OemAnchor {
    /// The owner's name for the OEM.
    pub oem: String,
    /// The certificate.
    pub anchor: Anchor,
}

/// A CA certificate of an OEM that is trusted no more.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WithdrawnCa {
    /// The owner's name for the OEM.
    pub oem: String,
    /// SHA-256 of the certificate.
    pub sha256: Sha256,
    /// SHA-256 of its SubjectPublicKeyInfo.
    pub key_sha256: Sha256,
    /// Subject, for people; inert.
    pub subject: String,
}

/// What a withdrawal did.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct OemWithdrawn {
    /// Gateways that were suspended, their LDevIDs revoked.
    pub gateways: Vec<Ueid>,
    /// Serial numbers that were taken off the list, where no root of the OEM is
    /// left.
    pub serials: u64,
}

/// A product that is admitted by its serial number.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AllowedSerial {
    /// The owner's name for the OEM.
    pub oem: String,
    /// serialNumber of the product's IDevID.
    pub serial: String,
    /// Reference-value class that it is admitted to.
    pub class: String,
    /// When it was put on the list.
    pub added_at: Seconds,
}

/// What an import does with a certificate that was withdrawn.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OfWithdrawn {
    /// Imports none.
    Refuse,
    /// Trusts it again.
    TrustAgain,
}

/// OEMs, their anchors and their allow lists.
#[async_trait]
pub trait Oems: Send + Sync {
    /// All OEMs' certificates.
    async fn oem_anchors(&self) -> Result<Vec<OemAnchor>, StoreError>;

    /// Adds those anchors of an OEM that are not yet known of it, each with the
    /// SHA-256 of its key. All or none.
    ///
    /// # Errors
    /// [`StoreError::OemCaWithdrawn`] where a CA with the key of one was withdrawn,
    /// of whichever OEM, and is not to be trusted again.
    async fn import_oem_anchors(
        &self,
        oem: &str,
        anchors: Vec<(Anchor, Sha256)>,
        of_withdrawn: OfWithdrawn,
        by: &str,
        now: Seconds,
    ) -> Result<Imported, StoreError>;

    /// CAs that were withdrawn.
    async fn withdrawn_oem_cas(&self) -> Result<Vec<WithdrawnCa>, StoreError>;

    /// Trusts CAs of an OEM no more: they are anchors no longer, and in the same
    /// transaction each gateway whose IAK or IDevID was certified through the key
    /// of one is suspended until an operator resumes it, and its LDevIDs are
    /// revoked. Of a gateway whose path is not on record that is assumed.
    async fn withdraw_oem_cas(
        &self,
        oem: &str,
        cas: Vec<WithdrawnCa>,
        reason: &str,
        by: &str,
        now: Seconds,
    ) -> Result<OemWithdrawn, StoreError>;

    /// Puts serial numbers on an OEM's allow list. One that is there already
    /// changes its class. Returns how many changed anything.
    async fn allow_oem_serials(
        &self,
        oem: &str,
        serials: Vec<String>,
        class: &str,
        by: &str,
        now: Seconds,
    ) -> Result<u32, StoreError>;

    /// Takes serial numbers off an OEM's allow list. Gateways that came in by
    /// them stay. Returns how many were on it.
    async fn remove_oem_serials(
        &self,
        oem: &str,
        serials: Vec<String>,
        by: &str,
        now: Seconds,
    ) -> Result<u32, StoreError>;

    /// Up to `limit` entries of all allow lists in order of OEM and serial
    /// number, those after `after`.
    async fn oem_serials(
        &self,
        after: Option<(&str, &str)>,
        limit: u32,
    ) -> Result<Vec<AllowedSerial>, StoreError>;

    /// Entries for a serial number: of each OEM one at most.
    async fn allowed_serial(&self, serial: &str) -> Result<Vec<AllowedSerial>, StoreError>;
}
