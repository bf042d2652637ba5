//! For every structure: parse ∘ encode = id, no truncation and no appended byte
//! parses, no input panics, and what parses encodes to the same bytes.
#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a panic in a test's helper is a failed test"
)]

mod common;

use holdfast_proto::binding::gateway_id;
use holdfast_proto::tpm::{Attest, EccCurve, Name, ParseError, Public, Signature};
use proptest::collection::vec;
use proptest::prelude::*;

fn is_self_delimiting<T: std::fmt::Debug + PartialEq>(
    bytes: &[u8],
    parse: impl Fn(&[u8]) -> Result<T, ParseError>,
) -> Result<(), TestCaseError> {
    for len in 0..bytes.len() {
        prop_assert!(
            parse(&bytes[..len]).is_err(),
            "truncated to {len} of {}",
            bytes.len()
        );
    }
    for byte in [0, 1, 0xFF] {
        let longer = [bytes, &[byte]].concat();
        let trailing = matches!(
            parse(&longer),
            Err(ParseError::TrailingBytes { count: 1, .. })
        );
        prop_assert!(trailing, "with {byte:#04x} appended: {:?}", parse(&longer));
    }
    Ok(())
}

proptest! {
    #[test]
    fn public(public in common::public()) {
        let bytes = public.encode();
        prop_assert_eq!(Public::parse(&bytes), Ok(public.clone()));
        prop_assert_eq!(Public::parse_tpm2b(&public.encode_tpm2b()), Ok(public));
        is_self_delimiting(&bytes, Public::parse)?;
    }

    #[test]
    fn attest(attest in common::attest()) {
        let bytes = attest.encode();
        prop_assert_eq!(Attest::parse(&bytes), Ok(attest));
        is_self_delimiting(&bytes, Attest::parse)?;
    }

    #[test]
    fn signature(signature in common::signature()) {
        let bytes = signature.encode();
        prop_assert_eq!(Signature::parse(&bytes), Ok(signature));
        is_self_delimiting(&bytes, Signature::parse)?;
    }

    #[test]
    fn name(name in common::name()) {
        prop_assert_eq!(Name::parse(name.as_bytes()), Ok(name.clone()));
        for len in 0..name.as_bytes().len() {
            prop_assert!(Name::parse(&name.as_bytes()[..len]).is_err());
        }
        prop_assert!(Name::parse(&[name.as_bytes(), &[0]].concat()).is_err());
    }

    #[test]
    fn changed_structures_parse_to_themselves_or_not_at_all(
        public in common::public(),
        attest in common::attest(),
        signature in common::signature(),
        at in any::<prop::sample::Index>(),
        byte: u8,
    ) {
        let change = |mut bytes: Vec<u8>| {
            let at = at.index(bytes.len());
            bytes[at] = byte;
            bytes
        };
        let bytes = change(public.encode());
        if let Ok(parsed) = Public::parse(&bytes) {
            prop_assert_eq!(parsed.encode(), bytes);
            let _ = (gateway_id(&parsed), parsed.to_ec_point(), parsed.to_rsa_public_key_der());
        }
        let bytes = change(attest.encode());
        if let Ok(parsed) = Attest::parse(&bytes) {
            prop_assert_eq!(parsed.encode(), bytes);
        }
        let bytes = change(signature.encode());
        if let Ok(parsed) = Signature::parse(&bytes) {
            let _ = parsed.ecdsa_fixed(EccCurve::P256);
            prop_assert_eq!(parsed.encode(), bytes);
        }
    }

    #[test]
    fn no_input_panics(bytes in vec(any::<u8>(), 0..300), kind in 0usize..4) {
        // Behind a plausible beginning, so that it gets somewhere.
        let beginnings: [&[u8]; 4] =
            [&[], &[0, 0x23, 0, 0x0B], &[0xFF, 0x54, 0x43, 0x47, 0x80, 0x18], &[0, 0x18, 0, 0x0B]];
        let bytes = [beginnings[kind], &bytes].concat();
        let _ = (Public::parse(&bytes), Public::parse_tpm2b(&bytes), Attest::parse(&bytes));
        let _ = (Signature::parse(&bytes), Name::parse(&bytes));
    }
}
