//! Endorsement keys and the certificates that the vendor left in NV memory
//! (TCG EK Credential Profile 2.x §2.2.1, §B).

mod certified;
mod further;

use std::str::FromStr;

use holdfast_proto::tpm::templates::EkTemplate;
use holdfast_proto::tpm::{Hierarchy, Parameters, Public, Unique};

use super::engine::Engine;
use super::issuer::{self, Issuer};
use super::nv::{split_chain, split_sequence};
use super::{Tpm, TpmError};

/// Indices that hold the certificates above the EK's own.
const CHAIN_INDICES: std::ops::RangeInclusive<u32> = 0x01C0_0100..=0x01C0_01FF;

/// In which order `auto` tries: ECC first, because an ECC primary takes a TPM
/// milliseconds and an RSA primary up to a minute; low range before high.
const PREFERENCE: [EkTemplate; 6] = [
    EkTemplate::L2,
    EkTemplate::H2,
    EkTemplate::H3,
    EkTemplate::L1,
    EkTemplate::H1,
    EkTemplate::H6,
];

/// Which EK to use.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum EkChoice {
    /// The first that has a certificate.
    #[default]
    Auto,
    /// RSA-2048: template L-1, or H-1 where only that has a certificate.
    Rsa2048,
    /// ECC P-256: template L-2, or H-2 where only that has a certificate.
    EccP256,
    /// ECC P-384: template H-3.
    EccP384,
    /// RSA-3072: template H-6.
    Rsa3072,
}

impl EkChoice {
    /// Templates of this kind, best first.
    fn templates(self) -> &'static [EkTemplate] {
        match self {
            Self::Auto => &PREFERENCE,
            Self::Rsa2048 => &[EkTemplate::L1, EkTemplate::H1],
            Self::EccP256 => &[EkTemplate::L2, EkTemplate::H2],
            Self::EccP384 => &[EkTemplate::H3],
            Self::Rsa3072 => &[EkTemplate::H6],
        }
    }

    /// What makes a key by this template; [`Auto`](Self::Auto) for a vendor's
    /// own.
    #[must_use]
    pub fn of(template: &Public) -> Self {
        match EkTemplate::matching(template) {
            Some(EkTemplate::L1 | EkTemplate::H1) => Self::Rsa2048,
            Some(EkTemplate::L2 | EkTemplate::H2) => Self::EccP256,
            Some(EkTemplate::H3) => Self::EccP384,
            Some(EkTemplate::H6) => Self::Rsa3072,
            None => Self::Auto,
        }
    }

    /// As on the command line.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Auto => "auto",
            Self::Rsa2048 => "rsa2048",
            Self::EccP256 => "ecc-p256",
            Self::EccP384 => "ecc-p384",
            Self::Rsa3072 => "rsa3072",
        }
    }
}

impl FromStr for EkChoice {
    type Err = String;

    fn from_str(s: &str) -> Result<Self, Self::Err> {
        [
            Self::Auto,
            Self::Rsa2048,
            Self::EccP256,
            Self::EccP384,
            Self::Rsa3072,
        ]
        .into_iter()
        .find(|choice| choice.name() == s)
        .ok_or_else(|| format!("{s:?} is not one of auto, rsa2048, ecc-p256, ecc-p384, rsa3072"))
    }
}

/// An endorsement key: the area that makes it, the key, its certificates.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EndorsementKey {
    /// What `TPM2_CreatePrimary` is given: it makes this key again.
    pub template: Public,
    /// The key's public area.
    pub public: Public,
    /// DER: the EK certificate, then the chain found in NV. Empty where the
    /// TPM has no certificate for this key.
    pub certificate_chain: Vec<Vec<u8>>,
}

impl EkCertificates {
    /// Of each EK certificate, the issuer that is not in NV: which the
    /// verifier's owner must have imported.
    #[must_use]
    pub fn missing_issuers(&self) -> Vec<(EkTemplate, Issuer)> {
        let of = |(template, leaf): &(EkTemplate, Vec<u8>)| {
            Some((*template, issuer::missing(leaf, &self.chain)?))
        };
        self.leaves.iter().filter_map(of).collect()
    }
}

/// What the vendor left in NV memory.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct EkCertificates {
    /// DER of each EK certificate, by template, in order of preference.
    pub leaves: Vec<(EkTemplate, Vec<u8>)>,
    /// DER of the certificates in the chain indices.
    pub chain: Vec<Vec<u8>>,
    /// Indices that hold something else than they should.
    pub problems: Vec<(u32, &'static str)>,
}

impl Tpm {
    /// Reads all EK certificates, and the chain, out of NV memory.
    ///
    /// # Errors
    /// [`TpmError`] of the failing command.
    pub fn ek_certificates(&self) -> Result<EkCertificates, TpmError> {
        self.call(Engine::ek_certificates)
    }

    /// The EK of the wanted kind, with its certificate where the TPM has one.
    /// `auto` insists on a certificate; a named kind does not, because an
    /// owner can admit an EK by itself.
    ///
    /// # Errors
    /// [`TpmError::NoEkCertificate`] for `auto` on a TPM without; otherwise
    /// that of the failing command.
    pub fn endorsement_key(&self, choice: EkChoice) -> Result<EndorsementKey, TpmError> {
        self.call(move |engine| engine.endorsement_key(choice))
    }

    /// The EK that `template` makes, for a caller that knows it already.
    ///
    /// # Errors
    /// [`TpmError`] of the failing command.
    pub fn endorsement_public(&self, template: &Public) -> Result<Public, TpmError> {
        let template = template.clone();
        self.call(move |engine| {
            engine.with_primary(Hierarchy::Endorsement, &template, |_, _, public| {
                Ok(public.clone())
            })
        })
    }
}

impl Engine {
    fn ek_certificates(&mut self) -> Result<EkCertificates, TpmError> {
        let indices = self.endorsement_indices()?;
        let mut found = EkCertificates::default();
        for template in PREFERENCE {
            if indices.contains(&template.cert_nv_index()) {
                self.read_leaf(template, &mut found)?;
            }
        }
        self.read_chain(&indices, &mut found)?;
        Ok(found)
    }

    fn read_leaf(
        &mut self,
        template: EkTemplate,
        found: &mut EkCertificates,
    ) -> Result<(), TpmError> {
        let index = template.cert_nv_index();
        let Some(bytes) = self.read_nv(index)? else {
            return Ok(());
        };
        match split_sequence(&bytes) {
            Ok((certificate, _)) => found.leaves.push((template, certificate.to_vec())),
            Err(problem) => found.problems.push((index, problem)),
        }
        Ok(())
    }

    fn read_chain(&mut self, indices: &[u32], found: &mut EkCertificates) -> Result<(), TpmError> {
        // A certificate may go on in the next index: join first, split after.
        let mut bytes = Vec::new();
        for index in indices
            .iter()
            .copied()
            .filter(|index| CHAIN_INDICES.contains(index))
        {
            bytes.extend(self.read_nv(index)?.unwrap_or_default());
        }
        match split_chain(&bytes) {
            Ok(chain) => found.chain = chain,
            Err(problem) => found.problems.push((*CHAIN_INDICES.start(), problem)),
        }
        Ok(())
    }

    pub(super) fn endorsement_key(&mut self, choice: EkChoice) -> Result<EndorsementKey, TpmError> {
        let indices = self.endorsement_indices()?;
        for template in choice.templates() {
            if let Some(key) = self.certified_key_of(*template, &indices)? {
                return Ok(key);
            }
        }
        match (choice, choice.templates()) {
            (EkChoice::Auto, _) | (_, []) => Err(TpmError::NoEkCertificate {
                wanted: String::new(),
            }),
            (_, [template, ..]) => {
                let (area, public) = self.bare_key(*template, &indices)?;
                Ok(EndorsementKey {
                    template: area,
                    public,
                    certificate_chain: Vec::new(),
                })
            }
        }
    }

    /// The key that the certificate is for: by the template in NV, else by the
    /// standard one. `None` where neither makes it.
    fn certified_key(
        &mut self,
        template: EkTemplate,
        certificate: &[u8],
        indices: &[u32],
    ) -> Result<Option<(Public, Public)>, TpmError> {
        let (area, public) = self.bare_key(template, indices)?;
        if certifies(certificate, &public) {
            return Ok(Some((area, public)));
        }
        let standard = template.public();
        if area != standard {
            let public = self.create(&standard)?;
            if certifies(certificate, &public) {
                return Ok(Some((standard, public)));
            }
        }
        tracing::warn!(
            template = template.label(),
            "the EK certificate in NV is not for the EK that its template makes"
        );
        Ok(None)
    }

    fn bare_key(
        &mut self,
        template: EkTemplate,
        indices: &[u32],
    ) -> Result<(Public, Public), TpmError> {
        let area = self.ek_area(template, indices)?;
        let public = self.create(&area)?;
        Ok((area, public))
    }

    fn create(&mut self, area: &Public) -> Result<Public, TpmError> {
        self.with_primary(Hierarchy::Endorsement, area, |_, _, public| {
            Ok(public.clone())
        })
    }

    /// The template from NV where the vendor left one, else the standard one;
    /// with the nonce from NV in its `unique` where there is one.
    fn ek_area(&mut self, template: EkTemplate, indices: &[u32]) -> Result<Public, TpmError> {
        let mut area = template.public();
        let index = template.template_nv_index();
        if indices.contains(&index)
            && let Some(bytes) = self.read_nv(index)?
        {
            area = Public::parse(&bytes).map_err(|source| TpmError::Malformed {
                what: "EK template in NV",
                source,
            })?;
        }
        if let Some(index) = template.nonce_nv_index()
            && indices.contains(&index)
            && let Some(nonce) = self.read_nv(index)?
        {
            insert_nonce(&mut area, &nonce)
                .map_err(|problem| TpmError::NvContent { index, problem })?;
        }
        Ok(area)
    }
}

/// Puts the EK nonce at the start of `unique`, zero-padded to the template's
/// length (EK Credential Profile §B.3.2: into the modulus, or into x).
fn insert_nonce(area: &mut Public, nonce: &[u8]) -> Result<(), &'static str> {
    let field = match &mut area.unique {
        Unique::Rsa(modulus) => modulus,
        Unique::Ecc { x, .. } => x,
        Unique::KeyedHash(_) => return Err("the EK template is not an asymmetric key"),
    };
    if nonce.len() > field.len() {
        return Err("the EK nonce is longer than the template's unique field");
    }
    for (slot, byte) in field.iter_mut().zip(nonce) {
        *slot = *byte;
    }
    Ok(())
}

/// Whether the certificate holds this key: its bytes, as they stand in any
/// SubjectPublicKeyInfo, whatever the algorithm identifier around them (old
/// RSA EK certificates say RSAES-OAEP). The Verifier decides; this only finds
/// the key that the certificate is meant for.
pub(super) fn certifies(certificate: &[u8], public: &Public) -> bool {
    let key = match public.parameters {
        Parameters::Ecc { .. } => public.to_ec_point(),
        _ => public.to_rsa_public_key_der(),
    };
    key.is_ok_and(|key| certificate.windows(key.len()).any(|window| window == key))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_nonce_goes_first_and_is_padded() {
        let mut area = EkTemplate::L2.public();
        insert_nonce(&mut area, &[7; 20]).unwrap();
        let mut x = vec![7; 20];
        x.resize(32, 0);
        assert_eq!(area.unique, Unique::Ecc { x, y: vec![0; 32] });
        assert!(insert_nonce(&mut area, &[7; 33]).is_err());
        let mut area = EkTemplate::L1.public();
        insert_nonce(&mut area, &[9; 256]).unwrap();
        assert_eq!(area.unique, Unique::Rsa(vec![9; 256]));
    }

    #[test]
    fn choices_parse() {
        assert_eq!("ecc-p384".parse::<EkChoice>().unwrap(), EkChoice::EccP384);
        assert!("rsa1024".parse::<EkChoice>().is_err());
    }
}
