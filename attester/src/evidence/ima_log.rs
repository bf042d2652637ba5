//! The kernel's measurement list (IMA), from where the Verifier left off. Read
//! after the quote, so that it holds all that the quoted PCR 10 does; the
//! Verifier leaves what is ahead of the quote for the next time.

use std::fs::File;
use std::io::{ErrorKind, Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};

use holdfast_proto::claims::Purpose;
use holdfast_proto::grpc::{Bytes, v1};
use thiserror::Error;

/// Where Linux keeps the list, in binary.
pub const IMA_LOG_PATH: &str = "/sys/kernel/security/ima/binary_runtime_measurements";

/// The PCR that IMA extends.
pub(super) const IMA_PCR: u32 = 10;

/// The most of a log that travels in one re-attestation, in bytes: 100,000
/// entries (evidence.proto).
pub const MAX_IMA_LOG: usize = 16 * 1024 * 1024;
/// The most that travels in an enrolment, to a Verifier that does not know the
/// gateway yet, in bytes (evidence.proto).
pub const MAX_IMA_LOG_AT_ENROLMENT: usize = 4 * 1024 * 1024;

/// How much of a log the Verifier has, and of which boot.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ImaPosition {
    /// TPM resetCount of that boot.
    pub reset_count: u32,
    /// Entries.
    pub entries: u64,
    /// Bytes that they take.
    pub bytes: u64,
}

impl From<v1::ImaPosition> for ImaPosition {
    fn from(position: v1::ImaPosition) -> Self {
        Self {
            reset_count: position.reset_count,
            entries: position.entries,
            bytes: position.bytes,
        }
    }
}

/// Why an IMA log that exists cannot be sent.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum ImaLogError {
    /// It cannot be read.
    #[error("IMA log {}: {source}", path.display())]
    Read {
        /// The log.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// The Verifier would refuse it.
    #[error("IMA log {}: more than {max} bytes would have to be sent", path.display())]
    TooLong {
        /// The log.
        path: PathBuf,
        /// What may be sent.
        max: usize,
    },
}

/// Reads the log from `known` on, where it is of the boot with `reset_count`;
/// else from its first entry. `None` where there is no such file: the kernel
/// has no IMA, or it is not switched on.
///
/// # Errors
/// [`ImaLogError`] where the log is there and cannot be sent.
pub fn read_ima_log(
    path: &Path,
    known: Option<ImaPosition>,
    reset_count: u32,
    purpose: Purpose,
) -> Result<Option<v1::ImaLog>, ImaLogError> {
    let failed = |source| ImaLogError::Read {
        path: path.to_owned(),
        source,
    };
    let mut file = match File::open(path) {
        Ok(file) => file,
        Err(e) if e.kind() == ErrorKind::NotFound => return Ok(None),
        Err(e) => return Err(failed(e)),
    };
    let from = known.filter(|known| known.reset_count == reset_count);
    if let Some(from) = from {
        // Past the end is no error, and gives nothing: the Verifier will see
        // that it does not have this log, and ask for the whole of it.
        file.seek(SeekFrom::Start(from.bytes)).map_err(failed)?;
    }
    let max = match purpose {
        Purpose::Attest | Purpose::Renew => MAX_IMA_LOG,
        _ => MAX_IMA_LOG_AT_ENROLMENT,
    };
    // securityfs says size 0: read up to the limit and one more.
    let mut content = Vec::new();
    file.take(max as u64 + 1)
        .read_to_end(&mut content)
        .map_err(failed)?;
    if content.len() > max {
        let path = path.to_owned();
        return Err(ImaLogError::TooLong { path, max });
    }
    Ok(Some(v1::ImaLog {
        offset: from.map_or(0, |from| from.entries),
        content: Bytes::from(content),
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    const KNOWN: ImaPosition = ImaPosition {
        reset_count: 3,
        entries: 2,
        bytes: 4,
    };

    fn log(content: &[u8]) -> (tempfile::TempDir, PathBuf) {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("ima");
        std::fs::write(&path, content).unwrap();
        (dir, path)
    }

    fn sent(path: &Path, known: Option<ImaPosition>, reset_count: u32) -> (u64, Vec<u8>) {
        let log = read_ima_log(path, known, reset_count, Purpose::Attest)
            .unwrap()
            .unwrap();
        (log.offset, log.content.to_vec())
    }

    #[test]
    fn goes_on_only_in_the_same_boot() {
        let (_dir, path) = log(b"aabbcc");
        assert_eq!(sent(&path, None, 3), (0, b"aabbcc".to_vec()));
        assert_eq!(sent(&path, Some(KNOWN), 3), (2, b"cc".to_vec()));
        assert_eq!(sent(&path, Some(KNOWN), 4), (0, b"aabbcc".to_vec()));
        let ahead = ImaPosition { bytes: 99, ..KNOWN };
        assert_eq!(sent(&path, Some(ahead), 3), (2, Vec::new()));
    }

    #[test]
    fn an_absent_log_is_no_log_and_an_unreadable_one_an_error() {
        let (dir, path) = log(b"");
        assert_eq!(sent(&path, None, 3), (0, Vec::new()));
        let absent = dir.path().join("absent");
        assert_eq!(
            read_ima_log(&absent, None, 3, Purpose::Enrol).unwrap(),
            None
        );
        assert!(matches!(
            read_ima_log(dir.path(), None, 3, Purpose::Enrol),
            Err(ImaLogError::Read { .. })
        ));
    }

    #[test]
    fn the_limits_are_exact_and_less_for_strangers() {
        let (_dir, path) = log(&vec![7; MAX_IMA_LOG_AT_ENROLMENT + 1]);
        for (purpose, fits) in [
            (Purpose::Enrol, false),
            (Purpose::Recover, false),
            (Purpose::Attest, true),
            (Purpose::Renew, true),
        ] {
            let read = read_ima_log(&path, None, 1, purpose);
            assert_eq!(read.is_ok(), fits, "{purpose:?}");
        }
        let file = File::options().write(true).open(&path).unwrap();
        file.set_len(MAX_IMA_LOG_AT_ENROLMENT as u64).unwrap();
        assert!(read_ima_log(&path, None, 1, Purpose::Enrol).is_ok());
        file.set_len(MAX_IMA_LOG as u64).unwrap();
        assert!(read_ima_log(&path, None, 1, Purpose::Attest).is_ok());
        file.set_len(MAX_IMA_LOG as u64 + 1).unwrap();
        assert!(matches!(
            read_ima_log(&path, None, 1, Purpose::Attest),
            Err(ImaLogError::TooLong {
                max: MAX_IMA_LOG,
                ..
            })
        ));
    }
}
