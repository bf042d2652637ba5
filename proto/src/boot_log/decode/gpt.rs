//! `UEFI_GPT_DATA` (PC Client Platform Firmware Profile §10.2.5): the partition
//! table of the disk that was booted from.

use super::{Guid, Utf16};
use crate::boot_log::{Cause, Cursor, Flaw};

/// Least length of `EFI_PARTITION_ENTRY` (UEFI Specification §5.3.3).
const MIN_ENTRY: usize = 128;

/// A GUID partition table: its header's identity and its used entries.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Gpt<'a> {
    /// Disk GUID (zeros in `EV_EFI_GPT_EVENT2`, which leaves identities out).
    pub disk: Guid,
    entry_size: usize,
    entries: &'a [u8],
}

impl<'a> Gpt<'a> {
    pub(crate) fn parse(bytes: &'a [u8]) -> Result<Self, Flaw> {
        const SIZE: &str = "EFI_PARTITION_TABLE_HEADER.SizeOfPartitionEntry";
        let mut cursor = Cursor::new(bytes);
        let start = cursor.clone();
        if cursor.take("EFI_TABLE_HEADER.Signature", 8)? != b"EFI PART" {
            return Err(start.flaw("EFI_TABLE_HEADER.Signature", Cause::NotAllowed));
        }
        // Revision, header size, CRC and reserved; then four block addresses.
        cursor.take("EFI_TABLE_HEADER", 16)?;
        cursor.take("EFI_PARTITION_TABLE_HEADER block addresses", 32)?;
        let disk = Guid(cursor.array("EFI_PARTITION_TABLE_HEADER.DiskGUID")?);
        cursor.u64("EFI_PARTITION_TABLE_HEADER.PartitionEntryLBA")?;
        cursor.u32("EFI_PARTITION_TABLE_HEADER.NumberOfPartitionEntries")?;
        let at = cursor.clone();
        let entry_size = cursor.size32(SIZE, bytes.len().max(MIN_ENTRY))?;
        if entry_size < MIN_ENTRY {
            let (len, expected) = (entry_size, MIN_ENTRY);
            return Err(at.flaw(SIZE, Cause::WrongLength { len, expected }));
        }
        cursor.u32("EFI_PARTITION_TABLE_HEADER.PartitionEntryArrayCRC32")?;
        let count = cursor.size64("UEFI_GPT_DATA.NumberOfPartitions", bytes.len() / MIN_ENTRY)?;
        let entries = cursor.take("UEFI_GPT_DATA.Partitions", count.saturating_mul(entry_size))?;
        cursor.finish("UEFI_GPT_DATA")?;
        Ok(Self {
            disk,
            entry_size,
            entries,
        })
    }

    /// Its used partitions.
    pub fn partitions(&self) -> impl Iterator<Item = Partition<'a>> + use<'a> {
        const FIELD: &str = "EFI_PARTITION_ENTRY";
        self.entries
            .chunks_exact(self.entry_size)
            .filter_map(|entry| {
                let mut cursor = Cursor::new(entry);
                Some(Partition {
                    kind: Guid(cursor.array(FIELD).ok()?),
                    id: Guid(cursor.array(FIELD).ok()?),
                    first_block: cursor.u64(FIELD).ok()?,
                    last_block: cursor.u64(FIELD).ok()?,
                    attributes: cursor.u64(FIELD).ok()?,
                    name: Utf16::until_nul(cursor.take(FIELD, 72).ok()?),
                })
            })
    }
}

/// `EFI_PARTITION_ENTRY`
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Partition<'a> {
    /// Partition type.
    pub kind: Guid,
    /// The partition's own GUID.
    pub id: Guid,
    /// First logical block.
    pub first_block: u64,
    /// Last logical block, inclusive.
    pub last_block: u64,
    /// Attributes.
    pub attributes: u64,
    /// Name.
    pub name: Utf16<'a>,
}
