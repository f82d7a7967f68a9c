//! A gauge that has no value while nobody knows it.

use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};

use prometheus_client::encoding::{EncodeMetric, MetricEncoder};
use prometheus_client::metrics::MetricType;

/// A value that was looked at a moment ago, or none: then it is not exported, rather than exported wrongly.
#[derive(Debug, Clone, Default)]
pub(crate) struct Sampled(Arc<Mutex<Option<f64>>>);

impl Sampled {
    pub(crate) fn set(&self, value: Option<f64>) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = value;
    }

    fn get(&self) -> Option<f64> {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl EncodeMetric for Sampled {
    fn encode(&self, mut encoder: MetricEncoder<'_>) -> Result<(), fmt::Error> {
        match self.get() {
            Some(value) => encoder.encode_gauge(&value),
            None => Ok(()),
        }
    }

    fn metric_type(&self) -> MetricType {
        MetricType::Gauge
    }

    fn is_empty(&self) -> bool {
        self.get().is_none()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metrics::exported;

    #[test]
    fn a_value_that_is_not_known_is_not_exported() {
        let sampled = Sampled::default();
        let text = || exported(|registry| registry.register("x", "Looked at", sampled.clone()));
        assert_eq!(text(), "# EOF\n");
        sampled.set(Some(2.5));
        assert!(text().ends_with("# TYPE x gauge\nx 2.5\n# EOF\n"));
        sampled.set(None);
        assert_eq!(text(), "# EOF\n");
    }
}
