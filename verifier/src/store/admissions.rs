//! Who may enrol without a token: devices that the owner named, gateways that
//! wait for a person, and replacements of broken ones.

use std::fmt;

use async_trait::async_trait;
use holdfast_proto::binding::Ueid;

use super::{Seconds, StoreError};

/// By what a device is known before it enrols: the SHA-256 of its EK's
/// SubjectPublicKeyInfo. (A product that its OEM certified is admitted by its
/// serial number: [`super::Oems`].)
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DeviceName([u8; 32]);

impl DeviceName {
    /// The EK that a gateway's id is made from (`01` ‖ its SHA-256).
    #[must_use]
    pub fn of_gateway(id: &Ueid) -> Self {
        let mut sha256 = [0; 32];
        for (to, from) in sha256.iter_mut().zip(id.as_bytes().iter().skip(1)) {
            *to = *from;
        }
        Self(sha256)
    }

    /// The EK's SHA-256.
    #[must_use]
    pub const fn sha256(&self) -> &[u8; 32] {
        &self.0
    }

    /// The gateway whose id is made from this EK.
    #[must_use]
    pub fn gateway(&self) -> Ueid {
        Ueid::from_digest(&self.0)
    }

    /// "ek-sha256".
    #[must_use]
    pub const fn kind(&self) -> &'static str {
        "ek-sha256"
    }

    /// The digest in lower-case hex.
    #[must_use]
    pub fn value(&self) -> String {
        hex::encode(self.0)
    }

    /// From kind and value, as [`DeviceName::kind`] and [`DeviceName::value`]
    /// write them.
    #[must_use]
    pub fn parse(kind: &str, value: &str) -> Option<Self> {
        let mut sha256 = [0; 32];
        hex::decode_to_slice(value, &mut sha256).ok()?;
        let name = Self(sha256);
        // One way to write each: upper case would be a second row.
        (kind == name.kind() && value == name.value()).then_some(name)
    }
}

impl fmt::Display for DeviceName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.kind(), self.value())
    }
}

/// A device that the owner admits by name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AdmittedDevice {
    /// In order of adding.
    pub number: u64,
    /// Which.
    pub name: DeviceName,
    /// As what it is appraised.
    pub class: String,
    /// Why it is here, for people.
    pub note: String,
    /// When it was added.
    pub added_at: Seconds,
    /// By whom.
    pub added_by: String,
}

/// A gateway that proved its TPM and asks to be admitted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewPending {
    /// Which.
    pub id: Ueid,
    /// As what it would be appraised.
    pub class: String,
    /// What its EK certificate says of the TPM, for people.
    pub tpm: String,
    /// Where it calls from: what limits are counted by.
    pub address: String,
    /// When it is forgotten, unless it asks again.
    pub expires: Seconds,
}

/// How many may wait.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PendingBounds {
    /// In all.
    pub all: u32,
    /// From one address.
    pub per_address: u32,
}

/// One that waits, or was denied.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PendingGateway {
    /// In order of asking.
    pub number: u64,
    /// Which.
    pub id: Ueid,
    /// Turned away; else it waits.
    pub denied: bool,
    /// As what it would be appraised.
    pub class: String,
    /// What its EK certificate says of the TPM, for people.
    pub tpm: String,
    /// Where it called from last.
    pub address: String,
    /// When it first asked.
    pub first_seen: Seconds,
    /// When it last asked.
    pub last_seen: Seconds,
    /// When it is forgotten.
    pub expires: Seconds,
    /// Why it was denied.
    pub reason: String,
}

/// What a denial did.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Denied {
    /// The one that was turned away.
    pub pending: PendingGateway,
    /// It is on record, and suspended since.
    pub suspended: bool,
}

/// A broken gateway and the one in its place.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Replacement {
    /// The broken one: revoked.
    pub old: Ueid,
    /// The new one.
    pub new: Ueid,
    /// When.
    pub at: Seconds,
    /// By whom.
    pub by: String,
    /// Why.
    pub reason: String,
}

/// What is asked of the record of admissions.
#[async_trait]
pub trait Admissions: Send + Sync {
    /// The device of this name, if it is admitted.
    async fn admitted_device(
        &self,
        name: &DeviceName,
    ) -> Result<Option<AdmittedDevice>, StoreError>;

    /// Up to `limit` admitted devices in order of adding, those above `after`.
    async fn admitted_devices(
        &self,
        after: u64,
        limit: u32,
    ) -> Result<Vec<AdmittedDevice>, StoreError>;

    /// Admits a device.
    ///
    /// # Errors
    /// [`StoreError::DeviceExists`] where it is admitted already;
    /// [`StoreError::PendingDenied`] where it was denied: approve or forget it.
    async fn admit_device(
        &self,
        name: &DeviceName,
        class: &str,
        note: &str,
        by: &str,
        now: Seconds,
    ) -> Result<AdmittedDevice, StoreError>;

    /// Takes a device's admission back. What it holds already stays.
    ///
    /// # Errors
    /// [`StoreError::UnknownDevice`].
    async fn remove_device(
        &self,
        name: &DeviceName,
        by: &str,
        now: Seconds,
    ) -> Result<(), StoreError>;

    /// Notes that a gateway waits, or waits still. Grants nothing.
    ///
    /// # Errors
    /// [`StoreError::PendingDenied`] where it was turned away;
    /// [`StoreError::PendingFull`] where too many wait.
    async fn note_pending(
        &self,
        pending: NewPending,
        bounds: PendingBounds,
        now: Seconds,
    ) -> Result<(), StoreError>;

    /// One that waits or was denied.
    async fn pending_gateway(
        &self,
        id: &Ueid,
        now: Seconds,
    ) -> Result<Option<PendingGateway>, StoreError>;

    /// Up to `limit` of them in order of asking, those above `after`.
    async fn pending_gateways(
        &self,
        after: u64,
        limit: u32,
        now: Seconds,
    ) -> Result<Vec<PendingGateway>, StoreError>;

    /// Admits one that waits (or was denied), as `class`.
    ///
    /// # Errors
    /// [`StoreError::UnknownPending`]; [`StoreError::DeviceExists`].
    async fn approve_pending(
        &self,
        id: &Ueid,
        class: &str,
        by: &str,
        now: Seconds,
    ) -> Result<AdmittedDevice, StoreError>;

    /// Turns one away that waits or is on record: whatever else would admit it
    /// (token, list, serial number, its own record), it gets no grant until it
    /// is approved or forgotten. One that is in is suspended by the operator in
    /// the same transaction.
    ///
    /// # Errors
    /// [`StoreError::UnknownPending`] where it neither waits nor is on record.
    async fn deny_pending(
        &self,
        id: &Ueid,
        reason: &str,
        by: &str,
        now: Seconds,
    ) -> Result<Denied, StoreError>;

    /// Forgets one that waits or was denied.
    ///
    /// # Errors
    /// [`StoreError::UnknownPending`].
    async fn forget_pending(&self, id: &Ueid, by: &str, now: Seconds) -> Result<(), StoreError>;

    /// Revokes `old` for ever and admits `new` in its place and class. All or
    /// nothing.
    ///
    /// # Errors
    /// [`StoreError::UnknownGateway`]; [`StoreError::NotAReplacement`] where
    /// `new` is on record, is `old`, or takes another's place already, or `old`
    /// has been replaced.
    async fn replace_gateway(
        &self,
        old: &Ueid,
        new: &Ueid,
        reason: &str,
        by: &str,
        now: Seconds,
    ) -> Result<Replacement, StoreError>;

    /// Replacements that a gateway is part of: of it, and by it.
    async fn replacements(&self, id: &Ueid) -> Result<Vec<Replacement>, StoreError>;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_device_has_one_name() {
        let id = super::super::fixtures::id(0xAB);
        let name = DeviceName::of_gateway(&id);
        assert_eq!(name.value(), "ab".repeat(32));
        assert_eq!(DeviceName::parse(name.kind(), &name.value()), Some(name));
        for (kind, value) in [
            ("ek-sha256", "AB".repeat(32)),
            ("ek-sha256", "ab".repeat(31)),
            ("idevid-serial", "SN-0042".to_owned()),
            ("ek", "ab".repeat(32)),
        ] {
            assert_eq!(DeviceName::parse(kind, &value), None, "{kind} {value}");
        }
    }
}
