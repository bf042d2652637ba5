//! What a peer may cost: rates before public-key work, and a pool that bounds
//! the public-key work itself.

use std::{num::NonZeroU32, sync::Arc, time::Duration};

use governor::{Quota, RateLimiter, clock::DefaultClock, state::keyed::DashMapStateStore};
use holdfast_proto::binding::Ueid;
use tokio::sync::Semaphore;

use super::{addresses::AddressKey, error::Refusal};

/// Longest wait for a place in the crypto pool. Beyond it the peer is better
/// told to come again than kept.
const POOL_WAIT: Duration = Duration::from_secs(5);
/// Entries of a rate table before new keys are refused until the next sweep.
/// An entry is some 100 bytes: 10 MiB for a full table (A21: memory bounded).
const KEYS_MAX: usize = 100_000;

/// Refused acts of one person that are recorded each minute: more than anybody
/// makes by mistake.
const REFUSED_ACTS_PER_MINUTE: NonZeroU32 = NonZeroU32::new(30).expect("30 is not 0");

/// Bytes of requests per minute that are hashed for whoever pays for them, to
/// see whether they were answered before: that comes before the gateway's own
/// rate, so that a retry is answered at any rate. Four of the longest
/// re-attestations, or sixteen of the longest enrolments: a tenth of a second.
const HASHED_MAX: usize = 64 << 20;
/// What hashing is counted in, in bytes.
const HASHED_UNIT: usize = 1024;

/// Numbers for [`Limits`].
#[derive(Debug, Clone, Copy)]
pub struct LimitSettings {
    /// Requests per minute from one address.
    pub requests_per_minute_per_address: NonZeroU32,
    /// Challenges per minute for one EK or gateway.
    pub challenges_per_minute_per_ek: NonZeroU32,
    /// Public-key jobs at once.
    pub crypto_threads: usize,
}

pub(super) type Keyed<K> = RateLimiter<K, DashMapStateStore<K>, DefaultClock>;

/// Which step is counted. Each has a bucket of its own, so that step 1 cannot
/// starve step 2.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum Step {
    /// RequestChallenge, after the join token was found. The EK is not proven
    /// yet and its certificate is no secret: counted by EK *and* address, or
    /// whoever holds a join token could use up the share of another gateway.
    Challenge(AddressKey),
    /// RequestRecoveryChallenge. There is no admission before it: counted as
    /// above, or anybody could use up the share of a gateway that wants to
    /// recover.
    RecoveryChallenge(AddressKey),
    /// Enroll and Recover, after the activated secret was found right.
    Enrol,
    /// RequestAttestationChallenge.
    AttestationChallenge,
    /// Attest.
    Attest,
    /// Beat: streams begun.
    Beats,
}

/// Whose share it is that bytes are hashed from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum Payer {
    /// Nobody is known yet.
    Address(AddressKey),
    /// Known by its LDevID: no neighbour behind the same address uses up its
    /// share.
    Gateway(Ueid),
}

/// Rates by key, and the crypto pool.
pub struct Limits {
    addresses: Keyed<AddressKey>,
    gateways: Keyed<(Ueid, Step)>,
    refused_acts: Keyed<String>,
    hashed: Keyed<Payer>,
    pool: Arc<Semaphore>,
}

impl Limits {
    /// From numbers.
    #[must_use]
    pub fn new(settings: LimitSettings) -> Self {
        let per_minute = Quota::per_minute;
        Self {
            addresses: RateLimiter::keyed(per_minute(settings.requests_per_minute_per_address)),
            gateways: RateLimiter::keyed(per_minute(settings.challenges_per_minute_per_ek)),
            refused_acts: RateLimiter::keyed(per_minute(REFUSED_ACTS_PER_MINUTE)),
            hashed: RateLimiter::keyed(per_minute(units(HASHED_MAX))),
            pool: Arc::new(Semaphore::new(settings.crypto_threads.max(1))),
        }
    }

    /// Counts one request of an address.
    pub(super) fn address(&self, key: AddressKey) -> Result<(), Refusal> {
        count(&self.addresses, &key, ONE, "requests of the address")
    }

    /// Counts one step of a gateway.
    pub(super) fn gateway(&self, id: &Ueid, step: Step) -> Result<(), Refusal> {
        count(&self.gateways, &(*id, step), ONE, "exchanges of the EK")
    }

    /// Counts the bytes of a request that is about to be hashed.
    pub(super) fn volume(&self, payer: Payer, bytes: usize) -> Result<(), Refusal> {
        let what = match payer {
            Payer::Address(_) => "bytes of the address",
            Payer::Gateway(_) => "bytes of the gateway",
        };
        count(&self.hashed, &payer, units(bytes), what)
    }

    /// Counts one refused act that is to be recorded.
    pub(super) fn refused_act(&self, caller: &str) -> Result<(), Refusal> {
        count(
            &self.refused_acts,
            &caller.to_owned(),
            ONE,
            "refused acts of the caller",
        )
    }

    /// Runs public-key work on a blocking thread, when there is a place. The
    /// place is held until the work ends, even where its caller has gone.
    pub(super) async fn crypto<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> Result<T, Refusal> + Send + 'static,
    ) -> Result<T, Refusal> {
        let place = tokio::time::timeout(POOL_WAIT, Arc::clone(&self.pool).acquire_owned())
            .await
            .map_err(|_| Refusal::Overloaded("no place in the crypto pool"))?
            .map_err(|_| Refusal::Overloaded("shutting down"))?;
        let span = tracing::Span::current();
        tokio::task::spawn_blocking(move || {
            let _place = place;
            span.in_scope(work)
        })
        .await
        .map_err(|e| Refusal::Internal(format!("public-key work: {e}")))?
    }

    /// Forgets keys whose buckets are full again.
    pub(super) fn sweep(&self) {
        self.addresses.retain_recent();
        self.gateways.retain_recent();
        self.refused_acts.retain_recent();
        self.hashed.retain_recent();
    }
}

/// What one request counts.
pub(super) const ONE: NonZeroU32 = NonZeroU32::MIN;

/// Units of hashing in so many bytes, those begun included.
fn units(bytes: usize) -> NonZeroU32 {
    let units = u32::try_from(bytes.div_ceil(HASHED_UNIT)).unwrap_or(u32::MAX);
    NonZeroU32::new(units).unwrap_or(ONE)
}

/// Counts one of `key`.
pub(super) fn count<K: Eq + std::hash::Hash + Clone>(
    limiter: &Keyed<K>,
    key: &K,
    cost: NonZeroU32,
    what: &'static str,
) -> Result<(), Refusal> {
    if limiter.len() >= KEYS_MAX {
        limiter.retain_recent();
        if limiter.len() >= KEYS_MAX {
            return Err(Refusal::Overloaded("rate table is full"));
        }
    }
    match limiter.check_key_n(key, cost) {
        Ok(Ok(())) => Ok(()),
        // No more now, or never as much as that.
        Ok(Err(_)) | Err(_) => Err(Refusal::RateLimited(what)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn limits(per_minute: u32) -> Limits {
        let per_minute = NonZeroU32::new(per_minute).unwrap();
        Limits::new(LimitSettings {
            requests_per_minute_per_address: per_minute,
            challenges_per_minute_per_ek: per_minute,
            crypto_threads: 1,
        })
    }

    fn address(last: u8) -> AddressKey {
        AddressKey::from(std::net::IpAddr::from([192, 0, 2, last]))
    }

    #[test]
    fn rates_are_kept_by_key() {
        let limits = limits(2);
        limits.address(address(1)).unwrap();
        limits.address(address(1)).unwrap();
        assert!(matches!(
            limits.address(address(1)),
            Err(Refusal::RateLimited(_))
        ));
        limits.address(address(2)).unwrap();
    }

    #[test]
    fn adv_a21_no_more_is_hashed_for_anyone_than_his_share() {
        const LONGEST: usize = 16 << 20;
        let limits = limits(1000);
        let (one, other) = (Payer::Address(address(1)), Payer::Address(address(2)));
        for _ in 0..HASHED_MAX / LONGEST {
            limits.volume(one, LONGEST).unwrap();
        }
        let refused = limits.volume(one, LONGEST);
        assert!(matches!(
            refused,
            Err(Refusal::RateLimited("bytes of the address"))
        ));
        limits.volume(other, LONGEST).unwrap();
        let id = Ueid::parse(&[&[1][..], &[7; 32]].concat()).unwrap();
        limits.volume(Payer::Gateway(id), LONGEST).unwrap();
        let never = limits.volume(other, HASHED_MAX + 1);
        assert!(matches!(never, Err(Refusal::RateLimited(_))));
    }

    #[test]
    fn nobody_else_can_use_up_the_share_of_a_gateway_whose_ek_he_knows() {
        let limits = limits(1);
        let id = Ueid::parse(&[&[1][..], &[7; 32]].concat()).unwrap();
        for step in [Step::Challenge, Step::RecoveryChallenge] {
            limits.gateway(&id, step(address(1))).unwrap();
            assert!(matches!(
                limits.gateway(&id, step(address(1))),
                Err(Refusal::RateLimited(_))
            ));
            limits.gateway(&id, step(address(2))).unwrap();
        }
        limits.gateway(&id, Step::Enrol).unwrap();
    }

    #[tokio::test]
    async fn panicking_work_is_an_error_and_gives_its_place_back() {
        let limits = limits(1);
        let result = limits.crypto::<()>(|| panic!("a fault of ours")).await;
        assert!(matches!(result, Err(Refusal::Internal(_))));
        assert_eq!(limits.crypto(|| Ok(1)).await.unwrap(), 1);
    }
}
