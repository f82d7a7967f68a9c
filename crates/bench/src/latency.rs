//! How long things took.

use std::time::Duration;

use hdrhistogram::Histogram;

/// Times from 1 µs to a minute, to three digits. What took longer counts as a minute.
#[derive(Debug, Clone)]
pub(crate) struct Latencies(Histogram<u64>);

impl Latencies {
    /// None yet.
    pub(crate) fn new() -> anyhow::Result<Self> {
        Ok(Self(Histogram::new_with_bounds(1, 60_000_000, 3)?))
    }

    /// One more.
    pub(crate) fn record(&mut self, took: Duration) {
        self.0
            .saturating_record(u64::try_from(took.as_micros()).unwrap_or(u64::MAX));
    }

    /// These too.
    pub(crate) fn add(&mut self, others: &Self) -> anyhow::Result<()> {
        Ok(self.0.add(&others.0)?)
    }

    /// How many.
    pub(crate) fn count(&self) -> u64 {
        self.0.len()
    }

    /// What `percent` of them did not exceed, in milliseconds.
    #[expect(
        clippy::as_conversions,
        clippy::cast_precision_loss,
        reason = "at most 60 million, which a double holds exactly"
    )]
    pub(crate) fn percentile(&self, percent: f64) -> f64 {
        self.0.value_at_percentile(percent) as f64 / 1_000.0
    }
}

/// How many a second `count` in `elapsed` are.
#[expect(
    clippy::as_conversions,
    clippy::cast_precision_loss,
    reason = "a count of far less than 2^52"
)]
pub(crate) fn per_second(count: u64, elapsed: Duration) -> f64 {
    count as f64 / elapsed.as_secs_f64()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_are_in_milliseconds() {
        let mut latencies = Latencies::new().unwrap();
        for milliseconds in 1..=100 {
            latencies.record(Duration::from_millis(milliseconds));
        }
        assert_eq!(latencies.count(), 100);
        assert!((latencies.percentile(50.0) - 50.0).abs() < 0.1);
        assert!((latencies.percentile(99.0) - 99.0).abs() < 0.1);
    }

    #[test]
    fn what_is_out_of_bounds_counts_at_the_bound() {
        let mut latencies = Latencies::new().unwrap();
        latencies.record(Duration::ZERO);
        latencies.record(Duration::from_secs(3_600));
        assert_eq!(latencies.count(), 2);
        assert!((latencies.percentile(100.0) - 60_000.0).abs() < 100.0);
    }
}
