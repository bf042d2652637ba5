//! The IDevID key as a request for its certificate brings it.

use holdfast_proto::tpm::{
    EccCurve, HashAlg, Name, Parameters, Public, Signature, Unique,
    devid::{DevidKey, DevidTemplate},
};

use super::{
    error::{KeyFault, SignatureFault, VerificationError},
    keys::{AkScheme, common_rules, no_symmetric, point_rules, rsa_rules},
    signature::verify_by,
};

/// An IDevID key's public area: exactly a template of the standard but for
/// `unique`, with a sound key of a kind that is verified here.
#[derive(Clone, Debug)]
pub struct IdevidKey {
    public: Public,
    template: DevidTemplate,
    name: Name,
    spki_der: Vec<u8>,
}

impl IdevidKey {
    /// # Errors
    /// [`KeyFault`] as of an AK; [`KeyFault::Template`] where the area is none
    /// of the standard's.
    pub fn new(public: Public) -> Result<Self, VerificationError> {
        let template = DevidTemplate::matching(&public, DevidKey::Idevid)
            .ok_or(VerificationError::IdevidKey(KeyFault::Template))?;
        sound(&public).map_err(VerificationError::IdevidKey)?;
        let spki_der = public
            .to_spki_der()
            .map_err(VerificationError::LdevidPublic)?;
        Ok(Self {
            name: public.name(),
            public,
            template,
            spki_der,
        })
    }

    /// Its public area.
    #[must_use]
    pub fn public(&self) -> &Public {
        &self.public
    }

    /// Its template.
    #[must_use]
    pub fn template(&self) -> DevidTemplate {
        self.template
    }

    /// Its Name.
    #[must_use]
    pub fn name(&self) -> &Name {
        &self.name
    }

    /// DER SubjectPublicKeyInfo.
    #[must_use]
    pub fn spki_der(&self) -> &[u8] {
        &self.spki_der
    }

    /// Checks a signature by this key. An RSA IDevID leaves its scheme to the
    /// command: RSASSA and RSASSA-PSS with SHA-256 are taken.
    ///
    /// # Errors
    /// [`SignatureFault`]
    pub fn verify(&self, message: &[u8], signature: &Signature) -> Result<(), SignatureFault> {
        let scheme = match (&self.public.parameters, signature) {
            (
                Parameters::Ecc {
                    curve: EccCurve::P384,
                    ..
                },
                _,
            ) => AkScheme::EcdsaP384,
            (Parameters::Ecc { .. }, _) => AkScheme::EcdsaP256,
            (_, Signature::RsaPss { .. }) => AkScheme::RsaPss(HashAlg::Sha256),
            (_, _) => AkScheme::RsaSsa(HashAlg::Sha256),
        };
        verify_by(&self.public, scheme, message, signature)
    }
}

fn sound(public: &Public) -> Result<(), KeyFault> {
    common_rules(public)?;
    match (&public.parameters, &public.unique) {
        (
            Parameters::Ecc {
                symmetric, curve, ..
            },
            Unique::Ecc { x, y },
        ) => {
            no_symmetric(symmetric)?;
            point_rules(*curve, x, y)
        }
        (
            Parameters::Rsa {
                symmetric,
                key_bits,
                exponent,
                ..
            },
            Unique::Rsa(modulus),
        ) => {
            no_symmetric(symmetric)?;
            rsa_rules(*key_bits, *exponent, modulus)
        }
        _ => Err(KeyFault::KeyType),
    }
}
