//! A boot log in the policy's input: what is proven, and what no forged log
//! makes proven (A12, C17, C18, C20, C40).

use std::sync::Arc;

use holdfast_proto::boot_log::BootLog;
use proptest::prelude::*;
use serde_json::Value;

use super::*;
use crate::{appraisal::facts::LoggedBoot, verification::ReadBootLog};

/// What the simulated gateway's image logs (`integration/tests/evidence/golden_log.rs`
/// makes it).
pub(super) const GOLDEN: &[u8] = include_bytes!("data/golden.log");
const BANK: HashAlg = HashAlg::Sha256;

/// One event, to be changed.
#[derive(Clone, Debug)]
pub(super) struct Draft {
    pub(super) pcr: u32,
    pub(super) event_type: u32,
    pub(super) sha256: Vec<u8>,
    pub(super) data: Vec<u8>,
}

/// The golden log's events, without its header.
pub(super) fn golden() -> Vec<Draft> {
    let log = BootLog::parse(GOLDEN).unwrap();
    log.events()
        .skip(1)
        .map(|event| Draft {
            pcr: event.pcr(),
            event_type: event.claimed_type().0,
            sha256: event.digest(BANK).unwrap().to_vec(),
            data: event.data().to_vec(),
        })
        .collect()
}

/// A log of these events, behind the golden log's header.
pub(super) fn encode(events: &[Draft]) -> Vec<u8> {
    let log = BootLog::parse(GOLDEN).unwrap();
    let mut bytes = GOLDEN[..log.event(1).unwrap().offset()].to_vec();
    for event in events {
        bytes.extend(event.pcr.to_le_bytes());
        bytes.extend(event.event_type.to_le_bytes());
        bytes.extend(1u32.to_le_bytes());
        bytes.extend(BANK.id().to_le_bytes());
        bytes.extend(&event.sha256);
        bytes.extend(u32::try_from(event.data.len()).unwrap().to_le_bytes());
        bytes.extend(&event.data);
    }
    bytes
}

/// Facts of a gateway that booted as `booted` says and sends `sent` as its
/// log, with these PCRs quoted.
pub(super) fn facts_of(booted: &[u8], sent: &[u8], quoted: &[u32]) -> Facts {
    let replay = BootLog::parse(booted).unwrap().replay(BANK);
    let mut facts = facts();
    facts.pcrs = quoted
        .iter()
        .map(|index| (*index, replay.value(*index).unwrap().as_bytes().to_vec()))
        .collect();
    let log = Arc::new(ReadBootLog::parse(sent.to_vec(), BANK).unwrap());
    let values = facts
        .pcrs
        .iter()
        .map(|(index, value)| (*index, value.as_slice()));
    facts.boot_log_sha256 = Some(*log.sha256());
    facts.boot_log = Some(LoggedBoot {
        relations: log.relations(values),
        log,
    });
    facts
}

/// `input.boot_log` of those facts.
pub(super) fn tree(facts: &Facts) -> Value {
    let input: Value =
        serde_json::from_str(&super::super::input::text(facts, None, Branches::ALL)).unwrap();
    input["boot_log"].clone()
}

fn golden_tree(quoted: &[u32]) -> Value {
    tree(&facts_of(GOLDEN, GOLDEN, quoted))
}

/// Every object in `value` that says `proven` of anything, as text.
fn proven(value: &Value) -> Vec<String> {
    let mut found = Vec::new();
    let mut todo = vec![value];
    while let Some(value) = todo.pop() {
        match value {
            Value::Object(map) => {
                if map.get("known_by").is_some_and(|known| known == "proven") {
                    found.push(value.to_string());
                }
                todo.extend(map.values());
            }
            Value::Array(items) => todo.extend(items),
            _ => {}
        }
    }
    found
}

fn index_of(events: &[Draft], what: impl Fn(&Draft) -> bool) -> usize {
    events.iter().position(what).unwrap()
}

#[test]
fn a_good_boot_is_told_with_what_is_proven() {
    let tree = golden_tree(&SELECTION);
    assert_eq!(tree["known_by"], "replayed");
    assert_eq!(tree["format"], "crypto-agile");
    assert_eq!(
        tree["sha256"],
        hex::encode(crate::digest::sha256(&[GOLDEN]))
    );
    assert_eq!(tree["explained"], serde_json::json!(SELECTION));
    for none in ["mismatched", "untold", "empty", "outside"] {
        assert_eq!(tree[none], serde_json::json!([]), "{none}");
    }
    let secure_boot = &tree["secure_boot"];
    assert_eq!(secure_boot["enabled"], true);
    assert_eq!(secure_boot["known_by"], "proven");
    for (name, entries, certificates) in [("PK", 1, 1), ("KEK", 1, 1), ("db", 1, 1), ("dbx", 3, 0)]
    {
        let database = &secure_boot["databases"][name];
        assert_eq!(database["known_by"], "proven", "{name}");
        assert_eq!(database["entries"], entries, "{name}");
        assert_eq!(
            database["certificates"].as_array().unwrap().len(),
            certificates,
            "{name}"
        );
        assert_eq!(database["well_formed"], true);
    }
    assert_eq!(
        secure_boot["databases"]["dbx"]["hashes"]
            .as_array()
            .unwrap()
            .len(),
        3
    );
    let db = &secure_boot["databases"]["db"]["certificates"][0];
    assert!(db["subject"].as_str().unwrap().contains("CN="), "{db}");
    let used = secure_boot["authorities"].as_array().unwrap();
    let names: Vec<&str> = used
        .iter()
        .map(|a| a["variable"].as_str().unwrap())
        .collect();
    assert_eq!(names, ["db", "SbatLevel", "Shim"]);
    assert!(
        used.iter()
            .all(|authority| authority["known_by"] == "proven")
    );
    assert_eq!(
        used[0]["sha256"], db["sha256"],
        "the certificate that was used is that of db"
    );
    assert_eq!(used[1]["text"], r"sbat,1,2024010900\nshim,4\ngrub,3\n");

    assert_eq!(tree["firmware"]["version"], "Holdfast Simulated UEFI 2.7");
    assert_eq!(tree["firmware"]["known_by"], "proven");
    assert_eq!(tree["firmware"]["blobs"][0]["known_by"], "claimed");
    assert_eq!(tree["firmware"]["blobs"][0]["digest_known_by"], "proven");

    let images = tree["images"].as_array().unwrap();
    let files: Vec<&str> = images
        .iter()
        .filter_map(|image| image["file"].as_str())
        .collect();
    assert_eq!(
        files,
        [
            r"\EFI\debian\shimx64.efi",
            r"\EFI\debian\grubx64.efi",
            r"\boot\vmlinuz-6.1.0-31-amd64"
        ]
    );
    for image in images {
        assert_eq!(image["known_by"], "claimed", "a path is in no digest");
        assert_eq!(image["digest_known_by"], "proven");
    }
    assert_eq!(tree["partition_tables"][0]["known_by"], "proven");

    let lines: Vec<&Value> = tree["loader"]["texts"].as_array().unwrap().iter().collect();
    assert!(lines.iter().all(|line| line["known_by"] == "proven"));
    let line = lines
        .iter()
        .find(|line| line["claimed_label"] == "kernel-command-line")
        .unwrap();
    assert_eq!(
        line["words"],
        serde_json::json!([
            "/boot/vmlinuz-6.1.0-31-amd64",
            "root=/dev/mapper/gateway-root",
            "ro",
            "quiet",
            "lockdown=integrity"
        ])
    );
    assert_eq!(tree["loader"]["unread"], serde_json::json!([]));
    assert_eq!(tree["loader"]["mok"][0]["variable"], "MokList");
    let separators = tree["separators"].as_array().unwrap();
    assert_eq!(separators.len(), 8);
    assert!(
        separators
            .iter()
            .all(|s| s["state"] == "ready" && s["known_by"] == "proven")
    );
    assert!(
        tree["actions"]
            .to_string()
            .contains("exit-boot-services-succeeded")
    );
    assert_eq!(tree["findings"], serde_json::json!([]));
    assert_eq!(tree["events"].as_array().unwrap().len(), golden().len());
}

/// C17: whatever the log says, it is a claim where the PCR is not quoted.
#[test]
fn adv_c17_nothing_is_proven_without_a_quoted_pcr() {
    let tree = golden_tree(&[]);
    assert_eq!(proven(&tree), Vec::<String>::new());
    assert!(!tree.to_string().contains(r#"_by":"proven""#));
    assert_eq!(tree["secure_boot"]["enabled"], true, "it is still told");
    assert_eq!(tree["secure_boot"]["known_by"], "claimed");
    // Only what PCR 7 holds.
    let tree = golden_tree(&[7]);
    assert_eq!(tree["secure_boot"]["known_by"], "proven");
    assert_eq!(tree["firmware"]["known_by"], "claimed");
}

#[test]
fn adv_a12_a_changed_log_proves_nothing_of_the_pcr_that_it_was_changed_in() {
    let pcr7 = |draft: &Draft| draft.pcr == 7;
    type Change = fn(&mut Vec<Draft>, usize);
    let changes: [(&str, Change); 5] = [
        ("dropped", |events, at| drop(events.remove(at))),
        ("appended", |events, at| {
            let copy = events[at].clone();
            events.push(copy);
        }),
        ("reordered", |events, at| events.swap(at, at + 1)),
        ("digest changed", |events, at| events[at].sha256[0] ^= 1),
        ("not extended", |events, at| events[at].event_type = 3),
    ];
    for (what, change) in changes {
        let mut events = golden();
        let at = index_of(&events, pcr7);
        assert_eq!(events[at + 1].pcr, 7);
        change(&mut events, at);
        let tree = tree(&facts_of(GOLDEN, &encode(&events), &SELECTION));
        assert_eq!(tree["mismatched"], serde_json::json!([7]), "{what}");
        assert_eq!(tree["secure_boot"]["known_by"], "claimed", "{what}");
        for fact in proven(&tree) {
            assert!(!fact.contains(r#""pcr":7"#), "{what}: {fact}");
        }
        assert_eq!(
            tree["firmware"]["known_by"], "proven",
            "{what}: the others stand"
        );
    }
    // Data changed under its digest: the PCR is explained, the fact is not
    // proven, and it is said that something is odd.
    let mut events = golden();
    let secure_boot = index_of(&events, pcr7);
    let data = &mut events[secure_boot].data;
    *data.last_mut().unwrap() ^= 1;
    let tree = tree(&facts_of(GOLDEN, &encode(&events), &SELECTION));
    assert_eq!(tree["explained"], serde_json::json!(SELECTION));
    assert_eq!(tree["secure_boot"]["enabled"], false);
    assert_eq!(tree["secure_boot"]["known_by"], "claimed");
    assert_eq!(tree["findings"][0]["code"], "data-not-covered");
    assert_eq!(tree["findings"][0]["pcr"], 7);
}

#[test]
fn adv_a12_a_startup_locality_that_is_not_true_breaks_pcr_0() {
    let mut events = golden();
    let mut data = b"StartupLocality\0".to_vec();
    data.push(3);
    events.insert(
        0,
        Draft {
            pcr: 0,
            event_type: 3,
            sha256: vec![0; 32],
            data,
        },
    );
    let tree = tree(&facts_of(GOLDEN, &encode(&events), &SELECTION));
    assert_eq!(tree["mismatched"], serde_json::json!([0]));
    assert_eq!(tree["firmware"]["known_by"], "claimed");
    assert_eq!(tree["firmware"]["startup_locality"], 3);
}

/// C18: a header that is as long as the attacker's entry must not turn into
/// one, and sizes that lie make the list unreadable, never longer.
#[test]
fn adv_c18_signature_lists_with_lying_sizes() {
    let offset = 16 + 8 + 8 + 6; // GUID, two lengths, "dbx" in UTF-16
    let lie = |at: usize, value: u32| {
        let mut events = golden();
        let dbx = index_of(&events, |draft| {
            draft.pcr == 7 && draft.data.get(32..38) == Some(b"d\0b\0x\0")
        });
        events[dbx].data[offset + at..offset + at + 4].copy_from_slice(&value.to_le_bytes());
        // What firmware would measure of such a variable: all is proven.
        events[dbx].sha256 = BANK.digest(&[&events[dbx].data]).as_bytes().to_vec();
        let log = encode(&events);
        tree(&facts_of(&log, &log, &SELECTION))["secure_boot"]["databases"]["dbx"].clone()
    };
    let honest = lie(20, 0);
    assert_eq!(honest["entries"], 3);
    // A header of one entry: two are left.
    let header = lie(20, 48);
    assert_eq!(header["entries"], 2, "{header}");
    assert!(!honest["hashes"].as_array().unwrap()[0].is_null());
    assert_eq!(
        header["hashes"].as_array().unwrap()[..],
        honest["hashes"].as_array().unwrap()[1..],
        "the bytes of the header are no entry"
    );
    for (what, at, value) in [
        ("a header beyond the list", 20, 1 << 20),
        ("a header that leaves half an entry", 20, 40),
        ("a list longer than the variable", 16, 1 << 16),
        ("a list shorter than its own header", 16, 27),
        ("an entry without a hash", 24, 16),
        ("entries of no size", 24, 0),
    ] {
        let dbx = lie(at, value);
        assert_eq!(dbx["well_formed"], false, "{what}: {dbx}");
        assert_eq!(dbx["entries"], 0, "{what}");
        assert_eq!(dbx["hashes"], serde_json::json!([]), "{what}");
    }
}

/// C40: a text that its digest does not cover is not taken for what was
/// measured, and the event is named.
#[test]
fn adv_c40_a_command_line_that_is_not_what_was_measured() {
    let mut booted = golden();
    let at = index_of(&booted, |draft| draft.data.starts_with(b"kernel_cmdline: "));
    let evil = b"/boot/vmlinuz init=/bin/sh";
    booted[at].sha256 = BANK.digest(&[evil]).as_bytes().to_vec();
    // The log keeps the text of the good command line.
    let log = encode(&booted);
    let told = tree(&facts_of(&log, &log, &SELECTION));
    assert_eq!(told["explained"], serde_json::json!(SELECTION));
    let line = |tree: &Value| {
        let texts = tree["loader"]["texts"].as_array().unwrap().clone();
        texts
            .into_iter()
            .find(|text| text["claimed_label"] == "kernel-command-line")
    };
    assert_eq!(line(&told).unwrap()["known_by"], "claimed");
    assert_eq!(told["loader"]["unread"][0]["event"], at + 1);
    // Or says nothing of it at all.
    booted[at].event_type = 5;
    booted[at].data = b"nothing to see".to_vec();
    let log = encode(&booted);
    let told = tree(&facts_of(&log, &log, &SELECTION));
    assert_eq!(line(&told), None);
    assert_eq!(told["loader"]["unread"][0]["claimed_type"], "EV_ACTION");
    // Or the truth: then it is there to be judged.
    booted[at].event_type = 0xD;
    booted[at].data = [b"grub_cmd: ".as_slice(), evil].concat();
    let log = encode(&booted);
    let told = tree(&facts_of(&log, &log, &SELECTION));
    assert_eq!(told["loader"]["unread"], serde_json::json!([]));
    let texts = told["loader"]["texts"].to_string();
    assert!(
        texts.contains(r#""words":["/boot/vmlinuz","init=/bin/sh"]"#),
        "{texts}"
    );
}

/// The whole tree in the memo's key would cost what the log costs.
#[test]
fn the_memo_is_keyed_by_the_hash_of_the_log() {
    let facts = facts_of(GOLDEN, GOLDEN, &SELECTION);
    let key = super::super::input::key(&facts, Branches::ALL);
    assert!(key.len() < 4096, "{}", key.len());
    assert!(key.contains(&hex::encode(crate::digest::sha256(&[GOLDEN]))));
    assert!(key.contains(r#""explained":[0,1,2"#), "{key}");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(96))]

    /// C20: the type of an event is in no digest. Whatever types a forger
    /// writes, no fact is proven but such as the honest log proves; and no
    /// event is left out of `events` that its PCR needs.
    #[test]
    fn adv_c20_relabelled_types_prove_nothing_new(
        labels in proptest::collection::vec(
            (any::<proptest::sample::Index>(), prop_oneof![0u32..0x14, 0x8000_0000u32..0x8000_0011, 0x8000_00e0u32..0x8000_00e5]),
            1..12,
        ),
    ) {
        let honest = proven(&golden_tree(&SELECTION)).into_iter().map(|fact| bare(&fact)).collect::<std::collections::BTreeSet<_>>();
        let mut events = golden();
        for (at, label) in labels {
            let at = at.index(events.len());
            events[at].event_type = label;
        }
        let tree = tree(&facts_of(GOLDEN, &encode(&events), &SELECTION));
        for fact in proven(&tree) {
            prop_assert!(honest.contains(&bare(&fact)), "{fact}");
        }
        let explained = tree["explained"].as_array().unwrap();
        let listed = |pcr: &Value| tree["events"].as_array().unwrap().iter().filter(|e| e["pcr"] == *pcr).count();
        for pcr in explained {
            let measured = golden().iter().filter(|draft| *pcr == draft.pcr).count();
            prop_assert_eq!(listed(pcr), measured);
        }
    }

    /// Any one bit of the log that is changed: what is proven was proven before.
    #[test]
    fn a_changed_bit_proves_nothing_new(at in any::<proptest::sample::Index>(), bit in 0u32..8) {
        let honest = proven(&golden_tree(&SELECTION)).into_iter().map(|fact| bare(&fact)).collect::<std::collections::BTreeSet<_>>();
        let mut bytes = GOLDEN.to_vec();
        let at = at.index(bytes.len());
        bytes[at] ^= 1 << bit;
        if ReadBootLog::parse(bytes.clone(), BANK).is_ok() {
            for fact in proven(&tree(&facts_of(GOLDEN, &bytes, &SELECTION))) {
                prop_assert!(honest.contains(&bare(&fact)), "{fact}");
            }
        }
    }
}

/// A fact without what is a claim by its nature: the label and the type.
fn bare(fact: &str) -> String {
    let mut fact: Value = serde_json::from_str(fact).unwrap();
    if let Some(map) = fact.as_object_mut() {
        for claim in [
            "claimed_type",
            "claimed_label",
            "kind",
            "variables",
            "authorities",
            "databases",
            "blobs",
            "startup_locality",
        ] {
            map.remove(claim);
        }
    }
    fact.to_string()
}
