//! The replay of a log against quoted values (A12, C17), and the cache.

use std::sync::Arc;

use holdfast_proto::tpm::{HashAlg, PcrSelection, PcrSet};

use crate::verification::{
    BootLogs, KnownBootLog, PcrRelation, ReadBootLog, VerificationError,
    boot_log_cache::GENERATION_BYTES,
    evidence::{BootLog, PcrValues},
};

const SHA1: HashAlg = HashAlg::Sha1;
const ZEROS: [u8; 20] = [0; 20];

/// `TCG_PCR_EVENT`s of the older format: PCR and digest.
fn log(events: &[(u32, [u8; 20])]) -> Vec<u8> {
    let mut bytes = Vec::new();
    for (pcr, digest) in events {
        bytes.extend(pcr.to_le_bytes());
        bytes.extend(0x0Du32.to_le_bytes());
        bytes.extend(digest);
        bytes.extend([0; 4]);
    }
    bytes
}

fn extended(digests: &[[u8; 20]]) -> Vec<u8> {
    let mut value = ZEROS.to_vec();
    for digest in digests {
        value = SHA1.digest(&[&value, digest]).as_bytes().to_vec();
    }
    value
}

fn quoted(values: &[(u32, Vec<u8>)]) -> PcrValues {
    let pcrs = PcrSet::from_indices(values.iter().map(|(index, _)| *index)).unwrap();
    PcrValues::new(PcrSelection { hash: SHA1, pcrs }, values.to_vec())
}

fn whole(content: &[u8]) -> BootLog {
    BootLog::Whole {
        content: content.to_vec(),
        sha256: crate::digest::sha256(&[content]),
    }
}

fn relations(log: &[u8], values: &[(u32, Vec<u8>)]) -> Vec<(u32, PcrRelation)> {
    let replayed = BootLogs::default()
        .replay(&whole(log), None, &quoted(values))
        .unwrap()
        .unwrap();
    replayed
        .relations()
        .iter()
        .map(|(index, relation)| (*index, *relation))
        .collect()
}

#[test]
fn each_quoted_pcr_is_held_against_the_replay() {
    use PcrRelation::*;
    let bytes = log(&[
        (0, [1; 20]),
        (4, [2; 20]),
        (4, [3; 20]),
        (10, [4; 20]),
        (11, [5; 20]),
        (16, [6; 20]),
    ]);
    let values = [
        (0, extended(&[[1; 20]])),
        (4, extended(&[[3; 20], [2; 20]])),
        (5, extended(&[[9; 20]])),
        (8, ZEROS.to_vec()),
        // IMA went on from what the log has.
        (10, extended(&[[4; 20], [7; 20]])),
        (11, extended(&[[5; 20], [7; 20]])),
        // PCRs that anybody can reset: even where the log has their value.
        (16, extended(&[[6; 20]])),
        (23, ZEROS.to_vec()),
    ];
    assert_eq!(
        relations(&bytes, &values),
        [
            (0, Explained),
            (4, Mismatched),
            (5, Untold),
            (8, Empty),
            (10, Outside),
            (11, Mismatched),
            (16, Outside),
            (23, Outside)
        ]
    );
}

/// The IMA log told as events of the boot log, digests without names, would
/// show no file, and pass for an explanation.
#[test]
fn adv_a13_no_boot_log_explains_what_ima_measured() {
    let bytes = log(&[(10, [4; 20])]);
    let told = extended(&[[4; 20]]);
    assert_eq!(
        relations(&bytes, &[(10, told)]),
        [(10, PcrRelation::Outside)]
    );
    let none = log(&[(0, [1; 20])]);
    assert_eq!(
        relations(&none, &[(10, ZEROS.to_vec())]),
        [(10, PcrRelation::Empty)]
    );
}

/// C17: a quote over no PCRs proves no PCR, whatever the log says.
#[test]
fn adv_c17_what_is_not_quoted_is_not_explained() {
    let bytes = log(&[(0, [1; 20]), (7, [2; 20])]);
    assert_eq!(relations(&bytes, &[]), []);
    let one = [(7, extended(&[[2; 20]]))];
    assert_eq!(relations(&bytes, &one), [(7, PcrRelation::Explained)]);
}

#[test]
fn a_log_by_hash_is_read_from_what_the_store_has() {
    let bytes = log(&[(0, [1; 20])]);
    let sha256 = crate::digest::sha256(&[&bytes]);
    let (known, values) = (
        BootLog::Known { sha256 },
        quoted(&[(0, extended(&[[1; 20]]))]),
    );
    let logs = BootLogs::default();
    let unknown = |given| {
        let refused = logs.replay(&known, given, &values);
        assert!(
            matches!(refused, Err(VerificationError::BootLogUnknown)),
            "{refused:?}"
        );
    };
    unknown(None);
    // Another log than the one that was named, stored or read.
    let other = log(&[(0, [2; 20])]);
    unknown(Some(KnownBootLog::Stored(other.clone())));
    unknown(Some(KnownBootLog::Stored(b"damaged".to_vec())));
    let read = |content: Vec<u8>, bank| Arc::new(ReadBootLog::parse(content, bank).unwrap());
    unknown(Some(KnownBootLog::Read(read(other, SHA1))));
    // Replayed in another bank than the quoted one.
    unknown(Some(KnownBootLog::Read(read(
        bytes.clone(),
        HashAlg::Sha256,
    ))));

    let explained = |given| {
        let replayed = logs.replay(&known, given, &values).unwrap().unwrap();
        assert_eq!(replayed.relations()[&0], PcrRelation::Explained);
    };
    explained(Some(KnownBootLog::Read(read(bytes.clone(), SHA1))));
    explained(Some(KnownBootLog::Stored(bytes)));
    // And now it was read lately.
    explained(None);
    assert!(logs.get(&sha256, SHA1).is_some());
    assert!(
        logs.get(&sha256, HashAlg::Sha256).is_none(),
        "not in this bank"
    );
}

#[test]
fn adv_a12_bytes_that_are_no_log_are_refused() {
    let logs = BootLogs::default();
    for bytes in [
        &b""[..],
        b"nonsense",
        &log(&[(24, [0; 20])]),
        &log(&[(0, [0; 20])])[..31],
    ] {
        let refused = logs.replay(&whole(bytes), None, &quoted(&[]));
        assert!(
            matches!(refused, Err(VerificationError::BootLog(_))),
            "{refused:?}"
        );
    }
    assert_eq!(logs.bytes(), 0);
}

#[test]
fn memory_is_bounded_and_the_recent_survive() {
    let logs = BootLogs::default();
    // One event with as much data as is taken.
    let big = |n: u8| {
        let mut bytes = log(&[(0, [n; 20])]);
        bytes.truncate(28);
        bytes.extend((256u32 << 10).to_le_bytes());
        bytes.extend(vec![n; 256 << 10]);
        bytes
    };
    let keep = |content: &[u8]| logs.replay(&whole(content), None, &quoted(&[])).unwrap();
    let held = |content: &[u8]| logs.get(&crate::digest::sha256(&[content]), SHA1).is_some();
    let kept = big(0);
    for round in 0..2 {
        for n in 1..=255 {
            keep(&big(n));
            if n % 50 == 0 {
                keep(&kept);
                assert!(logs.bytes() <= 2 * GENERATION_BYTES, "{round} {n}");
            }
        }
    }
    assert!(held(&kept), "in use, so kept");
    assert!(held(&big(255)));
    assert!(!held(&big(1)), "forgotten");
}

/// A21: it is memory that is bounded, not what the logs count as bytes.
#[test]
fn adv_a21_many_small_logs_do_not_fill_the_cache() {
    let logs = BootLogs::default();
    let small = |n: u32| {
        let mut digest = ZEROS;
        digest[..4].copy_from_slice(&n.to_le_bytes());
        log(&[(0, digest)])
    };
    for n in 0..60_000 {
        logs.replay(&whole(&small(n)), None, &quoted(&[])).unwrap();
    }
    assert!(logs.bytes() <= 2 * GENERATION_BYTES);
    let first = crate::digest::sha256(&[&small(0)]);
    assert!(logs.get(&first, SHA1).is_none(), "forgotten");
}
