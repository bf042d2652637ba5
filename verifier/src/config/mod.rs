//! Settings of a Verifier, and the directory that it lives in.
//!
//! Strict: an unknown key, a value out of range or a loose file mode is an
//! error that says what to do. Command-line flags come before `HOLDFAST_*`
//! variables, those before `config.toml`.

mod admin;
mod admission;
mod ca;
mod class;
mod endorsement;
pub mod files;
pub mod home;
mod machine;
mod policy_root;
mod revocation;
mod sample;
mod silence;
pub(crate) mod staging;
#[cfg(test)]
mod tests;
mod webhook;

use std::{collections::BTreeMap, net::SocketAddr, path::Path};

use figment::{
    Figment,
    providers::{Env, Format as _, Toml},
};
use holdfast_proto::result::Form;
use holdfast_proto::tpm::{HashAlg, PcrSelection, PcrSet, templates::EkTemplate};
use serde::Deserialize;

use crate::{endorsement::AcceptedEks, identity::IdentityError, operators::UnixRolesError};

pub use admin::AdminConfig;
pub use admission::AdmissionConfig;
pub use ca::{CaBackend, CaConfig, CaTpmConfig, Pkcs11Config};
pub use class::{ClassConfig, ClassLdevidConfig};
pub use endorsement::EndorsementConfig;
pub use home::{Home, HomeError};
pub use machine::{MACHINE_FILE, MACHINE_VARIABLE, Machine, MachineError};
pub use policy_root::{policy_root_name, policy_root_spki};
pub use revocation::RevocationConfig;
pub use sample::sample;
pub use silence::SilenceConfig;
pub use webhook::WebhookConfig;

/// PCRs that a quote covers unless configured otherwise: firmware, option
/// ROMs, boot manager, kernel and command line, Secure Boot, shim (PC Client
/// PFP §3.3.4; 8, 9 and 14 by convention of GRUB and shim).
pub const DEFAULT_PCRS: [u32; 11] = [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 14];

/// PCRs that an operating system may reset without a reboot (PC Client PTP
/// §4.6): a quote over them proves nothing about the boot.
const RESETTABLE_PCRS: [u32; 2] = [16, 23];

/// Why settings cannot be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ConfigError {
    /// Unknown key, wrong type, not TOML. The text names file and key.
    #[error("{0}")]
    Malformed(Box<figment::Error>),
    /// A value outside its range.
    #[error("{key} is {value}: {rule}")]
    OutOfRange {
        /// Key, dotted.
        key: &'static str,
        /// What it was set to.
        value: String,
        /// What is allowed, and what to do.
        rule: &'static str,
    },
    /// LDevIDs cannot be made as a table says.
    #[error("[{table}]: {source}")]
    Ldevid {
        /// Which.
        table: String,
        /// Which rule it breaks.
        #[source]
        source: Box<IdentityError>,
    },
    /// `admin.unix_roles` names nobody, or no role.
    #[error("admin.unix_roles: {0}")]
    UnixRoles(#[from] UnixRolesError),
}

/// All settings. Every field is in the sample with a line of explanation.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// Address to listen on; port 0 lets the system choose.
    pub listen: SocketAddr,
    /// Names in the server's certificate; bundles carry the first.
    pub server_names: Vec<String>,
    /// Indices of the SHA-256 PCRs that every quote must cover, exactly.
    pub pcr_selection: Vec<u32>,
    /// Labels of the EK templates that may enrol (EK Credential Profile); which of
    /// them a gateway has to show, `endorsement.eks` says.
    pub accepted_eks: Vec<String>,
    /// How long a challenge may be answered, in seconds.
    pub challenge_seconds: u32,
    /// How attestation results are written.
    pub ear_form: EarForm,
    /// LDevIDs.
    pub ldevid: LdevidConfig,
    /// What peers may cost.
    pub limits: LimitsConfig,
    /// Logging.
    pub log: LogConfig,
    /// The doors of the admin service.
    pub admin: AdminConfig,
    /// The CA's keys.
    pub ca: CaConfig,
    /// What EK certificates may do.
    pub endorsement: EndorsementConfig,
    /// Who may enrol without a token.
    pub admission: AdmissionConfig,
    /// What is particular to a class.
    pub class: BTreeMap<String, ClassConfig>,
    /// What is told about revoked LDevIDs.
    pub revocation: RevocationConfig,
    /// When silence is failure.
    pub silence: SilenceConfig,
    /// Who is told what happens to gateways.
    pub webhook: Vec<WebhookConfig>,
}

/// About the certificates that are issued.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct LdevidConfig {
    /// Lifetime of an LDevID, in seconds.
    pub validity_seconds: u32,
    /// Trust domain for a SPIFFE ID in the LDevID; empty: none.
    pub spiffe_trust_domain: String,
}

/// What peers may cost.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct LimitsConfig {
    /// Connections in all.
    pub connections: u32,
    /// Connections from one address (IPv6: one /64).
    pub connections_per_address: u32,
    /// TLS handshakes under way at once; one address gets an eighth.
    pub handshakes: u32,
    /// Requests under way at once, in all; one address gets a quarter.
    pub requests: u32,
    /// Requests per minute from one address.
    pub requests_per_minute_per_address: u32,
    /// Challenges per minute for one EK.
    pub challenges_per_minute_per_ek: u32,
    /// Threads that do public-key work; 0: as many as processors.
    pub crypto_threads: u32,
    /// Seconds until a request is given up.
    pub request_seconds: u32,
    /// Seconds that a shutdown waits for requests under way.
    pub drain_seconds: u32,
}

/// How attestation results are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum EarForm {
    /// draft-ietf-rats-ear-04.
    #[serde(rename = "draft-04")]
    Draft04,
    /// The older names with dots.
    Dotted,
}

impl EarForm {
    /// As in the configuration.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Draft04 => "draft-04",
            Self::Dotted => "dotted",
        }
    }
}

impl From<EarForm> for Form {
    fn from(form: EarForm) -> Self {
        match form {
            EarForm::Draft04 => Self::Draft04,
            EarForm::Dotted => Self::Dotted,
        }
    }
}

/// Logging.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct LogConfig {
    /// Text for people or JSON for machines, on standard error.
    pub format: LogFormat,
    /// What to log, as tracing's EnvFilter has it.
    pub filter: String,
}

/// Form of the log.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum LogFormat {
    /// One line of text for each event.
    Text,
    /// One JSON object for each event.
    Json,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            listen: SocketAddr::from(([127, 0, 0, 1], 7443)),
            server_names: vec!["localhost".to_owned(), "127.0.0.1".to_owned()],
            pcr_selection: DEFAULT_PCRS.to_vec(),
            accepted_eks: vec![AcceptedEks::DEFAULT.label().to_owned()],
            challenge_seconds: 300,
            ear_form: EarForm::Draft04,
            ldevid: LdevidConfig::default(),
            limits: LimitsConfig::default(),
            log: LogConfig::default(),
            admin: AdminConfig::default(),
            ca: CaConfig::default(),
            endorsement: EndorsementConfig::default(),
            admission: AdmissionConfig::default(),
            class: BTreeMap::new(),
            revocation: RevocationConfig::default(),
            silence: SilenceConfig::default(),
            webhook: Vec::new(),
        }
    }
}

impl Default for LdevidConfig {
    fn default() -> Self {
        Self {
            validity_seconds: 86_400,
            spiffe_trust_domain: String::new(),
        }
    }
}

impl Default for LimitsConfig {
    fn default() -> Self {
        Self {
            connections: 4096,
            connections_per_address: 64,
            handshakes: 512,
            requests: 256,
            requests_per_minute_per_address: 600,
            challenges_per_minute_per_ek: 12,
            crypto_threads: 0,
            request_seconds: 30,
            drain_seconds: 10,
        }
    }
}

impl Default for LogConfig {
    fn default() -> Self {
        Self {
            format: LogFormat::Text,
            filter: "info".to_owned(),
        }
    }
}

impl Config {
    /// Reads `file`, then `HOLDFAST_*`, over the defaults. A table's fields
    /// are set as `HOLDFAST_LIMITS__REQUESTS=100`. Variables that name no
    /// setting are not looked at: other programs of Holdfast have theirs.
    ///
    /// # Errors
    /// [`ConfigError`] names the key and where it was set.
    pub fn load(file: &Path) -> Result<Self, ConfigError> {
        Self::from_figment(Figment::from(Toml::file_exact(file)).merge(environment()))
    }

    /// From the text of a TOML file alone.
    ///
    /// # Errors
    /// As [`Config::load`].
    pub fn from_toml(text: &str) -> Result<Self, ConfigError> {
        Self::from_figment(Figment::from(Toml::string(text)))
    }

    fn from_figment(figment: Figment) -> Result<Self, ConfigError> {
        let config: Self = figment
            .extract()
            .map_err(|e| ConfigError::Malformed(Box::new(e)))?;
        config.in_range()
    }

    /// The PCRs that every quote must cover.
    ///
    /// # Errors
    /// [`ConfigError::OutOfRange`] for an empty, repeated, resettable or
    /// unknown PCR.
    pub fn pcr_selection(&self) -> Result<PcrSelection, ConfigError> {
        let out_of_range = |rule| ConfigError::OutOfRange {
            key: "pcr_selection",
            value: format!("{:?}", self.pcr_selection),
            rule,
        };
        let mut seen = std::collections::BTreeSet::new();
        for pcr in &self.pcr_selection {
            if RESETTABLE_PCRS.contains(pcr) {
                return Err(out_of_range(
                    "PCR 16 and 23 can be reset without a reboot; leave them out",
                ));
            }
            if !seen.insert(*pcr) {
                return Err(out_of_range("name each PCR once"));
            }
        }
        if seen.is_empty() {
            return Err(out_of_range(
                "name at least one PCR: a quote over none proves nothing",
            ));
        }
        let pcrs =
            PcrSet::from_indices(seen).map_err(|_| out_of_range("a PCR index is 0 to 23"))?;
        Ok(PcrSelection {
            hash: HashAlg::Sha256,
            pcrs,
        })
    }

    /// The EK templates that may enrol, and which of them have to be shown.
    ///
    /// # Errors
    /// [`ConfigError::OutOfRange`] for none, or a label that is no template's.
    pub fn accepted_eks(&self) -> Result<AcceptedEks, ConfigError> {
        let out_of_range = || ConfigError::OutOfRange {
            key: "accepted_eks",
            value: format!("{:?}", self.accepted_eks),
            rule: "name at least one EK template of L-1, L-2, H-1, H-2, H-3, H-6",
        };
        if self.accepted_eks.is_empty() {
            return Err(out_of_range());
        }
        self.accepted_eks
            .iter()
            .map(|label| EkTemplate::from_label(label).ok_or_else(out_of_range))
            .collect::<Result<Vec<_>, _>>()
            .map(|templates| AcceptedEks::new(templates).requiring(self.endorsement.eks))
    }

    fn in_range(self) -> Result<Self, ConfigError> {
        let ranges: [(
            &'static str,
            u32,
            std::ops::RangeInclusive<u32>,
            &'static str,
        ); 10] = [
            (
                "challenge_seconds",
                self.challenge_seconds,
                10..=3600,
                "use 10 to 3600",
            ),
            (
                "limits.connections",
                self.limits.connections,
                1..=65_536,
                "use 1 to 65536",
            ),
            (
                "limits.connections_per_address",
                self.limits.connections_per_address,
                1..=65_536,
                "use 1 to 65536",
            ),
            (
                "limits.handshakes",
                self.limits.handshakes,
                1..=4096,
                "use 1 to 4096",
            ),
            (
                "limits.requests",
                self.limits.requests,
                1..=4096,
                "use 1 to 4096",
            ),
            (
                "limits.requests_per_minute_per_address",
                self.limits.requests_per_minute_per_address,
                1..=1_000_000,
                "use 1 to 1000000",
            ),
            (
                "limits.challenges_per_minute_per_ek",
                self.limits.challenges_per_minute_per_ek,
                1..=1_000_000,
                "use 1 to 1000000",
            ),
            (
                "limits.crypto_threads",
                self.limits.crypto_threads,
                0..=1024,
                "use 0 to 1024",
            ),
            (
                "limits.request_seconds",
                self.limits.request_seconds,
                1..=600,
                "use 1 to 600",
            ),
            (
                "limits.drain_seconds",
                self.limits.drain_seconds,
                1..=600,
                "use 1 to 600",
            ),
        ];
        for (key, value, range, rule) in ranges {
            if !range.contains(&value) {
                return Err(ConfigError::OutOfRange {
                    key,
                    value: value.to_string(),
                    rule,
                });
            }
        }
        if self.server_names.is_empty() {
            return Err(ConfigError::OutOfRange {
                key: "server_names",
                value: "empty".to_owned(),
                rule: "name the server at least once",
            });
        }
        self.pcr_selection()?;
        self.accepted_eks()?;
        self.admin.in_range()?;
        self.ca.in_range()?;
        self.admission.in_range()?;
        self.profiles()?;
        self.revocation.in_range()?;
        self.silence_rules()?;
        WebhookConfig::in_range(&self.webhook)?;
        Ok(self)
    }
}

/// Tables and top-level keys that a variable may set.
const SETTINGS: [&str; 16] = [
    "listen",
    "server_names",
    "pcr_selection",
    "accepted_eks",
    "challenge_seconds",
    "ear_form",
    "ldevid",
    "limits",
    "log",
    "admin",
    "ca",
    "endorsement",
    "admission",
    "class",
    "revocation",
    "silence",
];

fn environment() -> Env {
    Env::prefixed("HOLDFAST_")
        .filter(|key| {
            let first = key
                .as_str()
                .split("__")
                .next()
                .unwrap_or_default()
                .to_ascii_lowercase();
            SETTINGS.contains(&first.as_str())
        })
        .split("__")
}
