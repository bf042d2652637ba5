//! No request, CA certificate or keyring panics; a request that is taken proves
//! a key, and a keyring that is taken is its own canonical form.
#![no_main]

use holdfast_verifier::{
    custody::Keyring,
    identity::{CaCertificate, CaPublic, RequestedKey, pem},
};

libfuzzer_sys::fuzz_target!(|input: &[u8]| {
    if let Ok(requested) = RequestedKey::parse(&pem::encode("CERTIFICATE REQUEST", input)) {
        let spki = requested.public().spki();
        assert_eq!(CaPublic::from_spki(&spki).as_ref(), Ok(requested.public()));
    }
    let _ = CaCertificate::parse(input);
    if let Ok(ring) = std::str::from_utf8(input).map_err(drop).and_then(|text| {
        Keyring::parse(text).map_err(drop)
    }) {
        assert_eq!(Keyring::parse(&ring.to_text()).as_ref(), Ok(&ring));
    }
});
