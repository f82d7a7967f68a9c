//! The metrics of one server, and the second listener that serves them.

use std::fmt;
use std::sync::Arc;

use deed_adapters::postgres::{Database, Sampler};
use deed_delivery::metrics::HttpMetrics;
use deed_domain::ports::Clock;
use prometheus_client::collector::Collector;
use prometheus_client::encoding::text::encode;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric as _};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::counter::ConstCounter;
use prometheus_client::metrics::gauge::ConstGauge;
use prometheus_client::registry::{Registry, Unit};
use tokio::sync::{Mutex, watch};

use crate::build_info::BuildInfo;
use crate::supervision::TaskState;
use process::Process;

mod format;
pub(crate) mod listener;
mod process;

pub(crate) use format::Format;

/// What all names begin with, but for those of the process, which every Prometheus client has in common.
const PREFIX: &str = "deed";

/// Writes down all metrics of a server.
pub(crate) struct Exporter {
    registry: Registry,
    sampler: Sampler,
    /// One scrape at a time: who comes meanwhile finds the looks done.
    turn: Mutex<()>,
}

impl Exporter {
    /// Of everything over `database`, of the interface, and of this process.
    ///
    /// # Errors
    /// When the binary's own migrations can't be read.
    pub(crate) fn new(
        database: &Database,
        http: &HttpMetrics,
        server: ServerState,
        sampler: Sampler,
        clock: &dyn Clock,
    ) -> anyhow::Result<Self> {
        let mut registry = Registry::default();
        register(&mut registry, database, http, server, clock)?;
        Ok(Self {
            registry,
            sampler,
            turn: Mutex::new(()),
        })
    }

    /// All metrics as they are now. Takes some milliseconds, and at most 3 s where the database doesn't answer.
    pub(crate) async fn scrape(&self, format: Format) -> Result<String, fmt::Error> {
        let _turn = self.turn.lock().await;
        self.sampler.refresh().await;
        let mut text = String::new();
        encode(&mut text, &self.registry)?;
        Ok(format.of_openmetrics(text))
    }
}

fn register(
    registry: &mut Registry,
    database: &Database,
    http: &HttpMetrics,
    server: ServerState,
    clock: &dyn Clock,
) -> anyhow::Result<()> {
    registry.register_collector(Box::new(Process::started(clock.now())));
    let own = registry.sub_registry_with_prefix(PREFIX);
    own.register_collector(Box::new(Build(BuildInfo::of_this_binary())));
    own.register_collector(Box::new(server));
    http.register(own);
    database.metrics().register(own);
    Ok(())
}

/// What the server knows of itself.
#[derive(Debug)]
pub(crate) struct ServerState {
    /// The background tasks.
    pub(crate) tasks: Vec<TaskState>,
    pub(crate) draining: watch::Receiver<bool>,
}

impl Collector for ServerState {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), fmt::Error> {
        let draining = encoder.encode_descriptor(
            "draining",
            "Whether this server takes no more work because it is about to stop.",
            None,
            MetricType::Gauge,
        )?;
        ConstGauge::new(i64::from(*self.draining.borrow())).encode(draining)?;
        let mut tasks = encoder.encode_descriptor(
            "background_task_up",
            "Whether a task that never ends by itself is still there.",
            None,
            MetricType::Gauge,
        )?;
        for task in &self.tasks {
            let labels = [("task", task.name())];
            ConstGauge::new(i64::from(task.is_up())).encode(tasks.encode_family(&labels)?)?;
        }
        let mut restarts = encoder.encode_descriptor(
            "background_task_restarts",
            "How often a task that never ends by itself was started anew.",
            None,
            MetricType::Counter,
        )?;
        for task in &self.tasks {
            let labels = [("task", task.name())];
            ConstCounter::new(task.restarts()).encode(restarts.encode_family(&labels)?)?;
        }
        Ok(())
    }
}

/// A value that is always 1: its labels say what runs.
#[derive(Debug)]
struct Build(BuildInfo);

impl Collector for Build {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), fmt::Error> {
        let mut info = encoder.encode_descriptor(
            "build_info",
            "Always 1; the labels say what this binary is.",
            None,
            MetricType::Gauge,
        )?;
        let labels = [
            ("version", self.0.version),
            ("compiler", self.0.compiler),
            ("target", self.0.target),
            ("profile", self.0.profile),
        ];
        ConstGauge::new(1i64).encode(info.encode_family(&labels)?)
    }
}

/// One value of a collector.
fn gauge(
    encoder: &mut DescriptorEncoder<'_>,
    name: &str,
    help: &str,
    unit: Option<&Unit>,
    value: f64,
) -> Result<(), fmt::Error> {
    let descriptor = encoder.encode_descriptor(name, help, unit, MetricType::Gauge)?;
    ConstGauge::new(value).encode(descriptor)
}

/// The exporter as its listener shares it.
pub(crate) type Shared = Arc<Exporter>;

#[cfg(test)]
mod tests;
