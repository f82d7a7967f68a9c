//! OpenTelemetry: spans in batches to a collector, by OTLP as protobuf over HTTP.
//!
//! A span is put into a bounded queue (2048, or `OTEL_BSP_MAX_QUEUE_SIZE`), and dropped where that is full; a thread
//! of its own empties it. So a collector that is slow or away costs spans, and nothing else.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use anyhow::Context as _;
use async_trait::async_trait;
use deed_domain::ports::{self, SpanRecord, SpanValue};
use deed_domain::trace::{SpanId, TraceId, TraceParent};
use opentelemetry::trace::{
    Span as _, SpanBuilder, SpanContext, SpanKind, Status, TraceContextExt as _, TraceFlags,
    TraceState, Tracer as _, TracerProvider as _,
};
use opentelemetry::{Context, KeyValue, Value};
use opentelemetry_http::{Bytes, HttpClient, HttpError, Request, Response};
use opentelemetry_otlp::{SpanExporter, WithHttpConfig as _};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::resource::EnvResourceDetector;
use opentelemetry_sdk::trace::{SdkTracer, SdkTracerProvider};
use tokio::runtime::Handle;

use super::variable;

/// How long sending what is left may take when the server stops.
const FLUSH: Duration = Duration::from_secs(2);
/// How long a collector may take to accept a connection.
const CONNECT: Duration = Duration::from_secs(2);
/// How long a collector may take to take a batch.
const SEND: Duration = Duration::from_secs(10);
/// How much a collector may answer, in bytes.
const ANSWER_MAX: usize = 64 * 1024;

/// What spans are called until their end tells their name.
const UNNAMED: &str = "unfinished";

/// Sends spans until it is flushed.
pub(super) struct Exporter(SdkTracerProvider);

/// Starts the thread that sends spans, as the environment says where and which.
pub(super) fn start() -> anyhow::Result<(Arc<dyn ports::Tracer>, Exporter)> {
    let client = reqwest::Client::builder()
        .connect_timeout(CONNECT)
        .timeout(SEND)
        .build()
        .context("no HTTP client for spans can be made")?;
    let collector = Collector {
        client,
        runtime: Handle::current(),
        is_away: AtomicBool::new(false),
    };
    let exporter = SpanExporter::builder()
        .with_http()
        .with_http_client(collector)
        .build()
        .context("the variables OTEL_EXPORTER_OTLP_… can't be understood")?;
    let provider = SdkTracerProvider::builder()
        .with_batch_exporter(exporter)
        .with_resource(resource(variable("OTEL_SERVICE_NAME")))
        .build();
    let tracer = Arc::new(Recorder(provider.tracer("deed")));
    Ok((tracer, Exporter(provider)))
}

/// What all spans say of this process: `OTEL_SERVICE_NAME`, else what `OTEL_RESOURCE_ATTRIBUTES` says, else `deed`.
fn resource(name: Option<String>) -> Resource {
    let resource = Resource::builder_empty()
        .with_service_name("deed")
        .with_attribute(KeyValue::new("service.version", env!("CARGO_PKG_VERSION")))
        .with_detector(Box::new(EnvResourceDetector::new()));
    match name.filter(|name| !name.is_empty()) {
        Some(name) => resource.with_service_name(name).build(),
        None => resource.build(),
    }
}

impl Exporter {
    pub(super) async fn flush(self) {
        // It blocks until its thread has sent the rest.
        let flushed =
            tokio::task::spawn_blocking(move || self.0.shutdown_with_timeout(FLUSH)).await;
        if !matches!(flushed, Ok(Ok(()))) {
            log::warn!("the last spans were not delivered");
        }
    }
}

/// Records spans by OpenTelemetry.
struct Recorder(SdkTracer);

impl ports::Tracer for Recorder {
    fn begin(
        &self,
        kind: ports::SpanKind,
        parent: Option<TraceParent>,
    ) -> Option<Box<dyn ports::Span>> {
        let context = Context::new();
        let context = match parent {
            Some(parent) => context.with_remote_span_context(remote(parent)),
            None => context,
        };
        let kind = match kind {
            ports::SpanKind::Request => SpanKind::Server,
            ports::SpanKind::Attempt => SpanKind::Consumer,
        };
        let builder = SpanBuilder::from_name(UNNAMED).with_kind(kind);
        let span = self.0.build_with_context(builder, &context);
        let at = place(span.span_context(), parent)?;
        Some(Box::new(Recording { span, at }))
    }
}

struct Recording {
    span: opentelemetry_sdk::trace::Span,
    at: TraceParent,
}

impl ports::Span for Recording {
    fn traceparent(&self) -> TraceParent {
        self.at
    }

    fn end(mut self: Box<Self>, record: SpanRecord) {
        let SpanRecord {
            name,
            attributes,
            error,
        } = record;
        self.span.update_name(name);
        self.span
            .set_attributes(attributes.into_iter().map(|(key, value)| {
                let value = match value {
                    SpanValue::Text(text) => Value::from(text),
                    SpanValue::Number(number) => Value::from(number),
                };
                KeyValue::new(key, value)
            }));
        if let Some(error) = error {
            self.span.set_attribute(KeyValue::new("error.type", error));
            self.span.set_status(Status::error(""));
        }
        self.span.end();
    }
}

fn remote(parent: TraceParent) -> SpanContext {
    SpanContext::new(
        opentelemetry::TraceId::from_bytes(parent.trace_id.to_bytes()),
        opentelemetry::SpanId::from_bytes(parent.span_id.to_bytes()),
        TraceFlags::default().with_sampled(parent.is_sampled()),
        true,
        TraceState::default(),
    )
}

/// Where a span stands; none after the end.
fn place(span: &SpanContext, parent: Option<TraceParent>) -> Option<TraceParent> {
    let span_id = SpanId::from_bytes(span.span_id().to_bytes())?;
    match parent {
        Some(parent) => Some(parent.at(span_id, span.is_sampled())),
        None => {
            let trace_id = TraceId::from_bytes(span.trace_id().to_bytes())?;
            Some(TraceParent::new(trace_id, span_id, span.is_sampled()))
        }
    }
}

/// The way to the collector. The exporter calls it from a thread that has no runtime.
#[derive(Debug)]
struct Collector {
    client: reqwest::Client,
    runtime: Handle,
    is_away: AtomicBool,
}

#[async_trait]
impl HttpClient for Collector {
    async fn send_bytes(&self, request: Request<Bytes>) -> Result<Response<Bytes>, HttpError> {
        let client = self.client.clone();
        let sent = self.runtime.spawn(send(client, request)).await;
        let answer = sent.map_err(HttpError::from).and_then(|answer| answer);
        let problem = match &answer {
            Ok(answer) if answer.status().is_success() => None,
            Ok(answer) => Some(format!("it answers {}", answer.status())),
            Err(error) => Some(chain(error.as_ref())),
        };
        // Said once when it goes, and once when it comes back.
        match problem {
            Some(problem) if !self.is_away.swap(true, Ordering::Relaxed) => {
                log::warn!("spans can't be delivered to the collector: {problem}");
            }
            None if self.is_away.swap(false, Ordering::Relaxed) => {
                log::info!("spans are delivered to the collector again");
            }
            Some(_) | None => {}
        }
        answer
    }
}

async fn send(
    client: reqwest::Client,
    request: Request<Bytes>,
) -> Result<Response<Bytes>, HttpError> {
    // Its own text would name the URL, which may hold a password.
    let without_url = |error: reqwest::Error| HttpError::from(error.without_url());
    let request = reqwest::Request::try_from(request).map_err(without_url)?;
    let mut answer = client.execute(request).await.map_err(without_url)?;
    let mut body = Vec::new();
    while let Some(part) = answer.chunk().await.map_err(without_url)? {
        if body.len().saturating_add(part.len()) > ANSWER_MAX {
            return Err("its answer is too long".into());
        }
        body.extend_from_slice(&part);
    }
    let mut response = Response::new(Bytes::from(body));
    *response.status_mut() = answer.status();
    Ok(response)
}

fn chain(error: &(dyn std::error::Error + 'static)) -> String {
    let mut text = error.to_string();
    let mut next = error.source();
    while let Some(source) = next {
        text.push_str(": ");
        text.push_str(&source.to_string());
        next = source.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use opentelemetry::Key;

    #[test]
    fn the_service_has_a_name() {
        let name = |given: Option<&str>| {
            let resource = resource(given.map(str::to_owned));
            resource.get(&Key::new("service.name")).unwrap().to_string()
        };
        assert_eq!(name(None), "deed");
        assert_eq!(name(Some("")), "deed");
        assert_eq!(name(Some("billing")), "billing");
    }

    #[test]
    fn a_trace_that_is_not_sampled_stays_so_and_is_handed_on() {
        let provider = SdkTracerProvider::builder().build();
        let recorder = Recorder(provider.tracer("test"));
        let begin = |parent| {
            let span = ports::Tracer::begin(&recorder, ports::SpanKind::Request, parent);
            span.unwrap().traceparent()
        };
        for flags in ["00", "01", "03"] {
            let text = format!("00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-{flags}");
            let parent = TraceParent::parse(&text).unwrap();
            let at = begin(Some(parent));
            assert_eq!(at.trace_id, parent.trace_id);
            assert_eq!(at.is_sampled(), parent.is_sampled());
            assert_ne!(at.span_id, parent.span_id);
        }
        assert!(begin(None).is_sampled());
    }

    #[test]
    fn after_the_end_nothing_is_recorded() {
        let provider = SdkTracerProvider::builder().build();
        let recorder = Recorder(provider.tracer("test"));
        provider.shutdown().unwrap();
        let span = ports::Tracer::begin(&recorder, ports::SpanKind::Request, None);
        assert!(span.is_none());
    }
}
