//! `TPMU_PUBLIC_PARMS`: what kind of key an object is (TPM 2.0 Library Part 2
//! §12.2.3), and the schemes and curves inside.

use super::cursor::{Reader, Writer};
use super::{HashAlg, ParseError};

const ALG_RSA: u16 = 0x0001;
const ALG_HMAC: u16 = 0x0005;
const ALG_AES: u16 = 0x0006;
const ALG_KEYEDHASH: u16 = 0x0008;
const ALG_NULL: u16 = 0x0010;
const ALG_RSASSA: u16 = 0x0014;
const ALG_RSAES: u16 = 0x0015;
const ALG_RSAPSS: u16 = 0x0016;
const ALG_OAEP: u16 = 0x0017;
const ALG_ECDSA: u16 = 0x0018;
const ALG_ECC: u16 = 0x0023;
const ALG_CFB: u16 = 0x0043;

/// `TPMU_PUBLIC_PARMS`, which the object's `type` selects.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Parameters {
    /// `TPMS_RSA_PARMS`
    Rsa {
        /// For a storage key, how it protects its children.
        symmetric: Symmetric,
        /// What the key signs or decrypts with; null: the command says.
        scheme: AsymScheme,
        /// 1024, 2048, 3072 or 4096.
        key_bits: u16,
        /// As encoded: 0 stands for 65,537.
        exponent: u32,
    },
    /// `TPMS_ECC_PARMS`, whose `kdf` is always null here.
    Ecc {
        /// For a storage key, how it protects its children.
        symmetric: Symmetric,
        /// What the key signs with; null: the command says.
        scheme: AsymScheme,
        /// `curveID`
        curve: EccCurve,
    },
    /// `TPMS_KEYEDHASH_PARMS`
    KeyedHash {
        /// Null in sealed data objects.
        scheme: KeyedHashScheme,
    },
}

/// `TPMT_SYM_DEF_OBJECT`: CFB is the only mode of a storage key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Symmetric {
    /// `TPM_ALG_NULL`
    Null,
    /// AES in CFB mode.
    Aes {
        /// 128, 192 or 256.
        key_bits: u16,
    },
}

/// `TPMT_RSA_SCHEME` or `TPMT_ECC_SCHEME`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum AsymScheme {
    /// `TPM_ALG_NULL`
    Null,
    /// RSASSA-PKCS1-v1_5
    RsaSsa(HashAlg),
    /// RSASSA-PSS
    RsaPss(HashAlg),
    /// ECDSA
    Ecdsa(HashAlg),
    /// RSAES-PKCS1-v1_5
    RsaEs,
    /// RSAES-OAEP
    Oaep(HashAlg),
}

/// `TPMT_KEYEDHASH_SCHEME`
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum KeyedHashScheme {
    /// `TPM_ALG_NULL`
    Null,
    /// HMAC
    Hmac(HashAlg),
}

/// NIST curves (TCG Algorithm Registry, `TPM_ECC_CURVE`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum EccCurve {
    /// `TPM_ECC_NIST_P256`
    P256,
    /// `TPM_ECC_NIST_P384`
    P384,
    /// `TPM_ECC_NIST_P521`
    P521,
}

impl Parameters {
    /// `TPMI_ALG_PUBLIC`, the object's `type`.
    pub(super) const fn kind(&self) -> u16 {
        match self {
            Self::Rsa { .. } => ALG_RSA,
            Self::Ecc { .. } => ALG_ECC,
            Self::KeyedHash { .. } => ALG_KEYEDHASH,
        }
    }

    pub(super) fn read(kind: u16, reader: &mut Reader<'_>) -> Result<Self, ParseError> {
        match kind {
            ALG_RSA => Self::read_rsa(reader),
            ALG_ECC => Self::read_ecc(reader),
            ALG_KEYEDHASH => Ok(Self::KeyedHash {
                scheme: KeyedHashScheme::read(reader)?,
            }),
            other => Err(ParseError::unsupported("TPMT_PUBLIC.type", other)),
        }
    }

    fn read_rsa(reader: &mut Reader<'_>) -> Result<Self, ParseError> {
        const BITS: &str = "TPMS_RSA_PARMS.keyBits";
        let symmetric = Symmetric::read(reader)?;
        let scheme = AsymScheme::read_rsa(reader)?;
        let key_bits = reader.u16(BITS)?;
        // RSA-1024 is well-formed; that it is too weak is for the checklists.
        if !matches!(key_bits, 1024 | 2048 | 3072 | 4096) {
            return Err(ParseError::unsupported(BITS, key_bits));
        }
        let exponent = reader.u32("TPMS_RSA_PARMS.exponent")?;
        Ok(Self::Rsa {
            symmetric,
            scheme,
            key_bits,
            exponent,
        })
    }

    fn read_ecc(reader: &mut Reader<'_>) -> Result<Self, ParseError> {
        const KDF: &str = "TPMS_ECC_PARMS.kdf";
        let symmetric = Symmetric::read(reader)?;
        let scheme = AsymScheme::read_ecc(reader)?;
        let curve = EccCurve::read(reader)?;
        match reader.u16(KDF)? {
            ALG_NULL => Ok(Self::Ecc {
                symmetric,
                scheme,
                curve,
            }),
            other => Err(ParseError::unsupported(KDF, other)),
        }
    }

    pub(super) fn write(&self, writer: &mut Writer) {
        match *self {
            Self::Rsa {
                symmetric,
                scheme,
                key_bits,
                exponent,
            } => {
                symmetric.write(writer);
                scheme.write(writer);
                writer.u16(key_bits);
                writer.u32(exponent);
            }
            Self::Ecc {
                symmetric,
                scheme,
                curve,
            } => {
                symmetric.write(writer);
                scheme.write(writer);
                writer.u16(curve.id());
                writer.u16(ALG_NULL);
            }
            Self::KeyedHash { scheme } => scheme.write(writer),
        }
    }
}

impl EccCurve {
    const ALL: [Self; 3] = [Self::P256, Self::P384, Self::P521];

    /// `TPM_ECC_CURVE`.
    #[must_use]
    pub const fn id(self) -> u16 {
        match self {
            Self::P256 => 0x0003,
            Self::P384 => 0x0004,
            Self::P521 => 0x0005,
        }
    }

    /// Length of a coordinate, and of a scalar, in bytes.
    #[must_use]
    pub const fn coordinate_len(self) -> usize {
        match self {
            Self::P256 => 32,
            Self::P384 => 48,
            Self::P521 => 66,
        }
    }

    fn read(reader: &mut Reader<'_>) -> Result<Self, ParseError> {
        const FIELD: &str = "TPMS_ECC_PARMS.curveID";
        let id = reader.u16(FIELD)?;
        Self::ALL
            .into_iter()
            .find(|curve| curve.id() == id)
            .ok_or(ParseError::unsupported(FIELD, id))
    }
}

impl Symmetric {
    fn read(reader: &mut Reader<'_>) -> Result<Self, ParseError> {
        const ALG: &str = "TPMT_SYM_DEF_OBJECT.algorithm";
        const BITS: &str = "TPMT_SYM_DEF_OBJECT.keyBits";
        const MODE: &str = "TPMT_SYM_DEF_OBJECT.mode";
        match reader.u16(ALG)? {
            ALG_NULL => Ok(Self::Null),
            ALG_AES => {
                let key_bits = reader.u16(BITS)?;
                if !matches!(key_bits, 128 | 192 | 256) {
                    return Err(ParseError::unsupported(BITS, key_bits));
                }
                match reader.u16(MODE)? {
                    ALG_CFB => Ok(Self::Aes { key_bits }),
                    other => Err(ParseError::unsupported(MODE, other)),
                }
            }
            other => Err(ParseError::unsupported(ALG, other)),
        }
    }

    fn write(self, writer: &mut Writer) {
        match self {
            Self::Null => writer.u16(ALG_NULL),
            Self::Aes { key_bits } => {
                writer.u16(ALG_AES);
                writer.u16(key_bits);
                writer.u16(ALG_CFB);
            }
        }
    }
}

impl AsymScheme {
    fn read_rsa(reader: &mut Reader<'_>) -> Result<Self, ParseError> {
        const FIELD: &str = "TPMT_RSA_SCHEME.scheme";
        const HASH: &str = "TPMT_RSA_SCHEME.hashAlg";
        Ok(match reader.u16(FIELD)? {
            ALG_NULL => Self::Null,
            ALG_RSAES => Self::RsaEs,
            ALG_RSASSA => Self::RsaSsa(HashAlg::from_field(HASH, reader.u16(HASH)?)?),
            ALG_RSAPSS => Self::RsaPss(HashAlg::from_field(HASH, reader.u16(HASH)?)?),
            ALG_OAEP => Self::Oaep(HashAlg::from_field(HASH, reader.u16(HASH)?)?),
            other => return Err(ParseError::unsupported(FIELD, other)),
        })
    }

    fn read_ecc(reader: &mut Reader<'_>) -> Result<Self, ParseError> {
        const FIELD: &str = "TPMT_ECC_SCHEME.scheme";
        const HASH: &str = "TPMT_ECC_SCHEME.hashAlg";
        Ok(match reader.u16(FIELD)? {
            ALG_NULL => Self::Null,
            ALG_ECDSA => Self::Ecdsa(HashAlg::from_field(HASH, reader.u16(HASH)?)?),
            other => return Err(ParseError::unsupported(FIELD, other)),
        })
    }

    fn write(self, writer: &mut Writer) {
        let (id, hash) = match self {
            Self::Null => (ALG_NULL, None),
            Self::RsaEs => (ALG_RSAES, None),
            Self::RsaSsa(hash) => (ALG_RSASSA, Some(hash)),
            Self::RsaPss(hash) => (ALG_RSAPSS, Some(hash)),
            Self::Oaep(hash) => (ALG_OAEP, Some(hash)),
            Self::Ecdsa(hash) => (ALG_ECDSA, Some(hash)),
        };
        writer.u16(id);
        if let Some(hash) = hash {
            writer.u16(hash.id());
        }
    }
}

impl KeyedHashScheme {
    fn read(reader: &mut Reader<'_>) -> Result<Self, ParseError> {
        const FIELD: &str = "TPMT_KEYEDHASH_SCHEME.scheme";
        const HASH: &str = "TPMT_KEYEDHASH_SCHEME.hashAlg";
        match reader.u16(FIELD)? {
            ALG_NULL => Ok(Self::Null),
            ALG_HMAC => HashAlg::from_field(HASH, reader.u16(HASH)?).map(Self::Hmac),
            other => Err(ParseError::unsupported(FIELD, other)),
        }
    }

    fn write(self, writer: &mut Writer) {
        match self {
            Self::Null => writer.u16(ALG_NULL),
            Self::Hmac(hash) => {
                writer.u16(ALG_HMAC);
                writer.u16(hash.id());
            }
        }
    }
}
