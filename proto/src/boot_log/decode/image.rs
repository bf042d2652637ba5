//! `UEFI_IMAGE_LOAD_EVENT` (PC Client Platform Firmware Profile §10.2.3) and
//! device paths (UEFI Specification §10).

use std::fmt;

use super::{Guid, Utf16};
use crate::boot_log::{Cause, Cursor, Flaw};

/// Most nodes in a device path: a file behind a bridge, a controller, a
/// partition and a RAID set has ten.
pub const MAX_DEVICE_PATH_NODES: usize = 64;

/// An image that firmware loaded. What was measured is its Authenticode hash,
/// which is the event's digest; nothing proves what is here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ImageLoad<'a> {
    /// Where in memory.
    pub location: u64,
    /// Its length in memory, in bytes.
    pub length: u64,
    /// Where it came from.
    pub device_path: DevicePath<'a>,
}

impl<'a> ImageLoad<'a> {
    pub(crate) fn parse(bytes: &'a [u8]) -> Result<Self, Flaw> {
        let mut cursor = Cursor::new(bytes);
        let location = cursor.u64("UEFI_IMAGE_LOAD_EVENT.ImageLocationInMemory")?;
        let length = cursor.u64("UEFI_IMAGE_LOAD_EVENT.ImageLengthInMemory")?;
        cursor.u64("UEFI_IMAGE_LOAD_EVENT.ImageLinkTimeAddress")?;
        let len = cursor.size64("UEFI_IMAGE_LOAD_EVENT.LengthOfDevicePath", bytes.len())?;
        let path = cursor.take("UEFI_IMAGE_LOAD_EVENT.DevicePath", len)?;
        Ok(Self {
            location,
            length,
            device_path: DevicePath::parse(path)?,
        })
    }
}

/// A device path: nodes one after the other, never nested. May be empty.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DevicePath<'a>(&'a [u8]);

impl<'a> DevicePath<'a> {
    /// Nodes of at most [`MAX_DEVICE_PATH_NODES`]; the end node is optional, as
    /// some firmware leaves it out, and nothing may follow it.
    ///
    /// # Errors
    /// [`Flaw`] where a node's length does not fit.
    pub fn parse(bytes: &'a [u8]) -> Result<Self, Flaw> {
        let mut cursor = Cursor::new(bytes);
        let mut nodes = 0;
        while !cursor.rest().is_empty() {
            nodes += 1;
            if nodes > MAX_DEVICE_PATH_NODES {
                let (value, max) = (nodes, MAX_DEVICE_PATH_NODES);
                let cause = Cause::OverLimit { value, max };
                return Err(cursor.flaw("EFI_DEVICE_PATH", cause));
            }
            if matches!(DevicePathNode::read(&mut cursor)?, DevicePathNode::End) {
                cursor.clone().finish("EFI_DEVICE_PATH")?;
            }
        }
        Ok(Self(bytes))
    }

    /// The first path of several: up to its end node.
    pub(super) fn first(bytes: &'a [u8]) -> Result<Self, Flaw> {
        let mut cursor = Cursor::new(bytes);
        for _ in 0..=MAX_DEVICE_PATH_NODES {
            if cursor.rest().is_empty() || DevicePathNode::read(&mut cursor)? == DevicePathNode::End
            {
                break;
            }
        }
        Self::parse(bytes.get(..cursor.offset()).unwrap_or(bytes))
    }

    /// Its nodes, without the end.
    pub fn nodes(&self) -> impl Iterator<Item = DevicePathNode<'a>> + use<'a> {
        let mut cursor = Cursor::new(self.0);
        std::iter::from_fn(move || DevicePathNode::read(&mut cursor).ok())
            .filter(|node| *node != DevicePathNode::End)
    }

    /// The file at its end, if it names one.
    #[must_use]
    pub fn file(&self) -> Option<Utf16<'a>> {
        self.nodes().fold(None, |file, node| match node {
            DevicePathNode::File(name) => Some(name),
            _ => file,
        })
    }
}

impl fmt::Display for DevicePath<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (n, node) in self.nodes().enumerate() {
            let slash = if n == 0 { "" } else { "/" };
            write!(f, "{slash}{node}")?;
        }
        Ok(())
    }
}

/// A node of a device path.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DevicePathNode<'a> {
    /// PCI function.
    Pci {
        /// Device
        device: u8,
        /// Function
        function: u8,
    },
    /// Memory-mapped region: an option ROM that firmware unpacked, say.
    MemoryMapped {
        /// First address
        start: u64,
        /// Last address
        end: u64,
    },
    /// ACPI device, by compressed EISA id.
    Acpi {
        /// `_HID`
        hid: u32,
        /// `_UID`
        uid: u32,
    },
    /// Partition of a hard disk.
    Partition {
        /// Number, from 1
        number: u32,
        /// GPT partition GUID, or MBR signature
        signature: Guid,
    },
    /// File path.
    File(Utf16<'a>),
    /// File of a firmware volume.
    FirmwareFile(Guid),
    /// Firmware volume.
    FirmwareVolume(Guid),
    /// Range of an option ROM, as offsets.
    OffsetRange {
        /// First byte
        start: u64,
        /// Last byte
        end: u64,
    },
    /// Any other node.
    Other {
        /// Type
        node_type: u8,
        /// Subtype
        subtype: u8,
        /// What follows its four-byte header
        data: &'a [u8],
    },
    /// End of the path.
    End,
}

impl<'a> DevicePathNode<'a> {
    fn read(cursor: &mut Cursor<'a>) -> Result<Self, Flaw> {
        const LENGTH: &str = "EFI_DEVICE_PATH_PROTOCOL.Length";
        let node_type = cursor.u8("EFI_DEVICE_PATH_PROTOCOL.Type")?;
        let subtype = cursor.u8("EFI_DEVICE_PATH_PROTOCOL.SubType")?;
        let at = cursor.clone();
        let length = usize::from(cursor.u16(LENGTH)?);
        let Some(len) = length.checked_sub(4) else {
            let (len, expected) = (length, 4);
            return Err(at.flaw(LENGTH, Cause::WrongLength { len, expected }));
        };
        let data = cursor.take("EFI_DEVICE_PATH_PROTOCOL node", len)?;
        let other = Self::Other {
            node_type,
            subtype,
            data,
        };
        // A known node of an unknown shape is kept as it is.
        Ok(Self::decode(node_type, subtype, data).unwrap_or(other))
    }

    fn decode(node_type: u8, subtype: u8, data: &'a [u8]) -> Option<Self> {
        const FIELD: &str = "device path node";
        let mut cursor = Cursor::new(data);
        let node = match (node_type, subtype) {
            (0x7f, 0xff) => Self::End,
            (0x01, 0x01) => {
                let function = cursor.u8(FIELD).ok()?;
                let device = cursor.u8(FIELD).ok()?;
                Self::Pci { device, function }
            }
            (0x01, 0x03) => {
                cursor.u32(FIELD).ok()?; // memory type
                let start = cursor.u64(FIELD).ok()?;
                let end = cursor.u64(FIELD).ok()?;
                Self::MemoryMapped { start, end }
            }
            (0x02, 0x01) => {
                let hid = cursor.u32(FIELD).ok()?;
                let uid = cursor.u32(FIELD).ok()?;
                Self::Acpi { hid, uid }
            }
            (0x04, 0x01) => {
                let number = cursor.u32(FIELD).ok()?;
                cursor.take(FIELD, 16).ok()?; // first block and length
                let signature = Guid(cursor.array(FIELD).ok()?);
                cursor.u16(FIELD).ok()?; // format and signature type
                Self::Partition { number, signature }
            }
            (0x04, 0x04) => return Utf16::terminated(data).map(Self::File),
            (0x04, 0x06) => Self::FirmwareFile(Guid(cursor.array(FIELD).ok()?)),
            (0x04, 0x07) => Self::FirmwareVolume(Guid(cursor.array(FIELD).ok()?)),
            (0x04, 0x08) => {
                cursor.u32(FIELD).ok()?; // reserved
                let start = cursor.u64(FIELD).ok()?;
                let end = cursor.u64(FIELD).ok()?;
                Self::OffsetRange { start, end }
            }
            _ => return None,
        };
        cursor.finish(FIELD).ok()?;
        Some(node)
    }
}

impl fmt::Display for DevicePathNode<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Pci { device, function } => write!(f, "Pci({device:#x},{function:#x})"),
            Self::MemoryMapped { start, end } => write!(f, "MemoryMapped({start:#x},{end:#x})"),
            // EISA id PNP0A03: a PCI root bridge.
            Self::Acpi {
                hid: 0x0a03_41d0,
                uid,
            } => write!(f, "PciRoot({uid:#x})"),
            Self::Acpi { hid, uid } => write!(f, "Acpi({hid:#010x},{uid:#x})"),
            Self::Partition { number, signature } => write!(f, "HD({number},{signature})"),
            Self::File(name) => write!(f, "{name}"),
            Self::FirmwareFile(guid) => write!(f, "FvFile({guid})"),
            Self::FirmwareVolume(guid) => write!(f, "Fv({guid})"),
            Self::OffsetRange { start, end } => write!(f, "Offset({start:#x},{end:#x})"),
            Self::Other {
                node_type,
                subtype,
                data,
            } => write!(f, "Path({node_type},{subtype},{})", hex::encode(data)),
            Self::End => Ok(()),
        }
    }
}
