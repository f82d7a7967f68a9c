//! What the adapters measure.
//!
//! A [`Metrics`] belongs to a [`Database`](crate::postgres::Database) and is shared by everything that is built over
//! it; whatever needs no database is told of it by `measured`. Nothing is global: two servers in one process count
//! apart. What is counted on the way of a request is an atomic or a histogram behind a short lock. What has to be
//! looked at (the pool, the queue) is looked at when somebody asks, by a [`Sampler`](crate::postgres::Sampler).

use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::Registry;

mod actions;
mod database;
mod dispatch;
mod identities;
mod queue;
mod runner;
mod sampled;
mod types;
mod wakeups;

pub(crate) use actions::ActionMetrics;
pub(crate) use database::{DatabaseMetrics, PoolSample};
pub(crate) use dispatch::DispatchMetrics;
pub(crate) use identities::{CacheLookUp, HashingMetrics, IdentityMetrics};
pub(crate) use queue::{QueueMetrics, TypeSample};
pub(crate) use runner::RunnerMetrics;
pub(crate) use wakeups::WakeupMetrics;

/// Everything that the adapters over one database measure.
#[derive(Debug, Default)]
pub struct Metrics {
    pub(crate) database: DatabaseMetrics,
    pub(crate) actions: ActionMetrics,
    pub(crate) dispatch: DispatchMetrics,
    pub(crate) wakeups: WakeupMetrics,
    pub(crate) identities: IdentityMetrics,
    pub(crate) hashing: HashingMetrics,
    pub(crate) runner: RunnerMetrics,
    pub(crate) queue: QueueMetrics,
}

impl Metrics {
    /// Makes all of them part of `registry`, under names without a prefix. To be called once for each registry.
    pub fn register(&self, registry: &mut Registry) {
        let Self {
            database,
            actions,
            dispatch,
            wakeups,
            identities,
            hashing,
            runner,
            queue,
        } = self;
        database.register(registry);
        actions.register(registry);
        dispatch.register(registry);
        wakeups.register(registry);
        identities.register(registry);
        hashing.register(registry);
        runner.register(registry);
        queue.register(registry);
    }

    /// Counts one action of a type named `name` on its whole way, so that each metric that has the type among its
    /// labels shows one. For tests of what is exported.
    #[doc(hidden)]
    pub fn pretend(&self, name: &str) {
        self.actions.pretend(name);
        self.queue.pretend(name);
    }
}

/// One label with a value that is known to the compiler.
pub(crate) type Label = [(&'static str, &'static str); 1];

/// A histogram for each value of one label.
pub(crate) type Histograms = Family<Label, Histogram, fn() -> Histogram>;

/// A counter for each value of one label, all there from the start: a rate needs the zero that it begins at.
fn counters(label: &'static str, values: &[&'static str]) -> Family<Label, Counter> {
    let family = Family::default();
    for value in values {
        drop(family.get_or_create(&[(label, *value)]));
    }
    family
}

/// Upper bounds of the buckets for what should take milliseconds, in seconds.
const FAST: [f64; 13] = [
    0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0,
];

/// The same for what may take minutes.
const SLOW: [f64; 13] = [
    0.005, 0.01, 0.05, 0.1, 0.5, 1.0, 5.0, 10.0, 30.0, 60.0, 300.0, 900.0, 3600.0,
];

/// The same for how many go into one batch.
const SIZES: [f64; 11] = [
    1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0, 128.0, 256.0, 1024.0, 4096.0,
];

fn fast() -> Histogram {
    Histogram::new(FAST)
}

fn slow() -> Histogram {
    Histogram::new(SLOW)
}

fn sizes() -> Histogram {
    Histogram::new(SIZES)
}

/// A count as a gauge takes it.
pub(crate) fn gauge_value(count: usize) -> i64 {
    i64::try_from(count).unwrap_or(i64::MAX)
}

/// A count as a histogram takes it: exact below 2³², which no batch reaches.
pub(crate) fn size(count: usize) -> f64 {
    u32::try_from(count).map_or(f64::from(u32::MAX), f64::from)
}

#[cfg(test)]
pub(crate) fn exported(register: impl FnOnce(&mut Registry)) -> String {
    let mut registry = Registry::default();
    register(&mut registry);
    let mut text = String::new();
    prometheus_client::encoding::text::encode(&mut text, &registry).unwrap();
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_counter_with_known_values_begins_at_zero() {
        let family = counters("kind", &["a", "b"]);
        let text = exported(|registry| registry.register("x", "Counts", family));
        assert!(text.contains("x_total{kind=\"a\"} 0\n"), "{text}");
        assert!(text.contains("x_total{kind=\"b\"} 0\n"), "{text}");
    }

    #[test]
    fn every_metric_is_exported_once_under_a_name_of_its_own() {
        let metrics = Metrics::default();
        metrics.pretend("echo");
        let text = exported(|registry| metrics.register(registry));
        let mut names: Vec<&str> = text
            .lines()
            .filter_map(|line| line.strip_prefix("# TYPE "))
            .collect();
        let count = names.len();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), count);
        assert!(count >= 30, "{count}");
    }
}
