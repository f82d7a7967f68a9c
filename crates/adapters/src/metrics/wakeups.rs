//! Whether other replicas' hints arrive.

use std::sync::atomic::AtomicU64;
use std::time::Duration;

use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::{Registry, Unit};

use super::fast;

#[derive(Debug)]
pub(crate) struct WakeupMetrics {
    connected: Gauge,
    silence: Gauge<f64, AtomicU64>,
    interruptions: Counter,
    lag: Histogram,
}

impl Default for WakeupMetrics {
    fn default() -> Self {
        Self {
            connected: Gauge::default(),
            silence: Gauge::default(),
            interruptions: Counter::default(),
            lag: fast(),
        }
    }
}

impl WakeupMetrics {
    pub(super) fn register(&self, registry: &mut Registry) {
        registry.register(
            "listener_connected",
            "Whether this replica listens for the hints of others",
            self.connected.clone(),
        );
        registry.register_with_unit(
            "listener_silence",
            "How long ago a message was heard last; own ones are sent every 15 s",
            Unit::Seconds,
            self.silence.clone(),
        );
        registry.register(
            "listener_interruptions",
            "How often listening was interrupted",
            self.interruptions.clone(),
        );
        registry.register_with_unit(
            "wakeup_lag",
            "How long an own hint took through PostgreSQL and back",
            Unit::Seconds,
            self.lag.clone(),
        );
    }

    pub(crate) fn listener(&self, is_connected: bool, silence: Duration) {
        self.connected.set(i64::from(is_connected));
        self.silence.set(silence.as_secs_f64());
    }

    pub(crate) fn interrupted(&self) {
        self.interruptions.inc();
    }

    pub(crate) fn came_back(&self, after: Duration) {
        self.lag.observe(after.as_secs_f64());
    }
}
