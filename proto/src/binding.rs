//! Every tag that binds one message to another, in one place, so that no two
//! purposes can share one.

use sha2::{Digest as _, Sha256};

use crate::tpm::{Name, ParseError, Public};

pub use crate::ueid::{Ueid, UeidError};

const QUOTE_TAG: &[u8] = b"holdfast-quote-v1";
const CERTIFY_TAG: &[u8] = b"holdfast-certify-v1";
const BEAT_TAG: &[u8] = b"holdfast-beat-v1";
const CERTIFY_IDEVID_TAG: &[u8] = b"holdfast-certify-idevid-v1";
const CERTIFY_EK_TAG: &[u8] = b"holdfast-certify-ek-v1";

/// Label of the TLS exporter (RFC 8446 §7.5) whose 32 bytes, taken without a
/// context, are in the claims: evidence is of the connection that carries it.
pub const EXPORTER_LABEL: &[u8] = b"EXPORTER-holdfast-evidence";

/// Length of what the exporter gives, in bytes.
pub const EXPORTER_LEN: usize = 32;

/// `qualifyingData` of the quote: SHA-256("holdfast-quote-v1" ‖ COSE_Sign1), over
/// the very bytes that are sent.
#[must_use]
pub fn quote_extra_data(cose_sign1: &[u8]) -> [u8; 32] {
    sha256(&[QUOTE_TAG, cose_sign1])
}

/// `qualifyingData` of a heartbeat: SHA-256("holdfast-beat-v1" ‖ nonce of the
/// stream ‖ number in the stream as a big-endian u32).
#[must_use]
pub fn beat_extra_data(nonce: &[u8; 32], counter: u32) -> [u8; 32] {
    sha256(&[BEAT_TAG, nonce, &counter.to_be_bytes()])
}

/// `qualifyingData` of the certification of the LDevID key:
/// SHA-256("holdfast-certify-v1" ‖ nonce ‖ AK Name ‖ LDevID Name). A Name says
/// its own length, so that the parts cannot be shifted against one another.
#[must_use]
pub fn certify_extra_data(nonce: &[u8; 32], ak: &Name, ldevid: &Name) -> [u8; 32] {
    sha256(&[CERTIFY_TAG, nonce, ak.as_bytes(), ldevid.as_bytes()])
}

/// `qualifyingData` of the certification of the IDevID key by the IAK:
/// SHA-256("holdfast-certify-idevid-v1" ‖ nonce ‖ IAK Name ‖ IDevID Name).
#[must_use]
pub fn certify_idevid_extra_data(nonce: &[u8; 32], iak: &Name, idevid: &Name) -> [u8; 32] {
    sha256(&[CERTIFY_IDEVID_TAG, nonce, iak.as_bytes(), idevid.as_bytes()])
}

/// `qualifyingData` of the certification of an object under an EK, which shows the
/// EK's Name: SHA-256("holdfast-certify-ek-v1" ‖ nonce ‖ AK Name ‖ EK Name).
#[must_use]
pub fn certify_ek_extra_data(nonce: &[u8; 32], ak: &Name, ek: &Name) -> [u8; 32] {
    sha256(&[CERTIFY_EK_TAG, nonce, ak.as_bytes(), ek.as_bytes()])
}

/// The id of the gateway with this EK, or on the IAK road with this IAK: 0x01 ‖ SHA-256 of the DER
/// `SubjectPublicKeyInfo`. It depends on the key alone, so that no other byte of
/// the public area makes a second gateway of one TPM.
///
/// # Errors
/// Where the area holds no sound public key.
pub fn gateway_id(key: &Public) -> Result<Ueid, ParseError> {
    Ok(Ueid::from_digest(&sha256(&[&key.to_spki_der()?])))
}

fn sha256(parts: &[&[u8]]) -> [u8; 32] {
    let mut hasher = Sha256::new();
    for part in parts {
        hasher.update(part);
    }
    hasher.finalize().into()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tpm::HashAlg;
    use crate::tpm::templates::{EkTemplate, ldevid_template, srk_template};

    #[test]
    fn tags_are_as_written() {
        let expected = HashAlg::Sha256.digest(&[b"holdfast-quote-v1cose"]);
        assert_eq!(quote_extra_data(b"cose").as_slice(), expected.as_bytes());

        let whole = [b"holdfast-beat-v1", [7; 32].as_slice(), &[0, 0, 1, 2]].concat();
        let expected = HashAlg::Sha256.digest(&[&whole]);
        assert_eq!(
            beat_extra_data(&[7; 32], 0x102).as_slice(),
            expected.as_bytes()
        );

        let (ak, ldevid) = (srk_template().name(), ldevid_template().name());
        let whole = [
            b"holdfast-certify-v1",
            [7; 32].as_slice(),
            ak.as_bytes(),
            ldevid.as_bytes(),
        ];
        let expected = HashAlg::Sha256.digest(&[&whole.concat()]);
        assert_eq!(
            certify_extra_data(&[7; 32], &ak, &ldevid).as_slice(),
            expected.as_bytes()
        );
        assert_ne!(
            certify_extra_data(&[7; 32], &ldevid, &ak).as_slice(),
            expected.as_bytes()
        );
        let whole = [
            b"holdfast-certify-idevid-v1",
            [7; 32].as_slice(),
            ak.as_bytes(),
            ldevid.as_bytes(),
        ];
        let expected = HashAlg::Sha256.digest(&[&whole.concat()]);
        assert_eq!(
            certify_idevid_extra_data(&[7; 32], &ak, &ldevid).as_slice(),
            expected.as_bytes()
        );
        let whole = [
            b"holdfast-certify-ek-v1",
            [7; 32].as_slice(),
            ak.as_bytes(),
            ldevid.as_bytes(),
        ];
        let expected = HashAlg::Sha256.digest(&[&whole.concat()]);
        assert_eq!(
            certify_ek_extra_data(&[7; 32], &ak, &ldevid).as_slice(),
            expected.as_bytes()
        );
    }

    #[test]
    fn a_template_without_a_key_has_no_id() {
        for template in EkTemplate::ALL {
            assert!(gateway_id(&template.public()).is_err(), "{template:?}");
        }
    }

    #[test]
    fn the_id_is_of_the_key_alone() {
        let mut ek = EkTemplate::L2.public();
        ek.unique = crate::tpm::Unique::Ecc {
            x: vec![1; 32],
            y: vec![2; 32],
        };
        let id = gateway_id(&ek).unwrap();
        ek.auth_policy = vec![0; 32];
        assert_eq!(gateway_id(&ek), Ok(id));
        ek.unique = crate::tpm::Unique::Ecc {
            x: vec![1; 31],
            y: vec![2; 32],
        };
        assert_ne!(gateway_id(&ek), Ok(id));
    }
}
