//! What is kept, as plain shapes. Nothing here proves anything: a record read
//! back is parsed and checked again by the rooms that use it.

use std::fmt;

use holdfast_proto::{
    binding::Ueid,
    tpm::{ClockInfo, Name},
};
use serde::{Deserialize, Serialize};

use super::{
    admissions::DeviceName,
    basis::Basis,
    eks::EkRecord,
    error::{Blocked, StoreError},
    references::QuotedPcrs,
};
use crate::{
    endorsement::{EkFacts, EkLink, TpmFacts},
    identity::CrlPart,
    silence::Notice,
};

/// Seconds since the Unix epoch.
pub type Seconds = i64;
/// A SHA-256 digest.
pub type Sha256 = [u8; 32];
/// Key identifier of a CA.
pub type KeyId = [u8; 20];

/// LDevIDs of one gateway that are in force at once. A gateway that renews in
/// time has two; each renewal beyond is a row here, a signature of the CA, and an
/// entry of a CRL if the gateway is revoked.
pub const LDEVIDS_IN_FORCE: u32 = 16;

/// How many seconds of the clock one second of up-time explains when ended
/// records are removed. Eight: one that was off for a month catches up within
/// five days, and a clock that is wrong has to be so for four days of running
/// before any record of an LDevID goes that is in force: they stay for a month
/// after their end.
pub const SWEEP_PACE: i64 = 8;

/// What a sweep did.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Swept {
    /// Rows that went.
    pub rows: u64,
    /// By which time things have ended. Never later than the clock, which it
    /// follows by [`SWEEP_PACE`].
    pub ended: Seconds,
}

/// A certificate of a TPM vendor.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Anchor {
    /// SHA-256 of `der`.
    pub sha256: Sha256,
    /// The certificate.
    pub der: Vec<u8>,
    /// Subject, for people.
    pub subject: String,
    /// Trust anchor (self-signed) or intermediate.
    pub root: bool,
    /// End of validity.
    pub not_after: Seconds,
}

/// What an import of anchors did.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Imported {
    /// New roots.
    pub roots: u32,
    /// New intermediates.
    pub intermediates: u32,
    /// Not new.
    pub already_known: u32,
}

/// A join token; its secret is kept by hash only.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct JoinToken {
    /// SHA-256 of the secret; also the token's id.
    pub secret_sha256: Sha256,
    /// Class of the gateways that it admits.
    pub class: String,
    /// How many more it may admit.
    pub uses_left: u32,
    /// When it ends.
    pub expires: Seconds,
}

impl JoinToken {
    /// Whether it admits a gateway at `now`.
    ///
    /// # Errors
    /// [`StoreError::JoinTokenExpired`] or [`StoreError::JoinTokenSpent`].
    pub fn usable(&self, now: Seconds) -> Result<(), StoreError> {
        if self.expires <= now {
            return Err(StoreError::JoinTokenExpired {
                expires: self.expires,
            });
        }
        if self.uses_left == 0 {
            return Err(StoreError::JoinTokenSpent);
        }
        Ok(())
    }
}

/// Why a gateway is suspended, in order of gravity.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum SuspensionKind {
    /// It stopped attesting. The only one that Recover heals.
    Silence,
    /// Its evidence was not affirming. New reference values may heal it.
    Evidence,
    /// The owner said so. Stays until the owner resumes it.
    Operator,
}

impl SuspensionKind {
    pub(super) fn as_str(self) -> &'static str {
        match self {
            Self::Silence => "silence",
            Self::Operator => "operator",
            Self::Evidence => "evidence",
        }
    }
}

impl fmt::Display for SuspensionKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// State of a gateway.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Lifecycle {
    /// In good standing.
    Active,
    /// Not trusted for the time being.
    Suspended(SuspensionKind),
    /// Never to be trusted again.
    Revoked,
}

impl Lifecycle {
    /// "active", "suspended" or "revoked".
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Active => "active",
            Self::Suspended(_) => "suspended",
            Self::Revoked => "revoked",
        }
    }
}

/// The keys that passed activation and certification together.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GatewayKeys {
    /// `TPMT_PUBLIC` of the AK.
    pub ak_public: Vec<u8>,
    /// Name of the AK.
    pub ak_name: Name,
    /// Qualified name of the AK, as its attestations state it.
    pub ak_qualified_name: Vec<u8>,
    /// `TPMT_PUBLIC` of the LDevID key.
    pub ldevid_public: Vec<u8>,
    /// Name of the LDevID key.
    pub ldevid_name: Name,
}

/// What is known about the TPM: whose it is and when it was last seen.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TpmRecord {
    /// `TPMT_PUBLIC` of the EK.
    pub ek_public: Vec<u8>,
    /// What ties it to the AK.
    pub ek_link: EkLink,
    /// SHA-256 of the endorsed EK's SubjectPublicKeyInfo.
    pub ek_spki_sha256: Sha256,
    /// SHA-256 over the EK certificate chain as presented; on the IAK road over
    /// the IAK's.
    pub ek_chain_sha256: Sha256,
    /// What the EK certificate says of it.
    pub facts: TpmFacts,
    /// TPM clock at the last quote that was verified.
    pub clock: ClockInfo,
    /// TPM firmware version at that quote.
    pub firmware_version: u64,
}

/// A reason of the last verdict.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Reason {
    /// Stable, kebab-case.
    pub code: String,
    /// For people.
    pub detail: String,
    /// What to do.
    pub next_step: String,
}

/// A gateway on record.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GatewayRecord {
    /// Its UEID.
    pub id: Ueid,
    /// Reference-value class.
    pub class: String,
    /// State.
    pub lifecycle: Lifecycle,
    /// Why it is in that state; empty where active.
    pub state_reason: String,
    /// Its keys.
    pub keys: GatewayKeys,
    /// Its TPM.
    pub tpm: TpmRecord,
    /// Every EK that it has shown, in the order of their coming.
    pub eks: Vec<EkRecord>,
    /// The last boot log that it sent.
    pub boot_log_sha256: Option<Sha256>,
    /// Reasons of the last verdict.
    pub last_reasons: Vec<Reason>,
    /// First enrolment.
    pub enrolled_at: Seconds,
    /// Last affirming verdict.
    pub last_affirmed: Seconds,
    /// The certificate that ends last among those not revoked.
    pub certificate: Option<CertificateRecord>,
}

impl GatewayRecord {
    /// Whether the gateway may enrol, renew or attest.
    ///
    /// # Errors
    /// [`StoreError::Blocked`] where it is suspended or revoked.
    pub fn in_good_standing(&self) -> Result<(), StoreError> {
        let blocked = match self.lifecycle {
            Lifecycle::Active => return Ok(()),
            Lifecycle::Suspended(kind) => Blocked::Suspended(kind),
            Lifecycle::Revoked => Blocked::Revoked,
        };
        Err(StoreError::Blocked {
            id: self.id,
            blocked,
        })
    }

    /// Whether the gateway may use Recover: its LDevID ended, or it is
    /// suspended for silence; nothing else.
    ///
    /// # Errors
    /// [`StoreError::Blocked`] or [`StoreError::NothingToRecover`].
    pub fn may_recover(&self, now: Seconds) -> Result<(), StoreError> {
        match self.lifecycle {
            Lifecycle::Suspended(SuspensionKind::Silence) => Ok(()),
            Lifecycle::Active if !self.has_valid_certificate(now) => Ok(()),
            Lifecycle::Active => Err(StoreError::NothingToRecover { id: self.id }),
            Lifecycle::Suspended(_) | Lifecycle::Revoked => self.in_good_standing(),
        }
    }

    /// Whether an LDevID is in force at `now`.
    #[must_use]
    pub fn has_valid_certificate(&self, now: Seconds) -> bool {
        self.certificate
            .as_ref()
            .is_some_and(|c| c.revoked_at.is_none() && c.not_after >= now)
    }
}

/// Some gateways, in order of id.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GatewayPage {
    /// Those that could be read.
    pub gateways: Vec<GatewayRecord>,
    /// Where to go on; `None` at the end.
    pub next: Option<Ueid>,
}

/// A certificate that was issued.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CertificateRecord {
    /// SHA-256 of the DER.
    pub sha256: Sha256,
    /// Serial number, lower-case hex.
    pub serial: String,
    /// Start of validity.
    pub not_before: Seconds,
    /// End of validity.
    pub not_after: Seconds,
    /// When it was revoked.
    pub revoked_at: Option<Seconds>,
}

/// A certificate about to be recorded.
#[derive(Debug, Clone)]
pub struct NewCertificate {
    /// SHA-256 of `der`.
    pub sha256: Sha256,
    /// Serial number, lower-case hex.
    pub serial: String,
    /// Key identifier of the CA that issued it.
    pub issuer: KeyId,
    /// The CRL that answers for it.
    pub crl: CrlPart,
    /// The leaf.
    pub der: Vec<u8>,
    /// Start of validity.
    pub not_before: Seconds,
    /// End of validity.
    pub not_after: Seconds,
}

/// An answer about to be recorded, and the challenge that it spends.
#[derive(Debug, Clone)]
pub struct Answer {
    /// Digest of the request, with its purpose and caller.
    pub request_sha256: Sha256,
    /// Id of the challenge token.
    pub token_id: Sha256,
    /// When the challenge was made: whatever was recorded before that is older
    /// than the evidence.
    pub issued: Seconds,
    /// When the challenge expires by itself.
    pub expires: Seconds,
    /// Bytes of the response message.
    pub response: Vec<u8>,
    /// What the response's verdict goes by.
    pub basis: Basis,
}

/// A boot log as a gateway referred to it.
#[derive(Debug, Clone)]
pub enum BootLogRef {
    /// Sent whole.
    Content {
        /// SHA-256 of `bytes`.
        sha256: Sha256,
        /// The log.
        bytes: Vec<u8>,
    },
    /// Sent before.
    Known(Sha256),
}

/// By what right a gateway is granted an LDevID.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Admittance {
    /// One use of the join token with this SHA-256.
    JoinToken(Sha256),
    /// The owner named the device.
    Listed(DeviceName),
    /// It is on record and may come back.
    Recovery,
    /// Its product's serial number is on its OEM's allow list.
    OemSerial {
        /// The OEM.
        oem: String,
        /// The serial number.
        serial: String,
    },
}

/// A grant from enrolment or recovery.
#[derive(Debug, Clone)]
pub struct Enrolled {
    /// What is answered.
    pub answer: Answer,
    /// By what right.
    pub admittance: Admittance,
    /// Who.
    pub id: Ueid,
    /// Reference-value class.
    pub class: String,
    /// Its keys.
    pub keys: GatewayKeys,
    /// Its TPM.
    pub tpm: TpmRecord,
    /// Its other EKs, activated for the same AK.
    pub further_eks: Vec<EkFacts>,
    /// What it quoted.
    pub quote: QuotedPcrs,
    /// Its boot log.
    pub boot_log: Option<BootLogRef>,
    /// What is known of its IMA log; takes the place of what was.
    pub ima: Option<String>,
    /// The LDevID.
    pub certificate: NewCertificate,
    /// Reasons of the verdict.
    pub reasons: Vec<Reason>,
    /// Within how long it must begin to beat; none where it need not.
    pub begin_beats: Option<Notice>,
}

/// An enrolment or recovery that was not affirming.
#[derive(Debug, Clone)]
pub struct Refused {
    /// What is answered.
    pub answer: Answer,
    /// Who.
    pub id: Ueid,
    /// Against which class it was appraised.
    pub class: String,
    /// The verdict speaks against the gateway. `false` where it is the
    /// Verifier's own policy that failed: nothing is granted then, but nothing
    /// is taken away either.
    pub against_gateway: bool,
    /// What it quoted.
    pub quote: QuotedPcrs,
    /// Its boot log. Kept only of a gateway that is on record.
    pub boot_log: Option<BootLogRef>,
    /// How that differs from what is good, in words.
    pub drift: Vec<String>,
    /// Reasons of the verdict.
    pub reasons: Vec<Reason>,
}

/// An affirming re-attestation.
#[derive(Debug, Clone)]
pub struct Affirmed {
    /// What is answered.
    pub answer: Answer,
    /// Who.
    pub id: Ueid,
    /// SHA-256 of the certificate that the caller authenticated with.
    pub channel_certificate: Sha256,
    /// Names of AK and LDevID key that the evidence was checked with.
    pub ak_name: Name,
    /// See `ak_name`.
    pub ldevid_name: Name,
    /// TPM clock at the last quote that was verified.
    pub clock: ClockInfo,
    /// TPM firmware version at that quote.
    pub firmware_version: u64,
    /// What it quoted.
    pub quote: QuotedPcrs,
    /// Its boot log.
    pub boot_log: Option<BootLogRef>,
    /// What is known of its IMA log; takes the place of what was.
    pub ima: Option<String>,
    /// The renewed LDevID.
    pub certificate: Option<NewCertificate>,
    /// Reasons of the verdict.
    pub reasons: Vec<Reason>,
    /// Within how long it must begin to beat; none where it need not.
    pub begin_beats: Option<Notice>,
}

/// A re-attestation that was not affirming.
#[derive(Debug, Clone)]
pub struct Contraindicated {
    /// What is answered.
    pub answer: Answer,
    /// Who.
    pub id: Ueid,
    /// Class that it was appraised as. Where the gateway is of another by now,
    /// nothing is filed against it.
    pub class: String,
    /// Names of AK and LDevID key that the evidence was checked with.
    pub ak_name: Name,
    /// See `ak_name`.
    pub ldevid_name: Name,
    /// The verdict speaks against the gateway. `false` where it is the
    /// Verifier's own policy that failed: nothing is granted then, but nothing
    /// is taken away either.
    pub against_gateway: bool,
    /// What it quoted.
    pub quote: QuotedPcrs,
    /// Its boot log. Kept only of a gateway that is on record.
    pub boot_log: Option<BootLogRef>,
    /// How that differs from what is good, in words.
    pub drift: Vec<String>,
    /// Reasons of the verdict.
    pub reasons: Vec<Reason>,
}

/// What a recording transaction did.
#[derive(Debug, Clone, PartialEq, Eq)]
#[must_use]
pub enum Recorded {
    /// Recorded: answer with what was given.
    Now,
    /// The same request had been recorded already: answer with these bytes.
    Before(Vec<u8>),
}

/// Who did what, when.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AuditEntry {
    /// When.
    pub at: Seconds,
    /// Who: "uid:0", "gateway", "verifier".
    pub actor: String,
    /// What, kebab-case.
    pub action: String,
    /// To whom: a gateway id, token id, class or certificate digest.
    pub subject: String,
    /// More, for people.
    pub detail: String,
}
