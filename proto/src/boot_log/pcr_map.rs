//! PCR values of one bank, as a log says that they must be.

use crate::tpm::{Digest, HashAlg};

/// PCRs of a PC Client TPM.
const PCRS: usize = 24;

/// The values of one bank after extensions, from the values at reset.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct PcrMap {
    bank: HashAlg,
    values: [Digest; PCRS],
    /// Bit n: PCR n was extended.
    extended: u32,
}

impl PcrMap {
    /// Every PCR at its reset value: zero, but all ones for the PCRs of a
    /// dynamic launch (17 to 22), which a launch resets to zero (TPM 2.0 PC
    /// Client Platform TPM Profile, PCR attributes).
    #[must_use]
    pub fn at_reset(bank: HashAlg) -> Self {
        let zeros = Digest::filled(bank, 0x00);
        let ones = Digest::filled(bank, 0xff);
        let mut values = [zeros; PCRS];
        for (index, value) in values.iter_mut().enumerate() {
            if matches!(index, 17..=22) {
                *value = ones;
            }
        }
        Self {
            bank,
            values,
            extended: 0,
        }
    }

    /// As [`PcrMap::at_reset`], but PCR 0 ends in `locality`, the locality of
    /// `TPM2_Startup` (3), or 4 after an H-CRTM sequence (TPM 2.0 Library
    /// Part 1 §"PCR initialization").
    #[must_use]
    pub fn at_startup(bank: HashAlg, locality: u8) -> Self {
        let mut map = Self::at_reset(bank);
        if let Some(pcr0) = map.values.first_mut() {
            *pcr0 = pcr0.with_last(locality);
        }
        map
    }

    /// From the values of extended PCRs, as [`PcrMap::iter`] gave them; the others
    /// are at reset. None where a PCR is over 23 or a value is of another bank.
    #[must_use]
    pub fn restore(bank: HashAlg, values: impl IntoIterator<Item = (u32, Digest)>) -> Option<Self> {
        let mut map = Self::at_reset(bank);
        for (pcr, value) in values {
            let slot = map.values.get_mut(usize::try_from(pcr).ok()?)?;
            *slot = Some(value).filter(|value| value.alg() == bank)?;
            map.extended |= 1u32.checked_shl(pcr)?;
        }
        Some(map)
    }

    /// The bank.
    #[must_use]
    pub const fn bank(&self) -> HashAlg {
        self.bank
    }

    /// `TPM2_PCR_Extend`. `digest` is as long as the bank's; a PCR over 23, which
    /// no parsed event names, is passed over.
    pub(crate) fn extend(&mut self, pcr: u32, digest: &[u8]) {
        let Some(bit) = 1u32.checked_shl(pcr) else {
            return;
        };
        let index = usize::try_from(pcr).unwrap_or(usize::MAX);
        let Some(value) = self.values.get_mut(index) else {
            return;
        };
        if self.extended & bit == 0 && matches!(pcr, 17..=22) {
            *value = Digest::filled(self.bank, 0x00);
        }
        *value = self.bank.digest(&[value.as_bytes(), digest]);
        self.extended |= bit;
    }

    /// The value of a PCR that was extended.
    #[must_use]
    pub fn get(&self, pcr: u32) -> Option<&Digest> {
        self.value(pcr).filter(|_| {
            1u32.checked_shl(pcr)
                .is_some_and(|bit| self.extended & bit != 0)
        })
    }

    /// The value of a PCR, extended or not; none over 23.
    #[must_use]
    pub fn value(&self, pcr: u32) -> Option<&Digest> {
        self.values.get(usize::try_from(pcr).ok()?)
    }

    /// The PCRs that were extended, ascending.
    pub fn iter(&self) -> impl Iterator<Item = (u32, &Digest)> {
        (0u32..)
            .zip(&self.values)
            .filter(|(index, _)| self.extended & (1 << index) != 0)
    }

    /// How many PCRs were extended.
    #[must_use]
    pub const fn len(&self) -> usize {
        self.extended.count_ones() as usize
    }

    /// Whether none was.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.extended == 0
    }
}
