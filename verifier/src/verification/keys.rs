//! AK and LDevID key: public areas that passed their checklist (TCG "TPM 2.0
//! Keys for Device Identity and Attestation" v1.10; ADVERSARY A07, A08).

use holdfast_proto::tpm::{
    AsymScheme, EccCurve, HashAlg, Name, ObjectAttributes as Attr, Parameters, Public, Symmetric,
    Unique,
};

use super::error::{KeyFault, VerificationError};
use crate::{digest::sha256, endorsement::roca};

/// How an AK signs. Its TPM key allows no other scheme.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum AkScheme {
    /// ECDSA P-256 with SHA-256.
    EcdsaP256,
    /// ECDSA P-384 with SHA-384.
    EcdsaP384,
    /// RSASSA-PKCS1-v1_5 with this hash.
    RsaSsa(HashAlg),
    /// RSASSA-PSS with this hash, salt of any length.
    RsaPss(HashAlg),
}

impl AkScheme {
    /// The scheme's hash: of the signature and of the quote's pcrDigest.
    #[must_use]
    pub const fn hash(self) -> HashAlg {
        match self {
            Self::EcdsaP256 => HashAlg::Sha256,
            Self::EcdsaP384 => HashAlg::Sha384,
            Self::RsaSsa(hash) | Self::RsaPss(hash) => hash,
        }
    }

    /// Short name for logs and policy: `ecdsa-p256`, `ecdsa-p384`, `rsassa`,
    /// `rsapss`.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::EcdsaP256 => "ecdsa-p256",
            Self::EcdsaP384 => "ecdsa-p384",
            Self::RsaSsa(_) => "rsassa",
            Self::RsaPss(_) => "rsapss",
        }
    }
}

/// Public area of an attestation key: restricted, signing only, made by this
/// TPM, never to leave it, strong. Nothing here proves that a TPM holds it:
/// that is [`super::ActivatedAk`].
#[derive(Clone, Debug)]
pub struct AkPublic {
    public: Public,
    name: Name,
    scheme: AkScheme,
}

impl AkPublic {
    /// RSA AK sizes taken. Under 2048 is weak; over 4096 no TPM makes.
    pub const RSA_BITS: std::ops::RangeInclusive<u16> = 2048..=4096;

    /// # Errors
    /// [`VerificationError::Ak`] with the first rule that it breaks.
    pub fn new(public: Public) -> Result<Self, VerificationError> {
        let scheme = Self::checklist(&public).map_err(VerificationError::Ak)?;
        Ok(Self {
            name: public.name(),
            public,
            scheme,
        })
    }

    fn checklist(public: &Public) -> Result<AkScheme, KeyFault> {
        common_rules(public)?;
        if !public.attributes.contains(Attr::RESTRICTED) {
            return Err(KeyFault::NotRestricted);
        }
        match (&public.parameters, &public.unique) {
            (
                Parameters::Ecc {
                    symmetric,
                    scheme,
                    curve,
                },
                Unique::Ecc { x, y },
            ) => {
                no_symmetric(symmetric)?;
                point_rules(*curve, x, y)?;
                match (curve, scheme) {
                    (EccCurve::P256, AsymScheme::Ecdsa(HashAlg::Sha256)) => Ok(AkScheme::EcdsaP256),
                    (EccCurve::P384, AsymScheme::Ecdsa(HashAlg::Sha384)) => Ok(AkScheme::EcdsaP384),
                    _ => Err(KeyFault::Scheme),
                }
            }
            (
                Parameters::Rsa {
                    symmetric,
                    scheme,
                    key_bits,
                    exponent,
                },
                Unique::Rsa(modulus),
            ) => {
                no_symmetric(symmetric)?;
                rsa_rules(*key_bits, *exponent, modulus)?;
                match scheme {
                    AsymScheme::RsaSsa(hash) if strong(*hash) => Ok(AkScheme::RsaSsa(*hash)),
                    AsymScheme::RsaPss(hash) if strong(*hash) => Ok(AkScheme::RsaPss(*hash)),
                    _ => Err(KeyFault::Scheme),
                }
            }
            _ => Err(KeyFault::KeyType),
        }
    }

    /// The public area.
    #[must_use]
    pub fn public(&self) -> &Public {
        &self.public
    }

    /// Its Name.
    #[must_use]
    pub fn name(&self) -> &Name {
        &self.name
    }

    /// How it signs.
    #[must_use]
    pub fn scheme(&self) -> AkScheme {
        self.scheme
    }
}

/// Public area of an LDevID key (IEEE 802.1AR): unrestricted signing, made by
/// this TPM, never to leave it, of a curve that TLS and COSE use.
#[derive(Clone, Debug)]
pub struct LdevidPublic {
    public: Public,
    name: Name,
    curve: EccCurve,
    spki_der: Vec<u8>,
}

impl LdevidPublic {
    /// # Errors
    /// [`VerificationError::Ldevid`] with the first rule that it breaks.
    pub fn new(public: Public) -> Result<Self, VerificationError> {
        let curve = Self::checklist(&public).map_err(VerificationError::Ldevid)?;
        let spki_der = public
            .to_spki_der()
            .map_err(VerificationError::LdevidPublic)?;
        Ok(Self {
            name: public.name(),
            public,
            curve,
            spki_der,
        })
    }

    fn checklist(public: &Public) -> Result<EccCurve, KeyFault> {
        common_rules(public)?;
        if public.attributes.contains(Attr::RESTRICTED) {
            return Err(KeyFault::Restricted);
        }
        match (&public.parameters, &public.unique) {
            (
                Parameters::Ecc {
                    symmetric,
                    scheme,
                    curve,
                },
                Unique::Ecc { x, y },
            ) => {
                no_symmetric(symmetric)?;
                point_rules(*curve, x, y)?;
                match (curve, scheme) {
                    (EccCurve::P256, AsymScheme::Null | AsymScheme::Ecdsa(HashAlg::Sha256))
                    | (EccCurve::P384, AsymScheme::Null | AsymScheme::Ecdsa(HashAlg::Sha384)) => {
                        Ok(*curve)
                    }
                    _ => Err(KeyFault::Scheme),
                }
            }
            _ => Err(KeyFault::KeyType),
        }
    }

    /// The public area.
    #[must_use]
    pub fn public(&self) -> &Public {
        &self.public
    }

    /// Its Name.
    #[must_use]
    pub fn name(&self) -> &Name {
        &self.name
    }

    /// Its curve: P-256 or P-384.
    #[must_use]
    pub fn curve(&self) -> EccCurve {
        self.curve
    }

    /// DER SubjectPublicKeyInfo, as it goes into the LDevID certificate.
    #[must_use]
    pub fn spki_der(&self) -> &[u8] {
        &self.spki_der
    }

    /// SHA-256 of [`Self::spki_der`].
    #[must_use]
    pub fn spki_sha256(&self) -> [u8; 32] {
        sha256(&[&self.spki_der])
    }
}

/// What AK and LDevID key have in common: a signing key that this TPM made
/// and that cannot leave it (TPM 2.0 Part 2 §8.3).
pub(super) fn common_rules(public: &Public) -> Result<(), KeyFault> {
    let has = |bit| public.attributes.contains(bit);
    if !strong(public.name_alg) {
        return Err(KeyFault::NameAlg(public.name_alg));
    }
    let rules = [
        (has(Attr::FIXED_TPM), KeyFault::NotFixedTpm),
        (has(Attr::FIXED_PARENT), KeyFault::NotFixedParent),
        (has(Attr::SENSITIVE_DATA_ORIGIN), KeyFault::NotMadeByTpm),
        (has(Attr::SIGN), KeyFault::NotSigning),
        (!has(Attr::DECRYPT), KeyFault::Decrypts),
        (!has(Attr::X509_SIGN), KeyFault::X509Sign),
        (!has(Attr::ENCRYPTED_DUPLICATION), KeyFault::Duplicable),
    ];
    rules
        .into_iter()
        .find(|(holds, _)| !holds)
        .map_or(Ok(()), |(_, fault)| Err(fault))
}

/// SHA-1 has no place in a Name or a signature (SP 800-131A).
const fn strong(hash: HashAlg) -> bool {
    !matches!(hash, HashAlg::Sha1)
}

pub(super) fn no_symmetric(symmetric: &Symmetric) -> Result<(), KeyFault> {
    match symmetric {
        Symmetric::Null => Ok(()),
        Symmetric::Aes { .. } => Err(KeyFault::Symmetric),
    }
}

pub(super) fn point_rules(curve: EccCurve, x: &[u8], y: &[u8]) -> Result<(), KeyFault> {
    if !matches!(curve, EccCurve::P256 | EccCurve::P384) {
        return Err(KeyFault::Curve(curve));
    }
    // A TPM may strip leading zeros, but never sends a point without both.
    let fits = |c: &[u8]| !c.is_empty() && c.len() <= curve.coordinate_len();
    if fits(x) && fits(y) {
        Ok(())
    } else {
        Err(KeyFault::Point)
    }
}

pub(super) fn rsa_rules(key_bits: u16, exponent: u32, modulus: &[u8]) -> Result<(), KeyFault> {
    if !AkPublic::RSA_BITS.contains(&key_bits) || !key_bits.is_multiple_of(8) {
        return Err(KeyFault::RsaBits(key_bits));
    }
    // Part 2 §12.2.3.5: zero stands for 2^16 + 1, all that TPMs must support.
    if !matches!(exponent, 0 | 65537) {
        return Err(KeyFault::RsaExponent(exponent));
    }
    let whole = modulus.len() == usize::from(key_bits / 8);
    let top = modulus.first().is_some_and(|b| b & 0x80 != 0);
    let odd = modulus.last().is_some_and(|b| b & 1 == 1);
    if !(whole && top && odd) {
        return Err(KeyFault::RsaModulus);
    }
    if roca::is_roca(modulus) {
        return Err(KeyFault::Roca);
    }
    Ok(())
}
