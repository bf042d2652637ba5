//! `[revocation]`: what is told about revoked LDevIDs over HTTP, and how long
//! it counts.

use std::net::SocketAddr;

use serde::Deserialize;

use super::ConfigError;
use crate::identity::PublicUrl;

/// CRLs and OCSP for relying parties.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct RevocationConfig {
    /// Address of the HTTP listener; empty: none.
    pub listen: String,
    /// URL under which relying parties reach it; empty: LDevIDs name none.
    pub public_url: String,
    /// How long a CRL counts, in seconds. A new one is made when half of it
    /// has passed.
    pub crl_seconds: u32,
    /// How long an OCSP answer counts, in seconds.
    pub ocsp_seconds: u32,
    /// How long caches may keep either, in seconds.
    pub cache_seconds: u32,
    /// LDevIDs that one CRL answers for at most; beyond, they are divided.
    pub crl_certificates: u32,
    /// How long events are kept for `watch` and webhooks, in days.
    pub event_days: u32,
    /// Connections in all; one address gets a quarter.
    pub connections: u32,
    /// Requests per minute from one address.
    pub requests_per_minute_per_address: u32,
}

impl Default for RevocationConfig {
    fn default() -> Self {
        Self {
            listen: String::new(),
            public_url: String::new(),
            crl_seconds: 3600,
            ocsp_seconds: 300,
            cache_seconds: 60,
            crl_certificates: 10_000,
            event_days: 30,
            connections: 256,
            requests_per_minute_per_address: 600,
        }
    }
}

impl RevocationConfig {
    /// Where to listen, if anywhere.
    ///
    /// # Errors
    /// [`ConfigError::OutOfRange`] for what is no address.
    pub fn listen(&self) -> Result<Option<SocketAddr>, ConfigError> {
        match self.listen.as_str() {
            "" => Ok(None),
            text => text.parse().map(Some).map_err(|_| ConfigError::OutOfRange {
                key: "revocation.listen",
                value: text.to_owned(),
                rule: "write IP:PORT, or leave it empty for no CRLs and no OCSP",
            }),
        }
    }

    /// What goes into LDevIDs, if anything.
    ///
    /// # Errors
    /// [`ConfigError::OutOfRange`] for what is no usable URL, and for one
    /// where nothing listens.
    pub fn public_url(&self) -> Result<Option<PublicUrl>, ConfigError> {
        let out_of_range = |rule| ConfigError::OutOfRange {
            key: "revocation.public_url",
            value: self.public_url.clone(),
            rule,
        };
        match self.public_url.as_str() {
            "" => Ok(None),
            _ if self.listen.is_empty() => Err(out_of_range(
                "set revocation.listen, or nobody answers there",
            )),
            text => PublicUrl::parse(text).map(Some).map_err(|_| {
                out_of_range(
                    "write http://HOST[:PORT][/PATH], at most 160 characters, without a slash at \
                     its end",
                )
            }),
        }
    }

    pub(super) fn in_range(&self) -> Result<(), ConfigError> {
        self.listen()?;
        self.public_url()?;
        let ranges = [
            (
                "revocation.crl_seconds",
                self.crl_seconds,
                60..=7 * 86_400,
                "use 60 to 604800",
            ),
            (
                "revocation.ocsp_seconds",
                self.ocsp_seconds,
                10..=86_400,
                "use 10 to 86400",
            ),
            (
                "revocation.cache_seconds",
                self.cache_seconds,
                0..=86_400,
                "use 0 to 86400",
            ),
            (
                "revocation.crl_certificates",
                self.crl_certificates,
                1..=1_000_000,
                "use 1 to 1000000",
            ),
            (
                "revocation.event_days",
                self.event_days,
                1..=3650,
                "use 1 to 3650",
            ),
            (
                "revocation.connections",
                self.connections,
                4..=65_536,
                "use 4 to 65536",
            ),
            (
                "revocation.requests_per_minute_per_address",
                self.requests_per_minute_per_address,
                1..=1_000_000,
                "use 1 to 1000000",
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
        Ok(())
    }

    /// As in the sample.
    pub(super) fn sample(&self) -> String {
        let text = |text: &str| toml::Value::from(text).to_string();
        format!(
            r#"[revocation]
# IP:PORT of the plain HTTP listener that tells relying parties which LDevIDs
# are revoked: CRLs, OCSP, and the issuing CA's certificate. Empty: none.
listen = {}

# URL under which they reach it, http://HOST[:PORT][/PATH]. LDevIDs issued from
# then on name it (CRL distribution point, OCSP, issuer). Empty: they do not.
public_url = {}

# How long a CRL and an OCSP answer count, in seconds. A CRL is made anew when
# half of its time has passed, and within a second of a revocation.
crl_seconds = {}
ocsp_seconds = {}

# How long caches may keep them, in seconds: what a cache has is that old.
cache_seconds = {}

# LDevIDs in force that one CRL answers for at most. Beyond, new LDevIDs are
# divided among 2, 4, ... 256 CRLs, each with a distribution point of its own.
crl_certificates = {}

# Days that events are kept for `watch` and for webhooks that cannot be reached.
event_days = {}

# Connections in all, of which one address gets a quarter, and requests per
# minute from one address.
connections = {}
requests_per_minute_per_address = {}
"#,
            text(&self.listen),
            text(&self.public_url),
            self.crl_seconds,
            self.ocsp_seconds,
            self.cache_seconds,
            self.crl_certificates,
            self.event_days,
            self.connections,
            self.requests_per_minute_per_address,
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Config;

    fn load(table: &str) -> Result<RevocationConfig, ConfigError> {
        Config::from_toml(&format!("[revocation]\n{table}")).map(|config| config.revocation)
    }

    #[test]
    fn nothing_is_published_by_default() {
        let revocation = RevocationConfig::default();
        assert_eq!(revocation.listen().unwrap(), None);
        assert_eq!(revocation.public_url().unwrap(), None);
    }

    #[test]
    fn what_cannot_be_is_refused_by_its_key() {
        for (bad, key) in [
            ("listen = \"8080\"", "revocation.listen"),
            ("public_url = \"http://a\"", "revocation.public_url"),
            (
                "listen = \"127.0.0.1:0\"\npublic_url = \"https://a\"",
                "revocation.public_url",
            ),
            ("crl_seconds = 59", "revocation.crl_seconds"),
            ("ocsp_seconds = 0", "revocation.ocsp_seconds"),
            ("cache_seconds = 86401", "revocation.cache_seconds"),
            ("crl_certificates = 0", "revocation.crl_certificates"),
            ("event_days = 0", "revocation.event_days"),
            ("connections = 3", "revocation.connections"),
            (
                "requests_per_minute_per_address = 0",
                "revocation.requests_per_minute_per_address",
            ),
        ] {
            let error = load(bad).unwrap_err();
            assert!(
                matches!(error, ConfigError::OutOfRange { key: k, .. } if k == key),
                "{bad}: {error}"
            );
        }
    }

    #[test]
    fn the_sample_says_what_is_set() {
        let revocation = load(
            "listen = \"127.0.0.1:8080\"\npublic_url = \"http://crl.example\"\ncrl_seconds = 60",
        )
        .unwrap();
        assert_eq!(
            Config::from_toml(&revocation.sample()).unwrap().revocation,
            revocation
        );
    }
}
