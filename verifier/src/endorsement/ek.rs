//! The EK's public area: a known template and a sound key.

use holdfast_proto::{
    binding::{self, Ueid},
    tpm::{EccCurve, Name, Parameters, Public, Unique, templates::EkTemplate},
};

use super::{
    certificate::{Certificate, SubjectKey},
    error::EndorsementError,
    oid, roca,
};
use crate::digest::sha256;

/// An EK's public area that equals a known template in everything but
/// `unique`. Not endorsed: that is [`super::EndorsedEk`].
#[derive(Clone, Debug)]
pub struct EkPublic {
    public: Public,
    template: EkTemplate,
    name: Name,
    gateway: Ueid,
    spki_sha256: [u8; 32],
}

impl EkPublic {
    /// From TPMT_PUBLIC.
    ///
    /// # Errors
    /// Where it does not parse, equals no template, or holds no sound key.
    pub fn parse(tpmt: &[u8]) -> Result<Self, EndorsementError> {
        let public = Public::parse(tpmt)?;
        let template = EkTemplate::matching(&public).ok_or(EndorsementError::NotATemplate)?;
        if !is_sound(&public) {
            return Err(EndorsementError::EkKey);
        }
        Ok(Self {
            template,
            name: public.name(),
            gateway: binding::gateway_id(&public)?,
            spki_sha256: sha256(&[&public.to_spki_der()?]),
            public,
        })
    }

    /// The EK that a DER certificate is for, as the first template with such a
    /// key has it: for a request that brings the certificate alone. A
    /// credential for it depends on the key, the nameAlg and the symmetric
    /// algorithm, and in these all templates for one kind of key agree.
    ///
    /// # Errors
    /// [`EndorsementError::EkKey`] for a key of no template; a malformed
    /// certificate.
    pub fn of_certificate(der: &[u8]) -> Result<Self, EndorsementError> {
        let certificate = Certificate::parse(der, 0)?;
        let area = |template: EkTemplate| {
            let mut public = template.public();
            public.unique = match &certificate.key {
                SubjectKey::Rsa { n, .. } => Unique::Rsa(n.to_vec()),
                SubjectKey::Ec { point, .. } => {
                    let coordinates = point.strip_prefix(&[4])?;
                    let (x, y) = coordinates.split_at_checked(coordinates.len() / 2)?;
                    Unique::Ecc {
                        x: x.to_vec(),
                        y: y.to_vec(),
                    }
                }
                SubjectKey::Other { .. } => return None,
            };
            (is_sound(&public) && is_key(&public, &certificate.key)).then_some(public)
        };
        let public = EkTemplate::ALL
            .into_iter()
            .find_map(area)
            .ok_or(EndorsementError::EkKey)?;
        Self::parse(&public.encode())
    }

    /// The public area.
    #[must_use]
    pub fn public(&self) -> &Public {
        &self.public
    }

    /// The template that it equals but for `unique`.
    #[must_use]
    pub fn template(&self) -> EkTemplate {
        self.template
    }

    /// Its Name.
    #[must_use]
    pub fn name(&self) -> &Name {
        &self.name
    }

    /// UEID of the gateway whose EK this is: of the key alone.
    #[must_use]
    pub fn gateway_id(&self) -> &Ueid {
        &self.gateway
    }

    /// SHA-256 of its DER SubjectPublicKeyInfo.
    #[must_use]
    pub fn spki_sha256(&self) -> [u8; 32] {
        self.spki_sha256
    }

    /// Whether it is an RSA key of the form of CVE-2017-15361.
    pub(super) fn is_roca(&self) -> bool {
        matches!(&self.public.unique, Unique::Rsa(modulus) if roca::is_roca(modulus))
    }

    /// Whether a certificate's key is this key: material, not encoding.
    pub(super) fn is_key(&self, key: &SubjectKey<'_>) -> bool {
        is_key(&self.public, key)
    }
}

/// Whether a certificate's key is the key of this area: material, not encoding.
pub(super) fn is_key(public: &Public, key: &SubjectKey<'_>) -> bool {
    match (&public.parameters, &public.unique, key) {
        (Parameters::Rsa { exponent, .. }, Unique::Rsa(modulus), SubjectKey::Rsa { n, e }) => {
            // Zero stands for 2^16 + 1 (Part 2 §12.2.3.5).
            let exponent = if *exponent == 0 { 65537 } else { *exponent };
            let exponent = exponent.to_be_bytes();
            let significant = exponent
                .iter()
                .position(|b| *b != 0)
                .unwrap_or(exponent.len());
            *n == modulus.as_slice() && Some(*e) == exponent.get(significant..)
        }
        (
            Parameters::Ecc { curve: ours, .. },
            Unique::Ecc { x, y },
            SubjectKey::Ec { curve, point },
        ) => {
            let curve_oid = match ours {
                EccCurve::P256 => oid::P256,
                EccCurve::P384 => oid::P384,
                EccCurve::P521 => oid::P521,
            };
            let pad = |c: &[u8]| {
                [
                    vec![0; ours.coordinate_len().saturating_sub(c.len())],
                    c.to_vec(),
                ]
                .concat()
            };
            *curve == curve_oid && **point == [vec![4], pad(x), pad(y)].concat()
        }
        _ => false,
    }
}

/// The modulus has the template's size and is odd; coordinates are there and
/// fit. That a point is on its curve shows when a credential is made for it.
pub(super) fn is_sound(public: &Public) -> bool {
    match (&public.parameters, &public.unique) {
        (Parameters::Rsa { key_bits, .. }, Unique::Rsa(n)) => {
            n.len() == usize::from(key_bits / 8)
                && n.first().is_some_and(|b| b & 0x80 != 0)
                && n.last().is_some_and(|b| b & 1 == 1)
        }
        (Parameters::Ecc { curve, .. }, Unique::Ecc { x, y }) => {
            let fits = |c: &[u8]| (1..=curve.coordinate_len()).contains(&c.len());
            fits(x) && fits(y)
        }
        _ => false,
    }
}
