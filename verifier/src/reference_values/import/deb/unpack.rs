//! A member unpacked, within its limit. Decompressors in Rust: flate2 on
//! miniz_oxide, lzma-rust2, ruzstd.

use std::io::{self, BufRead, BufReader, Read};

use flate2::bufread::MultiGzDecoder;
use lzma_rust2::XzReader;
use ruzstd::decoding::StreamingDecoder;

use super::DebError;

/// Most memory for xz, in KiB: `xz -9` needs 65 MiB to unpack.
const XZ_MEMORY_KIB: u32 = 96 * 1024;

/// The tar of a member.
pub(super) struct Unpacked<R: Read> {
    inner: Form<R>,
    left: u64,
    limit: u64,
    over: bool,
}

enum Form<R: Read> {
    Plain(BufReader<R>),
    Gzip(Box<MultiGzDecoder<BufReader<R>>>),
    Xz(Box<XzReader<BufReader<R>>>),
    Zstd(Box<Zstd<BufReader<R>>>),
}

impl<R: Read> Unpacked<R> {
    /// `form` is what the member's name ends in; it unpacks to at most `limit`
    /// bytes.
    pub(super) fn new(member: R, form: &str, limit: u64) -> Result<Self, DebError> {
        let member = BufReader::new(member);
        let inner = match form {
            "" => Form::Plain(member),
            ".gz" => Form::Gzip(Box::new(MultiGzDecoder::new(member))),
            ".xz" => Form::Xz(Box::new(XzReader::new_mem_limit(
                member,
                true,
                XZ_MEMORY_KIB,
            ))),
            ".zst" => Form::Zstd(Box::new(Zstd::Between(member))),
            other => return Err(DebError::Compression(other.to_owned())),
        };
        Ok(Self {
            inner,
            left: limit,
            limit,
            over: false,
        })
    }

    /// Reads what is left, so that the decompressor sees its checksum, and says
    /// whether the limit was met.
    pub(super) fn finish(mut self) -> Result<(), DebError> {
        let rest = io::copy(&mut self, &mut io::sink());
        self.told(rest).map(drop)
    }

    /// An error of a reader over this one, for what it is.
    pub(super) fn told<T>(&self, result: Result<T, impl Into<DebError>>) -> Result<T, DebError> {
        result.map_err(|error| {
            if self.over {
                DebError::TooLarge(self.limit)
            } else {
                error.into()
            }
        })
    }
}

impl<R: Read> Read for Unpacked<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = match &mut self.inner {
            Form::Plain(inner) => inner.read(buffer),
            Form::Gzip(inner) => inner.read(buffer),
            Form::Xz(inner) => inner.read(buffer),
            Form::Zstd(inner) => inner.read(buffer),
        }?;
        match self
            .left
            .checked_sub(u64::try_from(read).unwrap_or(u64::MAX))
        {
            Some(left) => self.left = left,
            None => {
                self.over = true;
                return Err(io::Error::other("over the limit"));
            }
        }
        Ok(read)
    }
}

/// Frames of Zstandard, one after the other (RFC 8878 §3.1).
enum Zstd<R: Read> {
    Between(R),
    Frame(Box<StreamingDecoder<R, ruzstd::decoding::FrameDecoder>>),
    /// Only while changing from one to the other, or after an error.
    Nowhere,
}

impl<R: BufRead> Read for Zstd<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if buffer.is_empty() {
            return Ok(0);
        }
        loop {
            match std::mem::replace(self, Self::Nowhere) {
                Self::Between(mut inner) => {
                    if inner.fill_buf()?.is_empty() {
                        *self = Self::Between(inner);
                        return Ok(0);
                    }
                    let frame = StreamingDecoder::new(inner).map_err(io::Error::other)?;
                    *self = Self::Frame(Box::new(frame));
                }
                Self::Frame(mut frame) => {
                    let read = frame.read(buffer)?;
                    if read > 0 {
                        *self = Self::Frame(frame);
                        return Ok(read);
                    }
                    *self = Self::Between(frame.into_inner());
                }
                Self::Nowhere => return Err(io::Error::other("broken Zstandard frame")),
            }
        }
    }
}
