//! `[class.NAME]`: what is particular to one class, above all its LDevIDs.

use std::collections::BTreeMap;

use serde::Deserialize;

use super::{Config, ConfigError};
use crate::{
    freshness::Class,
    identity::{IdentityError, Profile, ProfileSettings, Profiles},
};

/// Settings of one class.
#[derive(Debug, Clone, PartialEq, Eq, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct ClassConfig {
    /// Within how many seconds its gateways attest again; not set: as in
    /// `[silence]`; 0: as long as an LDevID of the class lives.
    pub attest_within_seconds: Option<u32>,
    /// Whether its gateways must beat.
    pub heartbeats: HeartbeatsConfig,
    /// Its LDevIDs.
    pub ldevid: ClassLdevidConfig,
}

/// Whether heartbeats are up to the gateways of a class.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum HeartbeatsConfig {
    /// A gateway that has begun to beat must go on; none need begin.
    #[default]
    Optional,
    /// One that does not begin within the grace after its attestation is
    /// suspended as silent.
    Required,
}

/// About the LDevIDs of one class. What is not set is as in `[ldevid]`.
#[derive(Debug, Clone, PartialEq, Eq, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct ClassLdevidConfig {
    /// Lifetime, in seconds.
    pub validity_seconds: Option<u32>,
    /// Trust domain for a SPIFFE ID; empty: none.
    pub spiffe_trust_domain: Option<String>,
    /// Templates of DNS names.
    pub dns_names: Vec<String>,
    /// Templates of URIs.
    pub uris: Vec<String>,
    /// Purposes beside client-auth: server-auth, ipsec-ike.
    pub extended_key_usages: Vec<String>,
    /// MUD URL (RFC 8520); empty: none.
    pub mud_url: String,
}

impl Config {
    /// The profile of every class.
    ///
    /// # Errors
    /// [`ConfigError::Ldevid`] names the table and the rule that it breaks.
    pub fn profiles(&self) -> Result<Profiles, ConfigError> {
        let in_table = |table: &str, source: IdentityError| ConfigError::Ldevid {
            table: table.to_owned(),
            source: Box::new(source),
        };
        let domain = |text: &str| Some(text.to_owned()).filter(|text| !text.is_empty());
        let default = ProfileSettings {
            validity_seconds: self.ldevid.validity_seconds.into(),
            spiffe_trust_domain: domain(&self.ldevid.spiffe_trust_domain),
            ..ProfileSettings::default()
        };
        let mut classes = BTreeMap::new();
        for (name, class) in &self.class {
            let table = format!("class.{name}.ldevid");
            let parsed = Class::parse(name).map_err(|_| ConfigError::OutOfRange {
                key: "class",
                value: name.clone(),
                rule: "a class is 1 to 64 of a-z 0-9 . _ -, first a letter or a digit",
            })?;
            let own = &class.ldevid;
            let settings = ProfileSettings {
                validity_seconds: own
                    .validity_seconds
                    .map_or(default.validity_seconds, i64::from),
                spiffe_trust_domain: own
                    .spiffe_trust_domain
                    .as_deref()
                    .map_or_else(|| default.spiffe_trust_domain.clone(), domain),
                dns_names: own.dns_names.clone(),
                uris: own.uris.clone(),
                extended_key_usages: own.extended_key_usages.clone(),
                mud_url: domain(&own.mud_url),
            };
            let profile = Profile::from_settings(&settings).map_err(|e| in_table(&table, e))?;
            classes.insert(parsed.as_str().to_owned(), profile);
        }
        let default = Profile::from_settings(&default).map_err(|e| in_table("ldevid", e))?;
        Ok(Profiles::new(default, classes))
    }
}

/// In the sample, for there is no class by default.
pub(super) const SAMPLE: &str = r#"# What is particular to a class (docs/silence.md, docs/ldevid-profile.md):
# [class.edge]
# attest_within_seconds = 3600                     # where not as in [silence]
# heartbeats = "required"                          # else optional (docs/heartbeats.md)
# [class.edge.ldevid]
# validity_seconds = 43200
# spiffe_trust_domain = "edge.example.org"
# dns_names = ["{id32}.edge.example.org"]          # each name must hold {id} or {id32}
# uris = ["urn:example:{class}:{id}:{serial}"]
# extended_key_usages = ["server-auth"]            # beside client-auth; also ipsec-ike
# mud_url = "https://mud.example.org/edge.json"    # RFC 8520
"#;

#[cfg(test)]
mod tests {
    use super::*;

    fn load(table: &str) -> Result<Profiles, ConfigError> {
        Config::from_toml(&format!("[class.edge.ldevid]\n{table}"))?.profiles()
    }

    #[test]
    fn a_class_has_its_own_and_others_the_default() {
        let profiles = load("validity_seconds = 3600").unwrap();
        assert_eq!(profiles.of("edge").validity_seconds(), 3600);
        assert_eq!(profiles.of("other").validity_seconds(), 86_400);
    }

    #[test]
    fn the_sample_is_good() {
        let table = SAMPLE
            .lines()
            .skip(1)
            .map(|line| line.trim_start_matches("# "))
            .collect::<Vec<_>>()
            .join("\n");
        Config::from_toml(&table).unwrap().profiles().unwrap();
    }

    #[test]
    fn cve_c34_what_gateways_would_share_is_refused_at_load() {
        for table in [
            r#"dns_names = ["gw.example.org"]"#,
            r#"uris = ["urn:x:{serial}"]"#,
            r#"mud_url = "http://mud.example.org/x""#,
            r#"extended_key_usages = ["code-signing"]"#,
            "validity_seconds = 59",
            r#"spiffe_trust_domain = "A/b""#,
        ] {
            assert!(
                matches!(load(table), Err(ConfigError::Ldevid { .. })),
                "{table}"
            );
        }
        assert!(load("x = 1").is_err());
        assert!(Config::from_toml("[class.\"../x\".ldevid]\n").is_err());
    }
}
