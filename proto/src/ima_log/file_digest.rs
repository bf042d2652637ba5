//! The digest of a measured file, as the fields `d`, `d-ng` and `d-ngv2` hold it.

use super::Field;
use crate::boot_log::Cause;
use crate::tpm::HashAlg;

/// The longest name of an algorithm, in bytes: twice the longest that the
/// kernel has.
const MAX_ALGORITHM: usize = 32;

/// The longest digest, in bytes, of an algorithm that Holdfast does not know:
/// that of SHA-512, which no digest of the kernel's exceeds.
const MAX_UNKNOWN_DIGEST: usize = 64;

/// What a file digest is of.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum DigestKind {
    /// The file's contents.
    Contents,
    /// fs-verity's file digest.
    Verity,
}

/// Digest of a measured file.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct FileDigest<'a> {
    /// What it is of.
    pub kind: DigestKind,
    /// The kernel's name of the algorithm, which may be one that Holdfast does
    /// not know.
    pub algorithm: &'a str,
    /// The digest.
    pub bytes: &'a [u8],
}

impl<'a> FileDigest<'a> {
    /// The algorithm, where it is one that Holdfast knows.
    #[must_use]
    pub fn hash(&self) -> Option<HashAlg> {
        HashAlg::from_name(self.algorithm)
    }

    pub(super) fn parse(field: Field, content: &'a [u8]) -> Result<Self, Cause> {
        if field == Field::Digest {
            let (len, expected) = (content.len(), HashAlg::Sha1.digest_len());
            if len != expected {
                return Err(Cause::WrongLength { len, expected });
            }
            return Ok(Self {
                kind: DigestKind::Contents,
                algorithm: HashAlg::Sha1.name(),
                bytes: content,
            });
        }
        // `[<kind>:]<algorithm>:\0<digest>`
        let len = content.iter().take_while(|byte| **byte != 0).count();
        let (label, rest) = content.split_at_checked(len).ok_or(Cause::NotText)?;
        let bytes = rest.strip_prefix(b"\0").ok_or(Cause::NotText)?;
        let label = std::str::from_utf8(label).map_err(|_| Cause::NotText)?;
        let label = label.strip_suffix(':').ok_or(Cause::NotText)?;
        let (kind, algorithm) = match field {
            Field::DigestNgV2 => match label.split_once(':') {
                Some(("ima", algorithm)) => (DigestKind::Contents, algorithm),
                Some(("verity", algorithm)) => (DigestKind::Verity, algorithm),
                _ => return Err(Cause::NotAllowed),
            },
            _ => (DigestKind::Contents, label),
        };
        let named = (1..=MAX_ALGORITHM).contains(&algorithm.len())
            && algorithm
                .bytes()
                .all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-');
        if !named {
            return Err(Cause::NotAllowed);
        }
        match HashAlg::from_name(algorithm).map(HashAlg::digest_len) {
            // For a violation kernels leave room for 20 bytes, whatever the
            // algorithm (`IMA_DIGEST_SIZE`).
            Some(expected) if bytes.len() != expected && bytes != [0; 20] => {
                let len = bytes.len();
                Err(Cause::WrongLength { len, expected })
            }
            None if bytes.is_empty() => Err(Cause::Truncated { missing: 1 }),
            None if bytes.len() > MAX_UNKNOWN_DIGEST => Err(Cause::OverLimit {
                value: bytes.len(),
                max: MAX_UNKNOWN_DIGEST,
            }),
            _ => Ok(Self {
                kind,
                algorithm,
                bytes,
            }),
        }
    }
}
