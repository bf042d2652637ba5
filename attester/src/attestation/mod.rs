//! Re-attestation over mutual TLS, with or without renewal: building the
//! message, apart from sending it ([`exchange`]).

pub mod exchange;

use holdfast_proto::binding::certify_extra_data;
use holdfast_proto::claims::Purpose;
use holdfast_proto::grpc::v1;

use crate::AttesterError;
use crate::enrolment::{parse_nonce, parse_selection};
use crate::evidence::{self, Challenge, Platform};
use crate::state::Enrolled;
use crate::tpm::Tpm;

/// One re-attestation of an enrolled gateway.
#[derive(Clone, Debug)]
pub struct Reattestation {
    tpm: Tpm,
    enrolled: Enrolled,
    purpose: Purpose,
    /// Whether the boot log travels whole, also where the Verifier says that it
    /// has it.
    whole_log: bool,
}

impl Reattestation {
    /// With the keys of `enrolled`; `renew` asks for a new LDevID for the same
    /// key. Blocks on the TPM.
    ///
    /// # Errors
    /// [`AttesterError::Tpm`] where this TPM is not the one that enrolled.
    pub fn new(tpm: &Tpm, enrolled: &Enrolled, renew: bool) -> Result<Self, AttesterError> {
        tpm.storage_root(Some(&enrolled.keys.srk_name))?;
        let purpose = if renew {
            Purpose::Renew
        } else {
            Purpose::Attest
        };
        Ok(Self {
            tpm: tpm.clone(),
            enrolled: enrolled.clone(),
            purpose,
            whole_log: false,
        })
    }

    /// The same with the boot log whole, for a Verifier that named a log that it
    /// could not find.
    #[must_use]
    pub fn with_whole_log(mut self) -> Self {
        self.whole_log = true;
        self
    }

    /// Meets the challenge. `exporter` is of the connection that will carry the
    /// result. Blocks on the TPM.
    ///
    /// # Errors
    /// [`AttesterError::Challenge`] where the challenge is malformed,
    /// [`AttesterError::Tpm`] where the TPM cannot meet it.
    pub fn complete(
        &self,
        challenge: &v1::RequestAttestationChallengeResponse,
        exporter: &[u8; 32],
        platform: &Platform,
    ) -> Result<v1::AttestRequest, AttesterError> {
        let asked = Challenge {
            nonce: parse_nonce(&challenge.nonce)?,
            selection: parse_selection(challenge.pcr_selection.as_ref())?,
            exporter: *exporter,
            purpose: self.purpose,
            // Anything but a digest means: the Verifier has none.
            known_ima: challenge.known_ima.map(Into::into),
            known_boot_log: match challenge.known_boot_log_sha256.as_slice().try_into() {
                Ok(known) if !self.whole_log => Some(known),
                _ => None,
            },
        };
        let keys = &self.enrolled.keys;
        let certification = match self.purpose {
            Purpose::Renew => {
                let extra_data =
                    certify_extra_data(&asked.nonce, &keys.ak_name, &keys.ldevid.name());
                Some(self.tpm.certify(&keys.ldevid, &keys.ak, extra_data)?)
            }
            _ => None,
        };
        let evidence = evidence::collect(
            &self.tpm,
            keys,
            &self.enrolled.gateway_id,
            &asked,
            certification.as_ref(),
            platform,
        )?;
        Ok(v1::AttestRequest {
            token: challenge.token.clone(),
            evidence: Some(evidence),
            ldevid_certification: certification.map(Into::into),
            ear_jwt: false,
            known_seal_approvals_sha256: Vec::new(),
            held_secrets: None,
        })
    }
}
