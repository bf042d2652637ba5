//! Enrolment and Recover: building the two messages, apart from sending them
//! ([`exchange`]), so that a test can change one thing in between.

pub mod exchange;

use holdfast_proto::binding::{certify_extra_data, gateway_id};
use holdfast_proto::claims::{Purpose, Ueid};
use holdfast_proto::grpc::v1;
use holdfast_proto::tpm::templates::{AkAlg, EkTemplate};
use holdfast_proto::tpm::{HashAlg, Name, PcrSelection, PcrSet, Public};
use ring::rand::{SecureRandom, SystemRandom};

use crate::AttesterError;
use crate::evidence::{self, Challenge, Platform};
use crate::state::{Enrolled, Keys};
use crate::tpm::{AttestationKey, EkChoice, EndorsementKey, Tpm};

/// Which keys to enrol with.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct KeyChoice {
    /// The endorsement key.
    pub ek: EkChoice,
    /// What the AK signs with.
    pub ak: AkAlg,
}

/// One enrolment: its keys, made and ready. Making it talks to the TPM only.
#[derive(Clone, Debug)]
pub struct Enrolment {
    tpm: Tpm,
    purpose: Purpose,
    ek: EndorsementKey,
    ak_public: Public,
    keys: Keys,
    gateway_id: Ueid,
}

impl Enrolment {
    /// A first enrolment: fresh AK, fresh LDevID key. `pinned` is the storage
    /// root that the state directory knows, where it knows one. Blocks on the
    /// TPM.
    ///
    /// # Errors
    /// [`AttesterError`] of the TPM.
    pub fn new(tpm: &Tpm, choice: KeyChoice, pinned: Option<&Name>) -> Result<Self, AttesterError> {
        Self::with_keys(tpm, Purpose::Enrol, choice, pinned)
    }

    /// A Recover: same EK as before, fresh AK and LDevID key.
    ///
    /// # Errors
    /// [`AttesterError::OtherGateway`] where the TPM's EK is another by now.
    pub fn recovery(tpm: &Tpm, enrolled: &Enrolled) -> Result<Self, AttesterError> {
        let ek = match EkTemplate::matching(&enrolled.keys.ek_template) {
            Some(EkTemplate::L1 | EkTemplate::H1) => EkChoice::Rsa2048,
            Some(EkTemplate::L2 | EkTemplate::H2) => EkChoice::EccP256,
            Some(EkTemplate::H3) => EkChoice::EccP384,
            Some(EkTemplate::H6) => EkChoice::Rsa3072,
            None => EkChoice::Auto,
        };
        let choice = KeyChoice {
            ek,
            ak: enrolled.keys.ak.alg,
        };
        let pinned = Some(&enrolled.keys.srk_name);
        let recovery = Self::with_keys(tpm, Purpose::Recover, choice, pinned)?;
        if recovery.gateway_id != enrolled.gateway_id {
            return Err(AttesterError::OtherGateway {
                found: recovery.gateway_id,
                enrolled: enrolled.gateway_id,
            });
        }
        Ok(recovery)
    }

    fn with_keys(
        tpm: &Tpm,
        purpose: Purpose,
        choice: KeyChoice,
        pinned: Option<&Name>,
    ) -> Result<Self, AttesterError> {
        let root = tpm.storage_root(pinned)?;
        let ek = tpm.endorsement_key(choice.ek)?;
        let gateway_id = gateway_id(&ek.public).map_err(AttesterError::EkPublic)?;
        let mut unique = [0; 32];
        SystemRandom::new()
            .fill(&mut unique)
            .map_err(|_| AttesterError::Randomness)?;
        let ak = AttestationKey {
            alg: choice.ak,
            unique,
        };
        let ak_public = tpm.attestation_key(&ak)?;
        let keys = Keys {
            srk_handle: root.handle,
            srk_name: root.name,
            ek_template: ek.template.clone(),
            ak,
            ak_name: ak_public.name(),
            ldevid: tpm.create_ldevid()?,
        };
        Ok(Self {
            tpm: tpm.clone(),
            purpose,
            ek,
            ak_public,
            keys,
            gateway_id,
        })
    }

    /// The gateway's id: it follows from the EK.
    #[must_use]
    pub fn gateway_id(&self) -> &Ueid {
        &self.gateway_id
    }

    /// The EK and its certificates.
    #[must_use]
    pub fn endorsement_key(&self) -> &EndorsementKey {
        &self.ek
    }

    /// The AK's public area.
    #[must_use]
    pub fn ak_public(&self) -> &Public {
        &self.ak_public
    }

    /// The keys, as the state directory keeps them.
    #[must_use]
    pub fn keys(&self) -> &Keys {
        &self.keys
    }

    /// Enrol or recover.
    #[must_use]
    pub fn purpose(&self) -> Purpose {
        self.purpose
    }

    /// Step 1. `join_token` is empty in a Recover.
    #[must_use]
    pub fn challenge_request(&self, join_token: &[u8]) -> v1::RequestChallengeRequest {
        v1::RequestChallengeRequest {
            ek_public: self.ek.public.encode(),
            ek_certificate_chain: self.ek.certificate_chain.clone(),
            ak_public: self.ak_public.encode(),
            ldevid_public: self.keys.ldevid.public().encode(),
            join_token: join_token.to_vec(),
        }
    }

    /// Step 2: meets the challenge. `exporter` is of the connection that will
    /// carry the result. Blocks on the TPM.
    ///
    /// # Errors
    /// [`AttesterError::Challenge`] where the challenge is malformed,
    /// [`AttesterError::Tpm`] where the TPM cannot meet it.
    pub fn complete(
        &self,
        challenge: &v1::RequestChallengeResponse,
        exporter: &[u8; 32],
        platform: &Platform,
    ) -> Result<v1::EnrollRequest, AttesterError> {
        let asked = Challenge {
            nonce: parse_nonce(&challenge.nonce)?,
            selection: parse_selection(challenge.pcr_selection.as_ref())?,
            exporter: *exporter,
            purpose: self.purpose,
            known_boot_log: None,
            known_ima: None,
        };
        let secret = self.tpm.activate_credential(
            &self.ek.template,
            &self.keys.ak,
            &challenge.credential_blob,
            &challenge.encrypted_secret,
        )?;
        let extra_data =
            certify_extra_data(&asked.nonce, &self.keys.ak_name, &self.keys.ldevid.name());
        let certification = self
            .tpm
            .certify(&self.keys.ldevid, &self.keys.ak, extra_data)?;
        let evidence = evidence::collect(
            &self.tpm,
            &self.keys,
            &self.gateway_id,
            &asked,
            Some(&certification),
            platform,
        )?;
        Ok(v1::EnrollRequest {
            token: challenge.token.clone(),
            activated_secret: secret.to_vec(),
            ek_public: self.ek.public.encode(),
            ek_certificate_chain: self.ek.certificate_chain.clone(),
            ak_public: self.ak_public.encode(),
            ldevid_public: self.keys.ldevid.public().encode(),
            ldevid_certification: Some(v1::KeyCertification {
                attest: certification.attest,
                signature: certification.signature,
            }),
            evidence: Some(evidence),
        })
    }
}

/// A challenge's nonce.
///
/// # Errors
/// [`AttesterError::Challenge`] where it has not 32 bytes.
pub(crate) fn parse_nonce(nonce: &[u8]) -> Result<[u8; 32], AttesterError> {
    nonce.try_into().map_err(|_| AttesterError::Challenge {
        field: "nonce",
        problem: format!("has {} bytes, not 32", nonce.len()),
    })
}

/// A challenge's PCR selection.
///
/// # Errors
/// [`AttesterError::Challenge`] where it is absent, empty, out of order, or of
/// an unknown bank.
pub(crate) fn parse_selection(
    selection: Option<&v1::PcrSelection>,
) -> Result<PcrSelection, AttesterError> {
    let bad = |problem| AttesterError::Challenge {
        field: "pcr_selection",
        problem,
    };
    let selection = selection.ok_or_else(|| bad("is absent".to_owned()))?;
    let id = u16::try_from(selection.hash_alg)
        .map_err(|_| bad(format!("names bank {:#x}", selection.hash_alg)))?;
    let hash = HashAlg::from_id(id).map_err(|e| bad(e.to_string()))?;
    let pcrs = PcrSet::from_indices(selection.pcr_indices.iter().copied())
        .map_err(|e| bad(e.to_string()))?;
    if pcrs.is_empty() {
        return Err(bad("is empty".to_owned()));
    }
    Ok(PcrSelection { hash, pcrs })
}
