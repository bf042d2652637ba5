//! No input panics, signed or not; claims that open sign to the same length.
#![no_main]

use holdfast_proto::claims::{SignedClaims, sign};

libfuzzer_sys::fuzz_target!(|input: &[u8]| {
    if let Ok(signed) = SignedClaims::parse(input) {
        let (alg, kid) = (signed.alg(), signed.kid().to_vec());
        let signature = vec![0; alg.signature_len()];
        if let Ok(claims) = signed.open(|_, _, _| Ok::<_, ()>(())) {
            let again = sign(&claims, alg, &kid, |_| Ok::<_, ()>(signature)).unwrap();
            assert!(SignedClaims::parse(&again).is_ok());
        }
    }
});
