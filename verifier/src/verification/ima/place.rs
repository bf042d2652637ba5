//! Where a replay stands, and its form in the store.

use std::collections::BTreeMap;

use holdfast_proto::{
    boot_log::PcrMap,
    ima_log::{BootAggregate, Extend, Replay},
    tpm::{Digest, HashAlg},
};
use serde::{Deserialize, Serialize};

/// Where the replay of a gateway's IMA log stands. It is worth what its keeper
/// is worth: the store's, it comes from a replay that reached a quote.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ImaPlace {
    pub(super) reset_count: u32,
    pub(super) replay: Replay,
    /// Of the log's first entry; none where there is none, or none that PCR 10
    /// proves.
    pub(super) boot_aggregate: Option<BootAggregate>,
}

impl ImaPlace {
    /// TPM resetCount of the boot that the log is of.
    #[must_use]
    pub fn reset_count(&self) -> u32 {
        self.reset_count
    }

    /// Entries replayed.
    #[must_use]
    pub fn entries(&self) -> u64 {
        self.replay.entries()
    }

    /// Bytes that they take.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        self.replay.offset()
    }

    /// How the kernel extends the quoted bank.
    #[must_use]
    pub fn extend(&self) -> Extend {
        self.replay.extend()
    }

    /// What the first entry says of the quoted PCRs 0 to 9.
    #[must_use]
    pub fn boot_aggregate(&self) -> Option<BootAggregate> {
        self.boot_aggregate
    }
}

/// [`ImaPlace`] as it is written.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Written {
    reset_count: u32,
    bank: String,
    sha1_padded: bool,
    /// By PCR, in hex.
    pcrs: BTreeMap<u32, String>,
    bytes: u64,
    entries: u64,
    violations: u64,
    boot_aggregate: WrittenAggregate,
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
enum WrittenAggregate {
    None,
    Matches7,
    Matches9,
    Differs,
    OtherBank,
    PcrUnknown(u32),
    Absent,
}

impl Serialize for ImaPlace {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let pcrs = self.replay.pcrs();
        Written {
            reset_count: self.reset_count,
            bank: pcrs.bank().name().to_owned(),
            sha1_padded: self.replay.extend() == Extend::Sha1Padded,
            pcrs: pcrs
                .iter()
                .map(|(pcr, value)| (pcr, hex::encode(value.as_bytes())))
                .collect(),
            bytes: self.replay.offset(),
            entries: self.replay.entries(),
            violations: self.replay.violations(),
            boot_aggregate: match self.boot_aggregate {
                None => WrittenAggregate::None,
                Some(BootAggregate::Matches { last_pcr: 7 }) => WrittenAggregate::Matches7,
                Some(BootAggregate::Matches { .. }) => WrittenAggregate::Matches9,
                Some(BootAggregate::Differs) => WrittenAggregate::Differs,
                Some(BootAggregate::OtherBank) => WrittenAggregate::OtherBank,
                Some(BootAggregate::PcrUnknown(pcr)) => WrittenAggregate::PcrUnknown(pcr),
                Some(BootAggregate::Absent) => WrittenAggregate::Absent,
            },
        }
        .serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for ImaPlace {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let written = Written::deserialize(deserializer)?;
        restore(&written).ok_or_else(|| serde::de::Error::custom("no state of a replay"))
    }
}

fn restore(written: &Written) -> Option<ImaPlace> {
    let bank = HashAlg::from_name(&written.bank)?;
    let values: Vec<(u32, Digest)> = written
        .pcrs
        .iter()
        .map(|(pcr, value)| {
            let value = Digest::from_bytes(bank, &hex::decode(value).ok()?).ok()?;
            Some((*pcr, value))
        })
        .collect::<Option<_>>()?;
    let extend = if written.sha1_padded {
        Extend::Sha1Padded
    } else {
        Extend::Native
    };
    Some(ImaPlace {
        reset_count: written.reset_count,
        replay: Replay::resume(
            extend,
            PcrMap::restore(bank, values)?,
            written.bytes,
            written.entries,
            written.violations,
        ),
        boot_aggregate: match written.boot_aggregate {
            WrittenAggregate::None => None,
            WrittenAggregate::Matches7 => Some(BootAggregate::Matches { last_pcr: 7 }),
            WrittenAggregate::Matches9 => Some(BootAggregate::Matches { last_pcr: 9 }),
            WrittenAggregate::Differs => Some(BootAggregate::Differs),
            WrittenAggregate::OtherBank => Some(BootAggregate::OtherBank),
            WrittenAggregate::PcrUnknown(pcr) => Some(BootAggregate::PcrUnknown(pcr)),
            WrittenAggregate::Absent => Some(BootAggregate::Absent),
        },
    })
}
