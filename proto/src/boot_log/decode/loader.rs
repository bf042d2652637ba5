//! What boot loaders log as `EV_IPL`: GRUB's commands and files, systemd-stub's
//! sections and command line, shim's MOK variables. Their digests cover the
//! thing measured; the event data is a label with, at best, the thing in it.

use super::{Label, Text, Utf16};

/// What GRUB says that a text is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum LoaderLabel {
    /// A command that it ran.
    Command,
    /// The kernel's command line, the kernel's path first.
    KernelCommandLine,
    /// The command line of a module (multiboot, Xen).
    ModuleCommandLine,
}

/// A text that GRUB measured (PCR 8).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LoaderText<'a> {
    /// What it says that the text is. No digest covers this, also where the text
    /// is proven: who can change the log can call a command a command line.
    pub claimed: LoaderLabel,
    /// The text, without the label.
    pub text: Text<'a>,
}

impl<'a> LoaderText<'a> {
    /// GRUB writes the first form, the GRUB of RHEL 8 the second.
    const PREFIXES: [(&'static [u8], LoaderLabel); 5] = [
        (b"grub_cmd: ", LoaderLabel::Command),
        (b"kernel_cmdline: ", LoaderLabel::KernelCommandLine),
        (b"module_cmdline: ", LoaderLabel::ModuleCommandLine),
        (b"grub_cmd ", LoaderLabel::Command),
        (b"grub_kernel_cmdline ", LoaderLabel::KernelCommandLine),
    ];

    /// None where a NUL stands within the text: GRUB's texts are C strings, so
    /// that it measures none with a NUL but, at most, one at its end. Whoever reads
    /// such a text up to its NUL reads another than who reads all of it.
    pub(crate) fn of(bytes: &'a [u8]) -> Option<Self> {
        let bytes = bytes.strip_suffix(b"\0").unwrap_or(bytes);
        if bytes.contains(&0) {
            return None;
        }
        Self::PREFIXES.iter().find_map(|(prefix, label)| {
            let text = Text::new(bytes.strip_prefix(*prefix)?);
            Some(Self {
                claimed: *label,
                text,
            })
        })
    }
}

/// A section of a unified kernel image (PCR 11). systemd-stub measures its name
/// and then its contents, under the same label.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct UkiSection<'a> {
    /// .linux, .initrd, .cmdline, …
    pub name: Label<'a>,
    /// Whether the measurement is of the name or of the contents.
    pub part: SectionPart,
}

/// What of a section was measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum SectionPart {
    /// Its name: the digest says so.
    Name,
    /// Anything else: by the label, its contents.
    Contents,
}

/// Longest name of a section that systemd knows, with room.
const MAX_SECTION_NAME: usize = 16;

/// The name of a UKI section, if `bytes` is one.
pub(super) fn section_name(bytes: &[u8]) -> Option<Label<'_>> {
    let label = Label::of(bytes);
    (label.chars().next() == Some('.') && label.chars().count() <= MAX_SECTION_NAME)
        .then_some(label)
}

/// A section's name as systemd-stub measures it: ASCII with its terminator.
pub(in crate::boot_log) fn measured_name(name: Label<'_>) -> String {
    name.chars().chain(['\0']).collect()
}

/// The command line as systemd-stub and systemd-boot measure and log it: UTF-16
/// with its terminator.
pub(super) fn command_line(bytes: &[u8]) -> Option<Utf16<'_>> {
    Utf16::terminated(bytes).filter(|text| !text.as_bytes().is_empty() && text.is_wide_text())
}
