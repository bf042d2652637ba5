//! What verification proves, as a value that only this room can make.

use std::fmt;

use holdfast_proto::{
    binding::Ueid,
    claims::Claims,
    tpm::{ClockInfo, Name},
};

use super::{
    boot_log::ReplayedBootLog,
    evidence::{BootLog, PcrValues},
    ima::ImaEvidence,
    keys::{AkPublic, LdevidPublic},
};
use crate::{
    endorsement::{EkLink, EkPublic, FurtherEk, TpmFacts},
    freshness::Class,
};

/// TLS exporter value of the connection that carried the Evidence (RFC 8446
/// §7.5, RFC 9266): label `EXPORTER-holdfast-evidence`, no context, 32 bytes.
#[derive(Clone, Copy)]
pub struct ChannelBinding([u8; 32]);

impl ChannelBinding {
    /// From the exporter of the connection that carries the call.
    #[must_use]
    pub const fn new(exporter: [u8; 32]) -> Self {
        Self(exporter)
    }

    pub(super) const fn bytes(&self) -> &[u8; 32] {
        &self.0
    }
}

impl fmt::Debug for ChannelBinding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ChannelBinding(..)")
    }
}

mod sealed {
    pub trait KnownByVerification {}
}

/// How the LDevID key came to be believed in. Sealed: [`CertifiedNow`] or
/// [`OnRecord`].
pub trait KeyProof: sealed::KnownByVerification {
    /// The LDevID key.
    fn ldevid(&self) -> &LdevidPublic;
}

/// The LDevID key was certified by the AK in this very exchange
/// (TPM2_Certify, TPM 2.0 Part 3 §18.2). An LDevID may be issued for it.
#[derive(Debug)]
pub struct CertifiedNow {
    ldevid: LdevidPublic,
}

/// The LDevID key was certified in an earlier exchange. Enough to stay
/// trusted, never to be issued an LDevID.
#[derive(Debug)]
pub struct OnRecord {
    ldevid: LdevidPublic,
}

/// The EKs of an enrolment: the AK certified of each, in this very exchange, that
/// a key with its public area is an EK of the AK's TPM. Made only by
/// [`super::verify_enrolment`].
#[derive(Debug)]
#[must_use]
pub struct CertifiedEks {
    first: EkPublic,
    further: Vec<FurtherEk>,
}

impl CertifiedEks {
    pub(super) fn new(first: EkPublic, further: Vec<FurtherEk>) -> Self {
        Self { first, further }
    }

    /// The EK.
    #[must_use]
    pub fn ek(&self) -> &EkPublic {
        &self.first
    }

    /// The other EKs of the same TPM.
    pub fn further(&self) -> &[FurtherEk] {
        &self.further
    }

    /// As the record says it.
    #[must_use]
    pub fn link(&self) -> EkLink {
        EkLink::Certification
    }
}

impl CertifiedNow {
    pub(super) fn new(ldevid: LdevidPublic) -> Self {
        Self { ldevid }
    }
}

impl OnRecord {
    pub(super) fn new(ldevid: LdevidPublic) -> Self {
        Self { ldevid }
    }
}

impl sealed::KnownByVerification for CertifiedNow {}
impl sealed::KnownByVerification for OnRecord {}

impl KeyProof for CertifiedNow {
    fn ldevid(&self) -> &LdevidPublic {
        &self.ldevid
    }
}

impl KeyProof for OnRecord {
    fn ldevid(&self) -> &LdevidPublic {
        &self.ldevid
    }
}

/// Evidence (RFC 9334 §8.1) that is authentic, fresh, and bound to this TPM,
/// this challenge and this channel. Made only by [`super::verify_enrolment`],
/// [`super::verify_attestation`] and [`super::verify_renewal`].
#[derive(Debug)]
#[must_use]
pub struct VerifiedEvidence<K> {
    key: K,
    facts: Facts,
}

/// Everything but the key, gathered by `road`.
#[derive(Debug)]
pub(super) struct Facts {
    pub(super) gateway: Ueid,
    pub(super) class: Class,
    pub(super) tpm: TpmFacts,
    pub(super) ak: AkPublic,
    pub(super) ak_qualified_name: Vec<u8>,
    pub(super) nonce: [u8; 32],
    pub(super) pcrs: PcrValues,
    pub(super) pcr_digest: Vec<u8>,
    pub(super) clock: ClockInfo,
    pub(super) previous_clock: Option<ClockInfo>,
    pub(super) firmware_version: u64,
    pub(super) claims: Claims,
    pub(super) boot_log: BootLog,
    pub(super) ima: ImaEvidence,
    pub(super) replayed: Option<ReplayedBootLog>,
}

impl<K: KeyProof> VerifiedEvidence<K> {
    pub(super) fn new(key: K, facts: Facts) -> Self {
        Self { key, facts }
    }

    /// The LDevID key: certified now or on record, as `K` says.
    #[must_use]
    pub fn ldevid(&self) -> &LdevidPublic {
        self.key.ldevid()
    }

    /// Name of the LDevID key.
    #[must_use]
    pub fn ldevid_name(&self) -> &Name {
        self.key.ldevid().name()
    }

    /// Gives up the Evidence for the proof about its key; for the
    /// Attestation Result, which carries it on.
    #[must_use]
    pub fn into_key(self) -> K {
        self.key
    }

    /// UEID of the gateway: 0x01 ‖ SHA-256 of its EK's SPKI.
    #[must_use]
    pub fn gateway_id(&self) -> &Ueid {
        &self.facts.gateway
    }

    /// Reference-value class that the admission assigned.
    #[must_use]
    pub fn class(&self) -> &Class {
        &self.facts.class
    }

    /// What the EK certificate says of the TPM, and who says so.
    #[must_use]
    pub fn tpm(&self) -> &TpmFacts {
        &self.facts.tpm
    }

    /// The AK that signed the quote.
    #[must_use]
    pub fn ak(&self) -> &AkPublic {
        &self.facts.ak
    }

    /// Qualified name of the AK: where in the TPM's hierarchies it stands.
    #[must_use]
    pub fn ak_qualified_name(&self) -> &[u8] {
        &self.facts.ak_qualified_name
    }

    /// The challenge's nonce.
    #[must_use]
    pub fn nonce(&self) -> &[u8; 32] {
        &self.facts.nonce
    }

    /// Quoted PCRs: exactly the required selection, each with its value.
    #[must_use]
    pub fn pcrs(&self) -> &PcrValues {
        &self.facts.pcrs
    }

    /// pcrDigest of the quote (TPM 2.0 Part 2 §10.12.1).
    #[must_use]
    pub fn pcr_digest(&self) -> &[u8] {
        &self.facts.pcr_digest
    }

    /// TPM clock at the quote.
    #[must_use]
    pub fn clock(&self) -> &ClockInfo {
        &self.facts.clock
    }

    /// TPM clock at the last quote on record, if there is one.
    #[must_use]
    pub fn previous_clock(&self) -> Option<&ClockInfo> {
        self.facts.previous_clock.as_ref()
    }

    /// TPM firmware version, vendor specific (TPMS_ATTEST.firmwareVersion).
    #[must_use]
    pub fn firmware_version(&self) -> u64 {
        self.facts.firmware_version
    }

    /// What the Attester's software says, signed by the LDevID key.
    #[must_use]
    pub fn claims(&self) -> &Claims {
        &self.facts.claims
    }

    /// The boot log as it came, bound by the claims.
    #[must_use]
    pub fn boot_log(&self) -> &BootLog {
        &self.facts.boot_log
    }

    /// The IMA log, replayed to the quoted PCR 10.
    #[must_use]
    pub fn ima(&self) -> &ImaEvidence {
        &self.facts.ima
    }

    /// The boot log, replayed and held against the quoted PCRs; `None` where
    /// the gateway keeps none.
    #[must_use]
    pub fn replayed_boot_log(&self) -> Option<&ReplayedBootLog> {
        self.facts.replayed.as_ref()
    }
}
