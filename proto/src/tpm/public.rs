//! `TPMT_PUBLIC`: the public area of an object (TPM 2.0 Library Part 2 §12.2).

use super::cursor::{Reader, Writer};
use super::{HashAlg, Name, ObjectAttributes, Parameters, ParseError};

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
        const NAME_ALG: &str = "TPMT_PUBLIC.nameAlg";
        let kind = reader.u16("TPMT_PUBLIC.type")?;
        let name_alg = HashAlg::from_field(NAME_ALG, reader.u16(NAME_ALG)?)?;
        let attributes = ObjectAttributes::from_bits(reader.u32("TPMT_PUBLIC.objectAttributes")?);
        let auth_policy = read_digest_or_empty(reader, "TPMT_PUBLIC.authPolicy", name_alg)?;
        let parameters = Parameters::read(kind, reader)?;
        let unique = Unique::read(&parameters, name_alg, reader)?;
        Ok(Self {
            name_alg,
            attributes,
            auth_policy,
            parameters,
            unique,
        })
    }

    fn write(&self, writer: &mut Writer) {
        writer.u16(self.parameters.kind());
        writer.u16(self.name_alg.id());
        writer.u32(self.attributes.bits());
        writer.buffer(&self.auth_policy);
        self.parameters.write(writer);
        self.unique.write(writer);
    }
}

impl Unique {
    fn read(
        parameters: &Parameters,
        name_alg: HashAlg,
        reader: &mut Reader<'_>,
    ) -> Result<Self, ParseError> {
        Ok(match parameters {
            Parameters::Rsa { key_bits, .. } => {
                let max = usize::from(key_bits / 8);
                Self::Rsa(reader.buffer("TPMT_PUBLIC.unique.rsa", max)?.to_vec())
            }
            Parameters::Ecc { curve, .. } => {
                let max = curve.coordinate_len();
                Self::Ecc {
                    x: reader.buffer("TPMT_PUBLIC.unique.ecc.x", max)?.to_vec(),
                    y: reader.buffer("TPMT_PUBLIC.unique.ecc.y", max)?.to_vec(),
                }
            }
            Parameters::KeyedHash { .. } => {
                let field = "TPMT_PUBLIC.unique.keyedHash";
                Self::KeyedHash(read_digest_or_empty(reader, field, name_alg)?)
            }
        })
    }

    fn write(&self, writer: &mut Writer) {
        match self {
            Self::Rsa(bytes) | Self::KeyedHash(bytes) => writer.buffer(bytes),
            Self::Ecc { x, y } => {
                writer.buffer(x);
                writer.buffer(y);
            }
        }
    }
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
