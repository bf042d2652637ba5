//! `[admission]`: who may enrol without a token.

use serde::Deserialize;

use super::ConfigError;
use crate::freshness::Class;

/// The approval queue. Devices that the owner named are admitted without it.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct AdmissionConfig {
    /// Whether gateways without a token may wait for approval.
    pub manual: bool,
    /// The class that they are proposed for.
    pub class: String,
    /// How many may wait.
    pub pending: u32,
    /// How many of one address (IPv6: one /64) may wait.
    pub pending_per_address: u32,
    /// Seconds until one that does not ask again is forgotten.
    pub pending_seconds: u32,
}

impl Default for AdmissionConfig {
    fn default() -> Self {
        Self {
            manual: false,
            class: "default".to_owned(),
            pending: 1000,
            pending_per_address: 16,
            pending_seconds: 7 * 86_400,
        }
    }
}

impl AdmissionConfig {
    /// The class that gateways without a token are proposed for.
    ///
    /// # Errors
    /// [`ConfigError::OutOfRange`].
    pub fn class(&self) -> Result<Class, ConfigError> {
        Class::parse(&self.class).map_err(|_| ConfigError::OutOfRange {
            key: "admission.class",
            value: self.class.clone(),
            rule: "use 1 to 64 of a-z 0-9 . _ -, first a letter or a digit",
        })
    }

    pub(super) fn in_range(&self) -> Result<(), ConfigError> {
        self.class()?;
        for (key, value, range, rule) in [
            (
                "admission.pending",
                self.pending,
                1..=100_000,
                "use 1 to 100000",
            ),
            (
                "admission.pending_per_address",
                self.pending_per_address,
                1..=100_000,
                "use 1 to 100000",
            ),
            (
                "admission.pending_seconds",
                self.pending_seconds,
                60..=90 * 86_400,
                "use 60 to 7776000",
            ),
        ] {
            if !range.contains(&value) {
                return Err(ConfigError::OutOfRange {
                    key,
                    value: value.to_string(),
                    rule,
                });
            }
        }
        Ok(())
    }

    /// As in the sample.
    pub(super) fn sample(&self) -> String {
        format!(
            r#"[admission]
# Whether a gateway that has no join token and is on no list may wait for
# approval (holdfast-verifier admission pending), once it has proven its TPM.
# Off: it is refused.
manual = {}

# The class that such gateways are proposed for; approval may name another.
class = {}

# How many may wait, in all and of one address (IPv6: one /64), and seconds
# until one that does not ask again is forgotten.
pending = {}
pending_per_address = {}
pending_seconds = {}
"#,
            self.manual,
            toml::Value::from(self.class.as_str()),
            self.pending,
            self.pending_per_address,
            self.pending_seconds,
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Config;

    #[test]
    fn nobody_waits_by_default() {
        assert!(!AdmissionConfig::default().manual);
    }

    #[test]
    fn the_queue_is_bounded_and_ends() {
        for (table, key) in [
            ("pending = 0", "admission.pending"),
            ("pending = 100001", "admission.pending"),
            ("pending_per_address = 0", "admission.pending_per_address"),
            ("pending_seconds = 59", "admission.pending_seconds"),
            ("class = \"../x\"", "admission.class"),
        ] {
            let error = Config::from_toml(&format!("[admission]\n{table}")).unwrap_err();
            assert!(
                matches!(error, ConfigError::OutOfRange { key: k, .. } if k == key),
                "{table}: {error}"
            );
        }
    }
}
