//! Two stories, and the words for what is in one and not in the other.

use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};

use super::{
    Change,
    story::{Entries, Item, Story, Topic, certificate_name},
};

/// Most names in one line.
const MAX_NAMES: usize = 3;

/// What became of one thing.
enum Fate<'s> {
    Gone(&'s Item),
    New(&'s Item),
    Became(&'s Item, &'s Item),
}

/// The changes from `before` to `after`, gravest first. `vouched` says whether
/// the earlier log replays to a good value of a PCR.
pub(super) fn changes(before: &Story, after: &Story, vouched: impl Fn(u32) -> bool) -> Vec<Change> {
    let fates = fates(before, after);
    let (before_unproven, after_unproven) = (before.unproven(), after.unproven());
    let command_line = fates.iter().any(|fate| fate.topic() == Topic::CommandLine);
    let mut told: BTreeMap<(Topic, String), Change> = BTreeMap::new();
    for fate in &fates {
        let topic = fate.topic();
        let text = if command_line && fate.repeats_the_command_line() {
            REPEATED.to_owned()
        } else {
            fate.words()
        };
        let change = told.entry((topic, text.clone())).or_insert_with(|| Change {
            text,
            pcrs: BTreeSet::new(),
            proven: true,
        });
        let pcr = fate.pcr();
        change.pcrs.insert(pcr);
        // What one log has and the other has not may be there under a changed
        // type, unless all that the other tells of the PCR is proven.
        let is_missing = match fate {
            Fate::Gone(_) => !after_unproven.contains(&pcr),
            Fate::New(_) => !before_unproven.contains(&pcr),
            Fate::Became(..) => true,
        };
        change.proven &= fate.proven() && is_missing && vouched(pcr);
    }
    told.into_values().collect()
}

/// What GRUB's `linux` and `initrd` commands add to the command line: nothing.
const REPEATED: &str =
    "boot loader commands changed with the kernel, its command line or its initrd";

impl Fate<'_> {
    fn one(&self) -> &Item {
        match self {
            Self::Gone(item) | Self::New(item) | Self::Became(_, item) => item,
        }
    }

    fn topic(&self) -> Topic {
        self.one().topic
    }

    fn pcr(&self) -> u32 {
        self.one().pcr
    }

    fn proven(&self) -> bool {
        match self {
            Self::Gone(item) | Self::New(item) => item.proven,
            Self::Became(old, new) => old.proven && new.proven,
        }
    }

    fn repeats_the_command_line(&self) -> bool {
        let item = self.one();
        item.topic == Topic::LoaderCommand
            && matches!(
                item.key.split(' ').next(),
                Some("linux" | "linuxefi" | "linux16" | "initrd" | "initrdefi" | "initrd16")
            )
    }

    fn words(&self) -> String {
        match self {
            Self::Gone(item) => format!("{} is gone", item.name()),
            Self::New(item) => format!("{} is new", item.name()),
            Self::Became(old, new) => became(old, new),
        }
    }
}

impl Item {
    /// What it is, as a subject of a sentence.
    fn name(&self) -> String {
        let Self { key, shown, .. } = self;
        match self.topic {
            Topic::SecureBoot => "the Secure Boot variable".to_owned(),
            Topic::Signatures => key.clone(),
            Topic::FirmwareVersion => format!("firmware version {shown:?}"),
            Topic::FirmwareCode => format!("firmware code at {key}"),
            Topic::Kernel => format!("kernel {shown}"),
            Topic::Initrd => format!("initrd {shown}"),
            Topic::CommandLine => format!("kernel command line \"{shown}\""),
            Topic::Image => format!("boot image {key}"),
            Topic::Authority if shown.is_empty() => format!("authority {key}"),
            Topic::Authority => format!("authority {key}: {shown}"),
            Topic::Mok => format!("shim's {key}"),
            Topic::LoaderFile => format!("file {key}"),
            Topic::LoaderCommand => format!("boot loader command \"{key}\""),
            Topic::UkiSection => format!("kernel image section {key}"),
            Topic::Action => format!("firmware's note \"{key}\""),
            Topic::PartitionTable => format!("partition table of disk {shown}"),
            Topic::BootVariable => format!("boot variable {key}"),
            Topic::Tables if key.is_empty() => "a table of the platform (SMBIOS, ACPI)".to_owned(),
            Topic::Tables => format!("platform table {key}"),
            Topic::LoadOptions => format!("the kernel's own measurement of its {key}"),
            Topic::Other => format!("something that the log labels {key}"),
        }
    }
}

fn became(old: &Item, new: &Item) -> String {
    match new.topic {
        Topic::SecureBoot => format!("Secure Boot was switched {}", new.shown),
        Topic::Signatures => match (&old.entries, &new.entries) {
            (Some(old), Some(entries)) => signatures(&new.key, old, entries),
            _ => format!("{} changed", new.key),
        },
        Topic::FirmwareVersion => {
            format!(
                "firmware version changed from {} to {}",
                old.shown, new.shown
            )
        }
        Topic::Kernel | Topic::Initrd => {
            let what = if new.topic == Topic::Kernel {
                "kernel"
            } else {
                "initrd"
            };
            if old.shown == new.shown {
                format!("{what} {} has other content under the same name", new.shown)
            } else {
                format!("{what} changed from {} to {}", old.shown, new.shown)
            }
        }
        Topic::CommandLine => {
            format!(
                "kernel command line: \"{}\" became \"{}\"",
                old.shown, new.shown
            )
        }
        Topic::Image | Topic::LoaderFile if old.key == new.key => {
            format!("{} has other content under the same name", new.name())
        }
        Topic::Image | Topic::LoaderFile | Topic::LoaderCommand => {
            format!("{} became {}", old.name(), new.name())
        }
        Topic::Authority if old.shown != new.shown => {
            format!("authority {}: {} became {}", new.key, old.shown, new.shown)
        }
        _ => format!("{} changed", new.name()),
    }
}

/// "dbx grew by 3 entries (371 → 374)".
fn signatures(name: &str, old: &Entries, new: &Entries) -> String {
    let added: Vec<_> = new.difference(old).collect();
    let removed: Vec<_> = old.difference(new).collect();
    let count = |n: usize| match n {
        1 => "1 entry".to_owned(),
        n => format!("{n} entries"),
    };
    let names = |entries: &[&(&'static str, Vec<u8>)]| {
        let mut names: Vec<String> = entries
            .iter()
            .filter(|(kind, _)| *kind == "certificate")
            .take(MAX_NAMES)
            .map(|(_, der)| certificate_name(der))
            .collect();
        if names.is_empty() {
            return String::new();
        }
        if entries.len() > names.len() {
            names.push("…".to_owned());
        }
        format!(": {}", names.join("; "))
    };
    let sizes = format!("({} → {})", old.len(), new.len());
    match (added.len(), removed.len()) {
        (0, 0) => format!("{name} has the same entries in another order or with other owners"),
        (n, 0) => format!("{name} grew by {} {sizes}{}", count(n), names(&added)),
        (0, n) => format!("{name} lost {} {sizes}{}", count(n), names(&removed)),
        (new, gone) => format!(
            "{name} changed: {} added{}, {} removed{} {sizes}",
            count(new),
            names(&added),
            count(gone),
            names(&removed)
        ),
    }
}

/// Pairs what is in one story and not in the other: by what it is first, then
/// by what it is like. Linear but for sorting: a log may have many events.
fn fates<'s>(before: &'s Story, after: &'s Story) -> Vec<Fate<'s>> {
    let (gone, new) = differing(before, after);
    let same = |item: &Item| (item.pcr, item.topic, item.key.clone());
    let (mut fates, gone, new) = pair(&gone, &new, same);
    let alike = |item: &Item| (item.pcr, item.topic, stem(item));
    let (more, gone, new) = pair(&gone, &new, alike);
    fates.extend(more);
    fates.extend(gone.into_iter().map(Fate::Gone));
    fates.extend(new.into_iter().map(Fate::New));
    fates
}

/// What it is like: its name without what a version changes in it.
fn stem(item: &Item) -> String {
    match item.topic {
        Topic::Kernel | Topic::Initrd => String::new(),
        Topic::LoaderCommand => item.key.split(' ').next().unwrap_or_default().to_owned(),
        Topic::Image | Topic::LoaderFile => {
            item.shown.chars().filter(|c| !c.is_ascii_digit()).collect()
        }
        _ => item.key.clone(),
    }
}

/// What each has that the other has not, equal things counted.
fn differing<'s>(before: &'s Story, after: &'s Story) -> (Vec<&'s Item>, Vec<&'s Item>) {
    (without(before, after), without(after, before))
}

fn without<'s>(story: &'s Story, other: &Story) -> Vec<&'s Item> {
    fn whole(item: &Item) -> (u32, Topic, &str, &[u8]) {
        (item.pcr, item.topic, &item.key, &item.digest)
    }
    let mut counts: HashMap<_, usize> = HashMap::new();
    for item in &other.0 {
        *counts.entry(whole(item)).or_default() += 1;
    }
    let mut left = Vec::new();
    for item in &story.0 {
        match counts.get_mut(&whole(item)) {
            Some(count) if *count > 0 => *count -= 1,
            _ => left.push(item),
        }
    }
    left
}

type Paired<'s> = (Vec<Fate<'s>>, Vec<&'s Item>, Vec<&'s Item>);

/// Pairs in order those of an equal key.
fn pair<'s, K: std::hash::Hash + Eq>(
    gone: &[&'s Item],
    new: &[&'s Item],
    key: impl Fn(&Item) -> K,
) -> Paired<'s> {
    let mut waiting: HashMap<K, VecDeque<usize>> = HashMap::new();
    for (place, item) in gone.iter().enumerate() {
        waiting.entry(key(item)).or_default().push_back(place);
    }
    let mut fates = Vec::new();
    let mut still_gone: Vec<Option<&Item>> = gone.iter().copied().map(Some).collect();
    let mut still_new = Vec::new();
    for item in new.iter().copied() {
        let place = waiting.get_mut(&key(item)).and_then(VecDeque::pop_front);
        match place.and_then(|place| still_gone.get_mut(place)?.take()) {
            Some(old) => fates.push(Fate::Became(old, item)),
            None => still_new.push(item),
        }
    }
    (fates, still_gone.into_iter().flatten().collect(), still_new)
}
