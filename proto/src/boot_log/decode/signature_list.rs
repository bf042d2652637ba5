//! `EFI_SIGNATURE_LIST` (UEFI Specification §32.4.1): the contents of PK, KEK,
//! db and dbx.

use super::Guid;
use crate::boot_log::{Cause, Cursor, Flaw};

/// Length of `EFI_SIGNATURE_LIST` before its signature header.
const LIST_HEADER: usize = 16 + 3 * 4;

/// Length of `EFI_SIGNATURE_DATA.SignatureOwner`.
const OWNER: usize = 16;

/// What a signature list holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SignatureKind {
    /// SHA-1 of an image (Authenticode)
    Sha1,
    /// SHA-224 of an image
    Sha224,
    /// SHA-256 of an image
    Sha256,
    /// SHA-384 of an image
    Sha384,
    /// SHA-512 of an image
    Sha512,
    /// DER certificate
    X509,
    /// SHA-256 of a certificate's TBS, and a revocation time (`EFI_TIME`)
    X509Sha256,
    /// SHA-384 of a certificate's TBS, and a revocation time
    X509Sha384,
    /// SHA-512 of a certificate's TBS, and a revocation time
    X509Sha512,
    /// RSA-2048 modulus
    Rsa2048,
    /// Any other
    Other(Guid),
}

impl SignatureKind {
    /// By `SignatureType`, with the length of what follows the owner, where the
    /// type fixes it.
    fn of(signature_type: Guid) -> (Self, Option<usize>) {
        const SHA1: Guid = Guid::new(0x826c_a512, 0xcf10, 0x4ac9, 0xb187_be01_4966_31bd);
        const SHA224: Guid = Guid::new(0x0b6e_5233, 0xa65c, 0x44c9, 0x9407_d9ab_83bf_c8bd);
        const SHA256: Guid = Guid::new(0xc1c4_1626, 0x504c, 0x4092, 0xaca9_41f9_3693_4328);
        const SHA384: Guid = Guid::new(0xff3e_5307, 0x9fd0, 0x48c9, 0x85f1_8ad5_6c70_1e01);
        const SHA512: Guid = Guid::new(0x093e_0fae, 0xa6c4, 0x4f50, 0x9f1b_d41e_2b89_c19a);
        const X509: Guid = Guid::new(0xa5c0_59a1, 0x94e4, 0x4aa7, 0x87b5_ab15_5c2b_f072);
        const X509_SHA256: Guid = Guid::new(0x3bd2_a492, 0x96c0, 0x4079, 0xb420_fcf9_8ef1_03ed);
        const X509_SHA384: Guid = Guid::new(0x7076_876e, 0x80c2, 0x4ee6, 0xaad2_28b3_49a6_865b);
        const X509_SHA512: Guid = Guid::new(0x446d_bf63, 0x2502, 0x4cda, 0xbcfa_2465_d2b0_fe9d);
        const RSA2048: Guid = Guid::new(0x3c57_66e8, 0x269c, 0x4e34, 0xaa14_ed77_6e85_b3b6);
        match signature_type {
            SHA1 => (Self::Sha1, Some(20)),
            SHA224 => (Self::Sha224, Some(28)),
            SHA256 => (Self::Sha256, Some(32)),
            SHA384 => (Self::Sha384, Some(48)),
            SHA512 => (Self::Sha512, Some(64)),
            X509 => (Self::X509, None),
            X509_SHA256 => (Self::X509Sha256, Some(32 + 16)),
            X509_SHA384 => (Self::X509Sha384, Some(48 + 16)),
            X509_SHA512 => (Self::X509Sha512, Some(64 + 16)),
            RSA2048 => (Self::Rsa2048, Some(256)),
            other => (Self::Other(other), None),
        }
    }
}

/// `EFI_SIGNATURE_DATA`
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Signature<'a> {
    /// What `data` is.
    pub kind: SignatureKind,
    /// Who put it there, by their own word.
    pub owner: Guid,
    /// The certificate, the hash, or what `kind` says.
    pub data: &'a [u8],
}

/// Well-formed signature lists, one after the other. Every size in them was
/// held against every other, so that going through them cannot fail.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct SignatureLists<'a>(&'a [u8]);

impl<'a> SignatureLists<'a> {
    /// Exactly `bytes`, which may be empty: a variable that is not set.
    ///
    /// # Errors
    /// [`Flaw`] where sizes do not add up, or do not fit the signature type.
    pub fn parse(bytes: &'a [u8]) -> Result<Self, Flaw> {
        let mut cursor = Cursor::new(bytes);
        while !cursor.rest().is_empty() {
            List::read(&mut cursor)?;
        }
        Ok(Self(bytes))
    }

    /// All signatures of all lists, in order.
    pub fn iter(&self) -> impl Iterator<Item = Signature<'a>> + use<'a> {
        let mut cursor = Cursor::new(self.0);
        std::iter::from_fn(move || List::read(&mut cursor).ok()).flat_map(List::signatures)
    }
}

impl std::fmt::Debug for SignatureLists<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_list().entries(self.iter()).finish()
    }
}

struct List<'a> {
    kind: SignatureKind,
    size: usize,
    signatures: &'a [u8],
}

impl<'a> List<'a> {
    fn read(cursor: &mut Cursor<'a>) -> Result<Self, Flaw> {
        const LIST_SIZE: &str = "EFI_SIGNATURE_LIST.SignatureListSize";
        const SIZE: &str = "EFI_SIGNATURE_LIST.SignatureSize";
        let signature_type = Guid(cursor.array("EFI_SIGNATURE_LIST.SignatureType")?);
        let (kind, fixed) = SignatureKind::of(signature_type);
        let at = cursor.clone();
        let list_size = cursor.size32(LIST_SIZE, usize::MAX)?;
        let Some(body) = list_size.checked_sub(LIST_HEADER) else {
            let (len, expected) = (list_size, LIST_HEADER);
            return Err(at.flaw(LIST_SIZE, Cause::WrongLength { len, expected }));
        };
        // A header that is not skipped reads as signatures (GHSA-9r4w-jg96-92mv).
        let header = cursor.size32("EFI_SIGNATURE_LIST.SignatureHeaderSize", body)?;
        let at = cursor.clone();
        let size = cursor.size32(SIZE, usize::MAX)?;
        let wrong = |expected| {
            at.flaw(
                SIZE,
                Cause::WrongLength {
                    len: size,
                    expected,
                },
            )
        };
        match size.checked_sub(OWNER) {
            None | Some(0) => return Err(wrong(OWNER + 1)),
            Some(data) if fixed.is_some_and(|fixed| fixed != data) => {
                return Err(wrong(OWNER + fixed.unwrap_or(data)));
            }
            Some(_) => {}
        }
        cursor.take("EFI_SIGNATURE_LIST.SignatureHeader", header)?;
        let signatures = cursor.take("EFI_SIGNATURE_LIST.Signatures", body - header)?;
        if !signatures.len().is_multiple_of(size) {
            return Err(wrong(signatures.len()));
        }
        Ok(Self {
            kind,
            size,
            signatures,
        })
    }

    fn signatures(self) -> impl Iterator<Item = Signature<'a>> {
        let kind = self.kind;
        self.signatures
            .chunks_exact(self.size)
            .filter_map(move |signature| {
                let (owner, data) = signature.split_first_chunk::<OWNER>()?;
                let owner = Guid(*owner);
                Some(Signature { kind, owner, data })
            })
    }
}
