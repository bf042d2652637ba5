//! Boot logs and IMA logs of real machines, from the corpus of public projects:
//! every stated answer is reproduced, or why not is in [`EXPLAINED`]. The
//! corpus is `HOLDFAST_CORPUS`, or `shared/corpus` beside the project; where it
//! is absent this test says so and passes.
#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a panic in a test's helper is a failed test"
)]

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::{env, fs};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use holdfast_proto::boot_log::decode::{AuthorityEntry, DevicePathNode, Guid, Value};
use holdfast_proto::boot_log::{BootLog, Cause, DataProof, EventType, Finding, Format, PcrMap};
use holdfast_proto::ima_log::{self, BootAggregate, Extend, ImaLog, Match, Replay};
use holdfast_proto::tpm::{Digest, HashAlg};
use rsa::pkcs8::DecodePublicKey as _;
use rsa::{Pkcs1v15Sign, RsaPublicKey};
use serde_json::Value as Json;

/// Where we disagree with what is stated, in what, and why. Each must occur.
const EXPLAINED: &[(&str, &str, &str)] = &[
    (
        "cc-eventlog/confidential-containers__trustee/CCEL_data_csv",
        "cross-check PCRs",
        "the log's only bank is SM3, which Holdfast reads and reports, but does not replay",
    ),
    (
        "google__go-eventlog/CCEL_unpadded.data.bin",
        "finding",
        "Linux wrote an EV_EVENT_TAG without its tag and size; it reads as malformed, and replays",
    ),
    (
        "intel__trustauthority-client-for-go/CCEL.data.bin",
        "finding",
        "as in CCEL_unpadded.data.bin, of which it is the padded twin",
    ),
    (
        "google__go-eventlog/option_rom_eventlog",
        "finding",
        "Windows logs its AIK as EV_NO_ACTION with a digest; it is not extended, and we say so",
    ),
    (
        "tpm2-software__tpm2-tss/binary_measurements_pc_client.bin",
        "events of PCRs",
        "the stated number, 31, is an argument that the origin's test never compares: there are 33",
    ),
    (
        "tpm2-software__tpm2-tss/sml-ima-sha1.bin",
        "parse",
        "one byte follows the twelve entries; the origin stops there, we refuse what is not whole",
    ),
    (
        "tpm2-software__tpm2-tss/sml-ima-ng-sha1-invalidated.bin",
        "parse",
        "made from a C string, it lacks the final NUL that its lengths count: refused",
    ),
    (
        "tpm2-software__tpm2-tss/sml-ima-ng-sha1-invalidated.bin",
        "violation",
        "the entry that would tell is the one that is not whole",
    ),
    (
        "linux-integrity__ima-evm-utils/test_ascii_runtime_measurements",
        "boot aggregate",
        "it is over PCRs 0 to 7: the kernel was older than 5.8. The cross-check's word is wrong",
    ),
    (
        "cc-api__evidence-api/ima_log.bin",
        "cross-check mismatches",
        "the template digest is SHA-384 and recomputes; the cross-check knows SHA-1 only",
    ),
    (
        "cc-api__evidence-api/ima_log.bin",
        "cross-check PCR 10 as logged",
        "as above; the entry is for measurement register 2, so that PCR 10 stays at reset",
    ),
    (
        "keylime__keylime/ima-log-unknown",
        "cross-check mismatches",
        "the first entry, all zeros, is a violation and has no hash to recompute",
    ),
    (
        "keylime__keylime/ima-log-unknown",
        "cross-check PCR 10 as logged",
        "logged with 32-byte digests, which the cross-check folds into a SHA-1 bank",
    ),
    (
        "keylime__keylime/ima-log-unknown",
        "cross-check PCR 10",
        "as above; and its digests are made up, so that no hash of the data gives them",
    ),
    (
        "kgoldman__acs/imasig.log",
        "cross-check PCR 10",
        "the last but three says /usr/bin/xautt where its logged digest is that of xauth: we extend \
         with the hash of what is there, the cross-check with what is logged",
    ),
    (
        "kgoldman__acs/imasig.log",
        "unverified signatures",
        "of 899, two are by other keys and one was changed: a demonstration of failures",
    ),
];

#[test]
fn every_stated_answer() {
    let root = env::var_os("HOLDFAST_CORPUS").map_or_else(
        || Path::new(env!("CARGO_MANIFEST_DIR")).join("../../shared/corpus"),
        PathBuf::from,
    );
    if !root.exists() {
        println!("skipped: no corpus at {}", root.display());
        return;
    }
    let corpus = Corpus::open(root);
    let mut explained = 0;
    let mut unexplained = Vec::new();
    let mut used = vec![false; EXPLAINED.len()];
    let files = corpus.files();
    for (path, kind) in &files {
        let mut differences = Differences::default();
        match kind.as_str() {
            "uefi-eventlog" | "cc-eventlog" => corpus.boot_log(path, &mut differences),
            "uefi-eventlog-negative" => corpus.boot_log_negative(path, &mut differences),
            "ima" => corpus.ima_log(path, &mut differences),
            "ima-negative" => corpus.ima_log_negative(path, &mut differences),
            other => unreachable!("{other}"),
        }
        explained += usize::from(!differences.0.is_empty());
        for (what, detail) in differences.0 {
            let known = EXPLAINED
                .iter()
                .position(|(file, topic, _)| path.ends_with(file) && *topic == what);
            match known {
                Some(known) => used[known] = true,
                None => unexplained.push(format!("{path}: {what}: {detail}")),
            }
        }
    }
    for ((path, what, why), used) in EXPLAINED.iter().zip(used) {
        println!("explained: {path}: {what}: {why}");
        if !used {
            unexplained.push(format!("{path}: {what}: explained, and does not occur"));
        }
    }
    println!(
        "corpus: {} files, {} as stated, {} unexplained",
        files.len(),
        files.len() - explained,
        unexplained.len()
    );
    assert!(unexplained.is_empty(), "{unexplained:#?}");
}

/// What differs from what is stated: a topic, and the particulars.
#[derive(Default)]
struct Differences(Vec<(&'static str, String)>);

impl Differences {
    fn same<T: PartialEq + std::fmt::Debug>(&mut self, what: &'static str, ours: T, stated: T) {
        if ours != stated {
            self.0.push((what, format!("{ours:?}, stated {stated:?}")));
        }
    }
}

/// PCR values by bank and PCR.
type Values = BTreeMap<String, BTreeMap<u32, String>>;

fn values(json: &Json) -> Values {
    let banks = json.as_object().unwrap();
    let bank = |json: &Json| {
        let pcrs = json.as_object().unwrap().iter();
        pcrs.map(|(pcr, value)| (pcr.parse().unwrap(), value.as_str().unwrap().to_owned()))
            .collect()
    };
    banks
        .iter()
        .map(|(name, pcrs)| (name.clone(), bank(pcrs)))
        .filter(|(_, pcrs): &(_, BTreeMap<_, _>)| !pcrs.is_empty())
        .collect()
}

fn replayed(log: &BootLog<'_>) -> Values {
    log.banks()
        .map(|bank| (bank, log.replay(bank)))
        .filter(|(_, pcrs)| !pcrs.is_empty())
        .map(|(bank, pcrs)| (bank.to_string(), text(&pcrs)))
        .collect()
}

fn text(pcrs: &PcrMap) -> BTreeMap<u32, String> {
    pcrs.iter()
        .map(|(pcr, value)| (pcr, value.to_string()))
        .collect()
}

/// The bank that proves most.
fn best(log: &BootLog<'_>) -> HashAlg {
    log.banks()
        .filter(|bank| !log.replay(*bank).is_empty())
        .max()
        .unwrap_or(HashAlg::Sha256)
}

/// The log's own bytes from what was parsed, without filling.
fn encode(log: &BootLog<'_>) -> Vec<u8> {
    let mut bytes = Vec::new();
    for event in log.events() {
        let sha1 = log.format() == Format::Sha1 || event.index() == 0;
        bytes.extend(event.pcr().to_le_bytes());
        bytes.extend(event.claimed_type().0.to_le_bytes());
        if !sha1 {
            bytes.extend(
                u32::try_from(event.digests().count())
                    .unwrap()
                    .to_le_bytes(),
            );
        }
        for (id, digest) in event.digests() {
            if !sha1 {
                bytes.extend(id.to_le_bytes());
            }
            bytes.extend(digest);
        }
        bytes.extend(u32::try_from(event.data().len()).unwrap().to_le_bytes());
        bytes.extend(event.data());
    }
    bytes
}

struct Corpus {
    root: PathBuf,
    cross_check: Json,
}

impl Corpus {
    fn open(root: PathBuf) -> Self {
        let replay = fs::read(root.join("REPLAY.json")).unwrap();
        let mut replay: Json = serde_json::from_slice(&replay).unwrap();
        Self {
            root,
            cross_check: replay["results"].take(),
        }
    }

    /// Path and kind of every log.
    fn files(&self) -> Vec<(String, String)> {
        const KINDS: [&str; 5] = [
            "uefi-eventlog",
            "uefi-eventlog-negative",
            "cc-eventlog",
            "ima",
            "ima-negative",
        ];
        let manifest = fs::read_to_string(self.root.join("MANIFEST.tsv")).unwrap();
        manifest
            .lines()
            .map(|line| line.split('\t').collect::<Vec<_>>())
            .filter(|row| KINDS.contains(&row[4]) && !row[0].ends_with(".der"))
            .map(|row| (row[0].to_owned(), row[4].to_owned()))
            .collect()
    }

    fn read(&self, path: &str) -> Vec<u8> {
        fs::read(self.root.join(path)).unwrap()
    }

    /// The file `path` and `suffix`, as JSON, where there is one.
    fn json(&self, path: &str, suffix: &str) -> Option<Json> {
        let bytes = fs::read(self.root.join(format!("{path}{suffix}"))).ok()?;
        Some(serde_json::from_slice(&bytes).unwrap())
    }

    fn boot_log(&self, path: &str, differences: &mut Differences) {
        let bytes = self.read(path);
        let log = match BootLog::parse(&bytes) {
            Ok(log) => log,
            Err(error) => return differences.same("parse", error.to_string(), String::new()),
        };
        let filling = log.padding().map_or(0, |padding| padding.len);
        differences.same(
            "bytes",
            encode(&log) == bytes[..bytes.len() - filling],
            true,
        );

        let check = &self.cross_check[path];
        differences.same(
            "cross-check events",
            u64::try_from(log.events().len()).unwrap(),
            check["events"].as_u64().unwrap(),
        );
        differences.same(
            "cross-check filling",
            u64::try_from(filling).unwrap(),
            check["trailing"][1].as_u64().unwrap_or_default(),
        );
        differences.same("cross-check PCRs", replayed(&log), values(&check["pcrs"]));

        if let Some(expected) = self.json(path, ".expected.json") {
            stated(&log, &expected, differences);
        }
        if let Some(peer) = self.json(path, "_out.json") {
            peer_events(&log, &peer, differences);
        }
        let (folder, name) = path.rsplit_once('/').unwrap();
        // The one file that a peer names otherwise.
        let name = match name {
            "ubuntu-2104-no-dbx.bin" => "event-gce-ubuntu-2104-log.bin",
            name => name,
        };
        for suffix in ["raw.yaml", "yaml"] {
            let tools = self
                .root
                .join(folder)
                .with_file_name("tpm2-software__tpm2-tools");
            let yaml = tools.join(format!("expected/{name}.{suffix}"));
            if let Ok(yaml) = fs::read_to_string(yaml)
                && !path.contains("tpm2-tss")
            {
                tpm2_tools(&log, &yaml, differences);
            }
        }
        particulars(path, &log, differences);
    }

    fn boot_log_negative(&self, path: &str, differences: &mut Differences) {
        let bytes = self.read(path);
        let whole = |body: &[u8]| {
            let mut log = vec![0; 32];
            log[4] = 3;
            log[28] = u8::try_from(body.len()).unwrap();
            log.extend(body);
            log
        };
        let outcome = |log: &[u8]| BootLog::parse(log).map(|log| log.events().len());
        let name = path.rsplit('/').next().unwrap();
        let ours = match name {
            // Bodies, without the record around them.
            "specid_sha1.bin" | "specid_malicious_number_of_algs.bin" => outcome(&whole(&bytes)),
            "event2_size_zero_sha256.bin" => {
                let mut spec = b"Spec ID Event03\0".to_vec();
                spec.extend([0, 0, 0, 0, 0, 2, 0, 2, 1, 0, 0, 0, 0x0b, 0, 32, 0, 0]);
                outcome(&[whole(&spec), bytes.clone()].concat())
            }
            _ => outcome(&bytes),
        };
        let valid = match name {
            "specid_sha1.bin" => Some(1),
            "event2_size_zero_sha256.bin" => Some(2),
            _ => None,
        };
        differences.same("verdict", ours.ok(), valid);
        match name {
            "event_size_too_large.bin" => {
                // Refused for its PCR; and with that mended, for its size.
                let mut mended = bytes;
                mended[0..4].copy_from_slice(&4u32.to_le_bytes());
                let cause = BootLog::parse(&mended).unwrap_err().cause;
                assert!(matches!(cause, Cause::OverLimit { .. }), "{cause:?}");
            }
            "specid_malicious_number_of_algs.bin" => {
                let error = BootLog::parse(&whole(&bytes)).unwrap_err();
                assert_eq!(error.field, "TCG_EfiSpecIDEvent.numberOfAlgorithms");
                assert!(matches!(error.cause, Cause::OverLimit { .. }));
            }
            "specid-vendordata.bin" => {
                let error = BootLog::parse(&bytes).unwrap_err();
                assert_eq!(error.field, "TCG_EfiSpecIDEvent.vendorInfo");
            }
            _ => {}
        }
    }

    fn ima_log(&self, path: &str, differences: &mut Differences) {
        let bytes = self.read(path);
        let log = ImaLog::new(&bytes);
        let mut replay = Replay::from_boot(HashAlg::Sha1, Extend::Native);
        let mut as_logged = PcrMap::at_reset(HashAlg::Sha1).value(10).copied().unwrap();
        let (mut entries, mut mismatched) = (Vec::new(), Vec::new());
        for entry in log.entries() {
            let entry = match entry {
                Ok(entry) => entry,
                Err(error) => {
                    differences.same("parse", error.to_string(), String::new());
                    break;
                }
            };
            if !entry.is_as_logged() {
                mismatched.push(entry.index());
            }
            // As the cross-check does it: by logged digests.
            as_logged = match entry.is_violation() {
                true => HashAlg::Sha1.digest(&[as_logged.as_bytes(), &[0xff; 20]]),
                false => {
                    let digest = entry.logged_digest().as_bytes();
                    HashAlg::Sha1.digest(&[as_logged.as_bytes(), digest])
                }
            };
            replay.push(&entry);
            entries.push(entry);
        }
        let check = &self.cross_check[path];
        if let Some(stated) = check["entries"].as_u64() {
            differences.same("cross-check entries", replay.entries(), stated);
            let ours = u64::try_from(mismatched.len()).unwrap();
            let stated = check["template_mismatch"].as_u64().unwrap();
            differences.same("cross-check mismatches", ours, stated);
            let stated = check["pcr10_sha1"].as_str().unwrap();
            let ours = as_logged.to_string();
            differences.same("cross-check PCR 10 as logged", ours.as_str(), stated);
            let ours = replay.pcrs().value(10).unwrap().to_string();
            differences.same("cross-check PCR 10", ours.as_str(), stated);
        }
        if let Some(expected) = self.json(path, ".expected.json") {
            for (entry, stated) in entries.iter().zip(expected["entries"].as_array().unwrap()) {
                let name = entry.name().unwrap().to_string();
                differences.same("name", name.as_str(), stated["name"].as_str().unwrap());
                let digest = entry.template_hash(HashAlg::Sha1).to_string();
                let stated = stated["template_digest"].as_str().unwrap();
                differences.same("template digest", digest.as_str(), stated);
            }
            let stated = expected["entries"].as_array().unwrap().len();
            differences.same("entries", entries.len(), stated);
        }
        self.ima_particulars(path, &bytes, &entries, &mismatched, differences);
    }

    fn ima_particulars(
        &self,
        path: &str,
        bytes: &[u8],
        entries: &[ima_log::Entry<'_>],
        mismatched: &[u64],
        differences: &mut Differences,
    ) {
        let (folder, name) = path.rsplit_once('/').unwrap();
        match name {
            // "VALID: parses and template hash recomputes"
            _ if name.starts_with("entry_valid_") => {
                differences.same("template digest", mismatched, &[]);
                let is_buffer = name.ends_with("ima-buf.ascii");
                differences.same("buffer", entries[0].buffer().is_some(), is_buffer);
            }
            // "boot_aggregate … over PCR0-9" of the log beside it
            "sample-ascii_runtime_measurements-pcrs-8-9" | "test_ascii_runtime_measurements" => {
                let beside = match name {
                    "test_ascii_runtime_measurements" => "test_binary_bios_measurements",
                    _ => "sample-binary_bios_measurements-pcrs-8-9",
                };
                let folder = folder.replace("ima/", "uefi-eventlog/");
                let beside = self.read(&format!("{folder}/{beside}"));
                let pcrs = BootLog::parse(&beside).unwrap().replay(HashAlg::Sha256);
                let value = |pcr| pcrs.value(pcr).copied();
                let ours = BootAggregate::of(&entries[0], HashAlg::Sha256, value);
                let stated = BootAggregate::Matches { last_pcr: 9 };
                differences.same("boot aggregate", ours, stated);
                let forged = |pcr| match pcr {
                    4 => pcrs.value(5).copied(),
                    pcr => value(pcr),
                };
                let ours = BootAggregate::of(&entries[0], HashAlg::Sha256, forged);
                assert_eq!(ours, BootAggregate::Differs);
            }
            // "variant and _orig must give different PCR10"
            "ascii_runtime_measurements" => {
                let original = self.read(&format!("{path}_orig"));
                let pcr10 = |bytes: &[u8]| {
                    let mut replay = Replay::from_boot(HashAlg::Sha256, Extend::Native);
                    for entry in ImaLog::new(bytes).entries() {
                        replay.push(&entry.unwrap());
                    }
                    replay.pcrs().value(10).copied().unwrap()
                };
                assert_ne!(pcr10(bytes), pcr10(&original));
                incremental(&original, pcr10(&original));
            }
            // "unknown algorithm: must be reported, not crash"
            "ima-log-unknown" => {
                let digest = entries[1].file_digest().unwrap();
                differences.same("file digest algorithm", digest.algorithm, "unknown");
                differences.same("file digest hash", digest.hash(), None);
            }
            "ima-log-sha256" => self.policy(path, "policy-sha256", entries, differences),
            "ima-log-sha384" => self.policy(path, "policy-sha384", entries, differences),
            // "template digest must not match (violation/invalidated entry)"
            _ if name.ends_with("-invalidated.bin") => {
                let last = entries.last();
                let violation = last.is_some_and(ima_log::Entry::is_violation);
                differences.same("violation", violation, true);
                if let Some(last) = last {
                    let hash = last.template_hash(HashAlg::Sha1);
                    assert_ne!(hash, *last.logged_digest());
                }
            }
            // "entry0 … RSA test key, entry1 … EC test key"
            "keylime_signatures.ascii" => {
                let lengths: Vec<_> = entries
                    .iter()
                    .map(|entry| entry.signature().unwrap())
                    .map(|signature| (signature.hash(), signature.bytes.len()))
                    .collect();
                let sha256 = Some(HashAlg::Sha256);
                differences.same("signatures", lengths, vec![(sha256, 256), (sha256, 72)]);
            }
            // "signatures verify with imakey.der": all are by one key
            // "signatures verify with imakey.der"; and one entry was changed
            "imasig.log" => {
                let key = self.read(&format!("{folder}/imakey.der"));
                let signed = entries.iter().filter(|entry| entry.signature().is_some());
                let unverified: Vec<_> = signed
                    .filter(|entry| !verifies(entry, &key))
                    .map(|entry| entry.name().unwrap().to_string())
                    .collect();
                differences.same("unverified signatures", unverified, Vec::new());
                let [changed] = mismatched else {
                    panic!("{mismatched:?}");
                };
                let changed = &entries[usize::try_from(*changed).unwrap()];
                assert_eq!(changed.name().unwrap().as_str(), Some("/usr/bin/xautt"));
                let mut data: Vec<_> = changed.fields().map(|(_, field)| field.to_vec()).collect();
                data[1] = b"/usr/bin/xauth\0".to_vec();
                let lens = data.iter().map(|field| u32::try_from(field.len()).unwrap());
                let lens: Vec<_> = lens.map(u32::to_le_bytes).collect();
                let parts: Vec<_> = lens
                    .iter()
                    .zip(&data)
                    .map(|(len, field)| [len, &field[..]].concat())
                    .collect();
                let restored = HashAlg::Sha1.digest(&[&parts.concat()]);
                assert_eq!(restored, *changed.logged_digest());
            }
            _ => {}
        }
    }

    /// The policy that a peer made of a log pins digests of the log's length.
    fn policy(
        &self,
        path: &str,
        policy: &str,
        entries: &[ima_log::Entry<'_>],
        differences: &mut Differences,
    ) {
        let (folder, _) = path.rsplit_once('/').unwrap();
        let policy = self.json(folder, &format!("/{policy}")).unwrap();
        let digests = policy["digests"].as_object().unwrap().values();
        let lens: Vec<_> = digests
            .map(|one| one[0].as_str().unwrap().len() / 2)
            .collect();
        let ours = entries[1].file_digest().unwrap();
        differences.same("digest length", vec![ours.bytes.len()], lens);
        differences.same("digest of its algorithm", ours.hash().is_some(), true);
    }

    fn ima_log_negative(&self, path: &str, differences: &mut Differences) {
        let bytes = self.read(path);
        let read: Result<Vec<_>, _> = ImaLog::new(&bytes).entries().collect();
        let ours = read
            .map(|entries| entries.len())
            .map_err(|error| error.field);
        let stated = match path.rsplit('/').next().unwrap() {
            "empty_ima_log.txt" => Ok(0),
            "entry_invalid_invalid-mode.ascii" => Err("template name"),
            "entry_invalid_invalid-template-hash.ascii" => Err("template digest"),
            "invalid_ima_log.txt" => Err("pcr"),
            other => unreachable!("{other}"),
        };
        differences.same("verdict", ours, stated);
    }
}

/// Whether the signature in `entry` verifies with the RSA-1024 key of the
/// certificate `key`.
fn verifies(entry: &ima_log::Entry<'_>, key: &[u8]) -> bool {
    // SubjectPublicKeyInfo of a 1,024-bit rsaEncryption key: a SEQUENCE of 159
    // bytes, the algorithm first.
    const HEAD: [u8; 18] = [
        0x30, 0x81, 0x9f, 0x30, 0x0d, 0x06, 0x09, 0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 1, 1, 1, 5, 0,
    ];
    let start = key
        .windows(HEAD.len())
        .position(|window| window == HEAD)
        .unwrap();
    let key = RsaPublicKey::from_public_key_der(&key[start..start + 162]).unwrap();
    let (signature, digest) = (entry.signature().unwrap(), entry.file_digest().unwrap());
    let scheme = Pkcs1v15Sign::new::<sha2::Sha256>();
    signature.hash() == digest.hash() && key.verify(scheme, digest.bytes, signature.bytes).is_ok()
}

/// In parts, each from where the last ended, a log comes to the same value; and
/// one that is ahead of its quote matches up to there.
fn incremental(bytes: &[u8], quoted: Digest) {
    let reached = |outcome| match outcome {
        Match::Reached { replay, at_end } => (replay, at_end),
        Match::Missed(_) => panic!("missed"),
    };
    let start = || Replay::from_boot(HashAlg::Sha256, Extend::Native);
    let whole = start().until(ImaLog::new(bytes), 10, &quoted, |_| ());
    let (whole, at_end) = reached(whole.unwrap());
    assert!(at_end);

    let half: Vec<_> = ImaLog::new(bytes)
        .entries()
        .take(2000)
        .map(Result::unwrap)
        .collect();
    let mut then = start();
    half.iter().for_each(|entry| then.push(entry));
    let early = then.pcrs().value(10).copied().unwrap();
    let ahead = start().until(ImaLog::new(bytes), 10, &early, |_| ());
    let (replay, at_end) = reached(ahead.unwrap());
    assert!(!at_end);
    assert_eq!(replay, then);

    let offset = usize::try_from(replay.offset()).unwrap();
    let rest = replay.follow(replay.offset(), &bytes[offset..]).unwrap();
    let mut seen = 0;
    let (resumed, _) = reached(replay.until(rest, 10, &quoted, |_| seen += 1).unwrap());
    assert_eq!(resumed, whole);
    assert_eq!(seen + 2000, whole.entries());
}

/// Values that the origin of a log states.
fn stated(log: &BootLog<'_>, expected: &Json, differences: &mut Differences) {
    let ours = replayed(log);
    if let Some(pcrs) = expected.get("pcrs") {
        // Where the origin states what a correct machine holds and the log
        // lacks an event, the particulars below say more.
        let cut_short = expected["peer_note"].as_str().unwrap_or_default();
        if !cut_short.starts_with("plain replay of PCR5 does NOT") {
            for (bank, pcrs) in values(pcrs) {
                for (pcr, value) in pcrs {
                    let ours = ours.get(&bank).and_then(|pcrs| pcrs.get(&pcr));
                    differences.same("PCR", (&bank, pcr, ours), (&bank, pcr, Some(&value)));
                }
            }
        }
    }
    if let Some(registers) = expected.get("rtmr_sha384") {
        let pcrs = log.replay(HashAlg::Sha384);
        for (register, value) in registers.as_object().unwrap() {
            let register: u32 = register.parse().unwrap();
            // Register n is index n + 1 in the log.
            let ours = pcrs.value(register + 1).unwrap().to_string();
            differences.same(
                "RTMR",
                (register, ours.as_str()),
                (register, value.as_str().unwrap()),
            );
        }
    }
    if let Some(banks) = expected.get("efi_app_digests") {
        for (bank, digests) in banks.as_object().unwrap() {
            let bank = HashAlg::from_name(bank).unwrap();
            let ours: Vec<_> = log
                .events()
                .filter(|event| event.claimed_type() == EventType::EV_EFI_BOOT_SERVICES_APPLICATION)
                .map(|event| hex::encode(event.digest(bank).unwrap()))
                .collect();
            let stated: Vec<_> = digests.as_array().unwrap().iter().map(text_of).collect();
            differences.same("EFI applications", ours, stated);
        }
    }
    if let Some(aggregate) = expected.get("boot_aggregate_sha256") {
        let pcrs = log.replay(HashAlg::Sha256);
        let values: Vec<&[u8]> = (0..10)
            .map(|pcr| pcrs.value(pcr).unwrap().as_bytes())
            .collect();
        let ours = HashAlg::Sha256.digest(&values).to_string();
        differences.same("boot aggregate", ours, text_of(aggregate));
    }
}

fn text_of(json: &Json) -> String {
    json.as_str().unwrap().to_owned()
}

/// Events as Confidential Containers' parser prints them; it leaves out the
/// Spec ID event.
fn peer_events(log: &BootLog<'_>, peer: &Json, differences: &mut Differences) {
    let stated = peer["uefi_event_logs"].as_array().unwrap();
    let known = ["SHA-1", "SHA-256", "SHA-384", "SHA-512"];
    differences.same("events", log.events().len() - 1, stated.len());
    for (event, stated) in log.events().skip(1).zip(stated) {
        let register = u64::from(event.pcr());
        differences.same("register", register, stated["index"].as_u64().unwrap());
        let name = event.claimed_type().to_string();
        differences.same("type", name.as_str(), stated["type_name"].as_str().unwrap());
        let data = STANDARD.encode(event.data());
        differences.same("data", data.as_str(), stated["event"].as_str().unwrap());
        for ((_, ours), stated) in event.digests().zip(stated["digests"].as_array().unwrap()) {
            differences.same("digest", hex::encode(ours), text_of(&stated["digest"]));
        }
        let alg = stated["digests"][0]["alg"].as_str().unwrap();
        if let Some(bank) = known.iter().position(|name| *name == alg) {
            let proven = event.data_proof(HashAlg::ALL[bank]) == DataProof::Proven;
            let stated = stated["digest_matches_event"].as_bool().unwrap();
            differences.same(
                "digest covers data",
                (event.index(), proven),
                (event.index(), stated),
            );
        } else {
            let finding = log.findings(HashAlg::Sha256).into_iter();
            let unknown = finding.filter(|one| matches!(one, Finding::UnknownAlgorithm { .. }));
            differences.same("unknown algorithm", unknown.count(), 1);
        }
    }
}

/// Events and PCRs as tpm2_eventlog prints them.
fn tpm2_tools(log: &BootLog<'_>, yaml: &str, differences: &mut Differences) {
    let (events, pcrs) = yaml.split_once("\npcrs:").unwrap();
    let events: Vec<_> = events.split("  PCRIndex: ").skip(1).collect();
    differences.same("tpm2-tools events", log.events().len(), events.len());
    for (event, stated) in log.events().zip(events) {
        let pcr = stated.lines().next().unwrap();
        let field = |name: &str| {
            let line = stated
                .lines()
                .map(str::trim)
                .find_map(|line| line.strip_prefix(name));
            line.unwrap().to_owned()
        };
        differences.same(
            "tpm2-tools PCR index",
            event.pcr().to_string().as_str(),
            pcr,
        );
        differences.same(
            "tpm2-tools type",
            event.claimed_type().to_string(),
            field("EventType: "),
        );
        differences.same(
            "tpm2-tools size",
            event.data().len().to_string(),
            field("EventSize: "),
        );
        let digests: Vec<_> = stated
            .lines()
            .filter_map(|line| line.trim().strip_prefix("Digest: \""))
            .map(|digest| digest.trim_end_matches('"').to_owned())
            .collect();
        let ours: Vec<_> = event
            .digests()
            .map(|(_, digest)| hex::encode(digest))
            .collect();
        differences.same("tpm2-tools digests", ours, digests);
    }
    let mut stated = Values::new();
    let mut bank = String::new();
    for line in pcrs.lines().map(str::trim).filter(|line| !line.is_empty()) {
        match line.split_once(": 0x") {
            Some((pcr, value)) => {
                let pcr = pcr.trim().parse().unwrap();
                stated
                    .entry(bank.clone())
                    .or_default()
                    .insert(pcr, value.to_owned());
            }
            None => bank = line.trim_end_matches(':').to_owned(),
        }
    }
    differences.same("tpm2-tools PCRs", replayed(log), stated);
}

/// What origins state in words.
fn particulars(path: &str, log: &BootLog<'_>, differences: &mut Differences) {
    let bank = best(log);
    let facts: Vec<_> = log.facts(bank).collect();
    let findings = log.findings(bank);
    let secure_boot: Vec<_> = facts
        .iter()
        .filter(|fact| fact.proven)
        .filter_map(|fact| match fact.value {
            Value::SecureBootVariable(variable) => variable.secure_boot(),
            _ => None,
        })
        .collect();
    match path {
        // "Secure Boot DISABLED"
        "uefi-eventlog/keylime__keylime/binary_bios_measurements" => {
            differences.same("secure boot", secure_boot, vec![false]);
        }
        // "2 post-separator authorities, 1 driver load hint = PCI MMIO (option ROM)"
        "uefi-eventlog/google__go-eventlog/option_rom_eventlog" => {
            differences.same("secure boot", secure_boot, vec![true]);
            let separator = facts.iter().position(|fact| {
                fact.event.pcr() == 7 && matches!(fact.value, Value::Separator(_))
            });
            let after = facts[separator.unwrap()..].iter();
            let authorities = after.filter(|fact| {
                fact.proven
                    && matches!(fact.value, Value::Authority(authority)
                        if matches!(authority.entry, AuthorityEntry::Certificate(_)))
            });
            differences.same("authorities", authorities.count(), 2);
            let drivers: Vec<_> = facts
                .iter()
                .filter(|fact| fact.event.claimed_type() == EventType::EV_EFI_BOOT_SERVICES_DRIVER)
                .filter_map(|fact| match fact.value {
                    Value::Image(image) => image.device_path.nodes().last(),
                    _ => None,
                })
                .collect();
            let from_memory = drivers.iter().filter(|node| {
                matches!(
                    node,
                    DevicePathNode::OffsetRange { .. } | DevicePathNode::MemoryMapped { .. }
                )
            });
            differences.same("driver load hints", from_memory.count(), 1);
        }
        // "plain replay of PCR5 does NOT equal these; verifier must insert the
        // missing EBS success event (or reject)"
        "uefi-eventlog/google__go-eventlog/ebs_event_missing_eventlog" => {
            const STATED: &str = "31245808d6d35849bc394f6343f2b3ff908ed5e3";
            let plain = log.replay(HashAlg::Sha1).get(5).copied().unwrap();
            assert_ne!(plain.to_string(), STATED);
            let left_out = [
                b"Exit Boot Services Invocation".as_slice(),
                b"Exit Boot Services Returned with Success",
            ];
            let whole = left_out.into_iter().fold(plain, |pcr, text| {
                let event = HashAlg::Sha1.digest(&[text]);
                HashAlg::Sha1.digest(&[pcr.as_bytes(), event.as_bytes()])
            });
            differences.same("PCR 5 with the events", whole.to_string().as_str(), STATED);
            let told = findings.contains(&Finding::ExitBootServicesMissing);
            differences.same("finding", told, true);
        }
        // "PCR0: 2 events; 3 first PCRs: 4 events", without the header
        "uefi-eventlog/tpm2-software__tpm2-tools/event-uefi-sha1-log.bin" => {
            let of = |most| log.events().filter(|event| event.pcr() <= most).count();
            differences.same("events of PCRs", (of(0), of(2)), (2, 4));
        }
        // "PCR0: 5 events; PCRs 0-8: 31 events"
        "uefi-eventlog/tpm2-software__tpm2-tss/binary_measurements_pc_client.bin" => {
            let of = |most| log.events().filter(|event| event.pcr() <= most).count();
            differences.same("events of PCRs", (of(0), of(8)), (5, 31));
        }
        // The variable that it is made of
        "uefi-eventlog/tpm2-software__tpm2-tools/event-uefivar.bin" => {
            let Value::SecureBootVariable(variable) = facts[1].value else {
                panic!("{:?}", facts[1].value);
            };
            assert!(variable.is(Guid::GLOBAL_VARIABLE, "SecureBoot"));
            assert_eq!(
                (variable.secure_boot(), facts[1].proven),
                (Some(true), true)
            );
        }
        _ => {}
    }
    // Every origin's log is one that firmware wrote: nothing in it is malformed.
    for finding in findings {
        if matches!(
            finding,
            Finding::Malformed { .. }
                | Finding::SeparatorForged { .. }
                | Finding::SeparatorRelabelled { .. }
                | Finding::DataNotCovered { .. }
                | Finding::InformativeDigest { .. }
                | Finding::BankIncomplete { .. }
                | Finding::ConfigurationAfterSeparator { .. }
                | Finding::ConfigurationRepeated { .. }
                | Finding::LocalityMisplaced { .. }
                | Finding::LocalityInvalid { .. }
        ) {
            differences.0.push(("finding", finding.to_string()));
        }
    }
}
