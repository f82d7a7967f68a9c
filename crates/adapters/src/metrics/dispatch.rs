//! Workers that wait for leases, and the claims for them.

use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;

use super::{Label, counters};

const OUTCOME: &str = "outcome";

#[derive(Debug, Clone)]
pub(crate) struct DispatchMetrics {
    waiting: Gauge,
    claims: Family<Label, Counter>,
}

impl Default for DispatchMetrics {
    fn default() -> Self {
        Self {
            waiting: Gauge::default(),
            claims: counters(OUTCOME, &["granted", "empty", "failed"]),
        }
    }
}

impl DispatchMetrics {
    pub(super) fn register(&self, registry: &mut Registry) {
        registry.register(
            "lease_polls_waiting",
            "Workers that wait for leases just now",
            self.waiting.clone(),
        );
        registry.register(
            "lease_claims",
            "Claims made for workers, each for all that wanted the same types, by what came of them",
            self.claims.clone(),
        );
    }

    pub(crate) fn came(&self) {
        self.waiting.inc();
    }

    pub(crate) fn went(&self) {
        self.waiting.dec();
    }

    #[cfg(test)]
    pub(crate) fn waiting(&self) -> i64 {
        self.waiting.get()
    }

    pub(crate) fn claimed<T, E>(&self, claim: &Result<Vec<T>, E>) {
        let outcome = match claim {
            Ok(filled) if filled.is_empty() => "empty",
            Ok(_) => "granted",
            Err(_) => "failed",
        };
        self.claims.get_or_create(&[(OUTCOME, outcome)]).inc();
    }
}
