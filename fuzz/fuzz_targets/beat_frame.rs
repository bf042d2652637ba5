//! Frames of heartbeats, as they come from the wire: no input panics, and none is
//! a beat that the key did not make. The genuine ones are among the seeds, so that
//! what follows the HMAC is reached, and so that it is what mutations meet.
#![no_main]

use std::sync::LazyLock;

use holdfast_proto::{
    binding::Ueid,
    grpc::v1::{BeatQuote, BeatRequest, beat_request::Frame},
    tpm::{ClockInfo, HashAlg, Name, PcrSelection, PcrSet},
};
use holdfast_verifier::heartbeat::{Affirmed, Epoch, HeartbeatKey, MasterKey, Pulse};
use prost::Message as _;

/// As the tests of `heartbeat::pulse` have it, which write the seeds.
static KEY: LazyLock<HeartbeatKey> = LazyLock::new(|| {
    let id = Ueid::parse(&[&[1][..], &[9; 32]].concat()).expect("0x01 and 32 bytes");
    let ak = Name::parse(&[&[0x00, 0x0b][..], &[8; 32]].concat()).expect("SHA-256");
    MasterKey::new(&[3; 32]).derive(&id, &ak, &Epoch::from_bytes([1; 16]))
});

static GENUINE: LazyLock<Vec<BeatQuote>> = LazyLock::new(|| {
    [
        &include_bytes!("../seeds/beat_frame/genuine")[..],
        include_bytes!("../seeds/beat_frame/drift"),
        include_bytes!("../seeds/beat_frame/rollback"),
    ]
    .into_iter()
    .map(|seed| beat(seed).expect("a seed is a beat"))
    .collect()
});

fn beat(frame: &[u8]) -> Option<BeatQuote> {
    match BeatRequest::decode(frame).ok()?.frame? {
        Frame::Beat(beat) => Some(beat),
        Frame::Hello(_) => None,
    }
}

libfuzzer_sys::fuzz_target!(|input: &[u8]| {
    let Some(beat) = beat(input) else {
        return;
    };
    let affirmed = Affirmed {
        pcr_digest: [5; 32],
        clock: ClockInfo {
            clock: 1000,
            reset_count: 4,
            restart_count: 1,
            safe: true,
        },
        firmware_version: 11,
    };
    let selection = PcrSelection {
        hash: HashAlg::Sha256,
        pcrs: PcrSet::from_indices([0, 4, 7]).expect("0 to 23"),
    };
    let mut pulse = Pulse::begin(&KEY, [7; 32], &affirmed);
    let genuine = GENUINE.contains(&beat);
    assert_eq!(pulse.verify(&beat, &selection).is_ok(), genuine);
    // Once.
    assert!(pulse.verify(&beat, &selection).is_err());
});
