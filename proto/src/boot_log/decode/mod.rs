//! What the data of an event says, by its claimed type and its PCR. Nothing
//! here knows whether it is true: see [`Fact`](super::Fact).

mod firmware;
mod gpt;
mod image;
mod loader;
mod signature_list;
mod text;
mod variable;

pub use self::firmware::{
    Action, ActionText, FirmwareBlob, FirmwareVersion, HandoffTables, NoAction, Tagged,
};
pub use self::gpt::{Gpt, Partition};
pub use self::image::{DevicePath, DevicePathNode, ImageLoad, MAX_DEVICE_PATH_NODES};
pub use self::loader::{LoaderLabel, LoaderText, SectionPart, UkiSection};
pub use self::signature_list::{Signature, SignatureKind, SignatureLists};
pub use self::text::{Guid, Label, Text, Utf16};
pub use self::variable::{Authority, AuthorityEntry, LoadOption, Variable};

pub(super) use self::loader::measured_name;

use super::{Event, EventType, Flaw};

/// How firmware ended the part of the boot that a PCR is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Separator {
    /// 00000000 or FFFFFFFF: as it should.
    Ready,
    /// 00000001: with an error, described in the event data.
    Error,
}

/// What an event says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Value<'l> {
    /// Only informs.
    NoAction(NoAction<'l>),
    /// End of the pre-boot measurements of a PCR.
    Separator(Separator),
    /// A secure boot variable: SecureBoot, PK, KEK, db, dbx (PCR 7).
    SecureBootVariable(Variable<'l>),
    /// What let an image run (PCR 7).
    Authority(Authority<'l>),
    /// Any other UEFI variable: BootOrder, Boot####.
    Variable(Variable<'l>),
    /// An image was loaded; the event's digest is the image's.
    Image(ImageLoad<'l>),
    /// The partition table.
    PartitionTable(Gpt<'l>),
    /// Firmware did something: called a loader, ended boot services.
    Action(ActionText<'l>),
    /// Version of the firmware.
    FirmwareVersion(FirmwareVersion<'l>),
    /// A piece of firmware was measured.
    FirmwareBlob(FirmwareBlob<'l>),
    /// SMBIOS or ACPI tables were measured.
    HandoffTables(HandoffTables<'l>),
    /// A text that GRUB measured (PCR 8).
    LoaderText(LoaderText<'l>),
    /// A file that GRUB read was measured (PCR 9).
    LoaderFile(Text<'l>),
    /// A section of a unified kernel image (PCR 11).
    UkiSection(UkiSection<'l>),
    /// Kernel command line, as systemd logs it (PCR 12; once PCR 8).
    CommandLine(Utf16<'l>),
    /// A MOK variable of shim was measured (PCR 14).
    Mok(Label<'l>),
    /// Tagged event.
    Tagged(Tagged<'l>),
    /// Label of something else that was measured.
    Label(Label<'l>),
    /// Data that Holdfast does not read.
    Opaque(&'l [u8]),
    /// Data that does not read as its claimed type.
    Malformed(Flaw),
}

impl<'l> Value<'l> {
    /// What `event` says. Separators are told by digest, not by type, and so
    /// are not told here.
    pub(super) fn of(event: Event<'l>) -> Self {
        let (pcr, data) = (event.pcr(), event.data());
        let value = match event.claimed_type() {
            EventType::EV_NO_ACTION => Ok(Self::NoAction(NoAction::of(data))),
            EventType::EV_EFI_VARIABLE_DRIVER_CONFIG if pcr == 7 => {
                Variable::parse(data).map(Self::SecureBootVariable)
            }
            EventType::EV_EFI_VARIABLE_AUTHORITY if pcr == 7 => {
                Authority::parse(data).map(Self::Authority)
            }
            EventType::EV_EFI_VARIABLE_DRIVER_CONFIG
            | EventType::EV_EFI_VARIABLE_AUTHORITY
            | EventType::EV_EFI_VARIABLE_BOOT
            | EventType::EV_EFI_VARIABLE_BOOT2 => Variable::parse(data).map(Self::Variable),
            EventType::EV_EFI_BOOT_SERVICES_APPLICATION
            | EventType::EV_EFI_BOOT_SERVICES_DRIVER
            | EventType::EV_EFI_RUNTIME_SERVICES_DRIVER => ImageLoad::parse(data).map(Self::Image),
            EventType::EV_EFI_GPT_EVENT | EventType::EV_EFI_GPT_EVENT2 => {
                Gpt::parse(data).map(Self::PartitionTable)
            }
            EventType::EV_EFI_ACTION | EventType::EV_ACTION => {
                Ok(Self::Action(ActionText::of(data)))
            }
            EventType::EV_S_CRTM_VERSION => Ok(Self::FirmwareVersion(FirmwareVersion::of(data))),
            EventType::EV_EFI_PLATFORM_FIRMWARE_BLOB => {
                FirmwareBlob::parse(data, false).map(Self::FirmwareBlob)
            }
            EventType::EV_EFI_PLATFORM_FIRMWARE_BLOB2 => {
                FirmwareBlob::parse(data, true).map(Self::FirmwareBlob)
            }
            EventType::EV_EFI_HANDOFF_TABLES => {
                HandoffTables::parse(data, false).map(Self::HandoffTables)
            }
            EventType::EV_EFI_HANDOFF_TABLES2 => {
                HandoffTables::parse(data, true).map(Self::HandoffTables)
            }
            EventType::EV_EVENT_TAG => Tagged::parse(data).map(Self::Tagged),
            EventType::EV_IPL => Ok(Self::of_loader(pcr, data)),
            _ => Ok(Self::Opaque(data)),
        };
        value.unwrap_or_else(Self::Malformed)
    }

    fn of_loader(pcr: u32, data: &'l [u8]) -> Self {
        let label = Label::of(data);
        let value = match pcr {
            8 => LoaderText::of(data)
                .map(Self::LoaderText)
                .or_else(|| loader::command_line(data).map(Self::CommandLine)),
            9 => Some(Self::LoaderFile(Text::new(
                data.strip_suffix(b"\0").unwrap_or(data),
            ))),
            11 => loader::section_name(data).map(|name| {
                // The digest decides which part; until then, the weaker claim.
                let part = SectionPart::Contents;
                Self::UkiSection(UkiSection { name, part })
            }),
            12 => loader::command_line(data).map(Self::CommandLine),
            14 => Some(Self::Mok(label)),
            _ => None,
        };
        value.unwrap_or(Self::Label(label))
    }
}
