//! Boot logs: events, digests, PCRs, and what they say.

use std::collections::BTreeMap;
use std::fs;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use holdfast_proto::boot_log::decode::{AuthorityEntry, DevicePathNode, Guid, Value};
use holdfast_proto::boot_log::{BootLog, Cause, DataProof, EventType, Finding, Format, PcrMap};
use holdfast_proto::tpm::HashAlg;
use serde_json::Value as Json;

use super::{Corpus, Differences};

impl Corpus {
    pub(super) fn boot_log(&self, path: &str, differences: &mut Differences) {
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

    pub(super) fn boot_log_negative(&self, path: &str, differences: &mut Differences) {
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
    // What machines hold in their variables reads as what it is.
    for fact in &facts {
        let (Value::SecureBootVariable(variable) | Value::Variable(variable)) = fact.value else {
            continue;
        };
        if let Some(Err(flaw)) = variable.signatures() {
            differences.0.push(("signature lists", flaw.to_string()));
        }
        if let Some(Err(flaw)) = variable.load_option() {
            differences
                .0
                .push(("load option", format!("{}: {flaw}", variable.name)));
        }
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
