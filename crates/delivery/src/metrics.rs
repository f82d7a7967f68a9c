//! What the interface measures.
//!
//! Labels are bounded whatever clients send: a route is the pattern of one that exists, and anything else is one
//! value; a method is one that some route has, and anything else is one value. No label is copied for a request.

use std::sync::Arc;
use std::time::{Duration, Instant};

use actix_web::http::{Method, StatusCode};
use deed_domain::action::Event;
use futures_util::stream::{BoxStream, StreamExt as _};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::{Registry, Unit};

use crate::problem::ErrorCode;
use crate::routes;
use crate::streams::StreamEnd;

/// The label of every path that no route has.
const UNKNOWN: &str = "unknown";
/// The label of every method that no route has.
const OTHER: &str = "other";

/// Upper bounds of the buckets for requests, in seconds: most take milliseconds, and some wait for an action.
const LATENCY: [f64; 15] = [
    0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0,
];

type RequestLabels = [(&'static str, &'static str); 3];
type RouteLabels = [(&'static str, &'static str); 2];
type ReasonLabel = [(&'static str, &'static str); 1];
type LimitLabel = [(&'static str, &'static str); 1];

/// The limits of keys, each by the code with which it refuses.
const LIMITS: [(ErrorCode, &str); 3] = [
    (ErrorCode::RateLimited, "rate"),
    (ErrorCode::TooManyStreams, "streams"),
    (ErrorCode::TooManyQueued, "queued"),
];

/// Where a stream begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum StreamStart {
    /// At the first event.
    First,
    /// After one that the client has seen.
    Resumed,
}

/// The metrics of one server's interface. Cheap to clone: all clones count together.
#[derive(Debug, Clone, Default)]
pub struct HttpMetrics(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    requests: Family<RequestLabels, Counter>,
    duration: Family<RouteLabels, Histogram, fn() -> Histogram>,
    in_flight: Gauge,
    panics: Counter,
    over_limit: Family<LimitLabel, Counter>,
    streams_open: Gauge,
    streams_opened: Counter,
    streams_resumed: Counter,
    streams_ended: Family<ReasonLabel, Counter>,
    events_sent: Counter,
}

impl Default for Inner {
    fn default() -> Self {
        let streams_ended = Family::default();
        for end in StreamEnd::ALL {
            // There from the start: a rate needs the zero that it begins at.
            drop(streams_ended.get_or_create(&reason(end)));
        }
        let over_limit = Family::default();
        for (_, limit) in LIMITS {
            drop(over_limit.get_or_create(&[("limit", limit)]));
        }
        Self {
            requests: Family::default(),
            duration: Family::new_with_constructor(|| Histogram::new(LATENCY)),
            in_flight: Gauge::default(),
            panics: Counter::default(),
            over_limit,
            streams_open: Gauge::default(),
            streams_opened: Counter::default(),
            streams_resumed: Counter::default(),
            streams_ended,
            events_sent: Counter::default(),
        }
    }
}

impl HttpMetrics {
    /// Makes all of them part of `registry`, under names without a prefix. To be called once for each registry.
    pub fn register(&self, registry: &mut Registry) {
        let Inner {
            requests,
            duration,
            in_flight,
            panics,
            over_limit,
            streams_open,
            streams_opened,
            streams_resumed,
            streams_ended,
            events_sent,
        } = &*self.0;
        registry.register(
            "http_requests",
            "Requests answered, by method, route and class of status",
            requests.clone(),
        );
        registry.register_with_unit(
            "http_request_duration",
            "How long it took until the head of the answer was ready; the first byte of a stream follows at once",
            Unit::Seconds,
            duration.clone(),
        );
        registry.register(
            "http_requests_in_flight",
            "Requests that wait for the head of their answer",
            in_flight.clone(),
        );
        registry.register(
            "http_panics",
            "Requests that were answered 500 because the code panicked",
            panics.clone(),
        );
        registry.register(
            "http_requests_over_limit",
            "Requests refused because their key had reached a limit, by limit",
            over_limit.clone(),
        );
        registry.register(
            "streams_open",
            "Event streams that are open",
            streams_open.clone(),
        );
        registry.register(
            "streams_opened",
            "Event streams begun, resumed ones too",
            streams_opened.clone(),
        );
        registry.register(
            "streams_resumed",
            "Event streams begun after an event that the client had seen",
            streams_resumed.clone(),
        );
        registry.register(
            "streams_ended",
            "Event streams that have ended, by reason",
            streams_ended.clone(),
        );
        registry.register(
            "stream_events_sent",
            "Events encoded for the readers of streams",
            events_sent.clone(),
        );
    }

    /// Counts one request of a route of `pattern`, so that each metric that has labels shows one. For tests of what is
    /// exported.
    #[doc(hidden)]
    pub fn pretend(&self, pattern: &str) {
        self.answered(&Method::GET, Some(pattern), StatusCode::OK, Duration::ZERO);
    }

    /// A request is in flight for as long as the answer lives.
    pub(crate) fn begun(&self) -> InFlight {
        self.0.in_flight.inc();
        InFlight {
            metrics: self.clone(),
            began: Instant::now(),
        }
    }

    fn answered(
        &self,
        method: &Method,
        pattern: Option<&str>,
        status: StatusCode,
        taken: Duration,
    ) {
        let method = ("method", method_label(method));
        let route = ("route", route_label(pattern));
        let status = ("status", status_label(status));
        self.0
            .requests
            .get_or_create(&[method, route, status])
            .inc();
        self.0
            .duration
            .get_or_create(&[method, route])
            .observe(taken.as_secs_f64());
    }

    /// The code panicked while it served a request.
    pub(crate) fn panicked(&self) {
        self.0.panics.inc();
    }

    /// A stream is open for as long as the answer lives.
    pub(crate) fn stream(&self, start: StreamStart) -> OpenStream {
        self.0.streams_opened.inc();
        if start == StreamStart::Resumed {
            self.0.streams_resumed.inc();
        }
        self.0.streams_open.inc();
        OpenStream {
            metrics: self.clone(),
            end: StreamEnd::Gone,
        }
    }
}

/// A request in flight.
#[derive(Debug)]
pub(crate) struct InFlight {
    metrics: HttpMetrics,
    began: Instant,
}

impl InFlight {
    /// The head of its answer is ready. `pattern` is the route's, none where no route has the path.
    pub(crate) fn answered(&self, method: &Method, pattern: Option<&str>, status: StatusCode) {
        self.metrics
            .answered(method, pattern, status, self.began.elapsed());
    }

    /// The code panicked while it served the request.
    pub(crate) fn panicked(&self) {
        self.metrics.panicked();
    }

    /// Its answer is this problem.
    pub(crate) fn refused(&self, code: ErrorCode) {
        if let Some((_, limit)) = LIMITS.iter().find(|(of, _)| *of == code) {
            let counters = &self.metrics.0.over_limit;
            counters.get_or_create(&[("limit", *limit)]).inc();
        }
    }
}

impl Drop for InFlight {
    fn drop(&mut self) {
        self.metrics.0.in_flight.dec();
    }
}

/// An open stream. One that is dropped without a word has lost its reader.
#[derive(Debug)]
pub(crate) struct OpenStream {
    metrics: HttpMetrics,
    end: StreamEnd,
}

impl OpenStream {
    /// The same events, counted as the reader takes them.
    pub(crate) fn counted(&self, events: BoxStream<'static, Event>) -> BoxStream<'static, Event> {
        let sent = self.metrics.0.events_sent.clone();
        events
            .inspect(move |_| {
                sent.inc();
            })
            .boxed()
    }

    /// It has ended.
    pub(crate) fn ended(mut self, end: StreamEnd) {
        self.end = end;
    }
}

impl Drop for OpenStream {
    fn drop(&mut self) {
        let metrics = &self.metrics.0;
        metrics.streams_open.dec();
        metrics.streams_ended.get_or_create(&reason(self.end)).inc();
    }
}

fn reason(end: StreamEnd) -> ReasonLabel {
    [("reason", end.as_str())]
}

fn method_label(method: &Method) -> &'static str {
    match *method {
        Method::GET => "GET",
        Method::HEAD => "HEAD",
        Method::POST => "POST",
        Method::PUT => "PUT",
        Method::PATCH => "PATCH",
        Method::DELETE => "DELETE",
        Method::OPTIONS => "OPTIONS",
        _ => OTHER,
    }
}

/// The pattern itself, from the map of all routes.
fn route_label(pattern: Option<&str>) -> &'static str {
    let known = routes::PATHS.iter().chain(&routes::PAGES);
    pattern
        .and_then(|pattern| known.copied().find(|route| *route == pattern))
        .unwrap_or(UNKNOWN)
}

fn status_label(status: StatusCode) -> &'static str {
    match status.as_u16() / 100 {
        1 => "1xx",
        2 => "2xx",
        3 => "3xx",
        4 => "4xx",
        _ => "5xx",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn exported(metrics: &HttpMetrics) -> String {
        let mut registry = Registry::default();
        metrics.register(&mut registry);
        let mut text = String::new();
        prometheus_client::encoding::text::encode(&mut text, &registry).unwrap();
        text
    }

    #[test]
    fn a_request_is_counted_by_pattern_and_class() {
        let metrics = HttpMetrics::default();
        let taken = Duration::from_millis(20);
        for status in [StatusCode::OK, StatusCode::NOT_MODIFIED, StatusCode::OK] {
            metrics.answered(&Method::GET, Some("/actions/{id}"), status, taken);
        }
        let text = exported(&metrics);
        for line in [
            "http_requests_total{method=\"GET\",route=\"/actions/{id}\",status=\"2xx\"} 2",
            "http_requests_total{method=\"GET\",route=\"/actions/{id}\",status=\"3xx\"} 1",
            "http_request_duration_seconds_count{method=\"GET\",route=\"/actions/{id}\"} 3",
            "http_request_duration_seconds_bucket{le=\"0.01\",method=\"GET\",route=\"/actions/{id}\"} 0",
            "http_request_duration_seconds_bucket{le=\"0.025\",method=\"GET\",route=\"/actions/{id}\"} 3",
        ] {
            assert!(text.contains(&format!("{line}\n")), "{line}:\n{text}");
        }
    }

    #[test]
    fn labels_are_bounded_whatever_is_sent() {
        let metrics = HttpMetrics::default();
        for n in 0..1_000 {
            let method = Method::from_bytes(format!("M{n}").as_bytes()).unwrap();
            let pattern = format!("/{n}/{{id}}");
            let status = StatusCode::from_u16(400 + n % 100).unwrap();
            metrics.answered(&method, Some(&pattern), status, Duration::ZERO);
            metrics.answered(&method, None, status, Duration::ZERO);
        }
        let text = exported(&metrics);
        assert_eq!(text.matches("http_requests_total{").count(), 1, "{text}");
        let only = "http_requests_total{method=\"other\",route=\"unknown\",status=\"4xx\"} 2000\n";
        assert!(text.contains(only), "{text}");
    }

    #[test]
    fn a_request_is_in_flight_until_it_is_answered_or_dropped() {
        let metrics = HttpMetrics::default();
        let (one, two) = (metrics.begun(), metrics.begun());
        assert!(exported(&metrics).contains("http_requests_in_flight 2\n"));
        drop((one, two));
        assert!(exported(&metrics).contains("http_requests_in_flight 0\n"));
    }

    #[test]
    fn a_stream_is_open_until_it_ends_for_a_reason() {
        let metrics = HttpMetrics::default();
        let first = metrics.stream(StreamStart::First);
        let second = metrics.stream(StreamStart::Resumed);
        let open = exported(&metrics);
        for line in [
            "streams_open 2",
            "streams_opened_total 2",
            "streams_resumed_total 1",
            "streams_ended_total{reason=\"done\"} 0",
        ] {
            assert!(open.contains(&format!("{line}\n")), "{line}:\n{open}");
        }
        first.ended(StreamEnd::Done);
        drop(second);
        let over = exported(&metrics);
        for line in [
            "streams_open 0",
            "streams_ended_total{reason=\"done\"} 1",
            "streams_ended_total{reason=\"client_gone\"} 1",
            "streams_ended_total{reason=\"stalled\"} 0",
        ] {
            assert!(over.contains(&format!("{line}\n")), "{line}:\n{over}");
        }
    }
}
