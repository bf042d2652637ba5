//! `[ca]`: where the issuing CA's key is made, and how keys are reached.

use std::path::PathBuf;

use serde::Deserialize;

use super::ConfigError;
use crate::custody::SecretSource;

/// Where a new issuing key is made.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum CaBackend {
    /// A file of the directory, encrypted where `passphrase` is set.
    File,
    /// A PKCS#11 token.
    Pkcs11,
    /// A TPM of this machine.
    Tpm,
}

impl CaBackend {
    /// As in the configuration.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::File => "file",
            Self::Pkcs11 => "pkcs11",
            Self::Tpm => "tpm",
        }
    }
}

/// About the CA's keys and the ends of its certificates.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct CaConfig {
    /// Where the next issuing key is made. A key that is there stays where it
    /// is (`keyring.json` says where) until it is rotated.
    pub backend: CaBackend,
    /// Passphrase of an issuing key in a file; absent: the file is not
    /// encrypted.
    pub passphrase: Option<SecretSource>,
    /// Days before the end of a CA's or the server's certificate from which on
    /// it is warned of.
    pub warn_days: u32,
    /// How to reach the PKCS#11 token.
    pub pkcs11: Pkcs11Config,
    /// How to reach the TPM.
    pub tpm: CaTpmConfig,
}

/// How to reach the PKCS#11 token.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Pkcs11Config {
    /// The vendor's module, a shared library.
    pub module: PathBuf,
    /// Label of the token.
    pub token: String,
    /// The user's PIN.
    pub pin: Option<SecretSource>,
}

/// How to reach the TPM.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct CaTpmConfig {
    /// `device:/dev/tpmrm0`, or `swtpm:HOST:PORT` for a software TPM.
    pub device: String,
    /// Persistent handle of the next key, in the range that is the owner's
    /// (0x81000000 to 0x817fffff).
    pub handle: u32,
    /// Authorisation of the key itself, at most 32 bytes. Without it whoever
    /// reaches the TPM's device can sign as the CA.
    pub key_auth: Option<SecretSource>,
    /// Authorisation of the owner hierarchy, to make a key; absent: empty.
    pub owner_auth: Option<SecretSource>,
}

impl Default for CaConfig {
    fn default() -> Self {
        Self {
            backend: CaBackend::File,
            passphrase: None,
            warn_days: 30,
            pkcs11: Pkcs11Config::default(),
            tpm: CaTpmConfig::default(),
        }
    }
}

impl Default for Pkcs11Config {
    fn default() -> Self {
        Self {
            module: PathBuf::from("/usr/lib/softhsm/libsofthsm2.so"),
            token: "holdfast".to_owned(),
            pin: None,
        }
    }
}

impl Default for CaTpmConfig {
    fn default() -> Self {
        Self {
            device: "device:/dev/tpmrm0".to_owned(),
            handle: 0x8101_0010,
            key_auth: None,
            owner_auth: None,
        }
    }
}

impl CaConfig {
    pub(crate) fn in_range(&self) -> Result<(), ConfigError> {
        let out = |key, value: String, rule| Err(ConfigError::OutOfRange { key, value, rule });
        if !(1..=3650).contains(&self.warn_days) {
            return out("ca.warn_days", self.warn_days.to_string(), "use 1 to 3650");
        }
        if !(0x8100_0000..=0x817f_ffff).contains(&self.tpm.handle) {
            return out(
                "ca.tpm.handle",
                format!("{:#010x}", self.tpm.handle),
                "persistent handles of the owner are 0x81000000 to 0x817fffff",
            );
        }
        if !self.pkcs11.module.is_absolute() {
            return out(
                "ca.pkcs11.module",
                self.pkcs11.module.display().to_string(),
                "name the module by its absolute path",
            );
        }
        Ok(())
    }

    /// The part of `config.toml`.
    pub(super) fn sample(&self) -> String {
        let source = |key: &str, source: &Option<SecretSource>, example: &str| match source {
            Some(source) => format!("{key} = {}", toml::Value::from(source.to_string())),
            None => format!("# {key} = \"{example}\""),
        };
        format!(
            r#"
[ca]
# Where the next issuing key is made: "file", "pkcs11" or "tpm". The keys that
# there are stay where keyring.json says, until they are rotated. docs/ca.md.
backend = "{}"

# Passphrase of an issuing key in a file: credential:NAME (systemd), env:NAME or
# file:/PATH (0600). Without it the file is not encrypted.
{}

# Days before the end of a CA's or the server's certificate from which on it is
# warned of (1 to 3650).
warn_days = {}

[ca.pkcs11]
# The vendor's module, the label of the token, and its PIN (as above).
module = {}
token = {}
{}

[ca.tpm]
# "device:/dev/tpmrm0", or "swtpm:HOST:PORT" for a software TPM.
device = {}

# Persistent handle of the next key (0x81000000 to 0x817fffff).
handle = {:#010x}

# Authorisation of the key (as above, at most 32 bytes). Without it whoever
# reaches the TPM's device can sign as the CA.
{}

# Authorisation of the owner hierarchy (as above); without it: empty.
{}
"#,
            self.backend.name(),
            source("passphrase", &self.passphrase, "credential:ca-passphrase"),
            self.warn_days,
            toml::Value::from(self.pkcs11.module.display().to_string()),
            toml::Value::from(self.pkcs11.token.as_str()),
            source("pin", &self.pkcs11.pin, "credential:hsm-pin"),
            toml::Value::from(self.tpm.device.as_str()),
            self.tpm.handle,
            source("key_auth", &self.tpm.key_auth, "credential:ca-tpm-key"),
            source(
                "owner_auth",
                &self.tpm.owner_auth,
                "credential:tpm-owner-auth"
            ),
        )
    }
}
