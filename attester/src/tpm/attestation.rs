//! The AK and what it signs: quotes and certifications, and PCR values.

use std::collections::BTreeMap;

use holdfast_proto::grpc::v1;
use holdfast_proto::tpm::templates::{AkAlg, ak_template};
use holdfast_proto::tpm::{HashAlg, Name, PcrSelection, PcrSet, Public};
use tss_esapi::interface_types::session_handles::AuthSession;
use tss_esapi::structures::{Data, SignatureScheme};
use tss_esapi::traits::Marshall;

use super::convert::to_tss_selection;
use super::engine::{Encrypt, Engine, NO_SESSION};
use super::{Ak, KeyBlob, Tpm, TpmError};

/// How often PCRs are read again when one changed meanwhile.
const MAX_READS: u32 = 5;

/// What makes an AK: a primary key, so these two make it again on the same
/// TPM until its endorsement seed changes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AttestationKey {
    /// What it signs with.
    pub alg: AkAlg,
    /// 32 random bytes, not secret: a fresh AK per enrolment.
    pub unique: [u8; 32],
}

impl AttestationKey {
    /// The area for `TPM2_CreatePrimary`.
    #[must_use]
    pub fn template(&self) -> Public {
        ak_template(self.alg, &self.unique)
    }

    /// The hash of its signature scheme, and so of a quote's PCR digest.
    #[must_use]
    pub const fn hash(&self) -> HashAlg {
        match self.alg {
            AkAlg::EcdsaP384 => HashAlg::Sha384,
            AkAlg::EcdsaP256 | AkAlg::Rsa2048 | AkAlg::RsaPss2048 => HashAlg::Sha256,
        }
    }
}

/// A `TPMS_ATTEST` as the TPM signed it, and the signature.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Attestation {
    /// `TPMS_ATTEST`, without a size prefix.
    pub attest: Vec<u8>,
    /// `TPMT_SIGNATURE`.
    pub signature: Vec<u8>,
}

impl From<Attestation> for v1::KeyCertification {
    fn from(Attestation { attest, signature }: Attestation) -> Self {
        Self { attest, signature }
    }
}

/// PCR values of one bank, by index.
pub type PcrValues = BTreeMap<u32, Vec<u8>>;

impl Tpm {
    /// The AK's public area.
    ///
    /// # Errors
    /// [`TpmError`] of the failing command.
    pub fn attestation_key(&self, ak: impl Into<Ak>) -> Result<Public, TpmError> {
        let ak = ak.into();
        self.call(move |engine| {
            engine.root()?;
            engine.with_ak(&ak, |_, _, p| Ok(p.clone()))
        })
    }

    /// TPM2_Certify of an LDevID key by the AK.
    ///
    /// # Errors
    /// [`TpmError::KeyOfAnotherTpm`] where this TPM did not make the key.
    pub fn certify(
        &self,
        key: &KeyBlob,
        ak: impl Into<Ak>,
        extra_data: [u8; 32],
    ) -> Result<Attestation, TpmError> {
        let (key, ak) = (key.clone(), ak.into());
        self.call(move |engine| engine.certify(&key, &ak, extra_data))
    }

    /// TPM2_Quote by the AK.
    ///
    /// # Errors
    /// [`TpmError`] of the failing command.
    pub fn quote(
        &self,
        ak: impl Into<Ak>,
        selection: &PcrSelection,
        extra_data: [u8; 32],
    ) -> Result<Attestation, TpmError> {
        let (ak, selection) = (ak.into(), *selection);
        self.call(move |engine| engine.quote(&ak, &selection, extra_data))
    }

    /// All values of a selection, read as one: if a PCR changes meanwhile, all
    /// are read again.
    ///
    /// # Errors
    /// [`TpmError::PcrMissing`] where the bank or PCR does not exist,
    /// [`TpmError::PcrsUnsteady`] where they do not hold still.
    pub fn read_pcrs(&self, selection: &PcrSelection) -> Result<PcrValues, TpmError> {
        let selection = *selection;
        self.call(move |engine| engine.read_pcrs(&selection))
    }
}

impl Engine {
    fn certify(
        &mut self,
        key: &KeyBlob,
        ak: &Ak,
        extra_data: [u8; 32],
    ) -> Result<Attestation, TpmError> {
        self.with_key(key, |engine, key_handle| {
            engine.with_ak(ak, |engine, ak_handle, _| {
                let session = engine.session(Encrypt::Both)?;
                // The session authorises the LDevID key and protects the
                // response; the AK's auth value is empty.
                let sessions = (Some(session), Some(AuthSession::Password), None);
                let (attest, signature) = engine.command("TPM2_Certify", sessions, |c| {
                    c.certify(
                        key_handle.into(),
                        ak_handle,
                        Data::try_from(extra_data.as_slice())?,
                        SignatureScheme::Null,
                    )
                })?;
                marshalled(&attest, &signature)
            })
        })
    }

    fn quote(
        &mut self,
        ak: &Ak,
        selection: &PcrSelection,
        extra_data: [u8; 32],
    ) -> Result<Attestation, TpmError> {
        self.root()?;
        let list = to_tss_selection(selection)?;
        self.with_ak(ak, |engine, handle, _| {
            let session = engine.session(Encrypt::Both)?;
            let (attest, signature) =
                engine.command("TPM2_Quote", (Some(session), None, None), |c| {
                    c.quote(
                        handle,
                        Data::try_from(extra_data.as_slice())?,
                        SignatureScheme::Null,
                        list.clone(),
                    )
                })?;
            marshalled(&attest, &signature)
        })
    }

    pub(super) fn read_pcrs(&mut self, selection: &PcrSelection) -> Result<PcrValues, TpmError> {
        for _ in 0..MAX_READS {
            if let Some(values) = self.read_pcrs_once(selection)? {
                return Ok(values);
            }
        }
        Err(TpmError::PcrsUnsteady {
            attempts: MAX_READS,
        })
    }

    /// A TPM answers at most eight digests at a time. `None` where its update
    /// counter moved between two answers.
    fn read_pcrs_once(&mut self, selection: &PcrSelection) -> Result<Option<PcrValues>, TpmError> {
        let mut values = PcrValues::new();
        let mut counter = None;
        loop {
            let left = selection
                .pcrs
                .iter()
                .filter(|index| !values.contains_key(index));
            let left = PcrSet::from_indices(left).map_err(|source| TpmError::Malformed {
                what: "PCR selection",
                source,
            })?;
            if left.is_empty() {
                return Ok(Some(values));
            }
            let list = to_tss_selection(&PcrSelection {
                hash: selection.hash,
                pcrs: left,
            })?;
            let (update, read, digests) =
                self.command("TPM2_PCR_Read", NO_SESSION, |c| c.pcr_read(list.clone()))?;
            if counter
                .replace(update)
                .is_some_and(|before| before != update)
            {
                return Ok(None);
            }
            let indices = read.get_selections().iter().flat_map(|s| s.selected());
            let before = values.len();
            for (slot, digest) in indices.zip(digests.value()) {
                values.insert(u32::from(slot).trailing_zeros(), digest.to_vec());
            }
            if values.len() == before {
                let index = left.iter().next().unwrap_or_default();
                return Err(TpmError::PcrMissing {
                    bank: selection.hash.name(),
                    index,
                });
            }
        }
    }
}

pub(super) fn marshalled(
    attest: &tss_esapi::structures::Attest,
    signature: &tss_esapi::structures::Signature,
) -> Result<Attestation, TpmError> {
    let named = |what| move |error| TpmError::from_tss(what, error);
    Ok(Attestation {
        attest: attest.marshall().map_err(named("TPMS_ATTEST of the TPM"))?,
        signature: signature
            .marshall()
            .map_err(named("TPMT_SIGNATURE of the TPM"))?,
    })
}

/// The Name that an LDevID certification must carry.
impl KeyBlob {
    /// The key's Name.
    #[must_use]
    pub fn name(&self) -> Name {
        self.public().name()
    }
}
