//! Trustworthiness claims, their values, and the tiers that these fall into
//! (AR4SI §2.3).

/// A trustworthiness claim (AR4SI §2.3.4), by ascending CBOR key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Claim {
    /// Is it the unique, recognised device that it says it is?
    InstanceIdentity,
    /// Is its configuration approved?
    Configuration,
    /// Is what runs approved?
    Executables,
    /// Are its files approved?
    FileSystem,
    /// Is its hardware genuine?
    Hardware,
    /// Can code beside it see its memory?
    RuntimeOpaque,
    /// Are secrets at rest out of reach?
    StorageOpaque,
    /// Is data that it took in from elsewhere sound?
    SourcedData,
}

impl Claim {
    /// All of them, by ascending CBOR key.
    pub const ALL: [Self; 8] = [
        Self::InstanceIdentity,
        Self::Configuration,
        Self::Executables,
        Self::FileSystem,
        Self::Hardware,
        Self::RuntimeOpaque,
        Self::StorageOpaque,
        Self::SourcedData,
    ];

    /// JSON name.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::InstanceIdentity => "instance-identity",
            Self::Configuration => "configuration",
            Self::Executables => "executables",
            Self::FileSystem => "file-system",
            Self::Hardware => "hardware",
            Self::RuntimeOpaque => "runtime-opaque",
            Self::StorageOpaque => "storage-opaque",
            Self::SourcedData => "sourced-data",
        }
    }

    /// CBOR key.
    #[must_use]
    pub const fn key(self) -> u8 {
        self as u8
    }

    /// By JSON name.
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|claim| claim.name() == name)
    }

    /// By CBOR key.
    #[must_use]
    pub fn from_key(key: u8) -> Option<Self> {
        Self::ALL.into_iter().find(|claim| claim.key() == key)
    }
}

/// Trustworthiness tier (AR4SI §2.3.2). Ordered from most to least trusted:
/// what the Verifier says nothing of ranks below what it affirms.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Tier {
    /// The Verifier affirms it.
    Affirming,
    /// The Verifier makes no assertion.
    None,
    /// The Verifier sees a reason for caution.
    Warning,
    /// The Verifier says that it is not to be trusted.
    Contraindicated,
}

impl Tier {
    const ALL: [Self; 4] = [
        Self::Affirming,
        Self::None,
        Self::Warning,
        Self::Contraindicated,
    ];

    /// The tier of a claim's value (AR4SI §2.3.2).
    #[must_use]
    pub const fn of(value: i8) -> Self {
        match value {
            -1..=1 => Self::None,
            2..=31 | -32..=-2 => Self::Affirming,
            32..=95 | -96..=-33 => Self::Warning,
            96..=127 | -128..=-97 => Self::Contraindicated,
        }
    }

    /// Value of `ear_status` in CBOR.
    #[must_use]
    pub const fn code(self) -> u8 {
        match self {
            Self::None => 0,
            Self::Affirming => 2,
            Self::Warning => 32,
            Self::Contraindicated => 96,
        }
    }

    /// Value of `ear_status` in JSON.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Affirming => "affirming",
            Self::Warning => "warning",
            Self::Contraindicated => "contraindicated",
        }
    }

    pub(super) fn from_code(code: u8) -> Option<Self> {
        Self::ALL.into_iter().find(|tier| tier.code() == code)
    }

    /// The inverse of [`Tier::name`].
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|tier| tier.name() == name)
    }

    /// The less trusted of two.
    #[must_use]
    pub fn worse(self, other: Self) -> Self {
        self.max(other)
    }
}

/// Trustworthiness vector (AR4SI §2.3.5). 0 is "no claim", and such claims
/// are left out on the wire.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct TrustVector {
    /// Key 0.
    pub instance_identity: i8,
    /// Key 1.
    pub configuration: i8,
    /// Key 2.
    pub executables: i8,
    /// Key 3.
    pub file_system: i8,
    /// Key 4.
    pub hardware: i8,
    /// Key 5.
    pub runtime_opaque: i8,
    /// Key 6.
    pub storage_opaque: i8,
    /// Key 7.
    pub sourced_data: i8,
}

impl TrustVector {
    /// Nothing claimed.
    pub const NONE: Self = Self {
        instance_identity: 0,
        configuration: 0,
        executables: 0,
        file_system: 0,
        hardware: 0,
        runtime_opaque: 0,
        storage_opaque: 0,
        sourced_data: 0,
    };

    /// Value of one claim.
    #[must_use]
    pub const fn get(&self, claim: Claim) -> i8 {
        match claim {
            Claim::InstanceIdentity => self.instance_identity,
            Claim::Configuration => self.configuration,
            Claim::Executables => self.executables,
            Claim::FileSystem => self.file_system,
            Claim::Hardware => self.hardware,
            Claim::RuntimeOpaque => self.runtime_opaque,
            Claim::StorageOpaque => self.storage_opaque,
            Claim::SourcedData => self.sourced_data,
        }
    }

    /// Sets the value of one claim.
    pub const fn set(&mut self, claim: Claim, value: i8) {
        let slot = match claim {
            Claim::InstanceIdentity => &mut self.instance_identity,
            Claim::Configuration => &mut self.configuration,
            Claim::Executables => &mut self.executables,
            Claim::FileSystem => &mut self.file_system,
            Claim::Hardware => &mut self.hardware,
            Claim::RuntimeOpaque => &mut self.runtime_opaque,
            Claim::StorageOpaque => &mut self.storage_opaque,
            Claim::SourcedData => &mut self.sourced_data,
        };
        *slot = value;
    }

    /// The claims that are made (value not 0), by ascending key.
    pub fn made(&self) -> impl Iterator<Item = (Claim, i8)> {
        let vector = *self;
        Claim::ALL
            .into_iter()
            .map(move |claim| (claim, vector.get(claim)))
            .filter(|(_, value)| *value != 0)
    }

    /// The worst tier among the claims that are made; [`Tier::None`] where
    /// there are none.
    #[must_use]
    pub fn tier(&self) -> Tier {
        self.made()
            .map(|(_, value)| Tier::of(value))
            .max()
            .unwrap_or(Tier::None)
    }
}
