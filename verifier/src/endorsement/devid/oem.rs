//! The owner's names for OEMs.

use std::fmt;

use super::DevidError;

/// An OEM by the name that the owner gave it when its CA was imported: 1 to 64
/// of `a-z 0-9 . _ -`, first a letter or a digit, so that it is inert in logs
/// and policy.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct OemName(String);

impl OemName {
    /// Longest name taken.
    pub const MAX: usize = 64;

    /// # Errors
    /// [`DevidError::NotAnOemName`].
    pub fn parse(text: &str) -> Result<Self, DevidError> {
        let plain = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit();
        let mut bytes = text.bytes();
        let first = bytes.next().is_some_and(plain);
        let rest = bytes.all(|b| plain(b) || matches!(b, b'.' | b'_' | b'-'));
        if first && rest && text.len() <= Self::MAX {
            Ok(Self(text.to_owned()))
        } else {
            Err(DevidError::NotAnOemName)
        }
    }

    /// The text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for OemName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}
