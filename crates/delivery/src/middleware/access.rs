//! What is told of each request: a line in the log, and a span for who collects traces.

use std::cell::Cell;
use std::net::IpAddr;
use std::rc::Rc;
use std::time::Instant;

use actix_web::body::BodySize;
use actix_web::dev::ServiceRequest;
use actix_web::http::header::{HeaderMap, HeaderName};
use actix_web::http::{Method, StatusCode};
use actix_web::{HttpMessage, HttpRequest};
use deed_domain::caller::{Actor, Caller};
use deed_domain::id::UserId;
use deed_domain::ports::{Span, SpanKind, SpanRecord, Tracer};
use deed_domain::trace::TraceParent;

const TRACEPARENT: HeaderName = HeaderName::from_static("traceparent");

/// Stands for the route where there is none.
const NO_ROUTE: &str = "-";

/// Who makes a request, as soon as that is known: also of one that is refused then.
#[derive(Debug, Clone, Default)]
pub(crate) struct Witness(Rc<Cell<Seen>>);

#[derive(Debug, Clone, Copy, Default)]
struct Seen {
    actor: Option<Actor>,
    subject: Option<UserId>,
}

impl Witness {
    /// That of this request.
    pub(crate) fn of(request: &HttpRequest) -> Self {
        let seen = request.extensions().get::<Self>().cloned();
        seen.unwrap_or_default()
    }

    /// The key is known, and not yet for whom it acts.
    pub(crate) fn saw_actor(&self, actor: Actor) {
        self.0.set(Seen {
            actor: Some(actor),
            subject: None,
        });
    }

    /// Everything is known.
    pub(crate) fn saw(&self, caller: &Caller) {
        self.0.set(Seen {
            actor: Some(caller.actor()),
            subject: caller.subject(),
        });
    }
}

/// One request, from its head to its answer's.
pub(super) struct Access {
    method: Method,
    peer: Option<IpAddr>,
    started: Instant,
    witness: Witness,
    trace: Option<TraceParent>,
    span: Option<Box<dyn Span>>,
    is_told: bool,
}

impl Access {
    pub(super) fn begin(request: &ServiceRequest, tracer: &dyn Tracer) -> Self {
        let witness = Witness::default();
        request.extensions_mut().insert(witness.clone());
        let parent = traceparent(request.headers());
        let span = tracer.begin(SpanKind::Request, parent);
        Self {
            method: request.method().clone(),
            peer: request.peer_addr().map(|address| address.ip()),
            started: Instant::now(),
            witness,
            trace: span.as_ref().map(|span| span.traceparent()).or(parent),
            span,
            is_told: false,
        }
    }

    /// Its place in a trace: the parent of all that it causes.
    pub(super) fn trace(&self) -> Option<TraceParent> {
        self.trace
    }

    /// Its answer's head is ready.
    pub(super) fn answered(mut self, route: Option<&str>, status: StatusCode, size: BodySize) {
        let route = route.unwrap_or(NO_ROUTE);
        let bytes = match size {
            BodySize::None => Some(0),
            BodySize::Sized(bytes) => Some(bytes),
            BodySize::Stream => None,
        };
        let status = status.as_u16();
        self.tell(Some((route, status)), bytes);
        if let Some(span) = self.span.take() {
            span.end(SpanRecord {
                name: format!("{} {route}", self.method),
                attributes: vec![
                    ("http.request.method", self.method.as_str().into()),
                    ("http.route", route.into()),
                    ("http.response.status_code", status.into()),
                ],
                error: (status >= 500).then(|| status.to_string().into()),
            });
        }
    }

    /// One line a request. The route's pattern, never the path: ids would make every line its own, and a path may
    /// hold what somebody pasted. The peer is who holds the connection; what a header says of it is not believed.
    fn tell(&mut self, answer: Option<(&str, u16)>, bytes: Option<u64>) {
        self.is_told = true;
        if !log::log_enabled!(target: "deed::access", log::Level::Info) {
            // The words are not put together for nobody.
            return;
        }
        let milliseconds = u64::try_from(self.started.elapsed().as_millis()).unwrap_or(u64::MAX);
        let method = self.method.as_str();
        let Seen { actor, subject } = self.witness.0.get();
        let key_id = actor.map(|actor| match actor {
            Actor::Key(id) => id.to_string(),
            Actor::Root | Actor::Operator | Actor::Anonymous => actor.kind().to_owned(),
        });
        let user_id = subject.map(|id| id.to_string());
        let peer = self.peer.map(|peer| peer.to_string());
        let text = match answer {
            Some((route, status)) => format!("{method} {route} {status} {milliseconds} ms"),
            None => format!("{method} given up by its client after {milliseconds} ms"),
        };
        let (route, status) = answer.unzip();
        log::info!(
            target: "deed::access",
            method, route, status, duration_ms = milliseconds, bytes,
            key_id = key_id.as_deref(), user_id = user_id.as_deref(), peer = peer.as_deref();
            "{text}"
        );
    }
}

/// A client that goes away takes its request with it.
impl Drop for Access {
    fn drop(&mut self) {
        if !self.is_told {
            self.tell(None, None);
        }
    }
}

/// The header, which is sent once or counts for nothing.
fn traceparent(headers: &HeaderMap) -> Option<TraceParent> {
    let mut values = headers.get_all(TRACEPARENT);
    let (first, None) = (values.next()?, values.next()) else {
        return None;
    };
    TraceParent::parse(first.to_str().ok()?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use actix_web::test::TestRequest;

    #[test]
    fn the_header_is_sent_once_or_counts_for_nothing() {
        let one = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
        let other = "00-4bf92f3577b34da6a3ce929d0e0e4737-00f067aa0ba902b7-01";
        let check = |sent: &[&str], expected: Option<&str>| {
            let mut request = TestRequest::get();
            for value in sent {
                request = request.append_header((TRACEPARENT, *value));
            }
            let found = traceparent(request.to_srv_request().headers());
            assert_eq!(
                found.map(|found| found.to_string()).as_deref(),
                expected,
                "{sent:?}"
            );
        };
        check(&[], None);
        check(&[one], Some(one));
        check(&[one, other], None);
        check(&[one, one], None);
        check(&["nonsense"], None);
    }
}
