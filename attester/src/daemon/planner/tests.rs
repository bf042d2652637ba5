use proptest::prelude::*;

use super::*;

const HOUR: u64 = 3600;
const START: i64 = 1_800_000_000;

const RHYTHM: Rhythm = Rhythm {
    attest_every: Duration::from_secs(HOUR),
    retry_max: Duration::from_secs(300),
};

fn seconds(n: u64) -> Duration {
    Duration::from_secs(n)
}

fn signed(n: u64) -> i64 {
    i64::try_from(n).unwrap()
}

/// An LDevID of `lifetime` seconds, issued at `at`.
fn issued(at: i64, lifetime: u64) -> Validity {
    Validity {
        renew_after: at + signed(lifetime / 3 * 2),
        not_after: at + signed(lifetime),
    }
}

/// A gateway in simulated time: its wall clock may be off, the Verifier's is
/// `START` plus the true time.
struct World {
    planner: Planner,
    passed: Duration,
    /// The wall clock's error, in seconds.
    error: i64,
    lifetime: u64,
    /// The end of the LDevID, in true time.
    end: i64,
    /// The verifier refuses an LDevID that has expired; may be cut off.
    reachable: bool,
    log: Vec<(u64, Act, Why)>,
    expired_for: u64,
}

impl World {
    fn enrolled(lifetime: u64) -> Self {
        let validity = issued(START, lifetime);
        let mut world = Self {
            planner: Planner::new(RHYTHM, Some(validity), 1, now_at(seconds(10), 0)),
            passed: seconds(10),
            error: 0,
            lifetime,
            end: validity.not_after,
            reachable: true,
            log: Vec::new(),
            expired_for: 0,
        };
        world.restart();
        world
    }

    fn restart(&mut self) {
        let validity = self.planner.validity();
        self.planner = Planner::new(RHYTHM, validity, 1, self.now());
    }

    fn now(&self) -> Now {
        now_at(self.passed, self.error)
    }

    fn truth(&self) -> i64 {
        START + signed(self.passed.as_secs())
    }

    /// What the Verifier would say.
    fn answer(&self, act: Act) -> Ended {
        let granted = issued(self.truth(), self.lifetime);
        let expired = self.end <= self.truth();
        match act {
            _ if !self.reachable => Ended::Failed(Trouble::Passing { retry_after: None }),
            Act::Attest | Act::Renew if expired => Ended::Failed(Trouble::IdentityRefused),
            Act::Recover if !expired => Ended::Failed(Trouble::NothingToRecover),
            Act::Attest => Ended::Affirmed(None),
            Act::Renew | Act::Recover | Act::Enrol => Ended::Affirmed(Some(granted)),
        }
    }

    /// Lives for so long.
    fn live(&mut self, length: Duration) {
        let until = self.passed + length;
        loop {
            let next = self.planner.next(self.now());
            let at = next.at.max(self.passed);
            if at >= until {
                self.passed = until;
                return;
            }
            // An act takes time; a plan that takes none would turn for ever.
            self.passed = at + Duration::from_millis(100);
            self.log.push((at.as_secs(), next.act, next.why));
            assert!(self.log.len() < 100_000, "a tight loop");
            let how = self.answer(next.act);
            let overdue = self.truth().saturating_sub(self.end);
            self.expired_for = self.expired_for.max(u64::try_from(overdue).unwrap_or(0));
            if let Ended::Affirmed(Some(validity)) = how {
                self.end = validity.not_after;
            }
            let now = self.now();
            self.planner.ended(next.act, how, now);
        }
    }

    fn count(&self, act: Act) -> usize {
        self.log.iter().filter(|(_, done, _)| *done == act).count()
    }
}

fn now_at(boot: Duration, error: i64) -> Now {
    Now {
        boot,
        wall: START + signed(boot.as_secs()) + error,
    }
}

#[test]
fn a_start_attests_in_full_at_once() {
    let mut world = World::enrolled(24 * HOUR);
    world.live(seconds(60));
    assert_eq!(world.log, [(10, Act::Attest, Why::Started)]);
}

#[test]
fn a_week_attests_by_schedule_and_renews_at_two_thirds() {
    let mut world = World::enrolled(24 * HOUR);
    world.live(seconds(7 * 24 * HOUR));
    assert_eq!(world.count(Act::Recover), 0);
    let renewals: Vec<u64> = world
        .log
        .iter()
        .filter(|(_, act, _)| *act == Act::Renew)
        .map(|(at, ..)| *at)
        .collect();
    assert_eq!(renewals.len(), 10, "{renewals:?}");
    for pair in renewals.windows(2) {
        let apart = pair[1] - pair[0];
        assert!((16 * HOUR..=16 * HOUR + 60).contains(&apart), "{apart}");
    }
    let full = world.log.len();
    assert!((24 * 7..=200).contains(&full), "{full} attestations");
    for pair in world.log.windows(2) {
        assert!(pair[1].0 - pair[0].0 <= HOUR + 1, "{pair:?}");
    }
}

#[test]
fn nothing_on_disk_enrols_and_an_enrolment_by_hand_is_found() {
    let now = now_at(seconds(1), 0);
    let mut planner = Planner::new(RHYTHM, None, 1, now);
    assert_eq!(planner.next(now).act, Act::Enrol);
    planner.ended(Act::Enrol, Ended::Failed(Trouble::NotEnrolled), now);
    let pause = planner.next(now).in_how_long(now);
    assert!(pause > Duration::ZERO && pause <= seconds(60), "{pause:?}");
    planner.found(Some(issued(now.wall, HOUR)));
    assert_eq!(planner.next(now).act, Act::Attest);
}

#[test]
fn a_lost_network_is_asked_for_calmly_and_found_again() {
    let mut world = World::enrolled(24 * HOUR);
    world.live(seconds(60));
    world.reachable = false;
    world.live(seconds(10 * HOUR));
    let attempts = world.log.len() - 1;
    assert!((100..=300).contains(&attempts), "{attempts} attempts");
    world.reachable = true;
    world.live(seconds(300));
    let (_, act, _) = world.log.last().unwrap();
    assert_eq!(*act, Act::Attest);
    assert_eq!(world.planner.failures(), 0);
}

#[test]
fn an_expiry_in_the_dark_recovers() {
    let mut world = World::enrolled(24 * HOUR);
    world.reachable = false;
    world.live(seconds(30 * HOUR));
    world.reachable = true;
    world.live(seconds(600));
    assert_eq!(
        world.log.last().map(|(_, act, why)| (*act, *why)),
        Some((Act::Recover, Why::Expired))
    );
    assert_eq!(world.planner.failures(), 0);
}

#[test]
fn a_suspend_wakes_up_to_what_was_missed() {
    let mut world = World::enrolled(24 * HOUR);
    world.live(seconds(60));
    // CLOCK_BOOTTIME goes on, nobody runs.
    world.passed += seconds(17 * HOUR);
    let next = world.planner.next(world.now());
    assert_eq!(
        (next.act, next.in_how_long(world.now())),
        (Act::Renew, Duration::ZERO)
    );
    world.passed += seconds(17 * HOUR);
    assert_eq!(world.planner.next(world.now()).act, Act::Recover);
}

#[test]
fn a_clock_set_forward_renews_at_most_once_in_a_third() {
    let mut world = World::enrolled(24 * HOUR);
    world.live(seconds(HOUR));
    world.error = signed(400 * 24 * HOUR);
    let before = world.log.len();
    world.live(seconds(24 * HOUR));
    let renewals = world.count(Act::Renew);
    assert!((2..=4).contains(&renewals), "{renewals}");
    assert!(world.log.len() - before < 40);
    assert_eq!(world.expired_for, 0);
}

#[test]
fn a_clock_set_back_delays_no_renewal() {
    let mut world = World::enrolled(24 * HOUR);
    // The first renewal tells when the next is due, whatever the clock says.
    world.live(seconds(17 * HOUR));
    assert_eq!(world.count(Act::Renew), 1);
    world.error = -signed(400 * 24 * HOUR);
    world.live(seconds(48 * HOUR));
    assert_eq!(world.count(Act::Renew), 4);
    assert_eq!((world.expired_for, world.count(Act::Recover)), (0, 0));
}

#[test]
fn a_machine_without_a_clock_renews_at_its_start() {
    let mut world = World::enrolled(24 * HOUR);
    world.error = -START;
    world.restart();
    world.live(seconds(15 * HOUR));
    assert_eq!(world.log.first().map(|(_, act, _)| *act), Some(Act::Renew));
    assert_eq!(world.count(Act::Renew), 1);
}

#[test]
fn a_wrong_expiry_by_the_clock_is_put_right_by_the_verifier() {
    let mut world = World::enrolled(24 * HOUR);
    world.error = signed(400 * 24 * HOUR);
    world.restart();
    world.live(seconds(600));
    let acts: Vec<Act> = world.log.iter().map(|(_, act, _)| *act).collect();
    assert_eq!(acts, [Act::Recover, Act::Renew]);
}

#[test]
fn a_refusal_is_tried_again_ever_more_slowly() {
    let mut now = now_at(seconds(1), 0);
    let mut planner = Planner::new(RHYTHM, Some(issued(now.wall, 24 * HOUR)), 1, now);
    let mut attempts = 0;
    while now.boot < seconds(4 * HOUR) {
        let next = planner.next(now);
        now = now_at(next.at.max(now.boot), 0);
        planner.ended(next.act, Ended::Refused, now);
        attempts += 1;
    }
    assert!((15..=50).contains(&attempts), "{attempts}");
}

#[test]
fn an_identity_that_is_refused_recovers_and_a_block_does_not_turn_fast() {
    let mut now = now_at(seconds(1), 0);
    let mut planner = Planner::new(RHYTHM, Some(issued(now.wall, 24 * HOUR)), 1, now);
    planner.ended(Act::Attest, Ended::Failed(Trouble::IdentityRefused), now);
    assert_eq!(planner.next(now).act, Act::Recover);
    let mut attempts = 0;
    while now.boot < seconds(4 * HOUR) {
        let next = planner.next(now);
        now = now_at(next.at.max(now.boot), 0);
        assert_eq!(next.act, Act::Recover);
        planner.ended(next.act, Ended::Failed(Trouble::Lasting), now);
        attempts += 1;
    }
    assert!((15..=50).contains(&attempts), "{attempts}");
    let granted = issued(now.wall, 24 * HOUR);
    planner.ended(Act::Recover, Ended::Affirmed(Some(granted)), now);
    assert_eq!(planner.next(now).act, Act::Attest);
}

#[test]
fn who_asks_gets_a_full_attestation_but_not_through_a_pause() {
    let now = now_at(seconds(1), 0);
    let mut planner = Planner::new(RHYTHM, Some(issued(now.wall, 24 * HOUR)), 1, now);
    planner.ended(Act::Attest, Ended::Affirmed(None), now);
    assert!(planner.next(now).in_how_long(now) > seconds(HOUR * 8 / 10));
    planner.ask();
    let next = planner.next(now);
    assert_eq!(
        (next.act, next.why, next.at),
        (Act::Attest, Why::Asked, now.boot)
    );
    let hint = Trouble::Passing {
        retry_after: Some(seconds(120)),
    };
    planner.ended(Act::Attest, Ended::Failed(hint), now);
    planner.ask();
    assert!(planner.next(now).in_how_long(now) >= seconds(120));
}

#[test]
fn a_clock_that_was_put_right_ends_a_pause_that_may_have_been_its_fault() {
    let now = now_at(seconds(1), 0);
    let planner = Planner::new(RHYTHM, Some(issued(now.wall, 24 * HOUR)), 1, now);
    let after = |trouble| {
        let mut planner = planner.clone();
        for _ in 0..20 {
            planner.ended(Act::Attest, Ended::Failed(trouble), now);
        }
        planner.clock_stepped(now);
        planner.next(now).in_how_long(now)
    };
    assert!(after(Trouble::Passing { retry_after: None }) <= seconds(1));
    assert!(after(Trouble::Lasting) > seconds(100));
}

#[test]
fn new_settings_count_at_once() {
    let now = now_at(seconds(1), 0);
    let mut planner = Planner::new(RHYTHM, Some(issued(now.wall, 24 * HOUR)), 1, now);
    planner.ended(Act::Attest, Ended::Affirmed(None), now);
    let rhythm = Rhythm {
        attest_every: seconds(60),
        ..RHYTHM
    };
    planner.reconfigure(rhythm, now);
    assert!(planner.next(now).in_how_long(now) <= seconds(60));
    planner.ended(Act::Attest, Ended::Failed(Trouble::Lasting), now);
    planner.reconfigure(rhythm, now);
    assert!(planner.next(now).in_how_long(now) <= seconds(60));
}

proptest! {
    /// Whatever steps the wall clock makes and however long the network is
    /// away: the number of acts is bounded by time, and a gateway that can
    /// reach its Verifier again is trusted again within the longest pause.
    #[test]
    fn no_clock_makes_it_turn_fast_or_stay_away(
        lifetime in 600_u64..172_800,
        steps in prop::collection::vec((60_u64..20_000, -40_000_000_i64..40_000_000, any::<bool>()), 1..12),
    ) {
        let mut world = World::enrolled(lifetime);
        let mut lived = 0;
        for (length, error, reachable) in steps {
            world.error = error;
            world.reachable = reachable;
            let now = world.now();
            world.planner.clock_stepped(now);
            world.live(seconds(length));
            lived += length;
        }
        // A pause lasts a second at least after the first, and doubles; a third
        // of the validity is the least between renewals.
        let bound = 100 + 12 * 20 + lived / 100 + 12 * lived / lifetime;
        prop_assert!(world.log.len() as u64 <= bound, "{} acts in {lived} s", world.log.len());
        world.reachable = true;
        world.live(seconds(2 * 300 + 60));
        prop_assert!(world.end > world.truth());
        prop_assert_eq!(world.planner.failures(), 0);
    }
}
