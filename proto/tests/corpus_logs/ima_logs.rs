//! IMA logs: entries, template digests, PCR 10, signatures, boot aggregates.

use holdfast_proto::boot_log::{BootLog, PcrMap};
use holdfast_proto::ima_log::{BootAggregate, Entry, Extend, ImaLog, Match, Replay};
use holdfast_proto::tpm::{Digest, HashAlg};
use rsa::pkcs8::DecodePublicKey as _;
use rsa::{Pkcs1v15Sign, RsaPublicKey};

use super::{Corpus, Differences};

impl Corpus {
    pub(super) fn ima_log(&self, path: &str, differences: &mut Differences) {
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
                    let digest = entry.logged_digest();
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
        entries: &[Entry<'_>],
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
                let violation = last.is_some_and(Entry::is_violation);
                differences.same("violation", violation, true);
                if let Some(last) = last {
                    let hash = last.template_hash(HashAlg::Sha1);
                    assert_ne!(hash.as_bytes(), last.logged_digest());
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
                assert_eq!(restored.as_bytes(), changed.logged_digest());
            }
            _ => {}
        }
    }

    /// The policy that a peer made of a log pins digests of the log's length.
    fn policy(
        &self,
        path: &str,
        policy: &str,
        entries: &[Entry<'_>],
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

    pub(super) fn ima_log_negative(&self, path: &str, differences: &mut Differences) {
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
fn verifies(entry: &Entry<'_>, key: &[u8]) -> bool {
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
