//! The certificates of IAK and IDevID, each a type of its own. An IDevID key
//! signs whatever its holder likes, forged quotes too: so nothing that
//! certifies one may stand in for what certifies an IAK, nor the other way
//! round. The certificate alone can tell, since it names the key and not the
//! key's attributes.

use holdfast_proto::tpm::{Public, devid::DevidKey};

use super::{DevidError, DevidNames, path::DevidChain};
use crate::endorsement::{
    EndorsementError,
    certificate::Certificate,
    der::{self, NotDer, Reader},
    ek, oid,
};

/// keyUsage in the first octet (RFC 5280 §4.2.1.3).
const DIGITAL_SIGNATURE: u8 = 0x80;

/// A chain, and what its leaf says of the device.
#[derive(Clone, Debug)]
pub(super) struct Certified {
    pub(super) chain: DevidChain,
    pub(super) names: DevidNames,
}

/// A certificate whose issuer says that its key attests: that it is restricted.
/// Only [`IakCertificate::for_key`] makes one.
#[derive(Clone, Debug)]
pub(super) struct IakCertificate(Certified);

impl IakCertificate {
    /// What an extended key usage must have, where there is one.
    pub(super) const PURPOSE: &'static [u8] = oid::AIK_CERTIFICATE;

    /// Well formed, for this key, and for attestation: by the purpose
    /// tcg-kp-AIKCertificate or by the policy verifiedTPMRestricted. Whether
    /// anybody who is trusted issued it is not looked at.
    pub(super) fn for_key(public: &Public, certificates: &[Vec<u8>]) -> Result<Self, DevidError> {
        let of = DevidKey::Iak;
        let (certified, said) = certified(public, certificates, of)?;
        if said.purposes.as_ref().is_some_and(|p| !p.aik) {
            return Err(DevidError::ExtendedKeyUsage {
                of,
                lacks: AIK_CERTIFICATE,
            });
        }
        match said.attests() {
            Some(_) => Ok(Self(certified)),
            None => Err(DevidError::NotForAttestation),
        }
    }

    pub(super) fn get(&self) -> &Certified {
        &self.0
    }
}

/// A certificate whose issuer says nothing of attestation. Only
/// [`IdevidCertificate::for_key`] makes one.
#[derive(Clone, Debug)]
pub(super) struct IdevidCertificate(Certified);

impl IdevidCertificate {
    /// What an extended key usage must have, where there is one.
    pub(super) const PURPOSE: &'static [u8] = oid::CLIENT_AUTH;

    /// Well formed, for this key, and nothing in it that an IAK's certificate
    /// is known by. Whether anybody who is trusted issued it is not looked at.
    pub(super) fn for_key(public: &Public, certificates: &[Vec<u8>]) -> Result<Self, DevidError> {
        let of = DevidKey::Idevid;
        let (certified, said) = certified(public, certificates, of)?;
        if let Some(says) = said.attests() {
            return Err(DevidError::ForAttestation { says });
        }
        if said.purposes.as_ref().is_some_and(|p| !p.client_auth) {
            return Err(DevidError::ExtendedKeyUsage {
                of,
                lacks: "id-kp-clientAuth (1.3.6.1.5.5.7.3.2)",
            });
        }
        Ok(Self(certified))
    }

    pub(super) fn get(&self) -> &Certified {
        &self.0
    }
}

const AIK_CERTIFICATE: &str = "tcg-kp-AIKCertificate (2.23.133.8.3)";
const VERIFIED_RESTRICTED: &str = "tcg-cap-verifiedTPMRestricted (2.23.133.11.1.3)";

/// What a leaf says that its key is for.
struct Said {
    /// Of the extended key usage, where there is one.
    purposes: Option<Purposes>,
    /// Whether the issuer verified that the key is restricted.
    restricted: bool,
}

struct Purposes {
    aik: bool,
    client_auth: bool,
}

impl Said {
    /// By what it is known as an IAK's, if it is.
    fn attests(&self) -> Option<&'static str> {
        match self {
            Self {
                purposes: Some(Purposes { aik: true, .. }),
                ..
            } => Some(AIK_CERTIFICATE),
            Self {
                restricted: true, ..
            } => Some(VERIFIED_RESTRICTED),
            _ => None,
        }
    }

    /// Strict: of a list that cannot be read nobody could tell what it lacks.
    fn read(leaf: &Certificate<'_>) -> Result<Self, EndorsementError> {
        let malformed = |part| move |_: NotDer| EndorsementError::Malformed { at: 0, part };
        let purposes = leaf
            .extension(oid::EXTENDED_KEY_USAGE)
            .map(purposes)
            .transpose()
            .map_err(malformed("extendedKeyUsage"))?;
        let policies = leaf
            .extension(oid::CERTIFICATE_POLICIES)
            .map(policies)
            .transpose()
            .map_err(malformed("certificatePolicies"))?
            .unwrap_or_default();
        Ok(Self {
            purposes: purposes.map(|list| Purposes {
                aik: list.contains(&oid::AIK_CERTIFICATE),
                client_auth: list.contains(&oid::CLIENT_AUTH),
            }),
            restricted: policies.contains(&oid::VERIFIED_TPM_RESTRICTED),
        })
    }
}

/// ExtKeyUsageSyntax (RFC 5280 §4.2.1.12): contents of the OIDs.
fn purposes(value: &[u8]) -> Result<Vec<&[u8]>, NotDer> {
    let mut list = Reader::new(der::only(value, der::SEQUENCE)?);
    let mut purposes = Vec::new();
    while !list.is_empty() {
        purposes.push(list.tagged(der::OID)?.content);
    }
    Ok(purposes)
}

/// certificatePolicies (§4.2.1.4): contents of the OIDs; qualifiers mean
/// nothing here.
fn policies(value: &[u8]) -> Result<Vec<&[u8]>, NotDer> {
    let mut list = Reader::new(der::only(value, der::SEQUENCE)?);
    let mut policies = Vec::new();
    while !list.is_empty() {
        let mut information = list.enter(der::SEQUENCE)?;
        policies.push(information.tagged(der::OID)?.content);
        information.optional(der::SEQUENCE)?;
        information.finish()?;
    }
    Ok(policies)
}

/// What both must keep.
fn certified(
    public: &Public,
    certificates: &[Vec<u8>],
    of: DevidKey,
) -> Result<(Certified, Said), DevidError> {
    let broken = |source| DevidError::Certificate { of, source };
    let chain = DevidChain::parse(certificates).map_err(broken)?;
    let leaf = Certificate::parse(chain.leaf(), 0).map_err(broken)?;
    if !ek::is_key(public, &leaf.key) {
        return Err(DevidError::OtherKey { of });
    }
    if leaf.key_usage() & DIGITAL_SIGNATURE == 0 {
        return Err(DevidError::KeyUsage { of });
    }
    let said = Said::read(&leaf).map_err(broken)?;
    let names = DevidNames::read(&leaf, of)?;
    Ok((Certified { chain, names }, said))
}
