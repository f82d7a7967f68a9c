//! Who records requests and attempts as spans: nobody, or OpenTelemetry where it is built in and set up.

#[cfg(feature = "otel")]
mod otlp;

use std::sync::Arc;

use deed_domain::ports::{NoTracer, Tracer};

/// Where spans are sent to; the first that is set counts.
const ENDPOINTS: [&str; 2] = [
    "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT",
    "OTEL_EXPORTER_OTLP_ENDPOINT",
];

/// What records spans, until the server stops.
pub(crate) struct Spans {
    tracer: Arc<dyn Tracer>,
    #[cfg(feature = "otel")]
    exporter: Option<otlp::Exporter>,
}

impl Spans {
    /// As the standard variables of OpenTelemetry say: spans are recorded where an endpoint is named and nothing
    /// switches them off. To be called on the runtime that sends them.
    ///
    /// # Errors
    /// When the variables contradict each other, or what they ask for isn't built in.
    pub(crate) fn from_environment() -> anyhow::Result<Self> {
        match wanted(variable) {
            Some(endpoint) => Self::sent_to(endpoint),
            None => Ok(Self::nowhere()),
        }
    }

    #[cfg(feature = "otel")]
    fn sent_to(endpoint: &'static str) -> anyhow::Result<Self> {
        let (tracer, exporter) = otlp::start()?;
        log::info!(variable = endpoint; "spans are sent to the collector that {endpoint} names");
        Ok(Self {
            tracer,
            exporter: Some(exporter),
        })
    }

    #[cfg(not(feature = "otel"))]
    fn sent_to(endpoint: &'static str) -> anyhow::Result<Self> {
        log::warn!(variable = endpoint; "{endpoint} is set, but this deed was built without the feature `otel` and sends no spans");
        Ok(Self::nowhere())
    }

    fn nowhere() -> Self {
        Self {
            tracer: Arc::new(NoTracer),
            #[cfg(feature = "otel")]
            exporter: None,
        }
    }

    pub(crate) fn tracer(&self) -> Arc<dyn Tracer> {
        Arc::clone(&self.tracer)
    }

    /// Sends what is not sent yet; gives up after 2 s.
    #[cfg(feature = "otel")]
    pub(crate) async fn flush(self) {
        if let Some(exporter) = self.exporter {
            exporter.flush().await;
        }
    }

    /// Sends what is not sent yet: nothing.
    #[cfg(not(feature = "otel"))]
    pub(crate) async fn flush(self) {}
}

/// The variable that names the collector, unless another one switches spans off.
fn wanted(variable: impl Fn(&str) -> Option<String>) -> Option<&'static str> {
    let is = |name: &str, value: &str| {
        variable(name).is_some_and(|found| found.trim().eq_ignore_ascii_case(value))
    };
    if is("OTEL_SDK_DISABLED", "true") || is("OTEL_TRACES_EXPORTER", "none") {
        return None;
    }
    ENDPOINTS
        .into_iter()
        .find(|name| variable(name).is_some_and(|value| !value.trim().is_empty()))
}

#[expect(
    clippy::disallowed_methods,
    reason = "these variables are OpenTelemetry's own, the same for every program, and no settings of Deed"
)]
fn variable(name: &str) -> Option<String> {
    std::env::var(name).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(set: &[(&str, &str)], expected: Option<&str>) {
        let found = wanted(|name| {
            let value = set.iter().find(|(set, _)| *set == name);
            value.map(|(_, value)| (*value).to_owned())
        });
        assert_eq!(found, expected, "{set:?}");
    }

    #[test]
    fn spans_are_recorded_where_a_collector_is_named() {
        let named = ("OTEL_EXPORTER_OTLP_ENDPOINT", "http://collector:4318");
        let special = ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "http://collector/t");
        check(&[], None);
        check(&[("OTEL_SERVICE_NAME", "deed")], None);
        check(&[("OTEL_EXPORTER_OTLP_ENDPOINT", " ")], None);
        check(&[named], Some("OTEL_EXPORTER_OTLP_ENDPOINT"));
        check(
            &[named, special],
            Some("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT"),
        );
        check(&[named, ("OTEL_SDK_DISABLED", "True")], None);
        check(&[named, ("OTEL_SDK_DISABLED", "false")], Some(named.0));
        check(&[named, ("OTEL_TRACES_EXPORTER", "none")], None);
        check(&[named, ("OTEL_TRACES_EXPORTER", "otlp")], Some(named.0));
    }
}
