//! `[silence]` and `[class.NAME] attest_within_seconds`: when a gateway that
//! stops attesting is suspended.

use serde::Deserialize;

use super::{Config, ConfigError, class::HeartbeatsConfig};
use crate::silence::SilenceRules;

/// Greatest interval: 30 days.
const WITHIN_MAX: u32 = 30 * 86_400;
const WITHIN: &str = "use 4 to 2592000, or 0 for as long as an LDevID of the gateway's class lives";

/// When silence is failure.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct SilenceConfig {
    /// Within how many seconds a gateway attests again; 0: as long as an LDevID
    /// of its class lives.
    pub attest_within_seconds: u32,
    /// Within how many seconds a gateway that beats beats again.
    pub beat_within_seconds: u32,
    /// How much later it is suspended at the latest, in seconds; and how long
    /// nobody is, after a start of the verifier.
    pub grace_seconds: u32,
}

impl Default for SilenceConfig {
    fn default() -> Self {
        Self {
            attest_within_seconds: 0,
            beat_within_seconds: 300,
            grace_seconds: 60,
        }
    }
}

impl SilenceConfig {
    /// As in the sample.
    pub(super) fn sample(&self) -> String {
        format!(
            r#"[silence]
# Within how many seconds a gateway must attest again (4 to 2592000), or it is
# suspended for silence and comes back by `recover`. 0: as long as an LDevID of
# its class lives. By class: attest_within_seconds in [class.NAME]. Time in which
# the verifier was down does not count (docs/silence.md).
attest_within_seconds = {}

# The same for heartbeats, of gateways that have begun to beat (docs/heartbeats.md):
# within how many seconds one must come (4 to 86400). They are asked to beat three
# times as often.
beat_within_seconds = {}

# It is suspended this many seconds later at the latest (4 to 3600). For as long
# nobody is after a start of the verifier.
grace_seconds = {}
"#,
            self.attest_within_seconds, self.beat_within_seconds, self.grace_seconds
        )
    }
}

impl Config {
    /// By when gateways must have attested.
    ///
    /// # Errors
    /// [`ConfigError::OutOfRange`] names the key.
    pub fn silence_rules(&self) -> Result<SilenceRules, ConfigError> {
        let SilenceConfig {
            attest_within_seconds,
            beat_within_seconds,
            grace_seconds,
        } = self.silence;
        if !(SilenceRules::MIN_SECONDS..=86_400).contains(&beat_within_seconds) {
            return Err(ConfigError::OutOfRange {
                key: "silence.beat_within_seconds",
                value: beat_within_seconds.to_string(),
                rule: "use 4 to 86400",
            });
        }
        if !(SilenceRules::MIN_SECONDS..=3600).contains(&grace_seconds) {
            return Err(ConfigError::OutOfRange {
                key: "silence.grace_seconds",
                value: grace_seconds.to_string(),
                rule: "use 4 to 3600",
            });
        }
        let default = within(
            "silence.attest_within_seconds",
            attest_within_seconds,
            self.ldevid.validity_seconds,
        )?;
        let classes = self.class.iter().map(|(name, class)| {
            let lifetime = class
                .ldevid
                .validity_seconds
                .unwrap_or(self.ldevid.validity_seconds);
            let set = class.attest_within_seconds.unwrap_or(attest_within_seconds);
            let within = within("class.NAME.attest_within_seconds", set, lifetime)?;
            Ok((name.clone(), within))
        });
        let classes = classes.collect::<Result<_, ConfigError>>()?;
        let beating = self.class.iter();
        let beating = beating.filter(|(_, class)| class.heartbeats == HeartbeatsConfig::Required);
        Ok(
            SilenceRules::new(default, classes, beat_within_seconds, grace_seconds)
                .requiring_heartbeats(beating.map(|(name, _)| name.clone()).collect()),
        )
    }
}

fn within(key: &'static str, set: u32, lifetime: u32) -> Result<u32, ConfigError> {
    match set {
        0 => Ok(lifetime),
        SilenceRules::MIN_SECONDS..=WITHIN_MAX => Ok(set),
        _ => Err(ConfigError::OutOfRange {
            key,
            value: set.to_string(),
            rule: WITHIN,
        }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rules(text: &str) -> Result<SilenceRules, ConfigError> {
        Config::from_toml(text)?.silence_rules()
    }

    #[test]
    fn by_default_as_long_as_an_ldevid_lives() {
        let rules = rules("[class.edge.ldevid]\nvalidity_seconds = 600").unwrap();
        assert_eq!(rules.within("edge"), 600);
        assert_eq!(rules.within("other"), 86_400);
        assert_eq!(rules.grace(), 60);
    }

    #[test]
    fn a_class_may_say_otherwise() {
        let text = "[silence]\nattest_within_seconds = 3600\ngrace_seconds = 9\n\
                    [class.edge]\nattest_within_seconds = 30\n\
                    [class.slow]\nattest_within_seconds = 0\n[class.usual.ldevid]\nmud_url = \"\"";
        let rules = rules(text).unwrap();
        let of = |class| rules.within(class);
        assert_eq!(
            (of("edge"), of("slow"), of("usual"), of("other")),
            (30, 86_400, 3600, 3600)
        );
        assert_eq!(rules.grace(), 9);
    }

    #[test]
    fn heartbeats_are_required_where_a_class_says_so() {
        let text = "[class.edge]\nheartbeats = \"required\"\n\
                    [class.lab]\nheartbeats = \"optional\"\n[class.usual]";
        let rules = rules(text).unwrap();
        let required = |class| rules.beats_begin(class).is_some();
        assert!(required("edge"));
        assert!(!required("lab") && !required("usual") && !required("other"));
        for wrong in ["\"yes\"", "true", "\"Required\""] {
            let text = format!("[class.edge]\nheartbeats = {wrong}");
            assert!(Config::from_toml(&text).is_err(), "{wrong}");
        }
    }

    #[test]
    fn what_cannot_be_is_refused_by_its_key() {
        for (text, wanted) in [
            (
                "[silence]\nattest_within_seconds = 3",
                "silence.attest_within_seconds",
            ),
            (
                "[silence]\nbeat_within_seconds = 3",
                "silence.beat_within_seconds",
            ),
            ("[silence]\ngrace_seconds = 3", "silence.grace_seconds"),
            ("[silence]\ngrace_seconds = 3601", "silence.grace_seconds"),
            (
                "[class.a]\nattest_within_seconds = 2592001",
                "class.NAME.attest_within_seconds",
            ),
        ] {
            let error = rules(text).unwrap_err();
            assert!(
                matches!(error, ConfigError::OutOfRange { key, .. } if key == wanted),
                "{text}: {error}"
            );
        }
        assert!(rules("[silence]\noff = true").is_err());
    }
}
