//! No input panics as an OCSP request, which anybody may send.
#![no_main]

use holdfast_verifier::identity::ocsp::OcspRequest;

libfuzzer_sys::fuzz_target!(|input: &[u8]| {
    if let Ok(request) = OcspRequest::parse(input) {
        for id in request.cert_ids() {
            assert!(id.as_der().len() <= input.len());
            let _ = id.serial_hex();
        }
    }
});
