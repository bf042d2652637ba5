#![no_main]

use holdfast_proto::devid_challenge::{DevidAnswer, DevidChallenge};

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    let _ = DevidChallenge::parse(bytes);
    let _ = DevidAnswer::parse(bytes);
});
