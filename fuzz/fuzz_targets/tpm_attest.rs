//! No input panics; what parses encodes to the same bytes.
#![no_main]

use holdfast_proto::tpm::Attest;

libfuzzer_sys::fuzz_target!(|input: &[u8]| {
    if let Ok(attest) = Attest::parse(input) {
        assert_eq!(attest.encode(), input);
    }
});
