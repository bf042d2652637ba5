//! A boot log of 5,000 events and an IMA log of 100,000 entries are read in
//! one pass, in memory that the log's own size bounds. One test, so that no
//! other of this process moves the peak.
#![allow(
    clippy::unwrap_used,
    reason = "a panic in a test's helper is a failed test"
)]

use std::fs;

use holdfast_proto::boot_log::BootLog;
use holdfast_proto::ima_log::{Extend, ImaLog, Match, Replay};
use holdfast_proto::tpm::HashAlg;

const BANK: HashAlg = HashAlg::Sha256;

#[test]
fn memory_is_bounded_by_the_log() {
    let boot = boot_log(5_000);
    let grown = peak_growth(|| {
        let log = BootLog::parse(&boot).unwrap();
        assert_eq!(log.events().len(), 5_000);
        assert_eq!(log.facts(BANK).filter(|fact| fact.proven).count(), 4_999);
        assert!(log.replay(BANK).get(8).is_some());
    });
    println!("boot log: {} bytes, peak grew by {grown}", boot.len());
    assert!(grown <= boot.len(), "{grown} over {}", boot.len());

    let (ima, quoted) = ima_log(100_000);
    let grown = peak_growth(|| {
        let replay = Replay::from_boot(BANK, Extend::Native);
        let answer = replay.until(ImaLog::new(&ima), 10, quoted.get(10).unwrap(), |_| ());
        assert!(matches!(
            answer.unwrap(),
            Match::Reached { at_end: true, .. }
        ));
    });
    println!("IMA log: {} bytes, peak grew by {grown}", ima.len());
    assert!(grown <= 1 << 20, "{grown}: entries are not kept");
}

/// By how many bytes the peak of resident memory rises while `work` runs
/// (proc(5): 5 in clear_refs sets the peak to what is resident now).
fn peak_growth(work: impl FnOnce()) -> usize {
    fs::write("/proc/self/clear_refs", "5").unwrap();
    let before = peak();
    work();
    peak() - before
}

fn peak() -> usize {
    let status = fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find(|line| line.starts_with("VmHWM:"));
    let kib = line.unwrap().split_whitespace().nth(1).unwrap();
    kib.parse::<usize>().unwrap() * 1024
}

/// Crypto-agile, SHA-256 only: the Spec ID event, then GRUB commands in PCR 8.
fn boot_log(events: usize) -> Vec<u8> {
    let spec_id = [
        &b"Spec ID Event03\0\0\0\0\0\0\x02\0\x02\x01\0\0\0"[..],
        &BANK.id().to_le_bytes(),
        &[32, 0, 0],
    ]
    .concat();
    let mut log = [&[0, 0, 0, 0, 3, 0, 0, 0][..], &[0; 20]].concat();
    log.extend(len32(&spec_id));
    log.extend(spec_id);
    for number in 1..events {
        let command = format!("setparams 'entry {number}' {}", "argument ".repeat(20));
        let data = format!("grub_cmd: {command}\0");
        log.extend([8, 0, 0, 0, 0x0d, 0, 0, 0, 1, 0, 0, 0]);
        log.extend(BANK.id().to_le_bytes());
        log.extend(BANK.digest(&[command.as_bytes()]).as_bytes());
        log.extend(len32(data.as_bytes()));
        log.extend(data.as_bytes());
    }
    log
}

/// Binary, ima-ng; and what it extends to.
fn ima_log(entries: usize) -> (Vec<u8>, holdfast_proto::boot_log::PcrMap) {
    let mut log = Vec::new();
    for number in 0..entries {
        let digest = BANK.digest(&[&number.to_le_bytes()]);
        let d_ng = [&b"sha256:\0"[..], digest.as_bytes()].concat();
        let n_ng = format!("/usr/lib/x86_64-linux-gnu/library-{number}.so.1\0");
        let data = [
            &len32(&d_ng)[..],
            &d_ng,
            &len32(n_ng.as_bytes()),
            n_ng.as_bytes(),
        ]
        .concat();
        log.extend([10, 0, 0, 0]);
        log.extend(HashAlg::Sha1.digest(&[&data]).as_bytes());
        log.extend([6, 0, 0, 0]);
        log.extend(b"ima-ng");
        log.extend(len32(&data));
        log.extend(data);
    }
    let mut replay = Replay::from_boot(BANK, Extend::Native);
    for entry in ImaLog::new(&log).entries() {
        replay.push(&entry.unwrap());
    }
    (log, replay.pcrs().clone())
}

fn len32(bytes: &[u8]) -> [u8; 4] {
    u32::try_from(bytes.len()).unwrap().to_le_bytes()
}
