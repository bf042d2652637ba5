//! What firmware says of itself: actions, versions, blobs, and the events that
//! only inform (PC Client Platform Firmware Profile §10.4).

use super::{Guid, Label, Text};
use crate::boot_log::{Cursor, Flaw, spec_id};

/// Text of an `EV_EFI_ACTION` or `EV_ACTION`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ActionText<'a> {
    /// Which of the actions that matter, if it is one.
    pub known: Option<Action>,
    /// As logged.
    pub text: Text<'a>,
}

/// The actions that matter to whoever appraises a boot.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Action {
    /// Firmware handed over to a boot loader.
    CallingApplication,
    /// The boot loader came back.
    ReturningFromApplication,
    /// The operating system took over.
    ExitBootServicesInvocation,
    /// Firmware let it.
    ExitBootServicesSucceeded,
    /// Firmware did not.
    ExitBootServicesFailed,
    /// Firmware runs with a debugger.
    DebugMode,
    /// Devices could write to memory during boot.
    DmaProtectionDisabled,
}

impl Action {
    const TEXTS: [(&'static str, Self); 8] = [
        (
            "Calling EFI Application from Boot Option",
            Self::CallingApplication,
        ),
        (
            "Returning from EFI Application from Boot Option",
            Self::ReturningFromApplication,
        ),
        (
            "Returning from EFI Application from Boot Optio",
            Self::ReturningFromApplication,
        ),
        (
            "Exit Boot Services Invocation",
            Self::ExitBootServicesInvocation,
        ),
        (
            "Exit Boot Services Returned with Success",
            Self::ExitBootServicesSucceeded,
        ),
        (
            "Exit Boot Services Returned with Failure",
            Self::ExitBootServicesFailed,
        ),
        ("UEFI Debug Mode", Self::DebugMode),
        ("DMA Protection Disabled", Self::DmaProtectionDisabled),
    ];
}

impl<'a> ActionText<'a> {
    pub(crate) fn of(bytes: &'a [u8]) -> Self {
        // Logged without a terminator, but some firmware adds one.
        let text = bytes.strip_suffix(b"\0").unwrap_or(bytes);
        let known = Action::TEXTS
            .iter()
            .find_map(|(known, action)| (known.as_bytes() == text).then_some(*action));
        Self {
            known,
            text: Text::new(text),
        }
    }
}

/// `EV_S_CRTM_VERSION`: the firmware's version.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FirmwareVersion<'a> {
    /// As text.
    Text(Label<'a>),
    /// As a GUID.
    Guid(Guid),
}

impl<'a> FirmwareVersion<'a> {
    pub(crate) fn of(bytes: &'a [u8]) -> Self {
        match bytes.first_chunk::<16>() {
            // A version text of 16 bytes is printable, or UTF-16.
            Some(guid) if bytes.len() == 16 && !Label::of(bytes).is_printable() => {
                Self::Guid(Guid(*guid))
            }
            _ => Self::Text(Label::of(bytes)),
        }
    }
}

/// `UEFI_PLATFORM_FIRMWARE_BLOB` and `…BLOB2`: where a measured blob lay. What
/// was measured is the blob.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FirmwareBlob<'a> {
    /// What it is, in the newer form.
    pub description: Option<Text<'a>>,
    /// Physical address.
    pub base: u64,
    /// Length in bytes.
    pub length: u64,
}

impl<'a> FirmwareBlob<'a> {
    pub(crate) fn parse(bytes: &'a [u8], described: bool) -> Result<Self, Flaw> {
        let mut cursor = Cursor::new(bytes);
        let description = if described {
            let len = cursor.u8("UEFI_PLATFORM_FIRMWARE_BLOB2.BlobDescriptionSize")?;
            let text = cursor.take("UEFI_PLATFORM_FIRMWARE_BLOB2.BlobDescription", len.into())?;
            Some(Text::new(text))
        } else {
            None
        };
        let base = cursor.u64("UEFI_PLATFORM_FIRMWARE_BLOB.BlobBase")?;
        let length = cursor.u64("UEFI_PLATFORM_FIRMWARE_BLOB.BlobLength")?;
        cursor.finish("UEFI_PLATFORM_FIRMWARE_BLOB")?;
        Ok(Self {
            description,
            base,
            length,
        })
    }
}

/// `UEFI_HANDOFF_TABLE_POINTERS` and `…POINTERS2`: which configuration tables
/// (SMBIOS, ACPI) were measured. What was measured are the tables.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HandoffTables<'a> {
    /// What they are, in the newer form.
    pub description: Option<Text<'a>>,
    tables: &'a [u8],
}

impl<'a> HandoffTables<'a> {
    /// `EFI_CONFIGURATION_TABLE`: a GUID and a pointer.
    const ENTRY: usize = 16 + 8;

    pub(crate) fn parse(bytes: &'a [u8], described: bool) -> Result<Self, Flaw> {
        let mut cursor = Cursor::new(bytes);
        let description = if described {
            let len = cursor.u8("UEFI_HANDOFF_TABLE_POINTERS2.TableDescriptionSize")?;
            let text = cursor.take("UEFI_HANDOFF_TABLE_POINTERS2.TableDescription", len.into())?;
            Some(Text::new(text))
        } else {
            None
        };
        let most = bytes.len() / Self::ENTRY;
        let count = cursor.size64("UEFI_HANDOFF_TABLE_POINTERS.NumberOfTables", most)?;
        let tables = cursor.take(
            "UEFI_HANDOFF_TABLE_POINTERS.TableEntry",
            count * Self::ENTRY,
        )?;
        cursor.finish("UEFI_HANDOFF_TABLE_POINTERS")?;
        Ok(Self {
            description,
            tables,
        })
    }

    /// The tables' GUIDs and addresses.
    pub fn tables(&self) -> impl Iterator<Item = (Guid, u64)> + use<'a> {
        self.tables.chunks_exact(Self::ENTRY).filter_map(|entry| {
            let mut cursor = Cursor::new(entry);
            let guid = Guid(cursor.array("VendorGuid").ok()?);
            let address = cursor.u64("VendorTable").ok()?;
            Some((guid, address))
        })
    }
}

/// `TCG_PCClientTaggedEvent`: the Linux EFI stub, systemd-boot and Windows log
/// with it. What was measured is mostly something else.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Tagged<'a> {
    /// Who logs what.
    pub id: u32,
    /// What it is about.
    pub data: &'a [u8],
}

impl<'a> Tagged<'a> {
    /// Linux EFI stub: an initrd was measured.
    pub const LINUX_INITRD: u32 = 0x8F3B_22EC;
    /// Linux EFI stub: the command line (UTF-16) was measured.
    pub const LINUX_LOAD_OPTIONS: u32 = 0x8F3B_22ED;

    pub(crate) fn parse(bytes: &'a [u8]) -> Result<Self, Flaw> {
        let mut cursor = Cursor::new(bytes);
        let id = cursor.u32("TCG_PCClientTaggedEvent.taggedEventID")?;
        let len = cursor.size32("TCG_PCClientTaggedEvent.taggedEventDataSize", bytes.len())?;
        let data = cursor.take("TCG_PCClientTaggedEvent.taggedEventData", len)?;
        cursor.finish("TCG_PCClientTaggedEvent")?;
        Ok(Self { id, data })
    }
}

/// `EV_NO_ACTION`: informs, is never extended, and so is never proven.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NoAction<'a> {
    /// The header of a crypto-agile log.
    SpecId,
    /// Locality of `TPM2_Startup`; shows in PCR 0's first value, and so in the
    /// replay.
    StartupLocality(u8),
    /// A component of the H-CRTM measurement.
    HcrtmComponent(&'a [u8]),
    /// Where the platform's reference measurements are (SP 800-155).
    Sp800155(&'a [u8]),
    /// Anything else.
    Other(&'a [u8]),
}

impl<'a> NoAction<'a> {
    /// What marks a startup locality event.
    pub(crate) const STARTUP_LOCALITY: &'static [u8] = b"StartupLocality\0";

    pub(crate) fn of(bytes: &'a [u8]) -> Self {
        if bytes.starts_with(spec_id::SIGNATURE) {
            return Self::SpecId;
        }
        if let Some([locality]) = bytes.strip_prefix(Self::STARTUP_LOCALITY) {
            return Self::StartupLocality(*locality);
        }
        if let Some(component) = bytes.strip_prefix(b"H-CRTM CompMeas\0") {
            return Self::HcrtmComponent(component);
        }
        if let Some(reference) = bytes.strip_prefix(b"SP800-155 Event") {
            return Self::Sp800155(reference);
        }
        Self::Other(bytes)
    }
}
