//! No input panics; what parses encodes to the same bytes.
#![no_main]

use holdfast_proto::tpm::{EccCurve, Signature};

libfuzzer_sys::fuzz_target!(|input: &[u8]| {
    if let Ok(signature) = Signature::parse(input) {
        assert_eq!(signature.encode(), input);
        let _ = signature.ecdsa_fixed(EccCurve::P256);
    }
});
