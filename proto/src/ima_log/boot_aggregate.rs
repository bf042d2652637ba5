//! `boot_aggregate`: the first entry ties an IMA log to its boot
//! (`ima_calc_boot_aggregate`).

use super::{Entry, FileDigest};
use crate::tpm::{Digest, HashAlg};

/// The name of the entry.
const NAME: &str = "boot_aggregate";

/// What the boot aggregate says about this boot.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BootAggregate {
    /// It is over PCRs 0 to `last_pcr` of this boot: 9, or 7 with SHA-1 and
    /// before Linux 5.8, which leaves what the loader measured untied.
    Matches {
        /// 7 or 9
        last_pcr: u32,
    },
    /// It is of another boot, or forged.
    Differs,
    /// It is over another bank than the one whose values are known.
    OtherBank,
    /// The value of a PCR that it needs is not known.
    PcrUnknown(u32),
    /// The entry is no boot aggregate.
    Absent,
}

impl BootAggregate {
    /// Holds the first entry of a log against the quoted values of `bank`.
    #[must_use]
    pub fn of(entry: &Entry<'_>, bank: HashAlg, quoted: impl Fn(u32) -> Option<Digest>) -> Self {
        if entry.index() != 0
            || entry
                .name()
                .is_none_or(|name| name.as_bytes() != NAME.as_bytes())
        {
            return Self::Absent;
        }
        let Some(digest) = entry.file_digest() else {
            return Self::Absent;
        };
        if digest.hash() != Some(bank) {
            return Self::OtherBank;
        }
        let spans: &[u32] = if bank == HashAlg::Sha1 { &[7] } else { &[9, 7] };
        let mut verdict = Self::Differs;
        for last_pcr in spans {
            match is_over(&digest, bank, *last_pcr, &quoted) {
                Ok(true) => {
                    return Self::Matches {
                        last_pcr: *last_pcr,
                    };
                }
                Ok(false) => {}
                Err(pcr) => verdict = Self::PcrUnknown(pcr),
            }
        }
        verdict
    }
}

/// Whether `digest` is over PCRs 0 to `last`; or the first that is not known.
fn is_over(
    digest: &FileDigest<'_>,
    bank: HashAlg,
    last: u32,
    quoted: impl Fn(u32) -> Option<Digest>,
) -> Result<bool, u32> {
    let values: Vec<Digest> = (0..=last)
        .map(|pcr| quoted(pcr).filter(|value| value.alg() == bank).ok_or(pcr))
        .collect::<Result<_, _>>()?;
    let values: Vec<&[u8]> = values.iter().map(Digest::as_bytes).collect();
    Ok(bank.digest(&values).as_bytes() == digest.bytes)
}
