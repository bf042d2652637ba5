//! What the operating system adds: logs, clock, uptime. Nobody vouches for
//! these but the PCRs that the logs explain.

use std::fs::File;
use std::io::{ErrorKind, Read};
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

use thiserror::Error;

/// Where Linux keeps the firmware's log.
pub const BOOT_LOG_PATH: &str = "/sys/kernel/security/tpm0/binary_bios_measurements";

/// Longest boot log that travels, in bytes (evidence.proto).
pub const MAX_BOOT_LOG: usize = 1024 * 1024;

/// A view of the platform at one moment.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Platform {
    /// The boot log, where there is one.
    pub boot_log: Option<Vec<u8>>,
    /// Where the IMA log is, to be read once the quote is made.
    pub ima_log: Option<PathBuf>,
    /// Seconds since the Unix epoch by this machine's clock.
    pub issued_at: i64,
    /// Seconds since boot.
    pub uptime_seconds: Option<u64>,
}

/// Why a boot log that exists cannot be used.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum BootLogError {
    /// It cannot be read.
    #[error("boot log {}: {source}", path.display())]
    Read {
        /// The log.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// The Verifier would refuse it.
    #[error("boot log {} is longer than {MAX_BOOT_LOG} bytes", .0.display())]
    TooLong(PathBuf),
}

impl Platform {
    /// Looks at the platform. An absent boot log is no error: many gateways
    /// have none.
    ///
    /// # Errors
    /// [`BootLogError`] where the log is there and cannot be sent.
    pub fn observe(boot_log: &Path) -> Result<Self, BootLogError> {
        Ok(Self {
            boot_log: read_boot_log(boot_log)?,
            ima_log: None,
            issued_at: now(),
            uptime_seconds: uptime(),
        })
    }

    /// With an IMA log, which need not be there.
    #[must_use]
    pub fn with_ima_log(mut self, path: &Path) -> Self {
        self.ima_log = Some(path.to_owned());
        self
    }
}

/// Seconds since the Unix epoch. A clock before 1970 counts as 1970.
#[must_use]
pub fn now() -> i64 {
    let since = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default();
    i64::try_from(since.as_secs()).unwrap_or(i64::MAX)
}

fn read_boot_log(path: &Path) -> Result<Option<Vec<u8>>, BootLogError> {
    let read = |source| BootLogError::Read {
        path: path.to_owned(),
        source,
    };
    let mut file = match File::open(path) {
        Ok(file) => file,
        Err(e) if e.kind() == ErrorKind::NotFound => return Ok(None),
        Err(e) => return Err(read(e)),
    };
    // securityfs says size 0: read up to the limit and one more.
    let mut log = Vec::new();
    file.by_ref()
        .take(MAX_BOOT_LOG as u64 + 1)
        .read_to_end(&mut log)
        .map_err(read)?;
    match log.len() {
        0 => Ok(None),
        1..=MAX_BOOT_LOG => Ok(Some(log)),
        _ => Err(BootLogError::TooLong(path.to_owned())),
    }
}

/// First field of /proc/uptime, whole seconds.
fn uptime() -> Option<u64> {
    let text = std::fs::read_to_string("/proc/uptime").ok()?;
    text.split(['.', ' ']).next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn absent_and_empty_logs_are_no_logs() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("log");
        assert_eq!(Platform::observe(&path).unwrap().boot_log, None);
        std::fs::write(&path, b"").unwrap();
        assert_eq!(Platform::observe(&path).unwrap().boot_log, None);
    }

    #[test]
    fn the_limit_is_exact() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("log");
        std::fs::write(&path, vec![1; MAX_BOOT_LOG]).unwrap();
        assert_eq!(
            Platform::observe(&path).unwrap().boot_log.unwrap().len(),
            MAX_BOOT_LOG
        );
        std::fs::write(&path, vec![1; MAX_BOOT_LOG + 1]).unwrap();
        assert!(matches!(
            Platform::observe(&path),
            Err(BootLogError::TooLong(_))
        ));
        assert!(matches!(
            Platform::observe(dir.path()),
            Err(BootLogError::Read { .. })
        ));
    }

    #[test]
    fn this_machine_has_clock_and_uptime() {
        assert!(now() > 1_700_000_000);
        assert!(uptime().is_some());
    }
}
