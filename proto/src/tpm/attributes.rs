//! `TPMA_OBJECT` (TPM 2.0 Library Part 2 §8.3).

use std::fmt;
use std::ops::BitOr;

/// Attributes of an object, as the 32 bits of `TPMA_OBJECT`. Reserved bits are
/// kept as they came: a template or checklist that compares all bits refuses
/// them.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct ObjectAttributes(u32);

impl ObjectAttributes {
    /// No attribute.
    pub const NONE: Self = Self(0);
    /// `fixedTPM`: the object can never leave its TPM.
    pub const FIXED_TPM: Self = Self(1 << 1);
    /// `stClear`: the object does not survive a TPM reset.
    pub const ST_CLEAR: Self = Self(1 << 2);
    /// `fixedParent`: the object can never get another parent.
    pub const FIXED_PARENT: Self = Self(1 << 4);
    /// `sensitiveDataOrigin`: the TPM made the private part itself.
    pub const SENSITIVE_DATA_ORIGIN: Self = Self(1 << 5);
    /// `userWithAuth`: the authValue suffices for the USER role.
    pub const USER_WITH_AUTH: Self = Self(1 << 6);
    /// `adminWithPolicy`: the ADMIN role needs a policy session.
    pub const ADMIN_WITH_POLICY: Self = Self(1 << 7);
    /// `noDA`: outside dictionary-attack protection.
    pub const NO_DA: Self = Self(1 << 10);
    /// `encryptedDuplication`.
    pub const ENCRYPTED_DUPLICATION: Self = Self(1 << 11);
    /// `restricted`: signs only what the TPM itself produced or hashed.
    pub const RESTRICTED: Self = Self(1 << 16);
    /// `decrypt`.
    pub const DECRYPT: Self = Self(1 << 17);
    /// `sign`.
    pub const SIGN: Self = Self(1 << 18);
    /// `x509sign`: restricted to `TPM2_CertifyX509`.
    pub const X509_SIGN: Self = Self(1 << 19);

    /// From the 32 bits.
    #[must_use]
    pub const fn from_bits(bits: u32) -> Self {
        Self(bits)
    }

    /// The 32 bits.
    #[must_use]
    pub const fn bits(self) -> u32 {
        self.0
    }

    /// Whether all of `other` are set.
    #[must_use]
    pub const fn contains(self, other: Self) -> bool {
        self.0 & other.0 == other.0
    }

    /// Whether any of `other` is set.
    #[must_use]
    pub const fn intersects(self, other: Self) -> bool {
        self.0 & other.0 != 0
    }

    /// Both sets together, in a constant.
    #[must_use]
    pub const fn union(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }
}

impl BitOr for ObjectAttributes {
    type Output = Self;

    fn bitor(self, other: Self) -> Self {
        self.union(other)
    }
}

impl fmt::Display for ObjectAttributes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:#010x}", self.0)
    }
}

impl fmt::Debug for ObjectAttributes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const NAMES: [(ObjectAttributes, &str); 12] = [
            (ObjectAttributes::FIXED_TPM, "fixedTPM"),
            (ObjectAttributes::ST_CLEAR, "stClear"),
            (ObjectAttributes::FIXED_PARENT, "fixedParent"),
            (
                ObjectAttributes::SENSITIVE_DATA_ORIGIN,
                "sensitiveDataOrigin",
            ),
            (ObjectAttributes::USER_WITH_AUTH, "userWithAuth"),
            (ObjectAttributes::ADMIN_WITH_POLICY, "adminWithPolicy"),
            (ObjectAttributes::NO_DA, "noDA"),
            (
                ObjectAttributes::ENCRYPTED_DUPLICATION,
                "encryptedDuplication",
            ),
            (ObjectAttributes::RESTRICTED, "restricted"),
            (ObjectAttributes::DECRYPT, "decrypt"),
            (ObjectAttributes::SIGN, "sign"),
            (ObjectAttributes::X509_SIGN, "x509sign"),
        ];
        write!(f, "{self}")?;
        for (attribute, name) in NAMES {
            if self.contains(attribute) {
                write!(f, "|{name}")?;
            }
        }
        Ok(())
    }
}
