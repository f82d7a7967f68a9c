//! A handler's answer: a status, headers, and JSON.

use actix_web::body::BoxBody;
use actix_web::http::StatusCode;
use actix_web::http::header::{self, HeaderName, HeaderValue};
use actix_web::{HttpRequest, HttpResponse, Responder, ResponseError};
use apistos::ApiComponent;
use apistos::reference_or::ReferenceOr;
use serde::Serialize;

use crate::etag::{Conditions, ETag, Verdict};
use crate::problem::{ErrorCode, Refusal};

pub(crate) const IDEMPOTENCY_REPLAYED: HeaderName = HeaderName::from_static("idempotency-replayed");
pub(crate) const PREFERENCE_APPLIED: HeaderName = HeaderName::from_static("preference-applied");

/// What may be kept of an answer with a tag: by its reader alone, who asks each time whether it still holds.
pub(crate) const KEPT_BY_ITS_READER: &str = "private, no-cache";

/// An answer with a body of type `T`, or without one.
#[derive(Debug)]
pub(crate) struct Answer<T> {
    status: StatusCode,
    headers: Vec<(HeaderName, String)>,
    body: Option<T>,
}

impl<T> Answer<T> {
    pub(crate) fn new(status: StatusCode, body: T) -> Self {
        Self {
            status,
            headers: Vec::new(),
            body: Some(body),
        }
    }

    pub(crate) fn ok(body: T) -> Self {
        Self::new(StatusCode::OK, body)
    }

    /// The representation with this tag, 304 where the client has it already, or 412.
    pub(crate) fn if_wanted(conditions: &Conditions, tag: &ETag, body: T) -> Result<Self, Refusal> {
        let answer = match conditions.judge(tag) {
            Verdict::Proceed => Self::ok(body),
            Verdict::NotModified => Self {
                status: StatusCode::NOT_MODIFIED,
                headers: Vec::new(),
                body: None,
            },
            Verdict::Failed => return Err(Refusal::new(ErrorCode::PreconditionFailed)),
        };
        Ok(answer.tagged(tag))
    }

    /// With the tag of the object that the answer shows.
    pub(crate) fn tagged(self, tag: &ETag) -> Self {
        self.header(header::ETAG, tag.to_string())
            .header(header::CACHE_CONTROL, KEPT_BY_ITS_READER)
    }

    pub(crate) fn no_content() -> Self {
        Self {
            status: StatusCode::NO_CONTENT,
            headers: Vec::new(),
            body: None,
        }
    }

    pub(crate) fn header(mut self, name: HeaderName, value: impl Into<String>) -> Self {
        self.headers.push((name, value.into()));
        self
    }

    pub(crate) fn header_if(self, name: HeaderName, value: Option<String>) -> Self {
        match value {
            Some(value) => self.header(name, value),
            None => self,
        }
    }

    pub(crate) fn replayed(self, is_replay: bool) -> Self {
        self.header_if(IDEMPOTENCY_REPLAYED, is_replay.then(|| "true".to_owned()))
    }
}

impl<T: Serialize> Responder for Answer<T> {
    type Body = BoxBody;

    fn respond_to(self, _: &HttpRequest) -> HttpResponse {
        let body = match self.body.map(|body| serde_json::to_vec(&body)).transpose() {
            Ok(body) => body,
            Err(error) => {
                return Refusal::new(ErrorCode::InternalError)
                    .because(error)
                    .error_response();
            }
        };
        let mut response = HttpResponse::build(self.status);
        for (name, value) in self.headers {
            match HeaderValue::from_str(&value) {
                Ok(value) => response.append_header((name, value)),
                Err(error) => {
                    return Refusal::new(ErrorCode::InternalError)
                        .because(error)
                        .error_response();
                }
            };
        }
        match body {
            Some(body) => response
                .insert_header((header::CONTENT_TYPE, "application/json"))
                .body(body),
            None => response.finish(),
        }
    }
}

impl<T: ApiComponent> ApiComponent for Answer<T> {
    fn child_schemas() -> Vec<(String, ReferenceOr<apistos::Schema>)> {
        T::child_schemas()
    }

    fn schema() -> Option<(String, ReferenceOr<apistos::Schema>)> {
        T::schema()
    }
}

/// What an answer without a body has for one.
#[derive(Debug, Serialize)]
pub(crate) enum Nothing {}

impl ApiComponent for Nothing {
    fn child_schemas() -> Vec<(String, ReferenceOr<apistos::Schema>)> {
        Vec::new()
    }

    fn schema() -> Option<(String, ReferenceOr<apistos::Schema>)> {
        None
    }
}

impl apistos::ApiErrorComponent for Refusal {
    fn schemas_by_status_code()
    -> std::collections::BTreeMap<String, (String, ReferenceOr<apistos::Schema>)> {
        std::collections::BTreeMap::new()
    }

    /// None here: each operation's errors stand beside its handler.
    fn error_responses() -> Vec<(String, apistos::paths::Response)> {
        Vec::new()
    }
}
