//! Certificates and public keys that lie in files, read for whoever inspects
//! them. What is read here is shown, or judged by [`Anchors::endorse`]; reading
//! proves nothing.
//!
//! [`Anchors::endorse`]: super::Anchors::endorse

use holdfast_proto::tpm::{
    AsymScheme, EccCurve, HashAlg, Parameters, Public, Symmetric, Unique, templates::EkTemplate,
};

use super::{
    certificate::{Certificate, SubjectKey, display_name, subject_key},
    der::{self, Reader},
    ek::EkPublic,
    error::EndorsementError,
    facts::tpm_attribute,
    oid,
};
use crate::time::UnixTime;

/// A public key by its material alone: kind, size and numbers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeyMaterial {
    /// Without symmetric algorithm and scheme.
    pub(crate) parameters: Parameters,
    /// The key.
    pub(crate) unique: Unique,
}

impl KeyMaterial {
    /// From DER SubjectPublicKeyInfo (RFC 5280 §4.1.2.7).
    ///
    /// # Errors
    /// [`EndorsementError::Malformed`]; [`EndorsementError::NoTpmKey`] for a
    /// kind or size of key that no TPM here is known to make.
    pub fn from_spki_der(spki: &[u8]) -> Result<Self, EndorsementError> {
        let mut reader = Reader::new(spki);
        let key = subject_key(&mut reader)
            .ok()
            .filter(|_| reader.is_empty())
            .ok_or(EndorsementError::Malformed {
                at: 0,
                part: "subjectPublicKeyInfo",
            })?;
        Self::of(&key)
    }

    /// From the public area of a TPM object: all but the key is dropped. None
    /// where it holds no asymmetric key.
    #[must_use]
    pub fn of_area(area: &Public) -> Option<Self> {
        let parameters = match area.parameters {
            Parameters::Rsa {
                key_bits, exponent, ..
            } => rsa(key_bits, exponent),
            Parameters::Ecc { curve, .. } => ecc(curve),
            Parameters::KeyedHash { .. } => return None,
        };
        Some(Self {
            parameters,
            unique: area.unique.clone(),
        })
    }

    fn of(key: &SubjectKey<'_>) -> Result<Self, EndorsementError> {
        let none = |what: String| EndorsementError::NoTpmKey(what);
        match key {
            SubjectKey::Rsa { n, e } => {
                let bits = u16::try_from(n.len().saturating_mul(8)).unwrap_or(u16::MAX);
                let exponent = match e {
                    [a] => u32::from(*a),
                    [a, b] => u32::from(u16::from_be_bytes([*a, *b])),
                    [a, b, c] => u32::from_be_bytes([0, *a, *b, *c]),
                    [a, b, c, d] => u32::from_be_bytes([*a, *b, *c, *d]),
                    _ => return Err(none(format!("RSA exponent {}", hex::encode(e)))),
                };
                Ok(Self {
                    parameters: rsa(bits, exponent),
                    unique: Unique::Rsa(n.to_vec()),
                })
            }
            SubjectKey::Ec { curve, point } => {
                let curve = match *curve {
                    oid::P256 => EccCurve::P256,
                    oid::P384 => EccCurve::P384,
                    oid::P521 => EccCurve::P521,
                    other => return Err(none(format!("curve {}", der::dotted(other)))),
                };
                let [4, xy @ ..] = *point else {
                    return Err(none("point that is not uncompressed".to_owned()));
                };
                let len = curve.coordinate_len();
                match xy.split_at_checked(len) {
                    Some((x, y)) if y.len() == len => Ok(Self {
                        parameters: ecc(curve),
                        unique: Unique::Ecc {
                            x: x.to_vec(),
                            y: y.to_vec(),
                        },
                    }),
                    _ => Err(none("point of another length than its curve's".to_owned())),
                }
            }
            SubjectKey::Other { algorithm } => {
                Err(none(format!("algorithm {}", der::dotted(algorithm))))
            }
        }
    }

    /// Kind and size, e.g. `rsa-2048`, `ecc-p256`.
    #[must_use]
    pub fn kind(&self) -> String {
        match self.parameters {
            Parameters::Rsa { key_bits, .. } => format!("rsa-{key_bits}"),
            Parameters::Ecc { curve, .. } => match curve {
                EccCurve::P256 => "ecc-p256",
                EccCurve::P384 => "ecc-p384",
                EccCurve::P521 => "ecc-p521",
            }
            .to_owned(),
            Parameters::KeyedHash { .. } => "keyed-hash".to_owned(),
        }
    }

    /// As an object's public area, whose everything but the key is `like`'s.
    pub(crate) fn in_area(&self, like: &Public) -> Public {
        Public {
            parameters: self.parameters,
            unique: self.unique.clone(),
            ..like.clone()
        }
    }

    /// DER SubjectPublicKeyInfo; none where the key is malformed.
    #[must_use]
    pub fn to_spki_der(&self) -> Option<Vec<u8>> {
        self.in_area(&EkTemplate::L1.public()).to_spki_der().ok()
    }

    /// The uncompressed point 04 ‖ x ‖ y of an EC key (SEC 1 §2.3.3); none for
    /// any other.
    pub(crate) fn to_ec_point(&self) -> Option<Vec<u8>> {
        self.in_area(&EkTemplate::L1.public()).to_ec_point().ok()
    }

    /// SHA-1 of the key's bits, as most issuers make subject key identifiers
    /// (RFC 5280 §4.2.1.2, method 1): a name, no proof of anything. None where
    /// the key is malformed.
    #[must_use]
    pub fn subject_key_id(&self) -> Option<Vec<u8>> {
        let spki = self.to_spki_der()?;
        let mut info = Reader::new(der::only(&spki, der::SEQUENCE).ok()?);
        info.tagged(der::SEQUENCE).ok()?;
        let bits = info.tagged(der::BIT_STRING).ok()?;
        let key = der::whole_octets(bits.content).ok()?;
        Some(HashAlg::Sha1.digest(&[key]).as_bytes().to_vec())
    }

    /// The EK of this key in the standard template of its kind: a certificate
    /// tells the key only, and here is no TPM to ask for the rest.
    fn as_ek(&self) -> Result<EkPublic, EndorsementError> {
        let template = match self.parameters {
            Parameters::Rsa { key_bits: 2048, .. } => EkTemplate::L1,
            Parameters::Rsa { key_bits: 3072, .. } => EkTemplate::H6,
            Parameters::Ecc {
                curve: EccCurve::P256,
                ..
            } => EkTemplate::L2,
            Parameters::Ecc {
                curve: EccCurve::P384,
                ..
            } => EkTemplate::H3,
            _ => return Err(EndorsementError::NotATemplate),
        };
        let area = template.public();
        if let Parameters::Rsa { exponent, .. } = self.parameters
            && exponent != 65_537
        {
            return Err(EndorsementError::NotATemplate);
        }
        let ek = Public {
            unique: self.unique.clone(),
            ..area
        };
        EkPublic::parse(&ek.encode())
    }
}

fn rsa(key_bits: u16, exponent: u32) -> Parameters {
    Parameters::Rsa {
        symmetric: Symmetric::Null,
        scheme: AsymScheme::Null,
        key_bits,
        exponent,
    }
}

fn ecc(curve: EccCurve) -> Parameters {
    Parameters::Ecc {
        symmetric: Symmetric::Null,
        scheme: AsymScheme::Null,
        curve,
    }
}

/// What a certificate says, whether or not anybody should believe it. Names
/// are inert.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct ShownCertificate {
    /// Subject, for people; EK certificates often have none.
    pub subject: String,
    /// Issuer, for people.
    pub issuer: String,
    /// Serial number, lower-case hex.
    pub serial: String,
    /// When it begins.
    pub not_before: UnixTime,
    /// When it ends.
    pub not_after: UnixTime,
    /// tpmManufacturer, where it has one.
    pub manufacturer: Option<String>,
    /// tpmModel, where it has one.
    pub model: Option<String>,
    /// tpmVersion, where it has one.
    pub version: Option<String>,
    /// subjectKeyIdentifier (RFC 5280 §4.2.1.2), where it has one.
    pub subject_key_id: Option<Vec<u8>>,
    key: Result<KeyMaterial, String>,
}

impl ShownCertificate {
    /// From DER.
    ///
    /// # Errors
    /// [`EndorsementError::Malformed`], [`EndorsementError::TrailingBytes`].
    pub fn parse(der: &[u8]) -> Result<Self, EndorsementError> {
        let certificate = Certificate::parse(der, 0)?;
        let names = certificate
            .extension(oid::SUBJECT_ALT_NAME)
            .unwrap_or_default();
        Ok(Self {
            subject: display_name(certificate.subject),
            issuer: display_name(certificate.issuer),
            serial: hex::encode(certificate.serial),
            not_before: certificate.not_before,
            not_after: certificate.not_after,
            manufacturer: tpm_attribute(names, oid::TPM_MANUFACTURER),
            model: tpm_attribute(names, oid::TPM_MODEL),
            version: tpm_attribute(names, oid::TPM_VERSION),
            subject_key_id: certificate
                .extension(oid::SUBJECT_KEY_ID)
                .and_then(|value| der::only(value, der::OCTET_STRING).ok())
                .map(<[u8]>::to_vec),
            key: KeyMaterial::of(&certificate.key).map_err(|e| e.to_string()),
        })
    }

    /// Whether decoders less careful than ours can be given `der`.
    pub(crate) fn is_safe_to_decode(der: &[u8]) -> bool {
        Self::parse(der).is_ok() && der::bit_strings_fit(der)
    }

    /// The certified key; none of a kind that no TPM is known to make.
    #[must_use]
    pub fn key(&self) -> Option<&KeyMaterial> {
        self.key.as_ref().ok()
    }

    /// The EK that it is for, as far as the certificate tells: its key, in the
    /// standard template of the key's kind. Nothing here says that any TPM
    /// has it.
    ///
    /// # Errors
    /// [`EndorsementError::NoTpmKey`], [`EndorsementError::NotATemplate`],
    /// [`EndorsementError::EkKey`].
    pub fn ek(&self) -> Result<EkPublic, EndorsementError> {
        match &self.key {
            Ok(key) => key.as_ek(),
            Err(what) => Err(EndorsementError::NoTpmKey(what.clone())),
        }
    }
}

/// A certificate in what was read from a TPM's NV space, and what lies around
/// it (EK Credential Profile §2.2.1; TPM 1.2 and firmware of its time put a
/// header before).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Trimmed<'a> {
    /// The certificate, by its own length.
    pub der: &'a [u8],
    /// Bytes before it: a TCG_PCCLIENT_STORED_CERT header, or none.
    pub header: &'a [u8],
    /// Bytes after it, all the same: filling.
    pub padding: &'a [u8],
}

/// Takes the certificate out of an NV image. What is neither a known header
/// nor filling is left on, to be refused.
#[must_use]
pub fn trim_nv_image(bytes: &[u8]) -> Trimmed<'_> {
    /// TCG PC Client Specific Implementation Specification 1.21 §7.3.2:
    /// TCG_TAG_PCCLIENT_STORED_CERT, full certificate, its size (with the tag
    /// that follows), TCG_TAG_PCCLIENT_FULL_CERT.
    const HEADER: usize = 7;
    /// Zeros and 0xFF fill NV; other bytes, which tools fill with, count as
    /// filling from this many on.
    const OTHER_FILLING_MIN: usize = 4;
    let (header, rest) = match bytes {
        [0x10, 0x01, 0x00, _, _, 0x10, 0x02, 0x30, ..] => {
            bytes.split_at_checked(HEADER).unwrap_or((&[], bytes))
        }
        _ => (&[][..], bytes),
    };
    let len = Reader::new(rest)
        .next()
        .map_or(rest.len(), |e| e.whole.len());
    let (der, padding) = rest.split_at_checked(len).unwrap_or((rest, &[]));
    let is_filling = match padding {
        [] => true,
        [fill, ..] => {
            let enough = matches!(fill, 0x00 | 0xFF) || padding.len() >= OTHER_FILLING_MIN;
            // What begins like another certificate is none.
            enough && *fill != der::SEQUENCE && padding.iter().all(|b| b == fill)
        }
    };
    if is_filling {
        Trimmed {
            der,
            header,
            padding,
        }
    } else {
        Trimmed {
            der: rest,
            header,
            padding: &[],
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_certificate_ends_where_its_length_says_and_filling_is_one_byte() {
        let image = [0x30, 1, 9, 0xFF, 0xFF];
        let trimmed = trim_nv_image(&image);
        assert_eq!((trimmed.der, trimmed.padding.len()), (&image[..3], 2));
        let few = [0x30, 1, 9, 0x11, 0x11, 0x11];
        assert_eq!(trim_nv_image(&few).der, few);
        let many = [0x30, 1, 9, 0x11, 0x11, 0x11, 0x11];
        assert_eq!(trim_nv_image(&many).padding.len(), 4);
        let sequences = [&[0x30, 1, 9][..], &[0x30; 9]].concat();
        assert_eq!(trim_nv_image(&sequences).der, sequences);
        let mixed = [0x30, 1, 9, 0xFF, 0];
        assert_eq!(trim_nv_image(&mixed).der, mixed);
        let stored = [0x10, 1, 0, 0, 5, 0x10, 2, 0x30, 1, 9];
        let trimmed = trim_nv_image(&stored);
        assert_eq!((trimmed.header.len(), trimmed.der), (7, &stored[7..]));
        assert_eq!(trim_nv_image(&[]).der, &[] as &[u8]);
        assert_eq!(trim_nv_image(b"text").der, b"text");
    }

    #[test]
    fn key_material_survives_the_way_through_a_subject_public_key_info() {
        let mut area = EkTemplate::L2.public();
        area.unique = Unique::Ecc {
            x: vec![1; 32],
            y: vec![2; 32],
        };
        let key = KeyMaterial::of_area(&area).unwrap();
        let spki = key.to_spki_der().unwrap();
        assert_eq!(spki, area.to_spki_der().unwrap());
        assert_eq!(KeyMaterial::from_spki_der(&spki).unwrap(), key);
        assert_eq!(key.kind(), "ecc-p256");
        assert_eq!(key.as_ek().unwrap().public(), &area);
        let trailing = [spki.as_slice(), &[0]].concat();
        assert!(matches!(
            KeyMaterial::from_spki_der(&trailing),
            Err(EndorsementError::Malformed { .. })
        ));
    }
}
