//! The system's clock.

use std::time::Duration;

use async_trait::async_trait;
use chrono::{DateTime, Utc};
use deed_domain::ports::Clock;

/// The system's clock, and tokio's timer.
#[derive(Debug, Clone, Copy, Default)]
pub struct SystemClock;

#[async_trait]
impl Clock for SystemClock {
    #[expect(
        clippy::disallowed_methods,
        reason = "this is the adapter through which everybody else gets the time"
    )]
    fn now(&self) -> DateTime<Utc> {
        Utc::now()
    }

    async fn sleep(&self, duration: Duration) {
        tokio::time::sleep(duration).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn it_sleeps_as_long_as_it_is_told() {
        let before = tokio::time::Instant::now();
        SystemClock.sleep(Duration::from_secs(3)).await;
        assert_eq!(before.elapsed(), Duration::from_secs(3));
    }

    #[test]
    fn it_does_not_run_backwards_within_a_test() {
        let before = SystemClock.now();
        assert!(SystemClock.now() >= before);
    }
}
