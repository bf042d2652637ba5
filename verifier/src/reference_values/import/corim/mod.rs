//! CoRIM (draft-ietf-rats-corim-11): reference values as makers of firmware
//! publish them. In: the CBOR, and who may have signed it. Out: PCR values that
//! the owner may then sign, with what the document is about and what of it is
//! not used.
//!
//! Only reference triples are used, and of their measurements only digests
//! that are the values of PCRs. All else is read, held against the draft, and
//! reported.

mod comid;
mod digest;
mod document;
mod error;
mod item;
mod measurement;
mod pcrs;
mod signed;

pub use self::{
    document::{Corim, Validity},
    error::CorimError,
    pcrs::{Environment, NotUsed},
    signed::SignerKey,
};
use crate::time::UnixTime;

/// Longest CoRIM read, in bytes. A decoded item takes up to 64 times its
/// encoding.
pub const MAX_CORIM_BYTES: usize = 1024 * 1024;
/// Deepest nesting of one CBOR item. The draft's deepest, a conditional
/// endorsement, takes 14 levels.
pub const MAX_DEPTH: usize = 24;

/// Who is to have made a CoRIM.
#[derive(Debug)]
pub enum Origin<'a> {
    /// Whoever holds the private half of this key.
    Signed(&'a SignerKey),
    /// The owner knows it from elsewhere: nothing is verified.
    DangerUnsigned,
}

/// Reads a CoRIM, verifies its signature and holds its dates against `now`.
/// A signed one is never taken as unsigned, nor the other way round.
///
/// # Errors
/// [`CorimError`].
pub fn read(bytes: &[u8], origin: &Origin<'_>, now: UnixTime) -> Result<Corim, CorimError> {
    let corim = open(bytes, origin)?;
    corim.expect_valid_at(now)?;
    Ok(corim)
}

/// As [`read`], without the dates.
pub(super) fn open(bytes: &[u8], origin: &Origin<'_>) -> Result<Corim, CorimError> {
    if bytes.len() > MAX_CORIM_BYTES {
        return Err(CorimError::TooLong(bytes.len()));
    }
    let item = document::unwrapped(item::Item::decode("corim", bytes)?)?;
    match (signed::Signed::of(item)?, origin) {
        (signed::Form::Signed(signed), Origin::Signed(key)) => signed.verify(key),
        (signed::Form::Signed(_), Origin::DangerUnsigned) => Err(CorimError::NoKey),
        (signed::Form::Unsigned(_), Origin::Signed(_)) => Err(CorimError::Unsigned),
        (signed::Form::Unsigned(item), Origin::DangerUnsigned) => Corim::read(item),
    }
}

/// Whether `bytes` begin like a CoRIM of the draft: tag 501, or 18 for a
/// signed one, or the older tags 500 and 502.
#[must_use]
pub fn looks_like_one(bytes: &[u8]) -> bool {
    matches!(bytes, [0xD9, 0x01, 0xF4..=0xF6, ..] | [0xD2, 0x84, ..])
}
