//! No input panics; what parses encodes to the same bytes.
#![no_main]

use holdfast_proto::binding::gateway_id;
use holdfast_proto::tpm::Public;

libfuzzer_sys::fuzz_target!(|input: &[u8]| {
    if let Ok(public) = Public::parse(input) {
        assert_eq!(public.encode(), input);
        let _ = (public.name(), gateway_id(&public));
    }
});
