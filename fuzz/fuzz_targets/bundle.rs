//! No input panics; what parses encodes to the same line.
#![no_main]

use holdfast_proto::bundle::Bundle;

libfuzzer_sys::fuzz_target!(|input: &str| {
    if let Ok(bundle) = Bundle::parse(input) {
        assert_eq!(*bundle.encode().unwrap(), input.trim_ascii());
    }
});
