//! Reading NV indices, and finding where a certificate in them ends.

use tss_esapi::constants::PropertyTag;
use tss_esapi::handles::{NvIndexHandle, NvIndexTpmHandle, TpmHandle};
use tss_esapi::interface_types::resource_handles::NvAuth;

use super::TpmError;
use super::engine::{Encrypt, Engine, NO_SESSION};
use super::error::rc;

/// Part 2 §7.2, `TPM_HT_NV_INDEX`: what the TCG reserves for endorsement data
/// (Registry of Reserved Handles §2.2) starts here.
pub(super) const FIRST_ENDORSEMENT_INDEX: u32 = 0x01C0_0000;
/// As many NV handles as a TPM lists in one answer.
const MAX_LISTED: u32 = 254;
/// Where a TPM does not say how much one `TPM2_NV_Read` returns: the least
/// that the PC Client profile allows.
const DEFAULT_CHUNK: u16 = 512;
/// An EK certificate is 1 to 2 KiB; chains are split over indices.
const MAX_INDEX_SIZE: usize = 16 * 1024;

impl Engine {
    /// NV indices in the TCG's endorsement ranges that exist, ascending.
    pub(super) fn endorsement_indices(&mut self) -> Result<Vec<u32>, TpmError> {
        self.handles(FIRST_ENDORSEMENT_INDEX, MAX_LISTED)
    }

    /// NV indices that exist from `first` on, ascending.
    pub(super) fn nv_indices_from(&mut self, first: u32) -> Result<Vec<u32>, TpmError> {
        self.handles(first, MAX_LISTED)
    }

    /// All bytes of an NV index; `None` where it does not exist, or was defined
    /// and never written.
    pub(super) fn read_nv(&mut self, index: u32) -> Result<Option<Vec<u8>>, TpmError> {
        let handle = NvIndexTpmHandle::new(index)
            .map(TpmHandle::from)
            .map_err(|e| TpmError::from_tss("NV index", e))?;
        let outcome = self.with_reference("TPM2_NV_ReadPublic", handle, |engine, object| {
            let nv = NvIndexHandle::from(object);
            let (public, _) =
                engine.command("TPM2_NV_ReadPublic", NO_SESSION, |c| c.nv_read_public(nv))?;
            if public.data_size() > MAX_INDEX_SIZE {
                return Err(TpmError::NvContent {
                    index,
                    problem: "larger than 16 KiB",
                });
            }
            engine.read_nv_area(nv, public.data_size())
        });
        match outcome {
            Ok(bytes) => Ok(Some(bytes)),
            Err(error) if error.is_absent() || error.base_code() == Some(rc::NV_UNINITIALIZED) => {
                Ok(None)
            }
            Err(error) => Err(error),
        }
    }

    fn read_nv_area(&mut self, nv: NvIndexHandle, size: usize) -> Result<Vec<u8>, TpmError> {
        let chunk = self.nv_chunk()?;
        let mut auth = NvAuth::NvIndex(nv);
        let mut bytes = Vec::with_capacity(size);
        while bytes.len() < size {
            let (Ok(offset), Ok(left)) = (
                u16::try_from(bytes.len()),
                u16::try_from(size - bytes.len()),
            ) else {
                break;
            };
            let session = self.session(Encrypt::Response)?;
            let part = self.command("TPM2_NV_Read", (Some(session), None, None), |context| {
                context.nv_read(auth, nv, left.min(chunk), offset)
            });
            match part {
                Ok(part) if part.is_empty() => break,
                Ok(part) => bytes.extend_from_slice(&part),
                // Vendors that leave AUTHREAD out allow OWNERREAD instead.
                Err(error)
                    if auth != NvAuth::Owner
                        && (error.base_code() == Some(rc::NV_AUTHORIZATION)) =>
                {
                    auth = NvAuth::Owner;
                }
                Err(error) => return Err(error),
            }
        }
        Ok(bytes)
    }

    fn nv_chunk(&mut self) -> Result<u16, TpmError> {
        let limit = self.property(PropertyTag::NvBufferMax)?;
        // libtss2's TPM2B_MAX_NV_BUFFER holds 2048 bytes.
        Ok(limit
            .and_then(|n| u16::try_from(n.min(2048)).ok())
            .unwrap_or(DEFAULT_CHUNK))
    }
}

/// Splits off one DER value whose outer tag is SEQUENCE: exactly its bytes,
/// and what follows. NV space is padded, so a certificate ends where its own
/// length says, and nowhere else.
pub(super) fn split_sequence(bytes: &[u8]) -> Result<(&[u8], &[u8]), &'static str> {
    let [0x30, first, rest @ ..] = bytes else {
        return Err("does not start with a DER SEQUENCE");
    };
    let (length, header) = match *first {
        short @ ..=0x7F => (usize::from(short), 2),
        0x81 => match rest {
            [a @ 0x80..=0xFF, ..] => (usize::from(*a), 3),
            _ => return Err("DER length is not minimal or is cut off"),
        },
        0x82 => match rest {
            [a @ 1..=0xFF, b, ..] => (usize::from(*a) << 8 | usize::from(*b), 4),
            _ => return Err("DER length is not minimal or is cut off"),
        },
        _ => return Err("DER length is indefinite or over 64 KiB"),
    };
    bytes
        .split_at_checked(header + length)
        .ok_or("DER value is longer than the NV index")
}

/// All certificates in the chain indices' bytes, one after another, up to the
/// padding (EK Credential Profile §2.2.1.5.2).
pub(super) fn split_chain(mut bytes: &[u8]) -> Result<Vec<Vec<u8>>, &'static str> {
    let mut chain = Vec::new();
    while bytes.first() == Some(&0x30) {
        let (certificate, rest) = split_sequence(bytes)?;
        chain.push(certificate.to_vec());
        bytes = rest;
    }
    if bytes
        .iter()
        .all(|b| *b == bytes.first().copied().unwrap_or(0) && matches!(b, 0 | 0xFF))
    {
        Ok(chain)
    } else {
        Err("bytes after the last certificate are neither DER nor padding")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_certificate_ends_where_its_length_says() {
        let (value, rest) = split_sequence(&[0x30, 2, 5, 0, 0xFF, 0xFF]).unwrap();
        assert_eq!((value, rest), (&[0x30, 2, 5, 0][..], &[0xFF, 0xFF][..]));
        let mut long = vec![0x30, 0x82, 0x01, 0x00];
        long.resize(4 + 256, 7);
        let (value, rest) = split_sequence(&long).unwrap();
        assert_eq!((value.len(), rest.len()), (260, 0));
        let mut middle = vec![0x30, 0x81, 0x80];
        middle.resize(3 + 128, 7);
        assert_eq!(split_sequence(&middle).unwrap().0.len(), 131);
    }

    #[test]
    fn lengths_that_are_not_der_are_refused() {
        for bytes in [
            &[][..],
            &[0x31, 0],
            &[0x30],
            &[0x30, 0x80, 0, 0],
            &[0x30, 0x81, 0x7F],
            &[0x30, 0x82, 0x00, 0xFF],
            &[0x30, 0x82, 0x01],
            &[0x30, 0x83, 1, 0, 0],
            &[0x30, 5, 1, 2],
        ] {
            assert!(split_sequence(bytes).is_err(), "{bytes:02x?}");
        }
    }

    #[test]
    fn chains_split_at_padding() {
        let two = [0x30, 1, 9, 0x30, 0, 0xFF, 0xFF, 0xFF];
        assert_eq!(
            split_chain(&two).unwrap(),
            vec![vec![0x30, 1, 9], vec![0x30, 0]]
        );
        assert_eq!(split_chain(&[0, 0]).unwrap(), Vec::<Vec<u8>>::new());
        assert_eq!(split_chain(&[]).unwrap(), Vec::<Vec<u8>>::new());
        assert!(split_chain(&[0x30, 0, 0xFF, 0]).is_err());
        assert!(split_chain(&[0x30, 0, 7]).is_err());
    }
}
