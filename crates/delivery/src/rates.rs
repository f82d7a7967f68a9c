//! How many requests a second each key makes of this replica.
//!
//! Each key has a bucket of one second's worth: it may spend that at once, and gets it back evenly (GCRA). What is kept
//! of a key is a few numbers, for as long as it matters, and for no more than [`KEYS_MAX`] keys.

use std::collections::HashMap;
use std::num::NonZeroU32;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use actix_web::http::header::{HeaderMap, HeaderName, HeaderValue};
use deed_domain::id::ApiKeyId;
use governor::clock::Clock;
use governor::middleware::StateInformationMiddleware;
use governor::state::{InMemoryState, NotKeyed};
use governor::{Quota, RateLimiter};
use tokio::time::Instant;

use crate::problem::{ErrorCode, Refusal};

const RATE_LIMIT: HeaderName = HeaderName::from_static("ratelimit");
const RATE_LIMIT_POLICY: HeaderName = HeaderName::from_static("ratelimit-policy");

/// In how many parts the keys are kept: requests of different keys seldom meet at a lock.
const SHARDS: usize = 64;
/// How many keys one part keeps.
const SHARD_MAX: usize = 1024;
/// How many keys are kept altogether.
#[cfg(test)]
const KEYS_MAX: usize = SHARDS * SHARD_MAX;

/// The time in which a bucket is full again, whatever was taken from it.
const WINDOW: Duration = Duration::from_secs(1);

/// The buckets of the keys.
#[derive(Debug)]
pub(crate) struct Rates {
    clock: Elapsed,
    shards: [Mutex<HashMap<ApiKeyId, Bucket>>; SHARDS],
}

#[derive(Debug)]
struct Bucket {
    rate: NonZeroU32,
    limiter: RateLimiter<NotKeyed, InMemoryState, Elapsed, StateInformationMiddleware>,
    used_at: Duration,
}

/// The time since the server began.
#[derive(Debug, Clone, Copy)]
struct Elapsed(Instant);

impl Clock for Elapsed {
    type Instant = Duration;

    fn now(&self) -> Duration {
        self.0.elapsed()
    }
}

/// What a key may still do, once a request of it has been counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Allowance {
    rate: NonZeroU32,
    left: u32,
    /// Of a request that is one too many: when the next one is not.
    wait: Option<Duration>,
}

impl Default for Rates {
    fn default() -> Self {
        Self {
            clock: Elapsed(Instant::now()),
            shards: std::array::from_fn(|_| Mutex::default()),
        }
    }
}

impl Rates {
    /// Counts a request of `key`, which may make `rate` a second.
    pub(crate) fn count(&self, key: ApiKeyId, rate: NonZeroU32) -> Allowance {
        let now = self.clock.now();
        let mut buckets = self
            .shard(key)
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        if buckets.len() >= SHARD_MAX && !buckets.contains_key(&key) {
            buckets.retain(|_, bucket| now < bucket.used_at + WINDOW);
            if buckets.len() >= SHARD_MAX {
                // More keys within one second than are kept: they begin anew, and memory stays bounded.
                buckets.clear();
            }
        }
        let bucket = buckets
            .entry(key)
            .or_insert_with(|| Bucket::new(rate, self.clock));
        if bucket.rate != rate {
            *bucket = Bucket::new(rate, self.clock);
        }
        bucket.used_at = now;
        match bucket.limiter.check() {
            Ok(state) => Allowance {
                rate,
                left: state.remaining_burst_capacity(),
                wait: None,
            },
            Err(until) => Allowance {
                rate,
                left: 0,
                wait: Some(until.wait_time_from(now)),
            },
        }
    }

    #[expect(
        clippy::indexing_slicing,
        reason = "there are as many as the remainder has values"
    )]
    fn shard(&self, key: ApiKeyId) -> &Mutex<HashMap<ApiKeyId, Bucket>> {
        // The last byte of a time-ordered id is random.
        let [.., last] = key.as_uuid().into_bytes();
        &self.shards[usize::from(last) % SHARDS]
    }
}

impl Bucket {
    fn new(rate: NonZeroU32, clock: Elapsed) -> Self {
        Self {
            rate,
            limiter: RateLimiter::direct_with_clock(Quota::per_second(rate), clock)
                .with_middleware(),
            used_at: Duration::ZERO,
        }
    }
}

impl Allowance {
    /// The answer to a request that is one too many.
    pub(crate) fn refusal(&self) -> Option<Refusal> {
        let wait = self.wait?;
        let message = format!(
            "The key may make {} requests a second of each server.",
            self.rate
        );
        let refusal = Refusal::new(ErrorCode::RateLimited).message(message);
        Some(refusal.retry_after(wait))
    }

    /// Says it in the fields of the IETF's draft: the policy, and what is left of it until it is whole again.
    pub(crate) fn write(&self, headers: &mut HeaderMap) {
        let window = WINDOW.as_secs();
        let policy = format!("\"default\";q={};w={window}", self.rate);
        let left = format!("\"default\";r={};t={window}", self.left);
        for (name, text) in [(RATE_LIMIT_POLICY, policy), (RATE_LIMIT, left)] {
            if let Ok(value) = HeaderValue::from_str(&text) {
                headers.insert(name, value);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::time::advance;
    use uuid::Uuid;

    fn key(n: u128) -> ApiKeyId {
        ApiKeyId::from_uuid(Uuid::from_u128(n))
    }

    fn rate(n: u32) -> NonZeroU32 {
        NonZeroU32::new(n).unwrap()
    }

    /// What is left after a request, or none when it is refused.
    fn left(rates: &Rates, n: u128, per_second: u32) -> Option<u32> {
        let allowance = rates.count(key(n), rate(per_second));
        allowance.wait.is_none().then_some(allowance.left)
    }

    #[tokio::test(start_paused = true)]
    async fn a_second_s_worth_may_be_spent_at_once() {
        let rates = Rates::default();
        let spent: Vec<_> = (0..4).map(|_| left(&rates, 1, 3)).collect();
        assert_eq!(spent, [Some(2), Some(1), Some(0), None]);
        // Another key is another bucket.
        assert_eq!(left(&rates, 2, 3), Some(2));
    }

    #[tokio::test(start_paused = true)]
    async fn it_comes_back_evenly_and_no_more_than_that() {
        let rates = Rates::default();
        for _ in 0..4 {
            left(&rates, 1, 4);
        }
        advance(Duration::from_millis(249)).await;
        assert_eq!(left(&rates, 1, 4), None);
        advance(Duration::from_millis(1)).await;
        assert_eq!(left(&rates, 1, 4), Some(0));
        assert_eq!(left(&rates, 1, 4), None);
        advance(Duration::from_secs(3600)).await;
        assert_eq!(left(&rates, 1, 4), Some(3));
    }

    #[tokio::test(start_paused = true)]
    async fn who_waits_as_long_as_was_said_is_let_in() {
        let rates = Rates::default();
        for per_second in [1, 2, 7, 3_000] {
            let id = u128::from(per_second);
            while left(&rates, id, per_second).is_some() {}
            let wait = rates.count(key(id), rate(per_second)).wait.unwrap();
            assert!(wait <= WINDOW, "{per_second}: {wait:?}");
            advance(wait).await;
            assert!(left(&rates, id, per_second).is_some(), "{per_second}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn another_rate_begins_anew() {
        let rates = Rates::default();
        assert_eq!(left(&rates, 1, 1), Some(0));
        assert_eq!(left(&rates, 1, 1), None);
        assert_eq!(left(&rates, 1, 5), Some(4));
    }

    #[tokio::test(start_paused = true)]
    async fn no_more_keys_are_kept_than_fit() {
        let rates = Rates::default();
        let kept = || -> usize {
            let shards = rates.shards.iter();
            shards.map(|shard| shard.lock().unwrap().len()).sum()
        };
        let keys = u128::try_from(KEYS_MAX).unwrap();
        for n in 0..keys + 5_000 {
            left(&rates, n, 1);
        }
        assert!(kept() <= KEYS_MAX, "{}", kept());
        // Those that have all again make room first: who has nothing left stays.
        advance(WINDOW).await;
        for n in 0..keys {
            left(&rates, n, 1);
        }
        assert!(kept() <= KEYS_MAX, "{}", kept());
        assert_eq!(left(&rates, keys - 1, 1), None);
    }

    #[test]
    fn the_fields_are_those_of_the_draft() {
        let mut headers = HeaderMap::new();
        let allowance = Allowance {
            rate: rate(50),
            left: 49,
            wait: None,
        };
        allowance.write(&mut headers);
        assert_eq!(
            headers.get("RateLimit-Policy").unwrap(),
            "\"default\";q=50;w=1"
        );
        assert_eq!(headers.get("RateLimit").unwrap(), "\"default\";r=49;t=1");
        assert!(allowance.refusal().is_none());
    }
}
