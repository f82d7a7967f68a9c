//! The outermost middleware.

use std::panic::AssertUnwindSafe;

use actix_web::body::{BodySize, BoxBody, MessageBody};
use actix_web::dev::{ServiceRequest, ServiceResponse};
use actix_web::error::InternalError;
use actix_web::http::header::{self, HeaderMap, HeaderName, HeaderValue};
use actix_web::http::{ConnectionType, Method, StatusCode, Version};
use actix_web::middleware::Next;
use actix_web::{Error, HttpMessage, HttpResponse};
use deed_api::problem::MEDIA_TYPE;
use deed_api::user::PatchUser;
use futures_util::FutureExt;

use super::access::Access;
use super::notices::Notices;
use super::serving;
use super::unread::Held;
use crate::app::Api;
use crate::connection::{Connection, Serving};
use crate::extract::{ACCEPT_PATCH, JsonBody as _};
use crate::metrics::InFlight;
use crate::problem::{Draft, ErrorCode, Refusal};
use crate::request_id::{self, RequestId};

const X_REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

/// The longest target (path and query), in bytes.
const TARGET_MAX: usize = 8 * 1024;

/// The longest part of a path that a problem repeats, in bytes.
const INSTANCE_MAX: usize = 1024;

/// What a browser's developer reads whose preflight was refused.
const PREFLIGHT_REFUSED: &str = "This origin, method or header is not on the allow-list.";

/// Marks a HEAD request, which is routed as GET: a handler that would stream answers its headers alone.
#[derive(Debug, Clone, Copy)]
pub(crate) struct HeadOnly;

/// Serves one request within its frame.
pub(crate) async fn frame<B>(
    api: Api,
    mut request: ServiceRequest,
    next: Next<B>,
) -> Result<ServiceResponse, Error>
where
    B: MessageBody + 'static,
{
    let serving = request.conn_data::<Connection>().map(Connection::serve);
    let access = Access::begin(&request, api.tracer());
    let in_flight = api.metrics().begun();
    let id = sent_id(request.headers()).unwrap_or_else(|| api.new_request_id());
    let method = request.method().clone();
    let instance: String = request.path().chars().take(INSTANCE_MAX).collect();
    if method == Method::HEAD {
        request.head_mut().method = Method::GET;
        request.extensions_mut().insert(HeadOnly);
    }
    let notices = Notices::default();
    request.extensions_mut().insert(notices.clone());
    if let Some(deprecation) = api
        .deprecations()
        .find(request.method(), || request.match_pattern())
    {
        notices.deprecated(deprecation.clone());
    }

    let current = request_id::Current {
        id: id.clone(),
        trace: access.trace(),
    };
    request_id::scope(current, async move {
        let frame = Frame {
            id,
            method,
            instance,
            access,
            in_flight,
            notices,
            knows_chunks: request.version() >= Version::HTTP_11,
            body: Held::of(&mut request),
            serving,
        };
        if let Err(refusal) = frame.check(&request) {
            let refusal = request.error_response(Error::from(refusal));
            return Ok(frame.close(refusal.map_into_boxed_body()));
        }
        match AssertUnwindSafe(async move { next.call(request).await })
            .catch_unwind()
            .await
        {
            Ok(Ok(response)) => Ok(frame.close(response.map_into_boxed_body())),
            Ok(Err(error)) => Err(frame.close_error(&error)),
            Err(panic) => {
                frame.in_flight.panicked();
                let refusal =
                    Refusal::new(ErrorCode::InternalError).because(panic_text(panic.as_ref()));
                Err(frame.close_error(&refusal.into()))
            }
        }
    })
    .await
}

/// What is known of a request before it is routed.
struct Frame {
    id: RequestId,
    method: Method,
    instance: String,
    access: Access,
    in_flight: InFlight,
    notices: Notices,
    knows_chunks: bool,
    body: Option<Held>,
    /// None where the request comes from no connection.
    serving: Option<Serving>,
}

impl Frame {
    /// What is wrong with any request, whatever it is for.
    fn check(&self, request: &ServiceRequest) -> Result<(), Refusal> {
        let target = request.uri().path_and_query();
        if target.is_some_and(|target| target.as_str().len() > TARGET_MAX) {
            return Err(Refusal::new(ErrorCode::TargetTooLong));
        }
        // RFC 9112, 3.2. Whoever is in between may take another one for the host than we would.
        let hosts = request.headers().get_all(header::HOST).count();
        if self.serving.is_some() && (hosts > 1 || (hosts == 0 && self.knows_chunks)) {
            let there = "There must be one Host header.";
            return Err(Refusal::new(ErrorCode::BadRequest).message(there));
        }
        Ok(())
    }

    /// Finishes a response that still belongs to its request.
    fn close(self, response: ServiceResponse<BoxBody>) -> ServiceResponse<BoxBody> {
        let (request, response) = response.into_parts();
        let response = self.finish(response);
        let route = request.match_pattern();
        self.in_flight
            .answered(&self.method, route.as_deref(), response.status());
        self.access
            .answered(route.as_deref(), response.status(), response.body().size());
        let response = serving::until_sent(response, self.serving);
        ServiceResponse::new(request, response)
    }

    /// Finishes an error whose request is gone, such as a panic: actix sends the response that the error carries.
    fn close_error(self, error: &Error) -> Error {
        let response = self.finish(error.error_response());
        self.in_flight
            .answered(&self.method, None, response.status());
        self.access
            .answered(None, response.status(), response.body().size());
        InternalError::from_response("request failed", response).into()
    }

    fn finish(&self, response: HttpResponse) -> HttpResponse {
        let mut response =
            if response.status().is_client_error() || response.status().is_server_error() {
                self.as_problem(response)
            } else {
                response
            };
        decorate(response.headers_mut(), &self.id);
        self.notices.write(response.headers_mut());
        if !self.knows_chunks && response.body().size() == BodySize::Stream {
            // The connection's end is then the answer's.
            response.head_mut().no_chunking(true);
            response
                .head_mut()
                .set_connection_type(ConnectionType::Close);
        }
        match &self.body {
            Some(held) => response.map_body(|_, body| held.until_sent(body)),
            None => response,
        }
    }

    /// Gives a refusal its body, or turns another's error into one of ours. Headers such as `Allow` stay.
    fn as_problem(&self, response: HttpResponse) -> HttpResponse {
        let draft = response.extensions().get::<Draft>().cloned();
        if response.status() == StatusCode::METHOD_NOT_ALLOWED && draft.is_none() {
            return self.method_not_allowed(response);
        }
        let draft = draft.unwrap_or_else(|| {
            let draft = Draft::of_status(response.status());
            // Nothing else answers 400 to OPTIONS: no handler takes it.
            match (&self.method, response.status()) {
                (&Method::OPTIONS, StatusCode::BAD_REQUEST) => draft.saying(PREFLIGHT_REFUSED),
                _ => draft,
            }
        });
        self.write(draft, response)
    }

    fn write(&self, draft: Draft, response: HttpResponse) -> HttpResponse {
        let status = draft.status();
        self.in_flight.refused(draft.code());
        let problem = draft.finish(&self.instance, self.id.as_str());
        let body = serde_json::to_vec(&problem).unwrap_or_default();
        let mut response = response.set_body(BoxBody::new(body));
        *response.status_mut() = status;
        response
            .headers_mut()
            .insert(header::CONTENT_TYPE, HeaderValue::from_static(MEDIA_TYPE));
        response
    }

    /// 405 with an `Allow` that names HEAD beside GET, since every GET answers it, and OPTIONS; OPTIONS itself is 204.
    fn method_not_allowed(&self, response: HttpResponse) -> HttpResponse {
        let listed: Vec<String> = response
            .headers()
            .get_all(header::ALLOW)
            .filter_map(|value| value.to_str().ok())
            .flat_map(|line| line.split(','))
            .map(|method| method.trim().to_owned())
            .filter(|method| !method.is_empty())
            .collect();
        let mut allowed: Vec<&str> = Vec::new();
        for method in &listed {
            allowed.push(method);
            if method == "GET" {
                allowed.push("HEAD");
            }
        }
        allowed.push("OPTIONS");
        let allow = HeaderValue::from_str(&allowed.join(", "))
            .unwrap_or(HeaderValue::from_static("OPTIONS"));
        let mut response = if self.method == Method::OPTIONS {
            let mut response = response.set_body(BoxBody::new(()));
            *response.status_mut() = StatusCode::NO_CONTENT;
            response.headers_mut().remove(header::CONTENT_TYPE);
            if allowed.contains(&"PATCH")
                && let Ok(taken) = HeaderValue::from_str(&PatchUser::MEDIA_TYPES.join(", "))
            {
                // The one type of patch that there is.
                response.headers_mut().insert(ACCEPT_PATCH, taken);
            }
            response
        } else {
            self.write(Draft::of_status(StatusCode::METHOD_NOT_ALLOWED), response)
        };
        response.headers_mut().insert(header::ALLOW, allow);
        response
    }
}

/// The id that the client gave the request: sent once, or it is none.
fn sent_id(headers: &HeaderMap) -> Option<RequestId> {
    let mut values = headers.get_all(X_REQUEST_ID);
    let (first, None) = (values.next()?, values.next()) else {
        return None;
    };
    RequestId::parse(first.to_str().ok()?)
}

fn decorate(headers: &mut HeaderMap, id: &RequestId) {
    if let Ok(value) = HeaderValue::from_str(id.as_str()) {
        headers.insert(X_REQUEST_ID, value);
    }
    headers.insert(
        header::X_CONTENT_TYPE_OPTIONS,
        HeaderValue::from_static("nosniff"),
    );
    if !headers.contains_key(header::CACHE_CONTROL) {
        headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    }
}

fn panic_text(panic: &(dyn std::any::Any + Send)) -> String {
    let text = panic
        .downcast_ref::<&str>()
        .copied()
        .or_else(|| panic.downcast_ref::<String>().map(String::as_str));
    format!("a handler panicked: {}", text.unwrap_or("no message"))
}
