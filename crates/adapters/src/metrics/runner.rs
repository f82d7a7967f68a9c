//! The in-process runner.

use std::time::Duration;

use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::{Registry, Unit};

use super::{fast, gauge_value, size, sizes};

/// Cheap to clone: all clones count together.
#[derive(Debug, Clone)]
pub(crate) struct RunnerMetrics {
    slots: Gauge,
    busy: Gauge,
    panics: Counter,
    flush_events: Histogram,
    flush_actions: Histogram,
    flush_duration: Histogram,
}

impl Default for RunnerMetrics {
    fn default() -> Self {
        Self {
            slots: Gauge::default(),
            busy: Gauge::default(),
            panics: Counter::default(),
            flush_events: sizes(),
            flush_actions: sizes(),
            flush_duration: fast(),
        }
    }
}

impl RunnerMetrics {
    pub(super) fn register(&self, registry: &mut Registry) {
        registry.register(
            "runner_slots",
            "How many actions may be performed inside this server at a time",
            self.slots.clone(),
        );
        registry.register(
            "runner_slots_busy",
            "How many actions are being performed inside this server",
            self.busy.clone(),
        );
        registry.register(
            "handler_panics",
            "Attempts whose handler panicked",
            self.panics.clone(),
        );
        registry.register(
            "runner_flush_events",
            "How many events one flush of the runner stored",
            self.flush_events.clone(),
        );
        registry.register(
            "runner_flush_actions",
            "Of how many actions one flush of the runner stored events",
            self.flush_actions.clone(),
        );
        registry.register_with_unit(
            "runner_flush_duration",
            "How long a flush of the runner took until it was committed, with the tries that failed",
            Unit::Seconds,
            self.flush_duration.clone(),
        );
    }

    pub(crate) fn slots(&self, count: usize) {
        self.slots.set(gauge_value(count));
    }

    /// A slot is busy for as long as the answer lives.
    pub(crate) fn busy(&self) -> Busy {
        self.busy.inc();
        Busy(self.busy.clone())
    }

    pub(crate) fn panicked(&self) {
        self.panics.inc();
    }

    pub(crate) fn flushed(&self, actions: usize, events: usize, took: Duration) {
        self.flush_actions.observe(size(actions));
        self.flush_events.observe(size(events));
        self.flush_duration.observe(took.as_secs_f64());
    }
}

/// One busy slot.
#[derive(Debug)]
pub(crate) struct Busy(Gauge);

impl Drop for Busy {
    fn drop(&mut self) {
        self.0.dec();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slot_is_busy_for_as_long_as_it_is_held() {
        let metrics = RunnerMetrics::default();
        let (one, two) = (metrics.busy(), metrics.busy());
        assert_eq!(metrics.busy.get(), 2);
        drop((one, two));
        assert_eq!(metrics.busy.get(), 0);
    }
}
