//! The one place where this crate gets randomness: keys that nobody else chooses, and pauses that differ.

use std::time::Duration;

use uuid::{Builder, Uuid};

use crate::error::Error;

/// A key for `Idempotency-Key` that was never used before.
pub(crate) fn idempotency_key() -> Result<String, Error> {
    let mut bytes = [0; 16];
    getrandom::fill(&mut bytes).map_err(|_| Error::NoRandomness)?;
    let id: Uuid = Builder::from_random_bytes(bytes).into_uuid();
    Ok(id.to_string())
}

/// A random time from zero to `most` ("full jitter"); `most` itself where there is no randomness.
pub(crate) fn up_to(most: Duration) -> Duration {
    let mut bytes = [0; 4];
    match getrandom::fill(&mut bytes) {
        Ok(()) => most.mul_f64(f64::from(u32::from_ne_bytes(bytes)) / f64::from(u32::MAX)),
        Err(_) => most,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_differ_and_are_valid() {
        let keys = [idempotency_key().unwrap(), idempotency_key().unwrap()];
        assert_ne!(keys[0], keys[1]);
        assert_eq!(keys[0].parse::<Uuid>().unwrap().get_version_num(), 4);
    }

    #[test]
    fn a_random_time_keeps_its_bound() {
        let most = Duration::from_millis(7);
        let times: Vec<Duration> = (0..100).map(|_| up_to(most)).collect();
        assert!(times.iter().all(|time| *time <= most));
        assert!(times.iter().any(|time| *time != times[0]));
        assert_eq!(up_to(Duration::ZERO), Duration::ZERO);
    }
}
