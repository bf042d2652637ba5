//! Appraisal: is the verified state one that the owner accepts?
//! In: [`VerifiedEvidence`], [`ReferenceValues`], a [`Policy`]. Out: an
//! [`AttestationResult`], affirming or not, with reasons.
//!
//! The policy (Rego) gives a trustworthiness vector and reasons; what holds
//! whatever it says is in `floor`. No bytes from a peer and no cryptography
//! are here: both were dealt with by verification.
//!
//! ```text
//! VerifiedEvidence ─Policy::appraise─► AttestationResult ─authorise─► IssuanceGrant
//! ```

mod example;
mod facts;
mod floor;
mod ima;
mod input;
mod library;
mod memo;
mod opinion;
mod pcr;
mod policy;
mod rego;
#[cfg(test)]
mod tests;
mod trial;

use std::{fmt, sync::Arc};

use holdfast_proto::{
    binding::Ueid,
    result::{Appraisal, Ear, Tier, TrustVector, VerifierId},
};

use self::floor::Verdict;
pub use self::{
    example::{Example, ExampleError, MAX_EXAMPLES},
    floor::Floor,
    ima::{ImaCounts, ImaState, MAX_NAMED},
    library::{DEFAULT_POLICY, LIBRARY, Shipped},
    opinion::{MAX_REASONS, Reason},
    policy::{MAX_SOURCE_BYTES, Policy, PolicyError, TIME_LIMIT},
    trial::{Trial, nothing_known},
};
#[cfg(doc)]
use crate::reference_values::ReferenceValues;
use crate::{
    endorsement::{EkKnownBy, TpmFacts},
    time::UnixTime,
    verification::{CertifiedNow, KeyProof, VerifiedEvidence},
};

/// What a PCR measures, in words.
#[must_use]
pub fn measures(pcr: u32) -> &'static str {
    pcr::meaning(pcr).measures
}

/// What the Verifier concluded about one gateway from one piece of Evidence
/// (RFC 9334 §8.4). Only [`Policy::appraise`] makes one. `K` says how the
/// LDevID key is known; only [`CertifiedNow`] can be authorised.
#[must_use = "an unread result is a gateway that nobody judged"]
pub struct AttestationResult<K> {
    key: K,
    subject: Subject,
    verdict: Arc<Verdict>,
    policy_id: [u8; 32],
    reference_id: Option<[u8; 32]>,
    /// There once, and only where the status is affirming.
    release: Option<SecretRelease>,
}

/// Whom the result is about.
struct Subject {
    gateway: Ueid,
    class: String,
    tpm: TpmFacts,
    nonce: [u8; 32],
}

impl<K: KeyProof> AttestationResult<K> {
    fn new(
        evidence: VerifiedEvidence<K>,
        verdict: Arc<Verdict>,
        policy_id: [u8; 32],
        reference_id: Option<[u8; 32]>,
    ) -> Self {
        let subject = Subject {
            gateway: *evidence.gateway_id(),
            class: evidence.class().as_str().to_owned(),
            tpm: evidence.tpm().clone(),
            nonce: *evidence.nonce(),
        };
        let release = (verdict.status == Tier::Affirming).then(|| SecretRelease {
            gateway: subject.gateway,
            class: subject.class.clone(),
        });
        Self {
            key: evidence.into_key(),
            subject,
            verdict,
            policy_id,
            reference_id,
            release,
        }
    }
}

impl<K> AttestationResult<K> {
    /// AR4SI trustworthiness vector.
    #[must_use]
    pub fn vector(&self) -> &TrustVector {
        &self.verdict.vector
    }

    /// Overall tier: the worst of the vector, or less (see
    /// [`Floor::mandatory`]).
    #[must_use]
    pub fn status(&self) -> Tier {
        self.verdict.status
    }

    /// Whether the gateway's state is affirmed.
    #[must_use]
    pub fn is_affirming(&self) -> bool {
        self.status() == Tier::Affirming
    }

    /// Whether it was only the policy that failed, which says nothing of the
    /// gateway: nothing is granted, and nothing need be taken away from it
    /// either. Never so where a PCR differs from its reference values.
    #[must_use]
    pub fn is_malfunction(&self) -> bool {
        self.verdict.is_malfunction()
    }

    /// The permission to deliver secrets in the answer to this very exchange:
    /// once, and only where the status is affirming.
    pub fn release(&mut self) -> Option<SecretRelease> {
        self.release.take()
    }

    /// Why. Never empty where the status is not affirming.
    #[must_use]
    pub fn reasons(&self) -> &[Reason] {
        &self.verdict.reasons
    }

    /// SHA-256 of the policy's source.
    #[must_use]
    pub fn policy_id(&self) -> &[u8; 32] {
        &self.policy_id
    }

    /// Id of the reference values; `None` where the class has none.
    #[must_use]
    pub fn reference_id(&self) -> Option<&[u8; 32]> {
        self.reference_id.as_ref()
    }

    /// Whom it is about.
    #[must_use]
    pub fn gateway_id(&self) -> &Ueid {
        &self.subject.gateway
    }

    /// Class whose reference values were used.
    #[must_use]
    pub fn class(&self) -> &str {
        &self.subject.class
    }

    /// The result as an EAR, to be signed with the result key.
    #[must_use]
    pub fn to_ear(&self, verifier: VerifierId, issued_at: UnixTime, expires: UnixTime) -> Ear {
        let mut appraisal = Appraisal::new(
            self.verdict.vector,
            self.verdict.status,
            *self.subject.gateway.as_bytes(),
        );
        appraisal.policy_ids = vec![format!("sha-256:{}", hex::encode(self.policy_id))];
        appraisal.reference_id = self.reference_id;
        appraisal.reason_codes = codes(&self.verdict.reasons);
        Ear {
            issued_at: issued_at.seconds(),
            expires: expires.seconds(),
            verifier,
            nonce: self.subject.nonce,
            appraisal,
        }
    }
}

/// Each code once, in the order of the reasons.
fn codes(reasons: &[Reason]) -> Vec<String> {
    let mut codes: Vec<String> = Vec::new();
    for reason in reasons {
        if !codes.contains(&reason.code) {
            codes.push(reason.code.clone());
        }
    }
    codes
}

impl AttestationResult<CertifiedNow> {
    /// Turns an affirming result into the permission to issue one LDevID, for
    /// the key that TPM2_Certify proved in this very exchange.
    ///
    /// # Errors
    /// [`Refused`] where the status is not affirming.
    pub fn authorise(self) -> Result<IssuanceGrant, Refused> {
        if !self.is_affirming() {
            return Err(Refused {
                gateway: self.subject.gateway,
                status: self.status(),
                reasons: self.verdict.reasons.clone(),
            });
        }
        Ok(IssuanceGrant {
            hardware_serial: hardware_serial(&self.subject.tpm, &self.subject.gateway),
            gateway: self.subject.gateway,
            class: self.subject.class,
            key: self.key,
            policy_id: self.policy_id,
            reference_id: self.reference_id,
        })
    }
}

/// tcg-hwType TPM 2.0.
const HW_TYPE_TPM_2_0: &str = "2.23.133.1.2";

/// Begins each serial number that an OEM's word stands behind.
const OEM_SERIAL: &str = "oem:";

/// hwSerialNum of a TPM: `<vendor code>:<AKI of the EK certificate>:<its
/// serial number>` (TCG DevID profile as HPE's specification has it), hex in
/// lower case. Without a certificate: `<vendor code or TPM>:ek:<SHA-256 of the
/// EK's SPKI>`.
/// On the IAK road it is under the owner's name for the OEM, since an OEM's CA
/// writes there what it likes: `oem:<OEM>:hw:<what it certified as such>`, or
/// else `oem:<OEM>:sn:<the product's serial number>`. So no OEM speaks for
/// another's products, nor for TPMs of the EK road.
pub(crate) fn hardware_serial(tpm: &TpmFacts, gateway: &Ueid) -> String {
    if let Some(devid) = &tpm.devid {
        // The LDevID says hwType TPM 2.0: only such a serial number fits.
        let (kind, serial) = match devid.hardware_type.as_str() {
            HW_TYPE_TPM_2_0 => ("hw", &devid.hardware_serial),
            _ => ("sn", &devid.serial),
        };
        return format!("{OEM_SERIAL}{}:{kind}:{serial}", devid.oem);
    }
    let vendor = tpm
        .manufacturer_text()
        .unwrap_or_else(|| tpm.manufacturer.clone());
    // Whatever a certificate calls its maker, it is no OEM.
    let vendor = match vendor.strip_prefix(OEM_SERIAL) {
        Some(_) => String::new(),
        None => vendor,
    };
    let vendor = if vendor.is_empty() { "TPM" } else { &vendor };
    match tpm.known_by {
        EkKnownBy::EkCertificate => format!(
            "{vendor}:{}:{}",
            tpm.ek_certificate_aki, tpm.ek_certificate_serial
        ),
        EkKnownBy::Fingerprint => {
            // After its type octet a UEID is that digest.
            let [_, spki_sha256 @ ..] = gateway.as_bytes();
            format!("{vendor}:ek:{}", hex::encode(spki_sha256))
        }
        // Has `devid`, and did not get here.
        EkKnownBy::IakCertificate => format!("{gateway}"),
    }
}

impl<K> fmt::Debug for AttestationResult<K> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AttestationResult")
            .field("gateway", &self.subject.gateway)
            .field("status", &self.status())
            .field("reasons", &codes(&self.verdict.reasons))
            .finish_non_exhaustive()
    }
}

/// Permission to issue one LDevID. Spent by [`crate::identity::Issuer::prepare`];
/// it cannot be copied, stored or made anew.
#[must_use = "a grant that is dropped is a gateway that was promised an identity and got none"]
pub struct IssuanceGrant {
    key: CertifiedNow,
    gateway: Ueid,
    class: String,
    hardware_serial: String,
    policy_id: [u8; 32],
    reference_id: Option<[u8; 32]>,
}

impl IssuanceGrant {
    /// Whose identity it is.
    #[must_use]
    pub fn gateway_id(&self) -> &Ueid {
        &self.gateway
    }

    /// DER SubjectPublicKeyInfo of the certified LDevID key.
    #[must_use]
    pub fn ldevid_spki(&self) -> &[u8] {
        self.key.ldevid().spki_der()
    }

    /// The class that it was affirmed as: whose certificate profile applies.
    #[must_use]
    pub fn class(&self) -> &str {
        &self.class
    }

    /// hwSerialNum for the HardwareModuleName.
    #[must_use]
    pub fn hardware_serial(&self) -> &str {
        &self.hardware_serial
    }

    /// Policy under which it was granted.
    #[must_use]
    pub fn policy_id(&self) -> &[u8; 32] {
        &self.policy_id
    }

    /// Reference values with which it was granted.
    #[must_use]
    pub fn reference_id(&self) -> Option<&[u8; 32]> {
        self.reference_id.as_ref()
    }
}

impl fmt::Debug for IssuanceGrant {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("IssuanceGrant")
            .field("gateway", &self.gateway)
            .finish_non_exhaustive()
    }
}

/// Permission to deliver the secrets of a class to one gateway, in one answer.
/// Only a fresh verdict that affirms has one. Spent by
/// [`crate::secrets::Delivery::new`]; it cannot be copied, stored or made anew.
#[must_use = "a release that is dropped is a gateway that was affirmed and got nothing"]
pub struct SecretRelease {
    gateway: Ueid,
    class: String,
}

impl SecretRelease {
    pub(crate) fn into_parts(self) -> (Ueid, String) {
        (self.gateway, self.class)
    }

    /// The class that was affirmed.
    #[must_use]
    pub fn class(&self) -> &str {
        &self.class
    }

    /// The gateway that was affirmed.
    #[must_use]
    pub fn gateway_id(&self) -> &Ueid {
        &self.gateway
    }
}

impl fmt::Debug for SecretRelease {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SecretRelease")
            .field("gateway", &self.gateway)
            .finish_non_exhaustive()
    }
}

/// The result does not affirm, so nothing may be issued on it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("gateway {gateway} is not affirmed (status {}): nothing is issued", status.name())]
pub struct Refused {
    /// Whose result it was.
    pub gateway: Ueid,
    /// The overall tier.
    pub status: Tier,
    /// Why.
    pub reasons: Vec<Reason>,
}
