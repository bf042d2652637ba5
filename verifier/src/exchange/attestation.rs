//! Attestation of a gateway on record, with or without renewal of its LDevID
//! (ARCHITECTURE §5).

use holdfast_proto::{
    binding::Ueid,
    grpc::v1,
    tpm::{ClockInfo, Name, PcrSelection, Public},
};
use ring::rand::SecureRandom;

use super::{ExchangeError, Verifier, challenge::wire_selection};
use crate::{
    appraisal::{AttestationResult, ImaState, Policy},
    endorsement::{EkFacts, TpmFacts},
    freshness::{AttestationState, Challenge, Class, TokenId, random_32},
    reference_values::{ReferenceValues, allow_list::AllowList},
    time::UnixTime,
    verification::{
        AkPublic, BootLog, CertifiedNow, ChannelBinding, Evidence, IMA_PCR, ImaPlace,
        KeyCertification, KeyProof, KnownBootLog, LdevidPublic, OnRecord, PcrValues, RecordedKeys,
        VerificationError, VerifiedEvidence, Vouched, verify_attestation, verify_renewal,
    },
};

/// A gateway as the store remembers it: raw, to be parsed again.
#[derive(Clone, Debug)]
pub struct GatewayRecord {
    /// UEID.
    pub id: Ueid,
    /// Reference-value class.
    pub class: Class,
    /// TPMT_PUBLIC of the AK.
    pub ak_public: Vec<u8>,
    /// Qualified name of the AK.
    pub ak_qualified_name: Vec<u8>,
    /// TPMT_PUBLIC of the LDevID key.
    pub ldevid_public: Vec<u8>,
    /// What the EK certificate said of the TPM.
    pub tpm: TpmFacts,
    /// The other EKs that it showed when it enrolled or recovered last.
    pub further_eks: Vec<EkFacts>,
    /// TPM clock at the last quote that was verified.
    pub clock: Option<ClockInfo>,
    /// SHA-256 of the boot log that the store holds.
    pub boot_log_sha256: Option<[u8; 32]>,
}

/// A gateway on record whose keys passed their checklists again.
pub struct EnrolledGateway {
    keys: RecordedKeys,
    further_eks: Vec<EkFacts>,
    ima: Option<ImaState>,
}

impl EnrolledGateway {
    /// # Errors
    /// [`ExchangeError::Record`] where the record is damaged.
    pub fn from_record(mut record: GatewayRecord) -> Result<Self, ExchangeError> {
        let further_eks = std::mem::take(&mut record.further_eks);
        let parse = || {
            Ok(RecordedKeys {
                gateway: record.id,
                class: record.class,
                ak: AkPublic::new(
                    Public::parse(&record.ak_public).map_err(VerificationError::AkPublic)?,
                )?,
                ak_qualified_name: record.ak_qualified_name,
                ldevid: LdevidPublic::new(
                    Public::parse(&record.ldevid_public)
                        .map_err(VerificationError::LdevidPublic)?,
                )?,
                tpm: record.tpm,
                previous_clock: record.clock,
                known_boot_log: record.boot_log_sha256,
                ima: None,
                known_content: None,
            })
        };
        Ok(Self {
            keys: parse().map_err(ExchangeError::Record)?,
            further_eks,
            ima: None,
        })
    }

    /// With what is known of its IMA log, as the store kept it, where that was
    /// held against `files`; else the log is asked for from boot.
    #[must_use]
    pub fn with_ima(mut self, document: Option<&str>, files: Option<&AllowList>) -> Self {
        let state = document.and_then(ImaState::parse);
        self.ima = state.filter(|state| state.is_of(files));
        self.keys.ima = self.ima.as_ref().map(|state| state.place().clone());
        self
    }

    /// With the boot log on record at hand, for Evidence that names it by its
    /// hash. Without, only one that was read lately is known.
    #[must_use]
    pub fn with_boot_log(mut self, known: Option<KnownBootLog>) -> Self {
        self.keys.known_content = known;
        self
    }

    /// The gateway's id.
    #[must_use]
    pub fn id(&self) -> &Ueid {
        &self.keys.gateway
    }

    /// Class whose reference values apply.
    #[must_use]
    pub fn class(&self) -> &Class {
        &self.keys.class
    }

    /// Name of the AK.
    #[must_use]
    pub fn ak_name(&self) -> &Name {
        self.keys.ak.name()
    }

    /// The LDevID key on record.
    #[must_use]
    pub fn ldevid(&self) -> &LdevidPublic {
        &self.keys.ldevid
    }
}

/// What `RequestAttestationChallenge` answers.
#[derive(Debug)]
pub struct AttestationChallenge {
    /// 32 bytes, for the claims (and certify).
    pub nonce: [u8; 32],
    /// PCRs to quote.
    pub selection: PcrSelection,
    /// Sealed state, to be sent back unchanged.
    pub token: Vec<u8>,
    /// When the token ends.
    pub expires: UnixTime,
    /// SHA-256 of the boot log that need not be sent again.
    pub known_boot_log: Option<[u8; 32]>,
    /// From where on the IMA log is wanted.
    pub known_ima: Option<ImaPlace>,
}

impl From<AttestationChallenge> for v1::RequestAttestationChallengeResponse {
    fn from(issued: AttestationChallenge) -> Self {
        Self {
            nonce: issued.nonce.to_vec(),
            pcr_selection: Some(wire_selection(&issued.selection)),
            token: issued.token,
            expires: issued.expires.seconds(),
            known_boot_log_sha256: issued
                .known_boot_log
                .map(|d| d.to_vec())
                .unwrap_or_default(),
            known_ima: issued.known_ima.map(|place| v1::ImaPosition {
                reset_count: place.reset_count(),
                entries: place.entries(),
                bytes: place.bytes(),
            }),
        }
    }
}

/// A finished attestation, to be recorded and then answered.
pub struct Attestation {
    /// To be spent in the recording transaction.
    pub token_id: TokenId,
    /// When the challenge was made: before this quote.
    pub issued: UnixTime,
    /// When the token ends.
    pub expires: UnixTime,
    /// TPM clock at this quote.
    pub clock: ClockInfo,
    /// TPM firmware version at this quote.
    pub firmware_version: u64,
    /// What was quoted.
    pub pcrs: PcrValues,
    /// Boot log, bound to this quote.
    pub boot_log: BootLog,
    /// What is known of the IMA log now.
    pub ima: Option<ImaState>,
    /// The verdict.
    pub outcome: Outcome,
}

/// The verdict on a gateway on record.
pub enum Outcome {
    /// No renewal was asked for; this result can never be authorised.
    Unchanged(AttestationResult<OnRecord>),
    /// The LDevID key was certified anew in this exchange.
    Renewing(AttestationResult<CertifiedNow>),
}

impl Verifier {
    /// A challenge for a gateway that its LDevID authenticated.
    ///
    /// # Errors
    /// Randomness failed.
    pub fn attestation_challenge(
        &self,
        gateway: &EnrolledGateway,
        now: UnixTime,
        rng: &dyn SecureRandom,
    ) -> Result<AttestationChallenge, ExchangeError> {
        let nonce = random_32(rng)?;
        let state = AttestationState {
            challenge: Challenge {
                gateway: gateway.keys.gateway,
                ak: gateway.keys.ak.name().clone(),
                ldevid: gateway.keys.ldevid.name().clone(),
                nonce,
                selection: self.selection,
                policy_id: *self.policy().id(),
                issued: now,
                expires: self.sealer.get().expiry(now),
            },
        };
        Ok(AttestationChallenge {
            nonce,
            selection: self.selection,
            token: self.sealer.get().seal(&state, rng)?,
            expires: state.challenge.expires,
            known_boot_log: gateway.keys.known_boot_log,
            known_ima: (gateway.keys.ima.clone()).filter(|_| self.selection.pcrs.contains(IMA_PCR)),
        })
    }

    /// Verifies and appraises: two signatures without renewal, three with.
    /// `files` must be the list that [`EnrolledGateway::with_ima`] was given.
    ///
    /// # Errors
    /// The first check that does not hold; a negative appraisal is a value.
    pub fn attest(
        &self,
        gateway: &EnrolledGateway,
        request: &v1::AttestRequest,
        channel: &ChannelBinding,
        references: Option<&ReferenceValues>,
        files: Option<&AllowList>,
        now: UnixTime,
    ) -> Result<Attestation, ExchangeError> {
        let evidence = request
            .evidence
            .as_ref()
            .ok_or(ExchangeError::Missing("evidence"))?;
        let evidence = Evidence::parse(evidence)?;
        let certification = request
            .ldevid_certification
            .as_ref()
            .map(KeyCertification::parse)
            .transpose()?;
        let fresh = self.sealer.get().open_attestation(&request.token, now)?;
        // One policy from here to the verdict, whatever is applied meanwhile.
        let policy = self.policy();
        if fresh.challenge().policy_id != *policy.id() {
            return Err(ExchangeError::PolicyChanged);
        }
        let (token_id, issued, expires) = (
            fresh.token_id(),
            fresh.challenge().issued,
            fresh.challenge().expires,
        );
        let appraisal = Appraisal {
            verifier: self,
            policy: &policy,
            vouched: &self.vouched,
            gateway,
            references,
            files,
            now,
            token_id,
            issued,
            expires,
        };
        match certification {
            None => {
                let verified = verify_attestation(
                    evidence,
                    &gateway.keys,
                    fresh,
                    channel,
                    &self.boot_logs,
                    now,
                )?;
                Ok(appraisal.finish(verified, Outcome::Unchanged))
            }
            Some(certification) => {
                let verified = verify_renewal(
                    evidence,
                    &certification,
                    &gateway.keys,
                    fresh,
                    channel,
                    &self.boot_logs,
                    now,
                )?;
                Ok(appraisal.finish(verified, Outcome::Renewing))
            }
        }
    }
}

/// What an appraisal needs beside the evidence.
struct Appraisal<'a> {
    verifier: &'a Verifier,
    policy: &'a Policy,
    vouched: &'a Vouched,
    gateway: &'a EnrolledGateway,
    references: Option<&'a ReferenceValues>,
    files: Option<&'a AllowList>,
    now: UnixTime,
    token_id: TokenId,
    issued: UnixTime,
    expires: UnixTime,
}

impl Appraisal<'_> {
    fn finish<K: KeyProof>(
        self,
        verified: VerifiedEvidence<K>,
        outcome: impl FnOnce(AttestationResult<K>) -> Outcome,
    ) -> Attestation {
        let ima = ImaState::of(
            verified.ima(),
            self.gateway.ima.as_ref(),
            self.files,
            self.vouched,
        );
        let further = &self.gateway.further_eks;
        let standing = self.verifier.standing(&verified, further, self.now);
        Attestation {
            token_id: self.token_id,
            issued: self.issued,
            expires: self.expires,
            clock: *verified.clock(),
            firmware_version: verified.firmware_version(),
            pcrs: verified.pcrs().clone(),
            boot_log: verified.boot_log().clone(),
            outcome: outcome(self.policy.appraise(
                verified,
                standing,
                self.references,
                ima.as_ref(),
                self.now,
            )),
            ima,
        }
    }
}
