//! `TPMT_PUBLIC`: the public area of an object (TPM 2.0 Library Part 2 §12.2).

use super::cursor::{Reader, Writer};
use super::{HashAlg, Name, ObjectAttributes, ParseError};

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

/// Longest `TPMT_PUBLIC` worth reading: an RSA-4096 key with a SHA-512 policy
/// takes 604 bytes.
const MAX_PUBLIC: usize = 1024;

/// The public area of an object.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Public {
    /// `nameAlg`
    pub name_alg: HashAlg,
    /// `objectAttributes`
    pub attributes: ObjectAttributes,
    /// `authPolicy`: empty, or a digest of `name_alg`.
    pub auth_policy: Vec<u8>,
    /// `type` and `parameters`
    pub parameters: Parameters,
    /// `unique`: of the same type as `parameters`. The key itself; in a
    /// template, a seed for its derivation.
    pub unique: Unique,
}

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

/// `TPMU_PUBLIC_ID`
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Unique {
    /// Modulus, big-endian.
    Rsa(Vec<u8>),
    /// Affine coordinates, big-endian. A TPM may strip leading zeros.
    Ecc {
        /// x, at most the curve's coordinate length.
        x: Vec<u8>,
        /// y, at most the curve's coordinate length.
        y: Vec<u8>,
    },
    /// Digest over the sensitive area.
    KeyedHash(Vec<u8>),
}

impl Public {
    /// From a `TPMT_PUBLIC`, which has no size prefix.
    ///
    /// # Errors
    /// Where the bytes are not exactly one `TPMT_PUBLIC` with supported
    /// algorithms.
    pub fn parse(tpmt: &[u8]) -> Result<Self, ParseError> {
        const FIELD: &str = "TPMT_PUBLIC";
        if tpmt.len() > MAX_PUBLIC {
            return Err(ParseError::TooLong {
                field: FIELD,
                len: tpmt.len(),
                max: MAX_PUBLIC,
            });
        }
        let mut reader = Reader::new(tpmt);
        let public = Self::read(&mut reader)?;
        reader.finish(FIELD)?;
        Ok(public)
    }

    /// From a `TPM2B_PUBLIC`: a `TPMT_PUBLIC` behind its size.
    ///
    /// # Errors
    /// As [`Public::parse`], and where the size is not that of the rest.
    pub fn parse_tpm2b(tpm2b: &[u8]) -> Result<Self, ParseError> {
        const FIELD: &str = "TPM2B_PUBLIC";
        let mut reader = Reader::new(tpm2b);
        let tpmt = reader.buffer(FIELD, MAX_PUBLIC)?;
        reader.finish(FIELD)?;
        Self::parse(tpmt)
    }

    /// As a `TPMT_PUBLIC`.
    ///
    /// # Panics
    /// Where a buffer was set by hand to more than 65,535 bytes.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let mut writer = Writer::default();
        self.write(&mut writer);
        writer.into_bytes()
    }

    /// As a `TPM2B_PUBLIC`.
    ///
    /// # Panics
    /// As [`Public::encode`].
    #[must_use]
    pub fn encode_tpm2b(&self) -> Vec<u8> {
        let mut writer = Writer::default();
        writer.buffer(&self.encode());
        writer.into_bytes()
    }

    /// The Name (Part 1 §16): computed, so that nobody has to be believed.
    #[must_use]
    pub fn name(&self) -> Name {
        Name::new(&self.name_alg.digest(&[&self.encode()]))
    }

    /// Whether this area is `other` in everything but `unique`. Only the key in
    /// `unique` is certified by an EK certificate; the rest is the peer's word.
    #[must_use]
    pub fn matches_template(&self, other: &Self) -> bool {
        let Self {
            name_alg,
            attributes,
            auth_policy,
            parameters,
            unique,
        } = self;
        *name_alg == other.name_alg
            && *attributes == other.attributes
            && *auth_policy == other.auth_policy
            && *parameters == other.parameters
            && std::mem::discriminant(unique) == std::mem::discriminant(&other.unique)
    }

    fn read(reader: &mut Reader<'_>) -> Result<Self, ParseError> {
        let kind = reader.u16("TPMT_PUBLIC.type")?;
        let name_alg =
            HashAlg::from_field("TPMT_PUBLIC.nameAlg", reader.u16("TPMT_PUBLIC.nameAlg")?)?;
        let attributes = ObjectAttributes::from_bits(reader.u32("TPMT_PUBLIC.objectAttributes")?);
        let auth_policy = read_digest_or_empty(reader, "TPMT_PUBLIC.authPolicy", name_alg)?;
        let (parameters, unique) = match kind {
            ALG_RSA => read_rsa(reader)?,
            ALG_ECC => read_ecc(reader)?,
            ALG_KEYEDHASH => {
                let scheme = KeyedHashScheme::read(reader)?;
                let unique =
                    read_digest_or_empty(reader, "TPMT_PUBLIC.unique.keyedHash", name_alg)?;
                (Parameters::KeyedHash { scheme }, Unique::KeyedHash(unique))
            }
            other => {
                return Err(ParseError::Unsupported {
                    field: "TPMT_PUBLIC.type",
                    value: other.into(),
                });
            }
        };
        Ok(Self {
            name_alg,
            attributes,
            auth_policy,
            parameters,
            unique,
        })
    }

    fn write(&self, writer: &mut Writer) {
        writer.u16(match self.parameters {
            Parameters::Rsa { .. } => ALG_RSA,
            Parameters::Ecc { .. } => ALG_ECC,
            Parameters::KeyedHash { .. } => ALG_KEYEDHASH,
        });
        writer.u16(self.name_alg.id());
        writer.u32(self.attributes.bits());
        writer.buffer(&self.auth_policy);
        match self.parameters {
            Parameters::Rsa {
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
            Parameters::Ecc {
                symmetric,
                scheme,
                curve,
            } => {
                symmetric.write(writer);
                scheme.write(writer);
                writer.u16(curve.id());
                writer.u16(ALG_NULL);
            }
            Parameters::KeyedHash { scheme } => scheme.write(writer),
        }
        match &self.unique {
            Unique::Rsa(bytes) | Unique::KeyedHash(bytes) => writer.buffer(bytes),
            Unique::Ecc { x, y } => {
                writer.buffer(x);
                writer.buffer(y);
            }
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
            .ok_or(ParseError::Unsupported {
                field: FIELD,
                value: id.into(),
            })
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
                    return Err(ParseError::Unsupported {
                        field: BITS,
                        value: key_bits.into(),
                    });
                }
                match reader.u16(MODE)? {
                    ALG_CFB => Ok(Self::Aes { key_bits }),
                    other => Err(ParseError::Unsupported {
                        field: MODE,
                        value: other.into(),
                    }),
                }
            }
            other => Err(ParseError::Unsupported {
                field: ALG,
                value: other.into(),
            }),
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
            other => {
                return Err(ParseError::Unsupported {
                    field: FIELD,
                    value: other.into(),
                });
            }
        })
    }

    fn read_ecc(reader: &mut Reader<'_>) -> Result<Self, ParseError> {
        const FIELD: &str = "TPMT_ECC_SCHEME.scheme";
        const HASH: &str = "TPMT_ECC_SCHEME.hashAlg";
        Ok(match reader.u16(FIELD)? {
            ALG_NULL => Self::Null,
            ALG_ECDSA => Self::Ecdsa(HashAlg::from_field(HASH, reader.u16(HASH)?)?),
            other => {
                return Err(ParseError::Unsupported {
                    field: FIELD,
                    value: other.into(),
                });
            }
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
            other => Err(ParseError::Unsupported {
                field: FIELD,
                value: other.into(),
            }),
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

fn read_rsa(reader: &mut Reader<'_>) -> Result<(Parameters, Unique), ParseError> {
    const BITS: &str = "TPMS_RSA_PARMS.keyBits";
    let symmetric = Symmetric::read(reader)?;
    let scheme = AsymScheme::read_rsa(reader)?;
    let key_bits = reader.u16(BITS)?;
    // RSA-1024 is well-formed; that it is too weak is for the checklists.
    if !matches!(key_bits, 1024 | 2048 | 3072 | 4096) {
        return Err(ParseError::Unsupported {
            field: BITS,
            value: key_bits.into(),
        });
    }
    let exponent = reader.u32("TPMS_RSA_PARMS.exponent")?;
    let modulus = reader.buffer("TPMT_PUBLIC.unique.rsa", usize::from(key_bits / 8))?;
    let parameters = Parameters::Rsa {
        symmetric,
        scheme,
        key_bits,
        exponent,
    };
    Ok((parameters, Unique::Rsa(modulus.to_vec())))
}

fn read_ecc(reader: &mut Reader<'_>) -> Result<(Parameters, Unique), ParseError> {
    const KDF: &str = "TPMS_ECC_PARMS.kdf";
    let symmetric = Symmetric::read(reader)?;
    let scheme = AsymScheme::read_ecc(reader)?;
    let curve = EccCurve::read(reader)?;
    let kdf = reader.u16(KDF)?;
    if kdf != ALG_NULL {
        return Err(ParseError::Unsupported {
            field: KDF,
            value: kdf.into(),
        });
    }
    let x = reader
        .buffer("TPMT_PUBLIC.unique.ecc.x", curve.coordinate_len())?
        .to_vec();
    let y = reader
        .buffer("TPMT_PUBLIC.unique.ecc.y", curve.coordinate_len())?
        .to_vec();
    Ok((
        Parameters::Ecc {
            symmetric,
            scheme,
            curve,
        },
        Unique::Ecc { x, y },
    ))
}

fn read_digest_or_empty(
    reader: &mut Reader<'_>,
    field: &'static str,
    alg: HashAlg,
) -> Result<Vec<u8>, ParseError> {
    let expected = alg.digest_len();
    let bytes = reader.buffer(field, expected)?;
    if bytes.is_empty() || bytes.len() == expected {
        return Ok(bytes.to_vec());
    }
    Err(ParseError::WrongLength {
        field,
        len: bytes.len(),
        expected,
    })
}
