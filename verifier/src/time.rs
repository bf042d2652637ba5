//! Time as the core sees it: an argument, never a clock that it reads.

use std::{fmt, time::Duration};

/// Seconds since 1970-01-01T00:00:00Z, without leap seconds (POSIX). The
/// shell reads the clock once for each request and hands this in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct UnixTime(i64);

impl UnixTime {
    /// From seconds since the Unix epoch.
    #[must_use]
    pub const fn from_seconds(seconds: i64) -> Self {
        Self(seconds)
    }

    /// Seconds since the Unix epoch.
    #[must_use]
    pub const fn seconds(self) -> i64 {
        self.0
    }

    /// This time plus `seconds` (which may be negative), held at the ends of
    /// the range.
    #[must_use]
    pub const fn plus(self, seconds: i64) -> Self {
        Self(self.0.saturating_add(seconds))
    }

    /// The same moment for rustls and webpki, which know no time before 1970
    /// and get 1970 instead: every certificate is then not yet valid.
    #[must_use]
    pub fn to_pki(self) -> rustls_pki_types::UnixTime {
        let seconds = u64::try_from(self.0).unwrap_or(0);
        rustls_pki_types::UnixTime::since_unix_epoch(Duration::from_secs(seconds))
    }
}

impl fmt::Display for UnixTime {
    /// RFC 3339 in UTC; plain seconds for years that RFC 3339 cannot write.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        use time::{OffsetDateTime, format_description::well_known::Rfc3339};
        match OffsetDateTime::from_unix_timestamp(self.0).map(|at| at.format(&Rfc3339)) {
            Ok(Ok(text)) => f.write_str(&text),
            _ => write!(f, "{} s since 1970", self.0),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shows_rfc3339_and_survives_the_ends() {
        assert_eq!(
            UnixTime::from_seconds(0).to_string(),
            "1970-01-01T00:00:00Z"
        );
        assert!(
            UnixTime::from_seconds(i64::MAX)
                .to_string()
                .ends_with("since 1970")
        );
        assert_eq!(UnixTime::from_seconds(i64::MAX).plus(1).seconds(), i64::MAX);
        assert_eq!(UnixTime::from_seconds(-5).to_pki().as_secs(), 0);
    }
}
