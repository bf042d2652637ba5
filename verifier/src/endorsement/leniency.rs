//! What real vendors' certificates do that the rules forbid, each by a name,
//! and which of it the owner lets pass (ADVERSARY A06).

use std::{collections::BTreeSet, fmt};

use serde::{Deserialize, Serialize};

use super::error::{EndorsementError, Position};

/// One departure from X.690, RFC 5280 or the EK Credential Profile that real
/// TPMs have. Each is bounded: it excuses this one thing and no other.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum Leniency {
    /// Zeros or 0xFF (or four and more of any one byte) after the EK
    /// certificate, as NV indices are filled up.
    NvPadding,
    /// A TCG_PCCLIENT_STORED_CERT header before the EK certificate (PC Client
    /// Implementation Specification 1.21 §7.3.2).
    NvHeader,
    /// id-RSAES-OAEP in place of rsaEncryption as the key's algorithm (RFC 4055
    /// §4.1 allows it, the EK Credential Profile does not). ST, Infineon.
    RsaesOaepKey,
    /// The attributes of an RDN are not in DER's order (X.690 §11.6). Nuvoton.
    SetOrder,
    /// A value that is its DEFAULT is written out (X.690 §11.5). Intel.
    EncodedDefault,
    /// The serial number's INTEGER is not the shortest (X.690 §8.3.2). ST.
    SerialPadding,
    /// keyEncipherment in place of keyAgreement for an ECC key (EK Credential
    /// Profile §3.2.12). Nationz.
    EccKeyEncipherment,
    /// A certificate signed over SHA-1 with RSA, as until about 2016.
    Sha1Signature,
    /// A certificate of the path is over. All of the path must have been valid
    /// at the moment when the first of it ended.
    Expired,
}

impl Leniency {
    /// All of them.
    pub const ALL: [Self; 9] = [
        Self::NvPadding,
        Self::NvHeader,
        Self::RsaesOaepKey,
        Self::SetOrder,
        Self::EncodedDefault,
        Self::SerialPadding,
        Self::EccKeyEncipherment,
        Self::Sha1Signature,
        Self::Expired,
    ];

    /// Its name in configuration, policy input and records.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::NvPadding => "nv-padding",
            Self::NvHeader => "nv-header",
            Self::RsaesOaepKey => "rsaes-oaep-key",
            Self::SetOrder => "set-order",
            Self::EncodedDefault => "encoded-default",
            Self::SerialPadding => "serial-padding",
            Self::EccKeyEncipherment => "ecc-key-encipherment",
            Self::Sha1Signature => "sha1-signature",
            Self::Expired => "expired",
        }
    }

    /// Whether it is on unless the owner says otherwise. On is what changes
    /// only how the same certificate is written down, which no forger gains
    /// from: the signature covers the bytes as they are. Off is what changes
    /// what the certificate means, or what its signature is worth.
    #[must_use]
    pub const fn by_default(self) -> bool {
        !matches!(
            self,
            Self::EccKeyEncipherment | Self::Sha1Signature | Self::Expired
        )
    }
}

impl fmt::Display for Leniency {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// Which leniencies are on.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Leniencies(BTreeSet<Leniency>);

impl Default for Leniencies {
    fn default() -> Self {
        Leniency::ALL
            .into_iter()
            .filter(|leniency| leniency.by_default())
            .collect()
    }
}

impl FromIterator<Leniency> for Leniencies {
    fn from_iter<I: IntoIterator<Item = Leniency>>(on: I) -> Self {
        Self(on.into_iter().collect())
    }
}

impl Leniencies {
    /// These and one more.
    #[must_use]
    pub fn and(mut self, leniency: Leniency) -> Self {
        self.0.insert(leniency);
        self
    }

    /// These without one.
    #[must_use]
    pub fn without(mut self, leniency: Leniency) -> Self {
        self.0.remove(&leniency);
        self
    }

    /// Whether this one is on.
    #[must_use]
    pub fn allow(&self, leniency: Leniency) -> bool {
        self.0.contains(&leniency)
    }

    /// Those that are on, in the order of [`Leniency::ALL`].
    pub fn iter(&self) -> impl Iterator<Item = Leniency> + '_ {
        self.0.iter().copied()
    }

    /// All that a certificate needs is on.
    ///
    /// # Errors
    /// [`EndorsementError::NotLenient`] with the first that is not.
    pub(super) fn expect(
        &self,
        needed: &BTreeSet<Leniency>,
        at: Position,
    ) -> Result<(), EndorsementError> {
        match needed.iter().find(|leniency| !self.allow(**leniency)) {
            Some(leniency) => Err(EndorsementError::NotLenient {
                at,
                leniency: *leniency,
            }),
            None => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_those_of_the_configuration() {
        for leniency in Leniency::ALL {
            let json = serde_json::to_string(&leniency).unwrap();
            assert_eq!(json, format!("{:?}", leniency.name()));
        }
    }

    #[test]
    fn meaning_and_strength_are_off_by_default() {
        let on = Leniencies::default();
        let off: Vec<_> = Leniency::ALL
            .into_iter()
            .filter(|l| !on.allow(*l))
            .collect();
        assert_eq!(
            off,
            [
                Leniency::EccKeyEncipherment,
                Leniency::Sha1Signature,
                Leniency::Expired
            ]
        );
    }
}
