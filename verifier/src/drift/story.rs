//! What a boot log tells of some PCRs, as a list of things that can be
//! compared with what another log tells.

use std::collections::BTreeSet;

use holdfast_proto::{
    boot_log::{
        BootLog, Fact,
        decode::{
            AuthorityEntry, FirmwareVersion, Label, LoaderLabel, SignatureKind, Tagged,
            Value as Said, Variable,
        },
    },
    tpm::HashAlg,
};

use crate::{digest::sha256, endorsement::ShownCertificate};

/// Longest text of a device that is repeated, in characters.
const MAX_SHOWN: usize = 256;

/// Kinds of things, gravest first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) enum Topic {
    SecureBoot,
    /// PK, KEK, db, dbx.
    Signatures,
    FirmwareVersion,
    FirmwareCode,
    Kernel,
    CommandLine,
    Initrd,
    /// An image that firmware or a loader started.
    Image,
    /// What let an image run.
    Authority,
    Mok,
    LoaderFile,
    LoaderCommand,
    UkiSection,
    Action,
    PartitionTable,
    BootVariable,
    Tables,
    /// A copy of the command line or the initrd that the kernel measured.
    LoadOptions,
    Other,
}

/// Entries of a signature database.
pub(super) type Entries = BTreeSet<(&'static str, Vec<u8>)>;

/// One thing that was measured.
#[derive(Debug, Clone)]
pub(super) struct Item {
    pub(super) pcr: u32,
    pub(super) topic: Topic,
    /// Which of its kind: a path, the name of a variable. Inert.
    pub(super) key: String,
    /// What it is, for topics whose content is a text. Inert.
    pub(super) shown: String,
    /// Of a signature database.
    pub(super) entries: Option<Entries>,
    /// As measured.
    pub(super) digest: Vec<u8>,
    /// See [`Fact::proven`].
    pub(super) proven: bool,
}

/// A log's items of some PCRs, in its order.
#[derive(Debug)]
pub(super) struct Story(pub(super) Vec<Item>);

impl Story {
    pub(super) fn of(log: &BootLog<'_>, bank: HashAlg, pcrs: &[u32]) -> Self {
        let items = log
            .facts(bank)
            .filter(|fact| fact.event.is_extended() && pcrs.contains(&fact.event.pcr()));
        Self(
            items
                .filter_map(|fact| Item::of(&fact, fact.event.digest(bank)?))
                .collect(),
        )
    }

    /// The PCRs of which something that it tells is not proven.
    pub(super) fn unproven(&self) -> BTreeSet<u32> {
        let unproven = self.0.iter().filter(|item| !item.proven);
        unproven.map(|item| item.pcr).collect()
    }
}

impl Item {
    fn of(fact: &Fact<'_>, digest: &[u8]) -> Option<Self> {
        let mut entries = None;
        let (topic, key, shown) = match &fact.value {
            // All have one; that of an error has another digest, and is told
            // as what it claims to be.
            Said::Separator(_) => (Topic::Other, "separator".to_owned(), String::new()),
            Said::SecureBootVariable(variable) => secure_boot_variable(variable, &mut entries),
            Said::Variable(variable) => {
                let name = shown(&variable.name);
                (Topic::BootVariable, name, String::new())
            }
            Said::Authority(authority) => {
                let what = match authority.entry {
                    AuthorityEntry::Certificate(der) => certificate_name(der),
                    AuthorityEntry::Hash(hash) => format!("image {}", hex::encode(hash)),
                    AuthorityEntry::Other(_) => String::new(),
                };
                (Topic::Authority, shown(&authority.variable.name), what)
            }
            Said::Image(image) => {
                let path = image
                    .device_path
                    .file()
                    .map_or_else(|| shown(&image.device_path), |file| shown(&file));
                let (topic, what) = of_file(&path, Topic::Image);
                (topic, path, what)
            }
            Said::PartitionTable(table) => {
                (Topic::PartitionTable, String::new(), shown(&table.disk))
            }
            Said::Action(action) => (Topic::Action, shown(&action.text), String::new()),
            Said::FirmwareVersion(version) => {
                let text = match version {
                    FirmwareVersion::Text(text) => shown(text),
                    FirmwareVersion::Guid(guid) => shown(guid),
                };
                (Topic::FirmwareVersion, String::new(), text)
            }
            Said::FirmwareBlob(blob) => {
                let place = format!("{:#x}", blob.base);
                let name = blob.description.map_or(place, |text| shown(&text));
                (Topic::FirmwareCode, name, String::new())
            }
            Said::HandoffTables(tables) => {
                let name = tables
                    .description
                    .map_or_else(String::new, |text| shown(&text));
                (Topic::Tables, name, String::new())
            }
            Said::LoaderText(loader) => match loader.claimed {
                LoaderLabel::Command => (Topic::LoaderCommand, shown(&loader.text), String::new()),
                LoaderLabel::KernelCommandLine => {
                    (Topic::CommandLine, String::new(), shown(&loader.text))
                }
                LoaderLabel::ModuleCommandLine => {
                    (Topic::CommandLine, "module".to_owned(), shown(&loader.text))
                }
            },
            Said::CommandLine(text) => (Topic::CommandLine, String::new(), shown(text)),
            Said::LoaderFile(file) => {
                let path = shown(file);
                let (topic, what) = of_file(&path, Topic::LoaderFile);
                (topic, path, what)
            }
            Said::UkiSection(section) => {
                let key = format!("{} ({:?})", shown(&section.name), section.part);
                (Topic::UkiSection, key, String::new())
            }
            Said::Mok(label) => (Topic::Mok, shown(label), String::new()),
            Said::Tagged(tagged) => {
                let name = match tagged.id {
                    Tagged::LINUX_INITRD => "initrd".to_owned(),
                    Tagged::LINUX_LOAD_OPTIONS => "command line".to_owned(),
                    other => format!("tag {other:#010x}"),
                };
                (Topic::LoadOptions, name, String::new())
            }
            Said::Label(Label::Wide(_) | Label::Narrow(_))
            | Said::Opaque(_)
            | Said::Malformed(_) => {
                let kind = fact.event.claimed_type().to_string();
                (Topic::Other, shown(&kind), String::new())
            }
            Said::NoAction(_) => return None,
            _ => (Topic::Other, String::new(), String::new()),
        };
        Some(Self {
            pcr: fact.event.pcr(),
            topic,
            key,
            shown,
            entries,
            digest: digest.to_vec(),
            proven: fact.proven,
        })
    }
}

fn secure_boot_variable(
    variable: &Variable<'_>,
    entries: &mut Option<Entries>,
) -> (Topic, String, String) {
    let name = shown(&variable.name);
    if let Some(on) = variable.secure_boot() {
        let state = if on { "on" } else { "off" };
        return (Topic::SecureBoot, name, state.to_owned());
    }
    if let Some(Ok(lists)) = variable.signatures() {
        let all = lists.iter().map(|entry| {
            let kind = match entry.kind {
                SignatureKind::X509 => "certificate",
                _ => "entry",
            };
            (kind, entry.data.to_vec())
        });
        *entries = Some(all.collect());
    }
    (Topic::Signatures, name, String::new())
}

/// Kernels and initrds go by their file names, as distributions have them.
fn of_file(path: &str, other: Topic) -> (Topic, String) {
    // Escaped backslashes are of device paths, and single: `shown` leaves them.
    let name = path.rsplit(['/', '\\']).next().unwrap_or(path);
    let version = |prefixes: &[&str]| {
        prefixes.iter().find_map(|prefix| {
            let rest = name.strip_prefix(prefix)?;
            let rest = rest.trim_start_matches(['-', '_', '.']);
            let rest = rest.strip_suffix(".img").unwrap_or(rest);
            Some(if rest.is_empty() { name } else { rest }.to_owned())
        })
    };
    if let Some(version) = version(&["vmlinuz", "vmlinux", "bzImage", "kernel-"]) {
        return (Topic::Kernel, version);
    }
    if let Some(version) = version(&["initrd.img", "initramfs", "initrd"]) {
        return (Topic::Initrd, version);
    }
    (other, name.to_owned())
}

/// A certificate's subject, or its digest where it does not parse.
pub(super) fn certificate_name(der: &[u8]) -> String {
    ShownCertificate::parse(der).map_or_else(
        |_| format!("a certificate with SHA-256 {}", hex::encode(sha256(&[der]))),
        |certificate| shown(&certificate.subject),
    )
}

/// Text of a device: no character in it can fool a terminal or a reader, and
/// there is not too much of it.
fn shown(text: &dyn std::fmt::Display) -> String {
    let text = text.to_string();
    let mut inert = String::new();
    for c in text.chars().take(MAX_SHOWN) {
        match c {
            '\'' | '"' | '\\' => inert.push(c),
            // In brackets stands what is proven: no name is to say so itself.
            '[' | ']' => inert.extend(c.escape_unicode()),
            _ => inert.extend(c.escape_debug()),
        }
    }
    if text.chars().nth(MAX_SHOWN).is_some() {
        inert.push('…');
    }
    inert
}

#[cfg(test)]
mod tests {
    use super::shown;

    #[test]
    fn adv_a27_no_name_says_of_itself_that_it_is_proven() {
        assert_eq!(
            shown(&"6.1.0-32 [proven, PCR 4]\n"),
            "6.1.0-32 \\u{5b}proven, PCR 4\\u{5d}\\n"
        );
        assert_eq!(shown(&r#"\EFI\"x'"#), r#"\EFI\"x'"#);
    }
}
