//! No CoRIM panics, with a signer or without; the PCR values of what reads are
//! a document of reference values.
#![no_main]

use holdfast_verifier::{
    reference_values::import::corim::{Origin, SignerKey, read},
    time::UnixTime,
};

/// DER of the P-256 generator as a public key.
const KEY: [u8; 91] = *include_bytes!("../p256_generator.spki.der");

libfuzzer_sys::fuzz_target!(|input: &[u8]| {
    let now = UnixTime::from_seconds(1_700_000_000);
    let key = SignerKey::read(&KEY).unwrap();
    let _ = read(input, &Origin::Signed(&key), now);
    let Ok(corim) = read(input, &Origin::DangerUnsigned, now) else {
        return;
    };
    for environment in corim.environments().into_iter().flatten() {
        environment.reference_values().unwrap();
    }
});
