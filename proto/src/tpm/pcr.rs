//! PCR selections (TPM 2.0 Library Part 2 §10.6).

use std::fmt;

use super::cursor::{Reader, Writer};
use super::{HashAlg, ParseError};

/// PCRs of a PC Client TPM, 0 to 23: three octets of bitmap.
const PCRS: u32 = 24;
const SIZEOF_SELECT: u8 = 3;

/// Most banks in one selection: no TPM has more than the registered hashes
/// that it implements, and none seen has more than five.
const MAX_BANKS: u32 = 8;

/// A set of PCR indices, 0 to 23.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct PcrSet(u32);

impl PcrSet {
    /// No PCR.
    pub const EMPTY: Self = Self(0);

    /// From indices, which must ascend, as on the wire (`PcrSelection` in
    /// evidence.proto).
    ///
    /// # Errors
    /// Where an index is over 23, repeated, or out of order.
    pub fn from_indices(indices: impl IntoIterator<Item = u32>) -> Result<Self, ParseError> {
        let mut set = 0u32;
        let mut previous = None;
        for index in indices {
            if index >= PCRS {
                return Err(ParseError::unsupported("PCR index", index));
            }
            if let Some(previous) = previous.filter(|previous| *previous >= index) {
                return Err(ParseError::PcrOrder { index, previous });
            }
            previous = Some(index);
            set |= 1 << index;
        }
        Ok(Self(set))
    }

    /// Bit n is PCR n.
    #[must_use]
    pub const fn bits(self) -> u32 {
        self.0
    }

    /// The indices, ascending.
    pub fn iter(self) -> impl Iterator<Item = u32> {
        (0..PCRS).filter(move |index| self.contains(*index))
    }

    /// Whether PCR `index` is in the set.
    #[must_use]
    pub const fn contains(self, index: u32) -> bool {
        index < PCRS && self.0 & (1 << index) != 0
    }

    /// Whether every PCR of `other` is in this set.
    #[must_use]
    pub const fn is_superset(self, other: Self) -> bool {
        self.0 & other.0 == other.0
    }

    /// How many PCRs.
    #[must_use]
    pub const fn len(self) -> usize {
        self.0.count_ones() as usize
    }

    /// Whether there is none.
    #[must_use]
    pub const fn is_empty(self) -> bool {
        self.0 == 0
    }
}

impl fmt::Display for PcrSet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (n, index) in self.iter().enumerate() {
            let comma = if n == 0 { "" } else { "," };
            write!(f, "{comma}{index}")?;
        }
        Ok(())
    }
}

impl fmt::Debug for PcrSet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "PcrSet({self})")
    }
}

/// PCRs of one bank (`TPMS_PCR_SELECTION`). Displays as tpm2-tools write it,
/// e.g. `sha256:0,1,7`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct PcrSelection {
    /// The bank.
    pub hash: HashAlg,
    /// Its selected PCRs.
    pub pcrs: PcrSet,
}

impl PcrSelection {
    /// `TPML_PCR_SELECTION`. A bank with no PCR, or given twice, is
    /// well-formed: whoever compares the selection refuses it.
    pub(super) fn read_list(reader: &mut Reader<'_>) -> Result<Vec<Self>, ParseError> {
        const FIELD: &str = "TPML_PCR_SELECTION.count";
        let count = reader.u32(FIELD)?;
        if count > MAX_BANKS {
            return Err(ParseError::TooLong {
                field: FIELD,
                len: usize::try_from(count).unwrap_or(usize::MAX),
                max: MAX_BANKS as usize,
            });
        }
        (0..count).map(|_| Self::read(reader)).collect()
    }

    fn read(reader: &mut Reader<'_>) -> Result<Self, ParseError> {
        const SIZE: &str = "TPMS_PCR_SELECTION.sizeofSelect";
        let hash = HashAlg::from_field(
            "TPMS_PCR_SELECTION.hash",
            reader.u16("TPMS_PCR_SELECTION.hash")?,
        )?;
        let size = reader.u8(SIZE)?;
        // Another size would be a second encoding of the same selection.
        if size != SIZEOF_SELECT {
            return Err(ParseError::unsupported(SIZE, size));
        }
        let bitmap = reader.take("TPMS_PCR_SELECTION.pcrSelect", SIZEOF_SELECT.into())?;
        // PCR n is bit n%8 of octet n/8: little-endian.
        let bits = bitmap
            .iter()
            .rev()
            .fold(0, |bits, octet| bits << 8 | u32::from(*octet));
        Ok(Self {
            hash,
            pcrs: PcrSet(bits),
        })
    }

    pub(super) fn write_list(selections: &[Self], writer: &mut Writer) {
        let count = u32::try_from(selections.len()).expect("a selection list has a few banks");
        writer.u32(count);
        for selection in selections {
            writer.u16(selection.hash.id());
            writer.u8(SIZEOF_SELECT);
            let [first, second, third, _] = selection.pcrs.bits().to_le_bytes();
            writer.raw(&[first, second, third]);
        }
    }
}

impl fmt::Display for PcrSelection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.hash, self.pcrs)
    }
}
