//! Why a certificate is revoked (CRLReason, RFC 5280 §5.3.1).

use std::fmt;

/// The reasons that apply to an LDevID. Left out are cACompromise and
/// aACompromise, which are of other certificates, and certificateHold with
/// removeFromCRL: an LDevID that is revoked never comes back into force, for a
/// suspended gateway gets a new one (`Recover`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
pub enum RevocationReason {
    /// None is given. Not written into CRLs: §5.3.1 wants it left out.
    Unspecified = 0,
    /// The TPM, or a key in it, is in other hands.
    KeyCompromise = 1,
    /// What the certificate says of its holder is no longer so.
    AffiliationChanged = 3,
    /// A newer LDevID took its place.
    Superseded = 4,
    /// The gateway is taken out of service.
    CessationOfOperation = 5,
    /// It is not trusted (any more): the reason of every suspension.
    PrivilegeWithdrawn = 9,
}

impl RevocationReason {
    /// Every one.
    pub const ALL: [Self; 6] = [
        Self::Unspecified,
        Self::KeyCompromise,
        Self::AffiliationChanged,
        Self::Superseded,
        Self::CessationOfOperation,
        Self::PrivilegeWithdrawn,
    ];

    /// The number in a CRL.
    #[must_use]
    pub const fn code(self) -> u8 {
        self as u8
    }

    /// By its number; `None` for one that is not of an LDevID.
    #[must_use]
    pub fn from_code(code: u8) -> Option<Self> {
        Self::ALL.into_iter().find(|reason| reason.code() == code)
    }

    /// Kebab-case, as on the command line.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Unspecified => "unspecified",
            Self::KeyCompromise => "key-compromise",
            Self::AffiliationChanged => "affiliation-changed",
            Self::Superseded => "superseded",
            Self::CessationOfOperation => "cessation-of-operation",
            Self::PrivilegeWithdrawn => "privilege-withdrawn",
        }
    }
}

impl fmt::Display for RevocationReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_are_those_of_rfc_5280() {
        let codes = RevocationReason::ALL.map(RevocationReason::code);
        assert_eq!(codes, [0, 1, 3, 4, 5, 9]);
        for reason in RevocationReason::ALL {
            assert_eq!(RevocationReason::from_code(reason.code()), Some(reason));
        }
        for other in [2, 6, 7, 8, 10, 255] {
            assert_eq!(RevocationReason::from_code(other), None);
        }
    }
}
