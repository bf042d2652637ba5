//! A public area's key as X.509 knows it: `SubjectPublicKeyInfo` (RFC 5280
//! §4.1.2.7), in DER, with EC points as RFC 5480 §2.2 wants them (padded, which
//! a TPM's coordinates need not be).

use super::{EccCurve, Parameters, ParseError, Public, Unique};

const SEQUENCE: u8 = 0x30;
const INTEGER: u8 = 0x02;
const BIT_STRING: u8 = 0x03;
const NULL: [u8; 2] = [0x05, 0x00];

// Whole OBJECT IDENTIFIERs, tag and length included.
const RSA_ENCRYPTION: &[u8] = &[
    0x06, 9, 0x2A, 0x86, 0x48, 0x86, 0xF7, 0x0D, 0x01, 0x01, 0x01,
];
const ID_EC_PUBLIC_KEY: &[u8] = &[0x06, 7, 0x2A, 0x86, 0x48, 0xCE, 0x3D, 0x02, 0x01];
const PRIME256V1: &[u8] = &[0x06, 8, 0x2A, 0x86, 0x48, 0xCE, 0x3D, 0x03, 0x01, 0x07];
const SECP384R1: &[u8] = &[0x06, 5, 0x2B, 0x81, 0x04, 0x00, 0x22];
const SECP521R1: &[u8] = &[0x06, 5, 0x2B, 0x81, 0x04, 0x00, 0x23];

/// What `exponent` 0 stands for (Part 2 §12.2.3.5).
const DEFAULT_EXPONENT: u32 = 65_537;

impl Public {
    /// The key as DER `SubjectPublicKeyInfo`, with algorithm `rsaEncryption` or
    /// `id-ecPublicKey`. Whether an EC point is on its curve is not looked at.
    ///
    /// # Errors
    /// Where `unique` holds no key (a template), an RSA modulus is not of
    /// `keyBits` or its exponent is even or 1, or the object is not asymmetric.
    pub fn to_spki_der(&self) -> Result<Vec<u8>, ParseError> {
        let (algorithm, key) = match (&self.parameters, &self.unique) {
            (
                Parameters::Rsa {
                    key_bits, exponent, ..
                },
                Unique::Rsa(modulus),
            ) => {
                let algorithm = [RSA_ENCRYPTION, &NULL].concat();
                (algorithm, rsa_public_key(*key_bits, *exponent, modulus)?)
            }
            (Parameters::Ecc { curve, .. }, Unique::Ecc { x, y }) => {
                let algorithm = [ID_EC_PUBLIC_KEY, curve_oid(*curve)].concat();
                (algorithm, ec_point(*curve, x, y)?)
            }
            _ => {
                return Err(ParseError::NoPublicKey {
                    field: "TPMT_PUBLIC.unique",
                });
            }
        };
        let algorithm = tlv(SEQUENCE, &algorithm);
        let key = tlv(BIT_STRING, &[&[0], key.as_slice()].concat());
        Ok(tlv(SEQUENCE, &[algorithm, key].concat()))
    }

    /// The uncompressed point 04 ‖ x ‖ y (SEC 1 §2.3.3) of an ECC key, as
    /// `ring` takes it.
    ///
    /// # Errors
    /// Where the object is not ECC or holds no key.
    pub fn to_ec_point(&self) -> Result<Vec<u8>, ParseError> {
        match (&self.parameters, &self.unique) {
            (Parameters::Ecc { curve, .. }, Unique::Ecc { x, y }) => ec_point(*curve, x, y),
            _ => Err(ParseError::NoPublicKey {
                field: "TPMT_PUBLIC.unique.ecc",
            }),
        }
    }

    /// DER `RSAPublicKey` (RFC 8017 §A.1.1) of an RSA key, as `ring` takes it.
    ///
    /// # Errors
    /// Where the object is not RSA or holds no sound key.
    pub fn to_rsa_public_key_der(&self) -> Result<Vec<u8>, ParseError> {
        match (&self.parameters, &self.unique) {
            (
                Parameters::Rsa {
                    key_bits, exponent, ..
                },
                Unique::Rsa(modulus),
            ) => rsa_public_key(*key_bits, *exponent, modulus),
            _ => Err(ParseError::NoPublicKey {
                field: "TPMT_PUBLIC.unique.rsa",
            }),
        }
    }
}

/// `bytes` as a big-endian number of `len` bytes, zeros added in front.
pub(super) fn left_pad(
    field: &'static str,
    bytes: &[u8],
    len: usize,
) -> Result<Vec<u8>, ParseError> {
    let Some(zeros) = len.checked_sub(bytes.len()) else {
        return Err(ParseError::TooLong {
            field,
            len: bytes.len(),
            max: len,
        });
    };
    let mut padded = vec![0; zeros];
    padded.extend_from_slice(bytes);
    Ok(padded)
}

fn ec_point(curve: EccCurve, x: &[u8], y: &[u8]) -> Result<Vec<u8>, ParseError> {
    const X: &str = "TPMT_PUBLIC.unique.ecc.x";
    const Y: &str = "TPMT_PUBLIC.unique.ecc.y";
    // A template's `unique` is empty or zero; (0, 0) is on no NIST curve.
    if x.iter().chain(y).all(|byte| *byte == 0) {
        return Err(ParseError::NoPublicKey { field: X });
    }
    let len = curve.coordinate_len();
    Ok([vec![0x04], left_pad(X, x, len)?, left_pad(Y, y, len)?].concat())
}

fn rsa_public_key(key_bits: u16, exponent: u32, modulus: &[u8]) -> Result<Vec<u8>, ParseError> {
    const MODULUS: &str = "TPMT_PUBLIC.unique.rsa";
    let expected = usize::from(key_bits / 8);
    match modulus.first() {
        None => return Err(ParseError::NoPublicKey { field: MODULUS }),
        Some(_) if modulus.len() != expected => {
            return Err(ParseError::WrongLength {
                field: MODULUS,
                len: modulus.len(),
                expected,
            });
        }
        Some(first) if first & 0x80 == 0 => return Err(ParseError::NoPublicKey { field: MODULUS }),
        Some(_) => {}
    }
    let exponent = if exponent == 0 {
        DEFAULT_EXPONENT
    } else {
        exponent
    };
    if exponent < 3 || exponent % 2 == 0 {
        return Err(ParseError::unsupported("TPMS_RSA_PARMS.exponent", exponent));
    }
    let numbers = [unsigned(modulus), unsigned(&exponent.to_be_bytes())].concat();
    Ok(tlv(SEQUENCE, &numbers))
}

fn curve_oid(curve: EccCurve) -> &'static [u8] {
    match curve {
        EccCurve::P256 => PRIME256V1,
        EccCurve::P384 => SECP384R1,
        EccCurve::P521 => SECP521R1,
    }
}

/// DER INTEGER of a big-endian, non-zero, unsigned number.
fn unsigned(number: &[u8]) -> Vec<u8> {
    let mut content: Vec<u8> = number
        .iter()
        .copied()
        .skip_while(|byte| *byte == 0)
        .collect();
    if content.first().is_some_and(|byte| byte & 0x80 != 0) {
        content.insert(0, 0);
    }
    tlv(INTEGER, &content)
}

fn tlv(tag: u8, content: &[u8]) -> Vec<u8> {
    let len = u16::try_from(content.len()).expect("an SPKI of a capped key is below 64 KiB");
    let [high, low] = len.to_be_bytes();
    let mut out = vec![tag];
    match len {
        0..=0x7F => out.push(low),
        0x80..=0xFF => out.extend([0x81, low]),
        _ => out.extend([0x82, high, low]),
    }
    out.extend_from_slice(content);
    out
}
