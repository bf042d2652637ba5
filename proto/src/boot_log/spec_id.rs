//! `TCG_EfiSpecIDEvent`: which algorithms the events of a crypto-agile log
//! carry (PC Client Platform Firmware Profile §10.4.5.1).

use super::cursor::{Cause, Cursor, Flaw};
use crate::tpm::HashAlg;

/// What marks a crypto-agile log.
pub(super) const SIGNATURE: &[u8; 16] = b"Spec ID Event03\0";

/// Most algorithms in one log: no TPM has more banks than the registered
/// hashes that it implements, and none seen has more than five.
pub const MAX_ALGORITHMS: usize = 8;

/// The longest digest of an algorithm that we do not know, in bytes: twice
/// the longest that is registered.
pub const MAX_UNKNOWN_DIGEST: usize = 128;

/// One algorithm that the log's header declares.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Algorithm {
    /// `TPM_ALG_ID`
    pub id: u16,
    /// Length of its digests, in bytes.
    pub digest_size: u16,
}

impl Algorithm {
    /// The algorithm, where it is one that Holdfast supports. Digests of others
    /// are skipped by their declared size and never replayed.
    #[must_use]
    pub fn hash(self) -> Option<HashAlg> {
        HashAlg::from_id(self.id).ok()
    }
}

/// The algorithms of `TCG_EfiSpecIDEvent`, which is exactly `data`.
pub(super) fn parse(data: &[u8]) -> Result<Vec<Algorithm>, Flaw> {
    const SIZE: &str = "TCG_EfiSpecIdEventAlgorithmSize.digestSize";
    let mut cursor = Cursor::new(data);
    let signature = cursor.array::<16>("TCG_EfiSpecIDEvent.signature")?;
    if &signature != SIGNATURE {
        let flaw = Cursor::new(data).flaw("TCG_EfiSpecIDEvent.signature", Cause::NotAllowed);
        return Err(flaw);
    }
    // Platform class, version, errata and UINTN size: nothing hangs on them,
    // and firmware is known to write a UINTN size that is not in the table.
    cursor.u32("TCG_EfiSpecIDEvent.platformClass")?;
    cursor.array::<4>("TCG_EfiSpecIDEvent.specVersion")?;
    let count = cursor.size32("TCG_EfiSpecIDEvent.numberOfAlgorithms", MAX_ALGORITHMS)?;
    if count == 0 {
        let cause = Cause::Unsupported(0);
        return Err(cursor.flaw("TCG_EfiSpecIDEvent.numberOfAlgorithms", cause));
    }
    let mut algorithms = Vec::<Algorithm>::with_capacity(count);
    for _ in 0..count {
        let at = cursor.clone();
        let id = cursor.u16("TCG_EfiSpecIdEventAlgorithmSize.algorithmId")?;
        if algorithms.iter().any(|known| known.id == id) {
            let cause = Cause::Repeated(id.into());
            return Err(at.flaw("TCG_EfiSpecIdEventAlgorithmSize.algorithmId", cause));
        }
        let at = cursor.clone();
        let digest_size = cursor.u16(SIZE)?;
        let algorithm = Algorithm { id, digest_size };
        let len = usize::from(digest_size);
        match algorithm.hash().map(HashAlg::digest_len) {
            Some(expected) if len != expected => {
                return Err(at.flaw(SIZE, Cause::WrongLength { len, expected }));
            }
            None if len == 0 => return Err(at.flaw(SIZE, Cause::Unsupported(0))),
            None if len > MAX_UNKNOWN_DIGEST => {
                let max = MAX_UNKNOWN_DIGEST;
                return Err(at.flaw(SIZE, Cause::OverLimit { value: len, max }));
            }
            _ => algorithms.push(algorithm),
        }
    }
    let vendor_info = cursor.u8("TCG_EfiSpecIDEvent.vendorInfoSize")?;
    cursor.take("TCG_EfiSpecIDEvent.vendorInfo", vendor_info.into())?;
    cursor.finish("TCG_EfiSpecIDEvent")?;
    Ok(algorithms)
}
