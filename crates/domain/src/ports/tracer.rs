use std::borrow::Cow;

use crate::trace::TraceParent;

/// Records what is done as spans of traces, for whoever collects them.
///
/// Nothing of it blocks, waits or fails: what can't be recorded is left out.
pub trait Tracer: Send + Sync {
    /// Begins a span under `parent`, or a trace where there is none. `None` when nothing is recorded at all; then
    /// `parent` is what to hand on.
    fn begin(&self, kind: SpanKind, parent: Option<TraceParent>) -> Option<Box<dyn Span>>;
}

/// A span that has begun. Dropped, it ends without a word.
pub trait Span: Send {
    /// Its place in the trace: what to hand on as the parent of all that it causes.
    fn traceparent(&self) -> TraceParent;

    /// Ends it now.
    fn end(self: Box<Self>, record: SpanRecord);
}

/// What a span is of.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum SpanKind {
    /// Answering a request.
    Request,
    /// One attempt to perform an action.
    Attempt,
}

/// What is known of a span at its end.
#[derive(Debug, Clone, PartialEq)]
pub struct SpanRecord {
    /// What was done, the same for all of its sort: no ids.
    pub name: String,
    /// Particulars, under the names of OpenTelemetry's conventions where these have one.
    pub attributes: Vec<(&'static str, SpanValue)>,
    /// A word for what went wrong on this side, if anything did.
    pub error: Option<Cow<'static, str>>,
}

/// The value of a particular.
#[derive(Debug, Clone, PartialEq)]
pub enum SpanValue {
    /// Text.
    Text(String),
    /// A number.
    Number(i64),
}

/// Records nothing.
#[derive(Debug, Clone, Copy, Default)]
pub struct NoTracer;

impl Tracer for NoTracer {
    fn begin(&self, _: SpanKind, _: Option<TraceParent>) -> Option<Box<dyn Span>> {
        None
    }
}

impl From<&str> for SpanValue {
    fn from(text: &str) -> Self {
        Self::Text(text.to_owned())
    }
}

impl From<String> for SpanValue {
    fn from(text: String) -> Self {
        Self::Text(text)
    }
}

impl From<u16> for SpanValue {
    fn from(number: u16) -> Self {
        Self::Number(number.into())
    }
}
