//! Names and Qualified Names (TPM 2.0 Library Part 1 §16): what a TPM calls an
//! object, and where it hangs.

use std::fmt;

use super::hash::{HashAlg, MAX_DIGEST};
use super::{Digest, ParseError};

/// Longest Name, in bytes.
pub(super) const MAX_NAME: usize = 2 + MAX_DIGEST;

/// The Name of an object: `nameAlg` ‖ digest of its public area. Displays as
/// lower-case hex. A hierarchy's or a PCR's Name is its handle: not this type.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Name(Vec<u8>);

impl Name {
    pub(super) fn new(digest: &Digest) -> Self {
        let mut bytes = Vec::with_capacity(MAX_NAME);
        bytes.extend_from_slice(&digest.alg().id().to_be_bytes());
        bytes.extend_from_slice(digest.as_bytes());
        Self(bytes)
    }

    /// # Errors
    /// Where the algorithm is unknown or the length is not its digest's.
    pub fn parse(bytes: &[u8]) -> Result<Self, ParseError> {
        const FIELD: &str = "TPM2B_NAME";
        let Some((alg, digest)) = bytes.split_first_chunk::<2>() else {
            return Err(ParseError::Truncated {
                field: FIELD,
                missing: 2usize.saturating_sub(bytes.len()),
            });
        };
        let alg = HashAlg::from_field(FIELD, u16::from_be_bytes(*alg))?;
        Digest::from_bytes(alg, digest).map(|digest| Self::new(&digest))
    }

    /// `nameAlg` ‖ digest, without a size prefix.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    /// The Qualified Name of the object with Name `name` under a parent whose
    /// Qualified Name is `parent_qn` (Part 1 §16, "Qualified Name"). The hash
    /// is the child's.
    #[must_use]
    pub fn qualified(parent_qn: &[u8], name: &Name) -> Name {
        Name::new(&name.alg().digest(&[parent_qn, name.as_bytes()]))
    }

    /// The Qualified Name of a primary object: its parent is the hierarchy,
    /// whose Qualified Name is its handle.
    #[must_use]
    pub fn qualified_primary(hierarchy: Hierarchy, name: &Name) -> Name {
        Self::qualified(&hierarchy.handle().to_be_bytes(), name)
    }

    /// The name algorithm.
    #[must_use]
    pub fn alg(&self) -> HashAlg {
        self.0
            .first_chunk::<2>()
            .and_then(|id| HashAlg::from_id(u16::from_be_bytes(*id)).ok())
            .expect("both constructors begin with the identifier of a HashAlg")
    }
}

impl AsRef<[u8]> for Name {
    fn as_ref(&self) -> &[u8] {
        self.as_bytes()
    }
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&hex::encode(&self.0))
    }
}

impl fmt::Debug for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Name({self})")
    }
}

/// The hierarchies that may hold primary objects (Part 2 §7.4, `TPM_RH`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Hierarchy {
    /// `TPM_RH_OWNER`
    Owner,
    /// `TPM_RH_ENDORSEMENT`
    Endorsement,
    /// `TPM_RH_PLATFORM`
    Platform,
    /// `TPM_RH_NULL`
    Null,
}

impl Hierarchy {
    /// The permanent handle.
    #[must_use]
    pub const fn handle(self) -> u32 {
        match self {
            Self::Owner => 0x4000_0001,
            Self::Endorsement => 0x4000_000B,
            Self::Platform => 0x4000_000C,
            Self::Null => 0x4000_0007,
        }
    }
}
