//! The token's inner encoding: fixed order, big-endian, one-octet lengths.
//! Only ever read after the AEAD vouched for it; strict all the same, so that
//! a change of format cannot be misread.

use holdfast_proto::{
    binding::Ueid,
    tpm::{HashAlg, Name, PcrSelection, PcrSet},
};

use super::error::FreshnessError;

/// Appends.
#[derive(Default)]
pub(super) struct Writer(Vec<u8>);

impl Writer {
    pub(super) fn into_bytes(self) -> Vec<u8> {
        self.0
    }

    pub(super) fn u8(&mut self, value: u8) {
        self.0.push(value);
    }

    pub(super) fn i64(&mut self, value: i64) {
        self.0.extend_from_slice(&value.to_be_bytes());
    }

    pub(super) fn array(&mut self, bytes: &[u8]) {
        self.0.extend_from_slice(bytes);
    }

    pub(super) fn bytes(&mut self, bytes: &[u8]) {
        let len = u8::try_from(bytes.len())
            .expect("Names, classes and admission ids have at most 66 bytes");
        self.0.push(len);
        self.0.extend_from_slice(bytes);
    }

    pub(super) fn selection(&mut self, selection: &PcrSelection) {
        self.0.extend_from_slice(&selection.hash.id().to_be_bytes());
        self.0
            .extend_from_slice(&selection.pcrs.bits().to_be_bytes());
    }
}

/// Reads; every failure is [`FreshnessError::Content`].
pub(super) struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    pub(super) fn new(bytes: &'a [u8]) -> Self {
        Self(bytes)
    }

    pub(super) fn finish(self) -> Result<(), FreshnessError> {
        if self.0.is_empty() {
            Ok(())
        } else {
            Err(FreshnessError::Content)
        }
    }

    pub(super) fn array<const N: usize>(&mut self) -> Result<[u8; N], FreshnessError> {
        let (head, tail) = self
            .0
            .split_first_chunk::<N>()
            .ok_or(FreshnessError::Content)?;
        self.0 = tail;
        Ok(*head)
    }

    pub(super) fn u8(&mut self) -> Result<u8, FreshnessError> {
        self.array().map(u8::from_be_bytes)
    }

    pub(super) fn i64(&mut self) -> Result<i64, FreshnessError> {
        self.array().map(i64::from_be_bytes)
    }

    fn bytes(&mut self) -> Result<&'a [u8], FreshnessError> {
        let len = usize::from(self.u8()?);
        let (head, tail) = self
            .0
            .split_at_checked(len)
            .ok_or(FreshnessError::Content)?;
        self.0 = tail;
        Ok(head)
    }

    pub(super) fn text(&mut self) -> Result<&'a str, FreshnessError> {
        std::str::from_utf8(self.bytes()?).map_err(|_| FreshnessError::Content)
    }

    pub(super) fn name(&mut self) -> Result<Name, FreshnessError> {
        Name::parse(self.bytes()?).map_err(|_| FreshnessError::Content)
    }

    pub(super) fn ueid(&mut self) -> Result<Ueid, FreshnessError> {
        Ueid::parse(&self.array::<{ Ueid::LEN }>()?).map_err(|_| FreshnessError::Content)
    }

    pub(super) fn selection(&mut self) -> Result<PcrSelection, FreshnessError> {
        let hash = HashAlg::from_id(self.array().map(u16::from_be_bytes)?)
            .map_err(|_| FreshnessError::Content)?;
        let bits = self.array().map(u32::from_be_bytes)?;
        let pcrs = PcrSet::from_indices((0..32).filter(|i| bits >> i & 1 == 1))
            .map_err(|_| FreshnessError::Content)?;
        Ok(PcrSelection { hash, pcrs })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn content<T>(outcome: Result<T, FreshnessError>) -> bool {
        matches!(outcome, Err(FreshnessError::Content))
    }

    #[test]
    fn nothing_but_the_exact_content_decodes() {
        assert!(content(Reader::new(&[0]).finish()));
        assert!(content(Reader::new(&[0; 3]).array::<4>()));
        assert!(content(Reader::new(&[3, b'a', b'b']).text()));
        assert!(content(Reader::new(&[1, 0xFF]).text()));
        assert!(content(Reader::new(&[2, 0, 0x0B]).name()));
        assert!(content(Reader::new(&[2; 33]).ueid()));
        // Bank unknown; PCR 24.
        assert!(content(Reader::new(&[0, 1, 0, 0, 0, 1]).selection()));
        assert!(content(Reader::new(&[0, 0x0B, 1, 0, 0, 0]).selection()));
        assert!(Reader::new(&[0, 0x0B, 0, 0x80, 0, 1]).selection().is_ok());
    }
}
