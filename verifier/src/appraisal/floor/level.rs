//! How much a policy leaves to Holdfast's own comparison.

use holdfast_proto::result::Claim;

/// By what a quoted PCR must be accounted for. A policy names it in a constant
/// rule `floor`; without one it is the first.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Floor {
    /// Every quoted PCR equals a reference value.
    #[default]
    ReferenceValues,
    /// Every quoted PCR equals a reference value, or the boot log explains it
    /// and the policy judges what the log says.
    BootLog,
    /// Only identity and hardware are vouched for. PCRs are reported; a claim
    /// about software is not made unless they account for it.
    Hardware,
}

impl Floor {
    /// All of them, with the names that a policy uses.
    const NAMES: [(&'static str, Self); 3] = [
        ("reference-values", Self::ReferenceValues),
        ("boot-log", Self::BootLog),
        ("hardware", Self::Hardware),
    ];

    /// By its name in a policy.
    pub(in crate::appraisal) fn from_name(name: &str) -> Option<Self> {
        let mut names = Self::NAMES.iter();
        names.find_map(|(known, floor)| (*known == name).then_some(*floor))
    }

    /// Its name in a policy.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::ReferenceValues => "reference-values",
            Self::BootLog => "boot-log",
            Self::Hardware => "hardware",
        }
    }

    /// Claims without which no status is affirming.
    #[must_use]
    pub const fn mandatory(self) -> &'static [Claim] {
        match self {
            Self::ReferenceValues | Self::BootLog => &[
                Claim::InstanceIdentity,
                Claim::Hardware,
                Claim::Executables,
                Claim::Configuration,
            ],
            Self::Hardware => &[Claim::InstanceIdentity, Claim::Hardware],
        }
    }
}
