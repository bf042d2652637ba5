//! IAK and IDevID as they were sent: of a known template, with certificates
//! that parse. Nothing is proven.

use holdfast_proto::{
    binding::{self, Ueid},
    tpm::{
        Name, Public, Unique,
        devid::{DevidKey, DevidTemplate},
    },
};

use super::{
    DevidDigests, DevidError,
    leaf::{IakCertificate, IdevidCertificate},
};
use crate::{
    digest::sha256,
    endorsement::{ek, roca},
};

/// An IAK's public area that equals a template of the standard in everything
/// but `unique`.
#[derive(Clone, Debug)]
pub struct IakPublic {
    public: Public,
    template: DevidTemplate,
    pub(super) gateway: Ueid,
}

impl IakPublic {
    /// The public area.
    #[must_use]
    pub fn public(&self) -> &Public {
        &self.public
    }

    /// Its template.
    #[must_use]
    pub fn template(&self) -> DevidTemplate {
        self.template
    }
}

/// An IDevID's public area that equals a template of the standard in
/// everything but `unique`.
#[derive(Clone, Debug)]
pub struct IdevidPublic {
    name: Name,
    spki_sha256: [u8; 32],
}

impl IdevidPublic {
    /// Its Name.
    #[must_use]
    pub fn name(&self) -> &Name {
        &self.name
    }

    /// SHA-256 of its DER SubjectPublicKeyInfo.
    #[must_use]
    pub fn spki_sha256(&self) -> [u8; 32] {
        self.spki_sha256
    }
}

/// What a gateway presents on the IAK road. The certificates are for these
/// keys and say what DevID certificates must; whether anybody who is trusted
/// issued them is [`super::OemAnchors::endorse`]'s question.
#[derive(Clone, Debug)]
pub struct ClaimedDevid {
    pub(super) iak: IakPublic,
    pub(super) iak_certificate: IakCertificate,
    pub(super) idevid: IdevidPublic,
    pub(super) idevid_certificate: IdevidCertificate,
}

impl ClaimedDevid {
    /// From TPMT_PUBLICs, and DER certificates, the leaf first. No public-key
    /// operation happens here.
    ///
    /// # Errors
    /// [`DevidError`]: form, template, leaf certificate, and that both are of
    /// one product, each with a key of its own.
    pub fn parse(
        iak_public: &[u8],
        iak_chain: &[Vec<u8>],
        idevid_public: &[u8],
        idevid_chain: &[Vec<u8>],
    ) -> Result<Self, DevidError> {
        let (iak, template) = area(iak_public, DevidKey::Iak)?;
        let (idevid, _) = area(idevid_public, DevidKey::Idevid)?;
        let iak_certificate = IakCertificate::for_key(&iak, iak_chain)?;
        let idevid_certificate = IdevidCertificate::for_key(&idevid, idevid_chain)?;
        let unsound = |of| move |source| DevidError::Public { of, source };
        let iak_spki = iak.to_spki_der().map_err(unsound(DevidKey::Iak))?;
        let idevid_spki = idevid.to_spki_der().map_err(unsound(DevidKey::Idevid))?;
        // One certificate for both would be one key for both.
        if iak_spki == idevid_spki {
            return Err(DevidError::SameKey);
        }
        let (iak_serial, idevid_serial) = (
            &iak_certificate.get().names.serial,
            &idevid_certificate.get().names.serial,
        );
        if iak_serial != idevid_serial {
            return Err(DevidError::OtherDevice {
                iak: iak_serial.clone(),
                idevid: idevid_serial.clone(),
            });
        }
        Ok(Self {
            iak: IakPublic {
                gateway: binding::gateway_id(&iak).map_err(unsound(DevidKey::Iak))?,
                public: iak,
                template,
            },
            iak_certificate,
            idevid: IdevidPublic {
                name: idevid.name(),
                spki_sha256: sha256(&[&idevid_spki]),
            },
            idevid_certificate,
        })
    }

    /// UEID of the gateway whose IAK this is: of the key alone.
    #[must_use]
    pub fn gateway_id(&self) -> &Ueid {
        &self.iak.gateway
    }

    /// The IAK. Unproven.
    #[must_use]
    pub fn iak(&self) -> &IakPublic {
        &self.iak
    }

    /// The product's serial number. Unproven.
    #[must_use]
    pub fn serial(&self) -> &str {
        &self.idevid_certificate.get().names.serial
    }

    /// By what a challenge remembers all this.
    #[must_use]
    pub fn digests(&self) -> DevidDigests {
        DevidDigests {
            iak_chain_sha256: self.iak_certificate.get().chain.sha256(),
            idevid_chain_sha256: self.idevid_certificate.get().chain.sha256(),
            idevid: self.idevid.name.clone(),
        }
    }
}

fn area(tpmt: &[u8], of: DevidKey) -> Result<(Public, DevidTemplate), DevidError> {
    let public = Public::parse(tpmt).map_err(|source| DevidError::Public { of, source })?;
    let template = DevidTemplate::matching(&public, of).ok_or(DevidError::NotATemplate { of })?;
    if !ek::is_sound(&public) {
        return Err(DevidError::UnsoundKey { of });
    }
    if matches!(&public.unique, Unique::Rsa(modulus) if roca::is_roca(modulus)) {
        return Err(DevidError::Roca { of });
    }
    Ok((public, template))
}
