//! No input panics; what parses encodes to the same bytes.
#![no_main]

use holdfast_proto::idevid_csr::SignedIdevidCsr;

libfuzzer_sys::fuzz_target!(|input: &[u8]| {
    if let Ok(csr) = SignedIdevidCsr::parse(input) {
        assert_eq!(csr.encode(), input);
    }
});
