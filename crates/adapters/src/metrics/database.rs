//! The pool and its statements.

use std::time::Duration;

use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::{Registry, Unit};

use super::{Histograms, Label, counters, fast};

const ACCESS: &str = "access";
const STATE: &str = "state";
const KIND: &str = "kind";

#[derive(Debug)]
pub(crate) struct DatabaseMetrics {
    connections: Family<Label, Gauge>,
    connections_max: Gauge,
    waiting: Gauge,
    wait: Histogram,
    timeouts: Counter,
    statements: Family<Label, Counter>,
    duration: Histograms,
    errors: Family<Label, Counter>,
    retries: Counter,
}

impl Default for DatabaseMetrics {
    fn default() -> Self {
        let duration = Histograms::new_with_constructor(fast);
        for access in ["read", "write"] {
            drop(duration.get_or_create(&[(ACCESS, access)]));
        }
        let connections = Family::default();
        for state in ["idle", "used"] {
            drop(connections.get_or_create(&[(STATE, state)]));
        }
        Self {
            connections,
            connections_max: Gauge::default(),
            waiting: Gauge::default(),
            wait: fast(),
            timeouts: Counter::default(),
            statements: counters(ACCESS, &["read", "write"]),
            duration,
            errors: counters(KIND, &crate::postgres::ERROR_KINDS),
            retries: Counter::default(),
        }
    }
}

/// What the pool says of itself.
#[derive(Debug, Clone, Copy)]
pub(crate) struct PoolSample {
    pub(crate) max: i64,
    pub(crate) open: i64,
    pub(crate) idle: i64,
    pub(crate) waiting: i64,
}

impl DatabaseMetrics {
    pub(super) fn register(&self, registry: &mut Registry) {
        registry.register(
            "pool_connections",
            "Connections of the pool that are open, by whether somebody uses them",
            self.connections.clone(),
        );
        registry.register(
            "pool_connections_max",
            "How many connections the pool may open",
            self.connections_max.clone(),
        );
        registry.register(
            "pool_waiting",
            "How many pieces of work wait for a connection just now",
            self.waiting.clone(),
        );
        registry.register_with_unit(
            "pool_wait",
            "How long work waited for a connection, whether it got one or gave up",
            Unit::Seconds,
            self.wait.clone(),
        );
        registry.register(
            "pool_timeouts",
            "Work that got no connection in time",
            self.timeouts.clone(),
        );
        registry.register(
            "database_statements",
            "Statements sent, by whether they may change something",
            self.statements.clone(),
        );
        registry.register_with_unit(
            "database_statement_duration",
            "How long statements took, commit included, those that failed too",
            Unit::Seconds,
            self.duration.clone(),
        );
        registry.register(
            "database_errors",
            "Statements that failed, by kind; a constraint that refuses a duplicate is one of them",
            self.errors.clone(),
        );
        registry.register(
            "database_retries",
            "Statements that lost against a neighbour and were run again",
            self.retries.clone(),
        );
    }

    pub(crate) fn pool(&self, sample: PoolSample) {
        let PoolSample {
            max,
            open,
            idle,
            waiting,
        } = sample;
        self.connections_max.set(max);
        self.connections.get_or_create(&[(STATE, "idle")]).set(idle);
        self.connections
            .get_or_create(&[(STATE, "used")])
            .set(open.saturating_sub(idle).max(0));
        self.waiting.set(waiting);
    }

    pub(crate) fn waited(&self, waited: Duration) {
        self.wait.observe(waited.as_secs_f64());
    }

    pub(crate) fn timed_out(&self) {
        self.timeouts.inc();
    }

    pub(crate) fn sent(&self, access: &'static str) {
        self.statements.get_or_create(&[(ACCESS, access)]).inc();
    }

    pub(crate) fn answered(&self, access: &'static str, taken: Duration) {
        self.duration
            .get_or_create(&[(ACCESS, access)])
            .observe(taken.as_secs_f64());
    }

    pub(crate) fn failed(&self, kind: &'static str) {
        self.errors.get_or_create(&[(KIND, kind)]).inc();
    }

    pub(crate) fn retried(&self) {
        self.retries.inc();
    }

    /// How many statements were sent.
    pub(crate) fn statements(&self) -> u64 {
        ["read", "write"]
            .into_iter()
            .map(|access| self.statements.get_or_create(&[(ACCESS, access)]).get())
            .sum()
    }
}
