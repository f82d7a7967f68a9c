//! Who calls, and passwords.

use std::time::Duration;

use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::{Registry, Unit};

use super::{Label, counters, fast};

const RESULT: &str = "result";

/// What came of a look into the cache of identities.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum CacheLookUp {
    /// It was there.
    Hit,
    /// It was not, so the database was asked.
    Miss,
    /// The cache could not be trusted, so the database was asked.
    Bypassed,
}

impl CacheLookUp {
    const ALL: [Self; 3] = [Self::Hit, Self::Miss, Self::Bypassed];

    const fn as_str(self) -> &'static str {
        match self {
            Self::Hit => "hit",
            Self::Miss => "miss",
            Self::Bypassed => "bypassed",
        }
    }
}

#[derive(Debug)]
pub(crate) struct IdentityMetrics {
    look_ups: Family<Label, Counter>,
    entries: Gauge,
}

impl Default for IdentityMetrics {
    fn default() -> Self {
        Self {
            look_ups: counters(RESULT, &CacheLookUp::ALL.map(CacheLookUp::as_str)),
            entries: Gauge::default(),
        }
    }
}

impl IdentityMetrics {
    pub(super) fn register(&self, registry: &mut Registry) {
        registry.register(
            "auth_cache_lookups",
            "Looks for the bearer of a well-formed key, by what the cache knew",
            self.look_ups.clone(),
        );
        registry.register(
            "auth_cache_entries",
            "Identities in the cache",
            self.entries.clone(),
        );
    }

    pub(crate) fn looked_up(&self, result: CacheLookUp) {
        self.look_ups
            .get_or_create(&[(RESULT, result.as_str())])
            .inc();
    }

    pub(crate) fn entries(&self, count: i64) {
        self.entries.set(count);
    }
}

/// Of the password hasher. Cheap to clone: all clones count together.
#[derive(Debug, Clone)]
pub(crate) struct HashingMetrics {
    pub(crate) waiting: Gauge,
    pub(crate) running: Gauge,
    refused: Counter,
    duration: Histogram,
}

impl Default for HashingMetrics {
    fn default() -> Self {
        Self {
            waiting: Gauge::default(),
            running: Gauge::default(),
            refused: Counter::default(),
            duration: fast(),
        }
    }
}

impl HashingMetrics {
    pub(crate) fn register(&self, registry: &mut Registry) {
        registry.register(
            "password_hashes_waiting",
            "Passwords that wait for their turn to be hashed or verified",
            self.waiting.clone(),
        );
        registry.register(
            "password_hashes_running",
            "Passwords that are being hashed or verified",
            self.running.clone(),
        );
        registry.register(
            "password_hashes_refused",
            "Passwords that were turned away because too many waited, or waited for too long",
            self.refused.clone(),
        );
        registry.register_with_unit(
            "password_hash_duration",
            "How long hashing or verifying a password took, without the wait before",
            Unit::Seconds,
            self.duration.clone(),
        );
    }

    pub(crate) fn refused(&self) {
        self.refused.inc();
    }

    pub(crate) fn hashed(&self, took: Duration) {
        self.duration.observe(took.as_secs_f64());
    }
}
