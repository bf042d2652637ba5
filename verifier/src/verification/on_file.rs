//! Quotes, claims and results that lie in files, away from any exchange; for
//! `inspect`. The checks are the exchange's own; what they are held against is
//! the caller's. Nothing here makes a proof: the answers are for people.

use std::collections::BTreeMap;

use holdfast_proto::{
    claims::{Claims, SignedClaims},
    tpm::{
        AsymScheme, Attest, Attested, EccCurve, HashAlg, Name, Parameters, PcrSet, Public,
        Signature,
        templates::{AkAlg, ak_template},
    },
};
use thiserror::Error;

use super::{
    claims,
    error::{KeyFault, SignatureFault, VerificationError},
    evidence::SignedAttest,
    keys::{AkPublic, LdevidPublic},
    quote::expect_digest,
    signature::{verify_fixed, verify_signature},
};
use crate::endorsement::KeyMaterial;

/// A public key that somebody says signed: with its TPM public area, or by its
/// material alone.
#[derive(Clone, Debug)]
pub struct KeyOnFile {
    material: KeyMaterial,
    area: Option<Public>,
}

impl KeyOnFile {
    /// A key without a public area.
    #[must_use]
    pub fn from_material(material: KeyMaterial) -> Self {
        Self {
            material,
            area: None,
        }
    }

    /// A TPM object's key; none where the area holds no asymmetric key.
    #[must_use]
    pub fn from_area(area: Public) -> Option<Self> {
        Some(Self {
            material: KeyMaterial::of_area(&area)?,
            area: Some(area),
        })
    }

    /// The key itself.
    #[must_use]
    pub fn material(&self) -> &KeyMaterial {
        &self.material
    }

    /// Its Name; unknown without a public area.
    #[must_use]
    pub fn name(&self) -> Option<Name> {
        self.area.as_ref().map(Public::name)
    }

    /// Why enrolment would not take it as an AK, where its area tells.
    #[must_use]
    pub fn ak_fault(&self) -> Option<VerificationError> {
        AkPublic::new(self.area.clone()?).err()
    }

    /// Why enrolment would not take it as an LDevID key, where its area tells.
    #[must_use]
    pub fn ldevid_fault(&self) -> Option<VerificationError> {
        LdevidPublic::new(self.area.clone()?).err()
    }

    /// The signature scheme that its area fixes.
    #[must_use]
    pub fn scheme(&self) -> Option<AsymScheme> {
        match self.area.as_ref()?.parameters {
            Parameters::Rsa { scheme, .. } | Parameters::Ecc { scheme, .. } => {
                Some(scheme).filter(|scheme| *scheme != AsymScheme::Null)
            }
            Parameters::KeyedHash { .. } => None,
        }
    }

    /// The AK that this key is or would be, with the scheme that its area
    /// fixes, else the one that `signature` says: what is left of the checklist
    /// is what makes the key and the scheme strong.
    fn signer(&self, signature: &Signature) -> Result<AkPublic, VerificationError> {
        let said = match signature {
            Signature::RsaSsa { hash, .. } => AsymScheme::RsaSsa(*hash),
            Signature::RsaPss { hash, .. } => AsymScheme::RsaPss(*hash),
            Signature::Ecdsa { hash, .. } => AsymScheme::Ecdsa(*hash),
            Signature::Hmac { .. } => return Err(VerificationError::Ak(KeyFault::Scheme)),
        };
        let chosen = self.scheme().unwrap_or(said);
        let mut area = self
            .material
            .in_area(&ak_template(AkAlg::default(), &[0; 32]));
        if let Parameters::Rsa { scheme, .. } | Parameters::Ecc { scheme, .. } =
            &mut area.parameters
        {
            *scheme = chosen;
        }
        AkPublic::new(area)
    }

    /// The claims, where this key signed them. The kid is compared where the
    /// key's Name is known.
    ///
    /// # Errors
    /// [`VerificationError::ClaimsAlg`], [`VerificationError::ClaimsKid`],
    /// [`VerificationError::ClaimsSignature`], [`VerificationError::Claims`].
    pub fn open_claims(&self, signed: SignedClaims) -> Result<Claims, VerificationError> {
        let Parameters::Ecc { curve, .. } = self.material.parameters else {
            return Err(VerificationError::Ldevid(KeyFault::KeyType));
        };
        let area = self.plain_area();
        claims::open_signed(signed, &area, curve, self.name().as_ref())
    }

    /// Checks r ‖ s by this key over `message`: ECDSA P-256 with SHA-256, as
    /// attestation results are signed.
    ///
    /// # Errors
    /// [`SignatureFault`]; a key that is not P-256 verifies nothing.
    pub fn verify_es256(&self, message: &[u8], signature: &[u8]) -> Result<(), SignatureFault> {
        match self.material.parameters {
            Parameters::Ecc {
                curve: EccCurve::P256,
                ..
            } => verify_fixed(&self.plain_area(), EccCurve::P256, message, signature),
            _ => Err(SignatureFault::Invalid),
        }
    }

    fn plain_area(&self) -> Public {
        self.material
            .in_area(&ak_template(AkAlg::default(), &[0; 32]))
    }
}

/// PCR values by bank and index.
pub type Values = BTreeMap<HashAlg, BTreeMap<u32, Vec<u8>>>;

/// What a quote is held against. What is not given is not checked, and the
/// caller says so.
#[derive(Clone, Debug, Default)]
pub struct QuoteExpectation {
    /// extraData.
    pub nonce: Option<Vec<u8>>,
    /// Exactly what was quoted, in every bank.
    pub pcrs: Option<Values>,
}

/// Why a quote is refused.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum QuoteOnFileError {
    /// extraData is not the nonce given.
    #[error("the quote's extraData is {got}, the nonce given is {expected}")]
    Nonce {
        /// In the quote, hex.
        got: String,
        /// Given, hex.
        expected: String,
    },
    /// As in an exchange.
    #[error(transparent)]
    Verification(#[from] VerificationError),
}

/// Checks a quote: made by a TPM (magic), a quote (type), with this nonce, over
/// these PCR values, signed by this key.
///
/// # Errors
/// The first check that does not hold, the signature last.
pub fn verify_quote_on_file(
    key: &KeyOnFile,
    attest: &[u8],
    signature: &[u8],
    expected: &QuoteExpectation,
) -> Result<Attest, QuoteOnFileError> {
    let SignedAttest {
        bytes,
        attest,
        signature,
    } = SignedAttest::parse("attest", attest, "signature", signature)?;
    let Attested::Quote {
        selection,
        pcr_digest,
    } = &attest.attested
    else {
        return Err(VerificationError::NotAQuote.into());
    };
    if let Some(nonce) = expected.nonce.as_ref()
        && *nonce != attest.extra_data
    {
        return Err(QuoteOnFileError::Nonce {
            got: hex::encode(&attest.extra_data),
            expected: hex::encode(nonce),
        });
    }
    let signer = key.signer(&signature)?;
    if let Some(values) = &expected.pcrs {
        let quoted: Vec<(HashAlg, PcrSet)> = selection
            .iter()
            .filter(|bank| !bank.pcrs.is_empty())
            .map(|bank| (bank.hash, bank.pcrs))
            .collect();
        let given: Vec<&[u8]> = given_as_quoted(&quoted, values)?;
        expect_digest(&signer, &given, pcr_digest)?;
    }
    verify_signature(&signer, &bytes, &signature).map_err(VerificationError::QuoteSignature)?;
    Ok(attest)
}

/// The values given, in the quote's order. They must be exactly those quoted:
/// a part of them has no digest to be held against.
fn given_as_quoted<'v>(
    quoted: &[(HashAlg, PcrSet)],
    values: &'v Values,
) -> Result<Vec<&'v [u8]>, VerificationError> {
    let banks: BTreeMap<HashAlg, PcrSet> = quoted.iter().copied().collect();
    let same = banks.len() == quoted.len()
        && banks.len() == values.len()
        && banks.iter().all(|(bank, pcrs)| {
            values
                .get(bank)
                .is_some_and(|values| values.keys().copied().eq(pcrs.iter()))
        });
    if !same {
        let text = |banks: &mut dyn Iterator<Item = String>| banks.collect::<Vec<_>>().join("+");
        return Err(VerificationError::Selection {
            got: text(&mut quoted.iter().map(|(bank, pcrs)| format!("{bank}:{pcrs}"))),
            required: text(&mut values.iter().map(|(bank, values)| {
                let indices: Vec<String> = values.keys().map(u32::to_string).collect();
                format!("{bank}:{}", indices.join(","))
            })),
        });
    }
    let mut given = Vec::new();
    for (bank, _) in quoted {
        for (index, value) in values.get(bank).into_iter().flatten() {
            if value.len() != bank.digest_len() {
                return Err(VerificationError::PcrLength {
                    index: *index,
                    len: value.len(),
                });
            }
            given.push(value.as_slice());
        }
    }
    Ok(given)
}
