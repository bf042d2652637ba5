//! The whole of verification, once for each way that Evidence comes in. Each
//! takes its proofs by value and gives [`VerifiedEvidence`] for them.

use holdfast_proto::{
    binding::Ueid,
    claims::Purpose,
    tpm::{ClockInfo, Hierarchy, Name},
};

use super::{
    activation::ActivatedAk,
    boot_log_cache::{BootLogs, KnownBootLog},
    certify::{KeyCertification, verify_eks},
    claims::{self, Expected},
    error::VerificationError,
    evidence::Evidence,
    ima::{self, ImaPlace},
    keys::{AkPublic, LdevidPublic},
    quote,
    verified::{CertifiedEks, CertifiedNow, ChannelBinding, Facts, OnRecord, VerifiedEvidence},
};
use crate::{
    endorsement::{EkPublic, TpmFacts},
    freshness::{AttestationState, Challenge, Class, EnrolmentPurpose, FreshChallenge},
    time::UnixTime,
};

/// The keys of a gateway on record, and what else its record says. The shell
/// vouches for it: it comes from its store.
#[derive(Debug)]
pub struct RecordedKeys {
    /// UEID.
    pub gateway: Ueid,
    /// Reference-value class.
    pub class: Class,
    /// AK that was activated.
    pub ak: AkPublic,
    /// Where the AK stands in the TPM, as its attestations stated.
    pub ak_qualified_name: Vec<u8>,
    /// LDevID key that was certified.
    pub ldevid: LdevidPublic,
    /// What the EK certificate said of the TPM.
    pub tpm: TpmFacts,
    /// TPM clock at the last quote.
    pub previous_clock: Option<ClockInfo>,
    /// SHA-256 of the boot log that the store holds.
    pub known_boot_log: Option<[u8; 32]>,
    /// Where the replay of its IMA log stands.
    pub ima: Option<ImaPlace>,
    /// That log, where the shell has it at hand.
    pub known_content: Option<KnownBootLog>,
}

/// What the AK certified in an enrolment.
#[derive(Debug)]
pub struct Certifications {
    /// The LDevID key.
    pub ldevid: KeyCertification,
    /// Of each EK, an object under it: the first, then the further ones.
    pub eks: Vec<KeyCertification>,
    /// The IDevID key; on the IAK road alone.
    pub idevid: Option<KeyCertification>,
}

/// Enrolment or recovery: the AK was activated, the LDevID key is certified
/// now, and so are the EKs' templates; on the IAK road the IDevID key too.
///
/// # Errors
/// The first check that does not hold.
pub fn verify_enrolment(
    evidence: Evidence,
    certifications: &Certifications,
    ldevid: LdevidPublic,
    activated: ActivatedAk,
    channel: &ChannelBinding,
    logs: &BootLogs,
    now: UnixTime,
) -> Result<(VerifiedEvidence<CertifiedNow>, CertifiedEks), VerificationError> {
    let (endorsed, further, ak, answered) = activated.into_parts();
    let state = answered.state();
    if state.challenge.ldevid != *ldevid.name() {
        return Err(VerificationError::OtherLdevid {
            got: ldevid.name().clone(),
        });
    }
    let ak_qualified_name =
        expect_place(&evidence.quote.attest.qualified_signer, &ak, endorsed.ek())?;
    if let Some(endorsed) = endorsed.iak() {
        certifications
            .idevid
            .as_ref()
            .ok_or(VerificationError::IdevidNotCertified)?
            .verify_idevid(
                &ak,
                &ak_qualified_name,
                endorsed.idevid(),
                &state.challenge.nonce,
            )?;
    }
    let certification = &certifications.ldevid;
    let subject = Subject {
        class: &state.admission.class,
        tpm: endorsed.facts(),
        ak: &ak,
        ak_qualified_name: &ak_qualified_name,
        previous_clock: None,
        known_boot_log: None,
        ima: None,
        known_content: None,
        challenge: &state.challenge,
        purpose: match state.purpose {
            EnrolmentPurpose::Enrol => Purpose::Enrol,
            EnrolmentPurpose::Recover => Purpose::Recover,
        },
    };
    let facts = verify(
        evidence,
        &subject,
        &ldevid,
        Some(certification),
        channel,
        logs,
        now,
    )?;
    let nonce = &state.challenge.nonce;
    let eks = verify_eks(
        &certifications.eks,
        &ak,
        &ak_qualified_name,
        endorsed.ek().clone(),
        further,
        nonce,
    )?;
    let key = certification.verify(&ak, &ak_qualified_name, ldevid, nonce)?;
    Ok((VerifiedEvidence::new(key, facts), eks))
}

/// Attestation of a gateway on record; its LDevID key stays as it is.
///
/// # Errors
/// The first check that does not hold.
pub fn verify_attestation(
    evidence: Evidence,
    record: &RecordedKeys,
    fresh: FreshChallenge<AttestationState>,
    channel: &ChannelBinding,
    logs: &BootLogs,
    now: UnixTime,
) -> Result<VerifiedEvidence<OnRecord>, VerificationError> {
    let subject = record.subject(&fresh, Purpose::Attest)?;
    let facts = verify(evidence, &subject, &record.ldevid, None, channel, logs, now)?;
    Ok(VerifiedEvidence::new(
        OnRecord::new(record.ldevid.clone()),
        facts,
    ))
}

/// Attestation of a gateway on record whose LDevID key is certified anew, so
/// that its LDevID may be renewed.
///
/// # Errors
/// The first check that does not hold.
pub fn verify_renewal(
    evidence: Evidence,
    certification: &KeyCertification,
    record: &RecordedKeys,
    fresh: FreshChallenge<AttestationState>,
    channel: &ChannelBinding,
    logs: &BootLogs,
    now: UnixTime,
) -> Result<VerifiedEvidence<CertifiedNow>, VerificationError> {
    let subject = record.subject(&fresh, Purpose::Renew)?;
    let facts = verify(
        evidence,
        &subject,
        &record.ldevid,
        Some(certification),
        channel,
        logs,
        now,
    )?;
    let key = certification.verify(
        &record.ak,
        &record.ak_qualified_name,
        record.ldevid.clone(),
        &fresh.challenge().nonce,
    )?;
    Ok(VerifiedEvidence::new(key, facts))
}

impl RecordedKeys {
    /// The challenge was made for this very gateway and these keys (A19).
    fn subject<'a>(
        &'a self,
        fresh: &'a FreshChallenge<AttestationState>,
        purpose: Purpose,
    ) -> Result<Subject<'a>, VerificationError> {
        let challenge = fresh.challenge();
        if challenge.gateway != self.gateway {
            return Err(VerificationError::OtherGateway);
        }
        if challenge.ak != *self.ak.name() {
            return Err(VerificationError::OtherAk {
                got: self.ak.name().clone(),
            });
        }
        if challenge.ldevid != *self.ldevid.name() {
            return Err(VerificationError::OtherLdevid {
                got: self.ldevid.name().clone(),
            });
        }
        Ok(Subject {
            class: &self.class,
            tpm: &self.tpm,
            ak: &self.ak,
            ak_qualified_name: &self.ak_qualified_name,
            previous_clock: self.previous_clock,
            known_boot_log: self.known_boot_log.as_ref(),
            ima: self.ima.as_ref(),
            known_content: self.known_content.as_ref(),
            challenge,
            purpose,
        })
    }
}

/// Whom the Evidence must be about, whichever way they were proven.
struct Subject<'a> {
    class: &'a Class,
    tpm: &'a TpmFacts,
    ak: &'a AkPublic,
    ak_qualified_name: &'a [u8],
    previous_clock: Option<ClockInfo>,
    known_boot_log: Option<&'a [u8; 32]>,
    ima: Option<&'a ImaPlace>,
    known_content: Option<&'a KnownBootLog>,
    challenge: &'a Challenge,
    purpose: Purpose,
}

/// Quote, claims, logs, each only once the one before holds. The quote's
/// extraData is checked before any signature:
/// it ties all the rest, and a hash is cheap.
fn verify(
    evidence: Evidence,
    subject: &Subject<'_>,
    ldevid: &LdevidPublic,
    certification: Option<&KeyCertification>,
    channel: &ChannelBinding,
    logs: &BootLogs,
    now: UnixTime,
) -> Result<Facts, VerificationError> {
    let Evidence {
        claims,
        quote,
        pcrs,
        boot_log,
        ima,
    } = evidence;
    let challenge = subject.challenge;
    let quote = quote::verify_bound(
        quote,
        subject.ak,
        claims.bytes(),
        &challenge.selection,
        pcrs,
    )?;
    if quote.qualified_signer != subject.ak_qualified_name {
        return Err(VerificationError::QualifiedSigner);
    }
    let expected = Expected {
        gateway: &challenge.gateway,
        nonce: &challenge.nonce,
        purpose: subject.purpose,
        channel,
        certify_sha256: certification.map(KeyCertification::sha256),
        issued: challenge.issued,
        now,
    };
    let claims = claims::open(claims, ldevid, &expected)?;
    let boot_log = claims::bind_log(boot_log, &claims, subject.known_boot_log)?;
    let replayed = logs.replay(&boot_log, subject.known_content.cloned(), &quote.pcrs)?;
    // The dearest, and all else holds: it is of the gateway that it says.
    let ima = ima::replay(ima, subject.ima, &quote.pcrs, quote.clock.reset_count)?;
    Ok(Facts {
        gateway: challenge.gateway,
        class: subject.class.clone(),
        tpm: subject.tpm.clone(),
        ak: subject.ak.clone(),
        ak_qualified_name: quote.qualified_signer,
        nonce: challenge.nonce,
        pcrs: quote.pcrs,
        pcr_digest: quote.pcr_digest,
        clock: quote.clock,
        previous_clock: subject.previous_clock,
        firmware_version: quote.firmware_version,
        claims,
        boot_log,
        ima,
        replayed,
    })
}

/// The AK is a primary key of the endorsement hierarchy, or a child of the
/// endorsed EK: only there does clockInfo come in clear (Part 1 §36.7), and
/// only for these two can the qualified name be recomputed (§16).
fn expect_place(stated: &[u8], ak: &AkPublic, ek: &EkPublic) -> Result<Vec<u8>, VerificationError> {
    let primary = Name::qualified_primary(Hierarchy::Endorsement, ak.name());
    let ek_place = Name::qualified_primary(Hierarchy::Endorsement, ek.name());
    let child = Name::qualified(ek_place.as_bytes(), ak.name());
    if stated == primary.as_bytes() || stated == child.as_bytes() {
        Ok(stated.to_vec())
    } else {
        Err(VerificationError::QualifiedSigner)
    }
}
