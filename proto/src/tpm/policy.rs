//! Policy digests as a TPM computes them (TPM 2.0 Library Part 3 §23), with
//! SHA-256: what an object's `authPolicy` holds.

use super::cursor::Writer;
use super::{HashAlg, Name, PcrSelection};

const CC_POLICY_AUTHORIZE: u32 = 0x0000_016A;
const CC_POLICY_PCR: u32 = 0x0000_017F;
/// A policy session begins with this (Part 1 §19.7).
const EMPTY: [u8; 32] = [0; 32];

/// PolicyPCR alone: these PCRs have values with this digest (Part 3 §23.7).
#[must_use]
pub fn policy_pcr(selection: &PcrSelection, pcr_digest: &[u8; 32]) -> [u8; 32] {
    let mut list = Writer::default();
    PcrSelection::write_list(&[*selection], &mut list);
    sha256(&[
        &EMPTY,
        &CC_POLICY_PCR.to_be_bytes(),
        &list.into_bytes(),
        pcr_digest,
    ])
}

/// PolicyAuthorize: whatever policy the key of this Name signs for `reference`
/// (Part 3 §23.16). It replaces the policy before it.
#[must_use]
pub fn policy_authorize(key: &Name, reference: &[u8]) -> [u8; 32] {
    let named = sha256(&[&EMPTY, &CC_POLICY_AUTHORIZE.to_be_bytes(), key.as_bytes()]);
    sha256(&[&named, reference])
}

fn sha256(parts: &[&[u8]]) -> [u8; 32] {
    let digest = HashAlg::Sha256.digest(parts);
    digest
        .as_bytes()
        .try_into()
        .expect("a SHA-256 digest has 32 bytes")
}
