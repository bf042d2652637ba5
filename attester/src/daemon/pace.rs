//! How long to wait after a failure: doubling, bounded, with jitter.

use std::time::Duration;

use super::planner::Trouble;

/// First pause after what may pass by itself.
const FIRST: Duration = Duration::from_secs(1);
/// First pause after what somebody has to mend.
const FIRST_LASTING: Duration = Duration::from_secs(15);
/// Pauses after what somebody has to mend grow to this many times the longest
/// ordinary one.
const LASTING_FACTOR: u32 = 3;
/// Longest pause for a TPM that another program has: it is given back in
/// seconds, or not at all.
const LONGEST_FOR_TPM: Duration = Duration::from_secs(30);
/// How often to ask whether the owner has approved.
const FOR_APPROVAL: Duration = Duration::from_secs(60);
/// Longest pause that a Verifier can ask for: what it says is unproven before
/// TLS stands, and wrong where its clock or configuration is.
pub(super) const LONGEST_HINT: Duration = Duration::from_secs(3600);

/// Failures in a row, and what follows of them.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Pace {
    failures: u32,
    lasting: bool,
}

impl Pace {
    /// Counts a failure; how long to wait for the next attempt. Between half of
    /// the pause and all of it: gateways that lost the same Verifier do not come
    /// back in step, and none comes back at once.
    pub(super) fn pause(
        &mut self,
        trouble: Trouble,
        longest: Duration,
        random: &mut Random,
    ) -> Duration {
        let (first, longest) = match trouble {
            Trouble::Passing { .. } => (FIRST, longest),
            Trouble::TpmBusy => (FIRST, longest.min(LONGEST_FOR_TPM)),
            Trouble::AwaitingApproval => (FOR_APPROVAL, FOR_APPROVAL),
            // The answer to these is another act, which is not to wait long.
            Trouble::IdentityRefused | Trouble::NothingToRecover => (FIRST, longest),
            // Somebody may enrol by hand; to see it costs the reading of a file.
            Trouble::NotEnrolled => (FIRST_LASTING, FOR_APPROVAL),
            Trouble::Lasting => (FIRST_LASTING, longest.saturating_mul(LASTING_FACTOR)),
        };
        let lasting = matches!(trouble, Trouble::NotEnrolled | Trouble::Lasting);
        let doubled = 1_u32.checked_shl(self.failures).unwrap_or(u32::MAX);
        self.failures = self.failures.saturating_add(1);
        self.lasting = lasting;
        let ceiling = first.min(longest).saturating_mul(doubled).min(longest);
        let pause = ceiling.mul_f64(0.5 + 0.5 * random.share());
        match trouble {
            // Never sooner than asked, and not all at that very moment.
            Trouble::Passing {
                retry_after: Some(asked),
            } => {
                let asked = asked.min(LONGEST_HINT);
                pause.max(asked + asked.mul_f64(0.1 * random.share()))
            }
            _ => pause,
        }
    }

    /// A first pause.
    pub(super) fn first(random: &mut Random) -> Duration {
        FIRST.mul_f64(0.5 + 0.5 * random.share())
    }

    /// Whether the last failure may pass by itself.
    pub(super) fn is_passing(&self) -> bool {
        self.failures > 0 && !self.lasting
    }

    pub(super) fn failures(&self) -> u32 {
        self.failures
    }
}

/// Jitter, and nothing that must be unpredictable: SplitMix64 (Steele, Lea and
/// Flood, OOPSLA 2014), so that a seed makes a plan repeatable.
#[derive(Clone, Debug)]
pub(super) struct Random(u64);

impl Random {
    pub(super) fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// From 0 to 1.
    pub(super) fn share(&mut self) -> f64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        let bits = u32::try_from((z ^ (z >> 31)) >> 32).unwrap_or(u32::MAX);
        f64::from(bits) / f64::from(u32::MAX)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LONGEST: Duration = Duration::from_secs(300);

    #[test]
    fn pauses_double_up_to_the_longest_and_are_never_short() {
        let (mut pace, mut random) = (Pace::default(), Random::new(7));
        let passing = Trouble::Passing { retry_after: None };
        for exponent in 0..200_u32 {
            let ceiling = (1_u64 << exponent.min(20)).min(300);
            let pause = pace.pause(passing, LONGEST, &mut random);
            assert!(
                pause <= Duration::from_secs(ceiling),
                "{exponent}: {pause:?}"
            );
            assert!(pause >= Duration::from_millis(ceiling * 500), "{exponent}");
        }
        assert_eq!(pace.failures(), 200);
    }

    #[test]
    fn the_verifiers_wish_is_honoured_within_bounds() {
        let mut random = Random::new(1);
        for (asked, least) in [(40, 40), (1_000_000, 3600)] {
            let trouble = Trouble::Passing {
                retry_after: Some(Duration::from_secs(asked)),
            };
            let pause = Pace::default().pause(trouble, LONGEST, &mut random);
            assert!(pause >= Duration::from_secs(least), "{pause:?}");
            assert!(
                pause <= Duration::from_secs(least).mul_f64(1.1),
                "{pause:?}"
            );
        }
    }

    #[test]
    fn a_busy_tpm_is_asked_more_often_than_what_lasts() {
        let settled = |trouble| {
            let (mut pace, mut random) = (Pace::default(), Random::new(3));
            (0..20)
                .map(|_| pace.pause(trouble, LONGEST, &mut random))
                .last()
                .unwrap()
        };
        assert!(settled(Trouble::TpmBusy) <= LONGEST_FOR_TPM);
        assert!(settled(Trouble::Lasting) > LONGEST);
        assert!(settled(Trouble::Lasting) <= LONGEST * 3);
        assert!(settled(Trouble::AwaitingApproval) <= FOR_APPROVAL);
    }

    #[test]
    fn jitter_is_spread_and_repeatable() {
        let draw = |seed| {
            let mut random = Random::new(seed);
            (0..1000).map(|_| random.share()).collect::<Vec<_>>()
        };
        assert_eq!(draw(5), draw(5));
        assert_ne!(draw(5), draw(6));
        let mean = draw(5).iter().sum::<f64>() / 1000.0;
        assert!((0.45..0.55).contains(&mean), "{mean}");
        assert!(draw(5).iter().all(|share| (0.0..=1.0).contains(share)));
    }
}
