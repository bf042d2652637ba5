//! The signature of a file, as `security.ima` holds it (`signature_v2_hdr`).

use crate::tpm::HashAlg;

/// A signature over a file's digest. Whose, and whether it verifies, is for who
/// has the keys.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct ImaSignature<'a> {
    /// 2: over the digest of the file. 3: over the digest of `ima_file_id`,
    /// which holds the file's digest and its kind.
    pub version: u8,
    /// The digest's algorithm, as the kernel numbers it (`enum hash_algo`).
    pub hash_algo: u8,
    /// Last four bytes of the key's subject key identifier.
    pub key_id: [u8; 4],
    /// RSASSA-PKCS1-v1_5, or ECDSA in DER.
    pub bytes: &'a [u8],
}

impl<'a> ImaSignature<'a> {
    /// `EVM_IMA_XATTR_DIGSIG` (3) and `IMA_VERITY_DIGSIG` (6) with a length that
    /// fits; none for anything else.
    #[must_use]
    pub fn parse(field: &'a [u8]) -> Option<Self> {
        let [kind, version, hash_algo, rest @ ..] = field else {
            return None;
        };
        let [a, b, c, d, high, low, bytes @ ..] = rest else {
            return None;
        };
        let fits = bytes.len() == usize::from(u16::from_be_bytes([*high, *low]));
        let known = matches!((*kind, *version), (3, 2 | 3) | (6, 3));
        (fits && known).then_some(Self {
            version: *version,
            hash_algo: *hash_algo,
            key_id: [*a, *b, *c, *d],
            bytes,
        })
    }

    /// The digest's algorithm, where it is one that Holdfast knows.
    #[must_use]
    pub const fn hash(&self) -> Option<HashAlg> {
        match self.hash_algo {
            2 => Some(HashAlg::Sha1),
            4 => Some(HashAlg::Sha256),
            5 => Some(HashAlg::Sha384),
            6 => Some(HashAlg::Sha512),
            _ => None,
        }
    }
}
