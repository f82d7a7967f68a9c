//! How long to wait between the attempts of an action.

use std::time::Duration;

/// Exponential back-off with full jitter: before attempt n + 1 the wait is drawn evenly from zero to
/// `min(max, initial × factor^(n−1))`. (Full jitter spreads a crowd of retries best: "Exponential Backoff And
/// Jitter", AWS Architecture Blog, 2015.)
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct RetryPolicy {
    initial: Duration,
    factor: f64,
    max: Duration,
}

impl RetryPolicy {
    /// The longest pause that can be set: a day.
    pub const MAX_LIMIT: Duration = Duration::from_secs(86_400);
    /// The greatest factor that can be set.
    pub const FACTOR_LIMIT: f64 = 10.0;

    /// A policy. What lies outside the limits is brought inside: a factor of 1 to 10, pauses up to a day.
    #[must_use]
    pub fn new(initial: Duration, factor: f64, max: Duration) -> Self {
        let factor = if factor.is_finite() { factor } else { 1.0 };
        Self {
            initial: initial.min(Self::MAX_LIMIT),
            factor: factor.clamp(1.0, Self::FACTOR_LIMIT),
            max: max.min(Self::MAX_LIMIT),
        }
    }

    /// The bound of the first pause.
    #[must_use]
    pub const fn initial(&self) -> Duration {
        self.initial
    }

    /// By what the bound grows with each attempt.
    #[must_use]
    pub const fn factor(&self) -> f64 {
        self.factor
    }

    /// The bound of every pause.
    #[must_use]
    pub const fn max(&self) -> Duration {
        self.max
    }

    /// The longest pause after attempt number `attempt` (1, 2, …) has failed.
    #[must_use]
    pub fn bound(&self, attempt: u16) -> Duration {
        let exponent = i32::from(attempt.saturating_sub(1));
        let seconds = self.initial.as_secs_f64() * self.factor.powi(exponent);
        // `min` also takes the infinity of a large exponent.
        Duration::from_secs_f64(seconds.min(self.max.as_secs_f64()).max(0.0))
    }

    /// The pause after attempt number `attempt` has failed; `random` is any number, evenly drawn.
    #[must_use]
    pub fn pause(&self, attempt: u16, random: u32) -> Duration {
        self.bound(attempt)
            .mul_f64(f64::from(random) / f64::from(u32::MAX))
    }
}

impl Default for RetryPolicy {
    /// 1 s, doubled each time, 300 s at the most.
    fn default() -> Self {
        Self::new(Duration::from_secs(1), 2.0, Duration::from_secs(300))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[track_caller]
    fn check(attempt: u16, seconds: u64) {
        assert_eq!(
            RetryPolicy::default().bound(attempt),
            Duration::from_secs(seconds)
        );
    }

    #[test]
    fn the_bound_doubles_up_to_its_maximum() {
        check(1, 1);
        check(2, 2);
        check(3, 4);
        check(9, 256);
        check(10, 300);
        check(u16::MAX, 300);
    }

    #[test]
    fn what_makes_no_sense_is_brought_inside() {
        let policy = RetryPolicy::new(Duration::MAX, f64::NAN, Duration::MAX);
        assert_eq!(policy.bound(100), RetryPolicy::MAX_LIMIT);
        assert_eq!(
            RetryPolicy::new(Duration::ZERO, 1e300, Duration::ZERO).bound(5),
            Duration::ZERO
        );
    }

    proptest! {
        #[test]
        fn pauses_lie_between_zero_and_the_bound(attempt: u16, random: u32) {
            let policy = RetryPolicy::default();
            prop_assert!(policy.pause(attempt, random) <= policy.bound(attempt));
            prop_assert_eq!(policy.pause(attempt, 0), Duration::ZERO);
            prop_assert_eq!(policy.pause(attempt, u32::MAX), policy.bound(attempt));
        }
    }
}
