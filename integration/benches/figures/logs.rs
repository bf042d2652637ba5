//! What reading logs costs beside the hashing that it cannot do without.

use std::hint::black_box;
use std::time::Duration;

use criterion::Criterion;
use holdfast_proto::boot_log::{BootLog, DataProof, Event};
use holdfast_proto::ima_log::{Extend, ImaLog, Match, Replay};
use holdfast_proto::tpm::{Digest, HashAlg};

const BANK: HashAlg = HashAlg::Sha256;
const MEASURE: Duration = Duration::from_secs(5);
const BOOT_EVENTS: usize = 5_000;
const IMA_ENTRIES: usize = 100_000;

/// `boot_log_replay`: a 5,000-event log parsed, each event's data held against
/// its digest, and the log replayed; against hashing the same bytes alone.
pub(crate) fn boot_log(criterion: &mut Criterion) {
    let (log, data) = boot_log_of(BOOT_EVENTS);
    let mut group = criterion.benchmark_group("boot_log_replay");
    group.measurement_time(MEASURE);
    group.bench_function("floor", |bench| {
        bench.iter(|| raw_hashing(black_box(&data)));
    });
    group.bench_function("holdfast", |bench| {
        bench.iter(|| {
            let log = BootLog::parse(black_box(&log)).expect("a good log");
            let proven = log
                .events()
                .filter(Event::is_extended)
                .filter(|event| event.data_proof(BANK) == DataProof::Proven)
                .count();
            assert_eq!(proven, BOOT_EVENTS - 1, "every event's data is covered");
            log.replay(BANK)
        });
    });
    group.finish();
}

/// `ima_replay`: a 100,000-entry log followed to the quoted PCR 10; against
/// hashing the same bytes alone.
pub(crate) fn ima_log(criterion: &mut Criterion) {
    let (log, data) = ima_log_of(IMA_ENTRIES);
    let quoted = raw_hashing(&data);
    let mut group = criterion.benchmark_group("ima_replay");
    group.measurement_time(MEASURE).sample_size(20);
    group.bench_function("floor", |bench| {
        bench.iter(|| raw_hashing(black_box(&data)));
    });
    group.bench_function("holdfast", |bench| {
        bench.iter(|| {
            let replay = Replay::from_boot(BANK, Extend::Native);
            let answer = replay
                .until(ImaLog::new(black_box(&log)), 10, &quoted, |_| ())
                .expect("a good log");
            assert!(
                matches!(answer, Match::Reached { at_end: true, .. }),
                "the log leads to the quoted value"
            );
        });
    });
    group.finish();
}

/// The floor: each measured piece of data hashed, and each digest extended into
/// one running value.
fn raw_hashing(data: &[Vec<u8>]) -> Digest {
    let zeros = [0; 32];
    let mut value = Digest::from_bytes(BANK, &zeros).expect("32 bytes");
    for piece in data {
        let digest = BANK.digest(&[piece]);
        value = BANK.digest(&[value.as_bytes(), digest.as_bytes()]);
    }
    value
}

/// A crypto-agile log with a SHA-256 bank (PC Client PFP §10), its Spec ID
/// event first, and what its other events measure. Data as long as firmware
/// and GRUB write it.
fn boot_log_of(events: usize) -> (Vec<u8>, Vec<Vec<u8>>) {
    const LENGTHS: [usize; 8] = [4, 38, 60, 90, 120, 200, 400, 1500];
    const EV_IPL: u32 = 0x0d;
    const EV_NO_ACTION: u32 = 0x03;
    let mut spec_id = b"Spec ID Event03\0".to_vec();
    spec_id.extend([0, 0, 0, 0, 0, 2, 0, 2]);
    spec_id.extend(1u32.to_le_bytes());
    spec_id.extend(BANK.id().to_le_bytes());
    spec_id.extend(32u16.to_le_bytes());
    spec_id.push(0);

    let mut log = 0u32.to_le_bytes().to_vec();
    log.extend(EV_NO_ACTION.to_le_bytes());
    log.extend([0; 20]);
    log.extend(len32(&spec_id));
    log.extend(&spec_id);
    let mut data = Vec::new();
    for (number, length) in (1..events).zip(LENGTHS.into_iter().cycle()) {
        let text = format!("grub_cmd: number {number} ").into_bytes();
        let piece: Vec<u8> = text.into_iter().cycle().take(length).collect();
        log.extend(8u32.to_le_bytes());
        log.extend(EV_IPL.to_le_bytes());
        log.extend(1u32.to_le_bytes());
        log.extend(BANK.id().to_le_bytes());
        log.extend(BANK.digest(&[&piece]).as_bytes());
        log.extend(len32(&piece));
        log.extend(&piece);
        data.push(piece);
    }
    (log, data)
}

/// A binary ima-ng log, and the template data of its entries.
fn ima_log_of(entries: usize) -> (Vec<u8>, Vec<Vec<u8>>) {
    let mut log = Vec::new();
    let mut data = Vec::new();
    for number in 0..entries {
        let digest = BANK.digest(&[&number.to_le_bytes()]);
        let d_ng = [&b"sha256:\0"[..], digest.as_bytes()].concat();
        let n_ng = format!("/usr/lib/x86_64-linux-gnu/library-{number}.so.1\0").into_bytes();
        let piece = [&len32(&d_ng)[..], &d_ng, &len32(&n_ng), &n_ng].concat();
        log.extend(10u32.to_le_bytes());
        log.extend(HashAlg::Sha1.digest(&[&piece]).as_bytes());
        log.extend(len32(b"ima-ng"));
        log.extend(b"ima-ng");
        log.extend(len32(&piece));
        log.extend(&piece);
        data.push(piece);
    }
    (log, data)
}

fn len32(bytes: &[u8]) -> [u8; 4] {
    u32::try_from(bytes.len())
        .expect("short of 4 GiB")
        .to_le_bytes()
}
