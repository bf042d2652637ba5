//! `TSS2 PRIVATE KEY`: the file by which OpenSSL's tpm2 provider finds a key
//! (draft-bottomley-tpm2-keys; ASN.1 `TPMKey`). The private half in it is
//! encrypted by the TPM, and of use to that TPM alone.

use super::der;
use crate::state::pem_block;
use crate::tpm::KeyBlob;

/// 2.23.133.10.1.3, `id-loadablekey`: the one kind that tpm2-openssl reads.
const LOADABLE_KEY: [u8; 6] = [0x67, 0x81, 0x05, 0x0A, 0x01, 0x03];
const LABEL: &str = "TSS2 PRIVATE KEY";

/// The key as `TSS2 PRIVATE KEY` PEM, with exactly the fields that tpm2-openssl
/// 1.1 takes: type, emptyAuth, parent, pubkey, privkey. `parent` is the
/// persistent handle of the storage root.
#[must_use]
pub fn tss2_pem(key: &KeyBlob, parent: u32) -> String {
    pem_block(LABEL, &tpm_key(key, parent))
}

fn tpm_key(key: &KeyBlob, parent: u32) -> Vec<u8> {
    der::sequence(&[
        der::object_identifier(&LOADABLE_KEY),
        der::explicit(0, &der::boolean(true)),
        der::positive(&parent.to_be_bytes()).expect("no persistent handle is zero"),
        der::octet_string(&key.encode_public()),
        der::octet_string(&key.encode_private()),
    ])
}

#[cfg(test)]
mod tests {
    use base64::Engine as _;
    use base64::engine::general_purpose::STANDARD;
    use holdfast_proto::tpm::templates::ldevid_template;

    use super::*;

    fn key() -> KeyBlob {
        let private = [&[0, 200][..], &[9; 200]].concat();
        KeyBlob::parse(&ldevid_template().encode_tpm2b(), &private).unwrap()
    }

    #[test]
    fn the_fields_are_those_of_the_draft() {
        let (key, public) = (key(), ldevid_template().encode_tpm2b());
        let der = tpm_key(&key, 0x8100_0001);
        let head = [
            // type, emptyAuth [0] TRUE, parent 0x0081000001
            &[0x06, 6, 0x67, 0x81, 0x05, 0x0A, 0x01, 0x03][..],
            &[0xA0, 3, 0x01, 1, 0xFF],
            &[0x02, 5, 0, 0x81, 0, 0, 1],
            &[0x04, u8::try_from(public.len()).unwrap()],
            &public,
            &[0x04, 0x81, 202, 0, 200],
            &[9; 200],
        ]
        .concat();
        let length = u8::try_from(head.len()).unwrap();
        assert_eq!(der, [&[0x30, 0x81, length][..], &head].concat());
    }

    #[test]
    fn lines_are_those_of_pem() {
        let pem = tss2_pem(&key(), 0x8100_0001);
        let lines: Vec<_> = pem.lines().collect();
        let (first, rest) = lines.split_first().unwrap();
        let (last, body) = rest.split_last().unwrap();
        assert_eq!(*first, "-----BEGIN TSS2 PRIVATE KEY-----");
        assert_eq!(*last, "-----END TSS2 PRIVATE KEY-----");
        assert!(body.iter().all(|line| (1..=64).contains(&line.len())));
        let decoded = STANDARD.decode(body.concat()).unwrap();
        assert_eq!(decoded, tpm_key(&key(), 0x8100_0001));
    }
}
