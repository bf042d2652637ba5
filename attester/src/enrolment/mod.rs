//! Enrolment and Recover: building the two messages, apart from sending them
//! ([`exchange`]), so that a test can change one thing in between.

pub mod bundle_file;
pub mod exchange;
mod further;

use std::str::FromStr;

use holdfast_proto::binding::{certify_extra_data, certify_idevid_extra_data, gateway_id};
use holdfast_proto::claims::{Purpose, Ueid};
use holdfast_proto::grpc::v1;
use holdfast_proto::tpm::templates::AkAlg;
use holdfast_proto::tpm::{HashAlg, Name, PcrSelection, PcrSet, Public};
use ring::rand::{SecureRandom, SystemRandom};

use crate::AttesterError;
use crate::evidence::{self, Challenge, Platform};
use crate::state::{Enrolled, Keys};
use crate::tpm::{
    Ak, ApprovedState, AttestationKey, DeviceIdentity, EkChoice, EndorsementKey, Tpm, TpmError,
};

/// Which keys to enrol with.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct KeyChoice {
    /// The endorsement key.
    pub ek: EkChoice,
    /// What the AK signs with.
    pub ak: AkAlg,
}

/// By whom the gateway's TPM is endorsed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Road {
    /// The EK road where there is an EK certificate, else the IAK road where
    /// there is a device identity. The TPM's vendor first: its word is about
    /// the TPM itself, the AK is fresh with each enrolment, and a gateway that
    /// enrolled before IAKs were known keeps its id.
    #[default]
    Auto,
    /// The TPM's vendor, for the EK.
    Ek,
    /// The OEM, for the IAK.
    Iak,
}

impl Road {
    /// As on the command line.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Auto => "auto",
            Self::Ek => "ek",
            Self::Iak => "iak",
        }
    }
}

impl FromStr for Road {
    type Err = String;

    fn from_str(s: &str) -> Result<Self, Self::Err> {
        [Self::Auto, Self::Ek, Self::Iak]
            .into_iter()
            .find(|road| road.name() == s)
            .ok_or_else(|| format!("{s:?} is not one of auto, ek, iak"))
    }
}

/// One enrolment: its keys, made and ready. Making it talks to the TPM only.
#[derive(Clone, Debug)]
pub struct Enrolment {
    tpm: Tpm,
    purpose: Purpose,
    ek: EndorsementKey,
    further: Vec<EndorsementKey>,
    device: Option<DeviceIdentity>,
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

    /// A first enrolment by the IAK road: the OEM's IAK, fresh LDevID key.
    /// Blocks on the TPM.
    ///
    /// # Errors
    /// [`AttesterError`] of the TPM.
    pub fn by_iak(tpm: &Tpm, ek: EkChoice, pinned: Option<&Name>) -> Result<Self, AttesterError> {
        Self::with_device(tpm, Purpose::Enrol, ek, pinned)
    }

    /// A first enrolment by this road.
    ///
    /// # Errors
    /// [`AttesterError`] of the TPM; for [`Road::Auto`] on a TPM with neither
    /// an EK certificate nor a device identity that it has no EK certificate.
    pub fn by(
        tpm: &Tpm,
        road: Road,
        choice: KeyChoice,
        pinned: Option<&Name>,
    ) -> Result<Self, AttesterError> {
        match road {
            Road::Ek => Self::new(tpm, choice, pinned),
            Road::Iak => Self::by_iak(tpm, choice.ek, pinned),
            Road::Auto => match Self::new(tpm, choice, pinned) {
                Err(AttesterError::Tpm(lacks @ TpmError::NoEkCertificate { .. })) => {
                    match Self::by_iak(tpm, choice.ek, pinned) {
                        Err(AttesterError::Tpm(TpmError::NoDeviceIdentity { .. })) => {
                            Err(lacks.into())
                        }
                        made => made,
                    }
                }
                made => made,
            },
        }
    }

    /// A Recover: same EK as before, fresh AK and LDevID key; on the IAK road
    /// the same IAK.
    ///
    /// # Errors
    /// [`AttesterError::OtherGateway`] where the TPM's EK is another by now.
    pub fn recovery(tpm: &Tpm, enrolled: &Enrolled) -> Result<Self, AttesterError> {
        let ek = EkChoice::of(&enrolled.keys.ek_template);
        let pinned = Some(&enrolled.keys.srk_name);
        let recovery = match &enrolled.keys.ak {
            Ak::Own(key) => {
                let choice = KeyChoice { ek, ak: key.alg };
                Self::with_keys(tpm, Purpose::Recover, choice, pinned)?
            }
            Ak::Iak { .. } => Self::with_device(tpm, Purpose::Recover, ek, pinned)?,
        };
        if recovery.gateway_id != enrolled.gateway_id {
            return Err(AttesterError::OtherGateway {
                found: recovery.gateway_id,
                enrolled: enrolled.gateway_id,
            });
        }
        let before = &enrolled.keys.ldevid;
        match <[u8; 32]>::try_from(before.public().auth_policy.as_slice()) {
            // Once bound, always bound: to the same, with what is approved by now.
            Ok(policy) if before.is_bound() => recovery.bound(policy, before.approved().to_vec()),
            _ => Ok(recovery),
        }
    }

    /// The same with an LDevID key that signs by `policy` alone, in these boot
    /// states. Blocks on the TPM.
    ///
    /// # Errors
    /// [`AttesterError`] of the TPM.
    pub fn bound(
        mut self,
        policy: [u8; 32],
        approved: Vec<ApprovedState>,
    ) -> Result<Self, AttesterError> {
        let key = self.tpm.create_bound_ldevid(policy)?;
        self.keys.ldevid = key.approved_for(approved);
        Ok(self)
    }

    fn with_keys(
        tpm: &Tpm,
        purpose: Purpose,
        choice: KeyChoice,
        pinned: Option<&Name>,
    ) -> Result<Self, AttesterError> {
        let root = tpm.storage_root(pinned)?;
        let ek = tpm.endorsement_key(choice.ek)?;
        let gateway_id = ueid(&ek.public)?;
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
            ek_ueid: None,
            ak: Ak::Own(ak),
            ak_name: ak_public.name(),
            ldevid: tpm.create_ldevid()?,
        };
        Ok(Self {
            tpm: tpm.clone(),
            purpose,
            ek,
            further: Vec::new(),
            device: None,
            ak_public,
            keys,
            gateway_id,
        })
    }

    fn with_device(
        tpm: &Tpm,
        purpose: Purpose,
        ek: EkChoice,
        pinned: Option<&Name>,
    ) -> Result<Self, AttesterError> {
        let root = tpm.storage_root(pinned)?;
        let device = tpm.device_identity()?;
        // The OEM vouches for the IAK; any EK of this TPM links to it. The
        // quickest to make, unless told otherwise, and without its certificate.
        let ek = tpm.endorsement_key(match ek {
            EkChoice::Auto => EkChoice::EccP256,
            named => named,
        })?;
        let ek = EndorsementKey {
            certificate_chain: Vec::new(),
            ..ek
        };
        let ak_public = device.iak.public.clone();
        let gateway_id = ueid(&ak_public)?;
        let keys = Keys {
            srk_handle: root.handle,
            srk_name: root.name,
            ek_template: ek.template.clone(),
            ek_ueid: None,
            ak: Ak::Iak {
                source: device.iak.source.clone(),
                template: device.iak.template,
            },
            ak_name: ak_public.name(),
            ldevid: tpm.create_ldevid()?,
        };
        Ok(Self {
            tpm: tpm.clone(),
            purpose,
            ek,
            further: Vec::new(),
            device: Some(device),
            ak_public,
            keys,
            gateway_id,
        })
    }

    /// The OEM's keys and certificates, on the IAK road.
    #[must_use]
    pub fn device_identity(&self) -> Option<&DeviceIdentity> {
        self.device.as_ref()
    }

    /// The gateway's id: it follows from the EK, on the IAK road from the IAK.
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
            iak_certificate_chain: self.iak_chain(),
            idevid_certificate_chain: self.idevid_chain(),
            idevid_public: self.idevid_public(),
            further_eks: self.further_eks(),
        }
    }

    fn iak_chain(&self) -> Vec<Vec<u8>> {
        let of = |device: &DeviceIdentity| device.iak.certificate_chain.clone();
        self.device.as_ref().map(of).unwrap_or_default()
    }

    fn idevid_chain(&self) -> Vec<Vec<u8>> {
        let of = |device: &DeviceIdentity| device.idevid.certificate_chain.clone();
        self.device.as_ref().map(of).unwrap_or_default()
    }

    fn idevid_public(&self) -> Vec<u8> {
        let of = |device: &DeviceIdentity| device.idevid.public.encode();
        self.device.as_ref().map(of).unwrap_or_default()
    }

    /// The IAK's word that the IDevID key is in its TPM.
    fn idevid_certification(
        &self,
        nonce: &[u8; 32],
    ) -> Result<Option<v1::KeyCertification>, AttesterError> {
        let Some(device) = &self.device else {
            return Ok(None);
        };
        let idevid = device.idevid.public.name();
        let extra_data = certify_idevid_extra_data(nonce, &self.keys.ak_name, &idevid);
        let certified = self.tpm.certify_idevid(device, extra_data)?;
        Ok(Some(certified.into()))
    }

    /// What the TPM can do while the Verifier makes its challenge. Blocks on the
    /// TPM.
    ///
    /// # Errors
    /// [`TpmError`]; [`complete`](Self::complete) would meet it too.
    pub fn prepare(&self) -> Result<(), TpmError> {
        self.tpm.prepare_activation(&self.ek.template)
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
        let further_eks = self.activate_further(&challenge.further_credentials, &asked.nonce)?;
        let ek_certification = self.ek_certification(&self.ek, &asked.nonce)?;
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
            ldevid_certification: Some(certification.into()),
            evidence: Some(evidence),
            iak_certificate_chain: self.iak_chain(),
            idevid_certificate_chain: self.idevid_chain(),
            idevid_public: self.idevid_public(),
            idevid_certification: self.idevid_certification(&asked.nonce)?,
            further_eks,
            ek_certification: Some(ek_certification),
        })
    }
}

/// The UEID that a key makes.
fn ueid(key: &Public) -> Result<Ueid, AttesterError> {
    gateway_id(key).map_err(AttesterError::EkPublic)
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
