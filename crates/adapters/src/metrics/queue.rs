//! What the database holds: the same on every replica, and looked at from time to time.

use std::collections::BTreeMap;
use std::sync::atomic::AtomicU64;

use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::{Registry, Unit};

use super::sampled::Sampled;
use super::types::{OTHER, TYPES_MAX};

type TypeLabel = [(&'static str, String); 1];
type StateLabels = [(&'static str, String); 2];

const TYPE: &str = "type";
const STATE: &str = "state";

#[derive(Debug, Default)]
pub(crate) struct QueueMetrics {
    up: Gauge,
    depth: Family<StateLabels, Gauge>,
    oldest: Family<TypeLabel, Gauge<f64, AtomicU64>>,
    leases: Family<StateLabels, Gauge>,
    partitions_missing: Sampled,
}

/// What was found of one type.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub(crate) struct TypeSample {
    pub(crate) ready: i64,
    pub(crate) scheduled: i64,
    /// How long the oldest one that is ready has waited, in seconds.
    pub(crate) oldest_seconds: f64,
    pub(crate) held: i64,
    pub(crate) expired: i64,
}

impl TypeSample {
    fn and(self, other: Self) -> Self {
        Self {
            ready: self.ready.saturating_add(other.ready),
            scheduled: self.scheduled.saturating_add(other.scheduled),
            oldest_seconds: self.oldest_seconds.max(other.oldest_seconds),
            held: self.held.saturating_add(other.held),
            expired: self.expired.saturating_add(other.expired),
        }
    }
}

impl QueueMetrics {
    pub(super) fn register(&self, registry: &mut Registry) {
        registry.register(
            "database_up",
            "Whether PostgreSQL has answered the last look of this replica within a second",
            self.up.clone(),
        );
        registry.register(
            "queue_depth",
            "Actions that wait, by whether they could be claimed now; the same on every replica",
            self.depth.clone(),
        );
        registry.register_with_unit(
            "queue_oldest_ready",
            "How long the oldest action that could be claimed has waited; the same on every replica",
            Unit::Seconds,
            self.oldest.clone(),
        );
        registry.register(
            "leases",
            "Actions that are being performed, by whether their lease still holds; the same on every replica",
            self.leases.clone(),
        );
        registry.register(
            "partitions_missing",
            "Times within the coming 14 days for which a table has no partition; writes fail then",
            self.partitions_missing.clone(),
        );
    }

    /// Whether PostgreSQL answers. What was known of the queue is dropped where it doesn't.
    pub(crate) fn up(&self, is_up: bool) {
        self.up.set(i64::from(is_up));
        if !is_up {
            self.forget();
            self.partitions(None);
        }
    }

    pub(crate) fn partitions(&self, missing: Option<usize>) {
        self.partitions_missing.set(missing.map(super::size));
    }

    /// Drops what was known of the types.
    pub(crate) fn forget(&self) {
        self.depth.clear();
        self.oldest.clear();
        self.leases.clear();
    }

    /// Replaces what was known of the types. Those beyond the bound are put together, the first by name stand alone.
    pub(crate) fn types(&self, found: BTreeMap<String, TypeSample>) {
        self.forget();
        let mut others: Option<TypeSample> = None;
        let mut alone = 0;
        for (name, sample) in found {
            if alone < TYPES_MAX && name != OTHER {
                alone += 1;
                self.one(name, sample);
            } else {
                others = Some(others.unwrap_or_default().and(sample));
            }
        }
        if let Some(sample) = others {
            self.one(OTHER.to_owned(), sample);
        }
    }

    fn one(&self, name: String, sample: TypeSample) {
        let TypeSample {
            ready,
            scheduled,
            oldest_seconds,
            held,
            expired,
        } = sample;
        for (family, state, count) in [
            (&self.depth, "ready", ready),
            (&self.depth, "scheduled", scheduled),
            (&self.leases, "held", held),
            (&self.leases, "expired", expired),
        ] {
            let labels = [(TYPE, name.clone()), (STATE, state.to_owned())];
            family.get_or_create(&labels).set(count);
        }
        self.oldest
            .get_or_create(&[(TYPE, name)])
            .set(oldest_seconds);
    }

    pub(super) fn pretend(&self, name: &str) {
        self.types(BTreeMap::from([(name.to_owned(), TypeSample::default())]));
        self.partitions(Some(0));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metrics::exported;

    fn text(metrics: &QueueMetrics) -> String {
        exported(|registry| metrics.register(registry))
    }

    fn sample(ready: i64, oldest_seconds: f64) -> TypeSample {
        TypeSample {
            ready,
            oldest_seconds,
            ..TypeSample::default()
        }
    }

    #[test]
    fn what_is_not_known_is_not_exported() {
        let metrics = QueueMetrics::default();
        metrics.up(true);
        metrics.types(BTreeMap::from([("echo".to_owned(), sample(3, 1.5))]));
        metrics.partitions(Some(0));
        let known = text(&metrics);
        assert!(known.contains("queue_depth{type=\"echo\",state=\"ready\"} 3\n"));
        assert!(known.contains("queue_oldest_ready_seconds{type=\"echo\"} 1.5\n"));
        assert!(known.contains("partitions_missing 0.0\n"));
        metrics.up(false);
        let away = text(&metrics);
        assert!(away.contains("database_up 0\n"), "{away}");
        for name in ["queue_depth", "queue_oldest", "leases", "partitions"] {
            assert!(!away.contains(name), "{away}");
        }
    }

    #[test]
    fn a_type_that_is_gone_is_forgotten() {
        let metrics = QueueMetrics::default();
        metrics.types(BTreeMap::from([("old".to_owned(), sample(1, 0.0))]));
        metrics.types(BTreeMap::from([("new".to_owned(), sample(1, 0.0))]));
        assert!(!text(&metrics).contains("type=\"old\""));
    }

    #[test]
    fn types_beyond_the_bound_are_put_together() {
        let metrics = QueueMetrics::default();
        let found = (0..300)
            .map(|n| (format!("type-{n:03}"), sample(2, f64::from(n))))
            .chain([(OTHER.to_owned(), sample(1, 0.0))])
            .collect();
        metrics.types(found);
        let text = text(&metrics);
        assert_eq!(text.matches("state=\"ready\"").count(), 201);
        assert!(
            text.contains("queue_depth{type=\"other\",state=\"ready\"} 201\n"),
            "{text}"
        );
        assert!(text.contains("queue_oldest_ready_seconds{type=\"other\"} 299.0\n"));
        assert!(text.contains("type=\"type-000\""));
    }
}
