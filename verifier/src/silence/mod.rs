//! Silence: how long may a gateway go without an affirming full attestation?
//! In: settings. Out: [`SilenceRules`], and from them what is due.
//!
//! Pure. Time is the verifier's up-time ([`UpSeconds`]), which the store keeps:
//! a verifier that was down, and a clock that steps, make nobody silent.

use std::collections::{BTreeMap, BTreeSet};

/// Seconds that a verifier was up, over all its runs. Not a time of day.
pub type UpSeconds = i64;

/// By when gateways must have attested.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SilenceRules {
    default: UpSeconds,
    classes: BTreeMap<String, UpSeconds>,
    beat: UpSeconds,
    grace: UpSeconds,
    /// Classes whose gateways must beat.
    beating: BTreeSet<String>,
}

impl SilenceRules {
    /// Least seconds between two attestations that can be asked for, and least
    /// grace: less could not be told from looks being seldom.
    pub const MIN_SECONDS: u32 = 4;

    /// `default`: within how many seconds gateways attest; `classes`: those for
    /// which that is otherwise; `beat`: within how many seconds one that beats
    /// beats again; `grace`: how much later one is suspended, and
    /// how long nobody is after a start. All at least
    /// [`MIN_SECONDS`](Self::MIN_SECONDS); what is less counts as that.
    #[must_use]
    pub fn new(default: u32, classes: BTreeMap<String, u32>, beat: u32, grace: u32) -> Self {
        let seconds = |s: u32| UpSeconds::from(s.max(Self::MIN_SECONDS));
        Self {
            default: seconds(default),
            classes: classes
                .into_iter()
                .map(|(class, s)| (class, seconds(s)))
                .collect(),
            beat: seconds(beat),
            grace: seconds(grace),
            beating: BTreeSet::new(),
        }
    }

    /// The same, with heartbeats required of the gateways of these classes.
    #[must_use]
    pub fn requiring_heartbeats(mut self, classes: BTreeSet<String>) -> Self {
        self.beating = classes;
        self
    }

    /// Within how many seconds a gateway of this class attests.
    #[must_use]
    pub fn within(&self, class: &str) -> UpSeconds {
        self.classes.get(class).copied().unwrap_or(self.default)
    }

    /// Within how many seconds a gateway that beats beats again.
    #[must_use]
    pub fn beat_within(&self) -> UpSeconds {
        self.beat
    }

    /// The grace, in seconds.
    #[must_use]
    pub fn grace(&self) -> UpSeconds {
        self.grace
    }

    /// How often silence is looked for, and beats are written, in seconds: 1 to
    /// 5, and at least four times in a grace.
    #[must_use]
    pub fn every(&self) -> UpSeconds {
        (self.grace / 4).clamp(1, 5)
    }

    /// Gateways of this class are silent, at up-time `now`, whose last
    /// attestation was at this up-time or before.
    ///
    /// It is looked for only [`every`](Self::every) so often, and beats are
    /// written as late as that. Two of those less than interval and grace, and a
    /// gateway is suspended after its interval and before the end of its grace.
    #[must_use]
    pub fn due(&self, class: &str, now: UpSeconds) -> UpSeconds {
        self.due_after(self.within(class), now)
    }

    /// The same of beats: gateways are silent whose next one was due at this
    /// up-time or before.
    #[must_use]
    pub fn beats_due(&self, now: UpSeconds) -> UpSeconds {
        self.due_after(0, now)
    }

    fn due_after(&self, within: UpSeconds, now: UpSeconds) -> UpSeconds {
        let allowed = within
            .saturating_add(self.grace)
            .saturating_sub(2 * self.every());
        now.saturating_sub(allowed)
    }

    /// Within how long after a full attestation a gateway of this class must begin
    /// to beat; none where it need not.
    #[must_use]
    pub fn beats_begin(&self, class: &str) -> Option<Notice> {
        self.beating.contains(class).then(|| self.notice(0))
    }

    /// A deadline that is given to a gateway at up-time `now`: to do something
    /// within the grace.
    #[must_use]
    pub fn notice(&self, now: UpSeconds) -> Notice {
        Notice {
            at: now
                .saturating_add(self.grace)
                .saturating_sub(2 * self.every() - 1),
        }
    }
}

/// A deadline that a gateway is told of. It is kept as it was given: settings
/// that change later change nothing about it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Notice {
    at: UpSeconds,
}

impl Notice {
    /// One on record.
    #[must_use]
    pub const fn on_record(at: UpSeconds) -> Self {
        Self { at }
    }

    /// Up-time at which the gateway is suspended.
    #[must_use]
    pub const fn at(self) -> UpSeconds {
        self.at
    }

    /// What the gateway is told at up-time `now`: within how many seconds. Less
    /// by two than there are, for up-time is kept in whole seconds, and what it
    /// is told has to hold.
    #[must_use]
    pub fn within(self, now: UpSeconds) -> u32 {
        u32::try_from(self.at.saturating_sub(now).saturating_sub(2)).unwrap_or(0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_class_has_its_own_interval() {
        let rules = SilenceRules::new(3600, [("edge".to_owned(), 60)].into(), 20, 40);
        assert_eq!(rules.within("edge"), 60);
        assert_eq!(rules.within("other"), 3600);
        assert_eq!(rules.every(), 5);
        assert_eq!(rules.due("edge", 1000), 1000 - 60 - 40 + 10);
        assert_eq!(rules.beats_due(1000), 1000 - 40 + 10);
        assert_eq!(rules.notice(1000).at(), 1000 + 40 - 9);
        assert_eq!(rules.notice(1000).within(1000), 40 - 9 - 2);
    }

    /// Even if up-time were marked at looks alone: whatever their phase, nobody is
    /// suspended within the interval, nor later than interval and grace.
    #[test]
    fn suspended_after_the_interval_and_within_the_grace() {
        for grace in 4..50 {
            let rules = SilenceRules::new(30, BTreeMap::new(), 30, grace);
            let every = rules.every();
            let mark =
                |true_time: i64, phase: i64| (true_time - phase).div_euclid(every) * every + phase;
            for phase in 0..every {
                let attested = 100;
                let recorded = mark(attested, phase);
                let suspended = (attested..)
                    .filter(|t| mark(*t, phase) == *t)
                    .find(|now| recorded <= rules.due("x", *now))
                    .unwrap();
                let silence = suspended - attested;
                assert!(silence > 30, "{grace} {phase}: {silence}");
                assert!(silence <= 30 + rules.grace(), "{grace} {phase}: {silence}");
            }
        }
    }

    #[test]
    fn heartbeats_are_required_by_class() {
        let rules = SilenceRules::new(3600, BTreeMap::new(), 20, 40)
            .requiring_heartbeats(["edge".to_owned()].into());
        assert_eq!(rules.beats_begin("edge"), Some(rules.notice(0)));
        assert_eq!(rules.beats_begin("other"), None);
    }

    /// What a gateway is told it has, and the grace is not over before it is
    /// suspended: whole seconds round down, and looks are seldom.
    #[test]
    fn a_notice_is_shorter_than_the_grace_and_longer_than_told() {
        for grace in 4..100 {
            let rules = SilenceRules::new(30, BTreeMap::new(), 30, grace);
            let notice = rules.notice(1000);
            let told = i64::from(notice.within(1000));
            assert!(told >= 1, "{grace}");
            assert!(1000 + told < notice.at() - 1, "{grace}");
            assert!(
                notice.at() + rules.every() <= 1000 + rules.grace(),
                "{grace}"
            );
        }
    }

    #[test]
    fn too_little_is_the_least() {
        let rules = SilenceRules::new(0, BTreeMap::new(), 0, 0);
        assert_eq!((rules.within("x"), rules.grace(), rules.every()), (4, 4, 1));
    }
}
