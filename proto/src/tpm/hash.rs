//! Hash algorithms (TCG Algorithm Registry) and their digests.

use std::fmt;

use super::ParseError;

/// A hash algorithm that Holdfast supports. SHA-1 is here because PCR banks
/// and old logs use it; nothing that is signed may rest on it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum HashAlg {
    /// `TPM_ALG_SHA1`
    Sha1,
    /// `TPM_ALG_SHA256`
    Sha256,
    /// `TPM_ALG_SHA384`
    Sha384,
    /// `TPM_ALG_SHA512`
    Sha512,
}

/// The longest digest of any [`HashAlg`], in bytes.
pub(super) const MAX_DIGEST: usize = 64;

impl HashAlg {
    /// All of them, by ascending identifier.
    pub const ALL: [Self; 4] = [Self::Sha1, Self::Sha256, Self::Sha384, Self::Sha512];

    /// `TPM_ALG_ID`.
    #[must_use]
    pub const fn id(self) -> u16 {
        match self {
            Self::Sha1 => 0x0004,
            Self::Sha256 => 0x000B,
            Self::Sha384 => 0x000C,
            Self::Sha512 => 0x000D,
        }
    }

    /// # Errors
    /// [`ParseError::Unsupported`] for any other identifier.
    pub fn from_id(id: u16) -> Result<Self, ParseError> {
        Self::from_field("TPMI_ALG_HASH", id)
    }

    pub(super) fn from_field(field: &'static str, id: u16) -> Result<Self, ParseError> {
        Self::ALL
            .into_iter()
            .find(|alg| alg.id() == id)
            .ok_or(ParseError::unsupported(field, id))
    }

    /// Length of a digest, in bytes.
    #[must_use]
    pub const fn digest_len(self) -> usize {
        match self {
            Self::Sha1 => 20,
            Self::Sha256 => 32,
            Self::Sha384 => 48,
            Self::Sha512 => 64,
        }
    }

    /// As tpm2-tools, and Holdfast's JSON, spell it.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Sha1 => "sha1",
            Self::Sha256 => "sha256",
            Self::Sha384 => "sha384",
            Self::Sha512 => "sha512",
        }
    }

    /// The inverse of [`HashAlg::name`].
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|alg| alg.name() == name)
    }

    /// The digest of the concatenation of `parts`.
    #[must_use]
    pub fn digest(self, parts: &[&[u8]]) -> Digest {
        fn run<H: sha2::Digest>(alg: HashAlg, parts: &[&[u8]]) -> Digest {
            let mut hasher = H::new();
            for part in parts {
                hasher.update(part);
            }
            Digest::new(alg, &hasher.finalize())
        }
        match self {
            Self::Sha1 => run::<sha1::Sha1>(self, parts),
            Self::Sha256 => run::<sha2::Sha256>(self, parts),
            Self::Sha384 => run::<sha2::Sha384>(self, parts),
            Self::Sha512 => run::<sha2::Sha512>(self, parts),
        }
    }
}

impl fmt::Display for HashAlg {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// A digest and its algorithm. Displays as lower-case hex.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Digest {
    alg: HashAlg,
    // Zero beyond the digest, so that derived equality is right.
    bytes: [u8; MAX_DIGEST],
}

impl Digest {
    #[inline]
    fn new(alg: HashAlg, digest: &[u8]) -> Self {
        let mut bytes = [0; MAX_DIGEST];
        for (to, from) in bytes.iter_mut().zip(digest) {
            *to = *from;
        }
        Self { alg, bytes }
    }

    /// # Errors
    /// [`ParseError::WrongLength`] where `bytes` is not a digest of `alg`.
    pub fn from_bytes(alg: HashAlg, bytes: &[u8]) -> Result<Self, ParseError> {
        if bytes.len() != alg.digest_len() {
            return Err(ParseError::WrongLength {
                field: "digest",
                len: bytes.len(),
                expected: alg.digest_len(),
            });
        }
        Ok(Self::new(alg, bytes))
    }

    /// As long as the digests of `alg`, every byte of it `byte`.
    #[must_use]
    pub fn filled(alg: HashAlg, byte: u8) -> Self {
        let bytes = [byte; MAX_DIGEST];
        let (digest, _) = bytes.split_at(alg.digest_len());
        Self::new(alg, digest)
    }

    /// The same bytes as a digest of `alg`: cut, or with zeros after them.
    #[must_use]
    pub fn resized(&self, alg: HashAlg) -> Self {
        let (digest, _) = self.bytes.split_at(alg.digest_len());
        Self::new(alg, digest)
    }

    /// The same digest with another last byte.
    #[must_use]
    pub(crate) fn with_last(mut self, byte: u8) -> Self {
        let (digest, _) = self.bytes.split_at_mut(self.alg.digest_len());
        if let Some(last) = digest.last_mut() {
            *last = byte;
        }
        self
    }

    /// Its algorithm.
    #[must_use]
    pub const fn alg(&self) -> HashAlg {
        self.alg
    }

    /// Exactly [`HashAlg::digest_len`] bytes.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        let (digest, _zeros) = self.bytes.split_at(self.alg.digest_len());
        digest
    }
}

impl AsRef<[u8]> for Digest {
    fn as_ref(&self) -> &[u8] {
        self.as_bytes()
    }
}

impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&hex::encode(self.as_bytes()))
    }
}

impl fmt::Debug for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{self}", self.alg)
    }
}
