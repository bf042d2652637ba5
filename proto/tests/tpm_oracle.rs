//! The crate tpm2-protocol as a second opinion: whatever we accept, it accepts,
//! to the last byte, and marshals back to the same bytes.
//!
//! The reverse does not hold and is not meant to: it knows algorithms, unions
//! and encodings that we refuse.
#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a panic in a test's helper is a failed test"
)]

mod common;

use holdfast_proto::tpm::{Attest, Public, Signature};
use proptest::prelude::*;
use tpm2_protocol::data::{TpmsAttest, TpmtPublic, TpmtSignature};
use tpm2_protocol::{TpmMarshal, TpmUnmarshal, TpmWriter};

fn agrees<T: TpmMarshal + TpmUnmarshal>(bytes: &[u8]) -> Result<T, TestCaseError> {
    let (value, rest) = T::unmarshal(bytes)
        .map_err(|error| TestCaseError::fail(format!("{error}: {}", hex::encode(bytes))))?;
    prop_assert_eq!(rest.len(), 0);
    let mut again = [0; 4096];
    let mut writer = TpmWriter::new(&mut again);
    value
        .marshal(&mut writer)
        .map_err(|error| TestCaseError::fail(error.to_string()))?;
    let len = writer.len();
    prop_assert_eq!(&again[..len], bytes);
    Ok(value)
}

proptest! {
    #[test]
    fn on_public(public in common::public()) {
        let theirs: TpmtPublic = agrees(&public.encode())?;
        prop_assert_eq!(theirs.name_alg.value(), public.name_alg.id());
        prop_assert_eq!(theirs.object_attributes.bits(), public.attributes.bits());
        prop_assert_eq!(theirs.auth_policy.as_ref(), public.auth_policy.as_slice());
    }

    #[test]
    fn on_attest(attest in common::attest()) {
        let theirs: TpmsAttest = agrees(&attest.encode())?;
        prop_assert_eq!(theirs.extra_data.as_ref(), attest.extra_data.as_slice());
        prop_assert_eq!(theirs.firmware_version.value(), attest.firmware_version);
        prop_assert_eq!(theirs.clock_info.clock.value(), attest.clock_info.clock);
    }

    #[test]
    fn on_signature(signature in common::signature()) {
        agrees::<TpmtSignature>(&signature.encode())?;
    }

    #[test]
    fn on_changed_structures_that_we_accept(
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
        if Public::parse(&bytes).is_ok() {
            agrees::<TpmtPublic>(&bytes)?;
        }
        let bytes = change(attest.encode());
        if Attest::parse(&bytes).is_ok() {
            agrees::<TpmsAttest>(&bytes)?;
        }
        let bytes = change(signature.encode());
        if Signature::parse(&bytes).is_ok() {
            agrees::<TpmtSignature>(&bytes)?;
        }
    }
}
