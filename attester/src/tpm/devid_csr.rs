//! What a factory does with the TPM: IDevID and IAK made by the standard's
//! templates, the request for their certificates, and the certificates put into
//! NV memory (TCG "TPM 2.0 Keys for Device Identity and Attestation" §6.2, §7).

use holdfast_proto::binding;
use holdfast_proto::idevid_csr::{IdevidCsr, SignedIdevidCsr};
use holdfast_proto::tpm::devid::{
    DevidKey, DevidTemplate, DevidUnique, IAK_CERTIFICATE_NV, IDEVID_CERTIFICATE_NV,
};
use holdfast_proto::tpm::{Hierarchy, Parameters, Public};
use tss_esapi::attributes::NvIndexAttributesBuilder;
use tss_esapi::handles::{NvIndexHandle, NvIndexTpmHandle, TpmHandle};
use tss_esapi::interface_types::algorithm::HashingAlgorithm;
use tss_esapi::interface_types::resource_handles::{NvAuth, Provision};
use tss_esapi::structures::{HashScheme, MaxNvBuffer, NvPublicBuilder, SignatureScheme};

use super::devid::{DeviceIdentity, DeviceKey, DeviceKeySource};
use super::endorsement::certifies;
use super::engine::{Encrypt, Engine};
use super::storage::{null_ticket, parse_signature};
use super::{Ak, EkChoice, EndorsementKey, Tpm, TpmError};

/// Octets that one `TPM2_NV_Write` may carry everywhere.
const NV_CHUNK: usize = 512;

/// Which keys a factory makes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DevidMaking {
    /// Template of both.
    pub template: DevidTemplate,
    /// What their templates have in `unique`.
    pub unique: DevidUnique,
}

impl DevidMaking {
    fn source(self, key: DevidKey) -> DeviceKeySource {
        DeviceKeySource::Template(Box::new(self.template.public(key, self.unique)))
    }

    /// The IAK, as the AK that activates a credential.
    #[must_use]
    pub fn iak(self) -> Ak {
        Ak::Iak {
            source: self.source(DevidKey::Iak),
            template: self.template,
        }
    }
}

impl Tpm {
    /// A TCG-CSR-IDEVID for a product: keys made, the IDevID certified by the
    /// IAK, the whole signed by the IDevID. Its bytes, and the EK that it names.
    ///
    /// # Errors
    /// [`TpmError::NoEkCertificate`]; [`TpmError`] of the failing command.
    pub fn idevid_csr(
        &self,
        making: DevidMaking,
        ek: EkChoice,
        model: &str,
        serial: &str,
    ) -> Result<(Vec<u8>, EndorsementKey), TpmError> {
        let (model, serial) = (model.as_bytes().to_vec(), serial.as_bytes().to_vec());
        self.call(move |engine| engine.idevid_csr(making, ek, model, serial))
    }

    /// Puts certificates (DER, the leaf first) into NV memory where attesters
    /// look for them, readable by all, written by the owner. Each must be for the
    /// key that `making` makes.
    ///
    /// # Errors
    /// [`TpmError::NvContent`] where something is there and `replace` is not
    /// given, or a certificate is for another key.
    pub fn install_devid(
        &self,
        making: DevidMaking,
        iak: Vec<Vec<u8>>,
        idevid: Vec<Vec<u8>>,
        replace: bool,
    ) -> Result<(), TpmError> {
        self.call(move |engine| engine.install_devid(making, &iak, &idevid, replace))
    }
}

impl Engine {
    fn idevid_csr(
        &mut self,
        making: DevidMaking,
        ek: EkChoice,
        product_model: Vec<u8>,
        product_serial: Vec<u8>,
    ) -> Result<(Vec<u8>, EndorsementKey), TpmError> {
        let ek = self.endorsement_key(ek)?;
        let Some(ek_certificate) = ek.certificate_chain.first().cloned() else {
            return Err(TpmError::NoEkCertificate {
                wanted: String::new(),
            });
        };
        let identity = DeviceIdentity {
            iak: self.made(making, DevidKey::Iak)?,
            idevid: self.made(making, DevidKey::Idevid)?,
        };
        let (iak, idevid) = (&identity.iak.public, &identity.idevid.public);
        // Nobody asked yet: a nonce of zeros, which no verifier draws.
        let extra_data = binding::certify_idevid_extra_data(&[0; 32], &iak.name(), &idevid.name());
        let certified = self.certify_idevid(&identity, extra_data)?;
        let csr = IdevidCsr {
            hash: making.template.hash(),
            product_model,
            product_serial,
            ca_data: Vec::new(),
            boot_event_log: Vec::new(),
            ek_certificate,
            attest_public: iak.encode_tpm2b(),
            attest_creation_ticket: Vec::new(),
            attest_certify_info: Vec::new(),
            attest_certify_signature: Vec::new(),
            signing_public: idevid.encode_tpm2b(),
            signing_certify_info: certified.attest,
            signing_certify_signature: certified.signature,
        };
        let signature = self.sign_by_idevid(&identity.idevid, &csr.encode())?;
        Ok((SignedIdevidCsr::new(csr, signature).encode(), ek))
    }

    fn made(&mut self, making: DevidMaking, key: DevidKey) -> Result<DeviceKey, TpmError> {
        let source = making.source(key);
        let public = self.with_device_key(&source, |_, _, public| Ok(public.clone()))?;
        Ok(DeviceKey {
            source,
            template: making.template,
            public,
            certificate_chain: Vec::new(),
            nv_index: 0,
        })
    }

    /// TPMT_SIGNATURE by the IDevID, which is not restricted: over a digest that
    /// was made here.
    fn sign_by_idevid(&mut self, idevid: &DeviceKey, message: &[u8]) -> Result<Vec<u8>, TpmError> {
        let digest = idevid.template.hash().digest(&[message]);
        let scheme = match idevid.public.parameters {
            // An RSA IDevID leaves the scheme to the command.
            Parameters::Rsa { .. } => SignatureScheme::RsaSsa {
                hash_scheme: HashScheme::new(HashingAlgorithm::Sha256),
            },
            _ => SignatureScheme::Null,
        };
        self.root()?;
        self.with_device_key(&idevid.source, |engine, key, _| {
            let session = engine.session(Encrypt::Command)?;
            let signature = engine.command("TPM2_Sign", (Some(session), None, None), |c| {
                c.sign(key, digest.as_bytes().try_into()?, scheme, null_ticket()?)
            })?;
            Ok(parse_signature(&signature)?.encode())
        })
    }

    fn install_devid(
        &mut self,
        making: DevidMaking,
        iak: &[Vec<u8>],
        idevid: &[Vec<u8>],
        replace: bool,
    ) -> Result<(), TpmError> {
        let wanted = [
            (DevidKey::Iak, IAK_CERTIFICATE_NV, iak),
            (DevidKey::Idevid, IDEVID_CERTIFICATE_NV, idevid),
        ];
        for (key, index, chain) in &wanted {
            let public: Public = self.made(making, *key)?.public;
            if !chain.first().is_some_and(|leaf| certifies(leaf, &public)) {
                return Err(TpmError::NvContent {
                    index: *index,
                    problem: "to be written: the certificate is not for the key that this TPM makes by that template",
                });
            }
            if !replace && self.read_nv(*index)?.is_some() {
                return Err(TpmError::NvContent {
                    index: *index,
                    problem: "there already; --replace puts the new one in its place",
                });
            }
        }
        for (_, index, chain) in wanted {
            self.write_nv(index, &chain.concat())?;
        }
        Ok(())
    }

    /// Defines an index by the owner and writes it; what the owner defined there
    /// before is removed.
    fn write_nv(&mut self, index: u32, data: &[u8]) -> Result<(), TpmError> {
        let esapi = |what| move |e| TpmError::from_tss(what, e);
        let handle = NvIndexTpmHandle::new(index).map_err(esapi("NV index"))?;
        self.root()?;
        if self.nv_indices_from(index)?.first() == Some(&index) {
            self.with_reference(
                "TPM2_NV_ReadPublic",
                TpmHandle::from(handle),
                |engine, object| {
                    let session = engine.session(Encrypt::Nothing)?;
                    engine.command_as(
                        Hierarchy::Owner,
                        "TPM2_NV_UndefineSpace",
                        (Some(session), None, None),
                        |c| c.nv_undefine_space(Provision::Owner, NvIndexHandle::from(object)),
                    )
                },
            )?;
        }
        let public = NvIndexAttributesBuilder::new()
            .with_owner_write(true)
            .with_owner_read(true)
            .with_auth_read(true)
            .with_pp_read(true)
            .with_no_da(true)
            .build()
            .and_then(|attributes| {
                NvPublicBuilder::new()
                    .with_nv_index(handle)
                    .with_index_name_algorithm(HashingAlgorithm::Sha256)
                    .with_index_attributes(attributes)
                    .with_data_area_size(data.len())
                    .build()
            })
            .map_err(esapi("NV index"))?;
        let session = self.session(Encrypt::Nothing)?;
        let nv = self.command_as(
            Hierarchy::Owner,
            "TPM2_NV_DefineSpace",
            (Some(session), None, None),
            |c| c.nv_define_space(Provision::Owner, None, public.clone()),
        )?;
        let mut offset: u16 = 0;
        let mut outcome = Ok(());
        for chunk in data.chunks(NV_CHUNK) {
            outcome = self.session(Encrypt::Nothing).and_then(|session| {
                self.command_as(
                    Hierarchy::Owner,
                    "TPM2_NV_Write",
                    (Some(session), None, None),
                    |c| {
                        let buffer = MaxNvBuffer::try_from(chunk)?;
                        c.nv_write(NvAuth::Owner, nv, buffer, offset)
                    },
                )
            });
            if outcome.is_err() {
                break;
            }
            offset = offset.saturating_add(u16::try_from(chunk.len()).unwrap_or(u16::MAX));
        }
        self.close(&mut nv.into());
        outcome
    }
}
