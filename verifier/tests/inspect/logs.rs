//! Boot logs and IMA logs: the report's own JSON against the manifest's
//! cross-check. What the parsers make of each log is tested beside them
//! (`proto/tests/corpus_logs`); here is what `inspect` says of it.

use std::collections::BTreeSet;

use holdfast_verifier::inspect::{
    InspectError,
    boot_log::{self, BootLogReport},
    ima_log,
};
use serde_json::{Value, json};

use super::corpus::{Corpus, corpus, settle};

/// Where we disagree with what is stated.
const EXPLAINED: &[(&str, &str, &str)] = &[
    (
        "cc-eventlog/confidential-containers__trustee/CCEL_data_csv",
        "PCRs",
        "the log's only bank is SM3, which is read and reported, but not replayed",
    ),
    (
        "tpm2-software__tpm2-tss/sml-ima-sha1.bin",
        "not an IMA log",
        "one byte follows the twelve entries; the origin stops there, we refuse what is not whole",
    ),
    (
        "tpm2-software__tpm2-tss/sml-ima-ng-sha1-invalidated.bin",
        "not an IMA log",
        "made from a C string, it lacks the final NUL that its lengths count",
    ),
    (
        "cc-api__evidence-api/ima_log.bin",
        "mismatched",
        "the template digest is SHA-384 and recomputes; the cross-check knows SHA-1 only",
    ),
    (
        "keylime__keylime/ima-log-unknown",
        "mismatched",
        "the first entry, all zeros, is a violation and has no hash to recompute",
    ),
    (
        "keylime__keylime/ima-log-unknown",
        "PCR 10",
        "its digests are made up: no hash of the data gives them",
    ),
    (
        "kgoldman__acs/imasig.log",
        "PCR 10",
        "one entry was changed under its digest: we extend with the hash of what is there, the \
         cross-check with what is logged",
    ),
    (
        "specid_sha1.bin",
        "stated valid",
        "the body of an event without the event around it is no log",
    ),
    (
        "event2_size_zero_sha256.bin",
        "stated valid",
        "an event without the header that declares its algorithms is no log",
    ),
];

fn boot(corpus: &Corpus, path: &str, check: &Value, found: &mut Vec<(String, String)>) {
    let mut differs = |what: String| found.push((path.to_owned(), what));
    let report = match boot_log::inspect(&corpus.read(path)) {
        Ok(report) => serde_json::to_value(report).unwrap(),
        Err(error) => return differs(error.to_string()),
    };
    let events = report["events"].as_array().unwrap();
    if json!(events.len()) != check["events"] {
        differs(format!("{} events", events.len()));
    }
    let banks = |pcrs: &Value| -> Vec<(String, Value)> {
        let banks = pcrs.as_object().unwrap().iter();
        banks
            .filter(|(_, pcrs)| pcrs.as_object().is_some_and(|pcrs| !pcrs.is_empty()))
            .map(|(bank, pcrs)| (bank.clone(), pcrs.clone()))
            .collect()
    };
    if banks(&report["pcrs"]) != banks(&check["pcrs"]) {
        differs("PCRs".to_owned());
    }
    assert!(matches!(
        report["format"].as_str(),
        Some("crypto-agile" | "sha1")
    ));
    for (at, event) in events.iter().enumerate() {
        assert_eq!(event["index"], json!(at));
        assert!(
            event["pcr"].is_u64() && event["claimed_type"].is_string(),
            "{path}"
        );
        let matches = &event["digest_matches_data"];
        assert!(matches.is_boolean() || matches.is_null());
        for digest in event["digests"].as_object().unwrap().values() {
            let digest = digest.as_str().unwrap();
            assert!(
                digest
                    .bytes()
                    .all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b))
            );
        }
        let fact = &event["fact"];
        assert!(fact["proven"].is_boolean() && fact["kind"].is_string());
        // Proven is never more than what the digest covers.
        if fact["covered"] == "nothing" {
            assert_eq!(fact["proven"], false, "{path} event {at}");
        }
    }
}

fn ima(corpus: &Corpus, path: &str, check: &Value, found: &mut Vec<(String, String)>) {
    let mut differs = |what: String| found.push((path.to_owned(), what));
    let report = match ima_log::inspect(&corpus.read(path), true) {
        Ok(report) => serde_json::to_value(report).unwrap(),
        Err(error) => return differs(error.to_string()),
    };
    assert_eq!(
        json!(report["list"].as_array().unwrap().len()),
        report["entries"]
    );
    for bank in ["sha1", "sha256"] {
        assert!(report["pcrs"][bank]["10"].is_string(), "{path}");
    }
    if !check["entries"].is_u64() {
        return;
    }
    if report["entries"] != check["entries"] {
        differs(format!("{} entries", report["entries"]));
    }
    let mismatched = report["mismatched"].as_array().unwrap().len();
    if json!(mismatched) != check["template_mismatch"] {
        differs(format!("{mismatched} mismatched"));
    }
    if report["pcrs"]["sha1"]["10"] != check["pcr10_sha1"] {
        differs("PCR 10".to_owned());
    }
}

#[test]
fn every_log_is_read_as_stated_or_refused_with_a_reason() {
    let Some(corpus) = corpus() else { return };
    let checks = corpus.json("REPLAY.json");
    let check = |path: &str| &checks["results"][path];
    let (mut found, mut files) = (Vec::new(), 0);
    for kind in ["uefi-eventlog", "cc-eventlog"] {
        for path in corpus.files(kind) {
            boot(&corpus, &path, check(&path), &mut found);
            files += 1;
        }
    }
    for path in corpus.files("ima") {
        if path.ends_with(".der") {
            continue;
        }
        ima(&corpus, &path, check(&path), &mut found);
        files += 1;
    }
    for path in corpus.files("uefi-eventlog-negative") {
        // Two of them are valid parts, by their origin.
        let stated = path.ends_with("specid_sha1.bin") || path.contains("event2_size_zero");
        match boot_log::inspect(&corpus.read(&path)) {
            Ok(_) => found.push((path, "read".to_owned())),
            Err(_) if stated => found.push((path, "stated valid".to_owned())),
            Err(error) => assert!(matches!(error, InspectError::BootLog(_)), "{error}"),
        }
        files += 1;
    }
    for path in corpus.files("ima-negative") {
        let empty = path.ends_with("empty_ima_log.txt");
        match ima_log::inspect(&corpus.read(&path), false) {
            Ok(report) if empty => assert_eq!(report.entries, 0),
            Ok(_) => found.push((path, "read".to_owned())),
            Err(error) => assert!(matches!(error, InspectError::ImaLog(_)), "{error}"),
        }
        files += 1;
    }
    settle("logs", &found, EXPLAINED, files);
}

/// PCR, digests, kind and text of what is proven.
fn proven(report: &BootLogReport) -> BTreeSet<(u32, Vec<String>, &'static str, String)> {
    let events = report.events.iter().filter(|event| event.fact.proven);
    events
        .map(|event| {
            let digests = event.digests.values().cloned().collect();
            (event.pcr, digests, event.fact.kind, event.fact.text.clone())
        })
        .collect()
}

/// A12: what is relabelled, changed, cut or filled with garbage is never a
/// panic, and a changed byte never leaves the report as it was.
#[test]
fn adv_a12_a13_no_change_goes_unseen_and_none_panics() {
    let Some(corpus) = corpus() else { return };
    let bytes = corpus.read("uefi-eventlog/google__go-eventlog/crypto_agile_eventlog");
    let honest = boot_log::inspect(&bytes).unwrap();
    // A bit here and there: in digests, in data, in lengths.
    for bit in (0..bytes.len() * 8).step_by(131) {
        let mut changed = bytes.clone();
        changed[bit / 8] ^= 1 << (bit % 8);
        let Ok(report) = boot_log::inspect(&changed) else {
            continue;
        };
        // Where the PCRs are still those that a quote would prove, nothing is
        // proven that was not. Events may have moved: a length can be changed.
        if report.pcrs == honest.pcrs {
            let new: Vec<_> = proven(&report)
                .difference(&proven(&honest))
                .cloned()
                .collect();
            assert!(new.is_empty(), "bit {bit}: {new:?}");
        }
    }
    for len in (0..bytes.len()).step_by(331) {
        let _ = boot_log::inspect(&bytes[..len]);
    }
    let ima = corpus.read("ima/keylime__keylime/keylime_measurements.ascii");
    let honest = ima_log::inspect(&ima, false).unwrap();
    for bit in 0..ima.len() * 8 {
        let mut changed = ima.clone();
        changed[bit / 8] ^= 1 << (bit % 8);
        let Ok(report) = ima_log::inspect(&changed, true) else {
            continue;
        };
        let same = report.pcrs == honest.pcrs && report.mismatched == honest.mismatched;
        // The PCR and white space are in no digest.
        if same {
            let byte = ima[bit / 8];
            assert!(
                byte == b' ' || byte == b'\n' || byte.is_ascii_digit(),
                "bit {bit}"
            );
        }
    }
}

#[test]
fn inputs_over_the_limit_are_not_read() {
    let long = vec![0; holdfast_verifier::inspect::MAX_BOOT_LOG_BYTES + 1];
    assert!(matches!(
        boot_log::inspect(&long),
        Err(InspectError::TooLong { .. })
    ));
}
