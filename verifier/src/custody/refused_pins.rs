//! PINs that tokens refused. A token counts failed attempts and locks after a
//! few, often three; one keyring may have as many keys in it.

use std::{
    collections::BTreeSet,
    path::{Path, PathBuf},
};

use sha2::{Digest as _, Sha256};

use super::DeviceError;

/// Module, token's label, and SHA-256 of the PIN (which is known to be wrong).
type Attempt = (PathBuf, String, [u8; 32]);

/// What was refused. Another PIN, after its file was corrected, may be tried.
pub(super) struct RefusedPins(BTreeSet<Attempt>);

impl RefusedPins {
    pub(super) const fn none() -> Self {
        Self(BTreeSet::new())
    }

    /// Logs in, unless this token has refused this PIN.
    ///
    /// # Errors
    /// [`DeviceError::WrongPin`] without an attempt where it has; else what
    /// `login` says.
    pub(super) fn log_in(
        &mut self,
        module: &Path,
        token: &str,
        pin: &str,
        login: impl FnOnce() -> Result<(), DeviceError>,
    ) -> Result<(), DeviceError> {
        let digest = Sha256::digest(pin.as_bytes()).into();
        let attempt = (module.to_owned(), token.to_owned(), digest);
        if self.0.contains(&attempt) {
            return Err(DeviceError::WrongPin);
        }
        login().inspect_err(|error| {
            if *error == DeviceError::WrongPin {
                self.0.insert(attempt);
            }
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pin_that_a_token_refused_is_tried_there_no_more() {
        let mut pins = RefusedPins::none();
        let mut attempts = 0;
        let mut log_in = |token: &str, pin: &str, answer: Result<(), DeviceError>| {
            pins.log_in(Path::new("/module.so"), token, pin, || {
                attempts += 1;
                answer
            })
        };
        let gone = || Err(DeviceError::Unreachable("gone".to_owned()));
        // What is no refusal of the PIN does not count.
        assert_eq!(log_in("a", "0000", gone()), gone());
        for _ in 0..5 {
            let refused = log_in("a", "0000", Err(DeviceError::WrongPin));
            assert_eq!(refused, Err(DeviceError::WrongPin));
        }
        // Another token, and a PIN that was put right.
        assert_eq!(log_in("b", "0000", Ok(())), Ok(()));
        assert_eq!(log_in("a", "1234", Ok(())), Ok(()));
        assert_eq!(attempts, 4);
    }
}
