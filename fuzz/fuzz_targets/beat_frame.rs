//! Beats: no input panics, and none is a beat without the key. The first byte
//! says where the attestation ends and the signature begins.
#![no_main]

use holdfast_proto::{
    binding::Ueid,
    grpc::v1::BeatQuote,
    tpm::{ClockInfo, HashAlg, Name, PcrSelection, PcrSet},
};
use holdfast_verifier::heartbeat::{Affirmed, Epoch, MasterKey, Pulse};

libfuzzer_sys::fuzz_target!(|input: &[u8]| {
    let Some((&length, frame)) = input.split_first() else {
        return;
    };
    let (attest, signature) = frame.split_at(frame.len().min(length.into()));
    let id = Ueid::parse(&[1; 33]).expect("0x01 and 32 bytes");
    let ak = Name::parse(&[&[0x00, 0x0b][..], &[8; 32]].concat()).expect("SHA-256");
    let key = MasterKey::new(&[3; 32]).derive(&id, &ak, &Epoch::from_bytes([1; 16]));
    let affirmed = Affirmed {
        pcr_digest: [5; 32],
        clock: ClockInfo {
            clock: 1,
            reset_count: 1,
            restart_count: 1,
            safe: true,
        },
        firmware_version: 1,
    };
    let selection = PcrSelection {
        hash: HashAlg::Sha256,
        pcrs: PcrSet::from_indices([0, 7]).expect("0 to 23"),
    };
    let beat = BeatQuote {
        counter: 1,
        attest: attest.to_vec(),
        signature: signature.to_vec(),
    };
    let mut pulse = Pulse::begin(&key, [7; 32], &affirmed);
    assert!(pulse.verify(&beat, &selection).is_err());
});
