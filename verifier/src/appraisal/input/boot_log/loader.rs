//! `input.boot_log.loader`: what the boot loader was told and what it read
//! (PCR 8, 9, 11 to 14).

use holdfast_proto::boot_log::{
    Event, Fact,
    decode::{LoaderLabel, SectionPart, Tagged, Value},
};
use serde::Serialize;

use super::{Digest, Knowing, words};

/// PCRs into which GRUB and systemd-stub measure texts.
const TEXT_PCRS: [u32; 2] = [8, 12];

#[derive(Default, Serialize)]
pub(super) struct Loader {
    texts: Vec<Text>,
    /// Events of PCR 8 and 12 that give no text that their digest covers.
    unread: Vec<Unread>,
    files: Vec<File>,
    /// What systemd-stub measured (PCR 11 to 13), command lines aside.
    uki: Vec<Section>,
    mok: Vec<Mok>,
}

/// A command of GRUB or a command line of the kernel.
#[derive(Serialize)]
struct Text {
    event: usize,
    pcr: u32,
    /// `command`, `kernel-command-line`, `module-command-line` or
    /// `command-line`. No digest covers it.
    claimed_label: &'static str,
    text: String,
    words: Vec<String>,
    known_by: &'static str,
}

#[derive(Serialize)]
struct Unread {
    event: usize,
    pcr: u32,
    claimed_type: String,
    #[serde(flatten)]
    measured: Option<Digest>,
}

/// A file that was read. Its name is the loader's word.
#[derive(Serialize)]
struct File {
    event: usize,
    pcr: u32,
    /// `file`, or of the Linux EFI stub `initrd` or `load-options`.
    kind: &'static str,
    name: String,
    known_by: &'static str,
    #[serde(flatten)]
    measured: Option<Digest>,
}

#[derive(Serialize)]
struct Section {
    event: usize,
    pcr: u32,
    /// `section-name`, `section-contents` or `other`.
    kind: &'static str,
    name: String,
    known_by: &'static str,
    #[serde(flatten)]
    measured: Option<Digest>,
}

/// A variable of shim (PCR 14).
#[derive(Serialize)]
struct Mok {
    event: usize,
    variable: String,
    known_by: &'static str,
    #[serde(flatten)]
    measured: Option<Digest>,
}

impl Loader {
    pub(super) fn add(&mut self, fact: &Fact<'_>, knowing: &Knowing<'_>) {
        let event = &fact.event;
        let is_text = self.add_text(fact, knowing);
        // Asked of the digest alone, so that what is unread does not depend on
        // the quote.
        let read = is_text && fact.proven;
        if !read && TEXT_PCRS.contains(&event.pcr()) && event.is_extended() {
            self.unread.push(Unread {
                event: event.index(),
                pcr: event.pcr(),
                claimed_type: event.claimed_type().to_string(),
                measured: knowing.digest(event),
            });
        }
        let (known_by, measured) = (knowing.of(fact), knowing.digest(event));
        let (index, pcr) = (event.index(), event.pcr());
        if let Some((kind, name)) = file(event, &fact.value) {
            self.files.push(File {
                event: index,
                pcr,
                kind,
                name,
                known_by,
                measured,
            });
        } else if let Value::Mok(label) = &fact.value {
            self.mok.push(Mok {
                event: index,
                variable: label.to_string(),
                known_by,
                measured,
            });
        } else if let Some((kind, name)) = section(event, &fact.value) {
            self.uki.push(Section {
                event: index,
                pcr,
                kind,
                name,
                known_by,
                measured,
            });
        }
    }

    fn add_text(&mut self, fact: &Fact<'_>, knowing: &Knowing<'_>) -> bool {
        let (claimed_label, text, words) = match &fact.value {
            Value::LoaderText(loader) => {
                let label = match loader.claimed {
                    LoaderLabel::Command => "command",
                    LoaderLabel::KernelCommandLine => "kernel-command-line",
                    LoaderLabel::ModuleCommandLine => "module-command-line",
                };
                let words = words::of(loader.text.as_bytes());
                (label, loader.text.to_string(), words)
            }
            Value::CommandLine(line) => {
                let utf8: String = line.chars().collect();
                ("command-line", line.to_string(), words::of(utf8.as_bytes()))
            }
            _ => return false,
        };
        self.texts.push(Text {
            event: fact.event.index(),
            pcr: fact.event.pcr(),
            claimed_label,
            text,
            words,
            known_by: knowing.of(fact),
        });
        true
    }
}

fn file(event: &Event<'_>, value: &Value<'_>) -> Option<(&'static str, String)> {
    match value {
        Value::LoaderFile(name) => Some(("file", name.to_string())),
        Value::Tagged(tagged) if event.pcr() == 9 => {
            let kind = match tagged.id {
                Tagged::LINUX_INITRD => "initrd",
                Tagged::LINUX_LOAD_OPTIONS => "load-options",
                _ => return None,
            };
            let name = String::from_utf8_lossy(tagged.data);
            Some((kind, name.trim_end_matches('\0').escape_debug().to_string()))
        }
        _ => None,
    }
}

fn section(event: &Event<'_>, value: &Value<'_>) -> Option<(&'static str, String)> {
    match value {
        Value::UkiSection(section) => {
            let kind = match section.part {
                SectionPart::Name => "section-name",
                SectionPart::Contents => "section-contents",
            };
            Some((kind, section.name.to_string()))
        }
        Value::Label(label) if matches!(event.pcr(), 11..=13) => Some(("other", label.to_string())),
        _ => None,
    }
}
