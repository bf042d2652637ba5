//! The policy root: the key that every sealed object names and that approves
//! what it opens for (ARCHITECTURE §6). The server needs only its public half,
//! for the Name in bundles: the key may be kept offline.

use holdfast_proto::{sealing::policy_key, tpm::Name};

use crate::owner::P256_SPKI_PREFIX;

/// SubjectPublicKeyInfo of an uncompressed P-256 point (SEC 1 §2.3.3).
#[must_use]
pub fn policy_root_spki(point: &[u8]) -> Vec<u8> {
    [P256_SPKI_PREFIX.as_slice(), point].concat()
}

/// Name of the policy root as TPM2_LoadExternal would compute it: an ECC P-256
/// public area, nameAlg SHA-256, attributes sign and userWithAuth, no policy,
/// scheme ECDSA with SHA-256. Both sides must write that very area, or
/// PolicyAuthorize names another key.
///
/// `None` for anything but the DER SubjectPublicKeyInfo of a P-256 key.
#[must_use]
pub fn policy_root_name(spki: &[u8]) -> Option<Name> {
    let xy: &[u8; 64] = spki
        .strip_prefix(&P256_SPKI_PREFIX)?
        .strip_prefix(&[0x04])?
        .try_into()
        .ok()?;
    let (x, y) = xy.split_first_chunk::<32>()?;
    Some(policy_key(x, y.try_into().ok()?).name())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn name_is_sha256_over_the_documented_area() {
        use sha2::Digest as _;
        let (x, y) = ([0x11; 32], [0x22; 32]);
        let point = [&[4][..], &x, &y].concat();
        // TPM 2.0 Part 2 §12.2.4, byte by byte.
        let area = [
            &[0x00, 0x23][..],         // type TPM_ALG_ECC
            &[0x00, 0x0b],             // nameAlg SHA-256
            &[0x00, 0x04, 0x00, 0x40], // sign, userWithAuth
            &[0x00, 0x00],             // authPolicy, empty
            &[0x00, 0x10],             // symmetric TPM_ALG_NULL
            &[0x00, 0x18, 0x00, 0x0b], // scheme ECDSA with SHA-256
            &[0x00, 0x03],             // curve P-256
            &[0x00, 0x10],             // kdf TPM_ALG_NULL
            &[0x00, 0x20],
            &x,
            &[0x00, 0x20],
            &y,
        ]
        .concat();
        let expected = [&[0x00, 0x0b][..], &sha2::Sha256::digest(area)].concat();
        let spki = policy_root_spki(&point);
        assert_eq!(policy_root_name(&spki).unwrap().as_bytes(), expected);
        assert!(policy_root_name(&spki[..spki.len() - 1]).is_none());
        assert!(policy_root_name(&point).is_none());
    }
}
