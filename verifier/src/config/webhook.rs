//! `[[webhook]]`: who is told what happens to gateways.

use std::path::PathBuf;

use serde::Deserialize;

use super::ConfigError;
use crate::{service::WebhookUrl, store::EventKind};

/// Most webhooks: each has a task and a connection of its own.
const WEBHOOKS_MAX: usize = 16;

/// One receiver.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct WebhookConfig {
    /// Where it listens: https, or http on the loopback.
    pub url: String,
    /// File (mode 0600) with the secret that signs: `whsec_` and base64.
    pub secret_file: PathBuf,
    /// Names of the events that it is told; empty: all.
    #[serde(default)]
    pub events: Vec<String>,
    /// PEM file of the CAs that its certificate may chain to.
    #[serde(default = "system_cas")]
    pub ca_file: PathBuf,
}

/// Where Debian keeps the CAs that it trusts.
fn system_cas() -> PathBuf {
    PathBuf::from("/etc/ssl/certs/ca-certificates.crt")
}

impl WebhookConfig {
    /// The URL.
    ///
    /// # Errors
    /// [`ConfigError::OutOfRange`] for one that is not told anything.
    pub fn url(&self) -> Result<WebhookUrl, ConfigError> {
        WebhookUrl::parse(&self.url).map_err(|_| ConfigError::OutOfRange {
            key: "webhook.url",
            // What cannot be parsed cannot be shown in part, and may hold a token.
            value: format!(
                "that of the webhook with secret_file {}",
                self.secret_file.display()
            ),
            rule: "write https://HOST[:PORT]/PATH; http only to 127.0.0.0/8 and [::1]",
        })
    }

    /// What it is told.
    ///
    /// # Errors
    /// [`ConfigError::OutOfRange`] for what is no event.
    pub fn events(&self) -> Result<Vec<EventKind>, ConfigError> {
        if self.events.is_empty() {
            return Ok(EventKind::ALL.to_vec());
        }
        let kind = |name: &String| {
            EventKind::from_name(name).ok_or_else(|| ConfigError::OutOfRange {
                key: "webhook.events",
                value: name.clone(),
                rule: "use gateway.enrolled, .recovered, .renewed, .suspended, .resumed, .revoked",
            })
        };
        self.events.iter().map(kind).collect()
    }

    pub(super) fn in_range(all: &[Self]) -> Result<(), ConfigError> {
        if all.len() > WEBHOOKS_MAX {
            return Err(ConfigError::OutOfRange {
                key: "webhook",
                value: all.len().to_string(),
                rule: "have at most 16",
            });
        }
        let mut urls = std::collections::BTreeSet::new();
        for webhook in all {
            let url = webhook.url()?;
            webhook.events()?;
            if !urls.insert(&webhook.url) {
                return Err(ConfigError::OutOfRange {
                    key: "webhook.url",
                    value: url.to_string(),
                    rule: "name each URL once: what it has taken is recorded by it",
                });
            }
        }
        Ok(())
    }

    /// As in the sample: there is none by default.
    pub(super) fn sample(all: &[Self]) -> String {
        let text = |text: &str| toml::Value::from(text).to_string();
        let mut sample = "\
# Who is told what happens to gateways (docs/revocation.md); one table each.
# [[webhook]]
# url = \"https://HOST[:PORT]/PATH\"      # http only to the loopback
# secret_file = \"/etc/holdfast/webhook\" # mode 0600: whsec_ and base64 of 24 to 64 bytes
# events = [\"gateway.revoked\"]          # left out: all
# ca_file = \"/etc/holdfast/ca.pem\"      # left out: those that Debian trusts
"
        .to_owned();
        for webhook in all {
            sample.push_str(&format!(
                "\n[[webhook]]\nurl = {}\nsecret_file = {}\nevents = {:?}\nca_file = {}\n",
                text(&webhook.url),
                text(&webhook.secret_file.to_string_lossy()),
                webhook.events,
                text(&webhook.ca_file.to_string_lossy()),
            ));
        }
        sample
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Config;

    fn load(text: &str) -> Result<Vec<WebhookConfig>, ConfigError> {
        Config::from_toml(text).map(|config| config.webhook)
    }

    const GOOD: &str = "[[webhook]]\nurl = \"https://a.example/x\"\nsecret_file = \"/s\"\n";

    #[test]
    fn a_webhook_is_told_everything_unless_it_says_what() {
        let all = load(GOOD).unwrap();
        assert_eq!(all[0].events().unwrap(), EventKind::ALL);
        let some = load(&format!("{GOOD}events = [\"gateway.revoked\"]")).unwrap();
        assert_eq!(some[0].events().unwrap(), [EventKind::Revoked]);
        assert_eq!(load(&WebhookConfig::sample(&some)).unwrap(), some);
    }

    #[test]
    fn what_cannot_be_is_refused_by_its_key() {
        let http = GOOD.replace("https://a.example", "http://192.0.2.1");
        for (bad, key) in [
            (http, "webhook.url"),
            (format!("{GOOD}{GOOD}"), "webhook.url"),
            (
                format!("{GOOD}events = [\"gateway.affirmed\"]"),
                "webhook.events",
            ),
        ] {
            let error = load(&bad).unwrap_err();
            assert!(
                matches!(error, ConfigError::OutOfRange { key: k, .. } if k == key),
                "{bad}: {error}"
            );
        }
        for bad in [
            GOOD.replace("a.example/x", "user:t0ken@a.example/t0ken"),
            GOOD.replace("/x", "/t0ken?k=t0ken").repeat(2),
        ] {
            let error = load(&bad).unwrap_err().to_string();
            assert!(!error.contains("t0ken"), "a token is shown: {error}");
        }
        let many: String = (0..17)
            .map(|n| GOOD.replace("/x", &format!("/{n}")))
            .collect();
        assert!(load(&many).is_err());
        assert!(matches!(
            load("[[webhook]]\nurl = \"https://a.example/x\""),
            Err(ConfigError::Malformed(_))
        ));
    }
}
