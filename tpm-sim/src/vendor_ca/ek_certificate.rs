//! EK certificates by the TCG EK Credential Profile §3.2, and their flaws: each
//! flawed one is the good one with a single thing changed.

use holdfast_proto::tpm::Public;
use rcgen::{KeyPair, PublicKeyData as _};

use super::VendorCa;
use super::certificate::{self, Authority, Body, KeyUsage};
use super::der::{self, tag};
use crate::SimError;

/// tcg-kp-EKCertificate
const EK_PURPOSE: &[u32] = &[2, 23, 133, 8, 1];
const SERVER_AUTH: &[u32] = &[1, 3, 6, 1, 5, 5, 7, 3, 1];
const SUBJECT_ALT_NAME: &[u32] = &[2, 5, 29, 17];
const NAME_CONSTRAINTS: &[u32] = &[2, 5, 29, 30];
/// An arc that no extension has.
const UNKNOWN_EXTENSION: &[u32] = &[2, 23, 133, 99, 1];
/// rsaEncryption
const RSA: &[u32] = &[1, 2, 840, 113_549, 1, 1, 1];

/// What an EK certificate says of its TPM, and what is wrong with it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EkCertOptions {
    /// tpmManufacturer: `id:` and 8 hex digits of the TCG vendor id.
    pub manufacturer: String,
    /// tpmModel
    pub model: String,
    /// tpmVersion: `id:` and 8 hex digits of the firmware version.
    pub version: String,
    /// How the three attributes are laid out; vendors differ.
    pub layout: SanLayout,
    /// The one thing that is wrong.
    pub flaw: Option<Flaw>,
}

impl Default for EkCertOptions {
    fn default() -> Self {
        Self {
            // "HFST": no vendor in the TCG's registry.
            manufacturer: "id:48465354".to_owned(),
            model: "Holdfast simulated TPM".to_owned(),
            version: "id:20240125".to_owned(),
            layout: SanLayout::OneRdn,
            flaw: None,
        }
    }
}

impl EkCertOptions {
    /// A certificate with `flaw` and else as it should be.
    #[must_use]
    pub fn with_flaw(flaw: Flaw) -> Self {
        Self {
            flaw: Some(flaw),
            ..Self::default()
        }
    }
}

/// Layout of the TPM's attributes in the SAN's directoryName.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SanLayout {
    /// One relative distinguished name with three attributes.
    OneRdn,
    /// Three relative distinguished names with one attribute each.
    ThreeRdns,
}

/// What can be wrong with an EK certificate. The signature is good in all but
/// [`Flaw::BadSignature`], [`Flaw::SelfIssued`] and [`Flaw::UnknownIssuer`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Flaw {
    /// Issuer equals subject. (An EK cannot sign: a key that nobody knows did.)
    SelfIssued,
    /// Issued by an authority of the right name and another key.
    UnknownIssuer,
    /// One bit of the signature flipped.
    BadSignature,
    /// Ended in 2021.
    Expired,
    /// Starts in 2090.
    NotYetValid,
    /// serverAuth in place of tcg-kp-EKCertificate.
    WrongEku,
    /// No extended key usage.
    NoEku,
    /// digitalSignature in place of the EK's own key usage.
    WrongKeyUsage,
    /// basicConstraints says CA:TRUE.
    CaTrue,
    /// Certifies a key that is not the EK.
    OtherKey,
    /// Has a critical extension that nobody knows.
    UnknownCriticalExtension,
    /// No subject alternative name.
    NoSan,
    /// A DNS name in place of the TPM's attributes.
    SanWithoutTpm,
    /// Signed over a SHA-1 digest.
    Sha1Signature,
    /// One octet after the certificate's end.
    TrailingOctet,
    /// Issued by an end-entity certificate.
    IssuerNotCa,
    /// Issued by an authority whose certificate has expired.
    IssuerExpired,
    /// Issued by an authority below one with pathLenConstraint 0.
    PathTooLong,
    /// Issued by an authority that may only name another organisation's TPMs.
    NameConstraint,
}

/// An EK certificate with what a gateway would send along.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct IssuedEk {
    /// DER; for [`Flaw::TrailingOctet`] and one octet more.
    pub certificate: Vec<u8>,
    /// DER certificates between it and the vendor's root, leaf-most first.
    pub intermediates: Vec<Vec<u8>>,
}

impl VendorCa {
    /// Certifies the EK `public`.
    ///
    /// # Errors
    /// Where the area holds no usable key, or signing fails.
    pub fn issue_ek(&self, public: &Public, options: &EkCertOptions) -> Result<IssuedEk, SimError> {
        self.issue_ek_for_spki(&public.to_spki_der()?, options)
    }

    /// Certifies any key, given as DER `SubjectPublicKeyInfo`: weak ones too.
    ///
    /// # Errors
    /// Where signing fails.
    pub fn issue_ek_for_spki(
        &self,
        spki: &[u8],
        options: &EkCertOptions,
    ) -> Result<IssuedEk, SimError> {
        let flaw = options.flaw;
        let (issuer, intermediates) = self.issuer_for(flaw)?;
        let empty_name = der::sequence(&[]);
        let body = Body {
            serial: super::random_serial()?,
            not_before: if flaw == Some(Flaw::NotYetValid) {
                "20900101000000Z"
            } else {
                "20200101000000Z"
            },
            not_after: if flaw == Some(Flaw::Expired) {
                "20210101000000Z"
            } else {
                "99991231235959Z"
            },
            subject: if flaw == Some(Flaw::SelfIssued) {
                issuer.name.clone()
            } else {
                empty_name
            },
            spki: if flaw == Some(Flaw::OtherKey) {
                other_key_like(spki)?
            } else {
                spki.to_vec()
            },
            extensions: extensions(spki, options, &issuer),
        };
        let mut certificate = match flaw {
            Some(Flaw::Sha1Signature) => issuer.issue_with_sha1(&body)?,
            _ => issuer.issue(&body)?,
        };
        match flaw {
            Some(Flaw::BadSignature) => {
                // The last octet is the low one of ECDSA's s.
                let last = certificate.last_mut().expect("a certificate is not empty");
                *last ^= 1;
            }
            // Zeros would pass for filling of an NV index.
            Some(Flaw::TrailingOctet) => certificate.push(1),
            _ => {}
        }
        Ok(IssuedEk {
            certificate,
            intermediates,
        })
    }

    /// The authority that signs, and the certificates that lead to the root.
    fn issuer_for(&self, flaw: Option<Flaw>) -> Result<(Authority, Vec<Vec<u8>>), SimError> {
        let intermediate = self.intermediate_authority()?;
        let below_root = |name: &str, not_after, constraints: Vec<Vec<u8>>| {
            self.root_authority()?
                .sub_authority(name, not_after, constraints)
        };
        let far = super::CA_NOT_AFTER;
        let issuer = match flaw {
            Some(Flaw::SelfIssued) => Authority {
                name: certificate::name("Nobody", "Self"),
                key: KeyPair::generate()?,
                certificate: Vec::new(),
            },
            Some(Flaw::UnknownIssuer) => Authority {
                key: KeyPair::generate()?,
                ..intermediate
            },
            Some(Flaw::IssuerNotCa) => below_root(
                "Not an Authority",
                far,
                vec![certificate::basic_constraints(false, None)],
            )?,
            Some(Flaw::IssuerExpired) => below_root(
                "Old EK CA",
                "20210101000000Z",
                vec![certificate::basic_constraints(true, Some(0))],
            )?,
            Some(Flaw::NameConstraint) => below_root(
                "Constrained EK CA",
                far,
                vec![
                    certificate::basic_constraints(true, Some(0)),
                    other_organisation_only(),
                ],
            )?,
            Some(Flaw::PathTooLong) => {
                let constraints = vec![certificate::basic_constraints(true, None)];
                let lower = intermediate.sub_authority("Lower EK CA", far, constraints)?;
                let path = vec![lower.certificate.clone(), intermediate.certificate];
                return Ok((lower, path));
            }
            _ => intermediate,
        };
        let path = match flaw {
            Some(Flaw::SelfIssued) => Vec::new(),
            _ => vec![issuer.certificate.clone()],
        };
        Ok((issuer, path))
    }
}

fn extensions(spki: &[u8], options: &EkCertOptions, issuer: &Authority) -> Vec<Vec<u8>> {
    let flaw = options.flaw;
    let usage = match flaw {
        Some(Flaw::WrongKeyUsage) => KeyUsage::DigitalSignature,
        _ if is_rsa(spki) => KeyUsage::KeyEncipherment,
        _ => KeyUsage::KeyAgreement,
    };
    let mut extensions = vec![
        certificate::authority_key_id(&issuer.key_id()),
        certificate::key_usage(usage),
        certificate::basic_constraints(flaw == Some(Flaw::CaTrue), None),
    ];
    match flaw {
        Some(Flaw::NoEku) => {}
        Some(Flaw::WrongEku) => extensions.push(certificate::extended_key_usage(SERVER_AUTH)),
        _ => extensions.push(certificate::extended_key_usage(EK_PURPOSE)),
    }
    match flaw {
        Some(Flaw::NoSan) => {}
        Some(Flaw::SanWithoutTpm) => {
            let dns = der::sequence(&[der::tlv(tag::implicit(2), b"tpm.example")]);
            extensions.push(certificate::extension(SUBJECT_ALT_NAME, true, &dns));
        }
        // Critical, since the subject is empty (RFC 5280 §4.2.1.6).
        _ => extensions.push(certificate::extension(
            SUBJECT_ALT_NAME,
            true,
            &tpm_san(options),
        )),
    }
    if flaw == Some(Flaw::UnknownCriticalExtension) {
        extensions.push(certificate::extension(
            UNKNOWN_EXTENSION,
            true,
            &der::sequence(&[]),
        ));
    }
    extensions
}

/// `GeneralNames` of one directoryName with the TPM's three attributes
/// (TCG EK Credential Profile §3.2.9).
fn tpm_san(options: &EkCertOptions) -> Vec<u8> {
    let attributes = [
        (1, &options.manufacturer),
        (2, &options.model),
        (3, &options.version),
    ]
    .map(|(arc, value)| der::sequence(&[der::oid(&[2, 23, 133, 2, arc]), der::utf8(value)]));
    let name = match options.layout {
        SanLayout::OneRdn => der::sequence(&[der::set_of(attributes.to_vec())]),
        SanLayout::ThreeRdns => {
            der::sequence(&attributes.map(|attribute| der::set_of(vec![attribute])))
        }
    };
    der::sequence(&[der::tlv(tag::context(4), &name)])
}

/// Permits only directory names below another organisation.
fn other_organisation_only() -> Vec<u8> {
    let name = der::tlv(
        tag::context(4),
        &certificate::name("Another Organisation", "TPMs"),
    );
    let permitted = der::tlv(tag::context(0), &der::sequence(&[name]));
    certificate::extension(NAME_CONSTRAINTS, true, &der::sequence(&[permitted]))
}

fn is_rsa(spki: &[u8]) -> bool {
    let algorithm = der::oid(RSA);
    spki.windows(algorithm.len())
        .take(16)
        .any(|window| window == algorithm)
}

/// A key that is not the one in `spki`: a P-256 one, or for RSA the same
/// modulus with its lowest bits changed (nobody uses it).
fn other_key_like(spki: &[u8]) -> Result<Vec<u8>, SimError> {
    if !is_rsa(spki) {
        return Ok(KeyPair::generate()?.subject_public_key_info());
    }
    // The area ends with the modulus and the exponent, 02 03 01 00 01.
    let mut other = spki.to_vec();
    let low = other
        .iter_mut()
        .rev()
        .nth(5)
        .ok_or_else(|| SimError::Key("short RSA key".into()))?;
    *low ^= 0x06;
    Ok(other)
}
